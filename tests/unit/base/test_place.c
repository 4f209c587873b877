#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/place.h"

static const char *const names[] = {"REIDD_HOST", "REIDD_STATE_DIR", "XDG_RUNTIME_DIR",
                                    "XDG_STATE_HOME"};

static int clear(void **state)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("HOME", "/home/ada", 1);
    return 0;
}

static void assert_state_dir(const char *option, const char *expected)
{
    char *got = reid_place_state_dir(option);
    assert_string_equal(got, expected);
    free(got);
}

static void assert_address(const char *option, const char *state_dir, const char *expected)
{
    char *got = reid_place_address(option, state_dir);
    assert_string_equal(got, expected);
    free(got);
}

static void options_come_first(void **state)
{
    setenv("REIDD_HOST", "unix:/else/where.sock", 1);
    setenv("REIDD_STATE_DIR", "/else/where", 1);
    assert_state_dir("/srv/reidd", "/srv/reidd");
    assert_address("unix:/srv/r.sock", "/srv/reidd", "unix:/srv/r.sock");
}

static void variables_come_second(void **state)
{
    setenv("REIDD_HOST", "unix:/else/where.sock", 1);
    setenv("REIDD_STATE_DIR", "/else//where/", 1);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_state_dir(NULL, "/else/where");
    assert_state_dir("", "/else/where");
    assert_address(NULL, "/srv/reidd", "unix:/else/where.sock");
    setenv("REIDD_HOST", "", 1); /* as good as not set */
    char *address = reid_place_address("", NULL);
    assert_string_not_equal(address, "");
    free(address);
}

static void paths_stand_for_sockets(void **state)
{
    assert_address("/srv/r.sock", NULL, "unix:/srv/r.sock");
    char *here = reid_path_absolute("run/r.sock");
    char *expected = reid_xasprintf("unix:%s", here);
    assert_address("run/r.sock", NULL, expected);
    free(expected);
    free(here);
    assert_address("tcp://node:9000", NULL, "tcp://node:9000");
    assert_address("node", NULL, "node");
}

static void root_has_its_usual_places(void **state)
{
    if (geteuid() != 0)
        skip();
    setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
    setenv("XDG_STATE_HOME", "/root/state", 1);
    assert_state_dir(NULL, "/var/lib/reidd");
    assert_address(NULL, NULL, "unix:/run/reidd/reidd.sock");
    assert_address(NULL, "/srv/reidd", "unix:/run/reidd/reidd.sock");
}

static void check_as_user(void)
{
    assert_state_dir(NULL, "/home/ada/.local/state/reidd");
    assert_address(NULL, NULL, "unix:/home/ada/.local/state/reidd/reidd.sock");
    setenv("XDG_STATE_HOME", "/home/ada/state", 1);
    assert_state_dir(NULL, "/home/ada/state/reidd");
    assert_address(NULL, NULL, "unix:/home/ada/state/reidd/reidd.sock");
    assert_address(NULL, "/srv/x", "unix:/srv/x/reidd.sock");
    setenv("REIDD_STATE_DIR", "/srv/y", 1);
    assert_address(NULL, NULL, "unix:/srv/y/reidd.sock");
    setenv("XDG_RUNTIME_DIR", "relative/is/ignored", 1);
    assert_address(NULL, NULL, "unix:/srv/y/reidd.sock");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_address(NULL, NULL, "unix:/run/user/7/reidd/reidd.sock");
}

/* In a child, for the effective user is the whole process's. */
static void users_have_theirs(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && seteuid(65534) != 0)
            _exit(77);
        check_as_user(); /* a failed assertion ends the child through cmocka's exit */
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(options_come_first, clear),
        cmocka_unit_test_setup(variables_come_second, clear),
        cmocka_unit_test_setup(paths_stand_for_sockets, clear),
        cmocka_unit_test_setup(root_has_its_usual_places, clear),
        cmocka_unit_test_setup(users_have_theirs, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
