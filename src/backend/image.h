/* Augmentation and normalisation of one pixel, written once for C and CUDA: what fast-reid does
 * between resizing and the network (resize → pad + random crop → flip → random erasing → (x - mean)
 * / std), with choices that were drawn before. The same bits as src/data's transform: one
 * subtraction, one multiplication. */
#ifndef REID_BACKEND_IMAGE_H
#define REID_BACKEND_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/element.h"

typedef enum reid_image_pad {
    REID_IMAGE_PAD_CONSTANT, /* black */
    REID_IMAGE_PAD_EDGE,
    REID_IMAGE_PAD_REFLECT, /* without the border pixel itself */
    REID_IMAGE_PAD_SYMMETRIC
} reid_image_pad;

#define REID_IMAGE_CHANNELS 3

/* Of all images of a batch. Colours are in 0…255. */
typedef struct reid_image_rule {
    int height, width;
    int pad; /* SYMMETRIC: at most the smaller side; REFLECT: less than that */
    reid_image_pad pad_mode;
    float mean[REID_IMAGE_CHANNELS];
    float inverse_std[REID_IMAGE_CHANNELS]; /* 1.0f / std */
    float erase_value[REID_IMAGE_CHANNELS];
} reid_image_rule;

/* Of one image. */
typedef struct reid_image_choice {
    int32_t crop_y, crop_x;                              /* in the padded image; `pad` for none */
    int32_t flip;                                        /* 0 or 1 */
    int32_t erase_y, erase_x, erase_height, erase_width; /* after the flip; height 0: nothing */
} reid_image_choice;

/* Place in [0, size) of the pixel that stands at `at` of the padded line; -1 for a black one. */
REID_ELEMENT int reid_image_place(int at, int size, reid_image_pad mode)
{
    if (at >= 0 && at < size)
        return at;
    if (mode == REID_IMAGE_PAD_EDGE)
        return at < 0 ? 0 : size - 1;
    if (mode == REID_IMAGE_PAD_REFLECT)
        return at < 0 ? -at : 2 * size - 2 - at;
    if (mode == REID_IMAGE_PAD_SYMMETRIC)
        return at < 0 ? -1 - at : 2 * size - 1 - at;
    return -1;
}

/* Where output pixel (y, x) comes from. */
typedef struct reid_image_source {
    int erased; /* 1: the erasing colour */
    int black;  /* 1: padding */
    size_t at;  /* else: place in a plane */
} reid_image_source;

REID_ELEMENT reid_image_source reid_image_find(const reid_image_rule *rule,
                                               const reid_image_choice *choice, int y, int x)
{
    reid_image_source s = {0, 0, 0};
    s.erased = y >= choice->erase_y && y - choice->erase_y < choice->erase_height &&
               x >= choice->erase_x && x - choice->erase_x < choice->erase_width;
    int from_x = choice->flip ? rule->width - 1 - x : x;
    int row = reid_image_place(y + choice->crop_y - rule->pad, rule->height, rule->pad_mode);
    int column = reid_image_place(from_x + choice->crop_x - rule->pad, rule->width, rule->pad_mode);
    s.black = row < 0 || column < 0;
    if (!s.black)
        s.at = (size_t)row * (size_t)rule->width + (size_t)column;
    return s;
}

/* `plane` of channel c: [H,W]. */
REID_ELEMENT float reid_image_element(const reid_image_rule *rule, reid_image_source source,
                                      const uint8_t *plane, int c)
{
    float value = source.erased ? rule->erase_value[c] : source.black ? 0.0f : plane[source.at];
    return (value - rule->mean[c]) * rule->inverse_std[c];
}

#endif
