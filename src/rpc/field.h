/* The fields of a protobuf message on the wire, one after the other. Thread-safe. */
#ifndef REID_RPC_FIELD_H
#define REID_RPC_FIELD_H

#include <stddef.h>
#include <stdint.h>

typedef struct reid_rpc_field {
    uint32_t number;
    unsigned type;        /* 0 varint, 1 64 bits, 2 bytes, 5 32 bits */
    const uint8_t *bytes; /* types 1, 2, 5 */
    size_t size;
} reid_rpc_field;

/* Returns 1 with a field, 0 at the end, -1 when malformed (groups are). */
int reid_rpc_next_field(const uint8_t **at, const uint8_t *end, reid_rpc_field *ret_field);

#endif
