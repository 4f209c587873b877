/* A blocking gRPC client for command-line programs and tests, with a loop of its own inside.
 *
 * Life: reid_rpc_client_connect → _unary, or _start … _next … _stop → _free. One thread at a time.
 * Several streams may be open on one client; a stream that is not read holds only its server back,
 * with at most 1 MiB kept.
 *
 * Errors: the server's status and sentence as they are; UNAVAILABLE with "cannot reach reidd at
 * unix:…" or "the connection to reidd was lost …"; TIMEOUT. A signal makes _next return at once
 * with TIMEOUT and the sentence "interrupted by a signal", and the stream stays usable; _unary and
 * _connect return CANCELLED then. A signal that arrives just before the wait begins is noticed at
 * its end only: wait in slices where a flag must be looked at.
 */
#ifndef REID_RPC_CLIENT_H
#define REID_RPC_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/status.h"
#include "rpc/peer.h"
#include "rpc/tls.h"

typedef struct reid_rpc_client reid_rpc_client;
typedef struct reid_rpc_client_stream reid_rpc_client_stream;

/* Connects and waits until the server has answered. timeout_ms 0: 5,000. */
reid_status reid_rpc_client_connect(const char *address, uint32_t timeout_ms,
                                    reid_rpc_client **ret_client, reid_error *err);
/* The same to any address; over TCP ("tcp://host:port") with `tls`, which a Unix socket does not
 * use. */
reid_status reid_rpc_client_connect_tls(const char *address, reid_rpc_tls *tls, uint32_t timeout_ms,
                                        reid_rpc_client **ret_client, reid_error *err);
/* Who serves at the other end. */
const reid_rpc_peer *reid_rpc_client_peer(const reid_rpc_client *client);
void reid_rpc_client_free(reid_rpc_client *client); /* stops its streams first; NULL is accepted */

/* One request, one answer. Free the answer with protobuf_c_message_free_unpacked(answer, NULL) (or
 * the generated function). timeout_ms 0: no deadline. */
reid_status reid_rpc_client_unary(reid_rpc_client *client, const char *path,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output, uint32_t timeout_ms,
                                  ProtobufCMessage **ret_answer, reid_error *err);

/* Sends one request, half-closes, and leaves the answers to _next. For server-streaming methods. */
reid_status reid_rpc_client_start(reid_rpc_client *client, const char *path,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *output,
                                  reid_rpc_client_stream **ret_stream, reid_error *err);
/* The same without a request, for methods whose requests are a stream: then _send and _half_close.
 */
reid_status reid_rpc_client_open(reid_rpc_client *client, const char *path,
                                 const ProtobufCMessageDescriptor *output,
                                 reid_rpc_client_stream **ret_stream, reid_error *err);
/* Blocks while the queue of requests is full. */
reid_status reid_rpc_client_send(reid_rpc_client_stream *stream, const ProtobufCMessage *request,
                                 uint32_t timeout_ms, reid_error *err);
void reid_rpc_client_half_close(reid_rpc_client_stream *stream);

/* The next answer, or *ret_message NULL and OK at the end. Free the message as above. timeout_ms 0:
 * waits for ever. TIMEOUT (also after a signal) leaves the stream usable; any other failure is its
 * end. */
reid_status reid_rpc_client_next(reid_rpc_client_stream *stream, uint32_t timeout_ms,
                                 ProtobufCMessage **ret_message, reid_error *err);
/* Cancels when it has not ended, and frees the stream. NULL is accepted. */
void reid_rpc_client_stop(reid_rpc_client_stream *stream);

#endif
