/* JPEG and PNG files, from a decoder that has seen other ones before. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "data/image.h"
#include "data/image_codecs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Larger ones take long and find nothing else; the limits of the decoder itself are in the unit
 * tests. */
#define MOST_BYTES (1u << 16)
#define MOST_PIXELS (1u << 20)

/* Width and height as the file claims them; only to leave out what would take long. */
static uint64_t claimed_pixels(const uint8_t *data, size_t size)
{
    if (size >= 24 && data[0] == 0x89)
        return ((uint64_t)data[16] << 24 | data[17] << 16 | data[18] << 8 | data[19]) *
               ((uint64_t)data[20] << 24 | data[21] << 16 | data[22] << 8 | data[23]);
    uint64_t most = 0;
    for (size_t i = 0; i + 9 <= size; i++) {
        bool frame = data[i] == 0xFF && data[i + 1] >= 0xC0 && data[i + 1] <= 0xCF;
        uint64_t pixels =
            ((uint64_t)data[i + 5] << 8 | data[i + 6]) * ((uint64_t)data[i + 7] << 8 | data[i + 8]);
        if (frame && pixels > most)
            most = pixels;
    }
    return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static reid_image_decoder *decoder;
    static reid_image image;
    if (!decoder)
        decoder = reid_image_decoder_new();
    if (size > MOST_BYTES)
        return 0;
    int orientation = reid_exif_orientation(data, size);
    REID_ASSERT(orientation >= 1 && orientation <= 8);
    if (claimed_pixels(data, size) > MOST_PIXELS)
        return 0;
    reid_error err = {0};
    reid_status status = reid_image_decode(decoder, data, size, "input", &image, &err);
    REID_ASSERT(status == err.code);
    REID_ASSERT(status != REID_ERR_INTERNAL);
    REID_ASSERT(reid_utf8_is_valid(err.text));
    if (status != REID_OK)
        return 0;
    REID_ASSERT(image.width > 0 && image.width <= REID_IMAGE_MAX_SIDE);
    REID_ASSERT(image.height > 0 && image.height <= REID_IMAGE_MAX_SIDE);
    uint32_t sum = 0; /* every pixel can be read */
    for (size_t i = 0; i < (size_t)image.width * (size_t)image.height * 4; i++)
        sum += image.pixels[i];
    REID_ASSERT(sum < UINT32_MAX);
    return 0;
}
