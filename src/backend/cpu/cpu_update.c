/* Update rules and reductions over flat ranges. */
#include "backend/cpu/cpu.h"
#include "backend/update.h"

REID_CLONES static void adam_piece(const reid_adam_constants *constants, float *restrict value,
                                   const float *restrict grad, float *restrict m, float *restrict v,
                                   int64_t count)
{
    const reid_adam_constants c = *constants;
    for (int64_t i = 0; i < count; i++)
        value[i] = reid_adam_element(&c, value[i], grad[i], m + i, v + i, NULL);
}

REID_CLONES static void amsgrad_piece(const reid_adam_constants *constants, float *restrict value,
                                      const float *restrict grad, float *restrict m,
                                      float *restrict v, float *restrict max_v, int64_t count)
{
    const reid_adam_constants c = *constants;
    for (int64_t i = 0; i < count; i++)
        value[i] = reid_adam_element(&c, value[i], grad[i], m + i, v + i, max_v + i);
}

static void adam_range(const reid_adam_constants *c, float *value, const float *grad, float *m,
                       float *v, float *max_v, int64_t total)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < total; i += CPU_PIECE) {
        int64_t piece = REID_MIN(CPU_PIECE, total - i);
        if (max_v)
            amsgrad_piece(c, value + i, grad + i, m + i, v + i, max_v + i, piece);
        else
            adam_piece(c, value + i, grad + i, m + i, v + i, piece);
    }
}

void cpu_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
              size_t range_count, float *value, const float *grad, float *m, float *v, float *max_v)
{
    reid_adam_constants c = reid_adam_prepare(args);
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        adam_range(&c, value + r->offset, grad + r->offset, m + r->offset, v + r->offset,
                   max_v ? max_v + r->offset : NULL, (int64_t)r->size);
}

REID_CLONES static void sgd_piece(const reid_sgd_constants *constants, float *restrict value,
                                  const float *restrict grad, float *restrict buffer, int64_t count)
{
    const reid_sgd_constants c = *constants;
    if (buffer)
        for (int64_t i = 0; i < count; i++)
            value[i] = reid_sgd_element(&c, value[i], grad[i], buffer + i);
    else
        for (int64_t i = 0; i < count; i++)
            value[i] = reid_sgd_element(&c, value[i], grad[i], NULL);
}

static void sgd_range(const reid_sgd_constants *c, float *value, const float *grad, float *buffer,
                      int64_t total)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < total; i += CPU_PIECE)
        sgd_piece(c, value + i, grad + i, buffer ? buffer + i : NULL,
                  REID_MIN(CPU_PIECE, total - i));
}

void cpu_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
             size_t range_count, float *value, const float *grad, float *momentum_buffer)
{
    reid_sgd_constants c = reid_sgd_prepare(args);
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        sgd_range(&c, value + r->offset, grad + r->offset,
                  momentum_buffer ? momentum_buffer + r->offset : NULL, (int64_t)r->size);
}

#define SUM_LANES 16

REID_CLONES static double sum_piece(const float *data, int64_t count)
{
    double lane[SUM_LANES] = {0.0}, sum = 0.0;
    int64_t i = 0;
    for (; i + SUM_LANES <= count; i += SUM_LANES)
        for (int k = 0; k < SUM_LANES; k++)
            lane[k] += (double)data[i + k] * data[i + k];
    for (int k = 0; i + k < count; k++)
        lane[k] += (double)data[i + k] * data[i + k];
    for (int k = 0; k < SUM_LANES; k++)
        sum += lane[k];
    return sum;
}

/* At most this many pieces, of a size that depends on the count alone. */
#define SUM_PIECES 1024

static double sum_range(const float *data, int64_t total)
{
    double part[SUM_PIECES], sum = 0.0;
    int64_t piece = (total / SUM_PIECES + SUM_LANES) / SUM_LANES * SUM_LANES;
    int64_t pieces = (total + piece - 1) / piece;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < pieces; k++)
        part[k] = sum_piece(data + k * piece, REID_MIN(piece, total - k * piece));
    for (int64_t k = 0; k < pieces; k++)
        sum += part[k];
    return sum;
}

double cpu_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                       const float *data)
{
    double sum = 0.0;
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        sum += sum_range(data + r->offset, (int64_t)r->size);
    return sum;
}

REID_CLONES static void scale_piece(float *data, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        data[i] *= factor;
}

static void scale_range(float *data, float factor, int64_t total)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < total; i += CPU_PIECE)
        scale_piece(data + i, factor, REID_MIN(CPU_PIECE, total - i));
}

void cpu_scale(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
               float factor)
{
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        scale_range(data + r->offset, factor, (int64_t)r->size);
}
