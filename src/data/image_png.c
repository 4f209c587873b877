/* PNG through libpng, the only file that knows it. Its errors leave by longjmp. */
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "data/image_codecs.h"

#define CHUNK_BYTES_LIMIT (8u << 20)
#define CHUNK_COUNT_LIMIT 1000

typedef struct png_reader {
    png_structp library;
    png_infop info;
    const uint8_t *data;
    size_t size, used;
    reid_error *err;
} png_reader;

static void on_fatal(png_structp library, png_const_charp text)
{
    png_reader *reader = png_get_error_ptr(library);
    reid_fail(reader->err, REID_ERR_CORRUPT, "%s", text);
    png_longjmp(library, 1);
}

static void on_warning(png_structp library, png_const_charp text)
{
}

static void on_read(png_structp library, png_bytep to, size_t bytes)
{
    png_reader *reader = png_get_io_ptr(library);
    if (bytes > reader->size - reader->used)
        png_error(library, "the file is cut off");
    memcpy(to, reader->data + reader->used, bytes);
    reader->used += bytes;
}

/* Any kind of PNG comes out as eight-bit RGBX: palette and low depths expanded, high bytes of 16
 * bits, alpha and transparent colours dropped. */
static void set_conversions(png_reader *reader)
{
    png_structp library = reader->library;
    int type = png_get_color_type(library, reader->info);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(library);
    else if (type == PNG_COLOR_TYPE_GRAY)
        png_set_expand_gray_1_2_4_to_8(library);
    png_set_strip_16(library);
    if (!(type & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(library);
    png_set_strip_alpha(library);
    png_set_filler(library, 0xFF, PNG_FILLER_AFTER);
}

static int find_orientation(png_reader *reader)
{
#ifdef PNG_eXIf_SUPPORTED
    png_uint_32 bytes = 0;
    png_bytep exif = NULL;
    if (png_get_eXIf_1(reader->library, reader->info, &bytes, &exif) != 0 && exif)
        return reid_exif_orientation(exif, bytes);
#endif
    return 1;
}

static bool decode(png_reader *reader, reid_image *image, int *ret_orientation)
{
    png_structp library = reader->library;
    if (setjmp(png_jmpbuf(library)))
        return false;
    png_set_read_fn(library, reader, on_read);
    png_set_user_limits(library, REID_IMAGE_MAX_SIDE, REID_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(library, CHUNK_BYTES_LIMIT);
    png_set_chunk_cache_max(library, CHUNK_COUNT_LIMIT);
    png_read_info(library, reader->info);
    if (reid_image_resize_buffer(image, png_get_image_width(library, reader->info),
                                 png_get_image_height(library, reader->info),
                                 reader->err) != REID_OK)
        return false;
    set_conversions(reader);
    int passes = png_set_interlace_handling(library);
    png_read_update_info(library, reader->info);
    size_t stride = (size_t)image->width * 4;
    if (png_get_rowbytes(library, reader->info) != stride)
        png_error(library, "an unknown kind of PNG");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < image->height; y++)
            png_read_row(library, image->pixels + (size_t)y * stride, NULL);
    png_read_end(library, reader->info);
    *ret_orientation = find_orientation(reader);
    return true;
}

reid_status reid_png_decode(const uint8_t *data, size_t size, reid_image *image,
                            int *ret_orientation, reid_error *err)
{
    reid_error why = {0};
    png_reader reader = {.data = data, .size = size, .err = &why};
    bool done = false;
    reader.library = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_fatal, on_warning);
    if (reader.library)
        reader.info = png_create_info_struct(reader.library);
    if (reader.info)
        done = decode(&reader, image, ret_orientation);
    else
        reid_fail(&why, REID_ERR_EXHAUSTED, "libpng cannot start");
    png_destroy_read_struct(&reader.library, &reader.info, NULL);
    return done ? REID_OK : reid_fail(err, why.code, "%s", why.text);
}
