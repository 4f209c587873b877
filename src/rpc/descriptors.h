/* Reads a serialized FileDescriptorSet (google/protobuf/descriptor.proto): which file defines which
 * symbol, which files it imports, which services there are. The bytes are referred to, not copied.
 * Thread-safe for readers. */
#ifndef REID_RPC_DESCRIPTORS_H
#define REID_RPC_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_rpc_descriptors reid_rpc_descriptors;

/* INVALID when the bytes cannot be read. */
reid_status reid_rpc_descriptors_new(const uint8_t *bytes, size_t size,
                                     reid_rpc_descriptors **ret_descriptors, reid_error *err);
void reid_rpc_descriptors_free(reid_rpc_descriptors *descriptors);

enum { REID_RPC_NO_FILE = -1 };
int reid_rpc_descriptors_find_file(const reid_rpc_descriptors *descriptors, const char *name);
/* Messages, fields, enums, enum values, services, methods, by full name without a leading dot. */
int reid_rpc_descriptors_find_symbol(const reid_rpc_descriptors *descriptors, const char *symbol);
int reid_rpc_descriptors_file_count(const reid_rpc_descriptors *descriptors);
/* The serialized FileDescriptorProto. */
const uint8_t *reid_rpc_descriptors_file(const reid_rpc_descriptors *descriptors, int file,
                                         size_t *ret_size);
/* Index of the k-th import of a file, NO_FILE at the end. */
int reid_rpc_descriptors_import(const reid_rpc_descriptors *descriptors, int file, size_t k);

#endif
