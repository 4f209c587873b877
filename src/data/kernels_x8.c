/* For AVX2. */
#define KERNELS reid_pixel_kernels_x8
#define LANES 8
#include "data/kernels.inc"
