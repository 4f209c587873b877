#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "base/rng.h"
#include "nn/arena.h"

static void assert_apart(const reid_arena_buffer *b, size_t count, size_t total)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(b[i].offset % REID_ARENA_ALIGN, 0);
        assert_true(b[i].offset + b[i].bytes <= total);
        for (size_t k = 0; k < i; k++) {
            bool together = false;
            for (int time = 0; time < 60; time++)
                together =
                    together || (reid_arena_alive(&b[i], time) && reid_arena_alive(&b[k], time));
            bool apart =
                b[i].offset + b[i].bytes <= b[k].offset || b[k].offset + b[k].bytes <= b[i].offset;
            assert_true(!together || apart);
        }
    }
}

static void random_lifetimes_never_overlap(void **state)
{
    for (uint32_t round = 0; round < 50; round++) {
        reid_rng rng = reid_rng_stream(3, REID_RNG_TEST, round, 0);
        reid_arena_buffer b[80];
        for (size_t i = 0; i < 80; i++) {
            int first = (int)reid_rng_below(&rng, 40);
            b[i] = (reid_arena_buffer){1 + reid_rng_below(&rng, 100000), first,
                                       first + (int)reid_rng_below(&rng, 12), -1, 0};
            b[i].moment_count = (int)reid_rng_below(&rng, 1 + REID_ARENA_MOMENTS);
            for (int k = 0; k < b[i].moment_count; k++)
                b[i].moments[k] = b[i].last + 1 + 3 * k;
        }
        size_t total = reid_arena_place(b, 80), peak = reid_arena_live_peak(b, 80);
        assert_apart(b, 80, total);
        assert_true(total >= peak && total <= peak + peak / 2);
    }
}

static void a_chain_reuses_two_places(void **state)
{
    reid_arena_buffer b[20];
    for (int i = 0; i < 20; i++)
        b[i] = (reid_arena_buffer){1000, i, i + 1, -1, 0};
    assert_int_equal(reid_arena_place(b, 20), 2 * 1024);
    assert_int_equal(reid_arena_live_peak(b, 20), 2 * 1024);
}

static void a_place_is_free_between_two_lives(void **state)
{
    reid_arena_buffer b[3] = {{.bytes = 1000, .last = 1, .root = -1, .moment_count = 1},
                              {.bytes = 1000, .first = 2, .last = 4, .root = -1},
                              {.bytes = 100, .first = 5, .last = 5, .root = -1}};
    b[0].moments[0] = 5;
    assert_int_equal(reid_arena_place(b, 3), 1024 + 256);
    assert_int_equal(reid_arena_live_peak(b, 3), 1024 + 256);
    assert_int_equal(b[0].offset, b[1].offset);
    assert_int_equal(b[2].offset, 1024);
}

static void a_guest_lies_on_its_host(void **state)
{
    reid_arena_buffer b[3] = {{500, 0, 4, -1, 0}, {700, 0, 4, -1, 0}, {500, 2, 4, 0, 0}};
    assert_int_equal(reid_arena_place(b, 3), 768 + 512);
    assert_int_equal(b[2].offset, b[0].offset);
    assert_int_equal(reid_arena_place(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lifetimes_never_overlap),
        cmocka_unit_test(a_chain_reuses_two_places),
        cmocka_unit_test(a_place_is_free_between_two_lives),
        cmocka_unit_test(a_guest_lies_on_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
