/* ControlService and HookService of the daemon without jobs. Words are agreed on at once, before
 * iteration 12, with seq 3. */
#include <stdio.h>

#include "base/compiler.h"
#include "fake_reidd.h"

#define AGREED_ITERATION 12
#define AGREED_SEQ 3

/* ---- words ---- */

static void fill_entry(Reid__V1__JournalEntry *entry, const char *kind, const char *name,
                       const char *old, const char *new)
{
    reid__v1__journal_entry__init(entry);
    entry->seq = AGREED_SEQ;
    entry->iteration = AGREED_ITERATION;
    entry->kind = (char *)(uintptr_t)kind;
    entry->name = (char *)(uintptr_t)name;
    entry->old = (char *)(uintptr_t)old;
    entry->new_ = (char *)(uintptr_t) new;
}

static void reply_control(reid_rpc_call *call, const char *kind, const char *name, const char *old,
                          const char *new)
{
    Reid__V1__JournalEntry entry, *pointer = &entry;
    Reid__V1__ControlResponse response = REID__V1__CONTROL_RESPONSE__INIT;
    fill_entry(&entry, kind, name, old, new);
    response.iteration = AGREED_ITERATION;
    response.entries = &pointer;
    response.n_entries = 1;
    reid_rpc_call_reply(call, &response.base);
}

static void on_set(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__SetRequest *request = (const Reid__V1__SetRequest *)message;
    fake_job *of;
    if (fake_reidd_begin(call, service, message, request->id, &of))
        reply_control(call, "set", request->settings[0]->name, "0.1", request->settings[0]->value);
}

static void on_word(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    fake_job *of;
    const char *path = reid_rpc_call_method(call)->path;
    if (fake_reidd_begin(call, service, message, ((const Reid__V1__ControlRequest *)message)->id,
                         &of))
        reply_control(call, reid_str_ends(path, "SkipStep") ? "skip_step" : "checkpoint", "", "",
                      "");
}

static void on_profile(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__ProfileRequest *request = (const Reid__V1__ProfileRequest *)message;
    fake_job *of;
    char steps[32];
    if (!fake_reidd_begin(call, service, message, request->id, &of))
        return;
    snprintf(steps, sizeof steps, "%lld", (long long)(request->steps > 0 ? request->steps : 10));
    reply_control(call, "profile", "steps", "", steps);
}

/* The journal of every job is its events of kind "hook_add", whose detail is the hook. */
static void on_audit(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    Reid__V1__AuditResponse response = REID__V1__AUDIT_RESPONSE__INIT;
    Reid__V1__JournalEntry entry, *pointer = &entry;
    fake_job *of;
    if (!fake_reidd_begin(call, service, message, ((const Reid__V1__AuditRequest *)message)->id,
                          &of))
        return;
    for (size_t i = 0; i < of->events.count; i++)
        if (strcmp(of->events.items[i]->kind, "hook_add") == 0) {
            fill_entry(&entry, "hook_add", "decay", "", of->events.items[i]->detail);
            response.entries = &pointer;
            response.n_entries = 1;
        }
    response.sound = true;
    reid_rpc_call_reply(call, &response.base);
}

/* ---- hooks ---- */

static void reply_change(reid_rpc_call *call, const char *kind, const char *name, const char *old,
                         const char *new)
{
    Reid__V1__JournalEntry entry, *pointer = &entry;
    Reid__V1__HookChange change = REID__V1__HOOK_CHANGE__INIT;
    fill_entry(&entry, kind, name, old, new);
    change.hook = AGREED_SEQ;
    change.iteration = AGREED_ITERATION;
    change.entries = &pointer;
    change.n_entries = 1;
    reid_rpc_call_reply(call, &change.base);
}

static void on_add(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__AddHookRequest *request = (const Reid__V1__AddHookRequest *)message;
    fake_job *of;
    if (fake_reidd_begin(call, service, message, request->job, &of))
        reply_change(call, "hook_add", request->name, "",
                     "{\"kind\":\"lua\",\"source\":\"x = 1\",\"every\":10}");
}

static void on_change(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__HookRequest *request = (const Reid__V1__HookRequest *)message;
    const char *path = reid_rpc_call_method(call)->path;
    fake_job *of;
    if (fake_reidd_begin(call, service, message, request->job, &of))
        reply_change(call,
                     reid_str_ends(path, "Remove")   ? "hook_remove"
                     : reid_str_ends(path, "Enable") ? "hook_enable"
                                                     : "hook_disable",
                     "decay", "3", "");
}

static void on_list(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    Reid__V1__ListHooksResponse list = REID__V1__LIST_HOOKS_RESPONSE__INIT;
    fake_job *of;
    if (!fake_reidd_begin(call, service, message,
                          ((const Reid__V1__ListHooksRequest *)message)->job, &of))
        return;
    list.hooks = of->hooks.items;
    list.n_hooks = of->hooks.count;
    reid_rpc_call_reply(call, &list.base);
}

/* ---- Attach ---- */

void fake_attach_fini(fake_attach *attach)
{
    if (attach->request != NULL)
        reid__v1__register_hook__free_unpacked(attach->request, NULL);
    reid_str_fini(&attach->verdicts);
    *attach = (fake_attach){0};
}

static void attach_closed(reid_rpc_call *call)
{
    fake_attach *attach = reid_rpc_call_user(call);
    if (attach->call != call)
        return;
    attach->call = NULL;
    attach->status = reid_rpc_call_status(call);
}

static void on_attach(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__HookUp *up = (const Reid__V1__HookUp *)message;
    fake_reidd *reidd = service;
    fake_attach *attach = &reidd->attach;
    if (up->kind_case == REID__V1__HOOK_UP__KIND_REGISTER) {
        fake_job *of;
        if (!fake_reidd_begin(call, reidd, message, up->register_->job, &of))
            return;
        fake_attach_fini(attach);
        attach->call = call;
        attach->request = (Reid__V1__RegisterHook *)fake_reidd_copy(&up->register_->base);
        reid_rpc_call_set_user(call, attach);
        reid_rpc_call_on_close(call, attach_closed);
    } else if (up->kind_case == REID__V1__HOOK_UP__KIND_VERDICT) {
        reid_json_writer w = reid_json_begin(&attach->verdicts);
        if (attach->verdict_count++ > 0)
            reid_str_add(&attach->verdicts, ",");
        fake_json_message(&w, &up->verdict->base);
    }
}

static void on_attach_half_close(reid_rpc_call *call, void *service)
{
    ((fake_reidd *)service)->attach.half_closed = true;
}

static void answer_attach(const fake_attach *attach)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    reid_json_object(&w);
    reid_json_key(&w, "open");
    reid_json_bool(&w, attach->call != NULL);
    reid_json_key(&w, "half_closed");
    reid_json_bool(&w, attach->half_closed);
    reid_json_key(&w, "status");
    reid_json_int(&w, attach->status);
    reid_json_key(&w, "queued");
    reid_json_int(&w, attach->call != NULL ? (int64_t)reid_rpc_call_queued(attach->call) : 0);
    if (attach->request != NULL) {
        reid_json_key(&w, "request");
        fake_json_message(&w, &attach->request->base);
    }
    reid_str_addf(&out, ",\"verdicts\":[%s]", reid_str_text(&attach->verdicts));
    reid_json_end_object(&w);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

static reid_status send_event(fake_attach *attach, int64_t number, const reid_json *line)
{
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    Reid__V1__HookEvent event = REID__V1__HOOK_EVENT__INIT;
    Reid__V1__Scalar scalars[16], *pointers[16];
    const reid_json *values = reid_json_get(line, "scalars"), *value;
    event.number = number;
    event.point = (Reid__V1__HookPoint)reid_json_as_int(reid_json_get(line, "point"), 6);
    event.iteration = reid_json_as_int(reid_json_get(line, "iteration"), number - 1);
    event.max_iteration = 100;
    event.max_epoch = 10;
    event.lr = 0.00035;
    event.scalars = pointers;
    for (size_t i = 0; i < reid_json_count(values) && i < REID_COUNT_OF(scalars); i++) {
        reid__v1__scalar__init(&scalars[i]);
        scalars[i].name = (char *)(uintptr_t)reid_json_member(values, i, &value);
        scalars[i].value = reid_json_as_double(value, strtod("nan", NULL));
        pointers[event.n_scalars++] = &scalars[i];
    }
    down.kind_case = REID__V1__HOOK_DOWN__KIND_EVENT;
    down.event = &event;
    return reid_rpc_call_send(attach->call, &down.base);
}

static void send_attached(fake_attach *attach, const reid_json *line)
{
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    Reid__V1__HookAttached attached = REID__V1__HOOK_ATTACHED__INIT;
    attached.hook = reid_json_as_int(reid_json_get(line, "hook"), AGREED_SEQ);
    attached.iteration = reid_json_as_int(reid_json_get(line, "iteration"), AGREED_ITERATION);
    attached.job = attach->request->job;
    down.kind_case = REID__V1__HOOK_DOWN__KIND_ATTACHED;
    down.attached = &attached;
    reid_rpc_call_send(attach->call, &down.base);
}

static void send_notice(fake_attach *attach, const reid_json *line)
{
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    Reid__V1__HookNotice notice = REID__V1__HOOK_NOTICE__INIT;
    notice.state = (Reid__V1__HookState)reid_json_as_int(reid_json_get(line, "state"), 0);
    notice.sentence = (char *)(uintptr_t)reid_json_as_string(reid_json_get(line, "sentence"), "");
    down.kind_case = REID__V1__HOOK_DOWN__KIND_NOTICE;
    down.notice = &notice;
    reid_rpc_call_send(attach->call, &down.base);
}

static void send_events(fake_attach *attach, const reid_json *line)
{
    int64_t first = reid_json_as_int(reid_json_get(line, "first"), 1);
    int64_t count = reid_json_as_int(reid_json_get(line, "count"), 0), sent = 0;
    while (sent < count && send_event(attach, first + sent, line) == REID_OK)
        sent++;
    printf("%lld\n", (long long)sent);
}

bool fake_attach_obey(fake_attach *attach, const char *verb, const reid_json *line)
{
    if (strcmp(verb, "attach") == 0) {
        answer_attach(attach);
        return true;
    }
    if (attach->call == NULL)
        return false;
    if (strcmp(verb, "hook_events") == 0) {
        send_events(attach, line);
        return true;
    }
    if (strcmp(verb, "attached") == 0)
        send_attached(attach, line);
    else if (strcmp(verb, "hook_event") == 0)
        send_event(attach, reid_json_as_int(reid_json_get(line, "number"), 0), line);
    else if (strcmp(verb, "notice") == 0)
        send_notice(attach, line);
    else if (strcmp(verb, "end_attach") == 0)
        reid_rpc_call_finish(attach->call,
                             (reid_status)reid_json_as_int(reid_json_get(line, "status"), 0),
                             reid_json_as_string(reid_json_get(line, "sentence"), NULL));
    else
        return false;
    puts("ok");
    return true;
}

#define UNARY(name, handler, in, out)                                                              \
    {                                                                                              \
        .path = "/reid.v1." name, .input = &reid__v1__##in##__descriptor,                          \
        .output = &reid__v1__##out##__descriptor, .kind = REID_RPC_UNARY, .on_message = handler    \
    }

const reid_rpc_method fake_hook_methods[] = {
    UNARY("ControlService/Set", on_set, set_request, control_response),
    UNARY("ControlService/Checkpoint", on_word, control_request, control_response),
    UNARY("ControlService/SkipStep", on_word, control_request, control_response),
    UNARY("ControlService/Profile", on_profile, profile_request, control_response),
    UNARY("ControlService/Audit", on_audit, audit_request, audit_response),
    UNARY("HookService/Add", on_add, add_hook_request, hook_change),
    UNARY("HookService/Remove", on_change, hook_request, hook_change),
    UNARY("HookService/Enable", on_change, hook_request, hook_change),
    UNARY("HookService/Disable", on_change, hook_request, hook_change),
    UNARY("HookService/List", on_list, list_hooks_request, list_hooks_response),
    {.path = "/reid.v1.HookService/Attach",
     .input = &reid__v1__hook_up__descriptor,
     .output = &reid__v1__hook_down__descriptor,
     .kind = REID_RPC_BIDI,
     .on_message = on_attach,
     .on_half_close = on_attach_half_close},
};
const size_t fake_hook_method_count = REID_COUNT_OF(fake_hook_methods);
