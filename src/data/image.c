#include "data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "data/image_codecs.h"

/* libjpeg-turbo writes rows that are aligned for its vectors past the caches, and the resizing that
 * follows at once would wait for memory. */
#define OFF_ALIGNMENT sizeof(uint32_t)

struct reid_image_decoder {
    reid_jpeg *jpeg;
    reid_image spare; /* the image before it is turned upright */
    uint8_t *file;
    size_t file_capacity;
};

void reid_image_fini(reid_image *image)
{
    if (!image)
        return;
    free(image->block);
    *image = (reid_image){0};
}

reid_status reid_image_resize_buffer(reid_image *image, int64_t width, int64_t height,
                                     reid_error *err)
{
    if (width < 1 || height < 1)
        return reid_fail(err, REID_ERR_INVALID, "the image is empty");
    if (width > REID_IMAGE_MAX_SIDE || height > REID_IMAGE_MAX_SIDE ||
        width * height > REID_IMAGE_MAX_PIXELS)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "the image of %lld x %lld pixels is beyond the limit of %u pixels",
                         (long long)width, (long long)height, REID_IMAGE_MAX_PIXELS);
    size_t size = (size_t)width * (size_t)height * 4;
    if (size > image->capacity) {
        uint8_t *block = reid_alloc_grow(NULL, size + OFF_ALIGNMENT, 1);
        if (!block)
            return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for an image of %zu bytes", size);
        free(image->block);
        image->block = block;
        image->pixels = block + OFF_ALIGNMENT;
        image->capacity = size;
    }
    image->width = (int)width;
    image->height = (int)height;
    return REID_OK;
}

reid_image_decoder *reid_image_decoder_new(void)
{
    reid_image_decoder *decoder = reid_xcalloc(1, sizeof *decoder);
    decoder->jpeg = reid_jpeg_new();
    return decoder;
}

void reid_image_decoder_free(reid_image_decoder *decoder)
{
    if (!decoder)
        return;
    reid_jpeg_free(decoder->jpeg);
    reid_image_fini(&decoder->spare);
    free(decoder->file);
    free(decoder);
}

/* Exif orientation: where the pixel that belongs at (x, y) of the upright image lies in the stored
 * one. An orientation is a start and the steps to it for one pixel to the right and one down. */
typedef struct orientation_walk {
    ptrdiff_t start, right, down; /* in pixels */
} orientation_walk;

static orientation_walk walk_of(int orientation, ptrdiff_t width, ptrdiff_t height)
{
    ptrdiff_t last_column = width - 1, last_row = (height - 1) * width;
    switch (orientation) {
    case 2: /* mirrored left to right */
        return (orientation_walk){last_column, -1, width};
    case 3: /* upside down */
        return (orientation_walk){last_row + last_column, -1, -width};
    case 4: /* mirrored top to bottom */
        return (orientation_walk){last_row, 1, -width};
    case 5: /* mirrored along the main diagonal */
        return (orientation_walk){0, width, 1};
    case 6: /* to be turned clockwise */
        return (orientation_walk){last_row, -width, 1};
    case 7: /* mirrored along the other diagonal */
        return (orientation_walk){last_row + last_column, -width, -1};
    case 8: /* to be turned counter-clockwise */
        return (orientation_walk){last_column, width, -1};
    default:
        return (orientation_walk){0, 1, width};
    }
}

reid_status reid_image_orient(reid_image *image, int orientation, reid_image *spare,
                              reid_error *err)
{
    if (orientation < 2 || orientation > 8)
        return REID_OK;
    bool turned = orientation >= 5;
    orientation_walk walk = walk_of(orientation, image->width, image->height);
    REID_TRY(reid_image_resize_buffer(spare, turned ? image->height : image->width,
                                      turned ? image->width : image->height, err));
    uint8_t *to = spare->pixels;
    for (int y = 0; y < spare->height; y++) {
        const uint8_t *from = image->pixels + 4 * (walk.start + y * walk.down);
        for (int x = 0; x < spare->width; x++, to += 4)
            memcpy(to, from + 4 * (x * walk.right), 4);
    }
    reid_image swap = *image;
    *image = *spare;
    *spare = swap;
    return REID_OK;
}

reid_status reid_image_decode(reid_image_decoder *decoder, const uint8_t *data, size_t size,
                              const char *name, reid_image *image, reid_error *err)
{
    static const uint8_t jpeg_magic[] = {0xFF, 0xD8, 0xFF};
    static const uint8_t png_magic[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    reid_error why = {0};
    int orientation = 1;
    reid_status status;
    if (size >= sizeof jpeg_magic && memcmp(data, jpeg_magic, sizeof jpeg_magic) == 0)
        status = reid_jpeg_decode(decoder->jpeg, data, size, image, &orientation, &why);
    else if (size >= sizeof png_magic && memcmp(data, png_magic, sizeof png_magic) == 0)
        status = reid_png_decode(data, size, image, &orientation, &why);
    else
        status = reid_fail(&why, REID_ERR_INVALID,
                           size == 0 ? "the file is empty" : "neither JPEG nor PNG");
    if (status == REID_OK)
        status = reid_image_orient(image, orientation, &decoder->spare, &why);
    if (status != REID_OK)
        return reid_fail(err, status, "cannot decode the image '%s': %s", name, why.text);
    return REID_OK;
}

/* Whole file into decoder->file, whose memory is kept. */
static reid_status read_descriptor(reid_image_decoder *decoder, int fd, const char *path,
                                   size_t *ret_size, reid_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return reid_fail_errno(err, errno, "cannot read the image '%s'", path);
    if (!S_ISREG(info.st_mode))
        return reid_fail(err, REID_ERR_INVALID, "cannot read the image '%s': not a regular file",
                         path);
    if (info.st_size > (off_t)REID_IMAGE_MAX_FILE)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "cannot read the image '%s': %lld bytes are beyond the limit of %u", path,
                         (long long)info.st_size, REID_IMAGE_MAX_FILE);
    size_t wanted = (size_t)info.st_size, have = 0;
    if (wanted > decoder->file_capacity) {
        uint8_t *file = reid_alloc_grow(NULL, wanted, 1);
        if (!file)
            return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the image '%s'", path);
        free(decoder->file);
        decoder->file = file;
        decoder->file_capacity = wanted;
    }
    while (have < wanted) {
        ssize_t got = read(fd, decoder->file + have, wanted - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return reid_fail_errno(err, errno, "cannot read the image '%s'", path);
        if (got == 0)
            break;
        have += (size_t)got;
    }
    *ret_size = have;
    return REID_OK;
}

reid_status reid_image_read(reid_image_decoder *decoder, const char *path, reid_image *image,
                            reid_error *err)
{
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a pipe that lies there */
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot read the image '%s'", path);
    size_t size = 0;
    reid_status status = read_descriptor(decoder, fd, path, &size, err);
    close(fd);
    REID_TRY(status);
    return reid_image_decode(decoder, decoder->file, size, path, image, err);
}
