#include "hook/attach.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "connect.h"
#include "hook/lines.h"
#include "hook/program.h"
#include "hook/verdict.h"
#include "out/text.h"
#include "rpc/channel.h"

#define EVENTS_WAITING 64             /* for the program's answer */
#define BYTES_TO_PROGRAM (256u << 10) /* for the program to read */
#define BYTES_TO_REIDD (512u << 10)   /* over a quarter of the stream's queue, see on_drain */
#define PROGRAM_GRACE_MS 5000         /* to end in, once its input has */
#define ERROR_GRACE_MS 5000           /* for an event to come that an error can answer */
#define GREETING_MS 100               /* for an answer to "attached" before the first event */

typedef enum attach_phase {
    JOINING, /* until "attached" */
    RUNNING,
    FAILING, /* the next event is answered with the error */
    LEAVING, /* nothing is sent any more */
} attach_phase;

typedef struct attach {
    reidctl *ctl;
    const Reid__V1__RegisterHook *request;
    uv_loop_t loop;
    reid_rpc_channel *channel;
    reid_rpc_stream *stream; /* NULL once it has ended */
    reidctl_program *program;
    uv_signal_t signals[3];
    uv_timer_t timer;
    attach_phase phase;
    int code;
    bool attached, interrupted, finished;
    bool greeted; /* one line more was answered than there were events: "attached" */
    bool settled; /* what the end of the program means has been seen to */
    /* Events that the program has not answered: a ring. */
    int64_t waiting[EVENTS_WAITING];
    size_t first, count;
    int64_t seen, missed;
    reidctl_verdict verdict; /* of the first of them, as far as it goes */
    reid_error failure;      /* of the program */
} attach;

static void say(const char *sentence)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, sentence);
    fflush(stdout);
    fprintf(stderr, "reidctl: %s\n", reid_str_text(&text));
    reid_str_fini(&text);
}

static void let_events_in(attach *a)
{
    if (a->stream != NULL)
        reid_rpc_stream_pause(a->stream, false);
}

/* ---- verdicts ---- */

/* Answers the event that has waited longest with what is in a->verdict. */
static void answer(attach *a)
{
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict =
        (Reid__V1__HookVerdict *)reidctl_verdict_message(&a->verdict, a->waiting[a->first]);
    a->first = (a->first + 1) % EVENTS_WAITING;
    a->count--;
    if (a->stream != NULL)
        reid_rpc_stream_send(a->stream, &up.base);
    reidctl_verdict_fini(&a->verdict);
}

/* Leaves well: nothing waits for an answer any more, and the server removes the hook. */
static void leave(attach *a)
{
    if (a->phase == LEAVING)
        return;
    uv_timer_stop(&a->timer);
    let_events_in(a);
    while (a->count > 0)
        answer(a);
    if (a->stream != NULL && a->attached)
        reid_rpc_stream_half_close(a->stream);
    else if (a->stream != NULL)
        reid_rpc_stream_cancel(a->stream); /* there is no hook yet */
    a->phase = LEAVING;
}

/* An event waits: it is answered with the failure. */
static void leave_with_error(attach *a)
{
    reidctl_verdict_fail(&a->verdict, a->failure.text);
    answer(a);
    leave(a);
}

static void on_error_grace(uv_timer_t *timer)
{
    leave(timer->data);
}

/* The program cannot go on as a hook; a->failure says why. */
static void fail(attach *a)
{
    a->code = REIDCTL_FAILED;
    say(a->failure.text);
    let_events_in(a);
    reidctl_program_end(a->program, PROGRAM_GRACE_MS);
    if (a->stream == NULL || !a->attached) {
        leave(a);
    } else if (a->count > 0) {
        leave_with_error(a);
    } else {
        a->phase = FAILING;
        if (a->request->on_error != REID__V1__HOOK_POLICY__HOOK_POLICY_FAIL)
            uv_timer_start(&a->timer, on_error_grace, ERROR_GRACE_MS, 0);
    }
}

/* ---- the program's lines ---- */

static void on_greeting_grace(uv_timer_t *timer)
{
    let_events_in(timer->data);
}

static reid_status take_line(attach *a, const char *line, size_t length, reid_error *err)
{
    if (a->count == 0 && a->greeted)
        return reid_fail(err, REID_ERR_INVALID, "%s wrote a line that answers nothing: %.*s",
                         reidctl_program_name(a->program), (int)REID_MIN(length, (size_t)100),
                         line);
    if (reidctl_verdict_add(&a->verdict, line, length, err) != REID_OK)
        return reid_error_prefix(err, "%s wrote what no hook may answer",
                                 reidctl_program_name(a->program));
    if (a->count > 0) {
        answer(a);
        return REID_OK;
    }
    a->greeted = true;
    let_events_in(a);
    if (a->verdict.error != NULL)
        return reid_fail(err, REID_ERR_INTERNAL, "%s", a->verdict.error);
    if (a->seen == 0)
        reidctl_verdict_fini(&a->verdict);
    return REID_OK;
}

/* All lines that there are and that reidd has room for. False: some have to wait. */
static bool take_lines(attach *a)
{
    for (;;) {
        const char *line;
        size_t length;
        reid_error err = {0};
        bool counts = a->phase == RUNNING && a->stream != NULL;
        if (counts && reid_rpc_stream_queued(a->stream) > BYTES_TO_REIDD)
            return false;
        reid_status status = reidctl_program_next_line(a->program, &line, &length, &err);
        if (status == REID_OK && line == NULL)
            return true;
        if (counts && status == REID_OK)
            status = take_line(a, line, length, &err);
        if (status == REID_OK)
            continue;
        if (counts) {
            a->failure = err;
            fail(a);
        }
        return true;
    }
}

/* What follows from where stream and program are. */
static void look(attach *a)
{
    if (!take_lines(a))
        return;
    bool ended = reidctl_program_has_ended(a->program);
    if (!ended && reidctl_program_is_cut_off(a->program))
        reidctl_program_end(a->program, PROGRAM_GRACE_MS);
    if (ended && !a->settled) {
        a->settled = true;
        bool well = reidctl_program_is_success(a->program);
        bool needed = a->stream != NULL && (a->phase == JOINING || a->phase == RUNNING);
        reid_str text = REID_STR_INIT;
        reidctl_program_add_end(a->program, &text);
        if (!well && !a->interrupted && a->failure.code == REID_OK) {
            reid_fail(&a->failure, REID_ERR_INTERNAL, "%s", reid_str_text(&text));
            needed ? fail(a) : say(reid_str_text(&text));
        } else if (needed) {
            leave(a);
        }
        reid_str_fini(&text);
    }
    if (ended && a->stream == NULL)
        uv_stop(&a->loop);
}

static void on_program(void *user)
{
    look(user);
}

/* ---- the stream ---- */

static void take_attached(attach *a, const Reid__V1__HookAttached *attached)
{
    reid_str line = REID_STR_INIT;
    reidctl_add_attached_line(&line, attached);
    if (reidctl_output_is(a->ctl, "json"))
        fputs(reid_str_text(&line), stdout);
    else
        printf("%lld\n", (long long)attached->hook);
    fflush(stdout);
    a->attached = true;
    if (a->phase == JOINING) {
        a->phase = RUNNING;
        reidctl_program_write(a->program, line.data, line.length);
        /* A program that answers "attached" should have time to do so; others cost one wait. */
        double seconds = a->request->deadline_seconds;
        uint64_t wait_ms = GREETING_MS;
        if (!a->request->asynchronous)
            wait_ms = (uint64_t)REID_MIN(GREETING_MS, (seconds > 0 ? seconds : 1) * 250);
        reid_rpc_stream_pause(a->stream, true);
        uv_timer_start(&a->timer, on_greeting_grace, wait_ms, 0);
    }
    reid_str_fini(&line);
}

static void take_event(attach *a, const Reid__V1__HookEvent *event)
{
    if (a->phase != RUNNING && a->phase != FAILING)
        return;
    if (a->count == EVENTS_WAITING || reidctl_program_queued(a->program) > BYTES_TO_PROGRAM) {
        a->missed++;
        return;
    }
    a->seen++;
    a->waiting[(a->first + a->count++) % EVENTS_WAITING] = event->number;
    if (a->phase == FAILING) {
        leave_with_error(a);
        return;
    }
    reid_str line = REID_STR_INIT;
    reidctl_add_event_line(&line, event);
    reidctl_program_write(a->program, line.data, line.length);
    reid_str_fini(&line);
}

static void take_notice(attach *a, const Reid__V1__HookNotice *notice)
{
    static const char *const states[] = {
        [REID__V1__HOOK_STATE__HOOK_STATE_ENABLED] = "called again",
        [REID__V1__HOOK_STATE__HOOK_STATE_DISABLED] = "not called any more until it is enabled",
        [REID__V1__HOOK_STATE__HOOK_STATE_REMOVED] = "removed",
    };
    bool known = notice->state > 0 && (size_t)notice->state < REID_COUNT_OF(states);
    if (!known || a->phase == LEAVING)
        return;
    char *sentence = reid_xasprintf("the hook is %s%s%s", states[notice->state],
                                    *notice->sentence != '\0' ? ": " : "", notice->sentence);
    say(sentence);
    free(sentence);
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *message, void *user)
{
    const Reid__V1__HookDown *down = (const Reid__V1__HookDown *)message;
    attach *a = user;
    if (down->kind_case == REID__V1__HOOK_DOWN__KIND_ATTACHED)
        take_attached(a, down->attached);
    else if (down->kind_case == REID__V1__HOOK_DOWN__KIND_EVENT)
        take_event(a, down->event);
    else if (down->kind_case == REID__V1__HOOK_DOWN__KIND_NOTICE)
        take_notice(a, down->notice);
}

static void on_drain(reid_rpc_stream *stream, void *user)
{
    look(user);
}

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    attach *a = user;
    a->stream = NULL;
    if (a->finished)
        return;
    if (end->code != REID_OK && !(end->code == REID_ERR_CANCELLED && a->phase == LEAVING)) {
        int code = reidctl_report(end);
        a->code = a->code == REIDCTL_OK ? code : a->code;
    } else if (end->code == REID_OK && a->phase == JOINING) {
        say("the job ended before the hook was attached");
        a->code = REIDCTL_FAILED;
    }
    reidctl_program_end(a->program, PROGRAM_GRACE_MS);
    look(a);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    attach *a = handle->data;
    if (a->interrupted) {
        uv_stop(&a->loop);
        return;
    }
    a->interrupted = true;
    a->code = REIDCTL_INTERRUPTED;
    leave(a);
    reidctl_program_end(a->program, PROGRAM_GRACE_MS);
    look(a);
}

static void catch_signals(attach *a)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < REID_COUNT_OF(numbers); i++) {
        uv_signal_init(&a->loop, &a->signals[i]);
        a->signals[i].data = a;
        uv_signal_start(&a->signals[i], on_signal, numbers[i]);
    }
}

/* ---- life ---- */

static reid_status open_stream(attach *a, reid_error *err)
{
    const reid_rpc_channel_events channel_events = {0};
    const reid_rpc_stream_events events = {
        .on_message = on_message, .on_drain = on_drain, .on_close = on_close};
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    reid_rpc_tls *tls;
    REID_TRY(reidctl_identity(a->ctl, &tls, err));
    reid_status status = reid_rpc_channel_connect_tls(&a->loop, a->ctl->address, tls, 0,
                                                      &channel_events, a, &a->channel, err);
    reid_rpc_tls_free(tls);
    REID_TRY(status);
    REID_TRY(reid_rpc_channel_open(a->channel, "/reid.v1.HookService/Attach",
                                   &reid__v1__hook_down__descriptor, &events, a, NULL, &a->stream,
                                   err));
    up.kind_case = REID__V1__HOOK_UP__KIND_REGISTER;
    up.register_ = (Reid__V1__RegisterHook *)a->request;
    status = reid_rpc_stream_send(a->stream, &up.base);
    return status == REID_OK ? status : reid_fail(err, status, "the hook cannot be registered");
}

static reid_status start(attach *a, char **argv, reid_error *err)
{
    const reidctl_program_events events = {
        .on_readable = on_program, .on_written = on_program, .on_end = on_program};
    REID_TRY(reidctl_program_start(&a->loop, argv, &events, a, &a->program, err));
    return open_stream(a, err);
}

static void close_handle(uv_handle_t *handle, void *user)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void finish(attach *a)
{
    a->finished = true;
    reid_rpc_channel_close(a->channel);
    reidctl_program_free(a->program);
    for (size_t i = 0; i < REID_COUNT_OF(a->signals); i++)
        close_handle((uv_handle_t *)&a->signals[i], NULL);
    close_handle((uv_handle_t *)&a->timer, NULL);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    REID_ASSERT(uv_loop_close(&a->loop) == 0);
    reidctl_verdict_fini(&a->verdict);
}

int reidctl_attach(reidctl *ctl, const Reid__V1__RegisterHook *request, char **argv)
{
    attach a = {.ctl = ctl, .request = request};
    reid_error err = {0};
    if (uv_loop_init(&a.loop) != 0)
        return REIDCTL_FAILED;
    uv_timer_init(&a.loop, &a.timer);
    a.timer.data = &a;
    catch_signals(&a);
    if (start(&a, argv, &err) != REID_OK)
        a.code = reidctl_report(&err);
    else
        uv_run(&a.loop, UV_RUN_DEFAULT);
    if (a.missed > 0)
        fprintf(stderr, "reidctl: %s was too slow for %lld events, which it has not seen\n",
                reidctl_program_name(a.program), (long long)a.missed);
    finish(&a);
    return a.code;
}
