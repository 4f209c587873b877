/* Where the daemon's control group is, from files like the kernel's. What groups do to processes:
 * tests/integration/confine.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/exec/confine.h"
#include "harness/harness.h"

#define SYSFS "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
#define MOUNT "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

static void test_own(void **state)
{
    static const struct {
        const char *groups, *mounts, *own;
    } cases[] = {
        {"0::/system.slice/reidd.service\n", SYSFS MOUNT,
         "/sys/fs/cgroup/system.slice/reidd.service"},
        {"0::/\n", MOUNT, "/sys/fs/cgroup"},
        {"9:name=systemd:/x\n4:memory:/y\n0::/z\n",
         SYSFS "30 22 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n",
         "/sys/fs/cgroup/unified/z"},
        /* A container sees a part of the tree, from its own group on. */
        {"0::/docker/abc/a\n", "29 22 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
         "/sys/fs/cgroup/a"},
        {"0::/docker/abc\n", "29 22 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
         "/sys/fs/cgroup"},
        {"0::/docker/abcd\n", "29 22 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
         NULL},
        {"4:memory:/y\n", SYSFS MOUNT, NULL},
        {"0::/\n", SYSFS "31 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", NULL},
        {"", "", NULL},
        {"0::", " - cgroup2 ", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *folder = reid_test_dir_new();
        free(reid_test_write_text(folder, "proc/self/cgroup", cases[i].groups));
        free(reid_test_write_text(folder, "proc/self/mountinfo", cases[i].mounts));
        char *own = reidd_confine_find_own(folder);
        if (cases[i].own)
            assert_string_equal(own, cases[i].own);
        else
            assert_null(own);
        free(own);
        reid_test_dir_free(folder);
    }
    (void)state;
}

/* The note of an attempt's group leads to groups of reidd only; without a group there is no path.
 */
static void test_note(void **state)
{
    static const struct {
        const char *text;
        int good;
    } notes[] = {{"/sys/fs/cgroup/reidd-1-2.abc.1", 1},
                 {"/sys/fs/cgroup/system.slice", 0},
                 {"/sys/fs/cgroup/../reidd-1-2.abc.1", 0},
                 {"reidd-1-2.abc.1", 0},
                 {"", 0}};
    const reidd_confine none = {0};
    assert_null(reidd_confine_path(NULL, "abc", 1));
    assert_null(reidd_confine_path(&none, "abc", 1));
    char *folder = reid_test_dir_new();
    char *attempt = reid_xasprintf("%s/attempt-1", folder);
    assert_null(reidd_confine_read(attempt));
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        free(reid_test_write_text(folder, "attempt-1.cgroup", notes[i].text));
        char *group = reidd_confine_read(attempt);
        assert_int_equal(group != NULL, notes[i].good);
        free(group);
    }
    reidd_confine_forget(attempt);
    assert_null(reidd_confine_read(attempt));
    /* Folders with files in them are no groups, and stay. */
    char *group = reid_xasprintf("%s/reidd-x", folder), *made = reid_xasprintf("%s/none/a", folder);
    free(reid_test_write_text(group, "file", "x"));
    assert_false(reidd_confine_end(group));
    assert_true(reidd_confine_end(made));
    assert_int_not_equal(reidd_confine_make(attempt, made, NULL), 0);
    assert_null(reidd_confine_read(attempt));
    free(made);
    free(group);
    free(attempt);
    reid_test_dir_free(folder);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_note),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
