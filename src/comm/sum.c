#include "comm/sum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/compiler.h"

/* Accumulators stay in the first-level cache, so that each input is read once and the output
 * written once. */
#define BLOCK 1024

REID_CLONES
static void add_block(float *restrict sum, const float *restrict x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] += x[i];
}

REID_CLONES
static void scale_block(float *restrict sum, float factor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] *= factor;
}

REID_CLONES
static void divide_block(float *restrict sum, float divisor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sum[i] /= divisor;
}

void reid_comm_sum_ranks(const float *const *inputs, int ranks, size_t count, float divisor,
                         float *ret_out)
{
    float sum[BLOCK];
    /* Dividing by a power of two and multiplying by its inverse give the same bits. */
    int exponent;
    bool exact = frexpf(divisor, &exponent) == 0.5f;
    for (size_t at = 0; at < count; at += BLOCK) {
        size_t length = REID_MIN((size_t)BLOCK, count - at);
        memcpy(sum, inputs[0] + at, length * sizeof *sum);
        for (int r = 1; r < ranks; r++)
            add_block(sum, inputs[r] + at, length);
        if (exact)
            scale_block(sum, 1.0f / divisor, length);
        else
            divide_block(sum, divisor, length);
        memcpy(ret_out + at, sum, length * sizeof *sum);
    }
}
