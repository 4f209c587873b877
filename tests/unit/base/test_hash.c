#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/hash.h"

/* "123456789" is the check value of the CRC catalogue, the others come from RFC 3720, appendix B.4.
 */
static void crc32c_matches_published_values(void **state)
{
    unsigned char bytes[32] = {0};
    assert_int_equal(reid_crc32c("123456789", 9), 0xE3069283);
    assert_int_equal(reid_crc32c("", 0), 0);
    assert_int_equal(reid_crc32c(bytes, 32), 0x8A9136AA);
    memset(bytes, 0xFF, 32);
    assert_int_equal(reid_crc32c(bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(reid_crc32c(bytes, 32), 0x46DD794E);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(reid_crc32c(bytes, 32), 0x113FDB5C);
}

/* Bit by bit from the definition, at every length and alignment. */
static void crc32c_matches_its_definition(void **state)
{
    unsigned char bytes[80];
    for (int i = 0; i < 80; i++)
        bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t start = 0; start < 8; start++) {
        uint32_t crc = ~0u;
        for (size_t length = 0; length < 70; length++) {
            assert_int_equal(reid_crc32c(bytes + start, length), ~crc);
            crc ^= bytes[start + length];
            for (int bit = 0; bit < 8; bit++)
                crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
        }
    }
}

/* Values of the reference implementation's command-line tool. */
static void hash64_is_xxh3(void **state)
{
    assert_true(reid_hash64("", 0, 0) == 0x2D06800538D394C2);
    assert_true(reid_hash64("a", 1, 0) == 0xE6C632B61E964E1F);
    assert_true(reid_hash64("abc", 3, 0) == 0x78AF5F94892F3950);
    assert_true(reid_hash64("abc", 3, 1) != 0x78AF5F94892F3950);
}

static void parts_hash_like_the_whole(void **state)
{
    char text[1000];
    for (int i = 0; i < 1000; i++)
        text[i] = (char)(i * 7);
    reid_hash_state *hash = reid_hash_new();
    assert_true(reid_hash_digest(hash) == reid_hash64("", 0, 0));
    reid_hash_update(hash, NULL, 0);
    for (size_t start = 0, size = 1; start < 1000; start += size, size = size * 2 % 1001) {
        if (size > 1000 - start)
            size = 1000 - start;
        reid_hash_update(hash, text + start, size);
    }
    assert_true(reid_hash_digest(hash) == reid_hash64(text, 1000, 0));
    reid_hash_free(hash);
    reid_hash_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_matches_published_values),
        cmocka_unit_test(crc32c_matches_its_definition),
        cmocka_unit_test(hash64_is_xxh3),
        cmocka_unit_test(parts_hash_like_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
