#include "daemon/store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/store/private.h"

#define BUSY_TIMEOUT_MS 2000

static reid_status status_of(reidd_store *store, int rc)
{
    int number = store->db ? sqlite3_system_errno(store->db) : 0;
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
        return REID_ERR_EXHAUSTED;
    case SQLITE_IOERR:
        return number == ENOSPC || number == EDQUOT || number == EFBIG ? REID_ERR_EXHAUSTED
                                                                       : REID_ERR_IO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return REID_ERR_CORRUPT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return REID_ERR_PERMISSION;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return REID_ERR_UNAVAILABLE;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY
                   ? REID_ERR_EXISTS
                   : REID_ERR_INTERNAL;
    case SQLITE_CANTOPEN:
        return number == EACCES || number == EPERM ? REID_ERR_PERMISSION : REID_ERR_IO;
    default:
        return REID_ERR_INTERNAL;
    }
}

reid_status reidd_store_fail(reidd_store *store, int rc, const char *what, reid_error *err)
{
    reid_status status = status_of(store, rc);
    const char *words = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc);
    if (status == REID_ERR_EXHAUSTED && (rc & 0xff) != SQLITE_NOMEM)
        words = "the disk or a quota is full";
    return reid_fail(err, status, "cannot %s '%s': %s%s", what, store->path, words,
                     status == REID_ERR_CORRUPT ? REIDD_STORE_DAMAGED : "");
}

reid_status reidd_store_exec(reidd_store *store, const char *sql, const char *what, reid_error *err)
{
    int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? REID_OK : reidd_store_fail(store, rc, what, err);
}

/* FULL syncs the log at each commit, NORMAL only when it is folded into the file. */
static reid_status set_sync(reidd_store *store, bool full, reid_error *err)
{
    if (store->full_sync == full)
        return REID_OK;
    REID_TRY(reidd_store_exec(store, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                              "set up", err));
    store->full_sync = full;
    return REID_OK;
}

reid_status reidd_store_prepare(reidd_store *store, reidd_sql which, sqlite3_stmt **ret_statement,
                                reid_error *err)
{
    if (!store->in_batch)
        REID_TRY(set_sync(store, true, err));
    if (!store->statements[which]) {
        int rc = sqlite3_prepare_v3(store->db, reidd_sql_text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                    &store->statements[which], NULL);
        if (rc != SQLITE_OK)
            return reidd_store_fail(store, rc, "use", err);
    }
    sqlite3_clear_bindings(store->statements[which]);
    *ret_statement = store->statements[which];
    return REID_OK;
}

reid_status reidd_store_done(reidd_store *store, sqlite3_stmt *statement, int rc, const char *what,
                             reid_error *err)
{
    reid_status status = REID_OK;
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        status = reidd_store_fail(store, rc, what, err);
    sqlite3_reset(statement);
    return status;
}

reid_status reidd_store_run(reidd_store *store, sqlite3_stmt *statement, const char *what,
                            reid_error *err)
{
    return reidd_store_done(store, statement, sqlite3_step(statement), what, err);
}

static reid_status check_wal(reidd_store *store, reid_error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    bool wal =
        rc == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    sqlite3_finalize(statement);
    if (rc != SQLITE_ROW)
        return reidd_store_fail(store, rc, "open", err);
    if (!wal)
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "'%s' is on a file system without shared memory, which SQLite needs; choose "
            "a local folder with --state-dir",
            store->path);
    return REID_OK;
}

reid_status reidd_store_open(const char *path, reidd_store **ret_store, reid_error *err)
{
    reidd_store *store = reid_xcalloc(1, sizeof *store);
    store->path = reid_xstrdup(path);
    int rc = sqlite3_open_v2(path, &store->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_NOFOLLOW,
                             NULL);
    reid_status status = rc == SQLITE_OK ? REID_OK : reidd_store_fail(store, rc, "open", err);
    if (status == REID_OK) {
        sqlite3_extended_result_codes(store->db, 1);
        sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
        status = check_wal(store, err);
    }
    if (status == REID_OK)
        status = reidd_store_exec(
            store, "PRAGMA foreign_keys=ON; PRAGMA journal_size_limit=16777216", "open", err);
    if (status == REID_OK)
        status = set_sync(store, true, err);
    if (status == REID_OK)
        status = reidd_store_migrate(store, err);
    if (status != REID_OK) {
        reidd_store_close(store);
        return status;
    }
    *ret_store = store;
    return REID_OK;
}

void reidd_store_close(reidd_store *store)
{
    if (!store)
        return;
    reidd_store_rollback(store);
    for (int i = 0; i < REIDD_SQL_COUNT; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}

int reidd_store_schema(const reidd_store *store)
{
    return store->schema;
}

reid_status reidd_store_begin(reidd_store *store, bool durable, reid_error *err)
{
    REID_ASSERT(!store->in_batch);
    REID_TRY(set_sync(store, durable, err));
    REID_TRY(reidd_store_exec(store, "BEGIN IMMEDIATE", "write", err));
    store->in_batch = true;
    return REID_OK;
}

reid_status reidd_store_commit(reidd_store *store, reid_error *err)
{
    REID_ASSERT(store->in_batch);
    reid_status status = reidd_store_exec(store, "COMMIT", "write", err);
    if (status != REID_OK)
        reidd_store_rollback(store);
    store->in_batch = false;
    return status;
}

void reidd_store_rollback(reidd_store *store)
{
    /* Some failures (a full disk) have rolled back by themselves. */
    if (store->in_batch && !sqlite3_get_autocommit(store->db))
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->in_batch = false;
}
