#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/protocol.h"
#include "connect.h"

/* Calls reidctl_report and returns what it printed; `said` has room for 2,000 bytes. */
static int report(const reid_error *err, char *said)
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    fflush(stderr);
    dup2(pipe_fds[1], STDERR_FILENO);
    int code = reidctl_report(err);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_fds[1]);
    ssize_t size = read(pipe_fds[0], said, 1999);
    close(pipe_fds[0]);
    assert_true(size > 0);
    said[size] = '\0';
    return code;
}

static void exit_status_of_errors(void **state)
{
    static const struct {
        reid_status status;
        int code;
    } rows[] = {
        {REID_ERR_INVALID, 2},      {REID_ERR_UNSUPPORTED, 2}, {REID_ERR_UNAVAILABLE, 3},
        {REID_ERR_NOT_FOUND, 4},    {REID_ERR_EXISTS, 5},      {REID_ERR_PERMISSION, 5},
        {REID_ERR_PRECONDITION, 5}, {REID_ERR_EXHAUSTED, 5},   {REID_ERR_TIMEOUT, 124},
        {REID_ERR_CANCELLED, 130},  {REID_ERR_IO, 1},          {REID_ERR_CORRUPT, 1},
        {REID_ERR_INTERNAL, 1},
    };
    char said[2000];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reid_error err = {0};
        reid_fail(&err, rows[i].status, "it is \033[31m so\007");
        assert_int_equal(report(&err, said), rows[i].code);
        assert_string_equal(said, "reidctl: it is ?[31m so?\n");
    }
}

static reid_status check(int newest, int oldest, char *said)
{
    Reid__V1__InfoResponse info = REID__V1__INFO_RESPONSE__INIT;
    reid_error err = {0};
    info.version = (char *)"9.8";
    info.protocol = newest;
    info.protocol_oldest = oldest;
    reid_status status = reidctl_check_protocol(&info, &err);
    snprintf(said, 2000, "%s", err.text);
    return status;
}

static void daemons_of_other_releases(void **state)
{
    char said[2000];
    assert_int_equal(check(REID_PROTOCOL, REID_PROTOCOL_OLDEST, said), REID_OK);
    assert_int_equal(check(0, 0, said), REID_OK); /* from before there were numbers */
    assert_int_equal(check(99, 1, said), REID_OK);
    assert_int_equal(check(99, 50, said), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(said, "this reidctl is too old"));
    assert_non_null(strstr(said, "reidd 9.8 50 to 99; upgrade reidctl"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exit_status_of_errors),
                                       cmocka_unit_test(daemons_of_other_releases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
