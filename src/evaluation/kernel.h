/* The inner loop of distances: dot products of a group of rows with a panel of columns.
 *
 * Every dot product is one chain s = s + x[d] · y[d] over d = 0, 1, 2 …, fused (one rounding a
 * step) where the machine can: its bits do not depend on where in a tile the pair stands, on how
 * the depth is cut, or on the number of threads. Machines without fused multiply-add round twice.
 */
#ifndef REID_EVALUATION_KERNEL_H
#define REID_EVALUATION_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#define REID_KERNEL_ROWS 12
#define REID_KERNEL_COLUMNS 32

/* dots [ROWS, stride] = or (unless `first`) += rows [depth, ROWS] × panel [depth, COLUMNS].
 * `panel` and `dots` are aligned to 64 bytes, stride is a multiple of 16. */
typedef void reid_dot_kernel(const float *rows, const float *panel, size_t depth, bool first,
                             float *dots, size_t stride);

reid_dot_kernel reid_dot_kernel_f32x16, reid_dot_kernel_f32x8, reid_dot_kernel_f32x4;

/* The one for this machine. */
reid_dot_kernel *reid_dot_kernel_choose(void);
/* Whether that one rounds once a step. */
bool reid_dot_kernel_is_fused(void);

#endif
