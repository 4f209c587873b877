/* Elements of narrow float types. */
#ifndef EMU_HALF_H
#define EMU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float emu_bf16_load(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float v;
    memcpy(&v, &wide, sizeof v);
    return v;
}

/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t emu_bf16_store(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (v != v)
        return 0x7fff;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float emu_fp16_load(uint16_t bits)
{
    _Float16 v;
    memcpy(&v, &bits, sizeof v);
    return (float)v;
}

static inline uint16_t emu_fp16_store(float v)
{
    _Float16 half = (_Float16)v;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

#endif
