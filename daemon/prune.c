#include "daemon/prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/manager_private.h"
#include "daemon/sched/after.h"

#define PIECE_JOBS 50   /* removed at once by the rule, with one write to the disk */
#define PIECE_ROWS 1000 /* deleted at once */
#define STEP_MS 1       /* between two pieces; with 0 libuv lets nobody else have the loop */
#define LATER_MS 1000   /* ends of jobs are gathered so long */
#define RETRY_MS 60000  /* after a failure */
#define LOOK_MS 3600000 /* for those that grow old */
#define DAY_MS 86400000LL

struct reidd_prune {
    reidd_manager *manager;
    uv_timer_t timer;
    uv_work_t work;
    int64_t start_wall_ms, start_mono_ms;
    char id[16];  /* whose rows and folder are being deleted; "": nobody's */
    char *folder; /* of that job; NULL: it is gone */
    bool working; /* the folder is being deleted */
    bool closing, closed;
    reid_status status; /* of that */
    reid_error err;
};

/* ---- what may go ---- */

/* The job that is not to start before this one has ended, and does not know yet that it has. */
static const char *waiter_for(const reidd_manager *manager, const char *id)
{
    for (size_t i = 0; i < manager->active.count; i++)
        if (reidd_after_names(manager->active.items[i]->after, id))
            return manager->active.items[i]->job.id;
    return reidd_manager_submission_after(manager, id);
}

reid_status reidd_manager_remove(reidd_manager *manager, const char *id, const char *who,
                                 reid_error *err)
{
    const reidd_active *active = reidd_active_find(manager, id);
    if (active)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s is %s; only a job that has ended can be removed (cancel ends it)",
                         id, reidd_state_name(active->job.state));
    const char *waiter = waiter_for(manager, id);
    if (waiter)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s was submitted to start after job %s, which is kept until then",
                         waiter, id);
    REID_TRY(reidd_store_job_remove(manager->store, id, err));
    reid_log_info("job removed id=%s by=%s", id, who);
    reidd_prune_later(manager->prune);
    return REID_OK;
}

/* ---- the rule ---- */

typedef struct look {
    reidd_manager *manager;
    int64_t left;      /* so many are too many */
    int64_t before_ms; /* who ended before is too old */
    char ids[PIECE_JOBS][16];
    int count;
} look;

static bool look_at(const char *id, int64_t ended_ms, void *user)
{
    look *l = user;
    if (l->left-- <= 0 && ended_ms >= l->before_ms)
        return false;
    if (!waiter_for(l->manager, id))
        snprintf(l->ids[l->count++], sizeof l->ids[0], "%s", id);
    return l->count < PIECE_JOBS;
}

static int64_t now_ms(const reidd_prune *p)
{
    int64_t steady = p->start_wall_ms + reid_clock_mono_ns() / 1000000 - p->start_mono_ms;
    return REID_MIN(steady, reid_clock_wall_ms());
}

static reid_status remove_all(reidd_store *store, const look *l, reid_error *err)
{
    REID_TRY(reidd_store_begin(store, true, err));
    reid_status status = REID_OK;
    for (int i = 0; status == REID_OK && i < l->count; i++)
        status = reidd_store_job_remove(store, l->ids[i], err);
    if (status == REID_OK)
        status = reidd_store_commit(store, err);
    reidd_store_rollback(store);
    return status;
}

static reid_status apply_rule(reidd_prune *p, bool *ret_found, reid_error *err)
{
    reidd_manager *manager = p->manager;
    const int64_t *limits = manager->limits->values;
    int64_t keep = limits[REIDD_LIMIT_KEEP_JOBS], days = limits[REIDD_LIMIT_KEEP_DAYS], count = 0;
    look l = {.manager = manager, .before_ms = days > 0 ? now_ms(p) - days * DAY_MS : INT64_MIN};
    if (keep > 0)
        REID_TRY(reidd_store_ended_count(manager->store, &count, err));
    l.left = keep > 0 ? count - keep : 0;
    if (l.left <= 0 && days == 0)
        return REID_OK;
    REID_TRY(reidd_store_ended_each(manager->store, look_at, &l, err));
    if (l.count == 0)
        return REID_OK;
    REID_TRY(remove_all(manager->store, &l, err));
    reid_log_info("jobs removed count=%d first=%s: ended long ago (--keep-jobs, --keep-days)",
                  l.count, l.ids[0]);
    *ret_found = true;
    return REID_OK;
}

/* ---- what they have left ---- */

static void on_timer(uv_timer_t *timer);

static void look_in(reidd_prune *p, uint64_t delay_ms)
{
    if (!p->closing && !p->working)
        uv_timer_start(&p->timer, on_timer, delay_ms, 0);
}

static void free_at_last(reidd_prune *p)
{
    if (!p->closed || p->working)
        return;
    free(p->folder);
    free(p);
}

static void fail(reidd_prune *p, const reid_error *err)
{
    reid_log_warn("prune %s; it is tried again", err->text);
    look_in(p, RETRY_MS);
}

static void delete_folder(uv_work_t *work)
{
    reidd_prune *p = work->data;
    p->status = reid_remove_tree(p->folder, &p->err);
}

static void on_deleted(uv_work_t *work, int cancelled)
{
    reidd_prune *p = work->data;
    p->working = false;
    if (p->closing) {
        free_at_last(p);
        return;
    }
    if (cancelled || p->status != REID_OK) {
        fail(p, &p->err);
        return;
    }
    free(p->folder);
    p->folder = NULL;
    look_in(p, STEP_MS);
}

/* One piece. *ret_more: there is something left to do. */
static reid_status step(reidd_prune *p, bool *ret_more, reid_error *err)
{
    reidd_store *store = p->manager->store;
    bool done = false;
    *ret_more = true;
    if (!*p->id) {
        REID_TRY(reidd_store_removed_next(store, p->id, err));
        if (!*p->id) {
            *ret_more = false;
            return apply_rule(p, ret_more, err);
        }
        p->folder = reidd_manager_job_dir(p->manager, p->id);
    }
    if (p->folder) {
        p->err = (reid_error){0};
        p->working = uv_queue_work(p->manager->loop, &p->work, delete_folder, on_deleted) == 0;
        return REID_OK;
    }
    REID_TRY(reidd_store_sweep(store, p->id, PIECE_ROWS, reidd_manager_usage_since(p->manager),
                               &done, err));
    if (done)
        *p->id = '\0';
    return REID_OK;
}

static void on_timer(uv_timer_t *timer)
{
    reidd_prune *p = timer->data;
    reid_error err = {0};
    bool more = false;
    if (step(p, &more, &err) != REID_OK)
        fail(p, &err);
    else
        look_in(p, more ? STEP_MS : LOOK_MS);
}

/* ---- life ---- */

reidd_prune *reidd_prune_new(reidd_manager *manager)
{
    reidd_prune *p = reid_xcalloc(1, sizeof *p);
    p->manager = manager;
    p->start_wall_ms = reid_clock_wall_ms();
    p->start_mono_ms = reid_clock_mono_ns() / 1000000;
    p->timer.data = p->work.data = p;
    uv_timer_init(manager->loop, &p->timer);
    look_in(p, LATER_MS);
    return p;
}

void reidd_prune_later(reidd_prune *p)
{
    if (!uv_is_active((uv_handle_t *)&p->timer) || uv_timer_get_due_in(&p->timer) > LATER_MS)
        look_in(p, LATER_MS);
}

static void on_closed(uv_handle_t *handle)
{
    reidd_prune *p = handle->data;
    p->closed = true;
    free_at_last(p);
}

void reidd_prune_close(reidd_prune *p)
{
    if (!p)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->timer, on_closed);
}
