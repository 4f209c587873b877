/* Large buffers of the CPU backend are made present ahead of their use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "harness/harness.h"

#define BYTES ((size_t)24 << 20)

typedef struct range {
    unsigned char *memory;
    size_t bytes;
} range;

static bool is_present(void *context)
{
    const range *r = context;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < r->bytes; at += page) {
        unsigned char present = 0;
        if (mincore(r->memory + at, page, &present) != 0 || !(present & 1))
            return false;
    }
    return true;
}

/* With several memory nodes nothing is done, and not under the thread sanitizer. */
static bool can_populate(void)
{
#if defined(__SANITIZE_THREAD__)
    return false;
#endif
    return access("/sys/devices/system/node/node1", F_OK) != 0;
}

static reid_backend *open_cpu(void)
{
    reid_backend *backend = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_backend_open("cpu", 1, &backend, &err), &err);
    return backend;
}

static void large_buffers_come_without_being_touched(void **state)
{
    if (!can_populate())
        skip();
    reid_backend *backend = open_cpu();
    range ranges[2] = {{NULL, BYTES}, {NULL, BYTES + 4096}};
    for (int i = 0; i < 2; i++)
        ranges[i].memory = reid_backend_alloc(backend, ranges[i].bytes);
    for (int i = 0; i < 2; i++) {
        assert_true(reid_test_wait(is_present, &ranges[i], 20));
        assert_int_equal(ranges[i].memory[ranges[i].bytes - 1], 0);
        reid_backend_release(backend, ranges[i].memory, ranges[i].bytes);
    }
    reid_backend_free(backend);
}

/* The thread must neither overwrite what is there nor touch what is gone. */
static void buffers_are_used_and_released_meanwhile(void **state)
{
    reid_backend *backend = open_cpu();
    for (int i = 0; i < 40; i++) {
        unsigned char *kept = reid_backend_alloc(backend, BYTES);
        unsigned char *gone = reid_backend_alloc(backend, BYTES);
        assert_non_null(kept);
        assert_non_null(gone);
        for (size_t at = 0; at < BYTES; at += BYTES / 16)
            kept[at] = (unsigned char)(i + 1);
        reid_backend_release(backend, gone, BYTES);
        for (size_t at = 0; at < BYTES; at += BYTES / 16)
            assert_int_equal(kept[at], (unsigned char)(i + 1));
        reid_backend_release(backend, kept, BYTES);
    }
    reid_backend_free(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_buffers_come_without_being_touched),
        cmocka_unit_test(buffers_are_used_and_released_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
