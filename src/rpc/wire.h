/* One HTTP/2 connection: a non-blocking socket, an nghttp2 session, TLS between them or not, and a
 * libuv poll handle. Loop's thread.
 *
 * The owner makes the session (with its own nghttp2 callbacks) and gives it to reid_rpc_wire_init;
 * the wire reads and feeds it, and writes what it has after reid_rpc_wire_touch, in one go before
 * the loop waits. nghttp2 must not be entered twice, so the owner's callbacks only submit, they
 * never flush.
 *
 * on_broken comes once, outside of the session: the peer closed, the socket or the protocol failed,
 * or the session is over (`why` is a phrase for people). The owner then calls _close (it may also
 * do so unasked, even within a session callback); on_closed comes later from the loop, and only
 * then may the memory go.
 */
#ifndef REID_RPC_WIRE_H
#define REID_RPC_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>
#include <uv.h>

#include "rpc/frame.h"
#include "rpc/pump.h"
#include "rpc/secure.h"
#include "rpc/sieve.h"

typedef struct reid_rpc_wire {
    reid_rpc_pump *pump;
    nghttp2_session *session;
    void (*on_broken)(struct reid_rpc_wire *wire, const char *why);
    void (*on_closed)(struct reid_rpc_wire *wire);
    void (*on_secured)(struct reid_rpc_wire *wire); /* TLS stands, nothing was read; may be NULL */
    reid_rpc_secure *secure;                        /* NULL: no TLS */
    reid_rpc_sieve
        *sieve; /* of the owner, for what a client sends; NULL: all goes to the session */
    void (*on_left_out)(struct reid_rpc_wire *wire); /* the sieve has kept something back */
    uv_poll_t poll;
    int fd; /* -1: not yet connected, or closed */
    int events;
    size_t max_waiting_frames; /* while the peer reads nothing and so many frames wait, nothing is
                                  read from it; 0: off */
    uint32_t linger_ms; /* after the session's end: its last frames are out, the write side is shut,
                           and the socket stays so long for a peer that is still writing (an early
                           close would cost it the frames that it has not read yet); 0: closed at
                           once */
    reid_rpc_alarm linger;
    reid_rpc_alarm trust; /* looks whether the peer's certificate still counts */
    reid_rpc_alarm pulse; /* see reid_rpc_wire_watch */
    uint32_t pulse_ms;
    uint64_t pulse_bytes_in;
    bool pinged;
    reid_rpc_task flush;
    uint8_t *rest; /* bytes that the socket did not take */
    size_t rest_bytes, rest_sent;
    reid_rpc_quota *quota; /* counts bytes that the socket did not take; NULL: nobody does */
    size_t counted;
    uint64_t bytes_in, bytes_out;
    bool in_session, shut, broken, closing;
} reid_rpc_wire;

/* Owns the session from here on. */
void reid_rpc_wire_init(reid_rpc_wire *wire, reid_rpc_pump *pump, nghttp2_session *own_session,
                        void (*on_broken)(reid_rpc_wire *wire, const char *why),
                        void (*on_closed)(reid_rpc_wire *wire));
/* A connected, non-blocking socket; owned from here on, also on failure. Returns 0 or a libuv
 * error. */
int reid_rpc_wire_attach(reid_rpc_wire *wire, int own_fd);
/* The same with TLS, which is owned from here on, too. Its failure is on_broken's, and then
 * secure->refused is set. */
int reid_rpc_wire_attach_secure(reid_rpc_wire *wire, int own_fd, reid_rpc_secure *own_secure);
/* From now on it is looked every `quiet_ms` whether the peer has said anything since: if not, it is
 * sent a PING, and if nothing comes by the next look the wire breaks: two to three times as long
 * after its last word. For peers whose loop always runs. */
void reid_rpc_wire_watch(reid_rpc_wire *wire, uint32_t quiet_ms);
void reid_rpc_wire_touch(reid_rpc_wire *wire); /* the session has something to write */
void reid_rpc_wire_close(reid_rpc_wire *wire);
/* Whether bytes wait for the peer to read. */
bool reid_rpc_wire_stuck(const reid_rpc_wire *wire);

#endif
