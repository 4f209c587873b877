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
#define TAPS_AT_ONCE 4
#define BLOCK 256 /* values summed at a time, so that the sums stay in the first cache */

/* Eight rows go through the horizontal filter at once: a vector holds one colour of one column of
 * them. */
#define STRIP 8
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "pixels are taken apart as little-endian words");
typedef int32_t lanes __attribute__((vector_size(4 * STRIP)));

/* Which source pixels make an output pixel, along one axis. */
typedef struct axis_table {
    int in, out;      /* 0 before first use */
    int taps;         /* room for each output pixel, a multiple of TAPS_AT_ONCE */
    int *first;       /* [out] */
    int *count;       /* [out] */
    int32_t *weights; /* [out, taps], zero beyond count */
} axis_table;

/* A buffer that only grows. */
typedef struct growing {
    void *data; /* aligned for vectors */
    size_t bytes;
} growing;

struct reid_resizer {
    axis_table horizontal, vertical;
    growing between; /* [3, in height, out width] i32 (0…255): after the horizontal pass */
    growing colours; /* [in width, 3] lanes */
    growing rows;    /* [STRIP, out width] words: after the horizontal filter */
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

static void growing_fini(growing *buffer)
{
    reid_free_aligned(buffer->data, buffer->bytes);
    *buffer = (growing){0};
}

void reid_resizer_free(reid_resizer *resizer)
{
    if (!resizer)
        return;
    axis_table_fini(&resizer->horizontal);
    axis_table_fini(&resizer->vertical);
    growing_fini(&resizer->between);
    growing_fini(&resizer->colours);
    growing_fini(&resizer->rows);
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
    int most = (int)ceil(SUPPORT * widening) * 2 + 1;
    int taps = (most + TAPS_AT_ONCE - 1) / TAPS_AT_ONCE * TAPS_AT_ONCE;
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

/* Columns of a strip, taken apart: ret_colours [width, 3]. */
REID_CLONES static void split_colours(const uint32_t *const rows[STRIP], int width,
                                      lanes *ret_colours)
{
    for (int x = 0; x < width; x++) {
        uint32_t words[STRIP];
        for (int r = 0; r < STRIP; r++)
            words[r] = rows[r][x];
        lanes pixels;
        memcpy(&pixels, words, sizeof pixels);
        ret_colours[3 * x] = pixels & 255;
        ret_colours[3 * x + 1] = (pixels >> 8) & 255;
        ret_colours[3 * x + 2] = (pixels >> 16) & 255;
    }
}

/* Pillow's clip8: the integer part, limited to 0…255. Vectors go by pointer, since their way
 * through a call depends on the instruction set. */
static inline __attribute__((always_inline)) void clip(lanes *sum)
{
    lanes value = *sum >> WEIGHT_BITS;
    lanes above = value > 255; /* all ones where true */
    *sum = ((value & ~above) | (above & 255)) & ~(value < 0);
}

/* The filter over one strip, into rows of words. */
REID_CLONES static void filter_strip(const lanes *colours, const axis_table *table,
                                     uint32_t *const to[STRIP])
{
    for (int o = 0; o < table->out; o++) {
        const lanes *column = colours + 3 * (size_t)table->first[o];
        const int32_t *weights = table->weights + (size_t)o * (size_t)table->taps;
        lanes red = {0}, green, blue;
        red += HALF;
        green = blue = red;
        for (int t = 0; t < table->count[o]; t++, column += 3) {
            red += column[0] * weights[t];
            green += column[1] * weights[t];
            blue += column[2] * weights[t];
        }
        clip(&red);
        clip(&green);
        clip(&blue);
        lanes pixels = red | green << 8 | blue << 16;
        uint32_t words[STRIP];
        memcpy(words, &pixels, sizeof words);
        for (int r = 0; r < STRIP; r++)
            to[r][o] = words[r];
    }
}

/* Words of colours to planes, for the vertical filter. */
REID_CLONES static void split_wide(const uint32_t *restrict words, size_t count,
                                   int32_t *restrict red, int32_t *restrict green,
                                   int32_t *restrict blue)
{
    for (size_t i = 0; i < count; i++) {
        red[i] = (int32_t)(words[i] & 255);
        green[i] = (int32_t)(words[i] >> 8 & 255);
        blue[i] = (int32_t)(words[i] >> 16 & 255);
    }
}

/* The same where there is no vertical filter. */
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

/* sums[i] += four rows, each with its weight. */
static inline __attribute__((always_inline)) void add_rows(const int32_t *const rows[TAPS_AT_ONCE],
                                                           const int32_t weights[TAPS_AT_ONCE],
                                                           int32_t *restrict sums, size_t n)
{
    const int32_t *restrict a = rows[0], *restrict b = rows[1], *restrict c = rows[2],
                            *restrict d = rows[3];
    int32_t wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
    for (size_t i = 0; i < n; i++)
        sums[i] += a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd;
}

/* One output row: the weighted sum of `count` rows of `width` values, one after the other in
 * memory. The table has zero weights beyond `count`, so that the last row can stand in for rows
 * that are not there. */
REID_CLONES static void mix_rows(const int32_t *restrict from, size_t width, int count,
                                 const int32_t *restrict weights, uint8_t *restrict to)
{
    int32_t sums[BLOCK];
    for (size_t begin = 0; begin < width; begin += BLOCK) {
        size_t n = REID_MIN(width - begin, (size_t)BLOCK);
        for (size_t i = 0; i < n; i++)
            sums[i] = HALF;
        for (int t = 0; t < count; t += TAPS_AT_ONCE) {
            const int32_t *rows[TAPS_AT_ONCE];
            for (int k = 0; k < TAPS_AT_ONCE; k++)
                rows[k] = from + (size_t)REID_MIN(t + k, count - 1) * width + begin;
            add_rows(rows, weights + t, sums, n);
        }
        for (size_t i = 0; i < n; i++) {
            int32_t value = sums[i] >> WEIGHT_BITS;
            value = value < 0 ? 0 : value;
            to[begin + i] = (uint8_t)(value > 255 ? 255 : value);
        }
    }
}

/* A row of pixels as words: red is the lowest byte. */
static const uint32_t *row_of(const reid_image *image, int y)
{
    return (const uint32_t *)(const void *)image->pixels + (size_t)y * (size_t)image->width;
}

/* Rows y … y + STRIP of the image, the last one again and again beyond its end. */
static void filter_rows(reid_resizer *resizer, const reid_image *image, int y, int width)
{
    const uint32_t *from[STRIP];
    uint32_t *to[STRIP];
    for (int r = 0; r < STRIP; r++) {
        from[r] = row_of(image, REID_MIN(y + r, image->height - 1));
        to[r] = (uint32_t *)resizer->rows.data + (size_t)r * (size_t)width;
    }
    split_colours(from, image->width, resizer->colours.data);
    filter_strip(resizer->colours.data, &resizer->horizontal, to);
}

/* Row y after the horizontal filter: `width` words. */
static const uint32_t *filtered_row(reid_resizer *resizer, const reid_image *image, int y,
                                    int width)
{
    if (image->width == width)
        return row_of(image, y);
    if (y % STRIP == 0)
        filter_rows(resizer, image, y, width);
    return (const uint32_t *)resizer->rows.data + (size_t)(y % STRIP) * (size_t)width;
}

static void vertical_pass(const axis_table *table, const int32_t *from, size_t width, uint8_t *to)
{
    for (int c = 0; c < 3; c++) {
        const int32_t *plane = from + (size_t)c * (size_t)table->in * width;
        for (int o = 0; o < table->out; o++, to += width)
            mix_rows(plane + (size_t)table->first[o] * width, width, table->count[o],
                     table->weights + (size_t)o * (size_t)table->taps, to);
    }
}

reid_status reid_resize_bicubic(reid_resizer *resizer, const reid_image *image, int width,
                                int height, uint8_t *ret_planes, reid_error *err)
{
    REID_ASSERT(width > 0 && height > 0 && image->width > 0 && image->height > 0);
    if (image->width != width) {
        REID_TRY(prepare_axis(&resizer->horizontal, image->width, width, err));
        REID_TRY(grow(&resizer->colours, (size_t)image->width * 3 * sizeof(lanes), err));
        REID_TRY(grow(&resizer->rows, (size_t)width * 4 * STRIP, err));
    }
    size_t columns = (size_t)width, plane = (size_t)image->height * columns;
    if (image->height == height) {
        for (int y = 0; y < height; y++) {
            uint8_t *to = ret_planes + (size_t)y * columns;
            split_bytes(filtered_row(resizer, image, y, width), columns, to, to + plane,
                        to + 2 * plane);
        }
        return REID_OK;
    }
    REID_TRY(prepare_axis(&resizer->vertical, image->height, height, err));
    REID_TRY(grow(&resizer->between, plane * 3 * sizeof(int32_t), err));
    for (int y = 0; y < image->height; y++) {
        int32_t *to = (int32_t *)resizer->between.data + (size_t)y * columns;
        split_wide(filtered_row(resizer, image, y, width), columns, to, to + plane, to + 2 * plane);
    }
    vertical_pass(&resizer->vertical, resizer->between.data, columns, ret_planes);
    return REID_OK;
}
