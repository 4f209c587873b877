#include "train/plan_only.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "data/dataset.h"
#include "solver/optimizer.h"
#include "train/evaluate.h"
#include "train/session.h"

#define FIT_TRIES 12 /* plans made in search of a batch */

/* ---- the device ---- */

/* "sm_90" → "cuda:sm_90[+tf32]"; others are names of backends. */
static reid_status open_backend(reid_plan_report *report, reid_error *err)
{
    const char *device = report->options->plan_device;
    bool sm = reid_str_starts(device, "sm_");
    bool known = sm || reid_str_starts(device, "cuda");
    for (const char *const *name = reid_backend_names(); *name; name++)
        known = known || strcmp(*name, device) == 0;
    if (!known)
        return reid_fail(err, REID_ERR_INVALID,
                         "--plan-only takes sm_80, sm_90, sm_100, sm_120, cuda, cpu or ref, not "
                         "'%s'",
                         device);
    bool bare = strcmp(device, "cuda") == 0; /* the first one */
    bool tf32 = (sm || reid_str_starts(device, "cuda")) &&
                reid_config_bool(report->config, "MODEL.CUDA.TF32");
    REID_AUTOFREE char *name =
        reid_xasprintf("%s%s%s%s", sm ? "cuda:" : "", device, bare ? ":" : "", tf32 ? "+tf32" : "");
    return reid_backend_open(name, 1, &report->backend, err);
}

static reid_status find_gpu(reid_plan_report *report, reid_error *err)
{
    const reid_train_options *options = report->options;
    int64_t sm = 0;
    if (options->plan_gpu) {
        reid_str names = REID_STR_INIT;
        report->gpu = reid_gpu_spec_by_name(options->plan_gpu);
        for (size_t i = 0; reid_gpu_spec_at(i); i++)
            reid_str_addf(&names, "%s%s", i ? ", " : "", reid_gpu_spec_at(i)->name);
        reid_status status = report->gpu
                                 ? REID_OK
                                 : reid_fail(err, REID_ERR_INVALID, "--gpu knows %s, not '%s'",
                                             reid_str_text(&names), options->plan_gpu);
        reid_str_fini(&names);
        return status;
    }
    if (reid_str_starts(options->plan_device, "sm_") &&
        reid_parse_int64(options->plan_device + 3, &sm) == REID_OK)
        report->gpu = reid_gpu_spec_by_sm((int)sm);
    return REID_OK;
}

/* ---- the network ---- */

/* As a training does, where the data are there; they need not be. */
static reid_status find_classes(reid_config *config, reid_error *err)
{
    reid_dataset *train = NULL;
    if (reid_config_int(config, "MODEL.HEADS.NUM_CLASSES") > 0)
        return REID_OK;
    if (reid_dataset_open_train(config, &train, err) != REID_OK)
        return reid_error_prefix(err, "the number of identities is not known; give "
                                      "MODEL.HEADS.NUM_CLASSES N, or the data");
    reid_status status = reid_session_set_classes(config, train, err);
    reid_dataset_free(train);
    return status;
}

static void planned_fini(reid_planned *planned)
{
    reid_plan_free(planned->eval_plan);
    reid_plan_free(planned->plan);
    reid_params_free(planned->params);
    reid_model_free(planned->model);
    *planned = (reid_planned){0};
}

static void add_up(const reid_plan_report *report, reid_planned *planned)
{
    reid_plan_sizes *s = &planned->sizes;
    s->parameters = s->gradients = planned->params->total * sizeof(float);
    s->states = report->states * planned->params->total * sizeof(float);
    s->statistics = planned->params->buffer_bytes;
    s->step = reid_plan_get_stats(planned->plan).arena_bytes;
    s->evaluation = reid_plan_get_stats(planned->eval_plan).arena_bytes;
    s->total = s->parameters + s->gradients + s->states + s->statistics + s->step + s->evaluation;
}

/* On failure *planned is half made; free it as well. */
static reid_status plan_network(const reid_plan_report *report, int batch, reid_planned *planned,
                                reid_error *err)
{
    const reid_config *config = report->config;
    bool direct = strcmp(reid_config_string(config, "MODEL.CONVOLUTION"), "direct") == 0;
    const reid_params_options layout = {
        .compute = report->compute,
        .convolution = direct ? REID_CONVOLUTION_DIRECT : REID_CONVOLUTION_AUTO,
        .plan_only = true,
    };
    reid_plan_options options = {
        .training = true,
        .compute = layout.compute,
        .convolution = layout.convolution,
        .recompute = reid_recompute_of_name(reid_config_string(config, "MODEL.RECOMPUTE")),
        .plan_only = true,
    };
    REID_TRY(reid_model_build(config, (int)reid_config_int(config, "MODEL.HEADS.NUM_CLASSES"),
                              batch, reid_evaluator_batch(config, report->options->world),
                              &planned->model, err));
    REID_TRY(
        reid_params_new(planned->model->train, report->backend, &layout, &planned->params, err));
    REID_TRY(reid_plan_new(planned->model->train, report->backend, planned->params, &options,
                           &planned->plan, err));
    options.training = false;
    REID_TRY(reid_plan_new(planned->model->eval, report->backend, planned->params, &options,
                           &planned->eval_plan, err));
    add_up(report, planned);
    return REID_OK;
}

/* ---- the largest batch ---- */

static reid_status size_of(const reid_plan_report *report, int batch, size_t *ret_bytes,
                           reid_error *err)
{
    reid_planned planned = {0};
    reid_status status = plan_network(report, batch, &planned, err);
    *ret_bytes = planned.sizes.total;
    planned_fini(&planned);
    return status == REID_OK ? REID_OK : reid_error_prefix(err, "%d images a rank", batch);
}

/* Bytes grow with the batch almost in a straight line: a guess by it, then plans around the guess
 * until one fits and the next does not. `unit`: a rank's batch is whole identities. */
static reid_status find_fit(const reid_plan_report *report, int unit, reid_plan_fit *fit,
                            reid_error *err)
{
    double room = (double)(fit->memory_bytes - fit->reserved_bytes);
    int low = 0, high = 0, batch = report->planned.model->train_batch;
    size_t bytes = report->planned.sizes.total, low_bytes = 0, high_bytes = 0;
    const reid_plan_sizes *s = &report->planned.sizes;
    double fixed = (double)(s->total - s->step), each = (double)s->step / batch;
    for (int i = 0; i < FIT_TRIES; i++) {
        if ((double)bytes <= room) {
            low = batch;
            low_bytes = bytes;
        } else {
            high = batch;
            high_bytes = bytes;
        }
        if (high > 0 && high - low <= unit)
            break;
        if (low > 0 && high > 0)
            each = (double)(high_bytes - low_bytes) / (high - low);
        double guess = low > 0 ? low + (room - (double)low_bytes) / each : (room - fixed) / each;
        int next = (int)REID_MIN(guess, 1e7) / unit * unit;
        next = REID_MAX(next, low + unit);
        if (high > 0)
            next = REID_MIN(next, high - unit);
        batch = REID_MAX(next, unit);
        REID_TRY(size_of(report, batch, &bytes, err));
    }
    fit->batch = low;
    fit->bytes = low_bytes;
    fit->next_batch = high;
    fit->next_bytes = high_bytes;
    return REID_OK;
}

static reid_status look_for_fit(reid_plan_report *report, reid_error *err)
{
    const reid_config *config = report->config;
    bool on_gpu = !reid_backend_is_host(report->backend);
    if (report->options->plan_memory_bytes == 0)
        return REID_OK;
    report->fit.memory_bytes = report->options->plan_memory_bytes;
    report->fit.reserved_bytes = on_gpu ? (int64_t)reid_gpu_assumed.reserved_bytes : 0;
    int instances = (int)reid_config_int(config, "DATALOADER.NUM_INSTANCE");
    return find_fit(report, REID_MAX(instances, 1), &report->fit, err);
}

/* ---- time ---- */

static reid_status estimate(reid_plan_report *report, reid_error *err)
{
    const reid_train_options *options = report->options;
    int nodes = REID_MAX(options->plan_nodes, 1);
    double gbit = options->plan_link_gbit > 0 ? options->plan_link_gbit : 400;
    reid_planned *planned = &report->planned;
    reid_reducer *reducer = NULL;
    reid_comm *comm = reid_comm_self_new();
    reid_status status =
        reid_session_new_reducer(report->config, comm, planned->params, &reducer, err);
    report->work = reid_estimate_count(planned->plan, planned->params->trainable, report->states);
    report->machine = (reid_estimate_machine){
        .gpu = report->gpu,
        .compute = report->compute,
        .tf32 = report->tf32,
        .nodes = nodes,
        .ranks_per_node = options->world / nodes,
        .node_bytes_per_s = gbit * 1e9 / 8,
    };
    if (status == REID_OK)
        report->buckets = reid_reducer_bucket_count(reducer);
    if (status == REID_OK && report->gpu) {
        reid_estimate_machine bound = report->machine;
        bound.bound = true;
        report->bound = reid_estimate_step(planned->plan, reducer, &report->work, &bound);
        report->expected =
            reid_estimate_step(planned->plan, reducer, &report->work, &report->machine);
    }
    reid_reducer_free(reducer);
    reid_comm_free(comm);
    return status;
}

/* ---- the whole ---- */

static reid_status make_report(reid_plan_report *report, reid_config *config, reid_error *err)
{
    report->config = config;
    report->tf32 = reid_config_bool(config, "MODEL.CUDA.TF32");
    report->optimizer = reid_config_string(config, "SOLVER.OPT");
    REID_TRY(reid_optimizer_states_of(config, &report->states, err));
    REID_TRY(find_classes(config, err));
    REID_TRY(find_gpu(report, err));
    REID_TRY(open_backend(report, err));
    REID_TRY(reid_session_compute(config, report->backend, &report->compute, err));
    int batch = (int)reid_config_int(config, "SOLVER.IMS_PER_BATCH") / report->options->world;
    REID_TRY(plan_network(report, batch, &report->planned, err));
    REID_TRY(estimate(report, err));
    return look_for_fit(report, err);
}

reid_status reid_plan_only(const reid_train_options *options, char **ret_text, reid_error *err)
{
    reid_plan_report report = {.options = options};
    reid_config *config = NULL;
    reid_str out = REID_STR_INIT;
    REID_TRY(reid_session_load_config(options, options->world, &config, err));
    reid_status status = make_report(&report, config, err);
    if (status == REID_OK) {
        (options->json ? reid_plan_report_json : reid_plan_report_text)(&report, &out);
        *ret_text = reid_str_take(&out);
    }
    planned_fini(&report.planned);
    reid_backend_free(report.backend);
    reid_config_free(config);
    return status;
}
