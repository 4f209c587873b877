#include "nn/graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/graph_impl.h"

reid_graph *reid_graph_new(void)
{
    return reid_xcalloc(1, sizeof(reid_graph));
}

void reid_graph_free(reid_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->nodes.count; i++)
        free(g->nodes.items[i].name);
    for (size_t i = 0; i < g->scalars.count; i++)
        free(g->scalars.items[i].name);
    for (size_t i = 0; i < g->outputs.count; i++)
        free(g->outputs.items[i].name);
    reid_vec_fini(&g->nodes);
    reid_vec_fini(&g->values);
    reid_vec_fini(&g->scalars);
    reid_vec_fini(&g->outputs);
    free(g);
}

reid_status reid_graph_check(const reid_graph *g, reid_error *err)
{
    if (g->error.code == REID_OK)
        return REID_OK;
    return reid_fail(err, g->error.code, "%s", g->error.text);
}

reid_shape reid_graph_shape(const reid_graph *g, reid_value value)
{
    REID_ASSERT(value >= 0 && (size_t)value < g->values.count);
    return g->values.items[value].shape;
}

/* False when the call must do nothing: an earlier fault, or a value that is not of this graph. */
static bool usable(reid_graph *g, reid_value value, const char *who)
{
    if (g->error.code != REID_OK)
        return false;
    if (value < 0 || (size_t)value >= g->values.count) {
        reid_fail(&g->error, REID_ERR_INVALID, "%s: its input is not a value of this graph", who);
        return false;
    }
    return true;
}

static reid_value add_value(reid_graph *g, reid_shape shape, reid_input_kind input, int producer)
{
    reid_graph_value value = {.shape = shape, .input = input, .producer = producer};
    reid_vec_push(&g->values, value);
    return (reid_value)g->values.count - 1;
}

static reid_value add_input(reid_graph *g, reid_shape shape, reid_input_kind kind, const char *what)
{
    char text[96];
    if (g->error.code != REID_OK)
        return REID_VALUE_NONE;
    if (!reid_shape_valid(&shape)) {
        reid_fail(&g->error, REID_ERR_INVALID, "%s: the shape %s is not possible", what,
                  reid_shape_text(text, &shape));
        return REID_VALUE_NONE;
    }
    return add_value(g, shape, kind, -1);
}

reid_value reid_graph_images(reid_graph *g, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return add_input(g, reid_shape_4d(n, c, h, w), REID_INPUT_IMAGES, "images");
}

reid_value reid_graph_labels(reid_graph *g, int64_t n)
{
    return add_input(g, reid_shape_1d(n), REID_INPUT_LABELS, "labels");
}

/* A node under construction. `name` may be NULL for layers without parameters. */
static reid_graph_node node_begin(reid_graph *g, reid_op_kind kind, const char *name, reid_value a,
                                  reid_value b)
{
    reid_graph_node node = {
        .kind = kind, .input = {a, b}, .input_count = b == REID_VALUE_NONE ? 1 : 2};
    node.name = name ? reid_xstrdup(name)
                     : reid_xasprintf("%s_%zu", reid_op_kind_name(kind), g->nodes.count);
    return node;
}

static reid_value node_fail(reid_graph *g, reid_graph_node *node, const char *sentence)
{
    char a[96] = "", b[96] = "";
    reid_shape_text(a, &g->values.items[node->input[0]].shape);
    if (node->input_count > 1)
        reid_shape_text(b, &g->values.items[node->input[1]].shape);
    reid_fail(&g->error, REID_ERR_INVALID, "%s '%s' on %s%s%s: %s", reid_op_kind_name(node->kind),
              node->name, a, b[0] ? " and " : "", b, sentence);
    free(node->name);
    return REID_VALUE_NONE;
}

static reid_value node_end(reid_graph *g, reid_graph_node *node, reid_shape shape)
{
    if (!reid_shape_valid(&shape))
        return node_fail(g, node, "the result would be empty or too large");
    for (size_t i = 0; i < g->nodes.count; i++)
        if (strcmp(g->nodes.items[i].name, node->name) == 0)
            return node_fail(g, node, "another layer has the same name");
    for (int i = 0; i < node->param_count; i++)
        if (!reid_shape_valid(&node->param[i].shape))
            return node_fail(g, node, "its parameter would be empty or too large");
    node->output = add_value(g, shape, REID_INPUT_NONE, (int)g->nodes.count);
    reid_vec_push(&g->nodes, *node);
    return node->output;
}

static void node_param(reid_graph_node *node, const char *suffix, reid_param_kind kind,
                       reid_shape shape, bool trainable)
{
    node->param[node->param_count++] = (reid_graph_param){shape, kind, suffix, trainable};
}

static const reid_shape *shape_of(const reid_graph *g, reid_value v)
{
    return &g->values.items[v].shape;
}

static bool is_label(const reid_graph *g, reid_value v)
{
    return g->values.items[v].input == REID_INPUT_LABELS;
}

reid_value reid_graph_conv2d(reid_graph *g, reid_value x, const char *name, reid_conv2d attr)
{
    if (!usable(g, x, name))
        return REID_VALUE_NONE;
    if (attr.stride == 0)
        attr.stride = 1;
    reid_graph_node node = node_begin(g, REID_OP_CONV2D, name, x, REID_VALUE_NONE);
    node.attr.attr.conv = attr;
    const reid_shape s = *shape_of(g, x);
    if (s.rank != 4)
        return node_fail(g, &node, "a convolution needs [N,C,H,W]");
    if (attr.out_channels < 1 || attr.out_channels > 1 << 20 || attr.kernel < 1 ||
        attr.kernel > 1024 || attr.stride < 1 || attr.stride > 1024 || attr.padding < 0 ||
        attr.padding >= attr.kernel)
        return node_fail(
            g, &node, "output channels, kernel or stride below 1, or padding not below the kernel");
    int64_t h = s.dim[2] + 2 * attr.padding - attr.kernel,
            w = s.dim[3] + 2 * attr.padding - attr.kernel;
    if (h < 0 || w < 0)
        return node_fail(g, &node, "the kernel is larger than the padded image");
    node_param(&node, "weight", REID_PARAM_WEIGHT,
               reid_shape_4d(attr.out_channels, s.dim[1], attr.kernel, attr.kernel), true);
    if (attr.bias)
        node_param(&node, "bias", REID_PARAM_BIAS, reid_shape_1d(attr.out_channels), true);
    return node_end(
        g, &node,
        reid_shape_4d(s.dim[0], attr.out_channels, h / attr.stride + 1, w / attr.stride + 1));
}

reid_value reid_graph_batch_norm(reid_graph *g, reid_value x, const char *name,
                                 reid_batch_norm attr)
{
    if (!usable(g, x, name))
        return REID_VALUE_NONE;
    if (attr.eps == 0.0)
        attr.eps = 1e-5;
    if (attr.momentum == 0.0)
        attr.momentum = 0.1;
    reid_graph_node node = node_begin(g, REID_OP_BATCH_NORM, name, x, REID_VALUE_NONE);
    node.attr.attr.norm = attr;
    const reid_shape s = *shape_of(g, x);
    if (s.rank != 2 && s.rank != 4)
        return node_fail(g, &node, "batch norm needs [N,C] or [N,C,H,W]");
    if (!(attr.eps > 0.0) || !(attr.momentum > 0.0 && attr.momentum <= 1.0))
        return node_fail(g, &node, "eps must be above 0 and momentum in (0, 1]");
    node_param(&node, "weight", REID_PARAM_NORM_WEIGHT, reid_shape_1d(s.dim[1]), true);
    node_param(&node, "bias", REID_PARAM_NORM_BIAS, reid_shape_1d(s.dim[1]), !attr.bias_frozen);
    return node_end(g, &node, s);
}

reid_value reid_graph_relu(reid_graph *g, reid_value x)
{
    if (!usable(g, x, "relu"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_RELU, NULL, x, REID_VALUE_NONE);
    if (shape_of(g, x)->rank != 2 && shape_of(g, x)->rank != 4)
        return node_fail(g, &node, "relu needs [N,C] or [N,C,H,W]");
    return node_end(g, &node, *shape_of(g, x));
}

reid_value reid_graph_add(reid_graph *g, reid_value a, reid_value b)
{
    if (!usable(g, a, "add") || !usable(g, b, "add"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_ADD, NULL, a, b);
    if (!reid_shape_equal(shape_of(g, a), shape_of(g, b)))
        return node_fail(g, &node, "both sides of an addition must have one shape");
    if (shape_of(g, a)->rank != 2 && shape_of(g, a)->rank != 4)
        return node_fail(g, &node, "add needs [N,C] or [N,C,H,W]");
    return node_end(g, &node, *shape_of(g, a));
}

/* Output size of a pooling window along one side, as PyTorch's pooling_output_shape. */
static int64_t pooled(int64_t in, reid_max_pool a)
{
    int64_t top = in + 2 * a.padding - a.kernel + (a.ceil_mode ? a.stride - 1 : 0);
    if (top < 0)
        return 0;
    int64_t out = top / a.stride + 1;
    if (a.ceil_mode && (out - 1) * a.stride >= in + a.padding)
        out--;
    return out;
}

reid_value reid_graph_max_pool(reid_graph *g, reid_value x, reid_max_pool attr)
{
    if (!usable(g, x, "max_pool"))
        return REID_VALUE_NONE;
    if (attr.stride == 0)
        attr.stride = attr.kernel;
    reid_graph_node node = node_begin(g, REID_OP_MAX_POOL, NULL, x, REID_VALUE_NONE);
    node.attr.attr.pool = attr;
    const reid_shape s = *shape_of(g, x);
    if (s.rank != 4)
        return node_fail(g, &node, "max pooling needs [N,C,H,W]");
    if (attr.kernel < 1 || attr.kernel > 15 || attr.stride < 1 || attr.padding < 0 ||
        2 * attr.padding > attr.kernel)
        return node_fail(
            g, &node, "kernel must be 1 to 15, stride at least 1, padding at most half the kernel");
    return node_end(
        g, &node,
        reid_shape_4d(s.dim[0], s.dim[1], pooled(s.dim[2], attr), pooled(s.dim[3], attr)));
}

reid_value reid_graph_global_avg_pool(reid_graph *g, reid_value x)
{
    if (!usable(g, x, "global_avg_pool"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_GLOBAL_AVG_POOL, NULL, x, REID_VALUE_NONE);
    const reid_shape s = *shape_of(g, x);
    if (s.rank != 4)
        return node_fail(g, &node, "global average pooling needs [N,C,H,W]");
    return node_end(g, &node, reid_shape_2d(s.dim[0], s.dim[1]));
}

reid_value reid_graph_linear(reid_graph *g, reid_value x, const char *name, int64_t out, bool bias,
                             double scale)
{
    if (!usable(g, x, name))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_LINEAR, name, x, REID_VALUE_NONE);
    node.attr.attr.linear = (reid_linear){out, bias, scale};
    const reid_shape s = *shape_of(g, x);
    if (s.rank != 2)
        return node_fail(g, &node, "a linear layer needs [N,D]");
    if (out < 1 || out > 1 << 28 || !isfinite(scale))
        return node_fail(g, &node,
                         "its number of outputs is out of range, or its scale is not finite");
    node_param(&node, "weight", REID_PARAM_WEIGHT, reid_shape_2d(out, s.dim[1]), true);
    if (bias)
        node_param(&node, "bias", REID_PARAM_BIAS, reid_shape_1d(out), true);
    return node_end(g, &node, reid_shape_2d(s.dim[0], out));
}

/* Rows and labels must fit; common to the losses and accuracy. */
static bool labelled(reid_graph *g, reid_graph_node *node, reid_value x, reid_value labels)
{
    if (shape_of(g, x)->rank != 2) {
        node_fail(g, node, "it needs [N,D]");
    } else if (!is_label(g, labels)) {
        node_fail(g, node, "its second input must be labels");
    } else if (shape_of(g, x)->dim[0] != shape_of(g, labels)->dim[0]) {
        node_fail(g, node, "there must be one label for each row");
    } else {
        return true;
    }
    return false;
}

static reid_value cross_entropy(reid_graph *g, reid_value logits, reid_value labels,
                                reid_cross_entropy attr)
{
    if (!usable(g, logits, "cross_entropy") || !usable(g, labels, "cross_entropy"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_CROSS_ENTROPY, NULL, logits, labels);
    node.attr.attr.cross_entropy = attr;
    if (!labelled(g, &node, logits, labels))
        return REID_VALUE_NONE;
    if (shape_of(g, logits)->dim[1] < 2)
        return node_fail(g, &node, "it needs at least two classes");
    if (!(attr.epsilon <= 1.0) || !isfinite(attr.epsilon) || !isfinite(attr.alpha))
        return node_fail(g, &node, "epsilon must be at most 1");
    return node_end(g, &node, reid_shape_scalar());
}

reid_value reid_graph_cross_entropy(reid_graph *g, reid_value logits, reid_value labels,
                                    double epsilon)
{
    return cross_entropy(g, logits, labels, (reid_cross_entropy){epsilon, 0.2});
}

reid_value reid_graph_cross_entropy_adaptive(reid_graph *g, reid_value logits, reid_value labels,
                                             double alpha)
{
    return cross_entropy(g, logits, labels, (reid_cross_entropy){-1.0, alpha});
}

reid_value reid_graph_triplet(reid_graph *g, reid_value features, reid_value labels,
                              reid_triplet attr)
{
    if (!usable(g, features, "triplet") || !usable(g, labels, "triplet"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_TRIPLET, NULL, features, labels);
    node.attr.attr.triplet = attr;
    if (!labelled(g, &node, features, labels))
        return REID_VALUE_NONE;
    if (!(attr.margin >= 0.0) || !isfinite(attr.margin))
        return node_fail(g, &node, "the margin must not be negative");
    return node_end(g, &node, reid_shape_scalar());
}

reid_value reid_graph_accuracy(reid_graph *g, reid_value logits, reid_value labels)
{
    if (!usable(g, logits, "accuracy") || !usable(g, labels, "accuracy"))
        return REID_VALUE_NONE;
    reid_graph_node node = node_begin(g, REID_OP_ACCURACY, NULL, logits, labels);
    if (!labelled(g, &node, logits, labels))
        return REID_VALUE_NONE;
    return node_end(g, &node, reid_shape_scalar());
}

static void add_scalar(reid_graph *g, reid_value scalar, const char *name, double weight,
                       bool is_loss)
{
    char text[96];
    if (!usable(g, scalar, name))
        return;
    int producer = g->values.items[scalar].producer;
    if (shape_of(g, scalar)->rank != 0 || producer < 0) {
        reid_fail(&g->error, REID_ERR_INVALID, "'%s' must be a scalar, not %s", name,
                  reid_shape_text(text, shape_of(g, scalar)));
        return;
    }
    if (is_loss && g->nodes.items[producer].kind == REID_OP_ACCURACY) {
        reid_fail(&g->error, REID_ERR_INVALID,
                  "'%s': accuracy has no gradient and cannot be a loss", name);
        return;
    }
    if (!isfinite(weight)) {
        reid_fail(&g->error, REID_ERR_INVALID, "'%s': the weight of a loss must be finite", name);
        return;
    }
    reid_graph_scalar row = {scalar, reid_xstrdup(name), weight, is_loss};
    reid_vec_push(&g->scalars, row);
}

void reid_graph_loss(reid_graph *g, reid_value scalar, const char *name, double weight)
{
    add_scalar(g, scalar, name, weight, true);
}

void reid_graph_metric(reid_graph *g, reid_value scalar, const char *name)
{
    add_scalar(g, scalar, name, 1.0, false);
}

void reid_graph_output(reid_graph *g, reid_value value, const char *name)
{
    if (!usable(g, value, name))
        return;
    if (g->values.items[value].input != REID_INPUT_NONE) {
        reid_fail(&g->error, REID_ERR_INVALID, "'%s': an input of the graph cannot be its output",
                  name);
        return;
    }
    g->values.items[value].is_output = true;
    reid_graph_output_row row = {value, reid_xstrdup(name)};
    reid_vec_push(&g->outputs, row);
}

/* ---- comparing ---- */

static const reid_graph_node *find_layer(const reid_graph *g, const char *name)
{
    for (size_t i = 0; i < g->nodes.count; i++)
        if (g->nodes.items[i].param_count > 0 && strcmp(g->nodes.items[i].name, name) == 0)
            return &g->nodes.items[i];
    return NULL;
}

static reid_status same_layer(const reid_graph_node *x, const reid_graph_node *y, reid_error *err)
{
    char one[96], other[96];
    for (int k = 0; k < x->param_count; k++) {
        const reid_graph_param *p = &x->param[k], *q = &y->param[k];
        if (k >= y->param_count || strcmp(p->suffix, q->suffix) != 0)
            return reid_fail(err, REID_ERR_INVALID, "it has no '%s.%s'", x->name, p->suffix);
        if (!reid_shape_equal(&p->shape, &q->shape))
            return reid_fail(err, REID_ERR_INVALID, "its '%s.%s' is %s, not %s", x->name, p->suffix,
                             reid_shape_text(other, &q->shape), reid_shape_text(one, &p->shape));
        if (p->trainable != q->trainable)
            return reid_fail(err, REID_ERR_INVALID, "its '%s.%s' is %s", x->name, p->suffix,
                             q->trainable ? "trained, not frozen" : "frozen, not trained");
    }
    return REID_OK;
}

reid_status reid_graph_same_params(const reid_graph *a, const reid_graph *b, reid_error *err)
{
    for (size_t i = 0; i < a->nodes.count; i++) {
        const reid_graph_node *x = &a->nodes.items[i];
        const reid_graph_node *y = find_layer(b, x->name);
        if (x->param_count == 0)
            continue;
        if (!y)
            return reid_fail(err, REID_ERR_INVALID, "it has no '%s.%s'", x->name,
                             x->param[0].suffix);
        REID_TRY(same_layer(x, y, err));
    }
    for (size_t i = 0; i < b->nodes.count; i++) {
        const reid_graph_node *y = &b->nodes.items[i];
        const reid_graph_node *x = find_layer(a, y->name);
        if (y->param_count > 0 && (!x || x->param_count < y->param_count))
            return reid_fail(err, REID_ERR_INVALID, "it has '%s.%s', too", y->name,
                             y->param[x ? x->param_count : 0].suffix);
    }
    return REID_OK;
}
