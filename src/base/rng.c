#include "base/rng.h"

#include <math.h>

#include "base/compiler.h"
#include "base/status.h"

/* The multipliers and key increments (Weyl sequence) of Philox4x32, section 3.3 and table 2 of the
 * paper. */
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u
#define ROUNDS 10

static void philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t ret_block[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0;
        uint64_t p1 = (uint64_t)MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    ret_block[0] = c0;
    ret_block[1] = c1;
    ret_block[2] = c2;
    ret_block[3] = c3;
}

/* One round on the counter c0…c3 with the key k0, k1. Written out ten times below: only then does
 * the compiler turn the loop over blocks into vectors, which is four times as fast. */
#define ROUND                                                                                      \
    do {                                                                                           \
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0, p1 = (uint64_t)MULTIPLIER_1 * c2;               \
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;                                                       \
        c1 = (uint32_t)p1;                                                                         \
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;                                                       \
        c3 = (uint32_t)p0;                                                                         \
        k0 += WEYL_0;                                                                              \
        k1 += WEYL_1;                                                                              \
    } while (0)

/* counter[0] must not wrap on the way. */
REID_CLONES static void philox_blocks(const uint32_t counter[4], const uint32_t key[2],
                                      uint32_t blocks, uint32_t *restrict ret_words)
{
    const uint32_t s0 = counter[0], s1 = counter[1], s2 = counter[2], s3 = counter[3];
    const uint32_t key0 = key[0], key1 = key[1];
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t c0 = s0 + i, c1 = s1, c2 = s2, c3 = s3, k0 = key0, k1 = key1;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ROUND;
        ret_words[4 * (size_t)i] = c0;
        ret_words[4 * (size_t)i + 1] = c1;
        ret_words[4 * (size_t)i + 2] = c2;
        ret_words[4 * (size_t)i + 3] = c3;
    }
}

/* counter = [block number, b, a low, a high with `use` in its top byte]: streams differ in their
 * counters, so they never overlap while a < 2^56 and a stream draws less than 2^34 words. */
reid_rng reid_rng_stream(uint64_t seed, reid_rng_use use, uint64_t a, uint32_t b)
{
    reid_rng rng = {
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, b, (uint32_t)a, (uint32_t)(a >> 32) ^ (uint32_t)use << 24},
        .used = 4,
    };
    return rng;
}

uint32_t reid_rng_u32(reid_rng *rng)
{
    if (rng->used >= 4) {
        philox_block(rng->counter, rng->key, rng->block);
        rng->used = 0;
        for (int i = 0; i < 4 && ++rng->counter[i] == 0; i++) {
        }
    }
    return rng->block[rng->used++];
}

void reid_rng_fill_u32(reid_rng *rng, uint32_t *ret_words, size_t count)
{
    size_t done = 0;
    while (done < count && rng->used < 4)
        ret_words[done++] = reid_rng_u32(rng);
    size_t blocks = REID_MIN((count - done) / 4, (size_t)(UINT32_MAX - rng->counter[0]));
    philox_blocks(rng->counter, rng->key, (uint32_t)blocks, ret_words + done);
    rng->counter[0] += (uint32_t)blocks;
    done += 4 * blocks;
    while (done < count)
        ret_words[done++] = reid_rng_u32(rng);
}

void reid_rng_skip(reid_rng *rng, uint32_t blocks)
{
    REID_ASSERT(rng->used == 4);
    if (__builtin_add_overflow(rng->counter[0], blocks, &rng->counter[0]))
        for (int i = 1; i < 4 && ++rng->counter[i] == 0; i++) {
        }
}

uint64_t reid_rng_u64(reid_rng *rng)
{
    uint64_t low = reid_rng_u32(rng);
    return low | (uint64_t)reid_rng_u32(rng) << 32;
}

double reid_rng_uniform(reid_rng *rng)
{
    return (double)(reid_rng_u64(rng) >> 11) * 0x1p-53;
}

double reid_rng_range(reid_rng *rng, double low, double high)
{
    return low + (high - low) * reid_rng_uniform(rng);
}

double reid_rng_normal(reid_rng *rng)
{
    double radius = sqrt(-2.0 * log(1.0 - reid_rng_uniform(rng))); /* 1 - u is in (0, 1] */
    return radius * cos(6.283185307179586 * reid_rng_uniform(rng));
}

/* Lemire, "Fast random integer generation in an interval", 2019, algorithm 5. */
uint32_t reid_rng_below(reid_rng *rng, uint32_t bound)
{
    REID_ASSERT(bound > 0);
    uint64_t product = (uint64_t)reid_rng_u32(rng) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold)
            product = (uint64_t)reid_rng_u32(rng) * bound;
    }
    return (uint32_t)(product >> 32);
}

void reid_rng_shuffle_u32(reid_rng *rng, uint32_t *items, size_t count)
{
    REID_ASSERT(count <= UINT32_MAX);
    for (size_t left = count; left > 1; left--) {
        size_t chosen = reid_rng_below(rng, (uint32_t)left);
        uint32_t item = items[left - 1];
        items[left - 1] = items[chosen];
        items[chosen] = item;
    }
}
