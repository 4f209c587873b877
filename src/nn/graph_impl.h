/* Inside of a graph, for params.c and the plan's parts. */
#ifndef REID_NN_GRAPH_IMPL_H
#define REID_NN_GRAPH_IMPL_H

#include "backend/op.h"
#include "base/vec.h"
#include "nn/graph.h"
#include "nn/params.h"

typedef enum reid_input_kind {
    REID_INPUT_NONE,
    REID_INPUT_IMAGES,
    REID_INPUT_LABELS
} reid_input_kind;

typedef struct reid_graph_value {
    reid_shape shape;
    reid_input_kind input;
    int producer; /* node, or -1 for inputs */
    bool is_output;
} reid_graph_value;

typedef struct reid_graph_param {
    reid_shape shape;
    reid_param_kind kind;
    const char *suffix; /* "weight" */
    bool trainable;
} reid_graph_param;

typedef struct reid_graph_node {
    reid_op_kind kind;
    char *name; /* of the layer; for those without parameters made up from the kind and number
                   ("relu_3") */
    int input_count, param_count;
    reid_value input[REID_OP_INPUTS];
    reid_value output;
    reid_graph_param param[REID_OP_PARAMS];
    reid_op_desc attr; /* only .attr is used */
} reid_graph_node;

typedef struct reid_graph_scalar {
    reid_value value;
    char *name;
    double weight;
    bool is_loss;
} reid_graph_scalar;

typedef struct reid_graph_output_row {
    reid_value value;
    char *name;
} reid_graph_output_row;

struct reid_graph {
    REID_VEC(reid_graph_node) nodes;
    REID_VEC(reid_graph_value) values;
    REID_VEC(reid_graph_scalar) scalars;
    REID_VEC(reid_graph_output_row) outputs;
    reid_error error;
};

#endif
