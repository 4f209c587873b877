/* The communication thread, over a library that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "comm/comm_impl.h"
#include "comm/worker.h"
#include "harness/harness.h"

typedef struct player {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released; /* run() may come back */
    bool hold;     /* run() waits for it */
    reid_status open_status;
    int fail_at; /* the run that fails; 0: none */
    int runs, closes, aborts, abort_code;
    bool closed_broken;
    void *order[8];
    pthread_t thread;
} player;

static reid_status play_open(void *user, reid_error *err)
{
    player *p = user;
    p->thread = pthread_self();
    return p->open_status == REID_OK ? REID_OK : reid_fail(err, p->open_status, "no such fabric");
}

static reid_status play_run(void *user, reid_comm_work *work, reid_error *err)
{
    player *p = user;
    assert_true(pthread_equal(p->thread, pthread_self()));
    pthread_mutex_lock(&p->lock);
    while (p->hold && !p->released)
        pthread_cond_wait(&p->changed, &p->lock);
    p->order[p->runs++ % 8] = work;
    bool fails = p->runs == p->fail_at;
    pthread_mutex_unlock(&p->lock);
    return fails ? reid_fail(err, REID_ERR_TIMEOUT, "rank 1 is late") : REID_OK;
}

static void play_close(void *user, bool broken)
{
    player *p = user;
    p->closes++;
    p->closed_broken = broken;
}

static void play_abort(void *user, int code)
{
    player *p = user;
    p->aborts++;
    p->abort_code = code;
}

static const reid_comm_worker_impl PLAY = {play_open, play_run, play_close, play_abort};

static void release(player *p)
{
    pthread_mutex_lock(&p->lock);
    p->released = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static player new_player(void)
{
    return (player){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static reid_comm_work new_work(double timeout_s)
{
    return (reid_comm_work){
        .kind = REID_COMM_ALLREDUCE, .phase = "training", .timeout_s = timeout_s};
}

static void start(reid_comm_worker *w, player *p)
{
    reid_error err = {0};
    reid_assert_ok(reid_comm_worker_start(w, &PLAY, p, 10, &err), &err);
    reid_comm_worker_wait(w, &w->opening);
}

static void test_work_is_done_in_order(void **state)
{
    player p = new_player();
    reid_comm_worker w;
    reid_comm_work work[5];
    start(&w, &p);
    assert_int_equal(w.opening.status, REID_OK);
    for (int i = 0; i < 5; i++) {
        work[i] = new_work(10);
        reid_comm_worker_submit(&w, &work[i]);
    }
    for (int i = 4; i >= 0; i--) {
        reid_comm_worker_wait(&w, &work[i]);
        assert_int_equal(work[i].status, REID_OK);
        assert_true(work[i].queued_s <= work[i].started_s && work[i].started_s <= work[i].done_s);
    }
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(p.order[i], &work[i]);
    assert_true(reid_comm_worker_stop(&w, 10));
    assert_int_equal(p.closes, 1);
    assert_false(p.closed_broken);
    reid_comm_worker_fini(&w);
}

static void test_what_follows_a_failure_is_not_run(void **state)
{
    player p = new_player();
    reid_comm_worker w;
    reid_comm_work work[3];
    p.fail_at = 1;
    start(&w, &p);
    for (int i = 0; i < 3; i++) {
        work[i] = new_work(10);
        reid_comm_worker_submit(&w, &work[i]);
    }
    for (int i = 0; i < 3; i++) {
        reid_comm_worker_wait(&w, &work[i]);
        assert_int_equal(work[i].status, REID_ERR_TIMEOUT);
        assert_string_equal(work[i].err.text, "rank 1 is late");
    }
    assert_int_equal(p.runs, 1);
    assert_true(reid_comm_worker_is_broken(&w));
    assert_true(reid_comm_worker_stop(&w, 10));
    assert_true(p.closed_broken);
    reid_comm_worker_fini(&w);
}

static void test_a_failed_start_is_told(void **state)
{
    player p = new_player();
    reid_comm_worker w;
    p.open_status = REID_ERR_UNAVAILABLE;
    start(&w, &p);
    assert_int_equal(w.opening.status, REID_ERR_UNAVAILABLE);
    reid_comm_work work = new_work(10);
    reid_comm_worker_submit(&w, &work);
    reid_comm_worker_wait(&w, &work);
    assert_string_equal(work.err.text, "no such fabric");
    assert_true(reid_comm_worker_stop(&w, 10));
    reid_comm_worker_fini(&w);
}

/* The library does not come back: the owner is told all the same, and can go on to end the process.
 */
static void test_a_stuck_library_is_told(void **state)
{
    player p = new_player();
    reid_comm_worker w;
    p.hold = true;
    start(&w, &p);
    w.grace_s = 0.1;
    reid_comm_work first = new_work(0.05), second = new_work(0.05);
    reid_comm_worker_submit(&w, &first);
    reid_comm_worker_submit(&w, &second);
    double begin_s = reid_clock_seconds();
    reid_comm_worker_wait(&w, &first);
    assert_true(reid_clock_seconds() - begin_s < 5);
    assert_int_equal(first.status, REID_ERR_TIMEOUT);
    assert_non_null(strstr(
        first.err.text,
        "all-reduce timed out in phase training: the communication library has not answered"));
    reid_comm_worker_wait(&w, &second);
    assert_int_equal(second.status, REID_ERR_TIMEOUT);
    reid_comm_work third = new_work(10);
    begin_s = reid_clock_seconds();
    reid_comm_worker_submit(&w, &third); /* at once, while the thread is still away */
    reid_comm_worker_wait(&w, &third);
    assert_true(reid_clock_seconds() - begin_s < 0.25);
    assert_string_equal(third.err.text, first.err.text);
    begin_s = reid_clock_seconds();
    reid_comm_worker_abort(&w, 3, 0.05); /* cannot reach it, and comes back */
    assert_true(reid_clock_seconds() - begin_s < 5);
    assert_int_equal(p.aborts, 0);
    release(&p);
    assert_true(reid_comm_worker_stop(&w, 10));
    assert_int_equal(first.status, REID_ERR_TIMEOUT); /* the late answer changes nothing */
    reid_comm_worker_fini(&w);
}

static void test_abort_runs_on_the_thread(void **state)
{
    player p = new_player();
    reid_comm_worker w;
    start(&w, &p);
    reid_comm_worker_abort(&w, 9, 10);
    assert_int_equal(p.aborts, 1);
    assert_int_equal(p.abort_code, 9);
    assert_int_equal(p.closes, 0);
    assert_true(reid_comm_worker_stop(&w, 10));
    reid_comm_worker_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_is_done_in_order),
        cmocka_unit_test(test_what_follows_a_failure_is_not_run),
        cmocka_unit_test(test_a_failed_start_is_told),
        cmocka_unit_test(test_a_stuck_library_is_told),
        cmocka_unit_test(test_abort_runs_on_the_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
