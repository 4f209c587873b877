/* A member has no jobs of its own: its ranks' links go on to the head, message by message, on the
 * connection that the member keeps open.
 *
 * When the head is not there the link ends with UNAVAILABLE, and the rank comes again; so it does
 * when the head takes nothing for so long that the queue is full. What comes down is held back by
 * flow control while the rank does not read. */
#include "daemon/api/relay.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "daemon/cluster/cluster.h"
#include "reid/v1/link.pb-c.h"
#include "rpc/channel.h"

#define LINK "/reid.v1.RankService/Link"
#define QUEUE_BYTES (4u << 20) /* of a link on its way up */

struct reidd_relay {
    reid_rpc_call *call;      /* of the rank; NULL: it has gone */
    reid_rpc_stream *stream;  /* to the head; NULL: it has ended */
    Reid__V1__LinkDown *held; /* came down, and had no room */
};

static void free_if_over(reidd_relay *relay)
{
    if (relay->call || relay->stream)
        return;
    if (relay->held)
        reid__v1__link_down__free_unpacked(relay->held, NULL);
    free(relay);
}

static void on_answer(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    reidd_relay *relay = user;
    if (!relay->call || reid_rpc_call_send(relay->call, answer) != REID_ERR_EXHAUSTED)
        return;
    reid_rpc_stream_keep(stream);
    reid_rpc_stream_pause(stream, true);
    relay->held = (Reid__V1__LinkDown *)answer;
}

static void on_stream_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    reidd_relay *relay = user;
    relay->stream = NULL;
    if (relay->call)
        reid_rpc_call_finish(relay->call, end->code, end->code == REID_OK ? NULL : end->text);
    free_if_over(relay);
}

void reidd_relay_drain(reidd_relay *relay)
{
    Reid__V1__LinkDown *held = relay->held;
    if (!held || reid_rpc_call_send(relay->call, &held->base) == REID_ERR_EXHAUSTED)
        return;
    relay->held = NULL;
    reid__v1__link_down__free_unpacked(held, NULL);
    if (relay->stream)
        reid_rpc_stream_pause(relay->stream, false);
}

/* What the rank has said last still goes to the head, which ends the stream then. */
void reidd_relay_close(reidd_relay *relay)
{
    relay->call = NULL;
    if (relay->stream) {
        reid_rpc_stream_half_close(relay->stream);
        reid_rpc_stream_pause(relay->stream, false);
    }
    free_if_over(relay);
}

reid_status reidd_relay_open(reidd_api *api, reid_rpc_call *call, reidd_relay **ret_relay,
                             reid_error *err)
{
    static const reid_rpc_stream_events events = {.on_message = on_answer,
                                                  .on_close = on_stream_close};
    static const reid_rpc_stream_options options = {.max_queue_bytes = QUEUE_BYTES};
    reid_rpc_channel *channel = reidd_cluster_channel(api->cluster);
    if (!channel)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "the head of the cluster is not there");
    reidd_relay *relay = reid_xcalloc(1, sizeof *relay);
    reid_status status = reid_rpc_channel_open(channel, LINK, &reid__v1__link_down__descriptor,
                                               &events, relay, &options, &relay->stream, err);
    if (status != REID_OK) {
        free(relay);
        return status;
    }
    relay->call = call;
    *ret_relay = relay;
    return REID_OK;
}

void reidd_relay_take(reidd_relay *relay, const ProtobufCMessage *message)
{
    if (!relay->stream || !relay->call)
        return;
    if (reid_rpc_stream_send(relay->stream, message) == REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(relay->call, REID_ERR_UNAVAILABLE,
                             "the head of the cluster takes nothing");
}
