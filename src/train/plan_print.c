/* What --plan-only found, for people and for programs. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "train/plan_only.h"

#define MIB 1048576.0
#define GIB 1073741824.0

/* One operation of the network with both its passes. */
typedef struct layer {
    reid_cost_call forward;
    double flops, bytes;
    double bound_s; /* where a GPU is known */
} layer;

static void add_call(layer *l, const reid_cost_call *call, const reid_estimate_machine *machine)
{
    for (size_t i = 0; i < call->part_count; i++) {
        const reid_cost_part *part = &call->parts[i];
        l->flops += part->flops;
        l->bytes += part->activation_read + part->activation_written + part->other_read +
                    part->other_written;
    }
    if (machine->gpu)
        l->bound_s += reid_estimate_call(call, machine);
}

/* By forward call; the last one has the sums of gradients. Caller frees. */
static layer *find_layers(const reid_plan_report *report, size_t *ret_count)
{
    const reid_plan *plan = report->planned.plan;
    reid_plan_stats stats = reid_plan_get_stats(plan);
    reid_estimate_machine bound = report->machine;
    bound.bound = true;
    layer *layers = reid_xcalloc(stats.forward_calls + 1, sizeof *layers);
    for (size_t i = 0; i < stats.forward_calls; i++) {
        layers[i].forward = reid_plan_cost_forward(plan, i);
        add_call(&layers[i], &layers[i].forward, &bound);
    }
    for (size_t i = 0; i < stats.backward_calls; i++) {
        reid_cost_call call = reid_plan_cost_backward(plan, i);
        size_t at = call.node == REID_COST_NO_NODE ? stats.forward_calls : call.node;
        add_call(&layers[at], &call, &bound);
    }
    *ret_count = stats.forward_calls;
    return layers;
}

static double images_per_s(const reid_plan_report *report, double step_s)
{
    return report->planned.model->train_batch * report->options->world / step_s;
}

/* ---- text ---- */

static void add_head(const reid_plan_report *report, reid_str *out)
{
    const reid_model *m = report->planned.model;
    const reid_config *config = report->config;
    reid_str_addf(out,
                  "%s %s: %d images of %dx%d a rank, %d rank%s, %d identities, %s, %s\n"
                  "planned for %s by %s (%s); nothing was run\n\n",
                  reid_config_string(config, "MODEL.BACKBONE.NAME"),
                  reid_config_string(config, "MODEL.BACKBONE.DEPTH"), m->train_batch,
                  m->train_height, m->train_width, report->options->world,
                  report->options->world == 1 ? "" : "s", m->num_classes,
                  reid_dtype_name(report->compute), report->optimizer, report->options->plan_device,
                  reid_backend_name(report->backend), reid_backend_version(report->backend));
}

static void add_layer(const layer *l, bool timed, reid_str *out)
{
    char in[96], result[96];
    reid_str_addf(out, "%-34s %-16s %-18s %-18s %10.2f %9.1f", l->forward.name, l->forward.kind,
                  reid_shape_text(in, &l->forward.input->shape),
                  reid_shape_text(result, &l->forward.output->shape), l->flops * 1e-9,
                  l->bytes / MIB);
    if (timed)
        reid_str_addf(out, " %8.1f", l->bound_s * 1e6);
    reid_str_addf(out, "  %s\n", l->forward.kernels);
}

static void add_layers(const reid_plan_report *report, reid_str *out)
{
    size_t count = 0;
    layer *layers = find_layers(report, &count);
    reid_str_addf(out, "%-34s %-16s %-18s %-18s %10s %9s%s  %s\n", "LAYER", "OPERATION", "INPUT",
                  "OUTPUT", "GFLOP", "MiB", report->gpu ? " BOUND us" : "", "ENGINES");
    for (size_t i = 0; i < count; i++)
        add_layer(&layers[i], report->gpu != NULL, out);
    if (layers[count].bytes > 0) {
        reid_str_addf(out, "%-34s %-16s %-18s %-18s %10.2f %9.1f", "(sums of gradients)",
                      "accumulate", "", "", layers[count].flops * 1e-9, layers[count].bytes / MIB);
        if (report->gpu)
            reid_str_addf(out, " %8.1f", layers[count].bound_s * 1e6);
        reid_str_add(out, "\n");
    }
    free(layers);
}

static void add_size(reid_str *out, const char *name, size_t bytes)
{
    reid_str_addf(out, "  %-34s %12.1f MiB\n", name, (double)bytes / MIB);
}

static void add_memory(const reid_plan_report *report, reid_str *out)
{
    const reid_plan_sizes *s = &report->planned.sizes;
    reid_plan_memory m = reid_plan_get_memory(report->planned.plan);
    reid_str_add(out, "\nmemory of one rank\n");
    add_size(out, "parameters", s->parameters);
    add_size(out, "gradients", s->gradients);
    REID_AUTOFREE char *states = reid_xasprintf("optimizer state (%s)", report->optimizer);
    add_size(out, states, s->states);
    add_size(out, "running statistics", s->statistics);
    add_size(out, "a training step", s->step);
    REID_AUTOFREE char *images =
        reid_xasprintf("evaluation (%d images)", report->planned.model->test_batch);
    add_size(out, images, s->evaluation);
    add_size(out, "total", s->total);
    reid_str_addf(out,
                  "  fullest in %s of %s: inputs %.1f, activations %.1f, gradients %.1f, workspace "
                  "%.1f, scratch %.1f MiB\n",
                  m.backward ? "backward" : "forward", m.where, (double)m.inputs / MIB,
                  (double)m.activations / MIB, (double)m.gradients / MIB, (double)m.workspace / MIB,
                  (double)m.scratch / MIB);
}

static void add_fit(const reid_plan_report *report, reid_str *out)
{
    const reid_plan_fit *fit = &report->fit;
    if (fit->memory_bytes == 0)
        return;
    reid_str_addf(out, "  %.2f GiB", (double)fit->memory_bytes / GIB);
    if (fit->reserved_bytes)
        reid_str_addf(out, ", of which %.2f are taken to be the driver's and the libraries'",
                      (double)fit->reserved_bytes / GIB);
    if (fit->batch == 0)
        reid_str_addf(out, ": no batch fits; %d images need %.2f GiB\n", fit->next_batch,
                      (double)fit->next_bytes / GIB);
    else
        reid_str_addf(out, ": the largest batch that fits is %d images a rank (%.2f GiB)\n",
                      fit->batch, (double)fit->bytes / GIB);
}

static void add_work(const reid_plan_report *report, reid_str *out)
{
    const reid_estimate_work *w = &report->work;
    double images = report->planned.model->train_batch;
    reid_str_addf(out,
                  "\noperations of one rank's step\n"
                  "  forward %.1f GFLOP, backward %.1f, optimizer %.2f; %.1f %% are convolutions "
                  "and products; %.2f GFLOP an image\n"
                  "  at least %.2f GiB pass between memory and the operations, the optimizer's "
                  "%.2f GiB included\n",
                  w->forward_flops * 1e-9, w->backward_flops * 1e-9, w->update_flops * 1e-9,
                  100 * w->product_flops / (w->forward_flops + w->backward_flops),
                  (w->forward_flops + w->backward_flops) * 1e-9 / images,
                  (w->bytes + w->update_bytes) / GIB, w->update_bytes / GIB);
}

static void add_estimate(const reid_plan_report *report, const char *name, const reid_estimate *e,
                         reid_str *out)
{
    reid_str_addf(out,
                  "  %-16s %9.2f ms  (forward %.2f, backward %.2f, optimizer %.2f)  %.0f images/s",
                  name, e->step_s * 1e3, e->forward_s * 1e3, e->backward_s * 1e3, e->update_s * 1e3,
                  images_per_s(report, e->step_s));
    if (report->options->world > 1)
        reid_str_addf(out, "\n  %-16s %9.2f ms, of which %.2f are not hidden; efficiency %.1f %%",
                      "  all-reduce", e->allreduce_s * 1e3, e->exposed_s * 1e3,
                      100 * e->alone_s / e->step_s);
    reid_str_add(out, "\n");
}

static void add_time(const reid_plan_report *report, reid_str *out)
{
    const reid_estimate_machine *machine = &report->machine;
    if (!report->gpu) {
        reid_str_add(out, "\ntime of a step: no data sheet of this device is known; --gpu NAME "
                          "reckons with that of a GPU\n");
        return;
    }
    reid_str_addf(out, "\ntime of a step, by %s's data sheet; nothing was measured\n",
                  report->gpu->title);
    if (report->options->world > 1 && machine->nodes > 1)
        reid_str_addf(out, "  %d nodes of %d ranks, %.0f Gbit/s each; %zu buckets\n",
                      machine->nodes, machine->ranks_per_node, machine->node_bytes_per_s * 8e-9,
                      report->buckets);
    else if (report->options->world > 1)
        reid_str_addf(out, "  %d ranks in one node, %.0f GB/s between GPUs; %zu buckets\n",
                      machine->ranks_per_node, machine->gpu->link_bytes_per_s * 1e-9,
                      report->buckets);
    add_estimate(report, "not below", &report->bound, out);
    add_estimate(report, "to be expected", &report->expected, out);
    reid_str_addf(out,
                  "  assumed: %.0f %% of the peak of convolutions and products, %.0f %% of the "
                  "memory's, %.0f us a kernel; %s\n",
                  100 * reid_gpu_assumed.matrix, 100 * reid_gpu_assumed.memory,
                  1e6 * reid_gpu_assumed.call_s,
                  report->compute == REID_F16   ? "convolutions in fp16"
                  : report->compute != REID_F32 ? "convolutions in bf16"
                  : report->tf32                ? "f32 by TF32"
                                                : "f32 without TF32 (MODEL.CUDA.TF32 turns it on)");
    if (machine->ranks_per_node > 8)
        reid_str_addf(out,
                      "  %d GPUs in one node are more than most have; --nodes says how many "
                      "nodes there are\n",
                      machine->ranks_per_node);
}

void reid_plan_report_text(const reid_plan_report *report, reid_str *out)
{
    add_head(report, out);
    add_layers(report, out);
    add_memory(report, out);
    add_fit(report, out);
    add_work(report, out);
    add_time(report, out);
}

/* ---- JSON ---- */

static void put_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void put_double(reid_json_writer *w, const char *key, double value)
{
    reid_json_key(w, key);
    reid_json_double(w, value);
}

static void put_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void put_shape(reid_json_writer *w, const char *key, const reid_shape *shape)
{
    reid_json_key(w, key);
    reid_json_array(w);
    for (int i = 0; i < shape->rank; i++)
        reid_json_int(w, shape->dim[i]);
    reid_json_end_array(w);
}

static void put_layers(const reid_plan_report *report, reid_json_writer *w)
{
    size_t count = 0;
    layer *layers = find_layers(report, &count);
    reid_json_key(w, "layers");
    reid_json_array(w);
    for (size_t i = 0; i < count; i++) {
        const layer *l = &layers[i];
        reid_json_object(w);
        put_text(w, "name", l->forward.name);
        put_text(w, "operation", l->forward.kind);
        put_text(w, "engines", l->forward.kernels);
        put_shape(w, "input", &l->forward.input->shape);
        put_shape(w, "output", &l->forward.output->shape);
        put_double(w, "flops", l->flops);
        put_double(w, "bytes", l->bytes);
        if (report->gpu)
            put_double(w, "bound_s", l->bound_s);
        reid_json_end_object(w);
    }
    reid_json_end_array(w);
    free(layers);
}

static void put_memory(const reid_plan_report *report, reid_json_writer *w)
{
    const reid_plan_sizes *s = &report->planned.sizes;
    reid_plan_memory m = reid_plan_get_memory(report->planned.plan);
    reid_json_key(w, "memory_bytes");
    reid_json_object(w);
    put_int(w, "parameters", (int64_t)s->parameters);
    put_int(w, "gradients", (int64_t)s->gradients);
    put_int(w, "optimizer", (int64_t)s->states);
    put_int(w, "statistics", (int64_t)s->statistics);
    put_int(w, "step", (int64_t)s->step);
    put_int(w, "evaluation", (int64_t)s->evaluation);
    put_int(w, "total", (int64_t)s->total);
    reid_json_key(w, "step_at_its_fullest");
    reid_json_object(w);
    put_text(w, "layer", m.where);
    reid_json_key(w, "backward");
    reid_json_bool(w, m.backward);
    put_int(w, "inputs", (int64_t)m.inputs);
    put_int(w, "activations", (int64_t)m.activations);
    put_int(w, "gradients", (int64_t)m.gradients);
    put_int(w, "workspace", (int64_t)m.workspace);
    put_int(w, "scratch", (int64_t)m.scratch);
    reid_json_end_object(w);
    reid_json_end_object(w);
}

static void put_fit(const reid_plan_report *report, reid_json_writer *w)
{
    const reid_plan_fit *fit = &report->fit;
    if (fit->memory_bytes == 0)
        return;
    reid_json_key(w, "fit");
    reid_json_object(w);
    put_int(w, "memory_bytes", fit->memory_bytes);
    put_int(w, "reserved_bytes", fit->reserved_bytes);
    put_int(w, "batch", fit->batch);
    put_int(w, "bytes", (int64_t)fit->bytes);
    put_int(w, "next_batch", fit->next_batch);
    put_int(w, "next_bytes", (int64_t)fit->next_bytes);
    reid_json_end_object(w);
}

static void put_estimate(const reid_plan_report *report, reid_json_writer *w, const char *key,
                         const reid_estimate *e)
{
    reid_json_key(w, key);
    reid_json_object(w);
    put_double(w, "step_s", e->step_s);
    put_double(w, "forward_s", e->forward_s);
    put_double(w, "backward_s", e->backward_s);
    put_double(w, "update_s", e->update_s);
    put_double(w, "alone_s", e->alone_s);
    put_double(w, "allreduce_s", e->allreduce_s);
    put_double(w, "exposed_s", e->exposed_s);
    put_double(w, "images_per_s", images_per_s(report, e->step_s));
    reid_json_end_object(w);
}

static void put_work(const reid_plan_report *report, reid_json_writer *w)
{
    const reid_estimate_work *work = &report->work;
    reid_json_key(w, "step");
    reid_json_object(w);
    put_double(w, "forward_flops", work->forward_flops);
    put_double(w, "backward_flops", work->backward_flops);
    put_double(w, "update_flops", work->update_flops);
    put_double(w, "bytes", work->bytes);
    put_double(w, "update_bytes", work->update_bytes);
    reid_json_end_object(w);
}

void reid_plan_report_json(const reid_plan_report *report, reid_str *out)
{
    const reid_model *m = report->planned.model;
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    put_text(&w, "device", report->options->plan_device);
    put_text(&w, "backend", reid_backend_name(report->backend));
    put_text(&w, "version", reid_backend_version(report->backend));
    put_text(&w, "compute", reid_dtype_name(report->compute));
    put_text(&w, "optimizer", report->optimizer);
    put_int(&w, "batch", m->train_batch);
    put_int(&w, "height", m->train_height);
    put_int(&w, "width", m->train_width);
    put_int(&w, "ranks", report->options->world);
    put_int(&w, "nodes", report->machine.nodes);
    put_int(&w, "identities", m->num_classes);
    put_int(&w, "buckets", (int64_t)report->buckets);
    put_memory(report, &w);
    put_fit(report, &w);
    put_work(report, &w);
    if (report->gpu) {
        put_text(&w, "gpu", report->gpu->name);
        put_estimate(report, &w, "bound", &report->bound);
        put_estimate(report, &w, "expected", &report->expected);
    }
    put_layers(report, &w);
    reid_json_end_object(&w);
    reid_str_add_char(out, '\n');
}
