#include "harness/harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/vec.h"

/* Folders still to be removed, and the process that made them: a forked child must leave them
 * alone. */
static REID_VEC(char *) folders;
static pid_t owner;

_Noreturn static void die(const reid_error *err)
{
    fprintf(stderr, "test harness: %s\n", err->text);
    abort();
}

static void remove_left_over(void)
{
    if (getpid() != owner)
        return;
    for (size_t i = 0; i < folders.count; i++) {
        reid_remove_tree(folders.items[i], NULL);
        free(folders.items[i]);
    }
    reid_vec_fini(&folders);
}

char *reid_test_dir_new(void)
{
    const char *root = getenv("TMPDIR");
    char *folder = reid_xasprintf("%s/reid-test-XXXXXX", root && *root ? root : "/tmp");
    if (!mkdtemp(folder)) {
        perror(folder);
        abort();
    }
    if (owner == 0) {
        owner = getpid();
        atexit(remove_left_over);
    }
    reid_vec_push(&folders, folder);
    return folder;
}

void reid_test_dir_free(char *folder)
{
    if (!folder)
        return;
    for (size_t i = 0; i < folders.count; i++) {
        if (folders.items[i] == folder) {
            reid_vec_remove(&folders, i);
            break;
        }
    }
    if (folders.count == 0)
        reid_vec_fini(&folders);
    reid_error err = {0};
    if (reid_remove_tree(folder, &err) != REID_OK)
        die(&err);
    free(folder);
}

char *reid_test_write(const char *folder, const char *name, const void *data, size_t size)
{
    char *path = reid_path_join(folder, name);
    REID_AUTOFREE char *parent = reid_path_dir(path);
    reid_error err = {0};
    if (reid_make_dirs(parent, 0755, &err) != REID_OK)
        die(&err);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        abort();
    }
    return path;
}

char *reid_test_write_text(const char *folder, const char *name, const char *text)
{
    return reid_test_write(folder, name, text, strlen(text));
}

char *reid_test_read_text(const char *path)
{
    char *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    if (reid_file_read(path, (size_t)1 << 30, &data, &size, &err) != REID_OK)
        die(&err);
    return data;
}

bool reid_test_close(double actual, double expected, double relative, double absolute)
{
    if (isnan(actual) || isnan(expected))
        return isnan(actual) && isnan(expected);
    if (isinf(actual) || isinf(expected))
        return actual == expected;
    return fabs(actual - expected) <= absolute + relative * fabs(expected);
}

size_t reid_test_first_far_f32(const float *actual, const float *expected, size_t count,
                               double relative, double absolute)
{
    size_t i = 0;
    while (i < count && reid_test_close(actual[i], expected[i], relative, absolute))
        i++;
    return i;
}

bool reid_test_wait(bool (*condition)(void *context), void *context, double timeout_s)
{
    double deadline = reid_clock_seconds() + timeout_s;
    while (!condition(context)) {
        if (reid_clock_seconds() >= deadline)
            return false;
        struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
    }
    return true;
}
