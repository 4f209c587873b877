#include "daemon/store/private.h"

#include "base/alloc.h"
#include "base/compiler.h"

/* Append only: a row that has been released is never changed. The index + 1 is the version. */
static const char *const migrations[] = {
    "CREATE TABLE jobs("
    " key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
    " user TEXT NOT NULL, uid INTEGER NOT NULL, output_dir TEXT NOT NULL, ranks INTEGER NOT NULL,"
    " resume INTEGER NOT NULL, eval_only INTEGER NOT NULL,"
    " state INTEGER NOT NULL, phase INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    " submitted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    " last_progress_ms INTEGER NOT NULL, iteration INTEGER NOT NULL,"
    " max_iteration INTEGER NOT NULL, epoch INTEGER NOT NULL, max_epoch INTEGER NOT NULL,"
    " eta_s REAL, images_per_s REAL, failure TEXT, failure_rank INTEGER NOT NULL,"
    " failure_exit_code INTEGER NOT NULL, failure_signal INTEGER NOT NULL,"
    " cancel_wanted INTEGER NOT NULL, cancel_reason TEXT, cancel_grace_ms INTEGER NOT NULL,"
    " exit_code INTEGER NOT NULL);"
    "CREATE INDEX jobs_by_name ON jobs(name);"
    "CREATE INDEX jobs_by_state ON jobs(state);"
    "CREATE TABLE attempts("
    " job INTEGER NOT NULL REFERENCES jobs(key), attempt INTEGER NOT NULL, ticket TEXT NOT NULL,"
    " started_ms INTEGER NOT NULL, ended_ms INTEGER, exit_code INTEGER, signal INTEGER,"
    " rank INTEGER, sentence TEXT, PRIMARY KEY(job, attempt)) WITHOUT ROWID;"
    "CREATE TABLE events("
    " key INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES jobs(key),"
    " attempt INTEGER NOT NULL, wall_ms INTEGER NOT NULL, kind TEXT NOT NULL,"
    " detail TEXT NOT NULL);"
    "CREATE INDEX events_by_job ON events(job);"
    "CREATE TABLE metrics("
    " job INTEGER NOT NULL REFERENCES jobs(key), attempt INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " row BLOB NOT NULL, PRIMARY KEY(job, attempt, seq)) WITHOUT ROWID;"
    "CREATE TABLE latest("
    " job INTEGER NOT NULL REFERENCES jobs(key), name TEXT NOT NULL, value REAL,"
    " PRIMARY KEY(job, name)) WITHOUT ROWID;",
    "ALTER TABLE jobs ADD COLUMN fork_from TEXT;"
    "ALTER TABLE jobs ADD COLUMN fork_iter INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE jobs ADD COLUMN restarts_allowed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN restarts_done INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN restart_backoff_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN restart_at_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN restart_origin INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN max_time_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN after TEXT;"
    "ALTER TABLE jobs ADD COLUMN gpu_type TEXT;"
    "ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN no_preempt INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN placement TEXT;"
    "ALTER TABLE jobs ADD COLUMN avoid TEXT;"
    "ALTER TABLE jobs ADD COLUMN yields TEXT;"
    "ALTER TABLE jobs ADD COLUMN preemptions INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN ran_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN limit_reached INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE nodes("
    " name TEXT PRIMARY KEY, slots INTEGER NOT NULL, gpu_type TEXT NOT NULL,"
    " drained INTEGER NOT NULL, reason TEXT NOT NULL, who TEXT NOT NULL,"
    " wall_ms INTEGER NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE configs(job INTEGER PRIMARY KEY REFERENCES jobs(key), yaml TEXT NOT NULL);",
    "ALTER TABLE jobs ADD COLUMN ranks_wanted INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN ranks_fewer TEXT;",
    "CREATE INDEX jobs_by_end ON jobs(ended_ms) WHERE state IN (4,5,6);"
    "CREATE TABLE removed(one INTEGER PRIMARY KEY CHECK(one = 1), last_id TEXT NOT NULL);",
    /* Of attempts whose jobs were removed. */
    "CREATE TABLE usage("
    " ended_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, user TEXT NOT NULL,"
    " ranks INTEGER NOT NULL);"
    "CREATE INDEX usage_by_end ON usage(ended_ms);",
    "CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one = 1), name TEXT NOT NULL,"
    " generation INTEGER NOT NULL);",
};

#define NEWEST ((int)REID_COUNT_OF(migrations))
#define APPLICATION_ID 0x52454944 /* "REID" */

static reid_status read_pragma(reidd_store *store, const char *sql, int64_t *ret_value,
                               reid_error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    if (rc != SQLITE_ROW)
        return reidd_store_fail(store, rc, "read", err);
    *ret_value = value;
    return REID_OK;
}

static reid_status check_owner(reidd_store *store, int64_t *ret_version, reid_error *err)
{
    int64_t application = 0, tables = 0;
    REID_TRY(read_pragma(store, "PRAGMA application_id", &application, err));
    REID_TRY(read_pragma(store, "PRAGMA user_version", ret_version, err));
    REID_TRY(read_pragma(store, "SELECT count(*) FROM sqlite_master", &tables, err));
    if (application != APPLICATION_ID && tables > 0)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is a database of another program",
                         store->path);
    if (*ret_version > NEWEST)
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "'%s' was written by a newer reidd (tables of version %lld, this one knows "
            "%d); start that reidd, or choose another --state-dir",
            store->path, (long long)*ret_version, NEWEST);
    return REID_OK;
}

reid_status reidd_store_migrate_to(reidd_store *store, int newest, reid_error *err)
{
    int64_t version = 0;
    REID_TRY(check_owner(store, &version, err));
    for (; version < newest; version++) {
        REID_TRY(reidd_store_exec(store, "BEGIN IMMEDIATE", "change", err));
        REID_AUTOFREE char *mark =
            reid_xasprintf("PRAGMA application_id=%d; PRAGMA user_version=%lld", APPLICATION_ID,
                           (long long)version + 1);
        reid_status status = reidd_store_exec(store, migrations[version], "change", err);
        if (status == REID_OK)
            status = reidd_store_exec(store, mark, "change", err);
        if (status == REID_OK)
            status = reidd_store_exec(store, "COMMIT", "change", err);
        if (status != REID_OK) {
            reidd_store_exec(store, "ROLLBACK", "change", NULL);
            return status;
        }
    }
    store->schema = newest;
    return REID_OK;
}

reid_status reidd_store_migrate(reidd_store *store, reid_error *err)
{
    return reidd_store_migrate_to(store, NEWEST, err);
}
