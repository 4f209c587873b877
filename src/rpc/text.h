/* Text forms of gRPC's headers. Thread-safe. */
#ifndef REID_RPC_TEXT_H
#define REID_RPC_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { REID_RPC_SENTENCE_BYTES = 1024 };

/* grpc-message: printable ASCII but '%' stays, other bytes become %XX. At most
 * `sizeof(reid_error.text)` bytes of `text` are taken, whole UTF-8 characters only. The caller
 * frees. */
char *reid_rpc_percent_encode(const char *text);
/* The way back into `buffer` (cut to fit, NUL-terminated); bad escapes stay as they are. */
void reid_rpc_percent_decode(const char *text, size_t length, char *buffer, size_t buffer_bytes);

/* grpc-timeout: up to 8 digits and one of H M S m u n; rounded up to milliseconds. INVALID
 * otherwise. */
reid_status reid_rpc_timeout_parse(const char *text, size_t length, uint64_t *ret_ms);
void reid_rpc_timeout_format(char buffer[16], uint32_t timeout_ms);

#endif
