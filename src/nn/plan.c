#include "nn/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "nn/plan_impl.h"

static void *place_of(const reid_plan *plan, int buffer)
{
    return buffer == REID_BUFFER_NONE ? NULL : plan->arena + plan->buffers.items[buffer].offset;
}

static reid_status bind(reid_plan *plan, reid_plan_node *node, reid_error *err)
{
    reid_op_buffers *b = &node->op->buffers;
    reid_params *params = plan->params;
    for (int k = 0; k < node->desc.input_count; k++) {
        b->input[k] = place_of(plan, plan->values[node->input[k]].buffer);
        b->saved_input[k] = place_of(plan, plan->values[node->input[k]].saved);
    }
    b->output = place_of(plan, plan->values[node->output].buffer);
    b->saved_output = place_of(plan, plan->values[node->output].saved);
    for (int k = 0; k < REID_OP_GRAD_PARTS; k++)
        b->output_grad[k] = place_of(plan, node->output_grad[k]);
    for (int k = 0; k < REID_OP_INPUTS; k++)
        b->input_grad[k] = place_of(plan, node->input_grad[k]);
    if (node->op->equal_grads && !b->input_grad[0]) /* only the second input wants it */
        b->input_grad[0] = b->input_grad[1];
    for (int k = 0; k < node->desc.param_count; k++) {
        b->param[k] = params->value + params->items[node->param[k]].offset;
        b->param_grad[k] =
            node->desc.param_grad[k] ? params->grad + params->items[node->param[k]].offset : NULL;
    }
    for (int k = 0; k < REID_OP_STATES; k++)
        b->state[k] =
            node->state[k] == REID_PARAM_NONE ? NULL : params->buffers[node->state[k]].data;
    b->workspace = place_of(plan, node->workspace);
    b->scratch = place_of(plan, node->scratch);
    return node->op->impl->bind ? node->op->impl->bind(node->op, err) : REID_OK;
}

/* Takes the arena and gives every operation its addresses. */
static reid_status place(reid_plan *plan, reid_error *err)
{
    plan->arena = reid_backend_alloc(plan->backend, plan->arena_bytes);
    if (!plan->arena)
        return reid_plan_no_room(plan, err);
    for (size_t i = 0; i < plan->nodes.count; i++)
        REID_TRY(bind(plan, &plan->nodes.items[i], err));
    return REID_OK;
}

static reid_status check_runs(const reid_plan *plan, reid_error *err)
{
    return plan->options.plan_only
               ? reid_fail(err, REID_ERR_PRECONDITION,
                           "this plan was made to be looked at; it has no memory to run in")
               : REID_OK;
}

static reid_status build(reid_plan *plan, const reid_graph *g, reid_error *err)
{
    REID_TRY(reid_graph_check(g, err));
    if (!reid_backend_supports(plan->backend, plan->options.compute))
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "backend '%s' cannot compute in %s on this machine",
                         reid_backend_name(plan->backend), reid_dtype_name(plan->options.compute));
    if (!plan->options.plan_only && !plan->params->value)
        return reid_fail(err, REID_ERR_INVALID,
                         "a plan that runs needs parameters that were not made with plan_only");
    if (plan->backend->impl->begin)
        plan->backend->impl->begin(plan->backend);
    REID_TRY(reid_plan_fuse(plan, g, err));
    REID_TRY(reid_plan_create_ops(plan, err));
    REID_TRY(reid_plan_schedule(plan, err));
    reid_plan_make_sections(plan);
    if (!plan->options.plan_only)
        REID_TRY(place(plan, err));
    char *text = reid_plan_text(plan, true);
    plan->hash = reid_hash64(text, strlen(text), 0);
    free(text);
    return REID_OK;
}

reid_status reid_plan_new(const reid_graph *g, reid_backend *backend, reid_params *params,
                          const reid_plan_options *options, reid_plan **ret_plan, reid_error *err)
{
    reid_plan *plan = reid_xcalloc(1, sizeof *plan);
    plan->backend = backend;
    plan->params = params;
    plan->options = *options;
    plan->loss_scale = 1;
    REID_ASSERT(params->backend == backend);
    reid_status status = build(plan, g, err);
    if (status != REID_OK) {
        reid_plan_free(plan);
        return status;
    }
    plan->options.tuning = NULL;
    *ret_plan = plan;
    return REID_OK;
}

void reid_plan_free(reid_plan *plan)
{
    if (!plan)
        return;
    reid_plan_drop_recordings(plan);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        if (plan->nodes.items[i].op)
            plan->nodes.items[i].op->impl->free(plan->nodes.items[i].op);
        free(plan->nodes.items[i].name);
    }
    for (size_t i = 0; i < plan->value_count; i++)
        reid_vec_fini(&plan->values[i].grads);
    for (size_t i = 0; i < plan->scalars.count; i++)
        free(plan->scalars.items[i].name);
    reid_vec_fini(&plan->sections);
    reid_backend_release(plan->backend, plan->arena, plan->arena_bytes);
    reid_vec_fini(&plan->nodes);
    reid_vec_fini(&plan->scalars);
    reid_vec_fini(&plan->steps);
    reid_vec_fini(&plan->buffers);
    free(plan->values);
    free(plan);
}

static reid_status check_labels(const reid_plan_value *value, const int32_t *labels, size_t count,
                                reid_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (labels[i] < 0 || labels[i] >= value->label_bound)
            return reid_fail(err, REID_ERR_INVALID,
                             "label %d at position %zu of the batch is not in [0, %lld)",
                             (int)labels[i], i, (long long)value->label_bound);
    return REID_OK;
}

reid_status reid_plan_upload(reid_plan *plan, reid_value input, const void *host, size_t bytes,
                             reid_error *err)
{
    REID_ASSERT(input >= 0 && (size_t)input < plan->value_count &&
                plan->values[input].input != REID_INPUT_NONE);
    const reid_plan_value *value = &plan->values[input];
    size_t count = reid_shape_count(&value->layout->shape);
    REID_TRY(check_runs(plan, err));
    if (bytes != count * 4)
        return reid_fail(err, REID_ERR_INVALID,
                         "an input of the plan takes %zu bytes, but %zu were given", count * 4,
                         bytes);
    if (value->input == REID_INPUT_LABELS)
        REID_TRY(check_labels(value, host, count, err));
    if (value->buffer == REID_BUFFER_NONE)
        return REID_OK; /* nothing reads it */
    if (value->input == REID_INPUT_LABELS)
        reid_backend_copy_in(plan->backend, place_of(plan, value->buffer), host, bytes);
    else
        reid_backend_from_plain(plan->backend, value->layout, host, place_of(plan, value->buffer));
    return REID_OK;
}

reid_status reid_plan_download(reid_plan *plan, reid_value output, void *host, size_t bytes,
                               reid_error *err)
{
    REID_ASSERT(output >= 0 && (size_t)output < plan->value_count && plan->values[output].kept);
    const reid_plan_value *value = &plan->values[output];
    size_t count = reid_shape_count(&value->layout->shape);
    if (bytes != count * sizeof(float))
        return reid_fail(err, REID_ERR_INVALID,
                         "this output of the plan has %zu bytes, but room for %zu was given",
                         count * sizeof(float), bytes);
    if (!plan->forward_done)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "an output can be read after the first forward only");
    reid_backend_to_plain(plan->backend, value->layout, place_of(plan, value->buffer), host);
    return REID_OK;
}

/* ---- running ---- */

void reid_plan_set_probe(reid_plan *plan, reid_plan_probe *probe, void *user)
{
    plan->probe = probe;
    plan->probe_user = user;
}

static bool is_timed(const reid_plan *plan)
{
    return plan->options.profile || plan->probe;
}

/* Ends a timed call; returns its seconds. */
static double end_call(reid_plan *plan, const char *name, const char *kind, const char *kernels,
                       bool backward, double start_s)
{
    reid_backend_wait(plan->backend);
    double end_s = reid_clock_seconds();
    const reid_plan_call call = {name, kind, kernels, backward, start_s, end_s};
    if (plan->probe)
        plan->probe(plan->probe_user, &call);
    return end_s - start_s;
}

static reid_status run_forward(reid_plan *plan, reid_plan_node *node, reid_error *err)
{
    if (!is_timed(plan))
        return node->op->impl->forward(node->op, err);
    double start_s = reid_clock_seconds();
    reid_status status = node->op->impl->forward(node->op, err);
    node->forward_seconds += end_call(plan, node->name, reid_op_kind_name(node->desc.kind),
                                      node->op->kernels, false, start_s);
    return status;
}

/* A device goes on while they travel. */
static void fetch_scalars(reid_plan *plan)
{
    const reid_backend_impl *impl = plan->backend->impl;
    const float *places[REID_FETCH_LIMIT];
    size_t count = plan->scalars.count;
    plan->fetching = impl->fetch_start && count > 0 && count <= REID_FETCH_LIMIT;
    for (size_t i = 0; i < count; i++) {
        reid_plan_scalar_row *row = &plan->scalars.items[i];
        void *place = place_of(plan, plan->values[row->value].buffer);
        if (plan->fetching)
            places[i] = place;
        else
            reid_backend_copy_out(plan->backend, &row->last, place, sizeof row->last);
    }
    if (plan->fetching)
        impl->fetch_start(plan->backend, places, count);
}

static void take_scalars(reid_plan *plan)
{
    float values[REID_FETCH_LIMIT] = {0};
    if (!plan->fetching)
        return;
    plan->backend->impl->fetch_wait(plan->backend, values);
    for (size_t i = 0; i < plan->scalars.count; i++)
        plan->scalars.items[i].last = values[i];
    plan->fetching = false;
}

static reid_status forward_calls(reid_plan *plan, size_t first, size_t end, reid_error *err)
{
    for (size_t i = first; i < end; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        if (run_forward(plan, node, err) != REID_OK)
            return reid_error_prefix(err, "forward of '%s'", node->name);
    }
    return REID_OK;
}

reid_status reid_plan_forward(reid_plan *plan, reid_error *err)
{
    REID_TRY(check_runs(plan, err));
    if (plan->backend->impl->begin)
        plan->backend->impl->begin(plan->backend);
    REID_TRY(reid_plan_run_recorded(plan, &plan->forward_recording, forward_calls, 0,
                                    plan->nodes.count, err));
    fetch_scalars(plan);
    plan->forward_done = true;
    plan->runs++;
    return REID_OK;
}

reid_status reid_plan_read_scalars(reid_plan *plan, reid_error *err)
{
    take_scalars(plan);
    return reid_backend_status(plan->backend, err);
}

static void add_up(reid_plan *plan, const reid_backward_step *step)
{
    if (step->kind == REID_STEP_COPY)
        reid_backend_zero(plan->backend, place_of(plan, step->to), step->layout->bytes);
    plan->backend->impl->accumulate(plan->backend, step->layout, place_of(plan, step->to),
                                    place_of(plan, step->from));
}

static reid_status run_recompute(reid_plan *plan, reid_plan_node *node, reid_error *err)
{
    double start_s = is_timed(plan) ? reid_clock_seconds() : 0.0;
    reid_status status = node->op->impl->recompute(node->op, err);
    if (is_timed(plan))
        node->recompute_seconds +=
            end_call(plan, node->name, "recompute", node->op->kernels, true, start_s);
    return status == REID_OK ? REID_OK : reid_error_prefix(err, "recomputing '%s'", node->name);
}

static reid_status run_step(reid_plan *plan, const reid_backward_step *step, reid_error *err)
{
    double start_s = is_timed(plan) ? reid_clock_seconds() : 0.0;
    if (step->kind == REID_STEP_RECOMPUTE)
        return run_recompute(plan, &plan->nodes.items[step->node], err);
    if (step->kind != REID_STEP_NODE) {
        add_up(plan, step);
        if (is_timed(plan))
            end_call(plan, step->kind == REID_STEP_COPY ? "copy gradient" : "add gradient",
                     "accumulate", "", true, start_s);
        return REID_OK;
    }
    reid_plan_node *node = &plan->nodes.items[step->node];
    reid_status status = REID_OK;
    if (node->op->impl->backward_params)
        status = node->op->impl->backward_params(node->op, err);
    if (status == REID_OK && node->op->impl->backward_inputs)
        status = node->op->impl->backward_inputs(node->op, err);
    if (is_timed(plan))
        node->backward_seconds += end_call(plan, node->name, reid_op_kind_name(node->desc.kind),
                                           node->op->kernels, true, start_s);
    return status == REID_OK ? REID_OK : reid_error_prefix(err, "backward of '%s'", node->name);
}

static reid_status backward_calls(reid_plan *plan, size_t first, size_t end, reid_error *err)
{
    for (size_t i = first; i < end; i++)
        REID_TRY(run_step(plan, &plan->steps.items[i], err));
    return REID_OK;
}

reid_status reid_plan_backward(reid_plan *plan, reid_grad_ready *ready, void *user, reid_error *err)
{
    REID_ASSERT(plan->options.training);
    REID_TRY(check_runs(plan, err));
    if (!plan->forward_done)
        return reid_fail(err, REID_ERR_PRECONDITION, "backward needs a forward before it");
    if (plan->backend->impl->begin)
        plan->backend->impl->begin(plan->backend);
    size_t announced = 0;
    for (size_t i = 0; i < plan->sections.count; i++) {
        reid_plan_section *section = &plan->sections.items[i];
        REID_TRY(reid_plan_run_recorded(plan, &section->recording, backward_calls, section->first,
                                        section->end, err));
        if (ready && section->ready_end > announced)
            ready(user, announced, section->ready_end - announced);
        announced = section->ready_end > announced ? section->ready_end : announced;
    }
    if (ready && announced < plan->params->trainable)
        ready(user, announced, plan->params->trainable - announced);
    return REID_OK;
}

size_t reid_plan_scalar_count(const reid_plan *plan)
{
    return plan->scalars.count;
}

const char *reid_plan_scalar_name(const reid_plan *plan, size_t i)
{
    REID_ASSERT(i < plan->scalars.count);
    return plan->scalars.items[i].name;
}

bool reid_plan_scalar_is_loss(const reid_plan *plan, size_t i)
{
    REID_ASSERT(i < plan->scalars.count);
    return plan->scalars.items[i].is_loss;
}

double reid_plan_scalar(reid_plan *plan, size_t i)
{
    REID_ASSERT(i < plan->scalars.count);
    take_scalars(plan);
    return plan->scalars.items[i].weight * (double)plan->scalars.items[i].last;
}

double reid_plan_loss_weight(const reid_plan *plan, size_t i)
{
    REID_ASSERT(i < plan->scalars.count && plan->scalars.items[i].is_loss);
    return plan->scalars.items[i].weight;
}

/* Backward of the loss that has this output. */
static void set_gradient_of(reid_plan *plan, reid_value value)
{
    for (size_t k = 0; k < plan->nodes.count; k++) {
        reid_plan_node *node = &plan->nodes.items[k];
        if (node->output != value)
            continue;
        reid_plan_drop_backward(plan, (int)k);
        node->desc.loss_scale = node->op->desc.loss_scale = reid_plan_value_weight(plan, value);
    }
}

void reid_plan_set_loss_weight(reid_plan *plan, size_t i, double weight)
{
    REID_ASSERT(i < plan->scalars.count && plan->scalars.items[i].is_loss);
    reid_value value = plan->scalars.items[i].value;
    plan->scalars.items[i].weight = weight;
    set_gradient_of(plan, value);
}

void reid_plan_set_loss_scale(reid_plan *plan, double scale)
{
    REID_ASSERT(scale > 0);
    if (scale == plan->loss_scale)
        return;
    plan->loss_scale = scale;
    for (size_t i = 0; i < plan->scalars.count; i++)
        if (plan->scalars.items[i].is_loss)
            set_gradient_of(plan, plan->scalars.items[i].value);
}

double reid_plan_margin(const reid_plan *plan)
{
    for (size_t k = 0; k < plan->nodes.count; k++)
        if (plan->nodes.items[k].desc.kind == REID_OP_TRIPLET)
            return plan->nodes.items[k].desc.attr.triplet.margin;
    return -1;
}

void reid_plan_set_margin(reid_plan *plan, double margin)
{
    REID_ASSERT(margin > 0 && reid_plan_margin(plan) > 0);
    reid_plan_drop_recordings(plan);
    for (size_t k = 0; k < plan->nodes.count; k++) {
        reid_plan_node *node = &plan->nodes.items[k];
        if (node->desc.kind == REID_OP_TRIPLET)
            node->desc.attr.triplet.margin = node->op->desc.attr.triplet.margin = margin;
    }
}

uint64_t reid_plan_hash(const reid_plan *plan)
{
    return plan->hash;
}

reid_plan_stats reid_plan_get_stats(const reid_plan *plan)
{
    reid_plan_stats stats = {.arena_bytes = plan->arena_bytes,
                             .live_peak_bytes = plan->live_peak_bytes,
                             .forward_calls = plan->nodes.count,
                             .backward_calls = plan->steps.count};
    for (size_t i = 0; i < plan->steps.count; i++)
        stats.recomputed += plan->steps.items[i].kind == REID_STEP_RECOMPUTE;
    for (size_t i = 0; i < plan->nodes.count; i++) {
        const reid_plan_node *node = &plan->nodes.items[i];
        stats.weight_reorders += (size_t)node->op->weight_reorders;
        for (int k = 0; k < node->desc.input_count; k++)
            stats.activation_reorders +=
                node->op->desc.input[k] != plan->values[node->input[k]].layout;
    }
    return stats;
}

char *reid_plan_summary(const reid_plan *plan)
{
    return reid_plan_text(plan, false);
}
