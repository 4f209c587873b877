#include "rpc/sieve.h"

#include <stdbool.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/compiler.h"

enum { RESET_BYTES = 4 };

void reid_rpc_sieve_init(reid_rpc_sieve *sieve)
{
    *sieve = (reid_rpc_sieve){.pass = NGHTTP2_CLIENT_MAGIC_LEN};
}

/* Takes at most `most` bytes. */
static size_t take(const uint8_t **bytes, size_t *size, size_t most)
{
    size_t n = REID_MIN(*size, most);
    *bytes += n;
    *size -= n;
    return n;
}

/* A header is complete; false when its frame is left out. */
static bool judge(reid_rpc_sieve *sieve)
{
    const uint8_t *h = sieve->header;
    uint32_t length = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
    uint32_t stream =
        (uint32_t)(h[5] & 0x7f) << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | (uint32_t)h[8];
    sieve->header_bytes = 0;
    if (h[3] == NGHTTP2_RST_STREAM && length == RESET_BYTES && stream % 2 == 1 &&
        stream > sieve->highest) {
        sieve->skip = length;
        sieve->left_out++;
        return false;
    }
    if (h[3] == NGHTTP2_HEADERS)
        sieve->highest = REID_MAX(sieve->highest, stream);
    sieve->pass = length;
    return true;
}

size_t reid_rpc_sieve_next(reid_rpc_sieve *sieve, const uint8_t **bytes, size_t *size,
                           const uint8_t **ret_run)
{
    while (*size > 0) {
        const uint8_t *from = *bytes;
        if (sieve->pass > 0) {
            size_t n = take(bytes, size, sieve->pass);
            sieve->pass -= (uint32_t)n;
            *ret_run = from;
            return n;
        }
        if (sieve->skip > 0) {
            sieve->skip -= (uint32_t)take(bytes, size, sieve->skip);
            continue;
        }
        size_t n = take(bytes, size, sizeof sieve->header - sieve->header_bytes);
        memcpy(sieve->header + sieve->header_bytes, from, n);
        sieve->header_bytes += (uint8_t)n;
        if (sieve->header_bytes == sizeof sieve->header && judge(sieve)) {
            *ret_run = sieve->header;
            return sizeof sieve->header;
        }
    }
    return 0;
}
