/* For every machine. */
#define NAME reid_dot_kernel_f32x4
#define LANES 4
#define SUB_ROWS 4
#include "evaluation/kernel.inc"
