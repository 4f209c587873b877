/* Attributes of operations, shared by graph builders and backends. */
#ifndef REID_BACKEND_OP_ATTR_H
#define REID_BACKEND_OP_ATTR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct reid_conv2d {
    int64_t out_channels;
    int kernel, stride, padding; /* square; stride 0 means 1 */
    bool bias;
} reid_conv2d;

typedef struct reid_batch_norm {
    double eps; /* 0 means 1e-5 */
    double
        momentum; /* 0 means 0.1; running = (1 - momentum)·running + momentum·batch, as PyTorch */
    bool bias_frozen; /* the bias gets no gradient (BNNeck) */
} reid_batch_norm;

typedef struct reid_max_pool {
    int kernel, stride, padding; /* padding counts as -inf */
    bool ceil_mode; /* PyTorch's rule: round up, but a window must start inside the input */
} reid_max_pool;

typedef struct reid_linear {
    int64_t out;
    bool bias;
    double scale; /* y = scale·(x·Wᵀ) + bias */
} reid_linear;

typedef struct reid_cross_entropy {
    double epsilon; /* ≥ 0: targets 1-ε on the label, ε/(C-1) elsewhere; < 0: ε = alpha·p(label) per
                       row, not differentiated */
    double alpha;
} reid_cross_entropy;

typedef struct reid_triplet {
    double
        margin; /* > 0: hinge; 0: soft margin log(1+exp(ap-an)), hinge 0.3 when that is infinite */
    bool norm_feat;   /* distance 2-2cos instead of Euclidean */
    bool hard_mining; /* batch-hard; otherwise softmax-weighted */
} reid_triplet;

#endif
