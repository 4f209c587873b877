/* Graph nodes → plan nodes: dead code is left out, ReLU goes into the batch norm or addition before
 * it, and an addition into a batch norm before it; in evaluation a batch norm goes into the
 * convolution before it, where the backend can. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "nn/describe.h"
#include "nn/plan_impl.h"

typedef struct fusion {
    reid_plan *plan;
    const reid_graph *g;
    bool *live;     /* per graph node */
    int *uses;      /* per value, by live nodes */
    int *plan_node; /* per graph node: the plan node that computes its output, or -1 */
} fusion;

static void mark_live(fusion *f, reid_value value)
{
    int producer = f->g->values.items[value].producer;
    if (producer < 0 || f->live[producer])
        return;
    f->live[producer] = true;
    const reid_graph_node *node = &f->g->nodes.items[producer];
    for (int k = 0; k < node->input_count; k++)
        mark_live(f, node->input[k]);
}

static void find_live(fusion *f)
{
    for (size_t i = 0; i < f->g->scalars.count; i++)
        mark_live(f, f->g->scalars.items[i].value);
    for (size_t i = 0; i < f->g->outputs.count; i++)
        mark_live(f, f->g->outputs.items[i].value);
    for (size_t i = 0; i < f->g->nodes.count; i++)
        for (int k = 0; f->live[i] && k < f->g->nodes.items[i].input_count; k++)
            f->uses[f->g->nodes.items[i].input[k]]++;
}

/* The plan node that makes `value`, if the value is needed by one reader only and may vanish. */
static reid_plan_node *absorbable(fusion *f, reid_value value)
{
    const reid_graph_value *v = &f->g->values.items[value];
    if (f->plan->options.no_fusion || v->producer < 0 || v->is_output || f->uses[value] != 1)
        return NULL;
    int index = f->plan_node[v->producer];
    return index >= 0 ? &f->plan->nodes.items[index] : NULL;
}

static bool ends_in_norm(const reid_plan_node *node)
{
    return node->desc.kind == REID_OP_BATCH_NORM || node->desc.folded;
}

static bool fuse_relu(fusion *f, const reid_graph_node *node)
{
    reid_plan_node *before = absorbable(f, node->input[0]);
    if (!before || before->desc.relu || !(ends_in_norm(before) || before->desc.kind == REID_OP_ADD))
        return false;
    before->desc.relu = true;
    before->output = node->output;
    return true;
}

/* bn(x) + r → one node in the place of the addition. Of two batch norms the later one is taken:
 * nothing moves then. */
static bool fuse_add(fusion *f, const reid_graph_node *node)
{
    int best = -1;
    for (int k = 0; k < 2; k++) {
        const reid_plan_node *before = absorbable(f, node->input[k]);
        if (before && ends_in_norm(before) && !before->desc.relu && before->desc.input_count == 1 &&
            (best < 0 || node->input[k] > node->input[best]))
            best = k;
    }
    if (best < 0)
        return false;
    reid_plan_node *norm = absorbable(f, node->input[best]);
    size_t from = (size_t)(norm - f->plan->nodes.items), last = f->plan->nodes.count - 1;
    reid_plan_node moved = *norm;
    moved.input[1] = node->input[1 - best];
    moved.desc.input_count = 2;
    moved.desc.input[1] = f->plan->values[moved.input[1]].layout;
    moved.output = node->output;
    memmove(norm, norm + 1, (last - from) * sizeof *norm);
    f->plan->nodes.items[last] = moved;
    for (size_t i = 0; i < f->g->nodes.count; i++) {
        if (f->plan_node[i] == (int)from)
            f->plan_node[i] = (int)last;
        else if (f->plan_node[i] > (int)from)
            f->plan_node[i]--;
    }
    return true;
}

static size_t state_index(const reid_params *params, const char *layer, const char *suffix)
{
    char *name = reid_xasprintf("%s.%s", layer, suffix);
    size_t index = reid_params_find_buffer(params, name);
    free(name);
    return index;
}

/* Finds the node's parameters by name and checks their shapes. */
static reid_status resolve(reid_plan *plan, const reid_graph_node *source, reid_plan_node *node,
                           reid_error *err)
{
    for (int k = 0; k < source->param_count; k++) {
        char *name = reid_xasprintf("%s.%s", source->name, source->param[k].suffix);
        size_t index = reid_params_find(plan->params, name);
        if (index == REID_PARAM_NONE) {
            reid_fail(err, REID_ERR_INVALID, "the model has no parameter named '%s'", name);
            free(name);
            return REID_ERR_INVALID;
        }
        free(name);
        const reid_param *param = &plan->params->items[index];
        char want[96], have[96];
        if (!reid_shape_equal(&param->layout->shape, &source->param[k].shape))
            return reid_fail(err, REID_ERR_INVALID, "parameter '%s' is %s, but this plan needs %s",
                             param->name, reid_shape_text(have, &param->layout->shape),
                             reid_shape_text(want, &source->param[k].shape));
        node->param[k] = index;
        node->desc.param[k] = param->layout;
    }
    static const char *const suffixes[REID_OP_STATES] = {"running_mean", "running_var",
                                                         "num_batches_tracked"};
    for (int k = 0; k < REID_OP_STATES; k++)
        node->state[k] = source->kind == REID_OP_BATCH_NORM
                             ? state_index(plan->params, source->name, suffixes[k])
                             : REID_PARAM_NONE;
    return REID_OK;
}

/* Batch statistics of a single number are not defined. */
static reid_status check_norm(const reid_plan *plan, const reid_graph *g,
                              const reid_graph_node *node, reid_error *err)
{
    const reid_shape *s = &g->values.items[node->input[0]].shape;
    char text[96];
    if (node->kind != REID_OP_BATCH_NORM || !plan->options.training ||
        reid_shape_count(s) > (size_t)s->dim[1])
        return REID_OK;
    return reid_fail(
        err, REID_ERR_INVALID,
        "batch_norm '%s' on %s: training needs more than one value per channel; use a larger batch",
        node->name, reid_shape_text(text, s));
}

static reid_status add_node(fusion *f, size_t index, reid_error *err)
{
    const reid_graph_node *source = &f->g->nodes.items[index];
    REID_TRY(check_norm(f->plan, f->g, source, err));
    reid_params_options options = {f->plan->options.compute, f->plan->options.convolution};
    reid_plan_node node = {.workspace = REID_BUFFER_NONE,
                           .scratch = REID_BUFFER_NONE,
                           .output_grad = {REID_BUFFER_NONE, REID_BUFFER_NONE},
                           .input_grad = {REID_BUFFER_NONE, REID_BUFFER_NONE}};
    node.desc = reid_describe_node(f->g, f->plan->backend, &options, source);
    node.desc.training = f->plan->options.training;
    memcpy(node.input, source->input, sizeof node.input);
    node.output = source->output;
    REID_TRY(resolve(f->plan, source, &node, err));
    node.name = reid_xstrdup(source->name);
    node.desc.name = node.name;
    f->plan_node[index] = (int)f->plan->nodes.count;
    reid_vec_push(&f->plan->nodes, node);
    return REID_OK;
}

/* The convolution that this batch norm can go into, or NULL. */
static reid_plan_node *foldable(fusion *f, const reid_graph_node *node)
{
    if (node->kind != REID_OP_BATCH_NORM || f->plan->options.training ||
        !f->plan->backend->impl->folds_norm)
        return NULL;
    reid_plan_node *before = absorbable(f, node->input[0]);
    bool plain = before && before->desc.kind == REID_OP_CONV2D && !before->desc.folded &&
                 before->desc.param_count == 1;
    return plain ? before : NULL;
}

static reid_status fold_norm(fusion *f, const reid_graph_node *source, reid_plan_node *conv,
                             reid_error *err)
{
    reid_plan_node norm = {0};
    REID_TRY(resolve(f->plan, source, &norm, err));
    conv->desc.folded = true;
    conv->desc.fold = source->attr.attr.norm;
    conv->desc.param_count = 1 + source->param_count;
    for (int k = 0; k < source->param_count; k++) {
        conv->param[1 + k] = norm.param[k];
        conv->desc.param[1 + k] = norm.desc.param[k];
    }
    memcpy(conv->state, norm.state, sizeof conv->state);
    conv->output = source->output;
    return REID_OK;
}

static reid_status fuse_all(fusion *f, reid_error *err)
{
    find_live(f);
    for (size_t i = 0; i < f->g->nodes.count; i++) {
        const reid_graph_node *node = &f->g->nodes.items[i];
        f->plan_node[i] = -1;
        if (!f->live[i])
            continue;
        reid_plan_node *conv = foldable(f, node);
        if (conv)
            REID_TRY(fold_norm(f, node, conv, err));
        bool fused = conv || (node->kind == REID_OP_RELU && fuse_relu(f, node)) ||
                     (node->kind == REID_OP_ADD && fuse_add(f, node));
        if (fused)
            f->plan_node[i] = f->plan_node[f->g->values.items[node->input[0]].producer];
        else
            REID_TRY(add_node(f, i, err));
        if (fused && node->kind == REID_OP_ADD)
            f->plan_node[i] = (int)f->plan->nodes.count - 1;
    }
    return REID_OK;
}

static void describe_values(reid_plan *plan, const reid_graph *g)
{
    plan->value_count = g->values.count;
    plan->values = reid_xcalloc(g->values.count + 1, sizeof *plan->values);
    for (size_t i = 0; i < g->values.count; i++) {
        reid_plan_value *value = &plan->values[i];
        value->layout = reid_describe_value(g, plan->backend, plan->options.compute, (reid_value)i);
        value->input = g->values.items[i].input;
        value->kept = g->values.items[i].is_output;
        value->producer = -1;
        value->buffer = value->saved = REID_BUFFER_NONE;
        value->label_bound = INT32_MAX;
    }
}

reid_status reid_plan_fuse(reid_plan *plan, const reid_graph *g, reid_error *err)
{
    describe_values(plan, g);
    fusion f = {plan, g, reid_xcalloc(g->nodes.count + 1, sizeof(bool)),
                reid_xcalloc(g->values.count + 1, sizeof(int)),
                reid_xcalloc(g->nodes.count + 1, sizeof(int))};
    reid_status status = fuse_all(&f, err);
    free(f.live);
    free(f.uses);
    free(f.plan_node);
    REID_TRY(status);
    for (size_t i = 0; i < plan->nodes.count; i++) {
        reid_plan_node *node = &plan->nodes.items[i];
        plan->values[node->output].producer = (int)i;
        plan->values[node->output].used = true;
        for (int k = 0; k < node->desc.input_count; k++) {
            reid_plan_value *input = &plan->values[node->input[k]];
            input->used = true;
            bool classes =
                node->desc.kind == REID_OP_CROSS_ENTROPY || node->desc.kind == REID_OP_ACCURACY;
            if (input->input == REID_INPUT_LABELS && classes)
                input->label_bound =
                    REID_MIN(input->label_bound, node->desc.input[0]->shape.dim[1]);
        }
    }
    for (size_t i = 0; i < g->scalars.count; i++) {
        const reid_graph_scalar *s = &g->scalars.items[i];
        reid_plan_scalar_row row = {reid_xstrdup(s->name), s->weight, s->is_loss, s->value, 0.0f};
        reid_vec_push(&plan->scalars, row);
        plan->values[s->value].kept = true;
    }
    return REID_OK;
}
