#include "daemon/store/store.h"

#include <math.h>

#include "daemon/store/private.h"

reid_status reidd_store_row_add(reidd_store *store, const char *job_id, int attempt, int64_t seq,
                                const void *row, size_t size, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ROW_ADD, &s, err));
    sqlite3_bind_text(s, 1, job_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, attempt);
    sqlite3_bind_int64(s, 3, seq);
    sqlite3_bind_blob64(s, 4, row, size, SQLITE_STATIC);
    store->row_adds++;
    return reidd_store_run(store, s, "add metrics to", err);
}

uint64_t reidd_store_row_adds(const reidd_store *store)
{
    return store->row_adds;
}

reid_status reidd_store_row_last(reidd_store *store, const char *job_id, int attempt,
                                 int64_t *ret_seq, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ROW_LAST, &s, err));
    sqlite3_bind_text(s, 1, job_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, attempt);
    int rc = sqlite3_step(s);
    int64_t seq = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    REID_TRY(reidd_store_done(store, s, rc, "read", err));
    *ret_seq = seq;
    return REID_OK;
}

reid_status reidd_store_row_each(reidd_store *store, const char *job_id, int attempt, int64_t seq,
                                 bool (*each)(int attempt, int64_t seq, const void *row,
                                              size_t size, void *user),
                                 void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_ROW_AFTER, &s, err));
    sqlite3_bind_text(s, 1, job_id, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, attempt);
    sqlite3_bind_int64(s, 3, seq);
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        const void *row = sqlite3_column_blob(s, 2);
        if (!each(sqlite3_column_int(s, 0), sqlite3_column_int64(s, 1), row ? row : "",
                  (size_t)sqlite3_column_bytes(s, 2), user))
            break;
    }
    return reidd_store_done(store, s, rc, "read", err);
}

/* SQLite keeps NaN as NULL: read back as NaN below. */
reid_status reidd_store_latest_set(reidd_store *store, const char *job_id, const char *name,
                                   double value, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_LATEST_SET, &s, err));
    sqlite3_bind_text(s, 1, job_id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, name, -1, SQLITE_STATIC);
    sqlite3_bind_double(s, 3, value);
    return reidd_store_run(store, s, "add metrics to", err);
}

reid_status reidd_store_latest_each(reidd_store *store, const char *job_id,
                                    void (*each)(const char *name, double value, void *user),
                                    void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_LATEST_LIST, &s, err));
    sqlite3_bind_text(s, 1, job_id, -1, SQLITE_STATIC);
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        each((const char *)sqlite3_column_text(s, 0),
             sqlite3_column_type(s, 1) == SQLITE_NULL ? NAN : sqlite3_column_double(s, 1), user);
    return reidd_store_done(store, s, rc, "read", err);
}
