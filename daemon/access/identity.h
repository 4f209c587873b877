/* Files of other users. A daemon that runs as root opens what lies in a user's folder with that
 * user's rights, not with its own: a link, or a name that leads elsewhere, gives nobody more than
 * he has. The calling thread alone is switched, and only for files (setfsuid(2)): signals, sockets
 * and the other threads stay the daemon's. A daemon that is not root, and a folder of root's, need
 * nothing and cost a stat. Linux only.
 */
#ifndef REIDD_ACCESS_IDENTITY_H
#define REIDD_ACCESS_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct reidd_identity {
    bool switched;
    uid_t uid, now; /* what it was before, and is */
    gid_t gid;
    gid_t *groups;
    int group_count;
} reidd_identity;

/* The folder's owner, with its group and no further ones. */
reidd_identity reidd_identity_of_owner(const char *folder);
/* An account with all its groups; unknown ones have only their uid, and the group nobody has. */
reidd_identity reidd_identity_of_user(uid_t uid);
/* Back to what it was. Zeroed ones are accepted. */
void reidd_identity_leave(reidd_identity *identity);

/* Until the end of the block. */
#define REIDD_AS_OWNER(folder)                                                                     \
    __attribute__((cleanup(reidd_identity_leave), unused)) reidd_identity reidd_identity_here =    \
        reidd_identity_of_owner(folder)
#define REIDD_AS_USER(uid)                                                                         \
    __attribute__((cleanup(reidd_identity_leave), unused)) reidd_identity reidd_identity_here =    \
        reidd_identity_of_user(uid)

#endif
