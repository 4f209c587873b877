/* TCP sockets: listening, connecting without blocking, and what is set on every connection. */
#ifndef REID_RPC_TCP_H
#define REID_RPC_TCP_H

#include <stdint.h>

#include <uv.h>

#include "base/status.h"
#include "rpc/peer.h"

/* A listening, non-blocking socket. The host's addresses are tried in turn. `bound` tells the one
 * that was taken. */
reid_status reid_rpc_tcp_listen(const char *host, uint16_t port, int backlog,
                                char bound[REID_RPC_ENDPOINT_BYTES], int *ret_fd, reid_error *err);

/* No delay of small writes; a peer that has vanished is noticed while the connection is idle (about
 * 20 s), and when it acknowledges nothing for unacked_ms (0: the system's own limit, minutes). */
void reid_rpc_tcp_tune(int fd, uint32_t unacked_ms);

/* Looks a host up and connects to its addresses in turn, each having its share of the time left.
 *
 * Life: _start → on_done, once, from the loop: `fd` is connected, non-blocking and the callee's, or
 * -1, and `why` is a phrase ("Connection refused"). Or _cancel before that, and on_done does not
 * come. After either the object is gone; its memory goes when the loop has run (a look-up under way
 * holds the loop until it has ended). */
typedef struct reid_rpc_dial reid_rpc_dial;
reid_rpc_dial *reid_rpc_dial_start(uv_loop_t *loop, const char *host, uint16_t port,
                                   uint32_t timeout_ms,
                                   void (*on_done)(void *user, int own_fd, const char *why),
                                   void *user);
void reid_rpc_dial_cancel(reid_rpc_dial *dial); /* NULL is accepted */

#endif
