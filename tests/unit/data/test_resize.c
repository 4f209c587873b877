#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/kernels.h"
#include "data/resize.h"
#include "harness/harness.h"

#define SOURCE_WIDTH 4
#define SOURCE_HEIGHT 3

/* RGB rows, and what PIL 9.4's resize(…, BICUBIC) makes of them, planes first. */
static const uint8_t source[] = {255, 228, 34,  121, 243, 189, 6,   131, 102, 168, 82,  193,
                                 187, 150, 81,  243, 205, 24,  236, 8,   246, 164, 231, 36,
                                 210, 111, 172, 210, 174, 176, 218, 242, 169, 114, 205, 63};
static const uint8_t pil_7x5[] = {
    255, 220, 123, 30,  0,   110, 183, 229, 213, 171, 117, 89,  141, 175, 183, 204, 241, 248,
    233, 185, 158, 197, 207, 226, 240, 231, 163, 123, 212, 210, 208, 219, 213, 143, 102, 233,
    242, 249, 198, 134, 88,  65,  200, 217, 235, 152, 75,  112, 140, 146, 174, 209, 96,  12,
    156, 249, 116, 141, 181, 168, 156, 200, 226, 103, 123, 166, 223, 255, 224, 198, 17,  86,
    197, 150, 92,  166, 214, 41,  69,  120, 147, 156, 144, 135, 86,  55,  20,  145, 243, 108,
    19,  145, 130, 114, 167, 198, 97,  34,  178, 182, 188, 182, 158, 94,  58};
static const uint8_t pil_2x2[] = {185, 129, 218, 187, 203, 118, 150, 190, 92, 148, 141, 123};
static const uint8_t pil_4x6[] = {
    255, 110, 0,   168, 242, 145, 50,  168, 200, 218, 186, 168, 187, 244, 248, 153, 204, 219,
    226, 123, 212, 207, 216, 110, 235, 246, 142, 69,  214, 236, 103, 111, 170, 216, 19,  200,
    136, 196, 51,  235, 117, 179, 195, 213, 108, 171, 255, 203, 30,  204, 89,  207, 41,  154,
    131, 163, 64,  50,  219, 69,  104, 46,  239, 31,  156, 144, 187, 54,  180, 189, 162, 65};
static const uint8_t pil_9x3[] = {
    255, 241, 181, 114, 45,  5,   61,  148, 183, 182, 193, 222, 244, 248, 238, 207, 172,
    157, 210, 210, 209, 210, 221, 220, 178, 126, 104, 227, 231, 245, 240, 191, 136, 104,
    86,  77,  145, 158, 197, 200, 96,  9,   81,  203, 252, 105, 117, 145, 178, 214, 241,
    232, 210, 202, 19,  53,  134, 190, 150, 103, 132, 182, 202, 86,  72,  31,  30,  145,
    244, 179, 62,  16,  172, 173, 175, 176, 179, 172, 127, 75,  53};

static reid_image make_source(void)
{
    reid_image image = {0};
    reid_error err = {0};
    reid_assert_ok(reid_image_resize_buffer(&image, SOURCE_WIDTH, SOURCE_HEIGHT, &err), &err);
    for (size_t i = 0; i < SOURCE_WIDTH * SOURCE_HEIGHT; i++) {
        memcpy(image.pixels + 4 * i, source + 3 * i, 3);
        image.pixels[4 * i + 3] = 77; /* must not matter */
    }
    return image;
}

/* One resizer for all sizes, back and forth: its tables are remade when they must be. */
static void test_same_bytes_as_pil(void **state)
{
    static const struct {
        int width, height;
        const uint8_t *bytes;
    } cases[] = {
        {7, 5, pil_7x5}, {2, 2, pil_2x2}, {4, 6, pil_4x6}, {9, 3, pil_9x3}, {7, 5, pil_7x5}};
    reid_image image = make_source();
    reid_resizer *resizer = reid_resizer_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t planes[3 * 9 * 6];
        reid_error err = {0};
        reid_assert_ok(
            reid_resize_bicubic(resizer, &image, cases[i].width, cases[i].height, planes, &err),
            &err);
        assert_memory_equal(planes, cases[i].bytes, 3 * (size_t)(cases[i].width * cases[i].height));
    }
    reid_resizer_free(resizer);
    reid_image_fini(&image);
}

static void test_same_size_is_a_copy(void **state)
{
    reid_image image = make_source();
    reid_resizer *resizer = reid_resizer_new();
    uint8_t planes[3 * SOURCE_WIDTH * SOURCE_HEIGHT];
    reid_error err = {0};
    reid_assert_ok(reid_resize_bicubic(resizer, &image, SOURCE_WIDTH, SOURCE_HEIGHT, planes, &err),
                   &err);
    for (size_t i = 0; i < SOURCE_WIDTH * SOURCE_HEIGHT; i++)
        for (size_t c = 0; c < 3; c++)
            assert_int_equal(planes[c * SOURCE_WIDTH * SOURCE_HEIGHT + i], source[3 * i + c]);
    reid_resizer_free(resizer);
    reid_image_fini(&image);
}

/* A flat image stays flat at any size: the weights sum to one. */
static void test_flat_stays_flat(void **state)
{
    enum { WIDTH = 301, HEIGHT = 77 };
    reid_image image = {0};
    reid_error err = {0};
    reid_assert_ok(reid_image_resize_buffer(&image, WIDTH, HEIGHT, &err), &err);
    memset(image.pixels, 255, (size_t)WIDTH * HEIGHT * 4);
    reid_resizer *resizer = reid_resizer_new();
    static const int sizes[][2] = {{1, 1}, {128, 256}, {13, 400}, {600, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t count = 3 * (size_t)(sizes[i][0] * sizes[i][1]);
        uint8_t *planes = malloc(count);
        reid_assert_ok(reid_resize_bicubic(resizer, &image, sizes[i][0], sizes[i][1], planes, &err),
                       &err);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(planes[k], 255);
        free(planes);
    }
    reid_resizer_free(resizer);
    reid_resizer_free(NULL);
    reid_image_fini(&image);
}

static uint32_t draw(uint32_t *state)
{
    return *state = *state * 1664525u + 1013904223u;
}

static uint32_t clip8(int64_t sum)
{
    int64_t value = (sum + (1 << (REID_WEIGHT_BITS - 1))) >> REID_WEIGHT_BITS;
    return (uint32_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static int64_t weight_at(const uint32_t *weights, int t)
{
    int64_t high = (int16_t)(weights[t / 2 * 2] >> t % 2 * 16);
    int64_t low = (int16_t)(weights[t / 2 * 2 + 1] >> t % 2 * 16);
    return high * (1 << REID_WEIGHT_LOW_BITS) + low;
}

/* Both filters of one table against sums in 64 bits, for odd sizes and numbers of taps. */
static void check_filters(const reid_pixel_kernels *kernels)
{
    enum { WIDTH = 23, PAIRS = 3, OUT = 9, ROWS = 2 * PAIRS };
    size_t lanes = (size_t)kernels->lanes;
    uint32_t state = 7, weights[OUT * PAIRS * 2], pixels[REID_PIXEL_MAX_LANES][WIDTH];
    int first[OUT], pair_count[OUT];
    reid_axis axis = {WIDTH, OUT, PAIRS, first, pair_count, weights};
    for (int o = 0; o < OUT; o++) {
        first[o] = o * 2;
        pair_count[o] = 1 + o % PAIRS;
    }
    for (size_t i = 0; i < OUT * PAIRS; i++) {
        weights[2 * i] = (draw(&state) >> 8 & 0x01ff01ff) - (i % 2 ? 0x00ff0000 : 0);
        weights[2 * i + 1] = draw(&state) & 0x07ff07ff;
    }
    const uint32_t *from[REID_PIXEL_MAX_LANES];
    uint32_t filtered[REID_PIXEL_MAX_LANES][OUT], *to[REID_PIXEL_MAX_LANES];
    for (size_t r = 0; r < REID_PIXEL_MAX_LANES; r++) {
        from[r] = pixels[r];
        to[r] = filtered[r];
        for (size_t x = 0; x < WIDTH; x++)
            pixels[r][x] = draw(&state);
    }
    uint32_t columns[(WIDTH + 1) * 3 * REID_PIXEL_MAX_LANES];
    kernels->split_columns(from, WIDTH, columns);
    kernels->filter_strip(columns, &axis, to);
    for (size_t r = 0; r < lanes; r++)
        for (int o = 0; o < OUT; o++)
            for (int c = 0; c < 3; c++) {
                int64_t sum = 0;
                for (int t = 0; t < 2 * pair_count[o]; t++)
                    sum += weight_at(weights + o * PAIRS * 2, t) *
                           (pixels[r][first[o] + t] >> 8 * c & 255);
                assert_int_equal(filtered[r][o] >> 8 * c & 255, clip8(sum));
            }

    enum { STRIDE = 32 };
    uint32_t pairs[3][ROWS * STRIDE];
    uint8_t row[WIDTH + 1] = {0};
    for (size_t y = 0; y + 1 < ROWS; y++)
        kernels->pair_rows(pixels[y], pixels[y + 1], WIDTH, pairs[0] + y * STRIDE,
                           pairs[1] + y * STRIDE, pairs[2] + y * STRIDE);
    for (int o = 0; o < OUT; o++)
        for (int c = 0; c < 3; c++) {
            row[WIDTH] = 99;
            kernels->mix_rows(pairs[c], STRIDE, WIDTH, weights + o * PAIRS * 2, pair_count[o], row);
            for (size_t x = 0; x < WIDTH; x++) {
                int64_t sum = 0;
                for (int t = 0; t < 2 * pair_count[o]; t++)
                    sum += weight_at(weights + o * PAIRS * 2, t) * (pixels[t][x] >> 8 * c & 255);
                assert_int_equal(row[x], clip8(sum));
            }
            assert_int_equal(row[WIDTH], 99);
        }
}

/* Rows of every width, mirrored or not, aligned or not. */
static void check_rows(const reid_pixel_kernels *kernels)
{
    enum { WIDTH = 80 };
    uint8_t pixels[WIDTH];
    _Alignas(64) float out[WIDTH + 16];
    for (size_t i = 0; i < WIDTH; i++)
        pixels[i] = (uint8_t)(i * 37 + 5);
    for (size_t width = 1; width <= WIDTH; width++)
        for (int flip = 0; flip < 2; flip++) {
            size_t before = width / 5, count = width - before - width / 7, place = width % 3;
            reid_pixel_row job = {.from = pixels,
                                  .width = width,
                                  .before = before,
                                  .count = count,
                                  .erase_first = width / 2,
                                  .erase_count = width / 4,
                                  .flip = flip,
                                  .mean = 3,
                                  .inverse_std = 0.5f,
                                  .black = -9,
                                  .erased = 11};
            out[place + width] = 77;
            kernels->put_row(&job, out + place);
            kernels->finish();
            for (size_t x = 0; x < width; x++) {
                float expected = -9;
                if (x >= before && x < before + count)
                    expected =
                        ((float)pixels[flip ? count - 1 - (x - before) : x - before] - 3) * 0.5f;
                if (x >= width / 2 && x < width / 2 + width / 4)
                    expected = 11;
                assert_true(out[place + x] == expected);
            }
            assert_true(out[place + width] == 77);
        }
}

/* Every table that this machine can run. */
static void test_kernels(void **state)
{
    const reid_pixel_kernels *best = reid_pixel_kernels_choose();
    const reid_pixel_kernels *all[] = {&reid_pixel_kernels_x4, &reid_pixel_kernels_x8,
                                       &reid_pixel_kernels_x16};
    for (size_t i = 0; i < sizeof all / sizeof *all && all[i]->lanes <= best->lanes; i++) {
        check_filters(all[i]);
        check_rows(all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_as_pil),
        cmocka_unit_test(test_same_size_is_a_copy),
        cmocka_unit_test(test_flat_stays_flat),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
