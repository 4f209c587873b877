/* JobService/Watch. */
#include <stdlib.h>

#include "base/alloc.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"

typedef struct watch {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    bool behind; /* the queue was full: the newest state goes out when there is room */
} watch;

static void send_job(watch *w)
{
    reidd_job_view view = {0};
    reid_error err = {0};
    if (reidd_manager_view(w->api->manager, w->listener.job_id, &view, &err) != REID_OK) {
        reid_rpc_call_fail(w->call, &err);
        return;
    }
    bool final = reidd_state_is_final(view.job.state);
    Reid__V1__Job *job = reidd_convert_job(&view);
    reidd_convert_add_latest(w->api, job);
    reid_status status = reid_rpc_call_send(w->call, &job->base);
    reid__v1__job__free_unpacked(job, NULL);
    reidd_job_view_fini(&view);
    w->behind = status == REID_ERR_EXHAUSTED;
    if (status == REID_OK && final)
        reid_rpc_call_finish(w->call, REID_OK, NULL);
    else if (status != REID_OK && status != REID_ERR_EXHAUSTED)
        reid_rpc_call_finish(w->call, status, "the job cannot be sent");
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    watch *w = (watch *)listener;
    if (!w->behind && !reid_rpc_call_ended(w->call))
        send_job(w);
}

static void on_drain(reid_rpc_call *call)
{
    watch *w = reid_rpc_call_user(call);
    if (w->behind)
        send_job(w);
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
    reidd_listener listener = {.wake = on_change};
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
    send_job(w);
}
