/* JobService/Logs. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "daemon/hub/tail.h"

#define LOOK_MS 100 /* at files that may have grown; with many followers at the hub's pace */
#define RANKS_LIMIT 4096

typedef struct reader {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    reidd_turn turn;
    uv_timer_t timer; /* the next look */
    bool follow;
    bool full;
    int wanted_attempt; /* 0: the newest */
    int attempt;        /* that `tail` reads; 0: none yet */
    int64_t tail_lines;
    int32_t *ranks;
    size_t rank_count;
    reidd_tail *tail;
} reader;

static reid_status check_ranks(const Reid__V1__LogsRequest *in, const reidd_job *job,
                               reid_error *err)
{
    if (in->n_ranks > RANKS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "at most %d ranks can be asked for", RANKS_LIMIT);
    for (size_t i = 0; i < in->n_ranks; i++)
        if (in->ranks[i] < -1 || in->ranks[i] >= job->ranks)
            return reid_fail(err, REID_ERR_INVALID,
                             "job %s has ranks 0 to %d (and -1, its launcher), but no rank %d",
                             job->id, job->ranks - 1, in->ranks[i]);
    if (in->tail_lines < 0)
        return reid_fail(err, REID_ERR_INVALID, "the number of last lines must not be negative");
    return REID_OK;
}

static reid_status check_attempt(const Reid__V1__LogsRequest *in, const reidd_job *job,
                                 reid_error *err)
{
    if (in->attempt < 0 || (in->attempt > job->attempt && in->attempt > 0))
        return reid_fail(err, REID_ERR_NOT_FOUND, "job %s has no attempt %d", job->id, in->attempt);
    if (job->attempt == 0 && reidd_state_is_final(job->state))
        return reid_fail(err, REID_ERR_NOT_FOUND, "job %s ended before it was started: no logs",
                         job->id);
    if (job->attempt == 0 && !in->follow)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s has not started yet: no logs",
                         job->id);
    return REID_OK;
}

/* The attempt that is to be read may have begun meanwhile. */
static reid_status open_attempt(reader *r, const reidd_job *job, reid_error *err)
{
    int attempt = r->wanted_attempt ? r->wanted_attempt : job->attempt;
    if (attempt == r->attempt)
        return REID_OK;
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(r->api->manager, job->id, attempt);
    if (!reid_path_is_dir(folder))
        return reid_fail(err, REID_ERR_NOT_FOUND, "the logs of attempt %d of job %s are gone",
                         attempt, job->id);
    reidd_tail_free(r->tail);
    r->tail = reidd_tail_new(folder, r->ranks, r->rank_count, job->ranks, r->tail_lines);
    r->attempt = attempt;
    return REID_OK;
}

static void on_look(uv_timer_t *timer);

/* All followers look at the same moments: one wake-up for all. */
static void look_later(reader *r)
{
    uint64_t pace_ms = REID_MAX(reidd_hub_pace_ms(r->api->hub), (uint64_t)LOOK_MS);
    uv_timer_start(&r->timer, on_look, pace_ms - uv_now(r->api->loop) % pace_ms, 0);
}

/* Sends a piece, if there is one. `ended`: no more is written. */
static void send_chunk(reader *r, bool ended)
{
    reidd_tail_chunk piece;
    if (!r->tail || !reidd_tail_next(r->tail, ended || !r->follow, &piece)) {
        if (ended || !r->follow)
            reid_rpc_call_finish(r->call, REID_OK, NULL);
        else
            look_later(r);
        return;
    }
    Reid__V1__LogChunk chunk = REID__V1__LOG_CHUNK__INIT;
    chunk.rank = piece.rank;
    chunk.node = (char *)piece.node;
    chunk.from_stderr = piece.from_stderr;
    chunk.offset = piece.offset;
    chunk.data.data = (uint8_t *)piece.data;
    chunk.data.len = piece.size;
    reid_status status = reid_rpc_call_send(r->call, &chunk.base);
    if (status == REID_ERR_EXHAUSTED) {
        r->full = true;
    } else if (status != REID_OK) {
        reid_rpc_call_finish(r->call, status, "the logs cannot be sent");
    } else {
        reidd_tail_accept(r->tail);
        reidd_turn_post(r->api->turns, &r->turn);
    }
}

static void go_on(reidd_turn *turn)
{
    reader *r = REID_RPC_OWNER(turn, reader, turn);
    reidd_job_view view = {0};
    reid_error err = {0};
    if (reid_rpc_call_ended(r->call) || r->full)
        return;
    uv_timer_stop(&r->timer);
    reid_status status = reidd_manager_view(r->api->manager, r->listener.job_id, &view, &err);
    if (status == REID_OK && view.job.attempt > 0)
        status = open_attempt(r, &view.job, &err);
    if (status == REID_OK)
        /* An attempt that is not the newest grows no more either. */
        send_chunk(r, reidd_state_is_final(view.job.state) ||
                          (r->attempt > 0 && r->attempt < view.job.attempt));
    else
        reid_rpc_call_fail(r->call, &err);
    reidd_job_view_fini(&view);
}

static void post(reader *r)
{
    reidd_turn_post(r->api->turns, &r->turn);
}

static void on_look(uv_timer_t *timer)
{
    post(timer->data);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    if (changes & (REIDD_CHANGED_JOB | REIDD_CHANGED_END))
        post((reader *)listener);
}

static void on_drain(reid_rpc_call *call)
{
    reader *r = reid_rpc_call_user(call);
    r->full = false;
    post(r);
}

static void on_timer_closed(uv_handle_t *handle)
{
    reader *r = handle->data;
    reidd_tail_free(r->tail);
    free(r->ranks);
    free(r);
}

static void on_close(reid_rpc_call *call)
{
    reader *r = reid_rpc_call_user(call);
    reidd_hub_remove(&r->listener);
    reidd_turn_cancel(&r->turn);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

static reader *reader_new(reidd_api *api, reid_rpc_call *call, const Reid__V1__LogsRequest *in,
                          const char *id, const reidd_listener *listener)
{
    reader *r = reid_xcalloc(1, sizeof *r);
    r->api = api;
    r->call = call;
    r->follow = in->follow;
    r->wanted_attempt = in->attempt;
    r->tail_lines = in->tail_lines;
    r->rank_count = in->n_ranks;
    r->ranks = reid_xcalloc(in->n_ranks + 1, sizeof *r->ranks);
    for (size_t i = 0; i < in->n_ranks; i++)
        r->ranks[i] = in->ranks[i];
    r->timer.data = r;
    uv_timer_init(api->loop, &r->timer);
    reidd_turn_init(&r->turn, go_on);
    r->listener = *listener;
    reidd_hub_add(api->hub, &r->listener, id);
    return r;
}

void reidd_api_logs(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__LogsRequest *in = (const Reid__V1__LogsRequest *)message;
    reidd_job_view view = {0};
    char id[16];
    reid_error err = {0};
    reid_status status = reidd_manager_find(api->manager, in->id, id, &err);
    if (status == REID_OK)
        status = reidd_manager_view(api->manager, id, &view, &err);
    if (status == REID_OK)
        status = check_ranks(in, &view.job, &err);
    if (status == REID_OK)
        status = check_attempt(in, &view.job, &err);
    reidd_listener listener = {.wake = on_change, .follows = true};
    if (status == REID_OK)
        status = reidd_api_subscribe(api, call, &listener, &err);
    reidd_job_view_fini(&view);
    if (status != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reader *r = reader_new(api, call, in, id, &listener);
    reid_rpc_call_set_user(call, r);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    post(r);
}
