#include "cmd/agent.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/str.h"
#include "connect.h"
#include "reid/v1/agent.pb-c.h"
#include "rpc/client.h"

#define FAILED 255 /* as ssh has it */
#define RUN "/reid.v1.AgentService/Run"
#define CONNECT_MS 5000
#define AGAIN_MS 200 /* before the daemon is looked for again */

typedef struct agent {
    const char *address;
    Reid__V1__AgentUp request;
} agent;

static reid_status from_environment(agent *a, int word_count, char **words, reid_error *err)
{
    const char *attempt = getenv("REIDD_ATTEMPT");
    int64_t number = 0;
    reid__v1__agent_up__init(&a->request);
    a->address = getenv("REIDD_LINK");
    a->request.job_id = getenv("REIDD_JOB");
    a->request.ticket = getenv("REIDD_TICKET");
    if (a->address == NULL || a->request.job_id == NULL || a->request.ticket == NULL ||
        attempt == NULL || reid_parse_int64(attempt, &number) != REID_OK || number < 1 ||
        number > INT32_MAX)
        return reid_fail(err, REID_ERR_PRECONDITION, "the agent is for mpirun in a job of reidd");
    if (word_count < 2)
        return reid_fail(err, REID_ERR_INVALID, "the agent needs a host and a command");
    a->request.attempt = (int32_t)number;
    a->request.host = words[0];
    a->request.n_words = (size_t)word_count - 1;
    a->request.words = words + 1;
    return REID_OK;
}

/* One connection's life. OK: *ret_code is the part's. UNAVAILABLE: the daemon has gone. */
static reid_status run_once(agent *a, int *ret_code, reid_error *err)
{
    reid_rpc_client *client = NULL;
    reid_rpc_client_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    bool ended = false;
    reid_status status = reid_rpc_client_connect(a->address, CONNECT_MS, &client, err);
    if (status == REID_OK)
        status = reid_rpc_client_open(client, RUN, &reid__v1__agent_down__descriptor, &stream, err);
    if (status == REID_OK)
        status = reid_rpc_client_send(stream, &a->request.base, CONNECT_MS, err);
    while (status == REID_OK && !ended) {
        status = reid_rpc_client_next(stream, 0, &message, err);
        if (status != REID_OK)
            break;
        if (message == NULL) {
            status = reid_fail(err, REID_ERR_UNAVAILABLE, "reidd has closed the agent's call");
            break;
        }
        const Reid__V1__AgentDown *down = (const Reid__V1__AgentDown *)message;
        ended = down->ended;
        *ret_code = down->exit_code;
        protobuf_c_message_free_unpacked(message, NULL);
    }
    reid_rpc_client_stop(stream);
    reid_rpc_client_free(client);
    return status;
}

/* mpirun's death is the agent's, however mpirun dies. */
static bool die_with_parent(void)
{
    pid_t parent = getppid();
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent;
}

int reidctl_agent(int word_count, char **words)
{
    agent a = {0};
    reid_error err = {0};
    int code = FAILED;
    signal(SIGPIPE, SIG_IGN);
    if (!die_with_parent())
        return FAILED;
    reid_status status = from_environment(&a, word_count, words, &err);
    while (status == REID_OK) {
        status = run_once(&a, &code, &err);
        if (status == REID_OK)
            return code;
        if (status != REID_ERR_UNAVAILABLE && status != REID_ERR_TIMEOUT)
            break;
        /* The daemon is started again; the part goes on meanwhile. */
        reid_error_clear(&err);
        status = REID_OK;
        reidctl_pause(AGAIN_MS);
    }
    fprintf(stderr, "reidctl agent: %s\n", err.text);
    return FAILED;
}
