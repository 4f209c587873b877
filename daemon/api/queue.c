/* Hold, Release, Requeue, SetPriority and Remove of JobService. */
#include <string.h>

#include "base/alloc.h"
#include "daemon/api/api.h"
#include "daemon/api/ask.h"
#include "daemon/api/convert.h"
#include "daemon/prune.h"
#include "daemon/queue.h"

typedef reid_status verb(reidd_manager *manager, const char *id, const char *who,
                         const char *reason, reid_error *err);

reid_status reidd_api_check_priority(const reidd_caller *caller, int priority, reid_error *err)
{
    if (priority <= 0 || caller->role == REIDD_ROLE_ADMIN)
        return REID_OK;
    return reid_fail(err, REID_ERR_PERMISSION,
                     "a priority of %d puts a job before those of all others, which only admins "
                     "may do",
                     priority);
}

static void answer(reidd_api *api, reid_rpc_call *call, const char *id, reid_status status,
                   const reid_error *err)
{
    if (status != REID_OK)
        reid_rpc_call_fail(call, err);
    else
        reidd_api_reply_with_job(api, call, id, false);
}

static void act(reid_rpc_call *call, const ProtobufCMessage *message, void *service, verb *what)
{
    reidd_api *api = service;
    const Reid__V1__JobRequest *in = (const Reid__V1__JobRequest *)message;
    reidd_caller caller;
    char id[16];
    reid_error err = {0};
    reidd_api_caller(api, call, &caller);
    REID_AUTOFREE char *reason = reidd_convert_text(in->reason);
    reid_status status = reidd_api_check_common(in->reason, 0, &err);
    if (status == REID_OK)
        status = reidd_api_find_own(api, call, in->id, id, &err);
    if (status == REID_OK)
        status = what(api->manager, id, caller.name, reason, &err);
    answer(api, call, id, status, &err);
}

void reidd_api_hold(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    act(call, message, service, reidd_manager_hold);
}

void reidd_api_release(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    act(call, message, service, reidd_manager_release);
}

void reidd_api_requeue(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    act(call, message, service, reidd_manager_requeue);
}

void reidd_api_set_priority(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__PriorityRequest *in = (const Reid__V1__PriorityRequest *)message;
    reidd_caller caller;
    char id[16];
    reid_error err = {0};
    reidd_api_caller(api, call, &caller);
    REID_AUTOFREE char *reason = reidd_convert_text(in->reason);
    reid_status status = reidd_api_check_common(in->reason, 0, &err);
    if (status == REID_OK)
        status = reidd_api_check_priority(&caller, in->priority, &err);
    if (status == REID_OK)
        status = reidd_api_find_own(api, call, in->id, id, &err);
    if (status == REID_OK)
        status =
            reidd_manager_set_priority(api->manager, id, in->priority, caller.name, reason, &err);
    answer(api, call, id, status, &err);
}

void reidd_api_remove(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__JobRequest *in = (const Reid__V1__JobRequest *)message;
    reidd_caller caller;
    reidd_job_view view = {0};
    char id[16];
    reid_error err = {0};
    reidd_api_caller(api, call, &caller);
    reid_status status = reidd_api_find_own(api, call, in->id, id, &err);
    if (status == REID_OK)
        status = reidd_manager_view(api->manager, id, &view, &err);
    if (status == REID_OK)
        status = reidd_manager_remove(api->manager, id, caller.name, &err);
    if (status == REID_OK) {
        Reid__V1__Job *job = reidd_convert_job(&view);
        reid_rpc_call_reply(call, &job->base);
        reid__v1__job__free_unpacked(job, NULL);
    } else {
        reid_rpc_call_fail(call, &err);
    }
    reidd_job_view_fini(&view);
}
