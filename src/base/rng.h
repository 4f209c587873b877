/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC'11).
 *
 * A stream is named by (seed, use, a, b) and holds no hidden state but a counter, so that the
 * numbers drawn for one sample do not depend on threads, ranks or what was drawn before. Not for
 * secrets.
 */
#ifndef REID_BASE_RNG_H
#define REID_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef enum reid_rng_use {
    REID_RNG_INIT = 1,    /* weight initialisation: a = parameter index */
    REID_RNG_SAMPLER = 2, /* a = epoch or refill number */
    REID_RNG_AUGMENT = 3, /* a = epoch or batch number, b = position in it */
    REID_RNG_DEMO = 4,    /* demo data */
    REID_RNG_TEST = 5,
    REID_RNG_HOOK = 6,
} reid_rng_use;

typedef struct reid_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned used; /* words of block already given out */
} reid_rng;

reid_rng reid_rng_stream(uint64_t seed, reid_rng_use use, uint64_t a, uint32_t b);
/* Where a fresh stream is after 4 × `blocks` words. */
void reid_rng_skip(reid_rng *rng, uint32_t blocks);
uint32_t reid_rng_u32(reid_rng *rng);
void reid_rng_fill_u32(reid_rng *rng, uint32_t *ret_words, size_t count); /* as that many u32 */
uint64_t reid_rng_u64(reid_rng *rng);
double reid_rng_uniform(reid_rng *rng); /* [0, 1), 53 bits */
double reid_rng_range(reid_rng *rng, double low, double high);
double reid_rng_normal(reid_rng *rng);                  /* mean 0, deviation 1 (Box–Muller) */
uint32_t reid_rng_below(reid_rng *rng, uint32_t bound); /* [0, bound), unbiased; bound > 0 */
void reid_rng_shuffle_u32(reid_rng *rng, uint32_t *items, size_t count); /* Fisher–Yates */

#endif
