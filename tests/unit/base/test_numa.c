#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/numa.h"
#include "harness/harness.h"

/* A kernel that tells `text` in a file of that name. */
static void tell(const char *folder, const char *name, const char *text)
{
    free(reid_test_write_text(folder, name, text));
}

static void devices_have_a_node(void **state)
{
    char *folder = reid_test_dir_new();
    setenv("REID_SYSFS", folder, 1);
    tell(folder, "bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
    tell(folder, "bus/pci/devices/0000:5e:00.0/numa_node", "-1\n");
    tell(folder, "bus/pci/devices/0000:86:00.0/numa_node", "x\n");
    assert_int_equal(reid_numa_of_pci("0000:3B:00.0"), 1);
    assert_int_equal(reid_numa_of_pci("0000:5e:00.0"), REID_NUMA_UNKNOWN);
    assert_int_equal(reid_numa_of_pci("0000:86:00.0"), REID_NUMA_UNKNOWN);
    assert_int_equal(reid_numa_of_pci("0000:ff:00.0"), REID_NUMA_UNKNOWN);
    reid_test_dir_free(folder);
}

static pthread_barrier_t begun, bound;

static void *report(void *ret_cores)
{
    pthread_barrier_wait(&begun);
    pthread_barrier_wait(&bound);
    sched_getaffinity(0, sizeof(cpu_set_t), ret_cores);
    return NULL;
}

/* The threads there are, too; cores of the node that the process may not use stay out. */
static void threads_stay_on_the_cores_of_a_node(void **state)
{
    char *folder = reid_test_dir_new();
    cpu_set_t before, after, threads;
    setenv("REID_SYSFS", folder, 1);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &before))
        last--;
    char text[64];
    snprintf(text, sizeof text, "%d-%d,1022\n", last, last + 1);
    tell(folder, "devices/system/node/node1/cpulist", text);
    tell(folder, "devices/system/node/node2/cpulist", "1020-1022\n");
    tell(folder, "devices/system/node/node3/cpulist", "\n"); /* memory without cores */
    pthread_t thread;
    pthread_barrier_init(&begun, NULL, 2);
    pthread_barrier_init(&bound, NULL, 2);
    pthread_create(&thread, NULL, report, &threads);
    pthread_barrier_wait(&begun);

    reid_error err = {0};
    int cores = 0;
    bool changed = false;
    static const int unusable[] = {2, 3, 4};
    for (size_t i = 0; i < 3; i++) {
        reid_error_clear(&err);
        assert_int_equal(reid_numa_bind(unusable[i], &cores, &changed, &err),
                         REID_ERR_PRECONDITION);
        assert_non_null(strstr(err.text, "NUMA node"));
        sched_getaffinity(0, sizeof after, &after);
        assert_true(CPU_EQUAL(&before, &after));
    }
    reid_assert_ok(reid_numa_bind(1, &cores, &changed, &err), &err);
    pthread_barrier_wait(&bound);
    pthread_join(thread, NULL);
    sched_getaffinity(0, sizeof after, &after);
    assert_int_equal(cores, 1);
    assert_int_equal(changed, CPU_COUNT(&before) > 1);
    assert_int_equal(CPU_COUNT(&after), 1);
    assert_true(CPU_ISSET(last, &after) && CPU_EQUAL(&after, &threads));
    reid_assert_ok(reid_numa_bind(1, &cores, &changed, &err), &err);
    assert_false(changed);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_have_a_node),
        cmocka_unit_test(threads_stay_on_the_cores_of_a_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
