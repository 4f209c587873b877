/* What a client sends, less resets of streams that it has never begun.
 *
 * RFC 9113 (5.1) makes such a reset the end of the whole connection, and nghttp2 does so. But the
 * gRPC core library sends one when a call is cancelled between being numbered and being written, so
 * that one impatient call would cost its process all others. Such a reset means nothing and is left
 * out; everything else passes as it is, wrong or not.
 *
 * Give it all bytes from the connection's first on, and take out what passes, in runs:
 *
 *     const uint8_t *run;
 *     size_t n;
 *     while ((n = reid_rpc_sieve_next(&sieve, &bytes, &size, &run)) > 0)
 *         … n bytes at run, valid until the next call
 */
#ifndef REID_RPC_SIEVE_H
#define REID_RPC_SIEVE_H

#include <stddef.h>
#include <stdint.h>

enum { REID_RPC_FRAME_HEADER_BYTES = 9 };

typedef struct reid_rpc_sieve {
    uint8_t header[REID_RPC_FRAME_HEADER_BYTES];
    uint8_t header_bytes; /* of the next frame, so far */
    uint32_t pass, skip;  /* bytes that are still to be passed on, or left out */
    uint32_t highest;     /* stream that was begun */
    unsigned left_out;    /* resets since the owner has set it to 0 */
} reid_rpc_sieve;

void reid_rpc_sieve_init(reid_rpc_sieve *sieve);

/* The next run, or 0 when all of *bytes is used up. */
size_t reid_rpc_sieve_next(reid_rpc_sieve *sieve, const uint8_t **bytes, size_t *size,
                           const uint8_t **ret_run);

#endif
