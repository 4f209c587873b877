#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "harness/harness.h"

/* Random123's published known answers (tests/kat_vectors, philox4x32 with 10 rounds). */
static void philox_matches_the_published_vectors(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } CASES[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_rng rng = {.used = 4};
        for (int j = 0; j < 4; j++)
            rng.counter[j] = CASES[i].counter[j];
        rng.key[0] = CASES[i].key[0];
        rng.key[1] = CASES[i].key[1];
        for (int j = 0; j < 4; j++)
            assert_int_equal(reid_rng_u32(&rng), CASES[i].expected[j]);
    }
}

static void the_counter_carries_and_wraps(void **state)
{
    reid_rng carried = {.counter = {0xffffffff, 0, 0, 0}, .used = 4};
    reid_rng direct = {.counter = {0, 1, 0, 0}, .used = 4};
    for (int j = 0; j < 4; j++)
        reid_rng_u32(&carried);
    for (int j = 0; j < 4; j++)
        assert_int_equal(reid_rng_u32(&carried), reid_rng_u32(&direct));
    reid_rng wrapped = {.counter = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, .used = 4};
    for (int j = 0; j < 4; j++)
        reid_rng_u32(&wrapped);
    assert_int_equal(reid_rng_u32(&wrapped), 0x6627e8d5);
}

/* Many words at a time, from anywhere in a block, also where the first counter word wraps. */
static void words_in_bulk_are_those_one_by_one(void **state)
{
    static const uint32_t STARTS[] = {0, 5, UINT32_MAX - 40, UINT32_MAX - 15, UINT32_MAX};
    static const size_t COUNTS[] = {0, 1, 63, 64, 65, 257, 1024};
    uint32_t words[1024];
    for (size_t s = 0; s < REID_COUNT_OF(STARTS); s++)
        for (size_t c = 0; c < REID_COUNT_OF(COUNTS); c++)
            for (size_t taken = 0; taken < 5; taken++) {
                reid_rng bulk = reid_rng_stream(77, REID_RNG_TEST, 3, 9);
                reid_rng single = bulk;
                reid_rng_skip(&bulk, STARTS[s]);
                single.counter[0] = STARTS[s];
                for (size_t i = 0; i < taken; i++)
                    assert_int_equal(reid_rng_u32(&bulk), reid_rng_u32(&single));
                reid_rng_fill_u32(&bulk, words, COUNTS[c]);
                for (size_t i = 0; i < COUNTS[c]; i++)
                    assert_int_equal(words[i], reid_rng_u32(&single));
                assert_int_equal(reid_rng_u32(&bulk), reid_rng_u32(&single));
            }
}

static void a_stream_depends_on_each_part_of_its_name(void **state)
{
    reid_rng streams[] = {
        reid_rng_stream(1, REID_RNG_INIT, 2, 3),
        reid_rng_stream(2, REID_RNG_INIT, 2, 3),
        reid_rng_stream(1, REID_RNG_SAMPLER, 2, 3),
        reid_rng_stream(1, REID_RNG_INIT, 3, 3),
        reid_rng_stream(1, REID_RNG_INIT, 2, 4),
        reid_rng_stream(1ull << 32 | 1, REID_RNG_INIT, 2, 3),
        reid_rng_stream(1, REID_RNG_INIT, 1ull << 40 | 2, 3),
    };
    uint64_t first[REID_COUNT_OF(streams)];
    for (size_t i = 0; i < REID_COUNT_OF(streams); i++) {
        first[i] = reid_rng_u64(&streams[i]);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(first[i], first[j]);
    }
    reid_rng again = reid_rng_stream(1, REID_RNG_INIT, 2, 3);
    assert_int_equal(reid_rng_u64(&again), first[0]);
}

/* Tolerances are over five standard errors of the sample. */
static void uniform_and_normal_have_their_moments(void **state)
{
    enum { COUNT = 100000 };
    reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, 0, 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        double u = reid_rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
    }
    reid_assert_close(sum / COUNT, 0.5, 0, 0.005);
    reid_assert_close(squares / COUNT, 1.0 / 3, 0, 0.005);
    double moments[4] = {0};
    int beyond = 0;
    for (int i = 0; i < COUNT; i++) {
        double z = reid_rng_normal(&rng);
        for (int k = 0; k < 4; k++)
            moments[k] += pow(z, k + 1) / COUNT;
        beyond += fabs(z) > 1.959963985;
    }
    reid_assert_close(moments[0], 0, 0, 0.016);
    reid_assert_close(moments[1], 1, 0, 0.025);
    reid_assert_close(moments[2], 0, 0, 0.065);
    reid_assert_close(moments[3], 3, 0, 0.16);
    reid_assert_close((double)beyond / COUNT, 0.05, 0, 0.004);
}

static void range_stays_inside(void **state)
{
    reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, 1, 0);
    for (int i = 0; i < 1000; i++) {
        double x = reid_rng_range(&rng, -2, 3);
        assert_true(x >= -2 && x < 3);
    }
}

static void below_is_even_and_bounded(void **state)
{
    reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, 2, 0);
    int seen[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint32_t face = reid_rng_below(&rng, 6);
        assert_true(face < 6);
        seen[face]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(seen[i], 9500, 10500);
    assert_int_equal(reid_rng_below(&rng, 1), 0);
    /* A modulo would give the low half of this range twice as often as the high half. */
    int low = 0;
    for (int i = 0; i < 20000; i++)
        low += reid_rng_below(&rng, 3u << 30) < 1u << 30;
    assert_in_range(low, 6333, 7000);
}

static void shuffle_is_a_permutation_and_even(void **state)
{
    reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, 3, 0);
    int seen[6] = {0};
    for (int i = 0; i < 12000; i++) {
        uint32_t items[3] = {0, 1, 2};
        reid_rng_shuffle_u32(&rng, items, 3);
        assert_int_equal(items[0] + items[1] + items[2], 3);
        assert_int_equal(1u << items[0] | 1u << items[1] | 1u << items[2], 7);
        seen[items[0] * 2 + (items[1] > items[2])]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(seen[i], 1780, 2220);
    reid_rng_shuffle_u32(&rng, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_matches_the_published_vectors),
        cmocka_unit_test(the_counter_carries_and_wraps),
        cmocka_unit_test(words_in_bulk_are_those_one_by_one),
        cmocka_unit_test(a_stream_depends_on_each_part_of_its_name),
        cmocka_unit_test(uniform_and_normal_have_their_moments),
        cmocka_unit_test(range_stays_inside),
        cmocka_unit_test(below_is_even_and_bounded),
        cmocka_unit_test(shuffle_is_a_permutation_and_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
