/* For AVX-512. */
#define KERNELS reid_pixel_kernels_x16
#define LANES 16
#include "data/kernels.inc"
