/* Profiler: records where the time of the next N steps goes, and leaves it for a trace viewer
 * (chrome://tracing, Perfetto).
 *
 * One file per rank, OUTPUT_DIR/profile_iter_NNNNNNN.rankR.json (the first iteration of it), in
 * Chrome's Trace Event Format: complete events (ph "X", µs of the node's monotonic clock, so that
 * files of ranks on one node can be laid over each other). The stepping thread's track holds
 * iterations and, inside of them, hooks (one span per hook and point), data, forward and backward
 * with one span per operation of the backend (and the wait for gradients of others), the exchange
 * of metrics, update, evaluations and checkpoints; the other track holds the all-reduce of each
 * gradient bucket.
 *
 * The file is written by a thread of its own, atomically, after the last of the steps or, when the
 * training ends before, then. There is a limit of spans; what is beyond is counted, and told in the
 * trace. Recording changes no result. When nothing is recorded, it costs a branch per operation.
 *
 *     reid_step *step = reid_profiled_step_new(own_step);      → the trainer's step
 *     profiler = reid_profiler_new(&options{.step = step}, &hook);
 *     reid_trainer_add_hook(trainer, hook);                    last of all hooks; owned by it
 *     reid_profiler_start(profiler, 10, err);                  between two steps, on all ranks
 *
 * Threads: the stepping thread.
 */
#ifndef REID_ENGINE_HOOKS_PROFILER_H
#define REID_ENGINE_HOOKS_PROFILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm/reducer.h"
#include "engine/hook.h"
#include "engine/step.h"
#include "nn/plan.h"

#define REID_PROFILER_STEPS_MAX 10000
#define REID_PROFILER_SPANS ((size_t)1 << 17)

typedef struct reid_profiler reid_profiler;

/* The same step, whose parts can be timed. */
reid_step *reid_profiled_step_new(reid_step *own_step);

/* Borrowed where nothing else is said; all must outlive the hook, but for the step. */
typedef struct reid_profiler_options {
    int rank;
    const char *output_dir;      /* copied */
    reid_step *step;             /* of reid_profiled_step_new; NULL: not looked into */
    reid_plan *plan;             /* NULL: no operations */
    const reid_reducer *reducer; /* NULL: no buckets */
    size_t span_limit;           /* 0: REID_PROFILER_SPANS */
} reid_profiler_options;

reid_profiler *reid_profiler_new(const reid_profiler_options *options, reid_hook **ret_hook);

/* Records the next `steps` steps (1 … REID_PROFILER_STEPS_MAX, else INVALID). PRECONDITION while
 * one is going on; the same verdict on all ranks. Waits for the file of the one before. */
reid_status reid_profiler_start(reid_profiler *profiler, int64_t steps, reid_error *err);
bool reid_profiler_is_running(const reid_profiler *profiler);

/* For spans of the caller: start_s = reid_profiler_clock(p); …; reid_profiler_span(p, "evaluation",
 * start_s). `name` is not copied and lives as long as the profiler. NULL is fine. */
double reid_profiler_clock(const reid_profiler *profiler);
void reid_profiler_span(reid_profiler *profiler, const char *name, double start_s);

#endif
