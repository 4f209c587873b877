/* The operation counts of a training plan as JSON, for simulate.py; measured too, if wanted.
 *
 *     bench_operations [--config-file FILE] [--identities N] [--threads N] [--steps N] [--out FILE]
 *                      [KEY VALUE ...]
 *     mpirun -np N bench_operations --steps S …
 *
 * The network is a bag of tricks (ResNet-50 256x128, 64 images) unless the configuration says
 * otherwise. With --steps 0 (the default) nothing is computed. Else each of S rounds is a step
 * without and a step with the all-reduce, alternating, after one round that does not count; the
 * first kind gives the seconds of each call. Under mpirun SOLVER.IMS_PER_BATCH is shared by the
 * ranks; rank 0 writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"
#include "comm/reducer.h"
#include "modeling/model.h"
#include "nn/plan_cost.h"
#include "nn/plan_impl.h"
#include "solver/optimizer.h"

enum { INSTANCES = 4, MAX_STEPS = 100, BARE_ROUNDS = 3 };

typedef struct timing {
    double plain_s[MAX_STEPS];   /* without all-reduce; the slowest rank's */
    double reduced_s[MAX_STEPS]; /* with it */
    double exposed_s[MAX_STEPS], update_s[MAX_STEPS];
    double *call_s; /* [forward + backward calls][steps] */
    size_t next_call, step;
    double *bare_s; /* per bucket: an all-reduce of its size with nothing beside it */
} timing;

typedef struct program {
    const char *config_file, *out;
    int64_t identities, threads, steps;
    reid_config *config;
    reid_comm *comm;
    reid_model *model;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
    reid_optimizer *optimizer;
    reid_reducer *reducer;
    size_t *order; /* trained parameters by offset */
    size_t order_count;
    timing times;
} program;

/* ---- what to build ---- */

static reid_status parse(program *p, int argc, char **argv, reid_error *err)
{
    struct {
        const char *name;
        const char **text;
        int64_t *number;
    } const rows[] = {
        {"--config-file", &p->config_file, NULL},
        {"--out", &p->out, NULL},
        {"--identities", NULL, &p->identities},
        {"--threads", NULL, &p->threads},
        {"--steps", NULL, &p->steps},
    };
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        size_t r = 0;
        while (r < sizeof rows / sizeof rows[0] && strcmp(rows[r].name, argv[i]) != 0)
            r++;
        if (r == sizeof rows / sizeof rows[0])
            return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'", argv[i]);
        if (i + 1 == argc)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a value", argv[i]);
        if (rows[r].text)
            *rows[r].text = argv[i + 1];
        else if (reid_parse_int64(argv[i + 1], rows[r].number) != REID_OK || *rows[r].number < 0)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a number", argv[i]);
    }
    if (p->identities < 1 || p->identities > 10000000 || p->threads > 1024 || p->steps > MAX_STEPS)
        return reid_fail(err, REID_ERR_INVALID,
                         "--identities is 1 to 10000000, --threads up to 1024, --steps up to %d",
                         MAX_STEPS);
    if (p->config_file)
        REID_TRY(reid_config_load_file(p->config, p->config_file, err));
    REID_TRY(reid_config_merge_list(p->config, argc - i, argv + i, err));
    return reid_config_check(p->config, err);
}

static reid_status configure(program *p, reid_error *err)
{
    static const char *const values[][2] = {
        {"MODEL.BACKBONE.NAME", "build_resnet_backbone"},
        {"MODEL.BACKBONE.DEPTH", "50x"},
        {"MODEL.BACKBONE.LAST_STRIDE", "1"},
        {"MODEL.BACKBONE.PRETRAIN", "False"},
        {"MODEL.HEADS.NAME", "EmbeddingHead"},
        {"MODEL.HEADS.WITH_BNNECK", "True"},
        {"MODEL.LOSSES.NAME", "(\"CrossEntropyLoss\", \"TripletLoss\")"},
        {"MODEL.LOSSES.CE.EPSILON", "0.1"},
        {"MODEL.LOSSES.TRI.MARGIN", "0.3"},
        {"MODEL.LOSSES.TRI.HARD_MINING", "True"},
        {"INPUT.SIZE_TRAIN", "[256, 128]"},
        {"SOLVER.IMS_PER_BATCH", "64"},
        {"SOLVER.OPT", "Adam"},
    };
    p->config = reid_config_new();
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        REID_TRY(reid_config_set(p->config, values[i][0], values[i][1], err));
    return REID_OK;
}

/* Trained parameters in the order of the flat gradients: that in which backward finishes them. */
static void find_order(program *p)
{
    const reid_param *items = p->params->items;
    p->order = reid_xcalloc(p->params->count + 1, sizeof *p->order);
    for (size_t i = 0; i < p->params->count; i++) {
        if (!items[i].trainable)
            continue;
        size_t at = p->order_count++;
        for (; at > 0 && items[p->order[at - 1]].offset > items[i].offset; at--)
            p->order[at] = p->order[at - 1];
        p->order[at] = i;
    }
}

static reid_status make_reducer(program *p, reid_error *err)
{
    const reid_reducer_options options = {
        .first_bucket_bytes = (size_t)reid_config_int(p->config, "COMM.FIRST_BUCKET_MB") << 20,
        .bucket_bytes = (size_t)reid_config_int(p->config, "COMM.BUCKET_MB") << 20,
    };
    find_order(p);
    size_t *offsets = reid_xcalloc(p->order_count + 1, sizeof *offsets);
    for (size_t i = 0; i < p->order_count; i++)
        offsets[i] = p->params->items[p->order[i]].offset;
    reid_status status = reid_reducer_new(p->comm, p->params->grad, p->params->trainable, offsets,
                                          p->order_count, &options, &p->reducer, err);
    free(offsets);
    return status;
}

static reid_status build(program *p, reid_error *err)
{
    bool amp = reid_config_bool(p->config, "SOLVER.AMP.ENABLED");
    bool direct = strcmp(reid_config_string(p->config, "MODEL.CONVOLUTION"), "direct") == 0;
    const reid_params_options layout = {.compute = amp ? REID_BF16 : REID_F32,
                                        .convolution = direct ? REID_CONVOLUTION_DIRECT
                                                              : REID_CONVOLUTION_AUTO};
    const reid_plan_options plan = {
        .training = true, .compute = layout.compute, .convolution = layout.convolution};
    REID_TRY(reid_comm_open(&(reid_comm_options){.timeout_s = 300}, &p->comm, err));
    REID_TRY(reid_config_check_world(p->config, p->comm->size, err));
    int batch = (int)reid_config_int(p->config, "SOLVER.IMS_PER_BATCH") / p->comm->size;
    REID_TRY(reid_model_build(p->config, (int)p->identities, batch, 1, &p->model, err));
    REID_TRY(reid_backend_open("cpu", (int)p->threads, &p->backend, err));
    REID_TRY(reid_params_new(p->model->train, p->backend, &layout, &p->params, err));
    REID_TRY(reid_plan_new(p->model->train, p->backend, p->params, &plan, &p->plan, err));
    REID_TRY(reid_optimizer_new(p->config, p->params, p->backend, &p->optimizer, err));
    return make_reducer(p, err);
}

/* ---- measuring ---- */

static reid_status upload(program *p, reid_error *err)
{
    const reid_model *m = p->model;
    size_t floats = (size_t)m->train_batch * 3 * (size_t)m->train_height * (size_t)m->train_width;
    float *images = reid_xmalloc(floats * sizeof *images);
    int32_t *labels = reid_xmalloc((size_t)m->train_batch * sizeof *labels);
    reid_rng rng = reid_rng_stream(1 + (uint64_t)p->comm->rank, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < floats; i++)
        images[i] = (float)reid_rng_normal(&rng);
    for (int i = 0; i < m->train_batch; i++)
        labels[i] = (int32_t)(i / INSTANCES % m->num_classes);
    reid_status status =
        reid_plan_upload(p->plan, m->train_images, images, floats * sizeof *images, err);
    if (status == REID_OK)
        status = reid_plan_upload(p->plan, m->train_labels, labels,
                                  (size_t)m->train_batch * sizeof *labels, err);
    free(images);
    free(labels);
    return status;
}

static void keep_call(void *user, const reid_plan_call *call)
{
    program *p = user;
    timing *t = &p->times;
    t->call_s[t->next_call++ * (size_t)p->steps + t->step] = call->end_s - call->start_s;
}

/* The slowest rank's: all end a step together. */
static reid_status slowest(program *p, double own_s, double *ret_s, reid_error *err)
{
    double *all = reid_xcalloc((size_t)p->comm->size, sizeof *all);
    reid_status status = reid_comm_allgather(p->comm, &own_s, sizeof own_s, all, err);
    for (int r = 0; status == REID_OK && r < p->comm->size; r++)
        *ret_s = all[r] > *ret_s ? all[r] : *ret_s;
    free(all);
    return status;
}

static reid_status step(program *p, bool reduce, double *ret_step_s, double *ret_update_s,
                        reid_error *err)
{
    REID_TRY(reid_comm_barrier(p->comm, err));
    double start_s = reid_clock_seconds();
    REID_TRY(reid_plan_forward(p->plan, err));
    reid_reducer_begin(p->reducer, !reduce);
    REID_TRY(reid_plan_backward(p->plan, reid_reducer_ready, p->reducer, err));
    REID_TRY(reid_reducer_finish(p->reducer, err));
    double update_s = reid_clock_seconds();
    reid_optimizer_step(p->optimizer);
    double end_s = reid_clock_seconds();
    *ret_update_s = end_s - update_s;
    *ret_step_s = 0;
    return slowest(p, end_s - start_s, ret_step_s, err);
}

static reid_status measure_round(program *p, size_t i, reid_error *err)
{
    timing *t = &p->times;
    reid_reducer_stats stats;
    double ignored;
    t->step = i;
    t->next_call = 0;
    reid_plan_set_probe(p->plan, keep_call, p);
    REID_TRY(step(p, false, &t->plain_s[i], &t->update_s[i], err));
    reid_plan_set_probe(p->plan, NULL, NULL);
    if (p->comm->size == 1)
        return REID_OK;
    REID_TRY(step(p, true, &t->reduced_s[i], &ignored, err));
    reid_reducer_last_stats(p->reducer, &stats);
    t->exposed_s[i] = stats.exposed_s;
    return REID_OK;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static reid_status measure_bare(program *p, reid_error *err)
{
    size_t count = reid_reducer_bucket_count(p->reducer);
    p->times.bare_s = reid_xcalloc(count, sizeof *p->times.bare_s);
    for (size_t b = 0; b < count; b++) {
        size_t floats = reid_reducer_last_bucket(p->reducer, b).bytes / sizeof(float);
        double s[BARE_ROUNDS] = {0};
        memset(p->params->grad, 0, floats * sizeof(float));
        for (size_t i = 0; i < BARE_ROUNDS; i++) {
            REID_TRY(reid_comm_barrier(p->comm, err));
            double start_s = reid_clock_seconds();
            REID_TRY(reid_comm_allreduce_sum(p->comm, p->params->grad, floats, err));
            REID_TRY(slowest(p, reid_clock_seconds() - start_s, &s[i], err));
        }
        p->times.bare_s[b] = median(s, BARE_ROUNDS);
    }
    return REID_OK;
}

static reid_status measure(program *p, reid_error *err)
{
    reid_plan_stats stats = reid_plan_get_stats(p->plan);
    p->times.call_s =
        reid_xcalloc((stats.forward_calls + stats.backward_calls + 1) * (size_t)p->steps,
                     sizeof *p->times.call_s);
    reid_model_init_params(p->model, p->params, 1);
    REID_TRY(upload(p, err));
    REID_TRY(measure_round(p, 0, err)); /* warm-up */
    for (size_t i = 0; i < (size_t)p->steps; i++)
        REID_TRY(measure_round(p, i, err));
    return p->comm->size > 1 ? measure_bare(p, err) : REID_OK;
}

/* ---- writing ---- */

static void write_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void write_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void write_part(reid_json_writer *w, const reid_cost_part *part)
{
    const struct {
        const char *key;
        double value;
    } rows[] = {
        {"flops", part->flops},
        {"activation_read", part->activation_read},
        {"activation_written", part->activation_written},
        {"other_read", part->other_read},
        {"other_written", part->other_written},
    };
    reid_json_object(w);
    reid_json_key(w, "pass");
    reid_json_string(w, part->name);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reid_json_key(w, rows[i].key);
        reid_json_int(w, (int64_t)rows[i].value);
    }
    reid_json_end_object(w);
}

static void write_call(reid_json_writer *w, const reid_cost_call *call, bool backward,
                       double seconds)
{
    reid_json_object(w);
    reid_json_key(w, "name");
    reid_json_string(w, call->name);
    reid_json_key(w, "kind");
    reid_json_string(w, call->kind);
    reid_json_key(w, "kernels");
    reid_json_string(w, call->kernels);
    if (backward) {
        reid_json_key(w, "ready_end");
        reid_json_int(w, (int64_t)call->ready_end);
    }
    if (seconds >= 0) {
        reid_json_key(w, "seconds");
        reid_json_double(w, seconds);
    }
    reid_json_key(w, "parts");
    reid_json_array(w);
    for (size_t p = 0; p < call->part_count; p++)
        write_part(w, &call->parts[p]);
    reid_json_end_array(w);
    reid_json_end_object(w);
    reid_str_add_char(w->out, '\n');
}

static void write_calls(reid_json_writer *w, program *p, bool backward)
{
    size_t forward_calls = p->plan->nodes.count, steps = (size_t)p->steps;
    size_t count = backward ? p->plan->steps.count : forward_calls;
    reid_json_key(w, backward ? "backward" : "forward");
    reid_json_array(w);
    for (size_t i = 0; i < count; i++) {
        reid_cost_call call =
            backward ? reid_plan_cost_backward(p->plan, i) : reid_plan_cost_forward(p->plan, i);
        double *s = steps ? p->times.call_s + (backward ? forward_calls + i : i) * steps : NULL;
        write_call(w, &call, backward, s ? median(s, steps) : -1);
    }
    reid_json_end_array(w);
}

/* Adam as in torch: reads value, gradient and states, writes value and states. */
static void write_optimizer(reid_json_writer *w, program *p)
{
    const char *name = reid_config_string(p->config, "SOLVER.OPT");
    bool sgd = strcmp(name, "SGD") == 0;
    int64_t floats = (int64_t)p->params->trainable, states = sgd ? 1 : 2;
    reid_json_key(w, "optimizer");
    reid_json_object(w);
    write_text(w, "name", name);
    write_int(w, "flops", floats * (sgd ? 4 : 12));
    write_int(w, "other_read", floats * 4 * (2 + states));
    write_int(w, "other_written", floats * 4 * (1 + states));
    if (p->steps) {
        reid_json_key(w, "seconds");
        reid_json_double(w, median(p->times.update_s, (size_t)p->steps));
    }
    reid_json_end_object(w);
    reid_str_add_char(w->out, '\n');
}

static void write_parameters(reid_json_writer *w, const program *p)
{
    reid_json_key(w, "parameters");
    reid_json_array(w);
    for (size_t i = 0; i < p->order_count; i++) {
        const reid_param *param = &p->params->items[p->order[i]];
        reid_json_object(w);
        write_text(w, "name", param->name);
        write_int(w, "offset", (int64_t)param->offset);
        write_int(w, "size", (int64_t)param->size);
        reid_json_end_object(w);
        reid_str_add_char(w->out, '\n');
    }
    reid_json_end_array(w);
    write_int(w, "gradient_floats", (int64_t)p->params->trainable);
    reid_json_key(w, "reducer");
    reid_json_object(w);
    write_int(w, "first_bucket_bytes", reid_config_int(p->config, "COMM.FIRST_BUCKET_MB") << 20);
    write_int(w, "bucket_bytes", reid_config_int(p->config, "COMM.BUCKET_MB") << 20);
    write_int(w, "buckets", (int64_t)reid_reducer_bucket_count(p->reducer));
    reid_json_end_object(w);
}

static void write_list(reid_json_writer *w, const char *key, const double *values, size_t count)
{
    reid_json_key(w, key);
    reid_json_array(w);
    for (size_t i = 0; i < count; i++)
        reid_json_double(w, values[i]);
    reid_json_end_array(w);
}

/* The buckets' times are those of the last step, from its first bucket's start on. */
static void write_buckets(reid_json_writer *w, const program *p)
{
    double first_s = reid_reducer_last_bucket(p->reducer, 0).queued_s;
    reid_json_key(w, "buckets");
    reid_json_array(w);
    for (size_t b = 0; b < reid_reducer_bucket_count(p->reducer); b++) {
        reid_reducer_bucket bucket = reid_reducer_last_bucket(p->reducer, b);
        const double values[] = {bucket.queued_s, bucket.started_s, bucket.done_s};
        static const char *const keys[] = {"queued_s", "started_s", "done_s"};
        reid_json_object(w);
        write_int(w, "bytes", (int64_t)bucket.bytes);
        for (size_t i = 0; i < 3; i++) {
            reid_json_key(w, keys[i]);
            reid_json_double(w, values[i] - first_s);
        }
        reid_json_key(w, "bare_s");
        reid_json_double(w, p->times.bare_s[b]);
        reid_json_end_object(w);
    }
    reid_json_end_array(w);
}

static void write_measured(reid_json_writer *w, const program *p)
{
    size_t steps = (size_t)p->steps;
    reid_json_key(w, "measured");
    reid_json_object(w);
    write_list(w, "plain_s", p->times.plain_s, steps);
    if (p->comm->size > 1) {
        write_list(w, "reduced_s", p->times.reduced_s, steps);
        write_list(w, "exposed_s", p->times.exposed_s, steps);
        write_buckets(w, p);
    }
    reid_json_end_object(w);
}

static reid_status write_all(program *p, reid_error *err)
{
    reid_str s = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&s);
    const reid_model *m = p->model;
    reid_json_object(&w);
    write_int(&w, "format", 1);
    write_text(&w, "depth", reid_config_string(p->config, "MODEL.BACKBONE.DEPTH"));
    write_text(&w, "compute", reid_dtype_name(p->plan->options.compute));
    write_text(&w, "backend", reid_backend_version(p->backend));
    write_int(&w, "height", m->train_height);
    write_int(&w, "width", m->train_width);
    write_int(&w, "batch", m->train_batch);
    write_int(&w, "identities", p->identities);
    write_int(&w, "ranks", p->comm->size);
    write_int(&w, "threads", p->threads);
    write_calls(&w, p, false);
    write_calls(&w, p, true);
    write_optimizer(&w, p);
    write_parameters(&w, p);
    if (p->steps)
        write_measured(&w, p);
    reid_json_end_object(&w);
    reid_str_add_char(&s, '\n');
    reid_status status = REID_OK;
    if (p->out)
        status = reid_file_write_atomic(p->out, s.data, s.length, err);
    else
        fputs(reid_str_text(&s), stdout);
    reid_str_fini(&s);
    return status;
}

static reid_status run(program *p, int argc, char **argv, reid_error *err)
{
    REID_TRY(configure(p, err));
    REID_TRY(parse(p, argc, argv, err));
    REID_TRY(build(p, err));
    if (p->steps)
        REID_TRY(measure(p, err));
    return p->comm->rank == 0 ? write_all(p, err) : REID_OK;
}

int main(int argc, char **argv)
{
    static program p = {.identities = 751}; /* of Market-1501 */
    reid_error err = {0};
    reid_status status = run(&p, argc, argv, &err);
    if (status != REID_OK) {
        fprintf(stderr, "bench_operations: %s\n", err.text);
        if (p.comm && p.comm->size > 1)
            reid_comm_abort(p.comm, 1);
    }
    reid_reducer_free(p.reducer);
    reid_comm_free(p.comm);
    reid_optimizer_free(p.optimizer);
    reid_plan_free(p.plan);
    reid_params_free(p.params);
    reid_backend_free(p.backend);
    reid_model_free(p.model);
    reid_config_free(p.config);
    free(p.order);
    free(p.times.call_s);
    free(p.times.bare_s);
    return status == REID_OK ? 0 : 1;
}
