/* A trainer whose steps only leave a mark, and hooks that do the same, so that orders can be
 * compared. */
#ifndef ENGINE_TEST_TRACE_H
#define ENGINE_TEST_TRACE_H

#include "base/str.h"
#include "engine/trainer.h"

typedef struct test_trace {
    reid_str lines;   /* "A before_step 1/0 1/0": iter/epoch of the trainer, of the storage */
    int calls;        /* made so far */
    int fail_at;      /* the call, from 1, that fails; 0: none */
    int fail_also_at; /* another one */
    int stop_at;      /* the call that asks for a stop */
} test_trace;

typedef struct test_tracer {
    reid_trainer base;
    test_trace *trace;
} test_tracer;

void test_tracer_init(test_tracer *tracer, test_trace *trace, int64_t max_epoch,
                      int64_t iters_per_epoch);
/* A hook that writes its points into the trace; its state is the number of its after_step calls. */
reid_hook *test_tracing_hook_new(const char *label, test_trace *trace);
int test_tracing_hook_steps(const reid_hook *hook);

#endif
