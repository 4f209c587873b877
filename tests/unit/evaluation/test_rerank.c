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
#include "evaluation/neighbours.h"
#include "evaluation/rank.h"
#include "harness/harness.h"

/* Points on a line: two clusters. */
static const float line[] = {0, 1, 3, 100, 101, 104, 2};
enum { QUERIES = 2, POINTS = REID_COUNT_OF(line) };

static void init_line(reid_features *features)
{
    reid_error err = {0};
    reid_assert_ok(reid_features_init(features, line, QUERIES, line + QUERIES, POINTS - QUERIES, 1,
                                      false, 1, &err),
                   &err);
}

static void test_neighbours(void **state)
{
    /* Image 6 (at 2) is as near to image 1 as to image 2: the earlier one comes first. */
    static const uint32_t expected[POINTS][3] = {{0, 1, 6}, {1, 0, 6}, {2, 6, 1}, {3, 4, 5},
                                                 {4, 3, 5}, {5, 4, 3}, {6, 1, 2}};
    reid_features features;
    reid_neighbours neighbours;
    reid_error err = {0};
    init_line(&features);
    for (int threads = 1; threads < 4; threads++) {
        reid_assert_ok(reid_neighbours_init(&neighbours, &features, 3, threads, &err), &err);
        for (size_t i = 0; i < POINTS; i++)
            assert_memory_equal(reid_neighbours_of(&neighbours, i), expected[i],
                                sizeof expected[i]);
        reid_neighbours_fini(&neighbours);
        reid_neighbours_fini(&neighbours);
    }
    reid_features_fini(&features);
}

/* With K1 = 2 and K2 = 1, by hand. N: 0 {0,1}, 1 {1,0}, 2 {2,6}, 6 {6,1}; so R(0) = R(1) = {0,1},
 * R(2) = {2}, R(6) = {6}, and nobody joins anybody. V(0) and V(1) have nothing in common with the
 * gallery's, where no image is in {0,1}: all J are 1. With K1 = 3: N(0) = {0,1,6}, N(1) = {1,0,6},
 * N(6) = {6,1,2}, N(2) = {2,6,1}; R(1) = {1,0,6}, R(0) = {0,1}, R(6) = {6,1,2}, R(2) = {2,6}. */
static void test_by_hand(void **state)
{
    reid_features features;
    reid_rerank *rerank = NULL;
    reid_error err = {0};
    init_line(&features);
    reid_rerank_options options = {.k1 = 2, .k2 = 1, .lambda = 0.25};
    reid_assert_ok(reid_rerank_new(&features, &options, 1, &rerank, &err), &err);
    for (size_t q = 0; q < QUERIES; q++)
        for (size_t g = 0; g < POINTS - QUERIES; g++)
            assert_true(reid_rerank_blend(rerank, q, g, 8.0f) == 0.75f + 2.0f);
    reid_rerank_free(rerank);

    options = (reid_rerank_options){.k1 = 3, .k2 = 1, .lambda = 0};
    reid_assert_ok(reid_rerank_new(&features, &options, 2, &rerank, &err), &err);
    /* K1/2 rounds to 2, so the halves are N itself. R(1) has {6,1,2} of 6 only two thirds in
     * common, which is not more; {0,1} of 0 wholly: R*(1) = {0,1,6}. R(6): {2,6} wholly, {1,0,6}
     * two thirds. V(1) = softmax(-1, 0, -1) over 0, 1, 6; V(6) = softmax(-1, 0, -1) over 1, 6, 2.
     */
    double e = exp(-1.0), sum = 1 + 2 * e, t = e / sum + e / sum;
    reid_assert_close(reid_rerank_blend(rerank, 1, 6 - QUERIES, 5.0f), 1 - t / (2 - t), 1e-6, 0);
    assert_true(reid_rerank_blend(rerank, 1, 3 - QUERIES, 5.0f) == 1.0f);
    reid_rerank_free(rerank);
    reid_rerank_free(NULL);
    reid_features_fini(&features);
}

/* Any number of threads: the same bits, by pairs and by rows. K2 beyond K1. */
static void test_same_bits(void **state)
{
    enum { N = 300, Q = 70, D = 12, G = N - Q };
    float *values = reid_xcalloc((size_t)N * D, sizeof *values);
    float *first = reid_xcalloc((size_t)Q * G, sizeof *first), row[REID_TILE_COLUMNS];
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < (size_t)N * D; i++)
        values[i] = (float)reid_rng_normal(&rng) + 2 * (float)(i / D % 9 == i % D);
    reid_features features;
    reid_error err = {0};
    reid_assert_ok(
        reid_features_init(&features, values, Q, values + (size_t)Q * D, G, D, true, 2, &err),
        &err);
    static const reid_rerank_options options[] = {{20, 6, 0.3}, {5, 1, 0.5}, {50, 500, 0.1}};
    for (size_t o = 0; o < REID_COUNT_OF(options); o++)
        for (int threads = 1; threads < 4; threads++) {
            reid_rerank *rerank = NULL;
            bool differs = false;
            reid_assert_ok(reid_rerank_new(&features, &options[o], threads, &rerank, &err), &err);
            for (size_t q = 0; q < Q; q++)
                for (size_t g = 0; g < G; g++) {
                    float value = reid_rerank_blend(rerank, q, g, (float)g);
                    if (threads == 1)
                        first[q * G + g] = value;
                    assert_true(first[q * G + g] == value);
                    differs = differs || value != first[g];
                    assert_true(value >= 0 && value <= 1 + (float)g);
                }
            for (size_t q = 0; q < Q; q++) {
                for (size_t g = 0; g < 100; g++)
                    row[g] = (float)(g + 50);
                reid_rerank_blend_row(rerank, q, 50, 100, row);
                assert_memory_equal(row, first + q * G + 50, 100 * sizeof *row);
            }
            assert_true(differs);
            reid_rerank_free(rerank);
        }
    reid_features_fini(&features);
    free(values);
    free(first);
}

/* An image that only its neighbours' neighbours bring near moves up. */
static void test_ranking_changes(void **state)
{
    /* Query at 0 (identity 1). Its cluster: 1.0, 1.2, 1.4, 1.6, 2.5 (identity 1); alone on the
     * other side: -2.0, -9 (identity 2). By distance the image at -2.0 comes before that at 2.5. */
    const float query[] = {0}, gallery[] = {-2.0f, -9, 1, 1.2f, 1.4f, 1.6f, 2.5f};
    const int32_t query_pids[] = {1}, query_cams[] = {0};
    const int32_t pids[] = {2, 2, 1, 1, 1, 1, 1}, cams[] = {1, 1, 1, 1, 1, 1, 1};
    reid_eval_set q = {query, query_pids, query_cams, 1}, g = {gallery, pids, cams, 7};
    reid_eval_options options = {.metric = REID_EVAL_EUCLIDEAN, .threads = 1};
    reid_rerank_options rerank = {.k1 = 6, .k2 = 2, .lambda = 0};
    reid_rank_result result;
    reid_error err = {0};
    reid_assert_ok(reid_eval_market1501(&q, &g, 1, &options, &result, &err), &err);
    reid_assert_close(result.minp, 5.0 / 6, 1e-12, 0);
    options.rerank = &rerank;
    reid_assert_ok(reid_eval_market1501(&q, &g, 1, &options, &result, &err), &err);
    reid_assert_close(result.minp, 1.0, 1e-12, 0);
    rerank.lambda = 1; /* nothing but the distance */
    reid_assert_ok(reid_eval_market1501(&q, &g, 1, &options, &result, &err), &err);
    reid_assert_close(result.minp, 5.0 / 6, 1e-12, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_ranking_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
