/* Checksums (not for secrets). */
#ifndef REID_BASE_HASH_H
#define REID_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t reid_hash64(const void *data, size_t size, uint64_t seed); /* XXH3-64 */
uint32_t reid_crc32c(const void *data, size_t size); /* Castagnoli, as TFRecord files use it */

/* Incremental XXH3-64. */
typedef struct reid_hash_state reid_hash_state;
reid_hash_state *reid_hash_new(void);
void reid_hash_update(reid_hash_state *state, const void *data, size_t size);
uint64_t reid_hash_digest(const reid_hash_state *state);
void reid_hash_free(reid_hash_state *state);

#endif
