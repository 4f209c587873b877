/* Inside the data module: the inner loops over pixels, for one instruction set each and chosen at
 * run time. All give the same bits.
 *
 * Resizing multiplies 8-bit values with weights of 22 fractional bits and sums in 32 bits. A weight
 * is cut into w = high · 2^11 + low with 0 ≤ low < 2^11, so that both parts fit in 16 bits, and two
 * neighbouring values share a word: one instruction multiplies and adds two taps. Sums are modulo
 * 2^32, as exact as those of whole weights.
 */
#ifndef REID_DATA_KERNELS_H
#define REID_DATA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REID_PIXEL_MAX_LANES 16
#define REID_PIXEL_MAX_WIDTH 4096
#define REID_WEIGHT_BITS 22
#define REID_WEIGHT_LOW_BITS 11

/* Which source pixels make an output pixel, along one axis. */
typedef struct reid_axis {
    int in, out;     /* 0 before first use */
    int pairs;       /* room for each output pixel */
    int *first;      /* [out] */
    int *pair_count; /* [out] */
    /* [out, pairs, 2]: high parts of two taps (the first in the lower half), then low parts */
    uint32_t *weights;
} reid_axis;

/* A row of floats: `before` times `black`, then `count` pixels as (x - mean) · inverse_std,
 * mirrored if `flip`, then black up to `width`; over that, `erase_count` times `erased` from
 * `erase_first` on. */
typedef struct reid_pixel_row {
    const uint8_t *from;
    size_t width, before, count, erase_first, erase_count;
    bool flip;
    float mean, inverse_std, black, erased;
} reid_pixel_row;

typedef struct reid_pixel_kernels {
    int lanes; /* rows that go through the horizontal filter at once */

    /* Columns of `lanes` rows of pixels (words, red lowest), taken apart: ret_columns [width + 1,
     * 3, lanes], each word a column's value with the next column's above it. */
    void (*split_columns)(const uint32_t *const *rows, int width, uint32_t *ret_columns);
    /* The horizontal filter over one strip, into `lanes` rows of pixels. */
    void (*filter_strip)(const uint32_t *columns, const reid_axis *axis, uint32_t *const *ret_rows);
    /* Two rows of pixels taken apart: each word a pixel's value with that of the next row above it.
     * Writes whole vectors: room for a multiple of MAX_LANES. */
    void (*pair_rows)(const uint32_t *row, const uint32_t *next, size_t width, uint32_t *ret_red,
                      uint32_t *ret_green, uint32_t *ret_blue);
    /* One output row of the vertical filter from paired rows, `stride` words apart. */
    void (*mix_rows)(const uint32_t *from, size_t stride, size_t width, const uint32_t *weights,
                     int pair_count, uint8_t *to);
    /* One row of an image for the network. It is put together in the first cache and then goes past
     * the caches to memory where that is aligned: nobody reads it soon, and it would push out what
     * others need. `finish` comes before the row is handed to another thread. */
    void (*put_row)(const reid_pixel_row *row, float *to);
    void (*finish)(void);
} reid_pixel_kernels;

extern const reid_pixel_kernels reid_pixel_kernels_x16, reid_pixel_kernels_x8,
    reid_pixel_kernels_x4;

/* The ones for this machine. */
const reid_pixel_kernels *reid_pixel_kernels_choose(void);

#endif
