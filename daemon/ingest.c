/* What the ranks say: hello, rows, phase, progress, last words. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "daemon/deadline.h"
#include "daemon/manager_private.h"
#include "daemon/stall.h"

#define PROGRESS_SAVE_MS 1000 /* progress and the latest values are stored at most this often */

/* ---- storing ---- */

static void on_flush(uv_timer_t *timer)
{
    reidd_manager *manager = timer->data;
    manager->flush_planned = false;
    if (!reidd_manager_flush(manager)) {
        manager->flush_planned = true;
        uv_timer_start(&manager->flush_timer, on_flush, REIDD_RETRY_MS, 0);
    }
}

void reidd_manager_plan_flush(reidd_manager *manager)
{
    if (manager->flush_planned || manager->closing)
        return;
    manager->flush_planned = true;
    uv_timer_start(&manager->flush_timer, on_flush, REIDD_FLUSH_MS, 0);
}

static reid_status write_rows(reidd_manager *manager, reid_error *err)
{
    for (size_t i = 0; i < manager->rows.count; i++) {
        const reidd_waiting_row *row = &manager->rows.items[i];
        REID_TRY(reidd_store_row_add(manager->store, row->active->job.id, row->active->job.attempt,
                                     row->seq, row->bytes, row->size, err));
    }
    return REID_OK;
}

static bool is_due(const reidd_active *active, int64_t now_ms)
{
    return active->unsaved && now_ms - active->saved_ms >= PROGRESS_SAVE_MS;
}

static reid_status write_active(reidd_active *active, int64_t now_ms, reid_error *err)
{
    reidd_store *store = active->manager->store;
    if (!is_due(active, now_ms))
        return REID_OK;
    for (size_t i = 0; i < active->latest.count; i++) {
        const reidd_metric *metric = &active->latest.items[i];
        if (metric->dirty)
            REID_TRY(
                reidd_store_latest_set(store, active->job.id, metric->name, metric->value, err));
    }
    return reidd_store_job_save(store, &active->job, err);
}

static bool has_work(const reidd_manager *manager, int64_t now_ms)
{
    if (manager->rows.count > 0)
        return true;
    for (size_t i = 0; i < manager->active.count; i++) {
        if (is_due(manager->active.items[i], now_ms))
            return true;
    }
    return false;
}

static reid_status write_batch(reidd_manager *manager, int64_t now_ms, reid_error *err)
{
    REID_TRY(reidd_store_begin(manager->store, false, err));
    reid_status status = write_rows(manager, err);
    for (size_t i = 0; status == REID_OK && i < manager->active.count; i++)
        status = write_active(manager->active.items[i], now_ms, err);
    if (status == REID_OK)
        status = reidd_store_commit(manager->store, err);
    reidd_store_rollback(manager->store);
    return status;
}

/* The batch is stored: nothing waits any more. */
static void settle(reidd_manager *manager, int64_t now_ms)
{
    for (size_t i = 0; i < manager->rows.count; i++) {
        const reidd_waiting_row *row = &manager->rows.items[i];
        row->active->stored_seq = REID_MAX(row->active->stored_seq, row->seq);
        free(row->bytes);
    }
    manager->rows.count = 0;
    for (size_t i = 0; i < manager->active.count; i++) {
        reidd_active *active = manager->active.items[i];
        if (!is_due(active, now_ms))
            continue;
        for (size_t k = 0; k < active->latest.count; k++)
            active->latest.items[k].dirty = false;
        active->unsaved = false;
        active->saved_ms = now_ms;
    }
}

/* Listeners look things up again: first everything is settled, then they are told. */
static void tell(reidd_manager *manager, const int64_t *stored_before)
{
    for (size_t i = 0; i < manager->active.count; i++) {
        reidd_active *active = manager->active.items[i];
        unsigned changes = active->changed ? REIDD_CHANGED_JOB : 0;
        if (active->stored_seq > stored_before[i])
            changes |= REIDD_CHANGED_ROWS;
        if (!changes)
            continue; /* and nothing is written: queue.c says why */
        active->changed = false;
        bool new_picture =
            active->job.state != active->told_state || active->job.phase != active->told_phase;
        active->told_state = active->job.state;
        active->told_phase = active->job.phase;
        (new_picture ? reidd_hub_publish : reidd_hub_tell)(manager->hub, active->job.id, changes);
    }
}

bool reidd_manager_flush(reidd_manager *manager)
{
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    reid_error err = {0};
    reid_status status = REID_OK;
    int64_t *before = reid_xcalloc(manager->active.count + 1, sizeof *before);
    for (size_t i = 0; i < manager->active.count; i++)
        before[i] = manager->active.items[i]->stored_seq;
    if (has_work(manager, now_ms)) {
        status = write_batch(manager, now_ms, &err);
        reidd_manager_note_store(manager, status, &err);
        if (status == REID_OK)
            settle(manager, now_ms);
    }
    if (!manager->closing)
        tell(manager, before);
    free(before);
    return status == REID_OK;
}

void reidd_manager_drop_rows(reidd_manager *manager, const reidd_active *active)
{
    size_t kept = 0;
    for (size_t i = 0; i < manager->rows.count; i++) {
        if (manager->rows.items[i].active == active)
            free(manager->rows.items[i].bytes);
        else
            manager->rows.items[kept++] = manager->rows.items[i];
    }
    manager->rows.count = kept;
}

/* ---- rows ---- */

static void set_latest(reidd_active *active, const char *name, double value, bool dirty)
{
    for (size_t i = 0; i < active->latest.count; i++) {
        reidd_metric *metric = &active->latest.items[i];
        if (strcmp(metric->name, name) != 0)
            continue;
        metric->value = value;
        metric->dirty = dirty;
        return;
    }
    if (active->latest.count >= REIDD_METRIC_NAMES)
        return; /* the rows themselves keep everything */
    const reidd_metric metric = {.name = reid_xstrdup(name), .value = value, .dirty = dirty};
    reid_vec_push(&active->latest, metric);
}

static void load_metric(const char *name, double value, void *user)
{
    set_latest(user, name, value, false);
}

reid_status reidd_active_load_latest(reidd_active *active, reid_error *err)
{
    return reidd_store_latest_each(active->manager->store, active->job.id, load_metric, active,
                                   err);
}

void reidd_active_take_latest(reidd_active *active, const reidd_row *row)
{
    for (size_t i = 0; i < row->scalar_count; i++)
        set_latest(active, row->scalars[i].name, row->scalars[i].value, true);
    active->unsaved = true;
}

void reidd_active_take_row(reidd_active *active, const reidd_row *row)
{
    reidd_manager *manager = active->manager;
    reidd_waiting_row waiting = {
        .active = active, .seq = row->seq, .size = row->size, .bytes = reid_xmalloc(row->size + 1)};
    memcpy(waiting.bytes, row->bytes, row->size);
    reid_vec_push(&manager->rows, waiting);
    active->received_seq = row->seq;
    reidd_active_take_latest(active, row);
    reidd_progress *progress = &active->job.progress;
    if (progress->max_iteration > 0) {
        int64_t done = REID_MIN(row->iteration + 1, progress->max_iteration);
        progress->iteration = REID_MAX(progress->iteration, done);
    }
    active->changed = active->unsaved = true;
    reidd_manager_plan_flush(manager);
}

/* ---- from the link ---- */

/* Takes the same time whatever is wrong. */
static bool same_secret(const char *a, const char *b)
{
    size_t length = strlen(b);
    unsigned char difference = strlen(a) != length;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)(b[i] ^ (difference ? 0 : a[i]));
    return difference == 0;
}

reid_status reidd_active_check_ticket(const reidd_active *active, const char *ticket,
                                      reid_error *err)
{
    if (same_secret(ticket, active->ticket))
        return REID_OK;
    return reid_fail(err, REID_ERR_PERMISSION, "the ticket is not that of attempt %d of job %s",
                     (int)active->job.attempt, active->job.id);
}

bool reidd_manager_has_attempt(reidd_manager *manager, const char *job_id, int attempt)
{
    const reidd_active *active = reidd_active_find(manager, job_id);
    return active && active->job.attempt == attempt && reidd_state_is_started(active->job.state);
}

reid_status reidd_manager_find_attempt(const reidd_manager *manager, const char *id, int attempt,
                                       reidd_active **ret_active, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (!active || active->job.attempt != attempt || !reidd_state_is_started(active->job.state) ||
        active->ending)
        return reid_fail(err, REID_ERR_PRECONDITION, "attempt %d of job '%s' does not run", attempt,
                         id);
    *ret_active = active;
    return REID_OK;
}

reid_status reidd_manager_hello(reidd_manager *manager, const reidd_hello *hello,
                                int64_t *ret_stored_seq, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, hello->job_id, hello->attempt, &active, err));
    REID_TRY(reidd_active_check_ticket(active, hello->ticket, err));
    if (hello->world != active->job.ranks || hello->rank < 0 || hello->rank >= active->job.ranks)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "rank %d of %d does not belong to job %s, which has %d", hello->rank,
                         hello->world, hello->job_id, active->job.ranks);
    reidd_ranks_hello(&active->ranks, hello->rank, hello->pid, hello->host);
    if (!active->reported[hello->rank]) {
        active->reported[hello->rank] = true;
        active->reported_count++;
        reidd_active_heard(active);
        reidd_active_describe(active);
    }
    if (active->reported_count == active->job.ranks)
        reidd_active_up(active);
    *ret_stored_seq = hello->rank == 0 ? active->received_seq : 0;
    return REID_OK;
}

void reidd_manager_refuse_hello(reidd_manager *manager, const reidd_hello *hello,
                                const char *sentence)
{
    reidd_active *active = NULL;
    if (reidd_manager_find_attempt(manager, hello->job_id, hello->attempt, &active, NULL) !=
            REID_OK ||
        reidd_active_check_ticket(active, hello->ticket, NULL) != REID_OK ||
        active->job.state != REIDD_STARTING || active->own_failure)
        return;
    active->own_code = REIDD_EXIT_USAGE; /* the next attempt would be refused, too */
    reidd_active_end(active, "link", sentence, hello->rank);
}

reid_status reidd_manager_row(reidd_manager *manager, const char *id, int attempt,
                              const reidd_row *row, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    if (row->seq <= active->received_seq)
        return REID_OK;
    if (row->seq != active->received_seq + 1)
        return reid_fail(err, REID_ERR_PRECONDITION, "row %lld came after row %lld",
                         (long long)row->seq, (long long)active->received_seq);
    if (manager->rows.count >= REIDD_WAITING_ROWS)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%d rows wait for the disk", REIDD_WAITING_ROWS);
    reidd_active_up(active);
    reidd_active_take_row(active, row);
    reidd_active_heard(active);
    active->job.last_progress_ms = reid_clock_wall_ms();
    if (manager->rows.count >= REIDD_FLUSH_ROWS && !manager->store_fails)
        reidd_manager_flush(manager);
    return REID_OK;
}

reid_status reidd_manager_phase(reidd_manager *manager, const char *id, int attempt,
                                reidd_phase phase, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    active->job.last_progress_ms = reid_clock_wall_ms();
    bool starting = active->job.state == REIDD_STARTING;
    if (starting && phase == REIDD_LOADING && active->reported_count < active->job.ranks)
        return REID_OK; /* the others are still on their way; RUNNING begins with this phase */
    if (!starting && active->job.phase == phase)
        return REID_OK;
    reidd_active_up(active);
    if (active->job.state != REIDD_RUNNING)
        return REID_OK;
    REID_TRY(reidd_job_set_phase(&active->job, phase, err));
    reidd_active_heard(active);
    active->unsaved = true;
    reidd_active_describe(active);
    return REID_OK;
}

reid_status reidd_manager_progress(reidd_manager *manager, const char *id, int attempt, int rank,
                                   const reidd_progress *progress, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    int64_t now_ms = reid_clock_wall_ms();
    active->job.last_progress_ms = now_ms;
    if (rank != 0)
        return REID_OK;
    if (progress->iteration > 0)
        reidd_active_up(active);
    if (active->job.state != REIDD_RUNNING)
        return REID_OK;
    if (progress->iteration != active->heard_iteration) /* a new link repeats the last one */
        reidd_active_heard(active);
    active->heard_iteration = progress->iteration;
    REID_TRY(reidd_job_set_progress(&active->job, progress, now_ms, err));
    active->changed = active->unsaved = true;
    reidd_manager_plan_flush(manager);
    return REID_OK;
}

reid_status reidd_manager_times(reidd_manager *manager, const char *id, int attempt, int rank,
                                int64_t iteration, const reidd_rank_sums *sums, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    if (sums->steps > 0 && reidd_ranks_take(&active->ranks, rank, iteration, sums, now_ms))
        reidd_active_note_slow(active);
    return REID_OK;
}

reid_status reidd_manager_failure(reidd_manager *manager, const char *id, int attempt, int rank,
                                  const char *sentence, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    reid_log_warn("job rank failed id=%s rank=%d %s", id, rank, sentence);
    reidd_job_note_failure(&active->job, rank, sentence);
    reidd_store_event_add(manager->store, id, attempt, reid_clock_wall_ms(), "failure", sentence,
                          NULL);
    reidd_active_note_flight(active);
    active->changed = active->unsaved = true;
    reidd_manager_plan_flush(manager);
    return REID_OK;
}

int64_t reidd_manager_stored_seq(const reidd_manager *manager, const char *id)
{
    const reidd_active *active = reidd_active_find(manager, id);
    return active ? active->stored_seq : 0;
}
