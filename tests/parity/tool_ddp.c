#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "comm/comm.h"
#include "comm/reducer.h"
#include "modeling/model.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"
#include "tool.h"

/* STEPS data-parallel steps at the rate of the first iteration; as many ranks as the launcher
 * started. Rank R reads FOLDER/R/input.safetensors (every parameter and buffer by name, images
 * [N,3,H,W], labels [N] of its own batch) and writes FOLDER/R/output.safetensors: "loss.K.NAME" and
 * "metric.K.NAME" of step K, "grad.NAME", the averaged gradients of the first step, "param.NAME"
 * and "buffer.NAME" after the last, and the scalar "buckets". */
typedef struct ddp {
    reid_comm *comm;
    reid_model *model;
    reid_params *params;
    reid_plan *plan;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
    reid_reducer *reducer;
} ddp;

static void ddp_fini(ddp *d)
{
    reid_reducer_free(d->reducer);
    reid_lr_schedule_free(d->schedule);
    reid_optimizer_free(d->optimizer);
    reid_plan_free(d->plan);
    reid_params_free(d->params);
    reid_model_free(d->model);
    reid_comm_free(d->comm);
}

static int compare_offsets(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static reid_status build_reducer(ddp *d, reid_error *err)
{
    const reid_params *params = d->params;
    REID_AUTOFREE size_t *offsets = reid_xcalloc(params->count, sizeof *offsets);
    size_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (params->items[i].trainable)
            offsets[count++] = params->items[i].offset;
    qsort(offsets, count, sizeof *offsets, compare_offsets);
    /* Small ones, so that the network has many and backward runs beside most of them. */
    const reid_reducer_options options = {.first_bucket_bytes = 256 << 10, .bucket_bytes = 2 << 20};
    return reid_reducer_new(d->comm, params->grad, params->trainable, offsets, count, &options,
                            &d->reducer, err);
}

static reid_status build(tool *t, ddp *d, reid_error *err)
{
    int64_t batch[4], classifier[2];
    REID_TRY(tool_input_shape(t, "images", 4, batch, err));
    REID_TRY(tool_input_shape(t, "heads.weight", 2, classifier, err));
    REID_TRY(reid_model_build(t->config, (int)classifier[0], (int)batch[0], (int)batch[0],
                              &d->model, err));
    if (batch[2] != d->model->train_height || batch[3] != d->model->train_width)
        return reid_fail(err, REID_ERR_INVALID, "the images do not have INPUT.SIZE_TRAIN");
    REID_TRY(reid_params_new(d->model->train, t->backend, NULL, &d->params, err));
    const reid_plan_options options = {.training = true, .compute = REID_F32};
    REID_TRY(reid_plan_new(d->model->train, t->backend, d->params, &options, &d->plan, err));
    REID_TRY(reid_optimizer_new(t->config, d->params, t->backend, &d->optimizer, err));
    REID_TRY(reid_lr_schedule_new(t->config, 100, d->optimizer, &d->schedule, err));
    REID_TRY(build_reducer(d, err));
    REID_TRY(tool_input_params(t, NULL, d->params, d->params->value, err));
    return tool_input_buffers(t, d->params, err);
}

static void save_scalars(tool *t, reid_plan *plan, int64_t step)
{
    for (size_t i = 0; i < reid_plan_scalar_count(plan); i++) {
        const char *kind = reid_plan_scalar_is_loss(plan, i) ? "loss" : "metric";
        REID_AUTOFREE char *prefix = reid_xasprintf("%s.%lld", kind, (long long)step);
        tool_output_scalar(t, prefix, reid_plan_scalar_name(plan, i), reid_plan_scalar(plan, i));
    }
}

static reid_status train(tool *t, ddp *d, int64_t steps, reid_error *err)
{
    REID_AUTOFREE float *images = NULL;
    REID_AUTOFREE int32_t *labels = NULL;
    REID_TRY(tool_input_floats(t, "images", &images, err));
    REID_TRY(tool_input_labels(t, "labels", &labels, err));
    size_t count = (size_t)d->model->train_batch;
    size_t bytes =
        count * 3 * (size_t)d->model->train_height * (size_t)d->model->train_width * sizeof *images;
    for (int64_t step = 0; step < steps; step++) {
        REID_TRY(reid_plan_upload(d->plan, d->model->train_images, images, bytes, err));
        REID_TRY(
            reid_plan_upload(d->plan, d->model->train_labels, labels, count * sizeof *labels, err));
        REID_TRY(reid_plan_forward(d->plan, err));
        save_scalars(t, d->plan, step);
        reid_reducer_begin(d->reducer, false);
        REID_TRY(reid_plan_backward(d->plan, reid_reducer_ready, d->reducer, err));
        REID_TRY(reid_reducer_finish(d->reducer, err));
        if (step == 0)
            tool_output_params(t, "grad", d->params, d->params->grad);
        reid_optimizer_step(d->optimizer);
    }
    tool_output_params(t, "param", d->params, d->params->value);
    tool_output_buffers(t, d->params);
    tool_output_scalar(t, NULL, "buckets", (double)reid_reducer_bucket_count(d->reducer));
    return REID_OK;
}

static reid_status run(tool *t, ddp *d, int64_t steps, reid_error *err)
{
    const reid_comm_options options = {.timeout_s = 60};
    REID_TRY(reid_comm_open(&options, &d->comm, err));
    REID_AUTOFREE char *input = reid_xasprintf("%s/%d/input.safetensors", t->folder, d->comm->rank);
    REID_AUTOFREE char *output =
        reid_xasprintf("%s/%d/output.safetensors", t->folder, d->comm->rank);
    /* One thread: the sums of a run alone and of one beside another are then the same. */
    REID_TRY(
        reid_backend_open(reid_config_string(t->config, "MODEL.BACKEND"), 1, &t->backend, err));
    REID_TRY(reid_safetensors_open(input, &t->input, err));
    REID_TRY(build(t, d, err));
    REID_TRY(train(t, d, steps, err));
    return reid_safetensors_write(output, t->output.items, t->output.count, NULL, 0, NULL, NULL,
                                  err);
}

reid_status tool_ddp(tool *t, int argc, char **argv, reid_error *err)
{
    int64_t steps;
    if (argc != 1 || reid_parse_int64(argv[0], &steps) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID, "ddp needs STEPS");
    ddp d = {0};
    reid_status status = run(t, &d, steps, err);
    if (status != REID_OK && d.comm && d.comm->size > 1) {
        fprintf(stderr, "parity_tool: rank %d: %s\n", d.comm->rank, err->text);
        reid_comm_abort(d.comm, 1); /* the other ranks wait for this one */
    }
    ddp_fini(&d);
    return status;
}
