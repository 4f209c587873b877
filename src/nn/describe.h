/* How graph values and nodes look to a backend; shared by params.c and the plan. */
#ifndef REID_NN_DESCRIBE_H
#define REID_NN_DESCRIBE_H

#include "nn/graph_impl.h"

/* Layout of a value: activations in `compute`, rows ([N,D]) and scalars in f32, labels in i32. */
const reid_layout *reid_describe_value(const reid_graph *g, reid_backend *backend,
                                       reid_dtype compute, reid_value value);

/* A node without fusion, gradients or parameter layouts. */
reid_op_desc reid_describe_node(const reid_graph *g, reid_backend *backend,
                                const reid_params_options *options, const reid_graph_node *node);

#endif
