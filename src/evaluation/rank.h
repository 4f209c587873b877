/* Ranking by the Market-1501 protocol (Zheng et al., ICCV 2015): CMC, mAP and mINP, as fast-reid's
 * evaluate_rank.
 *
 * For a query, gallery images of the same identity under the same camera are left out; the rest is
 * ranked by distance. A query whose identity does not appear in what is left is skipped and
 * counted. With r_1 < r_2 < … < r_n the ranks (from 1) of the n true matches:  AP = 1/n Σ i/r_i,
 * INP = n / r_n,  CMC(k) = [r_1 ≤ k]; all averaged over valid queries. Equal distances keep the
 * order of the gallery (numpy.argsort(kind="stable")).
 *
 * Distances are computed tile by tile and compared at once with those of the query's true matches,
 * which are measured first: neither a row of the matrix nor a sorted gallery ever exists. The
 * memory used beside the inputs is about 6 KiB × D for each thread (12 MiB for D = 2048) and 12
 * bytes for each pair of a query and a true match of it, at most about 100 MiB at a time.
 */
#ifndef REID_EVALUATION_RANK_H
#define REID_EVALUATION_RANK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "evaluation/distance.h"
#include "evaluation/rerank.h"

#define REID_EVAL_MAX_RANK 50

/* "cosine" or "euclidean" (TEST.METRIC). */
reid_status reid_eval_metric_from_name(const char *name, reid_eval_metric *ret_metric,
                                       reid_error *err);

typedef struct reid_eval_set {
    const float *features; /* [count, D] f32, need not be normalised */
    const int32_t *pids;   /* [count] */
    const int32_t *camids; /* [count] */
    size_t count;
} reid_eval_set;

typedef struct reid_rank_result {
    size_t max_rank;                /* min(50, gallery size) */
    double cmc[REID_EVAL_MAX_RANK]; /* fractions; cmc[0] is Rank-1. Entries from max_rank on repeat
                                       the last one */
    double map, minp;               /* fractions */
    size_t valid_queries, skipped_queries;
} reid_rank_result;

typedef struct reid_eval_options {
    reid_eval_metric metric;
    int threads;                       /* ≤ 0: one per CPU */
    const reid_rerank_options *rerank; /* NULL: ranking by the distances themselves */
} reid_eval_options;

/* Refuses empty sets, features that are not finite (NONFINITE) and a query set without any valid
 * query. The result does not depend on the number of threads. */
reid_status reid_eval_market1501(const reid_eval_set *query, const reid_eval_set *gallery,
                                 size_t dim, const reid_eval_options *options,
                                 reid_rank_result *ret_result, reid_error *err);

#endif
