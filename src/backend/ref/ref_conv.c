/* Convolution and linear layers as plain loops. */
#include <math.h>
#include <stdio.h>

#include "backend/element.h"
#include "backend/ref/ref.h"

typedef struct conv_shape {
    reid_dims in, out;
    int64_t k, stride, pad;
} conv_shape;

static conv_shape conv_of(const reid_op *op)
{
    const reid_conv2d *a = &op->desc.attr.conv;
    return (conv_shape){reid_layout_dims(op->desc.input[0]), reid_layout_dims(op->desc.output),
                        a->kernel, a->stride, a->padding};
}

/* Range of kernel rows (or columns) that meet the input for the window at `start`. */
static void clip(int64_t start, int64_t k, int64_t size, int64_t *from, int64_t *to)
{
    *from = start < 0 ? -start : 0;
    *to = start + k > size ? size - start : k;
}

static double window_dot(const conv_shape *s, const float *x, const float *w, int64_t top,
                         int64_t left)
{
    int64_t h0, h1, w0, w1;
    double sum = 0.0;
    clip(top, s->k, s->in.h, &h0, &h1);
    clip(left, s->k, s->in.w, &w0, &w1);
    for (int64_t c = 0; c < s->in.c; c++)
        for (int64_t i = h0; i < h1; i++)
            for (int64_t j = w0; j < w1; j++)
                sum += (double)x[(c * s->in.h + top + i) * s->in.w + left + j] *
                       w[(c * s->k + i) * s->k + j];
    return sum;
}

static reid_status conv_forward(reid_op *op, reid_error *err)
{
    conv_shape s = conv_of(op);
    const float *w = op->buffers.param[0],
                *bias = op->desc.attr.conv.bias ? op->buffers.param[1] : NULL;
    float *y = op->buffers.output;
    for (int64_t n = 0; n < s.in.n; n++) {
        const float *x = (const float *)op->buffers.input[0] + n * s.in.c * s.in.h * s.in.w;
        for (int64_t o = 0; o < s.out.c; o++)
            for (int64_t i = 0; i < s.out.h; i++)
                for (int64_t j = 0; j < s.out.w; j++)
                    *y++ = (float)(window_dot(&s, x, w + o * s.in.c * s.k * s.k,
                                              i * s.stride - s.pad, j * s.stride - s.pad) +
                                   (bias ? bias[o] : 0.0f));
    }
    return REID_OK;
}

/* As a batch norm of its own would do it, in the convolution's place. */
static reid_status folded_forward(reid_op *op, reid_error *err)
{
    const reid_op_buffers *b = &op->buffers;
    reid_dims d = reid_layout_dims(op->desc.output);
    const float *residual = op->desc.input_count > 1 ? b->input[1] : NULL;
    float *y = b->output;
    REID_TRY(conv_forward(op, err));
    for (int64_t row = 0; row < d.n * d.c; row++) {
        int64_t c = row % d.c;
        float inverse = (float)(1.0 / sqrt((double)b->state[1][c] + op->desc.fold.eps));
        for (int64_t k = row * d.h * d.w; k < (row + 1) * d.h * d.w; k++) {
            float v =
                reid_norm_element(y[k], b->state[0][c], b->param[1][c] * inverse, b->param[2][c]);
            v = residual ? v + residual[k] : v;
            y[k] = op->desc.relu ? reid_relu_element(v) : v;
        }
    }
    return REID_OK;
}

/* dW[o][c][i][j] = Σ_n,y,x dy[n][o][y][x] · x[n][c][y·stride-pad+i][…] */
static double weight_grad(const conv_shape *s, const float *x, const float *dy, int64_t o,
                          int64_t c, int64_t i, int64_t j)
{
    double sum = 0.0;
    for (int64_t n = 0; n < s->in.n; n++)
        for (int64_t y = 0; y < s->out.h; y++) {
            int64_t row = y * s->stride - s->pad + i;
            if (row < 0 || row >= s->in.h)
                continue;
            const float *xr = x + ((n * s->in.c + c) * s->in.h + row) * s->in.w;
            const float *gr = dy + ((n * s->out.c + o) * s->out.h + y) * s->out.w;
            for (int64_t z = 0; z < s->out.w; z++) {
                int64_t column = z * s->stride - s->pad + j;
                if (column >= 0 && column < s->in.w)
                    sum += (double)xr[column] * gr[z];
            }
        }
    return sum;
}

static reid_status conv_backward_params(reid_op *op, reid_error *err)
{
    conv_shape s = conv_of(op);
    const float *x = op->buffers.saved_input[0], *dy = op->buffers.output_grad[0];
    float *dw = op->buffers.param_grad[0];
    for (int64_t o = 0; o < s.out.c; o++)
        for (int64_t c = 0; c < s.in.c; c++)
            for (int64_t i = 0; i < s.k; i++)
                for (int64_t j = 0; j < s.k; j++)
                    *dw++ = (float)weight_grad(&s, x, dy, o, c, i, j);
    int64_t plane = s.out.h * s.out.w;
    for (int64_t o = 0; op->desc.attr.conv.bias && o < s.out.c; o++) {
        double sum = 0.0;
        for (int64_t n = 0; n < s.out.n; n++)
            for (int64_t i = 0; i < plane; i++)
                sum += dy[(n * s.out.c + o) * plane + i];
        op->buffers.param_grad[1][o] = (float)sum;
    }
    return REID_OK;
}

/* dx[n][c][row][column]: every output window that covers the pixel. */
static double input_grad(const conv_shape *s, const float *w, const float *dy, int64_t c,
                         int64_t row, int64_t column)
{
    double sum = 0.0;
    for (int64_t i = 0; i < s->k; i++) {
        int64_t y = row + s->pad - i;
        if (y < 0 || y % s->stride || y / s->stride >= s->out.h)
            continue;
        for (int64_t j = 0; j < s->k; j++) {
            int64_t z = column + s->pad - j;
            if (z < 0 || z % s->stride || z / s->stride >= s->out.w)
                continue;
            for (int64_t o = 0; o < s->out.c; o++)
                sum += (double)dy[(o * s->out.h + y / s->stride) * s->out.w + z / s->stride] *
                       w[((o * s->in.c + c) * s->k + i) * s->k + j];
        }
    }
    return sum;
}

static reid_status conv_backward_inputs(reid_op *op, reid_error *err)
{
    conv_shape s = conv_of(op);
    float *dx = op->buffers.input_grad[0];
    if (!dx)
        return REID_OK;
    for (int64_t n = 0; n < s.in.n; n++) {
        const float *dy =
            (const float *)op->buffers.output_grad[0] + n * s.out.c * s.out.h * s.out.w;
        for (int64_t c = 0; c < s.in.c; c++)
            for (int64_t i = 0; i < s.in.h; i++)
                for (int64_t j = 0; j < s.in.w; j++)
                    *dx++ = (float)input_grad(&s, op->buffers.param[0], dy, c, i, j);
    }
    return REID_OK;
}

void reid_ref_conv_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = conv_forward,
                                      .backward_params = conv_backward_params,
                                      .backward_inputs = conv_backward_inputs};
    static const reid_op_impl folded = {.free = reid_ref_op_free, .forward = folded_forward};
    op->impl = op->desc.folded ? &folded : &impl;
    op->needs_input[0] = true;
    snprintf(op->kernels, sizeof op->kernels, "loops");
}

static reid_status linear_forward(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]), out = reid_layout_dims(op->desc.output);
    const float *x = op->buffers.input[0], *w = op->buffers.param[0];
    float *y = op->buffers.output;
    for (int64_t n = 0; n < in.n; n++)
        for (int64_t o = 0; o < out.c; o++) {
            double sum = 0.0;
            for (int64_t d = 0; d < in.c; d++)
                sum += (double)x[n * in.c + d] * w[o * in.c + d];
            sum *= op->desc.attr.linear.scale;
            y[n * out.c + o] =
                (float)(op->desc.param_count > 1 ? sum + op->buffers.param[1][o] : sum);
        }
    return REID_OK;
}

static reid_status linear_backward_params(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]), out = reid_layout_dims(op->desc.output);
    const float *x = op->buffers.saved_input[0], *dy = op->buffers.output_grad[0];
    for (int64_t o = 0; o < out.c; o++) {
        double bias = 0.0;
        for (int64_t n = 0; n < in.n; n++)
            bias += dy[n * out.c + o];
        if (op->desc.param_count > 1)
            op->buffers.param_grad[1][o] = (float)bias;
        for (int64_t d = 0; d < in.c; d++) {
            double sum = 0.0;
            for (int64_t n = 0; n < in.n; n++)
                sum += (double)dy[n * out.c + o] * x[n * in.c + d];
            op->buffers.param_grad[0][o * in.c + d] = (float)(sum * op->desc.attr.linear.scale);
        }
    }
    return REID_OK;
}

static reid_status linear_backward_inputs(reid_op *op, reid_error *err)
{
    reid_dims in = reid_layout_dims(op->desc.input[0]), out = reid_layout_dims(op->desc.output);
    const float *w = op->buffers.param[0], *dy = op->buffers.output_grad[0];
    float *dx = op->buffers.input_grad[0];
    for (int64_t n = 0; dx && n < in.n; n++)
        for (int64_t d = 0; d < in.c; d++) {
            double sum = 0.0;
            for (int64_t o = 0; o < out.c; o++)
                sum += (double)dy[n * out.c + o] * w[o * in.c + d];
            dx[n * in.c + d] = (float)(sum * op->desc.attr.linear.scale);
        }
    return REID_OK;
}

void reid_ref_linear_setup(reid_op *op)
{
    static const reid_op_impl impl = {.free = reid_ref_op_free,
                                      .forward = linear_forward,
                                      .backward_params = linear_backward_params,
                                      .backward_inputs = linear_backward_inputs};
    op->impl = &impl;
    op->needs_input[0] = true;
    snprintf(op->kernels, sizeof op->kernels, "loops");
}
