#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/simple_trainer.h"
#include "fake_step.h"
#include "harness/harness.h"
#include "thread_ranks.h"

static double plain_value(int rank, int64_t iter, int scalar)
{
    return scalar == 0   ? 4.0 + rank + (double)iter
           : scalar == 1 ? 0.5 * (rank + 1)
                         : 0.25 * (rank + 1);
}

static double latest(const reid_trainer *trainer, const char *name)
{
    reid_event_scalar scalar;
    return reid_event_storage_find(trainer->storage, name, &scalar) ? scalar.value : -1;
}

static void add_names(const reid_event_storage *storage, reid_str *out)
{
    for (size_t i = 0; i < reid_event_storage_count(storage); i++)
        reid_str_addf(out, "%s ", reid_event_storage_at(storage, i).name);
}

static void one_rank_steps_in_order(void **state)
{
    fake_step step;
    fake_step_init(&step, 0, plain_value);
    reid_comm *comm = reid_comm_self_new();
    reid_simple_trainer trainer;
    reid_simple_trainer_init(&trainer, &step.base, comm, 1, 3);
    reid_error err = {0};
    reid_assert_ok(reid_trainer_train(&trainer.base, 0, &err), &err);
    assert_string_equal(reid_str_text(&step.calls), "n0 f0 b0 u0 n1 f1 b1 u1 n2 f2 b2 u2 ");
    reid_str names = REID_STR_INIT;
    add_names(trainer.base.storage, &names);
    assert_string_equal(reid_str_text(&names),
                        "cls_accuracy data_time total_loss loss_cls loss_triplet ");
    assert_true(latest(&trainer.base, "total_loss") == 6.5);
    assert_true(latest(&trainer.base, "loss_cls") == 6.0);
    assert_true(latest(&trainer.base, "loss_triplet") == 0.5);
    assert_true(latest(&trainer.base, "cls_accuracy") == 0.25);
    assert_true(latest(&trainer.base, "data_time") >= 0);
    assert_int_equal(reid_event_storage_history(trainer.base.storage, "total_loss")->count, 3);
    for (size_t i = 0; i < 5; i++)
        assert_true(reid_event_storage_at(trainer.base.storage, i).smoothing_hint);
    assert_string_equal(reid_simple_trainer_bad_images(&trainer), "");
    reid_str_fini(&names);
    reid_simple_trainer_fini(&trainer);
    reid_comm_free(comm);
    fake_step_fini(&step);
}

static void a_single_loss_is_the_total(void **state)
{
    fake_step step;
    fake_step_init(&step, 0, plain_value);
    step.losses = 1;
    reid_comm *comm = reid_comm_self_new();
    reid_simple_trainer trainer;
    reid_simple_trainer_init(&trainer, &step.base, comm, 1, 1);
    assert_int_equal(reid_trainer_train(&trainer.base, 0, NULL), REID_OK);
    assert_true(latest(&trainer.base, "total_loss") == 4.0);
    assert_null(reid_event_storage_history(trainer.base.storage, "loss_cls"));
    reid_simple_trainer_fini(&trainer);
    reid_comm_free(comm);
    fake_step_fini(&step);
}

/* Metrics come before the update: what failed where decides what was put. */
static void an_error_ends_the_step_where_it_is(void **state)
{
    static const char *const calls[] = {"n0 ", "n0 f0 ", "n0 f0 b0 ", "n0 f0 b0 u0 "};
    for (int part = 1; part <= 4; part++) {
        fake_step step;
        fake_step_init(&step, 0, plain_value);
        step.fail_in = part;
        reid_comm *comm = reid_comm_self_new();
        reid_simple_trainer trainer;
        reid_simple_trainer_init(&trainer, &step.base, comm, 1, 3);
        reid_error err = {0};
        assert_int_equal(reid_trainer_train(&trainer.base, 0, &err), REID_ERR_IO);
        assert_memory_equal(err.text + 1, "nfbu" + part - 1, 1);
        assert_string_equal(reid_str_text(&step.calls), calls[part - 1]);
        assert_int_equal(latest(&trainer.base, "total_loss") == 4.5, part == 4);
        reid_simple_trainer_fini(&trainer);
        reid_comm_free(comm);
        fake_step_fini(&step);
    }
}

/* ---- several ranks ---- */

typedef struct rank_result {
    reid_status status;
    char text[1024];
    int64_t iter;
    char calls[256];
    char names[256];
    char images[1024];
    double total, cls, triplet, accuracy, data_time;
    reid_step_times times;
} rank_result;

typedef struct script {
    double (*value)(int rank, int64_t iter, int scalar);
    double next_s;   /* on the last rank */
    int stop_rank;   /* asks for a stop … */
    int64_t stop_in; /* … in the after_step of this iteration */
    rank_result results[3];
} script;

typedef struct stopping_hook {
    reid_hook base;
    int64_t stop_in;
} stopping_hook;

static reid_status maybe_stop(reid_hook *base, reid_error *err)
{
    if (base->trainer->iter == ((stopping_hook *)base)->stop_in)
        reid_trainer_request_stop(base->trainer, "enough");
    return REID_OK;
}

static const reid_hook_impl STOPPING = {.name = "Stopping", .after_step = maybe_stop};

static void keep_result(const reid_simple_trainer *trainer, const fake_step *step,
                        rank_result *result)
{
    result->iter = trainer->base.iter;
    snprintf(result->calls, sizeof result->calls, "%s", reid_str_text(&step->calls));
    snprintf(result->images, sizeof result->images, "%s", reid_simple_trainer_bad_images(trainer));
    reid_str names = REID_STR_INIT;
    add_names(trainer->base.storage, &names);
    snprintf(result->names, sizeof result->names, "%s", reid_str_text(&names));
    reid_str_fini(&names);
    result->total = latest(&trainer->base, "total_loss");
    result->cls = latest(&trainer->base, "loss_cls");
    result->triplet = latest(&trainer->base, "loss_triplet");
    result->accuracy = latest(&trainer->base, "cls_accuracy");
    result->data_time = latest(&trainer->base, "data_time");
    result->times = trainer->times;
}

static void train_rank(reid_comm *comm, void *user)
{
    script *s = user;
    rank_result *result = &s->results[comm->rank];
    fake_step step;
    fake_step_init(&step, comm->rank, s->value);
    if (comm->rank == comm->size - 1)
        step.next_s = s->next_s;
    reid_simple_trainer trainer;
    reid_simple_trainer_init(&trainer, &step.base, comm, 2, 4);
    stopping_hook *hook = calloc(1, sizeof *hook);
    hook->base.impl = &STOPPING;
    hook->stop_in = s->stop_rank == comm->rank ? s->stop_in : -1;
    reid_trainer_add_hook(&trainer.base, &hook->base);
    reid_error err = {0};
    result->status = reid_trainer_train(&trainer.base, 0, &err);
    snprintf(result->text, sizeof result->text, "%s", err.text);
    keep_result(&trainer, &step, result);
    reid_simple_trainer_fini(&trainer);
    fake_step_fini(&step);
}

/* fast-reid: losses are means over ranks, data_time the slowest, cls_accuracy each rank's own. */
static void rank_0_writes_for_all(void **state)
{
    script s = {.value = plain_value, .next_s = 0.003, .stop_rank = -1};
    test_run_ranks(3, train_rank, &s);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(s.results[r].status, REID_OK);
        assert_int_equal(s.results[r].iter, 8);
        assert_true(s.results[r].accuracy == 0.25 * (r + 1));
    }
    assert_string_equal(s.results[0].names,
                        "cls_accuracy data_time total_loss loss_cls loss_triplet compute_time "
                        "wait_time ");
    assert_string_equal(s.results[1].names, "cls_accuracy ");
    assert_true(s.results[0].cls == 12.0);
    assert_true(s.results[0].triplet == 1.0);
    assert_true(s.results[0].total == 13.0);
    assert_true(s.results[0].data_time >= 0.003);
}

/* The last rank is late with its data: it is what the others wait for. */
static void what_the_time_is_spent_on(void **state)
{
    script s = {.value = plain_value, .next_s = 0.02, .stop_rank = -1};
    test_run_ranks(3, train_rank, &s);
    for (int r = 0; r < 3; r++) {
        const reid_step_times *t = &s.results[r].times;
        assert_int_equal(t->steps, 8);
        assert_true(t->data_s >= 0 && t->compute_s >= 0 && t->wait_s >= 0);
        assert_true(r < 2 ? t->wait_s > 0 : t->data_s >= 8 * 0.02);
    }
}

/* A wish after the exchange of iteration 2 is known to all in iteration 3. */
static void a_stop_of_one_rank_stops_all_alike(void **state)
{
    for (int rank = 0; rank < 2; rank++) {
        script s = {.value = plain_value, .stop_rank = rank, .stop_in = 2};
        test_run_ranks(2, train_rank, &s);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(s.results[r].status, REID_ERR_CANCELLED);
            assert_int_equal(s.results[r].iter, 4);
            assert_non_null(strstr(s.results[r].text, r == rank ? ": enough" : "another rank"));
        }
    }
}

/* ---- losses that are not finite ---- */

static double nan_on_rank_1(int rank, int64_t iter, int scalar)
{
    return iter == 2 && rank == 1 && scalar == 1 ? -NAN : plain_value(rank, iter, scalar);
}

static void a_nan_ends_all_ranks_before_the_update(void **state)
{
    script s = {.value = nan_on_rank_1, .stop_rank = -1};
    test_run_ranks(2, train_rank, &s);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(s.results[r].status, REID_ERR_NONFINITE);
        assert_string_equal(
            s.results[r].text,
            "Loss became infinite or NaN at iteration=2: total_loss=nan; on rank 1 "
            "loss_cls=7, loss_triplet=nan; images: /data/r1_i2_0.jpg, "
            "/data/r1_i2_1.jpg, /data/r1_i2_2.jpg and 1 more, all named in the log");
        assert_string_equal(s.results[r].images,
                            "rank 1: /data/r1_i2_0.jpg\nrank 1: /data/r1_i2_1.jpg\n"
                            "rank 1: /data/r1_i2_2.jpg\nrank 1: /data/r1_i2_3.jpg\n");
        assert_string_equal(s.results[r].calls, "n0 f0 b0 u0 n1 f1 b1 u1 n2 f2 b2 ");
        assert_int_equal(s.results[r].iter, 2);
    }
    assert_true(s.results[0].cls == 5.5); /* of iteration 1 */
}

static double infinite_sum(int rank, int64_t iter, int scalar)
{
    return scalar == 2 ? 0 : 1.5e308;
}

/* No rank is to blame: all are named. */
static void a_sum_beyond_all_numbers_counts_too(void **state)
{
    script s = {.value = infinite_sum, .stop_rank = -1};
    test_run_ranks(3, train_rank, &s);
    assert_int_equal(s.results[2].status, REID_ERR_NONFINITE);
    assert_non_null(strstr(s.results[2].text, "total_loss=inf; on rank 0 loss_cls=1.5e+308"));
    assert_non_null(strstr(s.results[2].text, "on rank 1 "));
    assert_non_null(strstr(s.results[2].text, "; and on 1 more rank;"));
    assert_non_null(strstr(s.results[2].images, "rank 0: /data/r0_i0_0.jpg\n"));
    assert_non_null(strstr(s.results[2].images, "rank 2: /data/r2_i0_3.jpg\n"));
}

static double infinite_at_once(int rank, int64_t iter, int scalar)
{
    return INFINITY;
}

static void one_rank_alone_fails_as_well(void **state)
{
    fake_step step;
    fake_step_init(&step, 0, infinite_at_once);
    reid_comm *comm = reid_comm_self_new();
    reid_simple_trainer trainer;
    reid_simple_trainer_init(&trainer, &step.base, comm, 1, 3);
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&trainer.base, 0, &err), REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "iteration=0: total_loss=inf; on rank 0 loss_cls=inf"));
    assert_int_equal(trainer.base.iter, 0);
    assert_null(reid_event_storage_history(trainer.base.storage, "total_loss"));
    assert_non_null(strstr(reid_simple_trainer_bad_images(&trainer), "/data/r0_i0_3.jpg"));
    reid_simple_trainer_fini(&trainer);
    reid_comm_free(comm);
    fake_step_fini(&step);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_steps_in_order),
        cmocka_unit_test(a_single_loss_is_the_total),
        cmocka_unit_test(an_error_ends_the_step_where_it_is),
        cmocka_unit_test(rank_0_writes_for_all),
        cmocka_unit_test(what_the_time_is_spent_on),
        cmocka_unit_test(a_stop_of_one_rank_stops_all_alike),
        cmocka_unit_test(a_nan_ends_all_ranks_before_the_update),
        cmocka_unit_test(a_sum_beyond_all_numbers_counts_too),
        cmocka_unit_test(one_rank_alone_fails_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
