/* grpc.health.v1.Health. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "grpc/health/v1/health.pb-c.h"
#include "rpc/server_impl.h"

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

typedef struct reid_rpc_health {
    reid_rpc_server *server;
    reid_rpc_node watchers;
    bool stopped;
} reid_rpc_health;

typedef struct watcher {
    reid_rpc_node node;
    reid_rpc_call *call;
} watcher;

static bool is_known(const reid_rpc_health *health, const char *service)
{
    return service[0] == '\0' || reid_rpc_server_has_service(health->server, service);
}

static check_response answer_for(const reid_rpc_health *health, const char *service)
{
    check_response answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!is_known(health, service))
        answer.status = STATUS(SERVICE_UNKNOWN);
    else
        answer.status = health->stopped ? STATUS(NOT_SERVING) : STATUS(SERVING);
    return answer;
}

static void check(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const check_request *request = (const check_request *)message;
    reid_rpc_health *health = service;
    if (!is_known(health, request->service)) {
        char *sentence = reid_xasprintf("there is no service '%s' here", request->service);
        reid_rpc_call_finish(call, REID_ERR_NOT_FOUND, sentence);
        free(sentence);
        return;
    }
    check_response answer = answer_for(health, request->service);
    reid_rpc_call_reply(call, &answer.base);
}

static void watch_closed(reid_rpc_call *call)
{
    watcher *w = reid_rpc_call_user(call);
    reid_rpc_list_remove(&w->node);
    free(w);
}

/* Services do not come and go while the server runs: there is one change, when the server stops. */
static void watch(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const check_request *request = (const check_request *)message;
    reid_rpc_health *health = service;
    watcher *w = reid_xcalloc(1, sizeof *w);
    w->call = call;
    reid_rpc_list_append(&health->watchers, &w->node);
    reid_rpc_call_set_user(call, w);
    reid_rpc_call_on_close(call, watch_closed);
    check_response answer = answer_for(health, request->service);
    reid_rpc_call_send(call, &answer.base);
}

static const reid_rpc_method methods[] = {
    {
        .path = "/grpc.health.v1.Health/Check",
        .input = &grpc__health__v1__health_check_request__descriptor,
        .output = &grpc__health__v1__health_check_response__descriptor,
        .kind = REID_RPC_UNARY,
        .max_request_bytes = 4096,
        .on_message = check,
    },
    {
        .path = "/grpc.health.v1.Health/Watch",
        .input = &grpc__health__v1__health_check_request__descriptor,
        .output = &grpc__health__v1__health_check_response__descriptor,
        .kind = REID_RPC_SERVER_STREAM,
        .max_request_bytes = 4096,
        .on_message = watch,
    },
};

void reid_rpc_server_add_health(reid_rpc_server *server)
{
    REID_ASSERT(!server->health);
    reid_rpc_health *health = reid_xcalloc(1, sizeof *health);
    health->server = server;
    reid_rpc_list_init(&health->watchers);
    server->health = health;
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), health);
}

void reid_rpc_health_stop(reid_rpc_health *health)
{
    health->stopped = true;
    check_response answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    answer.status = STATUS(NOT_SERVING);
    for (reid_rpc_node *n = health->watchers.next; n != &health->watchers; n = n->next) {
        reid_rpc_call *call = REID_RPC_OWNER(n, watcher, node)->call;
        reid_rpc_call_send(call, &answer.base);
        reid_rpc_call_finish(call, REID_ERR_UNAVAILABLE, "the server is shutting down");
    }
}

void reid_rpc_health_free(reid_rpc_health *health)
{
    free(health);
}
