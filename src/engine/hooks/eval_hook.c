#include "engine/hooks/eval_hook.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

typedef struct eval_result {
    char *dataset;
    char *name;
    double value;
} eval_result;

struct reid_eval_results {
    REID_VEC(eval_result) items;
};

typedef struct eval_hook {
    reid_hook base;
    reid_eval_hook_options options;
} eval_hook;

void reid_eval_results_add(reid_eval_results *results, const char *dataset, const char *name,
                           double value)
{
    eval_result result = {
        .dataset = reid_xstrdup(dataset),
        .name = reid_xstrdup(name),
        .value = value,
    };
    reid_vec_push(&results->items, result);
}

static void results_fini(reid_eval_results *results)
{
    for (size_t i = 0; i < results->items.count; i++) {
        free(results->items.items[i].dataset);
        free(results->items.items[i].name);
    }
    reid_vec_fini(&results->items);
}

static bool has_several_datasets(const reid_eval_results *results)
{
    for (size_t i = 1; i < results->items.count; i++) {
        if (strcmp(results->items.items[i].dataset, results->items.items[0].dataset) != 0)
            return true;
    }
    return false;
}

static reid_status put_results(reid_event_storage *storage, const reid_eval_results *results,
                               reid_error *err)
{
    bool several = has_several_datasets(results);
    for (size_t i = 0; i < results->items.count; i++) {
        const eval_result *result = &results->items.items[i];
        REID_AUTOFREE char *name = several ? reid_xasprintf("%s/%s", result->dataset, result->name)
                                           : reid_xstrdup(result->name);
        REID_TRY(reid_event_storage_put_scalar(storage, name, result->value, false, err));
    }
    return REID_OK;
}

/* Evaluation takes different times on different ranks; the barrier lets them go on together. */
static reid_status evaluate(eval_hook *hook, reid_error *err)
{
    reid_eval_results results = {0};
    reid_status status = hook->options.evaluate(hook->options.user, &results, err);
    if (status == REID_OK)
        status = put_results(hook->base.trainer->storage, &results, err);
    results_fini(&results);
    if (status == REID_OK && hook->options.comm)
        status = reid_comm_barrier(hook->options.comm, err);
    return status;
}

reid_status reid_eval_hook_run(reid_hook *hook, reid_error *err)
{
    return evaluate((eval_hook *)hook, err);
}

int64_t reid_eval_hook_period(const reid_hook *hook)
{
    return ((const eval_hook *)hook)->options.period;
}

void reid_eval_hook_set_period(reid_hook *hook, int64_t period)
{
    ((eval_hook *)hook)->options.period = period;
}

static bool is_due(const eval_hook *hook)
{
    return (hook->base.trainer->epoch + 1) % hook->options.period == 0;
}

static reid_status after_epoch(reid_hook *base, reid_error *err)
{
    eval_hook *hook = (eval_hook *)base;
    return hook->options.period > 0 && is_due(hook) ? evaluate(hook, err) : REID_OK;
}

static reid_status after_train(reid_hook *base, reid_error *err)
{
    eval_hook *hook = (eval_hook *)base;
    const reid_trainer *trainer = base->trainer;
    bool complete = trainer->status == REID_OK && trainer->iter == trainer->max_iter;
    if (hook->options.period == 0 || !complete || is_due(hook))
        return REID_OK;
    return evaluate(hook, err);
}

static const reid_hook_impl EVAL_HOOK = {
    .name = "EvalHook",
    .after_epoch = after_epoch,
    .after_train = after_train,
};

reid_hook *reid_eval_hook_new(const reid_eval_hook_options *options)
{
    REID_ASSERT(options->period >= 0 && options->evaluate);
    eval_hook *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &EVAL_HOOK;
    hook->options = *options;
    return &hook->base;
}

/* ---- registry ---- */

static const reid_hook_option OPTIONS[] = {
    {"period", REID_HOOK_INT, "20", 0, "epochs between two evaluations; 0: never"},
};

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    if (!context->evaluate)
        return reid_hook_needs(err, "EvalHook", "an evaluation");
    reid_eval_hook_options options = {
        .period = reid_hook_value_int(values, "period"),
        .evaluate = context->evaluate,
        .user = context->evaluate_user,
        .comm = context->comm,
    };
    *ret_hook = reid_eval_hook_new(&options);
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_eval_hook = {
    .name = "EvalHook",
    .help = "evaluates every few epochs and at the end",
    .options = OPTIONS,
    .option_count = REID_COUNT_OF(OPTIONS),
    .make = make,
};
