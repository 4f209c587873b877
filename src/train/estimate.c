#include "train/estimate.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"

/* Shares of the peaks that are reckoned with. */
static double share(const reid_estimate_machine *machine, double assumed)
{
    return machine->bound ? 1.0 : assumed;
}

static double memory_rate(const reid_estimate_machine *machine)
{
    return machine->gpu->memory_bytes_per_s * share(machine, reid_gpu_assumed.memory);
}

static bool is_product(const char *kind)
{
    return strcmp(kind, "conv2d") == 0 || strcmp(kind, "linear") == 0;
}

/* Rows are f32 in every plan: a linear layer computes in f32. */
static double flop_rate(const char *kind, const reid_estimate_machine *machine)
{
    const reid_gpu_spec *gpu = machine->gpu;
    if (!is_product(kind))
        return gpu->vector_f32;
    double matrix = gpu->matrix_f32;
    if (machine->compute != REID_F32 && strcmp(kind, "conv2d") == 0)
        matrix = gpu->matrix_bf16;
    else if (machine->tf32)
        matrix = gpu->matrix_tf32;
    return matrix * share(machine, reid_gpu_assumed.matrix);
}

static double part_bytes(const reid_cost_part *part)
{
    return part->activation_read + part->activation_written + part->other_read +
           part->other_written;
}

static double call_cost(const reid_estimate_machine *machine)
{
    return machine->bound ? 0.0 : reid_gpu_assumed.call_s;
}

double reid_estimate_call(const reid_cost_call *call, const reid_estimate_machine *machine)
{
    double seconds = 0, rate = flop_rate(call->kind, machine);
    for (size_t i = 0; i < call->part_count; i++) {
        const reid_cost_part *part = &call->parts[i];
        seconds += REID_MAX(part->flops / rate, part_bytes(part) / memory_rate(machine)) +
                   call_cost(machine);
    }
    return seconds;
}

static double call_flops(const reid_cost_call *call, double *bytes)
{
    double flops = 0;
    for (size_t i = 0; i < call->part_count; i++) {
        flops += call->parts[i].flops;
        *bytes += part_bytes(&call->parts[i]);
    }
    return flops;
}

reid_estimate_work reid_estimate_count(const reid_plan *plan, size_t trainable, size_t states)
{
    reid_estimate_work work = {0};
    reid_plan_stats stats = reid_plan_get_stats(plan);
    for (size_t i = 0; i < stats.forward_calls; i++) {
        reid_cost_call call = reid_plan_cost_forward(plan, i);
        double flops = call_flops(&call, &work.bytes);
        work.forward_flops += flops;
        work.product_flops += is_product(call.kind) ? flops : 0;
    }
    for (size_t i = 0; i < stats.backward_calls; i++) {
        reid_cost_call call = reid_plan_cost_backward(plan, i);
        double flops = call_flops(&call, &work.bytes);
        work.backward_flops += flops;
        work.product_flops += is_product(call.kind) ? flops : 0;
    }
    /* Reads value, gradient and states, writes value and states (torch's Adam, SGD). */
    work.update_flops = (double)trainable * (states > 1 ? 12 : 4);
    work.update_bytes = (double)trainable * sizeof(float) * (double)(3 + 2 * states);
    return work;
}

/* ---- the all-reduce ---- */

static double slowest_link(const reid_estimate_machine *machine)
{
    double inside = machine->gpu->link_bytes_per_s * share(machine, reid_gpu_assumed.link);
    double between = machine->node_bytes_per_s * share(machine, reid_gpu_assumed.network);
    if (machine->nodes == 1)
        return inside;
    return machine->ranks_per_node > 1 ? REID_MIN(inside, between) : between;
}

static double ring_seconds(const reid_estimate_machine *machine, double bytes)
{
    double n = (double)machine->nodes * machine->ranks_per_node, m = machine->nodes;
    double latency = 2 * (n - m) * reid_gpu_assumed.link_latency_s +
                     2 * (m - 1) * reid_gpu_assumed.network_latency_s;
    return latency + 2 * (n - 1) / n * bytes / slowest_link(machine);
}

/* 0.9: NCCL's own correction of trees (src/graph/tuning.cc). */
static double tree_seconds(const reid_estimate_machine *machine, double bytes)
{
    double latency = 2 * ((machine->ranks_per_node - 1) * reid_gpu_assumed.link_tree_latency_s +
                          ceil(log2(machine->nodes)) * reid_gpu_assumed.network_latency_s);
    return latency + 2 * bytes / (0.9 * slowest_link(machine));
}

static double allreduce_seconds(const reid_estimate_machine *machine, double bytes)
{
    double ring = ring_seconds(machine, bytes);
    double best = machine->nodes > 1 ? REID_MIN(ring, tree_seconds(machine, bytes)) : ring;
    return reid_gpu_assumed.collective_s + best;
}

/* ---- the step ---- */

typedef struct timeline {
    double now, busy_until; /* of backward, of the all-reduces; from the start of backward */
    double sum;
    size_t next; /* bucket */
    size_t next_start;
} timeline;

/* A call of backward: slower while an all-reduce is under way. */
static void run_call(timeline *t, double seconds, double slowdown)
{
    double shaded = REID_MAX(0.0, t->busy_until - t->now) * (1 - slowdown);
    if (seconds <= shaded)
        t->now += seconds / (1 - slowdown);
    else
        t->now = REID_MAX(t->now, t->busy_until) + seconds - shaded;
}

static void send_buckets(timeline *t, const reid_reducer *reducer, size_t ready_end,
                         const reid_estimate_machine *machine)
{
    while (t->next < reid_reducer_bucket_count(reducer)) {
        size_t end = reid_reducer_bucket_end(reducer, t->next);
        if (end > ready_end)
            return;
        double seconds = allreduce_seconds(machine, (double)(end - t->next_start) * sizeof(float));
        t->busy_until = REID_MAX(t->now, t->busy_until) + seconds;
        t->sum += seconds;
        t->next_start = end;
        t->next++;
    }
}

reid_estimate reid_estimate_step(const reid_plan *plan, const reid_reducer *reducer,
                                 const reid_estimate_work *work,
                                 const reid_estimate_machine *machine)
{
    reid_estimate e = {0};
    timeline t = {0};
    reid_plan_stats stats = reid_plan_get_stats(plan);
    bool alone = machine->nodes * machine->ranks_per_node == 1;
    double slowdown = machine->bound ? 0 : reid_gpu_assumed.overlap_slowdown;
    for (size_t i = 0; i < stats.forward_calls; i++) {
        reid_cost_call call = reid_plan_cost_forward(plan, i);
        e.forward_s += reid_estimate_call(&call, machine);
    }
    for (size_t i = 0; i < stats.backward_calls; i++) {
        reid_cost_call call = reid_plan_cost_backward(plan, i);
        double seconds = reid_estimate_call(&call, machine);
        e.backward_s += seconds;
        run_call(&t, seconds, slowdown);
        /* what no call writes is sent at the end */
        if (!alone)
            send_buckets(&t, reducer, i + 1 == stats.backward_calls ? (size_t)-1 : call.ready_end,
                         machine);
    }
    e.update_s = REID_MAX(work->update_flops / machine->gpu->vector_f32,
                          work->update_bytes / memory_rate(machine)) +
                 call_cost(machine);
    e.alone_s = e.forward_s + e.backward_s + e.update_s;
    e.allreduce_s = t.sum;
    e.exposed_s = REID_MAX(0.0, t.busy_until - t.now);
    e.step_s = e.forward_s + REID_MAX(t.now, t.busy_until) + e.update_s;
    return e;
}
