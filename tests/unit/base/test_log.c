#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "harness/harness.h"

/* Standard error is a packet pipe during a test: one read gives what one write(2) put in. */
typedef struct fixture {
    char *folder;
    char *path;
    int read_fd;
    int kept_stderr;
} fixture;

static int set_up(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->path = reid_path_join(f->folder, "log");
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_DIRECT | O_NONBLOCK) != 0)
        return -1;
    f->kept_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    f->read_fd = ends[0];
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_log_options quiet = {.level = REID_LOG_OFF, .rank = -1};
    reid_log_setup(&quiet); /* closes the file */
    dup2(f->kept_stderr, STDERR_FILENO);
    close(f->kept_stderr);
    close(f->read_fd);
    free(f->path);
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

/* What the next write(2) put into standard error, "" when there is none. */
static const char *next_write(fixture *f, char buffer[8192])
{
    ssize_t got = read(f->read_fd, buffer, 8191);
    buffer[got > 0 ? got : 0] = '\0';
    return buffer;
}

static void a_line_is_one_write_of_text(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    assert_true(reid_log_setup(
        &(reid_log_options){.program = "reidd", .rank = -1, .level = REID_LOG_INFO}));
    errno = EBADF;
    reid_log_info("job started id=%s ranks=%d", "j1", 2);
    assert_int_equal(errno, EBADF);
    int day[6], length = 0;
    next_write(f, buffer);
    assert_int_equal(sscanf(buffer, "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &day[0], &day[1], &day[2],
                            &day[3], &day[4], &day[5], &length),
                     6);
    assert_int_equal(length, 20);
    assert_string_equal(buffer + 20, " info reidd: job started id=j1 ranks=2\n");
    assert_string_equal(next_write(f, buffer), "");
}

static void the_journal_gets_the_level_and_the_event(void **state)
{
    fixture *f = *state;
    char buffer[8192], stream[64];
    struct stat st;
    reid_log_options options = {.program = "reidd", .rank = -1, .path = f->path};
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    reid_log_setup(&options);
    reid_log_info("job started id=%s", "j1");
    assert_string_equal(next_write(f, buffer), "<6>job started id=j1\n");
    reid_log_error("a\nb");
    assert_string_equal(next_write(f, buffer), "<3>a\\nb\n");
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    assert_non_null(strstr(text, "Z info reidd: job started id=j1\n"));
    setenv("JOURNAL_STREAM", "1:1", 1); /* some other file */
    reid_log_setup(&options);
    unsetenv("JOURNAL_STREAM");
    reid_log_info("job started id=%s", "j1");
    assert_true(reid_str_ends(next_write(f, buffer), "Z info reidd: job started id=j1\n"));
}

static void levels_below_the_threshold_are_silent(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_WARN});
    reid_log_debug("no");
    reid_log_info("no");
    assert_string_equal(next_write(f, buffer), "");
    reid_log_warn("yes");
    assert_true(reid_str_ends(next_write(f, buffer), " warn reid: yes\n"));
    reid_log_error("yes");
    assert_true(reid_str_ends(next_write(f, buffer), " error reid: yes\n"));
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_OFF});
    reid_log_error("no");
    assert_string_equal(next_write(f, buffer), "");
}

static void one_event_stays_on_one_line(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_INFO});
    reid_log_info("a\nb\tc\x1b[31m\rd é");
    assert_true(reid_str_ends(next_write(f, buffer), ": a\\nb\tc\\x1b[31m\\x0dd é\n"));
}

static void a_long_line_is_whole(void **state)
{
    fixture *f = *state;
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_INFO, .path = f->path});
    reid_log_info("%20000d!", 7);
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    assert_true(strlen(text) > 20000);
    assert_true(reid_str_ends(text, " 7!\n"));
}

static void json_lines_are_valid(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    reid_log_setup(&(reid_log_options){
        .json = true, .program = "reid-train", .rank = 3, .level = REID_LOG_INFO});
    reid_log_error("path=\"%s\"\n\xff", "C:\\x");
    size_t length = strlen(next_write(f, buffer));
    assert_int_equal(buffer[length - 1], '\n');
    reid_json *root = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_json_parse(buffer, length, &root, &err), &err);
    assert_string_equal(reid_json_as_string(reid_json_get(root, "level"), ""), "error");
    assert_string_equal(reid_json_as_string(reid_json_get(root, "program"), ""), "reid-train");
    assert_int_equal(reid_json_as_int(reid_json_get(root, "rank"), -1), 3);
    assert_string_equal(reid_json_as_string(reid_json_get(root, "message"), ""),
                        "path=\"C:\\x\"\n\xef\xbf\xbd");
    assert_int_equal(strlen(reid_json_as_string(reid_json_get(root, "time"), "")), 20);
    reid_json_free(root);
    assert_ptr_equal(strchr(buffer, '\n'), buffer + length - 1);
}

static void higher_ranks_print_warnings_only_but_keep_all_in_the_file(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    assert_true(
        reid_log_setup(&(reid_log_options){.rank = 1, .level = REID_LOG_INFO, .path = f->path}));
    reid_log_info("quiet");
    reid_log_plain("eta: 0:01:00");
    assert_string_equal(next_write(f, buffer), "");
    reid_log_warn("loud");
    assert_true(reid_str_ends(next_write(f, buffer), " warn reid rank=1: loud\n"));
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    assert_non_null(strstr(text, " info reid rank=1: quiet\neta: 0:01:00\n"));
    assert_true(reid_str_ends(text, "loud\n"));
}

static void a_plain_line_goes_to_both_as_it_is(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    reid_log_setup(
        &(reid_log_options){.json = true, .rank = 0, .level = REID_LOG_ERROR, .path = f->path});
    reid_log_plain("  eta: 0:01:00  iter: 19");
    assert_string_equal(next_write(f, buffer), "  eta: 0:01:00  iter: 19\n");
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    assert_string_equal(text, "  eta: 0:01:00  iter: 19\n");
}

static void the_file_is_appended_to(void **state)
{
    fixture *f = *state;
    free(reid_test_write_text(f->folder, "log", "before\n"));
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_INFO, .path = f->path});
    reid_log_info("after");
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    assert_true(reid_str_starts(text, "before\n"));
    assert_true(reid_str_ends(text, "after\n"));
}

static void a_path_that_cannot_be_opened_changes_nothing(void **state)
{
    fixture *f = *state;
    char buffer[8192];
    reid_log_setup(&(reid_log_options){.rank = -1, .level = REID_LOG_INFO, .program = "first"});
    assert_false(reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .path = f->folder}));
    reid_log_info("still");
    assert_true(reid_str_ends(next_write(f, buffer), " info first: still\n"));
}

enum { THREADS = 4, LINES = 200 };

static void *log_many(void *name)
{
    for (int i = 0; i < LINES; i++)
        reid_log_info("%s%s%s%s", (char *)name, (char *)name, (char *)name, (char *)name);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    fixture *f = *state;
    reid_log_setup(&(reid_log_options){.rank = 1, .level = REID_LOG_INFO, .path = f->path});
    pthread_t threads[THREADS];
    char names[THREADS][9];
    for (int i = 0; i < THREADS; i++) {
        memset(names[i], 'a' + i, 8);
        names[i][8] = '\0';
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    REID_AUTOFREE char *text = reid_test_read_text(f->path);
    int seen[THREADS] = {0};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const char *message = strrchr(line, ' ') + 1;
        assert_int_equal(strlen(message), 32);
        assert_int_equal(strspn(message, (char[]){message[0], '\0'}), 32);
        seen[message[0] - 'a']++;
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(seen[i], LINES);
}

static void level_names_are_read(void **state)
{
    reid_log_level level = REID_LOG_INFO;
    assert_true(reid_log_level_from_name("debug", &level));
    assert_int_equal(level, REID_LOG_DEBUG);
    assert_true(reid_log_level_from_name("off", &level));
    assert_int_equal(level, REID_LOG_OFF);
    assert_false(reid_log_level_from_name("verbose", &level));
    assert_int_equal(level, REID_LOG_OFF);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_line_is_one_write_of_text),
        LOG_TEST(the_journal_gets_the_level_and_the_event),
        LOG_TEST(levels_below_the_threshold_are_silent),
        LOG_TEST(one_event_stays_on_one_line),
        LOG_TEST(a_long_line_is_whole),
        LOG_TEST(json_lines_are_valid),
        LOG_TEST(higher_ranks_print_warnings_only_but_keep_all_in_the_file),
        LOG_TEST(a_plain_line_goes_to_both_as_it_is),
        LOG_TEST(the_file_is_appended_to),
        LOG_TEST(a_path_that_cannot_be_opened_changes_nothing),
        LOG_TEST(lines_of_threads_do_not_mix),
        cmocka_unit_test(level_names_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
