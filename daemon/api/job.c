/* JobService: the table and the rows that answer once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "daemon/api/api.h"
#include "daemon/api/forward.h"
#include "daemon/api/convert.h"

#define LIST_DEFAULT 1000
#define LIST_BYTES (3u << 20) /* below what stock clients accept as one message */
#define REASON_BYTES 1000
#define GRACE_LIMIT_S 86400

/* ---- Submit ---- */

typedef struct submit_call {
    reidd_api *api;
    reid_rpc_call *call;
    reidd_submission *submission; /* NULL: decided */
} submit_call;

void reidd_api_reply_with_job(reidd_api *api, reid_rpc_call *call, const char *id, bool whole)
{
    reidd_job_view view = {0};
    reid_error err = {0};
    if (reidd_manager_view(api->manager, id, &view, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    Reid__V1__Job *job = reidd_convert_job(&view);
    if (whole) {
        reidd_convert_add_latest(api, job);
        reidd_convert_add_config(api, job);
        reidd_convert_add_ranks(api, job);
    }
    reid_rpc_call_reply(call, &job->base);
    reid__v1__job__free_unpacked(job, NULL);
    reidd_job_view_fini(&view);
}

static void on_submitted(const reid_error *result, const char *job_id, void *user)
{
    submit_call *submit = user;
    submit->submission = NULL;
    if (result->code == REID_OK)
        reidd_api_reply_with_job(submit->api, submit->call, job_id, true);
    else
        reid_rpc_call_fail(submit->call, result);
}

static void on_submit_close(reid_rpc_call *call)
{
    submit_call *submit = reid_rpc_call_user(call);
    if (submit->submission)
        reidd_submission_cancel(submit->submission);
    free(submit);
}

/* Nobody becomes root by a certificate, nor by having no account. */
static reid_status check_account(const reidd_caller *caller, reid_error *err)
{
    if (!caller->remote || geteuid() != 0)
        return REID_OK;
    if (!caller->has_uid)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "there is no account '%s' on this node for the job to run as",
                         caller->name);
    if (caller->uid == 0)
        return reid_fail(err, REID_ERR_PERMISSION,
                         "jobs of root are taken on the Unix socket of this node only");
    return REID_OK;
}

static void submit(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__SubmitRequest *in = (const Reid__V1__SubmitRequest *)message;
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    const reidd_submit_request request = {
        .name = in->name,
        .config_yaml = in->config_yaml,
        .ranks = in->ranks,
        .resume = in->resume,
        .eval_only = in->eval_only,
        .fork_job = in->fork ? in->fork->job : NULL,
        .fork_iter = in->fork ? in->fork->at_iter : 0,
        .max_restarts = in->max_restarts,
        .restart_backoff_s = in->restart_backoff_seconds,
        .priority = in->priority,
        .max_time_s = in->max_time_seconds,
        .after = in->after,
        .after_count = in->n_after,
        .gpu_type = in->gpu_type,
        .hold = in->hold,
        .no_preempt = in->no_preempt,
        .min_ranks = in->min_ranks,
        .user = caller.name,
        .uid = caller.has_uid ? caller.uid : geteuid(),
        .by_admin = caller.role == REIDD_ROLE_ADMIN,
    };
    submit_call *waiting = reid_xcalloc(1, sizeof *waiting);
    waiting->api = api;
    waiting->call = call;
    reid_error err = {0};
    if (check_account(&caller, &err) != REID_OK ||
        reidd_api_check_priority(&caller, in->priority, &err) != REID_OK ||
        reidd_usage_submit(api->usage, &caller, reid_clock_mono_ns() / 1000000, &err) != REID_OK ||
        reidd_manager_submit(api->manager, &request, on_submitted, waiting, &waiting->submission,
                             &err) != REID_OK) {
        free(waiting);
        reid_rpc_call_fail(call, &err);
        return;
    }
    reid_rpc_call_set_user(call, waiting);
    reid_rpc_call_on_close(call, on_submit_close);
}

/* ---- List, Get, Cancel ---- */

typedef struct list_answer {
    REID_VEC(Reid__V1__Job *) jobs;
    size_t bytes;
} list_answer;

static void list_one(const reidd_job_view *view, void *user)
{
    list_answer *answer = user;
    if (answer->bytes > LIST_BYTES)
        return;
    Reid__V1__Job *job = reidd_convert_job(view);
    answer->bytes += reid__v1__job__get_packed_size(job) + 8;
    reid_vec_push(&answer->jobs, job);
}

static reid_status wanted_states(const Reid__V1__ListJobsRequest *in, unsigned *ret_states,
                                 reid_error *err)
{
    unsigned states = 0;
    for (size_t i = 0; i < in->n_states; i++) {
        if ((int)in->states[i] < REIDD_PENDING || (int)in->states[i] > REIDD_PAUSED)
            return reid_fail(err, REID_ERR_INVALID, "%d is not a state of a job",
                             (int)in->states[i]);
        states |= 1u << in->states[i];
    }
    *ret_states = in->n_states ? states : ~0u;
    return REID_OK;
}

static void list(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__ListJobsRequest *in = (const Reid__V1__ListJobsRequest *)message;
    list_answer answer = {0};
    unsigned states = 0;
    reid_error err = {0};
    reid_status status = wanted_states(in, &states, &err);
    if (status == REID_OK && in->limit < 0)
        status = reid_fail(&err, REID_ERR_INVALID, "the limit is %d, but must not be negative",
                           in->limit);
    if (status == REID_OK)
        status = reidd_manager_list(api->manager, states, in->limit ? in->limit : LIST_DEFAULT,
                                    *in->before ? in->before : NULL, list_one, &answer, &err);
    if (status == REID_OK) {
        Reid__V1__ListJobsResponse out = REID__V1__LIST_JOBS_RESPONSE__INIT;
        out.n_jobs = answer.jobs.count;
        out.jobs = answer.jobs.items;
        reid_rpc_call_reply(call, &out.base);
    } else {
        reid_rpc_call_fail(call, &err);
    }
    for (size_t i = 0; i < answer.jobs.count; i++)
        reid__v1__job__free_unpacked(answer.jobs.items[i], NULL);
    reid_vec_fini(&answer.jobs);
}

static void get(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__GetJobRequest *in = (const Reid__V1__GetJobRequest *)message;
    char id[16];
    reid_error err = {0};
    if (reidd_manager_find(api->manager, in->id, id, &err) != REID_OK)
        reid_rpc_call_fail(call, &err);
    else
        reidd_api_reply_with_job(api, call, id, true);
}

static reid_status check_cancel(const Reid__V1__CancelJobRequest *in, reid_error *err)
{
    if (!isfinite(in->grace_seconds) || in->grace_seconds < 0 || in->grace_seconds > GRACE_LIMIT_S)
        return reid_fail(err, REID_ERR_INVALID,
                         "the grace period is %g s, but must be between 0 and %d",
                         in->grace_seconds, GRACE_LIMIT_S);
    if (strlen(in->reason) > REASON_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a reason has at most %d bytes", REASON_BYTES);
    return REID_OK;
}

static void cancel(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__CancelJobRequest *in = (const Reid__V1__CancelJobRequest *)message;
    char id[16];
    reid_error err = {0};
    reid_status status = check_cancel(in, &err);
    if (status == REID_OK)
        status = reidd_api_find_own(api, call, in->id, id, &err);
    /* A wish for less than a millisecond is still a wish, not the default. */
    int64_t grace_ms = in->grace_seconds == 0 ? -1 : (int64_t)ceil(in->grace_seconds * 1000);
    if (status == REID_OK)
        status = reidd_manager_cancel(api->manager, id, in->reason, grace_ms, &err);
    if (status != REID_OK)
        reid_rpc_call_fail(call, &err);
    else
        reidd_api_reply_with_job(api, call, id, false);
}

/* ---- the table ---- */

#define PATH "/reid.v1.JobService/"
#define MESSAGES(in, out)                                                                          \
    .input = &reid__v1__##in##__descriptor, .output = &reid__v1__##out##__descriptor

#define QUEUE_VERB(name, request, function)                                                        \
    {                                                                                              \
        .path = PATH name, MESSAGES(request, job), .kind = REID_RPC_UNARY,                         \
        .role = REIDD_ROLE_OPERATOR, .max_request_bytes = 4096, .on_message = function             \
    }

static const reid_rpc_method methods[] = {
    {.path = PATH "Submit",
     MESSAGES(submit_request, job),
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_OPERATOR,
     .max_request_bytes = 2u << 20,
     .deadline_ms = 120000,
     .on_message = submit},
    {.path = PATH "List",
     MESSAGES(list_jobs_request, list_jobs_response),
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .on_message = list},
    {.path = PATH "Get",
     MESSAGES(get_job_request, job),
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .on_message = get},
    {.path = PATH "Cancel",
     MESSAGES(cancel_job_request, job),
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_OPERATOR,
     .max_request_bytes = 4096,
     .on_message = cancel},
    QUEUE_VERB("Hold", job_request, reidd_api_hold),
    QUEUE_VERB("Release", job_request, reidd_api_release),
    QUEUE_VERB("Requeue", job_request, reidd_api_requeue),
    QUEUE_VERB("SetPriority", priority_request, reidd_api_set_priority),
    QUEUE_VERB("Remove", job_request, reidd_api_remove),
    {.path = PATH "Watch",
     MESSAGES(watch_job_request, job),
     .kind = REID_RPC_SERVER_STREAM,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .max_queue_bytes = 8u << 10, /* some pictures; then only the newest counts */
     .on_message = reidd_api_watch},
    {.path = PATH "Metrics",
     MESSAGES(metrics_request, metrics_chunk),
     .kind = REID_RPC_SERVER_STREAM,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 64u << 10,
     .max_queue_bytes = REIDD_QUEUE_BYTES,
     .on_message = reidd_api_metrics},
    {.path = PATH "Events",
     MESSAGES(events_request, events_chunk),
     .kind = REID_RPC_SERVER_STREAM,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .max_queue_bytes = REIDD_QUEUE_BYTES,
     .on_message = reidd_api_events},
    {.path = PATH "Logs",
     MESSAGES(logs_request, log_chunk),
     .kind = REID_RPC_SERVER_STREAM,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 64u << 10,
     .max_queue_bytes = REIDD_QUEUE_BYTES,
     .on_message = reidd_api_logs},
};

void reidd_api_add_jobs(reidd_api *api, reid_rpc_server *server)
{
    reidd_api_add_rows(api, server, methods, REID_COUNT_OF(methods));
}
