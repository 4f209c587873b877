#include "daemon/job/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

static const char *const state_names[] = {
    [REIDD_PENDING] = "PENDING",     [REIDD_STARTING] = "STARTING", [REIDD_RUNNING] = "RUNNING",
    [REIDD_SUCCEEDED] = "SUCCEEDED", [REIDD_FAILED] = "FAILED",     [REIDD_CANCELLED] = "CANCELLED",
    [REIDD_PAUSED] = "PAUSED",
};

static const char *const phase_names[] = {
    [REIDD_PHASE_NONE] = "",           [REIDD_LOADING] = "loading", [REIDD_TRAINING] = "training",
    [REIDD_EVALUATING] = "evaluating", [REIDD_SAVING] = "saving",
};

/* Bit s of legal[from]: the state may become s. */
#define TO(state) (1u << (state))
static const unsigned legal[] = {
    [REIDD_PENDING] = TO(REIDD_STARTING) | TO(REIDD_FAILED) | TO(REIDD_CANCELLED),
    [REIDD_STARTING] = TO(REIDD_PENDING) | TO(REIDD_RUNNING) | TO(REIDD_SUCCEEDED) |
                       TO(REIDD_FAILED) | TO(REIDD_CANCELLED) | TO(REIDD_PAUSED),
    [REIDD_RUNNING] = TO(REIDD_PENDING) | TO(REIDD_SUCCEEDED) | TO(REIDD_FAILED) |
                      TO(REIDD_CANCELLED) | TO(REIDD_PAUSED),
    [REIDD_PAUSED] = TO(REIDD_PENDING) | TO(REIDD_CANCELLED),
    [REIDD_SUCCEEDED] = TO(REIDD_PENDING),
    [REIDD_FAILED] = TO(REIDD_PENDING),
    [REIDD_CANCELLED] = TO(REIDD_PENDING),
};

const char *reidd_state_name(reidd_state state)
{
    if ((size_t)state >= REID_COUNT_OF(state_names) || !state_names[state])
        return "UNKNOWN";
    return state_names[state];
}

const char *reidd_phase_name(reidd_phase phase)
{
    return (size_t)phase < REID_COUNT_OF(phase_names) ? phase_names[phase] : "";
}

bool reidd_transition_is_legal(reidd_state from, reidd_state to)
{
    return (size_t)from < REID_COUNT_OF(legal) && (size_t)to < REID_COUNT_OF(legal) &&
           (legal[from] & TO(to)) != 0;
}

bool reidd_state_is_final(reidd_state state)
{
    return state == REIDD_SUCCEEDED || state == REIDD_FAILED || state == REIDD_CANCELLED;
}

bool reidd_state_is_started(reidd_state state)
{
    return state == REIDD_STARTING || state == REIDD_RUNNING;
}

void reidd_job_fini(reidd_job *job)
{
    if (!job)
        return;
    free(job->name);
    free(job->user);
    free(job->output_dir);
    free(job->fork_from);
    free(job->failure.sentence);
    free(job->cancel.reason);
    free(job->wishes.after);
    free(job->wishes.gpu_type);
    free(job->wishes.fewer);
    free(job->placement);
    free(job->avoid);
    free(job->yields);
    memset(job, 0, sizeof *job);
}

static char *copy_text(const char *text)
{
    return text ? reid_xstrdup(text) : NULL;
}

void reidd_job_copy(reidd_job *ret_copy, const reidd_job *job)
{
    *ret_copy = *job;
    ret_copy->name = copy_text(job->name);
    ret_copy->user = copy_text(job->user);
    ret_copy->output_dir = copy_text(job->output_dir);
    ret_copy->fork_from = copy_text(job->fork_from);
    ret_copy->failure.sentence = copy_text(job->failure.sentence);
    ret_copy->cancel.reason = copy_text(job->cancel.reason);
    ret_copy->wishes.after = copy_text(job->wishes.after);
    ret_copy->wishes.gpu_type = copy_text(job->wishes.gpu_type);
    ret_copy->wishes.fewer = copy_text(job->wishes.fewer);
    ret_copy->placement = copy_text(job->placement);
    ret_copy->avoid = copy_text(job->avoid);
    ret_copy->yields = copy_text(job->yields);
}

static void replace_text(char **text, const char *value)
{
    char *copy = copy_text(value);
    free(*text);
    *text = copy;
}

static void forget_failure(reidd_job *job)
{
    free(job->failure.sentence);
    job->failure = (reidd_failure){.rank = -1};
}

static reid_status move(reidd_job *job, reidd_state to, reid_error *err)
{
    if (!reidd_transition_is_legal(job->state, to))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and cannot become %s", job->id,
                         reidd_state_name(job->state), reidd_state_name(to));
    job->state = to;
    if (!reidd_state_is_started(to))
        job->phase = REIDD_PHASE_NONE;
    return REID_OK;
}

reid_status reidd_job_start(reidd_job *job, int64_t now_ms, reid_error *err)
{
    REID_TRY(move(job, REIDD_STARTING, err));
    job->attempt++;
    job->started_ms = now_ms;
    job->last_progress_ms = 0;
    job->progress = (reidd_progress){.eta_s = -1};
    job->restart.at_ms = 0;
    forget_failure(job);
    return REID_OK;
}

reid_status reidd_job_pause(reidd_job *job, int64_t iteration, reid_error *err)
{
    REID_TRY(move(job, REIDD_PAUSED, err));
    job->progress.iteration = REID_MAX(job->progress.iteration, iteration);
    job->progress.eta_s = -1;
    job->progress.images_per_s = 0;
    forget_failure(job);
    return REID_OK;
}

reid_status reidd_job_resume(reidd_job *job, reid_error *err)
{
    if (job->state != REIDD_PAUSED)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and cannot be resumed", job->id,
                         reidd_state_name(job->state));
    REID_TRY(move(job, REIDD_PENDING, err));
    job->resume = true;
    job->started_ms = 0;
    return REID_OK;
}

reid_status reidd_job_requeue(reidd_job *job, reid_error *err)
{
    if (job->state != REIDD_STARTING)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and cannot become PENDING",
                         job->id, reidd_state_name(job->state));
    REID_TRY(move(job, REIDD_PENDING, err));
    job->started_ms = 0;
    return REID_OK;
}

reid_status reidd_job_up(reidd_job *job, reid_error *err)
{
    if (job->state == REIDD_RUNNING)
        return REID_OK;
    REID_TRY(move(job, REIDD_RUNNING, err));
    if (job->phase == REIDD_PHASE_NONE)
        job->phase = REIDD_LOADING;
    return REID_OK;
}

reid_status reidd_job_set_phase(reidd_job *job, reidd_phase phase, reid_error *err)
{
    if (phase == REIDD_PHASE_NONE || (size_t)phase >= REID_COUNT_OF(phase_names))
        return reid_fail(err, REID_ERR_INVALID, "%d is not a phase", (int)phase);
    REID_TRY(reidd_job_up(job, err));
    job->phase = phase;
    return REID_OK;
}

reid_status reidd_job_set_progress(reidd_job *job, const reidd_progress *progress, int64_t now_ms,
                                   reid_error *err)
{
    REID_TRY(reidd_job_up(job, err));
    int64_t before = job->progress.iteration;
    job->progress = *progress;
    job->progress.iteration = REID_MAX(before, progress->iteration);
    job->last_progress_ms = now_ms;
    return REID_OK;
}

void reidd_job_note_failure(reidd_job *job, int32_t rank, const char *sentence)
{
    if (job->failure.sentence || reidd_state_is_final(job->state) || !sentence || !*sentence)
        return;
    job->failure.sentence = reid_xstrdup(sentence);
    job->failure.rank = rank;
}

reid_status reidd_job_cancel(reidd_job *job, const char *reason, int64_t grace_ms, int64_t now_ms,
                             reid_error *err)
{
    if (job->state == REIDD_CANCELLED)
        return REID_OK;
    if (reidd_state_is_final(job->state))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s has already ended: %s", job->id,
                         reidd_state_name(job->state));
    if (!job->cancel.wanted) {
        replace_text(&job->cancel.reason, reason);
        job->cancel.grace_ms = grace_ms;
    }
    job->cancel.wanted = true;
    job->cancel.grace_ms = REID_MIN(job->cancel.grace_ms, grace_ms);
    if (job->state != REIDD_PENDING && job->state != REIDD_PAUSED)
        return REID_OK;
    REID_TRY(move(job, REIDD_CANCELLED, err));
    forget_failure(job);
    job->ended_ms = now_ms;
    job->exit_code = REIDD_EXIT_CANCELLED;
    return REID_OK;
}

reid_status reidd_job_refuse(reidd_job *job, const char *sentence, int64_t now_ms, reid_error *err)
{
    if (job->state != REIDD_PENDING)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and cannot be refused", job->id,
                         reidd_state_name(job->state));
    REID_TRY(move(job, REIDD_FAILED, err));
    replace_text(&job->failure.sentence, sentence);
    job->failure.rank = -1;
    job->failure.exit_code = job->exit_code = 1;
    job->ended_ms = now_ms;
    return REID_OK;
}

static void set_failure(reidd_job *job, const reidd_end *end)
{
    if (end->sentence && *end->sentence) {
        replace_text(&job->failure.sentence, end->sentence);
        job->failure.rank = end->rank;
    } else if (!job->failure.sentence) {
        job->failure.sentence =
            end->signal ? reid_xasprintf("the job was ended by signal %d", end->signal)
                        : reid_xasprintf("the job ended with exit code %d", end->exit_code);
        job->failure.rank = end->rank;
    }
    job->failure.exit_code = end->exit_code;
    job->failure.signal = end->signal;
}

bool reidd_job_may_restart(const reidd_job *job, const reidd_end *end)
{
    bool well = end->exit_code == 0 && end->signal == 0;
    bool usage = end->exit_code == REIDD_EXIT_USAGE && end->signal == 0;
    return reidd_state_is_started(job->state) && !well && !usage && !job->cancel.wanted &&
           !job->limit_reached && job->restart.done < job->restart.allowed;
}

int64_t reidd_job_backoff_ms(const reidd_job *job)
{
    int64_t backoff_ms = REID_MIN(job->restart.backoff_ms, REIDD_BACKOFF_MAX_MS);
    for (int i = 0; i < job->restart.done && backoff_ms < REIDD_BACKOFF_MAX_MS; i++)
        backoff_ms = REID_MIN(2 * REID_MAX(backoff_ms, 1), REIDD_BACKOFF_MAX_MS);
    return backoff_ms;
}

/* Back into the queue, from a checkpoint or from nothing. */
static reid_status next_attempt(reidd_job *job, bool from_checkpoint, reid_error *err)
{
    REID_TRY(move(job, REIDD_PENDING, err));
    job->resume = from_checkpoint;
    if (!from_checkpoint)
        job->restart.origin = job->attempt + 1;
    job->started_ms = 0;
    job->progress.eta_s = -1;
    job->progress.images_per_s = 0;
    return REID_OK;
}

reid_status reidd_job_restart(reidd_job *job, const reidd_end *end, bool from_checkpoint,
                              int64_t now_ms, reid_error *err)
{
    if (!reidd_job_may_restart(job, end))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and cannot be restarted",
                         job->id, reidd_state_name(job->state));
    REID_TRY(next_attempt(job, from_checkpoint, err));
    set_failure(job, end);
    job->restart.at_ms = now_ms + reidd_job_backoff_ms(job);
    job->restart.done++;
    return REID_OK;
}

reid_status reidd_job_give_way(reidd_job *job, bool from_checkpoint, reid_error *err)
{
    if (!reidd_state_is_started(job->state))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and has no slots", job->id,
                         reidd_state_name(job->state));
    REID_TRY(next_attempt(job, from_checkpoint, err));
    forget_failure(job);
    return REID_OK;
}

reid_status reidd_job_again(reidd_job *job, bool from_checkpoint, reid_error *err)
{
    if (!reidd_state_is_final(job->state))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and has not ended", job->id,
                         reidd_state_name(job->state));
    if (job->state == REIDD_SUCCEEDED && job->progress.iteration >= job->progress.max_iteration)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s has finished; nothing is left to do",
                         job->id);
    REID_TRY(move(job, REIDD_PENDING, err));
    forget_failure(job);
    replace_text(&job->cancel.reason, NULL);
    job->cancel = (reidd_cancel){0};
    job->restart.done = 0;
    job->restart.at_ms = 0;
    if (!from_checkpoint && job->attempt > 0)
        job->restart.origin = job->attempt + 1;
    job->resume = from_checkpoint;
    job->limit_reached = false;
    job->ran_ms = job->started_ms = job->ended_ms = 0;
    job->exit_code = 0;
    job->progress.eta_s = -1;
    job->progress.images_per_s = 0;
    return REID_OK;
}

/* The end of a job that was stopped because its time was over is no success. */
static reidd_state state_after(const reidd_job *job, bool well)
{
    bool cut_off = job->limit_reached && job->progress.iteration < job->progress.max_iteration;
    if (well)
        return cut_off ? REIDD_CANCELLED : REIDD_SUCCEEDED;
    return job->cancel.wanted ? REIDD_CANCELLED : REIDD_FAILED;
}

reid_status reidd_job_end(reidd_job *job, const reidd_end *end, reid_error *err)
{
    bool well = end->exit_code == 0 && end->signal == 0;
    reidd_state to = state_after(job, well);
    if (!reidd_state_is_started(job->state))
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s and has nothing to end", job->id,
                         reidd_state_name(job->state));
    REID_TRY(move(job, to, err));
    job->ended_ms = end->ended_ms;
    if (to == REIDD_FAILED) {
        set_failure(job, end);
        job->exit_code = end->signal ? 128 + end->signal : end->exit_code;
        return REID_OK;
    }
    forget_failure(job);
    job->exit_code = to == REIDD_CANCELLED ? REIDD_EXIT_CANCELLED : 0;
    if (well)
        job->progress.eta_s = 0;
    return REID_OK;
}
