#include "rpc/unpack.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/compiler.h"

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

/* Well-formed by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        if (*s < 0x80) {
            s++;
            continue;
        }
        unsigned follow = *s >= 0xf0 ? 3 : *s >= 0xe0 ? 2 : 1;
        unsigned char low = 0x80, high = 0xbf;
        if (*s < 0xc2 || *s > 0xf4)
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

static const char *bad_text(const ProtobufCMessage *message);

/* The value at `place`, which has the field's type. */
static const char *bad_text_at(const ProtobufCFieldDescriptor *field, const void *place)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)place;
        return text && !is_utf8(text) ? field->name : NULL;
    }
    const ProtobufCMessage *child = *(ProtobufCMessage *const *)place;
    return child ? bad_text(child) : NULL;
}

/* The name of a string field that is not UTF-8, or NULL. Recursion is as deep as the message was
 * when it was unpacked. */
static const char *bad_text(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        const char *base = (const char *)message;
        const char *bad = NULL;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(base + field->quantifier_offset);
            void *const *items = *(void *const *const *)(base + field->offset);
            for (size_t k = 0; k < count && !bad; k++)
                bad = bad_text_at(field, &items[k]);
        } else if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
                   *(const uint32_t *)(base + field->quantifier_offset) == field->id) {
            bad = bad_text_at(field, base + field->offset);
        }
        if (bad)
            return bad;
    }
    return NULL;
}

reid_status reid_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t size, uint64_t limit_bytes, ProtobufCMessage **ret_message,
                            reid_error *err)
{
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
    const char *bad = bad_text(message);
    if (bad) {
        reid_status status =
            reid_fail(err, REID_ERR_INVALID, "the text in field '%s' of %s is not UTF-8", bad,
                      descriptor->name);
        protobuf_c_message_free_unpacked(message, NULL);
        return status;
    }
    *ret_message = message;
    return REID_OK;
}
