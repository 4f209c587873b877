/* TLS of one connection: turns a session's bytes into a socket's and back, in memory. It has no
 * socket and never waits.
 *
 * Life: reid_rpc_secure_new → what the socket gave: _give, then _handshake until it is done, then
 * _read until it gives nothing → what the session has: _write → whatever any of these left in `out`
 * goes to the socket, then _sent → _end (says good-bye) → _free.
 *
 * After a failure `why` is a phrase for people, and `out` may hold an alert for the peer.
 */
#ifndef REID_RPC_SECURE_H
#define REID_RPC_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "rpc/peer.h"
#include "rpc/tls.h"

typedef struct reid_rpc_secure {
    SSL *ssl;
    reid_rpc_tls *tls;
    char *host; /* that the server must be; NULL: we are the server */
    bool established;
    bool refused;        /* one side did not want the other; not set when the peer just went away */
    bool flooding;       /* nothing more is taken from the peer */
    unsigned generation; /* of the files (tls_impl.h) that the peer was believed by */
    unsigned new_keys;   /* that the peer has asked for */
    uint64_t taken_bytes;
    const uint8_t *in; /* from the socket, not yet taken */
    size_t in_bytes;
    uint8_t *out; /* for the socket: from out_sent to out_bytes */
    size_t out_bytes, out_sent, out_capacity;
    reid_rpc_peer peer; /* name and role, when established */
    char why[256];
} reid_rpc_secure;

/* `host` is the name or the numeric address that the server's certificate must have; NULL: of the
 * server's side. NULL when memory is short. */
reid_rpc_secure *reid_rpc_secure_new(reid_rpc_tls *tls, const char *host);
void reid_rpc_secure_free(reid_rpc_secure *secure); /* NULL is accepted */

/* Bytes from the socket; kept by address until _handshake and _read have taken them. */
void reid_rpc_secure_give(reid_rpc_secure *secure, const uint8_t *bytes, size_t size);
/* 1: established, 0: more bytes are needed, -1: failed. The client's first call begins. */
int reid_rpc_secure_handshake(reid_rpc_secure *secure);
/* Plain bytes: how many, 0: none are left in what was given, -1: failed or ended. */
ssize_t reid_rpc_secure_read(reid_rpc_secure *secure, uint8_t *buffer, size_t size);
bool reid_rpc_secure_write(reid_rpc_secure *secure, const uint8_t *bytes, size_t size);
/* Whether the peer would be believed now. Once established. */
bool reid_rpc_secure_recheck(reid_rpc_secure *secure);
void reid_rpc_secure_end(reid_rpc_secure *secure);
/* So many bytes of `out` have gone. */
void reid_rpc_secure_sent(reid_rpc_secure *secure, size_t size);

/* For tls.c: how the library reads and writes, and what is asked of a peer. */
BIO_METHOD *reid_rpc_secure_method(void);
void reid_rpc_secure_configure(SSL_CTX *context);

#endif
