/* What happens when the disk fails or is slow. /dev/full refuses every write with ENOSPC; a FIFO
 * that nobody reads takes 64 KiB and then blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "events/async_file.h"
#include "events/writer.h"
#include "harness/harness.h"

static reid_event_storage *storage_with_one(void)
{
    reid_event_storage *storage = reid_event_storage_new(0);
    assert_int_equal(reid_event_storage_put_scalar(storage, "a", 1, false, NULL), REID_OK);
    return storage;
}

static void a_full_disk_switches_the_writer_off(void **state)
{
    reid_event_writer *writer;
    reid_error err = {0};
    reid_assert_ok(reid_json_writer_open("/dev/full", &writer, &err), &err);
    reid_event_storage *storage = storage_with_one();
    assert_int_equal(reid_event_writer_write(writer, storage, &err), REID_OK);
    assert_int_equal(reid_event_writer_flush(writer, &err), REID_OK);
    assert_true(writer->disabled);
    assert_int_equal(err.code, REID_OK);
    assert_int_equal(reid_event_writer_write(writer, storage, &err), REID_OK);
    assert_int_equal(reid_event_writer_close(writer, &err), REID_OK);
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
}

static void a_strict_writer_reports(void **state)
{
    reid_event_writer *writer;
    reid_error err = {0};
    reid_assert_ok(reid_json_writer_open("/dev/full", &writer, &err), &err);
    writer->strict = true;
    reid_event_storage *storage = storage_with_one();
    reid_assert_ok(reid_event_writer_write(writer, storage, &err), &err);
    assert_int_equal(reid_event_writer_close(writer, &err), REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "cannot write '/dev/full': No space left on device");
    reid_event_storage_free(storage);
    reid_event_writer_free(writer);
}

static void a_failed_file_says_so_to_the_next_write(void **state)
{
    reid_async_file *file;
    reid_error err = {0};
    reid_assert_ok(reid_async_file_open("/dev/full", false, &file, &err), &err);
    reid_assert_ok(reid_async_file_write(file, "x", 1, &err), &err);
    assert_int_equal(reid_async_file_flush(file, NULL), REID_ERR_EXHAUSTED);
    assert_int_equal(reid_async_file_write(file, "x", 1, &err), REID_ERR_EXHAUSTED);
    assert_non_null(strstr(err.text, "/dev/full"));
    assert_int_equal(reid_async_file_close(file, NULL), REID_ERR_EXHAUSTED);
}

/* The disk takes half a line: the file ends with the last whole one. */
static void a_torn_write_is_cut_back(void **state)
{
    char *folder = reid_test_dir_new();
    char *path = reid_path_join(folder, "metrics.json");
    reid_async_file *file;
    reid_error err = {0};
    reid_assert_ok(reid_async_file_open(path, true, &file, &err), &err);
    reid_assert_ok(reid_async_file_write(file, "whole\n", 6, &err), &err);
    reid_assert_ok(reid_async_file_flush(file, &err), &err);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, old.rlim_max}), 0);
    reid_assert_ok(reid_async_file_write(file, "more than fits\n", 15, &err), &err);
    reid_status status = reid_async_file_flush(file, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, REID_ERR_IO);
    assert_non_null(strstr(err.text, path));
    reid_async_file_close(file, NULL);
    char *text = reid_test_read_text(path);
    assert_string_equal(text, "whole\n");
    free(text);
    free(path);
    reid_test_dir_free(folder);
}

typedef struct slow_file {
    char *folder;
    char *path;
    int reader;
    reid_async_file *file;
} slow_file;

static slow_file slow_file_new(void)
{
    slow_file slow = {.folder = reid_test_dir_new()};
    slow.path = reid_path_join(slow.folder, "fifo");
    assert_int_equal(mkfifo(slow.path, 0600), 0);
    slow.reader = open(slow.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(slow.reader >= 0);
    reid_error err = {0};
    reid_assert_ok(reid_async_file_open(slow.path, false, &slow.file, &err), &err);
    return slow;
}

/* Reads until `wanted` bytes are there; each must be `byte`. */
static void drain(const slow_file *slow, size_t wanted, char byte)
{
    assert_int_equal(fcntl(slow->reader, F_SETFL, 0), 0);
    static char buffer[1 << 16];
    while (wanted > 0) {
        ssize_t got = read(slow->reader, buffer, sizeof buffer);
        assert_true(got > 0 && (size_t)got <= wanted);
        for (ssize_t i = 0; i < got; i++)
            assert_true(buffer[i] == byte);
        wanted -= (size_t)got;
    }
}

static void slow_file_free(slow_file *slow)
{
    close(slow->reader);
    reid_test_dir_free(slow->folder);
    free(slow->path);
}

/* If a write waited for the disk, this test would never end. */
static void a_slow_disk_does_not_block(void **state)
{
    slow_file slow = slow_file_new();
    static char block[100000];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 20; i++)
        assert_int_equal(reid_async_file_write(slow.file, block, sizeof block, NULL), REID_OK);
    drain(&slow, 20 * sizeof block, 'x');
    assert_int_equal(reid_async_file_close(slow.file, NULL), REID_OK);
    slow_file_free(&slow);
}

static void the_queue_is_bounded(void **state)
{
    slow_file slow = slow_file_new();
    size_t size = 16 << 20;
    char *block = malloc(size);
    memset(block, 'y', size);
    size_t accepted = 0;
    reid_error err = {0};
    while (accepted < 20 && reid_async_file_write(slow.file, block, size, &err) == REID_OK)
        accepted++;
    assert_in_range(accepted, 4, 8); /* the queue holds four, the thread may have taken as many */
    assert_int_equal(err.code, REID_ERR_EXHAUSTED);
    assert_non_null(strstr(err.text, slow.path));
    drain(&slow, accepted * size, 'y');
    assert_int_equal(reid_async_file_close(slow.file, NULL), REID_OK);
    free(block);
    slow_file_free(&slow);
}

/* ---- a writer of one's own ---- */

typedef struct counting_writer {
    reid_event_writer base;
    int writes, closes;
    reid_status answer;
} counting_writer;

static reid_status counting_write(reid_event_writer *writer, reid_event_storage *storage,
                                  reid_error *err)
{
    counting_writer *counting = (counting_writer *)writer;
    counting->writes++;
    return counting->answer ? reid_fail(err, counting->answer, "'/some/file' broke") : REID_OK;
}

static reid_status counting_close(reid_event_writer *writer, reid_error *err)
{
    ((counting_writer *)writer)->closes++;
    return REID_OK;
}

static void counting_free(reid_event_writer *writer)
{
}

static const reid_event_writer_impl COUNTING = {
    .name = "counting", .write = counting_write, .close = counting_close, .free = counting_free};

static void a_writer_fails_once(void **state)
{
    counting_writer writer = {.base.impl = &COUNTING};
    reid_event_storage *storage = reid_event_storage_new(0);
    assert_int_equal(reid_event_writer_write(&writer.base, storage, NULL), REID_OK);
    writer.answer = REID_ERR_IO;
    assert_int_equal(reid_event_writer_write(&writer.base, storage, NULL), REID_OK);
    assert_int_equal(reid_event_writer_write(&writer.base, storage, NULL), REID_OK);
    assert_int_equal(writer.writes, 2);
    assert_int_equal(reid_event_writer_close(&writer.base, NULL), REID_OK);
    assert_int_equal(writer.closes, 0);
    reid_event_storage_free(storage);
    reid_event_writer_free(&writer.base);
    reid_event_writer_free(NULL);
}

static void a_writer_is_closed_once(void **state)
{
    counting_writer writer = {.base.impl = &COUNTING};
    assert_int_equal(reid_event_writer_flush(&writer.base, NULL), REID_OK);
    assert_int_equal(reid_event_writer_close(&writer.base, NULL), REID_OK);
    assert_int_equal(reid_event_writer_close(&writer.base, NULL), REID_OK);
    assert_int_equal(writer.closes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_switches_the_writer_off),
        cmocka_unit_test(a_strict_writer_reports),
        cmocka_unit_test(a_failed_file_says_so_to_the_next_write),
        cmocka_unit_test(a_torn_write_is_cut_back),
        cmocka_unit_test(a_slow_disk_does_not_block),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(a_writer_fails_once),
        cmocka_unit_test(a_writer_is_closed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
