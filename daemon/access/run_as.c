#include "daemon/access/run_as.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "base/vec.h"

#define EXIT_NOT_STARTED 127
#define ID_LIMIT INT64_C(4294967294) /* -1 means "leave it" */

extern char **environ;

reid_status reidd_run_as_find(uid_t uid, uid_t lowest, const reidd_accounts *accounts,
                              bool *ret_other, reidd_account *ret_account, reid_error *err)
{
    accounts = accounts ? accounts : &reidd_system_accounts;
    *ret_other = false;
    if (geteuid() != 0 || uid == 0)
        return REID_OK;
    if (!accounts->by_uid(uid, ret_account))
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "there is no account with uid %u on this node for the job to run as",
                         (unsigned)uid);
    if (uid < lowest)
        return reid_fail(err, REID_ERR_PERMISSION,
                         "no job runs as user %s: its uid %u is below %u (--min-uid)",
                         ret_account->name, (unsigned)uid, (unsigned)lowest);
    if (ret_account->gid == 0)
        return reid_fail(err, REID_ERR_PERMISSION, "no job runs as user %s: its group is root's",
                         ret_account->name);
    *ret_other = true;
    return REID_OK;
}

/* acl(5) as the kernel stores it: the owner has `owner_can`, one more user `user_can`, nobody else
 * anything. False where the file system has none. */
static bool let_user(const char *path, unsigned owner_can, uid_t uid, unsigned user_can)
{
    enum { OWNER = 1, USER = 2, GROUP = 4, MASK = 16, OTHERS = 32, NOBODY = -1 };
    const struct {
        uint16_t tag, can;
        uint32_t id;
    } rows[] = {{OWNER, (uint16_t)owner_can, (uint32_t)NOBODY},
                {USER, (uint16_t)user_can, uid},
                {GROUP, 0, (uint32_t)NOBODY},
                {MASK, (uint16_t)user_can, (uint32_t)NOBODY},
                {OTHERS, 0, (uint32_t)NOBODY}};
    uint8_t bytes[4 + REID_COUNT_OF(rows) * 8] = {2}; /* the version; little-endian throughout */
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        uint8_t *row = bytes + 4 + i * 8;
        row[0] = (uint8_t)rows[i].tag;
        row[2] = (uint8_t)rows[i].can;
        for (int k = 0; k < 4; k++)
            row[4 + k] = (uint8_t)(rows[i].id >> (8 * k));
    }
    return setxattr(path, "system.posix_acl_access", bytes, sizeof bytes, 0) == 0;
}

/* His group is let in where only groups can be: it may be that of many. */
reid_status reidd_run_as_let_in(const reidd_account *account, const char *folder,
                                const char *config_path, reid_error *err)
{
    if (let_user(folder, 07, account->uid, 01) && let_user(config_path, 06, account->uid, 04))
        return REID_OK;
    if (chown(folder, geteuid(), account->gid) != 0 || chmod(folder, 0710) != 0 ||
        chown(config_path, geteuid(), account->gid) != 0 || chmod(config_path, 0640) != 0)
        return reid_fail_errno(err, errno, "cannot let user %s into '%s'", account->name, folder);
    return REID_OK;
}

void reidd_run_as_words(const reidd_account *account, const char *shim,
                        char *ret_words[REIDD_RUN_AS_WORDS])
{
    ret_words[0] = reid_xstrdup(shim);
    ret_words[1] = reid_xstrdup("--as");
    ret_words[2] =
        reid_xasprintf("%u:%u:%s", (unsigned)account->uid, (unsigned)account->gid, account->name);
    ret_words[3] = reid_xstrdup("--");
}

/* ---- environment ---- */

bool reidd_run_as_passes(const char *entry)
{
    static const char *const names[] = {
        "PATH=",     "LANG=",         "LANGUAGE=",      "LC_",     "TZ=",     "LD_LIBRARY_PATH=",
        "OMP_",      "GOMP_",         "CUDA_",          "CUDNN_",  "NVIDIA_", "NCCL_",
        "OMPI_MCA_", "HWLOC_",        "UCX_",           "ONEDNN_", "DNNL_",   "MALLOC_",
        "REID_",     "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_O",  "TSAN_O",
    };
    for (size_t i = 0; i < REID_COUNT_OF(names); i++)
        if (reid_str_starts(entry, names[i]))
            return true;
    return false;
}

char **reidd_run_as_environment(const reidd_account *account)
{
    REID_VEC(char *) list = {0};
    for (char **entry = environ; *entry; entry++)
        if (reidd_run_as_passes(*entry))
            reid_vec_push(&list, reid_xstrdup(*entry));
    reid_vec_push(&list, reid_xasprintf("USER=%s", account->name));
    reid_vec_push(&list, reid_xasprintf("LOGNAME=%s", account->name));
    reid_vec_push(&list, reid_xasprintf("HOME=%s", *account->home ? account->home : "/"));
    reid_vec_push(&list, reid_xasprintf("SHELL=%s", *account->shell ? account->shell : "/bin/sh"));
    reid_vec_push(&list, NULL);
    return list.items;
}

void reidd_run_as_environment_free(char **list)
{
    for (char **entry = list; entry && *entry; entry++)
        free(*entry);
    free((void *)list);
}

/* ---- becoming somebody else ---- */

typedef struct target {
    uid_t uid;
    gid_t gid;
    const char *name;
} target;

/* UID:GID:NAME */
static reid_status parse(const char *text, target *ret_target, reid_error *err)
{
    int64_t uid = 0, gid = 0;
    const char *first = strchr(text, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (second) {
        REID_AUTOFREE char *uid_text = reid_xstrndup(text, (size_t)(first - text));
        REID_AUTOFREE char *gid_text = reid_xstrndup(first + 1, (size_t)(second - first - 1));
        if (reid_parse_int64(uid_text, &uid) == REID_OK &&
            reid_parse_int64(gid_text, &gid) == REID_OK && uid > 0 && uid <= ID_LIMIT && gid > 0 &&
            gid <= ID_LIMIT && second[1]) {
            *ret_target = (target){(uid_t)uid, (gid_t)gid, second + 1};
            return REID_OK;
        }
    }
    return reid_fail(err, REID_ERR_INVALID, "--as needs UID:GID:NAME, neither of them root's");
}

static reid_status become(const target *who, reid_error *err)
{
    if (initgroups(who->name, who->gid) != 0)
        return reid_fail_errno(err, errno, "cannot take the groups of user %s", who->name);
    if (setresgid(who->gid, who->gid, who->gid) != 0 ||
        setresuid(who->uid, who->uid, who->uid) != 0)
        return reid_fail_errno(err, errno, "cannot become user %s", who->name);
    if (setuid(0) == 0 || setgid(0) == 0 || geteuid() != who->uid || getegid() != who->gid)
        return reid_fail(err, REID_ERR_INTERNAL, "user %s can become root again", who->name);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return reid_fail_errno(err, errno, "cannot give up new privileges");
    return REID_OK;
}

int reidd_run_as_main(int argc, char **argv)
{
    reid_error err = {0};
    target who = {0};
    reid_status status = REID_OK;
    if (argc < 5 || strcmp(argv[1], "--as") != 0 || strcmp(argv[3], "--") != 0)
        status = reid_fail(&err, REID_ERR_INVALID, "usage: --as UID:GID:NAME -- PROGRAM ...");
    if (status == REID_OK)
        status = parse(argv[2], &who, &err);
    if (status == REID_OK)
        status = become(&who, &err);
    if (status == REID_OK) {
        execv(argv[4], argv + 4);
        reid_fail_errno(&err, errno, "cannot start '%s' as user %s", argv[4], who.name);
    }
    fprintf(stderr, "reidd-shim: %s\n", err.text);
    return EXIT_NOT_STARTED;
}
