#include "rpc/field.h"

#include <stdbool.h>

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

int reid_rpc_next_field(const uint8_t **at, const uint8_t *end, reid_rpc_field *ret_field)
{
    if (*at == end)
        return 0;
    uint64_t key, size;
    if (!read_varint(at, end, &key) || key >> 3 == 0 || key > UINT32_MAX)
        return -1;
    *ret_field = (reid_rpc_field){.number = (uint32_t)(key >> 3), .type = (unsigned)(key & 7)};
    switch (ret_field->type) {
    case 0:
        return read_varint(at, end, &size) ? 1 : -1;
    case 1:
        size = 8;
        break;
    case 2:
        if (!read_varint(at, end, &size))
            return -1;
        break;
    case 5:
        size = 4;
        break;
    default:
        return -1;
    }
    if (size > (uint64_t)(end - *at))
        return -1;
    ret_field->bytes = *at;
    ret_field->size = (size_t)size;
    *at += size;
    return 1;
}
