#include "evaluation/features.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/parallel.h"

#define NORM_FLOOR 1e-12
#define IMAGES_AT_A_TIME 64
#define MAX_LANES 32
#define DEPTH 16 /* values of each image packed at a time */
#define SUMS 8

typedef struct measuring {
    reid_features *features;
    bool unit;
    atomic_size_t next;
    atomic_size_t bad_query, bad_gallery; /* the lowest, counted from 0 in its part */
} measuring;

const float *reid_features_row(const reid_features *features, size_t i)
{
    return i < features->query_count
               ? features->queries + i * features->dim
               : features->gallery + (i - features->query_count) * features->dim;
}

size_t reid_selection_at(const reid_selection *selection, size_t i)
{
    return selection->list ? selection->list[i] : selection->first + i;
}

/* Sum of (x / divisor)² in double; the square of a float is exact there. NaN or infinite when a
 * value is. */
REID_CLONES static double square_sum(const float *x, size_t dim, float divisor)
{
    double sums[SUMS] = {0}, sum = 0.0;
    size_t i = 0;
    for (; i + SUMS <= dim; i += SUMS)
        for (size_t k = 0; k < SUMS; k++) {
            float value = x[i + k] / divisor;
            sums[k] += (double)value * value;
        }
    for (; i < dim; i++) {
        float value = x[i] / divisor;
        sum += (double)value * value;
    }
    for (size_t k = 0; k < SUMS; k++)
        sum += sums[k];
    return sum;
}

static void note_lowest(atomic_size_t *lowest, size_t value)
{
    size_t seen = atomic_load(lowest);
    while (value < seen && !atomic_compare_exchange_weak(lowest, &seen, value)) {
    }
}

static void measure(measuring *m, size_t i)
{
    reid_features *features = m->features;
    const float *row = reid_features_row(features, i);
    double squares = square_sum(row, features->dim, 1.0f);
    float divisor = 1.0f;
    /* Also refuses what would overflow in |x|² + |y|² - 2 x·y. */
    if (!isfinite(squares) || (!m->unit && squares >= FLT_MAX / 8)) {
        if (i < features->query_count)
            note_lowest(&m->bad_query, i);
        else
            note_lowest(&m->bad_gallery, i - features->query_count);
    } else if (m->unit) {
        divisor = (float)fmax(sqrt(squares), NORM_FLOOR);
        squares = square_sum(row, features->dim, divisor);
    }
    features->divisors[i] = divisor;
    features->squares[i] = (float)squares;
}

static void *measure_some(void *argument)
{
    measuring *m = argument;
    size_t count = m->features->count, first;
    while ((first = atomic_fetch_add(&m->next, IMAGES_AT_A_TIME)) < count)
        for (size_t i = first; i < REID_MIN(first + IMAGES_AT_A_TIME, count); i++)
            measure(m, i);
    return NULL;
}

reid_status reid_features_init(reid_features *features, const float *queries, size_t query_count,
                               const float *gallery, size_t gallery_count, size_t dim, bool unit,
                               int threads, reid_error *err)
{
    size_t count = query_count + gallery_count;
    *features = (reid_features){.queries = queries,
                                .gallery = gallery,
                                .query_count = query_count,
                                .count = count,
                                .dim = dim};
    features->divisors = reid_alloc(count, sizeof *features->divisors);
    features->squares = reid_alloc(count, sizeof *features->squares);
    if (!features->divisors || !features->squares) {
        reid_features_fini(features);
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the norms of %zu features", count);
    }
    measuring m = {.features = features, .unit = unit};
    atomic_init(&m.bad_query, SIZE_MAX);
    atomic_init(&m.bad_gallery, SIZE_MAX);
    reid_parallel_run(reid_parallel_threads(threads, count / IMAGES_AT_A_TIME), measure_some, &m);
    bool in_gallery = m.bad_gallery != SIZE_MAX;
    if (!in_gallery && m.bad_query == SIZE_MAX)
        return REID_OK;
    reid_features_fini(features);
    return reid_fail(err, REID_ERR_NONFINITE,
                     "the feature of %s image %zu is not finite (or too large)",
                     in_gallery ? "gallery" : "query", in_gallery ? m.bad_gallery : m.bad_query);
}

void reid_features_fini(reid_features *features)
{
    free(features->divisors);
    free(features->squares);
    *features = (reid_features){0};
}

/* Values d … d + DEPTH of `lanes` images, divided and turned. */
REID_CLONES static void pack_piece(const float *const rows[MAX_LANES],
                                   const float divisors[MAX_LANES], size_t lanes, size_t d,
                                   float *restrict to)
{
    float piece[MAX_LANES][DEPTH];
    for (size_t r = 0; r < lanes; r++)
        for (size_t k = 0; k < DEPTH; k++)
            piece[r][k] = rows[r][d + k] / divisors[r];
    for (size_t k = 0; k < DEPTH; k++)
        for (size_t r = 0; r < lanes; r++)
            to[k * lanes + r] = piece[r][k];
}

static void pack_group(const float *const rows[MAX_LANES], const float divisors[MAX_LANES],
                       size_t lanes, size_t dim, float *to)
{
    size_t d = 0;
    for (; d + DEPTH <= dim; d += DEPTH)
        pack_piece(rows, divisors, lanes, d, to + d * lanes);
    for (; d < dim; d++)
        for (size_t r = 0; r < lanes; r++)
            to[d * lanes + r] = rows[r][d] / divisors[r];
}

void reid_features_pack(const reid_features *features, const reid_selection *selection,
                        size_t lanes, float *ret_packed)
{
    REID_ASSERT(lanes <= MAX_LANES);
    for (size_t first = 0; first < selection->count; first += lanes) {
        const float *rows[MAX_LANES];
        float divisors[MAX_LANES];
        for (size_t r = 0; r < lanes; r++) {
            size_t i = reid_selection_at(selection, REID_MIN(first + r, selection->count - 1));
            rows[r] = reid_features_row(features, i);
            divisors[r] = features->divisors[i];
        }
        pack_group(rows, divisors, lanes, features->dim, ret_packed + first * features->dim);
    }
}
