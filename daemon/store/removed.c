/* Jobs that have ended and are to go. */
#include <stdio.h>

#include "base/compiler.h"
#include "daemon/store/private.h"

static reid_status bind_id(reidd_store *store, reidd_sql which, const char *id,
                           sqlite3_stmt **ret_statement, reid_error *err)
{
    REID_TRY(reidd_store_prepare(store, which, ret_statement, err));
    sqlite3_bind_text(*ret_statement, 1, id, -1, SQLITE_STATIC);
    return REID_OK;
}

reid_status reidd_store_ended_count(reidd_store *store, int64_t *ret_count, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ENDED_COUNT, &s, err));
    int rc = sqlite3_step(s);
    int64_t count = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    *ret_count = count;
    return REID_OK;
}

reid_status reidd_store_ended_each(reidd_store *store,
                                   bool (*each)(const char *id, int64_t ended_ms, void *user),
                                   void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ENDED_OLDEST, &s, err));
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if (!each((const char *)sqlite3_column_text(s, 0), sqlite3_column_int64(s, 1), user))
            break;
    return reidd_store_done(store, s, rc, "read", err);
}

reid_status reidd_store_job_remove(reidd_store *store, const char *id, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(bind_id(store, REIDD_SQL_REMOVE, id, &s, err));
    REID_TRY(reidd_store_run(store, s, "remove a job from", err));
    if (sqlite3_changes(store->db) == 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no job '%s' that has ended", id);
    return REID_OK;
}

reid_status reidd_store_removed_next(reidd_store *store, char ret_id[16], reid_error *err)
{
    sqlite3_stmt *s = NULL;
    char id[16] = "";
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_REMOVED_NEXT, &s, err));
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        snprintf(id, sizeof id, "%s", (const char *)sqlite3_column_text(s, 0));
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    snprintf(ret_id, sizeof id, "%s", id);
    return REID_OK;
}

bool reidd_store_is_removed(reidd_store *store, const char *id)
{
    sqlite3_stmt *s = NULL;
    if (bind_id(store, REIDD_SQL_IS_REMOVED, id, &s, NULL) != REID_OK)
        return false;
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_ROW;
}

static reid_status run(reidd_store *store, reidd_sql which, const char *id, int rows,
                       int *ret_deleted, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(bind_id(store, which, id, &s, err));
    if (rows > 0)
        sqlite3_bind_int(s, 2, rows);
    REID_TRY(reidd_store_run(store, s, "remove a job from", err));
    *ret_deleted = sqlite3_changes(store->db);
    return REID_OK;
}

/* What its user has used goes on counting while it would if the job were there. */
static reid_status keep_usage(reidd_store *store, const char *id, int64_t usage_since_ms,
                              reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(bind_id(store, REIDD_SQL_USAGE_KEEP, id, &s, err));
    sqlite3_bind_int64(s, 2, usage_since_ms);
    REID_TRY(reidd_store_run(store, s, "remove a job from", err));
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_USAGE_REMOVE, &s, err));
    sqlite3_bind_int64(s, 1, usage_since_ms);
    return reidd_store_run(store, s, "remove a job from", err);
}

static reid_status sweep(reidd_store *store, const char *id, int rows, int64_t usage_since_ms,
                         bool *ret_done, reid_error *err)
{
    static const reidd_sql many[] = {REIDD_SQL_ROW_REMOVE, REIDD_SQL_EVENT_REMOVE};
    /* The last one is what the others belong to. */
    static const reidd_sql rest[] = {REIDD_SQL_LATEST_REMOVE, REIDD_SQL_ATTEMPT_REMOVE,
                                     REIDD_SQL_CONFIG_REMOVE, REIDD_SQL_REMOVED_ID,
                                     REIDD_SQL_JOB_REMOVE};
    int deleted = 0;
    for (size_t i = 0; i < REID_COUNT_OF(many); i++) {
        REID_TRY(run(store, many[i], id, rows, &deleted, err));
        if (deleted == rows)
            return REID_OK;
    }
    REID_TRY(keep_usage(store, id, usage_since_ms, err));
    for (size_t i = 0; i < REID_COUNT_OF(rest); i++)
        REID_TRY(run(store, rest[i], id, 0, &deleted, err));
    *ret_done = true;
    return REID_OK;
}

reid_status reidd_store_sweep(reidd_store *store, const char *id, int rows, int64_t usage_since_ms,
                              bool *ret_done, reid_error *err)
{
    bool done = false;
    REID_TRY(reidd_store_begin(store, false, err));
    reid_status status = sweep(store, id, rows, usage_since_ms, &done, err);
    if (status == REID_OK)
        status = reidd_store_commit(store, err);
    reidd_store_rollback(store);
    if (status == REID_OK)
        *ret_done = done;
    return status;
}
