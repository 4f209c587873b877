/* For machines without AVX2. */
#include <stdint.h>

#define SUFFIX _f32x8_base
#define LANES 8
#define ELEM float
#define LOADV(p) (*(const VU *)(p))
#define STOREV(p, v) (*(VU *)(p) = (v))
#define LOAD1(p) (*(p))
#define STORE1(p, x) (*(p) = (x))
#include "backend/cpu/cpu_kernels.inc"
