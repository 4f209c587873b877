#include "data/kernels.h"

#if defined(__x86_64__)
#define HAS(feature) __builtin_cpu_supports(feature)
#else
#define HAS(feature) false
#endif

/* The sets are those of x86-64-v4 and v3, for which the files are compiled. */
const reid_pixel_kernels *reid_pixel_kernels_choose(void)
{
    if (HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl") && HAS("avx512cd"))
        return &reid_pixel_kernels_x16;
    if (HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2"))
        return &reid_pixel_kernels_x8;
    return &reid_pixel_kernels_x4;
}
