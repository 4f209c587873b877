/* Whom the kernel has killed because memory ran out: from files like the kernel's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "daemon/shim/memory.h"
#include "harness/harness.h"

static char *folder_new(const char *groups)
{
    char *folder = reid_test_dir_new();
    free(reid_test_write_text(folder, "proc/self/cgroup", groups));
    free(reid_test_write_text(folder, "proc/vmstat", "nr_free_pages 5\noom_kill 7\nzswpin 0\n"));
    free(reid_test_write_text(folder, "dev/kmsg", "6,1,1,-;Killed process 71 (old)\n"));
    return folder;
}

static void append(const char *folder, const char *name, const char *text)
{
    char *path = reid_xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(path);
}

static void test_log(void **state)
{
    char *folder = folder_new("0::/none\n");
    reidd_memory_watch watch;
    reidd_memory_watch_init(&watch, folder);
    assert_int_equal(reidd_memory_watch_ask(&watch, 71), REIDD_OOM_NOT); /* of before */
    append(folder, "dev/kmsg",
           "3,2,2,-;Memory cgroup out of memory: Killed process 712 (reid-train) total-vm:1kB\n");
    assert_int_equal(reidd_memory_watch_ask(&watch, 71), REIDD_OOM_NOT);
    append(folder, "dev/kmsg",
           "3,3,3,-;Out of memory: Killed process 71 (reid-train) total-vm:1kB, anon-rss:1kB\n");
    assert_int_equal(reidd_memory_watch_ask(&watch, 71), REIDD_OOM_SURE);
    reidd_memory_watch_fini(&watch);
    reid_test_dir_free(folder);
    (void)state;
}

static void test_counters(void **state)
{
    static const struct {
        const char *groups, *name, *before, *after;
        reidd_oom verdict;
    } cases[] = {
        {"0::/job.slice/a\n", "sys/fs/cgroup/job.slice/a/memory.events",
         "low 0\noom 0\noom_kill 1\n", "low 0\noom 1\noom_kill 2\n", REIDD_OOM_POSSIBLE},
        {"0::/job.slice/reidd-1-2.job.1\n", "sys/fs/cgroup/job.slice/reidd-1-2.job.1/memory.events",
         "oom_kill 1\n", "oom_kill 2\n", REIDD_OOM_LIKELY},
        {"9:name=systemd:/\n4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.oom_control",
         "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
         "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", REIDD_OOM_POSSIBLE},
        {"4:memory:/of/the/host\n", "sys/fs/cgroup/memory/memory.oom_control", "oom_kill 0\n",
         "oom_kill 3\n", REIDD_OOM_POSSIBLE},
        /* A job's own group may have no controller: the service's counts then. */
        {"0::/a.slice/reidd.service/reidd-1-2.job.1\n",
         "sys/fs/cgroup/a.slice/reidd.service/memory.events", "oom_kill 1\n", "oom_kill 2\n",
         REIDD_OOM_POSSIBLE},
        {"0::/none\n", "proc/vmstat", "oom_kill 7\n", "nr_free_pages 5\noom_kill 8\n",
         REIDD_OOM_POSSIBLE},
        {"", "proc/vmstat", "oom_kill 7\n", "oom_kill 8\n", REIDD_OOM_POSSIBLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *folder = folder_new(cases[i].groups);
        reidd_memory_watch watch;
        free(reid_test_write_text(folder, cases[i].name, cases[i].before));
        reidd_memory_watch_init(&watch, folder);
        assert_int_equal(reidd_memory_watch_ask(&watch, 9), REIDD_OOM_NOT);
        free(reid_test_write_text(folder, cases[i].name, cases[i].after));
        assert_int_equal(reidd_memory_watch_ask(&watch, 9), cases[i].verdict);
        reidd_memory_watch_fini(&watch);
        reid_test_dir_free(folder);
    }
    (void)state;
}

/* The machine's counter rises by whatever dies elsewhere. */
static void test_kills_of_others(void **state)
{
    static const struct {
        const char *groups, *name;
        reidd_oom verdict;
    } cases[] = {
        {"0::/a/reidd-1-2.job.1\n", "sys/fs/cgroup/a/reidd-1-2.job.1/memory.events", REIDD_OOM_NOT},
        {"0::/a/reidd-1-2.job.1\n", "sys/fs/cgroup/a/memory.events", REIDD_OOM_NOT},
        {"4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/x/memory.oom_control", REIDD_OOM_NOT},
        /* Another group's than the one that the process is in. */
        {"4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/memory.oom_control", REIDD_OOM_POSSIBLE},
        {"0::/a\n", "sys/fs/cgroup/b/memory.events", REIDD_OOM_POSSIBLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *folder = folder_new(cases[i].groups);
        reidd_memory_watch watch;
        free(reid_test_write_text(folder, cases[i].name, "oom_kill 4\n"));
        reidd_memory_watch_init(&watch, folder);
        free(reid_test_write_text(folder, "proc/vmstat", "oom_kill 8\n"));
        assert_int_equal(reidd_memory_watch_ask(&watch, 9), cases[i].verdict);
        reidd_memory_watch_fini(&watch);
        reid_test_dir_free(folder);
    }
    (void)state;
}

/* A machine that tells nothing. */
static void test_nothing(void **state)
{
    char *folder = reid_test_dir_new();
    reidd_memory_watch watch;
    reidd_memory_watch_init(&watch, folder);
    assert_int_equal(reidd_memory_watch_ask(&watch, 1), REIDD_OOM_NOT);
    reidd_memory_watch_fini(&watch);
    reid_test_dir_free(folder);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_kills_of_others),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
