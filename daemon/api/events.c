/* JobService/Events: a cursor into the job's diary, as JobService/Metrics is into its rows. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/vec.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"

#define CHUNK_EVENTS 256

typedef struct follower {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    reidd_turn turn;
    int64_t after; /* events up to here are sent */
    bool follow;
    bool full; /* the queue was; on_drain goes on */
} follower;

typedef struct page {
    REID_VEC(Reid__V1__JobEvent *) events;
    size_t bytes;
    bool more;
} page;

static bool read_event(const reidd_event *event, void *user)
{
    page *p = user;
    p->more = p->events.count == CHUNK_EVENTS || p->bytes > REIDD_PIECE_BYTES;
    if (p->more)
        return false;
    Reid__V1__JobEvent *message = reid_xmalloc(sizeof *message);
    reid__v1__job_event__init(message);
    message->number = event->number;
    message->attempt = event->attempt;
    message->wall_ms = event->wall_ms;
    message->kind = reidd_convert_text(event->kind);
    message->detail = reidd_convert_text(event->detail);
    p->bytes += strlen(message->detail) + 64;
    reid_vec_push(&p->events, message);
    return true;
}

static reid_status send_page(follower *f, const page *p)
{
    if (p->events.count == 0)
        return REID_OK;
    Reid__V1__EventsChunk chunk = REID__V1__EVENTS_CHUNK__INIT;
    chunk.n_events = p->events.count;
    chunk.events = p->events.items;
    reid_status status = reid_rpc_call_send(f->call, &chunk.base);
    if (status == REID_OK)
        f->after = p->events.items[p->events.count - 1]->number;
    return status;
}

static reid_status step(follower *f, bool *ret_more, reid_error *err)
{
    page p = {0};
    reid_status status =
        reidd_store_event_each(f->api->store, f->listener.job_id, f->after, read_event, &p, err);
    if (status == REID_OK) {
        status = send_page(f, &p);
        if (status != REID_OK && status != REID_ERR_EXHAUSTED)
            reid_fail(err, status, "the events cannot be sent");
    }
    for (size_t i = 0; i < p.events.count; i++)
        reid__v1__job_event__free_unpacked(p.events.items[i], NULL);
    reid_vec_fini(&p.events);
    *ret_more = p.more;
    return status;
}

static bool has_ended(const follower *f)
{
    reidd_job_view view = {0};
    if (reidd_manager_view(f->api->manager, f->listener.job_id, &view, NULL) != REID_OK)
        return true;
    bool final = reidd_state_is_final(view.job.state);
    reidd_job_view_fini(&view);
    return final;
}

/* One page. */
static void go_on(reidd_turn *turn)
{
    follower *f = REID_RPC_OWNER(turn, follower, turn);
    if (reid_rpc_call_ended(f->call) || f->full)
        return;
    /* Asked first: no event comes after a final state. */
    bool last_turn = !f->follow || has_ended(f), more = false;
    reid_error err = {0};
    reid_status status = step(f, &more, &err);
    if (status == REID_ERR_EXHAUSTED)
        f->full = true;
    else if (status != REID_OK)
        reid_rpc_call_fail(f->call, &err);
    else if (more)
        reidd_turn_post(f->api->turns, turn);
    else if (last_turn)
        reid_rpc_call_finish(f->call, REID_OK, NULL);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    if (changes & (REIDD_CHANGED_JOB | REIDD_CHANGED_END))
        reidd_turn_post(((follower *)listener)->api->turns, &((follower *)listener)->turn);
}

static void on_drain(reid_rpc_call *call)
{
    follower *f = reid_rpc_call_user(call);
    f->full = false;
    reidd_turn_post(f->api->turns, &f->turn);
}

static void on_close(reid_rpc_call *call)
{
    follower *f = reid_rpc_call_user(call);
    reidd_hub_remove(&f->listener);
    reidd_turn_cancel(&f->turn);
    free(f);
}

void reidd_api_events(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__EventsRequest *in = (const Reid__V1__EventsRequest *)message;
    char id[16];
    reid_error err = {0};
    reid_status status = REID_OK;
    reidd_listener listener = {.wake = on_change, .follows = true};
    if (in->after < 0)
        status = reid_fail(&err, REID_ERR_INVALID, "the cursor %lld must not be negative",
                           (long long)in->after);
    if (status == REID_OK)
        status = reidd_manager_find(api->manager, in->id, id, &err);
    if (status == REID_OK)
        status = reidd_api_subscribe(api, call, &listener, &err);
    if (status != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    follower *f = reid_xcalloc(1, sizeof *f);
    f->api = api;
    f->call = call;
    f->after = in->after;
    f->follow = in->follow;
    reidd_turn_init(&f->turn, go_on);
    f->listener = listener;
    reidd_hub_add(api->hub, &f->listener, id);
    reid_rpc_call_set_user(call, f);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    reidd_turn_post(api->turns, &f->turn);
}
