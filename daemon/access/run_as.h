/* A job's processes run as the account of its submitter, when the daemon runs as root and the
 * submitter is somebody else. The daemon starts `reidd-shim --as …`, which becomes that account for
 * good and then executes the program: initgroups, setgid, setuid, no_new_privs (so that no set-uid
 * program leads back). */
#ifndef REIDD_ACCESS_RUN_AS_H
#define REIDD_ACCESS_RUN_AS_H

#include <stdbool.h>

#include "base/status.h"
#include "daemon/access/account.h"

/* The account to run as; *ret_other is false when that is the daemon's own, and *ret_account is not
 * set then. PRECONDITION: no such account on this node. PERMISSION: an id below `lowest`, or the
 * group root. `accounts` NULL: the system's. */
reid_status reidd_run_as_find(uid_t uid, uid_t lowest, const reidd_accounts *accounts,
                              bool *ret_other, reidd_account *ret_account, reid_error *err);

/* The account, and no other user, may enter the job's folder and read its configuration, and change
 * neither. On a file system without acl(5) its group may as well. */
reid_status reidd_run_as_let_in(const reidd_account *account, const char *folder,
                                const char *config_path, reid_error *err);

/* Words before a command: SHIM --as UID:GID:NAME --. All four are the caller's to free. */
enum { REIDD_RUN_AS_WORDS = 4 };
void reidd_run_as_words(const reidd_account *account, const char *shim,
                        char *ret_words[REIDD_RUN_AS_WORDS]);

/* Whether an entry of the daemon's own environment ("NAME=value") is for the jobs of others: where
 * programs and libraries are, language, and settings of compute libraries; no more. */
bool reidd_run_as_passes(const char *entry);

/* The same entries, and who the account is. A list that ends with NULL; free it with
 * reidd_run_as_environment_free. */
char **reidd_run_as_environment(const reidd_account *account);
void reidd_run_as_environment_free(char **list);

/* The program's side: `--as UID:GID:NAME -- PROGRAM ARGUMENT …` from argv[1] on. Returns only after
 * a failure, with an exit status and a sentence on standard error. */
int reidd_run_as_main(int argc, char **argv);

#endif
