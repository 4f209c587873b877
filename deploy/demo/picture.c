#include "picture.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"

#define MAX_SIDE 1024
#define JPEG_QUALITY 90
#define SAMPLES 2 /* per output pixel and axis */
#define FIT 0.84  /* share of the image that an upright picture takes */
#define DEGREE 0.017453292519943295

void demo_picture_fini(demo_picture *picture)
{
    free(picture->rgba);
    *picture = (demo_picture){0};
}

static void premultiply(demo_picture *picture)
{
    for (int i = 0; i < picture->width * picture->height; i++) {
        uint8_t *pixel = picture->rgba + 4 * (size_t)i;
        for (int c = 0; c < 3; c++)
            pixel[c] = (uint8_t)((pixel[c] * pixel[3] + 127) / 255);
    }
}

reid_status demo_picture_read_png(const char *path, demo_picture *ret_picture, reid_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&png, path))
        return reid_fail(err, REID_ERR_IO, "cannot read '%s': %s", path, png.message);
    png.format = PNG_FORMAT_RGBA;
    if (png.width > MAX_SIDE || png.height > MAX_SIDE) {
        png_image_free(&png);
        return reid_fail(err, REID_ERR_INVALID, "'%s' is larger than %d pixels", path, MAX_SIDE);
    }
    demo_picture picture = {.width = (int)png.width, .height = (int)png.height};
    picture.rgba = reid_xmalloc(PNG_IMAGE_SIZE(png));
    if (!png_image_finish_read(&png, NULL, picture.rgba, 0, NULL)) {
        demo_picture_fini(&picture);
        return reid_fail(err, REID_ERR_CORRUPT, "cannot read '%s': %s", path, png.message);
    }
    premultiply(&picture);
    *ret_picture = picture;
    return REID_OK;
}

uint64_t demo_picture_hash(const demo_picture *picture)
{
    return reid_hash64(picture->rgba, (size_t)picture->width * (size_t)picture->height * 4,
                       (uint64_t)picture->width);
}

/* Bilinear; transparent outside. */
static void sample(const demo_picture *picture, double x, double y, double ret_rgba[4])
{
    int left = (int)floor(x - 0.5), top = (int)floor(y - 0.5);
    double fx = x - 0.5 - left, fy = y - 0.5 - top;
    memset(ret_rgba, 0, 4 * sizeof *ret_rgba);
    for (int dy = 0; dy < 2; dy++) {
        for (int dx = 0; dx < 2; dx++) {
            int px = left + dx, py = top + dy;
            if (px < 0 || py < 0 || px >= picture->width || py >= picture->height)
                continue;
            double weight = (dx ? fx : 1 - fx) * (dy ? fy : 1 - fy);
            const uint8_t *pixel =
                picture->rgba + 4 * ((size_t)py * (size_t)picture->width + (size_t)px);
            for (int c = 0; c < 4; c++)
                ret_rgba[c] += weight * pixel[c];
        }
    }
}

/* The choices for one image. */
typedef struct shot {
    double cosine, sine, scale; /* source pixels per output pixel */
    double shift_x, shift_y;
    double gain;
    double background[3], slope_x[3], slope_y[3];
    int cover_x, cover_y, cover_width, cover_height; /* width 0: not covered */
    double cover[3];
} shot;

static shot draw_shot(const demo_picture *picture, int camera, reid_rng *rng)
{
    static const double tints[][3] = {{206, 198, 184}, {182, 196, 208}, {190, 206, 188}};
    shot s = {0};
    double angle = reid_rng_range(rng, -10, 10) * DEGREE;
    double fit = FIT * DEMO_SIDE * reid_rng_range(rng, 0.85, 1.1);
    int side = picture->width > picture->height ? picture->width : picture->height;
    s.scale = side / fit;
    s.cosine = cos(angle) * s.scale;
    s.sine = sin(angle) * s.scale;
    s.shift_x = reid_rng_range(rng, -4, 4);
    s.shift_y = reid_rng_range(rng, -4, 4);
    s.gain = reid_rng_range(rng, 0.75, 1.2);
    for (int c = 0; c < 3; c++) {
        s.background[c] = tints[camera][c] + reid_rng_range(rng, -14, 14);
        s.slope_x[c] = reid_rng_range(rng, -0.4, 0.4);
        s.slope_y[c] = reid_rng_range(rng, -0.4, 0.4);
        s.cover[c] = reid_rng_range(rng, 40, 200);
    }
    bool covered = reid_rng_uniform(rng) < 0.25;
    s.cover_width = covered ? 10 + (int)reid_rng_below(rng, 14) : 0;
    s.cover_height = 10 + (int)reid_rng_below(rng, 14);
    s.cover_x = (int)reid_rng_below(rng, (uint32_t)(DEMO_SIDE - s.cover_width));
    s.cover_y = (int)reid_rng_below(rng, (uint32_t)(DEMO_SIDE - s.cover_height));
    return s;
}

static bool is_covered(const shot *s, int x, int y)
{
    return x >= s->cover_x && x < s->cover_x + s->cover_width && y >= s->cover_y &&
           y < s->cover_y + s->cover_height;
}

static void shoot_pixel(const demo_picture *picture, const shot *s, int x, int y,
                        uint8_t ret_rgb[3])
{
    double sum[4] = {0}, one[4];
    for (int i = 0; i < SAMPLES * SAMPLES; i++) {
        double ox = x + (i % SAMPLES + 0.5) / SAMPLES - DEMO_SIDE / 2.0 - s->shift_x;
        double oy = y + (i / SAMPLES + 0.5) / SAMPLES - DEMO_SIDE / 2.0 - s->shift_y;
        sample(picture, picture->width / 2.0 + ox * s->cosine + oy * s->sine,
               picture->height / 2.0 - ox * s->sine + oy * s->cosine, one);
        for (int c = 0; c < 4; c++)
            sum[c] += one[c] / (SAMPLES * SAMPLES);
    }
    for (int c = 0; c < 3; c++) {
        double background = s->background[c] + s->slope_x[c] * (x - DEMO_SIDE / 2) +
                            s->slope_y[c] * (y - DEMO_SIDE / 2);
        double value = is_covered(s, x, y) ? s->cover[c] : sum[c] + (1 - sum[3] / 255) * background;
        value = value * s->gain + 0.5;
        ret_rgb[c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

void demo_picture_shoot(const demo_picture *picture, int camera, reid_rng *rng, uint8_t *ret_rgb)
{
    shot s = draw_shot(picture, camera, rng);
    for (int y = 0; y < DEMO_SIDE; y++)
        for (int x = 0; x < DEMO_SIDE; x++)
            shoot_pixel(picture, &s, x, y, ret_rgb + 3 * (y * DEMO_SIDE + x));
}

static reid_status write_file(const char *path, const void *data, size_t size, reid_error *err)
{
    FILE *file = fopen(path, "wbe");
    if (!file)
        return reid_fail(err, REID_ERR_IO, "cannot create '%s'", path);
    bool written = fwrite(data, 1, size, file) == size;
    written = fclose(file) == 0 && written;
    return written ? REID_OK : reid_fail(err, REID_ERR_IO, "cannot write '%s'", path);
}

/* libjpeg's default error handler ends the process: writing to memory can only fail for lack of it.
 */
reid_status demo_image_write_jpeg(const char *path, const uint8_t *rgb, reid_error *err)
{
    struct jpeg_compress_struct library;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long size = 0;
    library.err = jpeg_std_error(&errors);
    jpeg_create_compress(&library);
    jpeg_mem_dest(&library, &data, &size);
    library.image_width = library.image_height = DEMO_SIDE;
    library.input_components = 3;
    library.in_color_space = JCS_RGB;
    jpeg_set_defaults(&library);
    jpeg_set_quality(&library, JPEG_QUALITY, TRUE);
    jpeg_start_compress(&library, TRUE);
    while (library.next_scanline < library.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rgb + (size_t)library.next_scanline * DEMO_SIDE * 3);
        jpeg_write_scanlines(&library, &row, 1);
    }
    jpeg_finish_compress(&library);
    jpeg_destroy_compress(&library);
    reid_status status = write_file(path, data, size, err);
    free(data);
    return status;
}

reid_status demo_image_write_png(const char *path, const uint8_t *rgb, int width, int height,
                                 reid_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)width,
                     .height = (png_uint_32)height,
                     .format = PNG_FORMAT_RGB};
    if (!png_image_write_to_file(&png, path, 0, rgb, 0, NULL))
        return reid_fail(err, REID_ERR_IO, "cannot write '%s': %s", path, png.message);
    return REID_OK;
}
