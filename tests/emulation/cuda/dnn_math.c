/* The loops. Inner ones run over contiguous channels, so that the compiler can vectorize them
 * without changing the order of sums. */
#include "dnn_emu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

size_t emu_dense_count(const emu_dense *d)
{
    size_t count = 1;
    for (int i = 0; i < d->rank; i++)
        count *= (size_t)d->dim[i];
    return count;
}

size_t emu_dense_at(const emu_dense *d, const int64_t index[4])
{
    int64_t i[4];
    for (int k = 0; k < d->rank; k++)
        i[k] = d->dim[k] == 1 ? 0 : index[k];
    if (d->rank == 3)
        return (size_t)((i[0] * d->dim[1] + i[1]) * d->dim[2] + i[2]);
    return (size_t)(((i[0] * d->dim[2] + i[2]) * d->dim[3] + i[3]) * d->dim[1] + i[1]);
}

/* y[i] += a·x[i] */
CLONES static void add_scaled(size_t n, float a, const float *restrict x, float *restrict y)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

/* One output pixel, one place of the window, and the input pixel that it sees. */
typedef struct tap {
    size_t x, w, y; /* first channel of each */
} tap;
typedef void tap_fn(tap t, const emu_dense *x, const emu_dense *w, const emu_dense *y);

/* Calls once for each pixel of image n and each place of the window inside the image. */
static void each_tap(const emu_window *win, const emu_dense *x, const emu_dense *w,
                     const emu_dense *y, int64_t n, tap_fn *call)
{
    int64_t H = x->dim[2], W = x->dim[3], R = w->dim[2], S = w->dim[3], P = y->dim[2],
            Q = y->dim[3], C = x->dim[1], K = y->dim[1];
    for (int64_t p = 0; p < P; p++)
        for (int64_t q = 0; q < Q; q++)
            for (int64_t r = 0; r < R; r++) {
                int64_t h = p * win->stride[0] - win->pad[0] + r * win->dilation[0];
                for (int64_t s = 0; h >= 0 && h < H && s < S; s++) {
                    int64_t v = q * win->stride[1] - win->pad[1] + s * win->dilation[1];
                    if (v < 0 || v >= W)
                        continue;
                    call((tap){(size_t)(((n * H + h) * W + v) * C), (size_t)((r * S + s) * C),
                               (size_t)(((n * P + p) * Q + q) * K)},
                         x, w, y);
                }
            }
}

/* `w` is transposed: [r,s,c,k]. */
static void tap_forward(tap t, const emu_dense *x, const emu_dense *w, const emu_dense *y)
{
    size_t C = (size_t)x->dim[1], K = (size_t)y->dim[1];
    for (size_t c = 0; c < C; c++)
        add_scaled(K, x->data[t.x + c], &w->data[(t.w + c) * K], &y->data[t.y]);
}

static size_t filter_step(const emu_dense *w)
{
    return (size_t)(w->dim[1] * w->dim[2] * w->dim[3]);
}

static void tap_data(tap t, const emu_dense *x, const emu_dense *w, const emu_dense *y)
{
    size_t C = (size_t)x->dim[1], K = (size_t)y->dim[1], step = filter_step(w);
    for (size_t k = 0; k < K; k++)
        add_scaled(C, y->data[t.y + k], &w->data[k * step + t.w], &x->data[t.x]);
}

static void tap_filter(tap t, const emu_dense *x, const emu_dense *w, const emu_dense *y)
{
    size_t C = (size_t)x->dim[1], K = (size_t)y->dim[1], step = filter_step(w);
    for (size_t k = 0; k < K; k++)
        add_scaled(C, y->data[t.y + k], &x->data[t.x], &w->data[k * step + t.w]);
}

void emu_conv_forward(const emu_window *win, const emu_dense *x, const emu_dense *w, emu_dense *y)
{
    size_t K = (size_t)w->dim[0], step = filter_step(w);
    emu_dense turned = *w;
    turned.data = malloc(K * step * sizeof(float));
    for (size_t k = 0; k < K; k++)
        for (size_t i = 0; i < step; i++)
            turned.data[i * K + k] = w->data[k * step + i];
    memset(y->data, 0, emu_dense_count(y) * sizeof(float));
    for (int64_t n = 0; n < x->dim[0]; n++)
        each_tap(win, x, &turned, y, n, tap_forward);
    free(turned.data);
}

void emu_conv_data(const emu_window *win, emu_dense *dx, const emu_dense *w, const emu_dense *dy)
{
    memset(dx->data, 0, emu_dense_count(dx) * sizeof(float));
    for (int64_t n = 0; n < dx->dim[0]; n++)
        each_tap(win, dx, w, dy, n, tap_data);
}

/* Sums of one image are float, sums over images double. */
void emu_conv_filter(const emu_window *win, const emu_dense *x, emu_dense *dw, const emu_dense *dy)
{
    size_t count = emu_dense_count(dw);
    double *sum = calloc(count, sizeof *sum);
    for (int64_t n = 0; n < x->dim[0]; n++) {
        memset(dw->data, 0, count * sizeof(float));
        each_tap(win, x, dw, dy, n, tap_filter);
        for (size_t i = 0; i < count; i++)
            sum[i] += (double)dw->data[i];
    }
    for (size_t i = 0; i < count; i++)
        dw->data[i] = (float)sum[i];
    free(sum);
}

void emu_matmul(const emu_dense *a, const emu_dense *b, emu_dense *c)
{
    int64_t M = c->dim[1], N = c->dim[2], K = a->dim[2];
    memset(c->data, 0, emu_dense_count(c) * sizeof(float));
    for (int64_t i = 0; i < c->dim[0]; i++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t k = 0; k < K; k++)
                add_scaled((size_t)N, a->data[emu_dense_at(a, (int64_t[4]){i, m, k})],
                           &b->data[emu_dense_at(b, (int64_t[4]){i, k, 0})],
                           &c->data[(i * M + m) * N]);
}

static float point(int mode, float x, float b, float dy)
{
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        return x + b;
    case CUDNN_POINTWISE_SUB:
        return x - b;
    case CUDNN_POINTWISE_MUL:
        return x * b;
    case CUDNN_POINTWISE_RELU_FWD:
        return x > 0.0f ? x : 0.0f;
    case CUDNN_POINTWISE_RELU_BWD:
        return x > 0.0f ? dy : 0.0f;
    case CUDNN_POINTWISE_IDENTITY:
        return x;
    default:
        return NAN;
    }
}

bool emu_pointwise(int mode, const emu_dense *x, const emu_dense *b, const emu_dense *dy,
                   emu_dense *out)
{
    const int64_t *d = out->dim;
    int64_t last = out->rank == 4 ? d[3] : 1;
    for (int64_t i = 0; i < d[0]; i++)
        for (int64_t j = 0; j < d[1]; j++)
            for (int64_t k = 0; k < d[2]; k++)
                for (int64_t l = 0; l < last; l++) {
                    const int64_t at[4] = {i, j, k, l};
                    out->data[emu_dense_at(out, at)] =
                        point(mode, x ? x->data[emu_dense_at(x, at)] : 0.0f,
                              b ? b->data[emu_dense_at(b, at)] : 0.0f,
                              dy ? dy->data[emu_dense_at(dy, at)] : 0.0f);
                }
    return !isnan(point(mode, 1.0f, 1.0f, 1.0f));
}
