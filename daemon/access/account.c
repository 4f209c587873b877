#include "daemon/access/account.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { ENTRY_BYTES = 64 << 10 };

static bool take(const struct passwd *entry, reidd_account *ret_account)
{
    if (!entry || strlen(entry->pw_name) >= sizeof ret_account->name)
        return false;
    *ret_account = (reidd_account){.uid = entry->pw_uid, .gid = entry->pw_gid};
    snprintf(ret_account->name, sizeof ret_account->name, "%s", entry->pw_name);
    snprintf(ret_account->home, sizeof ret_account->home, "%s", entry->pw_dir);
    snprintf(ret_account->shell, sizeof ret_account->shell, "%s", entry->pw_shell);
    return true;
}

static bool by_uid(uid_t uid, reidd_account *ret_account)
{
    REID_AUTOFREE char *buffer = reid_xmalloc(ENTRY_BYTES);
    struct passwd entry, *found = NULL;
    return getpwuid_r(uid, &entry, buffer, ENTRY_BYTES, &found) == 0 && take(found, ret_account);
}

static bool by_name(const char *name, reidd_account *ret_account)
{
    REID_AUTOFREE char *buffer = reid_xmalloc(ENTRY_BYTES);
    struct passwd entry, *found = NULL;
    return getpwnam_r(name, &entry, buffer, ENTRY_BYTES, &found) == 0 && take(found, ret_account);
}

static bool group(const char *name, gid_t *ret_gid)
{
    REID_AUTOFREE char *buffer = reid_xmalloc(ENTRY_BYTES);
    struct group entry, *found = NULL;
    if (getgrnam_r(name, &entry, buffer, ENTRY_BYTES, &found) != 0 || !found)
        return false;
    *ret_gid = found->gr_gid;
    return true;
}

static size_t groups(const reidd_account *account, gid_t *ret_groups, size_t room)
{
    int count = (int)room;
    if (getgrouplist(account->name, account->gid, ret_groups, &count) < 0)
        return room; /* so many were written */
    return (size_t)count;
}

const reidd_accounts reidd_system_accounts = {
    .by_uid = by_uid,
    .by_name = by_name,
    .group = group,
    .groups = groups,
};
