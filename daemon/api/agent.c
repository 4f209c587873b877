/* AgentService: what mpirun starts in the place of ssh asks for orted on another node. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "daemon/api/api.h"
#include "daemon/cluster/agent.h"
#include "reid/v1/agent.pb-c.h"

#define AGENT_MESSAGE_BYTES (256u << 10)

typedef struct agent_call {
    reid_rpc_call *call;
    reidd_agent *agent; /* NULL: its part is over */
} agent_call;

static void on_started(void *user)
{
    agent_call *a = user;
    Reid__V1__AgentDown down = REID__V1__AGENT_DOWN__INIT;
    reid_rpc_call_send(a->call, &down.base);
}

static void on_again(void *user)
{
    agent_call *a = user;
    reid_rpc_call_finish(a->call, REID_ERR_UNAVAILABLE, "the node has lost the ranks: ask again");
}

static void on_ended(int exit_code, void *user)
{
    agent_call *a = user;
    Reid__V1__AgentDown down = REID__V1__AGENT_DOWN__INIT;
    down.ended = true;
    down.exit_code = exit_code;
    reid_rpc_call_send(a->call, &down.base);
    reid_rpc_call_finish(a->call, REID_OK, NULL);
}

static void on_failed(const char *sentence, void *user)
{
    agent_call *a = user;
    reid_rpc_call_finish(a->call, REID_ERR_PRECONDITION, sentence);
}

static const reidd_agent_events events = {
    .started = on_started, .again = on_again, .ended = on_ended, .failed = on_failed};

/* UNAVAILABLE is this daemon's own end, or on_again: the agent comes again. */
static void on_close(reid_rpc_call *call)
{
    agent_call *a = reid_rpc_call_user(call);
    reidd_crew_detach(a->agent, reid_rpc_call_status(call) != REID_ERR_UNAVAILABLE);
    free(a);
}

static void on_message(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__AgentUp *up = (const Reid__V1__AgentUp *)message;
    reid_error err = {0};
    if (reid_rpc_call_user(call)) {
        reid_rpc_call_finish(call, REID_ERR_PRECONDITION, "an agent asks only once");
        return;
    }
    agent_call *a = reid_xcalloc(1, sizeof *a);
    a->call = call;
    reid_rpc_call_set_user(call, a);
    reid_rpc_call_on_close(call, on_close);
    const reidd_agent_request request = {.job_id = up->job_id,
                                         .attempt = up->attempt,
                                         .ticket = up->ticket,
                                         .host = up->host,
                                         .words = up->words,
                                         .word_count = up->n_words};
    if (reidd_manager_agent(api->manager, &request, &events, a, &a->agent, &err) != REID_OK)
        reid_rpc_call_fail(call, &err);
}

static const reid_rpc_method methods[] = {
    {.path = "/reid.v1.AgentService/Run",
     .input = &reid__v1__agent_up__descriptor,
     .output = &reid__v1__agent_down__descriptor,
     .kind = REID_RPC_BIDI,
     .role = REIDD_ROLE_NODE,
     .max_request_bytes = AGENT_MESSAGE_BYTES,
     .on_message = on_message},
};

void reidd_api_add_agents(reidd_api *api, reid_rpc_server *server)
{
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), api);
}
