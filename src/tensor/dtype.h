/* Element types. */
#ifndef REID_TENSOR_DTYPE_H
#define REID_TENSOR_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum reid_dtype { REID_F32, REID_BF16, REID_I32, REID_U8, REID_F16 } reid_dtype;

size_t reid_dtype_size(reid_dtype dtype);      /* bytes of one element */
const char *reid_dtype_name(reid_dtype dtype); /* "f32" "bf16" "i32" "u8" "f16" */

/* bf16 is the upper half of a float32; the way down rounds to nearest even, NaN stays NaN. */
static inline float reid_bf16_to_f32(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t reid_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

#endif
