/* Who calls, and what the caller may do. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/api/api.h"
#include "daemon/api/forward.h"
#include "daemon/cluster/cluster.h"

/* A member speaks for its clients, whom it has asked who they are; the guard has checked that it is
 * one. */
static void caller_of(reidd_api *api, const reid_rpc_peer *peer, reidd_caller *ret_caller)
{
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    reid_rpc_peer other = {.uid = (uid_t)-1, .gid = (gid_t)-1, .remote = true};
    if (!peer->for_role[0]) {
        reidd_access_caller(api->access, peer, now_ms, ret_caller);
        return;
    }
    memcpy(other.name, peer->for_name, sizeof other.name);
    memcpy(other.role, peer->for_role, sizeof other.role);
    memcpy(other.address, peer->address, sizeof other.address);
    reidd_access_caller(api->access, &other, now_ms, ret_caller);
    reidd_role most =
        reidd_cluster_only_viewers(api->cluster, peer) ? REIDD_ROLE_VIEWER : REIDD_FORWARD_ROLE;
    ret_caller->role = REID_MIN(ret_caller->role, most);
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

reid_status reidd_api_subscribe(reidd_api *api, const reid_rpc_call *call, reidd_listener *listener,
                                reid_error *err)
{
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    return reidd_usage_subscribe(api->usage, &caller, &listener->count, err);
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
    if (peer->for_role[0])
        REID_TRY(reidd_cluster_check_peer(api->cluster, peer, NULL, err));
    caller_of(api, peer, &caller);
    reidd_role needed =
        reid_str_starts(method->path, "/grpc.") ? REIDD_ROLE_VIEWER : (reidd_role)method->role;
    if (needed == REIDD_ROLE_NODE && is_own(&caller))
        return REID_OK;
    return reidd_caller_check_role(&caller, needed, err);
}
