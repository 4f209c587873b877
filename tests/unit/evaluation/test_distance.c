#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "evaluation/distance.h"
#include "harness/harness.h"

static float *random_features(size_t count, uint32_t stream)
{
    float *features = reid_xcalloc(count, sizeof *features);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        features[i] = (float)reid_rng_normal(&rng);
    return features;
}

/* A matrix as the visitor has seen it. */
typedef struct seen {
    size_t columns;
    float *distances;
    int *visits;
    bool in_order;
    size_t *next_column; /* per row */
} seen;

static void note(void *user, const reid_distance_tile *tile)
{
    seen *s = user;
    for (size_t r = 0; r < tile->rows; r++) {
        if (s->next_column[tile->row + r] != tile->column)
            s->in_order = false;
        s->next_column[tile->row + r] = tile->column + tile->columns;
        for (size_t c = 0; c < tile->columns; c++) {
            size_t at = (tile->row + r) * s->columns + tile->column + c;
            s->distances[at] = tile->distances[r * REID_TILE_COLUMNS + c];
            s->visits[at]++;
        }
    }
}

static seen stream_all(const reid_features *features, reid_eval_metric metric, int threads)
{
    size_t n = features->count;
    seen s = {.columns = n,
              .distances = reid_xcalloc(n * n, sizeof(float)),
              .visits = reid_xcalloc(n * n, sizeof(int)),
              .in_order = true,
              .next_column = reid_xcalloc(n, sizeof(size_t))};
    reid_error err = {0};
    reid_assert_ok(reid_distance_stream(features, metric, (size_t[2]){0, n}, (size_t[2]){0, n},
                                        threads, note, &s, &err),
                   &err);
    return s;
}

static void free_seen(seen *s)
{
    free(s->distances);
    free(s->visits);
    free(s->next_column);
}

/* The chain that kernel.h promises. */
static float chain(const float *a, float a_divisor, const float *b, float b_divisor, size_t dim)
{
    float sum = 0.0f;
    for (size_t d = 0; d < dim; d++) {
        float x = a[d] / a_divisor, y = b[d] / b_divisor;
        sum = reid_dot_kernel_is_fused() ? fmaf(x, y, sum) : sum + x * y;
    }
    return sum;
}

static double exact(const float *a, const float *b, size_t dim, reid_eval_metric metric)
{
    double aa = 0, bb = 0, ab = 0;
    for (size_t d = 0; d < dim; d++) {
        aa += (double)a[d] * a[d];
        bb += (double)b[d] * b[d];
        ab += (double)a[d] * b[d];
    }
    return metric == REID_EVAL_COSINE ? 1 - ab / sqrt(aa * bb) : aa + bb - 2 * ab;
}

/* Sizes around every unit of the blocking: each distance near its definition in double precision,
 * and with the very bits of a plain loop, at any number of threads. */
static void test_every_distance(void **state)
{
    static const struct {
        size_t queries, gallery, dim;
        int threads;
    } sizes[] = {{1, 0, 1, 1},     {2, 1, 7, 2},    {12, 20, 16, 1},   {13, 20, 17, 3},
                 {100, 140, 3, 2}, {17, 240, 5, 1}, {30, 260, 515, 2}, {3, 4, 1030, 1}};
    for (size_t s = 0; s < REID_COUNT_OF(sizes); s++) {
        size_t queries = sizes[s].queries, n = queries + sizes[s].gallery, dim = sizes[s].dim;
        float *values = random_features(n * dim, 1);
        for (int m = 0; m < 2; m++) {
            reid_eval_metric metric = (reid_eval_metric)m;
            reid_features features;
            reid_error err = {0};
            reid_assert_ok(reid_features_init(&features, values, queries, values + queries * dim,
                                              sizes[s].gallery, dim, metric == REID_EVAL_COSINE,
                                              sizes[s].threads, &err),
                           &err);
            seen all = stream_all(&features, metric, sizes[s].threads);
            assert_true(all.in_order);
            for (size_t i = 0; i < n * n; i++) {
                const float *a = values + i / n * dim, *b = values + i % n * dim;
                assert_int_equal(all.visits[i], 1);
                double tolerance = 4e-6 * (features.squares[i / n] + features.squares[i % n]);
                reid_assert_close(all.distances[i], exact(a, b, dim, metric), 0, 1e-6 + tolerance);
                float dot = chain(a, features.divisors[i / n], b, features.divisors[i % n], dim);
                float expected =
                    metric == REID_EVAL_COSINE
                        ? 1.0f - dot
                        : features.squares[i / n] + features.squares[i % n] - 2.0f * dot;
                assert_true(all.distances[i] == expected);
            }
            free_seen(&all);
            reid_features_fini(&features);
        }
        free(values);
    }
}

/* A tile of listed images has the bits of the stream's. */
static void test_lists(void **state)
{
    enum { N = 90, D = 40 };
    static const uint32_t rows[] = {7, 3, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 1, 0},
                          columns[] = {5, 4, 3, 7, 60};
    float *values = random_features((size_t)N * D, 2);
    reid_features features;
    reid_distance_scratch scratch;
    reid_error err = {0};
    reid_assert_ok(reid_features_init(&features, values, 40, values + (size_t)40 * D, N - 40, D,
                                      true, 1, &err),
                   &err);
    seen all = stream_all(&features, REID_EVAL_EUCLIDEAN, 1);
    assert_true(reid_distance_scratch_init(&scratch, REID_COUNT_OF(rows), D));
    reid_distance_between(&features, REID_EVAL_EUCLIDEAN,
                          &(reid_selection){.list = rows, .count = REID_COUNT_OF(rows)},
                          &(reid_selection){.list = columns, .count = REID_COUNT_OF(columns)},
                          &scratch);
    for (size_t r = 0; r < REID_COUNT_OF(rows); r++)
        for (size_t c = 0; c < REID_COUNT_OF(columns); c++)
            assert_true(scratch.tile[r * REID_TILE_COLUMNS + c] ==
                        all.distances[rows[r] * N + columns[c]]);
    reid_distance_scratch_fini(&scratch);
    reid_distance_scratch_fini(&scratch);
    free_seen(&all);
    reid_features_fini(&features);
    reid_features_fini(&features);
    free(values);
}

/* Norms are those of double precision; a zero feature is at cosine distance 1 from everything. */
static void test_norms(void **state)
{
    const float query[] = {3, 4, 0}, gallery[] = {6, 8, 0, 0, 0, 0};
    reid_features features;
    reid_error err = {0};
    reid_assert_ok(reid_features_init(&features, query, 1, gallery, 2, 3, true, 1, &err), &err);
    assert_true(features.divisors[0] == 5.0f && features.divisors[1] == 10.0f);
    assert_true(features.divisors[2] == 1e-12f && features.squares[2] == 0.0f);
    reid_assert_close(features.squares[0], 1.0, 1e-7, 0);
    seen all = stream_all(&features, REID_EVAL_COSINE, 1);
    reid_assert_close(all.distances[1], 0.0, 0, 1e-7);
    assert_true(all.distances[2] == 1.0f && all.distances[6] == 1.0f && all.distances[8] == 1.0f);
    free_seen(&all);
    reid_features_fini(&features);
}

/* Every kernel that this machine can run has the bits of the plain loop. */
static void test_kernels(void **state)
{
    enum { DEPTH = 37, STRIDE = 48 };
    float *rows = random_features((size_t)DEPTH * REID_KERNEL_ROWS, 3);
    float *panel = reid_alloc_aligned((size_t)DEPTH * REID_KERNEL_COLUMNS * sizeof(float));
    float *dots = reid_alloc_aligned((size_t)REID_KERNEL_ROWS * STRIDE * sizeof(float));
    float *source = random_features((size_t)DEPTH * REID_KERNEL_COLUMNS, 4);
    memcpy(panel, source, (size_t)DEPTH * REID_KERNEL_COLUMNS * sizeof(float));
    reid_dot_kernel *best = reid_dot_kernel_choose();
    reid_dot_kernel *kernels[] = {reid_dot_kernel_f32x4, reid_dot_kernel_f32x8, best};
    for (size_t k = 0; k < REID_COUNT_OF(kernels); k++) {
        bool fused = kernels[k] != reid_dot_kernel_f32x4;
        if (kernels[k] == reid_dot_kernel_f32x8 && best == reid_dot_kernel_f32x4)
            continue; /* this machine cannot run it */
        kernels[k](rows, panel, 20, true, dots, STRIDE);
        kernels[k](rows + 20 * REID_KERNEL_ROWS, panel + 20 * REID_KERNEL_COLUMNS, DEPTH - 20,
                   false, dots, STRIDE);
        for (size_t r = 0; r < REID_KERNEL_ROWS; r++)
            for (size_t c = 0; c < REID_KERNEL_COLUMNS; c++) {
                float sum = 0.0f;
                for (size_t d = 0; d < DEPTH; d++) {
                    float x = rows[d * REID_KERNEL_ROWS + r];
                    float y = panel[d * REID_KERNEL_COLUMNS + c];
#if defined(__x86_64__)
                    sum = fused ? fmaf(x, y, sum) : sum + x * y;
#else
                    sum += x * y;
#endif
                }
                assert_true(dots[r * STRIDE + c] == sum);
            }
    }
    free(rows);
    free(source);
    reid_free_aligned(panel, (size_t)DEPTH * REID_KERNEL_COLUMNS * sizeof(float));
    reid_free_aligned(dots, (size_t)REID_KERNEL_ROWS * STRIDE * sizeof(float));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_distance),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
