#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "data/image.h"
#include "data/image_codecs.h"
#include "harness/harness.h"
#include "support.h"

/* A gray JPEG of 16 × 16, left half 84, right half 118 (after its losses), written by PIL. */
static const uint8_t jpeg_gray[] = {
    255, 216, 255, 224, 0,   16,  74,  70,  73,  70,  0,   1,   1,   0,   0,   1,   0,   1,   0,
    0,   255, 219, 0,   67,  0,   16,  11,  12,  14,  12,  10,  16,  14,  13,  14,  18,  17,  16,
    19,  24,  40,  26,  24,  22,  22,  24,  49,  35,  37,  29,  40,  58,  51,  61,  60,  57,  51,
    56,  55,  64,  72,  92,  78,  64,  68,  87,  69,  55,  56,  80,  109, 81,  87,  95,  98,  103,
    104, 103, 62,  77,  113, 121, 112, 100, 120, 92,  101, 103, 99,  255, 192, 0,   11,  8,   0,
    16,  0,   16,  1,   1,   17,  0,   255, 196, 0,   31,  0,   0,   1,   5,   1,   1,   1,   1,
    1,   1,   0,   0,   0,   0,   0,   0,   0,   0,   1,   2,   3,   4,   5,   6,   7,   8,   9,
    10,  11,  255, 196, 0,   181, 16,  0,   2,   1,   3,   3,   2,   4,   3,   5,   5,   4,   4,
    0,   0,   1,   125, 1,   2,   3,   0,   4,   17,  5,   18,  33,  49,  65,  6,   19,  81,  97,
    7,   34,  113, 20,  50,  129, 145, 161, 8,   35,  66,  177, 193, 21,  82,  209, 240, 36,  51,
    98,  114, 130, 9,   10,  22,  23,  24,  25,  26,  37,  38,  39,  40,  41,  42,  52,  53,  54,
    55,  56,  57,  58,  67,  68,  69,  70,  71,  72,  73,  74,  83,  84,  85,  86,  87,  88,  89,
    90,  99,  100, 101, 102, 103, 104, 105, 106, 115, 116, 117, 118, 119, 120, 121, 122, 131, 132,
    133, 134, 135, 136, 137, 138, 146, 147, 148, 149, 150, 151, 152, 153, 154, 162, 163, 164, 165,
    166, 167, 168, 169, 170, 178, 179, 180, 181, 182, 183, 184, 185, 186, 194, 195, 196, 197, 198,
    199, 200, 201, 202, 210, 211, 212, 213, 214, 215, 216, 217, 218, 225, 226, 227, 228, 229, 230,
    231, 232, 233, 234, 241, 242, 243, 244, 245, 246, 247, 248, 249, 250, 255, 218, 0,   8,   1,
    1,   0,   0,   63,  0,   201, 173, 26,  206, 173, 26,  255, 217};

static void check_gray(const reid_image *image, int left, int right)
{
    assert_int_equal(image->width, 16);
    assert_int_equal(image->height, 16);
    for (int c = 0; c < 3; c++) {
        assert_int_equal(image->pixels[4 * 3 + c], left);
        assert_int_equal(image->pixels[4 * (15 * 16 + 15) + c], right);
    }
}

static void test_gray_jpeg_becomes_rgb(void **state)
{
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_image image = {0};
    reid_error err = {0};
    reid_assert_ok(reid_image_decode(decoder, jpeg_gray, sizeof jpeg_gray, "a.jpg", &image, &err),
                   &err);
    check_gray(&image, 84, 118);
    reid_image_fini(&image);
    reid_image_decoder_free(decoder);
}

static void test_exif_in_jpeg(void **state)
{
    static const uint8_t app1[] = {0xFF, 0xE1, 0, 34,  'E', 'x', 'i',
                                   'f',  0,    0, 'I', 'I', 42,  0,
                                   8,    0,    0, 0,   1,   0,   /* one entry */ 0x12,
                                   0x01, 3,    0, 1,   0,   0,   0,
                                   2,    0,    0, 0,   0,   0,   0,
                                   0};
    uint8_t file[sizeof jpeg_gray + sizeof app1];
    memcpy(file, jpeg_gray, 2);
    memcpy(file + 2, app1, sizeof app1);
    memcpy(file + 2 + sizeof app1, jpeg_gray + 2, sizeof jpeg_gray - 2);
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_image image = {0};
    reid_error err = {0};
    reid_assert_ok(reid_image_decode(decoder, file, sizeof file, "a.jpg", &image, &err), &err);
    check_gray(&image, 118, 84); /* mirrored */
    reid_image_fini(&image);
    reid_image_decoder_free(decoder);
}

/* A cut file is an error at every length, and the decoder works afterwards. */
static void test_damaged_jpeg(void **state)
{
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_image image = {0};
    for (size_t size = 0; size < sizeof jpeg_gray - 3; size++) {
        reid_error err = {0};
        assert_int_not_equal(reid_image_decode(decoder, jpeg_gray, size, "cut.jpg", &image, &err),
                             REID_OK);
        assert_non_null(strstr(err.text, "cut.jpg"));
    }
    uint8_t huge[sizeof jpeg_gray];
    memcpy(huge, jpeg_gray, sizeof huge);
    memset(huge + 94, 0xFF, 4); /* 65535 × 65535 */
    reid_error err = {0};
    assert_int_not_equal(reid_image_decode(decoder, huge, sizeof huge, "huge.jpg", &image, &err),
                         REID_OK);
    assert_non_null(strstr(err.text, "huge.jpg"));
    reid_error_clear(&err);
    reid_assert_ok(reid_image_decode(decoder, jpeg_gray, sizeof jpeg_gray, "a.jpg", &image, &err),
                   &err);
    check_gray(&image, 84, 118);
    reid_image_fini(&image);
    reid_image_decoder_free(decoder);
}

static void test_png_file(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_png(folder, "a.png", 5, 7, 100);
    char *path = reid_path_join(folder, "a.png");
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_image image = {0};
    reid_error err = {0};
    reid_assert_ok(reid_image_read(decoder, path, &image, &err), &err);
    assert_int_equal(image.width, 5);
    assert_int_equal(image.height, 7);
    for (int y = 0; y < 7; y++) {
        for (int x = 0; x < 5; x++) {
            const uint8_t *pixel = image.pixels + 4 * (y * 5 + x);
            assert_int_equal(pixel[0], 100 + x);
            assert_int_equal(pixel[1], 100 + y);
            assert_int_equal(pixel[2], 100);
        }
    }
    char *data = NULL;
    size_t size = 0;
    reid_assert_ok(reid_file_read(path, 1 << 20, &data, &size, &err), &err);
    for (size_t cut = 8; cut < size; cut += 3) { /* the end of the file included: IEND is needed */
        reid_error why = {0};
        assert_int_not_equal(
            reid_image_decode(decoder, (uint8_t *)data, cut, "cut.png", &image, &why), REID_OK);
        assert_non_null(strstr(why.text, "cut.png"));
    }
    data[20] ^= 1; /* the width: its checksum is wrong now */
    assert_int_equal(reid_image_decode(decoder, (uint8_t *)data, size, "bad.png", &image, &err),
                     REID_ERR_CORRUPT);
    free(data);
    free(path);
    reid_image_fini(&image);
    reid_image_decoder_free(decoder);
    reid_test_dir_free(folder);
}

static void test_unreadable_files(void **state)
{
    char *folder = reid_test_dir_new();
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_image image = {0};
    static const struct {
        const char *name, *content, *part;
        reid_status status;
    } cases[] = {{"empty.jpg", "", "empty.jpg", REID_ERR_INVALID},
                 {"text.png", "hello, this is text", "neither JPEG nor PNG", REID_ERR_INVALID},
                 {"none.jpg", NULL, "No such file", REID_ERR_NOT_FOUND}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].content)
            free(reid_test_write_text(folder, cases[i].name, cases[i].content));
        char *path = reid_path_join(folder, cases[i].name);
        reid_error err = {0};
        assert_int_equal(reid_image_read(decoder, path, &image, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].part));
        assert_non_null(strstr(err.text, path));
        free(path);
    }
    reid_error err = {0};
    assert_int_equal(reid_image_read(decoder, folder, &image, &err), REID_ERR_INVALID);
    reid_image_fini(&image);
    reid_image_decoder_free(decoder);
    reid_image_decoder_free(NULL);
    reid_test_dir_free(folder);
}

static void test_orientations(void **state)
{
    /* Stored:  a b c      Upright, for each orientation, as Exif 2.32 describes row 0 and column 0.
     */
    /*          d e f */
    static const char *const upright[] = {"abcdef", "abcdef", "cbafed", "fedcba", "defabc",
                                          "adbecf", "daebfc", "fcebda", "cfbead", "abcdef"};
    for (int orientation = 0; orientation < 10; orientation++) {
        reid_image image = {0}, spare = {0};
        reid_error err = {0};
        reid_assert_ok(reid_image_resize_buffer(&image, 3, 2, &err), &err);
        for (int i = 0; i < 6; i++)
            memset(image.pixels + 4 * i, 'a' + i, 4);
        reid_assert_ok(reid_image_orient(&image, orientation, &spare, &err), &err);
        bool turned = orientation >= 5 && orientation <= 8;
        assert_int_equal(image.width, turned ? 2 : 3);
        assert_int_equal(image.height, turned ? 3 : 2);
        for (int i = 0; i < 6; i++)
            assert_int_equal(image.pixels[4 * i], upright[orientation][i]);
        reid_image_fini(&image);
        reid_image_fini(&spare);
    }
}

static void test_exif_blocks(void **state)
{
    static const uint8_t big[] = {'M',  'M', 0, 42, 0, 0, 0, 8, 0, 2, 0x01, 0x00,
                                  0,    3,   0, 0,  0, 1, 0, 9, 0, 0, 0,    1,
                                  0x12, 0,   3, 0,  0, 0, 1, 0, 6, 0, 0};
    assert_int_equal(reid_exif_orientation(big, sizeof big),
                     1); /* tag 0x0112 is misplaced by one byte */
    static const uint8_t good[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 2, 0x01, 0x00,
                                   0,   3,   0, 0,  0, 1, 0, 9, 0, 0, 0x01, 0x12,
                                   0,   3,   0, 0,  0, 1, 0, 6, 0, 0};
    assert_int_equal(reid_exif_orientation(good, sizeof good), 6);
    for (size_t size = 0; size < sizeof good - 2; size++) { /* the last two bytes are padding */
        uint8_t *exact = reid_xmalloc(size ? size : 1); /* so that a sanitizer sees a read beyond */
        memcpy(exact, good, size);
        assert_int_equal(reid_exif_orientation(exact, size), 1);
        free(exact);
    }
    uint8_t changed[sizeof good];
    memcpy(changed, good, sizeof good);
    changed[31] = 9; /* no such orientation */
    assert_int_equal(reid_exif_orientation(changed, sizeof changed), 1);
    memcpy(changed, good, sizeof good);
    memset(changed + 4, 0xFF, 4); /* directory far away */
    assert_int_equal(reid_exif_orientation(changed, sizeof changed), 1);
}

static void test_size_limits(void **state)
{
    reid_image image = {0};
    reid_error err = {0};
    assert_int_equal(reid_image_resize_buffer(&image, 0, 5, &err), REID_ERR_INVALID);
    reid_error_clear(&err);
    assert_int_equal(reid_image_resize_buffer(&image, REID_IMAGE_MAX_SIDE + 1, 1, &err),
                     REID_ERR_EXHAUSTED);
    reid_error_clear(&err);
    assert_int_equal(reid_image_resize_buffer(&image, 30000, 30000, &err), REID_ERR_EXHAUSTED);
    assert_null(image.pixels);
    reid_image_fini(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gray_jpeg_becomes_rgb), cmocka_unit_test(test_exif_in_jpeg),
        cmocka_unit_test(test_damaged_jpeg),          cmocka_unit_test(test_png_file),
        cmocka_unit_test(test_unreadable_files),      cmocka_unit_test(test_orientations),
        cmocka_unit_test(test_exif_blocks),           cmocka_unit_test(test_size_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
