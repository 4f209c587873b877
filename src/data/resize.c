#include "data/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "data/kernels.h"

#define SUPPORT 2.0
#define CUBIC_A (-0.5)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "pixels are taken apart as little-endian words");

/* A buffer that only grows. */
typedef struct growing {
    void *data; /* aligned for vectors */
    size_t bytes;
} growing;

struct reid_resizer {
    const reid_pixel_kernels *kernels;
    reid_axis horizontal, vertical;
    growing columns; /* [in width + 1, 3, lanes]: a strip of rows taken apart */
    growing rows;    /* [in height, out width] pixels: after the horizontal filter */
    growing pairs;   /* [3, in height, stride]: the same taken apart */
};

reid_resizer *reid_resizer_new(void)
{
    reid_resizer *resizer = reid_xcalloc(1, sizeof *resizer);
    resizer->kernels = reid_pixel_kernels_choose();
    return resizer;
}

static void axis_fini(reid_axis *axis)
{
    free(axis->first);
    free(axis->pair_count);
    free(axis->weights);
    *axis = (reid_axis){0};
}

static void growing_fini(growing *buffer)
{
    reid_free_aligned(buffer->data, buffer->bytes);
    *buffer = (growing){0};
}

void reid_resizer_free(reid_resizer *resizer)
{
    if (!resizer)
        return;
    axis_fini(&resizer->horizontal);
    axis_fini(&resizer->vertical);
    growing_fini(&resizer->columns);
    growing_fini(&resizer->rows);
    growing_fini(&resizer->pairs);
    free(resizer);
}

/* Keys, "Cubic convolution interpolation for digital image processing", 1981; written as Pillow
 * does, for the same rounding. */
static double cubic(double x)
{
    x = fabs(x);
    if (x < 1.0)
        return ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * CUBIC_A;
    return 0.0;
}

/* Both halves of a weight, at the place of tap `t`. */
static void put_weight(uint32_t *pairs, int t, double weight)
{
    weight *= 1 << REID_WEIGHT_BITS;
    int32_t whole = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
    int32_t low = whole & ((1 << REID_WEIGHT_LOW_BITS) - 1);
    int32_t high = (whole - low) / (1 << REID_WEIGHT_LOW_BITS);
    int shift = t % 2 * 16;
    pairs[t / 2 * 2] |= (uint32_t)(uint16_t)high << shift;
    pairs[t / 2 * 2 + 1] |= (uint32_t)low << shift;
}

static void fill_weights(reid_axis *axis, double scale, double widening, double *scratch)
{
    double support = SUPPORT * widening, inverse = 1.0 / widening;
    for (int o = 0; o < axis->out; o++) {
        double center = (o + 0.5) * scale, sum = 0.0;
        int first = (int)(center - support + 0.5);
        first = first < 0 ? 0 : first;
        int end = (int)(center + support + 0.5);
        end = end > axis->in ? axis->in : end;
        int count = end - first;
        for (int t = 0; t < count; t++) {
            scratch[t] = cubic((t + first - center + 0.5) * inverse);
            sum += scratch[t];
        }
        uint32_t *weights = axis->weights + (size_t)o * (size_t)axis->pairs * 2;
        for (int t = 0; t < count; t++)
            put_weight(weights, t, sum != 0.0 ? scratch[t] / sum : scratch[t]);
        axis->first[o] = first;
        axis->pair_count[o] = (count + 1) / 2;
    }
}

static reid_status prepare_axis(reid_axis *axis, int in, int out, reid_error *err)
{
    if (axis->in == in && axis->out == out)
        return REID_OK;
    axis_fini(axis);
    double scale = (double)in / out, widening = scale < 1.0 ? 1.0 : scale;
    int taps = (int)ceil(SUPPORT * widening) * 2 + 1, pairs = (taps + 1) / 2;
    axis->first = reid_alloc((size_t)out, sizeof *axis->first);
    axis->pair_count = reid_alloc((size_t)out, sizeof *axis->pair_count);
    axis->weights = reid_alloc((size_t)out * (size_t)pairs, 2 * sizeof *axis->weights);
    double *scratch = reid_alloc((size_t)taps, sizeof *scratch);
    if (!axis->first || !axis->pair_count || !axis->weights || !scratch) {
        free(scratch);
        axis_fini(axis);
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to resize from %d to %d pixels", in,
                         out);
    }
    axis->in = in;
    axis->out = out;
    axis->pairs = pairs;
    fill_weights(axis, scale, widening, scratch);
    free(scratch);
    return REID_OK;
}

static reid_status grow(growing *buffer, size_t wanted, reid_error *err)
{
    if (wanted <= buffer->bytes)
        return REID_OK;
    growing fresh = {.data = reid_alloc_aligned(wanted), .bytes = wanted};
    if (!fresh.data)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to resize an image (%zu bytes)",
                         wanted);
    growing_fini(buffer);
    *buffer = fresh;
    return REID_OK;
}

/* Pixels of a row to three planes. */
REID_CLONES static void split_bytes(const uint32_t *restrict words, size_t count,
                                    uint8_t *restrict red, uint8_t *restrict green,
                                    uint8_t *restrict blue)
{
    for (size_t i = 0; i < count; i++) {
        red[i] = (uint8_t)words[i];
        green[i] = (uint8_t)(words[i] >> 8);
        blue[i] = (uint8_t)(words[i] >> 16);
    }
}

/* Pixels as words: red is the lowest byte. */
static const uint32_t *pixels_of(const reid_image *image)
{
    return (const uint32_t *)(const void *)image->pixels;
}

/* All rows at their new width, a strip at a time; the last row stands in for those beyond it. */
static reid_status horizontal_pass(reid_resizer *resizer, const reid_image *image, int width,
                                   const uint32_t **ret_rows, reid_error *err)
{
    const reid_pixel_kernels *kernels = resizer->kernels;
    size_t lanes = (size_t)kernels->lanes, columns = (size_t)width;
    size_t height = (size_t)image->height, in_width = (size_t)image->width;
    size_t padded = (height + lanes - 1) / lanes * lanes;
    REID_TRY(prepare_axis(&resizer->horizontal, image->width, width, err));
    REID_TRY(grow(&resizer->columns, (in_width + 1) * 3 * lanes * sizeof(uint32_t), err));
    REID_TRY(grow(&resizer->rows, padded * columns * sizeof(uint32_t), err));
    for (size_t y = 0; y < height; y += lanes) {
        const uint32_t *from[REID_PIXEL_MAX_LANES];
        uint32_t *to[REID_PIXEL_MAX_LANES];
        for (size_t r = 0; r < lanes; r++) {
            from[r] = pixels_of(image) + REID_MIN(y + r, height - 1) * in_width;
            to[r] = (uint32_t *)resizer->rows.data + (y + r) * columns;
        }
        kernels->split_columns(from, image->width, resizer->columns.data);
        kernels->filter_strip(resizer->columns.data, &resizer->horizontal, to);
    }
    *ret_rows = resizer->rows.data;
    return REID_OK;
}

static reid_status vertical_pass(reid_resizer *resizer, const uint32_t *rows, size_t width,
                                 int in_height, int height, uint8_t *to, reid_error *err)
{
    const reid_pixel_kernels *kernels = resizer->kernels;
    const reid_axis *axis = &resizer->vertical;
    size_t stride =
        (width + REID_PIXEL_MAX_LANES - 1) / REID_PIXEL_MAX_LANES * REID_PIXEL_MAX_LANES;
    size_t plane = (size_t)in_height * stride;
    REID_TRY(prepare_axis(&resizer->vertical, in_height, height, err));
    REID_TRY(grow(&resizer->pairs, 3 * plane * sizeof(uint32_t), err));
    uint32_t *pairs = resizer->pairs.data;
    for (int y = 0; y < in_height; y++) {
        const uint32_t *row = rows + (size_t)y * width;
        uint32_t *red = pairs + (size_t)y * stride;
        kernels->pair_rows(row, y + 1 < in_height ? row + width : row, width, red, red + plane,
                           red + 2 * plane);
    }
    for (int c = 0; c < 3; c++, pairs += plane)
        for (int o = 0; o < height; o++, to += width)
            kernels->mix_rows(pairs + (size_t)axis->first[o] * stride, stride, width,
                              axis->weights + (size_t)o * (size_t)axis->pairs * 2,
                              axis->pair_count[o], to);
    return REID_OK;
}

reid_status reid_resize_bicubic(reid_resizer *resizer, const reid_image *image, int width,
                                int height, uint8_t *ret_planes, reid_error *err)
{
    REID_ASSERT(width > 0 && height > 0 && image->width > 0 && image->height > 0);
    const uint32_t *rows = pixels_of(image);
    if (image->width != width)
        REID_TRY(horizontal_pass(resizer, image, width, &rows, err));
    if (image->height != height)
        return vertical_pass(resizer, rows, (size_t)width, image->height, height, ret_planes, err);
    size_t plane = (size_t)width * (size_t)height;
    split_bytes(rows, plane, ret_planes, ret_planes + plane, ret_planes + 2 * plane);
    return REID_OK;
}
