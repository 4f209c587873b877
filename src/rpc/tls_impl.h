/* Inside of TLS: what tls.c and secure.c share. */
#ifndef REID_RPC_TLS_IMPL_H
#define REID_RPC_TLS_IMPL_H

#include <stdatomic.h>

#include <openssl/ssl.h>

#include "rpc/peer.h"
#include "rpc/tls.h"

struct reid_rpc_tls {
    atomic_uint references;
    SSL_CTX *context; /* for both sides of a connection */
    BIO_METHOD *method;
    reid_rpc_peer self; /* name and role */
};

/* Name and role out of a certificate. INVALID with a phrase ("its certificate has no name"). */
reid_status reid_rpc_tls_read_subject(const X509 *certificate, reid_rpc_peer *ret_peer,
                                      reid_error *err);
/* "node", "viewer", "operator" or "admin". */
bool reid_rpc_role_is_known(const char *role);
/* Letters, digits and ".-_@", not beginning with '-' or '.', at most 64. */
bool reid_rpc_name_is_valid(const char *name);

#endif
