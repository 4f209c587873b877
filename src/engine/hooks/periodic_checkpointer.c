#include "engine/hooks/periodic_checkpointer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

#define NO_METRIC (-1.0)

typedef struct periodic_checkpointer {
    reid_hook base;
    reid_periodic_checkpointer_options options;
    char *metric;
    double best;
} periodic_checkpointer;

static reid_status save(periodic_checkpointer *hook, const char *name, double metric, bool best,
                        reid_error *err)
{
    const reid_trainer *trainer = hook->base.trainer;
    reid_checkpoint_request request = {
        .name = name,
        .epoch = trainer->epoch,
        .iter = trainer->iter,
        .metric = metric,
        .best = best,
    };
    return hook->options.save(hook->options.user, &request, err);
}

static double current_metric(const periodic_checkpointer *hook)
{
    reid_event_scalar scalar;
    bool found = reid_event_storage_find(hook->base.trainer->storage, hook->metric, &scalar);
    return found ? scalar.value : NO_METRIC;
}

/* The best comes first, so that the last one written is the one to resume from. It is remembered
 * before it is saved: the checkpoint's own state then knows it. */
static reid_status after_epoch(reid_hook *base, reid_error *err)
{
    periodic_checkpointer *hook = (periodic_checkpointer *)base;
    const reid_trainer *trainer = base->trainer;
    int64_t ended = trainer->epoch + 1;
    bool last = ended >= trainer->max_epoch;
    bool due = hook->options.period > 0 && ended % hook->options.period == 0;
    if (!last && !due)
        return REID_OK;
    reid_event_storage_flush_row(trainer->storage);
    double metric = current_metric(hook);
    if (metric > hook->best) {
        hook->best = metric;
        REID_TRY(save(hook, "model_best", metric, true, err));
    }
    if (last)
        return save(hook, "model_final", metric, false, err);
    char name[32];
    snprintf(name, sizeof name, "model_%04lld", (long long)trainer->epoch);
    return save(hook, name, metric, false, err);
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    double best = ((const periodic_checkpointer *)base)->best;
    reid_json_object(json);
    reid_json_key(json, "best_metric");
    if (isfinite(best))
        reid_json_double(json, best);
    else
        reid_json_null(json); /* +inf, as nothing beats it and a NaN is never kept */
    reid_json_end_object(json);
}

static reid_status load_state(reid_hook *base, const reid_json *json, reid_error *err)
{
    const reid_json *best = reid_json_get(json, "best_metric");
    reid_json_type type = reid_json_type_of(best);
    bool number = type == REID_JSON_DOUBLE || type == REID_JSON_INT;
    if (!best || (!number && type != REID_JSON_NULL))
        return reid_fail(err, REID_ERR_CORRUPT, "best_metric is not a number");
    ((periodic_checkpointer *)base)->best = number ? reid_json_as_double(best, 0) : INFINITY;
    return REID_OK;
}

static void free_hook(reid_hook *base)
{
    free(((periodic_checkpointer *)base)->metric);
    free(base);
}

static const reid_hook_impl PERIODIC_CHECKPOINTER = {
    .name = "PeriodicCheckpointer",
    .after_epoch = after_epoch,
    .save_state = save_state,
    .load_state = load_state,
    .free = free_hook,
};

reid_hook *reid_periodic_checkpointer_new(const reid_periodic_checkpointer_options *options)
{
    REID_ASSERT(options->period >= 0 && options->save);
    periodic_checkpointer *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &PERIODIC_CHECKPOINTER;
    hook->options = *options;
    hook->options.metric = NULL; /* the copy below is the one in use */
    hook->metric = reid_xstrdup(options->metric ? options->metric : "metric");
    hook->best = NO_METRIC;
    return &hook->base;
}

int64_t reid_periodic_checkpointer_period(const reid_hook *hook)
{
    return ((const periodic_checkpointer *)hook)->options.period;
}

void reid_periodic_checkpointer_set_period(reid_hook *hook, int64_t period)
{
    ((periodic_checkpointer *)hook)->options.period = period;
}

/* ---- registry ---- */

static const reid_hook_option OPTIONS[] = {
    {"period", REID_HOOK_INT, "20", 0, "epochs between two checkpoints; 0: only the last"},
    {"metric", REID_HOOK_STRING, "metric", 0, "scalar that decides about model_best"},
};

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    if (!context->save)
        return reid_hook_needs(err, "PeriodicCheckpointer", "a place to save to");
    reid_periodic_checkpointer_options options = {
        .period = reid_hook_value_int(values, "period"),
        .metric = reid_hook_value_string(values, "metric"),
        .save = context->save,
        .user = context->save_user,
    };
    *ret_hook = reid_periodic_checkpointer_new(&options);
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_periodic_checkpointer = {
    .name = "PeriodicCheckpointer",
    .help = "saves model_NNNN every few epochs, model_best and model_final",
    .rank0_only = true,
    .options = OPTIONS,
    .option_count = REID_COUNT_OF(OPTIONS),
    .make = make,
};
