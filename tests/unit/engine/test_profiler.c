#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/hooks/profiler.h"
#include "harness/harness.h"
#include "real_job.h"
#include "support.h"

/* Asks for a profile before a step. */
typedef struct starter {
    reid_hook base;
    reid_profiler *profiler;
    int64_t at, steps, stop_at;
} starter;

static reid_status start_profile(reid_hook *hook, reid_error *err)
{
    starter *self = (starter *)hook;
    if (hook->trainer->iter == self->stop_at)
        reid_trainer_request_stop(hook->trainer, "test");
    if (hook->trainer->iter != self->at)
        return REID_OK;
    assert_false(reid_profiler_is_running(self->profiler));
    assert_int_equal(reid_profiler_start(self->profiler, 0, err), REID_ERR_INVALID);
    assert_int_equal(reid_profiler_start(self->profiler, REID_PROFILER_STEPS_MAX + 1, err),
                     REID_ERR_INVALID);
    reid_error_clear(err);
    reid_assert_ok(reid_profiler_start(self->profiler, self->steps, err), err);
    assert_int_equal(reid_profiler_start(self->profiler, 1, err), REID_ERR_PRECONDITION);
    assert_non_null(strstr(err->text, "already"));
    reid_error_clear(err);
    return REID_OK;
}

static const reid_hook_impl STARTER = {.name = "Starter", .before_step = start_profile};

typedef struct fixture {
    char *folder;
    job job;
    starter *starter;
} fixture;

static void fixture_open(fixture *f, int64_t at, int64_t steps, size_t limit)
{
    f->folder = reid_test_dir_new();
    test_write_market(f->folder, PIDS, IMAGES);
    job_open(&f->job, f->folder, 0);
    reid_simple_trainer *trainer = &f->job.trainer;
    trainer->step = reid_profiled_step_new(trainer->step);
    const reid_profiler_options options = {
        .rank = 3,
        .output_dir = f->folder,
        .step = trainer->step,
        .plan = f->job.plan,
        .reducer = f->job.reducer,
        .span_limit = limit,
    };
    reid_hook *hook = NULL;
    f->starter = reid_xcalloc(1, sizeof *f->starter);
    *f->starter = (starter){.base.impl = &STARTER, .at = at, .steps = steps, .stop_at = -1};
    f->starter->profiler = reid_profiler_new(&options, &hook);
    reid_trainer_add_hook(&trainer->base, &f->starter->base);
    reid_trainer_add_hook(&trainer->base, hook);
}

/* The trace, once the writer is done. */
static reid_json *fixture_close(fixture *f, const char *name)
{
    reid_json *root = NULL;
    reid_error err = {0};
    char *text = NULL;
    size_t size = 0;
    job_close(&f->job);
    REID_AUTOFREE char *path = reid_path_join(f->folder, name);
    reid_assert_ok(reid_file_read(path, 1 << 24, &text, &size, &err), &err);
    reid_assert_ok(reid_json_parse(text, size, &root, &err), &err);
    free(text);
    reid_test_dir_free(f->folder);
    return root;
}

static const char *text_of(const reid_json *event, const char *key)
{
    return reid_json_as_string(reid_json_get(event, key), "");
}

static double start_of(const reid_json *event)
{
    return reid_json_as_double(reid_json_get(event, "ts"), -1);
}

static double length_of(const reid_json *event)
{
    return reid_json_as_double(reid_json_get(event, "dur"), -1);
}

static bool is_inside(const reid_json *inner, const reid_json *outer)
{
    const double rounding_us = 0.002;
    return start_of(inner) >= start_of(outer) - rounding_us &&
           start_of(inner) + length_of(inner) <= start_of(outer) + length_of(outer) + rounding_us;
}

static bool matches(const reid_json *event, const char *category, const char *name)
{
    return strcmp(text_of(event, "ph"), "X") == 0 && strcmp(text_of(event, "cat"), category) == 0 &&
           (!name || strcmp(text_of(event, "name"), name) == 0);
}

/* Number and summed µs of the spans in `outer` (NULL: anywhere). */
static int count_spans(const reid_json *events, const reid_json *outer, const char *category,
                       const char *name, double *ret_us)
{
    int count = 0;
    *ret_us = 0;
    for (size_t i = 0; i < reid_json_count(events); i++) {
        const reid_json *event = reid_json_at(events, i);
        if (!matches(event, category, name) || (outer && !is_inside(event, outer)))
            continue;
        count++;
        *ret_us += length_of(event);
    }
    return count;
}

static void check_step(const reid_json *events, const reid_json *iteration,
                       const reid_plan_stats *stats)
{
    double step, data, forward, backward, metrics, update, ops, back_ops, hooks;
    assert_int_equal(count_spans(events, iteration, "step", "step", &step), 1);
    assert_int_equal(count_spans(events, iteration, "step", "data", &data), 1);
    assert_int_equal(count_spans(events, iteration, "step", "forward", &forward), 1);
    assert_int_equal(count_spans(events, iteration, "step", "backward", &backward), 1);
    assert_int_equal(count_spans(events, iteration, "step", "metrics", &metrics), 1);
    assert_int_equal(count_spans(events, iteration, "step", "update", &update), 1);
    assert_int_equal(count_spans(events, iteration, "forward", NULL, &ops), stats->forward_calls);
    assert_int_equal(count_spans(events, iteration, "backward", NULL, &back_ops),
                     stats->backward_calls);
    assert_true(ops > 0 && ops <= forward + 1 && back_ops > 0 && back_ops <= backward + 1);
    assert_true(data + forward + backward + metrics + update <= step + 1);
    assert_int_equal(count_spans(events, iteration, "hook", "LRScheduler.after_step", &hooks), 1);
    count_spans(events, iteration, "hook", NULL, &hooks);
    assert_true(step + hooks <= length_of(iteration) + 1);
}

/* The parts of three steps lie in each other, and nothing that the training computes is changed. */
static void the_trace_holds_what_was_done(void **state)
{
    fixture f;
    job plain;
    reid_error err = {0};
    fixture_open(&f, 2, 3, 0);
    reid_assert_ok(reid_trainer_train(&f.job.trainer.base, 0, &err), &err);
    job_open(&plain, f.folder, 0);
    reid_assert_ok(reid_trainer_train(&plain.trainer.base, 0, &err), &err);
    assert_memory_equal(plain.params->value, f.job.params->value,
                        plain.params->total * sizeof(float));
    job_close(&plain);
    reid_plan_stats stats = reid_plan_get_stats(f.job.plan);

    reid_json *root = fixture_close(&f, "profile_iter_0000002.rank3.json");
    const reid_json *events = reid_json_get(root, "traceEvents");
    const reid_json *other = reid_json_get(root, "otherData");
    assert_int_equal(reid_json_as_int(reid_json_get(other, "steps"), -1), 3);
    assert_int_equal(reid_json_as_int(reid_json_get(other, "spans_not_recorded"), -1), 0);
    int iterations = 0;
    for (size_t i = 0; i < reid_json_count(events); i++) {
        const reid_json *event = reid_json_at(events, i);
        assert_int_equal(reid_json_as_int(reid_json_get(event, "pid"), -1), 3);
        assert_true(strcmp(text_of(event, "ph"), "X") == 0 ||
                    strcmp(text_of(event, "ph"), "M") == 0);
        if (!matches(event, "iteration", NULL))
            continue;
        char name[32];
        snprintf(name, sizeof name, "iteration %d", 2 + iterations++);
        assert_string_equal(text_of(event, "name"), name);
        check_step(events, event, &stats);
    }
    assert_int_equal(iterations, 3);
    double us;
    assert_true(count_spans(events, NULL, "forward", "conv1", &us) == 3);
    assert_true(count_spans(events, NULL, "backward", "conv1", &us) == 3);
    reid_json_free(root);
}

static void beyond_the_limit_spans_are_counted(void **state)
{
    fixture f;
    reid_error err = {0};
    fixture_open(&f, 0, 5, 40);
    reid_assert_ok(reid_trainer_train(&f.job.trainer.base, 0, &err), &err);
    reid_json *root = fixture_close(&f, "profile_iter_0000000.rank3.json");
    const reid_json *events = reid_json_get(root, "traceEvents");
    const reid_json *last = reid_json_at(events, reid_json_count(events) - 1);
    int spans = 0;
    for (size_t i = 0; i < reid_json_count(events); i++)
        spans += strcmp(text_of(reid_json_at(events, i), "ph"), "X") == 0;
    assert_int_equal(spans, 40);
    assert_string_equal(text_of(last, "ph"), "i");
    assert_non_null(strstr(text_of(last, "name"), "the limit of 40"));
    assert_true(reid_json_as_int(
                    reid_json_get(reid_json_get(root, "otherData"), "spans_not_recorded"), 0) > 40);
    reid_json_free(root);
}

/* A stop in the middle: what there is. */
static void an_early_end_leaves_what_there_is(void **state)
{
    fixture f;
    reid_error err = {0};
    fixture_open(&f, 1, 100, 0);
    f.starter->stop_at = 5;
    assert_int_equal(reid_trainer_train(&f.job.trainer.base, 0, &err), REID_ERR_CANCELLED);
    reid_json *root = fixture_close(&f, "profile_iter_0000001.rank3.json");
    double us;
    assert_int_equal(count_spans(reid_json_get(root, "traceEvents"), NULL, "iteration", NULL, &us),
                     5);
    reid_json_free(root);
}

/* Never started, never trained; and without the parts that it could look into. */
static void it_may_do_nothing(void **state)
{
    fixture f;
    fixture_open(&f, -1, 1, 0);
    reid_error err = {0};
    reid_assert_ok(reid_profiler_start(f.starter->profiler, 1, &err), &err);
    job_close(&f.job); /* recording */
    reid_test_dir_free(f.folder);
    assert_true(reid_profiler_clock(NULL) == 0);
    reid_profiler_span(NULL, "nothing", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_trace_holds_what_was_done),
        cmocka_unit_test(beyond_the_limit_spans_are_counted),
        cmocka_unit_test(an_early_end_leaves_what_there_is),
        cmocka_unit_test(it_may_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
