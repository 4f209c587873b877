/* Files of every earlier version of the tables. schemas/vN.sql is what a reidd with tables of
 * version N has left when it was killed: five jobs, of which "runs" ran and "waits" waited. A
 * version without such a text is made from the newest text before it, step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/store/private.h"
#include "harness/harness.h"

#define TEXTS 3 /* schemas/v1.sql … */

static char *folder;

static int set_up(void **state)
{
    folder = reid_test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    reid_test_dir_free(folder);
    return 0;
}

static sqlite3 *open_raw(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void run_sql(const char *path, const char *sql)
{
    char *fault = NULL;
    sqlite3 *db = open_raw(path);
    if (sqlite3_exec(db, sql, NULL, NULL, &fault) != SQLITE_OK)
        fail_msg("%s", fault);
    sqlite3_close(db);
}

static int add_row(void *user, int count, char **values, char **names)
{
    for (int i = 0; i < count; i++)
        reid_str_addf(user, "%s|", values[i] ? values[i] : "NULL");
    reid_str_add(user, "\n");
    return 0;
}

/* The rows of a query as a text; caller frees. */
static char *ask(const char *path, const char *sql)
{
    reid_str text = REID_STR_INIT;
    sqlite3 *db = open_raw(path);
    reid_str_add(&text, "");
    assert_int_equal(sqlite3_exec(db, sql, add_row, &text, NULL), SQLITE_OK);
    sqlite3_close(db);
    return reid_str_take(&text);
}

static void expect(const char *path, const char *sql, const char *expected)
{
    char *text = ask(path, sql);
    assert_string_equal(text, expected);
    free(text);
}

/* Tables, columns in their order, with types and defaults, and indexes. */
static char *structure(const char *path)
{
    return ask(path, "SELECT m.name, c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk"
                     " FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
                     " AND m.name NOT LIKE 'sqlite%' UNION ALL"
                     " SELECT name, 0, sql, '', 0, '', 0 FROM sqlite_master WHERE type = 'index'"
                     " AND sql IS NOT NULL ORDER BY 1, 2, 3");
}

/* A new file as reidd of that version left it. Caller frees. */
static char *make_file(int version)
{
    int text_version = version < TEXTS ? version : TEXTS;
    char *name = reid_xasprintf("v%d.db", version), *path = reid_path_join(folder, name);
    char *source = reid_xasprintf("%s/v%d.sql", SCHEMAS, text_version);
    char *sql = reid_test_read_text(source);
    remove(path);
    run_sql(path, sql);
    if (text_version < version) {
        reidd_store store = {.db = open_raw(path), .path = path};
        reid_error err = {0};
        reid_assert_ok(reidd_store_migrate_to(&store, version, &err), &err);
        sqlite3_close(store.db);
    }
    free(sql);
    free(source);
    free(name);
    return path;
}

static int newest(void)
{
    static int version;
    if (version == 0) {
        REID_AUTOFREE char *path = reid_path_join(folder, "new.db");
        reidd_store *store = NULL;
        reid_error err = {0};
        reid_assert_ok(reidd_store_open(path, &store, &err), &err);
        version = reidd_store_schema(store);
        reidd_store_close(store);
    }
    return version;
}

static reidd_store *open_old(const char *path)
{
    reidd_store *store = NULL;
    reid_error err = {0};
    reid_assert_ok(reidd_store_open(path, &store, &err), &err);
    assert_int_equal(reidd_store_schema(store), newest());
    return store;
}

/* ---- the tables ---- */

static void test_every_version_gets_the_newest_tables(void **state)
{
    char *fresh = reid_path_join(folder, "fresh.db");
    reidd_store_close(open_old(fresh));
    char *wanted = structure(fresh);
    for (int version = 1; version <= newest(); version++) {
        char *path = make_file(version);
        reidd_store_close(open_old(path));
        char *got = structure(path);
        assert_string_equal(got, wanted);
        expect(path, "PRAGMA integrity_check", "ok|\n");
        expect(path, "PRAGMA foreign_key_check", "");
        free(got);
        free(path);
    }
    free(wanted);
    free(fresh);
}

/* A migration that has been released is never changed: the steps still make what the text has. */
static void test_released_steps_are_as_they_were(void **state)
{
    for (int version = 1; version <= TEXTS; version++) {
        char *old = make_file(version), *made = reid_path_join(folder, "steps.db");
        remove(made);
        reidd_store store = {.db = open_raw(made), .path = made};
        reid_error err = {0};
        reid_assert_ok(reidd_store_migrate_to(&store, version, &err), &err);
        sqlite3_close(store.db);
        char *wanted = structure(old), *got = structure(made);
        assert_string_equal(got, wanted);
        free(wanted);
        free(got);
        free(made);
        free(old);
    }
}

/* ---- what is in them ---- */

static reidd_job load(reidd_store *store, const char *name)
{
    char id[16];
    reidd_job job = {0};
    reid_error err = {0};
    reid_assert_ok(reidd_store_job_find(store, name, id, &err), &err);
    reid_assert_ok(reidd_store_job_load(store, id, &job, &err), &err);
    assert_string_equal(job.name, name);
    assert_string_equal(job.user, "root");
    assert_int_equal(job.ranks, 1);
    char *place = reid_xasprintf("/data/%s", name);
    assert_string_equal(job.output_dir, place);
    free(place);
    assert_null(job.fork_from);
    assert_int_equal(job.restart.done, 0);
    return job;
}

static bool count_row(int attempt, int64_t seq, const void *row, size_t size, void *user)
{
    int64_t *count = user;
    assert_int_equal(attempt, 1);
    assert_int_equal(seq, ++*count);
    assert_true(size > 20);
    return true;
}

static void count_event(int attempt, int64_t wall_ms, const char *kind, const char *detail,
                        void *user)
{
    reid_str_addf(user, "%s=%s ", kind, detail);
}

static void find_loss(const char *name, double value, void *user)
{
    if (strcmp(name, "total_loss") == 0)
        *(double *)user = value;
}

static void check_history(reidd_store *store, const char *id, int64_t rows, double loss,
                          const char *events)
{
    reid_error err = {0};
    int64_t count = 0;
    double latest = NAN;
    reid_str diary = REID_STR_INIT;
    reid_assert_ok(reidd_store_row_each(store, id, 0, 0, count_row, &count, &err), &err);
    assert_int_equal(count, rows);
    reid_assert_ok(reidd_store_latest_each(store, id, find_loss, &latest, &err), &err);
    assert_true(latest == loss || (isnan(latest) && isnan(loss)));
    reid_assert_ok(reidd_store_event_list(store, id, count_event, &diary, &err), &err);
    assert_string_equal(reid_str_text(&diary), events);
    reid_str_fini(&diary);
}

static void check_ended(reidd_store *store)
{
    reidd_job done = load(store, "done"), broken = load(store, "broken"),
              stopped = load(store, "stopped");
    assert_int_equal(done.state, REIDD_SUCCEEDED);
    assert_int_equal(done.progress.iteration, 5);
    assert_true(done.ended_ms > done.started_ms);
    check_history(store, done.id, 5, 0.2,
                  "state=PENDING state=STARTING state=RUNNING state=SUCCEEDED ");
    assert_int_equal(broken.state, REIDD_FAILED);
    assert_int_equal(broken.exit_code, 4);
    assert_string_equal(broken.failure.sentence, "rank 0 ended with exit code 4");
    assert_int_equal(stopped.state, REIDD_CANCELLED);
    assert_true(stopped.cancel.wanted);
    assert_string_equal(stopped.cancel.reason, "enough");
    assert_int_equal(stopped.cancel.grace_ms, 5000);
    check_history(store, stopped.id, 0, NAN,
                  "state=PENDING state=STARTING state=RUNNING cancel=enough state=CANCELLED ");
    reidd_job_fini(&done);
    reidd_job_fini(&broken);
    reidd_job_fini(&stopped);
}

static void check_open(reidd_store *store, int version)
{
    reid_error err = {0};
    reidd_job runs = load(store, "runs"), waits = load(store, "waits");
    char *ticket = NULL;
    assert_int_equal(runs.state, REIDD_RUNNING);
    assert_int_equal(runs.phase, REIDD_TRAINING);
    assert_int_equal(runs.attempt, 1);
    assert_int_equal(runs.progress.max_iteration, 50);
    assert_int_equal(runs.restart.allowed, version >= 3 ? 3 : 0);
    check_history(store, runs.id, 3, 1.0 / 3, "state=PENDING state=STARTING state=RUNNING ");
    reid_assert_ok(reidd_store_attempt_ticket(store, runs.id, 1, &ticket, &err), &err);
    assert_int_equal(strlen(ticket), 32);
    assert_int_equal(waits.state, REIDD_PENDING);
    assert_int_equal(waits.attempt, 0);
    free(ticket);
    reidd_job_fini(&runs);
    reidd_job_fini(&waits);
}

static void test_nothing_is_lost(void **state)
{
    for (int version = 1; version <= newest(); version++) {
        char *path = make_file(version);
        reidd_store *store = open_old(path);
        check_ended(store);
        check_open(store, version);
        reidd_store_close(store);
        free(path);
    }
}

/* The file is used as a new one: jobs are saved, and new ones follow the old. */
static void test_it_can_be_written(void **state)
{
    for (int version = 1; version <= newest(); version++) {
        char *path = make_file(version);
        reidd_store *store = open_old(path);
        reid_error err = {0};
        char last[16];
        reidd_job job = load(store, "waits"), back = {0};
        job.state = REIDD_STARTING;
        job.attempt = 1;
        reid_assert_ok(reidd_store_job_save(store, &job, &err), &err);
        reid_assert_ok(reidd_store_job_last_id(store, last, &err), &err);
        assert_string_equal(last, job.id);
        reidd_job more = job;
        snprintf(more.id, sizeof more.id, "%s", "zzzzzzzz");
        reid_assert_ok(reidd_store_job_add(store, &more, &err), &err);
        reid_assert_ok(reidd_store_attempt_add(store, job.id, 1, "secret", 7, &err), &err);
        reidd_store_close(store);
        store = open_old(path);
        reid_assert_ok(reidd_store_job_load(store, job.id, &back, &err), &err);
        assert_int_equal(back.state, REIDD_STARTING);
        reidd_job_fini(&back);
        reidd_job_fini(&job);
        reidd_store_close(store);
        free(path);
    }
}

/* ---- what cannot be brought up to date ---- */

static void expect_refused(const char *path, reid_status code, const char *words)
{
    reid_error err = {0};
    reidd_store *store = NULL;
    assert_int_equal(reidd_store_open(path, &store, &err), code);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
    assert_null(store);
}

static void test_newer_file_is_left_alone(void **state)
{
    char *path = make_file(TEXTS);
    char *sql = reid_xasprintf("PRAGMA user_version=%d", newest() + 1), *before, *after;
    run_sql(path, sql);
    before = structure(path);
    expect_refused(path, REID_ERR_UNSUPPORTED, "was written by a newer reidd");
    after = structure(path);
    assert_string_equal(after, before);
    free(before);
    free(after);
    free(sql);
    free(path);
}

/* A step that fails leaves the version before it, which the next try takes up again. */
static void test_failed_step_leaves_the_version_before(void **state)
{
    char *path = make_file(1);
    run_sql(path, "ALTER TABLE jobs ADD COLUMN restart_at_ms INTEGER");
    expect_refused(path, REID_ERR_INTERNAL, "duplicate column name: restart_at_ms");
    expect(path, "PRAGMA user_version", "2|\n");
    expect(path, "SELECT count(*) FROM pragma_table_info('jobs') WHERE name LIKE 'restart%'",
           "1|\n");
    run_sql(path, "ALTER TABLE jobs DROP COLUMN restart_at_ms");
    reidd_store *store = open_old(path);
    check_ended(store);
    reidd_store_close(store);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_version_gets_the_newest_tables),
        cmocka_unit_test(test_released_steps_are_as_they_were),
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_it_can_be_written),
        cmocka_unit_test(test_newer_file_is_left_alone),
        cmocka_unit_test(test_failed_step_leaves_the_version_before),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
