/* Pictures of the demo data: RGBA with premultiplied alpha, and what is done with them. */
#ifndef REID_DEMO_PICTURE_H
#define REID_DEMO_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"

#define DEMO_SIDE 64 /* width and height of the images that are made */
#define DEMO_IMAGE_BYTES (DEMO_SIDE * DEMO_SIDE * 3)

typedef struct demo_picture {
    int width, height; /* 0: no picture */
    uint8_t *rgba;     /* owned; [height, width, 4], colours multiplied by alpha */
} demo_picture;

void demo_picture_fini(demo_picture *picture);
reid_status demo_picture_read_png(const char *path, demo_picture *ret_picture, reid_error *err);
uint64_t demo_picture_hash(const demo_picture *picture);

/* A photograph of the picture by a camera: turned by up to 10°, scaled, shifted, on a background in
 * the camera's tint, brighter or darker, now and then partly covered. ret_rgb [SIDE, SIDE, 3]. */
void demo_picture_shoot(const demo_picture *picture, int camera, reid_rng *rng, uint8_t *ret_rgb);

/* JPEG of the image; the same bytes for the same pixels. */
reid_status demo_image_write_jpeg(const char *path, const uint8_t *rgb, reid_error *err);
reid_status demo_image_write_png(const char *path, const uint8_t *rgb, int width, int height,
                                 reid_error *err);

#endif
