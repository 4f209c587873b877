/* Features of the images of an evaluation, queries first, then the gallery: what belongs to each
 * one alone, and packing for the inner loop.
 *
 * The values stay where they are (borrowed). A unit feature is x / max(|x|, 1e-12), as torch's
 * F.normalize gives it, with the norm from a sum in double precision; it exists only while packed.
 *
 * Life: reid_features_init → any number of threads → reid_features_fini.
 */
#ifndef REID_EVALUATION_FEATURES_H
#define REID_EVALUATION_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_features {
    const float *queries, *gallery; /* [query_count, dim], [count - query_count, dim] */
    size_t query_count, count, dim;
    float *divisors; /* [count]; 1 unless unit */
    float *squares;  /* [count] |x|² after the division */
} reid_features;

/* NONFINITE names the first image of the gallery, or else query, whose feature is not finite or
 * whose square is too large for distances in float; EXHAUSTED without memory. */
reid_status reid_features_init(reid_features *features, const float *queries, size_t query_count,
                               const float *gallery, size_t gallery_count, size_t dim, bool unit,
                               int threads, reid_error *err);
void reid_features_fini(reid_features *features);

/* Values of image `i` before the division. */
const float *reid_features_row(const reid_features *features, size_t i);

/* Which images, in order: `list`, or those from `first` on when it is NULL. */
typedef struct reid_selection {
    const uint32_t *list;
    size_t first, count;
} reid_selection;

size_t reid_selection_at(const reid_selection *selection, size_t i);

/* Divided values in groups of `lanes` (≤ 32) images, feature after feature: ret_packed
 * [ceil(count / lanes), dim, lanes]. What stands for images beyond the count is of no use. */
void reid_features_pack(const reid_features *features, const reid_selection *selection,
                        size_t lanes, float *ret_packed);

#endif
