/* Expected orders were recorded from fast-reid's TrainerBase (2 epochs of 2 iterations, hooks A and
 * B): who, point, iter/epoch of the trainer, iter/epoch of the storage. There, before_train has no
 * epoch yet; here it is the first one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "harness/harness.h"
#include "trace.h"

static const char *const WHOLE[] = {
    "A before_train 0/0 0/0", "B before_train 0/0 0/0", "A before_epoch 0/0 0/0",
    "B before_epoch 0/0 0/0", "A before_step 0/0 0/0",  "B before_step 0/0 0/0",
    "- step 0/0 0/0",         "A after_step 0/0 0/0",   "B after_step 0/0 0/0",
    "A before_step 1/0 1/0",  "B before_step 1/0 1/0",  "- step 1/0 1/0",
    "A after_step 1/0 1/0",   "B after_step 1/0 1/0",   "A after_epoch 2/0 1/0",
    "B after_epoch 2/0 1/0",  "A before_epoch 2/1 1/1", "B before_epoch 2/1 1/1",
    "A before_step 2/1 2/1",  "B before_step 2/1 2/1",  "- step 2/1 2/1",
    "A after_step 2/1 2/1",   "B after_step 2/1 2/1",   "A before_step 3/1 3/1",
    "B before_step 3/1 3/1",  "- step 3/1 3/1",         "A after_step 3/1 3/1",
    "B after_step 3/1 3/1",   "A after_epoch 4/1 3/1",  "B after_epoch 4/1 3/1",
    "A after_train 4/1 4/1",  "B after_train 4/1 4/1",
};
#define CALLS ((int)REID_COUNT_OF(WHOLE))
#define FIRST_AFTER_TRAIN (CALLS - 2)
#define FIRST_BEFORE_EPOCH_1 16

static void add_lines(reid_str *out, int first, int end)
{
    for (int i = first; i < end; i++)
        reid_str_addf(out, "%s\n", WHOLE[i]);
}

static void tracer_with_hooks(test_tracer *tracer, test_trace *trace)
{
    test_tracer_init(tracer, trace, 2, 2);
    reid_trainer_add_hook(&tracer->base, test_tracing_hook_new("A", trace));
    reid_trainer_add_hook(&tracer->base, NULL);
    reid_trainer_add_hook(&tracer->base, test_tracing_hook_new("B", trace));
}

static void the_order_is_fast_reids(void **state)
{
    test_trace trace = {0};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    assert_int_equal(tracer.base.hooks.count, 2);
    reid_error err = {0};
    reid_assert_ok(reid_trainer_train(&tracer.base, 0, &err), &err);
    reid_str expected = REID_STR_INIT;
    add_lines(&expected, 0, CALLS);
    assert_string_equal(reid_str_text(&trace.lines), reid_str_text(&expected));
    assert_int_equal(tracer.base.status, REID_OK);
    assert_int_equal(tracer.base.iter, 4);
    reid_str_fini(&expected);
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

/* From the second epoch on; recorded with start_epoch=1. */
static void a_later_start_enters_its_epoch(void **state)
{
    test_trace trace = {0};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    assert_int_equal(reid_trainer_train(&tracer.base, 2, NULL), REID_OK);
    reid_str expected = REID_STR_INIT;
    reid_str_add(&expected, "A before_train 2/1 2/1\nB before_train 2/1 2/1\n"
                            "A before_epoch 2/1 2/1\nB before_epoch 2/1 2/1\n");
    add_lines(&expected, FIRST_BEFORE_EPOCH_1 + 2, CALLS);
    assert_string_equal(reid_str_text(&trace.lines), reid_str_text(&expected));
    assert_int_equal(tracer.base.start_epoch, 1);
    assert_int_equal(tracer.base.start_iter, 2);
    reid_str_fini(&expected);
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

static void a_finished_training_only_ends(void **state)
{
    test_trace trace = {0};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    assert_int_equal(reid_trainer_train(&tracer.base, 4, NULL), REID_OK);
    assert_string_equal(reid_str_text(&trace.lines),
                        "A before_train 4/1 4/1\nB before_train 4/1 4/1\n"
                        "A after_train 4/1 4/1\nB after_train 4/1 4/1\n");
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

/* The failing call is the last one before after_train, which all hooks get with storage.iter =
 * iter. (In fast-reid an error in an after_train keeps the later hooks from theirs.) */
static void expect_after_failure(reid_str *expected, int failing)
{
    add_lines(expected, 0, REID_MIN(failing, FIRST_AFTER_TRAIN));
    if (failing > FIRST_AFTER_TRAIN) {
        add_lines(expected, FIRST_AFTER_TRAIN, CALLS);
        return;
    }
    int iter, epoch;
    assert_int_equal(sscanf(WHOLE[failing - 1], "%*s %*s %d/%d", &iter, &epoch), 2);
    reid_str_addf(expected, "A after_train %d/%d %d/%d\nB after_train %d/%d %d/%d\n", iter, epoch,
                  iter, epoch, iter, epoch, iter, epoch);
}

static void an_error_anywhere_ends_in_after_train(void **state)
{
    for (int failing = 1; failing <= CALLS; failing++) {
        test_trace trace = {.fail_at = failing};
        test_tracer tracer;
        tracer_with_hooks(&tracer, &trace);
        reid_error err = {0};
        assert_int_equal(reid_trainer_train(&tracer.base, 0, &err), REID_ERR_IO);
        char sentence[64];
        snprintf(sentence, sizeof sentence, "call %d failed", failing);
        assert_non_null(strstr(err.text, sentence));
        bool in_step = WHOLE[failing - 1][0] == '-';
        assert_int_equal(strncmp(err.text, "Tracing, ", 9) == 0, !in_step);
        assert_int_equal(tracer.base.status, REID_ERR_IO);
        reid_str expected = REID_STR_INIT;
        expect_after_failure(&expected, failing);
        assert_string_equal(reid_str_text(&trace.lines), reid_str_text(&expected));
        reid_str_fini(&expected);
        reid_str_fini(&trace.lines);
        reid_trainer_fini(&tracer.base);
    }
}

static void the_first_cause_is_kept(void **state)
{
    test_trace trace = {.fail_at = 7, .fail_also_at = 8}; /* the step, then A's after_train */
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&tracer.base, 0, &err), REID_ERR_IO);
    assert_string_equal(err.text, "call 7 failed");
    assert_int_equal(trace.calls, 9);
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

/* ---- stopping and going on ---- */

/* Lines of whole trainings, without those of before_train and after_train. */
static void add_inner(reid_str *out, const char *lines)
{
    for (const char *line = lines; *line; line = strchr(line, '\n') + 1) {
        int length = (int)(strchr(line, '\n') + 1 - line);
        if (!memmem(line, (size_t)length, "_train", 6))
            reid_str_addf(out, "%.*s", length, line);
    }
}

/* Asked to stop at any call: ends after that step, and a new process goes on where it ended. */
static void stop_and_resume(int stop_at, const reid_str *whole)
{
    test_trace trace = {.stop_at = stop_at};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    reid_error err = {0};
    reid_status status = reid_trainer_train(&tracer.base, 0, &err);
    bool too_late = stop_at > 28; /* after the last step */
    assert_int_equal(status, too_late ? REID_OK : REID_ERR_CANCELLED);
    if (!too_late)
        assert_non_null(strstr(err.text, "the test asked for it"));
    reid_str saved = REID_STR_INIT;
    reid_trainer_save_state(&tracer.base, &saved);
    test_trace later = {0};
    test_tracer resumed;
    tracer_with_hooks(&resumed, &later);
    int64_t iter = -1;
    reid_error_clear(&err);
    reid_assert_ok(reid_trainer_load_state(&resumed.base, saved.data, saved.length, &iter, &err),
                   &err);
    assert_int_equal(iter, tracer.base.iter);
    reid_assert_ok(reid_trainer_train(&resumed.base, iter, &err), &err);
    reid_str both = REID_STR_INIT;
    add_inner(&both, reid_str_text(&trace.lines));
    add_inner(&both, reid_str_text(&later.lines));
    assert_string_equal(reid_str_text(&both), reid_str_text(whole));
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(test_tracing_hook_steps(resumed.base.hooks.items[i]), 4);
    reid_str_fini(&both);
    reid_str_fini(&saved);
    reid_str_fini(&trace.lines);
    reid_str_fini(&later.lines);
    reid_trainer_fini(&tracer.base);
    reid_trainer_fini(&resumed.base);
}

static void a_resumed_training_is_an_uninterrupted_one(void **state)
{
    reid_str whole = REID_STR_INIT;
    add_lines(&whole, 2, FIRST_AFTER_TRAIN);
    for (int stop_at = 1; stop_at <= CALLS; stop_at++)
        stop_and_resume(stop_at, &whole);
    reid_str_fini(&whole);
}

static void a_signal_flag_stops_after_the_step(void **state)
{
    test_trace trace = {0};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    volatile sig_atomic_t flag = SIGTERM;
    tracer.base.stop_signal = &flag;
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&tracer.base, 0, &err), REID_ERR_CANCELLED);
    assert_string_equal(err.text,
                        "training stopped after iteration 1 of 4: signal 15 (Terminated)");
    assert_int_equal(tracer.base.iter, 1);
    assert_string_equal(tracer.base.stop_reason, "signal 15 (Terminated)");
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

/* ---- rows ---- */

static reid_status put_at(reid_hook *hook, const char *name, reid_error *err)
{
    return reid_event_storage_put_scalar(hook->trainer->storage, name, 1, true, err);
}
static reid_status put_before_epoch(reid_hook *hook, reid_error *err)
{
    return put_at(hook, "be", err);
}
static reid_status put_before_step(reid_hook *hook, reid_error *err)
{
    return put_at(hook, "bs", err);
}
static reid_status put_after_step(reid_hook *hook, reid_error *err)
{
    return put_at(hook, "as", err);
}
static reid_status put_after_epoch(reid_hook *hook, reid_error *err)
{
    return put_at(hook, "ae", err);
}
static reid_status put_after_train(reid_hook *hook, reid_error *err)
{
    return put_at(hook, "at", err);
}
static const reid_hook_impl PUTTING = {
    .name = "Putting",
    .before_epoch = put_before_epoch,
    .before_step = put_before_step,
    .after_step = put_after_step,
    .after_epoch = put_after_epoch,
    .after_train = put_after_train,
};

static void log_row(void *user, const reid_event_row *row)
{
    reid_str_addf(user, "%lld/%lld", (long long)row->iter, (long long)row->epoch);
    for (size_t i = 0; i < row->count; i++)
        reid_str_addf(user, " %s", row->scalars[i].name);
    reid_str_add_char(user, '\n');
}

/* A step's row is out as soon as the step is done; evaluation results follow under its number. */
static void every_scalar_is_in_a_row(void **state)
{
    test_trace trace = {0};
    test_tracer tracer;
    test_tracer_init(&tracer, &trace, 2, 2);
    reid_hook *hook = calloc(1, sizeof *hook);
    hook->impl = &PUTTING;
    reid_trainer_add_hook(&tracer.base, hook);
    reid_str rows = REID_STR_INIT;
    reid_event_storage_on_row(tracer.base.storage, log_row, &rows);
    assert_int_equal(reid_trainer_train(&tracer.base, 0, NULL), REID_OK);
    assert_string_equal(reid_str_text(&rows), "0/0 be bs as\n1/0 bs as\n1/0 ae\n"
                                              "1/1 be\n2/1 bs as\n3/1 bs as\n3/1 ae\n4/1 at\n");
    reid_str_fini(&rows);
    reid_str_fini(&trace.lines);
    reid_trainer_fini(&tracer.base);
}

/* ---- state ---- */

static reid_status load(const char *text, int64_t *ret_iter, reid_error *err)
{
    test_trace trace = {0};
    test_tracer tracer;
    tracer_with_hooks(&tracer, &trace);
    reid_error_clear(err);
    reid_status status = reid_trainer_load_state(&tracer.base, text, strlen(text), ret_iter, err);
    reid_trainer_fini(&tracer.base);
    return status;
}

static void bad_states_are_refused(void **state)
{
    static const struct {
        const char *text;
        reid_status status;
        const char *part;
    } cases[] = {
        {"", REID_ERR_CORRUPT, "the saved state of the trainer"},
        {"{\"version\":1", REID_ERR_CORRUPT, "invalid JSON"},
        {"{}", REID_ERR_CORRUPT, "version"},
        {"{\"version\":2}", REID_ERR_UNSUPPORTED, "version 2"},
        {"{\"version\":1,\"iteration\":-1,\"iters_per_epoch\":2,\"hooks\":[]}", REID_ERR_CORRUPT,
         "damaged"},
        {"{\"version\":1,\"iteration\":1,\"iters_per_epoch\":2}", REID_ERR_CORRUPT, "damaged"},
        {"{\"version\":1,\"iteration\":1,\"iters_per_epoch\":2,\"epoch_open\":true,\"hooks\":[]}",
         REID_ERR_CORRUPT, "damaged"},
        {"{\"version\":1,\"iteration\":1,\"iters_per_epoch\":3,\"hooks\":[]}", REID_ERR_INVALID,
         "3 iterations per epoch, this one has 2"},
        {"{\"version\":1,\"iteration\":5,\"iters_per_epoch\":2,\"hooks\":[]}", REID_ERR_INVALID,
         "SOLVER.MAX_EPOCH"},
        {"{\"version\":1,\"iteration\":1,\"iters_per_epoch\":2,\"hooks\":[{\"name\":\"Tracing\","
         "\"state\":\"x\"}]}",
         REID_ERR_CORRUPT, "the saved state of the hook Tracing: not a number"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(cases); i++) {
        int64_t iter = 77;
        reid_error err = {0};
        assert_int_equal(load(cases[i].text, &iter, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].part));
        assert_int_equal(iter, 77);
    }
}

static void unmatched_hook_states_are_no_error(void **state)
{
    int64_t iter;
    reid_error err = {0};
    reid_assert_ok(
        load("{\"version\":1,\"iteration\":3,\"iters_per_epoch\":2,\"hooks\":[{\"name\":\"Gone\","
             "\"state\":{}},{\"name\":\"Tracing\",\"state\":4}]}",
             &iter, &err),
        &err);
    assert_int_equal(iter, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_fast_reids),
        cmocka_unit_test(a_later_start_enters_its_epoch),
        cmocka_unit_test(a_finished_training_only_ends),
        cmocka_unit_test(an_error_anywhere_ends_in_after_train),
        cmocka_unit_test(the_first_cause_is_kept),
        cmocka_unit_test(a_resumed_training_is_an_uninterrupted_one),
        cmocka_unit_test(a_signal_flag_stops_after_the_step),
        cmocka_unit_test(every_scalar_is_in_a_row),
        cmocka_unit_test(bad_states_are_refused),
        cmocka_unit_test(unmatched_hook_states_are_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
