#include "connect.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

void reidctl_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: waits return */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool reidctl_interrupted(void)
{
    return interrupted != 0;
}

char *reidctl_default_address(void)
{
    const char *value = getenv("REIDD_HOST");
    if (value != NULL && *value != '\0')
        return reid_xstrdup(value);
    if ((value = getenv("REIDD_STATE_DIR")) != NULL && *value != '\0' && geteuid() != 0)
        return reid_xasprintf("unix:%s/reidd.sock", value);
    if (geteuid() == 0)
        return reid_xstrdup("unix:/run/reidd/reidd.sock");
    if ((value = getenv("XDG_RUNTIME_DIR")) != NULL && *value != '\0')
        return reid_xasprintf("unix:%s/reidd/reidd.sock", value);
    if ((value = getenv("XDG_STATE_HOME")) != NULL && *value != '\0')
        return reid_xasprintf("unix:%s/reidd/reidd.sock", value);
    value = getenv("HOME");
    return reid_xasprintf("unix:%s/.local/state/reidd/reidd.sock", value != NULL ? value : "");
}

reid_status reidctl_connect(reidctl *ctl, reid_error *err)
{
    if (ctl->client != NULL)
        return REID_OK;
    return reid_rpc_client_connect(ctl->address, 5000, &ctl->client, err);
}

int reidctl_report(const reid_error *err)
{
    fprintf(stderr, "reidctl: %s\n", err->text);
    switch (err->code) {
    case REID_OK:
        return REIDCTL_OK;
    case REID_ERR_UNAVAILABLE:
        return REIDCTL_UNREACHABLE;
    case REID_ERR_NOT_FOUND:
        return REIDCTL_NOT_FOUND;
    case REID_ERR_TIMEOUT:
        return REIDCTL_TIMEOUT;
    case REID_ERR_CANCELLED:
        return REIDCTL_INTERRUPTED;
    case REID_ERR_PERMISSION:
    case REID_ERR_PRECONDITION:
    case REID_ERR_EXHAUSTED:
    case REID_ERR_EXISTS:
        return REIDCTL_REFUSED;
    case REID_ERR_INVALID:
    case REID_ERR_UNSUPPORTED:
        return REIDCTL_USAGE;
    default:
        return REIDCTL_JOB_FAILED;
    }
}

reid_status reidctl_call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret_answer,
                         reid_error *err)
{
    char path[128];
    REID_TRY(reidctl_connect(ctl, err));
    snprintf(path, sizeof path, "/reid.v1.JobService/%s", method);
    return reid_rpc_client_unary(ctl->client, path, request, output, 60000, ret_answer, err);
}

reid_status reidctl_get_job(reidctl *ctl, const char *word, Reid__V1__Job **ret_job,
                            reid_error *err)
{
    Reid__V1__GetJobRequest request = REID__V1__GET_JOB_REQUEST__INIT;
    request.id = (char *)word;
    ProtobufCMessage *answer = NULL;
    REID_TRY(reidctl_call(ctl, "Get", &request.base, &reid__v1__job__descriptor, &answer, err));
    *ret_job = (Reid__V1__Job *)answer;
    return REID_OK;
}
