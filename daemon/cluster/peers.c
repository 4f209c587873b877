/* Members that have ranks of one job ask each other every second whether they are there: when the
 * network between two of them is cut, the head, which reaches both, would never know, and the job
 * would wait for ever.
 *
 * The head names the nodes to ask (NodeBeat.watch). One that has answered and then does not for
 * REIDD_PARTED_MS is told to the head (NodeBeat.unreachable). One that has never answered is not
 * told: then it may as well be its certificate.
 *
 * A head asks those that have not joined whom they follow (succession.h). */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/cluster/private.h"

#define ANSWER_MS 2000 /* of one question, and of a connection */

struct reidd_peer {
    reidd_cluster *cluster;
    const reidd_cluster_node *place;
    reid_rpc_channel *channel; /* NULL: none at the moment */
    reid_rpc_stream *asking;   /* NULL: no question is open */
    bool wanted, answered, told;
    int64_t answered_ms; /* monotonic */
};

static void drop_channel(reidd_peer *peer)
{
    reid_rpc_channel *channel = peer->channel;
    peer->channel = NULL;
    peer->asking = NULL;
    reid_rpc_channel_close(channel);
}

static void on_pong(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    reidd_peer *peer = user;
    const Reid__V1__NodePong *pong = (const Reid__V1__NodePong *)answer;
    if (stream != peer->asking || strcmp(pong->name, peer->place->name) != 0)
        return;
    if (reidd_cluster_is_head(peer->cluster)) {
        reidd_succession_hear(peer->cluster, peer->place->name, pong->head, pong->generation);
        return;
    }
    peer->answered = true;
    peer->answered_ms = reidd_cluster_now_ms();
    if (peer->told)
        reid_log_info("cluster reaches node=%s again", peer->place->name);
    peer->told = false;
}

static void ask(reidd_peer *peer);

static void on_asked(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    reidd_peer *peer = user;
    if (stream != peer->asking)
        return;
    peer->asking = NULL;
    if (end->code == REID_ERR_TIMEOUT) { /* what is cut may look connected for minutes */
        drop_channel(peer);
        ask(peer);
    }
}

static void on_ready(reid_rpc_channel *channel, void *user)
{
    reidd_peer *peer = user;
    if (channel == peer->channel)
        ask(peer);
}

static void on_lost(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    reidd_peer *peer = user;
    (void)why;
    if (channel != peer->channel)
        return;
    reidd_remote *remote = reidd_head_find(peer->cluster, peer->place->name);
    if (remote && remote->asked == REIDD_ASKED_OPEN)
        remote->asked = REIDD_ASKED_FAILED;
    drop_channel(peer);
}

static void ask(reidd_peer *peer)
{
    static const reid_rpc_channel_events channel_events = {.on_ready = on_ready,
                                                           .on_lost = on_lost};
    static const reid_rpc_stream_events stream_events = {.on_message = on_pong,
                                                         .on_close = on_asked};
    static const reid_rpc_stream_options options = {.timeout_ms = ANSWER_MS};
    const reidd_cluster *cluster = peer->cluster;
    if (!peer->channel &&
        reid_rpc_channel_connect_tls(cluster->loop, peer->place->address, cluster->tls, ANSWER_MS,
                                     &channel_events, peer, &peer->channel, NULL) != REID_OK)
        return;
    if (peer->asking || !reid_rpc_channel_is_ready(peer->channel))
        return;
    Reid__V1__NodePing ping = REID__V1__NODE_PING__INIT;
    ping.from = reidd_cluster_self(cluster)->name;
    if (reid_rpc_channel_open(peer->channel, "/reid.v1.NodeService/Ping",
                              &reid__v1__node_pong__descriptor, &stream_events, peer, &options,
                              &peer->asking, NULL) != REID_OK)
        return;
    reid_rpc_stream_send(peer->asking, &ping.base);
    reid_rpc_stream_half_close(peer->asking);
}

static reidd_peer *find(const reidd_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->peers.count; i++)
        if (strcmp(cluster->peers.items[i]->place->name, name) == 0)
            return cluster->peers.items[i];
    return NULL;
}

static void watch(reidd_cluster *cluster, const char *name)
{
    size_t at = reidd_cluster_file_find(&cluster->file, name);
    reidd_peer *peer = find(cluster, name);
    if (at == cluster->file.count || at == cluster->self)
        return;
    if (!peer) {
        peer = reid_xcalloc(1, sizeof *peer);
        peer->cluster = cluster;
        peer->place = &cluster->file.nodes[at];
        reid_vec_push(&cluster->peers, peer);
    }
    peer->wanted = true;
}

void reidd_peers_set(reidd_cluster *cluster, char *const *names, size_t count)
{
    for (size_t i = 0; i < cluster->peers.count; i++)
        cluster->peers.items[i]->wanted = false;
    for (size_t i = 0; i < count; i++)
        watch(cluster, names[i]);
    for (size_t i = cluster->peers.count; i-- > 0;) {
        reidd_peer *peer = cluster->peers.items[i];
        if (peer->wanted)
            continue;
        reid_vec_remove(&cluster->peers, i);
        drop_channel(peer);
        free(peer);
    }
}

void reidd_peers_ask(reidd_cluster *cluster)
{
    for (size_t i = 0; i < cluster->peers.count; i++)
        ask(cluster->peers.items[i]);
}

size_t reidd_peers_tick(reidd_cluster *cluster, int64_t late_ms, char **names, size_t room)
{
    size_t count = 0;
    int64_t now_ms = reidd_cluster_now_ms();
    for (size_t i = 0; i < cluster->peers.count; i++) {
        reidd_peer *peer = cluster->peers.items[i];
        peer->answered_ms += late_ms;
        ask(peer);
        if (!peer->answered || now_ms - peer->answered_ms < REIDD_PARTED_MS || count == room)
            continue;
        names[count++] = peer->place->name;
        if (!peer->told)
            reid_log_warn("cluster cannot reach node=%s for %d s", peer->place->name,
                          REIDD_PARTED_MS / 1000);
        peer->told = true;
    }
    return count;
}
