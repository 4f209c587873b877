#include "daemon/cluster/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/vec.h"
#include "daemon/access/identity.h"
#include "daemon/cluster/mirror.h"
#include "daemon/cluster/part_words.h"
#include "daemon/exec/address.h"
#include "daemon/exec/files.h"

#define CONFIG_LIMIT_BYTES (512u << 10) /* what a message of a Join takes, with room */
#define TICK_MS 200
#define MOST_RANKS 4096  /* of one node */
#define ADOPTED_MS 15000 /* for a node to come back after this daemon has */
#define START_TRIES 5    /* of a part whose node loses it before it has begun */

typedef enum part_state { IDLE, UNSURE, STARTING, RUNNING, OVER } part_state;

struct reidd_agent {
    const reidd_agent_events *events;
    void *user;
    struct crew_part *part; /* NULL: the part is over, and the agent knows */
};

/* The ranks of an attempt on one other node. */
typedef struct crew_part {
    reidd_crew *crew;
    char *node;
    reidd_mirror_ranks ranks;
    part_state state;
    reidd_agent *agent; /* NULL: none, or it has gone */
    int exit_code;
    int tries; /* how often its node has lost it before it began */
    bool ran;  /* its node has had a supervisor for it */
    bool stop_wanted, stop_sent;
    int64_t stop_grace_ms;
    int64_t ahead_ms, doubt_ms; /* of its clock, as the supervisor knows it; doubt 0: it does not */
} crew_part;

struct reidd_crew {
    reidd_crews *crews;
    const reidd_crew_events *events;
    void *user;
    char *job, *name, *owner, *folder, *config_path, *ticket;
    int attempt, world;
    int64_t grace_ms;
    crew_part *parts;
    size_t part_count;
    bool failed, finishing, settled;
    int64_t since_ms; /* monotonic: this daemon has it */
    int64_t until_ms; /* monotonic: finishing, or UNSURE parts; 0: no limit */
};

struct reidd_crews {
    uv_loop_t *loop;
    reidd_cluster *cluster;
    char *state_dir;
    reidd_crews_on_late *on_late;
    void *user;
    uv_timer_t timer;
    REID_VEC(reidd_crew *) items;
    bool closing;
};

static int64_t now_ms(void)
{
    return reid_clock_mono_ns() / 1000000;
}

/* ---- looking ---- */

static reidd_crew *find_crew(const reidd_crews *crews, const Reid__V1__PartKey *key)
{
    for (size_t i = 0; key && key->job && i < crews->items.count; i++)
        if (crews->items.items[i]->attempt == key->attempt &&
            strcmp(crews->items.items[i]->job, key->job) == 0)
            return crews->items.items[i];
    return NULL;
}

static crew_part *find_on(const reidd_crew *crew, const char *node)
{
    for (size_t i = 0; crew && i < crew->part_count; i++)
        if (strcmp(crew->parts[i].node, node) == 0)
            return &crew->parts[i];
    return NULL;
}

static bool is_all_over(const reidd_crew *crew)
{
    for (size_t i = 0; i < crew->part_count; i++)
        if (crew->parts[i].state != OVER && crew->parts[i].state != IDLE)
            return false;
    return true;
}

/* ---- what the supervisor is told ---- */

static void mark(const crew_part *part, const char *suffix, const char *text)
{
    REID_AUTOFREE char *folder = reidd_attempt_path(part->crew->folder, "nodes");
    REID_AUTOFREE char *path = reidd_node_path(part->crew->folder, part->node, suffix);
    reid_error err = {0};
    REIDD_AS_OWNER(part->crew->folder);
    reid_status status = reid_make_dirs(folder, 0700, &err);
    if (status == REID_OK)
        status = reid_file_write_atomic(path, text, strlen(text), &err);
    if (status != REID_OK)
        reid_log_warn("crew %s", err.text);
}

static void unmark(const crew_part *part, const char *suffix)
{
    REID_AUTOFREE char *path = reidd_node_path(part->crew->folder, part->node, suffix);
    REIDD_AS_OWNER(part->crew->folder);
    unlink(path);
}

/* So that times in the files of its ranks can be compared with others. It is measured every second,
 * and written when that tells something new. */
static void mark_clock(crew_part *part)
{
    int64_t ahead_ms, doubt_ms;
    char text[64];
    if (!reidd_cluster_clock(part->crew->crews->cluster, part->node, &ahead_ms, &doubt_ms))
        return;
    bool same = llabs(ahead_ms - part->ahead_ms) <= part->doubt_ms / 2;
    if (part->doubt_ms > 0 && same && part->doubt_ms <= 2 * doubt_ms)
        return;
    part->ahead_ms = ahead_ms;
    part->doubt_ms = doubt_ms;
    snprintf(text, sizeof text, "%lld %lld", (long long)ahead_ms, (long long)doubt_ms);
    mark(part, "clock", text);
}

static bool has_mark(const crew_part *part, const char *suffix)
{
    REID_AUTOFREE char *path = reidd_node_path(part->crew->folder, part->node, suffix);
    return reid_path_exists(path);
}

/* The folder of an attempt in which the node has or had ranks, and which ones. Caller frees; NULL:
 * there is none. */
static char *find_folder(const reidd_crews *crews, const char *node, const Reid__V1__PartKey *key,
                         reidd_mirror_ranks *ret_ranks)
{
    const crew_part *part = find_on(find_crew(crews, key), node);
    if (part) {
        *ret_ranks = part->ranks;
        return reid_xstrdup(part->crew->folder);
    }
    if (!key || !key->job || key->job[0] == '\0' || key->attempt < 1 ||
        key->job[strspn(key->job, "0123456789abcdefghijklmnopqrstuvwxyz")] != '\0')
        return NULL;
    char *folder =
        reid_xasprintf("%s/jobs/%s/attempt-%d", crews->state_dir, key->job, (int)key->attempt);
    REID_AUTOFREE char *path = reidd_node_path(folder, node, "begun");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    REIDD_AS_OWNER(folder);
    if (reid_file_read_foreign(path, 64, &text, &size, NULL) == REID_OK &&
        sscanf(text, "%d %d", &ret_ranks->first, &ret_ranks->count) == 2 && ret_ranks->first >= 0 &&
        ret_ranks->count > 0 && ret_ranks->count <= MOST_RANKS)
        return folder;
    free(folder);
    return NULL;
}

/* ---- to the nodes ---- */

static Reid__V1__PartKey key_of(const reidd_crew *crew)
{
    Reid__V1__PartKey key = REID__V1__PART_KEY__INIT;
    key.job = crew->job;
    key.attempt = crew->attempt;
    return key;
}

static reid_status send_start(crew_part *part, char **argv, reid_error *err)
{
    reidd_crew *crew = part->crew;
    Reid__V1__PartKey key = key_of(crew);
    Reid__V1__PartStart start = REID__V1__PART_START__INIT;
    Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
    REID_AUTOFREE char *config = NULL;
    size_t size = 0;
    int32_t ranks[MOST_RANKS];
    if (part->ranks.count > MOST_RANKS)
        return reid_fail(err, REID_ERR_INVALID, "a node has at most %d ranks of a job", MOST_RANKS);
    REID_TRY(reid_file_read(crew->config_path, CONFIG_LIMIT_BYTES, &config, &size, err));
    for (int i = 0; i < part->ranks.count; i++)
        ranks[i] = part->ranks.first + i;
    start.key = &key;
    start.ticket = crew->ticket;
    start.ranks = ranks;
    start.n_ranks = (size_t)part->ranks.count;
    start.world = crew->world;
    start.argv = argv;
    while (argv[start.n_argv])
        start.n_argv++;
    start.config_yaml = config;
    start.grace_ms = crew->grace_ms;
    start.user = crew->owner;
    start.name = crew->name;
    down.kind_case = REID__V1__NODE_DOWN__KIND_PART_START;
    down.part_start = &start;
    return reidd_cluster_send(crew->crews->cluster, part->node, &down, err);
}

/* EXHAUSTED: when there is room. UNAVAILABLE: with the node's next hello. */
static reid_status send_stop_of(reidd_cluster *cluster, const char *node, Reid__V1__PartKey *key,
                                int64_t grace_ms)
{
    Reid__V1__PartStop stop = REID__V1__PART_STOP__INIT;
    Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
    stop.key = key;
    stop.grace_ms = grace_ms;
    down.kind_case = REID__V1__NODE_DOWN__KIND_PART_STOP;
    down.part_stop = &stop;
    return reidd_cluster_send(cluster, node, &down, NULL);
}

static void send_forget(reidd_cluster *cluster, const char *node, Reid__V1__PartKey *key)
{
    Reid__V1__PartForget forget = REID__V1__PART_FORGET__INIT;
    Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
    forget.key = key;
    down.kind_case = REID__V1__NODE_DOWN__KIND_PART_FORGET;
    down.part_forget = &forget;
    reidd_cluster_send(cluster, node, &down, NULL);
}

static void send_stop(crew_part *part)
{
    Reid__V1__PartKey key = key_of(part->crew);
    part->stop_sent = send_stop_of(part->crew->crews->cluster, part->node, &key,
                                   part->stop_grace_ms) != REID_ERR_EXHAUSTED;
}

static void stop_part(crew_part *part, int64_t grace_ms)
{
    if (part->state == OVER || part->state == IDLE)
        return;
    if (part->stop_wanted && part->stop_grace_ms <= grace_ms)
        return;
    if (!part->stop_wanted) {
        char now[32];
        snprintf(now, sizeof now, "%lld", (long long)reid_clock_wall_ms());
        mark(part, "stop", now);
    }
    part->stop_wanted = true;
    part->stop_grace_ms = grace_ms;
    send_stop(part);
}

/* ---- the end of a part ---- */

static void plan(reidd_crews *crews);

static void release_agent(crew_part *part, const char *failure)
{
    reidd_agent *agent = part->agent;
    if (!agent)
        return;
    part->agent = NULL;
    agent->part = NULL;
    if (failure)
        agent->events->failed(failure, agent->user);
    else
        agent->events->ended(part->exit_code, agent->user);
}

/* `failure` NULL: the node has reported the end. */
static void end_part(crew_part *part, int exit_code, const char *failure)
{
    reidd_crew *crew = part->crew;
    if (part->state == OVER)
        return;
    part->state = OVER;
    part->exit_code = exit_code;
    mark(part, "end", failure ? failure : "");
    reid_log_info("part over id=%s attempt=%d node=%s exit_code=%d%s%s", crew->job, crew->attempt,
                  part->node, exit_code, failure ? " " : "", failure ? failure : "");
    release_agent(part, failure);
    plan(crew->crews);
}

static void fail_part(crew_part *part, const char *sentence)
{
    reidd_crew *crew = part->crew;
    bool first = !crew->failed && part->state != OVER;
    crew->failed = true;
    end_part(part, 1, sentence);
    if (first)
        crew->events->on_failed(part->node, sentence, crew->user);
}

static void set_running(crew_part *part)
{
    if (!part->ran)
        mark(part, "running", "");
    part->ran = true;
    part->state = RUNNING;
    if (part->agent)
        part->agent->events->started(part->agent->user);
}

/* The node, or this one, has died before the part began: mpirun's agent comes for it again. */
static void ask_again(crew_part *part)
{
    const reidd_crew *crew = part->crew;
    reidd_agent *agent = part->agent;
    if (part->stop_wanted || crew->finishing || crew->failed) {
        end_part(part, 1, NULL);
        return;
    }
    if (++part->tries >= START_TRIES) {
        REID_AUTOFREE char *why = reid_xasprintf(
            "%s has lost the job's ranks %d times before they began", part->node, part->tries);
        fail_part(part, why);
        return;
    }
    reid_log_warn("part lost before it began, once more id=%s attempt=%d node=%s", crew->job,
                  crew->attempt, part->node);
    part->state = IDLE;
    part->ran = false;
    unmark(part, "running");
    unmark(part, "begun");
    part->agent = NULL;
    if (!agent)
        return;
    agent->part = NULL;
    agent->events->again(agent->user);
}

/* ---- from the nodes ---- */

static reid_status take_started(reidd_crews *crews, const char *node,
                                const Reid__V1__PartStarted *started)
{
    reidd_crew *crew = find_crew(crews, started->key);
    crew_part *part = find_on(crew, node);
    if (!part || (part->state != STARTING && part->state != UNSURE)) {
        if (!part && started->key && !*started->refused)
            send_stop_of(crews->cluster, node, started->key, 0);
        return REID_OK;
    }
    if (*started->refused) {
        REID_AUTOFREE char *why =
            reid_xasprintf("%s has refused the job's ranks: %s", node, started->refused);
        fail_part(part, why);
        return REID_OK;
    }
    set_running(part);
    return REID_OK;
}

static void take_ended(reidd_crews *crews, const char *node, const Reid__V1__PartEnded *ended)
{
    reidd_crew *crew = find_crew(crews, ended->key);
    crew_part *part = find_on(crew, node);
    if (part && part->state != OVER && ended->never_began) {
        send_forget(crews->cluster, node, ended->key);
        ask_again(part);
        return;
    }
    if (part && part->state != OVER) {
        if (*ended->sentence) { /* orted or its supervisor, not a rank */
            REID_AUTOFREE char *why = reid_xasprintf("on %s: %s", node, ended->sentence);
            crew->events->on_failed(node, why, crew->user);
        }
        end_part(part, ended->exit_code, NULL);
    }
    reidd_mirror_ranks ranks;
    REID_AUTOFREE char *folder = crew ? NULL : find_folder(crews, node, ended->key, &ranks);
    if (folder && ranks.first == 0)
        crews->on_late(node, ended->key->job, ended->key->attempt, crews->user);
    else if (ended->key)
        send_forget(crews->cluster, node, ended->key);
}

void reidd_crews_forget(reidd_crews *crews, const char *node, const char *job_id, int attempt)
{
    Reid__V1__PartKey key = REID__V1__PART_KEY__INIT;
    key.job = (char *)job_id;
    key.attempt = attempt;
    send_forget(crews->cluster, node, &key);
}

static reid_status take_piece(reidd_crews *crews, const char *node,
                              const Reid__V1__MirrorData *data, reid_error *err)
{
    reidd_mirror_ranks ranks;
    REID_AUTOFREE char *folder = find_folder(crews, node, data->key, &ranks);
    /* Of an attempt that is not there any more: nobody wants it, and the node shall not wait. */
    int64_t size = data->offset + (int64_t)data->data.len;
    if (folder) {
        const reidd_mirror_piece piece = {
            .path = data->path,
            .offset = data->offset,
            .data = data->data.data,
            .size = data->data.len,
            .whole = data->whole,
        };
        REID_TRY(reidd_mirror_take(folder, node, ranks, &piece, &size, err));
    }
    Reid__V1__MirrorAck ack = REID__V1__MIRROR_ACK__INIT;
    Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
    ack.key = data->key;
    ack.path = data->path;
    ack.size = size;
    down.kind_case = REID__V1__NODE_DOWN__KIND_MIRROR_ACK;
    down.mirror_ack = &ack;
    return reidd_cluster_send(crews->cluster, node, &down, err);
}

static reid_status on_up(const char *node, const Reid__V1__NodeUp *message, void *user,
                         reid_error *err)
{
    reidd_crews *crews = user;
    switch (message->kind_case) {
    case REID__V1__NODE_UP__KIND_PART_STARTED:
        return take_started(crews, node, message->part_started);
    case REID__V1__NODE_UP__KIND_PART_ENDED:
        take_ended(crews, node, message->part_ended);
        return REID_OK;
    case REID__V1__NODE_UP__KIND_MIRROR:
        return take_piece(crews, node, message->mirror, err);
    default:
        return REID_OK; /* something newer than this daemon */
    }
}

typedef struct file_list {
    REID_VEC(Reid__V1__MirrorAck *) items;
} file_list;

static void add_size(const char *path, int64_t size, void *user)
{
    file_list *files = user;
    Reid__V1__MirrorAck *ack = reid_xmalloc(sizeof *ack);
    reid__v1__mirror_ack__init(ack);
    ack->path = reid_xstrdup(path);
    ack->size = size;
    reid_vec_push(&files->items, ack);
}

static Reid__V1__PartKnown *know(const reidd_crews *crews, const char *node,
                                 const Reid__V1__PartKey *key)
{
    Reid__V1__PartKnown *known = reid_xmalloc(sizeof *known);
    file_list files = {0};
    const crew_part *part = find_on(find_crew(crews, key), node);
    reid__v1__part_known__init(known);
    known->key = reid_xmalloc(sizeof *known->key);
    reid__v1__part_key__init(known->key);
    known->key->job = reid_xstrdup(key && key->job ? key->job : "");
    known->key->attempt = key ? key->attempt : 0;
    known->stop = !part || part->state == OVER || part->stop_wanted;
    reidd_mirror_ranks ranks;
    REID_AUTOFREE char *folder = find_folder(crews, node, key, &ranks);
    if (folder)
        reidd_mirror_each(folder, node, ranks, add_size, &files);
    known->n_files = files.items.count;
    known->files = files.items.items;
    return known;
}

static bool is_in(const reidd_crew *crew, Reid__V1__PartStatus *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (parts[i]->key && parts[i]->key->attempt == crew->attempt &&
            strcmp(parts[i]->key->job, crew->job) == 0)
            return true;
    return false;
}

/* A part that its node does not know any more is over, or has never begun. */
static void compare(reidd_crew *crew, const char *node, Reid__V1__PartStatus *const *parts,
                    size_t count)
{
    crew_part *part = find_on(crew, node);
    if (!part || part->state == IDLE || part->state == OVER)
        return;
    if (is_in(crew, parts, count)) {
        set_running(part);
        return;
    }
    if (!part->ran) {
        ask_again(part);
        return;
    }
    REID_AUTOFREE char *why = reid_xasprintf("%s does not know of the job's ranks any more", node);
    fail_part(part, why);
}

static void on_hello(const char *node, Reid__V1__PartStatus *const *parts, size_t part_count,
                     Reid__V1__NodeWelcome *welcome, void *user)
{
    reidd_crews *crews = user;
    welcome->n_parts = part_count;
    welcome->parts = reid_xcalloc(part_count + 1, sizeof *welcome->parts);
    for (size_t i = 0; i < part_count; i++)
        welcome->parts[i] = know(crews, node, parts[i]->key);
    for (size_t i = 0; i < crews->items.count; i++)
        compare(crews->items.items[i], node, parts, part_count);
}

static void on_node_lost(const char *node, const char *why, void *user)
{
    reidd_crews *crews = user;
    REID_AUTOFREE char *sentence = reid_xasprintf("%s was lost: %s", node, why);
    for (size_t i = 0; i < crews->items.count; i++) {
        crew_part *part = find_on(crews->items.items[i], node);
        if (!part || part->state == OVER || (part->state == IDLE && part->crew->finishing))
            continue;
        fail_part(part, sentence);
    }
}

static bool is_going(const crew_part *part)
{
    return part && part->state != IDLE && part->state != OVER;
}

static void each_partner(const char *node, void (*each)(const char *other, void *arg), void *arg,
                         void *user)
{
    const reidd_crews *crews = user;
    for (size_t i = 0; i < crews->items.count; i++) {
        const reidd_crew *crew = crews->items.items[i];
        if (!is_going(find_on(crew, node)))
            continue;
        for (size_t k = 0; k < crew->part_count; k++)
            if (is_going(&crew->parts[k]) && strcmp(crew->parts[k].node, node) != 0)
                each(crew->parts[k].node, arg);
    }
}

/* Both can be reached from here, so their ranks can be stopped; but for each other they wait for
 * ever. Which of the two is to blame nobody knows: the next attempt does without the later one. */
static void on_parted(const char *node, const char *other, void *user)
{
    reidd_crews *crews = user;
    for (size_t i = 0; i < crews->items.count; i++) {
        reidd_crew *crew = crews->items.items[i];
        const crew_part *one = find_on(crew, node), *two = find_on(crew, other);
        if (!is_going(one) || !is_going(two) || crew->failed || crew->finishing ||
            now_ms() - crew->since_ms < REIDD_PARTED_MS) /* it may be over in a moment */
            continue;
        crew->failed = true;
        const crew_part *later = one > two ? one : two, *earlier = one > two ? two : one;
        REID_AUTOFREE char *why =
            reid_xasprintf("%s and %s do not reach each other", earlier->node, later->node);
        crew->events->on_failed(later->node, why, crew->user);
    }
}

static void on_clock(const char *node, void *user)
{
    reidd_crews *crews = user;
    for (size_t i = 0; i < crews->items.count; i++) {
        crew_part *part = find_on(crews->items.items[i], node);
        if (is_going(part))
            mark_clock(part);
    }
}

static void on_room(const char *node, void *user)
{
    reidd_crews *crews = user;
    for (size_t i = 0; i < crews->items.count; i++) {
        crew_part *part = find_on(crews->items.items[i], node);
        if (part && part->stop_wanted && !part->stop_sent && part->state != OVER)
            send_stop(part);
    }
}

static const reidd_part_events events = {
    .on_room = on_room,
    .on_clock = on_clock,
    .on_up = on_up,
    .on_hello = on_hello,
    .on_node_lost = on_node_lost,
    .each_partner = each_partner,
    .on_parted = on_parted,
};

/* ---- time ---- */

static void check(reidd_crew *crew, int64_t now)
{
    bool late = crew->until_ms > 0 && now >= crew->until_ms;
    for (size_t i = 0; late && i < crew->part_count; i++) {
        crew_part *part = &crew->parts[i];
        bool unsure = part->state == UNSURE;
        if (part->state == OVER || part->state == IDLE || (!crew->finishing && !unsure))
            continue;
        REID_AUTOFREE char *why =
            reid_xasprintf("%s has not reported the end of the job's ranks", part->node);
        fail_part(part, why);
    }
    if (late && !crew->finishing)
        crew->until_ms = 0;
    if (!crew->finishing || crew->settled || !is_all_over(crew))
        return;
    crew->settled = true;
    crew->events->on_settled(crew->user);
}

static void on_tick(uv_timer_t *timer)
{
    reidd_crews *crews = timer->data;
    int64_t now = now_ms();
    for (size_t i = crews->items.count; i-- > 0;)
        if (i < crews->items.count)
            check(crews->items.items[i], now);
    plan(crews);
}

static void plan(reidd_crews *crews)
{
    bool wanted = false;
    uint64_t soon = TICK_MS;
    for (size_t i = 0; i < crews->items.count; i++) {
        const reidd_crew *crew = crews->items.items[i];
        wanted = wanted || crew->until_ms > 0;
        if (crew->finishing && !crew->settled && is_all_over(crew))
            soon = 0;
    }
    if (crews->closing || !wanted)
        uv_timer_stop(&crews->timer);
    else
        uv_timer_start(&crews->timer, on_tick, soon, TICK_MS);
}

/* ---- crews ---- */

static void free_crew(reidd_crew *crew)
{
    for (size_t i = 0; i < crew->part_count; i++)
        free(crew->parts[i].node);
    free(crew->parts);
    free(crew->job);
    free(crew->name);
    free(crew->owner);
    free(crew->folder);
    free(crew->config_path);
    free(crew->ticket);
    free(crew);
}

/* What a daemon before this one had begun is settled by what the nodes say. */
static void remember(reidd_crew *crew)
{
    for (size_t i = 0; i < crew->part_count; i++) {
        crew_part *part = &crew->parts[i];
        if (has_mark(part, "end"))
            part->state = OVER;
        else if (has_mark(part, "begun"))
            part->state = UNSURE;
        part->ran = has_mark(part, "running");
        if (part->state == UNSURE)
            crew->until_ms = now_ms() + ADOPTED_MS;
    }
}

static void make_parts(reidd_crew *crew, const reidd_placement *placement)
{
    const char *self = reidd_cluster_self(crew->crews->cluster)->name;
    crew->parts = reid_xcalloc(placement->count + 1, sizeof *crew->parts);
    int first = 0;
    for (size_t i = 0; i < placement->count; i++) {
        const reidd_share *share = &placement->items[i];
        if (strcmp(share->node, self) != 0)
            crew->parts[crew->part_count++] =
                (crew_part){.crew = crew,
                            .node = reid_xstrdup(share->node),
                            .ranks = {.first = first, .count = share->ranks}};
        first += share->ranks;
    }
}

reid_status reidd_crew_new(reidd_crews *crews, const reidd_crew_spec *spec,
                           const reidd_crew_events *crew_events, void *user, reidd_crew **ret_crew,
                           reid_error *err)
{
    reidd_placement placement = {0};
    reid_status status = reidd_placement_parse(spec->placement, &placement, err);
    const reidd_cluster_file *file = reidd_cluster_get_file(crews->cluster);
    for (size_t i = 0; status == REID_OK && i < placement.count; i++)
        if (reidd_cluster_file_find(file, placement.items[i].node) == file->count)
            status = reid_fail(err, REID_ERR_INVALID, "the cluster has no node '%s'",
                               placement.items[i].node);
    if (status == REID_OK) {
        reidd_crew *crew = reid_xcalloc(1, sizeof *crew);
        crew->crews = crews;
        crew->events = crew_events;
        crew->user = user;
        crew->job = reid_xstrdup(spec->job_id);
        crew->name = reid_xstrdup(spec->name ? spec->name : "");
        crew->owner = reid_xstrdup(spec->user ? spec->user : "");
        crew->folder = reid_xstrdup(spec->folder);
        crew->config_path = reid_xstrdup(spec->config_path);
        crew->ticket = reid_xstrdup(spec->ticket);
        crew->attempt = spec->attempt;
        crew->world = spec->ranks;
        crew->grace_ms = spec->grace_ms;
        crew->since_ms = now_ms();
        make_parts(crew, &placement);
        if (spec->adopted)
            remember(crew);
        reid_vec_push(&crews->items, crew);
        plan(crews);
        *ret_crew = crew;
    }
    reidd_placement_fini(&placement);
    return status;
}

void reidd_crew_stop(reidd_crew *crew, int64_t grace_ms)
{
    for (size_t i = 0; crew && i < crew->part_count; i++)
        stop_part(&crew->parts[i], grace_ms);
}

void reidd_crew_look(reidd_crew *crew)
{
    for (size_t i = 0; crew && i < crew->part_count; i++) {
        if (crew->parts[i].state != RUNNING)
            continue;
        Reid__V1__PartKey key = key_of(crew);
        Reid__V1__PartLook look = REID__V1__PART_LOOK__INIT;
        Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
        look.key = &key;
        down.kind_case = REID__V1__NODE_DOWN__KIND_PART_LOOK;
        down.part_look = &look;
        reidd_cluster_send(crew->crews->cluster, crew->parts[i].node, &down, NULL);
    }
}

void reidd_crew_finish(reidd_crew *crew, int64_t limit_ms)
{
    crew->finishing = true;
    crew->until_ms = now_ms() + limit_ms;
    reidd_crew_stop(crew, 0);
    plan(crew->crews);
}

void reidd_crew_close(reidd_crew *crew)
{
    if (!crew)
        return;
    reidd_crews *crews = crew->crews;
    for (size_t i = 0; i < crew->part_count; i++)
        release_agent(&crew->parts[i], "the attempt is over");
    for (size_t i = 0; i < crews->items.count; i++) {
        if (crews->items.items[i] != crew)
            continue;
        reid_vec_remove(&crews->items, i);
        break;
    }
    free_crew(crew);
    plan(crews);
}

/* ---- agents ---- */

static reid_status check_words(const reidd_crew *crew, char *const *words, size_t count,
                               char ***ret_argv, reid_error *err)
{
    char address[REIDD_ADDRESS_BYTES] = "";
    const reidd_cluster *cluster = crew->crews->cluster;
    if (count < 1 || !reidd_part_words_is_orted(words[0]))
        return reid_fail(err, REID_ERR_PERMISSION, "only orted is started on other nodes");
    REID_TRY(reidd_address_resolve(reidd_cluster_self(cluster)->host, address, err));
    const reidd_part_origin origin = {.host = address,
                                      .network = reidd_cluster_get_file(cluster)->network};
    return reidd_part_words_check(words + 1, count - 1, &origin, ret_argv, err);
}

static reid_status begin(crew_part *part, char *const *words, size_t count, reid_error *err)
{
    char **argv = NULL, text[32];
    const reidd_crew *crew = part->crew;
    REID_TRY(check_words(crew, words, count, &argv, err));
    /* First, so that a daemon that comes after this one asks the node. */
    snprintf(text, sizeof text, "%d %d", part->ranks.first, part->ranks.count);
    mark(part, "begun", text);
    reid_error why = {0};
    reid_status status = send_start(part, argv, &why);
    reidd_part_words_free(argv);
    if (status == REID_ERR_UNAVAILABLE || status == REID_ERR_EXHAUSTED) {
        /* Until it is given up it may come (again): so does the agent. */
        unmark(part, "begun");
        return reid_fail(err, REID_ERR_UNAVAILABLE, "%s", why.text);
    }
    if (status != REID_OK) {
        REID_AUTOFREE char *sentence =
            reid_xasprintf("%s cannot be given its ranks: %s", part->node, why.text);
        fail_part(part, sentence);
        return reid_fail(err, REID_ERR_PRECONDITION, "%s", sentence);
    }
    part->state = STARTING;
    mark_clock(part);
    reid_log_info("part starting id=%s attempt=%d node=%s ranks=%d-%d", crew->job, crew->attempt,
                  part->node, part->ranks.first, part->ranks.first + part->ranks.count - 1);
    return REID_OK;
}

reid_status reidd_crew_attach(reidd_crew *crew, const char *host, char *const *words, size_t count,
                              const reidd_agent_events *agent_events, void *user,
                              reidd_agent **ret_agent, reid_error *err)
{
    crew_part *part = find_on(crew, host);
    if (!part)
        return reid_fail(err, REID_ERR_NOT_FOUND, "job %s has no ranks on '%s'", crew->job, host);
    if (part->agent)
        return reid_fail(err, REID_ERR_PRECONDITION, "the ranks on %s have an agent already", host);
    if (part->state == OVER)
        return reid_fail(err, REID_ERR_PRECONDITION, "the ranks on %s have ended", host);
    if (crew->finishing)
        return reid_fail(err, REID_ERR_PRECONDITION, "the attempt is over");
    if (part->state == IDLE)
        REID_TRY(begin(part, words, count, err));
    reidd_agent *agent = reid_xcalloc(1, sizeof *agent);
    agent->events = agent_events;
    agent->user = user;
    agent->part = part;
    part->agent = agent;
    *ret_agent = agent;
    if (part->state == RUNNING)
        agent_events->started(user);
    return REID_OK;
}

void reidd_crew_detach(reidd_agent *agent, bool gone)
{
    if (!agent)
        return;
    crew_part *part = agent->part;
    free(agent);
    if (!part)
        return;
    part->agent = NULL;
    if (gone)
        stop_part(part, REIDD_PART_ABORT_MS);
}

/* ---- start and end ---- */

reidd_crews *reidd_crews_new(uv_loop_t *loop, reidd_cluster *cluster, const char *state_dir,
                             reidd_crews_on_late *on_late, void *user)
{
    reidd_crews *crews = reid_xcalloc(1, sizeof *crews);
    crews->loop = loop;
    crews->cluster = cluster;
    crews->state_dir = reid_xstrdup(state_dir);
    crews->on_late = on_late;
    crews->user = user;
    crews->timer.data = crews;
    uv_timer_init(loop, &crews->timer);
    reidd_cluster_set_parts(cluster, &events, crews);
    return crews;
}

static void on_closed(uv_handle_t *handle)
{
    reidd_crews *crews = handle->data;
    reid_vec_fini(&crews->items);
    free(crews->state_dir);
    free(crews);
}

void reidd_crews_close(reidd_crews *crews)
{
    if (!crews || crews->closing)
        return;
    crews->closing = true;
    while (crews->items.count > 0)
        reidd_crew_close(crews->items.items[0]);
    uv_close((uv_handle_t *)&crews->timer, on_closed);
}
