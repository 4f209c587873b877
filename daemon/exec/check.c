#include "daemon/exec/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/access/run_as.h"

#define END_MS 1000 /* for what was killed to be gone; on a dead file server it may never be */
#define OUTPUT_LIMIT (16u << 10) /* the end of what the trainer says is kept */

struct reidd_check {
    uv_process_t process;
    uv_pipe_t output;
    uv_timer_t timer;
    reidd_check_on_done *on_done;
    void *user;
    uint64_t timeout_ms;
    reid_str text;
    char buffer[4096];
    int open; /* handles */
    bool exited, drained, late, cancelled, closing;
    int64_t exit_code;
    int term_signal;
};

static void on_closed(uv_handle_t *handle)
{
    reidd_check *check = handle->data;
    if (--check->open > 0)
        return;
    reid_str_fini(&check->text);
    free(check);
}

static void close_all(reidd_check *check)
{
    if (check->closing)
        return;
    check->closing = true;
    uv_close((uv_handle_t *)&check->process, on_closed);
    uv_close((uv_handle_t *)&check->output, on_closed);
    uv_close((uv_handle_t *)&check->timer, on_closed);
}

/* The last line that says something, without the program's name. */
static const char *last_words(reidd_check *check)
{
    if (check->text.length == 0)
        return "";
    char *line = reid_str_trim(check->text.data);
    char *newline = strrchr(line, '\n');
    line = reid_str_trim(newline ? newline + 1 : line);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    static const char name[] = "reid-train: ";
    return reid_str_starts(line, name) ? line + sizeof name - 1 : line;
}

static void judge(reidd_check *check, reid_error *result)
{
    const char *words = last_words(check);
    if (check->late)
        reid_fail(result, REID_ERR_TIMEOUT, "the check of the job did not end within %g s",
                  (double)check->timeout_ms / 1000.0);
    else if (check->term_signal)
        reid_fail(result, REID_ERR_INTERNAL, "the check of the job was ended by signal %d (%s)%s%s",
                  check->term_signal, strsignal(check->term_signal), *words ? ": " : "", words);
    else if (check->exit_code == 2 && *words)
        reid_fail(result, REID_ERR_PRECONDITION, "%s", words);
    else if (check->exit_code != 0)
        reid_fail(result, REID_ERR_INTERNAL, "the check of the job ended with exit code %d%s%s",
                  (int)check->exit_code, *words ? ": " : "", words);
}

static void finish_if_done(reidd_check *check)
{
    if (!check->exited || !check->drained || check->closing)
        return;
    close_all(check);
    if (check->cancelled)
        return;
    reid_error result = {0};
    judge(check, &result);
    check->on_done(&result, check->user);
}

/* It waits in the kernel, where a kill does not reach it: nobody waits for it here. */
static void give_up(reidd_check *check)
{
    reid_error result = {0};
    uv_unref((uv_handle_t *)&check->process); /* nor does the loop, at its end */
    uv_unref((uv_handle_t *)&check->output);
    if (check->cancelled)
        return;
    reid_fail(&result, REID_ERR_TIMEOUT,
              "the check of the job did not end within %g s, and cannot be killed: a file system "
              "that it looks at does not answer",
              (double)check->timeout_ms / 1000.0);
    check->cancelled = true;
    check->on_done(&result, check->user);
}

static void on_process_exit(uv_process_t *process, int64_t exit_status, int term_signal)
{
    reidd_check *check = process->data;
    check->exited = true;
    check->exit_code = exit_status;
    check->term_signal = term_signal;
    if (check->late || check->cancelled)
        check->drained = true; /* a child of it may hold the pipe open */
    finish_if_done(check);
}

static void on_late(uv_timer_t *timer)
{
    reidd_check *check = timer->data;
    if (check->late) {
        give_up(check);
        return;
    }
    check->late = true;
    if (check->exited) {
        check->late = check->exit_code != 0 || check->term_signal != 0;
        check->drained = true;
        finish_if_done(check);
        return;
    }
    uv_process_kill(&check->process, SIGKILL);
    uv_timer_start(timer, on_late, END_MS, 0);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    reidd_check *check = handle->data;
    *buffer = uv_buf_init(check->buffer, sizeof check->buffer);
}

static void on_output(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    reidd_check *check = stream->data;
    if (count < 0) {
        uv_read_stop(stream);
        check->drained = true;
        finish_if_done(check);
        return;
    }
    if (check->text.length + (size_t)count > OUTPUT_LIMIT)
        reid_str_clear(&check->text);
    reid_str_add_bytes(&check->text, buffer->base, (size_t)count);
}

static int spawn(reidd_check *check, uv_loop_t *loop, const reidd_check_spec *spec)
{
    char ranks[16], fork_iter[32];
    snprintf(ranks, sizeof ranks, "%d", spec->ranks);
    snprintf(fork_iter, sizeof fork_iter, "%lld", (long long)spec->fork_iter);
    char *before[REIDD_RUN_AS_WORDS];
    const char *arguments[16 + REIDD_RUN_AS_WORDS] = {0};
    int count = 0;
    if (spec->as) {
        reidd_run_as_words(spec->as, spec->shim, before);
        for (; count < REIDD_RUN_AS_WORDS; count++)
            arguments[count] = before[count];
    }
    const char *always[] = {spec->trainer, "--check-only",  "--world",
                            ranks,         "--config-file", spec->config_path};
    for (size_t i = 0; i < REID_COUNT_OF(always); i++)
        arguments[count++] = always[i];
    if (spec->resume)
        arguments[count++] = "--resume";
    if (spec->eval_only)
        arguments[count++] = "--eval-only";
    if (spec->fork_from) {
        arguments[count++] = "--fork-from";
        arguments[count++] = spec->fork_from;
    }
    if (spec->fork_from && spec->fork_iter > 0) {
        arguments[count++] = "--fork-iter";
        arguments[count++] = fork_iter;
    }
    char **environment = spec->as ? reidd_run_as_environment(spec->as) : NULL;
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&check->output},
    };
    const uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = arguments[0],
        .args = (char **)arguments,
        .env = environment,
        .cwd = spec->folder,
        .stdio_count = 3,
        .stdio = stdio,
    };
    int rc = uv_spawn(loop, &check->process, &options);
    for (int i = 0; spec->as && i < REIDD_RUN_AS_WORDS; i++)
        free(before[i]);
    reidd_run_as_environment_free(environment);
    return rc;
}

reid_status reidd_check_start(uv_loop_t *loop, const reidd_check_spec *spec,
                              reidd_check_on_done *on_done, void *user, reidd_check **ret_check,
                              reid_error *err)
{
    reidd_check *check = reid_xcalloc(1, sizeof *check);
    check->on_done = on_done;
    check->user = user;
    check->timeout_ms = spec->timeout_ms;
    check->process.data = check->output.data = check->timer.data = check;
    uv_pipe_init(loop, &check->output, 0);
    uv_timer_init(loop, &check->timer);
    check->open = 3;
    int rc = spawn(check, loop, spec);
    if (rc != 0) {
        close_all(check);
        return reid_fail_errno(err, -rc, "cannot start '%s', which checks jobs", spec->trainer);
    }
    uv_timer_start(&check->timer, on_late, spec->timeout_ms, 0);
    uv_read_start((uv_stream_t *)&check->output, give_buffer, on_output);
    *ret_check = check;
    return REID_OK;
}

void reidd_check_cancel(reidd_check *check)
{
    check->cancelled = true;
    if (check->exited) {
        close_all(check);
        return;
    }
    check->late = true;
    uv_process_kill(&check->process, SIGKILL);
    uv_timer_start(&check->timer, on_late, END_MS, 0);
}
