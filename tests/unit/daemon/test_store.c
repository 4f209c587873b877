#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "daemon/store/store.h"
#include "harness/harness.h"

typedef struct fixture {
    char *folder, *path;
    reidd_store *store;
} fixture;

static int set_up(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    reid_error err = {0};
    f->folder = reid_test_dir_new();
    f->path = reid_path_join(f->folder, "reidd.db");
    reid_assert_ok(reidd_store_open(f->path, &f->store, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reidd_store_close(f->store);
    reid_test_dir_free(f->folder);
    free(f->path);
    free(f);
    return 0;
}

static void reopen(fixture *f)
{
    reid_error err = {0};
    reidd_store_close(f->store);
    f->store = NULL;
    reid_assert_ok(reidd_store_open(f->path, &f->store, &err), &err);
}

static reidd_job make_job(const char *id, const char *name)
{
    reidd_job job = {.uid = 1000,
                     .ranks = 2,
                     .resume = true,
                     .state = REIDD_PENDING,
                     .submitted_ms = 1700000000000,
                     .progress = {.eta_s = -1},
                     .failure = {.rank = -1}};
    snprintf(job.id, sizeof job.id, "%s", id);
    job.name = reid_xstrdup(name);
    job.user = reid_xstrdup("ada");
    job.output_dir = reid_xstrdup("/data/out");
    job.fork_from = reid_xstrdup("/data/before");
    job.fork_iter = 40;
    job.restart = (reidd_restart){.allowed = 3, .backoff_ms = 2500};
    job.wishes = (reidd_wishes){.priority = -3,
                                .max_time_ms = 3600000,
                                .after = reid_xstrdup("0abc0000:ok"),
                                .gpu_type = reid_xstrdup("H100"),
                                .ranks = 2,
                                .fewer = reid_xstrdup("1"),
                                .held = true,
                                .no_preempt = true};
    return job;
}

static void add(fixture *f, const char *id, const char *name)
{
    reid_error err = {0};
    reidd_job job = make_job(id, name);
    reid_assert_ok(reidd_store_job_add(f->store, &job, &err), &err);
    reidd_job_fini(&job);
}

static void test_job_comes_back_whole(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    reidd_job job = make_job("0abc0001", "bot"), back = {0};
    reid_assert_ok(reidd_store_job_add(f->store, &job, &err), &err);
    job.resume = false; /* as of a job that was resumed, and begins anew */
    job.state = REIDD_FAILED;
    job.phase = REIDD_TRAINING;
    job.attempt = 3;
    job.started_ms = 1;
    job.ended_ms = 2;
    job.last_progress_ms = 3;
    job.progress = (reidd_progress){7, 100, 1, 60, 12.5, 98.25};
    job.failure = (reidd_failure){reid_xstrdup("the disk 'x' is full"), 1, 137, 9};
    job.cancel = (reidd_cancel){true, reid_xstrdup("enough"), 1500};
    job.exit_code = 137;
    job.restart.done = 2;
    job.restart.at_ms = 1700000001234;
    job.restart.origin = 2;
    job.wishes.priority = 7;
    job.wishes.max_time_ms = 60000;
    job.wishes.held = false;
    job.ranks = 1; /* fewer than before, after a failure */
    job.placement = reid_xstrdup("node1:1,node2:1");
    job.avoid = reid_xstrdup("node3");
    job.yields = reid_xstrdup("job 0abc0009 needs its slots");
    job.preemptions = 4;
    job.ran_ms = 12345;
    job.limit_reached = true;
    reid_assert_ok(reidd_store_job_save(f->store, &job, &err), &err);
    reopen(f);
    reid_assert_ok(reidd_store_job_load(f->store, "0abc0001", &back, &err), &err);
    assert_string_equal(back.id, "0abc0001");
    assert_string_equal(back.name, "bot");
    assert_string_equal(back.user, "ada");
    assert_int_equal(back.uid, 1000);
    assert_string_equal(back.output_dir, "/data/out");
    assert_int_equal(back.ranks, 1);
    assert_int_equal(back.wishes.ranks, 2);
    assert_string_equal(back.wishes.fewer, "1");
    assert_false(back.resume);
    assert_false(back.eval_only);
    assert_string_equal(back.fork_from, "/data/before");
    assert_int_equal(back.fork_iter, 40);
    assert_int_equal(back.restart.allowed, 3);
    assert_int_equal(back.restart.backoff_ms, 2500);
    assert_int_equal(back.restart.done, 2);
    assert_int_equal(back.restart.at_ms, 1700000001234);
    assert_int_equal(back.restart.origin, 2);
    assert_int_equal(back.wishes.priority, 7);
    assert_int_equal(back.wishes.max_time_ms, 60000);
    assert_string_equal(back.wishes.after, "0abc0000:ok");
    assert_string_equal(back.wishes.gpu_type, "H100");
    assert_false(back.wishes.held);
    assert_true(back.wishes.no_preempt);
    assert_string_equal(back.placement, "node1:1,node2:1");
    assert_string_equal(back.avoid, "node3");
    assert_string_equal(back.yields, "job 0abc0009 needs its slots");
    assert_int_equal(back.preemptions, 4);
    assert_int_equal(back.ran_ms, 12345);
    assert_true(back.limit_reached);
    assert_int_equal(back.state, REIDD_FAILED);
    assert_int_equal(back.phase, REIDD_TRAINING);
    assert_int_equal(back.attempt, 3);
    assert_int_equal(back.submitted_ms, 1700000000000);
    assert_int_equal(back.started_ms, 1);
    assert_int_equal(back.ended_ms, 2);
    assert_int_equal(back.last_progress_ms, 3);
    assert_int_equal(back.progress.iteration, 7);
    assert_int_equal(back.progress.max_iteration, 100);
    assert_int_equal(back.progress.epoch, 1);
    assert_int_equal(back.progress.max_epoch, 60);
    assert_true(back.progress.eta_s == 12.5 && back.progress.images_per_s == 98.25);
    assert_string_equal(back.failure.sentence, "the disk 'x' is full");
    assert_int_equal(back.failure.rank, 1);
    assert_int_equal(back.failure.exit_code, 137);
    assert_int_equal(back.failure.signal, 9);
    assert_true(back.cancel.wanted);
    assert_string_equal(back.cancel.reason, "enough");
    assert_int_equal(back.cancel.grace_ms, 1500);
    assert_int_equal(back.exit_code, 137);
    assert_int_equal(reidd_store_job_add(f->store, &job, NULL), REID_ERR_EXISTS);
    reidd_job_fini(&job);
    reidd_job_fini(&back);
}

static void check_found(fixture *f, const char *key, const char *id)
{
    char found[16];
    reid_error err = {0};
    reid_assert_ok(reidd_store_job_find(f->store, key, found, &err), &err);
    assert_string_equal(found, id);
}

static void test_find(void **state)
{
    fixture *f = *state;
    char id[16];
    reid_error err = {0};
    add(f, "0abc0001", "bot");
    add(f, "0abc0002", "bot");
    add(f, "0abd0003", "0abc");
    add(f, "0abz0004", "0abc0001");
    check_found(f, "0abc0001", "0abc0001"); /* an id before a name */
    check_found(f, "bot", "0abc0002");      /* the newest of the name */
    check_found(f, "0abc", "0abd0003");     /* a name before a prefix */
    check_found(f, "0abd", "0abd0003");
    check_found(f, "0abz", "0abz0004"); /* z is the last digit */
    assert_int_equal(reidd_store_job_find(f->store, "0abc000", id, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "0abc0001, 0abc0002"));
    reid_error_clear(&err);
    assert_int_equal(reidd_store_job_find(f->store, "0ab", id, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "and others"));
    reid_error_clear(&err);
    assert_int_equal(reidd_store_job_find(f->store, "nobody", id, &err), REID_ERR_NOT_FOUND);
    assert_string_equal(err.text, "there is no job 'nobody'");
    assert_int_equal(reidd_store_job_find(f->store, "", id, NULL), REID_ERR_INVALID);
    assert_int_equal(reidd_store_job_find(f->store, "%", id, NULL), REID_ERR_NOT_FOUND);
    assert_int_equal(reidd_store_job_find(f->store, "' OR 1=1 --", id, NULL), REID_ERR_NOT_FOUND);
    reid_assert_ok(reidd_store_job_last_id(f->store, id, &err), &err);
    assert_string_equal(id, "0abz0004");
}

static void collect_id(const reidd_job *job, void *user)
{
    strcat(user, job->id + 7);
}

static void test_list(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char ids[64] = "";
    char last[16];
    reid_assert_ok(reidd_store_job_last_id(f->store, last, &err), &err);
    assert_string_equal(last, "");
    for (int i = 1; i <= 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "0000000%d", i);
        add(f, id, "x");
    }
    reidd_job job = make_job("00000002", "x");
    job.state = REIDD_RUNNING;
    reid_assert_ok(reidd_store_job_save(f->store, &job, &err), &err);
    reidd_job_fini(&job);
    reid_assert_ok(reidd_store_job_list(f->store, ~0u, 100, NULL, collect_id, ids, &err), &err);
    assert_string_equal(ids, "54321");
    ids[0] = '\0';
    reid_assert_ok(reidd_store_job_each(f->store, 1u << REIDD_PENDING, collect_id, ids, &err),
                   &err);
    assert_string_equal(ids, "1345");
}

/* Page after page, whatever becomes of the job that a page ended with. */
static void test_job_pages(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char id[16];
    for (int i = 1; i <= 5; i++) {
        snprintf(id, sizeof id, "0000000%d", i);
        add(f, id, "x");
    }
    static const struct {
        const char *before, *ids;
    } rows[] = {{"00000005", "432"},
                {"00000002", "1"},
                {"00000001", ""},
                {"00000009", "543"},
                {"00000000", ""}};
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        char ids[64] = "";
        reid_assert_ok(
            reidd_store_job_list(f->store, ~0u, 3, rows[i].before, collect_id, ids, &err), &err);
        assert_string_equal(ids, rows[i].ids);
    }
    reidd_job job = make_job("00000003", "x");
    job.state = REIDD_FAILED;
    reid_assert_ok(reidd_store_job_save(f->store, &job, &err), &err);
    reidd_job_fini(&job);
    reid_assert_ok(reidd_store_job_remove(f->store, "00000003", &err), &err);
    for (int swept = 0; swept < 2; swept++) {
        bool done = false;
        char ids[64] = "";
        reid_assert_ok(reidd_store_job_list(f->store, ~0u, 3, "00000003", collect_id, ids, &err),
                       &err);
        assert_string_equal(ids, "21");
        reid_assert_ok(reidd_store_sweep(f->store, "00000003", 100, 0, &done, &err), &err);
    }
}

static void collect_event(int attempt, int64_t wall_ms, const char *kind, const char *detail,
                          void *user)
{
    size_t used = strlen(user);
    sprintf((char *)user + used, "%d %lld %s %s;", attempt, (long long)wall_ms, kind, detail);
}

static void test_attempts_and_events(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char *ticket = NULL;
    char events[256] = "";
    add(f, "00000001", "x");
    assert_int_equal(reidd_store_attempt_ticket(f->store, "00000001", 1, &ticket, NULL),
                     REID_ERR_NOT_FOUND);
    reid_assert_ok(reidd_store_attempt_add(f->store, "00000001", 1, "secret", 5, &err), &err);
    reid_assert_ok(reidd_store_attempt_ticket(f->store, "00000001", 1, &ticket, &err), &err);
    assert_string_equal(ticket, "secret");
    free(ticket);
    const reidd_end end = {.exit_code = 3, .rank = 1, .sentence = "why", .ended_ms = 9};
    reid_assert_ok(reidd_store_attempt_end(f->store, "00000001", 1, &end, &err), &err);
    reid_assert_ok(reidd_store_event_add(f->store, "00000001", 0, 1, "state", "PENDING", &err),
                   &err);
    reid_assert_ok(reidd_store_event_add(f->store, "00000001", 1, 2, "state", "STARTING", &err),
                   &err);
    reid_assert_ok(reidd_store_event_list(f->store, "00000001", collect_event, events, &err), &err);
    assert_string_equal(events, "0 1 state PENDING;1 2 state STARTING;");
    /* nothing belongs to a job that is not there */
    assert_int_not_equal(reidd_store_event_add(f->store, "nobody", 0, 1, "state", "x", NULL),
                         REID_OK);
    assert_int_not_equal(reidd_store_attempt_add(f->store, "nobody", 1, "t", 1, NULL), REID_OK);
}

typedef struct row_log {
    char text[256];
    int left; /* rows to take */
} row_log;

static bool collect_row(int attempt, int64_t seq, const void *row, size_t size, void *user)
{
    row_log *log = user;
    if (log->left-- <= 0)
        return false;
    size_t used = strlen(log->text);
    sprintf(log->text + used, "%d.%lld=%.*s ", attempt, (long long)seq, (int)size,
            (const char *)row);
    return true;
}

static void check_rows(fixture *f, int attempt, int64_t seq, int left, const char *expected)
{
    row_log log = {.left = left};
    reid_error err = {0};
    reid_assert_ok(
        reidd_store_row_each(f->store, "00000001", attempt, seq, collect_row, &log, &err), &err);
    assert_string_equal(log.text, expected);
}

static void test_rows_from_a_cursor(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    int64_t last = -1;
    add(f, "00000001", "x");
    add(f, "00000002", "y");
    reid_assert_ok(reidd_store_begin(f->store, false, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 1, 1, "a", 1, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 1, 2, "b", 1, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000002", 1, 1, "other", 5, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 2, 1, "c", 1, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 1, 2, "again", 5, &err), &err);
    reid_assert_ok(reidd_store_commit(f->store, &err), &err);
    check_rows(f, 0, 0, 9, "1.1=a 1.2=b 2.1=c ");
    check_rows(f, 1, 1, 9, "1.2=b 2.1=c ");
    check_rows(f, 1, 2, 9, "2.1=c ");
    check_rows(f, 1, INT64_MAX, 9, "2.1=c ");
    check_rows(f, 2, 1, 9, "");
    check_rows(f, 0, 0, 2, "1.1=a 1.2=b ");
    reid_assert_ok(reidd_store_row_last(f->store, "00000001", 1, &last, &err), &err);
    assert_int_equal(last, 2);
    reid_assert_ok(reidd_store_row_last(f->store, "00000001", 3, &last, &err), &err);
    assert_int_equal(last, 0);
}

static void collect_latest(const char *name, double value, void *user)
{
    size_t used = strlen(user);
    sprintf((char *)user + used, "%s=%g ", name, value);
}

static void test_latest(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char text[128] = "";
    add(f, "00000001", "x");
    reid_assert_ok(reidd_store_latest_set(f->store, "00000001", "loss", 3.5, &err), &err);
    reid_assert_ok(reidd_store_latest_set(f->store, "00000001", "acc", 0.25, &err), &err);
    reid_assert_ok(reidd_store_latest_set(f->store, "00000001", "loss", 2.5, &err), &err);
    reid_assert_ok(reidd_store_latest_set(f->store, "00000001", "bad", NAN, &err), &err);
    reid_assert_ok(reidd_store_latest_set(f->store, "00000001", "big", INFINITY, &err), &err);
    reid_assert_ok(reidd_store_latest_each(f->store, "00000001", collect_latest, text, &err), &err);
    assert_string_equal(text, "acc=0.25 bad=nan big=inf loss=2.5 ");
}

static void test_rollback(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    add(f, "00000001", "x");
    reid_assert_ok(reidd_store_begin(f->store, false, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 1, 1, "a", 1, &err), &err);
    reidd_store_rollback(f->store);
    reidd_store_rollback(f->store);
    check_rows(f, 0, 0, 9, "");
    reid_assert_ok(reidd_store_begin(f->store, true, &err), &err);
    reid_assert_ok(reidd_store_row_add(f->store, "00000001", 1, 1, "b", 1, &err), &err);
    reopen(f); /* an open batch is no batch */
    check_rows(f, 0, 0, 9, "");
}

/* A child is killed in the middle of a batch: committed batches are there, the open one is not. */
static void test_reopen_after_kill(void **state)
{
    fixture *f = *state;
    add(f, "00000001", "x");
    reidd_store_close(f->store);
    f->store = NULL;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        reidd_store *store = NULL;
        char ready = 1;
        if (reidd_store_open(f->path, &store, NULL) != REID_OK ||
            reidd_store_begin(store, false, NULL) != REID_OK ||
            reidd_store_row_add(store, "00000001", 1, 1, "a", 1, NULL) != REID_OK ||
            reidd_store_commit(store, NULL) != REID_OK ||
            reidd_store_begin(store, false, NULL) != REID_OK ||
            reidd_store_row_add(store, "00000001", 1, 2, "b", 1, NULL) != REID_OK)
            ready = 0;
        if (write(pipe_fds[1], &ready, 1) != 1)
            _exit(1);
        pause();
    }
    char ready = 0;
    close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &ready, 1), 1);
    close(pipe_fds[0]);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(ready, 1);
    reid_error err = {0};
    reid_assert_ok(reidd_store_open(f->path, &f->store, &err), &err);
    check_rows(f, 0, 0, 9, "1.1=a ");
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* What can change is stored: a paused job that is resumed goes on after a restart, too. */
static void test_saved_job(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    reidd_job job = make_job("00000001", "x"), back = {0};
    reid_assert_ok(reidd_store_job_add(f->store, &job, &err), &err);
    job.resume = false;
    reid_assert_ok(reidd_store_job_save(f->store, &job, &err), &err);
    reid_assert_ok(reidd_store_job_load(f->store, "00000001", &back, &err), &err);
    assert_false(back.resume);
    reidd_job_fini(&back);
    reidd_job_fini(&job);
}

static void test_configurations(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char *yaml = NULL;
    add(f, "00000001", "x");
    add(f, "00000002", "y");
    reid_assert_ok(reidd_store_config_add(f->store, "00000001", "OUTPUT_DIR: /out\n", &err), &err);
    assert_int_equal(reidd_store_config_add(f->store, "00000001", "", NULL), REID_ERR_EXISTS);
    reid_assert_ok(reidd_store_config_load(f->store, "00000001", &yaml, &err), &err);
    assert_string_equal(yaml, "OUTPUT_DIR: /out\n");
    free(yaml);
    yaml = NULL;
    assert_int_equal(reidd_store_config_load(f->store, "00000002", &yaml, &err),
                     REID_ERR_NOT_FOUND);
    assert_string_equal(err.text, "there is no configuration of job 00000002");
    assert_null(yaml);
}

typedef struct event_list {
    int64_t last;
    int count, limit;
    char kinds[64];
} event_list;

static bool take_event(const reidd_event *event, void *user)
{
    event_list *list = user;
    if (list->count == list->limit)
        return false;
    assert_true(event->number > list->last);
    list->last = event->number;
    list->count++;
    strcat(strcat(list->kinds, event->kind), " ");
    return true;
}

static void test_events_from_a_cursor(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    static const char *const kinds[] = {"a", "b", "c", "d"};
    add(f, "00000001", "x");
    add(f, "00000002", "y");
    for (int i = 0; i < 4; i++)
        for (int k = 1; k <= 2; k++)
            reid_assert_ok(reidd_store_event_add(f->store, k == 1 ? "00000001" : "00000002", 1, 5,
                                                 kinds[i], "", &err),
                           &err);
    event_list first = {.limit = 2}, rest = {.limit = 9}, none = {.limit = 9};
    reid_assert_ok(reidd_store_event_each(f->store, "00000001", 0, take_event, &first, &err), &err);
    assert_string_equal(first.kinds, "a b ");
    reopen(f); /* numbers stay */
    rest.last = first.last;
    reid_assert_ok(
        reidd_store_event_each(f->store, "00000001", first.last, take_event, &rest, &err), &err);
    assert_string_equal(rest.kinds, "c d ");
    reid_assert_ok(reidd_store_event_each(f->store, "00000001", rest.last, take_event, &none, &err),
                   &err);
    reid_assert_ok(reidd_store_event_each(f->store, "nobody", 0, take_event, &none, &err), &err);
    assert_int_equal(none.count, 0);
}

static bool collect_ended(const char *id, int64_t ended_ms, void *user)
{
    strcat(user, id + 7);
    return ended_ms < 103;
}

static void save_ended(fixture *f, const char *id, int64_t ended_ms)
{
    reid_error err = {0};
    reidd_job job = make_job(id, id);
    job.state = REIDD_FAILED;
    job.ended_ms = ended_ms;
    reid_assert_ok(reidd_store_job_save(f->store, &job, &err), &err);
    reidd_job_fini(&job);
}

static void test_removed_jobs(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    char found[16], ids[64] = "";
    int64_t count = 0;
    for (int i = 1; i <= 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "0000000%d", i);
        add(f, id, id);
        if (i != 3)
            save_ended(f, id, 106 - i); /* the newest has ended first */
    }
    reid_assert_ok(reidd_store_ended_count(f->store, &count, &err), &err);
    assert_int_equal(count, 4);
    reid_assert_ok(reidd_store_ended_each(f->store, collect_ended, ids, &err), &err);
    assert_string_equal(ids, "542");
    reid_assert_ok(reidd_store_attempt_add(f->store, "00000005", 1, "t", 5, &err), &err);
    reid_assert_ok(reidd_store_config_add(f->store, "00000005", "A: 1\n", &err), &err);
    reid_assert_ok(reidd_store_latest_set(f->store, "00000005", "loss", 1, &err), &err);
    for (int i = 1; i <= 25; i++) {
        reid_assert_ok(reidd_store_row_add(f->store, "00000005", 1, i, "x", 1, &err), &err);
        reid_assert_ok(reidd_store_event_add(f->store, "00000005", 1, i, "a", "b", &err), &err);
    }
    assert_int_equal(reidd_store_job_remove(f->store, "00000003", &err), REID_ERR_NOT_FOUND);
    reid_assert_ok(reidd_store_job_remove(f->store, "00000005", &err), &err);
    assert_int_equal(reidd_store_job_remove(f->store, "00000005", &err), REID_ERR_NOT_FOUND);
    reopen(f); /* half way */
    reidd_job job = {0};
    assert_int_equal(reidd_store_job_load(f->store, "00000005", &job, &err), REID_ERR_NOT_FOUND);
    assert_int_equal(reidd_store_job_find(f->store, "00000005", found, &err), REID_ERR_NOT_FOUND);
    assert_true(reidd_store_is_removed(f->store, "00000005"));
    assert_false(reidd_store_is_removed(f->store, "00000004"));
    reid_assert_ok(reidd_store_removed_next(f->store, found, &err), &err);
    assert_string_equal(found, "00000005");
    bool done = false;
    int pieces = 0;
    for (; !done; pieces++)
        reid_assert_ok(reidd_store_sweep(f->store, found, 10, 0, &done, &err), &err);
    assert_int_equal(pieces, 5); /* 10, 10 and 5 rows with 10 events, 10, and 5 with the rest */
    reid_assert_ok(reidd_store_removed_next(f->store, found, &err), &err);
    assert_string_equal(found, "");
    reopen(f);
    assert_false(reidd_store_is_removed(f->store, "00000005"));
    reid_assert_ok(reidd_store_job_last_id(f->store, found, &err), &err);
    assert_string_equal(found, "00000005"); /* never again */
    ids[0] = '\0';
    reid_assert_ok(reidd_store_job_list(f->store, ~0u, 100, NULL, collect_id, ids, &err), &err);
    assert_string_equal(ids, "4321");
}

static void collect_usage(const char *user, int slots, int64_t started_ms, int64_t ended_ms,
                          void *arg)
{
    char *text =
        reid_xasprintf("%s %d %lld %lld;", user, slots, (long long)started_ms, (long long)ended_ms);
    strcat(arg, text);
    free(text);
}

static void expect_usage(fixture *f, int64_t since_ms, const char *expected)
{
    reid_error err = {0};
    char text[256] = "";
    reid_assert_ok(reidd_store_usage_each(f->store, since_ms, collect_usage, text, &err), &err);
    assert_string_equal(text, expected);
}

static void remove_and_sweep(fixture *f, const char *id, int64_t since_ms)
{
    reid_error err = {0};
    bool done = false;
    reid_assert_ok(reidd_store_job_remove(f->store, id, &err), &err);
    reid_assert_ok(reidd_store_sweep(f->store, id, 100, since_ms, &done, &err), &err);
    assert_true(done);
    reopen(f);
}

/* Who removes his jobs has still used the slots. */
static void test_usage_of_removed_jobs(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    for (int i = 1; i <= 3; i++) {
        char id[16];
        const reidd_end end = {.ended_ms = 10 * i + 5, .sentence = ""};
        snprintf(id, sizeof id, "0000000%d", i);
        add(f, id, id);
        reid_assert_ok(reidd_store_attempt_add(f->store, id, 1, "t", 10 * i, &err), &err);
        reid_assert_ok(reidd_store_attempt_end(f->store, id, 1, &end, &err), &err);
        save_ended(f, id, end.ended_ms);
    }
    expect_usage(f, 0, "ada 2 10 15;ada 2 20 25;ada 2 30 35;");
    remove_and_sweep(f, "00000002", 0);
    expect_usage(f, 0, "ada 2 10 15;ada 2 20 25;ada 2 30 35;");
    expect_usage(f, 25, "ada 2 30 35;");
    remove_and_sweep(f, "00000001", 15); /* too old to be kept */
    expect_usage(f, 0, "ada 2 20 25;ada 2 30 35;");
    remove_and_sweep(f, "00000003", 25); /* the second one is now */
    expect_usage(f, 0, "ada 2 30 35;");
}

static void test_newer_file_is_refused(void **state)
{
    fixture *f = *state;
    reid_error err = {0};
    int schema = reidd_store_schema(f->store);
    assert_true(schema >= 1);
    reidd_store_close(f->store);
    f->store = NULL;
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d", schema + 1);
    run_sql(f->path, sql);
    assert_int_equal(reidd_store_open(f->path, &f->store, &err), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "newer reidd"));
    assert_non_null(strstr(err.text, f->path));
    assert_null(f->store);
}

static void test_foreign_files_are_refused(void **state)
{
    fixture *f = *state;
    reidd_store *store = NULL;
    reid_error err = {0};
    char *other = reid_path_join(f->folder, "other.db");
    run_sql(other, "CREATE TABLE notes(text)");
    assert_int_equal(reidd_store_open(other, &store, &err), REID_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "another program"));
    reid_error_clear(&err);
    char *text = reid_test_write_text(
        f->folder, "text.db", "this is not a database at all, but a text long enough to be one\n");
    assert_int_equal(reidd_store_open(text, &store, &err), REID_ERR_CORRUPT);
    reid_error_clear(&err);
    char *nowhere = reid_path_join(f->folder, "no/such/folder.db");
    assert_int_not_equal(reidd_store_open(nowhere, &store, &err), REID_OK);
    assert_non_null(strstr(err.text, "no/such/folder.db"));
    free(other);
    free(text);
    free(nowhere);
}

/* A file system of 400 KiB over the folder, for this process only. False where that is not allowed.
 */
static bool mount_small_disk(const char *folder)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", folder, "tmpfs", 0, "size=400k") == 0;
}

/* Adds rows until the disk is full; the last one that was acknowledged. */
static int64_t fill_up(reidd_store *store, reid_error *err)
{
    char block[4096];
    memset(block, 'x', sizeof block);
    for (int64_t seq = 1;; seq++) {
        reid_status status = reidd_store_begin(store, false, err);
        if (status == REID_OK)
            status = reidd_store_row_add(store, "00000001", 1, seq, block, sizeof block, err);
        if (status == REID_OK)
            status = reidd_store_commit(store, err);
        reidd_store_rollback(store);
        if (status != REID_OK)
            return seq - 1;
    }
}

/* In a child. Returns the step that went wrong. */
static int use_full_disk(const char *folder)
{
    reidd_store *store = NULL;
    reid_error err = {0};
    int64_t last = -1;
    char *path = reid_path_join(folder, "reidd.db");
    char *ballast = reid_path_join(folder, "ballast");
    char block[32768] = {1};
    reidd_job job = make_job("00000001", "x"), other = make_job("00000002", "y");
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, block, sizeof block) != (ssize_t)sizeof block || close(fd) != 0)
        return 1;
    if (reidd_store_open(path, &store, &err) != REID_OK ||
        reidd_store_job_add(store, &job, &err) != REID_OK)
        return 2;
    int64_t acknowledged = fill_up(store, &err);
    if (err.code != REID_ERR_EXHAUSTED || !strstr(err.text, "full") || acknowledged < 5)
        return 3;
    if (reidd_store_job_add(store, &other, NULL) != REID_ERR_EXHAUSTED)
        return 4;
    if (reidd_store_row_last(store, "00000001", 1, &last, NULL) != REID_OK || last != acknowledged)
        return 5;
    if (unlink(ballast) != 0) /* room again: it goes on */
        return 6;
    if (reidd_store_row_add(store, "00000001", 1, last + 1, "a", 1, NULL) != REID_OK ||
        reidd_store_job_add(store, &other, NULL) != REID_OK)
        return 7;
    reidd_store_close(store);
    if (reidd_store_open(path, &store, &err) != REID_OK ||
        reidd_store_row_last(store, "00000001", 1, &last, NULL) != REID_OK ||
        last != acknowledged + 1)
        return 8;
    return 0;
}

static void test_full_disk_loses_nothing(void **state)
{
    enum { NOT_ALLOWED = 77 };
    fixture *f = *state;
    char *folder = reid_path_join(f->folder, "small");
    assert_int_equal(mkdir(folder, 0700), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(mount_small_disk(folder) ? use_full_disk(folder) : NOT_ALLOWED);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    free(folder);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_ALLOWED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(test_job_comes_back_whole),
        CASE(test_find),
        CASE(test_list),
        CASE(test_job_pages),
        CASE(test_attempts_and_events),
        CASE(test_rows_from_a_cursor),
        CASE(test_latest),
        CASE(test_rollback),
        CASE(test_reopen_after_kill),
        CASE(test_saved_job),
        CASE(test_configurations),
        CASE(test_events_from_a_cursor),
        CASE(test_removed_jobs),
        CASE(test_usage_of_removed_jobs),
        CASE(test_newer_file_is_refused),
        CASE(test_foreign_files_are_refused),
        CASE(test_full_disk_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
