#include "trace.h"

#include "base/alloc.h"

typedef struct tracing_hook {
    reid_hook base;
    const char *label;
    test_trace *trace;
    int steps;
} tracing_hook;

static reid_status record(const reid_trainer *trainer, test_trace *trace, const char *who,
                          const char *point, reid_error *err)
{
    reid_str_addf(&trace->lines, "%s %s %lld/%lld %lld/%lld\n", who, point,
                  (long long)trainer->iter, (long long)trainer->epoch,
                  (long long)reid_event_storage_iter(trainer->storage),
                  (long long)reid_event_storage_epoch(trainer->storage));
    int call = ++trace->calls;
    if (call == trace->stop_at)
        reid_trainer_request_stop((reid_trainer *)trainer, "the test asked for it");
    if (call == trace->fail_at || call == trace->fail_also_at)
        return reid_fail(err, REID_ERR_IO, "call %d failed", call);
    return REID_OK;
}

#define POINT(name)                                                                                \
    static reid_status name(reid_hook *base, reid_error *err)                                      \
    {                                                                                              \
        tracing_hook *hook = (tracing_hook *)base;                                                 \
        return record(base->trainer, hook->trace, hook->label, #name, err);                        \
    }
POINT(before_train)
POINT(after_train)
POINT(before_epoch)
POINT(after_epoch)
POINT(before_step)

static reid_status after_step(reid_hook *base, reid_error *err)
{
    tracing_hook *hook = (tracing_hook *)base;
    hook->steps++;
    return record(base->trainer, hook->trace, hook->label, "after_step", err);
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    reid_json_int(json, ((const tracing_hook *)base)->steps);
}

static reid_status load_state(reid_hook *base, const reid_json *state, reid_error *err)
{
    if (reid_json_type_of(state) != REID_JSON_INT)
        return reid_fail(err, REID_ERR_CORRUPT, "not a number");
    ((tracing_hook *)base)->steps = (int)reid_json_as_int(state, 0);
    return REID_OK;
}

static const reid_hook_impl TRACING = {
    .name = "Tracing",
    .before_train = before_train,
    .after_train = after_train,
    .before_epoch = before_epoch,
    .after_epoch = after_epoch,
    .before_step = before_step,
    .after_step = after_step,
    .save_state = save_state,
    .load_state = load_state,
};

reid_hook *test_tracing_hook_new(const char *label, test_trace *trace)
{
    tracing_hook *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &TRACING;
    hook->label = label;
    hook->trace = trace;
    return &hook->base;
}

int test_tracing_hook_steps(const reid_hook *hook)
{
    return ((const tracing_hook *)hook)->steps;
}

static reid_status run_step(reid_trainer *base, reid_error *err)
{
    return record(base, ((test_tracer *)base)->trace, "-", "step", err);
}

static const reid_trainer_impl TRACER = {.run_step = run_step};

void test_tracer_init(test_tracer *tracer, test_trace *trace, int64_t max_epoch,
                      int64_t iters_per_epoch)
{
    reid_trainer_init(&tracer->base, &TRACER, max_epoch, iters_per_epoch);
    tracer->trace = trace;
}
