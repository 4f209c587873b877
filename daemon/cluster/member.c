/* A member's way to the head: connect, say hello, speak every second, and begin again when it is
 * lost. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/protocol.h"
#include "daemon/cluster/private.h"
#include "version.h"

#define CONNECT_MS 3000 /* shorter than TCP's own patience: a healed network is found soon */

static void try_join(uv_timer_t *timer);

static void plan_join(reidd_cluster *cluster)
{
    if (cluster->closing || cluster->leaving)
        return;
    uv_timer_start(&cluster->join_timer, try_join, cluster->wait_ms, 0);
    cluster->wait_ms = REID_MIN(cluster->wait_ms * 2, (uint64_t)REIDD_JOIN_MOST_MS);
}

static void note(reidd_cluster *cluster, const char *why)
{
    reidd_node_set_text(&cluster->note, why);
    if (cluster->logged && strcmp(cluster->logged, why) == 0)
        return;
    reidd_node_set_text(&cluster->logged, why);
    reid_log_warn("cluster without head: %s", why);
}

/* The connection is of no use any more. `why` may be a text of the channel. */
static void lose(reidd_cluster *cluster, const char *why)
{
    reid_rpc_channel *channel = cluster->channel;
    bool was_welcome = cluster->welcome;
    if (!channel)
        return;
    if (!cluster->leaving)
        note(cluster, why);
    cluster->channel = NULL;
    cluster->stream = NULL;
    cluster->welcome = cluster->refused = false;
    cluster->beat_sent_us = 0;
    reid_rpc_channel_close(channel);
    if (was_welcome)
        cluster->wait_ms = REIDD_JOIN_LEAST_MS;
    if (was_welcome && cluster->events->on_head_lost)
        cluster->events->on_head_lost(cluster->note ? cluster->note : "", cluster->events_user);
    plan_join(cluster);
}

/* ---- what the head says ---- */

static reid_status take_welcome(reidd_cluster *cluster, const Reid__V1__NodeWelcome *welcome,
                                reid_error *err)
{
    const char *head = reidd_cluster_head(cluster)->name;
    if (strcmp(welcome->name, head) != 0)
        return reid_fail(err, REID_ERR_PRECONDITION, "the head's address is served by '%s', not %s",
                         welcome->name, head);
    REID_AUTOFREE char *peer =
        reid_xasprintf("the reidd of the head %s (version %s)", head, welcome->version);
    int agreed;
    REID_TRY(reid_protocol_agree_within(peer, welcome->protocol, REIDD_NODE_OLDEST, REID_PROTOCOL,
                                        &agreed, err));
    cluster->welcome = true;
    cluster->wait_ms = REIDD_JOIN_LEAST_MS;
    reidd_node_set_text(&cluster->note, NULL);
    reidd_node_set_text(&cluster->logged, NULL);
    reidd_succession_follow(cluster, welcome->generation);
    reid_log_info("cluster joined head=%s version=%s", head, welcome->version);
    if (cluster->events->on_welcome)
        cluster->events->on_welcome(welcome, cluster->events_user);
    return REID_OK;
}

static void send_beat(reidd_cluster *cluster, char **unreachable, size_t count);

static void take_beat(reidd_cluster *cluster, const Reid__V1__NodeBeat *beat)
{
    bool first = cluster->beat_sent_us == 0;
    cluster->beat_heard = beat->number;
    cluster->beat_sent_us = beat->sent_us;
    cluster->beat_heard_us = reid_clock_mono_ns() / 1000;
    reidd_peers_set(cluster, beat->watch, beat->n_watch);
    if (first && cluster->welcome)
        send_beat(cluster, NULL, 0);
}

static reid_status take(reidd_cluster *cluster, const Reid__V1__NodeDown *down, reid_error *err)
{
    switch (down->kind_case) {
    case REID__V1__NODE_DOWN__KIND_WELCOME:
        if (!cluster->welcome)
            return take_welcome(cluster, down->welcome, err);
        return reid_fail(err, REID_ERR_PRECONDITION, "the head has said welcome twice");
    case REID__V1__NODE_DOWN__KIND_BEAT:
        take_beat(cluster, down->beat);
        return REID_OK;
    case REID__V1__NODE_DOWN__KIND__NOT_SET:
        return REID_OK; /* something newer than this daemon */
    default:
        if (!cluster->welcome)
            return reid_fail(err, REID_ERR_PRECONDITION, "the head has not said welcome");
        if (!cluster->events->on_down)
            return reid_fail(err, REID_ERR_UNSUPPORTED, "this reidd runs no parts of jobs");
        return cluster->events->on_down(down, cluster->events_user, err);
    }
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    reidd_cluster *cluster = user;
    reid_error err = {0};
    if (stream != cluster->stream)
        return;
    cluster->heard_ms = reidd_cluster_now_ms();
    if (take(cluster, (const Reid__V1__NodeDown *)answer, &err) != REID_OK)
        lose(cluster, err.text);
}

static void on_drain(reid_rpc_stream *stream, void *user)
{
    reidd_cluster *cluster = user;
    if (stream != cluster->stream || !cluster->refused)
        return;
    cluster->refused = false;
    if (cluster->events->on_room)
        cluster->events->on_room(reidd_cluster_head(cluster)->name, cluster->events_user);
}

static void on_stream_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    reidd_cluster *cluster = user;
    if (stream == cluster->stream)
        lose(cluster, end->code == REID_OK ? "the head has ended the connection" : end->text);
}

static void on_lost(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    reidd_cluster *cluster = user;
    if (channel == cluster->channel)
        lose(cluster, why->text);
}

/* ---- what is said to the head ---- */

static reid_status send_up(reidd_cluster *cluster, const Reid__V1__NodeUp *up)
{
    return reid_rpc_stream_send(cluster->stream, &up->base);
}

static void send_hello(reidd_cluster *cluster)
{
    Reid__V1__NodeHello *hello = reid_xmalloc(sizeof *hello);
    Reid__V1__NodeUp *up = reid_xmalloc(sizeof *up);
    reid__v1__node_hello__init(hello);
    reid__v1__node_up__init(up);
    up->kind_case = REID__V1__NODE_UP__KIND_HELLO;
    up->hello = hello;
    hello->name = reid_xstrdup(reidd_cluster_self(cluster)->name);
    hello->protocol = REID_PROTOCOL;
    hello->version = reid_xstrdup(REID_VERSION);
    hello->started_ms = cluster->started_ms;
    hello->slots = cluster->slots;
    hello->head = reid_xstrdup(cluster->succession.head ? cluster->succession.head : "");
    hello->generation = cluster->succession.generation;
    hello->shim = reid_xstrdup(cluster->shim);
    hello->trainer = reid_xstrdup(cluster->trainer);
    hello->node = cluster->weather;
    if (cluster->events->on_joining)
        cluster->events->on_joining(hello, cluster->events_user);
    send_up(cluster, up); /* an empty queue takes it */
    hello->node = NULL;
    reid__v1__node_up__free_unpacked(up, NULL);
}

static void try_join(uv_timer_t *timer)
{
    static const reid_rpc_channel_events channel_events = {.on_lost = on_lost};
    static const reid_rpc_stream_events stream_events = {
        .on_message = on_message, .on_drain = on_drain, .on_close = on_stream_close};
    static const reid_rpc_stream_options options = {.max_queue_bytes = REIDD_NODE_QUEUE};
    reidd_cluster *cluster = timer->data;
    const reidd_cluster_node *head = reidd_cluster_head(cluster);
    reid_error err = {0};
    cluster->heard_ms = reidd_cluster_now_ms();
    reid_status status =
        reid_rpc_channel_connect_tls(cluster->loop, head->address, cluster->tls, CONNECT_MS,
                                     &channel_events, cluster, &cluster->channel, &err);
    if (status == REID_OK)
        status = reid_rpc_channel_open(cluster->channel, "/reid.v1.NodeService/Join",
                                       &reid__v1__node_down__descriptor, &stream_events, cluster,
                                       &options, &cluster->stream, &err);
    if (status == REID_OK) {
        send_hello(cluster);
        return;
    }
    note(cluster, err.text);
    reid_rpc_channel_close(cluster->channel);
    cluster->channel = NULL;
    plan_join(cluster);
}

static void send_beat(reidd_cluster *cluster, char **unreachable, size_t count)
{
    Reid__V1__NodeBeat beat = REID__V1__NODE_BEAT__INIT;
    Reid__V1__NodeUp up = REID__V1__NODE_UP__INIT;
    beat.number = ++cluster->beat_number;
    beat.echo = cluster->beat_heard;
    beat.node = cluster->weather_new ? cluster->weather : NULL;
    beat.n_unreachable = count;
    beat.unreachable = unreachable;
    beat.echo_us = cluster->beat_sent_us;
    beat.held_us = reid_clock_mono_ns() / 1000 - cluster->beat_heard_us;
    beat.wall_us = reid_clock_wall_ms() * 1000;
    up.kind_case = REID__V1__NODE_UP__KIND_BEAT;
    up.beat = &beat;
    if (send_up(cluster, &up) == REID_OK)
        cluster->weather_new = false;
}

void reidd_member_beat(reidd_cluster *cluster)
{
    int64_t late_ms = reidd_cluster_tick(cluster);
    char *unreachable[REIDD_PEERS_TOLD];
    size_t unreachable_count = reidd_peers_tick(cluster, late_ms, unreachable, REIDD_PEERS_TOLD);
    if (!cluster->channel)
        return;
    cluster->heard_ms += late_ms;
    int64_t patience_ms = cluster->welcome ? REIDD_RESTLESS_MS : REIDD_SILENCE_MS;
    if (cluster->tick_ms - cluster->heard_ms >= patience_ms) {
        REID_AUTOFREE char *why =
            reid_xasprintf("nothing was heard of the head %s for %d s",
                           reidd_cluster_head(cluster)->name, (int)(patience_ms / 1000));
        lose(cluster, why);
        return;
    }
    if (cluster->welcome)
        send_beat(cluster, unreachable, unreachable_count);
}

reid_status reidd_cluster_report(reidd_cluster *cluster, const Reid__V1__NodeUp *message,
                                 reid_error *err)
{
    if (!cluster->welcome)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "the head %s is not connected",
                         reidd_cluster_head(cluster)->name);
    reid_status status = send_up(cluster, message);
    if (status == REID_ERR_EXHAUSTED)
        cluster->refused = true;
    return status == REID_OK
               ? status
               : reid_fail(err, status, "the head %s cannot be told now: %s",
                           reidd_cluster_head(cluster)->name, reid_status_name(status));
}

reid_rpc_channel *reidd_cluster_channel(const reidd_cluster *cluster)
{
    return cluster->welcome ? cluster->channel : NULL;
}

/* ---- life ---- */

void reidd_member_start(reidd_cluster *cluster)
{
    cluster->wait_ms = REIDD_JOIN_LEAST_MS;
    reidd_node_set_text(&cluster->note, "the head was not found yet");
    uv_timer_start(&cluster->join_timer, try_join, 0, 0);
}

void reidd_member_leave(reidd_cluster *cluster)
{
    uv_timer_stop(&cluster->join_timer);
    if (!cluster->welcome)
        return;
    Reid__V1__NodeLeave leave = REID__V1__NODE_LEAVE__INIT;
    Reid__V1__NodeUp up = REID__V1__NODE_UP__INIT;
    up.kind_case = REID__V1__NODE_UP__KIND_LEAVE;
    up.leave = &leave;
    send_up(cluster, &up);
    reid_rpc_stream_half_close(cluster->stream);
}

void reidd_member_close(reidd_cluster *cluster)
{
    reid_rpc_channel *channel = cluster->channel;
    cluster->channel = NULL;
    cluster->stream = NULL;
    cluster->welcome = false;
    reid_rpc_channel_close(channel);
    reidd_peers_set(cluster, NULL, 0);
}

void reidd_member_fini(reidd_cluster *cluster)
{
    free(cluster->note);
    free(cluster->logged);
    reid_vec_fini(&cluster->peers);
}
