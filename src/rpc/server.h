/* A gRPC server on a libuv loop.
 *
 * Life: reid_rpc_server_new → _add_service (rows) → _add_health, _add_reflection → _listen →
 * the loop runs → _shutdown → its on_done → _free. Everything here runs on the loop's thread;
 * nothing blocks.
 *
 * Life of a call:
 *
 * It begins when its request headers are accepted. `on_open`, `on_message` and `on_half_close` of
 * its row are called while it is alive. A UNARY or SERVER_STREAM call gets exactly one on_message,
 * after the client has half-closed.
 *
 * The handler answers with reid_rpc_call_send (any number of times for streams, once for the kinds
 * with one answer) and ends the call with reid_rpc_call_finish; both may be done inside any
 * callback or later, from anywhere on the loop's thread.
 *
 * It ends when the handler finishes it, when its deadline passes, or when the client cancels it or
 * is lost. From then on _send returns CANCELLED, _finish does nothing, and no row callback comes
 * any more. Messages queued before _finish are still delivered, whatever its status; those of a
 * call that was cancelled or ran out of time are dropped.
 *
 * `on_close` is called exactly once for every call that has one, from the loop and never from
 * inside a function of this header (but for reid_rpc_server_free). The call is valid until it
 * returns, and must not be touched afterwards. Set it in the first callback; set on a call that has
 * ended but was not reported yet, it is still called.
 *
 * Callbacks may finish any call, send on any call and start the shutdown; they must not free the
 * server.
 *
 * Limits (see reid_rpc_limits) are applied before memory is allocated. What a peer can cause is
 * answered with a gRPC status; a peer that floods the connection is sent GOAWAY (ENHANCE_YOUR_CALM)
 * and dropped. Texts in requests are valid UTF-8 without NUL bytes, or the call is refused; texts
 * in answers are the handler's care: stock clients refuse a message with a text that is not UTF-8.
 *
 * Wire: "gRPC over HTTP2" of the gRPC project. Not supported: compressed messages (answered
 * UNIMPLEMENTED). TCP is spoken with mutual TLS only (rpc/tls.h).
 */
#ifndef REID_RPC_SERVER_H
#define REID_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <protobuf-c/protobuf-c.h>
#include <uv.h>

#include "base/status.h"
#include "rpc/peer.h"
#include "rpc/tls.h"

typedef struct reid_rpc_server reid_rpc_server;
typedef struct reid_rpc_call reid_rpc_call;

typedef enum reid_rpc_kind {
    REID_RPC_UNARY,         /* one request, one answer */
    REID_RPC_SERVER_STREAM, /* one request, many answers */
    REID_RPC_CLIENT_STREAM, /* many requests, one answer */
    REID_RPC_BIDI,          /* many requests, many answers, in any order */
} reid_rpc_kind;

/* One row per method. The table and its texts must outlive the server. */
typedef struct reid_rpc_method {
    const char *path; /* "/reid.v1.JobService/Submit" */
    const ProtobufCMessageDescriptor *input, *output;
    reid_rpc_kind kind;
    unsigned role;              /* for the guard: who may call it; the rpc layer does not look */
    uint32_t max_request_bytes; /* of one request message; 0: the server's max_message_bytes */
    uint32_t max_queue_bytes;   /* answers waiting in one call; 0: the server's */
    uint32_t deadline_ms;       /* longest life of a call; 0: none but the client's own */
    /* A whole request message. It is freed after the callback returns. Must exist. */
    void (*on_message)(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
    /* The client sends no more. NULL: a CLIENT_STREAM or BIDI call is finished with OK. Not called
     * for the other kinds. */
    void (*on_half_close)(reid_rpc_call *call, void *service);
    /* The call has begun, no message yet. NULL: not interested. */
    void (*on_open)(reid_rpc_call *call, void *service);
} reid_rpc_method;

/* Zero in any field means the default in brackets. */
typedef struct reid_rpc_limits {
    uint32_t max_connections; /* at each socket; who makes way for a further one: crowd.c [256] */
    uint32_t max_per_user;    /* of them of one uid, or over TCP of one name; nodes are not
                               * counted [max_connections] */
    uint32_t max_per_address; /* of them over TCP from one address [64] */
    uint32_t max_handshakes;  /* of them over TCP that have not begun HTTP/2 yet; a further one
                               * ends the oldest of these [256] */
    uint32_t max_tls_per_second; /* handshakes over TCP, ten times as many at once; each costs
                                  * about 1 ms, further ones wait to be accepted [100] */
    uint32_t max_streams;       /* open calls per connection; 8 while the server has 32,768 [128] */
    uint32_t max_message_bytes; /* one request or answer [4 MiB, what stock clients accept] */
    uint32_t max_header_bytes;  /* of a request, counted as HTTP/2 does [16 KiB] */
    uint32_t max_queue_bytes;   /* answers waiting in one call [1 MiB] */
    uint64_t max_unread_bytes;  /* answers waiting in all calls and connections together; streams
                                 * have three quarters of it (room.c) [64 MiB] */
    uint64_t max_receive_bytes; /* unfinished requests of all connections together [64 MiB] */
    uint64_t max_unpacked_bytes; /* one unpacked message [64 MiB], never over 32 × size + 64 KiB */
    uint32_t max_resets_per_second; /* RST_STREAM per connection; ten times as many at once [100] */
    uint32_t
        max_control_per_second;  /* PING, SETTINGS, PRIORITY, empty frames; the same way [100] */
    uint32_t preface_timeout_ms; /* for a new connection to begin HTTP/2, TLS included [10,000] */
    uint32_t quiet_ms;           /* a node that says nothing is asked after it (PING), and dropped
                                  * after as long again [10,000] */
    uint32_t linger_ms; /* a finished call whose last bytes nobody reads is reset after it; any
                         * reading starts it anew [600,000] */
    uint32_t unread_ms; /* answers of which nothing was read for so long may be dropped when others
                         * lack room [2,000] */
} reid_rpc_limits;

/* `limits` may be NULL. The loop must outlive the server. */
reid_status reid_rpc_server_new(uv_loop_t *loop, const reid_rpc_limits *limits,
                                reid_rpc_server **ret_server, reid_error *err);

/* Closes everything at once (calls get their on_close from inside this function) and frees the
 * server; its memory goes when the loop has run once more. Not from a callback of a call. NULL is
 * accepted. */
void reid_rpc_server_free(reid_rpc_server *server);

/* Rows are kept, not copied. A path that is already there is a programmer's error. */
void reid_rpc_server_add_service(reid_rpc_server *server, const reid_rpc_method *methods,
                                 size_t count, void *service);

/* grpc.health.v1.Health. Every added service, and "" for the whole server, is SERVING until the
 * shutdown starts. */
void reid_rpc_server_add_health(reid_rpc_server *server);

/* grpc.reflection.v1.ServerReflection and v1alpha. `descriptors` is a serialized FileDescriptorSet
 * with imports; kept, not copied. INVALID when it cannot be read. */
reid_status reid_rpc_server_add_reflection(reid_rpc_server *server, const uint8_t *descriptors,
                                           size_t size, reid_error *err);

/* Asked once per call before its first callback; anything but OK ends the call with that status and
 * err's sentence. */
typedef reid_status reid_rpc_guard(const reid_rpc_method *method, const reid_rpc_peer *peer,
                                   void *user, reid_error *err);
void reid_rpc_server_set_guard(reid_rpc_server *server, reid_rpc_guard *guard, void *user);

/* Listens at a Unix socket. `mode` are the file's permission bits (such as 0660), whatever the
 * umask. A socket file that nobody listens at is replaced; EXISTS when somebody does, or when the
 * file is not a socket. May be called for several paths. The file is removed when the server ends.
 */
reid_status reid_rpc_server_listen_unix(reid_rpc_server *server, const char *path, unsigned mode,
                                        reid_error *err);

/* The same at any address, "unix:/path" or "tcp://host:port"; over TCP with `tls` (of the role
 * "node"), which a Unix socket does not use, while `mode` is a Unix socket's alone. A host name is
 * looked up at once, and its first address that this machine has is taken; port 0 takes a free one.
 * *ret_bound (may be NULL) is the address as it was bound, such as "tcp://127.0.0.1:40123"; the
 * caller frees it. */
reid_status reid_rpc_server_listen(reid_rpc_server *server, const char *address, reid_rpc_tls *tls,
                                   unsigned mode, char **ret_bound, reid_error *err);

/* Ends gracefully: stops listening, tells health watchers NOT_SERVING, sends GOAWAY, refuses new
 * calls, lets open calls go on for grace_ms, then ends the rest with UNAVAILABLE. on_done (may be
 * NULL) is called from the loop when every connection is closed. A second call only shortens the
 * grace. */
void reid_rpc_server_shutdown(reid_rpc_server *server, uint32_t grace_ms,
                              void (*on_done)(void *user), void *user);

size_t reid_rpc_server_connections(const reid_rpc_server *server);
size_t reid_rpc_server_calls(
    const reid_rpc_server *server); /* open calls and those still sending their last bytes */

/* ---- calls ---- */

/* Packs `answer` and queues it. The message is still the caller's.
 * EXHAUSTED: the call's queue is full, or all calls together have max_unread_bytes (nothing is
 * queued, the call goes on; wait for on_drain, or count what was missed). Otherwise an empty queue
 * takes any message up to max_message_bytes. INVALID: larger than max_message_bytes, or the second
 * answer of a one-answer kind. CANCELLED: the call has ended.
 */
reid_status reid_rpc_call_send(reid_rpc_call *call, const ProtobufCMessage *answer);

/* The same of an answer that is packed already, for one that goes to many calls. The bytes are
 * copied. */
reid_status reid_rpc_call_send_packed(reid_rpc_call *call, const void *bytes, size_t size);

/* Bytes queued and not yet handed to the connection. */
size_t reid_rpc_call_queued(const reid_rpc_call *call);

/* Ends the call. `sentence` goes to the client as grpc-message (cut at 1 KiB; NULL: the status's
 * name when it is an error). OK for a one-answer kind without an answer is turned into INTERNAL. */
void reid_rpc_call_finish(reid_rpc_call *call, reid_status status, const char *sentence);

/* send + finish(OK), or finish with the reason why it could not be sent. For one-answer kinds. */
void reid_rpc_call_reply(reid_rpc_call *call, const ProtobufCMessage *answer);
/* finish(err->code, err->text). */
void reid_rpc_call_fail(reid_rpc_call *call, const reid_error *err);

void reid_rpc_call_set_user(reid_rpc_call *call, void *user);
void *reid_rpc_call_user(const reid_rpc_call *call);
void reid_rpc_call_on_close(reid_rpc_call *call, void (*on_close)(reid_rpc_call *call));
/* Called from the loop when the queue has fallen to a quarter of its limit after having been above
 * it, and after a refused send when it is empty and there is room. */
void reid_rpc_call_on_drain(reid_rpc_call *call, void (*on_drain)(reid_rpc_call *call));

bool reid_rpc_call_ended(const reid_rpc_call *call);
/* How the call ended: what was given to _finish, TIMEOUT (deadline), CANCELLED (by the client, or
 * the client is gone). */
reid_status reid_rpc_call_status(const reid_rpc_call *call);
const reid_rpc_peer *reid_rpc_call_peer(const reid_rpc_call *call);
const reid_rpc_method *reid_rpc_call_method(const reid_rpc_call *call);

#endif
