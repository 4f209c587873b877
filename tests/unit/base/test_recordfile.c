#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/recordfile.h"

static char folder[] = "/tmp/reid-recordfile-XXXXXX";
static char *path;

static int setup(void **state)
{
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (mkdtemp(folder) == NULL)
        return -1;
    path = reid_path_join(folder, "rows");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(path);
    return reid_remove_tree(folder, NULL) == REID_OK ? 0 : -1;
}

static void append(const char *text)
{
    reid_record_file *file = NULL;
    assert_int_equal(reid_record_file_append_open(path, &file, NULL), REID_OK);
    assert_int_equal(reid_record_file_append(file, text, strlen(text), NULL), REID_OK);
    reid_record_file_free(file);
}

static void expect_next(reid_record_file *file, const char *text)
{
    const uint8_t *data = NULL;
    size_t size = 0;
    assert_int_equal(reid_record_file_next(file, &data, &size, NULL), REID_OK);
    if (text == NULL) {
        assert_null(data);
        return;
    }
    assert_non_null(data);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
}

static void test_reader_follows_writer(void **state)
{
    (void)state;
    reid_record_file *reader = NULL;
    assert_int_equal(reid_record_file_read_open(path, &reader, NULL), REID_ERR_NOT_FOUND);
    append("one");
    assert_int_equal(reid_record_file_read_open(path, &reader, NULL), REID_OK);
    expect_next(reader, "one");
    expect_next(reader, NULL);
    append("");
    append("three");
    expect_next(reader, "");
    expect_next(reader, "three");
    expect_next(reader, NULL);
    reid_record_file_rewind(reader);
    expect_next(reader, "one");
    reid_record_file_free(reader);
}

static void test_torn_tail_is_cut_off(void **state)
{
    (void)state;
    append("whole");
    append("torn record");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 3), 0);
    reid_record_file *reader = NULL;
    assert_int_equal(reid_record_file_read_open(path, &reader, NULL), REID_OK);
    expect_next(reader, "whole");
    expect_next(reader, NULL);
    append("next");
    expect_next(reader, "next");
    reid_record_file_free(reader);
}

static void test_absurd_length_is_refused(void **state)
{
    (void)state;
    const uint8_t head[8] = {0xff, 0xff, 0xff, 0x7f};
    assert_int_equal(reid_file_write_atomic(path, head, sizeof head, NULL), REID_OK);
    reid_record_file *reader = NULL;
    const uint8_t *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    assert_int_equal(reid_record_file_read_open(path, &reader, NULL), REID_OK);
    assert_int_equal(reid_record_file_next(reader, &data, &size, &err), REID_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "rows"));
    reid_record_file_free(reader);
}

/* What a full disk has taken half of is cut off again, and the next record can be read. */
static void test_full_disk(void **state)
{
    (void)state;
    struct rlimit limit, small;
    reid_record_file *file = NULL, *reader = NULL;
    char long_text[200] = "";
    memset(long_text, 'x', sizeof long_text - 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){.rlim_cur = 100, .rlim_max = limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(reid_record_file_append_open(path, &file, NULL), REID_OK);
    assert_int_equal(reid_record_file_append(file, "one", 3, NULL), REID_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    reid_status status = reid_record_file_append(file, long_text, strlen(long_text), NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_not_equal(status, REID_OK);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 11);
    assert_int_equal(reid_record_file_append(file, long_text, strlen(long_text), NULL), REID_OK);
    reid_record_file_free(file);
    assert_int_equal(reid_record_file_read_open(path, &reader, NULL), REID_OK);
    expect_next(reader, "one");
    expect_next(reader, long_text);
    expect_next(reader, NULL);
    reid_record_file_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reader_follows_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_tail_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_absurd_length_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
