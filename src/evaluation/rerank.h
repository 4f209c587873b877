/* Re-ranking with k-reciprocal neighbours (Zhong et al., CVPR 2017), as fast-reid's
 * compute_jaccard_distance computes it over queries and gallery together:
 *
 *   N(i) the K1 nearest images of image i by Euclidean distance, i among them;
 *   R(i, k) = {j ∈ N(i)'s first k : i ∈ N(j)'s first k};
 *   R*(i) = R(i, K1), joined by every R(c, K1/2 + 1) of a c in it that has more than two thirds in
 *           common with R(i, K1);
 *   V(i) softmax of -d² over R*(i), then the mean of V over the first K2 of N(i);
 *   J(q, g) = 1 - t / (2 - t),  t = Σ_j min(V(q)_j, V(g)_j);
 *   new distance = (1 - LAMBDA) · J + LAMBDA · distance.
 *
 * Nearly all t are zero, so V and J are kept as lists: the memory used grows with the number of
 * images times K1 · K2, not with its square.
 */
#ifndef REID_EVALUATION_RERANK_H
#define REID_EVALUATION_RERANK_H

#include "evaluation/features.h"

typedef struct reid_rerank_options {
    int64_t k1, k2; /* at least 1; more than there are images counts as that many */
    double lambda;  /* 0…1 */
} reid_rerank_options;

typedef struct reid_rerank reid_rerank;

/* J between all queries and gallery images. Distances follow the features: between unit features
 * when they are unit. EXHAUSTED without memory. The result does not depend on `threads`. */
reid_status reid_rerank_new(const reid_features *features, const reid_rerank_options *options,
                            int threads, reid_rerank **ret_rerank, reid_error *err);
void reid_rerank_free(reid_rerank *rerank);

/* The new distance between a query and a gallery image whose distance was `distance`. */
float reid_rerank_blend(const reid_rerank *rerank, size_t query, size_t image, float distance);
/* The same for `count` (≤ REID_TILE_COLUMNS) images from `first` on, in place. */
void reid_rerank_blend_row(const reid_rerank *rerank, size_t query, size_t first, size_t count,
                           float *distances);

#endif
