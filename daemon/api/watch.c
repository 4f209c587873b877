/* JobService/Watch. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"

typedef struct watch {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    bool behind; /* the last one is not out yet: then the newest goes out, and none between */
} watch;

/* A job as all its watchers see it. */
typedef struct reidd_picture {
    char job_id[16];
    uint64_t round; /* of the hub */
    bool final;
    size_t size;
    uint8_t *bytes; /* a Job */
} reidd_picture;

void reidd_api_forget_picture(reidd_api *api)
{
    if (api->picture)
        free(api->picture->bytes);
    free(api->picture);
    api->picture = NULL;
}

static reid_status take_picture(const watch *w, reid_error *err)
{
    reidd_api *api = w->api;
    reidd_job_view view = {0};
    REID_TRY(reidd_manager_view(api->manager, w->listener.job_id, &view, err));
    Reid__V1__Job *job = reidd_convert_job(&view);
    reidd_convert_add_latest(api, job);
    if (!api->picture)
        api->picture = reid_xcalloc(1, sizeof *api->picture);
    reidd_picture *p = api->picture;
    p->size = reid__v1__job__get_packed_size(job);
    p->bytes = reid_xrealloc(p->bytes, p->size + 1);
    reid__v1__job__pack(job, p->bytes);
    p->final = reidd_state_is_final(view.job.state);
    p->round = api->hub->round;
    memcpy(p->job_id, w->listener.job_id, sizeof p->job_id);
    reid__v1__job__free_unpacked(job, NULL);
    reidd_job_view_fini(&view);
    return REID_OK;
}

/* `same`: nothing has changed since another watcher was told in this round. */
static void send_job(watch *w, bool same)
{
    const reidd_picture *p = w->api->picture;
    reid_error err = {0};
    if ((!same || !p || p->round != w->api->hub->round ||
         strcmp(p->job_id, w->listener.job_id) != 0) &&
        take_picture(w, &err) != REID_OK) {
        reid_rpc_call_fail(w->call, &err);
        return;
    }
    p = w->api->picture;
    reid_status status = reid_rpc_call_send_packed(w->call, p->bytes, p->size);
    w->behind = status == REID_ERR_EXHAUSTED;
    if (status == REID_OK && p->final)
        reid_rpc_call_finish(w->call, REID_OK, NULL);
    else if (status != REID_OK && status != REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(w->call, status, "the job cannot be sent");
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    watch *w = (watch *)listener;
    if (!w->behind && !reid_rpc_call_ended(w->call))
        send_job(w, true);
}

static void on_drain(reid_rpc_call *call)
{
    watch *w = reid_rpc_call_user(call);
    if (w->behind)
        send_job(w, false);
}

static void on_close(reid_rpc_call *call)
{
    watch *w = reid_rpc_call_user(call);
    reidd_hub_remove(&w->listener);
    free(w);
}

void reidd_api_watch(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__WatchJobRequest *in = (const Reid__V1__WatchJobRequest *)message;
    char id[16];
    reid_error err = {0};
    reidd_listener listener = {.wake = on_change, .follows = true};
    if (reidd_manager_find(api->manager, in->id, id, &err) != REID_OK ||
        reidd_api_subscribe(api, call, &listener, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    watch *w = reid_xcalloc(1, sizeof *w);
    w->listener = listener;
    w->api = api;
    w->call = call;
    reidd_hub_add(api->hub, &w->listener, id);
    reid_rpc_call_set_user(call, w);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    send_job(w, false);
}
