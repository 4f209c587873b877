#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "evaluation/distance.h"
#include "evaluation/rank.h"
#include "harness/harness.h"

/* One-dimensional features: with the euclidean metric the ranking can be read off the numbers. */
static void test_worked_example(void **state)
{
    /* Query 0 (identity 1, camera 0) at 0. Gallery by distance: 1: same identity and camera (left
     * out), 2: identity 2, 3: identity 1, 4: distractor, 5: identity 1. Ranks of the matches: 2
     * and 4. Query 1 (identity 9) has no match. Query 2 (identity 2, camera 1) at 10: gallery by
     * distance 5, 4, 3, 2 (match), 1: rank 4. */
    const float queries[] = {0, 50, 10}, gallery[] = {3, 1, 5, 2, 4};
    const int32_t query_pids[] = {1, 9, 2}, query_cams[] = {0, 0, 1};
    const int32_t gallery_pids[] = {1, 1, 1, 2, 0}, gallery_cams[] = {1, 0, 2, 0, 1};
    reid_eval_set q = {queries, query_pids, query_cams, 3},
                  g = {gallery, gallery_pids, gallery_cams, 5};
    reid_rank_result result;
    reid_error err = {0};
    reid_assert_ok(reid_eval_market1501(&q, &g, 1, REID_EVAL_EUCLIDEAN, 1, &result, &err), &err);
    assert_int_equal(result.valid_queries, 2);
    assert_int_equal(result.skipped_queries, 1);
    assert_int_equal(result.max_rank, 5);
    reid_assert_close(result.map, ((1.0 / 2 + 2.0 / 4) / 2 + 1.0 / 4) / 2, 1e-12, 0);
    reid_assert_close(result.minp, (2.0 / 4 + 1.0 / 4) / 2, 1e-12, 0);
    static const double cmc[] = {0, 0.5, 0.5, 1, 1};
    for (int k = 0; k < REID_EVAL_MAX_RANK; k++)
        reid_assert_close(result.cmc[k], k < 5 ? cmc[k] : 1.0, 1e-12, 0);
}

/* Equal distances keep the gallery's order: the match is third among four at the same place. */
static void test_ties(void **state)
{
    const float query[] = {1, 1}, gallery[] = {2, 2, 2, 2, 2, 2, 2, 2, 0, 1};
    const int32_t query_pid[] = {5}, query_cam[] = {0};
    const int32_t pids[] = {1, 2, 5, 3, 4}, cams[] = {1, 1, 1, 1, 1};
    reid_eval_set q = {query, query_pid, query_cam, 1}, g = {gallery, pids, cams, 5};
    reid_rank_result result;
    reid_error err = {0};
    reid_assert_ok(reid_eval_market1501(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), &err);
    reid_assert_close(result.map, 1.0 / 3, 1e-12, 0);
}

/* Cosine does not see lengths, euclidean does; a zero feature is at distance 1 from everything. */
static void test_metrics(void **state)
{
    const float query[] = {3, 4}, gallery[] = {6, 8, 4, 3, 0, 0};
    const int32_t query_pid[] = {1}, query_cam[] = {0}, pids[] = {1, 2, 3}, cams[] = {1, 1, 1};
    reid_eval_set q = {query, query_pid, query_cam, 1}, g = {gallery, pids, cams, 3};
    reid_rank_result result;
    reid_error err = {0};
    reid_assert_ok(reid_eval_market1501(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), &err);
    reid_assert_close(result.cmc[0], 1.0, 0, 0);
    reid_assert_ok(reid_eval_market1501(&q, &g, 2, REID_EVAL_EUCLIDEAN, 1, &result, &err), &err);
    reid_assert_close(result.map, 1.0 / 2, 0,
                      0); /* (4, 3) is nearer than (6, 8); the origin as far, but later */

    reid_gallery packed;
    float prepared[REID_DISTANCE_ROWS * 2] = {0}, squares[1], distances[REID_DISTANCE_PANEL];
    reid_assert_ok(reid_gallery_init(&packed, gallery, 3, 2, REID_EVAL_COSINE, &err), &err);
    assert_int_equal(reid_query_prepare(&packed, query, 1, prepared, squares), 1);
    reid_gallery_distances(&packed, prepared, squares, 1, distances);
    reid_assert_close(distances[0], 0.0, 0, 1e-7);
    reid_assert_close(distances[1], 1 - 24.0 / 25, 0, 1e-6);
    reid_assert_close(distances[2], 1.0, 0, 0);
    reid_gallery_fini(&packed);
    reid_gallery_fini(&packed);
}

static float *random_features(size_t count, uint32_t stream)
{
    float *features = reid_xcalloc(count, sizeof *features);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        features[i] = (float)reid_rng_normal(&rng);
    return features;
}

/* Every distance of odd sizes against its definition in double precision. */
static void test_distances(void **state)
{
    static const struct {
        size_t rows, count, dim;
    } sizes[] = {{1, 1, 1}, {3, 33, 7}, {4, 32, 16}, {7, 65, 130}, {9, 100, 3}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t rows = sizes[s].rows, count = sizes[s].count, dim = sizes[s].dim;
        float *query = random_features(rows * dim, 1), *gallery = random_features(count * dim, 2);
        size_t room = rows < REID_DISTANCE_ROWS ? REID_DISTANCE_ROWS : rows;
        float *prepared = reid_xcalloc(room * dim, sizeof *prepared), squares[16];
        for (int metric = 0; metric < 2; metric++) {
            reid_gallery packed;
            reid_error err = {0};
            reid_assert_ok(
                reid_gallery_init(&packed, gallery, count, dim, (reid_eval_metric)metric, &err),
                &err);
            size_t stride = packed.panels * REID_DISTANCE_PANEL;
            float *distances = reid_xcalloc(rows * stride, sizeof *distances);
            assert_int_equal(reid_query_prepare(&packed, query, rows, prepared, squares), rows);
            reid_gallery_distances(&packed, prepared, squares, rows, distances);
            for (size_t i = 0; i < rows * count; i++) {
                const float *a = query + i / count * dim, *b = gallery + i % count * dim;
                double aa = 0, bb = 0, ab = 0;
                for (size_t d = 0; d < dim; d++) {
                    aa += (double)a[d] * a[d];
                    bb += (double)b[d] * b[d];
                    ab += (double)a[d] * b[d];
                }
                double expected =
                    metric == REID_EVAL_COSINE ? 1 - ab / sqrt(aa * bb) : aa + bb - 2 * ab;
                reid_assert_close(distances[i / count * stride + i % count], expected, 1e-5, 1e-5);
            }
            free(distances);
            reid_gallery_fini(&packed);
        }
        free(prepared);
        free(query);
        free(gallery);
    }
}

/* More queries than a block, and any number of threads: the same bits. */
static void test_threads_do_not_matter(void **state)
{
    enum { Q = 300, G = 500, D = 24 };
    float *query = random_features((size_t)Q * D, 3), *gallery = random_features((size_t)G * D, 4);
    int32_t pids[G], cams[G];
    for (int i = 0; i < G; i++) {
        pids[i] = i % 37;
        cams[i] = i % 4;
    }
    reid_eval_set q = {query, pids, cams, Q}, g = {gallery, pids, cams, G};
    reid_rank_result first = {0}, other = {0};
    reid_error err = {0};
    reid_assert_ok(reid_eval_market1501(&q, &g, D, REID_EVAL_COSINE, 1, &first, &err), &err);
    for (int threads = 0; threads < 6; threads++) {
        reid_assert_ok(reid_eval_market1501(&q, &g, D, REID_EVAL_COSINE, threads, &other, &err),
                       &err);
        assert_true(first.map == other.map && first.minp == other.minp);
        assert_memory_equal(first.cmc, other.cmc, sizeof first.cmc);
        assert_int_equal(first.valid_queries, other.valid_queries);
    }
    free(query);
    free(gallery);
}

static void test_refused(void **state)
{
    float query[] = {1, 2, 3, 4}, gallery[] = {1, 2, 3, 4};
    const int32_t pids[] = {1, 2}, cams[] = {0, 0};
    reid_eval_set q = {query, pids, cams, 2}, g = {gallery, pids, cams, 2}, empty = {0};
    reid_rank_result result = {.map = 7};
    reid_error err = {0};
    assert_int_equal(reid_eval_market1501(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "another camera")); /* same cameras only */
    reid_error_clear(&err);
    assert_int_equal(reid_eval_market1501(&q, &empty, 2, REID_EVAL_COSINE, 1, &result, &err),
                     REID_ERR_INVALID);
    reid_error_clear(&err);
    query[3] = NAN;
    assert_int_equal(reid_eval_market1501(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err),
                     REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "query image 1"));
    reid_error_clear(&err);
    gallery[0] = INFINITY;
    assert_int_equal(reid_eval_market1501(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err),
                     REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "gallery image 0"));
    reid_error_clear(&err);
    gallery[0] = 1e20f; /* its square is no float */
    assert_int_equal(reid_eval_market1501(&q, &g, 2, REID_EVAL_EUCLIDEAN, 1, &result, &err),
                     REID_ERR_NONFINITE);
    assert_true(result.map == 7);

    reid_eval_metric metric;
    reid_error_clear(&err);
    assert_int_equal(reid_eval_metric_from_name("jaccard", &metric, &err), REID_ERR_INVALID);
    reid_assert_ok(reid_eval_metric_from_name("euclidean", &metric, NULL), &err);
    assert_int_equal(metric, REID_EVAL_EUCLIDEAN);
    reid_assert_ok(reid_eval_metric_from_name("cosine", &metric, NULL), &err);
    assert_int_equal(metric, REID_EVAL_COSINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_metrics),        cmocka_unit_test(test_distances),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
