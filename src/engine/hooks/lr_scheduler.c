#include "engine/hooks/lr_scheduler.h"

#include "base/alloc.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

typedef struct lr_scheduler {
    reid_hook base;
    reid_lr_schedule *schedule;
    reid_optimizer *optimizer;
} lr_scheduler;

static reid_status after_step(reid_hook *base, reid_error *err)
{
    lr_scheduler *hook = (lr_scheduler *)base;
    reid_trainer *trainer = base->trainer;
    REID_TRY(reid_event_storage_put_scalar(trainer->storage, "lr",
                                           reid_optimizer_lr(hook->optimizer), false, err));
    reid_lr_schedule_after_step(hook->schedule, trainer->iter);
    return REID_OK;
}

static reid_status after_epoch(reid_hook *base, reid_error *err)
{
    reid_lr_schedule_after_epoch(((lr_scheduler *)base)->schedule, base->trainer->epoch);
    return REID_OK;
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    reid_lr_schedule_state state =
        reid_lr_schedule_state_get(((const lr_scheduler *)base)->schedule);
    reid_json_object(json);
    reid_json_key(json, "warmup_steps");
    reid_json_int(json, state.warmup_steps);
    reid_json_key(json, "epoch_steps");
    reid_json_int(json, state.epoch_steps);
    reid_json_end_object(json);
}

static reid_status load_state(reid_hook *base, const reid_json *json, reid_error *err)
{
    reid_lr_schedule_state state = {
        .warmup_steps = reid_json_as_int(reid_json_get(json, "warmup_steps"), -1),
        .epoch_steps = reid_json_as_int(reid_json_get(json, "epoch_steps"), -1),
    };
    return reid_lr_schedule_state_set(((lr_scheduler *)base)->schedule, state, err);
}

static const reid_hook_impl LR_SCHEDULER = {
    .name = "LRScheduler",
    .after_step = after_step,
    .after_epoch = after_epoch,
    .save_state = save_state,
    .load_state = load_state,
};

reid_hook *reid_lr_scheduler_hook_new(reid_lr_schedule *schedule, reid_optimizer *optimizer)
{
    lr_scheduler *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &LR_SCHEDULER;
    hook->schedule = schedule;
    hook->optimizer = optimizer;
    return &hook->base;
}

/* ---- registry ---- */

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    if (!context->schedule || !context->optimizer)
        return reid_hook_needs(err, "LRScheduler", "an optimizer and its schedule");
    *ret_hook = reid_lr_scheduler_hook_new(context->schedule, context->optimizer);
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_lr_scheduler = {
    .name = "LRScheduler",
    .help = "logs the learning rate and moves its schedule",
    .single = true,
    .make = make,
};
