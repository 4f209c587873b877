/* fake_reidd SOCKET: obeys lines of JSON on standard input and answers each with one line, "ok" or
 * what was asked for. Ends with its input.
 *
 *   {"do": "listen"}  {"do": "drop"}  {"do": "end_streams"}
 *   {"do": "job", "id", "name", "state", "phase", "ranks", "iteration", "max_iteration", …}   put
 *   {"do": "row", "id", "seq", "iteration", "epoch", "scalars": {name: value}}
 *   {"do": "rows", "id", "count"}           rows 1 to count with a falling total_loss
 *   {"do": "skip", "id", …}                 as "row", but followers are told that they missed it
 *   {"do": "log", "id", "rank", "text", "stderr"}
 *   {"do": "event", "id", "number", "kind", "detail"}   of the job
 *   {"do": "hook", "id", "hook", "name", "kind", "state", "calls", "seconds", "last_error", …}   of
 * the list
 *   {"do": "attached", "id", "hook", "iteration"}   all of these to the newest call of Attach
 *   {"do": "hook_event", "number", "point", "iteration", "scalars": {name: value}}
 *   {"do": "hook_events", "first", "count"}   answers how many the call took
 *   {"do": "notice", "state", "sentence"}
 *   {"do": "end_attach", "status", "sentence"}
 *   {"do": "attach"}                        what has come on it, as JSON
 *   {"do": "fail", "method": "JobService/Submit", "status": 6, "sentence"}   the next such call
 *   {"do": "streams"}                       how many are open
 *   {"do": "last"}                          the last request, as JSON
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/compiler.h"
#include "fake_reidd.h"

typedef struct script {
    fake_reidd reidd;
    uv_pipe_t input;
    reid_str pending;
    bool failed;
} script;

static int64_t get_int(const reid_json *line, const char *key)
{
    return reid_json_as_int(reid_json_get(line, key), 0);
}

static double get_double(const reid_json *line, const char *key)
{
    return reid_json_as_double(reid_json_get(line, key), 0);
}

static char *get_text(const reid_json *line, const char *key)
{
    return (char *)(uintptr_t)reid_json_as_string(reid_json_get(line, key), "");
}

static Reid__V1__Job *make_job(const reid_json *line)
{
    Reid__V1__Job job = REID__V1__JOB__INIT;
    Reid__V1__Progress progress = REID__V1__PROGRESS__INIT;
    Reid__V1__Failure failure = REID__V1__FAILURE__INIT;
    job.id = get_text(line, "id");
    job.name = get_text(line, "name");
    job.user = get_text(line, "user");
    job.detail = get_text(line, "detail");
    job.output_dir = get_text(line, "output_dir");
    job.config_yaml = get_text(line, "config_yaml");
    job.state = (Reid__V1__JobState)get_int(line, "state");
    job.phase = (Reid__V1__JobPhase)get_int(line, "phase");
    job.ranks = (int32_t)get_int(line, "ranks");
    job.attempt = (int32_t)get_int(line, "attempt");
    job.submitted_ms = get_int(line, "submitted_ms");
    job.started_ms = get_int(line, "started_ms");
    job.ended_ms = get_int(line, "ended_ms");
    job.exit_code = (int32_t)get_int(line, "exit_code");
    job.queue_position = (int32_t)get_int(line, "queue_position");
    progress.iteration = get_int(line, "iteration");
    progress.max_iteration = get_int(line, "max_iteration");
    progress.epoch = (int32_t)get_int(line, "epoch");
    progress.max_epoch = (int32_t)get_int(line, "max_epoch");
    progress.eta_seconds = get_double(line, "eta");
    progress.images_per_second = get_double(line, "rate");
    if (progress.max_iteration > 0)
        job.progress = &progress;
    failure.sentence = get_text(line, "failure");
    failure.rank = (int32_t)get_int(line, "culprit");
    if (*failure.sentence != '\0')
        job.failure = &failure;
    return (Reid__V1__Job *)fake_reidd_copy(&job.base);
}

static Reid__V1__MetricRow *make_row(const reid_json *line)
{
    Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
    Reid__V1__Scalar scalars[16], *pointers[16];
    const reid_json *values = reid_json_get(line, "scalars"), *value;
    row.attempt = (int32_t)reid_json_as_int(reid_json_get(line, "attempt"), 1);
    row.seq = get_int(line, "seq");
    row.iteration = get_int(line, "iteration");
    row.epoch = (int32_t)get_int(line, "epoch");
    row.wall_ms = get_int(line, "wall_ms");
    row.scalars = pointers;
    for (size_t i = 0; i < reid_json_count(values) && i < REID_COUNT_OF(scalars); i++) {
        reid__v1__scalar__init(&scalars[i]);
        scalars[i].name = (char *)(uintptr_t)reid_json_member(values, i, &value);
        scalars[i].value = reid_json_as_double(value, 0);
        pointers[row.n_scalars++] = &scalars[i];
    }
    return (Reid__V1__MetricRow *)fake_reidd_copy(&row.base);
}

static void put_rows(fake_job *of, int64_t count)
{
    char name[] = "total_loss";
    for (int64_t seq = 1; seq <= count; seq++) {
        Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT, *pointer = &scalar;
        Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
        scalar.name = name;
        scalar.value = 1000.0 / (double)(seq + 100);
        row.attempt = 1;
        row.seq = seq;
        row.iteration = seq - 1;
        row.scalars = &pointer;
        row.n_scalars = 1;
        fake_reidd_put_row(of, (Reid__V1__MetricRow *)fake_reidd_copy(&row.base));
    }
}

static Reid__V1__JobEvent *make_event(const reid_json *line)
{
    Reid__V1__JobEvent event = REID__V1__JOB_EVENT__INIT;
    event.number = get_int(line, "number");
    event.attempt = 1;
    event.wall_ms = get_int(line, "wall_ms");
    event.kind = get_text(line, "kind");
    event.detail = get_text(line, "detail");
    return (Reid__V1__JobEvent *)fake_reidd_copy(&event.base);
}

static Reid__V1__Hook *make_hook(const reid_json *line)
{
    Reid__V1__Hook hook = REID__V1__HOOK__INIT;
    Reid__V1__HookPoint points[] = {REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP,
                                    REID__V1__HOOK_POINT__HOOK_POINT_AFTER_EPOCH};
    hook.id = get_int(line, "hook");
    hook.name = get_text(line, "name");
    hook.kind = get_text(line, "kind");
    hook.state = (Reid__V1__HookState)get_int(line, "state");
    hook.points = points;
    hook.n_points = REID_COUNT_OF(points);
    hook.every = get_int(line, "every");
    hook.when = get_text(line, "when");
    hook.calls = get_int(line, "calls");
    hook.seconds = get_double(line, "seconds");
    hook.late = get_int(line, "late");
    hook.last_error = get_text(line, "last_error");
    return (Reid__V1__Hook *)fake_reidd_copy(&hook.base);
}

/* What the tests look at of the last request. */
static void answer_last(const ProtobufCMessage *request)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    fake_json_message(&w, request);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

static bool change_job(fake_reidd *reidd, const char *verb, const reid_json *line, fake_job *of)
{
    if (strcmp(verb, "row") == 0)
        fake_reidd_put_row(of, make_row(line));
    else if (strcmp(verb, "rows") == 0)
        put_rows(of, get_int(line, "count"));
    else if (strcmp(verb, "log") == 0)
        fake_reidd_put_log(of, (int32_t)get_int(line, "rank"),
                           reid_json_as_bool(reid_json_get(line, "stderr"), false),
                           get_text(line, "text"));
    else if (strcmp(verb, "skip") == 0)
        fake_reidd_put_row(of, make_row(line));
    else if (strcmp(verb, "event") == 0)
        reid_vec_push(&of->events, make_event(line));
    else if (strcmp(verb, "hook") == 0)
        reid_vec_push(&of->hooks, make_hook(line));
    else
        return false;
    if (strcmp(verb, "skip") == 0)
        fake_reidd_skip_rows(reidd, of);
    else
        fake_reidd_tell(reidd);
    return true;
}

/* False when the line is not understood. Prints the answer. */
static bool obey(fake_reidd *reidd, const reid_json *line)
{
    const char *verb = get_text(line, "do");
    reid_error err = {0};
    fake_job *of = fake_reidd_find(reidd, get_text(line, "id"));
    if (strcmp(verb, "streams") == 0) {
        printf("%zu\n", reidd->streams.count);
        return true;
    }
    if (strcmp(verb, "last") == 0) {
        answer_last(reidd->last_request);
        return true;
    }
    if (fake_attach_obey(&reidd->attach, verb, line))
        return true;
    if (strcmp(verb, "listen") == 0) {
        if (fake_reidd_listen(reidd, &err) != REID_OK)
            return false;
    } else if (strcmp(verb, "drop") == 0) {
        fake_reidd_drop(reidd);
    } else if (strcmp(verb, "end_streams") == 0) {
        fake_reidd_end_streams(reidd);
    } else if (strcmp(verb, "job") == 0) {
        fake_reidd_put_job(reidd, make_job(line));
        fake_reidd_tell(reidd);
    } else if (strcmp(verb, "fail") == 0) {
        free(reidd->failing_path);
        free(reidd->sentence);
        reidd->failing_path = reid_xasprintf("/reid.v1.%s", get_text(line, "method"));
        reidd->failure = (reid_status)get_int(line, "status");
        reidd->sentence = reid_xstrdup(get_text(line, "sentence"));
    } else if (of == NULL || !change_job(reidd, verb, line, of)) {
        return false;
    }
    puts("ok");
    return true;
}

static void obey_lines(script *s)
{
    char *text = s->pending.data, *end;
    while (!s->failed && text != NULL && (end = strchr(text, '\n')) != NULL) {
        reid_json *line = NULL;
        reid_error err = {0};
        s->failed = reid_json_parse(text, (size_t)(end - text), &line, &err) != REID_OK ||
                    !obey(&s->reidd, line);
        if (s->failed)
            fprintf(stderr, "fake_reidd: cannot obey %.*s %s\n", (int)(end - text), text, err.text);
        reid_json_free(line);
        text = end + 1;
    }
    fflush(stdout);
    if (text != NULL && !s->failed) {
        size_t left = strlen(text);
        memmove(s->pending.data, text, left + 1);
        s->pending.length = left;
    }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    *buffer = uv_buf_init(reid_xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    script *s = stream->data;
    if (size > 0) {
        reid_str_add_bytes(&s->pending, buffer->base, (size_t)size);
        obey_lines(s);
    }
    free(buffer->base);
    if ((size < 0 || s->failed) && !uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, NULL);
        fake_reidd_drop(&s->reidd);
    }
}

int main(int argc, char **argv)
{
    uv_loop_t loop;
    script s = {.reidd = {.loop = &loop, .path = argc > 1 ? argv[1] : ""}};
    reid_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    if (fake_reidd_listen(&s.reidd, &err) != REID_OK) {
        fprintf(stderr, "fake_reidd: %s\n", err.text);
        return 1;
    }
    uv_pipe_init(&loop, &s.input, 0);
    uv_pipe_open(&s.input, STDIN_FILENO);
    s.input.data = &s;
    uv_read_start((uv_stream_t *)&s.input, on_alloc, on_read);
    uv_run(&loop, UV_RUN_DEFAULT);
    fake_reidd_fini(&s.reidd);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    reid_str_fini(&s.pending);
    return s.failed ? 1 : 0;
}
