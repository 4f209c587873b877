#include "daemon/join/join.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_networks_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"10.0.0.0",   "10.0.0/24", "10.0.0.0/33", "x/8",
                                       "fd00::/129", "10.0.0.0/", "/8"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reid_error err = {0};
        char *address = NULL;
        assert_int_equal(reidd_join_find_address(rows[i], &address, &err), REID_ERR_INVALID);
        assert_null(address);
        assert_non_null(strstr(err.text, "--network is such as 10.77.0.0/24, not '"));
    }
}

/* The loop back is for nobody else, whatever network is asked for. */
static void test_loop_back_is_not_taken(void **state)
{
    (void)state;
    reid_error err = {0};
    char *address = NULL;
    assert_int_equal(reidd_join_find_address("127.0.0.0/8", &address, &err), REID_ERR_NOT_FOUND);
    assert_string_equal(err.text,
                        "this machine has no address in 127.0.0.0/8 that other nodes could use");
    if (reidd_join_find_address(NULL, &address, NULL) == REID_OK)
        assert_true(strncmp(address, "127.", 4) != 0);
    free(address);
}

static void test_only_under_mpirun(void **state)
{
    (void)state;
    unsetenv("OMPI_COMM_WORLD_RANK");
    assert_false(reidd_join_is_wanted());
    setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    assert_true(reidd_join_is_wanted());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks_refused),
        cmocka_unit_test(test_loop_back_is_not_taken),
        cmocka_unit_test(test_only_under_mpirun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
