#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "harness/harness.h"

static char *folder;

static int set_up(void **state)
{
    folder = reid_test_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    reid_test_dir_free(folder);
    return 0;
}

static void a_file_is_read_up_to_its_limit(void **state)
{
    REID_AUTOFREE char *path = reid_test_write(folder, "x", "a\0b", 3);
    char *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(path, 3, &data, &size, &err), &err);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "a\0b", 4);
    free(data);
    data = NULL;
    assert_int_equal(reid_file_read(path, 2, &data, &size, &err), REID_ERR_EXHAUSTED);
    assert_null(data);
    assert_non_null(strstr(err.text, path));
}

static void an_empty_file_is_an_empty_text(void **state)
{
    REID_AUTOFREE char *path = reid_test_write(folder, "x", "", 0);
    char *data = NULL;
    size_t size = 7;
    assert_int_equal(reid_file_read(path, 0, &data, &size, NULL), REID_OK);
    assert_int_equal(size, 0);
    assert_string_equal(data, "");
    free(data);
}

static void unreadable_things_are_errors(void **state)
{
    char *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    REID_AUTOFREE char *absent = reid_path_join(folder, "absent");
    assert_int_equal(reid_file_read(absent, 10, &data, &size, &err), REID_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(reid_file_read(folder, 10000, &data, &size, NULL), REID_ERR_IO);
    assert_null(data);
}

/* Such files tell no size. */
static void a_file_without_a_size_is_read_to_its_end(void **state)
{
    char *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    reid_assert_ok(reid_file_read("/proc/self/status", 1 << 20, &data, &size, &err), &err);
    assert_true(size > 100 && strlen(data) == size);
    free(data);
    data = NULL;
    assert_int_equal(reid_file_read("/dev/zero", 100000, &data, &size, NULL), REID_ERR_EXHAUSTED);
    assert_null(data);
}

static void a_write_replaces_the_whole_file(void **state)
{
    REID_AUTOFREE char *path = reid_path_join(folder, "x");
    reid_error err = {0};
    reid_assert_ok(reid_file_write_atomic(path, "first", 5, &err), &err);
    assert_int_equal(chmod(path, 0600), 0);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    reid_assert_ok(reid_file_write_atomic(path, "2nd", 3, &err), &err);
    REID_AUTOFREE char *text = reid_test_read_text(path);
    assert_string_equal(text, "2nd");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_mode & 07777, 0600);
    assert_true(before.st_ino != after.st_ino);
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    assert_int_equal(reid_dir_list(folder, &entries, &count, &err), REID_OK);
    assert_int_equal(count, 1); /* no temporary file is left */
    reid_dir_free(entries, count);
}

static void a_failed_write_leaves_nothing(void **state)
{
    reid_error err = {0};
    REID_AUTOFREE char *lost = reid_path_join(folder, "no/x");
    assert_int_equal(reid_file_write_atomic(lost, "a", 1, &err), REID_ERR_NOT_FOUND);
    REID_AUTOFREE char *sub = reid_path_join(folder, "sub");
    assert_int_equal(reid_make_dirs(sub, 0755, NULL), REID_OK);
    assert_int_not_equal(reid_file_write_atomic(sub, "a", 1, NULL), REID_OK);
    assert_true(reid_path_is_dir(sub));
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    assert_int_equal(reid_dir_list(folder, &entries, &count, NULL), REID_OK);
    assert_int_equal(count, 1);
    reid_dir_free(entries, count);
}

static void folders_are_made_with_their_parents(void **state)
{
    reid_error err = {0};
    REID_AUTOFREE char *deep = reid_path_join(folder, "a//b/c/");
    reid_assert_ok(reid_make_dirs(deep, 0700, &err), &err);
    reid_assert_ok(reid_make_dirs(deep, 0700, &err), &err);
    assert_true(reid_path_is_dir(deep));
    free(reid_test_write_text(folder, "file", "x"));
    REID_AUTOFREE char *through = reid_path_join(folder, "file/b");
    assert_int_equal(reid_make_dirs(through, 0700, &err), REID_ERR_EXISTS);
    assert_non_null(strstr(err.text, "in the way"));
    assert_int_equal(reid_make_dirs("", 0700, NULL), REID_ERR_INVALID);
}

static void a_tree_is_removed_but_not_what_its_links_name(void **state)
{
    free(reid_test_write_text(folder, "kept/x", "1"));
    free(reid_test_write_text(folder, "tree/a/b/x", "1"));
    free(reid_test_write_text(folder, "tree/y", "1"));
    REID_AUTOFREE char *kept = reid_path_join(folder, "kept");
    REID_AUTOFREE char *kept_file = reid_path_join(folder, "kept/x");
    REID_AUTOFREE char *tree = reid_path_join(folder, "tree");
    REID_AUTOFREE char *inner = reid_path_join(folder, "tree/a/link");
    REID_AUTOFREE char *outer = reid_path_join(folder, "link");
    assert_int_equal(symlink(kept, inner), 0);
    assert_int_equal(symlink(kept, outer), 0);
    reid_error err = {0};
    reid_assert_ok(reid_remove_tree(tree, &err), &err);
    assert_false(reid_path_exists(tree));
    REID_AUTOFREE char *outer_slash = reid_xasprintf("%s/", outer);
    reid_assert_ok(reid_remove_tree(outer_slash, &err), &err);
    assert_false(reid_path_exists(outer));
    assert_true(reid_path_is_file(kept_file));
    reid_assert_ok(reid_remove_tree(tree, &err), &err);
    assert_int_equal(reid_remove_tree("", NULL), REID_ERR_INVALID);
    assert_int_equal(reid_remove_tree("//", NULL), REID_ERR_INVALID);
}

static void a_folder_is_listed_in_order(void **state)
{
    free(reid_test_write_text(folder, "b", ""));
    free(reid_test_write_text(folder, "a10/x", ""));
    free(reid_test_write_text(folder, "a2", ""));
    free(reid_test_write_text(folder, "B", ""));
    REID_AUTOFREE char *link = reid_path_join(folder, "link");
    assert_int_equal(symlink("a10", link), 0);
    REID_AUTOFREE char *dangling = reid_path_join(folder, "zz");
    assert_int_equal(symlink("nowhere", dangling), 0);
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    reid_error err = {0};
    reid_assert_ok(reid_dir_list(folder, &entries, &count, &err), &err);
    static const reid_dir_entry EXPECTED[] = {
        {(char *)"B", false}, {(char *)"a10", true},  {(char *)"a2", false},
        {(char *)"b", false}, {(char *)"link", true}, {(char *)"zz", false},
    };
    assert_int_equal(count, REID_COUNT_OF(EXPECTED));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(entries[i].name, EXPECTED[i].name);
        assert_int_equal(entries[i].is_dir, EXPECTED[i].is_dir);
    }
    reid_dir_free(entries, count);
    reid_dir_free(NULL, 0);
    REID_AUTOFREE char *absent = reid_path_join(folder, "absent");
    assert_int_equal(reid_dir_list(absent, &entries, &count, &err), REID_ERR_NOT_FOUND);
}

static void kinds_are_told_apart(void **state)
{
    REID_AUTOFREE char *path = reid_test_write_text(folder, "x", "");
    REID_AUTOFREE char *absent = reid_path_join(folder, "absent");
    assert_true(reid_path_exists(path) && reid_path_is_file(path) && !reid_path_is_dir(path));
    assert_true(reid_path_exists(folder) && reid_path_is_dir(folder) && !reid_path_is_file(folder));
    assert_false(reid_path_exists(absent) || reid_path_is_dir(absent) || reid_path_is_file(absent));
}

static void expect_text(char *own_text, const char *expected)
{
    assert_string_equal(own_text, expected);
    free(own_text);
}

static void paths_are_joined_and_split(void **state)
{
    expect_text(reid_path_join("a", "b"), "a/b");
    expect_text(reid_path_join("a/", "b"), "a/b");
    expect_text(reid_path_join("a", "/b"), "/b");
    expect_text(reid_path_join("", "b"), "b");
    expect_text(reid_path_join("/", "b"), "/b");
    assert_string_equal(reid_path_base("/a/b.c"), "b.c");
    assert_string_equal(reid_path_base("b"), "b");
    assert_string_equal(reid_path_base("a/"), "");
    expect_text(reid_path_dir("/a/b"), "/a");
    expect_text(reid_path_dir("b"), ".");
    expect_text(reid_path_dir("/b"), "/");
    expect_text(reid_path_dir("a//b"), "a");
}

static void paths_become_absolute(void **state)
{
    REID_AUTOFREE char *here = getcwd(NULL, 0);
    REID_AUTOFREE char *expected = reid_xasprintf("%s/a/../b", here);
    REID_AUTOFREE char *old_home = reid_xstrdup(getenv("HOME") ? getenv("HOME") : "/");
    expect_text(reid_path_absolute("./a//../b/."), expected);
    expect_text(reid_path_absolute("."), here);
    expect_text(reid_path_absolute("/x/./y/"), "/x/y");
    expect_text(reid_path_absolute("/"), "/");
    setenv("HOME", "/home/of/test", 1);
    expect_text(reid_path_absolute("~/d"), "/home/of/test/d");
    expect_text(reid_path_absolute("~"), "/home/of/test");
    setenv("HOME", old_home, 1);
    REID_AUTOFREE char *strange = reid_xasprintf("%s/~no-such-user-here/d", here);
    expect_text(reid_path_absolute("~no-such-user-here/d"), strange);
}

static void write_all_reports_a_bad_descriptor(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    reid_error err = {0};
    assert_int_equal(reid_write_all(fd, "x", 1, "the report", &err), REID_ERR_EXHAUSTED);
    assert_string_equal(err.text, "cannot write 'the report': No space left on device");
    assert_int_equal(reid_write_all(fd, NULL, 0, "nothing", NULL), REID_OK);
    close(fd);
}

static void fsync_dir_needs_a_folder(void **state)
{
    reid_error err = {0};
    reid_assert_ok(reid_fsync_dir(folder, &err), &err);
    REID_AUTOFREE char *path = reid_test_write_text(folder, "x", "");
    assert_int_equal(reid_fsync_dir(path, NULL), REID_ERR_IO);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(a_file_is_read_up_to_its_limit),
        FILE_TEST(an_empty_file_is_an_empty_text),
        FILE_TEST(unreadable_things_are_errors),
        FILE_TEST(a_file_without_a_size_is_read_to_its_end),
        FILE_TEST(a_write_replaces_the_whole_file),
        FILE_TEST(a_failed_write_leaves_nothing),
        FILE_TEST(folders_are_made_with_their_parents),
        FILE_TEST(a_tree_is_removed_but_not_what_its_links_name),
        FILE_TEST(a_folder_is_listed_in_order),
        FILE_TEST(kinds_are_told_apart),
        FILE_TEST(write_all_reports_a_bad_descriptor),
        FILE_TEST(fsync_dir_needs_a_folder),
        cmocka_unit_test(paths_are_joined_and_split),
        cmocka_unit_test(paths_become_absolute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
