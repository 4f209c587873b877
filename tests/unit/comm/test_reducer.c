/* The cut into buckets, and when each bucket starts; the arithmetic over real ranks is in
 * comm_ranks.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "comm/comm_impl.h"
#include "comm/reducer.h"
#include "harness/harness.h"

/* A world of two ranks that notes what it is asked for. */
typedef struct notes {
    reid_comm comm;
    float *base;
    size_t starts, offsets[16], counts[16];
    float divisor;
    size_t fail_at; /* the work that fails; 0: none */
} notes;

static void note_submit(reid_comm *comm, reid_comm_work *work)
{
    notes *n = (notes *)comm;
    n->offsets[n->starts] = (size_t)((float *)work->data - n->base);
    n->counts[n->starts] = work->count;
    n->divisor = work->divisor;
    n->starts++;
    work->status = REID_OK;
    work->pending = true;
    work->started_s = 1.0;
    work->arrived_s = 1.25;
    work->done_s = 2.0;
    if (n->starts == n->fail_at)
        work->status = reid_fail(&work->err, REID_ERR_TIMEOUT, "nothing came from rank 1");
}

static void note_wait(reid_comm *comm, reid_comm_work *work)
{
    work->pending = false;
}

static const reid_comm_impl NOTES = {.name = "notes", .submit = note_submit, .wait = note_wait};

static notes new_notes(float *grad)
{
    notes n = {.base = grad};
    reid_comm_setup(&n.comm, &NOTES, NULL);
    n.comm.size = 2;
    return n;
}

static float grad[100];
static const size_t OFFSETS[] = {0, 10, 30, 35, 60};
/* 10 floats end the first bucket, 25 each later one: [0,10) [10,35) [35,60) [60,100). */
static const reid_reducer_options CUT = {.first_bucket_bytes = 4 * 10, .bucket_bytes = 4 * 25};

static reid_reducer *new_reducer(notes *n)
{
    reid_error err = {0};
    reid_reducer *reducer = NULL;
    reid_assert_ok(reid_reducer_new(&n->comm, grad, 100, OFFSETS, 5, &CUT, &reducer, &err), &err);
    return reducer;
}

static void test_buckets_end_with_parameters(void **state)
{
    notes n = new_notes(grad);
    reid_reducer *reducer = new_reducer(&n);
    assert_int_equal(reid_reducer_bucket_count(reducer), 4);
    reid_reducer_begin(reducer, false);
    assert_int_equal(reid_reducer_finish(reducer, NULL), REID_OK);
    static const size_t starts[] = {0, 10, 35, 60}, counts[] = {10, 25, 25, 40};
    assert_int_equal(n.starts, 4);
    assert_memory_equal(n.offsets, starts, sizeof starts);
    assert_memory_equal(n.counts, counts, sizeof counts);
    assert_true(n.divisor == 2.0f);
    reid_reducer_free(reducer);
}

static void test_a_bucket_starts_with_its_last_gradient(void **state)
{
    notes n = new_notes(grad);
    reid_reducer *reducer = new_reducer(&n);
    reid_reducer_begin(reducer, false);
    reid_reducer_ready(reducer, 0, 9);
    assert_int_equal(n.starts, 0);
    reid_reducer_ready(reducer, 9, 1);
    assert_int_equal(n.starts, 1);
    reid_reducer_ready(reducer, 10, 20);
    assert_int_equal(n.starts, 1);
    reid_reducer_ready(reducer, 35, 25); /* 30…35 was frozen: two buckets are complete */
    assert_int_equal(n.starts, 3);
    reid_reducer_ready(reducer, 60, 39);
    assert_int_equal(n.starts, 3);
    assert_int_equal(reid_reducer_finish(reducer, NULL), REID_OK);
    assert_int_equal(n.starts, 4);
    reid_reducer_stats stats;
    reid_reducer_last_stats(reducer, &stats);
    assert_int_equal(stats.buckets, 4);
    assert_int_equal(stats.bytes, 400);
    reid_assert_close(stats.total_s, 4.0, 1e-12, 0);
    reid_assert_close(stats.others_s, 1.0, 1e-12, 0);
    assert_true(stats.exposed_s >= 0 && stats.exposed_s < 1);
    reid_reducer_bucket third = reid_reducer_last_bucket(reducer, 2);
    assert_int_equal(third.bytes, 100);
    assert_true(third.started_s == 1.0 && third.arrived_s == 1.25 && third.done_s == 2.0);
    reid_reducer_free(reducer);
}

static void test_a_skipped_step_reduces_nothing(void **state)
{
    notes n = new_notes(grad);
    reid_reducer *reducer = new_reducer(&n);
    reid_reducer_begin(reducer, true);
    reid_reducer_ready(reducer, 0, 100);
    assert_int_equal(reid_reducer_finish(reducer, NULL), REID_OK);
    assert_int_equal(n.starts, 0);
    reid_reducer_begin(reducer, false);
    reid_reducer_ready(reducer, 0, 100);
    assert_int_equal(reid_reducer_finish(reducer, NULL), REID_OK);
    assert_int_equal(n.starts, 4);
    reid_reducer_free(reducer);
}

static void test_the_first_failure_is_told(void **state)
{
    notes n = new_notes(grad);
    reid_reducer *reducer = new_reducer(&n);
    reid_error err = {0};
    n.fail_at = 2;
    reid_reducer_begin(reducer, false);
    reid_reducer_ready(reducer, 0, 100);
    assert_int_equal(reid_reducer_finish(reducer, &err), REID_ERR_TIMEOUT);
    assert_string_equal(err.text, "nothing came from rank 1");
    assert_int_equal(n.starts, 4);
    n.fail_at = 0;
    n.starts = 0;
    reid_reducer_begin(reducer, false);
    assert_int_equal(reid_reducer_finish(reducer, NULL), REID_OK);
    reid_reducer_free(reducer);
}

static void test_one_rank_does_nothing(void **state)
{
    reid_error err = {0};
    reid_comm *comm = reid_comm_self_new();
    reid_reducer *reducer = NULL;
    float data[4] = {1, 2, 3, 4};
    reid_assert_ok(reid_reducer_new(comm, data, 4, NULL, 0, NULL, &reducer, &err), &err);
    assert_int_equal(reid_reducer_bucket_count(reducer), 1);
    reid_reducer_begin(reducer, false);
    reid_reducer_ready(reducer, 0, 4);
    reid_assert_ok(reid_reducer_finish(reducer, &err), &err);
    assert_true(data[0] == 1 && data[3] == 4);
    reid_reducer_free(reducer);
    reid_reducer_free(NULL);
    reid_comm_free(comm);
}

static void test_bad_ranges_are_refused(void **state)
{
    static const struct {
        size_t offsets[3];
        const char *sentence;
    } rows[] = {
        {{1, 2, 3}, "reducer: the first range starts at 1, not at 0"},
        {{0, 5, 5}, "reducer: range 2 does not start after range 1"},
        {{0, 5, 100}, "reducer: range 2 starts at 100, beyond the 100 gradients"},
    };
    notes n = new_notes(grad);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        reid_reducer *reducer = NULL;
        assert_int_equal(
            reid_reducer_new(&n.comm, grad, 100, rows[i].offsets, 3, NULL, &reducer, &err),
            REID_ERR_INVALID);
        assert_string_equal(err.text, rows[i].sentence);
        assert_null(reducer);
    }
}

static void test_the_hash_tells_cuts_apart(void **state)
{
    notes n = new_notes(grad);
    reid_reducer *a = new_reducer(&n), *b = new_reducer(&n), *c = NULL;
    assert_int_equal(reid_reducer_new(&n.comm, grad, 100, OFFSETS, 5, NULL, &c, NULL), REID_OK);
    assert_true(reid_reducer_hash(a) == reid_reducer_hash(b));
    assert_true(reid_reducer_hash(a) != reid_reducer_hash(c));
    reid_reducer_free(a);
    reid_reducer_free(b);
    reid_reducer_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_end_with_parameters),
        cmocka_unit_test(test_a_bucket_starts_with_its_last_gradient),
        cmocka_unit_test(test_a_skipped_step_reduces_nothing),
        cmocka_unit_test(test_the_first_failure_is_told),
        cmocka_unit_test(test_one_rank_does_nothing),
        cmocka_unit_test(test_bad_ranges_are_refused),
        cmocka_unit_test(test_the_hash_tells_cuts_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
