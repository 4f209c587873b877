#include "engine/plan_step.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/upload.h"

typedef struct plan_step {
    reid_step base;
    reid_plan_step_parts parts;
    const reid_batch *batch;
    reid_upload *upload;
} plan_step;

static reid_status plan_next(reid_step *base, reid_step_batch *ret_batch, reid_error *err)
{
    plan_step *step = (plan_step *)base;
    REID_TRY(reid_loader_next(step->parts.loader, &step->batch, err));
    if (!step->batch)
        return reid_fail(err, REID_ERR_INTERNAL, "the training loader has come to an end");
    *ret_batch = (reid_step_batch){
        .count = step->batch->count,
        .paths = (const char *const *)step->batch->paths,
    };
    return REID_OK;
}

static reid_status plan_forward(reid_step *base, reid_error *err)
{
    plan_step *step = (plan_step *)base;
    const reid_batch *batch = step->batch;
    REID_TRY(reid_upload_images(step->upload, step->parts.loader, batch, err));
    REID_TRY(reid_plan_upload(step->parts.plan, step->parts.labels, batch->targets,
                              (size_t)batch->capacity * sizeof *batch->targets, err));
    return reid_plan_forward(step->parts.plan, err);
}

static reid_status plan_backward(reid_step *base, reid_error *err)
{
    plan_step *step = (plan_step *)base;
    reid_reducer *reducer = step->parts.reducer;
    if (step->parts.loss_scale)
        reid_plan_set_loss_scale(step->parts.plan, step->parts.loss_scale->scale);
    reid_reducer_begin(reducer, false);
    REID_TRY(reid_plan_backward(step->parts.plan, reid_reducer_ready, reducer, err));
    REID_TRY(reid_reducer_finish(reducer, err));
    /* A device has everything by now; the losses come while it is at backward. */
    REID_TRY(reid_plan_read_scalars(step->parts.plan, err));
    return reid_reducer_check(reducer, err);
}

/* The gradients are those of all ranks, so all of them leave the same steps out. */
static reid_status update_scaled(plan_step *step, reid_error *err)
{
    reid_loss_scale *scale = step->parts.loss_scale;
    double used = scale->scale;
    bool finite = reid_optimizer_step_scaled(step->parts.optimizer, used);
    /* What a broken device or communicator left is no verdict on the scale. */
    REID_TRY(reid_reducer_check(step->parts.reducer, err));
    REID_TRY(reid_backend_status(step->parts.backend, err));
    REID_TRY(reid_loss_scale_update(scale, finite, err));
    if (!finite)
        reid_log_info("gradients overflow at loss scale %.9g: this step is left out, the scale is "
                      "%.9g now",
                      used, scale->scale);
    return REID_OK;
}

static reid_status plan_update(reid_step *base, reid_error *err)
{
    plan_step *step = (plan_step *)base;
    if (step->parts.loss_scale)
        return update_scaled(step, err);
    reid_optimizer_step(step->parts.optimizer);
    return REID_OK;
}

/* The scalars of the plan; behind them the loss scale, where there is one. */
static bool is_loss_scale(const plan_step *step, size_t index)
{
    return step->parts.loss_scale && index == reid_plan_scalar_count(step->parts.plan);
}

static size_t plan_scalar_count(const reid_step *base)
{
    const plan_step *step = (const plan_step *)base;
    return reid_plan_scalar_count(step->parts.plan) + (step->parts.loss_scale != NULL);
}

static const char *plan_scalar_name(const reid_step *base, size_t index)
{
    const plan_step *step = (const plan_step *)base;
    return is_loss_scale(step, index) ? "loss_scale"
                                      : reid_plan_scalar_name(step->parts.plan, index);
}

static bool plan_scalar_is_loss(const reid_step *base, size_t index)
{
    const plan_step *step = (const plan_step *)base;
    return !is_loss_scale(step, index) && reid_plan_scalar_is_loss(step->parts.plan, index);
}

static double plan_scalar(const reid_step *base, size_t index)
{
    const plan_step *step = (const plan_step *)base;
    return is_loss_scale(step, index) ? step->parts.loss_scale->scale
                                      : reid_plan_scalar(step->parts.plan, index);
}

static double plan_waited_s(const reid_step *base)
{
    reid_reducer_stats stats;
    reid_reducer_last_stats(((const plan_step *)base)->parts.reducer, &stats);
    return stats.exposed_s;
}

static void plan_free(reid_step *base)
{
    plan_step *step = (plan_step *)base;
    reid_upload_free(step->upload);
    free(step);
}

static const reid_step_impl PLAN_STEP = {
    .next = plan_next,
    .forward = plan_forward,
    .backward = plan_backward,
    .update = plan_update,
    .scalar_count = plan_scalar_count,
    .scalar_name = plan_scalar_name,
    .scalar_is_loss = plan_scalar_is_loss,
    .scalar = plan_scalar,
    .waited_s = plan_waited_s,
    .free = plan_free,
};

reid_step *reid_plan_step_new(const reid_plan_step_parts *parts)
{
    plan_step *step = reid_xcalloc(1, sizeof *step);
    step->base.impl = &PLAN_STEP;
    step->parts = *parts;
    step->upload = reid_upload_new(parts->backend, parts->plan, parts->images);
    return &step->base;
}
