/* For every machine. */
#define KERNELS reid_pixel_kernels_x4
#define LANES 4
#include "data/kernels.inc"
