#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crash.h"

static void keep_quiet(int number)
{
    (void)number;
    _exit(7);
}

/* The child's stderr as a text; returns how it ended. */
static int crash(int number, bool own_handler, char *text, size_t size)
{
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        if (own_handler)
            signal(number, keep_quiet);
        reid_crash_report("trial");
        raise(number);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used < size - 1 && (n = read(ends[0], text + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void last_words_and_the_same_end(void **state)
{
    (void)state;
    char text[16384];
    int status = crash(SIGABRT, false, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "trial: crashed by SIGABRT; the calls, innermost first:\n"));
    assert_non_null(strstr(text, "[0x"));
}

static void a_signal_with_a_handler_keeps_it(void **state)
{
    (void)state;
    char text[16384];
    int status = crash(SIGABRT, true, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_words_and_the_same_end),
        cmocka_unit_test(a_signal_with_a_handler_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
