#include "evaluation/distance.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define PANEL REID_DISTANCE_PANEL
#define ROWS REID_DISTANCE_ROWS
#define NORM_FLOOR 1e-12

/* Sum of squares in double: NaN or infinite when a value is. */
static double square_sum(const float *x, size_t dim)
{
    double sum = 0.0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* What a feature is divided by. */
static float divisor_of(reid_eval_metric metric, double squares)
{
    return metric == REID_EVAL_COSINE ? (float)fmax(sqrt(squares), NORM_FLOOR) : 1.0f;
}

/* Also refuses what would overflow in |q|² + |g|² - 2 q·g. */
static bool is_usable(reid_eval_metric metric, double squares)
{
    return isfinite(squares) && (metric == REID_EVAL_COSINE || squares < FLT_MAX / 8);
}

static reid_status pack(reid_gallery *gallery, const float *features, reid_error *err)
{
    for (size_t g = 0; g < gallery->count; g++) {
        const float *from = features + g * gallery->dim;
        float *to = gallery->packed + g / PANEL * gallery->dim * PANEL + g % PANEL;
        double squares = square_sum(from, gallery->dim);
        if (!is_usable(gallery->metric, squares))
            return reid_fail(err, REID_ERR_NONFINITE,
                             "the feature of gallery image %zu is not finite (or too large)", g);
        float divisor = divisor_of(gallery->metric, squares);
        for (size_t d = 0; d < gallery->dim; d++)
            to[d * PANEL] = from[d] / divisor;
        gallery->squares[g] = (float)squares;
    }
    return REID_OK;
}

reid_status reid_gallery_init(reid_gallery *gallery, const float *features, size_t count,
                              size_t dim, reid_eval_metric metric, reid_error *err)
{
    size_t panels = (count + PANEL - 1) / PANEL;
    *gallery = (reid_gallery){.metric = metric, .dim = dim, .count = count, .panels = panels};
    if (dim <= SIZE_MAX / sizeof(float) / (panels * PANEL))
        gallery->packed = reid_alloc_aligned(panels * PANEL * dim * sizeof *gallery->packed);
    gallery->squares = reid_alloc(panels * PANEL, sizeof *gallery->squares);
    if (!gallery->packed || !gallery->squares) {
        reid_gallery_fini(gallery);
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "no memory for a gallery of %zu features of %zu values", count, dim);
    }
    reid_status status = pack(gallery, features, err);
    if (status != REID_OK)
        reid_gallery_fini(gallery);
    return status;
}

void reid_gallery_fini(reid_gallery *gallery)
{
    reid_free_aligned(gallery->packed,
                      gallery->panels * PANEL * gallery->dim * sizeof *gallery->packed);
    free(gallery->squares);
    *gallery = (reid_gallery){0};
}

size_t reid_query_prepare(const reid_gallery *gallery, const float *features, size_t rows,
                          float *ret_query, float *ret_squares)
{
    for (size_t r = 0; r < rows; r++) {
        const float *from = features + r * gallery->dim;
        double squares = square_sum(from, gallery->dim);
        if (!is_usable(gallery->metric, squares))
            return r;
        float divisor = divisor_of(gallery->metric, squares);
        for (size_t d = 0; d < gallery->dim; d++)
            ret_query[r * gallery->dim + d] = from[d] / divisor;
        ret_squares[r] = (float)squares;
    }
    return rows;
}

typedef float lanes
    __attribute__((vector_size(64))); /* 16 floats; smaller registers take several */
#define LANES 16

/* Dot products of ROWS queries with one panel: ret_dots [ROWS, PANEL]. The sums are variables, not
 * an array, so that they stay in registers. */
REID_CLONES static void dot_panel(const float *query, size_t dim, const float *panel,
                                  float *ret_dots)
{
    _Static_assert(ROWS == 4 && PANEL == 2 * LANES, "written out for this size");
    lanes s00 = {0}, s01 = {0}, s10 = {0}, s11 = {0}, s20 = {0}, s21 = {0}, s30 = {0}, s31 = {0};
    const float *q0 = query, *q1 = q0 + dim, *q2 = q1 + dim, *q3 = q2 + dim;
    for (size_t d = 0; d < dim; d++, panel += PANEL) {
        lanes left, right;
        memcpy(&left, panel, sizeof left);
        memcpy(&right, panel + LANES, sizeof right);
        s00 += left * q0[d];
        s01 += right * q0[d];
        s10 += left * q1[d];
        s11 += right * q1[d];
        s20 += left * q2[d];
        s21 += right * q2[d];
        s30 += left * q3[d];
        s31 += right * q3[d];
    }
    memcpy(ret_dots, &s00, sizeof s00);
    memcpy(ret_dots + LANES, &s01, sizeof s01);
    memcpy(ret_dots + 2 * LANES, &s10, sizeof s10);
    memcpy(ret_dots + 3 * LANES, &s11, sizeof s11);
    memcpy(ret_dots + 4 * LANES, &s20, sizeof s20);
    memcpy(ret_dots + 5 * LANES, &s21, sizeof s21);
    memcpy(ret_dots + 6 * LANES, &s30, sizeof s30);
    memcpy(ret_dots + 7 * LANES, &s31, sizeof s31);
}

static void dots_to_distances(const reid_gallery *gallery, const float *dots, float query_square,
                              size_t panel, float *ret_distances)
{
    const float *squares = gallery->squares + panel * PANEL;
    if (gallery->metric == REID_EVAL_COSINE) {
        for (size_t i = 0; i < PANEL; i++)
            ret_distances[i] = 1.0f - dots[i];
    } else {
        for (size_t i = 0; i < PANEL; i++)
            ret_distances[i] = query_square + squares[i] - 2.0f * dots[i];
    }
}

/* A panel (dim × PANEL floats) stays in the second cache while the block of queries passes over it.
 */
void reid_gallery_distances(const reid_gallery *gallery, const float *query, const float *squares,
                            size_t rows, float *ret_distances)
{
    size_t dim = gallery->dim, stride = gallery->panels * PANEL;
    float dots[ROWS * PANEL];
    for (size_t p = 0; p < gallery->panels; p++) {
        const float *panel = gallery->packed + p * dim * PANEL;
        for (size_t r = 0; r < rows; r += ROWS) {
            size_t begin = rows >= ROWS ? REID_MIN(r, rows - ROWS)
                                        : 0; /* the last rows overlap with those before */
            dot_panel(query + begin * dim, dim, panel, dots);
            for (size_t i = begin; i < REID_MIN(begin + ROWS, rows); i++)
                dots_to_distances(gallery, dots + (i - begin) * PANEL, squares[i], p,
                                  ret_distances + i * stride + p * PANEL);
        }
    }
}
