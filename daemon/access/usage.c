#include "daemon/access/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"

#define MINUTE_MS 60000

typedef struct user {
    char name[REIDD_ACCOUNT_NAME_BYTES];
    reidd_hub_count streams;
    double submissions; /* that may still be made now */
    int64_t seen_ms;    /* 0: none has been made */
} user;

struct reidd_usage {
    const reidd_limits *limits;
    reidd_hub_count streams;
    REID_VEC(user *) users;
};

reidd_usage *reidd_usage_new(const reidd_limits *limits)
{
    reidd_usage *usage = reid_xcalloc(1, sizeof *usage);
    usage->limits = limits;
    return usage;
}

void reidd_usage_free(reidd_usage *usage)
{
    if (!usage)
        return;
    for (size_t i = 0; i < usage->users.count; i++)
        free(usage->users.items[i]);
    reid_vec_fini(&usage->users);
    free(usage);
}

/* Users come and go: one that takes nothing any more makes room for the next. */
static user *find(reidd_usage *usage, const char *name)
{
    user *idle = NULL;
    for (size_t i = 0; i < usage->users.count; i++) {
        user *u = usage->users.items[i];
        if (strcmp(u->name, name) == 0)
            return u;
        if (u->streams.value == 0 && u->seen_ms == 0)
            idle = u;
    }
    if (!idle) {
        idle = reid_xcalloc(1, sizeof *idle);
        reid_vec_push(&usage->users, idle);
    }
    *idle = (user){.streams.whole = &usage->streams};
    snprintf(idle->name, sizeof idle->name, "%s", name);
    return idle;
}

/* Those whose minute is over are as if they had never submitted. */
static void forget_old(reidd_usage *usage, int64_t now_ms)
{
    for (size_t i = 0; i < usage->users.count; i++) {
        user *u = usage->users.items[i];
        if (now_ms - u->seen_ms >= MINUTE_MS)
            u->seen_ms = 0;
    }
}

reid_status reidd_usage_submit(reidd_usage *usage, const reidd_caller *caller, int64_t now_ms,
                               reid_error *err)
{
    if (caller->role == REIDD_ROLE_ADMIN)
        return REID_OK;
    forget_old(usage, now_ms);
    user *u = find(usage, caller->name);
    double most = (double)usage->limits->values[REIDD_LIMIT_SUBMISSIONS];
    if (u->seen_ms == 0)
        u->submissions = most;
    else
        u->submissions =
            REID_MIN(most, u->submissions + (double)(now_ms - u->seen_ms) * most / MINUTE_MS);
    u->seen_ms = now_ms;
    if (u->submissions < 1)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "user %s has submitted more than %lld times within a minute; try again "
                         "later",
                         u->name, (long long)most);
    u->submissions -= 1;
    return REID_OK;
}

reid_status reidd_usage_subscribe(reidd_usage *usage, const reidd_caller *caller,
                                  reidd_hub_count **ret_count, reid_error *err)
{
    const int64_t *limits = usage->limits->values;
    if (usage->streams.value >= limits[REIDD_LIMIT_SUBSCRIBERS])
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "%lld streams are open already, which is the limit of all clients",
                         (long long)usage->streams.value);
    user *u = find(usage, caller->name);
    if (caller->role != REIDD_ROLE_ADMIN &&
        u->streams.value >= limits[REIDD_LIMIT_USER_SUBSCRIBERS])
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "user %s has %lld streams open already, which is the limit", u->name,
                         (long long)u->streams.value);
    *ret_count = &u->streams;
    return REID_OK;
}
