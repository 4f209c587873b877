#include "daemon/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/deadline.h"
#include "daemon/manager_private.h"
#include "daemon/stall.h"

#define CONFIG_LIMIT_BYTES (4u << 20)
#define ACTIVE_STATES                                                                              \
    (1u << REIDD_PENDING | 1u << REIDD_STARTING | 1u << REIDD_RUNNING | 1u << REIDD_PAUSED)

/* ---- jobs that have not ended ---- */

reidd_active *reidd_active_find(const reidd_manager *manager, const char *id)
{
    return reidd_index_find(&manager->index, id);
}

reidd_active *reidd_active_add(reidd_manager *manager, reidd_job *own_job)
{
    reidd_active *active = reid_xcalloc(1, sizeof *active);
    active->manager = manager;
    active->job = *own_job;
    memset(own_job, 0, sizeof *own_job);
    active->timer.data = active;
    uv_timer_init(manager->loop, &active->timer);
    manager->handles++;
    active->after = active->job.wishes.after ? reid_xstrdup(active->job.wishes.after) : NULL;
    reid_vec_push(&manager->active, active);
    reidd_index_add(&manager->index, active);
    return active;
}

void reidd_manager_handle_closed(reidd_manager *manager)
{
    if (--manager->handles > 0)
        return;
    for (size_t i = 0; i < manager->rows.count; i++)
        free(manager->rows.items[i].bytes);
    reid_vec_fini(&manager->rows);
    reid_vec_fini(&manager->active);
    reidd_index_fini(&manager->index);
    reidd_shares_fini(&manager->shares);
    reidd_round_free(manager->round);
    reid_vec_fini(&manager->waiting);
    reid_vec_fini(&manager->submissions);
    free(manager->state_dir);
    free(manager->shim);
    free(manager->trainer);
    free(manager->link_address);
    free(manager->hook_dir);
    free(manager->data_roots);
    free(manager->output_roots);
    free(manager);
}

static void on_active_closed(uv_handle_t *handle)
{
    reidd_active *active = handle->data;
    reidd_manager *manager = active->manager;
    for (size_t i = 0; i < active->latest.count; i++)
        free(active->latest.items[i].name);
    reid_vec_fini(&active->latest);
    reid_record_file_free(active->spool);
    reidd_job_fini(&active->job);
    free(active->detail);
    free(active->after);
    free(active->told);
    free(active->ticket);
    free(active->gpus);
    free(active->reported);
    reidd_ranks_fini(&active->ranks);
    free(active->own_failure);
    free(active->stall);
    free(active->stopped_by);
    free(active);
    reidd_manager_handle_closed(manager);
}

void reidd_active_remove(reidd_active *active)
{
    reidd_manager *manager = active->manager;
    reidd_manager_drop_rows(manager, active);
    reidd_active_drop_words(active);
    reidd_active_drop_hooks(active);
    reidd_attempt_close(active->attempt);
    active->attempt = NULL;
    reidd_active_close_crew(active);
    reidd_manager_forget_waiter(manager, active);
    reidd_index_remove(&manager->index, active->job.id);
    for (size_t i = 0; i < manager->active.count; i++) {
        if (manager->active.items[i] != active)
            continue;
        reid_vec_remove(&manager->active, i);
        break;
    }
    uv_close((uv_handle_t *)&active->timer, on_active_closed);
    if (!manager->closing)
        reidd_prune_later(manager->prune);
}

reid_status reidd_active_save(reidd_manager *manager, const reidd_job *job, const char *kind,
                              const char *detail, reid_error *err)
{
    reid_status status = reidd_store_begin(manager->store, true, err);
    if (status == REID_OK)
        status = reidd_store_job_save(manager->store, job, err);
    if (status == REID_OK)
        status = reidd_store_event_add(manager->store, job->id, job->attempt, reid_clock_wall_ms(),
                                       kind, detail, err);
    if (status == REID_OK)
        status = reidd_store_commit(manager->store, err);
    reidd_store_rollback(manager->store);
    return status;
}

void reidd_manager_note_store(reidd_manager *manager, reid_status status, const reid_error *err)
{
    if ((status != REID_OK) == manager->store_fails)
        return;
    manager->store_fails = status != REID_OK;
    if (manager->store_fails)
        reid_log_error("store %s; it is tried again", err->text);
    else
        reid_log_info("store can be written again");
}

/* ---- words for people ---- */

static char *describe_started(const reidd_active *active)
{
    const reidd_job *job = &active->job;
    const char *reason = job->cancel.reason;
    if (active->own_failure)
        return reid_xasprintf("stopping: %s", active->own_failure);
    if (job->cancel.wanted)
        return reid_xasprintf("stopping within %g s%s%s", (double)job->cancel.grace_ms / 1000.0,
                              reason && *reason ? ": " : "", reason ? reason : "");
    if (active->ending)
        return reid_xstrdup("the ranks have ended; storing what they left");
    if (job->limit_reached)
        return reid_xasprintf("saving and stopping: %s", reason ? reason : "its time is over");
    if (job->yields)
        return reid_xasprintf("%s: %s", active->word_note ? active->word_note : "pausing",
                              job->yields);
    if (active->stall)
        return reid_xasprintf("%s, but stalled: %s", reidd_phase_name(job->phase), active->stall);
    if (active->word_note)
        return reid_xstrdup(active->word_note);
    if (job->state == REIDD_RUNNING && active->adopted && active->reported_count == 0)
        return reid_xasprintf("%s; the ranks have not reported yet since reidd was started again",
                              reidd_phase_name(job->phase));
    if (job->state == REIDD_RUNNING && job->phase == REIDD_TRAINING && active->ranks.slow)
        return reid_xasprintf("training; %s", active->ranks.slow);
    if (job->state == REIDD_RUNNING)
        return reid_xstrdup(reidd_phase_name(job->phase));
    if (job->ranks == 1)
        return reid_xstrdup("starting the rank");
    return reid_xasprintf("starting ranks: %d of %d have reported", active->reported_count,
                          job->ranks);
}

void reidd_active_describe(reidd_active *active)
{
    if (reidd_state_is_started(active->job.state)) {
        free(active->detail);
        active->detail = describe_started(active);
        if (active->job.ranks < active->job.wishes.ranks) {
            REID_AUTOFREE char *text = active->detail;
            active->detail = reid_xasprintf("%s; runs on %d of %d ranks", text,
                                            (int)active->job.ranks, (int)active->job.wishes.ranks);
        }
    } else if (active->job.state == REIDD_PAUSED) {
        const reidd_progress *p = &active->job.progress;
        free(active->detail);
        active->detail = reid_xasprintf("paused after iteration %lld of %lld; resume it to go on",
                                        (long long)p->iteration, (long long)p->max_iteration);
    }
    active->changed = true;
    reidd_manager_plan_flush(active->manager);
}

static char *describe_ended(const reidd_job *job)
{
    char duration[32];
    const char *reason = job->cancel.reason;
    switch (job->state) {
    case REIDD_SUCCEEDED:
        if (job->progress.iteration < job->progress.max_iteration)
            return reid_xasprintf("stopped after iteration %lld of %lld%s%s; its state is saved",
                                  (long long)job->progress.iteration,
                                  (long long)job->progress.max_iteration,
                                  reason && *reason ? " by " : "", reason ? reason : "");
        reid_format_duration(duration, (double)(job->ended_ms - job->started_ms) / 1000.0);
        return reid_xasprintf("finished after %s", duration);
    case REIDD_CANCELLED:
        return reid_xasprintf("cancelled%s%s", reason && *reason ? ": " : "", reason ? reason : "");
    default:
        return reid_xstrdup(job->failure.sentence ? job->failure.sentence : "");
    }
}

/* ---- start and end of the manager ---- */

char *reidd_manager_job_dir(const reidd_manager *manager, const char *id)
{
    return reid_xasprintf("%s/jobs/%s", manager->state_dir, id);
}

char *reidd_manager_attempt_dir(const reidd_manager *manager, const char *id, int attempt)
{
    return reid_xasprintf("%s/jobs/%s/attempt-%d", manager->state_dir, id, attempt);
}

static void load_job(const reidd_job *job, void *user)
{
    reidd_job copy;
    reidd_job_copy(&copy, job);
    reidd_active_add(user, &copy);
}

/* The store is older than its folders: somebody has put a backup in its place. */
static void tell_stranger(const char *path, const char *id)
{
    bool runs = false;
    for (int attempt = 1; !runs; attempt++) {
        REID_AUTOFREE char *folder = reid_xasprintf("%s/attempt-%d", path, attempt);
        if (!reid_path_exists(folder))
            break;
        runs = reidd_attempt_is_locked(folder);
    }
    reid_log_warn("job folder of no job id=%s folder=%s: the store does not know it%s", id, path,
                  runs ? "; its processes run on without holding slots, and end with reidd-shim"
                       : "");
}

/* Folders of submissions that a former daemon did not come to store: no job, no attempt. */
static void remove_orphans(reidd_manager *manager)
{
    REID_AUTOFREE char *folder = reid_path_join(manager->state_dir, "jobs");
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    if (reid_dir_list(folder, &entries, &count, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        reidd_job job = {0};
        REID_AUTOFREE char *path = reid_path_join(folder, entries[i].name);
        REID_AUTOFREE char *attempt = reid_path_join(path, "attempt-1");
        if (strlen(entries[i].name) == REIDD_ID_LENGTH &&
            reidd_store_job_load(manager->store, entries[i].name, &job, NULL) ==
                REID_ERR_NOT_FOUND &&
            !reidd_store_is_removed(manager->store, entries[i].name)) {
            if (reid_path_exists(attempt))
                tell_stranger(path, entries[i].name);
            else
                reid_remove_tree(path, NULL);
        }
        reidd_job_fini(&job);
    }
    reid_dir_free(entries, count);
}

static reid_status load(reidd_manager *manager, reid_error *err)
{
    REID_AUTOFREE char *folder = reid_path_join(manager->state_dir, "jobs");
    REID_TRY(reid_make_dirs(folder, 0700, err));
    REID_TRY(reidd_store_job_last_id(manager->store, manager->last_id, err));
    REID_TRY(reidd_store_job_each(manager->store, ACTIVE_STATES, load_job, manager, err));
    remove_orphans(manager);
    for (size_t i = 0; i < manager->active.count; i++) {
        reidd_active *active = manager->active.items[i];
        REID_TRY(reidd_active_restore_config(active, err));
        REID_TRY(reidd_active_load_journal(active, err));
        if (reidd_state_is_started(active->job.state)) {
            reidd_active_adopt(active);
        } else if (active->job.attempt > 0) {
            REID_TRY(reidd_active_load_latest(active, err));
            reidd_active_describe(active);
            if (active->job.restart.at_ms > 0)
                reidd_active_await_restart(active);
        }
    }
    reidd_manager_schedule_later(manager, 0);
    return REID_OK;
}

reid_status reidd_manager_new(uv_loop_t *loop, reidd_store *store, reidd_hub *hub,
                              const reidd_manager_options *options, reidd_manager **ret_manager,
                              reid_error *err)
{
    reidd_manager *manager = reid_xcalloc(1, sizeof *manager);
    manager->loop = loop;
    manager->store = store;
    manager->hub = hub;
    manager->state_dir = reid_xstrdup(options->state_dir);
    manager->limits = options->limits;
    manager->data_roots = options->data_roots ? reid_xstrdup(options->data_roots) : NULL;
    manager->output_roots = options->output_roots ? reid_xstrdup(options->output_roots) : NULL;
    manager->shim = reid_xstrdup(options->shim);
    manager->trainer = reid_xstrdup(options->trainer);
    manager->link_address = reid_xstrdup(options->link_address);
    manager->hook_dir = options->hook_dir ? reid_xstrdup(options->hook_dir) : NULL;
    manager->confine = options->confine;
    manager->slots = options->slots;
    manager->gpus = options->gpus;
    manager->nodes = options->nodes;
    manager->cluster = options->cluster;
    manager->grace_ms = options->grace_ms;
    manager->check_timeout_ms = options->check_timeout_ms;
    manager->start_timeout_ms = options->start_timeout_ms;
    manager->stall_notice_ms = options->stall_notice_ms ? options->stall_notice_ms : 30000;
    memcpy(manager->phase_timeout_ms, options->phase_timeout_ms, sizeof manager->phase_timeout_ms);
    manager->decode_row = options->decode_row;
    manager->flush_timer.data = manager->schedule_timer.data = manager->check_timer.data = manager;
    manager->limit_timer.data = manager;
    manager->pause_timeout_ms = options->pause_timeout_ms ? options->pause_timeout_ms : 600000;
    manager->limit_grace_ms = options->limit_grace_ms ? options->limit_grace_ms : 120000;
    uv_timer_init(loop, &manager->flush_timer);
    uv_timer_init(loop, &manager->schedule_timer);
    uv_timer_init(loop, &manager->check_timer);
    uv_timer_init(loop, &manager->limit_timer);
    manager->handles = 4;
    manager->prune = reidd_prune_new(manager);
    if (manager->cluster && reidd_cluster_is_head(manager->cluster))
        reidd_manager_open_crews(manager);
    reid_status status = reidd_manager_load_shares(manager, options->share_half_life_ms, err);
    if (status == REID_OK)
        status = load(manager, err);
    if (status != REID_OK) {
        reidd_manager_close(manager);
        return status;
    }
    *ret_manager = manager;
    return REID_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    reidd_manager_handle_closed(handle->data);
}

void reidd_manager_close(reidd_manager *manager)
{
    if (!manager || manager->closing)
        return;
    for (size_t i = 0; i < manager->active.count; i++)
        manager->active.items[i]->saved_ms = 0; /* everything is due now */
    reidd_manager_flush(manager);
    manager->closing = true;
    reidd_manager_cancel_submissions(manager);
    while (manager->active.count > 0)
        reidd_active_remove(manager->active.items[manager->active.count - 1]);
    reidd_prune_close(manager->prune);
    reidd_late_close(manager->late);
    manager->late = NULL;
    reidd_crews_close(manager->crews);
    manager->crews = NULL;
    uv_close((uv_handle_t *)&manager->flush_timer, on_timer_closed);
    uv_close((uv_handle_t *)&manager->schedule_timer, on_timer_closed);
    uv_close((uv_handle_t *)&manager->check_timer, on_timer_closed);
    uv_close((uv_handle_t *)&manager->limit_timer, on_timer_closed);
}

/* ---- looking ---- */

int reidd_manager_slots(const reidd_manager *manager)
{
    return manager->slots;
}

int reidd_manager_slots_used(const reidd_manager *manager)
{
    int used = 0;
    for (size_t i = 0; i < manager->active.count; i++)
        if (reidd_state_is_started(manager->active.items[i]->job.state))
            used += manager->active.items[i]->job.ranks;
    return used;
}

static double step_seconds(const reidd_active *active)
{
    for (size_t i = 0; i < active->latest.count; i++)
        if (strcmp(active->latest.items[i].name, "time") == 0)
            return active->latest.items[i].value;
    return 0;
}

void reidd_manager_each_slot_user(const reidd_manager *manager,
                                  void (*each)(const reidd_slot_user *holder, void *user),
                                  void *user)
{
    for (size_t i = 0; i < manager->active.count; i++) {
        const reidd_active *active = manager->active.items[i];
        if (!reidd_state_is_started(active->job.state))
            continue;
        const reidd_slot_user holder = {
            .job = &active->job,
            .gpus = active->gpus,
            .step_s = step_seconds(active),
        };
        each(&holder, user);
    }
}

void reidd_manager_nodes_changed(reidd_manager *manager)
{
    if (manager && !manager->closing)
        reidd_manager_schedule_later(manager, 0);
}

size_t reidd_manager_running(const reidd_manager *manager)
{
    size_t count = 0;
    for (size_t i = 0; i < manager->active.count; i++)
        count += reidd_state_is_started(manager->active.items[i]->job.state);
    return count;
}

void reidd_job_view_fini(reidd_job_view *view)
{
    if (!view)
        return;
    reidd_job_fini(&view->job);
    free(view->detail);
    view->detail = NULL;
}

reid_status reidd_manager_find(reidd_manager *manager, const char *key, char ret_id[16],
                               reid_error *err)
{
    return reidd_store_job_find(manager->store, key, ret_id, err);
}

/* What is in memory is newer than what is stored. */
static reidd_job_view make_view(const reidd_manager *manager, const reidd_job *stored)
{
    reidd_job_view view = {0};
    reidd_active *active = reidd_active_find(manager, stored->id);
    reidd_job_copy(&view.job, active ? &active->job : stored);
    if (active && active->job.state == REIDD_PENDING)
        view.detail = reidd_active_wait_detail(active);
    else
        view.detail =
            active ? reid_xstrdup(active->detail ? active->detail : "") : describe_ended(&view.job);
    if (active)
        view.queue_position = reidd_active_place(active, &view.start_by_ms);
    if (active)
        view.job.ran_ms += reidd_active_ran_ms(active);
    return view;
}

bool reidd_manager_is_open(const reidd_manager *manager, const char *id)
{
    const reidd_active *active = reidd_active_find(manager, id);
    return active && !reidd_state_is_final(active->job.state);
}

reid_status reidd_manager_view(reidd_manager *manager, const char *id, reidd_job_view *ret_view,
                               reid_error *err)
{
    const reidd_active *active = reidd_active_find(manager, id);
    if (active) {
        *ret_view = make_view(manager, &active->job);
        return REID_OK;
    }
    reidd_job job = {0};
    REID_TRY(reidd_store_job_load(manager->store, id, &job, err));
    *ret_view = make_view(manager, &job);
    reidd_job_fini(&job);
    return REID_OK;
}

typedef struct list_call {
    reidd_manager *manager;
    void (*each)(const reidd_job_view *view, void *user);
    void *user;
} list_call;

static void list_one(const reidd_job *job, void *user)
{
    list_call *call = user;
    reidd_job_view view = make_view(call->manager, job);
    call->each(&view, call->user);
    reidd_job_view_fini(&view);
}

reid_status reidd_manager_list(reidd_manager *manager, unsigned states, int64_t limit,
                               const char *before,
                               void (*each)(const reidd_job_view *view, void *user), void *user,
                               reid_error *err)
{
    list_call call = {.manager = manager, .each = each, .user = user};
    return reidd_store_job_list(manager->store, states, limit, before, list_one, &call, err);
}

reid_status reidd_manager_latest(reidd_manager *manager, const char *id,
                                 void (*each)(const char *name, double value, void *user),
                                 void *user, reid_error *err)
{
    const reidd_active *active = reidd_active_find(manager, id);
    if (!active)
        return reidd_store_latest_each(manager->store, id, each, user, err);
    for (size_t i = 0; i < active->latest.count; i++)
        each(active->latest.items[i].name, active->latest.items[i].value, user);
    return REID_OK;
}

reid_status reidd_manager_config(reidd_manager *manager, const char *id, char **ret_yaml,
                                 reid_error *err)
{
    size_t size = 0;
    REID_AUTOFREE char *folder = reidd_manager_job_dir(manager, id);
    REID_AUTOFREE char *path = reid_path_join(folder, "config.yaml");
    if (!reid_path_exists(path) &&
        reidd_store_config_load(manager->store, id, ret_yaml, NULL) == REID_OK)
        return REID_OK;
    return reid_file_read(path, CONFIG_LIMIT_BYTES, ret_yaml, &size, err);
}

/* ---- cancelling ---- */

static reid_status cancel_active(reidd_active *active, const char *reason, int64_t grace_ms,
                                 reid_error *err)
{
    reidd_manager *manager = active->manager;
    reidd_job job;
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_cancel(&job, reason, grace_ms, reid_clock_wall_ms(), err);
    if (status == REID_OK)
        status = reidd_active_save(manager, &job, "cancel", reason, err);
    if (status != REID_OK) {
        reidd_job_fini(&job);
        return status;
    }
    reidd_job_fini(&active->job);
    active->job = job;
    reid_log_info("job cancelled id=%s state=%s grace_ms=%lld", job.id, reidd_state_name(job.state),
                  (long long)job.cancel.grace_ms);
    if (job.state != REIDD_CANCELLED) {
        reidd_active_stop(active, job.cancel.grace_ms);
        if (job.state == REIDD_RUNNING && !active->ending)
            reidd_active_watch(active);
        reidd_active_describe(active);
        return REID_OK;
    }
    char id[16];
    memcpy(id, job.id, sizeof id);
    reidd_active_remove(active);
    reidd_hub_publish(manager->hub, id, REIDD_CHANGED_JOB | REIDD_CHANGED_END);
    reidd_manager_schedule_later(manager, REIDD_FLUSH_MS); /* once for many, of a list */
    return REID_OK;
}

reid_status reidd_manager_cancel(reidd_manager *manager, const char *id, const char *reason,
                                 int64_t grace_ms, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (grace_ms < 0) /* before its start a job has nothing to save */
        grace_ms = active && active->job.state == REIDD_STARTING
                       ? REID_MIN(manager->grace_ms, REIDD_QUIET_MS)
                       : manager->grace_ms;
    if (active)
        return cancel_active(active, reason, grace_ms, err);
    reidd_job job = {0};
    REID_TRY(reidd_store_job_load(manager->store, id, &job, err));
    reid_status status = reidd_job_cancel(&job, reason, grace_ms, reid_clock_wall_ms(), err);
    reidd_job_fini(&job);
    return status;
}
