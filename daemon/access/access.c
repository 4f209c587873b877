#include "daemon/access/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

enum { KEPT_MS = 10000, KEPT = 64 };

/* What is known of a uid, or of a remote name. */
typedef struct known {
    bool used, remote, has_account;
    int64_t until_ms;
    char name[REIDD_ACCOUNT_NAME_BYTES];
    uid_t uid;
    gid_t gid;       /* of local ones: that the process has */
    reidd_role role; /* by groups; of local ones */
} known;

typedef struct group_role {
    reidd_role role;
    gid_t gid;
} group_role;

struct reidd_access {
    const reidd_accounts *accounts;
    uid_t own_uid;
    group_role groups[3];
    size_t group_count;
    known kept[KEPT];
    size_t next; /* the place that is used next */
};

static reid_status add_group(reidd_access *access, const char *name, reidd_role role,
                             reid_error *err)
{
    group_role *row = &access->groups[access->group_count];
    if (!name)
        return REID_OK;
    if (!access->accounts->group(name, &row->gid))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no group '%s'", name);
    row->role = role;
    access->group_count++;
    return REID_OK;
}

reid_status reidd_access_new(const reidd_access_options *options, reidd_access **ret_access,
                             reid_error *err)
{
    reidd_access *access = reid_xcalloc(1, sizeof *access);
    access->accounts = options->accounts ? options->accounts : &reidd_system_accounts;
    access->own_uid = options->own_uid;
    reid_status status = add_group(access, options->viewers, REIDD_ROLE_VIEWER, err);
    if (status == REID_OK)
        status = add_group(access, options->operators, REIDD_ROLE_OPERATOR, err);
    if (status == REID_OK)
        status = add_group(access, options->admins, REIDD_ROLE_ADMIN, err);
    if (status == REID_OK)
        *ret_access = access;
    else
        reidd_access_free(access);
    return status;
}

void reidd_access_free(reidd_access *access)
{
    free(access);
}

/* ---- looking up ---- */

static reidd_role role_by_groups(const reidd_access *access, const reidd_account *account,
                                 bool has_account, gid_t gid)
{
    reidd_role role = REIDD_ROLE_NONE;
    size_t count = 0;
    if (access->group_count == 0)
        return role;
    gid_t *list = reid_xcalloc(REIDD_ACCOUNT_GROUPS + 1, sizeof *list);
    if (has_account)
        count = access->accounts->groups(account, list, REIDD_ACCOUNT_GROUPS);
    list[count++] = gid; /* that the process has now */
    for (size_t i = 0; i < access->group_count; i++)
        for (size_t k = 0; k < count; k++)
            if (list[k] == access->groups[i].gid)
                role = REID_MAX(role, access->groups[i].role);
    free(list);
    return role;
}

static known *find(reidd_access *access, const reid_rpc_peer *peer, int64_t now_ms)
{
    for (size_t i = 0; i < KEPT; i++) {
        known *k = &access->kept[i];
        if (!k->used || k->remote != peer->remote || k->until_ms <= now_ms ||
            k->until_ms > now_ms + KEPT_MS)
            continue;
        bool same = peer->remote ? strcmp(k->name, peer->name) == 0
                                 : k->uid == peer->uid && k->gid == peer->gid;
        if (same)
            return k;
    }
    return NULL;
}

static known *learn(reidd_access *access, const reid_rpc_peer *peer, int64_t now_ms)
{
    known *k = &access->kept[access->next++ % KEPT];
    reidd_account account;
    *k = (known){.used = true, .remote = peer->remote, .until_ms = now_ms + KEPT_MS};
    if (peer->remote) {
        snprintf(k->name, sizeof k->name, "%s", peer->name);
        k->has_account = access->accounts->by_name(peer->name, &account);
        k->uid = k->has_account ? account.uid : (uid_t)-1;
        return k;
    }
    k->uid = peer->uid;
    k->gid = peer->gid;
    k->has_account = access->accounts->by_uid(peer->uid, &account);
    if (k->has_account)
        snprintf(k->name, sizeof k->name, "%s", account.name);
    else
        snprintf(k->name, sizeof k->name, "uid%u", (unsigned)peer->uid);
    k->role = role_by_groups(access, &account, k->has_account, peer->gid);
    return k;
}

void reidd_access_caller(reidd_access *access, const reid_rpc_peer *peer, int64_t now_ms,
                         reidd_caller *ret_caller)
{
    const known *k = find(access, peer, now_ms);
    if (!k)
        k = learn(access, peer, now_ms);
    *ret_caller = (reidd_caller){.role = k->role, .remote = peer->remote, .uid = k->uid};
    snprintf(ret_caller->name, sizeof ret_caller->name, "%s", k->name);
    ret_caller->has_uid = !peer->remote || k->has_account;
    if (peer->remote) {
        if (!reidd_role_from_name(peer->role, &ret_caller->role))
            ret_caller->role = REIDD_ROLE_NONE;
    } else if (peer->uid == 0 || peer->uid == access->own_uid) {
        ret_caller->role = REIDD_ROLE_ADMIN;
    }
}

/* ---- judging ---- */

reid_status reidd_caller_check_role(const reidd_caller *caller, reidd_role needed, reid_error *err)
{
    if (reidd_role_suffices(caller->role, needed))
        return REID_OK;
    if (caller->role == REIDD_ROLE_NONE)
        return reid_fail(err, REID_ERR_PERMISSION,
                         "user %s has no role here: neither viewer nor operator nor admin",
                         caller->name);
    const char *role = reidd_role_name(needed == REIDD_ROLE_NONE ? REIDD_ROLE_ADMIN : needed);
    return reid_fail(err, REID_ERR_PERMISSION, "this needs the role %s; user %s is %s", role,
                     caller->name, reidd_role_name(caller->role));
}

reid_status reidd_caller_check_owner(const reidd_caller *caller, const char *job_id,
                                     const char *user, uid_t uid, reid_error *err)
{
    if (caller->role == REIDD_ROLE_ADMIN || (caller->has_uid && caller->uid == uid) ||
        strcmp(caller->name, user) == 0)
        return REID_OK;
    return reid_fail(err, REID_ERR_PERMISSION,
                     "job %s is of user %s: only %s and admins may act on it, not %s", job_id, user,
                     user, caller->name);
}
