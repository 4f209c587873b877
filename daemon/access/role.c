#include "daemon/access/role.h"

#include <stddef.h>
#include <string.h>

#include "base/compiler.h"

static const char *const names[] = {"nobody", "viewer", "operator", "admin", "node"};

const char *reidd_role_name(reidd_role role)
{
    return (size_t)role < REID_COUNT_OF(names) ? names[role] : names[REIDD_ROLE_NONE];
}

bool reidd_role_from_name(const char *name, reidd_role *ret_role)
{
    for (size_t i = REIDD_ROLE_VIEWER; i < REID_COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret_role = (reidd_role)i;
            return true;
        }
    return false;
}

bool reidd_role_suffices(reidd_role role, reidd_role needed)
{
    if (needed == REIDD_ROLE_NONE)
        needed = REIDD_ROLE_ADMIN;
    if (role == REIDD_ROLE_NODE)
        return needed == REIDD_ROLE_NODE || needed == REIDD_ROLE_VIEWER;
    return needed != REIDD_ROLE_NODE && role >= needed;
}
