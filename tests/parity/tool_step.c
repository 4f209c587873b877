#include <stdlib.h>
#include <string.h>

#include "modeling/model.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"
#include "tool.h"

/* One Bag-of-Tricks step. Input: every parameter and buffer by name, images [N,3,H,W], labels [N].
 * Output: "loss.*", "metric.*", "grad.*", "param.*" and "buffer.*" after the update, and "features"
 * of the same images in evaluation after the update. */
typedef struct step {
    reid_model *model;
    reid_params *params;
    reid_plan *train, *eval;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
} step;

static void step_fini(step *s)
{
    reid_lr_schedule_free(s->schedule);
    reid_optimizer_free(s->optimizer);
    reid_plan_free(s->train);
    reid_plan_free(s->eval);
    reid_params_free(s->params);
    reid_model_free(s->model);
}

static reid_status build(tool *t, step *s, reid_convolution convolution, reid_error *err)
{
    int64_t batch[4], classifier[2];
    REID_TRY(tool_input_shape(t, "images", 4, batch, err));
    REID_TRY(tool_input_shape(t, "heads.weight", 2, classifier, err));
    REID_TRY(reid_model_build(t->config, (int)classifier[0], (int)batch[0], (int)batch[0],
                              &s->model, err));
    if (batch[2] != s->model->train_height || batch[3] != s->model->train_width)
        return reid_fail(err, REID_ERR_INVALID, "the images do not have INPUT.SIZE_TRAIN");
    reid_params_options params_options = {.compute = REID_F32, .convolution = convolution};
    REID_TRY(reid_params_new(s->model->train, t->backend, &params_options, &s->params, err));
    reid_plan_options options = {.training = true, .compute = REID_F32, .convolution = convolution};
    REID_TRY(reid_plan_new(s->model->train, t->backend, s->params, &options, &s->train, err));
    options.training = false;
    REID_TRY(reid_plan_new(s->model->eval, t->backend, s->params, &options, &s->eval, err));
    REID_TRY(reid_optimizer_new(t->config, s->params, t->backend, &s->optimizer, err));
    return reid_lr_schedule_new(t->config, 100, s->optimizer, &s->schedule, err);
}

static reid_status load(tool *t, step *s, reid_error *err)
{
    REID_TRY(tool_input_params(t, NULL, s->params, s->params->value, err));
    return tool_input_buffers(t, s->params, err);
}

static reid_status evaluate(tool *t, step *s, const float *images, size_t bytes, reid_error *err)
{
    const int64_t shape[2] = {s->model->test_batch, s->model->feature_dim};
    float *features = tool_output(t, NULL, "features", 2, shape);
    REID_TRY(reid_plan_upload(s->eval, s->model->eval_images, images, bytes, err));
    REID_TRY(reid_plan_forward(s->eval, err));
    return reid_plan_download(s->eval, s->model->eval_features, features,
                              (size_t)(shape[0] * shape[1]) * sizeof *features, err);
}

static reid_status train(tool *t, step *s, reid_error *err)
{
    REID_AUTOFREE float *images = NULL;
    REID_AUTOFREE int32_t *labels = NULL;
    REID_TRY(tool_input_floats(t, "images", &images, err));
    REID_TRY(tool_input_labels(t, "labels", &labels, err));
    size_t count = (size_t)s->model->train_batch;
    size_t bytes =
        count * 3 * (size_t)s->model->train_height * (size_t)s->model->train_width * sizeof *images;
    REID_TRY(reid_plan_upload(s->train, s->model->train_images, images, bytes, err));
    REID_TRY(
        reid_plan_upload(s->train, s->model->train_labels, labels, count * sizeof *labels, err));
    REID_TRY(reid_plan_forward(s->train, err));
    tool_output_scalars(t, s->train);
    REID_TRY(reid_plan_backward(s->train, NULL, NULL, err));
    tool_output_params(t, "grad", s->params, s->params->grad);
    reid_optimizer_step(s->optimizer);
    tool_output_params(t, "param", s->params, s->params->value);
    tool_output_buffers(t, s->params);
    return evaluate(t, s, images, bytes, err);
}

reid_status tool_step(tool *t, int argc, char **argv, reid_error *err)
{
    bool direct = argc > 0 && strcmp(argv[0], "direct") == 0;
    step s = {0};
    reid_status status =
        build(t, &s, direct ? REID_CONVOLUTION_DIRECT : REID_CONVOLUTION_AUTO, err);
    if (status == REID_OK)
        status = load(t, &s, err);
    if (status == REID_OK)
        status = train(t, &s, err);
    step_fini(&s);
    return status;
}
