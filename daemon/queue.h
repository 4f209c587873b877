/* What people ask of the queue: hold, release, requeue, priority. And what it asks of jobs that
 * run: pauses for others, and an end when their time is over.
 *
 * Every change is stored, with a line in the job's diary, before the call returns. Loop thread
 * only.
 */
#ifndef REIDD_QUEUE_H
#define REIDD_QUEUE_H

#include "daemon/manager.h"

/* PENDING: it does not start before it is released. PRECONDITION for others, and when it is held
 * (released) already. */
reid_status reidd_manager_hold(reidd_manager *manager, const char *id, const char *who,
                               const char *reason, reid_error *err);
reid_status reidd_manager_release(reidd_manager *manager, const char *id, const char *who,
                                  const char *reason, reid_error *err);
/* A job that runs saves its state, gives its slots back and is queued again at its old place; one
 * that has FAILED, was CANCELLED or stopped early is queued again, to go on from its last
 * checkpoint where it has one. */
reid_status reidd_manager_requeue(reidd_manager *manager, const char *id, const char *who,
                                  const char *reason, reid_error *err);
/* INVALID beyond ±REIDD_PRIORITY_MAX. PRECONDITION: it has ended. */
reid_status reidd_manager_set_priority(reidd_manager *manager, const char *id, int priority,
                                       const char *who, const char *reason, reid_error *err);

#endif
