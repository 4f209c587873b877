/* Protobuf messages from a peer. Thread-safe. */
#ifndef REID_RPC_UNPACK_H
#define REID_RPC_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/status.h"

/* Unpacks with at most 32 × size + 64 KiB of memory, and never more than limit_bytes. Free the
 * message with protobuf_c_message_free_unpacked(message, NULL). INVALID: malformed, or a text that
 * is not UTF-8. EXHAUSTED: more memory than allowed. */
reid_status reid_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t size, uint64_t limit_bytes, ProtobufCMessage **ret_message,
                            reid_error *err);

#endif
