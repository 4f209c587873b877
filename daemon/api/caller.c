/* Who calls, and what the caller may do. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/api/api.h"
#include "daemon/cluster/cluster.h"

static void caller_of(reidd_api *api, const reid_rpc_peer *peer, reidd_caller *ret_caller)
{
    reidd_access_caller(api->access, peer, reid_clock_mono_ns() / 1000000, ret_caller);
}

void reidd_api_caller(reidd_api *api, const reid_rpc_call *call, reidd_caller *ret_caller)
{
    caller_of(api, reid_rpc_call_peer(call), ret_caller);
}

reid_status reidd_api_find_own(reidd_api *api, const reid_rpc_call *call, const char *key,
                               char ret_id[16], reid_error *err)
{
    reidd_caller caller;
    reidd_job_view view = {0};
    char id[16];
    reidd_api_caller(api, call, &caller);
    REID_TRY(reidd_manager_find(api->manager, key, id, err));
    REID_TRY(reidd_manager_view(api->manager, id, &view, err));
    reid_status status =
        reidd_caller_check_owner(&caller, id, view.job.user, (uid_t)view.job.uid, err);
    reidd_job_view_fini(&view);
    if (status == REID_OK)
        memcpy(ret_id, id, sizeof id);
    return status;
}

/* What a member cannot answer: everything but questions about itself. */
static bool is_for_head(const char *path)
{
    static const char *const services[] = {"/reid.v1.JobService/", "/reid.v1.ControlService/",
                                           "/reid.v1.HookService/"};
    for (size_t i = 0; i < REID_COUNT_OF(services); i++)
        if (reid_str_starts(path, services[i]))
            return true;
    return strcmp(path, "/reid.v1.SystemService/SetNode") == 0;
}

/* Several daemons on one machine, over Unix sockets: who has the daemon's own user is no stranger.
 */
static bool is_own(const reidd_caller *caller)
{
    return !caller->remote && caller->has_uid && (caller->uid == 0 || caller->uid == geteuid());
}

/* Health and reflection are no rows of ours and name no role: who may look may use them. */
reid_status reidd_api_guard(const reid_rpc_method *method, const reid_rpc_peer *peer, void *user,
                            reid_error *err)
{
    reidd_caller caller;
    reidd_api *api = user;
    if (reidd_cluster_is_member(api->cluster) && is_for_head(method->path))
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "node %s has no jobs of its own, they are with the head %s: reidctl -H %s",
                         api->node, reidd_cluster_head(api->cluster)->name,
                         reidd_cluster_head(api->cluster)->address);
    caller_of(api, peer, &caller);
    reidd_role needed =
        reid_str_starts(method->path, "/grpc.") ? REIDD_ROLE_VIEWER : (reidd_role)method->role;
    if (needed == REIDD_ROLE_NODE && is_own(&caller))
        return REID_OK;
    return reidd_caller_check_role(&caller, needed, err);
}
