#include "base/recordfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"

struct reid_record_file {
    int fd;
    char *path;
    int64_t offset; /* of the next record to read, or to append */
    uint8_t *buffer;
    size_t capacity;
};

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static reid_status open_file(const char *path, int flags, reid_record_file **ret_file,
                             reid_error *err)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_record_file *file = reid_xcalloc(1, sizeof *file);
    file->fd = fd;
    file->path = reid_xstrdup(path);
    *ret_file = file;
    return REID_OK;
}

void reid_record_file_free(reid_record_file *file)
{
    if (file == NULL)
        return;
    close(file->fd);
    free(file->path);
    free(file->buffer);
    free(file);
}

static void ensure_capacity(reid_record_file *file, size_t size)
{
    if (file->capacity < size) {
        file->buffer = reid_xrealloc(file->buffer, size);
        file->capacity = size;
    }
}

/* Bytes read at `offset`, fewer than `size` at the end of the file. */
static reid_status read_at(reid_record_file *file, uint8_t *data, size_t size, int64_t offset,
                           size_t *ret_read, reid_error *err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(file->fd, data + done, size - done, offset + (int64_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return reid_fail_errno(err, errno, "cannot read '%s'", file->path);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_read = done;
    return REID_OK;
}

reid_status reid_record_file_next(reid_record_file *file, const uint8_t **ret_data,
                                  size_t *ret_size, reid_error *err)
{
    uint8_t head[8];
    size_t got = 0;
    *ret_data = NULL;
    *ret_size = 0;
    REID_TRY(read_at(file, head, sizeof head, file->offset, &got, err));
    if (got < sizeof head)
        return REID_OK;
    size_t size = load_u32(head);
    if (size > REID_RECORD_LIMIT_BYTES)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' has a record of %zu bytes at offset %lld",
                         file->path, size, (long long)file->offset);
    ensure_capacity(file, size + 1);
    REID_TRY(read_at(file, file->buffer, size, file->offset + 8, &got, err));
    if (got < size || reid_crc32c(file->buffer, size) != load_u32(head + 4))
        return REID_OK;
    file->offset += 8 + (int64_t)size;
    *ret_data = file->buffer;
    *ret_size = size;
    return REID_OK;
}

void reid_record_file_rewind(reid_record_file *file)
{
    file->offset = 0;
}

reid_status reid_record_file_append_open(const char *path, reid_record_file **ret_file,
                                         reid_error *err)
{
    reid_record_file *file = NULL;
    REID_TRY(open_file(path, O_RDWR | O_CREAT | O_APPEND, &file, err));
    const uint8_t *data = NULL;
    size_t size = 0;
    reid_status status;
    do {
        status = reid_record_file_next(file, &data, &size, err);
    } while (status == REID_OK && data != NULL);
    if (status == REID_OK && ftruncate(file->fd, file->offset) != 0)
        status = reid_fail_errno(err, errno, "cannot cut '%s' to its last whole record", path);
    if (status != REID_OK) {
        reid_record_file_free(file);
        return status;
    }
    *ret_file = file;
    return REID_OK;
}

reid_status reid_record_file_read_open(const char *path, reid_record_file **ret_file,
                                       reid_error *err)
{
    /* Of a file that somebody else wrote; a pipe of that name keeps nobody waiting. */
    return open_file(path, O_RDONLY | O_NONBLOCK, ret_file, err);
}

reid_status reid_record_file_append(reid_record_file *file, const void *data, size_t size,
                                    reid_error *err)
{
    if (size > REID_RECORD_LIMIT_BYTES)
        return reid_fail(err, REID_ERR_INVALID,
                         "a record of %zu bytes for '%s' is over the limit of %u", size, file->path,
                         REID_RECORD_LIMIT_BYTES);
    ensure_capacity(file, size + 8);
    store_u32(file->buffer, (uint32_t)size);
    store_u32(file->buffer + 4, reid_crc32c(data, size));
    memcpy(file->buffer + 8, data, size);
    reid_status status = reid_write_all(file->fd, file->buffer, size + 8, file->path, err);
    if (status == REID_OK)
        file->offset += 8 + (int64_t)size;
    else if (ftruncate(file->fd, file->offset) != 0) /* a torn record would hide those after it */
        reid_fail_errno(err, errno, "cannot cut '%s' to its last whole record", file->path);
    return status;
}
