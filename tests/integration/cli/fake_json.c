#include <string.h>

#include "fake_reidd.h"

static void add_value(reid_json_writer *w, const ProtobufCFieldDescriptor *field, const void *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_ENUM:
        reid_json_int(w, *(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_INT64:
        reid_json_int(w, *(const int64_t *)value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        reid_json_double(w, *(const double *)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        reid_json_bool(w, *(const protobuf_c_boolean *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        reid_json_string(w, *(char *const *)value);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        fake_json_message(w, *(ProtobufCMessage *const *)value);
        break;
    default:
        reid_json_null(w); /* no request has such a field */
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return 4;
    default:
        return 8;
    }
}

/* Whether a field that is not repeated has another value than its default. */
static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    const void *value = base + field->offset;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(base + field->quantifier_offset) == field->id;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return **(char *const *)value != '\0';
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(ProtobufCMessage *const *)value != NULL;
    static const char zeros[8];
    return memcmp(value, zeros, value_size(field)) != 0;
}

void fake_json_message(reid_json_writer *w, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const char *base = (const char *)message;
    reid_json_object(w);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(base + field->quantifier_offset);
            const char *items = *(char *const *)(base + field->offset);
            if (count == 0)
                continue;
            reid_json_key(w, field->name);
            reid_json_array(w);
            for (size_t k = 0; k < count; k++)
                add_value(w, field, items + k * value_size(field));
            reid_json_end_array(w);
        } else if (is_set(message, field)) {
            reid_json_key(w, field->name);
            add_value(w, field, base + field->offset);
        }
    }
    reid_json_end_object(w);
}
