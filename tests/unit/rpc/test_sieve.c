/* What a client sends, in pieces of any size: only resets of streams that were never begun are
 * missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "raw.h"
#include "rpc/sieve.h"

enum { BYTES = 2000 };

typedef struct stream_of_bytes {
    uint8_t sent[BYTES], passed[BYTES];
    size_t sent_bytes, passed_bytes;
    unsigned left_out;
} stream_of_bytes;

static void put(stream_of_bytes *s, bool passes, uint8_t type, uint32_t stream, size_t size)
{
    uint8_t payload[300], frame[400];
    memset(payload, NGHTTP2_RST_STREAM, sizeof payload);
    size_t n = raw_make_frame(frame, type, 0, stream, payload, size);
    memcpy(s->sent + s->sent_bytes, frame, n);
    s->sent_bytes += n;
    if (passes) {
        memcpy(s->passed + s->passed_bytes, frame, n);
        s->passed_bytes += n;
    }
    s->left_out += !passes;
}

static void fill(stream_of_bytes *s)
{
    memcpy(s->sent, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    memcpy(s->passed, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    s->sent_bytes = s->passed_bytes = NGHTTP2_CLIENT_MAGIC_LEN;
    put(s, true, NGHTTP2_SETTINGS, 0, 0);
    put(s, false, NGHTTP2_RST_STREAM, 1, 4);
    put(s, true, NGHTTP2_HEADERS, 5, 200);
    put(s, true, NGHTTP2_RST_STREAM, 5, 4);
    put(s, true, NGHTTP2_RST_STREAM, 1, 4);
    put(s, false, NGHTTP2_RST_STREAM, 7, 4);
    put(s, false, NGHTTP2_RST_STREAM, 0x7fffffff, 4);
    put(s, true, NGHTTP2_DATA, 5, 300);
    put(s, true, NGHTTP2_HEADERS, 7, 1);
    put(s, true, NGHTTP2_HEADERS, 3, 1); /* wrong: the session says so */
    put(s, true, NGHTTP2_RST_STREAM, 7, 4);
    put(s, true, NGHTTP2_RST_STREAM, 9, 5); /* so are these */
    put(s, true, NGHTTP2_RST_STREAM, 9, 3);
    put(s, true, NGHTTP2_RST_STREAM, 8, 4);
    put(s, true, NGHTTP2_RST_STREAM, 0, 4);
    put(s, true, NGHTTP2_DATA, 9, 0);
    put(s, false, NGHTTP2_RST_STREAM, 9, 4);
}

static void only_empty_resets_are_left_out(void **state)
{
    stream_of_bytes s = {0};
    fill(&s);
    for (size_t piece = 1; piece <= s.sent_bytes; piece++) {
        reid_rpc_sieve sieve;
        reid_rpc_sieve_init(&sieve);
        uint8_t got[BYTES];
        size_t got_bytes = 0, n;
        for (size_t at = 0; at < s.sent_bytes; at += piece) {
            const uint8_t *bytes = s.sent + at, *run;
            size_t size = s.sent_bytes - at < piece ? s.sent_bytes - at : piece;
            while ((n = reid_rpc_sieve_next(&sieve, &bytes, &size, &run)) > 0) {
                assert_in_range(n, 1, BYTES - got_bytes);
                memcpy(got + got_bytes, run, n);
                got_bytes += n;
            }
            assert_int_equal(size, 0);
        }
        assert_int_equal(got_bytes, s.passed_bytes);
        assert_memory_equal(got, s.passed, got_bytes);
        assert_int_equal(sieve.left_out, s.left_out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_empty_resets_are_left_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
