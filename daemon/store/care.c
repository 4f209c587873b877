#include "daemon/store/care.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "daemon/store/private.h"

static reid_status open_file(const char *path, reidd_store **ret_store, reid_error *err)
{
    if (!reid_path_exists(path))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no store '%s'", path);
    reidd_store *store = reid_xcalloc(1, sizeof *store);
    store->path = reid_xstrdup(path);
    int rc = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc != SQLITE_OK) {
        reid_status status = reidd_store_fail(store, rc, "open", err);
        reidd_store_close(store);
        return status;
    }
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, 10000);
    *ret_store = store;
    return REID_OK;
}

/* The first column of the first row; NULL when there is none. Caller frees. */
static reid_status ask(reidd_store *store, const char *sql, char **ret_text, reid_error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    char *copy = text ? reid_xstrdup(text) : NULL;
    sqlite3_finalize(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        free(copy);
        return reidd_store_fail(store, rc, "read", err);
    }
    *ret_text = copy;
    return REID_OK;
}

static reid_status check(reidd_store *store, char **ret_text, reid_error *err)
{
    REID_AUTOFREE char *verdict = NULL, *stray = NULL;
    REID_TRY(ask(store, "PRAGMA integrity_check(1)", &verdict, err));
    for (char *at = verdict; at && *at; at++) /* it comes in lines */
        if (*at == '\n')
            *at = ' ';
    if (!verdict || strcmp(verdict, "ok") != 0)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is damaged: %s" REIDD_STORE_DAMAGED,
                         store->path, verdict ? verdict : "it cannot be read");
    REID_TRY(ask(store, "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1", &stray, err));
    if (stray)
        return reid_fail(err, REID_ERR_CORRUPT,
                         "'%s' is damaged: a row of %s belongs to no job" REIDD_STORE_DAMAGED,
                         store->path, stray);
    return ask(store,
               "SELECT printf('%d jobs, %d attempts, %d events, %d rows of metrics, tables of "
               "version %d', (SELECT count(*) FROM jobs), (SELECT count(*) FROM attempts),"
               " (SELECT count(*) FROM events), (SELECT count(*) FROM metrics),"
               " (SELECT user_version FROM pragma_user_version))",
               ret_text, err);
}

reid_status reidd_store_check(const char *path, char **ret_text, reid_error *err)
{
    reidd_store *store = NULL;
    REID_TRY(open_file(path, &store, err));
    reid_status status = check(store, ret_text, err);
    reidd_store_close(store);
    return status;
}

/* ---- backup ---- */

static reid_status copy_into(reidd_store *store, const char *path, reid_error *err)
{
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", path);
    REID_ASSERT(sql);
    reid_status status = reidd_store_exec(store, sql, "copy", err);
    sqlite3_free(sql);
    return status;
}

static reid_status bring_to_disk(const char *path, reid_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int number = errno;
    if (fd >= 0)
        close(fd);
    return synced ? REID_OK : reid_fail_errno(err, number, "cannot bring '%s' to the disk", path);
}

reid_status reidd_store_backup(const char *path, const char *target, reid_error *err)
{
    reidd_store *store = NULL;
    if (reid_path_exists(target))
        return reid_fail(err, REID_ERR_EXISTS, "'%s' is there already", target);
    REID_TRY(open_file(path, &store, err));
    REID_AUTOFREE char *part = reid_xasprintf("%s.part-%d", target, (int)getpid());
    REID_AUTOFREE char *folder = reid_path_dir(target);
    unlink(part);
    reid_status status = copy_into(store, part, err);
    if (status == REID_OK)
        status = bring_to_disk(part, err);
    if (status == REID_OK && rename(part, target) != 0)
        status = reid_fail_errno(err, errno, "cannot name '%s' '%s'", part, target);
    if (status == REID_OK)
        status = bring_to_disk(folder, err);
    else
        unlink(part);
    reidd_store_close(store);
    return status;
}
