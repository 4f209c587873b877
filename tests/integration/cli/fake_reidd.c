#include "fake_reidd.h"

#include <fnmatch.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/protocol.h"
#include "reid/v1/system.pb-c.h"

#define ROWS_PER_CHUNK 200

/* ---- the store ---- */

fake_job *fake_reidd_find(fake_reidd *reidd, const char *word)
{
    for (size_t i = reidd->jobs.count; i-- > 0;) {
        const Reid__V1__Job *job = reidd->jobs.items[i]->job;
        if (reid_str_starts(job->id, word) || strcmp(job->name, word) == 0)
            return reidd->jobs.items[i];
    }
    return NULL;
}

static bool is_final(const Reid__V1__Job *job)
{
    return job->state >= REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED;
}

void fake_reidd_put_job(fake_reidd *reidd, Reid__V1__Job *own_job)
{
    fake_job *of = fake_reidd_find(reidd, own_job->id);
    if (of == NULL) {
        of = reid_xcalloc(1, sizeof *of);
        reid_vec_push(&reidd->jobs, of);
    }
    reid__v1__job__free_unpacked(of->job, NULL);
    of->job = own_job;
    for (size_t i = 0; i < reidd->streams.count; i++)
        if (reidd->streams.items[i]->of == of && reidd->streams.items[i]->request->descriptor ==
                                                     &reid__v1__watch_job_request__descriptor)
            reid_rpc_call_send(reidd->streams.items[i]->call, &own_job->base);
}

void fake_reidd_put_row(fake_job *of, Reid__V1__MetricRow *own_row)
{
    reid_vec_push(&of->rows, own_row);
}

void fake_reidd_put_log(fake_job *of, int32_t rank, bool from_stderr, const char *text)
{
    for (size_t i = 0; i < of->logs.count; i++)
        if (of->logs.items[i].rank == rank && of->logs.items[i].from_stderr == from_stderr) {
            reid_str_add(&of->logs.items[i].text, text);
            return;
        }
    fake_log new = {.rank = rank, .from_stderr = from_stderr};
    reid_str_add(&new.text, text);
    reid_vec_push(&of->logs, new);
}

static void job_free(fake_job *of)
{
    reid__v1__job__free_unpacked(of->job, NULL);
    for (size_t i = 0; i < of->rows.count; i++)
        reid__v1__metric_row__free_unpacked(of->rows.items[i], NULL);
    for (size_t i = 0; i < of->logs.count; i++)
        reid_str_fini(&of->logs.items[i].text);
    for (size_t i = 0; i < of->events.count; i++)
        reid__v1__job_event__free_unpacked(of->events.items[i], NULL);
    for (size_t i = 0; i < of->hooks.count; i++)
        reid__v1__hook__free_unpacked(of->hooks.items[i], NULL);
    reid_vec_fini(&of->rows);
    reid_vec_fini(&of->logs);
    reid_vec_fini(&of->events);
    reid_vec_fini(&of->hooks);
    free(of);
}

/* ---- streams ---- */

ProtobufCMessage *fake_reidd_copy(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = reid_xmalloc(size + 1);
    protobuf_c_message_pack(message, bytes);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    REID_ASSERT(copy != NULL);
    return copy;
}

static bool is_wanted(const Reid__V1__MetricsRequest *request, const char *name)
{
    for (size_t i = 0; i < request->n_names; i++)
        if (fnmatch(request->names[i], name, 0) == 0)
            return true;
    return request->n_names == 0;
}

/* Sends the row with the names that are wanted; `kept` has room for all of its scalars. */
static void send_rows(fake_stream *s, const Reid__V1__MetricsRequest *request)
{
    while (s->sent_rows < s->of->rows.count) {
        Reid__V1__MetricsChunk chunk = REID__V1__METRICS_CHUNK__INIT;
        Reid__V1__MetricRow rows[ROWS_PER_CHUNK], *pointers[ROWS_PER_CHUNK];
        Reid__V1__Scalar *kept[ROWS_PER_CHUNK][16];
        chunk.rows = pointers;
        while (s->sent_rows < s->of->rows.count && chunk.n_rows < ROWS_PER_CHUNK) {
            const Reid__V1__MetricRow *row = s->of->rows.items[s->sent_rows++];
            Reid__V1__MetricRow *to = &rows[chunk.n_rows];
            if (row->attempt < request->attempt ||
                (row->attempt == request->attempt && row->seq <= request->seq))
                continue;
            *to = *row;
            to->scalars = kept[chunk.n_rows];
            to->n_scalars = 0;
            for (size_t i = 0; i < row->n_scalars && to->n_scalars < 16; i++)
                if (is_wanted(request, row->scalars[i]->name))
                    to->scalars[to->n_scalars++] = row->scalars[i];
            if (to->n_scalars > 0)
                pointers[chunk.n_rows++] = to;
        }
        chunk.caught_up = s->sent_rows == s->of->rows.count;
        reid_rpc_call_send(s->call, &chunk.base);
    }
}

static bool wants_rank(const Reid__V1__LogsRequest *request, int32_t rank)
{
    for (size_t i = 0; i < request->n_ranks; i++)
        if (request->ranks[i] == rank)
            return true;
    return request->n_ranks == 0;
}

/* Where the last lines of a text begin; 0 lines mean all. */
static size_t tail_offset(const reid_str *text, int64_t lines)
{
    if (lines <= 0)
        return 0;
    for (size_t at = text->length; at > 0; at--)
        if (text->data[at - 1] == '\n' && at < text->length && --lines == 0)
            return at;
    return 0;
}

static void send_logs(fake_stream *s, const Reid__V1__LogsRequest *request)
{
    for (size_t i = 0; i < s->of->logs.count; i++) {
        const fake_log *log = &s->of->logs.items[i];
        if (i == s->sent_logs.count)
            reid_vec_push(&s->sent_logs, tail_offset(&log->text, request->tail_lines));
        size_t *sent = &s->sent_logs.items[i];
        if (!wants_rank(request, log->rank) || *sent == log->text.length)
            continue;
        Reid__V1__LogChunk chunk = REID__V1__LOG_CHUNK__INIT;
        chunk.rank = log->rank;
        chunk.from_stderr = log->from_stderr;
        chunk.offset = (int64_t)*sent;
        chunk.data.data = (uint8_t *)log->text.data + *sent;
        chunk.data.len = log->text.length - *sent;
        reid_rpc_call_send(s->call, &chunk.base);
        *sent = log->text.length;
    }
}

static void send_events(fake_stream *s, const Reid__V1__EventsRequest *request)
{
    for (; s->sent_events < s->of->events.count; s->sent_events++) {
        Reid__V1__EventsChunk chunk = REID__V1__EVENTS_CHUNK__INIT;
        if (s->of->events.items[s->sent_events]->number <= request->after)
            continue;
        chunk.events = &s->of->events.items[s->sent_events];
        chunk.n_events = 1;
        reid_rpc_call_send(s->call, &chunk.base);
    }
}

/* Sends what is new, and ends the call when nothing can come any more. */
static void tell(fake_stream *s)
{
    if (s->request->descriptor == &reid__v1__metrics_request__descriptor)
        send_rows(s, (const Reid__V1__MetricsRequest *)s->request);
    if (s->request->descriptor == &reid__v1__logs_request__descriptor)
        send_logs(s, (const Reid__V1__LogsRequest *)s->request);
    if (s->request->descriptor == &reid__v1__events_request__descriptor)
        send_events(s, (const Reid__V1__EventsRequest *)s->request);
    if (!s->follow || is_final(s->of->job))
        reid_rpc_call_finish(s->call, REID_OK, NULL);
}

void fake_reidd_tell(fake_reidd *reidd)
{
    for (size_t i = 0; i < reidd->streams.count; i++)
        tell(reidd->streams.items[i]);
}

void fake_reidd_skip_rows(fake_reidd *reidd, fake_job *of)
{
    for (size_t i = 0; i < reidd->streams.count; i++) {
        fake_stream *s = reidd->streams.items[i];
        if (s->of != of || s->request->descriptor != &reid__v1__metrics_request__descriptor)
            continue;
        Reid__V1__MetricsChunk chunk = REID__V1__METRICS_CHUNK__INIT;
        chunk.missed = (int64_t)(of->rows.count - s->sent_rows);
        s->sent_rows = of->rows.count;
        reid_rpc_call_send(s->call, &chunk.base);
    }
}

void fake_reidd_end_streams(fake_reidd *reidd)
{
    for (size_t i = 0; i < reidd->streams.count; i++)
        reid_rpc_call_finish(reidd->streams.items[i]->call, REID_OK, NULL);
}

static void stream_closed(reid_rpc_call *call)
{
    fake_reidd *reidd = reid_rpc_call_user(call);
    for (size_t i = 0; i < reidd->streams.count; i++) {
        fake_stream *s = reidd->streams.items[i];
        if (s->call != call)
            continue;
        protobuf_c_message_free_unpacked(s->request, NULL);
        reid_vec_fini(&s->sent_logs);
        free(s);
        reid_vec_remove(&reidd->streams, i);
        return;
    }
}

/* ---- methods ---- */

/* Fails the call when the script or a missing job wants it so; otherwise the job, or NULL when the
 * request has no id. */
bool fake_reidd_begin(reid_rpc_call *call, fake_reidd *reidd, const ProtobufCMessage *message,
                      const char *id, fake_job **ret_of)
{
    if (reidd->last_request != NULL)
        protobuf_c_message_free_unpacked(reidd->last_request, NULL);
    reidd->last_request = fake_reidd_copy(message);
    if (reidd->failing_path != NULL &&
        strcmp(reidd->failing_path, reid_rpc_call_method(call)->path) == 0) {
        reid_rpc_call_finish(call, reidd->failure, reidd->sentence);
        free(reidd->failing_path);
        reidd->failing_path = NULL;
        return false;
    }
    if (id == NULL || (*ret_of = fake_reidd_find(reidd, id)) != NULL)
        return true;
    char *sentence = reid_xasprintf("there is no job '%s'", id);
    reid_rpc_call_finish(call, REID_ERR_NOT_FOUND, sentence);
    free(sentence);
    return false;
}

static void on_submit(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    fake_reidd *reidd = service;
    const Reid__V1__SubmitRequest *request = (const Reid__V1__SubmitRequest *)message;
    Reid__V1__Job job = REID__V1__JOB__INIT;
    char id[16];
    if (!fake_reidd_begin(call, reidd, message, NULL, NULL))
        return;
    snprintf(id, sizeof id, "j%07zu", reidd->jobs.count + 1);
    job.id = id;
    job.name = request->name;
    job.ranks = request->ranks;
    job.config_yaml = request->config_yaml;
    job.state = REID__V1__JOB_STATE__JOB_STATE_PENDING;
    job.submitted_ms = reid_clock_wall_ms();
    fake_reidd_put_job(reidd, (Reid__V1__Job *)fake_reidd_copy(&job.base));
    reid_rpc_call_reply(call, &job.base);
}

static void on_list(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    fake_reidd *reidd = service;
    const Reid__V1__ListJobsRequest *request = (const Reid__V1__ListJobsRequest *)message;
    Reid__V1__ListJobsResponse list = REID__V1__LIST_JOBS_RESPONSE__INIT;
    if (!fake_reidd_begin(call, reidd, message, NULL, NULL))
        return;
    list.jobs = reid_xcalloc(reidd->jobs.count + 1, sizeof *list.jobs);
    size_t limit = request->limit > 0 ? (size_t)request->limit : 1000;
    size_t from = reidd->jobs.count;
    while (*request->before && from > 0 &&
           strcmp(reidd->jobs.items[--from]->job->id, request->before) != 0)
        ;
    for (size_t i = from; i-- > 0 && list.n_jobs < limit;) {
        bool wanted = request->n_states == 0;
        for (size_t k = 0; k < request->n_states; k++)
            wanted = wanted || request->states[k] == reidd->jobs.items[i]->job->state;
        if (wanted)
            list.jobs[list.n_jobs++] = reidd->jobs.items[i]->job;
    }
    reid_rpc_call_reply(call, &list.base);
    free(list.jobs);
}

static void on_get(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    fake_job *of;
    if (fake_reidd_begin(call, service, message, ((const Reid__V1__GetJobRequest *)message)->id,
                         &of))
        reid_rpc_call_reply(call, &of->job->base);
}

static void on_cancel(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    fake_job *of;
    if (!fake_reidd_begin(call, service, message, ((const Reid__V1__CancelJobRequest *)message)->id,
                          &of))
        return;
    reid_rpc_call_reply(call, &of->job->base);
}

static void open_stream(reid_rpc_call *call, const ProtobufCMessage *message, fake_reidd *reidd,
                        const char *id, bool follow)
{
    fake_job *of;
    if (!fake_reidd_begin(call, reidd, message, id, &of))
        return;
    fake_stream *s = reid_xcalloc(1, sizeof *s);
    s->call = call;
    s->of = of;
    s->request = fake_reidd_copy(message);
    s->follow = follow;
    reid_rpc_call_set_user(call, reidd);
    reid_rpc_call_on_close(call, stream_closed);
    reid_vec_push(&reidd->streams, s);
    if (message->descriptor == &reid__v1__watch_job_request__descriptor)
        reid_rpc_call_send(call, &of->job->base);
    tell(s);
}

static void on_watch(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    open_stream(call, message, service, ((const Reid__V1__WatchJobRequest *)message)->id, true);
}

static void on_metrics(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__MetricsRequest *request = (const Reid__V1__MetricsRequest *)message;
    open_stream(call, message, service, request->id, request->follow);
}

static void on_logs(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__LogsRequest *request = (const Reid__V1__LogsRequest *)message;
    open_stream(call, message, service, request->id, request->follow);
}

static void on_events(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__EventsRequest *request = (const Reid__V1__EventsRequest *)message;
    open_stream(call, message, service, request->id, request->follow);
}

static void on_info(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    Reid__V1__InfoResponse info = REID__V1__INFO_RESPONSE__INIT;
    static char version[] = "9.8.7", revision[] = "abcdef", node[] = "here", feature[] = "fake";
    char *features[] = {feature};
    if (!fake_reidd_begin(call, service, message, NULL, NULL))
        return;
    info.version = version;
    info.revision = revision;
    info.node = node;
    info.pid = 4711;
    info.protocol = REID_PROTOCOL;
    info.protocol_oldest = REID_PROTOCOL;
    info.slots = 2;
    info.slots_used = 1;
    info.features = features;
    info.n_features = REID_COUNT_OF(features);
    reid_rpc_call_reply(call, &info.base);
}

#define UNARY(name, handler, in, out)                                                              \
    {                                                                                              \
        .path = "/reid.v1." name, .input = &reid__v1__##in##__descriptor,                          \
        .output = &reid__v1__##out##__descriptor, .kind = REID_RPC_UNARY, .on_message = handler    \
    }
#define STREAM(name, handler, in, out)                                                             \
    {                                                                                              \
        .path = "/reid.v1." name, .input = &reid__v1__##in##__descriptor,                          \
        .output = &reid__v1__##out##__descriptor, .kind = REID_RPC_SERVER_STREAM,                  \
        .on_message = handler                                                                      \
    }

static const reid_rpc_method methods[] = {
    UNARY("JobService/Submit", on_submit, submit_request, job),
    UNARY("JobService/List", on_list, list_jobs_request, list_jobs_response),
    UNARY("JobService/Get", on_get, get_job_request, job),
    UNARY("JobService/Cancel", on_cancel, cancel_job_request, job),
    STREAM("JobService/Watch", on_watch, watch_job_request, job),
    STREAM("JobService/Metrics", on_metrics, metrics_request, metrics_chunk),
    STREAM("JobService/Logs", on_logs, logs_request, log_chunk),
    STREAM("JobService/Events", on_events, events_request, events_chunk),
    UNARY("SystemService/Info", on_info, info_request, info_response),
};

/* ---- life ---- */

reid_status fake_reidd_listen(fake_reidd *reidd, reid_error *err)
{
    const reid_rpc_limits limits = {.max_queue_bytes = 256u << 20};
    if (reidd->server != NULL)
        return REID_OK;
    REID_TRY(reid_rpc_server_new(reidd->loop, &limits, &reidd->server, err));
    reid_rpc_server_add_service(reidd->server, methods, REID_COUNT_OF(methods), reidd);
    reid_rpc_server_add_service(reidd->server, fake_hook_methods, fake_hook_method_count, reidd);
    return reid_rpc_server_listen_unix(reidd->server, reidd->path, 0600, err);
}

void fake_reidd_drop(fake_reidd *reidd)
{
    reid_rpc_server_free(reidd->server);
    reidd->server = NULL;
}

void fake_reidd_fini(fake_reidd *reidd)
{
    fake_reidd_drop(reidd);
    for (size_t i = 0; i < reidd->jobs.count; i++)
        job_free(reidd->jobs.items[i]);
    reid_vec_fini(&reidd->jobs);
    reid_vec_fini(&reidd->streams);
    if (reidd->last_request != NULL)
        protobuf_c_message_free_unpacked(reidd->last_request, NULL);
    fake_attach_fini(&reidd->attach);
    free(reidd->failing_path);
    free(reidd->sentence);
}
