#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "events/event_storage.h"
#include "harness/harness.h"

static void put(reid_event_storage *storage, const char *name, double value, bool hint)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_storage_put_scalar(storage, name, value, hint, &err), &err);
}

static void put_steps(reid_event_storage *storage, int first, int end)
{
    for (int i = first; i < end; i++) {
        reid_event_storage_set_iter(storage, i);
        reid_event_storage_set_epoch(storage, i / 10);
        put(storage, "total_loss", 1.0 / (i + 3), true);
        if (i % 3 == 0)
            put(storage, "lr", 3.5e-4 * i, false);
    }
}

static void assert_same(const reid_event_storage *a, const reid_event_storage *b)
{
    reid_str x = REID_STR_INIT, y = REID_STR_INIT;
    reid_event_storage_save(a, &x);
    reid_event_storage_save(b, &y);
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
    reid_str_fini(&x);
    reid_str_fini(&y);
}

/* Stopped in the middle of an epoch, restored, and gone on: the same as never stopped. */
static void a_restored_storage_goes_on_alike(void **state)
{
    reid_event_storage *whole = reid_event_storage_new(0);
    reid_event_storage *first = reid_event_storage_new(0);
    reid_event_storage *second = reid_event_storage_new(99);
    put(second, "to be replaced", 1, true);
    put_steps(whole, 0, 500);
    put_steps(first, 0, 137);
    reid_str saved = REID_STR_INIT;
    reid_error err = {0};
    reid_event_storage_save(first, &saved);
    reid_assert_ok(reid_event_storage_load(second, saved.data, saved.length, &err), &err);
    assert_int_equal(reid_event_storage_iter(second), 136);
    assert_int_equal(reid_event_storage_epoch(second), 13);
    assert_same(first, second);
    put_steps(second, 137, 500);
    assert_same(whole, second);
    const reid_history *a = reid_event_storage_history(whole, "total_loss");
    const reid_history *b = reid_event_storage_history(second, "total_loss");
    assert_true(a->global_avg == b->global_avg);
    assert_true(reid_history_median(a, 450) == reid_history_median(b, 450));
    reid_str_fini(&saved);
    reid_event_storage_free(whole);
    reid_event_storage_free(first);
    reid_event_storage_free(second);
}

static void bits_survive(void **state)
{
    const uint64_t patterns[] = {0x8000000000000000u, 0x0000000000000001u, 0x7FF0000000000000u,
                                 0xFFF8000000000123u, 0x3FB999999999999Au};
    reid_event_storage *storage = reid_event_storage_new(INT64_MAX - 1);
    for (size_t i = 0; i < 5; i++) {
        double value;
        memcpy(&value, &patterns[i], sizeof value);
        put(storage, "x", value, true);
    }
    reid_str saved = REID_STR_INIT;
    reid_event_storage_save(storage, &saved);
    reid_event_storage *copy = reid_event_storage_new(0);
    assert_int_equal(reid_event_storage_load(copy, saved.data, saved.length, NULL), REID_OK);
    const reid_history *history = reid_event_storage_history(copy, "x");
    for (size_t i = 0; i < 5; i++) {
        double value = reid_history_at(history, i).value;
        assert_memory_equal(&value, &patterns[i], sizeof value);
    }
    assert_int_equal(reid_event_storage_iter(copy), INT64_MAX - 1);
    reid_str_fini(&saved);
    reid_event_storage_free(storage);
    reid_event_storage_free(copy);
}

/* Appends behind what the caller has there already. */
static void saving_appends(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(5);
    put_steps(storage, 0, 20);
    reid_str saved = REID_STR_INIT;
    reid_str_add(&saved, "header");
    reid_event_storage_save(storage, &saved);
    reid_event_storage *copy = reid_event_storage_new(0);
    assert_int_equal(reid_event_storage_load(copy, saved.data + 6, saved.length - 6, NULL),
                     REID_OK);
    assert_same(storage, copy);
    reid_str_fini(&saved);
    reid_event_storage_free(storage);
    reid_event_storage_free(copy);
}

static void damage_is_found_and_changes_nothing(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    put_steps(storage, 0, 25);
    reid_str saved = REID_STR_INIT;
    reid_event_storage_save(storage, &saved);
    for (size_t i = 0; i < saved.length; i++) {
        reid_error err = {0};
        assert_int_equal(reid_event_storage_load(storage, saved.data, i, &err), REID_ERR_CORRUPT);
        assert_true(err.text[0] != '\0');
        saved.data[i] ^= 0x10;
        assert_int_equal(reid_event_storage_load(storage, saved.data, saved.length, NULL),
                         REID_ERR_CORRUPT);
        saved.data[i] ^= 0x10;
    }
    reid_event_storage *copy = reid_event_storage_new(0);
    assert_int_equal(reid_event_storage_load(copy, saved.data, saved.length, NULL), REID_OK);
    assert_same(storage, copy);
    reid_str_fini(&saved);
    reid_event_storage_free(storage);
    reid_event_storage_free(copy);
}

static void seal(char *data, size_t size)
{
    uint32_t crc = reid_crc32c(data, size - 4);
    for (int i = 0; i < 4; i++)
        data[size - 4 + i] = (char)(crc >> (8 * i));
}

static void a_newer_version_is_named(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    reid_str saved = REID_STR_INIT;
    reid_event_storage_save(storage, &saved);
    saved.data[8] = 9;
    seal(saved.data, saved.length);
    reid_error err = {0};
    assert_int_equal(reid_event_storage_load(storage, saved.data, saved.length, &err),
                     REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "version 9"));
    reid_str_fini(&saved);
    reid_event_storage_free(storage);
}

/* Any content under a good checksum is either loaded or refused, within its bytes. */
static void hostile_bytes_do_no_harm(void **state)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    put_steps(storage, 0, 12);
    reid_str saved = REID_STR_INIT;
    reid_event_storage_save(storage, &saved);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    char *copy = malloc(saved.length);
    int refused = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, saved.data, saved.length);
        for (uint32_t n = 1 + reid_rng_below(&rng, 3); n > 0; n--)
            copy[12 + reid_rng_below(&rng, (uint32_t)saved.length - 16)] =
                (char)reid_rng_below(&rng, 256);
        seal(copy, saved.length);
        refused += reid_event_storage_load(storage, copy, saved.length, NULL) != REID_OK;
    }
    assert_true(refused > 1000);
    free(copy);
    reid_str_fini(&saved);
    reid_event_storage_free(storage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_storage_goes_on_alike),
        cmocka_unit_test(bits_survive),
        cmocka_unit_test(saving_appends),
        cmocka_unit_test(damage_is_found_and_changes_nothing),
        cmocka_unit_test(a_newer_version_is_named),
        cmocka_unit_test(hostile_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
