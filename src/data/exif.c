/* The one tag of Exif that matters here: orientation (0x0112) in the first directory of a TIFF
 * block (TIFF 6.0, p. 13; Exif 2.32, 4.6.4). Everything is bounded by `size`; damage means
 * "upright". */
#include <string.h>

#include "data/image_codecs.h"

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3
#define TYPE_LONG 4
#define ENTRY_BYTES 12

typedef struct tiff_block {
    const uint8_t *data;
    size_t size;
    int big_endian;
} tiff_block;

static uint32_t read_uint(const tiff_block *t, size_t at, size_t bytes)
{
    uint32_t value = 0;
    if (at + bytes > t->size)
        return 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint32_t)t->data[at + i] << 8 * (t->big_endian ? bytes - 1 - i : i);
    return value;
}

int reid_exif_orientation(const uint8_t *tiff, size_t size)
{
    if (size < 8 || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0))
        return 1;
    tiff_block t = {.data = tiff, .size = size, .big_endian = tiff[0] == 'M'};
    size_t directory = read_uint(&t, 4, 4);
    if (directory > size - 2)
        return 1;
    size_t entries = read_uint(&t, directory, 2);
    for (size_t i = 0; i < entries; i++) {
        size_t at = directory + 2 + i * ENTRY_BYTES;
        if (at + ENTRY_BYTES > size)
            break;
        if (read_uint(&t, at, 2) != TAG_ORIENTATION)
            continue;
        uint32_t type = read_uint(&t, at + 2, 2);
        uint32_t value = type == TYPE_SHORT  ? read_uint(&t, at + 8, 2)
                         : type == TYPE_LONG ? read_uint(&t, at + 8, 4)
                                             : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
