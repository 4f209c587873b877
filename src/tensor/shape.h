/* Shapes of up to four dimensions: [N,C,H,W], [N,D], [N], or rank 0 for a scalar. A value type;
 * unused dims are 1. */
#ifndef REID_TENSOR_SHAPE_H
#define REID_TENSOR_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REID_MAX_RANK 4

typedef struct reid_shape {
    int rank;
    int64_t dim[REID_MAX_RANK];
} reid_shape;

reid_shape reid_shape_scalar(void);
reid_shape reid_shape_1d(int64_t n);
reid_shape reid_shape_2d(int64_t n, int64_t c);
reid_shape reid_shape_4d(int64_t n, int64_t c, int64_t h, int64_t w);

size_t reid_shape_count(const reid_shape *shape); /* elements; 1 for a scalar */
bool reid_shape_equal(const reid_shape *a, const reid_shape *b);
/* All dims ≥ 1 and at most 2^40 elements. */
bool reid_shape_valid(const reid_shape *shape);
/* "[32,64,128,64]"; buffer ≥ 96 bytes; returns buffer. */
const char *reid_shape_text(char buffer[96], const reid_shape *shape);

#endif
