#include "daemon/access/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"
#include "daemon/access/account.h"

#define NO_GROUP ((gid_t)65534)

/* Of this thread; the library's function would change all threads. */
static void set_groups(const gid_t *groups, int count)
{
    long rc = syscall(SYS_setgroups, count, groups);
    REID_ASSERT(rc == 0);
}

static void set_ids(uid_t uid, gid_t gid)
{
    setfsgid(gid);
    setfsuid(uid);
    /* They tell no failure: an invalid id changes nothing and returns what is set. */
    REID_ASSERT((uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid);
}

static reidd_identity enter(uid_t uid, gid_t gid, const gid_t *groups, int count)
{
    reidd_identity before = {.switched = true, .uid = geteuid(), .now = uid, .gid = getegid()};
    before.group_count = getgroups(0, NULL);
    if (before.group_count > 0) {
        before.groups = reid_xcalloc((size_t)before.group_count, sizeof *before.groups);
        before.group_count = getgroups(before.group_count, before.groups);
    }
    REID_ASSERT(before.group_count >= 0);
    set_groups(groups, count);
    set_ids(uid, gid);
    return before;
}

reidd_identity reidd_identity_of_owner(const char *folder)
{
    struct stat info;
    if (geteuid() != 0 || stat(folder, &info) != 0 || info.st_uid == 0)
        return (reidd_identity){0};
    return enter(info.st_uid, info.st_gid, NULL, 0);
}

reidd_identity reidd_identity_of_user(uid_t uid)
{
    reidd_account account;
    if (geteuid() != 0 || uid == 0)
        return (reidd_identity){0};
    if (!reidd_system_accounts.by_uid(uid, &account))
        return enter(uid, NO_GROUP, NULL, 0);
    gid_t *groups = reid_xcalloc(REIDD_ACCOUNT_GROUPS, sizeof *groups);
    size_t count = reidd_system_accounts.groups(&account, groups, REIDD_ACCOUNT_GROUPS);
    reidd_identity before = enter(uid, account.gid, groups, (int)count);
    free(groups);
    return before;
}

void reidd_identity_leave(reidd_identity *identity)
{
    if (!identity->switched)
        return;
    int kept = errno; /* the caller has yet to look */
    set_ids(identity->uid, identity->gid);
    set_groups(identity->groups, identity->group_count);
    free(identity->groups);
    *identity = (reidd_identity){0};
    errno = kept;
}
