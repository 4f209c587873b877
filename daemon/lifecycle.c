/* From the queue to the end of a job. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/protocol.h"
#include "base/str.h"
#include "daemon/access/identity.h"
#include "daemon/access/run_as.h"
#include "daemon/deadline.h"
#include "daemon/exec/confine.h"
#include "daemon/manager_private.h"
#include "daemon/stall.h"

#define TICKET_BYTES 16
#define SPOOL_SLICE 500 /* records read without letting others have the loop */
#define SLICE_MS 1 /* between two slices; libuv runs a timer of 0 ms again before anything else */

static void on_attempt_end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome,
                           void *user);
static void on_step(uv_timer_t *timer);

static void forget_ranks(reidd_active *active)
{
    free(active->reported);
    active->reported = reid_xcalloc((size_t)active->job.ranks, sizeof *active->reported);
    active->reported_count = 0;
    reidd_ranks_init(&active->ranks, active->job.ranks);
}

static reid_status make_ticket(char **ret_ticket, reid_error *err)
{
    unsigned char bytes[TICKET_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return reid_fail_errno(err, errno, "cannot make a ticket for the ranks");
    reid_str text = REID_STR_INIT;
    for (size_t i = 0; i < sizeof bytes; i++)
        reid_str_addf(&text, "%02x", bytes[i]);
    *ret_ticket = reid_str_take(&text);
    return REID_OK;
}

/* ---- start ---- */

static void on_start_deadline(uv_timer_t *timer)
{
    reidd_active *active = timer->data;
    if (active->job.state == REIDD_STARTING && !active->ending)
        reidd_active_end_start(active);
}

static reid_status save_start(reidd_manager *manager, const reidd_job *job, const char *ticket,
                              reid_error *err)
{
    reid_status status = reidd_store_begin(manager->store, true, err);
    if (status == REID_OK)
        status = reidd_store_job_save(manager->store, job, err);
    if (status == REID_OK)
        status = reidd_store_attempt_add(manager->store, job->id, job->attempt, ticket,
                                         job->started_ms, err);
    if (status == REID_OK)
        status = reidd_store_event_add(manager->store, job->id, job->attempt, job->started_ms,
                                       "state", "STARTING", err);
    if (status == REID_OK)
        status = reidd_store_commit(manager->store, err);
    reidd_store_rollback(manager->store);
    return status;
}

static void start_failed(reidd_active *active, const char *sentence)
{
    active->ending = true;
    active->outcome = (reidd_attempt_outcome){
        .started = true,
        .report = {.exit_code = 1, .rank = -1, .ended_ms = reid_clock_wall_ms()},
    };
    snprintf(active->outcome.report.sentence, sizeof active->outcome.report.sentence, "%s",
             sentence);
    uv_timer_start(&active->timer, on_step, 0, 0);
}

reid_status reidd_active_take_gpus(reidd_active *active, reid_error *err)
{
    const reidd_manager *manager = active->manager;
    free(active->gpus);
    active->gpus = NULL;
    int ranks = reidd_active_ranks_here(active);
    if (ranks == 0 || !manager->gpus || reidd_gpus_count(manager->gpus) == 0)
        return REID_OK;
    char **held = reid_xcalloc(manager->active.count + 1, sizeof(char *));
    size_t count = 0;
    for (size_t i = 0; i < manager->active.count; i++) {
        const reidd_active *other = manager->active.items[i];
        if (other != active && other->gpus && reidd_state_is_started(other->job.state))
            held[count++] = other->gpus;
    }
    active->gpus = reidd_gpus_pick(manager->gpus, held, count, ranks);
    free((void *)held);
    if (active->gpus)
        return REID_OK;
    return reid_fail(err, REID_ERR_UNAVAILABLE, "fewer than %d GPUs of this node are free", ranks);
}

static reid_status launch(reidd_active *active, reid_error *err)
{
    reidd_manager *manager = active->manager;
    const reidd_job *job = &active->job;
    reidd_account account;
    bool other = false;
    uid_t lowest_uid = (uid_t)manager->limits->values[REIDD_LIMIT_LOWEST_UID];
    REID_TRY(reidd_run_as_find(job->uid, lowest_uid, NULL, &other, &account, err));
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, job->id, job->attempt);
    REID_AUTOFREE char *job_dir = reidd_manager_job_dir(manager, job->id);
    REID_AUTOFREE char *config = reid_path_join(job_dir, "config.yaml");
    REID_AUTOFREE char *agent = NULL;
    REID_AUTOFREE char *group = reidd_confine_path(manager->confine, job->id, job->attempt);
    reidd_attempt_spec spec = {
        .job_id = job->id,
        .attempt = job->attempt,
        .as = other ? &account : NULL,
        .folder = folder,
        .shim = manager->shim,
        .trainer = manager->trainer,
        .config_path = config,
        .resume = job->resume,
        .eval_only = job->eval_only,
        .fork_from = job->resume ? NULL : job->fork_from, /* paused and resumed: its own state */
        .fork_iter = job->fork_iter,
        .hook_dir = manager->hook_dir,
        .gpus = active->gpus,
        .ranks = job->ranks,
        .grace_ms = manager->grace_ms,
        .group = group,
        .link_address = manager->link_address,
        .ticket = active->ticket,
    };
    REID_TRY(reidd_active_open_crew(active, false, err));
    REID_TRY(reidd_active_fill_spread(active, &spec, &agent, err));
    return reidd_attempt_start(manager->loop, &spec, on_attempt_end, active, &active->attempt, err);
}

void reidd_active_start(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reid_error err = {0};
    reidd_job job;
    char *ticket = NULL;
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_start(&job, reid_clock_wall_ms(), &err);
    if (status == REID_OK)
        status = make_ticket(&ticket, &err);
    if (status == REID_OK)
        status = save_start(manager, &job, ticket, &err);
    reidd_manager_note_store(manager, status, &err);
    if (status != REID_OK) { /* it stays in the queue */
        reidd_job_fini(&job);
        free(ticket);
        reidd_manager_schedule_later(manager, REIDD_RETRY_MS);
        return;
    }
    reidd_job_fini(&active->job);
    active->job = job;
    free(active->ticket);
    active->ticket = ticket;
    active->received_seq = active->stored_seq = 0;
    active->restored = active->elsewhere = active->flight_noted = false;
    active->heard_iteration = -1;
    forget_ranks(active);
    status = reidd_active_take_gpus(active, &err);
    if (status == REID_OK)
        status = launch(active, &err);
    if (status == REID_OK) {
        reidd_active_note_checkpoint(active);
        reid_log_info("job started id=%s attempt=%d ranks=%d%s%s", job.id, job.attempt, job.ranks,
                      active->gpus ? " gpus=" : "", active->gpus ? active->gpus : "");
        uv_timer_start(&active->timer, on_start_deadline, manager->start_timeout_ms, 0);
    } else {
        reid_log_error("job not started id=%s %s", job.id, err.text);
        reidd_active_close_crew(active);
        start_failed(active, err.text);
    }
    reidd_active_describe(active);
}

void reidd_active_up(reidd_active *active)
{
    reid_error err = {0};
    if (active->job.state != REIDD_STARTING || active->ending)
        return;
    reidd_job job;
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_up(&job, &err);
    if (status == REID_OK)
        status = reidd_active_save(active->manager, &job, "state", "RUNNING", &err);
    reidd_manager_note_store(active->manager, status, &err);
    if (status == REID_OK) { /* otherwise the next word of a rank tries again */
        reidd_job_fini(&active->job);
        active->job = job;
        reidd_active_watch(active);
        reid_log_info("job running id=%s", job.id);
        reidd_active_describe(active);
    } else {
        reidd_job_fini(&job);
    }
}

void reidd_active_stop(reidd_active *active, int64_t grace_ms)
{
    if (!active->attempt || active->ending)
        return;
    reidd_attempt_stop(active->attempt, grace_ms);
    reidd_crew_stop(active->crew, grace_ms);
}

/* ---- adoption ---- */

/* A supervisor of another release. It is let go on: what it does not understand, it cannot do, and
 * whoever looks for the reason finds it in the job's events. */
static void check_shim(const reidd_active *active, const char *folder)
{
    const reidd_job *job = &active->job;
    reidd_shim_info info = {0};
    reid_error err = {0};
    int agreed = 0;
    REID_AUTOFREE char *who = reid_xasprintf("the supervisor of job %s", job->id);
    if (reidd_shim_info_read(folder, &info, NULL) != REID_OK ||
        reid_protocol_agree(who, info.protocol, &agreed, &err) == REID_OK)
        return;
    reid_log_warn("job adopted id=%s, but %s", job->id, err.text);
    reidd_store_event_add(active->manager->store, job->id, job->attempt, reid_clock_wall_ms(),
                          "upgrade", err.text, NULL);
}

void reidd_active_adopt(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reidd_job *job = &active->job;
    reid_error err = {0};
    active->adopted = true;
    forget_ranks(active);
    reid_status status =
        reidd_store_attempt_ticket(manager->store, job->id, job->attempt, &active->ticket, &err);
    if (status == REID_OK)
        status =
            reidd_store_row_last(manager->store, job->id, job->attempt, &active->stored_seq, &err);
    if (status == REID_OK)
        status = reidd_active_load_latest(active, &err);
    active->received_seq = active->stored_seq;
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, job->id, job->attempt);
    /* Its folder is made after its start is stored: one that has not come further has none. */
    active->elsewhere =
        !reid_path_exists(folder) && (active->restored || job->state == REIDD_RUNNING);
    active->gpus = reidd_gpu_list_read(folder);
    if (status == REID_OK)
        status = reidd_attempt_adopt(manager->loop, folder, on_attempt_end, active,
                                     &active->attempt, &err);
    if (status == REID_OK)
        status = reidd_active_open_crew(active, true, &err);
    if (status != REID_OK) {
        start_failed(active, err.text);
        return;
    }
    reid_log_info("job adopted id=%s attempt=%d state=%s rows=%lld", job->id, job->attempt,
                  reidd_state_name(job->state), (long long)active->stored_seq);
    check_shim(active, folder);
    if (job->cancel.wanted) /* the daemon may have ended before it could tell the shim */
        reidd_active_stop(active, job->cancel.grace_ms);
    if (job->state == REIDD_STARTING)
        uv_timer_start(&active->timer, on_start_deadline, manager->start_timeout_ms, 0);
    else
        reidd_active_watch(active);
    reidd_active_describe(active);
}

/* ---- the end ---- */

/* The attempt came to nothing through no fault of the job: back into the queue. */
static bool requeue(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reid_error err = {0};
    if (active->outcome.started || active->elsewhere || active->job.state != REIDD_STARTING ||
        active->job.cancel.wanted ||
        active->job.attempt - active->attempt_base >= REIDD_START_TRIES)
        return false;
    reidd_job job;
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_requeue(&job, &err);
    if (status == REID_OK)
        status = reidd_active_save(manager, &job, "state", "PENDING: its supervisor never started",
                                   &err);
    reidd_manager_note_store(manager, status, &err);
    if (status != REID_OK) {
        reidd_job_fini(&job);
        return false;
    }
    reidd_job_fini(&active->job);
    active->job = job;
    active->ending = active->adopted = false;
    reid_log_warn("job back in the queue id=%s: its supervisor never started", job.id);
    reidd_manager_schedule_later(manager, 0);
    return true;
}

static void on_attempt_end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome, void *user)
{
    reidd_active *active = user;
    active->outcome = *outcome;
    active->ending = true;
    reidd_attempt_close(attempt);
    active->attempt = NULL;
    uv_timer_stop(&active->timer);
    if (!reidd_active_finish_crew(active))
        reidd_active_attempt_over(active);
}

void reidd_active_attempt_over(reidd_active *active)
{
    if (requeue(active))
        return;
    if (!active->outcome.started)
        snprintf(active->outcome.report.sentence, sizeof active->outcome.report.sentence, "%s",
                 active->elsewhere
                     ? "the attempt ran where the store was before, and its files are not here"
                     : "the job's supervisor was killed before it started the ranks");
    REID_AUTOFREE char *folder =
        reidd_manager_attempt_dir(active->manager, active->job.id, active->job.attempt);
    REID_AUTOFREE char *path = reid_path_join(folder, "rank0.spool");
    reid_error err = {0};
    reidd_identity before = reidd_identity_of_owner(folder);
    reid_status opened = reid_record_file_read_open(path, &active->spool, &err);
    reidd_identity_leave(&before);
    if (opened != REID_OK && err.code != REID_ERR_NOT_FOUND)
        reid_log_warn("job spool lost id=%s %s", active->job.id, err.text);
    reidd_active_describe(active);
    uv_timer_start(&active->timer, on_step, 0, 0);
}

static void take_spool_row(const reidd_row *row, void *user)
{
    reidd_active *active = user;
    if (row->seq <= active->received_seq) {
        if (active->adopted) /* the daemon before may have stored it without its latest values */
            reidd_active_take_latest(active, row);
        return;
    }
    if (row->seq != active->received_seq + 1)
        reid_log_warn("job rows are missing id=%s after=%lld next=%lld", active->job.id,
                      (long long)active->received_seq, (long long)row->seq);
    reidd_active_take_row(active, row);
}

/* Reads a part of the spool. False when nothing is left. */
static bool read_spool(reidd_active *active)
{
    for (int i = 0; active->spool && i < SPOOL_SLICE; i++) {
        const uint8_t *data = NULL;
        size_t size = 0;
        reid_error err = {0};
        reid_status status = reid_record_file_next(active->spool, &data, &size, &err);
        if (status == REID_OK && data)
            status = active->manager->decode_row(data, size, active->job.attempt, take_spool_row,
                                                 active, &err);
        if (status != REID_OK)
            reid_log_warn("job spool is damaged id=%s %s", active->job.id, err.text);
        if (status == REID_OK && data)
            continue;
        reid_record_file_free(active->spool);
        active->spool = NULL;
    }
    return active->spool != NULL;
}

/* What the diary says of it, and its kind. */
static char *describe_end(const reidd_job *job, const reidd_end *end, const char **ret_kind)
{
    *ret_kind = "state";
    if (job->state != REIDD_PENDING)
        return reid_xstrdup(reidd_state_name(job->state));
    *ret_kind = job->failure.sentence ? "restart" : "requeue";
    if (job->failure.sentence)
        return reidd_restart_event(job);
    if (end->exit_code == 0)
        return reid_xstrdup("its state is saved");
    return reid_xasprintf("it goes on from %s: %s",
                          job->resume ? "the last checkpoint" : "the beginning", end->sentence);
}

static reid_status save_end(reidd_manager *manager, const reidd_job *job, const reidd_end *end,
                            reid_error *err)
{
    const char *kind = NULL;
    REID_AUTOFREE char *detail = describe_end(job, end, &kind);
    reid_status status = reidd_store_begin(manager->store, true, err);
    if (status == REID_OK)
        status = reidd_store_job_save(manager->store, job, err);
    if (status == REID_OK)
        status = reidd_store_attempt_end(manager->store, job->id, job->attempt, end, err);
    if (status == REID_OK)
        status = reidd_store_event_add(
            manager->store, job->id, job->attempt,
            job->state == REIDD_PENDING ? reid_clock_wall_ms() : end->ended_ms, kind, detail, err);
    if (status == REID_OK)
        status = reidd_store_commit(manager->store, err);
    reidd_store_rollback(manager->store);
    return status;
}

static void read_outcome(const reidd_active *active, reidd_outcome *ret_outcome)
{
    REID_AUTOFREE char *folder =
        reidd_manager_attempt_dir(active->manager, active->job.id, active->job.attempt);
    reidd_outcome_read(folder, ret_outcome, NULL);
}

/* Paused, or to be restarted: it stays in the list, without slots. */
static void keep(reidd_active *active, reidd_job *own_job)
{
    reidd_manager *manager = active->manager;
    reidd_active_count_usage(active);
    reidd_job_fini(&active->job);
    active->job = *own_job;
    reidd_active_drop_words(active);
    reidd_active_drop_hooks(active);
    active->ending = active->adopted = active->unsaved = false;
    if (active->job.state == REIDD_PENDING)
        reidd_active_forget_attempt(active);
    if (active->job.state == REIDD_PAUSED)
        reid_log_info("job paused id=%s iteration=%lld", active->job.id,
                      (long long)active->job.progress.iteration);
    else if (active->job.restart.at_ms != 0)
        reidd_active_await_restart(active);
    else
        reid_log_info("job back in the queue id=%s iteration=%lld", active->job.id,
                      (long long)active->job.progress.iteration);
    active->attempt_base = active->job.attempt;
    reidd_active_describe(active);
    reidd_hub_publish(manager->hub, active->job.id, REIDD_CHANGED_JOB | REIDD_CHANGED_ROWS);
    reidd_manager_schedule(manager);
}

/* The job as it is after this attempt, on the disk. */
static reid_status save_outcome(reidd_active *active, reidd_job *job, reid_error *err)
{
    const reidd_exit_report *report = &active->outcome.report;
    reidd_end end = {.exit_code = report->exit_code,
                     .signal = report->signal,
                     .rank = report->rank,
                     .sentence = report->sentence,
                     .ended_ms = report->ended_ms};
    if (active->own_failure && end.exit_code != 0)
        end = (reidd_end){.exit_code = active->own_code ? active->own_code : 1,
                          .rank = active->own_rank,
                          .sentence = active->own_failure,
                          .ended_ms = report->ended_ms};
    bool gives_way = job->yields && !job->cancel.wanted && !job->limit_reached;
    if (!gives_way)
        reidd_active_note_sick(active, job, &end);
    reidd_outcome outcome = {0};
    if (end.exit_code == 0)
        read_outcome(active, &outcome);
    if (outcome.paused && active->job.cancel.wanted) /* it has saved, and shall not come back */
        end.exit_code = REIDD_EXIT_CANCELLED;
    if (outcome.paused && end.exit_code == 0)
        REID_TRY(reidd_job_pause(job, outcome.iteration, err));
    else if (gives_way && end.exit_code != 0)
        REID_TRY(reidd_active_give_way(active, job, err));
    else if (reidd_active_is_restarted(active, &end))
        REID_TRY(reidd_active_plan_restart(active, job, &end, err));
    else
        REID_TRY(reidd_job_end(job, &end, err));
    REID_TRY(reidd_active_settle(active, job, &end, err));
    if (job->state == REIDD_SUCCEEDED && active->stopped_by && !job->cancel.wanted) {
        free(job->cancel.reason); /* of the stop, which is a wish of the same kind */
        job->cancel.reason = reid_xstrdup(active->stopped_by);
    }
    return save_end(active->manager, job, &end, err);
}

static void finish(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reid_error err = {0};
    reidd_job job;
    reidd_active_forget_stall(active);
    if (active->outcome.report.exit_code != 0)
        reidd_active_note_flight(active);
    reidd_job_copy(&job, &active->job);
    reid_status status = save_outcome(active, &job, &err);
    reidd_manager_note_store(manager, status, &err);
    if (status != REID_OK) {
        reidd_job_fini(&job);
        uv_timer_start(&active->timer, on_step, REIDD_RETRY_MS, 0);
        return;
    }
    if (!reidd_state_is_final(job.state)) {
        keep(active, &job);
        return;
    }
    reid_log_info("job ended id=%s state=%s exit_code=%d%s%s", job.id, reidd_state_name(job.state),
                  job.exit_code, job.failure.sentence ? " " : "",
                  job.failure.sentence ? job.failure.sentence : "");
    char id[16];
    memcpy(id, job.id, sizeof id);
    reidd_job_fini(&job);
    reidd_active_count_usage(active);
    reidd_active_remove(active);
    reidd_hub_publish(manager->hub, id, REIDD_CHANGED_JOB | REIDD_CHANGED_ROWS | REIDD_CHANGED_END);
    reidd_manager_schedule(manager);
}

/* What the ranks left is stored slice by slice, then the end itself. */
static void on_step(uv_timer_t *timer)
{
    reidd_active *active = timer->data;
    bool more = read_spool(active);
    active->saved_ms = 0; /* everything is due now */
    bool stored = reidd_manager_flush(active->manager);
    if (!stored)
        uv_timer_start(timer, on_step, REIDD_RETRY_MS, 0);
    else if (more)
        uv_timer_start(timer, on_step, SLICE_MS, 0);
    else
        finish(active);
}
