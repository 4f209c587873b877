#include "support/reidd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/process.h"
#include "harness/harness.h"

#define WAIT_S 120

int test_reidd_set_up(void **state)
{
    test_reidd *t = reid_xcalloc(1, sizeof *t);
    t->folder = reid_test_dir_new();
    t->state_dir = reid_path_join(t->folder, "state");
    t->socket = reid_path_join(t->folder, "r.sock");
    t->address = reid_xasprintf("unix:%s", t->socket);
    *state = t;
    return 0;
}

static char *mark_entry(test_reidd *t)
{
    return reid_xasprintf("TEST_OF_REIDD=%s", t->folder);
}

typedef struct runs_context {
    char *entry;
    int signal;
    int clear_looks;
} runs_context;

static bool nothing_runs(void *context)
{
    runs_context *c = context;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    /* A process in the middle of an exec cannot be seen: look twice. */
    c->clear_looks =
        reidd_process_signal_by_environment(c->entry, c->signal) ? 0 : c->clear_looks + 1;
    return c->clear_looks > 1;
}

bool test_nothing_runs(test_reidd *t)
{
    runs_context context = {.entry = mark_entry(t)};
    bool nothing = !nothing_runs(&context) && nothing_runs(&context);
    free(context.entry);
    return nothing;
}

static void print_log(test_reidd *t)
{
    char *log = reid_path_join(t->folder, "reidd.log");
    char *text = reid_test_read_text(log);
    fprintf(stderr, "%s", text);
    free(text);
    free(log);
}

/* The daemon must end well; under a sanitizer that also says that it leaks nothing. */
static bool end_well(test_reidd *t)
{
    int status = 0;
    double until = reid_clock_seconds() + WAIT_S;
    kill(t->pid, SIGTERM);
    while (waitpid(t->pid, &status, WNOHANG) != t->pid) {
        if (reid_clock_seconds() > until)
            return false;
        usleep(2000);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int test_reidd_tear_down(void **state)
{
    test_reidd *t = *state;
    bool well = t->pid == 0 || end_well(t);
    if (!well)
        print_log(t);
    reid_rpc_client_free(t->client);
    runs_context context = {.entry = mark_entry(t), .signal = SIGKILL};
    reid_test_wait(nothing_runs, &context, WAIT_S);
    free(context.entry);
    reid_test_dir_free(t->folder);
    free(t->state_dir);
    free(t->socket);
    free(t->address);
    for (int i = 0; t->options[i]; i++)
        free(t->options[i]);
    free(t);
    return well ? 0 : -1;
}

void test_reidd_option(test_reidd *t, const char *word)
{
    int count = 0;
    while (t->options[count])
        count++;
    assert_true(count < 15);
    t->options[count] = reid_xstrdup(word);
}

static _Noreturn void become_reidd(test_reidd *t)
{
    char *log = reid_path_join(t->folder, "reidd.log");
    char *words[32] = {
        (char *)REIDD,  (char *)"--state-dir", t->state_dir,         (char *)"--socket",
        t->socket,      (char *)"--trainer",   (char *)FAKE_TRAINER, (char *)"--log-level",
        (char *)"debug"};
    int count = 9;
    for (int i = 0; t->options[i]; i++)
        words[count++] = t->options[i];
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    setenv("TEST_OF_REIDD", t->folder, 1);
    execv(REIDD, words);
    _exit(127);
}

void test_reidd_start(test_reidd *t)
{
    t->pid = fork();
    if (t->pid == 0)
        become_reidd(t);
    double until = reid_clock_seconds() + WAIT_S;
    reid_error err = {0};
    while (reid_rpc_client_connect(t->address, 1000, &t->client, &err) != REID_OK) {
        if (waitpid(t->pid, NULL, WNOHANG) == t->pid || reid_clock_seconds() > until) {
            print_log(t);
            fail_msg("reidd did not start: %s", err.text);
        }
        reid_error_clear(&err);
    }
}

static void disconnect(test_reidd *t)
{
    reid_rpc_client_free(t->client);
    t->client = NULL;
    t->pid = 0;
}

void test_reidd_kill(test_reidd *t)
{
    assert_int_equal(kill(t->pid, SIGKILL), 0);
    assert_int_equal(waitpid(t->pid, NULL, 0), t->pid);
    disconnect(t);
}

int test_reidd_stop(test_reidd *t, double within_s)
{
    int status = 0;
    double until = reid_clock_seconds() + within_s;
    assert_int_equal(kill(t->pid, SIGTERM), 0);
    while (waitpid(t->pid, &status, WNOHANG) != t->pid) {
        if (reid_clock_seconds() > until)
            fail_msg("reidd did not end within %g s", within_s);
        usleep(2000);
    }
    disconnect(t);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- jobs ---- */

char *test_job_folder(test_reidd *t, int number)
{
    return reid_xasprintf("%s/out-%d", t->folder, number);
}

reid_status test_submit_raw(test_reidd *t, const Reid__V1__SubmitRequest *request,
                            Reid__V1__Job **ret_job, reid_error *err)
{
    return reid_rpc_client_unary(t->client, "/reid.v1.JobService/Submit", &request->base,
                                 &reid__v1__job__descriptor, WAIT_S * 1000,
                                 (ProtobufCMessage **)ret_job, err);
}

char *test_submit(test_reidd *t, const char *name, int ranks, const char *script)
{
    char *folder = test_job_folder(t, ++t->jobs);
    free(reid_test_write_text(folder, "script", script));
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    request.name = (char *)name;
    request.config_yaml = yaml;
    request.ranks = ranks;
    reid_assert_ok(test_submit_raw(t, &request, &job, &err), &err);
    char *id = reid_xstrdup(job->id);
    reid__v1__job__free_unpacked(job, NULL);
    free(folder);
    free(yaml);
    return id;
}

Reid__V1__Job *test_get(test_reidd *t, const char *id)
{
    Reid__V1__GetJobRequest request = REID__V1__GET_JOB_REQUEST__INIT;
    Reid__V1__Job *job = NULL;
    reid_error err = {0};
    request.id = (char *)id;
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.JobService/Get", &request.base,
                                         &reid__v1__job__descriptor, WAIT_S * 1000,
                                         (ProtobufCMessage **)&job, &err),
                   &err);
    return job;
}

/* Over Watch, so that the test sees it as soon as it is so. */
Reid__V1__Job *test_wait_state(test_reidd *t, const char *id, Reid__V1__JobState wanted)
{
    Reid__V1__WatchJobRequest request = REID__V1__WATCH_JOB_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    request.id = (char *)id;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Watch", &request.base,
                                         &reid__v1__job__descriptor, &stream, &err),
                   &err);
    for (;;) {
        Reid__V1__Job *job = NULL;
        reid_assert_ok(reid_rpc_client_next(stream, WAIT_S * 1000, (ProtobufCMessage **)&job, &err),
                       &err);
        if (!job)
            fail_msg("job %s ended, but not as %d", id, (int)wanted);
        if (job->state == wanted) {
            reid_rpc_client_stop(stream);
            return job;
        }
        if (job->state > REID__V1__JOB_STATE__JOB_STATE_RUNNING)
            fail_msg("job %s is in state %d: %s", id, (int)job->state, job->detail);
        reid__v1__job__free_unpacked(job, NULL);
    }
}

void test_expect_state(test_reidd *t, const char *id, Reid__V1__JobState wanted)
{
    reid__v1__job__free_unpacked(test_wait_state(t, id, wanted), NULL);
}

reid_status test_cancel(test_reidd *t, const char *id, double grace_s, const char *reason,
                        reid_error *err)
{
    Reid__V1__CancelJobRequest request = REID__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *job = NULL;
    request.id = (char *)id;
    request.grace_seconds = grace_s;
    request.reason = (char *)reason;
    reid_status status =
        reid_rpc_client_unary(t->client, "/reid.v1.JobService/Cancel", &request.base,
                              &reid__v1__job__descriptor, WAIT_S * 1000, &job, err);
    if (job)
        protobuf_c_message_free_unpacked(job, NULL);
    return status;
}

/* ---- marks ---- */

static bool path_is_there(void *path)
{
    return reid_path_exists(path);
}

pid_t test_wait_mark(test_reidd *t, int number, const char *name)
{
    char *folder = test_job_folder(t, number);
    char *path = reid_path_join(folder, name);
    if (!reid_test_wait(path_is_there, path, WAIT_S))
        fail_msg("job %d did not come to '%s'", number, name);
    char *text = reid_test_read_text(path);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    free(path);
    free(folder);
    return pid;
}

void test_give_mark(test_reidd *t, int number, const char *name)
{
    char *folder = test_job_folder(t, number);
    free(reid_test_write_text(folder, name, ""));
    free(folder);
}

/* ---- rows ---- */

char *test_metrics(test_reidd *t, const char *id, int attempt, int64_t seq, const char *name)
{
    Reid__V1__MetricsRequest request = REID__V1__METRICS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    reid_str text = REID_STR_INIT;
    char *names[] = {(char *)name};
    request.id = (char *)id;
    request.attempt = attempt;
    request.seq = seq;
    request.n_names = name ? 1 : 0;
    request.names = names;
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.JobService/Metrics", &request.base,
                                         &reid__v1__metrics_chunk__descriptor, &stream, &err),
                   &err);
    for (;;) {
        Reid__V1__MetricsChunk *chunk = NULL;
        reid_assert_ok(
            reid_rpc_client_next(stream, WAIT_S * 1000, (ProtobufCMessage **)&chunk, &err), &err);
        if (!chunk)
            break;
        for (size_t i = 0; i < chunk->n_rows; i++)
            reid_str_addf(&text, "%d.%lld:%lld ", chunk->rows[i]->attempt,
                          (long long)chunk->rows[i]->seq, (long long)chunk->rows[i]->iteration);
        reid__v1__metrics_chunk__free_unpacked(chunk, NULL);
    }
    reid_rpc_client_stop(stream);
    reid_str_add(&text, "");
    return reid_str_take(&text);
}

char *test_rows_expected(int attempt, int64_t first, int64_t last)
{
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, "");
    for (int64_t seq = first; seq <= last; seq++)
        reid_str_addf(&text, "%d.%lld:%lld ", attempt, (long long)seq, (long long)seq - 1);
    return reid_str_take(&text);
}

bool test_has_mpirun(void)
{
    const char *path = getenv("PATH");
    while (path && *path) {
        size_t length = strcspn(path, ":");
        char *program = reid_xasprintf("%.*s/mpirun", (int)length, path);
        bool found = access(program, X_OK) == 0;
        free(program);
        if (found)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}
