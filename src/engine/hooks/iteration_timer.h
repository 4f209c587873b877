/* IterationTimer: puts "time", the seconds from before_step to after_step, once the warm-up is
 * over, and reports at the end:
 *
 *     Overall training speed: N iterations in H:MM:SS (S.SSSS s / it)
 *     Total training time: H:MM:SS (H:MM:SS on hooks)
 *
 * Must be the first hook, so that its step contains nothing but the step. The warm-up counts from
 * the start of the process.
 */
#ifndef REID_ENGINE_HOOKS_ITERATION_TIMER_H
#define REID_ENGINE_HOOKS_ITERATION_TIMER_H

#include "engine/hook.h"

typedef struct reid_iteration_timer_options {
    int64_t warmup_iters; /* 3 in fast-reid */
    /* NULL: the monotonic clock and the log. */
    double (*clock_seconds)(void *user);
    void (*report)(void *user, const char *line);
    void *user;
} reid_iteration_timer_options;

reid_hook *reid_iteration_timer_new(const reid_iteration_timer_options *options);

#endif
