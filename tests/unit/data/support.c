#include "support.h"

#include <png.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "harness/harness.h"

static void die(const char *what)
{
    fprintf(stderr, "test support: %s\n", what);
    abort();
}

void test_write_png(const char *folder, const char *name, int width, int height, int shade)
{
    uint8_t *pixels = reid_xcalloc((size_t)width * (size_t)height, 3);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint8_t *pixel = pixels + 3 * (y * width + x);
            pixel[0] = (uint8_t)(shade + x);
            pixel[1] = (uint8_t)(shade + y);
            pixel[2] = (uint8_t)shade;
        }
    }
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *file = reid_xmalloc(size);
    if (!png_image_write_to_memory(&image, file, &size, 0, pixels, 0, NULL))
        die(image.message);
    free(reid_test_write(folder, name, file, size));
    free(file);
    free(pixels);
}

void test_write_empty(const char *folder, const char *name)
{
    free(reid_test_write(folder, name, "", 0));
}

void test_write_market(const char *folder, int pids, int images)
{
    char name[128];
    int shade = 0;
    for (int p = 0; p < pids; p++) {
        for (int i = 0; i < images; i++) {
            snprintf(name, sizeof name, "bounding_box_train/%04d_c%ds1_%06d_00.png", 2 + p,
                     1 + i % 3, i);
            test_write_png(folder, name, 8, 16, shade += 7);
            snprintf(name, sizeof name, "%s/%04d_c%ds1_%06d_00.png",
                     i == 0 ? "query" : "bounding_box_test", 1001 + p, 1 + i % 3, i);
            test_write_png(folder, name, 8, 16, shade += 7);
        }
    }
    test_write_png(folder, "bounding_box_test/0000_c1s1_000001_00.png", 8, 16, 3);
    test_write_png(folder, "bounding_box_test/-1_c2s1_000001_00.png", 8, 16, 4);
}

reid_config *test_config(const char *folder, ...)
{
    reid_config *config = reid_config_new();
    reid_error err = {0};
    const char *fixed[] = {"DATASETS.ROOT",   folder,    "INPUT.SIZE_TRAIN", "[24, 12]",
                           "INPUT.SIZE_TEST", "[24, 12]"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i += 2)
        if (reid_config_set(config, fixed[i], fixed[i + 1], &err) != REID_OK)
            die(err.text);
    va_list more;
    va_start(more, folder);
    for (const char *key = va_arg(more, const char *); key; key = va_arg(more, const char *))
        if (reid_config_set(config, key, va_arg(more, const char *), &err) != REID_OK)
            die(err.text);
    va_end(more);
    return config;
}

reid_dataset *test_dataset(int pids, int images)
{
    reid_dataset *dataset = reid_xcalloc(1, sizeof *dataset);
    dataset->name = reid_xstrdup("test");
    dataset->num_pids = pids;
    dataset->num_cams = images < 3 ? images : 3;
    dataset->count = (size_t)pids * (size_t)images;
    dataset->items = reid_xcalloc(dataset->count, sizeof *dataset->items);
    for (size_t i = 0; i < dataset->count; i++)
        dataset->items[i] = (reid_image_item){.path = reid_xasprintf("nowhere/%zu.jpg", i),
                                              .pid = (int)i / images,
                                              .camid = (int)i % images % 3};
    return dataset;
}
