#include "hook/program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"

#define LINGER_MS 2000 /* for what still holds its output when it has gone */

enum { READ_END, WRITE_END };

struct reidctl_program {
    uv_process_t process;
    uv_pipe_t input, output;
    uv_timer_t timer;
    int open_handles;
    reidctl_program_events events;
    void *user;
    char *name;
    /* its output, as far as it was read */
    reid_str text;
    size_t taken; /* where the next line begins */
    bool output_ended;
    /* its end */
    bool exited, told_end, deaf, freed;
    int64_t exit_status;
    int signal;
    int next_signal; /* that the timer sends */
    unsigned grace_ms;
};

/* ---- handles ---- */

static void on_closed(uv_handle_t *handle)
{
    reidctl_program *p = handle->data;
    if (--p->open_handles > 0 || !p->freed)
        return;
    reid_str_fini(&p->text);
    free(p->name);
    free(p);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void adopt(reidctl_program *p, uv_handle_t *handle)
{
    handle->data = p;
    p->open_handles++;
}

/* ---- its end ---- */

static void tell_end(reidctl_program *p)
{
    if (p->told_end || !p->exited || !p->output_ended)
        return;
    p->told_end = true;
    uv_timer_stop(&p->timer);
    p->events.on_end(p->user);
}

static void on_timer(uv_timer_t *timer)
{
    reidctl_program *p = timer->data;
    if (p->exited) {
        p->output_ended = true;
        close_handle((uv_handle_t *)&p->output);
        tell_end(p);
        return;
    }
    kill(-p->process.pid, p->next_signal);
    p->next_signal = SIGKILL;
    uv_timer_start(timer, on_timer, p->grace_ms, 0);
}

static void on_exited(uv_process_t *process, int64_t exit_status, int signal)
{
    reidctl_program *p = process->data;
    p->exited = true;
    p->exit_status = exit_status;
    p->signal = signal;
    uv_timer_start(&p->timer, on_timer, LINGER_MS, 0);
    tell_end(p);
}

/* ---- its output ---- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    *buffer = uv_buf_init(reid_xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    reidctl_program *p = stream->data;
    if (size > 0)
        reid_str_add_bytes(&p->text, buffer->base, (size_t)size);
    free(buffer->base);
    if (size == 0)
        return;
    if (size < 0) {
        p->output_ended = true;
        close_handle((uv_handle_t *)stream);
    } else {
        uv_read_stop(stream);
    }
    p->events.on_readable(p->user);
    if (!p->freed)
        tell_end(p);
}

reid_status reidctl_program_next_line(reidctl_program *p, const char **ret_line, size_t *ret_length,
                                      reid_error *err)
{
    const char *start = p->text.data + p->taken;
    size_t left = p->text.length - p->taken;
    const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
    *ret_line = NULL;
    if ((end != NULL ? (size_t)(end - start) : left) > REIDCTL_PROGRAM_LINE_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a line of %s is longer than %u bytes", p->name,
                         REIDCTL_PROGRAM_LINE_BYTES);
    if (end != NULL || (left > 0 && p->output_ended)) {
        *ret_line = start;
        *ret_length = end != NULL ? (size_t)(end - start) : left;
        p->taken += *ret_length + (end != NULL);
        return REID_OK;
    }
    if (p->taken > 0) {
        memmove(p->text.data, start, left);
        p->text.length = left;
        p->taken = 0;
    }
    if (!p->output_ended)
        uv_read_start((uv_stream_t *)&p->output, on_alloc, on_read);
    return REID_OK;
}

/* ---- its input ---- */

typedef struct write_job {
    uv_write_t request;
    char bytes[];
} write_job;

static void on_written(uv_write_t *request, int status)
{
    reidctl_program *p = request->data;
    free(request);
    if (p->freed || status == UV_ECANCELED)
        return;
    if (status < 0) {
        p->deaf = true;
        close_handle((uv_handle_t *)&p->input);
    }
    p->events.on_written(p->user);
}

void reidctl_program_write(reidctl_program *p, const char *text, size_t length)
{
    if (uv_is_closing((uv_handle_t *)&p->input))
        return;
    write_job *job = reid_xmalloc(sizeof *job + length);
    memcpy(job->bytes, text, length);
    job->request.data = p;
    uv_buf_t buffer = uv_buf_init(job->bytes, (unsigned)length);
    if (uv_write(&job->request, (uv_stream_t *)&p->input, &buffer, 1, on_written) == 0)
        return;
    free(job);
    p->deaf = true;
    close_handle((uv_handle_t *)&p->input);
}

size_t reidctl_program_queued(const reidctl_program *p)
{
    return uv_is_closing((const uv_handle_t *)&p->input)
               ? 0
               : uv_stream_get_write_queue_size((const uv_stream_t *)&p->input);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    reidctl_program *p = request->data;
    free(request);
    if (status != UV_ECANCELED)
        close_handle((uv_handle_t *)&p->input);
}

void reidctl_program_close_input(reidctl_program *p)
{
    if (uv_is_closing((uv_handle_t *)&p->input) || !uv_is_writable((uv_stream_t *)&p->input))
        return;
    uv_shutdown_t *request = reid_xmalloc(sizeof *request);
    request->data = p;
    if (uv_shutdown(request, (uv_stream_t *)&p->input, on_shutdown) == 0)
        return;
    free(request);
    close_handle((uv_handle_t *)&p->input);
}

void reidctl_program_end(reidctl_program *p, unsigned grace_ms)
{
    reidctl_program_close_input(p);
    if (p->exited || uv_is_active((uv_handle_t *)&p->timer))
        return;
    p->grace_ms = grace_ms;
    p->next_signal = SIGTERM;
    uv_timer_start(&p->timer, on_timer, grace_ms, 0);
}

/* ---- life ---- */

/* Our ends of the pipes are non-blocking and ours alone; the others are the program's. */
static int make_pipes(uv_file ret_input[2], uv_file ret_output[2])
{
    int failure = uv_pipe(ret_input, 0, UV_NONBLOCK_PIPE);
    if (failure != 0)
        return failure;
    failure = uv_pipe(ret_output, UV_NONBLOCK_PIPE, 0);
    if (failure != 0) {
        close(ret_input[READ_END]);
        close(ret_input[WRITE_END]);
    }
    return failure;
}

static int spawn(reidctl_program *p, uv_loop_t *loop, char **argv, uv_file input, uv_file output)
{
    uv_stdio_container_t stdio[] = {
        {.flags = UV_INHERIT_FD, .data.fd = input},
        {.flags = UV_INHERIT_FD, .data.fd = output},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    const uv_process_options_t options = {
        .exit_cb = on_exited,
        .file = argv[0],
        .args = argv,
        .flags = UV_PROCESS_DETACHED,
        .stdio = stdio,
        .stdio_count = (int)REID_COUNT_OF(stdio),
    };
    int failure = uv_spawn(loop, &p->process, &options);
    adopt(p, (uv_handle_t *)&p->process);
    return failure;
}

reid_status reidctl_program_start(uv_loop_t *loop, char **argv,
                                  const reidctl_program_events *events, void *user,
                                  reidctl_program **ret_program, reid_error *err)
{
    uv_file in[2], out[2];
    int failure = make_pipes(in, out);
    if (failure != 0)
        return reid_fail(err, REID_ERR_EXHAUSTED, "cannot make a pipe: %s", uv_strerror(failure));
    reidctl_program *p = reid_xcalloc(1, sizeof *p);
    p->events = *events;
    p->user = user;
    p->name = reid_xstrdup(reid_path_base(argv[0]));
    uv_pipe_init(loop, &p->input, 0);
    uv_pipe_init(loop, &p->output, 0);
    uv_timer_init(loop, &p->timer);
    adopt(p, (uv_handle_t *)&p->input);
    adopt(p, (uv_handle_t *)&p->output);
    adopt(p, (uv_handle_t *)&p->timer);
    uv_pipe_open(&p->input, in[WRITE_END]);
    uv_pipe_open(&p->output, out[READ_END]);
    failure = spawn(p, loop, argv, in[READ_END], out[WRITE_END]);
    close(in[READ_END]);
    close(out[WRITE_END]);
    if (failure != 0) {
        p->exited = true; /* there is nothing to kill */
        reid_fail(err, REID_ERR_INVALID, "cannot run '%s': %s", argv[0], uv_strerror(failure));
        reidctl_program_free(p);
        return REID_ERR_INVALID;
    }
    uv_read_start((uv_stream_t *)&p->output, on_alloc, on_read);
    *ret_program = p;
    return REID_OK;
}

void reidctl_program_free(reidctl_program *p)
{
    if (p == NULL)
        return;
    if (!p->exited)
        kill(-p->process.pid, SIGKILL);
    p->freed = true;
    close_handle((uv_handle_t *)&p->process);
    close_handle((uv_handle_t *)&p->timer);
    close_handle((uv_handle_t *)&p->input);
    close_handle((uv_handle_t *)&p->output);
}

bool reidctl_program_has_ended(const reidctl_program *p)
{
    return p->told_end;
}

bool reidctl_program_is_cut_off(const reidctl_program *p)
{
    return p->deaf || p->output_ended;
}

bool reidctl_program_is_success(const reidctl_program *p)
{
    return p->exit_status == 0 && p->signal == 0;
}

void reidctl_program_add_end(const reidctl_program *p, reid_str *out)
{
    if (p->signal != 0)
        reid_str_addf(out, "%s was ended by signal %d (%s)", p->name, p->signal,
                      strsignal(p->signal));
    else
        reid_str_addf(out, "%s ended with exit status %lld", p->name, (long long)p->exit_status);
}

const char *reidctl_program_name(const reidctl_program *p)
{
    return p->name;
}
