/* The FileDescriptorSet of every .proto of the project, as protoc writes it; for gRPC reflection.
 */
#ifndef REID_PROTO_DESCRIPTORS_H
#define REID_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t reid_proto_descriptors[];
extern const uint8_t reid_proto_descriptors_end[];

#endif
