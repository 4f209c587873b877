/* A commit that is killed or fails at any of its steps leaves a usable checkpoint, and the next one
 * cleans up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "harness/harness.h"

enum { FLOATS = 5000, MOST_STEPS = 32 };

/* What happens at which step. */
typedef struct script {
    int at;    /* the step, counted from 1; 0: none */
    int error; /* with which it fails; 0: the process is killed */
    int step;
    char steps[MOST_STEPS][64];
    bool kill_in_fill;
} script;

static int play(void *user, const char *step)
{
    script *s = user;
    snprintf(s->steps[s->step % MOST_STEPS], sizeof s->steps[0], "%s", step);
    if (++s->step != s->at)
        return 0;
    if (s->error)
        return s->error;
    kill(getpid(), SIGKILL);
    return 0;
}

typedef struct content {
    float value;
    const script *script;
} content;

static reid_status fill(void *user, void *ret_data, size_t bytes, reid_error *err)
{
    const content *c = user;
    if (c->script && c->script->kill_in_fill)
        kill(getpid(), SIGKILL);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)ret_data)[i] = c->value;
    return REID_OK;
}

static reid_status save(const char *folder, const char *name, int64_t iteration, script *s,
                        bool no_exchange, reid_error *err)
{
    reid_checkpoint_writer *writer = NULL;
    reid_checkpoint_options options = {
        .world_size = 1, .iteration = iteration, .mark_last = true, .no_exchange = no_exchange};
    if (s) {
        options.fault = play;
        options.fault_user = s;
    }
    content c = {(float)iteration, s};
    reid_safetensors_item first = {.name = "a",
                                   .dtype = REID_SAFETENSORS_F32,
                                   .rank = 1,
                                   .shape = {FLOATS},
                                   .fill = fill,
                                   .user = &(content){(float)iteration, NULL}};
    reid_safetensors_item second = first;
    second.name = "b";
    second.user = &c;
    REID_TRY(reid_checkpoint_writer_begin(folder, name, &options, &writer, err));
    reid_status status =
        reid_checkpoint_writer_add_tensor(writer, "model.safetensors", &first, err);
    if (status == REID_OK)
        status = reid_checkpoint_writer_add_tensor(writer, "model.safetensors", &second, err);
    if (status == REID_OK)
        status = reid_checkpoint_writer_add_text(writer, "state.json", "{}", 2, err);
    if (status == REID_OK)
        status = reid_checkpoint_writer_commit(writer, err);
    reid_checkpoint_writer_free(writer);
    return status;
}

/* The iteration of the newest checkpoint, whose data must be that iteration's; -1: there is none.
 */
static int64_t latest(const char *folder)
{
    static const int64_t shape[] = {FLOATS};
    float data[FLOATS];
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    reid_status status = reid_checkpoint_latest(folder, &checkpoint, &err);
    if (status == REID_ERR_NOT_FOUND)
        return -1;
    reid_assert_ok(status, &err);
    int64_t iteration = reid_checkpoint_info_of(checkpoint)->iteration;
    for (int i = 0; i < 2; i++) {
        reid_assert_ok(reid_checkpoint_tensor(checkpoint, "model.safetensors", i ? "b" : "a",
                                              REID_SAFETENSORS_F32, 1, shape, data, &err),
                       &err);
        assert_true(data[0] == (float)iteration && data[FLOATS - 1] == (float)iteration);
    }
    reid_checkpoint_free(checkpoint);
    return iteration;
}

static size_t count_hidden(const char *folder)
{
    reid_dir_entry *entries;
    size_t count, hidden = 0;
    assert_int_equal(reid_dir_list(folder, &entries, &count, NULL), REID_OK);
    for (size_t i = 0; i < count; i++)
        hidden += entries[i].name[0] == '.';
    reid_dir_free(entries, count);
    return hidden;
}

/* Saves in a child that the script kills. Returns whether it was killed. */
static bool save_in_child(const char *folder, const char *name, int64_t iteration, script s,
                          bool no_exchange)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(save(folder, name, iteration, &s, no_exchange, NULL) == REID_OK ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* For each step k: an old state, a save of `name` killed at k, then: the old or the new state is
 * there, whole; another save works and leaves nothing behind. */
static void kill_at_each_step(const char *old_name, const char *name, bool no_exchange,
                              int least_steps)
{
    bool killed = true;
    int seen_old = 0, seen_new = 0, k = 1;
    for (; killed; k++) {
        char *folder = reid_test_dir_new();
        reid_error err = {0};
        if (old_name)
            reid_assert_ok(save(folder, old_name, 10, NULL, false, &err), &err);
        killed = save_in_child(folder, name, 20, (script){.at = k}, no_exchange);
        int64_t found = latest(folder);
        assert_true(found == (old_name ? 10 : -1) || found == 20);
        assert_true(killed || found == 20);
        seen_old += found != 20;
        seen_new += found == 20;
        reid_assert_ok(save(folder, "model_0099", 30, NULL, no_exchange, &err), &err);
        assert_int_equal(latest(folder), 30);
        assert_int_equal(count_hidden(folder), 0);
        reid_test_dir_free(folder);
    }
    assert_true(k - 2 >= least_steps); /* that many kills */
    assert_true(seen_old > 3 && seen_new >= 1);
}

static void test_kill_of_the_first_checkpoint(void **state)
{
    kill_at_each_step(NULL, "model_0000", false, 8);
}

static void test_kill_of_a_further_checkpoint(void **state)
{
    kill_at_each_step("model_0000", "model_0001", false, 8);
}

static void test_kill_of_a_replacement_by_exchange(void **state)
{
    kill_at_each_step("model_best", "model_best", false, 9);
}

static void test_kill_of_a_replacement_by_two_renames(void **state)
{
    kill_at_each_step("model_best", "model_best", true, 11);
}

static void test_kill_in_the_middle_of_a_file(void **state)
{
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    reid_assert_ok(save(folder, "model_0000", 10, NULL, false, &err), &err);
    assert_true(save_in_child(folder, "model_0001", 20, (script){.kill_in_fill = true}, false));
    assert_int_equal(count_hidden(folder), 1);
    assert_int_equal(latest(folder), 10);
    assert_int_equal(count_hidden(folder), 1); /* a reader leaves it alone */
    reid_assert_ok(save(folder, "model_0002", 30, NULL, false, &err), &err);
    assert_int_equal(count_hidden(folder), 0);
    reid_test_dir_free(folder);
}

/* Each step fails with a full disk: a clear sentence, the old state, no litter, and the next commit
 * works. */
static void fail_at_each_step(bool no_exchange)
{
    bool failed = true;
    for (int k = 1; failed; k++) {
        char *folder = reid_test_dir_new();
        reid_error err = {0};
        script s = {.at = k, .error = ENOSPC};
        reid_assert_ok(save(folder, "model_best", 10, NULL, false, &err), &err);
        reid_status status = save(folder, "model_best", 20, &s, no_exchange, &err);
        failed = status != REID_OK;
        if (failed) {
            assert_int_equal(status, REID_ERR_EXHAUSTED);
            assert_non_null(strstr(err.text, "cannot save the checkpoint"));
            assert_non_null(strstr(err.text, "No space left on device"));
        }
        bool in_place = strncmp(s.steps[s.step - 1], "sync ", 5) == 0 && s.step > 5;
        in_place = in_place || strncmp(s.steps[s.step - 1], "mark", 4) == 0 ||
                   strncmp(s.steps[s.step - 1], "remove", 6) == 0;
        assert_int_equal(latest(folder), in_place || !failed ? 20 : 10);
        if (!in_place)
            assert_int_equal(count_hidden(folder), 0);
        reid_error_clear(&err);
        reid_assert_ok(save(folder, "model_best", 30, NULL, no_exchange, &err), &err);
        assert_int_equal(latest(folder), 30);
        assert_int_equal(count_hidden(folder), 0);
        reid_test_dir_free(folder);
    }
}

static void test_a_full_disk_at_each_step(void **state)
{
    fail_at_each_step(false);
    fail_at_each_step(true);
}

/* A real limit of the system, reached in the middle of the file of tensors. */
static void test_a_file_that_cannot_grow(void **state)
{
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    int status;
    reid_assert_ok(save(folder, "model_0000", 10, NULL, false, &err), &err);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){30000, 30000});
        reid_status got = save(folder, "model_0000", 20, NULL, false, &err);
        _exit(got == REID_ERR_IO && strstr(err.text, "model.safetensors") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(latest(folder), 10);
    assert_int_equal(count_hidden(folder), 0);
    reid_test_dir_free(folder);
}

/* root may write everywhere: the test becomes somebody else in a child. */
static void test_a_folder_that_may_not_be_written(void **state)
{
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    int status;
    reid_assert_ok(save(folder, "model_0000", 10, NULL, false, &err), &err);
    assert_int_equal(chmod(folder, 0555), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(2);
        reid_status got = save(folder, "model_0001", 20, NULL, false, &err);
        _exit(got == REID_ERR_PERMISSION && strstr(err.text, "cannot make the folder") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(latest(folder), 10);
    assert_int_equal(chmod(folder, 0755), 0);
    reid_test_dir_free(folder);
}

/* A folder that a living writer fills is not removed by another writer, nor an old one put back
 * over its head. */
static void test_living_writers_are_left_alone(void **state)
{
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *name = reid_folder_name(REID_FOLDER_NEW, "model_0005");
    REID_AUTOFREE char *busy = reid_path_join(folder, name);
    reid_error err = {0};
    int lock;
    reid_assert_ok(reid_folder_make(busy, &lock, &err), &err);
    reid_assert_ok(save(folder, "model_0000", 10, NULL, false, &err), &err);
    assert_true(reid_path_is_dir(busy));
    REID_AUTOFREE char *old_name = reid_folder_name(REID_FOLDER_OLD, "model_0005");
    REID_AUTOFREE char *old = reid_path_join(folder, old_name);
    REID_AUTOFREE char *from = reid_path_join(folder, "model_0000");
    REID_AUTOFREE char *mark = reid_path_join(folder, "last_checkpoint");
    assert_int_equal(rename(from, old), 0);
    assert_int_equal(unlink(mark), 0);
    assert_int_equal(latest(folder), -1);
    close(lock);
    assert_int_equal(latest(folder), 10); /* put back as model_0005 */
    reid_assert_ok(save(folder, "model_0001", 20, NULL, false, &err), &err);
    assert_int_equal(count_hidden(folder), 0);
    reid_test_dir_free(folder);
}

/* Names that only look alike stay. */
static void test_other_hidden_folders_stay(void **state)
{
    static const char *const names[] = {".tmp-",    ".tmp-x",   ".tmp-1",     ".tmp--1",
                                        ".tmp-x-y", ".old-x-0", ".cache-a-1", ".tmp-x-12z"};
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        REID_AUTOFREE char *path = reid_path_join(folder, names[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    reid_assert_ok(save(folder, "model_0000", 10, NULL, false, &err), &err);
    assert_int_equal(count_hidden(folder), sizeof names / sizeof *names);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill_of_the_first_checkpoint),
        cmocka_unit_test(test_kill_of_a_further_checkpoint),
        cmocka_unit_test(test_kill_of_a_replacement_by_exchange),
        cmocka_unit_test(test_kill_of_a_replacement_by_two_renames),
        cmocka_unit_test(test_kill_in_the_middle_of_a_file),
        cmocka_unit_test(test_a_full_disk_at_each_step),
        cmocka_unit_test(test_a_file_that_cannot_grow),
        cmocka_unit_test(test_a_folder_that_may_not_be_written),
        cmocka_unit_test(test_living_writers_are_left_alone),
        cmocka_unit_test(test_other_hidden_folders_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
