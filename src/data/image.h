/* Decoding of JPEG and PNG files to RGB, with the pixels that PIL's Image.open(…).convert("RGB")
 * gives after ImageOps.exif_transpose. What differs: 16-bit gray PNGs keep their high byte (PIL
 * clips them to white), a JPEG whose data are damaged or cut off is an error instead of a partly
 * gray image.
 *
 * The format is recognised by content, not by name. Sizes are checked before memory is taken: at
 * most REID_IMAGE_MAX_SIDE pixels a side, REID_IMAGE_MAX_PIXELS in all, REID_IMAGE_MAX_FILE bytes
 * of file.
 *
 * Life: a decoder keeps its buffers from image to image; it belongs to one thread at a time.
 */
#ifndef REID_DATA_IMAGE_H
#define REID_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define REID_IMAGE_MAX_SIDE 32768
#define REID_IMAGE_MAX_PIXELS (64u << 20)
#define REID_IMAGE_MAX_FILE (128u << 20)

/* Rows of R, G, B and one unused byte: [height][width][4] u8. Zero-initialise; may be filled again
 * and again. */
typedef struct reid_image {
    int width, height;
    uint8_t *pixels; /* within the block; aligned for 32-bit words */
    void *block;
    size_t capacity; /* bytes */
} reid_image;

void reid_image_fini(reid_image *image);
/* Makes room for width × height pixels (contents undefined); EXHAUSTED beyond the limits. */
reid_status reid_image_resize_buffer(reid_image *image, int64_t width, int64_t height,
                                     reid_error *err);

typedef struct reid_image_decoder reid_image_decoder;
reid_image_decoder *reid_image_decoder_new(void);
void reid_image_decoder_free(reid_image_decoder *decoder);

/* The sentence of an error names the file. */
reid_status reid_image_read(reid_image_decoder *decoder, const char *path, reid_image *image,
                            reid_error *err);
/* The same from memory; `name` stands for the file. */
reid_status reid_image_decode(reid_image_decoder *decoder, const uint8_t *data, size_t size,
                              const char *name, reid_image *image, reid_error *err);

/* Turns an image by an Exif orientation (1…8, others count as 1) so that it stands upright; `spare`
 * is scratch. */
reid_status reid_image_orient(reid_image *image, int orientation, reid_image *spare,
                              reid_error *err);

#endif
