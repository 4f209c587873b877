/* A gRPC client on a libuv loop that never blocks (the rank's link to its daemon). All functions on
 * the loop's thread.
 *
 * Life of a channel: reid_rpc_channel_connect → on_ready → streams → on_lost, or
 * reid_rpc_channel_close. A channel is one connection; it does not reconnect: the user makes a new
 * one, when it likes, after on_lost.
 *
 * Streams may be opened at once, before on_ready: they are sent when the connection stands.
 *
 * on_lost comes at most once, from the loop, after every stream has had its on_close: the
 * connection could not be made, was closed by the peer, or broke. The channel must still be closed
 * with reid_rpc_channel_close.
 *
 * reid_rpc_channel_close ends all streams (their on_close, with CANCELLED, is called from inside
 * this function), and no callback of the channel comes afterwards. The memory goes when the loop
 * has run. It may be called in any callback of the channel or of its streams, but is then the last
 * use of channel and streams.
 *
 * Life of a stream: reid_rpc_channel_open → on_message … → on_close, exactly once, from the loop
 * (or from _channel_close), never from inside another function of this header. The stream is valid
 * until on_close returned.
 *
 * How it ended: OK, the server finished with OK. Otherwise the server's status and sentence,
 * TIMEOUT (timeout_ms passed), CANCELLED (reid_rpc_stream_cancel), UNAVAILABLE (connection lost).
 * After reid_rpc_stream_cancel no on_message comes any more, only on_close.
 *
 * Limits: answers over 64 MiB are refused (EXHAUSTED).
 */
#ifndef REID_RPC_CHANNEL_H
#define REID_RPC_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>
#include <uv.h>

#include "base/status.h"
#include "rpc/peer.h"
#include "rpc/tls.h"

typedef struct reid_rpc_channel reid_rpc_channel;
typedef struct reid_rpc_stream reid_rpc_stream;

typedef struct reid_rpc_channel_events {
    void (*on_ready)(reid_rpc_channel *channel, void *user);                       /* may be NULL */
    void (*on_lost)(reid_rpc_channel *channel, const reid_error *why, void *user); /* may be NULL */
} reid_rpc_channel_events;

typedef struct reid_rpc_stream_events {
    /* Freed after the callback returns. May be NULL: answers are dropped. */
    void (*on_message)(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user);
    void (*on_drain)(reid_rpc_stream *stream, void *user); /* as for server calls; may be NULL */
    /* `end->code` is OK or the failure. May be NULL. */
    void (*on_close)(reid_rpc_stream *stream, const reid_error *end, void *user);
} reid_rpc_stream_events;

/* Starts to connect to `address` ("unix:/path" or "unix:relative"). INVALID: not an address; other
 * failures come by on_lost. timeout_ms: until the server has answered the HTTP/2 preface; 0: 5,000.
 * `events` is copied. */
reid_status reid_rpc_channel_connect(uv_loop_t *loop, const char *address, uint32_t timeout_ms,
                                     const reid_rpc_channel_events *events, void *user,
                                     reid_rpc_channel **ret_channel, reid_error *err);
/* The same to any address; over TCP ("tcp://host:port") with `tls`, which a Unix socket does not
 * use. timeout_ms then covers looking up the host, connecting and the TLS handshake, too. */
reid_status reid_rpc_channel_connect_tls(uv_loop_t *loop, const char *address, reid_rpc_tls *tls,
                                         uint32_t timeout_ms, const reid_rpc_channel_events *events,
                                         void *user, reid_rpc_channel **ret_channel,
                                         reid_error *err);
/* Who serves at the other end; valid from on_ready on. A remote server's role is always "node". */
const reid_rpc_peer *reid_rpc_channel_peer(const reid_rpc_channel *channel);
void reid_rpc_channel_close(reid_rpc_channel *channel); /* NULL is accepted */
bool reid_rpc_channel_is_ready(const reid_rpc_channel *channel);
bool reid_rpc_channel_is_lost(const reid_rpc_channel *channel);

typedef struct reid_rpc_stream_options {
    uint32_t timeout_ms;      /* 0: none; also sent to the server as grpc-timeout */
    uint32_t max_queue_bytes; /* requests waiting; 0: 1 MiB */
    bool paused;              /* begin as after reid_rpc_stream_pause(stream, true) */
    const char *caller; /* "operator ada": in whose name, for servers that believe it; NULL: own */
} reid_rpc_stream_options;

/* Opens a stream for any kind of method. `path` is "/package.Service/Method"; `events` is copied;
 * `options` may be NULL. UNAVAILABLE: the channel is lost, or the server is going away. */
reid_status reid_rpc_channel_open(reid_rpc_channel *channel, const char *path,
                                  const ProtobufCMessageDescriptor *output,
                                  const reid_rpc_stream_events *events, void *user,
                                  const reid_rpc_stream_options *options,
                                  reid_rpc_stream **ret_stream, reid_error *err);

/* Packs and queues a request. EXHAUSTED: the queue is full, nothing was queued, the stream goes on.
 * PRECONDITION: after _half_close. CANCELLED: the stream has ended. An empty queue takes any
 * message. */
reid_status reid_rpc_stream_send(reid_rpc_stream *stream, const ProtobufCMessage *request);
void reid_rpc_stream_half_close(reid_rpc_stream *stream); /* no more requests */
void reid_rpc_stream_cancel(reid_rpc_stream *stream);
/* While paused no on_message comes, and the server is held back by flow control (at most 1 MiB is
 * kept). on_close waits for the messages that came before it. */
void reid_rpc_stream_pause(reid_rpc_stream *stream, bool paused);
/* In on_message only: the answer is not freed after the callback, it is the caller's
 * (protobuf_c_message_free_unpacked(answer, NULL)). */
void reid_rpc_stream_keep(reid_rpc_stream *stream);
size_t reid_rpc_stream_queued(const reid_rpc_stream *stream);

#endif
