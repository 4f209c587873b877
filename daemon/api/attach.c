/* HookService/Attach: a client that is a hook. It is asked in as a control word, gets events as
 * they come from rank 0, and its verdicts are checked and passed on. What it does wrong, or not at
 * all, ends or delays its own stream only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/api/ask.h"
#include "daemon/api/convert.h"
#include "daemon/api/hookspec.h"
#include "daemon/api/route.h"
#include "daemon/hooks.h"

#define QUEUE_BYTES (256u << 10) /* unread by a client; further events are missed */
#define ACTIONS_LIMIT 64         /* of a verdict; so many wishes, too */
#define SETTINGS_LIMIT 32        /* of one set */
#define TEXT_BYTES 1000
#define THROWN_OUT "its client was thrown out: "

typedef enum stage {
    ASKED = 1, /* the ranks have not agreed on it yet */
    ATTACHED,
    LEAVING, /* half-closed; the ranks are asked to remove it */
    OVER,    /* the end is decided, and rank 0 knows or need not */
} stage;

typedef struct reidd_attach {
    reidd_listener listener; /* first */
    reidd_api *api;
    reid_rpc_call *call;
    struct reidd_attach *before, *after; /* in api->attaches */
    stage stage;
    bool half_closed;
    reidd_word *word; /* NULL: none is unanswered */
    char *who;
    int64_t hook, iteration;
    bool listed, enabled;   /* as in the newest list */
    int64_t sent, answered; /* numbers of events */
    int64_t missed;
    char *lost; /* for rank 0: why its client has gone */
} reidd_attach;

static void on_change(reidd_listener *listener, unsigned changes);

static const char *job_of(const reidd_attach *a)
{
    return a->listener.job_id;
}

/* ---- the list ---- */

static void list_add(reidd_attach *a)
{
    a->after = a->api->attaches;
    if (a->after)
        a->after->before = a;
    a->api->attaches = a;
}

static void list_remove(reidd_attach *a)
{
    if (a->before)
        a->before->after = a->after;
    else
        a->api->attaches = a->after;
    if (a->after)
        a->after->before = a->before;
}

static reidd_attach *find(const reidd_api *api, const char *job_id, int64_t hook)
{
    for (reidd_attach *a = api->attaches; a; a = a->after)
        if (a->hook == hook && a->stage != OVER && strcmp(job_of(a), job_id) == 0)
            return a;
    return NULL;
}

static size_t count_clients(const reidd_api *api, const char *job_id)
{
    size_t count = 0;
    for (const reidd_attach *a = api->attaches; a; a = a->after)
        count += a->stage != OVER && strcmp(job_of(a), job_id) == 0;
    return count;
}

/* Agreed on, if not in effect yet. */
static bool is_removed(const reidd_api *api, const char *job_id, int64_t hook)
{
    const reidd_hook_word *word = reidd_manager_hook_word(api->manager, job_id, hook);
    return word && word->removed;
}

/* ---- the end ---- */

/* on_close tells rank 0. */
static void throw_out(reidd_attach *a, const reid_error *why)
{
    if (!a->lost)
        a->lost = reid_xasprintf(THROWN_OUT "%s", why->text);
    reid_log_info("hook client thrown out job=%s hook=%" PRId64 " %s", job_of(a), a->hook,
                  why->text);
    reid_rpc_call_fail(a->call, why);
}

/* It is no hook any more, whoever wanted that. */
static void finish(reidd_attach *a, const char *sentence)
{
    if (a->stage == OVER)
        return;
    a->stage = OVER;
    Reid__V1__HookNotice notice = REID__V1__HOOK_NOTICE__INIT;
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    REID_AUTOFREE char *clean = reidd_convert_text(sentence);
    notice.state = REID__V1__HOOK_STATE__HOOK_STATE_REMOVED;
    notice.sentence = clean;
    down.kind_case = REID__V1__HOOK_DOWN__KIND_NOTICE;
    down.notice = &notice;
    reid_rpc_call_send(a->call, &down.base);
    reid_rpc_call_finish(a->call, REID_OK, NULL);
}

static const char *why_lost(const reidd_attach *a)
{
    switch (reid_rpc_call_status(a->call)) {
    case REID_ERR_CANCELLED:
        return "its client has gone";
    case REID_ERR_TIMEOUT:
        return "the deadline of its client's call has passed";
    case REID_ERR_UNAVAILABLE:
        return "reidd is going down";
    default: /* what the wire's own checks found */
        return THROWN_OUT "its messages could not be read";
    }
}

static void on_close(reid_rpc_call *call)
{
    reidd_attach *a = reid_rpc_call_user(call);
    reidd_hub_remove(&a->listener);
    if (a->word)
        reidd_word_cancel(a->word);
    bool removed = is_removed(a->api, job_of(a), a->hook);
    if (a->stage == ATTACHED || (a->stage == LEAVING && !removed))
        reidd_route_gone(a->api, job_of(a), a->hook, a->lost ? a->lost : why_lost(a));
    list_remove(a);
    free(a->lost);
    free(a->who);
    free(a);
}

/* ---- leaving ---- */

static void on_removed(const reid_error *result, int64_t iteration, char *const *lines,
                       size_t count, void *user)
{
    reidd_attach *a = user;
    a->word = NULL;
    if (a->stage == OVER || result->code == REID_OK)
        return;      /* events come until it is in effect; then the list of hooks is without it */
    a->stage = OVER; /* a refusal means that it is not there any more, or that the job ends */
    reid_rpc_call_finish(a->call, REID_OK, NULL);
}

/* Nobody will answer: the training shall not wait until the removal has taken effect. */
static void answer_for_nobody(reidd_api *api, const char *job_id, int64_t hook, int64_t event)
{
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    verdict.event = event;
    reidd_route_verdict(api, job_id, hook, &verdict);
}

static void answer_for(reidd_attach *a, int64_t event)
{
    a->answered = event;
    answer_for_nobody(a->api, job_of(a), a->hook, event);
}

static void leave(reidd_attach *a)
{
    char id[32];
    reid_error err = {0};
    snprintf(id, sizeof id, "%" PRId64, a->hook);
    const reidd_word_setting setting = {id, (char *)""};
    const reidd_word_request request = {.kind = "hook_remove",
                                        .settings = &setting,
                                        .setting_count = 1,
                                        .who = a->who,
                                        .reason = "its client has left"};
    a->stage = LEAVING;
    if (a->answered < a->sent)
        answer_for(a, a->sent);
    if (reidd_manager_ask(a->api->manager, job_of(a), &request, on_removed, a, &a->word, &err) !=
        REID_OK)
        on_removed(&err, 0, NULL, 0, a);
}

void reidd_api_attach_half_close(reid_rpc_call *call, void *service)
{
    reidd_attach *a = reid_rpc_call_user(call);
    if (!a) {
        reid_rpc_call_finish(call, REID_ERR_INVALID, "the client left without registering");
        return;
    }
    a->half_closed = true;
    if (a->stage == ATTACHED) {
        leave(a);
    } else if (a->stage == ASKED && !reidd_word_is_sent(a->word)) {
        reidd_word_cancel(a->word);
        a->word = NULL;
        a->stage = OVER;
        reid_rpc_call_finish(call, REID_OK, NULL);
    }
}

/* ---- events ---- */

static void pass_event(reidd_attach *a, const Reid__V1__HookEvent *event)
{
    if (event->number <= a->sent)
        return; /* a link that repeats itself */
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    down.kind_case = REID__V1__HOOK_DOWN__KIND_EVENT;
    down.event = (Reid__V1__HookEvent *)event;
    if (reid_rpc_call_queued(a->call) > QUEUE_BYTES ||
        reid_rpc_call_send(a->call, &down.base) != REID_OK)
        a->missed++;
    else
        a->sent = event->number;
    if (a->stage == LEAVING) /* it sees the last ones, but cannot answer */
        answer_for(a, event->number);
}

void reidd_route_event(reidd_api *api, const char *job_id, const Reid__V1__LinkHookEvent *event)
{
    reidd_attach *a = find(api, job_id, event->hook);
    if (!event->event)
        return;
    if (a)
        pass_event(a, event->event);
    else if (is_removed(api, job_id, event->hook))
        answer_for_nobody(api, job_id, event->hook, event->event->number);
    else
        reidd_route_gone(api, job_id, event->hook, "its client has gone");
}

int64_t reidd_route_missed(const reidd_api *api, const char *job_id, int64_t hook)
{
    const reidd_attach *a = find(api, job_id, hook);
    return a ? a->missed : 0;
}

void reidd_route_relinked(reidd_api *api, const char *job_id)
{
    for (reidd_attach *a = api->attaches; a; a = a->after) {
        if (a->stage != ATTACHED && a->stage != LEAVING)
            continue;
        if (strcmp(job_of(a), job_id) != 0)
            continue;
        a->stage = OVER;
        reid_rpc_call_finish(a->call, REID_ERR_UNAVAILABLE,
                             "the training lost its link to reidd, and this hook with it");
    }
}

void reidd_route_check(reidd_api *api, const char *job_id)
{
    const reidd_hook_list *list = NULL;
    if (reidd_manager_hooks(api->manager, job_id, &list, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < list->hooks.count; i++) {
        const reidd_hook *hook = &list->hooks.items[i];
        if (strcmp(hook->kind, "remote") == 0 && !is_removed(api, job_id, hook->id) &&
            !find(api, job_id, hook->id))
            reidd_route_gone(api, job_id, hook->id, "its client has gone");
    }
}

/* ---- verdicts ---- */

static reid_status check_text(const char *text, reid_error *err)
{
    if (strlen(text) > TEXT_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a text of a verdict has at most %d bytes, not %zu",
                         TEXT_BYTES, strlen(text));
    return REID_OK;
}

static reid_status check_set(const Reid__V1__SetAction *set, reid_error *err)
{
    if (set->n_settings == 0 || set->n_settings > SETTINGS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a set has 1 to %d settings, not %zu",
                         SETTINGS_LIMIT, set->n_settings);
    for (size_t i = 0; i < set->n_settings; i++) {
        REID_TRY(check_text(set->settings[i]->name, err));
        REID_TRY(check_text(set->settings[i]->value, err));
    }
    return REID_OK;
}

static reid_status check_action(const Reid__V1__HookAction *action, size_t *wishes, reid_error *err)
{
    *wishes += 1;
    switch (action->kind_case) {
    case REID__V1__HOOK_ACTION__KIND_STOP:
        return check_text(action->stop->reason, err);
    case REID__V1__HOOK_ACTION__KIND_SET:
        *wishes += action->set->n_settings;
        *wishes -= 1;
        return check_set(action->set, err);
    case REID__V1__HOOK_ACTION__KIND_PUT_SCALAR:
        return check_text(action->put_scalar->name, err);
    case REID__V1__HOOK_ACTION__KIND_CHECKPOINT:
    case REID__V1__HOOK_ACTION__KIND_EVALUATE:
    case REID__V1__HOOK_ACTION__KIND_SKIP_STEP:
        return REID_OK;
    default:
        return reid_fail(err, REID_ERR_INVALID,
                         "a verdict has an action that says nothing, or that this reidd does not "
                         "know");
    }
}

static reid_status check_verdict(const reidd_attach *a, const Reid__V1__HookVerdict *verdict,
                                 reid_error *err)
{
    if (a->stage != ATTACHED)
        return reid_fail(err, REID_ERR_INVALID, "a verdict came before any event");
    if (verdict->event > a->sent)
        return reid_fail(err, REID_ERR_INVALID,
                         "a verdict is for event %" PRId64 ", but the last one is %" PRId64,
                         verdict->event, a->sent);
    if (verdict->event <= a->answered)
        return reid_fail(err, REID_ERR_INVALID,
                         "a verdict is for event %" PRId64 ", but %" PRId64
                         " was answered already; each is answered once and in order",
                         verdict->event, a->answered);
    if (verdict->n_actions > ACTIONS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a verdict has at most %d actions, not %zu",
                         ACTIONS_LIMIT, verdict->n_actions);
    REID_TRY(check_text(verdict->error, err));
    size_t wishes = 0;
    for (size_t i = 0; i < verdict->n_actions; i++)
        REID_TRY(check_action(verdict->actions[i], &wishes, err));
    if (wishes > ACTIONS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID,
                         "a verdict wishes for at most %d things, its settings counted, not %zu",
                         ACTIONS_LIMIT, wishes);
    return REID_OK;
}

static void take_verdict(reidd_attach *a, const Reid__V1__HookVerdict *verdict)
{
    reid_error err = {0};
    if (check_verdict(a, verdict, &err) != REID_OK) {
        throw_out(a, &err);
        return;
    }
    a->answered = verdict->event;
    if (reidd_route_verdict(a->api, job_of(a), a->hook, verdict) == REID_OK)
        return;
    reid_fail(&err, REID_ERR_EXHAUSTED, "the training does not take verdicts at the moment");
    throw_out(a, &err);
}

/* ---- coming ---- */

static bool find_added(char *const *lines, size_t count, int64_t *ret_hook)
{
    size_t found = 0;
    Reid__V1__JournalEntry **entries = reidd_api_entries(lines, count, &found);
    bool added = found > 0 && strcmp(entries[0]->kind, "hook_add") == 0;
    if (added)
        *ret_hook = entries[0]->seq;
    reidd_api_entries_free(entries, found);
    return added;
}

static void on_agreed(const reid_error *result, int64_t iteration, char *const *lines, size_t count,
                      void *user)
{
    reidd_attach *a = user;
    reid_error err = *result;
    a->word = NULL;
    if (err.code == REID_OK && !find_added(lines, count, &a->hook))
        reid_fail(&err, REID_ERR_INTERNAL, "rank 0 agreed on something else");
    if (err.code != REID_OK) {
        a->stage = OVER;
        reid_rpc_call_fail(a->call, &err);
        return;
    }
    a->stage = ATTACHED;
    a->enabled = true;
    a->iteration = iteration;
    if (a->half_closed) {
        leave(a);
        return;
    }
    Reid__V1__HookAttached attached = REID__V1__HOOK_ATTACHED__INIT;
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    attached.hook = a->hook;
    attached.iteration = iteration;
    attached.job = a->listener.job_id;
    down.kind_case = REID__V1__HOOK_DOWN__KIND_ATTACHED;
    down.attached = &attached;
    reid_rpc_call_send(a->call, &down.base);
}

static reid_status ask(reidd_attach *a, const Reid__V1__RegisterHook *in, reid_error *err)
{
    reid_str spec = REID_STR_INIT;
    const char *name = NULL;
    reid_status status = reidd_hookspec_remote(in, &spec, &name, err);
    if (status == REID_OK) {
        const reidd_word_setting setting = {(char *)name, spec.data};
        const reidd_word_request request = {.kind = "hook_add",
                                            .settings = &setting,
                                            .setting_count = 1,
                                            .who = a->who,
                                            .reason = in->reason,
                                            .early = true};
        status =
            reidd_manager_ask(a->api->manager, job_of(a), &request, on_agreed, a, &a->word, err);
    }
    reid_str_fini(&spec);
    return status;
}

static reid_status check_register(reidd_api *api, const reid_rpc_call *call,
                                  const Reid__V1__HookUp *up, char ret_id[16], reid_error *err)
{
    if (up->kind_case != REID__V1__HOOK_UP__KIND_REGISTER)
        return reid_fail(err, REID_ERR_INVALID, "the first message of a hook is `register`");
    REID_TRY(reidd_api_check_common(up->register_->reason, 0, err));
    REID_TRY(reidd_api_find_own(api, call, up->register_->job, ret_id, err));
    int64_t most = api->limits->values[REIDD_LIMIT_HOOK_CLIENTS];
    if ((int64_t)count_clients(api, ret_id) >= most)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%lld clients are hooks of job %s already",
                         (long long)most, ret_id);
    return REID_OK;
}

static void take_register(reidd_api *api, reid_rpc_call *call, const Reid__V1__HookUp *up)
{
    char id[16];
    reid_error err = {0};
    reidd_listener listener = {.wake = on_change};
    if (check_register(api, call, up, id, &err) != REID_OK ||
        reidd_api_subscribe(api, call, &listener, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reidd_attach *a = reid_xcalloc(1, sizeof *a);
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    a->api = api;
    a->call = call;
    a->who = reidd_convert_text(caller.name);
    a->stage = ASKED;
    a->listener = listener;
    reidd_hub_add(api->hub, &a->listener, id);
    list_add(a);
    reid_rpc_call_set_user(call, a);
    reid_rpc_call_on_close(call, on_close);
    if (ask(a, up->register_, &err) == REID_OK)
        return;
    a->stage = OVER;
    reid_rpc_call_fail(call, &err);
}

void reidd_api_attach(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__HookUp *up = (const Reid__V1__HookUp *)message;
    reidd_attach *a = reid_rpc_call_user(call);
    reid_error err = {0};
    if (!a) {
        take_register(service, call, up);
    } else if (up->kind_case == REID__V1__HOOK_UP__KIND_VERDICT) {
        take_verdict(a, up->verdict);
    } else {
        reid_fail(&err, REID_ERR_INVALID,
                  up->kind_case == REID__V1__HOOK_UP__KIND_REGISTER
                      ? "a hook registers only once; open one stream per hook"
                      : "a message says nothing, or something that this reidd does not know");
        throw_out(a, &err);
    }
}

/* ---- what happens to the hook and its job ---- */

static void tell_state(reidd_attach *a, const reidd_hook *hook)
{
    const reidd_hook_word *word = reidd_manager_hook_word(a->api->manager, job_of(a), a->hook);
    const char *said = word && !word->added ? word->sentence : "";
    REID_AUTOFREE char *sentence =
        reidd_convert_text(!hook->enabled && !*said ? hook->last_error : said);
    Reid__V1__HookNotice notice = REID__V1__HOOK_NOTICE__INIT;
    Reid__V1__HookDown down = REID__V1__HOOK_DOWN__INIT;
    a->enabled = hook->enabled;
    notice.state = hook->enabled ? REID__V1__HOOK_STATE__HOOK_STATE_ENABLED
                                 : REID__V1__HOOK_STATE__HOOK_STATE_DISABLED;
    notice.sentence = sentence;
    down.kind_case = REID__V1__HOOK_DOWN__KIND_NOTICE;
    down.notice = &notice;
    reid_rpc_call_send(a->call, &down.base);
}

/* A list that was made before the hook came does not have it yet. */
static void take_list(reidd_attach *a)
{
    const reidd_hook_list *list = NULL;
    if (reidd_manager_hooks(a->api->manager, job_of(a), &list, NULL) != REID_OK)
        return;
    const reidd_hook *hook = reidd_hook_list_find(list, a->hook);
    if (hook) {
        a->listed = true;
        if (a->stage == ATTACHED && hook->enabled != a->enabled)
            tell_state(a, hook);
    } else if (a->listed || list->iteration > a->iteration) {
        const reidd_hook_word *word = reidd_manager_hook_word(a->api->manager, job_of(a), a->hook);
        finish(a, word && word->removed ? word->sentence : "it was removed");
    }
}

static void take_end(reidd_attach *a)
{
    reidd_job_view view = {0};
    reid_error err = {0};
    if (reidd_manager_view(a->api->manager, job_of(a), &view, &err) != REID_OK) {
        reid_rpc_call_fail(a->call, &err);
        return;
    }
    if (view.job.state == REIDD_PAUSED || reidd_state_is_final(view.job.state)) {
        const char *detail = view.detail ? view.detail : "";
        REID_AUTOFREE char *sentence = reid_xasprintf(
            "the job is %s%s%s", reidd_state_name(view.job.state), *detail ? ": " : "", detail);
        finish(a, sentence);
    }
    reidd_job_view_fini(&view);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    reidd_attach *a = (reidd_attach *)listener;
    if (reid_rpc_call_ended(a->call) || (a->stage != ATTACHED && a->stage != LEAVING))
        return;
    if (changes & REIDD_CHANGED_HOOKS)
        take_list(a);
    if (changes & (REIDD_CHANGED_JOB | REIDD_CHANGED_END) && a->stage != OVER)
        take_end(a);
}
