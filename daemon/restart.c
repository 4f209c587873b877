/* Jobs that are started again after a failure. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/access/identity.h"
#include "daemon/manager_private.h"

/* Named by every checkpoint that is complete (checkpoint/checkpoint.h). */
#define LAST_CHECKPOINT "last_checkpoint"

/* In the attempt's folder: which LAST_CHECKPOINT was there when it began. */
#define FORMER_CHECKPOINT "former-checkpoint"

static bool look_at_checkpoint(const reidd_job *job, struct stat *ret_info)
{
    REID_AUTOFREE char *path = reid_path_join(job->output_dir, LAST_CHECKPOINT);
    REIDD_AS_USER(job->uid);
    return stat(path, ret_info) == 0;
}

static char *former_path(const reidd_manager *manager, const reidd_job *job)
{
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, job->id, job->attempt);
    return reid_path_join(folder, FORMER_CHECKPOINT);
}

/* It is written anew with each checkpoint, so that it is another file then. */
static char *name_file(const struct stat *info)
{
    return reid_xasprintf("%llu %lld.%09ld\n", (unsigned long long)info->st_ino,
                          (long long)info->st_mtim.tv_sec, info->st_mtim.tv_nsec);
}

void reidd_active_note_checkpoint(const reidd_active *active)
{
    struct stat info;
    reid_error err = {0};
    REID_AUTOFREE char *path = former_path(active->manager, &active->job);
    REID_AUTOFREE char *folder = reid_path_dir(path);
    REID_AUTOFREE char *text =
        look_at_checkpoint(&active->job, &info) ? name_file(&info) : reid_xstrdup("none\n");
    REIDD_AS_OWNER(folder);
    if (reid_file_write_atomic(path, text, strlen(text), &err) != REID_OK)
        reid_log_warn("job %s", err.text); /* then clocks have to do */
}

/* OUTPUT_DIR may still have checkpoints of former runs, which are nothing to go on from. Clocks
 * alone would not tell them apart: they may be set back during an attempt. */
bool reidd_job_has_saved(const reidd_manager *manager, const reidd_job *job)
{
    struct stat info;
    if (job->eval_only || !look_at_checkpoint(job, &info))
        return false;
    REID_AUTOFREE char *path = former_path(manager, job), *former = NULL, *now = name_file(&info);
    REID_AUTOFREE char *folder = reid_path_dir(path);
    size_t size = 0;
    REIDD_AS_OWNER(folder);
    if (reid_file_read_foreign(path, 128, &former, &size, NULL) == REID_OK)
        return strcmp(former, now) != 0;
    return (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000 >= job->started_ms;
}

/* A stop or pause that the ranks have agreed on would be forgotten: they are not replayed. */
bool reidd_active_is_restarted(const reidd_active *active, const reidd_end *end)
{
    return !active->stopped_by && !active->word_note && reidd_job_may_restart(&active->job, end);
}

reid_status reidd_active_plan_restart(const reidd_active *active, reidd_job *job,
                                      const reidd_end *end, reid_error *err)
{
    bool from_checkpoint = active->job.resume || reidd_job_has_saved(active->manager, &active->job);
    return reidd_job_restart(job, end, from_checkpoint, reid_clock_wall_ms(), err);
}

reid_status reidd_active_give_way(const reidd_active *active, reidd_job *job, reid_error *err)
{
    bool from_checkpoint = active->job.resume || reidd_job_has_saved(active->manager, &active->job);
    return reidd_job_give_way(job, from_checkpoint, err);
}

char *reidd_restart_event(const reidd_job *job)
{
    reidd_job before = *job;
    before.restart.done--;
    return reid_xasprintf(
        "in %g s (%d of %d) from %s: %s", (double)reidd_job_backoff_ms(&before) / 1000.0,
        job->restart.done, job->restart.allowed,
        job->resume ? "the last checkpoint" : "the beginning", job->failure.sentence);
}

char *reidd_restart_detail(const reidd_job *job, int64_t now_ms)
{
    int64_t left_s = (job->restart.at_ms - now_ms + 999) / 1000;
    left_s = REID_MIN(REID_MAX(left_s, 1), REIDD_BACKOFF_MAX_MS / 1000);
    return reid_xasprintf("restarts in %lld s (%d of %d): %s", (long long)left_s, job->restart.done,
                          job->restart.allowed, job->failure.sentence ? job->failure.sentence : "");
}

static void on_time(uv_timer_t *timer)
{
    reidd_active *active = timer->data;
    active->job.restart.at_ms = 0;
    reidd_manager_schedule(active->manager);
}

void reidd_active_forget_attempt(reidd_active *active)
{
    free(active->own_failure);
    active->own_failure = NULL;
    active->own_code = 0;
    active->attempt_base = active->job.attempt;
    if (!active->job.resume)
        active->journal_seq = 0; /* the next attempt moves the journal aside */
}

void reidd_active_await_restart(reidd_active *active)
{
    const reidd_job *job = &active->job;
    /* However the clock was set meanwhile. */
    int64_t left_ms = REID_MAX(job->restart.at_ms - reid_clock_wall_ms(), 0);
    uv_timer_start(&active->timer, on_time, (uint64_t)REID_MIN(left_ms, REIDD_BACKOFF_MAX_MS), 0);
    reid_log_warn("job restarts id=%s attempt=%d in_ms=%lld %s", job->id, job->attempt,
                  (long long)left_ms, job->failure.sentence ? job->failure.sentence : "");
}
