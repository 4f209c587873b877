/* Bicubic resizing with the same bytes as Pillow's Image.resize(size, BICUBIC).
 *
 * Pillow (src/libImaging/Resample.c): the kernel is Keys' cubic with a = -0.5, widened by the scale
 * when shrinking (so that shrinking is antialiased); weights are normalised in double precision and
 * rounded to 22 fractional bits; a horizontal pass into 8-bit values, then a vertical one; a pass
 * that would not change the size is left out.
 *
 * Life: a resizer keeps its tables and scratch from image to image; it belongs to one thread at a
 * time.
 */
#ifndef REID_DATA_RESIZE_H
#define REID_DATA_RESIZE_H

#include <stdint.h>

#include "base/status.h"
#include "data/image.h"

typedef struct reid_resizer reid_resizer;
reid_resizer *reid_resizer_new(void);
void reid_resizer_free(reid_resizer *resizer);

/* Writes [3, height, width] u8: red plane, green plane, blue plane. */
reid_status reid_resize_bicubic(reid_resizer *resizer, const reid_image *image, int width,
                                int height, uint8_t *ret_planes, reid_error *err);

#endif
