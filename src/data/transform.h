/* What happens to an image between resizing and the network, in fast-reid's order:
 *   training: resize → pad + random crop → horizontal flip → random erasing → (x - mean) / std
 *   testing:  resize → (x - mean) / std
 * The random choices are drawn first (from a stream of the caller) and then applied in one pass
 * over the pixels. Any thread may use it while nobody changes it.
 */
#ifndef REID_DATA_TRANSFORM_H
#define REID_DATA_TRANSFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "config/config.h"

typedef enum reid_pad_mode {
    REID_PAD_CONSTANT,
    REID_PAD_EDGE,
    REID_PAD_REFLECT,
    REID_PAD_SYMMETRIC
} reid_pad_mode;

typedef struct reid_transform {
    int height, width;
    int pad; /* 0: no padding and no crop */
    reid_pad_mode pad_mode;
    bool flips, erases; /* switched on; otherwise their probability is 0 */
    double flip_probability;
    double erase_probability;
    float erase_value[3];  /* in 0…255 */
    float mean[3], std[3]; /* in 0…255 */
} reid_transform;

/* INPUT.* and MODEL.PIXEL_*. UNSUPPORTED when an augmentation is switched on that is not there yet.
 */
reid_status reid_transform_init(reid_transform *transform, const reid_config *config, bool training,
                                reid_error *err);

/* The random choices for one image. */
typedef struct reid_transform_choice {
    int crop_y, crop_x; /* in the padded image */
    bool flip;
    int erase_y, erase_x, erase_height, erase_width; /* height 0: nothing is erased */
} reid_transform_choice;

/* Crop offsets are uniform in [0, 2·pad]. The rectangle to erase follows torchvision's
 * RandomErasing: ten tries of an area in 2 %…33 % of the image and an aspect ratio in 0.3…3.3
 * (uniform in its logarithm). */
reid_transform_choice reid_transform_draw(const reid_transform *transform, reid_rng *rng);
/* No crop offset beyond the padding, no flip, nothing erased. */
reid_transform_choice reid_transform_identity(const reid_transform *transform);

/* planes [3,H,W] u8 → ret_image [3,H,W] f32. The division is a multiplication with 1/std in
 * float32: the last bit may differ from a quotient's. */
void reid_transform_apply(const reid_transform *transform, const reid_transform_choice *choice,
                          const uint8_t *planes, float *ret_image);

#endif
