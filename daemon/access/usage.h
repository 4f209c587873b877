/* What each user takes of the daemon, held against limits.h: streams that are open, submissions in
 * the last minute. Admins are counted, and have no limit of their own. A user is a name: the same
 * over the Unix socket and over TCP. Loop thread only. */
#ifndef REIDD_ACCESS_USAGE_H
#define REIDD_ACCESS_USAGE_H

#include "daemon/access/access.h"
#include "daemon/hub/hub.h"
#include "daemon/limits.h"

typedef struct reidd_usage reidd_usage;

/* `limits` are borrowed. */
reidd_usage *reidd_usage_new(const reidd_limits *limits);
void reidd_usage_free(reidd_usage *usage); /* when all listeners are gone; NULL is accepted */

/* EXHAUSTED when the user has submitted too often. Counts, whether the job is accepted or not. */
reid_status reidd_usage_submit(reidd_usage *usage, const reidd_caller *caller, int64_t now_ms,
                               reid_error *err);
/* EXHAUSTED when the user, or all users together, have too many streams. The count is for the
 * listener of the new one. */
reid_status reidd_usage_subscribe(reidd_usage *usage, const reidd_caller *caller,
                                  reidd_hub_count **ret_count, reid_error *err);

#endif
