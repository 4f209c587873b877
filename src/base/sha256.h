/* SHA-256 (FIPS 180-4), for chains that must show tampering. */
#ifndef REID_BASE_SHA256_H
#define REID_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes. */
void reid_sha256(const void *data, size_t size, uint8_t ret_digest[32]);
/* The same as 64 lower-case hexadecimal digits and a NUL. */
void reid_sha256_hex(const void *data, size_t size, char ret_text[65]);

#endif
