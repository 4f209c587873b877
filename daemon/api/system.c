/* SystemService, and what the public socket serves altogether. */
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/protocol.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "daemon/api/forward.h"
#include "daemon/cluster/cluster.h"
#include "descriptors.h"
#include "reid/v1/system.pb-c.h"
#include "version.h"

static const char *const features[] = {
    "health", "reflection", "metrics-cursor", "log-offsets", "adoption", "control",
    "hooks",  "events",     "fork",           "nodes",       "drain",
};

static void add_limits(const reidd_limits *limits, Reid__V1__Limit *rows,
                       Reid__V1__Limit **ret_list)
{
    for (size_t i = 0; i < REIDD_LIMIT_COUNT; i++) {
        reid__v1__limit__init(&rows[i]);
        rows[i].option = (char *)reidd_limit_rows[i].option;
        rows[i].value = limits->values[i];
        rows[i].usual = reidd_limit_rows[i].usual;
        rows[i].help = (char *)reidd_limit_rows[i].help;
        ret_list[i] = &rows[i];
    }
}

static void info(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    reidd_caller caller;
    Reid__V1__Limit rows[REIDD_LIMIT_COUNT], *limits[REIDD_LIMIT_COUNT];
    Reid__V1__InfoResponse out = REID__V1__INFO_RESPONSE__INIT;
    reidd_api_caller(api, call, &caller);
    add_limits(api->limits, rows, limits);
    REID_AUTOFREE char *user = reidd_convert_text(caller.name);
    out.user = user;
    out.role = (char *)reidd_role_name(caller.role);
    out.n_limits = REIDD_LIMIT_COUNT;
    out.limits = limits;
    out.version = (char *)REID_VERSION;
    out.revision = (char *)REID_REVISION;
    out.pid = getpid();
    out.started_ms = api->started_ms;
    out.slots = reidd_manager_slots(api->manager);
    out.slots_used = reidd_manager_slots_used(api->manager);
    out.state_dir = (char *)api->state_dir;
    out.node = (char *)api->node;
    out.confinement = (char *)api->confinement;
    const reidd_cluster *cluster = api->cluster;
    out.cluster_role = (char *)(!cluster                           ? "single"
                                : reidd_cluster_is_member(cluster) ? "member"
                                                                   : "head");
    if (cluster) {
        out.head = reidd_cluster_head(cluster)->name;
        out.head_address = reidd_cluster_head(cluster)->address;
        out.nodes = (int32_t)reidd_cluster_get_file(cluster)->count;
    }
    for (size_t i = 0; i < api->nodes->count; i++)
        out.nodes_up += api->nodes->items[i].up;
    out.protocol = REID_PROTOCOL;
    out.protocol_oldest = REID_PROTOCOL_OLDEST;
    out.n_features = REID_COUNT_OF(features);
    out.features = (char **)features;
    reid_rpc_call_reply(call, &out.base);
}

static const reid_rpc_method own_methods[] = {
    {.path = "/reid.v1.SystemService/Info",
     .input = &reid__v1__info_request__descriptor,
     .output = &reid__v1__info_response__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .on_message = info},
};

/* A member's clients ask the head. */
static const reid_rpc_method methods[] = {
    {.path = "/reid.v1.SystemService/Nodes",
     .input = &reid__v1__nodes_request__descriptor,
     .output = &reid__v1__nodes_response__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .deadline_ms = 20000, /* a driver may hang */
     .on_message = reidd_api_nodes},
    {.path = "/reid.v1.SystemService/SetNode",
     .input = &reid__v1__set_node_request__descriptor,
     .output = &reid__v1__node__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_ADMIN,
     .max_request_bytes = 4096,
     .deadline_ms = 20000,
     .on_message = reidd_api_set_node},
};

void reidd_api_add_system(reidd_api *api, reid_rpc_server *server)
{
    reid_rpc_server_add_service(server, own_methods, REID_COUNT_OF(own_methods), api);
    reidd_api_add_rows(api, server, methods, REID_COUNT_OF(methods));
}

reid_status reidd_api_serve_public(reidd_api *api, reid_rpc_server *server, reid_error *err)
{
    reid_rpc_server_set_guard(server, reidd_api_guard, api);
    reidd_api_add_jobs(api, server);
    reidd_api_add_control(api, server);
    reidd_api_add_hooks(api, server);
    reidd_api_add_system(api, server);
    reid_rpc_server_add_health(server);
    return reid_rpc_server_add_reflection(
        server, reid_proto_descriptors,
        (size_t)(reid_proto_descriptors_end - reid_proto_descriptors), err);
}
