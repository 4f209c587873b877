/* Files of tensors. An input that begins with '{' is a header and the data after its last '}' (the
 * eight bytes of its length are put before it), any other one is a whole file. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "checkpoint/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was accepted lies in the file, without overlap, and can be read. */
static void read_all(const reid_safetensors *file, size_t size)
{
    uint64_t end = 0;
    for (size_t i = 0; i < reid_safetensors_count(file); i++) {
        const reid_safetensors_info *info = reid_safetensors_at(file, i);
        REID_ASSERT(info->rank >= 0 && info->rank <= REID_SAFETENSORS_MAX_RANK);
        REID_ASSERT(info->offset >= end && info->offset <= size);
        REID_ASSERT(info->bytes <= size - info->offset);
        end = info->offset + info->bytes;
        REID_ASSERT(reid_safetensors_find(file, info->name) != NULL);
        void *copy = reid_xmalloc(info->bytes + 1);
        reid_error err = {0};
        REID_ASSERT(reid_safetensors_read(file, info, copy, &err) == REID_OK);
        REID_ASSERT(reid_safetensors_read_exact(file, info->name, info->dtype, info->rank,
                                                info->shape, copy, &err) == REID_OK);
        free(copy);
    }
    REID_ASSERT(end == size || reid_safetensors_count(file) == 0);
    (void)reid_safetensors_metadata(file, "format");
}

static void run(const uint8_t *bytes, size_t size)
{
    reid_safetensors *file = NULL;
    reid_error err = {0};
    reid_status status = reid_safetensors_open_memory(bytes, size, "input", &file, &err);
    REID_ASSERT(status == err.code);
    REID_ASSERT(status == REID_OK || status == REID_ERR_CORRUPT || status == REID_ERR_UNSUPPORTED ||
                status == REID_ERR_EXHAUSTED);
    if (status == REID_OK)
        read_all(file, size);
    reid_safetensors_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != '{') {
        run(data, size);
        return 0;
    }
    const uint8_t *brace = memrchr(data, '}', size);
    uint64_t header = brace ? (uint64_t)(brace - data) + 1 : size;
    uint8_t *whole = reid_xmalloc(size + sizeof header); /* exact, so that reading beyond is seen */
    memcpy(whole, &header, sizeof header);
    memcpy(whole + sizeof header, data, size);
    run(whole, size + sizeof header);
    free(whole);
    return 0;
}
