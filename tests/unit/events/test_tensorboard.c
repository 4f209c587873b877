#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "events/writer.h"
#include "harness/harness.h"

/* ---- a reader of its own: bit-by-bit checksum, generic protobuf fields ---- */

static uint32_t crc32c(const unsigned char *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

static uint32_t masked(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little_endian(const unsigned char *data, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)data[i] << (8 * i);
    return value;
}

typedef struct field {
    unsigned number, wire;
    uint64_t value; /* of varint, fixed32 and fixed64 */
    const unsigned char *data;
    size_t size;
} field;

static uint64_t varint(const unsigned char **p)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(**p & 0x7F) << shift;
        if (!(*(*p)++ & 0x80))
            return value;
    }
}

static field next_field(const unsigned char **p, const unsigned char *end)
{
    uint64_t key = varint(p);
    field f = {.number = (unsigned)(key >> 3), .wire = key & 7};
    if (f.wire == 0) {
        f.value = varint(p);
    } else if (f.wire == 2) {
        f.size = (size_t)varint(p);
        f.data = *p;
        *p += f.size;
    } else {
        assert_true(f.wire == 1 || f.wire == 5);
        int bytes = f.wire == 1 ? 8 : 4;
        f.value = little_endian(*p, bytes);
        *p += bytes;
    }
    assert_true(*p <= end);
    return f;
}

/* "tag=value" */
static void read_value(const field *value, reid_str *out)
{
    const unsigned char *p = value->data, *end = p + value->size;
    while (p < end) {
        field f = next_field(&p, end);
        if (f.number == 1 && f.wire == 2) {
            reid_str_addf(out, " %.*s", (int)f.size, (const char *)f.data);
        } else {
            assert_true(f.number == 2 && f.wire == 5);
            uint32_t bits = (uint32_t)f.value;
            float number;
            memcpy(&number, &bits, sizeof number);
            reid_str_addf(out, "=%.9g", (double)number);
        }
    }
}

static void read_event(const unsigned char *p, size_t size, reid_str *out)
{
    const unsigned char *end = p + size;
    while (p < end) {
        field f = next_field(&p, end);
        if (f.number == 1) {
            assert_int_equal(f.wire, 1);
            double wall;
            memcpy(&wall, &f.value, sizeof wall);
            double now = (double)reid_clock_wall_ms() * 1e-3;
            assert_true(wall > now - 100 && wall < now + 100);
        } else if (f.number == 2) {
            assert_int_equal(f.wire, 0);
            reid_str_addf(out, "step %lld:", (long long)f.value);
        } else if (f.number == 3) {
            reid_str_addf(out, "version %.*s", (int)f.size, (const char *)f.data);
        } else {
            assert_true(f.number == 5 && f.wire == 2);
            const unsigned char *q = f.data;
            while (q < f.data + f.size) {
                field value = next_field(&q, f.data + f.size);
                assert_true(value.number == 1 && value.wire == 2);
                read_value(&value, out);
            }
        }
    }
    reid_str_add_char(out, '\n');
}

static void read_file(const char *path, reid_str *out)
{
    char *data;
    size_t size;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(path, 1 << 20, &data, &size, &err), &err);
    const unsigned char *p = (const unsigned char *)data, *end = p + size;
    while (p < end) {
        assert_true(end - p >= 12);
        uint64_t length = little_endian(p, 8);
        assert_int_equal(little_endian(p + 8, 4), masked(crc32c(p, 8)));
        p += 12;
        assert_true(length + 4 <= (uint64_t)(end - p));
        read_event(p, (size_t)length, out);
        assert_int_equal(little_endian(p + length, 4), masked(crc32c(p, (size_t)length)));
        p += length + 4;
    }
    free(data);
}

/* ---- tests ---- */

static void put(reid_event_storage *storage, const char *name, double value, bool hint)
{
    reid_error err = {0};
    reid_assert_ok(reid_event_storage_put_scalar(storage, name, value, hint, &err), &err);
}

static char *only_file(const char *folder)
{
    reid_dir_entry *entries;
    size_t count;
    reid_error err = {0};
    reid_assert_ok(reid_dir_list(folder, &entries, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_memory_equal(entries[0].name, "events.out.tfevents.", 20);
    long long seconds = 0;
    assert_int_equal(sscanf(entries[0].name + 20, "%lld.", &seconds), 1);
    assert_true(llabs(seconds - reid_clock_wall_ms() / 1000) < 100);
    char *path = reid_path_join(folder, entries[0].name);
    reid_dir_free(entries, count);
    return path;
}

static void the_file_reads_back(void **state)
{
    char *folder = reid_test_dir_new();
    reid_event_writer *writer;
    reid_error err = {0};
    reid_assert_ok(reid_tensorboard_writer_open(folder, &writer, &err), &err);
    writer->strict = true;
    reid_event_storage *storage = reid_event_storage_new(0);
    for (int i = 0; i < 30; i++) {
        reid_event_storage_set_iter(storage, i);
        put(storage, "total_loss", i, true);
    }
    put(storage, "lr", 0.125, false);
    reid_assert_ok(reid_event_writer_write(writer, storage, &err), &err);
    reid_assert_ok(reid_event_writer_write(writer, storage, &err), &err);
    put(storage, "Market1501/mAP", 86.1f, false); /* the same iteration */
    reid_event_storage_set_iter(storage, 1000000);
    put(storage, "lr", 1e-3f, false);
    reid_assert_ok(reid_event_writer_write(writer, storage, &err), &err);
    reid_assert_ok(reid_event_writer_close(writer, &err), &err);
    char *path = only_file(folder);
    reid_str text = REID_STR_INIT;
    read_file(path, &text);
    assert_string_equal(reid_str_text(&text), "version brain.Event:2\n"
                                              "step 29: lr=0.125 total_loss=19.5\n"
                                              "step 29: Market1501/mAP=86.0999985\n"
                                              "step 1000000: lr=0.00100000005\n");
    reid_str_fini(&text);
    free(path);
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
    reid_test_dir_free(folder);
}

/* The version must be there from the start: readers refuse a file without it. */
static void an_empty_run_has_its_version(void **state)
{
    char *folder = reid_test_dir_new();
    reid_event_writer *writer;
    reid_error err = {0};
    reid_assert_ok(reid_tensorboard_writer_open(folder, &writer, &err), &err);
    reid_assert_ok(reid_event_writer_flush(writer, &err), &err);
    char *path = only_file(folder);
    reid_str text = REID_STR_INIT;
    read_file(path, &text);
    assert_string_equal(reid_str_text(&text), "version brain.Event:2\n");
    reid_str_fini(&text);
    free(path);
    reid_event_writer_free(writer); /* without close */
    reid_test_dir_free(folder);
}

static void two_writers_have_two_files(void **state)
{
    char *folder = reid_test_dir_new();
    reid_event_writer *first, *second;
    reid_error err = {0};
    reid_assert_ok(reid_tensorboard_writer_open(folder, &first, &err), &err);
    reid_assert_ok(reid_tensorboard_writer_open(folder, &second, &err), &err);
    reid_dir_entry *entries;
    size_t count;
    reid_assert_ok(reid_dir_list(folder, &entries, &count, &err), &err);
    assert_int_equal(count, 2);
    reid_dir_free(entries, count);
    reid_event_writer_free(first);
    reid_event_writer_free(second);
    reid_test_dir_free(folder);
}

static void a_missing_folder_is_an_error(void **state)
{
    reid_event_writer *writer = NULL;
    reid_error err = {0};
    assert_int_equal(reid_tensorboard_writer_open("/nonexistent", &writer, &err),
                     REID_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/events.out.tfevents."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_reads_back),
        cmocka_unit_test(an_empty_run_has_its_version),
        cmocka_unit_test(two_writers_have_two_files),
        cmocka_unit_test(a_missing_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
