/* What the files of this folder share: the connection, prepared statements, error mapping. */
#ifndef REIDD_STORE_PRIVATE_H
#define REIDD_STORE_PRIVATE_H

#include <sqlite3.h>

#include "daemon/store/store.h"

/* One row per statement in statements.c. */
typedef enum reidd_sql {
    REIDD_SQL_JOB_ADD,
    REIDD_SQL_JOB_SAVE,
    REIDD_SQL_JOB_LOAD,
    REIDD_SQL_JOB_BY_NAME,
    REIDD_SQL_JOB_BY_PREFIX,
    REIDD_SQL_JOB_NEWEST,
    REIDD_SQL_JOB_OLDEST,
    REIDD_SQL_JOB_LAST_ID,
    REIDD_SQL_ENDED_COUNT,
    REIDD_SQL_ENDED_OLDEST,
    REIDD_SQL_REMOVE,
    REIDD_SQL_REMOVED_NEXT,
    REIDD_SQL_IS_REMOVED,
    REIDD_SQL_REMOVED_ID,
    REIDD_SQL_ROW_REMOVE,
    REIDD_SQL_EVENT_REMOVE,
    REIDD_SQL_LATEST_REMOVE,
    REIDD_SQL_USAGE_KEEP,
    REIDD_SQL_USAGE_REMOVE,
    REIDD_SQL_ATTEMPT_REMOVE,
    REIDD_SQL_CONFIG_REMOVE,
    REIDD_SQL_JOB_REMOVE,
    REIDD_SQL_ATTEMPT_ADD,
    REIDD_SQL_ATTEMPT_TICKET,
    REIDD_SQL_ATTEMPT_END,
    REIDD_SQL_USAGE,
    REIDD_SQL_EVENT_ADD,
    REIDD_SQL_EVENT_LIST,
    REIDD_SQL_EVENT_AFTER,
    REIDD_SQL_ROW_ADD,
    REIDD_SQL_ROW_LAST,
    REIDD_SQL_ROW_AFTER,
    REIDD_SQL_LATEST_SET,
    REIDD_SQL_LATEST_LIST,
    REIDD_SQL_NODE_SAVE,
    REIDD_SQL_CONFIG_ADD,
    REIDD_SQL_CONFIG_LOAD,
    REIDD_SQL_NODE_LIST,
    REIDD_SQL_HEAD_SAVE,
    REIDD_SQL_HEAD_LOAD,
    REIDD_SQL_COUNT,
} reidd_sql;

extern const char *const reidd_sql_text[REIDD_SQL_COUNT];

struct reidd_store {
    sqlite3 *db;
    char *path;
    sqlite3_stmt *statements[REIDD_SQL_COUNT]; /* prepared at first use */
    int schema;
    bool in_batch;
    bool full_sync;
    uint64_t row_adds;
};

/* What to do about a file that is damaged; behind a sentence that says so. */
#define REIDD_STORE_DAMAGED                                                                        \
    "; put a backup in its place (reidd --backup-store makes one), or move it away to begin "      \
    "without jobs"

/* The sentence for a failed SQLite call: what was tried, the file, SQLite's words. */
reid_status reidd_store_fail(reidd_store *store, int rc, const char *what, reid_error *err);
/* A statement ready for binding. Outside a batch its writes are synced to the disk. */
reid_status reidd_store_prepare(reidd_store *store, reidd_sql which, sqlite3_stmt **ret_statement,
                                reid_error *err);
/* Steps a statement that returns no rows, and resets it. */
reid_status reidd_store_run(reidd_store *store, sqlite3_stmt *statement, const char *what,
                            reid_error *err);
/* Runs texts that need no results. */
reid_status reidd_store_exec(reidd_store *store, const char *sql, const char *what,
                             reid_error *err);
/* Ends reading: resets, and turns the last result of sqlite3_step into a status. */
reid_status reidd_store_done(reidd_store *store, sqlite3_stmt *statement, int rc, const char *what,
                             reid_error *err);
/* Brings the tables to the newest version. */
reid_status reidd_store_migrate(reidd_store *store, reid_error *err);
/* To an earlier version; for tests. */
reid_status reidd_store_migrate_to(reidd_store *store, int newest, reid_error *err);

#endif
