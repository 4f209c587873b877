/* The one table of operation cases: shapes, attributes and tolerances, used to compare backends
 * with `ref`, to check gradients by finite differences, and to time. A new operation or shape is a
 * new row. */
#ifndef REID_TESTS_OPS_OP_CASES_H
#define REID_TESTS_OPS_OP_CASES_H

#include "backend/op.h"

enum {
    OP_CASE_RELU = 1,     /* fused ReLU on the result */
    OP_CASE_RESIDUAL = 2, /* batch norm: with a second input that is added */
    OP_CASE_EVAL = 4,     /* not training: forward only */
    OP_CASE_TWO = 8,      /* the output's gradient comes in two parts */
    OP_CASE_IMAGES = 16,  /* the input is the graph's images */
    OP_CASE_DIRECT = 32,  /* convolution: no Winograd */
    OP_CASE_BIG = 64,     /* only timed: too large for the oracle */
    OP_CASE_FROZEN = 128, /* batch norm: bias without gradient */
    OP_CASE_DETACHED =
        512, /* backward leaves a dependence out on purpose: its gradient is not the slope */
    OP_CASE_BF16 = 1024, /* computes in bf16 where the backend has it; skipped where not; inputs are
                            representable */
    OP_CASE_F16 = 8192,  /* likewise in fp16; its inputs are representable in both */
    OP_CASE_MANY = 2048, /* so many rows that the loss has too few digits for its slope */
    OP_CASE_WINOGRAD = 4096, /* convolution: Winograd where the backend can, as if measured */
    OP_CASE_FOLD = 16384,    /* convolution: with the batch norm behind it; where the backend can */
    OP_CASE_FAR = 256,       /* rows far from each other (triplet: soft margin overflows) */
};

typedef struct op_case {
    reid_op_kind kind;
    unsigned flags;
    int64_t n, c, h, w; /* input; h = 0: rows [N,C] */
    reid_conv2d conv;
    reid_max_pool pool;
    reid_linear linear;
    reid_cross_entropy cross_entropy;
    reid_triplet triplet;
    double tolerance; /* of compare, relative to the largest number; 0: 2e-5 */
} op_case;

extern const op_case op_cases[];
extern const size_t op_case_count;

static inline reid_dtype op_case_compute(const op_case *c)
{
    return c->flags & OP_CASE_BF16 ? REID_BF16 : c->flags & OP_CASE_F16 ? REID_F16 : REID_F32;
}

/* "conv2d 2x16x9x7 → 24 k3 s1 p1 +relu"; caller frees */
char *op_case_text(const op_case *c);

#endif
