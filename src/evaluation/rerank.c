#include "evaluation/rerank.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/distance.h"
#include "evaluation/neighbours.h"
#include "evaluation/parallel.h"

#define ROWS_AT_A_TIME 16

/* Numbers of a row that are not zero, in the order of columns. */
typedef struct sparse_row {
    size_t count;
    uint32_t *index; /* [count], values behind it in the same block */
    float *values;
} sparse_row;

struct reid_rerank {
    size_t query_count, gallery_count;
    float weight, own_weight; /* of J, of the distance */
    sparse_row *rows;         /* [queries] J over gallery images; 1 where there is nothing */
};

typedef struct work work;
typedef struct scratch scratch;

/* What one step makes of row i; false without memory. */
typedef bool step_function(work *w, size_t i, scratch *s, sparse_row *ret_row);

struct work {
    const reid_features *features;
    const reid_neighbours *neighbours;
    size_t half, k2;
    const sparse_row *from; /* what the step before has made */
    /* V turned, of gallery images: those with a number in column j are
     * turned_index[turned_begin[j]] … turned_index[turned_begin[j + 1]] */
    size_t *turned_begin;
    uint32_t *turned_index;
    float *turned_values;

    step_function *step;
    sparse_row *rows; /* of this step */
    size_t row_count;
    atomic_size_t next;
    atomic_bool no_memory;
};

/* Of one thread. */
struct scratch {
    float *sums;    /* [images], zero between rows */
    bool *touched;  /* [images], likewise */
    uint32_t *list; /* [images] which are touched */
    size_t count;
};

static void sparse_free(sparse_row *rows, size_t count)
{
    for (size_t i = 0; rows && i < count; i++)
        free(rows[i].index);
    free(rows);
}

static bool sparse_reserve(sparse_row *row, size_t count)
{
    row->index = reid_alloc(count + 1, sizeof *row->index + sizeof *row->values);
    if (!row->index)
        return false;
    row->count = count;
    row->values = (float *)(void *)(row->index + count);
    return true;
}

/* --- Threads over rows */

static void *run_rows(void *argument)
{
    work *w = argument;
    size_t images = w->features->count, first;
    scratch s = {.sums = reid_alloc(images, sizeof *s.sums),
                 .touched = reid_alloc(images, sizeof *s.touched),
                 .list = reid_alloc(images, sizeof *s.list)};
    if (!s.sums || !s.touched || !s.list)
        atomic_store(&w->no_memory, true);
    while (!atomic_load(&w->no_memory) &&
           (first = atomic_fetch_add(&w->next, ROWS_AT_A_TIME)) < w->row_count)
        for (size_t i = first; i < REID_MIN(first + ROWS_AT_A_TIME, w->row_count); i++)
            if (!w->step(w, i, &s, &w->rows[i]))
                atomic_store(&w->no_memory, true);
    free(s.sums);
    free(s.touched);
    free(s.list);
    return NULL;
}

/* NULL without memory. */
static sparse_row *run_step(work *w, step_function *step, size_t row_count, int threads)
{
    w->step = step;
    w->row_count = row_count;
    w->rows = reid_alloc(row_count, sizeof *w->rows);
    atomic_init(&w->next, 0);
    atomic_init(&w->no_memory, w->rows == NULL);
    reid_parallel_run(reid_parallel_threads(threads, row_count / ROWS_AT_A_TIME), run_rows, w);
    if (!atomic_load(&w->no_memory))
        return w->rows;
    sparse_free(w->rows, row_count);
    return NULL;
}

static void touch(scratch *s, uint32_t column)
{
    if (!s->touched[column]) {
        s->touched[column] = true;
        s->list[s->count++] = column;
    }
}

static int compare_columns(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Moves the touched columns and their sums into a row; the scratch is clean again. */
static bool gather(scratch *s, sparse_row *ret_row)
{
    bool good = sparse_reserve(ret_row, s->count);
    qsort(s->list, s->count, sizeof *s->list, compare_columns);
    for (size_t i = 0; i < s->count; i++) {
        uint32_t column = s->list[i];
        if (good) {
            ret_row->index[i] = column;
            ret_row->values[i] = s->sums[column];
        }
        s->sums[column] = 0.0f;
        s->touched[column] = false;
    }
    s->count = 0;
    return good;
}

/* --- V */

static bool is_among(const uint32_t *list, size_t count, size_t image)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == image)
            return true;
    return false;
}

/* Whether j, one of the first k of N(i), is in R(i, k). */
static bool is_reciprocal(const work *w, size_t i, size_t j, size_t k)
{
    return is_among(reid_neighbours_of(w->neighbours, j), k, i);
}

/* Touches R(c, half) if it has enough in common with R(i, K1). */
static void expand(const work *w, size_t i, size_t c, scratch *s)
{
    const uint32_t *near = reid_neighbours_of(w->neighbours, c);
    const uint32_t *own = reid_neighbours_of(w->neighbours, i);
    size_t size = 0, common = 0, k = w->neighbours->k;
    for (size_t n = 0; n < w->half; n++) {
        if (!is_reciprocal(w, c, near[n], w->half))
            continue;
        size++;
        common += is_among(own, k, near[n]) && is_reciprocal(w, i, near[n], k);
    }
    if (!((double)common > 2.0 / 3 * (double)size))
        return;
    for (size_t n = 0; n < w->half; n++)
        if (is_reciprocal(w, c, near[n], w->half))
            touch(s, near[n]);
}

#define SUMS 16

REID_CLONES static float dot(const float *a, float a_divisor, const float *b, float b_divisor,
                             size_t dim)
{
    float sums[SUMS] = {0}, sum = 0.0f;
    size_t d = 0;
    for (; d + SUMS <= dim; d += SUMS)
        for (size_t k = 0; k < SUMS; k++)
            sums[k] += (a[d + k] / a_divisor) * (b[d + k] / b_divisor);
    for (; d < dim; d++)
        sum += (a[d] / a_divisor) * (b[d] / b_divisor);
    for (size_t k = 0; k < SUMS; k++)
        sum += sums[k];
    return sum;
}

static float squared_distance(const reid_features *f, size_t i, size_t j)
{
    float product = dot(reid_features_row(f, i), f->divisors[i], reid_features_row(f, j),
                        f->divisors[j], f->dim);
    return f->squares[i] + f->squares[j] - 2.0f * product;
}

/* values become softmax(-values). */
static void softmax_of_negative(float *values, size_t count)
{
    float least = INFINITY, sum = 0.0f;
    for (size_t i = 0; i < count; i++)
        least = fminf(least, values[i]);
    for (size_t i = 0; i < count; i++)
        sum += values[i] = expf(least - values[i]);
    for (size_t i = 0; i < count; i++)
        values[i] /= sum;
}

static bool weigh_neighbours(work *w, size_t i, scratch *s, sparse_row *ret_row)
{
    const uint32_t *near = reid_neighbours_of(w->neighbours, i);
    size_t k = w->neighbours->k;
    for (size_t n = 0; n < k; n++) {
        if (!is_reciprocal(w, i, near[n], k))
            continue;
        touch(s, near[n]);
        expand(w, i, near[n], s);
    }
    for (size_t n = 0; n < s->count; n++)
        s->sums[s->list[n]] = squared_distance(w->features, i, s->list[n]);
    if (!gather(s, ret_row))
        return false;
    softmax_of_negative(ret_row->values, ret_row->count);
    return true;
}

static bool average_neighbours(work *w, size_t i, scratch *s, sparse_row *ret_row)
{
    const uint32_t *near = reid_neighbours_of(w->neighbours, i);
    for (size_t n = 0; n < w->k2; n++) {
        const sparse_row *row = &w->from[near[n]];
        for (size_t m = 0; m < row->count; m++) {
            touch(s, row->index[m]);
            s->sums[row->index[m]] += row->values[m];
        }
    }
    if (!gather(s, ret_row))
        return false;
    for (size_t m = 0; m < ret_row->count; m++)
        ret_row->values[m] /= (float)w->k2;
    return true;
}

/* --- J */

/* The gallery's rows of V by columns. */
static bool turn(work *w)
{
    size_t images = w->features->count, queries = w->features->query_count, total = 0;
    w->turned_begin = reid_alloc(images + 2, sizeof *w->turned_begin);
    if (!w->turned_begin)
        return false;
    size_t *begin = w->turned_begin + 1; /* one further on: it moves while columns fill */
    for (size_t i = queries; i < images; i++)
        for (size_t m = 0; m < w->from[i].count; m++)
            begin[w->from[i].index[m] + 1]++;
    for (size_t j = 0; j < images; j++)
        begin[j + 1] += begin[j];
    total = begin[images];
    w->turned_index = reid_alloc(total + 1, sizeof *w->turned_index);
    w->turned_values = reid_alloc(total + 1, sizeof *w->turned_values);
    if (!w->turned_index || !w->turned_values)
        return false;
    for (size_t i = queries; i < images; i++)
        for (size_t m = 0; m < w->from[i].count; m++) {
            size_t at = begin[w->from[i].index[m]]++;
            w->turned_index[at] = (uint32_t)(i - queries);
            w->turned_values[at] = w->from[i].values[m];
        }
    return true;
}

static bool compare_with_gallery(work *w, size_t q, scratch *s, sparse_row *ret_row)
{
    const sparse_row *own = &w->from[q];
    for (size_t m = 0; m < own->count; m++) {
        size_t j = own->index[m];
        for (size_t at = w->turned_begin[j]; at < w->turned_begin[j + 1]; at++) {
            touch(s, w->turned_index[at]);
            s->sums[w->turned_index[at]] += fminf(own->values[m], w->turned_values[at]);
        }
    }
    if (!gather(s, ret_row))
        return false;
    for (size_t m = 0; m < ret_row->count; m++) {
        float t = ret_row->values[m];
        ret_row->values[m] = fmaxf(1.0f - t / (2.0f - t), 0.0f);
    }
    return true;
}

static bool compute(work *w, int threads, sparse_row **ret_rows)
{
    size_t images = w->features->count;
    sparse_row *weights = run_step(w, weigh_neighbours, images, threads);
    if (weights && w->k2 != 1) {
        w->from = weights;
        sparse_row *averages = run_step(w, average_neighbours, images, threads);
        sparse_free(weights, images);
        weights = averages;
    }
    w->from = weights;
    *ret_rows = NULL;
    if (weights && turn(w))
        *ret_rows = run_step(w, compare_with_gallery, w->features->query_count, threads);
    sparse_free(weights, images);
    free(w->turned_begin);
    free(w->turned_index);
    free(w->turned_values);
    return *ret_rows != NULL;
}

reid_status reid_rerank_new(const reid_features *features, const reid_rerank_options *options,
                            int threads, reid_rerank **ret_rerank, reid_error *err)
{
    size_t images = features->count, k1 = REID_MIN((size_t)options->k1, images);
    reid_neighbours neighbours;
    REID_ASSERT(options->k1 >= 1 && options->k2 >= 1);
    REID_TRY(reid_neighbours_init(&neighbours, features, k1, threads, err));
    work w = {.features = features,
              .neighbours = &neighbours,
              .half = REID_MIN((size_t)nearbyint((double)options->k1 / 2) + 1, k1),
              .k2 = REID_MIN((size_t)options->k2, k1)};
    reid_rerank *rerank = reid_xcalloc(1, sizeof *rerank);
    rerank->query_count = features->query_count;
    rerank->gallery_count = images - features->query_count;
    rerank->weight = (float)(1.0 - options->lambda);
    rerank->own_weight = (float)options->lambda;
    bool good = compute(&w, threads, &rerank->rows);
    reid_neighbours_fini(&neighbours);
    if (!good) {
        reid_rerank_free(rerank);
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to re-rank %zu images", images);
    }
    *ret_rerank = rerank;
    return REID_OK;
}

void reid_rerank_free(reid_rerank *rerank)
{
    if (!rerank)
        return;
    sparse_free(rerank->rows, rerank->query_count);
    free(rerank);
}

/* --- Blending */

static size_t lower_bound(const sparse_row *row, size_t image)
{
    size_t low = 0, high = row->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (row->index[middle] < image)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static float blend(const reid_rerank *rerank, float jaccard, float distance)
{
    return jaccard * rerank->weight + distance * rerank->own_weight;
}

float reid_rerank_blend(const reid_rerank *rerank, size_t query, size_t image, float distance)
{
    const sparse_row *row = &rerank->rows[query];
    size_t at = lower_bound(row, image);
    bool listed = at < row->count && row->index[at] == image;
    return blend(rerank, listed ? row->values[at] : 1.0f, distance);
}

void reid_rerank_blend_row(const reid_rerank *rerank, size_t query, size_t first, size_t count,
                           float *distances)
{
    const sparse_row *row = &rerank->rows[query];
    float jaccard[REID_TILE_COLUMNS];
    REID_ASSERT(count <= REID_TILE_COLUMNS);
    for (size_t i = 0; i < count; i++)
        jaccard[i] = 1.0f;
    for (size_t at = lower_bound(row, first); at < row->count && row->index[at] < first + count;
         at++)
        jaccard[row->index[at] - first] = row->values[at];
    for (size_t i = 0; i < count; i++)
        distances[i] = blend(rerank, jaccard[i], distances[i]);
}
