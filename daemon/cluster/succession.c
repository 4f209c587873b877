#include "daemon/cluster/succession.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/vec.h"
#include "daemon/cluster/private.h"

#define MOST ((int64_t)1 << 40) /* what is larger was not counted up by heads */
#define ASK_EVERY 5             /* beats, once it is settled */

static reid_status keep(reidd_cluster *cluster, const char *head, int64_t generation,
                        reid_error *err)
{
    reidd_succession *s = &cluster->succession;
    if (s->store)
        REID_TRY(reidd_store_head_save(s->store, head, generation, err));
    REID_AUTOFREE char *name = reid_xstrdup(head);
    reidd_node_set_text(&s->head, name);
    s->generation = generation;
    return REID_OK;
}

reid_status reidd_succession_open(reidd_cluster *cluster, reidd_store *store, bool take_over,
                                  reid_error *err)
{
    reidd_succession *s = &cluster->succession;
    const char *self = reidd_cluster_self(cluster)->name;
    s->store = store;
    s->take_over = take_over;
    s->asking_until_ms = reidd_cluster_now_ms() + REIDD_ASKING_MS;
    if (store)
        REID_TRY(reidd_store_head_load(store, &s->head, &s->generation, err));
    if (reidd_cluster_is_member(cluster) || (s->head && strcmp(s->head, self) == 0))
        return REID_OK;
    if (s->head)
        reid_log_info("cluster head %s takes over from %s generation=%lld", self, s->head,
                      (long long)s->generation + 1);
    return keep(cluster, self, s->generation + 1, err);
}

void reidd_succession_fini(reidd_succession *s)
{
    free(s->head);
    free(s->rival);
    *s = (reidd_succession){0};
}

/* ---- what others say ---- */

static void settle(reidd_cluster *cluster)
{
    reidd_succession *s = &cluster->succession;
    size_t answered = 0, failed = 0, others = cluster->remote_count - 1;
    for (size_t i = 1; i < cluster->remote_count; i++) {
        answered += cluster->remotes[i].asked == REIDD_ASKED_ANSWERED;
        failed += cluster->remotes[i].asked == REIDD_ASKED_FAILED;
    }
    s->settled = answered == others || (answered > 0 && answered + failed == others) ||
                 reidd_cluster_now_ms() >= s->asking_until_ms;
    if (s->settled)
        cluster->on_change(cluster->user);
}

static void set_rival(reidd_cluster *cluster, const char *from, const char *head,
                      int64_t generation)
{
    reidd_succession *s = &cluster->succession;
    const char *self = reidd_cluster_self(cluster)->name;
    if (s->rival)
        return; /* one sentence is enough */
    REID_AUTOFREE char *says = strcmp(from, head) == 0 ? reid_xasprintf("it says so itself")
                                                       : reid_xasprintf("%s has followed it", from);
    REID_AUTOFREE char *why = reid_xasprintf(
        "%s is not the head any more: %s is (%s); it starts no jobs until its cluster file names "
        "%s and its reidd is started again, or until it is started with --take-over",
        self, head, says, head);
    reidd_node_set_text(&s->rival, why);
    reid_log_error("cluster two heads: %s (generation %lld there, %lld here); jobs that run here "
                   "go on: cancel those that the other head has started again",
                   why, (long long)generation, (long long)s->generation);
    cluster->on_change(cluster->user);
}

static void forget_rival(reidd_cluster *cluster)
{
    reidd_succession *s = &cluster->succession;
    for (size_t i = 1; i < cluster->remote_count; i++)
        if (cluster->remotes[i].rival)
            return;
    if (!s->rival)
        return;
    reidd_node_set_text(&s->rival, NULL);
    reid_log_info("cluster one head again: no node follows another one any more");
    cluster->on_change(cluster->user);
}

static void raise_to(reidd_cluster *cluster, int64_t generation)
{
    reid_error err = {0};
    if (keep(cluster, reidd_cluster_self(cluster)->name, generation, &err) != REID_OK)
        reid_log_warn("cluster generation cannot be stored: %s", err.text);
}

bool reidd_succession_hear(reidd_cluster *cluster, const char *from, const char *head,
                           int64_t generation)
{
    reidd_succession *s = &cluster->succession;
    reidd_remote *remote = reidd_head_find(cluster, from);
    bool own = strcmp(head, reidd_cluster_self(cluster)->name) == 0;
    REID_ASSERT(remote);
    remote->asked = REIDD_ASKED_ANSWERED;
    if (generation > MOST)
        generation = 0;
    if (own && generation > s->generation) /* the store was begun anew */
        raise_to(cluster, generation);
    if (s->take_over && !own && *head && generation > 0 && generation >= s->generation) {
        reid_log_warn("cluster head taken over from %s generation=%lld: %s had followed it", head,
                      (long long)generation + 1, from);
        raise_to(cluster, generation + 1);
    }
    remote->rival = !own && *head && generation > 0 && generation >= s->generation;
    if (!remote->rival) {
        forget_rival(cluster);
        if (!s->settled)
            settle(cluster);
        return true;
    }
    set_rival(cluster, from, head, generation);
    return false;
}

void reidd_succession_follow(reidd_cluster *cluster, int64_t generation)
{
    const reidd_succession *s = &cluster->succession;
    const char *head = reidd_cluster_head(cluster)->name;
    reid_error err = {0};
    bool known = s->head && strcmp(s->head, head) == 0 && s->generation == generation;
    if (generation <= 0 || generation > MOST || known)
        return;
    if (keep(cluster, head, generation, &err) != REID_OK)
        reid_log_warn("cluster head cannot be stored: %s", err.text);
}

/* ---- asking ---- */

void reidd_succession_tick(reidd_cluster *cluster)
{
    reidd_succession *s = &cluster->succession;
    REID_VEC(char *) names = {0};
    for (size_t i = 1; i < cluster->remote_count; i++)
        if (!cluster->remotes[i].join)
            reid_vec_push(&names, cluster->remotes[i].place->name);
    reidd_peers_set(cluster, names.items, names.count);
    reid_vec_fini(&names);
    if (!s->settled || cluster->beat_number % ASK_EVERY == 0)
        reidd_peers_ask(cluster);
    if (!s->settled)
        settle(cluster);
}

bool reidd_cluster_may_start(const reidd_cluster *cluster)
{
    return !cluster || reidd_cluster_is_member(cluster) ||
           (cluster->succession.settled && !cluster->succession.rival);
}

const char *reidd_cluster_rival(const reidd_cluster *cluster)
{
    return cluster ? cluster->succession.rival : NULL;
}
