#include "connect.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/protocol.h"
#include "out/style.h"
#include "out/text.h"
#include "rpc/address.h"

#define CONNECT_MS 5000
#define CALL_MS 60000

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

void reidctl_catch_interrupt(void)
{
    /* no SA_RESTART: waits return */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool reidctl_is_interrupted(void)
{
    return interrupted != 0;
}

bool reidctl_is_reader_gone(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0;
}

bool reidctl_is_stopped(void)
{
    return interrupted != 0 || ferror(stdout) || reidctl_is_reader_gone();
}

void reidctl_pause(uint32_t ms)
{
    poll(NULL, 0, (int)ms);
}

reid_status reidctl_identity(const reidctl *ctl, reid_rpc_tls **ret_tls, reid_error *err)
{
    const char *dir = ctl->args.tls_dir != NULL ? ctl->args.tls_dir : getenv("REIDD_TLS_DIR");
    *ret_tls = NULL;
    if (!reid_rpc_address_is_tcp(ctl->address))
        return REID_OK;
    if (dir == NULL || *dir == '\0')
        return reid_fail(err, REID_ERR_INVALID,
                         "%s needs a certificate: name its folder by --tls-dir or $REIDD_TLS_DIR",
                         ctl->address);
    return reid_rpc_tls_new(dir, ret_tls, err);
}

reid_status reidctl_connect(reidctl *ctl, reid_error *err)
{
    if (ctl->client != NULL)
        return REID_OK;
    reid_rpc_tls *tls;
    REID_TRY(reidctl_identity(ctl, &tls, err));
    reid_status status =
        reid_rpc_client_connect_tls(ctl->address, tls, CONNECT_MS, &ctl->client, err);
    reid_rpc_tls_free(tls);
    return status;
}

void reidctl_disconnect(reidctl *ctl)
{
    reid_rpc_client_free(ctl->client);
    ctl->client = NULL;
}

reid_status reidctl_check_protocol(const Reid__V1__InfoResponse *info, reid_error *err)
{
    int agreed = 0;
    char who[64];
    if (info->protocol_oldest > REID_PROTOCOL)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "this reidctl is too old: it speaks protocol %d, and reidd %.32s %d to "
                         "%d; upgrade reidctl",
                         REID_PROTOCOL, info->version, info->protocol_oldest, info->protocol);
    snprintf(who, sizeof who, "reidd %.32s", info->version);
    return reid_protocol_agree(who, info->protocol, &agreed, err);
}

/* A method or a value that the daemon does not know may be one of another release. */
static void explain_age(reidctl *ctl, reid_error *err)
{
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    if ((err->code != REID_ERR_UNSUPPORTED && err->code != REID_ERR_INVALID) ||
        reid_rpc_client_unary(ctl->client, "/reid.v1.SystemService/Info", &request.base,
                              &reid__v1__info_response__descriptor, CALL_MS, &answer,
                              NULL) != REID_OK)
        return;
    const Reid__V1__InfoResponse *info = (const Reid__V1__InfoResponse *)answer;
    reid_error why = {0};
    if (reidctl_check_protocol(info, &why) != REID_OK)
        reid_error_prefix(err, "%s", why.text);
    else if (info->protocol < REID_PROTOCOL)
        reid_error_prefix(err, "reidd %.32s is older than this reidctl (protocol %d, not %d)",
                          info->version, info->protocol > 0 ? info->protocol : 1, REID_PROTOCOL);
    protobuf_c_message_free_unpacked(answer, NULL);
}

reid_status reidctl_call_service(reidctl *ctl, const char *service, const char *method,
                                 const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *output,
                                 ProtobufCMessage **ret_answer, reid_error *err)
{
    char path[128];
    REID_TRY(reidctl_connect(ctl, err));
    snprintf(path, sizeof path, "/reid.v1.%s/%s", service, method);
    reid_error why = {0};
    reid_status status =
        reid_rpc_client_unary(ctl->client, path, request, output, CALL_MS, ret_answer, &why);
    if (status != REID_OK) {
        explain_age(ctl, &why);
        reid_fail(err, why.code, "%s", why.text);
    }
    return status;
}

reid_status reidctl_call(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *output, ProtobufCMessage **ret_answer,
                         reid_error *err)
{
    return reidctl_call_service(ctl, "JobService", method, request, output, ret_answer, err);
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

reid_status reidctl_list_hooks(reidctl *ctl, const char *word,
                               Reid__V1__ListHooksResponse **ret_list, reid_error *err)
{
    Reid__V1__ListHooksRequest request = REID__V1__LIST_HOOKS_REQUEST__INIT;
    request.job = (char *)word;
    ProtobufCMessage *answer = NULL;
    REID_TRY(reidctl_call_service(ctl, "HookService", "List", &request.base,
                                  &reid__v1__list_hooks_response__descriptor, &answer, err));
    *ret_list = (Reid__V1__ListHooksResponse *)answer;
    return REID_OK;
}

static int exit_status(reid_status code)
{
    switch (code) {
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
        return REIDCTL_FAILED;
    }
}

int reidctl_report(const reid_error *err)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, err->text);
    fflush(stdout);
    fprintf(stderr, "reidctl: %s\n", reid_str_text(&text));
    reid_str_fini(&text);
    return exit_status(err->code);
}

int reidctl_report_end(const Reid__V1__Job *job)
{
    if (job->state == REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED)
        return job->exit_code;
    fflush(stdout);
    if (job->state == REID__V1__JOB_STATE__JOB_STATE_FAILED) {
        reid_str text = REID_STR_INIT;
        reidctl_add_clean(&text, job->failure != NULL ? job->failure->sentence : "");
        fprintf(stderr, "reidctl: job %s failed%s%s; see reidctl logs %s\n", job->id,
                text.length > 0 ? ": " : "", reid_str_text(&text), job->id);
        reid_str_fini(&text);
    } else {
        fprintf(stderr, "reidctl: job %s was cancelled\n", job->id);
    }
    return job->exit_code != 0 ? job->exit_code : REIDCTL_FAILED;
}
