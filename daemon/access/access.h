/* Who a caller is: name, role, local account.
 *
 * Over the Unix socket the kernel tells the uid: root and the daemon's own user are admins, others
 * have the highest role that one of their groups gives them. Over TCP the certificate tells name
 * and role; the local account is the one of that name, where there is one.
 *
 * What the system's databases say about a uid or a name is kept for some seconds: a change of
 * groups counts after that time. Loop thread only.
 */
#ifndef REIDD_ACCESS_ACCESS_H
#define REIDD_ACCESS_ACCESS_H

#include <stdint.h>

#include "daemon/access/account.h"
#include "daemon/access/role.h"
#include "rpc/peer.h"

typedef struct reidd_access reidd_access;

typedef struct reidd_access_options {
    const char *viewers, *operators, *admins; /* names of groups; NULL: none */
    uid_t own_uid;                            /* the daemon's */
    const reidd_accounts *accounts;           /* NULL: the system's */
} reidd_access_options;

/* NOT_FOUND: there is no such group. */
reid_status reidd_access_new(const reidd_access_options *options, reidd_access **ret_access,
                             reid_error *err);
void reidd_access_free(reidd_access *access); /* NULL is accepted */

typedef struct reidd_caller {
    reidd_role role;
    bool remote;
    char name[REIDD_ACCOUNT_NAME_BYTES]; /* "uid1234" for a local one without an account */
    bool has_uid;                        /* a local caller, or a remote one with an account */
    uid_t uid;
} reidd_caller;

void reidd_access_caller(reidd_access *access, const reid_rpc_peer *peer, int64_t now_ms,
                         reidd_caller *ret_caller);

/* PERMISSION with a sentence when the caller's role does not suffice. */
reid_status reidd_caller_check_role(const reidd_caller *caller, reidd_role needed, reid_error *err);
/* The same when the caller may not act on a job that `user` (uid) has submitted. */
reid_status reidd_caller_check_owner(const reidd_caller *caller, const char *job_id,
                                     const char *user, uid_t uid, reid_error *err);

#endif
