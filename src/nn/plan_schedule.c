/* Buffers and lifetimes. Time: forward call i of n is i; backward list entry k is n + k. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "nn/plan_impl.h"

typedef struct schedule {
    reid_plan *plan;
    int end;            /* last time of the step; grows while the backward list does */
    REID_VEC(int) refs; /* per buffer: pending readers of a gradient */
} schedule;

static int add_buffer(schedule *s, size_t bytes, int first, int last)
{
    reid_arena_buffer buffer = {
        .bytes = bytes ? bytes : 1, .first = first, .last = last, .root = -1};
    reid_vec_push(&s->plan->buffers, buffer);
    reid_vec_push(&s->refs, 0);
    return (int)s->plan->buffers.count - 1;
}

static int root_of(const schedule *s, int buffer)
{
    int root = s->plan->buffers.items[buffer].root;
    return root < 0 ? buffer : root;
}

static reid_arena_buffer *root_buffer(const schedule *s, int buffer)
{
    return &s->plan->buffers.items[root_of(s, buffer)];
}

static void live_until(schedule *s, int buffer, int time)
{
    reid_arena_buffer *root = root_buffer(s, buffer);
    root->last = REID_MAX(root->last, time);
}

/* A new buffer in the place of `host`, which nobody reads any more. */
static int add_over(schedule *s, int host, size_t bytes, int first, int last)
{
    int buffer = add_buffer(s, bytes, first, last);
    s->plan->buffers.items[buffer].root = root_of(s, host);
    live_until(s, host, last);
    return buffer;
}

/* ---- backward: the list of steps and the gradients' buffers ---- */

static int now(const schedule *s)
{
    return (int)(s->plan->nodes.count + s->plan->steps.count);
}

static void add_step(schedule *s, reid_step_kind kind, int node, const reid_layout *layout,
                     int from, int to)
{
    reid_backward_step step = {kind, node, layout, from, to, 0};
    reid_vec_push(&s->plan->steps, step);
}

/* Makes one addend of two: into one that nobody else reads, else into a new buffer. Returns the
 * sum's buffer. */
static int add_together(schedule *s, const reid_layout *layout, int a, int b)
{
    if (s->refs.items[a] > 1 && s->refs.items[b] == 1) {
        int t = a;
        a = b;
        b = t;
    }
    if (s->refs.items[a] > 1) {
        int copy = add_buffer(s, layout->bytes, now(s), now(s));
        live_until(s, a, now(s));
        add_step(s, REID_STEP_COPY, -1, layout, a, copy);
        s->refs.items[a]--;
        s->refs.items[copy] = 1;
        a = copy;
    }
    live_until(s, a, now(s));
    live_until(s, b, now(s));
    add_step(s, REID_STEP_ACCUMULATE, -1, layout, b, a);
    s->refs.items[b]--;
    return a;
}

/* Brings the addends of a value's gradient down to what the operation takes. */
static void reduce_parts(schedule *s, reid_plan_value *value, size_t wanted)
{
    while (value->grads.count > wanted) {
        size_t last = value->grads.count - 1;
        int sum =
            add_together(s, value->layout, value->grads.items[last - 1], value->grads.items[last]);
        value->grads.count--;
        value->grads.items[last - 1] = sum;
    }
}

static void give_grad(schedule *s, reid_value value, int buffer)
{
    reid_vec_push(&s->plan->values[value].grads, buffer);
    s->refs.items[buffer]++;
}

/* The buffer for input_grad[k] at this time: over a dying part of the output's gradient, or a new
 * one. */
static int grad_buffer(schedule *s, reid_plan_node *node, int k, bool taken[REID_OP_GRAD_PARTS])
{
    size_t bytes = node->desc.input[k]->bytes;
    for (int p = 0; node->op->grad_over_grad[k] && p < REID_OP_GRAD_PARTS; p++) {
        int part = node->output_grad[p];
        if (part == REID_BUFFER_NONE || taken[p] || s->refs.items[part] > 0 ||
            root_buffer(s, part)->bytes < bytes || root_buffer(s, part)->last > now(s))
            continue;
        if (p == 1 && node->output_grad[0] == part)
            continue;
        taken[p] = true;
        return add_over(s, part, bytes, now(s), now(s));
    }
    return add_buffer(s, bytes, now(s), now(s));
}

/* Addition without ReLU: its gradient is that of both inputs, nothing is computed. */
static void pass_through(schedule *s, reid_plan_node *node, reid_plan_value *out)
{
    reduce_parts(s, out, 1);
    int grad = out->grads.items[0];
    for (int k = 0; k < node->desc.input_count; k++)
        if (node->desc.input_grad[k])
            give_grad(s, node->input[k], grad);
    s->refs.items[grad]--;
}

static void schedule_backward(schedule *s, int index)
{
    reid_plan_node *node = &s->plan->nodes.items[index];
    reid_plan_value *out = &s->plan->values[node->output];
    bool taken[REID_OP_GRAD_PARTS] = {false};
    if (node->desc.kind == REID_OP_ADD && !node->op->impl->backward_inputs) {
        pass_through(s, node, out);
        return;
    }
    reduce_parts(s, out, (size_t)node->op->grad_parts);
    for (size_t p = 0; p < out->grads.count; p++) {
        int part = out->grads.items[p];
        node->output_grad[p] = part;
        s->refs.items[part]--;
        live_until(s, part, now(s));
    }
    for (int k = 0; k < node->desc.input_count; k++) {
        if (!node->desc.input_grad[k])
            continue;
        if (k > 0 && node->op->equal_grads && node->input_grad[0] != REID_BUFFER_NONE)
            node->input_grad[k] = node->input_grad[0];
        else
            node->input_grad[k] = grad_buffer(s, node, k, taken);
    }
    for (int k = 0; k < node->desc.input_count; k++)
        if (node->desc.input_grad[k])
            give_grad(s, node->input[k], node->input_grad[k]);
    add_step(s, REID_STEP_NODE, index, NULL, REID_BUFFER_NONE, REID_BUFFER_NONE);
}

/* ---- forward: values and workspaces ---- */

/* When the node runs backward, or -1. */
static int *backward_times(const schedule *s)
{
    int *times = reid_xcalloc(s->plan->nodes.count + 1, sizeof *times);
    for (size_t i = 0; i < s->plan->nodes.count; i++)
        times[i] = -1;
    for (size_t k = 0; k < s->plan->steps.count; k++)
        if (s->plan->steps.items[k].kind == REID_STEP_NODE)
            times[s->plan->steps.items[k].node] = (int)(s->plan->nodes.count + k);
    return times;
}

static int *last_uses(const schedule *s, const int *backward)
{
    const reid_plan *plan = s->plan;
    int *last = reid_xcalloc(plan->value_count + 1, sizeof *last);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        const reid_plan_node *node = &plan->nodes.items[i];
        for (int k = 0; k < node->desc.input_count; k++) {
            int *use = &last[node->input[k]];
            *use = REID_MAX(*use, (int)i);
            if (backward[i] >= 0 && node->op->needs_input[k])
                *use = REID_MAX(*use, backward[i]);
        }
        int *out = &last[node->output];
        *out = REID_MAX(*out, (int)i);
        if (backward[i] >= 0 && node->op->needs_output)
            *out = REID_MAX(*out, backward[i]);
    }
    for (size_t i = 0; i < plan->value_count; i++)
        if (plan->values[i].kept || plan->values[i].input != REID_INPUT_NONE)
            last[i] = s->end; /* readable after, or filled before, the step */
    return last;
}

static int output_buffer(schedule *s, const reid_plan_node *node, int time, int last)
{
    size_t bytes = node->desc.output->bytes;
    for (int k = 0; k < node->desc.input_count; k++) {
        int host = s->plan->values[node->input[k]].buffer;
        if (node->op->output_over_input[k] && root_buffer(s, host)->last == time &&
            root_buffer(s, host)->bytes == bytes)
            return add_over(s, host, bytes, time, last);
    }
    return add_buffer(s, bytes, time, last);
}

static void schedule_forward(schedule *s)
{
    reid_plan *plan = s->plan;
    int *backward = backward_times(s), *last = last_uses(s, backward);
    size_t scratch = 1;
    for (size_t i = 0; i < plan->value_count; i++)
        if (plan->values[i].input != REID_INPUT_NONE && plan->values[i].used)
            plan->values[i].buffer = add_buffer(s, plan->values[i].layout->bytes, -1, s->end);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        plan->values[node->output].buffer = output_buffer(s, node, (int)i, last[node->output]);
        if (node->op->workspace_bytes)
            node->workspace =
                add_buffer(s, node->op->workspace_bytes, (int)i, REID_MAX((int)i, backward[i]));
        scratch = REID_MAX(scratch, node->op->scratch_bytes);
    }
    plan->scratch = add_buffer(s, scratch, -1, s->end);
    free(backward);
    free(last);
}

/* After which step which prefix of the gradients is final. */
static void find_ready_ranges(reid_plan *plan)
{
    bool *done = reid_xcalloc(plan->params->count + 1, sizeof *done);
    for (size_t i = 0; i < plan->params->count; i++)
        done[i] =
            plan->params->items[i].trainable; /* those no step writes are final from the start */
    for (size_t k = 0; k < plan->nodes.count; k++)
        for (int p = 0; p < plan->nodes.items[k].desc.param_count; p++)
            if (plan->nodes.items[k].desc.param_grad[p])
                done[plan->nodes.items[k].param[p]] = false;
    for (size_t k = 0; k < plan->steps.count; k++) {
        reid_backward_step *step = &plan->steps.items[k];
        if (step->kind == REID_STEP_NODE) {
            const reid_plan_node *node = &plan->nodes.items[step->node];
            for (int p = 0; p < node->desc.param_count; p++)
                if (node->desc.param_grad[p])
                    done[node->param[p]] = true;
        }
        size_t end = plan->params->trainable;
        for (size_t i = 0; i < plan->params->count; i++)
            if (plan->params->items[i].trainable && !done[i])
                end = REID_MIN(end, plan->params->items[i].offset);
        step->ready_end = end;
    }
    free(done);
}

reid_status reid_plan_schedule(reid_plan *plan, reid_error *err)
{
    schedule s = {.plan = plan};
    for (size_t i = plan->nodes.count; plan->options.training && i-- > 0;)
        if (plan->nodes.items[i].backward)
            schedule_backward(&s, (int)i);
    s.end = now(&s);
    schedule_forward(&s);
    find_ready_ranges(plan);
    plan->live_peak_bytes = reid_arena_live_peak(plan->buffers.items, plan->buffers.count);
    plan->arena_bytes = reid_arena_place(plan->buffers.items, plan->buffers.count);
    reid_vec_fini(&s.refs);
    for (size_t i = 0; i < plan->value_count; i++)
        reid_vec_fini(&plan->values[i].grads);
    return REID_OK;
}
