#include "data/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define WEIGHT_BITS 22 /* 32 - 8 bits of a pixel - 2 of head room, as in Pillow */
#define HALF (1 << (WEIGHT_BITS - 1))
#define SUPPORT 2.0
#define CUBIC_A (-0.5)
#define BLOCK 256 /* values summed at a time, so that the sums stay in the first cache */

/* Which source pixels make an output pixel, along one axis. */
typedef struct axis_table {
    int in, out;      /* 0 before first use */
    int taps;         /* room for each output pixel */
    int *first;       /* [out] */
    int *count;       /* [out] */
    int32_t *weights; /* [out, taps], zero beyond count */
} axis_table;

struct reid_resizer {
    axis_table horizontal, vertical;
    uint8_t *between; /* [3, in height, out width]: after the horizontal pass */
    size_t between_capacity;
    uint8_t *row; /* one row of RGBX after the horizontal pass */
    size_t row_capacity;
};

reid_resizer *reid_resizer_new(void)
{
    return reid_xcalloc(1, sizeof(reid_resizer));
}

static void axis_table_fini(axis_table *table)
{
    free(table->first);
    free(table->count);
    free(table->weights);
    *table = (axis_table){0};
}

void reid_resizer_free(reid_resizer *resizer)
{
    if (!resizer)
        return;
    axis_table_fini(&resizer->horizontal);
    axis_table_fini(&resizer->vertical);
    free(resizer->between);
    free(resizer->row);
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

static void fill_weights(axis_table *table, double scale, double widening, double *scratch)
{
    double support = SUPPORT * widening, inverse = 1.0 / widening;
    for (int o = 0; o < table->out; o++) {
        double center = (o + 0.5) * scale, sum = 0.0;
        int first = (int)(center - support + 0.5);
        first = first < 0 ? 0 : first;
        int end = (int)(center + support + 0.5);
        end = end > table->in ? table->in : end;
        int count = end - first;
        for (int t = 0; t < count; t++) {
            scratch[t] = cubic((t + first - center + 0.5) * inverse);
            sum += scratch[t];
        }
        int32_t *weights = table->weights + (size_t)o * (size_t)table->taps;
        for (int t = 0; t < count; t++) {
            double weight = (sum != 0.0 ? scratch[t] / sum : scratch[t]) * (1 << WEIGHT_BITS);
            weights[t] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        table->first[o] = first;
        table->count[o] = count;
    }
}

static reid_status prepare_axis(axis_table *table, int in, int out, reid_error *err)
{
    if (table->in == in && table->out == out)
        return REID_OK;
    axis_table_fini(table);
    double scale = (double)in / out, widening = scale < 1.0 ? 1.0 : scale;
    int taps = (int)ceil(SUPPORT * widening) * 2 + 1;
    table->first = reid_alloc((size_t)out, sizeof *table->first);
    table->count = reid_alloc((size_t)out, sizeof *table->count);
    table->weights = reid_alloc((size_t)out * (size_t)taps, sizeof *table->weights);
    double *scratch = reid_alloc((size_t)taps, sizeof *scratch);
    if (!table->first || !table->count || !table->weights || !scratch) {
        free(scratch);
        axis_table_fini(table);
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to resize from %d to %d pixels", in,
                         out);
    }
    table->in = in;
    table->out = out;
    table->taps = taps;
    fill_weights(table, scale, widening, scratch);
    free(scratch);
    return REID_OK;
}

static reid_status grow(uint8_t **buffer, size_t *capacity, size_t size, reid_error *err)
{
    if (size <= *capacity)
        return REID_OK;
    uint8_t *fresh = reid_alloc_grow(NULL, size, 1);
    if (!fresh)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to resize an image (%zu bytes)", size);
    free(*buffer);
    *buffer = fresh;
    *capacity = size;
    return REID_OK;
}

typedef int32_t quad __attribute__((vector_size(16)));
typedef uint8_t quad_bytes __attribute__((vector_size(4)));

/* One row of RGBX pixels through the horizontal filter; all four bytes of a pixel at once. */
REID_CLONES static void filter_row(const uint8_t *from, uint8_t *to, const axis_table *table)
{
    for (int o = 0; o < table->out; o++) {
        const uint8_t *pixel = from + 4 * (size_t)table->first[o];
        const int32_t *weights = table->weights + (size_t)o * (size_t)table->taps;
        quad sum = {HALF, HALF, HALF, HALF};
        for (int t = 0; t < table->count[o]; t++, pixel += 4) {
            quad_bytes bytes;
            memcpy(&bytes, pixel, sizeof bytes);
            sum += __builtin_convertvector(bytes, quad) * weights[t];
        }
        sum >>= WEIGHT_BITS;
        quad above = sum > 255; /* all ones where true */
        sum = ((sum & ~above) | (above & 255)) & ~(sum < 0);
        quad_bytes bytes = __builtin_convertvector(sum, quad_bytes);
        memcpy(to + 4 * (size_t)o, &bytes, sizeof bytes);
    }
}

REID_CLONES static void split_planes(const uint8_t *restrict from, size_t pixels,
                                     uint8_t *restrict red, uint8_t *restrict green,
                                     uint8_t *restrict blue)
{
    for (size_t i = 0; i < pixels; i++) {
        red[i] = from[4 * i];
        green[i] = from[4 * i + 1];
        blue[i] = from[4 * i + 2];
    }
}

/* One output row: the weighted sum of `count` rows of `width` bytes that lie `stride` bytes apart.
 */
REID_CLONES static void mix_rows(const uint8_t *restrict from, size_t stride, int count,
                                 const int32_t *restrict weights, uint8_t *restrict to,
                                 size_t width)
{
    for (size_t begin = 0; begin < width; begin += BLOCK) {
        int32_t sums[BLOCK];
        size_t n = REID_MIN(width - begin, (size_t)BLOCK);
        for (size_t i = 0; i < n; i++)
            sums[i] = HALF;
        for (int t = 0; t < count; t++) {
            const uint8_t *row = from + (size_t)t * stride + begin;
            int32_t weight = weights[t];
            for (size_t i = 0; i < n; i++)
                sums[i] += row[i] * weight;
        }
        for (size_t i = 0; i < n; i++) {
            int32_t value = sums[i] >> WEIGHT_BITS;
            value = value < 0 ? 0 : value;
            to[begin + i] = (uint8_t)(value > 255 ? 255 : value);
        }
    }
}

static void horizontal_pass(reid_resizer *resizer, const reid_image *image, int width,
                            uint8_t *planes)
{
    size_t plane = (size_t)image->height * (size_t)width;
    for (int y = 0; y < image->height; y++) {
        const uint8_t *row = image->pixels + (size_t)y * (size_t)image->width * 4;
        if (image->width != width) {
            filter_row(row, resizer->row, &resizer->horizontal);
            row = resizer->row;
        }
        uint8_t *to = planes + (size_t)y * (size_t)width;
        split_planes(row, (size_t)width, to, to + plane, to + 2 * plane);
    }
}

static void vertical_pass(const axis_table *table, const uint8_t *from, size_t width, uint8_t *to)
{
    for (int c = 0; c < 3; c++) {
        const uint8_t *plane = from + (size_t)c * (size_t)table->in * width;
        for (int o = 0; o < table->out; o++, to += width)
            mix_rows(plane + (size_t)table->first[o] * width, width, table->count[o],
                     table->weights + (size_t)o * (size_t)table->taps, to, width);
    }
}

reid_status reid_resize_bicubic(reid_resizer *resizer, const reid_image *image, int width,
                                int height, uint8_t *ret_planes, reid_error *err)
{
    REID_ASSERT(width > 0 && height > 0 && image->width > 0 && image->height > 0);
    if (image->width != width) {
        REID_TRY(prepare_axis(&resizer->horizontal, image->width, width, err));
        REID_TRY(grow(&resizer->row, &resizer->row_capacity, (size_t)width * 4, err));
    }
    if (image->height == height) {
        horizontal_pass(resizer, image, width, ret_planes);
        return REID_OK;
    }
    REID_TRY(prepare_axis(&resizer->vertical, image->height, height, err));
    REID_TRY(grow(&resizer->between, &resizer->between_capacity,
                  (size_t)image->height * (size_t)width * 3, err));
    horizontal_pass(resizer, image, width, resizer->between);
    vertical_pass(&resizer->vertical, resizer->between, (size_t)width, ret_planes);
    return REID_OK;
}
