/* JPEG through libjpeg-turbo, the only file that knows it. Its errors leave by longjmp; nothing
 * that needs freeing lives between setjmp and longjmp but the decompressor itself, which belongs to
 * reid_jpeg. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "base/alloc.h"
#include "data/image_codecs.h"

#ifndef JCS_EXTENSIONS
#error "libjpeg-turbo is needed (its extended colour spaces)"
#endif

#define MAX_SCANS 500 /* a progressive file of thousands of scans is an attack on time */
#define MAX_MEMORY                                                                                 \
    (1024L << 20) /* coefficients of a progressive image at the pixel limit fit in                 \
                   */
#define EXIF_MARKER (JPEG_APP0 + 1)
#define EXIF_MAGIC "Exif\0" /* and the literal's own NUL: six bytes */
#define EXIF_MAGIC_BYTES 6

struct reid_jpeg {
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    reid_error *err; /* of the decoding in progress */
};

static void on_fatal(j_common_ptr library)
{
    reid_jpeg *jpeg = library->client_data;
    char text[JMSG_LENGTH_MAX];
    library->err->format_message(library, text);
    reid_fail(jpeg->err,
              library->err->msg_code == JERR_OUT_OF_MEMORY ? REID_ERR_EXHAUSTED : REID_ERR_CORRUPT,
              "%s", text);
    longjmp(jpeg->escape, 1);
}

/* Warnings that mean lost pixels. Others (stray bytes between markers, odd version numbers) are
 * common and harmless. */
static bool means_damage(int code)
{
    return code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
           code == JWRN_MUST_RESYNC || code == JWRN_ARITH_BAD_CODE;
}

static void on_message(j_common_ptr library, int level)
{
    if (level < 0 && means_damage(library->err->msg_code))
        on_fatal(library);
}

static void on_output(j_common_ptr library)
{
}

static void on_progress(j_common_ptr library)
{
    reid_jpeg *jpeg = library->client_data;
    if (jpeg->library.input_scan_number > MAX_SCANS) {
        reid_fail(jpeg->err, REID_ERR_CORRUPT, "more than %d scans", MAX_SCANS);
        longjmp(jpeg->escape, 1);
    }
}

reid_jpeg *reid_jpeg_new(void)
{
    reid_jpeg *jpeg = reid_xcalloc(1, sizeof *jpeg);
    jpeg->library.err = jpeg_std_error(&jpeg->errors);
    jpeg->errors.error_exit = on_fatal;
    jpeg->errors.emit_message = on_message;
    jpeg->errors.output_message = on_output;
    jpeg->library.client_data = jpeg;
    if (setjmp(jpeg->escape)) { /* out of memory, or a libjpeg of another version than its header */
        fprintf(stderr, "libjpeg cannot start\n");
        abort();
    }
    jpeg_create_decompress(&jpeg->library);
    jpeg->library.mem->max_memory_to_use = MAX_MEMORY;
    jpeg->progress.progress_monitor = on_progress;
    jpeg->library.progress = &jpeg->progress;
    jpeg_save_markers(&jpeg->library, EXIF_MARKER, 0xFFFF);
    return jpeg;
}

void reid_jpeg_free(reid_jpeg *jpeg)
{
    if (!jpeg)
        return;
    jpeg_destroy_decompress(&jpeg->library);
    free(jpeg);
}

static int find_orientation(const struct jpeg_decompress_struct *library)
{
    for (jpeg_saved_marker_ptr m = library->marker_list; m; m = m->next)
        if (m->marker == EXIF_MARKER && m->data_length > EXIF_MAGIC_BYTES &&
            memcmp(m->data, EXIF_MAGIC, EXIF_MAGIC_BYTES) == 0)
            return reid_exif_orientation(m->data + EXIF_MAGIC_BYTES,
                                         m->data_length - EXIF_MAGIC_BYTES);
    return 1;
}

/* PIL's conversion: ink values are stored inverted (Adobe's way), and each colour is (255 - ink) ×
 * (255 - black) / 255, rounded. */
static void cmyk_to_rgb(uint8_t *pixels, int count)
{
    for (int i = 0; i < count; i++, pixels += 4) {
        int black_left = pixels[3];
        for (int c = 0; c < 3; c++) {
            int ink = 255 - pixels[c];
            int product = ink * black_left + 128;
            int lost = ((product >> 8) + product) >> 8;
            pixels[c] = (uint8_t)(black_left > lost ? black_left - lost : 0);
        }
    }
}

static bool decode(reid_jpeg *jpeg, const uint8_t *data, size_t size, reid_image *image,
                   int *ret_orientation)
{
    struct jpeg_decompress_struct *library = &jpeg->library;
    if (setjmp(jpeg->escape))
        return false;
    jpeg_mem_src(library, data, size);
    jpeg_read_header(library, TRUE);
    if (reid_image_resize_buffer(image, library->image_width, library->image_height, jpeg->err) !=
        REID_OK)
        return false;
    bool cmyk = library->num_components == 4;
    library->out_color_space = cmyk ? JCS_CMYK : JCS_EXT_RGBX;
    jpeg_start_decompress(library);
    while (library->output_scanline < library->output_height) {
        JSAMPROW row = image->pixels + (size_t)library->output_scanline * (size_t)image->width * 4;
        jpeg_read_scanlines(library, &row, 1);
        if (cmyk)
            cmyk_to_rgb(row, image->width);
    }
    *ret_orientation = find_orientation(library);
    jpeg_finish_decompress(library);
    return true;
}

reid_status reid_jpeg_decode(reid_jpeg *jpeg, const uint8_t *data, size_t size, reid_image *image,
                             int *ret_orientation, reid_error *err)
{
    reid_error why = {0};
    jpeg->err = &why;
    bool done = decode(jpeg, data, size, image, ret_orientation);
    jpeg->err = NULL;
    if (done)
        return REID_OK;
    jpeg_abort_decompress(&jpeg->library);
    return reid_fail(err, why.code, "%s", why.text);
}
