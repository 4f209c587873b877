/* Inside the data module: the codecs behind image.h. Each fills `image` and the Exif orientation (1
 * when there is none); a sentence does not name the file yet. */
#ifndef REID_DATA_IMAGE_CODECS_H
#define REID_DATA_IMAGE_CODECS_H

#include "data/image.h"

typedef struct reid_jpeg reid_jpeg;
reid_jpeg *reid_jpeg_new(void);
void reid_jpeg_free(reid_jpeg *jpeg);
reid_status reid_jpeg_decode(reid_jpeg *jpeg, const uint8_t *data, size_t size, reid_image *image,
                             int *ret_orientation, reid_error *err);

reid_status reid_png_decode(const uint8_t *data, size_t size, reid_image *image,
                            int *ret_orientation, reid_error *err);

/* Orientation (1…8) in a TIFF block as Exif holds it; 1 when absent or damaged. */
int reid_exif_orientation(const uint8_t *tiff, size_t size);

#endif
