/* Times training steps of a Bag-of-Tricks network on random data: forward, backward, Adam. Prints
 * one JSON line with the seconds of each step after the warm-up, the peak resident memory and the
 * plan's arena. Under mpirun the batch is shared among the ranks and the gradients are reduced
 * while backward goes on, as in a training; the line then also tells where the all-reduce went. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "comm/reducer.h"
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
    reid_comm *comm;
    reid_reducer *reducer;
    double *seconds, *exposed, *total, *others; /* [steps] */
    reid_reducer_bucket *buckets;               /* [steps][buckets] */
    double *backward_end;                       /* [steps] */
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

/* As a training with MODEL.CONVOLUTION auto, but anew each time: rank 0 measures, all follow. */
static reid_status measure(bench *b, reid_dtype compute, reid_tuning *tuning, reid_error *err)
{
    int measured = 0, winograd = 0;
    double start_s = reid_clock_seconds();
    if (b->options.rule)
        return REID_OK;
    if (b->comm->rank == 0)
        REID_TRY(reid_tuning_measure(tuning, b->model->train, b->backend, compute, &measured,
                                     &winograd, err));
    if (b->comm->rank == 0 && b->options.summary)
        fprintf(stderr, "measured %d directions in %.2f s, Winograd for %d\n", measured,
                reid_clock_seconds() - start_s, winograd);
    REID_AUTOFREE char *text = reid_tuning_text(tuning);
    size_t size = strlen(text);
    REID_TRY(reid_comm_broadcast(b->comm, &size, sizeof size, 0, err));
    if (b->comm->rank == 0)
        return size == 0 ? REID_OK : reid_comm_broadcast(b->comm, text, size, 0, err);
    REID_AUTOFREE char *theirs = reid_xcalloc(1, size + 1);
    if (size > 0)
        REID_TRY(reid_comm_broadcast(b->comm, theirs, size, 0, err));
    return reid_tuning_read(tuning, theirs, err);
}

static int compare_offsets(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Buckets as a training cuts them by default. */
static reid_status make_reducer(bench *b, reid_error *err)
{
    const reid_params *params = b->params;
    REID_AUTOFREE size_t *offsets = reid_xcalloc(params->count + 1, sizeof *offsets);
    size_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (params->items[i].trainable)
            offsets[count++] = params->items[i].offset;
    qsort(offsets, count, sizeof *offsets, compare_offsets);
    REID_TRY(reid_reducer_new(b->comm, params->grad, params->trainable, offsets, count, NULL,
                              &b->reducer, err));
    return reid_comm_check_same(b->comm, "the execution plan", reid_plan_hash(b->plan), err);
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
                              .recompute = reid_recompute_of_name(o->recompute),
                              .profile = o->summary != 0};
    REID_TRY(
        reid_model_build(b->config, IDENTITIES, (int)o->batch / b->comm->size, 1, &b->model, err));
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
    REID_TRY(make_reducer(b, err));
    return reid_optimizer_new(b->config, b->params, b->backend, &b->optimizer, err);
}

static reid_status upload(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    int64_t batch = o->batch / b->comm->size;
    size_t floats = (size_t)(batch * 3 * o->height * o->width);
    float *images = reid_xmalloc(floats * sizeof *images);
    int32_t *labels = reid_xmalloc((size_t)batch * sizeof *labels);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, (uint64_t)b->comm->rank);
    for (size_t i = 0; i < floats; i++)
        images[i] = (float)reid_rng_normal(&rng);
    for (int64_t i = 0; i < batch; i++)
        labels[i] = (int32_t)(i / INSTANCES % IDENTITIES);
    reid_status status =
        reid_plan_upload(b->plan, b->model->train_images, images, floats * sizeof *images, err);
    if (status == REID_OK)
        status = reid_plan_upload(b->plan, b->model->train_labels, labels,
                                  (size_t)batch * sizeof *labels, err);
    free(images);
    free(labels);
    return status;
}

/* ---- steps ---- */

static void keep_reduction(bench *b, size_t step, double backward_end_s)
{
    reid_reducer_stats stats;
    size_t count = reid_reducer_bucket_count(b->reducer);
    reid_reducer_last_stats(b->reducer, &stats);
    b->exposed[step] = stats.exposed_s;
    b->total[step] = stats.total_s;
    b->others[step] = stats.others_s;
    b->backward_end[step] = backward_end_s;
    for (size_t i = 0; i < count; i++)
        b->buckets[step * count + i] = reid_reducer_last_bucket(b->reducer, i);
}

/* Step -1 and less: the warm-up, not kept. */
static reid_status one_step(bench *b, int64_t step, reid_error *err)
{
    double start_s = reid_clock_seconds();
    REID_TRY(reid_plan_forward(b->plan, err));
    reid_reducer_begin(b->reducer, false);
    REID_TRY(reid_plan_backward(b->plan, reid_reducer_ready, b->reducer, err));
    double backward_end_s = reid_clock_seconds();
    REID_TRY(reid_reducer_finish(b->reducer, err));
    reid_optimizer_step(b->optimizer);
    if (step < 0)
        return REID_OK;
    b->seconds[step] = reid_clock_seconds() - start_s;
    keep_reduction(b, (size_t)step, backward_end_s);
    return REID_OK;
}

static reid_status run_steps(bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    size_t steps = (size_t)o->steps, buckets = reid_reducer_bucket_count(b->reducer);
    double **const rows[] = {&b->seconds, &b->exposed, &b->total, &b->others, &b->backward_end};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        *rows[i] = reid_xcalloc(steps, sizeof(double));
    b->buckets = reid_xcalloc(steps * buckets + 1, sizeof *b->buckets);
    for (int64_t i = -o->warmup; i < o->steps; i++)
        REID_TRY(one_step(b, i, err));
    return REID_OK;
}

/* ---- report ---- */

static void print_row(const char *name, const double *values, int64_t count)
{
    printf("\"%s\": [", name);
    for (int64_t i = 0; i < count; i++)
        printf("%s%.4f", i ? ", " : "", values[i]);
    printf("], ");
}

/* Times in ms; the start of each on the communication thread against the end of backward. */
static void print_buckets(const bench *b)
{
    size_t count = reid_reducer_bucket_count(b->reducer);
    printf("\"buckets\": [");
    for (int64_t step = 0; step < b->options.steps; step++) {
        printf("%s[", step ? ", " : "");
        for (size_t i = 0; i < count; i++) {
            const reid_reducer_bucket *k = &b->buckets[(size_t)step * count + i];
            printf("%s{\"mib\": %.2f, \"start_ms\": %.2f, \"others_ms\": %.2f, \"took_ms\": %.2f}",
                   i ? ", " : "", (double)k->bytes / 1048576.0,
                   (k->started_s - b->backward_end[step]) * 1e3,
                   (k->arrived_s - k->started_s) * 1e3, (k->done_s - k->started_s) * 1e3);
        }
        printf("]");
    }
    printf("], ");
}

/* Of all ranks together. */
static reid_status peak_mib(const bench *b, int64_t *ret_mib, reid_error *err)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    int64_t own = usage.ru_maxrss / 1024;
    REID_AUTOFREE int64_t *all = reid_xcalloc((size_t)b->comm->size, sizeof *all);
    REID_TRY(reid_comm_allgather(b->comm, &own, sizeof own, all, err));
    *ret_mib = 0;
    for (int r = 0; r < b->comm->size; r++)
        *ret_mib += all[r];
    return REID_OK;
}

static reid_status report(const bench *b, reid_error *err)
{
    const bench_options *o = &b->options;
    int64_t mib = 0;
    REID_TRY(peak_mib(b, &mib, err));
    if (b->comm->rank != 0)
        return REID_OK;
    printf("{");
    print_row("seconds", b->seconds, o->steps);
    if (b->comm->size > 1) {
        print_row("exposed_s", b->exposed, o->steps);
        print_row("allreduce_s", b->total, o->steps);
        print_row("others_s", b->others, o->steps);
        print_buckets(b);
    }
    printf("\"ranks\": %d, \"peak_mib\": %lld, \"arena_mib\": %zu, \"loss\": %.6f}\n",
           b->comm->size, (long long)mib, reid_plan_get_stats(b->plan).arena_bytes >> 20,
           reid_plan_scalar(b->plan, 0));
    if (o->summary) {
        REID_AUTOFREE char *text = reid_plan_summary(b->plan);
        fputs(text, stderr);
    }
    return REID_OK;
}

static reid_status run(bench *b, reid_error *err)
{
    REID_TRY(reid_comm_open(&(reid_comm_options){.timeout_s = 120}, &b->comm, err));
    if (b->options.batch % (b->comm->size * INSTANCES) != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "a batch of %lld is not a multiple of %d images for each of %d ranks",
                         (long long)b->options.batch, INSTANCES, b->comm->size);
    REID_TRY(configure(b, err));
    REID_TRY(build(b, err));
    REID_TRY(upload(b, err));
    REID_TRY(run_steps(b, err));
    return report(b, err);
}

static void bench_fini(bench *b)
{
    reid_optimizer_free(b->optimizer);
    reid_reducer_free(b->reducer);
    reid_plan_free(b->plan);
    reid_params_free(b->params);
    reid_backend_free(b->backend);
    reid_model_free(b->model);
    reid_config_free(b->config);
    reid_comm_free(b->comm);
    free(b->seconds);
    free(b->exposed);
    free(b->total);
    free(b->others);
    free(b->backward_end);
    free(b->buckets);
}

int main(int argc, char **argv)
{
    bench b = {.options = BENCH_OPTIONS_DEFAULT};
    reid_error err = {0};
    reid_status status = bench_options_parse(argc, argv, &b.options, &err);
    if (status == REID_OK)
        status = run(&b, &err);
    if (status != REID_OK) {
        fprintf(stderr, "bench_step: %s\n", err.text);
        if (b.comm && b.comm->size > 1)
            reid_comm_abort(b.comm, 1);
    }
    bench_fini(&b);
    return status == REID_OK ? 0 : 1;
}
