/* HookService: the table, and the rows that answer once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "daemon/api/ask.h"
#include "daemon/api/forward.h"
#include "daemon/api/hookspec.h"
#include "daemon/api/route.h"
#include "daemon/hooks.h"
#include "rpc/unpack.h"

#define NAME_BYTES 64

/* ---- Add, Remove, Enable, Disable ---- */

/* An added hook is known by the number of its entry, others by what the entry says. */
static void answer(reid_rpc_call *call, int64_t iteration, Reid__V1__JournalEntry **entries,
                   size_t count)
{
    Reid__V1__HookChange out = REID__V1__HOOK_CHANGE__INIT;
    out.iteration = iteration;
    out.n_entries = count;
    out.entries = entries;
    if (count > 0 && strcmp(entries[0]->kind, "hook_add") == 0)
        out.hook = entries[0]->seq;
    else if (count > 0)
        reid_parse_int64(entries[0]->old, &out.hook);
    reid_rpc_call_reply(call, &out.base);
}

static void add(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__AddHookRequest *in = (const Reid__V1__AddHookRequest *)message;
    reid_str spec = REID_STR_INIT;
    const char *name = NULL;
    reid_error err = {0};
    if (reidd_hookspec_add(in, &spec, &name, &err) == REID_OK) {
        const reidd_word_setting setting = {(char *)name, spec.data};
        reidd_word_request request = {.kind = "hook_add",
                                      .settings = &setting,
                                      .setting_count = 1,
                                      .at_iter = in->at_iter,
                                      .reason = in->reason,
                                      .early = true};
        reidd_api_ask(service, call, in->job, &request, answer);
    } else {
        reid_rpc_call_fail(call, &err);
    }
    reid_str_fini(&spec);
}

static reid_status find_hook(reidd_api *api, const Reid__V1__HookRequest *in, int64_t *ret_hook,
                             reid_error *err)
{
    char id[16];
    if (in->hook < 0 || (in->hook == 0 && !*in->name))
        return reid_fail(err, REID_ERR_INVALID, "a hook is named by its id, from 1, or its name");
    if (in->hook > 0 && *in->name)
        return reid_fail(err, REID_ERR_INVALID, "a hook is named by its id or its name, not both");
    if (strlen(in->name) > NAME_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "the name of a hook has at most %d bytes",
                         NAME_BYTES);
    *ret_hook = in->hook;
    if (in->hook > 0)
        return REID_OK;
    REID_TRY(reidd_manager_find(api->manager, in->job, id, err));
    return reidd_manager_hook_named(api->manager, id, in->name, ret_hook, err);
}

static void change(reid_rpc_call *call, const ProtobufCMessage *message, void *service,
                   const char *kind)
{
    const Reid__V1__HookRequest *in = (const Reid__V1__HookRequest *)message;
    int64_t hook = 0;
    char id[32];
    reid_error err = {0};
    if (find_hook(service, in, &hook, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    snprintf(id, sizeof id, "%" PRId64, hook);
    const reidd_word_setting setting = {id, (char *)""};
    reidd_word_request request = {.kind = kind,
                                  .settings = &setting,
                                  .setting_count = 1,
                                  .at_iter = in->at_iter,
                                  .reason = in->reason};
    reidd_api_ask(service, call, in->job, &request, answer);
}

static void remove_hook(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    change(call, message, service, "hook_remove");
}

static void enable(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    change(call, message, service, "hook_enable");
}

static void disable(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    change(call, message, service, "hook_disable");
}

/* ---- List ---- */

static Reid__V1__Hook *unpack_hook(const reidd_hook *hook)
{
    ProtobufCMessage *message = NULL;
    if (reid_rpc_unpack(&reid__v1__hook__descriptor, hook->bytes, hook->size, 1u << 20, &message,
                        NULL) != REID_OK)
        return NULL; /* it was packed by this program: cannot be */
    return (Reid__V1__Hook *)message;
}

static void reply_with_list(reidd_api *api, reid_rpc_call *call, const char *id,
                            const reidd_hook_list *list)
{
    Reid__V1__ListHooksResponse *out = reid_xmalloc(sizeof *out);
    reid__v1__list_hooks_response__init(out);
    out->iteration = list->iteration;
    out->hooks = reid_xcalloc(list->hooks.count + 1, sizeof(Reid__V1__Hook *));
    for (size_t i = 0; i < list->hooks.count; i++) {
        Reid__V1__Hook *hook = unpack_hook(&list->hooks.items[i]);
        if (!hook)
            continue;
        hook->missed += reidd_route_missed(api, id, hook->id);
        out->hooks[out->n_hooks++] = hook;
    }
    reid_rpc_call_reply(call, &out->base);
    reid__v1__list_hooks_response__free_unpacked(out, NULL);
}

static void list(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    reidd_api *api = service;
    const Reid__V1__ListHooksRequest *in = (const Reid__V1__ListHooksRequest *)message;
    const reidd_hook_list *found = NULL;
    char id[16];
    reid_error err = {0};
    if (reidd_manager_find(api->manager, in->job, id, &err) != REID_OK ||
        reidd_manager_hooks(api->manager, id, &found, &err) != REID_OK)
        reid_rpc_call_fail(call, &err);
    else
        reply_with_list(api, call, id, found);
}

/* ---- the table ---- */

#define PATH "/reid.v1.HookService/"
#define CHANGE(name, request, bytes, function)                                                     \
    {                                                                                              \
        .path = PATH name, .input = &reid__v1__##request##__descriptor,                            \
        .output = &reid__v1__hook_change__descriptor, .kind = REID_RPC_UNARY,                      \
        .role = REIDD_ROLE_OPERATOR, .max_request_bytes = (bytes),                                 \
        .deadline_ms = REIDD_API_AGREE_MS, .on_message = function                                  \
    }

static const reid_rpc_method methods[] = {
    {.path = PATH "Attach",
     .input = &reid__v1__hook_up__descriptor,
     .output = &reid__v1__hook_down__descriptor,
     .kind = REID_RPC_BIDI,
     .role = REIDD_ROLE_OPERATOR,
     .max_request_bytes = 64u << 10,
     .on_message = reidd_api_attach,
     .on_half_close = reidd_api_attach_half_close},
    CHANGE("Add", add_hook_request, 128u << 10, add),
    CHANGE("Remove", hook_request, 4096, remove_hook),
    CHANGE("Enable", hook_request, 4096, enable),
    CHANGE("Disable", hook_request, 4096, disable),
    {.path = PATH "List",
     .input = &reid__v1__list_hooks_request__descriptor,
     .output = &reid__v1__list_hooks_response__descriptor,
     .kind = REID_RPC_UNARY,
     .role = REIDD_ROLE_VIEWER,
     .max_request_bytes = 4096,
     .on_message = list},
};

void reidd_api_add_hooks(reidd_api *api, reid_rpc_server *server)
{
    reidd_api_add_rows(api, server, methods, REID_COUNT_OF(methods));
}
