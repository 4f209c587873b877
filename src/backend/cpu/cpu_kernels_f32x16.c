#include <stdint.h>

#define SUFFIX _f32x16
#define LANES 16
#define ELEM float
#define LOADV(p) (*(const VU *)(p))
#define STOREV(p, v) (*(VU *)(p) = (v))
#define LOAD1(p) (*(p))
#define STORE1(p, x) (*(p) = (x))
#include "backend/cpu/cpu_kernels.inc"
