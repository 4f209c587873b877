/* The members, as the head sees them: their Joins, what they say, and who is silent. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/protocol.h"
#include "daemon/access/role.h"
#include "daemon/cluster/private.h"
#include "version.h"

reidd_remote *reidd_head_find(const reidd_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->remote_count; i++)
        if (strcmp(cluster->remotes[i].place->name, name) == 0)
            return &cluster->remotes[i];
    return NULL;
}

reidd_cluster_view reidd_cluster_look_at(const reidd_cluster *cluster, size_t row)
{
    const reidd_remote *remote = &cluster->remotes[row];
    int64_t silent_ms = reidd_cluster_now_ms() - remote->heard_ms;
    int64_t until_s = 0;
    if (row == 0 && cluster->tls)
        until_s = reid_rpc_tls_until_s(cluster->tls);
    else if (remote->join)
        until_s = reid_rpc_call_peer(remote->join->call)->until_s;
    return (reidd_cluster_view){
        .place = remote->place,
        .weather = remote->weather,
        .heard_s = row == 0       ? 0
                   : remote->ever ? (double)silent_ms / 1000
                                  : -1,
        .since_ms = remote->since_ms,
        .started_ms = row == 0 ? cluster->started_ms : remote->started_ms,
        .until_s = until_s,
    };
}

/* ---- up and down ---- */

static void mark_down(reidd_cluster *cluster, reidd_remote *remote, const char *why)
{
    remote->since_ms = reid_clock_wall_ms();
    reidd_roster_mark(cluster->roster, remote->row, why);
    reid_log_warn("node down name=%s: %s", remote->place->name, why);
    cluster->on_change(cluster->user);
}

/* The Join is over; whether its node is lost is another matter (give_up). */
static void part_from(reidd_join *join, const char *why)
{
    reidd_remote *remote = join->remote;
    join->remote = NULL;
    if (!remote || remote->join != join)
        return;
    remote->join = NULL;
    mark_down(join->cluster, remote, why);
}

static void give_up(reidd_cluster *cluster, reidd_remote *remote)
{
    const char *known = reidd_cluster_note(cluster, remote->place->name);
    REID_AUTOFREE char *why = reid_xstrdup(known);
    remote->lost = true;
    if (cluster->events->on_node_lost)
        cluster->events->on_node_lost(remote->place->name, why, cluster->events_user);
}

/* The peer is told, and the Join is forgotten at once. */
static void cut(reidd_join *join, reid_status status, const char *why)
{
    part_from(join, why);
    reid_rpc_call_finish(join->call, status, why);
}

static void on_close(reid_rpc_call *call)
{
    reidd_join *join = reid_rpc_call_user(call);
    reidd_cluster *cluster = join->cluster;
    if (join->remote && !cluster->closing) {
        REID_AUTOFREE char *why =
            reid_xasprintf("the connection of %s has ended", join->remote->place->name);
        part_from(join, why);
    }
    if (join->before)
        join->before->after = join->after;
    else
        cluster->joins = join->after;
    if (join->after)
        join->after->before = join->before;
    free(join);
}

static void on_drain(reid_rpc_call *call)
{
    reidd_join *join = reid_rpc_call_user(call);
    reidd_cluster *cluster = join->cluster;
    if (!join->remote || !join->remote->refused)
        return;
    join->remote->refused = false;
    if (cluster->events->on_room)
        cluster->events->on_room(join->remote->place->name, cluster->events_user);
}

/* ---- the beat ---- */

typedef REID_VEC(char *) name_list;

static void add_partner(const char *name, void *user)
{
    name_list *list = user;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], name) == 0)
            return;
    reid_vec_push(list, (char *)name);
}

static void send_beat(reidd_join *join)
{
    const reidd_cluster *cluster = join->cluster;
    name_list partners = {0};
    if (cluster->events->each_partner)
        cluster->events->each_partner(join->remote->place->name, add_partner, &partners,
                                      cluster->events_user);
    Reid__V1__NodeBeat beat = REID__V1__NODE_BEAT__INIT;
    Reid__V1__NodeDown down = REID__V1__NODE_DOWN__INIT;
    beat.number = join->cluster->beat_number;
    beat.echo = join->beat_heard;
    beat.watch = partners.items;
    beat.n_watch = partners.count;
    beat.sent_us = reid_clock_mono_ns() / 1000;
    down.kind_case = REID__V1__NODE_DOWN__KIND_BEAT;
    down.beat = &beat;
    reid_rpc_call_send(join->call, &down.base); /* no room: what waits is a sign of life as well */
    reid_vec_fini(&partners);
}

void reidd_head_beat(reidd_cluster *cluster)
{
    int64_t late_ms = reidd_cluster_tick(cluster);
    cluster->beat_number++;
    reidd_succession_tick(cluster);
    for (reidd_join *join = cluster->joins; join; join = join->after) {
        join->heard_ms += late_ms;
        if (join->remote)
            join->remote->heard_ms = join->heard_ms;
        if (cluster->tick_ms - join->heard_ms >= REIDD_SILENCE_MS) {
            REID_AUTOFREE char *why = reid_xasprintf(
                "nothing was heard of %s for %d s",
                join->remote ? join->remote->place->name : "this peer", REIDD_SILENCE_MS / 1000);
            cut(join, REID_ERR_TIMEOUT, why);
        } else if (join->remote) {
            send_beat(join);
        }
    }
    for (size_t i = 1; i < cluster->remote_count; i++) {
        reidd_remote *remote = &cluster->remotes[i];
        if (remote->join || remote->lost)
            continue;
        remote->heard_ms += late_ms;
        if (cluster->tick_ms - remote->heard_ms >= REIDD_SILENCE_MS)
            give_up(cluster, remote);
    }
}

/* ---- what a member says ---- */

static reid_status check_hello(const reidd_join *join, const Reid__V1__NodeHello *hello,
                               reidd_remote **ret_remote, reid_error *err)
{
    const reidd_cluster *cluster = join->cluster;
    const char *name = NULL;
    REID_TRY(reidd_cluster_check_peer(cluster, reid_rpc_call_peer(join->call), &name, err));
    if (name && strcmp(name, hello->name) != 0)
        return reid_fail(err, REID_ERR_PERMISSION, "this is '%s' by its certificate, not '%s'",
                         name, hello->name);
    reidd_remote *remote = reidd_head_find(cluster, hello->name);
    if (!remote || remote->row == 0)
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "the cluster file of the head has no other node '%s'", hello->name);
    *ret_remote = remote;
    REID_AUTOFREE char *peer =
        reid_xasprintf("the reidd of %s (version %s)", hello->name, hello->version);
    int agreed;
    REID_TRY(reid_protocol_agree_within(peer, hello->protocol, REIDD_NODE_OLDEST, REID_PROTOCOL,
                                        &agreed, err));
    if (strcmp(hello->trainer, cluster->trainer) != 0)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "%s has its trainer at '%s', the head at '%s'; programs must be at the "
                         "same place on all nodes",
                         hello->name, hello->trainer, cluster->trainer);
    if (hello->slots < 0 || hello->slots > 4096)
        return reid_fail(err, REID_ERR_INVALID, "a node has 0 to 4096 slots, not %d", hello->slots);
    return REID_OK;
}

static void send_welcome(reidd_join *join, const Reid__V1__NodeHello *hello)
{
    reidd_cluster *cluster = join->cluster;
    Reid__V1__NodeWelcome *welcome = reid_xmalloc(sizeof *welcome);
    Reid__V1__NodeDown *down = reid_xmalloc(sizeof *down);
    reid__v1__node_welcome__init(welcome);
    reid__v1__node_down__init(down);
    down->kind_case = REID__V1__NODE_DOWN__KIND_WELCOME;
    down->welcome = welcome;
    welcome->name = reid_xstrdup(reidd_cluster_self(cluster)->name);
    welcome->version = reid_xstrdup(REID_VERSION);
    welcome->protocol = REID_PROTOCOL;
    welcome->started_ms = cluster->started_ms;
    welcome->generation = cluster->succession.generation;
    if (cluster->events->on_hello)
        cluster->events->on_hello(join->remote->place->name, hello->parts, hello->n_parts, welcome,
                                  cluster->events_user);
    reid_rpc_call_send(join->call, &down->base);
    reid__v1__node_down__free_unpacked(down, NULL);
}

/* Two of one name would take turns, and each would end the other's jobs. */
static reid_status check_twin(const reidd_remote *remote, const Reid__V1__NodeHello *hello,
                              reid_error *err)
{
    if (!remote->join || remote->started_ms == hello->started_ms ||
        reidd_cluster_now_ms() - remote->join->heard_ms >= REIDD_TWIN_MS)
        return REID_OK;
    const char *address = reid_rpc_call_peer(remote->join->call)->address;
    return reid_fail(err, REID_ERR_EXISTS,
                     "another reidd is %s already%s%s; the name is one node's only", hello->name,
                     address && *address ? ", at " : "", address ? address : "");
}

static reid_status take_hello(reidd_join *join, const Reid__V1__NodeHello *hello, reid_error *err)
{
    reidd_cluster *cluster = join->cluster;
    reidd_remote *remote = NULL;
    reid_status status = check_hello(join, hello, &remote, err);
    if (status == REID_OK &&
        !reidd_succession_hear(cluster, hello->name, hello->head, hello->generation))
        status = reid_fail(err, REID_ERR_PRECONDITION, "%s", cluster->succession.rival);
    if (status != REID_OK && remote && !remote->join) {
        const char *known = reidd_cluster_note(cluster, remote->place->name);
        if (strcmp(known, err->text) != 0)
            mark_down(cluster, remote, err->text);
    }
    if (status != REID_OK)
        return status;
    REID_TRY(check_twin(remote, hello, err));
    if (remote->join) { /* it has started anew, or its old connection is dead without a word */
        reidd_join *old = remote->join;
        old->remote = NULL;
        reid_rpc_call_finish(old->call, REID_ERR_CANCELLED, "this node has joined again");
    }
    join->remote = remote;
    remote->join = join;
    remote->heard_ms = join->heard_ms;
    remote->started_ms = hello->started_ms;
    remote->since_ms = reid_clock_wall_ms();
    remote->ever = true;
    remote->lost = remote->refused = false;
    remote->clock = (reidd_clock){0}; /* it may be another machine */
    if (hello->node)
        reidd_cluster_take_weather(cluster, remote, hello->slots, hello->node);
    else
        reidd_roster_learn(cluster->roster, remote->row, hello->slots,
                           cluster->nodes->items[remote->row].gpu_type);
    reidd_roster_mark(cluster->roster, remote->row, NULL);
    reid_log_info("node up name=%s slots=%d version=%s parts=%zu", remote->place->name,
                  hello->slots, hello->version, hello->n_parts);
    send_welcome(join, hello);
    send_beat(join); /* how the clocks differ is known soon */
    cluster->on_change(cluster->user);
    return REID_OK;
}

static void warn_of_clock(reidd_remote *remote)
{
    int64_t ahead_ms = remote->clock.ahead_us / 1000, doubt_ms = remote->clock.doubt_us / 1000;
    bool wrong = llabs(ahead_ms) > REIDD_CLOCK_MS + doubt_ms;
    if (llabs((wrong ? ahead_ms : 0) - remote->told_ahead_ms) <= REIDD_CLOCK_MS / 2 + doubt_ms)
        return;
    remote->told_ahead_ms = wrong ? ahead_ms : 0;
    if (wrong)
        reid_log_warn("node clock name=%s: it is %.1f s %s the head's, and so are the times in the "
                      "logs of ranks there",
                      remote->place->name, (double)llabs(ahead_ms) / 1000,
                      ahead_ms > 0 ? "ahead of" : "behind");
    else
        reid_log_info("node clock name=%s: it is right again", remote->place->name);
}

static void take_clock(reidd_join *join, const Reid__V1__NodeBeat *beat)
{
    reidd_cluster *cluster = join->cluster;
    reidd_remote *remote = join->remote;
    if (!reidd_clock_take(&remote->clock, beat->echo_us, beat->held_us, beat->wall_us,
                          reid_clock_mono_ns() / 1000, reid_clock_wall_ms() * 1000))
        return;
    warn_of_clock(remote);
    if (cluster->events->on_clock)
        cluster->events->on_clock(remote->place->name, cluster->events_user);
}

bool reidd_cluster_clock(const reidd_cluster *cluster, const char *name, int64_t *ret_ahead_ms,
                         int64_t *ret_doubt_ms)
{
    const reidd_remote *remote = reidd_head_find(cluster, name);
    if (!remote || !remote->clock.known)
        return false;
    *ret_ahead_ms = remote->clock.ahead_us / 1000;
    *ret_doubt_ms = reidd_clock_doubt_us(&remote->clock, reid_clock_mono_ns() / 1000) / 1000 + 1;
    return true;
}

static reid_status take_beat(reidd_join *join, const Reid__V1__NodeBeat *beat)
{
    reidd_cluster *cluster = join->cluster;
    join->beat_heard = beat->number;
    take_clock(join, beat);
    if (beat->node)
        reidd_cluster_take_weather(cluster, join->remote,
                                   cluster->nodes->items[join->remote->row].slots, beat->node);
    for (size_t i = 0; i < beat->n_unreachable && cluster->events->on_parted; i++) {
        const reidd_remote *other = reidd_head_find(cluster, beat->unreachable[i]);
        if (other && other->join) /* else it is lost altogether */
            cluster->events->on_parted(join->remote->place->name, other->place->name,
                                       cluster->events_user);
    }
    return REID_OK;
}

static void take_leave(reidd_join *join, const Reid__V1__NodeLeave *leave)
{
    REID_AUTOFREE char *why =
        reid_xasprintf("reidd on %s was stopped%s%.200s", join->remote->place->name,
                       *leave->why ? ": " : "", leave->why);
    cut(join, REID_OK, why);
}

static reid_status take(reidd_join *join, const Reid__V1__NodeUp *up, reid_error *err)
{
    const reidd_cluster *cluster = join->cluster;
    if (!join->remote && up->kind_case == REID__V1__NODE_UP__KIND_HELLO)
        return take_hello(join, up->hello, err);
    if (!join->remote)
        return reid_fail(err, REID_ERR_PRECONDITION, "the first message of a node is its hello");
    switch (up->kind_case) {
    case REID__V1__NODE_UP__KIND_HELLO:
        return reid_fail(err, REID_ERR_PRECONDITION, "a node says hello only once");
    case REID__V1__NODE_UP__KIND_BEAT:
        return take_beat(join, up->beat);
    case REID__V1__NODE_UP__KIND_LEAVE:
        take_leave(join, up->leave);
        return REID_OK;
    case REID__V1__NODE_UP__KIND__NOT_SET:
        return REID_OK; /* something newer than this daemon */
    default:
        if (!cluster->events->on_up)
            return reid_fail(err, REID_ERR_UNSUPPORTED, "this reidd runs no parts of jobs");
        return cluster->events->on_up(join->remote->place->name, up, cluster->events_user, err);
    }
}

static void on_message(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_join *join = reid_rpc_call_user(call);
    reid_error err = {0};
    (void)service;
    if (!join)
        return;
    join->heard_ms = reidd_cluster_now_ms();
    if (join->remote)
        join->remote->heard_ms = join->heard_ms;
    if (take(join, (const Reid__V1__NodeUp *)message, &err) != REID_OK) {
        const char *name = join->remote ? join->remote->place->name : "";
        reid_log_warn("node refused name=%s: %s", name, err.text);
        cut(join, err.code, err.text);
    }
}

static void on_open(reid_rpc_call *call, void *service)
{
    reidd_cluster *cluster = service;
    reid_error err = {0};
    reid_status status = reidd_cluster_check_peer(cluster, reid_rpc_call_peer(call), NULL, &err);
    if (status == REID_OK && reidd_cluster_is_member(cluster))
        status = reid_fail(&err, REID_ERR_PRECONDITION, "%s is not the head; that is %s (%s)",
                           reidd_cluster_self(cluster)->name, reidd_cluster_head(cluster)->name,
                           reidd_cluster_head(cluster)->address);
    if (status != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reidd_join *join = reid_xcalloc(1, sizeof *join);
    join->cluster = cluster;
    join->call = call;
    join->heard_ms = reidd_cluster_now_ms();
    join->after = cluster->joins;
    if (join->after)
        join->after->before = join;
    cluster->joins = join;
    reid_rpc_call_set_user(call, join);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
}

static void ping(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_cluster *cluster = service;
    reid_error err = {0};
    (void)message;
    Reid__V1__NodePong pong = REID__V1__NODE_PONG__INIT;
    if (reidd_cluster_check_peer(cluster, reid_rpc_call_peer(call), NULL, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    pong.name = reidd_cluster_self(cluster)->name;
    if (cluster->succession.head)
        pong.head = cluster->succession.head;
    pong.generation = cluster->succession.generation;
    reid_rpc_call_reply(call, &pong.base);
}

static const reid_rpc_method methods[] = {
    {.path = "/reid.v1.NodeService/Join",
     .input = &reid__v1__node_up__descriptor,
     .output = &reid__v1__node_down__descriptor,
     .kind = REID_RPC_BIDI,
     .role = REIDD_ROLE_NODE,
     .max_request_bytes = REIDD_NODE_MESSAGE,
     .on_message = on_message,
     .on_open = on_open},
    {.path = "/reid.v1.NodeService/Ping",
     .input = &reid__v1__node_ping__descriptor,
     .output = &reid__v1__node_pong__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_NODE,
     .max_request_bytes = 4096,
     .on_message = ping},
};

void reidd_head_serve(reidd_cluster *cluster, reid_rpc_server *server)
{
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), cluster);
}

/* ---- messages to members ---- */

reid_status reidd_cluster_send(reidd_cluster *cluster, const char *name,
                               const Reid__V1__NodeDown *message, reid_error *err)
{
    reidd_remote *remote = reidd_head_find(cluster, name);
    if (!remote || !remote->join)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "node %s is not connected", name);
    reid_status status = reid_rpc_call_send(remote->join->call, &message->base);
    if (status == REID_ERR_EXHAUSTED)
        remote->refused = true;
    return status == REID_OK ? status
                             : reid_fail(err, status, "node %s cannot be told now: %s", name,
                                         reid_status_name(status));
}

/* ---- life ---- */

void reidd_head_init(reidd_cluster *cluster)
{
    cluster->remote_count = cluster->nodes->count;
    cluster->remotes = reid_xcalloc(cluster->remote_count, sizeof *cluster->remotes);
    int64_t now_ms = reidd_cluster_now_ms();
    for (size_t i = 0; i < cluster->remote_count; i++) {
        size_t at = reidd_cluster_file_find(&cluster->file, cluster->nodes->items[i].name);
        cluster->remotes[i] =
            (reidd_remote){.place = &cluster->file.nodes[at], .row = i, .heard_ms = now_ms};
    }
}

void reidd_head_fini(reidd_cluster *cluster)
{
    for (size_t i = 0; i < cluster->remote_count; i++)
        if (cluster->remotes[i].weather)
            reid__v1__node__free_unpacked(cluster->remotes[i].weather, NULL);
    free(cluster->remotes);
}
