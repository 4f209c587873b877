#include "daemon/store/store.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "daemon/store/private.h"

static void bind_text(sqlite3_stmt *s, int index, const char *text)
{
    sqlite3_bind_text(s, index, text, -1, SQLITE_STATIC);
}

/* The columns in the order of JOB_COLUMNS (statements.c). */
static void bind_job(sqlite3_stmt *s, const reidd_job *job)
{
    bind_text(s, 1, job->id);
    bind_text(s, 2, job->name);
    bind_text(s, 3, job->user);
    sqlite3_bind_int64(s, 4, job->uid);
    bind_text(s, 5, job->output_dir);
    sqlite3_bind_int(s, 6, job->ranks);
    sqlite3_bind_int(s, 7, job->resume);
    sqlite3_bind_int(s, 8, job->eval_only);
    sqlite3_bind_int(s, 9, (int)job->state);
    sqlite3_bind_int(s, 10, (int)job->phase);
    sqlite3_bind_int(s, 11, job->attempt);
    sqlite3_bind_int64(s, 12, job->submitted_ms);
    sqlite3_bind_int64(s, 13, job->started_ms);
    sqlite3_bind_int64(s, 14, job->ended_ms);
    sqlite3_bind_int64(s, 15, job->last_progress_ms);
    sqlite3_bind_int64(s, 16, job->progress.iteration);
    sqlite3_bind_int64(s, 17, job->progress.max_iteration);
    sqlite3_bind_int(s, 18, job->progress.epoch);
    sqlite3_bind_int(s, 19, job->progress.max_epoch);
    sqlite3_bind_double(s, 20, job->progress.eta_s);
    sqlite3_bind_double(s, 21, job->progress.images_per_s);
    bind_text(s, 22, job->failure.sentence);
    sqlite3_bind_int(s, 23, job->failure.rank);
    sqlite3_bind_int(s, 24, job->failure.exit_code);
    sqlite3_bind_int(s, 25, job->failure.signal);
    sqlite3_bind_int(s, 26, job->cancel.wanted);
    bind_text(s, 27, job->cancel.reason);
    sqlite3_bind_int64(s, 28, job->cancel.grace_ms);
    sqlite3_bind_int(s, 29, job->exit_code);
    bind_text(s, 30, job->fork_from);
    sqlite3_bind_int64(s, 31, job->fork_iter);
    sqlite3_bind_int(s, 32, job->restart.allowed);
    sqlite3_bind_int(s, 33, job->restart.done);
    sqlite3_bind_int64(s, 34, job->restart.backoff_ms);
    sqlite3_bind_int64(s, 35, job->restart.at_ms);
    sqlite3_bind_int(s, 36, job->restart.origin);
    sqlite3_bind_int(s, 37, job->wishes.priority);
    sqlite3_bind_int64(s, 38, job->wishes.max_time_ms);
    bind_text(s, 39, job->wishes.after);
    bind_text(s, 40, job->wishes.gpu_type);
    sqlite3_bind_int(s, 41, job->wishes.held);
    sqlite3_bind_int(s, 42, job->wishes.no_preempt);
    bind_text(s, 43, job->placement);
    bind_text(s, 44, job->avoid);
    bind_text(s, 45, job->yields);
    sqlite3_bind_int(s, 46, job->preemptions);
    sqlite3_bind_int64(s, 47, job->ran_ms);
    sqlite3_bind_int(s, 48, job->limit_reached);
    sqlite3_bind_int(s, 49, job->wishes.ranks);
    bind_text(s, 50, job->wishes.fewer);
}

static char *column_text(sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? reid_xstrdup(text) : NULL;
}

static reidd_job read_job(sqlite3_stmt *s)
{
    reidd_job job = {
        .name = column_text(s, 1),
        .user = column_text(s, 2),
        .uid = (uint32_t)sqlite3_column_int64(s, 3),
        .output_dir = column_text(s, 4),
        .ranks = sqlite3_column_int(s, 5),
        .resume = sqlite3_column_int(s, 6) != 0,
        .eval_only = sqlite3_column_int(s, 7) != 0,
        .state = (reidd_state)sqlite3_column_int(s, 8),
        .phase = (reidd_phase)sqlite3_column_int(s, 9),
        .attempt = sqlite3_column_int(s, 10),
        .submitted_ms = sqlite3_column_int64(s, 11),
        .started_ms = sqlite3_column_int64(s, 12),
        .ended_ms = sqlite3_column_int64(s, 13),
        .last_progress_ms = sqlite3_column_int64(s, 14),
        .progress = {.iteration = sqlite3_column_int64(s, 15),
                     .max_iteration = sqlite3_column_int64(s, 16),
                     .epoch = sqlite3_column_int(s, 17),
                     .max_epoch = sqlite3_column_int(s, 18),
                     .eta_s = sqlite3_column_double(s, 19),
                     .images_per_s = sqlite3_column_double(s, 20)},
        .failure = {.sentence = column_text(s, 21),
                    .rank = sqlite3_column_int(s, 22),
                    .exit_code = sqlite3_column_int(s, 23),
                    .signal = sqlite3_column_int(s, 24)},
        .cancel = {.wanted = sqlite3_column_int(s, 25) != 0,
                   .reason = column_text(s, 26),
                   .grace_ms = sqlite3_column_int64(s, 27)},
        .exit_code = sqlite3_column_int(s, 28),
        .fork_from = column_text(s, 29),
        .fork_iter = sqlite3_column_int64(s, 30),
        .restart = {.allowed = sqlite3_column_int(s, 31),
                    .done = sqlite3_column_int(s, 32),
                    .backoff_ms = sqlite3_column_int64(s, 33),
                    .at_ms = sqlite3_column_int64(s, 34),
                    .origin = sqlite3_column_int(s, 35)},
        .wishes = {.priority = sqlite3_column_int(s, 36),
                   .max_time_ms = sqlite3_column_int64(s, 37),
                   .after = column_text(s, 38),
                   .gpu_type = column_text(s, 39),
                   .held = sqlite3_column_int(s, 40) != 0,
                   .no_preempt = sqlite3_column_int(s, 41) != 0,
                   .ranks = sqlite3_column_int(s, 48),
                   .fewer = column_text(s, 49)},
        .placement = column_text(s, 42),
        .avoid = column_text(s, 43),
        .yields = column_text(s, 44),
        .preemptions = sqlite3_column_int(s, 45),
        .ran_ms = sqlite3_column_int64(s, 46),
        .limit_reached = sqlite3_column_int(s, 47) != 0,
    };
    const char *id = (const char *)sqlite3_column_text(s, 0);
    snprintf(job.id, sizeof job.id, "%s", id ? id : "");
    return job;
}

reid_status reidd_store_job_add(reidd_store *store, const reidd_job *job, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_ADD, &s, err));
    bind_job(s, job);
    return reidd_store_run(store, s, "add a job to", err);
}

reid_status reidd_store_job_save(reidd_store *store, const reidd_job *job, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_SAVE, &s, err));
    bind_job(s, job);
    return reidd_store_run(store, s, "save a job to", err);
}

reid_status reidd_store_job_load(reidd_store *store, const char *id, reidd_job *ret_job,
                                 reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_LOAD, &s, err));
    bind_text(s, 1, id);
    int rc = sqlite3_step(s);
    reidd_job job = {0};
    if (rc == SQLITE_ROW)
        job = read_job(s);
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    if (rc != SQLITE_ROW)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no job '%s'", id);
    *ret_job = job;
    return REID_OK;
}

/* The ids that a statement gives, at most `limit`. */
static reid_status read_ids(reidd_store *store, sqlite3_stmt *s, char ids[][16], int limit,
                            int *ret_count, reid_error *err)
{
    int count = 0, rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && count < limit) {
        const char *id = (const char *)sqlite3_column_text(s, 0);
        snprintf(ids[count++], sizeof ids[0], "%s", id ? id : "");
    }
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    *ret_count = count;
    return REID_OK;
}

static reid_status find_by(reidd_store *store, reidd_sql which, const char *first,
                           const char *second, char ids[4][16], int *ret_count, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, which, &s, err));
    bind_text(s, 1, first);
    if (second)
        bind_text(s, 2, second);
    return read_ids(store, s, ids, 4, ret_count, err);
}

static reid_status ambiguous(const char *key, char ids[4][16], int count, reid_error *err)
{
    return reid_fail(err, REID_ERR_INVALID,
                     "'%s' is not unique: it begins %s, %s%s%s%s; give more "
                     "of the id",
                     key, ids[0], ids[1], count > 2 ? ", " : "", count > 2 ? ids[2] : "",
                     count > 3 ? " and others" : "");
}

reid_status reidd_store_job_find(reidd_store *store, const char *key, char ret_id[16],
                                 reid_error *err)
{
    char ids[4][16];
    int count = 0;
    size_t length = strlen(key);
    if (length == 0 || length > 64)
        return reid_fail(err, REID_ERR_INVALID,
                         "a job is named by its id, the beginning of its id, or its name");
    REID_TRY(find_by(store, REIDD_SQL_JOB_LOAD, key, NULL, ids, &count, err));
    if (count == 0)
        REID_TRY(find_by(store, REIDD_SQL_JOB_BY_NAME, key, NULL, ids, &count, err));
    if (count == 0) {
        REID_AUTOFREE char *above = reid_xstrdup(key);
        unsigned char *last = (unsigned char *)above + length - 1;
        *last = (unsigned char)(*last + (*last < 0x7f));
        REID_TRY(find_by(store, REIDD_SQL_JOB_BY_PREFIX, key, above, ids, &count, err));
    }
    if (count == 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no job '%s'", key);
    if (count > 1)
        return ambiguous(key, ids, count, err);
    memcpy(ret_id, ids[0], sizeof ids[0]);
    return REID_OK;
}

static reid_status read_jobs(reidd_store *store, sqlite3_stmt *s,
                             void (*each)(const reidd_job *job, void *user), void *user,
                             reid_error *err)
{
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        reidd_job job = read_job(s);
        each(&job, user);
        reidd_job_fini(&job);
    }
    return reidd_store_done(store, s, rc, "read", err);
}

reid_status reidd_store_job_list(reidd_store *store, unsigned states, int64_t limit,
                                 const char *before, void (*each)(const reidd_job *job, void *user),
                                 void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_NEWEST, &s, err));
    sqlite3_bind_int64(s, 1, states);
    sqlite3_bind_int64(s, 2, limit);
    sqlite3_bind_text(s, 3, before, -1, SQLITE_STATIC);
    return read_jobs(store, s, each, user, err);
}

reid_status reidd_store_job_each(reidd_store *store, unsigned states,
                                 void (*each)(const reidd_job *job, void *user), void *user,
                                 reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_OLDEST, &s, err));
    sqlite3_bind_int64(s, 1, states);
    return read_jobs(store, s, each, user, err);
}

reid_status reidd_store_job_last_id(reidd_store *store, char ret_id[16], reid_error *err)
{
    sqlite3_stmt *s = NULL;
    char ids[1][16] = {""};
    int count = 0;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_JOB_LAST_ID, &s, err));
    REID_TRY(read_ids(store, s, ids, 1, &count, err));
    memcpy(ret_id, ids[0], sizeof ids[0]);
    return REID_OK;
}

/* ---- attempts and events ---- */

reid_status reidd_store_attempt_add(reidd_store *store, const char *job_id, int attempt,
                                    const char *ticket, int64_t started_ms, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ATTEMPT_ADD, &s, err));
    bind_text(s, 1, job_id);
    sqlite3_bind_int(s, 2, attempt);
    bind_text(s, 3, ticket);
    sqlite3_bind_int64(s, 4, started_ms);
    return reidd_store_run(store, s, "add an attempt to", err);
}

reid_status reidd_store_attempt_ticket(reidd_store *store, const char *job_id, int attempt,
                                       char **ret_ticket, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ATTEMPT_TICKET, &s, err));
    bind_text(s, 1, job_id);
    sqlite3_bind_int(s, 2, attempt);
    int rc = sqlite3_step(s);
    char *ticket = rc == SQLITE_ROW ? column_text(s, 0) : NULL;
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    if (!ticket)
        return reid_fail(err, REID_ERR_NOT_FOUND, "job '%s' has no attempt %d", job_id, attempt);
    *ret_ticket = ticket;
    return REID_OK;
}

reid_status reidd_store_attempt_end(reidd_store *store, const char *job_id, int attempt,
                                    const reidd_end *end, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ATTEMPT_END, &s, err));
    bind_text(s, 1, job_id);
    sqlite3_bind_int(s, 2, attempt);
    sqlite3_bind_int(s, 3, end->exit_code);
    sqlite3_bind_int(s, 4, end->signal);
    sqlite3_bind_int(s, 5, end->rank);
    bind_text(s, 6, end->sentence ? end->sentence : "");
    sqlite3_bind_int64(s, 7, end->ended_ms);
    return reidd_store_run(store, s, "end an attempt in", err);
}

reid_status reidd_store_usage_each(reidd_store *store, int64_t since_ms,
                                   void (*each)(const char *user, int slots, int64_t started_ms,
                                                int64_t ended_ms, void *arg),
                                   void *arg, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_USAGE, &s, err));
    sqlite3_bind_int64(s, 1, since_ms);
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        each((const char *)sqlite3_column_text(s, 0), sqlite3_column_int(s, 1),
             sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3), arg);
    return reidd_store_done(store, s, rc, "read", err);
}

reid_status reidd_store_event_add(reidd_store *store, const char *job_id, int attempt,
                                  int64_t wall_ms, const char *kind, const char *detail,
                                  reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_EVENT_ADD, &s, err));
    bind_text(s, 1, job_id);
    sqlite3_bind_int(s, 2, attempt);
    sqlite3_bind_int64(s, 3, wall_ms);
    bind_text(s, 4, kind);
    bind_text(s, 5, detail);
    return reidd_store_run(store, s, "add an event to", err);
}

reid_status reidd_store_event_list(reidd_store *store, const char *job_id,
                                   void (*each)(int attempt, int64_t wall_ms, const char *kind,
                                                const char *detail, void *user),
                                   void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_EVENT_LIST, &s, err));
    bind_text(s, 1, job_id);
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        each(sqlite3_column_int(s, 0), sqlite3_column_int64(s, 1),
             (const char *)sqlite3_column_text(s, 2), (const char *)sqlite3_column_text(s, 3),
             user);
    return reidd_store_done(store, s, rc, "read", err);
}

reid_status reidd_store_event_each(reidd_store *store, const char *job_id, int64_t after,
                                   bool (*each)(const reidd_event *event, void *user), void *user,
                                   reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_EVENT_AFTER, &s, err));
    bind_text(s, 1, job_id);
    sqlite3_bind_int64(s, 2, after);
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        const reidd_event event = {
            .number = sqlite3_column_int64(s, 0),
            .attempt = sqlite3_column_int(s, 1),
            .wall_ms = sqlite3_column_int64(s, 2),
            .kind = (const char *)sqlite3_column_text(s, 3),
            .detail = (const char *)sqlite3_column_text(s, 4),
        };
        if (!each(&event, user))
            break;
    }
    return reidd_store_done(store, s, rc, "read", err);
}
