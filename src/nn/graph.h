/* A network as a symbolic graph, emitted once by a model builder.
 *
 * Life: reid_graph_new → reid_graph_images/… in the order of execution →
 * reid_graph_loss/metric/output → given to reid_params_new and reid_plan_new (which only read it) →
 * reid_graph_free. A graph holds no numbers, only shapes.
 *
 * Values are small ints. Layer names are PyTorch module paths ("backbone.layer1.0.conv1");
 * parameter names derive from them (".weight", ".bias", ".running_mean", ".running_var",
 * ".num_batches_tracked"). A layer name is used once.
 *
 * Failure: a shape that does not fit is remembered as one sentence with the layer's name and
 * shapes; the call returns REID_VALUE_NONE, every later call with it does nothing and returns
 * REID_VALUE_NONE too. So a builder needs no checks: it asks reid_graph_check once at the end
 * (reid_params_new and reid_plan_new ask as well). Threads: one at a time.
 */
#ifndef REID_NN_GRAPH_H
#define REID_NN_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/op_attr.h"
#include "base/status.h"
#include "tensor/shape.h"

typedef int reid_value;
#define REID_VALUE_NONE (-1)

typedef struct reid_graph reid_graph;

reid_graph *reid_graph_new(void);
void reid_graph_free(reid_graph *g);
/* The first fault of the builder's calls, if any. */
reid_status reid_graph_check(const reid_graph *g, reid_error *err);

/* Inputs, filled by reid_plan_upload in plain layout. */
reid_value reid_graph_images(reid_graph *g, int64_t n, int64_t c, int64_t h,
                             int64_t w);                /* f32 [N,C,H,W], normalised */
reid_value reid_graph_labels(reid_graph *g, int64_t n); /* i32 [N], 0 ≤ label < classes */

reid_value reid_graph_conv2d(reid_graph *g, reid_value x, const char *name,
                             reid_conv2d attr); /* weight OIHW */
reid_value reid_graph_batch_norm(reid_graph *g, reid_value x, const char *name,
                                 reid_batch_norm attr); /* 2-D, 4-D x */
reid_value reid_graph_relu(reid_graph *g, reid_value x);
reid_value reid_graph_add(reid_graph *g, reid_value a, reid_value b); /* equal shapes */
reid_value reid_graph_max_pool(reid_graph *g, reid_value x, reid_max_pool attr);
reid_value reid_graph_global_avg_pool(reid_graph *g, reid_value x); /* [N,C,H,W] → [N,C] */
/* scale·(x·Wᵀ) + bias, x [N,D] → [N,out]; weight [out,D] is NAME.weight. */
reid_value reid_graph_linear(reid_graph *g, reid_value x, const char *name, int64_t out, bool bias,
                             double scale);

/* Losses: scalars. Mean over the rows whose loss is not zero (fast-reid). Targets: 1-ε on the
 * label, ε/(C-1) elsewhere. epsilon ≥ 0, or -1: adaptive, ε = 0.2·p(label) of that row (not
 * differentiated). */
reid_value reid_graph_cross_entropy(reid_graph *g, reid_value logits, reid_value labels,
                                    double epsilon);
/* The adaptive form with another factor than 0.2. */
reid_value reid_graph_cross_entropy_adaptive(reid_graph *g, reid_value logits, reid_value labels,
                                             double alpha);
reid_value reid_graph_triplet(reid_graph *g, reid_value features, reid_value labels,
                              reid_triplet attr);
/* Fraction of rows whose largest logit is the label's; no gradient. */
reid_value reid_graph_accuracy(reid_graph *g, reid_value logits, reid_value labels);

/* Adds weight·scalar to the total; it is reported under `name` with the weight applied. */
void reid_graph_loss(reid_graph *g, reid_value scalar, const char *name, double weight);
void reid_graph_metric(reid_graph *g, reid_value scalar, const char *name); /* reported only */
void reid_graph_output(reid_graph *g, reid_value value,
                       const char *name); /* readable after forward */

/* Whether both have the same parameters, trained and frozen alike, so that one's state fits the
 * other. INVALID with the first difference: "it has no 'x.weight'", seen from `b`. */
reid_status reid_graph_same_params(const reid_graph *a, const reid_graph *b, reid_error *err);

/* Shape of a value ([N,C,H,W] …); the value must exist. */
reid_shape reid_graph_shape(const reid_graph *g, reid_value value);

#endif
