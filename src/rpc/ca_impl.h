/* Inside of the authority: what ca.c and revoke.c share. */
#ifndef REID_RPC_CA_IMPL_H
#define REID_RPC_CA_IMPL_H

#include <openssl/x509.h>

#include "base/status.h"

typedef struct reid_rpc_authority {
    X509 *certificate;
    EVP_PKEY *key;
} reid_rpc_authority;

reid_status reid_rpc_authority_open(const char *dir, reid_rpc_authority *ret_ca, reid_error *err);
void reid_rpc_authority_fini(reid_rpc_authority *ca);

#endif
