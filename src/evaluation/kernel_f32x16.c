/* For AVX-512. */
#define NAME reid_dot_kernel_f32x16
#define LANES 16
#define SUB_ROWS 12
#include "evaluation/kernel.inc"
