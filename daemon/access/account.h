/* Accounts of this machine. The system's databases are asked through a table of functions, so that
 * tests have accounts of their own. A database behind a network may block: callers keep what they
 * learn (access.h). Thread-safe. */
#ifndef REIDD_ACCESS_ACCOUNT_H
#define REIDD_ACCESS_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

enum { REIDD_ACCOUNT_NAME_BYTES = 65, REIDD_ACCOUNT_GROUPS = 1024 };

typedef struct reidd_account {
    char name[REIDD_ACCOUNT_NAME_BYTES];
    uid_t uid;
    gid_t gid;        /* the primary group */
    char home[4096];  /* "" for none */
    char shell[4096]; /* "" for none */
} reidd_account;

/* Every slot must exist. False: there is no such entry, or the database could not be asked. */
typedef struct reidd_accounts {
    bool (*by_uid)(uid_t uid, reidd_account *ret_account);
    bool (*by_name)(const char *name, reidd_account *ret_account);
    bool (*group)(const char *name, gid_t *ret_gid);
    /* All groups of the account, the primary one included; how many were written. */
    size_t (*groups)(const reidd_account *account, gid_t *ret_groups, size_t room);
} reidd_accounts;

extern const reidd_accounts reidd_system_accounts;

#endif
