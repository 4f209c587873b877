#include "nn/describe.h"

#include "base/status.h"

/* Images that only convolutions read may stay in plain layout (a stem has its own kernels for
 * that). */
static bool only_convolutions_read(const reid_graph *g, reid_value value)
{
    for (size_t i = 0; i < g->nodes.count; i++) {
        const reid_graph_node *node = &g->nodes.items[i];
        for (int k = 0; k < node->input_count; k++)
            if (node->input[k] == value && node->kind != REID_OP_CONV2D)
                return false;
    }
    return true;
}

const reid_layout *reid_describe_value(const reid_graph *g, reid_backend *backend,
                                       reid_dtype compute, reid_value value)
{
    const reid_graph_value *v = &g->values.items[value];
    reid_role role = REID_ROLE_INNER;
    reid_dtype dtype = v->shape.rank == 4 ? compute : REID_F32;
    if (v->input == REID_INPUT_LABELS)
        dtype = REID_I32;
    if (v->input == REID_INPUT_IMAGES && only_convolutions_read(g, value))
        role = REID_ROLE_IMAGES;
    return backend->impl->activation_layout(backend, role, &v->shape, dtype);
}

reid_op_desc reid_describe_node(const reid_graph *g, reid_backend *backend,
                                const reid_params_options *options, const reid_graph_node *node)
{
    reid_op_desc desc = node->attr;
    desc.kind = node->kind;
    desc.name = node->name;
    desc.direct = options->convolution == REID_CONVOLUTION_DIRECT;
    desc.compute = options->compute;
    desc.input_count = node->input_count;
    desc.param_count = node->param_count;
    for (int i = 0; i < node->input_count; i++)
        desc.input[i] = reid_describe_value(g, backend, options->compute, node->input[i]);
    desc.output = reid_describe_value(g, backend, options->compute, node->output);
    return desc;
}
