/* What happens to all ranks when one is late, elsewhere, or gone. Each test starts mpirun and reads
 * what the ranks say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifndef RANKS /* a build without MPI */
int main(void)
{
    return 0;
}
#else

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "harness/harness.h"

#define SOON_S 12.0

extern char **environ;

typedef struct outcome {
    reid_str text; /* both outputs of all ranks */
    int code;
    double seconds;
} outcome;

static outcome run_ranks(const char *ranks, const char *name)
{
    const char *argv[] = {
        MPIRUN, "--allow-run-as-root", "--oversubscribe", "-np", ranks, RANKS, name, NULL};
    outcome o = {.text = REID_STR_INIT};
    int output[2], status;
    pid_t pid;
    double start = reid_clock_seconds();
    assert_int_equal(pipe2(output, 0), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, output[0]);
    posix_spawn_file_actions_addclose(&actions, output[1]);
    assert_int_equal(posix_spawn(&pid, MPIRUN, &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(output[1]);
    char buffer[4096];
    ssize_t got;
    while ((got = read(output[0], buffer, sizeof buffer)) > 0)
        reid_str_add_bytes(&o.text, buffer, (size_t)got);
    close(output[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    o.seconds = reid_clock_seconds() - start;
    return o;
}

static void check(const char *ranks, const char *name, int code, const char *sentence)
{
    outcome o = run_ranks(ranks, name);
    if (o.code != code || o.seconds > SOON_S || !strstr(reid_str_text(&o.text), sentence))
        fail_msg("'%s' ended with %d after %.1f s and said:\n%s", name, o.code, o.seconds,
                 reid_str_text(&o.text));
    reid_str_fini(&o.text);
}

static void test_absent_rank_is_named(void **state)
{
    check("2", "absent", 7,
          "rank 0 got timeout: all-reduce timed out after 0.5 s in phase training on rank 0: "
          "nothing came from rank 1\n");
    check("3", "absent", 7, "in phase training on rank 0: nothing came from rank 2\n");
}

static void test_rank_at_another_call_is_named(void **state)
{
    check("2", "elsewhere", 7,
          "barrier timed out after 0.5 s in phase evaluation on rank 0: nothing came from rank 1; "
          "rank 1 is at another "
          "call: all-gather\n");
}

static void test_different_sizes_are_told(void **state)
{
    check("2", "sizes", 7,
          "broadcast in phase start: rank 0 sent 10 bytes where rank 1 expects 20");
}

static void test_stopped_rank_is_named(void **state)
{
    check("2", "stopped", 7,
          "barrier timed out after 0.5 s in phase training on rank 0: nothing came from rank 1");
}

static void test_lost_bucket_is_told(void **state)
{
    check("2", "reducer_absent", 7,
          "all-reduce timed out after 0.5 s in phase training on rank 0: nothing came from rank 1");
}

static void test_killed_rank_ends_all(void **state)
{
    check("3", "killed", 137, "");
}

/* Killed ranks leave their shared memory and Open MPI's folders behind: both go with the test's own
 * folder. */
static int make_folder(void **state)
{
    char *folder = reid_test_dir_new();
    setenv("TMPDIR", folder, 1);
    setenv("OMPI_MCA_btl_vader_backing_directory", folder, 1);
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    reid_test_dir_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_rank_is_named),
        cmocka_unit_test(test_rank_at_another_call_is_named),
        cmocka_unit_test(test_different_sizes_are_told),
        cmocka_unit_test(test_stopped_rank_is_named),
        cmocka_unit_test(test_lost_bucket_is_told),
        cmocka_unit_test(test_killed_rank_ends_all),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
#endif
