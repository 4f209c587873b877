/* What people ask of the queue (queue.h). */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/manager_private.h"
#include "daemon/queue.h"
#include "daemon/words.h"

static reid_status find_open(reidd_manager *manager, const char *id, reidd_active **ret_active,
                             reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (active) {
        *ret_active = active;
        return REID_OK;
    }
    reidd_job job = {0};
    REID_TRY(reidd_store_job_load(manager->store, id, &job, err));
    reidd_state state = job.state;
    reidd_job_fini(&job);
    return reid_fail(err, REID_ERR_PRECONDITION, "job %s has already ended: %s", id,
                     reidd_state_name(state));
}

/* Stores `own_job`, a changed copy, and lets it take the place of the active's. */
reid_status reidd_active_replace(reidd_active *active, reidd_job *own_job, const char *kind,
                                 const char *detail, reid_error *err)
{
    reid_status status = reidd_active_save(active->manager, own_job, kind, detail, err);
    if (status != REID_OK) {
        reidd_job_fini(own_job);
        return status;
    }
    reidd_job_fini(&active->job);
    active->job = *own_job;
    return REID_OK;
}

static char *who_and_why(const char *who, const char *reason)
{
    return reid_xasprintf("%s%s%s", who, *reason ? ": " : "", reason);
}

static void changed(reidd_active *active)
{
    active->changed = true;
    reidd_manager_plan_flush(active->manager);
    reidd_manager_schedule(active->manager);
}

static reid_status set_held(reidd_manager *manager, const char *id, bool held, const char *who,
                            const char *reason, reid_error *err)
{
    reidd_active *active = NULL;
    reidd_job job;
    REID_TRY(find_open(manager, id, &active, err));
    if (held && active->job.state != REIDD_PENDING)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s is %s; only a PENDING job can be held%s", id,
                         reidd_state_name(active->job.state),
                         active->job.state == REIDD_RUNNING ? " (pause it instead)" : "");
    if (active->job.wishes.held == held)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s", id,
                         held ? "held already" : "not held");
    REID_AUTOFREE char *detail = who_and_why(who, reason);
    reidd_job_copy(&job, &active->job);
    job.wishes.held = held;
    REID_TRY(reidd_active_replace(active, &job, held ? "hold" : "release", detail, err));
    reid_log_info("job %s id=%s by=%s", held ? "held" : "released", id, who);
    changed(active);
    return REID_OK;
}

reid_status reidd_manager_hold(reidd_manager *manager, const char *id, const char *who,
                               const char *reason, reid_error *err)
{
    return set_held(manager, id, true, who, reason, err);
}

reid_status reidd_manager_release(reidd_manager *manager, const char *id, const char *who,
                                  const char *reason, reid_error *err)
{
    return set_held(manager, id, false, who, reason, err);
}

reid_status reidd_manager_set_priority(reidd_manager *manager, const char *id, int priority,
                                       const char *who, const char *reason, reid_error *err)
{
    reidd_active *active = NULL;
    reidd_job job;
    if (priority < -REIDD_PRIORITY_MAX || priority > REIDD_PRIORITY_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a priority is between %d and %d, not %d",
                         -REIDD_PRIORITY_MAX, REIDD_PRIORITY_MAX, priority);
    REID_TRY(find_open(manager, id, &active, err));
    REID_AUTOFREE char *by = who_and_why(who, reason);
    REID_AUTOFREE char *detail =
        reid_xasprintf("%d, was %d, by %s", priority, (int)active->job.wishes.priority, by);
    reidd_job_copy(&job, &active->job);
    job.wishes.priority = priority;
    REID_TRY(reidd_active_replace(active, &job, "priority", detail, err));
    reid_log_info("job priority id=%s priority=%d by=%s", id, priority, who);
    changed(active);
    return REID_OK;
}

/* ---- requeue ---- */

static reid_status requeue_ended(reidd_manager *manager, const char *id, const char *detail,
                                 reid_error *err)
{
    reidd_job job = {0};
    REID_TRY(reidd_store_job_load(manager->store, id, &job, err));
    bool from_checkpoint = job.resume || (job.attempt > 0 && reidd_job_has_saved(manager, &job));
    reid_status status = reidd_job_again(&job, from_checkpoint, err);
    if (status == REID_OK)
        status = reidd_active_save(manager, &job, "requeue", detail, err);
    if (status != REID_OK) {
        reidd_job_fini(&job);
        return status;
    }
    reidd_active *active = reidd_active_add(manager, &job);
    active->attempt_base = active->job.attempt;
    reid_error ignored = {0};
    if (active->job.resume && reidd_active_load_journal(active, &ignored) != REID_OK)
        reid_log_warn("job journal not read id=%s %s", id, ignored.text);
    free(active->stopped_by); /* of an attempt that is over */
    active->stopped_by = NULL;
    if (reidd_active_load_latest(active, &ignored) != REID_OK)
        reid_log_warn("job values not read id=%s %s", id, ignored.text);
    changed(active);
    return REID_OK;
}

reid_status reidd_manager_requeue(reidd_manager *manager, const char *id, const char *who,
                                  const char *reason, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    REID_AUTOFREE char *detail = who_and_why(who, reason);
    reid_log_info("job requeue id=%s by=%s", id, who);
    if (!active)
        return requeue_ended(manager, id, detail, err);
    if (active->job.state == REIDD_PAUSED)
        return reidd_manager_resume(manager, id, who, reason, err);
    if (active->job.state == REIDD_PENDING)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is PENDING, in the queue already", id);
    REID_AUTOFREE char *why = reid_xasprintf("requeued by %s", detail);
    return reidd_active_yield(active, why, err);
}
