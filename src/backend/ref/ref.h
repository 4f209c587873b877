/* Inside of the `ref` backend: plain loops over plain layouts, sums in double. The oracle of all
 * tests.
 *
 * Each reid_ref_*_setup fills op->impl and the op's answers from op->desc. The cpu backend reuses
 * those that work on plain rows (losses, accuracy). */
#ifndef REID_BACKEND_REF_REF_H
#define REID_BACKEND_REF_REF_H

#include "backend/op.h"

double reid_ref_power_sum(reid_backend *backend, const reid_range *ranges, size_t range_count,
                          const float *data, double order);
void reid_ref_clamp(reid_backend *backend, const reid_range *ranges, size_t range_count,
                    float *data, float limit);
void reid_ref_conv_setup(reid_op *op);
void reid_ref_norm_setup(reid_op *op);
void reid_ref_relu_setup(reid_op *op);
void reid_ref_add_setup(reid_op *op);
void reid_ref_max_pool_setup(reid_op *op);
void reid_ref_avg_pool_setup(reid_op *op);
void reid_ref_linear_setup(reid_op *op);
void reid_ref_cross_entropy_setup(reid_op *op);
void reid_ref_triplet_setup(reid_op *op);
void reid_ref_accuracy_setup(reid_op *op);
void reid_ref_op_free(reid_op *op);

/* [N,C,H,W] of a layout; [N,C] has H = W = 1. */
typedef struct reid_dims {
    int64_t n, c, h, w;
} reid_dims;

static inline reid_dims reid_layout_dims(const reid_layout *layout)
{
    const int64_t *d = layout->shape.dim;
    return (reid_dims){d[0], d[1], layout->shape.rank == 4 ? d[2] : 1,
                       layout->shape.rank == 4 ? d[3] : 1};
}

#endif
