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

/* From here on backward can read the value: one that was dropped is computed anew, after what that
 * reads. */
static void restore(schedule *s, reid_value index)
{
    reid_plan_value *value = &s->plan->values[index];
    if (!value->dropped || value->restored >= 0)
        return;
    const reid_plan_node *node = &s->plan->nodes.items[value->producer];
    for (int k = 0; k < node->desc.input_count; k++)
        restore(s, node->input[k]);
    value->restored = now(s);
    add_step(s, REID_STEP_RECOMPUTE, value->producer, NULL, REID_BUFFER_NONE, REID_BUFFER_NONE);
}

static void restore_read(schedule *s, const reid_plan_node *node)
{
    for (int k = 0; k < node->desc.input_count; k++)
        if (node->op->needs_input[k])
            restore(s, node->input[k]);
    if (node->op->needs_output)
        restore(s, node->output);
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
    restore_read(s, node);
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

/* When each value is read for the last time; node outputs from forward, and those computed anew. */
typedef struct last_uses {
    int *forward, *saved; /* [values] */
    int *workspace;       /* [nodes] */
} last_uses;

static void use_value(const schedule *s, last_uses *uses, reid_value value, int time)
{
    bool anew = s->plan->values[value].restored >= 0 && time >= (int)s->plan->nodes.count;
    int *last = anew ? &uses->saved[value] : &uses->forward[value];
    *last = REID_MAX(*last, time);
}

/* `all` inputs, or those that backward reads. */
static void use_node(const schedule *s, last_uses *uses, int index, int time, bool all)
{
    const reid_plan_node *node = &s->plan->nodes.items[index];
    for (int k = 0; k < node->desc.input_count; k++)
        if (all || node->op->needs_input[k])
            use_value(s, uses, node->input[k], time);
    if (all || node->op->needs_output)
        use_value(s, uses, node->output, time);
    uses->workspace[index] = REID_MAX(uses->workspace[index], time);
}

static last_uses find_last_uses(const schedule *s)
{
    const reid_plan *plan = s->plan;
    last_uses uses = {reid_xcalloc(plan->value_count + 1, sizeof(int)),
                      reid_xcalloc(plan->value_count + 1, sizeof(int)),
                      reid_xcalloc(plan->nodes.count + 1, sizeof(int))};
    for (size_t i = 0; i < plan->nodes.count; i++)
        use_node(s, &uses, (int)i, (int)i, true);
    for (size_t k = 0; k < plan->steps.count; k++) {
        const reid_backward_step *step = &plan->steps.items[k];
        if (step->kind == REID_STEP_NODE || step->kind == REID_STEP_RECOMPUTE)
            use_node(s, &uses, step->node, (int)(plan->nodes.count + k),
                     step->kind == REID_STEP_RECOMPUTE);
    }
    for (size_t i = 0; i < plan->value_count; i++)
        if (plan->values[i].kept || plan->values[i].input != REID_INPUT_NONE)
            uses.forward[i] = s->end; /* readable after, or filled before, the step */
    return uses;
}

static int saved_buffer(const schedule *s, reid_value value)
{
    const reid_plan_value *v = &s->plan->values[value];
    return v->restored >= 0 ? v->saved : v->buffer;
}

/* A buffer for the node's output at this time: over an input that is read for the last time, or a
 * new one. */
static int output_buffer(schedule *s, const reid_plan_node *node, int time, int last)
{
    size_t bytes = node->desc.output->bytes;
    bool forward = time < (int)s->plan->nodes.count;
    for (int k = 0; k < node->desc.input_count; k++) {
        int host =
            forward ? s->plan->values[node->input[k]].buffer : saved_buffer(s, node->input[k]);
        if (node->op->output_over_input[k] && root_buffer(s, host)->last == time &&
            root_buffer(s, host)->bytes == bytes)
            return add_over(s, host, bytes, time, last);
    }
    return add_buffer(s, bytes, time, last);
}

static void schedule_forward(schedule *s, const last_uses *uses)
{
    reid_plan *plan = s->plan;
    for (size_t i = 0; i < plan->value_count; i++)
        if (plan->values[i].input != REID_INPUT_NONE && plan->values[i].used)
            plan->values[i].buffer = add_buffer(s, plan->values[i].layout->bytes, -1, s->end);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        plan->values[node->output].buffer =
            output_buffer(s, node, (int)i, uses->forward[node->output]);
        if (node->op->workspace_bytes)
            node->workspace = add_buffer(s, node->op->workspace_bytes, (int)i, uses->workspace[i]);
        node->scratch = add_buffer(s, node->op->scratch_bytes, (int)i, (int)i);
    }
}

/* Scratch lives in the calls of its operation only. */
static void schedule_scratch(schedule *s)
{
    reid_plan *plan = s->plan;
    for (size_t k = 0; k < plan->steps.count; k++) {
        const reid_backward_step *step = &plan->steps.items[k];
        if (step->node < 0)
            continue;
        reid_arena_buffer *b = &plan->buffers.items[plan->nodes.items[step->node].scratch];
        REID_ASSERT(b->moment_count < REID_ARENA_MOMENTS);
        b->moments[b->moment_count++] = (int)(plan->nodes.count + k);
    }
}

/* Buffers of what is computed anew. */
static void schedule_restored(schedule *s, const last_uses *uses)
{
    reid_plan *plan = s->plan;
    for (size_t i = 0; i < plan->value_count; i++)
        plan->values[i].saved = plan->values[i].buffer;
    for (size_t k = 0; k < plan->steps.count; k++) {
        const reid_backward_step *step = &plan->steps.items[k];
        if (step->kind != REID_STEP_RECOMPUTE)
            continue;
        const reid_plan_node *node = &plan->nodes.items[step->node];
        plan->values[node->output].saved =
            output_buffer(s, node, (int)(plan->nodes.count + k), uses->saved[node->output]);
    }
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

/* Undoes what scheduling has written. */
static void clear(schedule *s)
{
    reid_plan *plan = s->plan;
    plan->steps.count = plan->buffers.count = s->refs.count = 0;
    for (size_t i = 0; i < plan->value_count; i++) {
        plan->values[i].grads.count = 0;
        plan->values[i].buffer = plan->values[i].saved = REID_BUFFER_NONE;
        plan->values[i].restored = -1;
    }
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        node->workspace = node->scratch = REID_BUFFER_NONE;
        for (int p = 0; p < REID_OP_GRAD_PARTS; p++)
            node->output_grad[p] = REID_BUFFER_NONE;
        for (int k = 0; k < REID_OP_INPUTS; k++)
            node->input_grad[k] = REID_BUFFER_NONE;
    }
}

/* Steps, buffers and lifetimes; returns the most bytes alive at once. */
static size_t schedule_all(schedule *s)
{
    reid_plan *plan = s->plan;
    clear(s);
    for (size_t i = plan->nodes.count; plan->options.training && i-- > 0;)
        if (plan->nodes.items[i].backward)
            schedule_backward(s, (int)i);
    s->end = now(s);
    last_uses uses = find_last_uses(s);
    schedule_forward(s, &uses);
    schedule_restored(s, &uses);
    schedule_scratch(s);
    free(uses.forward);
    free(uses.saved);
    free(uses.workspace);
    return reid_arena_live_peak(plan->buffers.items, plan->buffers.count);
}

/* Values whose absence does not lower the peak are kept after all, the last ones first: those are
 * wanted soon after they are made. */
static size_t keep_what_is_free(schedule *s, size_t peak)
{
    reid_plan *plan = s->plan;
    for (size_t i = plan->value_count; i-- > 0;) {
        if (plan->values[i].restored < 0)
            continue;
        plan->values[i].dropped = false;
        if (schedule_all(s) <= peak)
            continue;
        plan->values[i].dropped = true;
        schedule_all(s);
    }
    return peak;
}

reid_status reid_plan_schedule(reid_plan *plan, reid_error *err)
{
    schedule s = {.plan = plan};
    reid_plan_drop_values(plan);
    plan->live_peak_bytes = keep_what_is_free(&s, schedule_all(&s));
    find_ready_ranges(plan);
    plan->arena_bytes = reid_arena_place(plan->buffers.items, plan->buffers.count);
    reid_vec_fini(&s.refs);
    for (size_t i = 0; i < plan->value_count; i++)
        reid_vec_fini(&plan->values[i].grads);
    return REID_OK;
}
