/* Slots that are taken back from jobs that run: pauses for others, and limits of time. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "daemon/deadline.h"
#include "daemon/manager_private.h"
#include "daemon/queue.h"
#include "daemon/words.h"

#define ASK_AGAIN_MS 10000 /* after the ranks have not agreed on a pause or stop */

static void on_agreed(const reid_error *result, int64_t iteration, char *const *lines, size_t count,
                      void *user)
{
    reidd_active *active = user;
    active->asked = false;
    if (result->code == REID_OK || active->ending || !reidd_state_is_started(active->job.state))
        return;
    reid_log_warn("job has not agreed id=%s %s", active->job.id, result->text);
    active->ask_at = uv_now(active->manager->loop) + ASK_AGAIN_MS;
    reidd_manager_schedule_later(active->manager, 0); /* for the timer */
}

/* Asks rank 0 for a pause or stop, once at a time. */
static reid_status ask(reidd_active *active, const char *kind, const char *reason, reid_error *err)
{
    const reidd_word_request request = {.kind = kind, .who = "reidd", .reason = reason};
    reidd_word *word = NULL;
    if (active->asked || active->word_note || active->ending)
        return REID_OK;
    reid_status status =
        reidd_manager_ask(active->manager, active->job.id, &request, on_agreed, active, &word, err);
    active->asked = status == REID_OK;
    active->ask_at = status == REID_OK ? 0 : uv_now(active->manager->loop) + ASK_AGAIN_MS;
    return status;
}

/* ---- pauses ---- */

static reid_status yield(reidd_active *active, const char *why, bool preempted, reid_error *err)
{
    reidd_job job;
    const char *id = active->job.id;
    if (active->job.cancel.wanted || active->job.limit_reached || active->ending)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is ending", id);
    if (active->job.yields)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is being paused already: %s", id,
                         active->job.yields);
    reidd_job_copy(&job, &active->job);
    job.yields = reid_xstrdup(why);
    job.preemptions += preempted;
    REID_TRY(reidd_active_replace(active, &job, "yield", why, err));
    reid_log_info("job yields id=%s %s", active->job.id, why);
    active->yield_by = uv_now(active->manager->loop) + active->manager->pause_timeout_ms;
    if (active->job.eval_only)
        reidd_active_end_pause(active);
    else
        ask(active, "pause", why, NULL);              /* otherwise the timer asks again */
    reidd_manager_schedule_later(active->manager, 0); /* for the timer */
    reidd_active_describe(active);
    return REID_OK;
}

reid_status reidd_active_yield(reidd_active *active, const char *why, reid_error *err)
{
    return yield(active, why, false, err);
}

void reidd_active_preempt(reidd_active *active, const char *for_id)
{
    reid_error err = {0};
    REID_AUTOFREE char *why = reid_xasprintf("job %s needs its slots", for_id);
    if (yield(active, why, true, &err) == REID_OK)
        return;
    reid_log_warn("job not preempted id=%s %s", active->job.id, err.text);
    active->never_pauses = err.code == REID_ERR_PRECONDITION;
    reidd_manager_schedule_later(active->manager, REIDD_RETRY_MS);
}

reid_status reidd_active_settle(reidd_active *active, reidd_job *job, const reidd_end *end,
                                reid_error *err)
{
    job->ran_ms += reidd_active_ran_ms(active);
    if (job->state == REIDD_CANCELLED && job->limit_reached && end->exit_code == 0) {
        REID_AUTOFREE char *why = job->cancel.reason;
        job->cancel.reason = reid_xasprintf("%s; its state after iteration %lld of %lld is saved",
                                            why ? why : "", (long long)job->progress.iteration,
                                            (long long)job->progress.max_iteration);
    }
    if (job->state == REIDD_PAUSED && job->yields)
        REID_TRY(reidd_job_resume(job, err));
    free(job->yields);
    job->yields = NULL;
    return REID_OK;
}

void reidd_active_count_usage(reidd_active *active)
{
    reidd_shares_add(&active->manager->shares, active->job.user, active->job.ranks,
                     reidd_active_ran_ms(active), reid_clock_wall_ms());
    active->run_since = 0;
    active->limit_at = active->ask_at = active->yield_by = 0;
    active->never_pauses = false;
}

/* ---- limits of time ---- */

static char *limit_sentence(const reidd_job *job)
{
    char duration[32];
    reid_format_duration(duration, (double)job->wishes.max_time_ms / 1000.0);
    return reid_xasprintf("its time limit of %s is over", duration);
}

/* TERM, and KILL after the grace. */
static void cut(reidd_active *active)
{
    reid_error err = {0};
    REID_AUTOFREE char *sentence = limit_sentence(&active->job);
    char id[16];
    memcpy(id, active->job.id, sizeof id);
    active->limit_at = 0;
    if (reidd_manager_cancel(active->manager, id, sentence, -1, &err) != REID_OK)
        active->limit_at = uv_now(active->manager->loop) + REIDD_RETRY_MS;
}

static void reach_limit(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reidd_job job;
    reid_error err = {0};
    REID_AUTOFREE char *sentence = limit_sentence(&active->job);
    if (!active->job.limit_reached) {
        reidd_job_copy(&job, &active->job);
        job.limit_reached = true;
        if (!job.cancel.reason)
            job.cancel.reason = reid_xstrdup(sentence);
        reid_status status = reidd_active_replace(active, &job, "limit", sentence, &err);
        reidd_manager_note_store(manager, status, &err);
        if (status != REID_OK) {
            active->limit_at = uv_now(manager->loop) + REIDD_RETRY_MS;
            return;
        }
        reid_log_info("job limit id=%s %s", active->job.id, sentence);
    }
    active->limit_at = uv_now(manager->loop) + manager->limit_grace_ms;
    if (active->job.state != REIDD_RUNNING || active->job.eval_only)
        cut(active); /* there is no state to be saved */
    else
        ask(active, "stop", sentence, NULL);
    reidd_active_describe(active);
}

static void look_at(reidd_active *active, uint64_t now)
{
    const reidd_job *job = &active->job;
    bool due = active->limit_at != 0 && active->limit_at <= now;
    if (!reidd_state_is_started(job->state) || active->ending || job->cancel.wanted)
        return;
    if (due && job->limit_reached)
        cut(active);
    else if (due || (job->wishes.max_time_ms > 0 && active->limit_at == 0 &&
                     reidd_active_left_ms(active) <= 1))
        reach_limit(active);
    if (job->yields && active->yield_by == 0) /* the daemon before has asked */
        active->yield_by = now + active->manager->pause_timeout_ms;
    if (job->yields && active->yield_by <= now)
        reidd_active_end_pause(active);
    if (active->ask_at > now || active->own_failure)
        return;
    active->ask_at = 0; /* or the daemon before has asked, and it has not come to it */
    if (job->limit_reached && active->limit_at != 0)
        ask(active, "stop", job->cancel.reason, NULL);
    else if (job->yields)
        ask(active, "pause", job->yields, NULL);
}

static void on_limit_timer(uv_timer_t *timer)
{
    reidd_manager_watch_limits(timer->data);
}

/* When something is to be done for this job; UINT64_MAX: not known. */
static uint64_t next_look(reidd_active *active, uint64_t now)
{
    const reidd_job *job = &active->job;
    uint64_t next = UINT64_MAX;
    if (!reidd_state_is_started(job->state) || active->ending || job->cancel.wanted)
        return next;
    if (active->limit_at != 0)
        next = active->limit_at;
    else if (job->wishes.max_time_ms > 0)
        next = now + (uint64_t)reidd_active_left_ms(active);
    if (active->ask_at != 0)
        next = REID_MIN(next, active->ask_at);
    if (active->yield_by != 0 && !active->own_failure)
        next = REID_MIN(next, active->yield_by);
    return next;
}

void reidd_manager_watch_limits(reidd_manager *manager)
{
    if (manager->closing)
        return;
    uint64_t now = uv_now(manager->loop), next = UINT64_MAX;
    for (size_t i = 0; i < manager->active.count; i++)
        look_at(manager->active.items[i], now);
    for (size_t i = 0; i < manager->active.count; i++)
        next = REID_MIN(next, next_look(manager->active.items[i], now));
    if (next == UINT64_MAX)
        uv_timer_stop(&manager->limit_timer);
    else
        uv_timer_start(&manager->limit_timer, on_limit_timer, next > now ? next - now : 0, 0);
}
