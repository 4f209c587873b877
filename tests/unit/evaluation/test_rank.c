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

static reid_status evaluate(const reid_eval_set *query, const reid_eval_set *gallery, size_t dim,
                            reid_eval_metric metric, int threads, reid_rank_result *ret_result,
                            reid_error *err)
{
    reid_eval_options options = {.metric = metric, .threads = threads};
    return reid_eval_market1501(query, gallery, dim, &options, ret_result, err);
}

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
    reid_assert_ok(evaluate(&q, &g, 1, REID_EVAL_EUCLIDEAN, 1, &result, &err), &err);
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
    reid_assert_ok(evaluate(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), &err);
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
    reid_assert_ok(evaluate(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), &err);
    reid_assert_close(result.cmc[0], 1.0, 0, 0);
    reid_assert_ok(evaluate(&q, &g, 2, REID_EVAL_EUCLIDEAN, 1, &result, &err), &err);
    reid_assert_close(result.map, 1.0 / 2, 0,
                      0); /* (4, 3) is nearer than (6, 8); the origin as far, but later */
}

static float *random_features(size_t count, uint32_t stream)
{
    float *features = reid_xcalloc(count, sizeof *features);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        features[i] = (float)reid_rng_normal(&rng);
    return features;
}

/* The protocol written down plainly: all distances by a plain loop, a stable sort of the gallery,
 * and a walk along it. */
typedef struct entry {
    float distance;
    int32_t image;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->image - y->image;
}

static float plain_distance(const float *a, const float *b, size_t dim, reid_eval_metric metric)
{
    double squares[2] = {0};
    for (size_t d = 0; d < dim; d++) {
        squares[0] += (double)a[d] * a[d];
        squares[1] += (double)b[d] * b[d];
    }
    bool cosine = metric == REID_EVAL_COSINE;
    float norm_a = cosine ? (float)sqrt(squares[0]) : 1,
          norm_b = cosine ? (float)sqrt(squares[1]) : 1;
    float dot = 0;
    for (size_t d = 0; d < dim; d++) {
        float x = a[d] / norm_a, y = b[d] / norm_b;
        dot = reid_dot_kernel_is_fused() ? fmaf(x, y, dot) : dot + x * y;
    }
    return cosine ? 1.0f - dot : (float)squares[0] + (float)squares[1] - 2.0f * dot;
}

static void rank_plainly(const reid_eval_set *q, const reid_eval_set *g, size_t dim,
                         reid_eval_metric metric, reid_rank_result *ret_result)
{
    reid_rank_result result = {0};
    entry *entries = reid_xcalloc(g->count, sizeof *entries);
    for (size_t i = 0; i < q->count; i++) {
        size_t kept = 0, matches = 0, last = 0;
        double precision = 0;
        for (size_t k = 0; k < g->count; k++)
            if (g->pids[k] != q->pids[i] || g->camids[k] != q->camids[i])
                entries[kept++] = (entry){
                    plain_distance(q->features + i * dim, g->features + k * dim, dim, metric),
                    (int32_t)k};
        qsort(entries, kept, sizeof *entries, compare_entries);
        for (size_t k = 0; k < kept; k++) {
            if (g->pids[entries[k].image] != q->pids[i])
                continue;
            for (size_t rank = k; matches == 0 && rank < REID_EVAL_MAX_RANK; rank++)
                result.cmc[rank]++;
            precision += (double)++matches / (double)(k + 1);
            last = k + 1;
        }
        if (matches == 0)
            continue;
        result.valid_queries++;
        result.map += precision / (double)matches;
        result.minp += (double)matches / (double)last;
    }
    result.map /= (double)result.valid_queries;
    result.minp /= (double)result.valid_queries;
    for (int k = 0; k < REID_EVAL_MAX_RANK; k++)
        result.cmc[k] /= (double)result.valid_queries;
    free(entries);
    *ret_result = result;
}

/* Identities weak enough to be confused, doubles of images (ties) under the same and other
 * identities, sizes around the tiles': the very figures of the plain way. */
static void test_against_the_plain_way(void **state)
{
    static const struct {
        int queries, gallery, dim, identities;
    } sizes[] = {{1, 60, 5, 2}, {250, 300, 8, 40}, {13, 513, 33, 300}, {41, 257, 3, 1}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t queries = (size_t)sizes[s].queries, gallery = (size_t)sizes[s].gallery;
        size_t dim = (size_t)sizes[s].dim, all = queries + gallery;
        float *features = random_features(all * dim, 10);
        int32_t *pids = reid_xcalloc(all, sizeof *pids), *cams = reid_xcalloc(all, sizeof *cams);
        reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 11);
        for (size_t i = 0; i < all; i++) {
            pids[i] = (int32_t)reid_rng_below(&rng, (uint32_t)sizes[s].identities);
            cams[i] = (int32_t)reid_rng_below(&rng, 3);
            for (size_t d = 0; d < dim; d++)
                features[i * dim + d] += (float)((pids[i] * 7 + (int)d * 3) % 5 - 2) * 0.5f;
            if (i % 5 == 4)
                memcpy(features + i * dim, features + reid_rng_below(&rng, (uint32_t)i) * dim,
                       dim * sizeof *features);
        }
        cams[0] = 7; /* at least one match */
        reid_eval_set q = {features, pids, cams, queries};
        reid_eval_set g = {features + queries * dim, pids + queries, cams + queries, gallery};
        for (int metric = 0; metric < 2; metric++) {
            reid_rank_result fast, plain;
            reid_error err = {0};
            reid_assert_ok(evaluate(&q, &g, dim, (reid_eval_metric)metric, 2, &fast, &err), &err);
            rank_plainly(&q, &g, dim, (reid_eval_metric)metric, &plain);
            assert_int_equal(fast.valid_queries, plain.valid_queries);
            assert_true(fast.map == plain.map && fast.minp == plain.minp);
            assert_memory_equal(fast.cmc, plain.cmc, sizeof fast.cmc);
        }
        free(features);
        free(pids);
        free(cams);
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
    reid_assert_ok(evaluate(&q, &g, D, REID_EVAL_COSINE, 1, &first, &err), &err);
    for (int threads = 0; threads < 6; threads++) {
        reid_assert_ok(evaluate(&q, &g, D, REID_EVAL_COSINE, threads, &other, &err), &err);
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
    assert_int_equal(evaluate(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "another camera")); /* same cameras only */
    reid_error_clear(&err);
    assert_int_equal(evaluate(&q, &empty, 2, REID_EVAL_COSINE, 1, &result, &err), REID_ERR_INVALID);
    reid_error_clear(&err);
    query[3] = NAN;
    assert_int_equal(evaluate(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "query image 1"));
    reid_error_clear(&err);
    gallery[0] = INFINITY;
    assert_int_equal(evaluate(&q, &g, 2, REID_EVAL_COSINE, 1, &result, &err), REID_ERR_NONFINITE);
    assert_non_null(strstr(err.text, "gallery image 0"));
    reid_error_clear(&err);
    gallery[0] = 1e20f; /* its square is no float */
    assert_int_equal(evaluate(&q, &g, 2, REID_EVAL_EUCLIDEAN, 1, &result, &err),
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
        cmocka_unit_test(test_metrics),        cmocka_unit_test(test_against_the_plain_way),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
