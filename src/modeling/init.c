#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "modeling/builder.h"

#define PAIRS 512 /* deviates are made in blocks of twice as many */

/* Normal deviates from pairs of 32-bit words by Box and Muller (1958): √(-2 ln u)·cos 2πv and √(-2
 * ln u)·sin 2πv, u in (0, 1]. The logarithm, sine and cosine are series made of additions,
 * multiplications, divisions and square roots only: such a loop vectorises, and gives the same bits
 * on every CPU, which the C library's functions do not promise. Good to about 1e-7. */
REID_CLONES static void box_muller(const uint32_t *words, float *values)
{
    for (int i = 0; i < PAIRS; i++) {
        float u = ((float)(int32_t)(words[2 * i] >> 1) + 1.0f) * 0x1p-31f;
        float v = (float)(int32_t)(words[2 * i + 1] >> 8) * 0x1p-24f;

        /* ln u = e ln 2 + 2 artanh((m-1)/(m+1)), u = m·2^e, √½ ≤ m < √2 (0x3f3504f3 is √½). */
        uint32_t bits;
        memcpy(&bits, &u, sizeof bits);
        int32_t exponent = (int32_t)(bits - 0x3f3504f3u) >> 23;
        bits -= (uint32_t)exponent << 23;
        float m;
        memcpy(&m, &bits, sizeof m);
        float s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
        float series =
            s * (1.0f + s2 * (1.0f / 3 + s2 * (1.0f / 5 + s2 * (1.0f / 7 + s2 * (1.0f / 9)))));
        float log_u = (float)exponent * 0.69314718f + 2.0f * series;
        float radius = sqrtf(log_u < 0.0f ? -2.0f * log_u : 0.0f);

        /* v = quarter/4 + r with |r| ≤ 1/8: series of sin and cos for |2πr| ≤ π/4, then a turn by
         * `quarter` right angles. */
        int32_t quarter = (int32_t)(v * 4.0f + 0.5f);
        float a = 6.2831853f * (v - (float)quarter * 0.25f), a2 = a * a;
        float sine =
            a * (1.0f - a2 * (1.0f / 6) *
                            (1.0f - a2 * (1.0f / 20) *
                                        (1.0f - a2 * (1.0f / 42) * (1.0f - a2 * (1.0f / 72)))));
        float cosine =
            1.0f -
            a2 * 0.5f *
                (1.0f - a2 * (1.0f / 12) *
                            (1.0f - a2 * (1.0f / 30) *
                                        (1.0f - a2 * (1.0f / 56) * (1.0f - a2 * (1.0f / 90)))));
        float x = quarter & 1 ? sine : cosine, y = quarter & 1 ? cosine : sine;
        values[2 * i] = (quarter + 1) & 2 ? -radius * x : radius * x;
        values[2 * i + 1] = quarter & 2 ? -radius * y : radius * y;
    }
}

void reid_init_normal(uint64_t seed, uint64_t index, double deviation, float *ret_values,
                      size_t number)
{
    const size_t size = (size_t)2 * PAIRS;
    int64_t parts = (int64_t)((number + size - 1) / size);
#pragma omp parallel for schedule(static) if (parts > 8)
    for (int64_t part = 0; part < parts; part++) {
        uint32_t words[2 * PAIRS];
        float values[2 * PAIRS];
        reid_rng rng = reid_rng_stream(seed, REID_RNG_INIT, index, 0);
        reid_rng_skip(&rng, (uint32_t)part * (2 * PAIRS / 4));
        reid_rng_fill_u32(&rng, words, size);
        box_muller(words, values);
        size_t done = (size_t)part * size, take = REID_MIN(number - done, size);
        for (size_t i = 0; i < take; i++)
            ret_values[done + i] = (float)deviation * values[i];
    }
}

/* NaN when no rule names the parameter. */
static double find_rule(const reid_model *model, const char *name)
{
    for (size_t i = 0; i < model->init.count; i++)
        if (strcmp(model->init.items[i].name, name) == 0)
            return model->init.items[i].deviation;
    return NAN;
}

static void fill(float *values, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        values[i] = value;
}

static void init_param(const reid_model *model, const reid_param *param, size_t index,
                       uint64_t seed, float *values, size_t count)
{
    double deviation = find_rule(model, param->name);
    if (!isnan(deviation)) {
        reid_init_normal(seed, index, deviation, values, count);
        return;
    }
    switch (param->kind) {
    case REID_PARAM_WEIGHT: {
        int64_t fan_out = param->shape[0];
        for (int d = 2; d < param->rank; d++)
            fan_out *= param->shape[d];
        reid_init_normal(seed, index, sqrt(2.0 / (double)fan_out), values, count);
        break;
    }
    case REID_PARAM_NORM_WEIGHT:
        fill(values, count, 1.0f);
        break;
    case REID_PARAM_BIAS:
    case REID_PARAM_NORM_BIAS:
        fill(values, count, 0.0f);
        break;
    }
}

void reid_model_init_params(const reid_model *model, reid_params *params, uint64_t seed)
{
    size_t largest = 1;
    for (size_t i = 0; i < params->count; i++)
        largest = REID_MAX(largest, reid_params_plain_count(params, i));
    for (size_t i = 0; i < params->buffer_count; i++)
        largest =
            REID_MAX(largest, (size_t)(params->buffers[i].rank ? params->buffers[i].shape[0] : 1));
    size_t bytes = largest * sizeof(float);
    float *plain = reid_alloc_aligned(bytes); /* huge pages: the largest weight has 9 MB */
    REID_ASSERT(plain);
    for (size_t i = 0; i < params->count; i++) {
        init_param(model, &params->items[i], i, seed, plain, reid_params_plain_count(params, i));
        reid_params_from_plain(params, i, plain, params->value);
    }
    for (size_t i = 0; i < params->buffer_count; i++) {
        const reid_param_buffer *buffer = &params->buffers[i];
        bool is_variance = strstr(buffer->name, ".running_var") != NULL;
        fill(plain, buffer->rank ? (size_t)buffer->shape[0] : 1, is_variance ? 1.0f : 0.0f);
        reid_params_buffer_set(params, i, plain);
    }
    reid_free_aligned(plain, bytes);
}
