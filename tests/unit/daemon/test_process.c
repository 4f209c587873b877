#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/exec/process.h"
#include "harness/harness.h"

static void test_self(void **state)
{
    reidd_process self;
    /* a name that could be mistaken for the fields behind it */
    prctl(PR_SET_NAME, "x) Z 1 (");
    assert_true(reidd_process_read(getpid(), &self));
    assert_int_equal(self.parent, getppid());
    assert_true(self.state == 'R' || self.state == 'S');
    assert_true(self.start_time > 0);
    assert_true(reidd_process_is_alive(getpid(), self.start_time));
    assert_true(reidd_process_is_alive(getpid(), 0));
    assert_false(reidd_process_is_alive(getpid(), self.start_time + 1));
    assert_false(reidd_process_is_alive(0, 0));
    assert_false(reidd_process_is_alive(-1, 0));
}

static bool is_zombie(void *pid)
{
    reidd_process process;
    return reidd_process_read(*(pid_t *)pid, &process) && process.state == 'Z';
}

static void test_zombie_is_not_alive(void **state)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_true(reid_test_wait(is_zombie, &child, 10));
    assert_false(reidd_process_is_alive(child, 0));
    assert_int_equal(reidd_process_signal_descendants(getpid(), 0), 0);
    waitpid(child, NULL, 0);
    reidd_process gone;
    assert_false(reidd_process_read(child, &gone));
}

static bool no_descendants(void *unused)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    return reidd_process_signal_descendants(getpid(), SIGKILL) == 0;
}

/* A child, a grandchild in a session of its own, and one whose parent has died. */
static void test_descendants(void **state)
{
    int ready[2];
    char byte;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    assert_int_equal(pipe(ready), 0);
    if (fork() == 0) {
        if (fork() == 0) {
            setsid();
            if (fork() == 0) {
                if (write(ready[1], "x", 1) == 1)
                    pause();
                _exit(1);
            }
            _exit(0); /* an orphan for the reaper */
        }
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(reidd_process_signal_descendants(getpid(), 0) >= 2);
    assert_true(reid_test_wait(no_descendants, NULL, 10));
    close(ready[0]);
    close(ready[1]);
}

static bool is_marked(void *entry)
{
    return reidd_process_signal_by_environment(entry, 0) == 1;
}

static void test_by_environment(void **state)
{
    char entry[64], prefix[64];
    snprintf(entry, sizeof entry, "REIDD_TEST_MARK=%d", (int)getpid());
    snprintf(prefix, sizeof prefix, "REIDD_TEST_MARK=%d", (int)getpid() / 10);
    assert_int_equal(reidd_process_signal_by_environment(entry, SIGKILL), 0);
    pid_t child = fork();
    if (child == 0) {
        char *environment[] = {(char *)"A=1", entry, NULL};
        char *arguments[] = {(char *)"sleep", (char *)"100", NULL};
        execve("/bin/sleep", arguments, environment);
        _exit(127);
    }
    assert_true(reid_test_wait(is_marked, entry, 10)); /* the exec has happened */
    assert_int_equal(reidd_process_signal_by_environment(prefix, SIGKILL), 0);
    assert_int_equal(reidd_process_signal_by_environment(entry, SIGKILL), 1);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_zombie_is_not_alive),
        cmocka_unit_test(test_descendants),
        cmocka_unit_test(test_by_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
