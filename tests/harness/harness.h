/* Helpers that the tests share. They end the process with a message when the test's own
 * surroundings fail (no temporary folder, disk full); what is under test is reported by value. Link
 * with reid_harness.
 *
 *     char *folder = reid_test_dir_new();
 *     char *path = reid_test_write_text(folder, "a/config.yml", "A: 1\n");
 *     ...
 *     free(path);
 *     reid_test_dir_free(folder);
 */
#ifndef REID_HARNESS_HARNESS_H
#define REID_HARNESS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>

/* A new empty folder under $TMPDIR (or /tmp). Removed with all it holds by reid_test_dir_free, or
 * when the process exits normally (a failed cmocka test does), whichever comes first. The pointer
 * is owned until then. */
char *reid_test_dir_new(void);
void reid_test_dir_free(char *folder);

/* Writes folder/name, making the folders between. Returns the path (caller frees). */
char *reid_test_write(const char *folder, const char *name, const void *data, size_t size);
char *reid_test_write_text(const char *folder, const char *name, const char *text);
/* The whole file as a text (caller frees). */
char *reid_test_read_text(const char *path);

/* |actual − expected| ≤ absolute + relative·|expected|; equal infinities and two NaNs are close. */
bool reid_test_close(double actual, double expected, double relative, double absolute);

/* The first index at which the arrays differ by more, or `count`. */
size_t reid_test_first_far_f32(const float *actual, const float *expected, size_t count,
                               double relative, double absolute);

/* Calls `condition` every few milliseconds until it is true. False when `timeout_s` has passed. */
bool reid_test_wait(bool (*condition)(void *context), void *context, double timeout_s);

/* For cmocka programs: fails the test with both numbers. */
#define reid_assert_close(actual, expected, relative, absolute)                                    \
    do {                                                                                           \
        double reid_actual = (actual);                                                             \
        double reid_expected = (expected);                                                         \
        if (!reid_test_close(reid_actual, reid_expected, (relative), (absolute)))                  \
            fail_msg("%s is %.9g, expected %.9g", #actual, reid_actual, reid_expected);            \
    } while (0)

/* Fails the test with the sentence of the error. */
#define reid_assert_ok(status, err)                                                                \
    do {                                                                                           \
        reid_status reid_got = (status);                                                           \
        if (reid_got != REID_OK)                                                                   \
            fail_msg("%s: %s: %s", #status, reid_status_name(reid_got), (err)->text);              \
    } while (0)

#endif
