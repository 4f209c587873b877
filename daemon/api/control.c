/* ControlService: control words, resume, audit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"
#include "daemon/api/api.h"
#include "daemon/api/forward.h"
#include "daemon/api/ask.h"
#include "daemon/api/convert.h"
#include "daemon/words.h"
#include "reid/v1/control.pb-c.h"

#define SETTINGS_LIMIT 32
#define SETTING_BYTES 64
#define ANSWER_BYTES (3u << 20) /* below what stock clients accept as one message */
#define PROFILE_STEPS 10        /* unless it is said */
#define PROFILE_LIMIT 1000

/* ---- words ---- */

static void answer(reid_rpc_call *call, int64_t iteration, Reid__V1__JournalEntry **entries,
                   size_t count)
{
    Reid__V1__ControlResponse out = REID__V1__CONTROL_RESPONSE__INIT;
    out.iteration = iteration;
    out.n_entries = count;
    out.entries = entries;
    reid_rpc_call_reply(call, &out.base);
}

static reid_status check_settings(const Reid__V1__SetRequest *in, reid_error *err)
{
    if (in->n_settings == 0 || in->n_settings > SETTINGS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a set has 1 to %d settings, not %zu",
                         SETTINGS_LIMIT, in->n_settings);
    for (size_t i = 0; i < in->n_settings; i++)
        if (strlen(in->settings[i]->name) > SETTING_BYTES ||
            strlen(in->settings[i]->value) > SETTING_BYTES)
            return reid_fail(err, REID_ERR_INVALID,
                             "names and values of settings have at most %d bytes", SETTING_BYTES);
    return REID_OK;
}

static void set(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__SetRequest *in = (const Reid__V1__SetRequest *)message;
    reid_error err = {0};
    if (check_settings(in, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reidd_word_setting settings[SETTINGS_LIMIT];
    for (size_t i = 0; i < in->n_settings; i++) {
        settings[i].name = reidd_convert_text(in->settings[i]->name);
        settings[i].value = reidd_convert_text(in->settings[i]->value);
    }
    reidd_word_request request = {.kind = "set",
                                  .settings = settings,
                                  .setting_count = in->n_settings,
                                  .at_iter = in->at_iter,
                                  .reason = in->reason};
    reidd_api_ask(service, call, in->id, &request, answer);
    for (size_t i = 0; i < in->n_settings; i++) {
        free(settings[i].name);
        free(settings[i].value);
    }
}

static void ask_plain(reid_rpc_call *call, const ProtobufCMessage *message, void *service,
                      const char *kind)
{
    const Reid__V1__ControlRequest *in = (const Reid__V1__ControlRequest *)message;
    reidd_word_request request = {.kind = kind, .at_iter = in->at_iter, .reason = in->reason};
    reidd_api_ask(service, call, in->id, &request, answer);
}

static void checkpoint(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    ask_plain(call, message, service, "checkpoint");
}

static void evaluate(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    ask_plain(call, message, service, "evaluate");
}

static void stop(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    ask_plain(call, message, service, "stop");
}

static void pause_job(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    ask_plain(call, message, service, "pause");
}

static void skip_step(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    ask_plain(call, message, service, "skip_step");
}

static void profile(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__ProfileRequest *in = (const Reid__V1__ProfileRequest *)message;
    reid_error err = {0};
    if (in->steps < 0 || in->steps > PROFILE_LIMIT) {
        reid_fail(&err, REID_ERR_INVALID, "a profile has 1 to %d steps, not %lld", PROFILE_LIMIT,
                  (long long)in->steps);
        reid_rpc_call_fail(call, &err);
        return;
    }
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)(in->steps ? in->steps : PROFILE_STEPS));
    const reidd_word_setting setting = {(char *)"steps", steps};
    reidd_word_request request = {.kind = "profile",
                                  .settings = &setting,
                                  .setting_count = 1,
                                  .at_iter = in->at_iter,
                                  .reason = in->reason};
    reidd_api_ask(service, call, in->id, &request, answer);
}

/* ---- resume, audit ---- */

static void resume(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__ResumeRequest *in = (const Reid__V1__ResumeRequest *)message;
    char id[16];
    reid_error err = {0};
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    REID_AUTOFREE char *who = reidd_convert_text(caller.name);
    REID_AUTOFREE char *reason = reidd_convert_text(in->reason);
    reid_status status = reidd_api_check_common(in->reason, 0, &err);
    if (status == REID_OK)
        status = reidd_api_find_own(api, call, in->id, id, &err);
    if (status == REID_OK)
        status = reidd_manager_resume(api->manager, id, who, reason, &err);
    if (status != REID_OK)
        reid_rpc_call_fail(call, &err);
    else
        reidd_api_reply_with_job(api, call, id, false);
}

static void reply_with_audit(reid_rpc_call *call, const reidd_audit *audit, int64_t after_seq)
{
    Reid__V1__AuditResponse *out = reid_xmalloc(sizeof *out);
    reid__v1__audit_response__init(out);
    size_t bytes = 0;
    out->entries = reid_xcalloc(audit->entries.list.count + 1, sizeof(Reid__V1__JournalEntry *));
    for (size_t i = 0; i < audit->entries.list.count && !out->more; i++) {
        const reid_journal_entry *entry = &audit->entries.list.items[i];
        if (entry->seq <= after_seq)
            continue;
        bytes += strlen(entry->line) + 64;
        out->more = bytes > ANSWER_BYTES;
        if (!out->more)
            out->entries[out->n_entries++] = reidd_convert_entry(entry);
    }
    out->sound = audit->fault.line == 0;
    out->fault = reidd_convert_text(audit->fault.text);
    out->fault_line = audit->fault.line;
    out->path = reidd_convert_text(audit->path);
    reid_rpc_call_reply(call, &out->base);
    reid__v1__audit_response__free_unpacked(out, NULL);
}

static void audit(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__AuditRequest *in = (const Reid__V1__AuditRequest *)message;
    char id[16];
    reid_error err = {0};
    reidd_audit found;
    if (reidd_manager_find(api->manager, in->id, id, &err) != REID_OK ||
        reidd_manager_audit(api->manager, id, &found, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reply_with_audit(call, &found, in->after_seq);
    reidd_audit_fini(&found);
}

/* ---- the table ---- */

#define PATH "/reid.v1.ControlService/"
#define WORD(name, request, function)                                                              \
    {                                                                                              \
        .path = PATH name, .input = &reid__v1__##request##__descriptor,                            \
        .output = &reid__v1__control_response__descriptor, .kind = REID_RPC_UNARY,                 \
        .role = REIDD_ROLE_OPERATOR, .max_request_bytes = 16u << 10,                               \
        .deadline_ms = REIDD_API_AGREE_MS, .on_message = function                                  \
    }

static const reid_rpc_method methods[] = {
    WORD("Set", set_request, set),
    WORD("Checkpoint", control_request, checkpoint),
    WORD("Evaluate", control_request, evaluate),
    WORD("Stop", control_request, stop),
    WORD("Pause", control_request, pause_job),
    WORD("SkipStep", control_request, skip_step),
    WORD("Profile", profile_request, profile),
    {.path = PATH "Resume",
     .input = &reid__v1__resume_request__descriptor,
     .output = &reid__v1__job__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_OPERATOR,
     .max_request_bytes = 4096,
     .on_message = resume},
    {.path = PATH "Audit",
     .input = &reid__v1__audit_request__descriptor,
     .output = &reid__v1__audit_response__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .on_message = audit},
};

void reidd_api_add_control(reidd_api *api, reid_rpc_server *server)
{
    reidd_api_add_rows(api, server, methods, REID_COUNT_OF(methods));
}
