#include "engine/hooks/iteration_timer.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

typedef struct iteration_timer {
    reid_hook base;
    reid_iteration_timer_options options;
    bool started;      /* before_train has run */
    double start_s;    /* of the training, or of the last warm-up step's end */
    double step_s;     /* start of the current step */
    double in_steps_s; /* time between before_step and after_step, without warm-up */
} iteration_timer;

static double now_s(const iteration_timer *timer)
{
    return timer->options.clock_seconds ? timer->options.clock_seconds(timer->options.user)
                                        : reid_clock_seconds();
}

static void report(const iteration_timer *timer, const char *line)
{
    if (timer->options.report)
        timer->options.report(timer->options.user, line);
    else
        reid_log_info("%s", line);
}

static reid_status before_train(reid_hook *base, reid_error *err)
{
    iteration_timer *timer = (iteration_timer *)base;
    timer->started = true;
    timer->start_s = now_s(timer);
    return REID_OK;
}

static reid_status before_step(reid_hook *base, reid_error *err)
{
    iteration_timer *timer = (iteration_timer *)base;
    timer->step_s = now_s(timer);
    return REID_OK;
}

/* As in fast-reid, the last warm-up iteration is measured already, and only the earlier ones are
 * taken out of the totals. */
static reid_status after_step(reid_hook *base, reid_error *err)
{
    iteration_timer *timer = (iteration_timer *)base;
    reid_trainer *trainer = base->trainer;
    double end_s = now_s(timer);
    if (trainer->iter - trainer->start_iter + 1 < timer->options.warmup_iters) {
        timer->start_s = end_s;
        return REID_OK;
    }
    double step_s = end_s - timer->step_s;
    timer->in_steps_s += step_s;
    return reid_event_storage_put_scalar(trainer->storage, "time", step_s, true, err);
}

static void report_speed(const iteration_timer *timer, int64_t iters)
{
    char duration[32];
    reid_format_duration(duration, timer->in_steps_s);
    REID_AUTOFREE char *line =
        reid_xasprintf("Overall training speed: %lld iterations in %s (%.4f s / it)",
                       (long long)iters, duration, timer->in_steps_s / (double)iters);
    report(timer, line);
}

static reid_status after_train(reid_hook *base, reid_error *err)
{
    iteration_timer *timer = (iteration_timer *)base;
    if (!timer->started)
        return REID_OK;
    double total_s = now_s(timer) - timer->start_s;
    const reid_trainer *trainer = base->trainer;
    int64_t iters = trainer->iter + 1 - trainer->start_iter - timer->options.warmup_iters;
    if (iters > 0 && timer->in_steps_s > 0)
        report_speed(timer, iters);
    char total[32], on_hooks[32];
    reid_format_duration(total, total_s);
    reid_format_duration(on_hooks, total_s - timer->in_steps_s);
    REID_AUTOFREE char *line =
        reid_xasprintf("Total training time: %s (%s on hooks)", total, on_hooks);
    report(timer, line);
    return REID_OK;
}

static const reid_hook_impl ITERATION_TIMER = {
    .name = "IterationTimer",
    .before_train = before_train,
    .before_step = before_step,
    .after_step = after_step,
    .after_train = after_train,
};

reid_hook *reid_iteration_timer_new(const reid_iteration_timer_options *options)
{
    iteration_timer *timer = reid_xcalloc(1, sizeof *timer);
    timer->base.impl = &ITERATION_TIMER;
    timer->options = *options;
    return &timer->base;
}

/* ---- registry ---- */

static const reid_hook_option OPTIONS[] = {
    {"warmup_iters", REID_HOOK_INT, "3", 0, "first iterations that are not counted"},
};

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    reid_iteration_timer_options options = {
        .warmup_iters = reid_hook_value_int(values, "warmup_iters"),
    };
    *ret_hook = reid_iteration_timer_new(&options);
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_iteration_timer = {
    .name = "IterationTimer",
    .help = "measures the steps and reports the speed at the end",
    .options = OPTIONS,
    .option_count = REID_COUNT_OF(OPTIONS),
    .make = make,
};
