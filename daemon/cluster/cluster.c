#include "daemon/cluster/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/cluster/private.h"

static const reidd_part_events no_parts = {0};

int64_t reidd_cluster_now_ms(void)
{
    return reid_clock_mono_ns() / 1000000;
}

/* ---- who ---- */

bool reidd_cluster_is_member(const reidd_cluster *cluster)
{
    return cluster && cluster->self != cluster->file.head;
}

bool reidd_cluster_is_head(const reidd_cluster *cluster)
{
    return !reidd_cluster_is_member(cluster);
}

const reidd_cluster_file *reidd_cluster_get_file(const reidd_cluster *cluster)
{
    return &cluster->file;
}

const reidd_cluster_node *reidd_cluster_self(const reidd_cluster *cluster)
{
    return &cluster->file.nodes[cluster->self];
}

const reidd_cluster_node *reidd_cluster_head(const reidd_cluster *cluster)
{
    return &cluster->file.nodes[cluster->file.head];
}

bool reidd_cluster_is_up(const reidd_cluster *cluster, const char *name)
{
    if (reidd_cluster_is_member(cluster))
        return cluster->welcome;
    const reidd_remote *remote = reidd_head_find(cluster, name);
    return remote && (remote->row == 0 || remote->join);
}

const char *reidd_cluster_note(const reidd_cluster *cluster, const char *name)
{
    if (reidd_cluster_is_member(cluster))
        return cluster->note ? cluster->note : "";
    const reidd_roster_entry *entry = reidd_roster_entry_of(cluster->roster, name);
    return entry && entry->down ? entry->down : "";
}

reid_status reidd_cluster_check_peer(const reidd_cluster *cluster, const reid_rpc_peer *peer,
                                     const char **ret_name, reid_error *err)
{
    const char *name = NULL;
    if (!cluster)
        return reid_fail(err, REID_ERR_PERMISSION, "this reidd is not part of a cluster");
    if (peer->remote) {
        size_t i = reidd_cluster_file_find(&cluster->file, peer->name);
        if (strcmp(peer->role, "node") != 0 || i == cluster->file.count)
            return reid_fail(err, REID_ERR_PERMISSION,
                             "this is for the nodes of the cluster, not for '%s' (%s)", peer->name,
                             peer->role);
        name = cluster->file.nodes[i].name;
    } else if (peer->uid != geteuid()) {
        return reid_fail(err, REID_ERR_PERMISSION,
                         "this is for the reidds of the same user (uid %u), not for uid %u",
                         (unsigned)geteuid(), (unsigned)peer->uid);
    }
    if (ret_name)
        *ret_name = name;
    return REID_OK;
}

bool reidd_cluster_only_viewers(const reidd_cluster *cluster, const reid_rpc_peer *peer)
{
    const reidd_cluster_file *file = &cluster->file;
    size_t i = peer->remote ? reidd_cluster_file_find(file, peer->name) : file->count;
    return i < file->count && file->nodes[i].only_viewers;
}

/* ---- time ---- */

int64_t reidd_cluster_tick(reidd_cluster *cluster)
{
    int64_t now_ms = reidd_cluster_now_ms();
    int64_t late_ms = now_ms - cluster->tick_ms - REIDD_BEAT_MS;
    cluster->tick_ms = now_ms;
    return late_ms > REIDD_BEAT_MS ? late_ms : 0;
}

void reidd_cluster_ask_weather(reidd_cluster *cluster)
{
    int64_t now_ms = reidd_cluster_now_ms();
    if (!cluster->look || now_ms - cluster->look_ms < REIDD_WEATHER_MS)
        return;
    cluster->look_ms = now_ms;
    cluster->look(cluster->user);
}

static void on_beat(uv_timer_t *timer)
{
    reidd_cluster *cluster = timer->data;
    reidd_cluster_ask_weather(cluster);
    if (reidd_cluster_is_member(cluster))
        reidd_member_beat(cluster);
    else
        reidd_head_beat(cluster);
}

/* The type of the GPUs that are slots; "" without any. */
static const char *gpu_type_of(const Reid__V1__Node *weather)
{
    for (size_t i = 0; weather && i < weather->n_gpus; i++)
        if (weather->gpus[i]->offered)
            return weather->gpus[i]->name;
    return "";
}

static Reid__V1__Node *copy_weather(const Reid__V1__Node *node)
{
    size_t size = reid__v1__node__get_packed_size(node);
    uint8_t *bytes = reid_xmalloc(size + 1);
    reid__v1__node__pack(node, bytes);
    Reid__V1__Node *copy = reid__v1__node__unpack(NULL, size, bytes);
    free(bytes);
    return copy;
}

void reidd_cluster_take_weather(reidd_cluster *cluster, reidd_remote *remote, int slots,
                                const Reid__V1__Node *node)
{
    if (remote->weather)
        reid__v1__node__free_unpacked(remote->weather, NULL);
    remote->weather = copy_weather(node);
    if (reidd_roster_learn(cluster->roster, remote->row, slots, gpu_type_of(node)))
        cluster->on_change(cluster->user);
}

void reidd_cluster_set_weather(reidd_cluster *cluster, const Reid__V1__Node *node)
{
    if (cluster->closing)
        return;
    if (cluster->weather)
        reid__v1__node__free_unpacked(cluster->weather, NULL);
    cluster->weather = copy_weather(node);
    cluster->weather_new = true;
    if (reidd_cluster_is_head(cluster))
        reidd_cluster_take_weather(cluster, &cluster->remotes[0], cluster->slots, node);
}

/* ---- life ---- */

void reidd_cluster_set_parts(reidd_cluster *cluster, const reidd_part_events *events, void *user)
{
    cluster->events = events;
    cluster->events_user = user;
}

void reidd_cluster_set_roster(reidd_cluster *cluster, struct reidd_roster *roster)
{
    cluster->roster = roster;
    for (size_t i = 1; i < cluster->remote_count; i++)
        reidd_roster_mark(roster, i, "it has not joined yet");
}

static reid_status find_self(reidd_cluster *cluster, const char *path, const char *node,
                             reid_error *err)
{
    char host[256] = "";
    if (!node && gethostname(host, sizeof host - 1) != 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "this host has no name; give --node NAME");
    cluster->self = reidd_cluster_file_find(&cluster->file, node ? node : host);
    if (cluster->self == cluster->file.count)
        return reid_fail(err, REID_ERR_NOT_FOUND, "'%s' has no node '%s'%s", path,
                         node ? node : host,
                         node ? "" : ", which is this host's name; choose one with --node");
    return REID_OK;
}

/* Over TCP nobody is let in, and nobody is believed, without a certificate. */
static reid_status check_tls(const reidd_cluster *cluster, reid_error *err)
{
    const reidd_cluster_node *self = reidd_cluster_self(cluster);
    const reidd_cluster_node *head = reidd_cluster_head(cluster);
    if (!*self->host && !*head->host)
        return REID_OK;
    if (!cluster->tls)
        return reid_fail(err, REID_ERR_INVALID,
                         "nodes talk over TCP with certificates only: give --tls-dir (see reidctl "
                         "ca --help)");
    const char *name = reid_rpc_tls_name(cluster->tls), *role = reid_rpc_tls_role(cluster->tls);
    if (strcmp(name, self->name) != 0 || strcmp(role, "node") != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "the certificate is for '%s' (%s), but this is the node '%s'", name, role,
                         self->name);
    return REID_OK;
}

static void fill_nodes(reidd_cluster *cluster)
{
    const reidd_cluster_file *file = &cluster->file;
    const reidd_cluster_node *self = reidd_cluster_self(cluster);
    reidd_nodes_add(cluster->nodes, self->name, cluster->slots, NULL);
    if (reidd_cluster_is_member(cluster))
        return;
    for (size_t i = 0; i < file->count; i++) {
        if (i == file->head)
            continue;
        reidd_node *node = reidd_nodes_add(cluster->nodes, file->nodes[i].name, 0, NULL);
        node->unknown = true;
        node->up = false;
    }
    reidd_head_init(cluster);
}

static void on_handle_closed(uv_handle_t *handle)
{
    reidd_cluster *cluster = handle->data;
    if (--cluster->handles > 0)
        return;
    reidd_head_fini(cluster);
    reidd_member_fini(cluster);
    reidd_succession_fini(&cluster->succession);
    if (cluster->weather)
        reid__v1__node__free_unpacked(cluster->weather, NULL);
    reidd_cluster_file_fini(&cluster->file);
    free(cluster->shim);
    free(cluster->trainer);
    reid_rpc_tls_free(cluster->tls);
    free(cluster);
}

static void add_timer(reidd_cluster *cluster, uv_timer_t *timer)
{
    uv_timer_init(cluster->loop, timer);
    timer->data = cluster;
    cluster->handles++;
}

reid_status reidd_cluster_new(uv_loop_t *loop, const reidd_cluster_options *options,
                              reidd_cluster **ret_cluster, reid_error *err)
{
    reidd_cluster_file file = {0};
    REID_TRY(reidd_cluster_file_read(options->file, &file, err));
    reidd_cluster *cluster = reid_xcalloc(1, sizeof *cluster);
    *cluster = (reidd_cluster){
        .loop = loop,
        .file = file,
        .shim = reid_xstrdup(options->shim),
        .trainer = reid_xstrdup(options->trainer),
        .tls = reid_rpc_tls_ref(options->tls),
        .started_ms = options->started_ms,
        .slots = options->slots,
        .nodes = options->nodes,
        .look = options->look,
        .on_change = options->on_change,
        .user = options->user,
        .events = &no_parts,
    };
    add_timer(cluster, &cluster->beat_timer);
    add_timer(cluster, &cluster->join_timer);
    reid_status status = find_self(cluster, options->file, options->node, err);
    if (status == REID_OK)
        status = check_tls(cluster, err);
    if (status != REID_OK) {
        reidd_cluster_close(cluster);
        return status;
    }
    fill_nodes(cluster);
    status = reidd_succession_open(cluster, options->store, options->take_over, err);
    if (status != REID_OK) {
        reidd_cluster_close(cluster);
        return status;
    }
    *ret_cluster = cluster;
    return REID_OK;
}

reid_status reidd_cluster_serve(reidd_cluster *cluster, reid_rpc_server *server, reid_error *err)
{
    const reidd_cluster_node *self = reidd_cluster_self(cluster);
    reidd_head_serve(cluster, server);
    return reid_rpc_server_listen(server, self->address, cluster->tls, 0600, NULL, err);
}

void reidd_cluster_start(reidd_cluster *cluster)
{
    cluster->tick_ms = reidd_cluster_now_ms();
    cluster->look_ms = cluster->tick_ms - REIDD_WEATHER_MS;
    uv_timer_start(&cluster->beat_timer, on_beat, 0, REIDD_BEAT_MS);
    if (reidd_cluster_is_member(cluster))
        reidd_member_start(cluster);
    reid_log_info(
        "cluster %s node=%s nodes=%zu head=%s", reidd_cluster_is_head(cluster) ? "head" : "member",
        reidd_cluster_self(cluster)->name, cluster->file.count, reidd_cluster_head(cluster)->name);
}

void reidd_cluster_leave(reidd_cluster *cluster)
{
    if (!cluster)
        return;
    cluster->leaving = true;
    if (reidd_cluster_is_member(cluster))
        reidd_member_leave(cluster);
}

void reidd_cluster_close(reidd_cluster *cluster)
{
    if (!cluster || cluster->closing)
        return;
    cluster->closing = true;
    reidd_member_close(cluster);
    uv_close((uv_handle_t *)&cluster->beat_timer, on_handle_closed);
    uv_close((uv_handle_t *)&cluster->join_timer, on_handle_closed);
}
