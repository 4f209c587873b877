#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "engine/hooks/iteration_timer.h"
#include "harness/harness.h"
#include "script_trainer.h"

typedef struct scene {
    double now_s;
    double step_s;
    double hook_s; /* spent in the after_step of a later hook */
    int64_t fail_at;
    reid_str report;
} scene;

static double read_clock(void *user)
{
    return ((scene *)user)->now_s;
}

static void keep_report(void *user, const char *line)
{
    reid_str_addf(&((scene *)user)->report, "%s\n", line);
}

static reid_status step(reid_trainer *trainer, void *user, reid_error *err)
{
    scene *s = user;
    s->now_s += s->step_s + (double)trainer->iter / 64;
    return trainer->iter == s->fail_at ? reid_fail(err, REID_ERR_IO, "broken") : REID_OK;
}

typedef struct slow_hook {
    reid_hook base;
    scene *scene;
} slow_hook;

static reid_status take_time(reid_hook *hook, reid_error *err)
{
    scene *s = ((slow_hook *)hook)->scene;
    s->now_s += s->hook_s;
    return REID_OK;
}

static const reid_hook_impl SLOW = {.name = "Slow", .after_step = take_time};

static void train(scene *s, script_trainer *trainer, int64_t start_iter, reid_status expected)
{
    script_trainer_init(trainer, 2, 5);
    trainer->step = step;
    trainer->user = s;
    reid_iteration_timer_options options = {
        .warmup_iters = 3, .clock_seconds = read_clock, .report = keep_report, .user = s};
    reid_trainer_add_hook(&trainer->base, reid_iteration_timer_new(&options));
    slow_hook *slow = reid_xcalloc(1, sizeof *slow);
    *slow = (slow_hook){.base.impl = &SLOW, .scene = s};
    reid_trainer_add_hook(&trainer->base, &slow->base);
    assert_int_equal(reid_trainer_train(&trainer->base, start_iter, NULL), expected);
}

/* 10 iterations, the first two not counted; steps of 8 + i/64 s, hooks of 2 s. After the warm-up: 8
 * steps of 64 + 44/64 s in all; the totals run from the end of the second step on. */
static void times_and_report_are_fast_reids(void **state)
{
    scene s = {.step_s = 8, .hook_s = 2, .fail_at = -1};
    script_trainer trainer;
    train(&s, &trainer, 0, REID_OK);
    const reid_history *time = reid_event_storage_history(trainer.base.storage, "time");
    assert_int_equal(time->count, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(reid_history_at(time, i).iter, i + 2);
        assert_true(reid_history_at(time, i).value == 8 + (double)(i + 2) / 64);
    }
    assert_string_equal(reid_str_text(&s.report),
                        "Overall training speed: 8 iterations in 0:01:04 (8.0859 s / it)\n"
                        "Total training time: 0:01:22 (0:00:18 on hooks)\n");
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.report);
}

static void the_warm_up_counts_from_the_start_of_the_process(void **state)
{
    scene s = {.step_s = 8, .fail_at = -1};
    script_trainer trainer;
    train(&s, &trainer, 6, REID_OK);
    const reid_history *time = reid_event_storage_history(trainer.base.storage, "time");
    assert_int_equal(time->count, 2);
    assert_int_equal(reid_history_at(time, 0).iter, 8);
    assert_non_null(strstr(reid_str_text(&s.report), "speed: 2 iterations in 0:00:16"));
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.report);
}

/* Too short to say anything about speed. */
static void a_short_training_reports_its_time_only(void **state)
{
    scene s = {.step_s = 8, .fail_at = 2};
    script_trainer trainer;
    train(&s, &trainer, 0, REID_ERR_IO);
    assert_null(reid_event_storage_history(trainer.base.storage, "time"));
    assert_null(strstr(reid_str_text(&s.report), "Overall"));
    assert_non_null(strstr(reid_str_text(&s.report), "Total training time: 0:00:08"));
    reid_trainer_fini(&trainer.base);
    reid_str_fini(&s.report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_and_report_are_fast_reids),
        cmocka_unit_test(the_warm_up_counts_from_the_start_of_the_process),
        cmocka_unit_test(a_short_training_reports_its_time_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
