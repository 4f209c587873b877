/* Inside of TLS: what tls.c and secure.c share. */
#ifndef REID_RPC_TLS_IMPL_H
#define REID_RPC_TLS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <openssl/ssl.h>

#include "rpc/peer.h"
#include "rpc/tls.h"

enum { REID_RPC_TLS_FILES = 4 };

/* What a file was when it was read. */
typedef struct reid_rpc_tls_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
} reid_rpc_tls_mark;

struct reid_rpc_tls {
    atomic_uint references;
    BIO_METHOD *method;
    char *dir;
    reid_rpc_peer self;   /* name and role; they never change */
    pthread_mutex_t lock; /* for what follows */
    SSL_CTX *context;     /* for both sides of a connection */
    unsigned generation;  /* how often that has changed */
    reid_rpc_tls_mark marks[REID_RPC_TLS_FILES];
    int64_t looked_ns, warned_ns; /* warned: of the own certificate's end, or looked whether to */
};

/* The context as the files are now, and its generation; free with SSL_CTX_free. */
SSL_CTX *reid_rpc_tls_context(reid_rpc_tls *tls, unsigned *ret_generation);
/* Of the context as the files are now. */
unsigned reid_rpc_tls_generation(reid_rpc_tls *tls);

/* For reading PEM: the library would ask at the terminal otherwise. */
int reid_rpc_no_password(char *buffer, int size, int writing, void *user);

/* Name and role out of a certificate. INVALID with a phrase ("its certificate has no name"). */
reid_status reid_rpc_tls_read_subject(const X509 *certificate, reid_rpc_peer *ret_peer,
                                      reid_error *err);
/* "node", "viewer", "operator" or "admin". */
bool reid_rpc_role_is_known(const char *role);
/* Letters, digits and ".-_@", not beginning with '-' or '.', at most 64. */
bool reid_rpc_name_is_valid(const char *name);

#endif
