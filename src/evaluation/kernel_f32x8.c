/* For AVX2 with FMA. */
#define NAME reid_dot_kernel_f32x8
#define LANES 8
#define SUB_ROWS 6
#include "evaluation/kernel.inc"
