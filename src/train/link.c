#include "train/link.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/protocol.h"
#include "base/recordfile.h"
#include "base/vec.h"
#include "reid/v1/link.pb-c.h"
#include "rpc/channel.h"
#include "rpc/code.h"
#include "rpc/text.h"
#include "train/link_mail.h"
#include "train/link_row.h"

#define RECONNECT_MS 250
#define TICK_MS 200 /* progress goes out at most this often */
#define SETTLE_MS 20
#define BACKLOG_BYTES ((size_t)64 << 20)
#define BACKLOG_RETRY_MS 100 /* at the end */

typedef struct agreed_words {
    char *id;
    int64_t iteration, first_seq;
    char **lines;
    size_t count;
    bool sent; /* on this connection, or stored before it */
} agreed_words;

typedef struct refused_words {
    char *id;
    reid_status code;
    char *sentence;
} refused_words;

typedef struct waiting_row {
    uint8_t *bytes;
    size_t size;
} waiting_row;

struct reid_link {
    reid_job_env env;
    int rank, world;
    pthread_t thread;
    bool thread_runs;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t reconnect, tick, settled;
    reid_link_mail *mail; /* has a mutex of its own */

    /* Stepping thread only. */
    reid_record_file *spool;
    REID_VEC(waiting_row) backlog; /* that the spool could not take */
    size_t backlog_bytes;
    bool rows_lost; /* there was no room for them either */
    int64_t seq;
    reid_link_row_buffer row;

    /* Under the mutex: what the stepping thread has said last. */
    pthread_mutex_t mutex;
    reid_link_progress progress;
    bool progress_new;
    reid_link_phase phase;
    bool phase_new;
    char *failure;                   /* sent once */
    REID_VEC(agreed_words) agreed;   /* of the whole run */
    REID_VEC(refused_words) refused; /* until they are sent */
    int64_t last_seq;
    bool closing;
    double close_deadline;
    bool ready; /* a daemon has said what it had to say at first */
    pthread_cond_t is_ready;

    /* Loop thread only. */
    reid_rpc_channel *channel;
    reid_rpc_stream *stream;
    bool accepted, announced, refused_daemon;
    reid_record_file *reader;
    Reid__V1__MetricRow *pending; /* read, but the queue was full */
    int64_t stored_seq;
    reid_control_queue *queue; /* borrowed; NULL: no requests are taken */
    REID_VEC(char *) asked;    /* ids of all requests that came */
};

const char *reid_link_phase_name(reid_link_phase phase)
{
    switch (phase) {
    case REID_LINK_LOADING:
        return "loading";
    case REID_LINK_TRAINING:
        return "training";
    case REID_LINK_EVALUATING:
        return "evaluating";
    case REID_LINK_SAVING:
        return "saving";
    }
    return "starting";
}

/* ---- loop thread ---- */

static reid_status send_up(reid_link *link, Reid__V1__LinkUp *up)
{
    return reid_rpc_stream_send(link->stream, &up->base);
}

static void send_hello(reid_link *link)
{
    Reid__V1__LinkHello hello = REID__V1__LINK_HELLO__INIT;
    hello.job_id = (char *)link->env.job_id;
    hello.attempt = link->env.attempt;
    hello.ticket = (char *)(link->env.ticket != NULL ? link->env.ticket : "");
    hello.rank = link->rank;
    hello.world = link->world;
    hello.pid = getpid();
    hello.protocol = REID_PROTOCOL;
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) == 0)
        hello.host = host;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_HELLO;
    up.hello = &hello;
    send_up(link, &up);
}

/* The next row that the daemon has not stored; NULL when there is none yet. */
static Reid__V1__MetricRow *next_row(reid_link *link)
{
    if (link->pending != NULL)
        return link->pending;
    while (link->reader != NULL) {
        const uint8_t *data = NULL;
        size_t size = 0;
        reid_error err = {0};
        if (reid_record_file_next(link->reader, &data, &size, &err) != REID_OK) {
            reid_log_warn("metrics stream stopped: %s", err.text);
            reid_record_file_free(link->reader);
            link->reader = NULL;
            return NULL;
        }
        if (data == NULL)
            return NULL;
        Reid__V1__MetricRow *row = reid__v1__metric_row__unpack(NULL, size, data);
        if (row != NULL && row->seq > link->stored_seq)
            return link->pending = row;
        reid__v1__metric_row__free_unpacked(row, NULL);
    }
    return NULL;
}

static void send_rows(reid_link *link)
{
    Reid__V1__MetricRow *row;
    while ((row = next_row(link)) != NULL) {
        Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
        up.kind_case = REID__V1__LINK_UP__KIND_ROW;
        up.row = row;
        if (send_up(link, &up) != REID_OK)
            return; /* on_drain comes back here, or on_close ends the stream */
        reid__v1__metric_row__free_unpacked(row, NULL);
        link->pending = NULL;
    }
}

static void send_phase(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    bool send = link->phase_new;
    reid_link_phase phase = link->phase;
    link->phase_new = false;
    pthread_mutex_unlock(&link->mutex);
    if (!send)
        return;
    Reid__V1__LinkPhase message = REID__V1__LINK_PHASE__INIT;
    message.phase = (Reid__V1__JobPhase)phase;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_PHASE;
    up.phase = &message;
    send_up(link, &up);
}

static void send_progress(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    bool send = link->progress_new;
    reid_link_progress p = link->progress;
    link->progress_new = false;
    pthread_mutex_unlock(&link->mutex);
    if (!send)
        return;
    Reid__V1__Progress message = REID__V1__PROGRESS__INIT;
    message.iteration = p.iteration;
    message.max_iteration = p.max_iteration;
    message.epoch = (int32_t)p.epoch;
    message.max_epoch = (int32_t)p.max_epoch;
    message.eta_seconds = p.eta_seconds;
    message.images_per_second = p.images_per_second;
    message.steps = p.steps;
    message.data_seconds = p.data_s;
    message.compute_seconds = p.compute_s;
    message.wait_seconds = p.wait_s;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_PROGRESS;
    up.progress = &message;
    send_up(link, &up);
}

static void send_failure(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    char *sentence = link->failure;
    link->failure = NULL;
    pthread_mutex_unlock(&link->mutex);
    if (sentence == NULL)
        return;
    Reid__V1__LinkFailure message = REID__V1__LINK_FAILURE__INIT;
    message.sentence = sentence;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_FAILURE;
    up.failure = &message;
    send_up(link, &up);
    free(sentence);
}

/* False when some of them, or an event after them, must wait. */
static bool send_agreed(reid_link *link)
{
    bool full = false;
    pthread_mutex_lock(&link->mutex);
    for (size_t i = 0; i < link->agreed.count && !full; i++) {
        agreed_words *words = &link->agreed.items[i];
        if (words->sent)
            continue;
        Reid__V1__LinkAgreed message = REID__V1__LINK_AGREED__INIT;
        message.id = words->id;
        message.iteration = words->iteration;
        message.first_seq = words->first_seq;
        message.n_lines = words->count;
        message.lines = words->lines;
        Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
        up.kind_case = REID__V1__LINK_UP__KIND_AGREED;
        up.agreed = &message;
        full = send_up(link, &up) != REID_OK;
        words->sent = !full;
    }
    pthread_mutex_unlock(&link->mutex);
    return !full;
}

static bool send_mail_up(void *user, Reid__V1__LinkUp *up)
{
    return send_up(user, up) == REID_OK;
}

static void send_refused(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    while (link->refused.count > 0) {
        refused_words *words = &link->refused.items[0];
        Reid__V1__LinkRefused message = REID__V1__LINK_REFUSED__INIT;
        message.id = words->id;
        message.code = reid_rpc_code_from_status(words->code);
        message.sentence = words->sentence;
        Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
        up.kind_case = REID__V1__LINK_UP__KIND_REFUSED;
        up.refused = &message;
        if (send_up(link, &up) != REID_OK)
            break;
        free(words->id);
        free(words->sentence);
        reid_vec_remove(&link->refused, 0);
    }
    pthread_mutex_unlock(&link->mutex);
}

/* Ends the loop when it is asked to and nothing is left to wait for. */
static bool finish_if_done(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    bool closing = link->closing;
    bool stored =
        link->stored_seq >= link->last_seq && link->failure == NULL && link->refused.count == 0;
    for (size_t i = 0; i < link->agreed.count; i++)
        stored = stored && link->agreed.items[i].sent;
    bool late = reid_clock_seconds() >= link->close_deadline;
    pthread_mutex_unlock(&link->mutex);
    stored = stored && reid_link_mail_is_empty(link->mail);
    bool flushed = link->stream == NULL || reid_rpc_stream_queued(link->stream) == 0;
    if (!closing || !(late || (stored && flushed && link->accepted)))
        return false;
    uv_stop(&link->loop);
    return true;
}

/* Events of a hook come after the word that added it. */
static void send_new(reid_link *link)
{
    send_phase(link);
    bool agreed = send_agreed(link);
    send_refused(link);
    if (agreed)
        reid_link_mail_flush(link->mail, send_mail_up, link);
    send_rows(link);
    send_failure(link);
}

static void send_all(reid_link *link)
{
    if (link->stream == NULL || !link->accepted)
        return;
    send_new(link);
    send_progress(link);
}

static void refuse(reid_link *link, const char *id, const reid_error *why)
{
    pthread_mutex_lock(&link->mutex);
    refused_words words = {
        .id = reid_xstrdup(id), .code = why->code, .sentence = reid_utf8_clean(why->text)};
    reid_vec_push(&link->refused, words);
    pthread_mutex_unlock(&link->mutex);
}

/* The daemon repeats what it has no answer to; here each id counts once. */
static void take_request(reid_link *link, const Reid__V1__LinkControl *message)
{
    for (size_t i = 0; i < link->asked.count; i++)
        if (strcmp(link->asked.items[i], message->id) == 0)
            return;
    reid_vec_push(&link->asked, reid_xstrdup(message->id));
    reid_control_request request = {
        .id = reid_xstrdup(message->id),
        .kind = reid_xstrdup(message->kind),
        .at_iter = message->at_iter,
        .wall_ms = message->wall_ms,
        .who = reid_xstrdup(message->who),
        .reason = reid_xstrdup(message->reason),
        .settings = reid_xcalloc(message->n_settings + 1, sizeof(reid_control_setting)),
        .setting_count = message->n_settings,
    };
    for (size_t i = 0; i < message->n_settings; i++)
        request.settings[i] = (reid_control_setting){reid_xstrdup(message->settings[i]->name),
                                                     reid_xstrdup(message->settings[i]->value)};
    reid_error why = {0};
    if (link->queue != NULL) {
        reid_control_queue_push(link->queue, &request, &why);
    } else {
        reid_control_request_fini(&request);
        reid_fail(&why, REID_ERR_PRECONDITION,
                  "this job does not train: it takes no control words");
    }
    if (why.code != REID_OK) {
        refuse(link, message->id, &why);
        send_refused(link);
    }
}

/* Requests that waited for this link come right after its acceptance. */
static void on_settled(uv_timer_t *timer)
{
    reid_link *link = timer->data;
    pthread_mutex_lock(&link->mutex);
    link->ready = true;
    pthread_cond_broadcast(&link->is_ready);
    pthread_mutex_unlock(&link->mutex);
}

/* A daemon that is too old for this trainer (of an older release, started again) is told nothing:
 * rows reach the next one from the spool. */
static bool check_protocol(reid_link *link, int its)
{
    int agreed = 0;
    reid_error err = {0};
    if (reid_protocol_agree("reidd", its, &agreed, &err) == REID_OK)
        return true;
    if (!link->refused_daemon)
        reid_log_warn("no link to reidd: %s", err.text);
    link->refused_daemon = true;
    return false;
}

static void take_accept(reid_link *link, const Reid__V1__LinkAccept *accept)
{
    if (!check_protocol(link, accept->protocol))
        return;
    link->accepted = true;
    link->stored_seq = accept->stored_seq;
    if (link->reader != NULL)
        reid_record_file_rewind(link->reader);
    reid__v1__metric_row__free_unpacked(link->pending, NULL);
    link->pending = NULL;
    pthread_mutex_lock(&link->mutex);
    link->phase_new = link->phase != 0;
    link->progress_new = link->progress.max_iteration > 0;
    for (size_t i = 0; i < link->agreed.count; i++) {
        agreed_words *words = &link->agreed.items[i];
        int64_t last = words->first_seq + (int64_t)words->count - 1;
        words->sent = words->sent && last <= accept->journal_seq;
    }
    pthread_mutex_unlock(&link->mutex);
    reid_link_mail_up(link->mail);
    send_all(link);
    if (!link->ready)
        uv_timer_start(&link->settled, on_settled, SETTLE_MS, 0);
}

static void on_message(reid_rpc_stream *stream, const ProtobufCMessage *answer, void *user)
{
    (void)stream;
    reid_link *link = user;
    const Reid__V1__LinkDown *down = (const Reid__V1__LinkDown *)answer;
    if (down->kind_case == REID__V1__LINK_DOWN__KIND_ACCEPT) {
        take_accept(link, down->accept);
    } else if (down->kind_case == REID__V1__LINK_DOWN__KIND_CONTROL) {
        take_request(link, down->control);
    } else if (down->kind_case == REID__V1__LINK_DOWN__KIND_HOOK_VERDICT) {
        if (down->hook_verdict->verdict != NULL)
            reid_link_mail_verdict(link->mail, down->hook_verdict);
    } else if (down->kind_case == REID__V1__LINK_DOWN__KIND_HOOK_GONE) {
        reid_link_mail_gone(link->mail, down->hook_gone);
    } else if (down->kind_case == REID__V1__LINK_DOWN__KIND_STORED) {
        if (down->stored->seq > link->stored_seq)
            link->stored_seq = down->stored->seq;
    }
    finish_if_done(link);
}

static void on_drain(reid_rpc_stream *stream, void *user)
{
    (void)stream;
    send_all(user);
}

static void on_close(reid_rpc_stream *stream, const reid_error *end, void *user)
{
    (void)stream;
    reid_link *link = user;
    link->stream = NULL;
    link->accepted = false;
    reid_link_mail_down(link->mail);
    if (!link->announced && end->code != REID_ERR_CANCELLED) {
        reid_log_warn("the link to reidd is down (%s); training goes on", end->text);
        link->announced = true;
    }
}

static void connect_link(uv_timer_t *timer)
{
    reid_link *link = timer->data;
    if (link->stream != NULL)
        return;
    reid_rpc_channel_close(link->channel);
    link->channel = NULL;
    reid_error err = {0};
    const reid_rpc_channel_events channel_events = {0};
    const reid_rpc_stream_events stream_events = {on_message, on_drain, on_close};
    if (reid_rpc_channel_connect(&link->loop, link->env.link_address, 2000, &channel_events, link,
                                 &link->channel, &err) != REID_OK ||
        reid_rpc_channel_open(link->channel, "/reid.v1.RankService/Link",
                              &reid__v1__link_down__descriptor, &stream_events, link, NULL,
                              &link->stream, &err) != REID_OK) {
        if (!link->announced)
            reid_log_warn("no link to reidd: %s", err.text);
        link->announced = true;
        return;
    }
    send_hello(link);
}

static void on_wake(uv_async_t *async)
{
    reid_link *link = async->data;
    if (finish_if_done(link) || link->stream == NULL || !link->accepted)
        return;
    send_new(link);
}

static void on_tick(uv_timer_t *timer)
{
    reid_link *link = timer->data;
    if (!finish_if_done(link))
        send_all(link);
}

static void *run_link(void *user)
{
    reid_link *link = user;
    if (link->rank == 0) {
        char *path = reid_path_join(link->env.attempt_dir, "rank0.spool");
        reid_record_file_read_open(path, &link->reader, NULL);
        free(path);
    }
    uv_timer_start(&link->reconnect, connect_link, 0, RECONNECT_MS);
    uv_timer_start(&link->tick, on_tick, TICK_MS, TICK_MS);
    uv_run(&link->loop, UV_RUN_DEFAULT);
    reid_rpc_channel_close(link->channel);
    uv_close((uv_handle_t *)&link->wake, NULL);
    uv_close((uv_handle_t *)&link->reconnect, NULL);
    uv_close((uv_handle_t *)&link->tick, NULL);
    uv_close((uv_handle_t *)&link->settled, NULL);
    uv_run(&link->loop, UV_RUN_DEFAULT);
    reid__v1__metric_row__free_unpacked(link->pending, NULL);
    reid_record_file_free(link->reader);
    return NULL;
}

/* ---- stepping thread ---- */

static void wake(reid_link *link)
{
    if (link->thread_runs)
        uv_async_send(&link->wake);
}

static void wake_link(void *user)
{
    wake(user);
}

static reid_status open_spool(reid_link *link, reid_error *err)
{
    if (link->rank != 0)
        return REID_OK;
    char *path = reid_path_join(link->env.attempt_dir, "rank0.spool");
    reid_status status = reid_record_file_append_open(path, &link->spool, err);
    free(path);
    return status;
}

static void free_link(reid_link *link)
{
    for (size_t i = 0; i < link->backlog.count; i++)
        free(link->backlog.items[i].bytes);
    reid_vec_fini(&link->backlog);
    reid_record_file_free(link->spool);
    pthread_mutex_destroy(&link->mutex);
    for (size_t i = 0; i < link->agreed.count; i++) {
        agreed_words *words = &link->agreed.items[i];
        for (size_t k = 0; k < words->count; k++)
            free(words->lines[k]);
        free(words->lines);
        free(words->id);
    }
    reid_vec_fini(&link->agreed);
    for (size_t i = 0; i < link->refused.count; i++) {
        free(link->refused.items[i].id);
        free(link->refused.items[i].sentence);
    }
    reid_vec_fini(&link->refused);
    for (size_t i = 0; i < link->asked.count; i++)
        free(link->asked.items[i]);
    reid_vec_fini(&link->asked);
    reid_link_mail_free(link->mail);
    reid_link_row_buffer_fini(&link->row);
    pthread_cond_destroy(&link->is_ready);
    free(link->failure);
    free(link);
}

reid_status reid_link_open(const reid_job_env *env, int rank, int world, reid_control_queue *queue,
                           reid_link **ret_link, reid_error *err)
{
    *ret_link = NULL;
    if (!env->managed)
        return REID_OK;
    reid_link *link = reid_xcalloc(1, sizeof *link);
    link->env = *env;
    link->rank = rank;
    link->world = world;
    link->queue = queue;
    link->mail = reid_link_mail_new(wake_link, link);
    if (rank == 0) /* a list without hooks is worth telling, too */
        reid_link_mail_hooks(link->mail, NULL, 0, 0);
    pthread_mutex_init(&link->mutex, NULL);
    reid_link_condition_init(&link->is_ready);
    reid_status status = open_spool(link, err);
    if (status != REID_OK) {
        free_link(link);
        return status;
    }
    if (env->link_address != NULL) {
        REID_ASSERT(uv_loop_init(&link->loop) == 0);
        REID_ASSERT(uv_async_init(&link->loop, &link->wake, on_wake) == 0);
        uv_timer_init(&link->loop, &link->reconnect);
        uv_timer_init(&link->loop, &link->tick);
        uv_timer_init(&link->loop, &link->settled);
        link->wake.data = link->reconnect.data = link->tick.data = link->settled.data = link;
        int code = pthread_create(&link->thread, NULL, run_link, link);
        if (code != 0)
            reid_log_warn("no link to reidd: %s", strerror(code));
        link->thread_runs = code == 0;
    }
    *ret_link = link;
    return REID_OK;
}

static void tell_spooled(reid_link *link)
{
    pthread_mutex_lock(&link->mutex);
    link->last_seq = link->seq - (int64_t)link->backlog.count;
    pthread_mutex_unlock(&link->mutex);
    wake(link);
}

/* True when nothing waits any more. */
static bool append_backlog(reid_link *link)
{
    size_t done = 0;
    for (; done < link->backlog.count; done++) {
        const waiting_row *row = &link->backlog.items[done];
        if (reid_record_file_append(link->spool, row->bytes, row->size, NULL) != REID_OK)
            break;
        link->backlog_bytes -= row->size;
        free(row->bytes);
    }
    if (done == 0)
        return link->backlog.count == 0;
    memmove(link->backlog.items, link->backlog.items + done,
            (link->backlog.count - done) * sizeof *link->backlog.items);
    link->backlog.count -= done;
    tell_spooled(link);
    if (link->backlog.count == 0)
        reid_log_info("scalars reach reidd again");
    return link->backlog.count == 0;
}

/* The row that is packed. */
static bool keep_row(reid_link *link, size_t size, const reid_error *why)
{
    if (link->backlog_bytes + size > BACKLOG_BYTES) {
        if (!link->rows_lost)
            reid_log_warn("scalars are lost: those that wait for reidd's disk take %zu MiB",
                          BACKLOG_BYTES >> 20);
        link->rows_lost = true;
        return false;
    }
    if (link->backlog.count == 0)
        reid_log_warn("scalars wait in memory: %s", why->text);
    const waiting_row row = {.bytes = reid_xmalloc(size), .size = size};
    memcpy(row.bytes, link->row.bytes, size);
    reid_vec_push(&link->backlog, row);
    link->backlog_bytes += size;
    return true;
}

void reid_link_row(reid_link *link, const reid_event_row *row)
{
    if (link == NULL || link->spool == NULL || row->count == 0)
        return;
    reid_error err = {0};
    bool clear = append_backlog(link);
    size_t size = reid_link_row_pack(&link->row, row, link->env.attempt, link->seq + 1);
    if (clear)
        clear = reid_record_file_append(link->spool, link->row.bytes, size, &err) == REID_OK;
    if (!clear && !keep_row(link, size, &err))
        return;
    link->seq++;
    if (clear)
        tell_spooled(link);
}

void reid_link_phase_set(reid_link *link, reid_link_phase phase)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->mutex);
    if (link->phase != phase)
        link->phase_new = true;
    link->phase = phase;
    pthread_mutex_unlock(&link->mutex);
    wake(link);
}

void reid_link_progress_set(reid_link *link, const reid_link_progress *progress)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->mutex);
    link->progress = *progress;
    link->progress_new = true;
    pthread_mutex_unlock(&link->mutex);
}

void reid_link_agreed(reid_link *link, const char *id, const reid_journal_entry *entries,
                      size_t count)
{
    if (link == NULL)
        return;
    agreed_words words = {
        .id = reid_xstrdup(id),
        .iteration = entries[0].iteration,
        .first_seq = entries[0].seq,
        .lines = reid_xcalloc(count, sizeof(char *)),
        .count = count,
    };
    for (size_t i = 0; i < count; i++)
        words.lines[i] = reid_xstrdup(entries[i].line);
    pthread_mutex_lock(&link->mutex);
    reid_vec_push(&link->agreed, words);
    pthread_mutex_unlock(&link->mutex);
    wake(link);
}

void reid_link_refused(reid_link *link, const char *id, const reid_error *why)
{
    if (link == NULL)
        return;
    refuse(link, id, why);
    wake(link);
}

void reid_link_failure(reid_link *link, const char *sentence)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->mutex);
    if (link->failure == NULL)
        link->failure = reid_utf8_clean(sentence);
    pthread_mutex_unlock(&link->mutex);
    wake(link);
}

void reid_link_wait(reid_link *link, double seconds)
{
    if (link == NULL || !link->thread_runs)
        return;
    const struct timespec until = reid_link_time_after(seconds);
    pthread_mutex_lock(&link->mutex);
    while (!link->ready && pthread_cond_timedwait(&link->is_ready, &link->mutex, &until) == 0)
        continue;
    pthread_mutex_unlock(&link->mutex);
}

const reid_remote_port *reid_link_remote_port(reid_link *link)
{
    return link != NULL && link->thread_runs ? reid_link_mail_port(link->mail) : NULL;
}

void reid_link_hooks(reid_link *link, const reid_guest_info *list, size_t count, int64_t iteration)
{
    if (link != NULL && link->thread_runs)
        reid_link_mail_hooks(link->mail, list, count, iteration);
}

void reid_link_note(reid_link *link, int64_t guest, const char *sentence)
{
    if (link != NULL && link->thread_runs)
        reid_link_mail_note(link->mail, guest, sentence);
}

void reid_link_finish(reid_link *link, double wait_seconds)
{
    if (link == NULL || link->closing)
        return;
    double until_s = reid_clock_seconds() + wait_seconds;
    while (!append_backlog(link) && reid_clock_seconds() < until_s)
        poll(NULL, 0, BACKLOG_RETRY_MS);
    if (link->backlog.count > 0)
        reid_log_warn("scalars are lost: %zu rows still wait for reidd's disk",
                      link->backlog.count);
    pthread_mutex_lock(&link->mutex);
    link->closing = true;
    link->close_deadline = until_s;
    pthread_mutex_unlock(&link->mutex);
    if (link->thread_runs) {
        wake(link);
        pthread_join(link->thread, NULL);
        link->thread_runs = false;
        uv_loop_close(&link->loop);
    }
}

void reid_link_close(reid_link *link, double wait_seconds)
{
    if (link == NULL)
        return;
    reid_link_finish(link, wait_seconds);
    free_link(link);
}
