/* A certificate authority in a folder: what `reidctl ca` is made of.
 *
 * The folder:  ca.pem      the authority's certificate; goes to every node and user
 *              ca-key.pem  its key (0600); stays here
 *              issued.txt  one line per certificate: serial, last day, role, name
 *              crl.pem     certificates that were revoked, when there are any
 *
 * Keys are EC P-256, signatures ECDSA with SHA-256, serials 126 random bits. Thread-safe.
 */
#ifndef REID_RPC_CA_H
#define REID_RPC_CA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Makes the folder (0700) and an authority in it. EXISTS when there is one. INVALID: a name that no
 * certificate may have, days not in 1 … 36,500. */
reid_status reid_rpc_ca_init(const char *dir, const char *name, int days, reid_error *err);

typedef struct reid_rpc_ca_request {
    const char *name;         /* of the node or the user */
    const char *role;         /* "node", "viewer", "operator" or "admin" */
    const char *const *hosts; /* names and numeric addresses that a node is reached at, beside its
                               * own name; none for users */
    size_t host_count;
    int days;        /* that it is valid; it ends with the authority's at the latest */
    int64_t begin_s; /* seconds from now that it begins at; 0 but in tests. It is valid 5 minutes
                      * earlier, since clocks differ */
} reid_rpc_ca_request;

/* Makes a key and a certificate, and writes ca.pem, cert.pem and key.pem (0600) to the folder `out`
 * (made when missing, 0700). EXISTS when one of cert.pem and key.pem is there. */
reid_status reid_rpc_ca_issue(const char *dir, const reid_rpc_ca_request *request, const char *out,
                              reid_error *err);

/* Adds certificates to the folder's list of revoked ones, crl.pem, which nodes then need in their
 * folders: those with this serial, or all that were issued to this name. *ret_count (may be NULL)
 * tells how many are new in the list. NOT_FOUND: none was issued. */
reid_status reid_rpc_ca_revoke(const char *dir, const char *name_or_serial, unsigned *ret_count,
                               reid_error *err);

/* Whether a folder's crl.pem, when there is one, has this serial. */
bool reid_rpc_ca_has_revoked(const char *dir, const char *serial);

/* What a certificate says. */
typedef struct reid_rpc_certificate {
    bool is_authority;
    char *name, *role;       /* "" when there is none */
    char *issuer;            /* name of the authority */
    char *hosts;             /* "node1, 10.77.0.1" */
    char *serial;            /* hexadecimal */
    int64_t from_s, until_s; /* Unix time */
} reid_rpc_certificate;

/* The first certificate of a PEM file. Free with _fini. */
reid_status reid_rpc_certificate_read(const char *path, reid_rpc_certificate *ret_certificate,
                                      reid_error *err);
void reid_rpc_certificate_fini(reid_rpc_certificate *certificate);

#endif
