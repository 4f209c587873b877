/* A new reidd takes over what an older one has left: the tables of every earlier version, with a
 * job that runs, one that ended while there was no daemon and one that waits; shims and ranks as
 * they are. The older version's file is made from the newest one's: its tables, and of each row
 * what they have columns for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/protocol.h"
#include "base/str.h"
#include "daemon/exec/files.h"
#include "daemon/store/private.h"
#include "harness/harness.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

static void run_sql(sqlite3 *db, const char *sql)
{
    char *fault = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &fault) != SQLITE_OK)
        fail_msg("%s: %s", sql, fault);
}

static int add_word(void *user, int count, char **values, char **names)
{
    reid_str *list = user;
    reid_str_addf(list, "%s%s", list->length > 0 ? ", " : "", values[0]);
    return 0;
}

/* Of every table of the old version, the columns that it has. */
static int copy_table(void *user, int count, char **values, char **names)
{
    sqlite3 *db = user;
    reid_str columns = REID_STR_INIT;
    char *query = reid_xasprintf("SELECT name FROM pragma_table_info('%s')", values[0]);
    assert_int_equal(sqlite3_exec(db, query, add_word, &columns, NULL), SQLITE_OK);
    char *copy = reid_xasprintf("INSERT INTO main.%s(%s) SELECT %s FROM newer.%s", values[0],
                                columns.data, columns.data, values[0]);
    run_sql(db, copy);
    free(copy);
    free(query);
    reid_str_fini(&columns);
    return 0;
}

/* The daemon is not running. */
static void take_back_to(test_reidd *t, int version)
{
    char *path = reid_path_join(t->state_dir, "reidd.db");
    char *newer = reid_path_join(t->state_dir, "newer.db");
    reidd_store store = {.path = path};
    reid_error err = {0};
    assert_int_equal(sqlite3_open(path, &store.db), SQLITE_OK);
    run_sql(store.db, "PRAGMA journal_mode=DELETE"); /* all of it in the file */
    sqlite3_close(store.db);
    assert_int_equal(rename(path, newer), 0);
    assert_int_equal(sqlite3_open(path, &store.db), SQLITE_OK);
    reid_assert_ok(reidd_store_migrate_to(&store, version, &err), &err);
    char *attach = reid_xasprintf("ATTACH '%s' AS newer", newer);
    run_sql(store.db, attach);
    assert_int_equal(sqlite3_exec(store.db,
                                  "SELECT name FROM main.sqlite_master WHERE type='table' AND name "
                                  "NOT LIKE 'sqlite%' ORDER BY name = 'jobs' DESC",
                                  copy_table, store.db, NULL),
                     SQLITE_OK);
    sqlite3_close(store.db);
    remove(newer);
    free(attach);
    free(newer);
    free(path);
}

static int newest_version(test_reidd *t)
{
    char *path = reid_path_join(t->state_dir, "reidd.db");
    reidd_store *store = NULL;
    reid_error err = {0};
    reid_assert_ok(reidd_store_open(path, &store, &err), &err);
    int version = reidd_store_schema(store);
    reidd_store_close(store);
    free(path);
    return version;
}

static void check_rows(test_reidd *t, const char *id, int64_t last)
{
    char *rows = test_metrics(t, id, 0, 0, NULL), *expected = test_rows_expected(1, 1, last);
    assert_string_equal(rows, expected);
    free(rows);
    free(expected);
}

typedef struct left_behind {
    char *runs, *ends, *waits;
    int first; /* number of the first one's folder */
} left_behind;

static left_behind leave(test_reidd *t)
{
    left_behind l = {.first = t->jobs + 1};
    l.runs = test_submit(t, "runs", 1,
                         "link\nphase 2\nrows 5\nlast-row\nmark up\nwait go\nrows 5\nlast-row\n"
                         "mark more\nwait end\nrows 2\n");
    l.ends =
        test_submit(t, "ends", 1, "link\nrows 3\nlast-row\nmark up\nwait go\nrows 4\nexit 5\n");
    l.waits = test_submit(t, "waits", 2, "link\n0:rows 2\n0:last-row\n");
    test_wait_mark(t, l.first, "up");
    test_wait_mark(t, l.first + 1, "up");
    test_reidd_kill(t);
    return l;
}

static bool has_report(void *path)
{
    return reid_path_exists(path);
}

static void end_without_daemon(test_reidd *t, const left_behind *l)
{
    char *path = reid_xasprintf("%s/jobs/%s/attempt-1/exit.json", t->state_dir, l->ends);
    test_give_mark(t, l->first + 1, "go");
    assert_true(reid_test_wait(has_report, path, 30));
    free(path);
}

static void check_taken_over(test_reidd *t, left_behind *l)
{
    Reid__V1__Job *job = test_get(t, l->runs);
    assert_int_equal(job->state, STATE(RUNNING));
    assert_int_equal(job->attempt, 1);
    reid__v1__job__free_unpacked(job, NULL);
    test_give_mark(t, l->first, "go");
    test_wait_mark(t, l->first, "more"); /* the new daemon has acknowledged the rows */
    job = test_wait_state(t, l->ends, STATE(FAILED));
    assert_int_equal(job->exit_code, 5);
    reid__v1__job__free_unpacked(job, NULL);
    check_rows(t, l->ends, 7);
    test_give_mark(t, l->first, "end");
    test_expect_state(t, l->runs, STATE(SUCCEEDED));
    check_rows(t, l->runs, 12);
    if (test_has_mpirun()) {
        test_expect_state(t, l->waits, STATE(SUCCEEDED));
        check_rows(t, l->waits, 2);
    }
    free(l->runs);
    free(l->ends);
    free(l->waits);
}

static void test_jobs_of_an_older_daemon_are_taken_over(void **state)
{
    test_reidd *t = *state;
    test_reidd_option(t, "--slots=2");
    test_reidd_start(t);
    test_reidd_kill(t);
    int newest = newest_version(t);
    for (int version = 1; version < newest; version++) {
        test_reidd_start(t);
        left_behind l = leave(t);
        end_without_daemon(t, &l);
        take_back_to(t, version);
        test_reidd_start(t);
        check_taken_over(t, &l);
        assert_int_equal(test_reidd_stop(t, 5), 0);
    }
}

/* A supervisor that speaks nothing we know is let go on, and the job's events say so. */
static void test_foreign_supervisor_is_noted(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char *id = test_submit(t, "x", 1, "link\nmark up\nwait go\nrows 2\nlast-row\n");
    test_wait_mark(t, 1, "up");
    test_reidd_kill(t);
    char *folder = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, id);
    reidd_shim_info info = {0};
    reid_error err = {0};
    reid_assert_ok(reidd_shim_info_read(folder, &info, &err), &err);
    assert_int_equal(info.protocol, REID_PROTOCOL);
    info.protocol = -3;
    reid_assert_ok(reidd_shim_info_write(folder, &info, &err), &err);
    test_reidd_start(t);
    test_give_mark(t, 1, "go");
    test_expect_state(t, id, STATE(SUCCEEDED));
    check_rows(t, id, 2);
    char *path = reid_path_join(t->state_dir, "reidd.db");
    sqlite3 *db = NULL;
    reid_str found = REID_STR_INIT;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT detail FROM events WHERE kind = 'upgrade'", add_word,
                                  &found, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    assert_non_null(strstr(reid_str_text(&found), "tells the protocol -3"));
    reid_str_fini(&found);
    free(path);
    free(folder);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_jobs_of_an_older_daemon_are_taken_over),
        CASE(test_foreign_supervisor_is_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
