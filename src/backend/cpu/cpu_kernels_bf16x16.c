/* bf16 for load and store only; arithmetic is float. */
#include <stdint.h>

#include "tensor/dtype.h"

#define SUFFIX _bf16x16
#define LANES 16
#define ELEM uint16_t
typedef uint16_t H __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t U __attribute__((vector_size(64)));

#define LOADV(p) ((V)(__builtin_convertvector(*(const H *)(p), U) << 16))
/* Round to nearest even; a NaN keeps its sign and becomes quiet. */
#define STOREV(p, v)                                                                               \
    do {                                                                                           \
        V value_ = (v);                                                                            \
        U bits_ = (U)value_, high_ = bits_ >> 16, nan_ = (U)IS_NAN(value_);                        \
        U round_ = (bits_ + 0x7fffu + (high_ & 1u)) >> 16;                                         \
        *(H *)(p) = __builtin_convertvector(PICK(nan_, high_ | 0x40u, round_), H);                 \
    } while (0)
#define LOAD1(p) reid_bf16_to_f32(*(p))
#define STORE1(p, x) (*(p) = reid_f32_to_bf16(x))
#include "backend/cpu/cpu_kernels.inc"
