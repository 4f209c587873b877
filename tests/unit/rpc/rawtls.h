/* TLS peers that do what they are told, right or wrong: OpenSSL itself over blocking TCP sockets of
 * 127.0.0.1, and certificates of all kinds. */
#ifndef REID_TESTS_RPC_RAWTLS_H
#define REID_TESTS_RPC_RAWTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "rpc/ca.h"

/* folder/name with ca.pem, cert.pem and key.pem by the authority in `folder`, which is made when
 * there is none. Hosts with commas; NULL: none. Begins `begin_days` from now. Caller frees. */
char *rawtls_issue(const char *folder, const char *name, const char *role, const char *hosts,
                   int begin_days, int days);

/* The port of "tcp://127.0.0.1:40123". */
uint16_t rawtls_port(const char *address);
int rawtls_connect(uint16_t port);     /* a plain TCP connection; ends the process on failure */
int rawtls_bind(uint16_t *ret_port);   /* to a free port, without listening */
int rawtls_listen(uint16_t *ret_port); /* at a free port */
bool rawtls_is_closed(int fd, int within_s); /* reads and drops until the peer has closed */

typedef struct rawtls {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
} rawtls;

/* Over a connected socket, owned. `dir` has cert.pem and key.pem of this side; NULL: none. Nothing
 * is verified. `older`: TLS 1.2 at most. `protocols` as ALPN wants them ("\x02h2"); NULL: none. */
rawtls *rawtls_new(int own_fd, const char *dir, bool older, const char *protocols);
bool rawtls_handshake(rawtls *raw, bool server);
/* Everything, or false. */
bool rawtls_write(rawtls *raw, const void *bytes, size_t size);
/* Reads and drops until the peer has closed or sent an alert; false when it has not within 10 s. */
bool rawtls_wait_closed(rawtls *raw);
void rawtls_free(rawtls *raw); /* closes; NULL is accepted */

/* Passes bytes between a client and 127.0.0.1:port in pieces of 1 to `most` bytes, on a thread of
 * its own, one connection after the other. */
typedef struct rawtls_chopper rawtls_chopper;
rawtls_chopper *rawtls_chopper_new(uint16_t port, unsigned most);
uint16_t rawtls_chopper_port(const rawtls_chopper *chopper);
void rawtls_chopper_free(rawtls_chopper *chopper);

#endif
