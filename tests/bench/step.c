/* Times training steps of a Bag-of-Tricks network on random data: forward, backward, Adam. Prints
 * one JSON line with the seconds of each step after the warm-up, the peak resident memory and the
 * plan's arena. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "modeling/model.h"
#include "nn/plan.h"
#include "options.h"
#include "solver/optimizer.h"

#define IDENTITIES 751 /* of Market-1501 */
#define INSTANCES 4

typedef struct bench {
    bench_options options;
    reid_config *config;
    reid_model *model;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
    reid_optimizer *optimizer;
} bench;

static reid_status configure(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    char size[64], batch[32];
    snprintf(size, sizeof size, "[%lld, %lld]", (long long)o->height, (long long)o->width);
    snprintf(batch, sizeof batch, "%lld", (long long)o->batch);
    const char *const values[][2] = {
        {"MODEL.BACKBONE.NAME", "build_resnet_backbone"},
        {"MODEL.BACKBONE.DEPTH", o->depth},
        {"MODEL.BACKBONE.LAST_STRIDE", "1"},
        {"MODEL.BACKBONE.PRETRAIN", "False"},
        {"MODEL.BACKBONE.FEAT_DIM", strncmp(o->depth, "18", 2) == 0 ? "512" : "2048"},
        {"MODEL.HEADS.NAME", "EmbeddingHead"},
        {"MODEL.HEADS.WITH_BNNECK", "True"},
        {"MODEL.LOSSES.NAME", "(\"CrossEntropyLoss\", \"TripletLoss\")"},
        {"MODEL.LOSSES.CE.EPSILON", "0.1"},
        {"MODEL.LOSSES.TRI.MARGIN", "0.3"},
        {"MODEL.LOSSES.TRI.HARD_MINING", "True"},
        {"INPUT.SIZE_TRAIN", size},
        {"INPUT.SIZE_TEST", size},
        {"SOLVER.IMS_PER_BATCH", batch},
        {"SOLVER.OPT", "Adam"},
    };
    b->config = reid_config_new();
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        REID_TRY(reid_config_set(b->config, values[i][0], values[i][1], err));
    return REID_OK;
}

/* As a training with MODEL.CONVOLUTION auto, but anew each time. */
static reid_status measure(bench *b, reid_dtype compute, reid_tuning *tuning, reid_error *err)
{
    int measured = 0, winograd = 0;
    double start_s = reid_clock_seconds();
    if (b->options.rule)
        return REID_OK;
    REID_TRY(reid_tuning_measure(tuning, b->model->train, b->backend, compute, &measured, &winograd,
                                 err));
    if (b->options.summary)
        fprintf(stderr, "measured %d directions in %.2f s, Winograd for %d\n", measured,
                reid_clock_seconds() - start_s, winograd);
    return REID_OK;
}

static reid_status build(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    const reid_params_options layout = {.compute = o->bf16 ? REID_BF16 : REID_F32,
                                        .convolution = o->direct ? REID_CONVOLUTION_DIRECT
                                                                 : REID_CONVOLUTION_AUTO};
    reid_plan_options plan = {.training = true,
                              .compute = layout.compute,
                              .convolution = layout.convolution,
                              .profile = o->summary != 0};
    REID_TRY(reid_model_build(b->config, IDENTITIES, (int)o->batch, 1, &b->model, err));
    REID_TRY(reid_backend_open("cpu", (int)o->threads, &b->backend, err));
    REID_TRY(reid_params_new(b->model->train, b->backend, &layout, &b->params, err));
    reid_model_init_params(b->model, b->params, 1);
    reid_tuning *tuning = reid_tuning_new();
    reid_status status = measure(b, layout.compute, tuning, err);
    plan.tuning = tuning;
    if (status == REID_OK)
        status = reid_plan_new(b->model->train, b->backend, b->params, &plan, &b->plan, err);
    reid_tuning_free(tuning);
    REID_TRY(status);
    return reid_optimizer_new(b->config, b->params, b->backend, &b->optimizer, err);
}

static reid_status upload(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    size_t floats = (size_t)(o->batch * 3 * o->height * o->width);
    float *images = reid_xmalloc(floats * sizeof *images);
    int32_t *labels = reid_xmalloc((size_t)o->batch * sizeof *labels);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < floats; i++)
        images[i] = (float)reid_rng_normal(&rng);
    for (int64_t i = 0; i < o->batch; i++)
        labels[i] = (int32_t)(i / INSTANCES % IDENTITIES);
    reid_status status =
        reid_plan_upload(b->plan, b->model->train_images, images, floats * sizeof *images, err);
    if (status == REID_OK)
        status = reid_plan_upload(b->plan, b->model->train_labels, labels,
                                  (size_t)o->batch * sizeof *labels, err);
    free(images);
    free(labels);
    return status;
}

static reid_status run(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    REID_TRY(configure(b, err));
    REID_TRY(build(b, err));
    REID_TRY(upload(b, err));
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < o->warmup + o->steps; i++) {
        double start = reid_clock_seconds();
        REID_TRY(reid_plan_forward(b->plan, err));
        REID_TRY(reid_plan_backward(b->plan, NULL, NULL, err));
        reid_optimizer_step(b->optimizer);
        if (i >= o->warmup)
            printf("%s%.4f", i > o->warmup ? ", " : "", reid_clock_seconds() - start);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("], \"peak_mib\": %ld, \"arena_mib\": %zu, \"loss\": %.6f}\n", usage.ru_maxrss / 1024,
           reid_plan_get_stats(b->plan).arena_bytes >> 20, reid_plan_scalar(b->plan, 0));
    if (o->summary) {
        char *text = reid_plan_summary(b->plan);
        fputs(text, stderr);
        free(text);
    }
    return REID_OK;
}

int main(int argc, char **argv)
{
    bench b = {.options = BENCH_OPTIONS_DEFAULT};
    reid_error err = {0};
    reid_status status = bench_options_parse(argc, argv, &b.options, &err);
    if (status == REID_OK)
        status = run(&b, &err);
    if (status != REID_OK)
        fprintf(stderr, "bench_step: %s\n", err.text);
    reid_optimizer_free(b.optimizer);
    reid_plan_free(b.plan);
    reid_params_free(b.params);
    reid_backend_free(b.backend);
    reid_model_free(b.model);
    reid_config_free(b.config);
    return status == REID_OK ? 0 : 1;
}
