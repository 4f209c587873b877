#include "daemon/late.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/access/identity.h"
#include "daemon/manager_private.h"

#define SLICE 500 /* records read without letting others have the loop */
#define WAIT_MS 200

typedef struct part {
    char *node, *job;
    int attempt;
    bool newest;             /* no attempt has followed: its values are the latest */
    reid_record_file *spool; /* NULL: not opened, or read to its end */
    bool opened;
    int64_t stored_seq; /* the store has them up to here */
    int64_t added;
} part;

struct reidd_late {
    reidd_manager *manager;
    uv_timer_t timer;
    REID_VEC(part) parts;
};

static void on_step(uv_timer_t *timer);

/* ---- one part ---- */

static void close_spool(part *p)
{
    reid_record_file_free(p->spool);
    p->spool = NULL;
    p->opened = false;
}

static void drop(reidd_late *late, size_t i)
{
    part *p = &late->parts.items[i];
    close_spool(p);
    free(p->node);
    free(p->job);
    reid_vec_remove(&late->parts, i);
}

/* NOT_FOUND: the job is not, or there is nothing to read. */
static reid_status open_spool(const reidd_late *late, part *p, reid_error *err)
{
    reidd_manager *manager = late->manager;
    reidd_job job = {0};
    REID_TRY(reidd_store_job_load(manager->store, p->job, &job, err));
    p->newest = job.attempt == p->attempt;
    reidd_job_fini(&job);
    REID_TRY(reidd_store_row_last(manager->store, p->job, p->attempt, &p->stored_seq, err));
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, p->job, p->attempt);
    REID_AUTOFREE char *path = reid_path_join(folder, "rank0.spool");
    reidd_identity before = reidd_identity_of_owner(folder);
    reid_status status = reid_record_file_read_open(path, &p->spool, err);
    reidd_identity_leave(&before);
    p->opened = status == REID_OK;
    return status;
}

typedef struct taking {
    const reidd_late *late;
    part *part;
    reid_status status;
    reid_error *err;
} taking;

static reid_status take_latest(const reidd_late *late, const part *p, const reidd_row *row,
                               reid_error *err)
{
    reidd_active *active = reidd_active_find(late->manager, p->job);
    if (!p->newest)
        return REID_OK;
    if (active)
        reidd_active_take_latest(active, row);
    for (size_t i = 0; i < row->scalar_count && !active; i++)
        REID_TRY(reidd_store_latest_set(late->manager->store, p->job, row->scalars[i].name,
                                        row->scalars[i].value, err));
    return REID_OK;
}

static void take_row(const reidd_row *row, void *user)
{
    taking *t = user;
    part *p = t->part;
    if (row->seq <= p->stored_seq)
        return;
    t->status = reidd_store_row_add(t->late->manager->store, p->job, p->attempt, row->seq,
                                    row->bytes, row->size, t->err);
    if (t->status == REID_OK)
        t->status = take_latest(t->late, p, row, t->err);
    if (t->status == REID_OK)
        p->added++;
}

/* Stores a part of the spool, which is closed at its end. */
static reid_status store_slice(const reidd_late *late, part *p, reid_error *err)
{
    reidd_store *store = late->manager->store;
    taking t = {.late = late, .part = p, .err = err};
    int64_t added = p->added;
    REID_TRY(reidd_store_begin(store, false, err));
    for (int i = 0; p->spool && t.status == REID_OK && i < SLICE; i++) {
        const uint8_t *data = NULL;
        size_t size = 0;
        reid_error why = {0};
        reid_status status = reid_record_file_next(p->spool, &data, &size, &why);
        if (status == REID_OK && data)
            status = late->manager->decode_row(data, size, p->attempt, take_row, &t, &why);
        if (status != REID_OK)
            reid_log_warn("job spool is damaged id=%s %s", p->job, why.text);
        if (status == REID_OK && data)
            continue;
        reid_record_file_free(p->spool);
        p->spool = NULL;
    }
    if (t.status == REID_OK)
        t.status = reidd_store_commit(store, err);
    reidd_store_rollback(store);
    if (t.status != REID_OK)
        p->added = added;
    return t.status;
}

static void tell(const reidd_late *late, const part *p)
{
    if (p->added == 0)
        return;
    REID_AUTOFREE char *text = reid_xasprintf("%s is back, with %lld metric rows of attempt %d",
                                              p->node, (long long)p->added, p->attempt);
    reid_log_info("job rows id=%s %s", p->job, text);
    reidd_store_event_add(late->manager->store, p->job, p->attempt, reid_clock_wall_ms(), "rows",
                          text, NULL);
    reidd_hub_publish(late->manager->hub, p->job, REIDD_CHANGED_ROWS);
}

/* Whether the attempt's own end reads the spool, or may still do so. */
static bool is_going(const reidd_late *late, const part *p)
{
    const reidd_active *active = reidd_active_find(late->manager, p->job);
    return active && active->job.attempt == p->attempt &&
           (active->ending || reidd_state_is_started(active->job.state));
}

/* Does a part of the work; returns in how many ms to go on with it, 0 when it is done. */
static uint64_t step(const reidd_late *late, part *p)
{
    reid_error err = {0};
    reid_status status = REID_OK;
    if (is_going(late, p))
        return WAIT_MS;
    if (!p->opened)
        status = open_spool(late, p, &err);
    if (status == REID_ERR_NOT_FOUND)
        return 0;
    if (status == REID_OK)
        status = store_slice(late, p, &err);
    reidd_manager_note_store(late->manager, status, &err);
    if (status != REID_OK) { /* from the beginning: what is stored already is left out */
        close_spool(p);
        return REIDD_RETRY_MS;
    }
    if (p->spool)
        return 1;
    tell(late, p);
    return 0;
}

/* ---- all of them ---- */

static void on_step(uv_timer_t *timer)
{
    reidd_late *late = timer->data;
    uint64_t soonest_ms = UINT64_MAX;
    for (size_t i = late->parts.count; i-- > 0;) {
        part *p = &late->parts.items[i];
        uint64_t wait_ms = step(late, p);
        if (wait_ms > 0) {
            soonest_ms = wait_ms < soonest_ms ? wait_ms : soonest_ms;
            continue;
        }
        reidd_crews_forget(late->manager->crews, p->node, p->job, p->attempt);
        drop(late, i);
    }
    if (late->parts.count > 0)
        uv_timer_start(timer, on_step, soonest_ms, 0);
}

void reidd_late_add(reidd_late *late, const char *node, const char *job_id, int attempt)
{
    for (size_t i = 0; i < late->parts.count; i++)
        if (late->parts.items[i].attempt == attempt && !strcmp(late->parts.items[i].job, job_id))
            return;
    const part added = {
        .node = reid_xstrdup(node), .job = reid_xstrdup(job_id), .attempt = attempt};
    reid_vec_push(&late->parts, added);
    uv_timer_start(&late->timer, on_step, 0, 0);
}

reidd_late *reidd_late_new(reidd_manager *manager)
{
    reidd_late *late = reid_xcalloc(1, sizeof *late);
    late->manager = manager;
    late->timer.data = late;
    uv_timer_init(manager->loop, &late->timer);
    return late;
}

static void on_closed(uv_handle_t *handle)
{
    reidd_late *late = handle->data;
    reid_vec_fini(&late->parts);
    free(late);
}

void reidd_late_close(reidd_late *late)
{
    if (!late)
        return;
    while (late->parts.count > 0)
        drop(late, late->parts.count - 1);
    uv_close((uv_handle_t *)&late->timer, on_closed);
}
