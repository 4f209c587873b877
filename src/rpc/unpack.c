#include "rpc/unpack.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "rpc/field.h"

/* Plain malloc below, so that the default allocator can free the message. What is freed on the way
 * is not given back to the budget: it bounds the work as well as the memory. */
typedef struct budget {
    uint64_t left;
    bool refused;
} budget;

static void *budget_alloc(void *data, size_t size)
{
    budget *b = data;
    uint64_t cost = (uint64_t)size + 16; /* malloc's own */
    if (cost > b->left) {
        b->refused = true;
        return NULL;
    }
    void *memory = malloc(size > 0 ? size : 1);
    if (!memory)
        b->refused = true;
    else
        b->left -= cost;
    return memory;
}

static void budget_free(void *data, void *memory)
{
    free(memory);
}

/* Well-formed by RFC 3629 (no overlong forms, no surrogates, nothing above U+10FFFF) and without a
 * NUL, which would end the text early. */
static bool is_text(const uint8_t *s, size_t size)
{
    const uint8_t *end = s + size;
    while (s < end) {
        if (*s < 0x80) {
            if (*s++ == 0)
                return false;
            continue;
        }
        size_t follow = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;
        uint8_t low = 0x80, high = 0xbf;
        if (*s < 0xc2 || *s > 0xf4 || (size_t)(end - s) <= follow)
            return false;
        if (*s == 0xe0)
            low = 0xa0;
        else if (*s == 0xed)
            high = 0x9f;
        else if (*s == 0xf0)
            low = 0x90;
        else if (*s == 0xf4)
            high = 0x8f;
        s++;
        for (; follow > 0; follow--, s++) {
            if (*s < low || *s > high)
                return false;
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}

enum { MAX_DEPTH = 64 };

/* Looks at the texts of a message before it is unpacked. False with *ret_field set when one is bad,
 * with NULL when messages are nested too deep. What is malformed otherwise is left to the
 * unpacking. */
static bool check_texts(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size,
                        int depth, const char **ret_field)
{
    *ret_field = NULL;
    if (depth > MAX_DEPTH)
        return false;
    const uint8_t *at = bytes, *end = bytes + size;
    reid_rpc_field f;
    while (reid_rpc_next_field(&at, end, &f) == 1) {
        const ProtobufCFieldDescriptor *field =
            f.type == 2 ? protobuf_c_message_descriptor_get_field(type, f.number) : NULL;
        if (field && field->type == PROTOBUF_C_TYPE_STRING && !is_text(f.bytes, f.size)) {
            *ret_field = field->name;
            return false;
        }
        if (field && field->type == PROTOBUF_C_TYPE_MESSAGE &&
            !check_texts(field->descriptor, f.bytes, f.size, depth + 1, ret_field))
            return false;
    }
    return true;
}

reid_status reid_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t size, uint64_t limit_bytes, ProtobufCMessage **ret_message,
                            reid_error *err)
{
    const char *field;
    if (!check_texts(descriptor, bytes, size, 0, &field)) {
        if (!field)
            return reid_fail(err, REID_ERR_INVALID, "a %s is nested too deep", descriptor->name);
        return reid_fail(err, REID_ERR_INVALID, "the text in field '%s' of %s is not valid UTF-8",
                         field, descriptor->name);
    }
    budget b = {.left = REID_MIN((uint64_t)size * 32 + 65536, limit_bytes)};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &b};
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, size, bytes);
    if (!message && b.refused)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "a %s of %zu bytes needs more memory than is allowed", descriptor->name,
                         size);
    if (!message)
        return reid_fail(err, REID_ERR_INVALID, "the bytes sent are not a valid %s",
                         descriptor->name);
    *ret_message = message;
    return REID_OK;
}
