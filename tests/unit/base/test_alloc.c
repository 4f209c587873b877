#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/vec.h"

static void sizes_that_overflow_give_null(void **state)
{
    assert_null(reid_alloc(SIZE_MAX / 2, 3));
    assert_null(reid_alloc_aligned(SIZE_MAX));
    int *block = reid_alloc(4, sizeof *block);
    assert_non_null(block);
    block[3] = 7;
    assert_null(reid_alloc_grow(block, SIZE_MAX / 2, sizeof *block));
    assert_int_equal(block[3], 7); /* kept on failure */
    free(block);
}

static void memory_is_zeroed_and_empty_blocks_exist(void **state)
{
    unsigned char *block = reid_alloc(1000, 3);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(block[i], 0);
    free(block);
    void *blocks[] = {reid_alloc(0, 8), reid_alloc(8, 0),   reid_alloc_grow(NULL, 0, 8),
                      reid_xmalloc(0),  reid_xcalloc(0, 0), reid_xrealloc(NULL, 0)};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        assert_non_null(blocks[i]);
        free(blocks[i]);
    }
}

static void aligned_blocks_are_aligned_and_zeroed(void **state)
{
    static const size_t SIZES[] = {0, 1, 63, 64, 100000, (4u << 20) - 1, 4u << 20, (9u << 20) + 5};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        size_t size = SIZES[i];
        unsigned char *block = reid_alloc_aligned(size);
        assert_non_null(block);
        size_t alignment = size >= 4u << 20 ? 2u << 20 : 64;
        assert_int_equal((uintptr_t)block % alignment, 0);
        for (size_t j = 0; j < size; j += j < 4096 ? 1 : 509) {
            if (block[j] != 0)
                fail_msg("byte %zu of %zu is not zero", j, size);
        }
        memset(block, 0xA5, size);
        reid_free_aligned(block, size);
    }
    reid_free_aligned(NULL, 100);
}

static void texts_are_copied(void **state)
{
    REID_AUTOFREE char *whole = reid_xstrdup("abc");
    REID_AUTOFREE char *part = reid_xstrndup("abcdef", 2);
    REID_AUTOFREE char *shorter = reid_xstrndup("ab", 9);
    REID_AUTOFREE char *formatted = reid_xasprintf("%d-%s", 4, "x");
    REID_AUTOFREE char *nothing = NULL;
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(shorter, "ab");
    assert_string_equal(formatted, "4-x");
    assert_null(nothing);
}

static void running_out_ends_the_process(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        free(reid_xcalloc(SIZE_MAX / 2, 4));
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_vector_grows_and_removes(void **state)
{
    REID_VEC(int) v = {0};
    for (int i = 0; i < 100; i++)
        reid_vec_push(&v, i);
    reid_vec_remove(&v, 0);
    reid_vec_remove(&v, 98);
    reid_vec_remove(&v, 49);
    assert_int_equal(v.count, 97);
    assert_int_equal(v.items[0], 1);
    assert_int_equal(v.items[48], 49);
    assert_int_equal(v.items[49], 51);
    assert_int_equal(v.items[96], 98);
    reid_vec_reserve(&v, 1000);
    assert_true(v.capacity >= 1000);
    assert_int_equal(v.items[96], 98);
    reid_vec_fini(&v);
    assert_int_equal(v.count, 0);
    assert_null(v.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_overflow_give_null),
        cmocka_unit_test(memory_is_zeroed_and_empty_blocks_exist),
        cmocka_unit_test(aligned_blocks_are_aligned_and_zeroed),
        cmocka_unit_test(texts_are_copied),
        cmocka_unit_test(running_out_ends_the_process),
        cmocka_unit_test(a_vector_grows_and_removes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
