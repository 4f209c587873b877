/* Who may do what. Each row of an RPC table names the least role that it takes (`.role`); a row
 * that names none is for admins only. Pure; thread-safe. */
#ifndef REIDD_ACCESS_ROLE_H
#define REIDD_ACCESS_ROLE_H

#include <stdbool.h>

typedef enum reidd_role {
    REIDD_ROLE_NONE = 0,
    REIDD_ROLE_VIEWER,   /* looks at everything, changes nothing */
    REIDD_ROLE_OPERATOR, /* submits jobs, and acts on those that are theirs */
    REIDD_ROLE_ADMIN,    /* acts on all jobs and on nodes */
    REIDD_ROLE_NODE, /* another reidd of the cluster: what viewers may, and the rows for nodes */
} reidd_role;

/* "viewer", …; "nobody" for none. */
const char *reidd_role_name(reidd_role role);
/* False when the text is no role's name. */
bool reidd_role_from_name(const char *name, reidd_role *ret_role);
/* Whether `role` may use a row for `needed`. */
bool reidd_role_suffices(reidd_role role, reidd_role needed);

#endif
