/* Distances between a block of queries and the whole gallery.
 *
 * The gallery is packed once: panels of REID_DISTANCE_PANEL images, feature after feature, so that
 * the inner loop reads contiguously. Cosine features are normalised while packing (x / max(|x|,
 * 1e-12), as torch's F.normalize).
 *
 * Life: reid_gallery_new → reid_gallery_distances (any number of threads) → reid_gallery_free.
 */
#ifndef REID_EVALUATION_DISTANCE_H
#define REID_EVALUATION_DISTANCE_H

#include <stddef.h>

#include "evaluation/rank.h"

#define REID_DISTANCE_PANEL 32
#define REID_DISTANCE_ROWS 4 /* queries of one inner loop */

typedef struct reid_gallery {
    reid_eval_metric metric;
    size_t dim, count, panels;
    float *packed;  /* [panels, dim, PANEL]; zeros beyond count */
    float *squares; /* [panels × PANEL] |g|², euclidean only */
} reid_gallery;

/* NONFINITE names the gallery image whose feature is not finite; EXHAUSTED without memory. */
reid_status reid_gallery_init(reid_gallery *gallery, const float *features, size_t count,
                              size_t dim, reid_eval_metric metric, reid_error *err);
void reid_gallery_fini(reid_gallery *gallery);

/* Scales (cosine) a copy of `rows` query features into ret_query [rows, dim] and their squares into
 * ret_squares. Returns the first row whose feature is not finite, `rows` when all are. */
size_t reid_query_prepare(const reid_gallery *gallery, const float *features, size_t rows,
                          float *ret_query, float *ret_squares);

/* ret_distances [rows, stride], stride = panels × PANEL ≥ count; entries beyond count are of no
 * use. */
void reid_gallery_distances(const reid_gallery *gallery, const float *query, const float *squares,
                            size_t rows, float *ret_distances);

#endif
