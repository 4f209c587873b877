/* Losses and accuracy over plain rows on the host. Small next to the network: one thread, sums in
 * double.
 *
 * Formulas: fast-reid's losses (cross entropy with label smoothing, batch-hard triplet loss after
 * Hermans et al. 2017), in the form that its training uses: distances per rank only. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ref/ref.h"

static int64_t rows_of(const reid_op *op)
{
    return op->desc.input[0]->shape.dim[0];
}

static int64_t width_of(const reid_op *op)
{
    return op->desc.input[0]->shape.dim[1];
}

/* One row: writes softmax - target to `delta` and returns -Σ target·log softmax. */
static double cross_entropy_row(const reid_cross_entropy *a, const float *x, int32_t label,
                                int64_t classes, float *delta)
{
    float top = x[0];
    for (int64_t c = 1; c < classes; c++)
        top = x[c] > top ? x[c] : top;
    double z = 0.0, sum = 0.0;
    for (int64_t c = 0; c < classes; c++) {
        delta[c] = expf(x[c] - top);
        z += delta[c];
        sum += (double)x[c] - top;
    }
    double log_z = log(z), log_label = (double)x[label] - top - log_z;
    double epsilon = a->epsilon >= 0.0 ? a->epsilon : a->alpha * exp(log_label);
    double off = epsilon / (double)(classes - 1), on = 1.0 - epsilon;
    for (int64_t c = 0; c < classes; c++)
        delta[c] = (float)(delta[c] / z - (c == label ? on : off));
    double log_others = sum - (double)classes * log_z - log_label;
    return -(off * log_others + on * log_label);
}

/* Workspace [N,C]: gradient of the loss by the logits, before division by the rows that count; then
 * that number. */
static reid_status cross_entropy_forward(reid_op *op, reid_error *err)
{
    int64_t rows = rows_of(op), classes = width_of(op), counted = 0;
    const float *x = op->buffers.input[0];
    const int32_t *labels = op->buffers.input[1];
    float *delta = op->buffers.workspace;
    double loss = 0.0;
    for (int64_t n = 0; n < rows; n++) {
        double row = cross_entropy_row(&op->desc.attr.cross_entropy, x + n * classes, labels[n],
                                       classes, delta + n * classes);
        loss += row;
        counted += (float)row != 0.0f;
    }
    if (counted < 1)
        counted = 1;
    delta[rows * classes] = (float)counted;
    *(float *)op->buffers.output = (float)(loss / (double)counted);
    return REID_OK;
}

static reid_status cross_entropy_backward(reid_op *op, reid_error *err)
{
    size_t count = (size_t)(rows_of(op) * width_of(op));
    const float *delta = op->buffers.workspace;
    float *dx = op->buffers.input_grad[0], factor = op->desc.loss_scale / delta[count];
    for (size_t i = 0; i < count; i++)
        dx[i] = delta[i] * factor;
    return REID_OK;
}

void reid_ref_cross_entropy_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = cross_entropy_forward,
                                      .backward_inputs = cross_entropy_backward};
    op->impl = &impl;
    op->workspace_bytes = ((size_t)(rows_of(op) * width_of(op)) + 1) * sizeof(float);
    snprintf(op->kernels, sizeof op->kernels, "rows");
}

#define LANES 8

/* Σ a·b in eight double sums: the same order on every machine, and the compiler can use vectors. */
static double row_dot(const float *a, const float *b, int64_t width)
{
    double lane[LANES] = {0.0};
    int64_t d = 0;
    for (; d + LANES <= width; d += LANES)
        for (int i = 0; i < LANES; i++)
            lane[i] += (double)a[d + i] * b[d + i];
    for (int i = 0; d + i < width; i++)
        lane[i] += (double)a[d + i] * b[d + i];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* Parts of the triplet's workspace. */
typedef struct triplet_space {
    int64_t n, width;
    float *dist;   /* [N,N] */
    float *weight; /* [N,N] gradient of the loss by dist */
    float *norm;   /* [N] lengths of the rows; norm_feat only */
} triplet_space;

static triplet_space triplet_space_of(const reid_op *op)
{
    int64_t n = rows_of(op);
    float *base = op->buffers.workspace;
    return (triplet_space){n, width_of(op), base, base + n * n, base + 2 * n * n};
}

static double row_square_distance(const float *a, const float *b, int64_t width)
{
    double lane[LANES] = {0.0};
    int64_t d = 0;
    for (; d + LANES <= width; d += LANES)
        for (int i = 0; i < LANES; i++) {
            double t = (double)a[d + i] - b[d + i];
            lane[i] += t * t;
        }
    for (int i = 0; d + i < width; i++) {
        double t = (double)a[d + i] - b[d + i];
        lane[i] += t * t;
    }
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

static void distances(const reid_op *op, triplet_space s)
{
    const float *x = op->buffers.input[0];
    bool cosine = op->desc.attr.triplet.norm_feat;
    for (int64_t i = 0; cosine && i < s.n; i++) {
        double length = sqrt(row_dot(x + i * s.width, x + i * s.width, s.width));
        s.norm[i] = (float)(length < 1e-12 ? 1e-12 : length);
    }
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t j = i; j < s.n; j++) {
            double d;
            if (cosine) {
                d = 2.0 - 2.0 * row_dot(x + i * s.width, x + j * s.width, s.width) /
                              ((double)s.norm[i] * s.norm[j]);
            } else {
                d = row_square_distance(x + i * s.width, x + j * s.width, s.width);
                d = sqrt(d < 1e-12 ? 1e-12 : d);
            }
            s.dist[i * s.n + j] = s.dist[j * s.n + i] = (float)d;
        }
}

/* Hardest positive (the row itself counts) and hardest negative; without a negative the distance is
 * 1e9. */
static void mine_hard(triplet_space s, const int32_t *labels, int64_t i, int64_t *ret_positive,
                      int64_t *ret_negative)
{
    int64_t p = -1, q = -1;
    const float *d = s.dist + i * s.n;
    for (int64_t j = 0; j < s.n; j++) {
        if (labels[j] == labels[i])
            p = p < 0 || d[j] > d[p] || isnan(d[j]) ? j : p;
        else
            q = q < 0 || d[j] < d[q] || isnan(d[j]) ? j : q;
    }
    *ret_positive = p;
    *ret_negative = q;
}

/* Softmax-weighted distance of row i to those with (positive) or without the same label. sign: +1
 * or -1 in the exponent. With weight_row set, adds upstream·∂/∂dist to it. The 1e-6 in the
 * denominator and the differentiated maximum are fast-reid's. */
static double mine_weighted(triplet_space s, const int32_t *labels, int64_t i, bool positive,
                            double sign, double upstream, float *weight_row)
{
    const float *d = s.dist + i * s.n;
    int64_t top = -1;
    double top_value = 0.0, z = 1e-6, sum = 0.0;
    for (int64_t j = 0; j < s.n; j++) {
        double v = (labels[j] == labels[i]) == positive ? sign * d[j] : 0.0;
        if (top < 0 || v > top_value) {
            top = j;
            top_value = v;
        }
    }
    for (int64_t j = 0; j < s.n; j++)
        if ((labels[j] == labels[i]) == positive) {
            double e = exp(sign * d[j] - top_value);
            z += e;
            sum += e * d[j];
        }
    double value = sum / z;
    if (!weight_row)
        return value;
    double share = 0.0;
    for (int64_t j = 0; j < s.n; j++)
        if ((labels[j] == labels[i]) == positive) {
            double w = exp(sign * d[j] - top_value) / z;
            weight_row[j] += (float)(upstream * w * (1.0 + sign * (d[j] - value)));
            share += w * (d[j] - value);
        }
    if ((labels[top] == labels[i]) == positive)
        weight_row[top] -= (float)(upstream * sign * share);
    return value;
}

/* ∂loss/∂dist of row i, given the slope of the row's loss by (ap - an). */
static void row_weights(const reid_op *op, triplet_space s, const int32_t *labels, int64_t i,
                        double slope)
{
    float *row = s.weight + i * s.n;
    if (op->desc.attr.triplet.hard_mining) {
        int64_t p, q;
        mine_hard(s, labels, i, &p, &q);
        row[p] += (float)slope;
        if (q >= 0)
            row[q] -= (float)slope;
    } else {
        mine_weighted(s, labels, i, true, 1.0, slope, row);
        mine_weighted(s, labels, i, false, -1.0, -slope, row);
    }
}

/* ap - an of row i. */
static double row_gap(const reid_op *op, triplet_space s, const int32_t *labels, int64_t i)
{
    if (!op->desc.attr.triplet.hard_mining)
        return mine_weighted(s, labels, i, true, 1.0, 0.0, NULL) -
               mine_weighted(s, labels, i, false, -1.0, 0.0, NULL);
    int64_t p, q;
    mine_hard(s, labels, i, &p, &q);
    return (double)s.dist[i * s.n + p] - (q >= 0 ? (double)s.dist[i * s.n + q] : 1e9);
}

static reid_status triplet_forward(reid_op *op, reid_error *err)
{
    triplet_space s = triplet_space_of(op);
    const int32_t *labels = op->buffers.input[1];
    double margin = op->desc.attr.triplet.margin, loss = 0.0;
    distances(op, s);
    memset(s.weight, 0, (size_t)(s.n * s.n) * sizeof(float));
    bool soft = margin == 0.0;
    for (int64_t i = 0; soft && i < s.n; i++)
        if (isinf(expf((float)row_gap(op, s, labels,
                                      i)))) { /* fast-reid's fallback, for the whole batch */
            soft = false;
            margin = 0.3;
        }
    for (int64_t i = 0; i < s.n; i++) {
        double gap = row_gap(op, s, labels, i), slope;
        if (soft) {
            loss += log1p(exp(gap));
            slope = 1.0 / (1.0 + exp(-gap));
        } else {
            /* The hinge passes its gradient at zero too, as clamp(min=0) does. */
            loss += gap + margin > 0.0 || isnan(gap) ? gap + margin : 0.0;
            slope = (float)(gap + margin) >= 0.0f ? 1.0 : 0.0;
        }
        if (slope != 0.0)
            row_weights(op, s, labels, i, slope / (double)s.n);
    }
    *(float *)op->buffers.output = (float)(loss / (double)s.n);
    return REID_OK;
}

/* dx_i = Σ_j (w_ij + w_ji)/dist_ij · (x_i - x_j) */
static void euclid_row_backward(const reid_op *op, triplet_space s, int64_t i, float *dx)
{
    const float *x = op->buffers.saved_input[0];
    for (int64_t j = 0; j < s.n; j++) {
        float w = s.weight[i * s.n + j] + s.weight[j * s.n + i], d = s.dist[i * s.n + j];
        if (i == j || w == 0.0f || d <= 1e-6f)
            continue;
        w = w * op->desc.loss_scale / d;
        for (int64_t k = 0; k < s.width; k++)
            dx[k] += w * (x[i * s.width + k] - x[j * s.width + k]);
    }
}

/* With u = x/|x|: du_i = -2 Σ_j (w_ij + w_ji)·u_j;  dx_i = (du_i - u_i (u_i·du_i)) / |x_i| */
static void cosine_row_backward(const reid_op *op, triplet_space s, int64_t i, float *dx)
{
    const float *x = op->buffers.saved_input[0], *xi = x + i * s.width;
    for (int64_t j = 0; j < s.n; j++) {
        float w = s.weight[i * s.n + j] + s.weight[j * s.n + i];
        if (i == j || w == 0.0f)
            continue;
        w = -2.0f * w * op->desc.loss_scale / s.norm[j];
        for (int64_t k = 0; k < s.width; k++)
            dx[k] += w * x[j * s.width + k];
    }
    float inverse = 1.0f / s.norm[i], along = (float)row_dot(xi, dx, s.width) * inverse * inverse;
    for (int64_t k = 0; k < s.width; k++)
        dx[k] = (dx[k] - along * xi[k]) * inverse;
}

static reid_status triplet_backward(reid_op *op, reid_error *err)
{
    triplet_space s = triplet_space_of(op);
    float *dx = op->buffers.input_grad[0];
    memset(dx, 0, op->desc.input[0]->bytes);
    for (int64_t i = 0; i < s.n; i++) {
        if (op->desc.attr.triplet.norm_feat)
            cosine_row_backward(op, s, i, dx + i * s.width);
        else
            euclid_row_backward(op, s, i, dx + i * s.width);
    }
    return REID_OK;
}

void reid_ref_triplet_setup(reid_op *op)
{
    static const reid_op_impl impl = {
        .free = reid_ref_op_free, .forward = triplet_forward, .backward_inputs = triplet_backward};
    size_t n = (size_t)rows_of(op);
    op->impl = &impl;
    op->needs_input[0] = true;
    op->workspace_bytes = (2 * n * n + n) * sizeof(float);
    snprintf(op->kernels, sizeof op->kernels, "rows");
}

static reid_status accuracy_forward(reid_op *op, reid_error *err)
{
    int64_t rows = rows_of(op), classes = width_of(op), right = 0;
    const int32_t *labels = op->buffers.input[1];
    for (int64_t n = 0; n < rows; n++) {
        const float *x = (const float *)op->buffers.input[0] + n * classes;
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            best = x[c] > x[best] ? c : best;
        right += best == labels[n];
    }
    *(float *)op->buffers.output = (float)((double)right / (double)rows);
    return REID_OK;
}

void reid_ref_accuracy_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free, .forward = accuracy_forward};
    op->impl = &impl;
    snprintf(op->kernels, sizeof op->kernels, "rows");
}
