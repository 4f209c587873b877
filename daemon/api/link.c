/* RankService: what ranks say over the private socket. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/protocol.h"
#include "base/vec.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "daemon/api/relay.h"
#include "daemon/api/route.h"
#include "daemon/cluster/part.h"
#include "daemon/hooks.h"
#include "daemon/words.h"
#include "rpc/code.h"

#define LINK_MESSAGE_BYTES (1u << 20)
#define SENTENCE_BYTES 4000
#define GONE_WAITING 1024 /* lost clients that rank 0 has no room to be told of */

typedef struct lost_client {
    int64_t hook;
    char *sentence;
} lost_client;

typedef struct rank_link {
    reidd_listener listener; /* first; rank 0 hears of stored rows */
    reidd_api *api;
    reid_rpc_call *call;
    reidd_relay *relay; /* of a rank whose job is the head's: everything else here is unused */
    int attempt, rank;
    int64_t told_seq;
    struct rank_link *before, *after; /* rank 0: in api->rank0 */
    REID_VEC(lost_client) gone;       /* to be told when there is room */
} rank_link;

static void tell_stored(rank_link *l)
{
    int64_t seq = reidd_manager_stored_seq(l->api->manager, l->listener.job_id);
    if (seq <= l->told_seq || reid_rpc_call_ended(l->call))
        return;
    Reid__V1__LinkStored stored = REID__V1__LINK_STORED__INIT;
    Reid__V1__LinkDown down = REID__V1__LINK_DOWN__INIT;
    stored.seq = seq;
    down.kind_case = REID__V1__LINK_DOWN__KIND_STORED;
    down.stored = &stored;
    if (reid_rpc_call_send(l->call, &down.base) == REID_OK)
        l->told_seq = seq; /* a full queue: with the next rows */
}

static bool send_word(const reidd_word_view *word, void *user)
{
    rank_link *l = user;
    const reidd_word_request *request = word->request;
    Reid__V1__LinkControl control = REID__V1__LINK_CONTROL__INIT;
    Reid__V1__LinkDown down = REID__V1__LINK_DOWN__INIT;
    Reid__V1__Setting *settings = reid_xcalloc(request->setting_count + 1, sizeof *settings);
    Reid__V1__Setting **pointers = reid_xcalloc(request->setting_count + 1, sizeof *pointers);
    for (size_t i = 0; i < request->setting_count; i++) {
        reid__v1__setting__init(&settings[i]);
        settings[i].name = request->settings[i].name;
        settings[i].value = request->settings[i].value;
        pointers[i] = &settings[i];
    }
    control.id = (char *)word->id;
    control.kind = (char *)request->kind;
    control.n_settings = request->setting_count;
    control.settings = pointers;
    control.at_iter = request->at_iter;
    control.who = (char *)request->who;
    control.reason = (char *)request->reason;
    control.wall_ms = word->wall_ms;
    down.kind_case = REID__V1__LINK_DOWN__KIND_CONTROL;
    down.control = &control;
    bool sent = reid_rpc_call_send(l->call, &down.base) == REID_OK;
    free(pointers);
    free(settings);
    return sent;
}

static void send_words(rank_link *l, bool again)
{
    if (l->rank == 0 && !reid_rpc_call_ended(l->call))
        reidd_manager_send_words(l->api->manager, l->listener.job_id, again, send_word, l);
}

/* ---- hooks, on their way down ---- */

static void list_add(rank_link *l)
{
    l->after = l->api->rank0;
    if (l->after)
        l->after->before = l;
    l->api->rank0 = l;
}

static void list_remove(rank_link *l)
{
    if (l->before)
        l->before->after = l->after;
    else if (l->api->rank0 == l)
        l->api->rank0 = l->after;
    if (l->after)
        l->after->before = l->before;
}

static rank_link *find_rank0(const reidd_api *api, const char *job_id)
{
    for (rank_link *l = api->rank0; l; l = l->after)
        if (strcmp(l->listener.job_id, job_id) == 0 && !reid_rpc_call_ended(l->call))
            return l;
    return NULL;
}

reid_status reidd_route_verdict(reidd_api *api, const char *job_id, int64_t hook,
                                const Reid__V1__HookVerdict *verdict)
{
    rank_link *l = find_rank0(api, job_id);
    if (!l)
        return REID_OK;
    Reid__V1__LinkHookVerdict message = REID__V1__LINK_HOOK_VERDICT__INIT;
    Reid__V1__LinkDown down = REID__V1__LINK_DOWN__INIT;
    message.hook = hook;
    message.verdict = (Reid__V1__HookVerdict *)verdict;
    down.kind_case = REID__V1__LINK_DOWN__KIND_HOOK_VERDICT;
    down.hook_verdict = &message;
    return reid_rpc_call_send(l->call, &down.base);
}

static void send_gone(rank_link *l)
{
    while (l->gone.count > 0) {
        Reid__V1__LinkHookGone message = REID__V1__LINK_HOOK_GONE__INIT;
        Reid__V1__LinkDown down = REID__V1__LINK_DOWN__INIT;
        message.hook = l->gone.items[0].hook;
        message.sentence = l->gone.items[0].sentence;
        down.kind_case = REID__V1__LINK_DOWN__KIND_HOOK_GONE;
        down.hook_gone = &message;
        if (reid_rpc_call_send(l->call, &down.base) != REID_OK)
            return;
        free(message.sentence);
        reid_vec_remove(&l->gone, 0);
    }
}

void reidd_route_gone(reidd_api *api, const char *job_id, int64_t hook, const char *sentence)
{
    rank_link *l = find_rank0(api, job_id);
    if (!l)
        return;
    for (size_t i = 0; i < l->gone.count; i++)
        if (l->gone.items[i].hook == hook)
            return;
    if (l->gone.count >= GONE_WAITING) /* the next list of hooks brings it up again */
        return;
    lost_client lost = {.hook = hook, .sentence = reidd_convert_text(sentence)};
    reid_vec_push(&l->gone, lost);
    send_gone(l);
}

/* ---- life of a link ---- */

static void on_drain(reid_rpc_call *call)
{
    rank_link *l = reid_rpc_call_user(call);
    send_gone(l);
    send_words(l, false);
}

static void on_change(reidd_listener *listener, unsigned changes)
{
    rank_link *l = (rank_link *)listener;
    if (changes & REIDD_CHANGED_ROWS)
        tell_stored(l);
    if (changes & REIDD_CHANGED_WORDS)
        send_words(l, false);
    if (changes & REIDD_CHANGED_END)
        reid_rpc_call_finish(l->call, REID_ERR_PRECONDITION, "the attempt is over");
}

static void on_close(reid_rpc_call *call)
{
    rank_link *l = reid_rpc_call_user(call);
    reidd_hub_remove(&l->listener);
    list_remove(l);
    for (size_t i = 0; i < l->gone.count; i++)
        free(l->gone.items[i].sentence);
    reid_vec_fini(&l->gone);
    free(l);
}

static void on_relay_drain(reid_rpc_call *call)
{
    rank_link *l = reid_rpc_call_user(call);
    reidd_relay_drain(l->relay);
}

static void on_relay_close(reid_rpc_call *call)
{
    rank_link *l = reid_rpc_call_user(call);
    reidd_relay_close(l->relay);
    free(l);
}

static reid_status relay_hello(reidd_api *api, reid_rpc_call *call, const Reid__V1__LinkUp *up,
                               reid_error *err)
{
    reidd_relay *relay = NULL;
    REID_TRY(reidd_relay_open(api, call, &relay, err));
    rank_link *l = reid_xcalloc(1, sizeof *l);
    l->relay = relay;
    reid_rpc_call_set_user(call, l);
    reid_rpc_call_on_close(call, on_relay_close);
    reid_rpc_call_on_drain(call, on_relay_drain);
    reidd_relay_take(relay, &up->base);
    return REID_OK;
}

/* Nothing depends on the number that both speak so far. */
static reid_status check_protocol(const Reid__V1__LinkHello *hello, reid_error *err)
{
    int agreed = 0;
    REID_AUTOFREE char *who =
        reid_xasprintf("the trainer of rank %d of job %.32s", (int)hello->rank, hello->job_id);
    reid_status status = reid_protocol_agree(who, hello->protocol, &agreed, err);
    if (status != REID_OK)
        reid_log_warn("link refused: %s", err->text);
    return status;
}

/* A ticket is of no use to others than the job's submitter. */
static reid_status check_user(reidd_api *api, const reid_rpc_call *call, const char *job_id,
                              reid_error *err)
{
    const reid_rpc_peer *peer = reid_rpc_call_peer(call);
    reidd_job_view view = {0};
    if (peer->remote || peer->uid == 0 || peer->uid == geteuid())
        return REID_OK;
    reid_status status = reidd_manager_view(api->manager, job_id, &view, err);
    if (status == REID_OK && (uid_t)view.job.uid != peer->uid)
        status = reid_fail(err, REID_ERR_PERMISSION, "job %s is not of uid %u", job_id,
                           (unsigned)peer->uid);
    reidd_job_view_fini(&view);
    return status;
}

static reid_status take_hello(reidd_api *api, reid_rpc_call *call, const Reid__V1__LinkUp *up,
                              reid_error *err)
{
    if (up->kind_case != REID__V1__LINK_UP__KIND_HELLO)
        return reid_fail(err, REID_ERR_PRECONDITION, "the first message of a link is its hello");
    const reidd_hello hello = {
        .job_id = up->hello->job_id,
        .ticket = up->hello->ticket,
        .attempt = up->hello->attempt,
        .rank = up->hello->rank,
        .world = up->hello->world,
        .host = up->hello->host,
        .pid = up->hello->pid,
    };
    int64_t stored_seq = 0;
    if (reidd_parts_has(api->parts, hello.job_id, hello.attempt))
        return relay_hello(api, call, up, err);
    if (check_protocol(up->hello, err) != REID_OK) {
        reidd_manager_refuse_hello(api->manager, &hello, err->text);
        return err->code;
    }
    REID_TRY(check_user(api, call, hello.job_id, err));
    REID_TRY(reidd_manager_hello(api->manager, &hello, &stored_seq, err));
    rank_link *l = reid_xcalloc(1, sizeof *l);
    l->api = api;
    l->call = call;
    l->attempt = hello.attempt;
    l->rank = hello.rank;
    l->told_seq = stored_seq;
    l->listener.wake = on_change;
    reidd_hub_add(api->hub, &l->listener, hello.job_id);
    if (l->rank == 0) {
        reidd_route_relinked(api, hello.job_id);
        list_add(l);
    }
    reid_rpc_call_set_user(call, l);
    reid_rpc_call_on_close(call, on_close);
    reid_rpc_call_on_drain(call, on_drain);
    Reid__V1__LinkAccept accept = REID__V1__LINK_ACCEPT__INIT;
    Reid__V1__LinkDown down = REID__V1__LINK_DOWN__INIT;
    accept.stored_seq = stored_seq;
    accept.protocol = REID_PROTOCOL;
    accept.journal_seq = reidd_manager_journal_seq(api->manager, hello.job_id);
    down.kind_case = REID__V1__LINK_DOWN__KIND_ACCEPT;
    down.accept = &accept;
    REID_TRY(reid_rpc_call_send(call, &down.base));
    send_words(l, true);
    return REID_OK;
}

static reid_status take_row(rank_link *l, Reid__V1__MetricRow *row, reid_error *err)
{
    if (l->rank != 0)
        return reid_fail(err, REID_ERR_INVALID, "rows come from rank 0 only, not from rank %d",
                         l->rank);
    reidd_scalar *scalars = reid_xcalloc(row->n_scalars + 1, sizeof *scalars);
    reidd_row plain = {0};
    row->attempt = l->attempt;
    reid_status status = reidd_convert_row(row, scalars, &plain, err);
    if (status == REID_OK) {
        plain.size = reid__v1__metric_row__get_packed_size(row);
        uint8_t *packed = reid_xmalloc(plain.size + 1);
        reid__v1__metric_row__pack(row, packed);
        plain.bytes = packed;
        status = reidd_manager_row(l->api->manager, l->listener.job_id, l->attempt, &plain, err);
        free(packed);
    }
    free(scalars);
    return status;
}

static reid_status take_answer(rank_link *l, const Reid__V1__LinkUp *up, reid_error *err)
{
    reidd_manager *manager = l->api->manager;
    const char *id = l->listener.job_id;
    if (l->rank != 0)
        return reid_fail(err, REID_ERR_INVALID, "rank 0 answers for all, not rank %d", l->rank);
    if (up->kind_case == REID__V1__LINK_UP__KIND_AGREED)
        return reidd_manager_agreed(manager, id, l->attempt, up->agreed->id, up->agreed->iteration,
                                    up->agreed->first_seq, up->agreed->lines, up->agreed->n_lines,
                                    err);
    return reidd_manager_refused(manager, id, l->attempt, up->refused->id,
                                 reid_rpc_status_from_code(up->refused->code),
                                 up->refused->sentence, err);
}

/* Takes the message apart, and keeps each hook as it was packed for those who want to see it. */
static reid_status take_hooks(rank_link *l, const Reid__V1__LinkHooks *message, reid_error *err)
{
    reidd_hook_list list = {.iteration = message->iteration};
    if (message->n_hooks > REIDD_HOOKS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a job has at most %d hooks, not %zu",
                         REIDD_HOOKS_LIMIT, message->n_hooks);
    for (size_t i = 0; i < message->n_hooks; i++) {
        const Reid__V1__Hook *in = message->hooks[i];
        reidd_hook hook = {
            .id = in->id,
            .name = reid_xstrdup(in->name),
            .kind = reid_xstrdup(in->kind),
            .last_error = reid_xstrdup(in->last_error),
            .enabled = in->state == REID__V1__HOOK_STATE__HOOK_STATE_ENABLED,
            .size = reid__v1__hook__get_packed_size(in),
        };
        hook.bytes = reid_xmalloc(hook.size + 1);
        reid__v1__hook__pack(in, hook.bytes);
        reid_vec_push(&list.hooks, hook);
    }
    const char *id = l->listener.job_id;
    REID_TRY(reidd_manager_set_hooks(l->api->manager, id, l->attempt, &list, err));
    reidd_route_check(l->api, id);
    return REID_OK;
}

static reid_status take_hook_message(rank_link *l, const Reid__V1__LinkUp *up, reid_error *err)
{
    if (l->rank != 0)
        return reid_fail(err, REID_ERR_INVALID, "hooks are with rank 0, not with rank %d", l->rank);
    const char *id = l->listener.job_id;
    if (up->kind_case == REID__V1__LINK_UP__KIND_HOOKS)
        return take_hooks(l, up->hooks, err);
    if (up->kind_case == REID__V1__LINK_UP__KIND_HOOK_EVENT) {
        reidd_route_event(l->api, id, up->hook_event);
        return REID_OK;
    }
    if (strlen(up->note->sentence) > SENTENCE_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a sentence has at most %d bytes", SENTENCE_BYTES);
    return reidd_manager_note(l->api->manager, id, l->attempt, up->note->sentence, err);
}

static reid_status take(rank_link *l, const Reid__V1__LinkUp *up, reid_error *err)
{
    reidd_manager *manager = l->api->manager;
    const char *id = l->listener.job_id;
    switch (up->kind_case) {
    case REID__V1__LINK_UP__KIND_ROW:
        return take_row(l, up->row, err);
    case REID__V1__LINK_UP__KIND_PHASE:
        return reidd_manager_phase(manager, id, l->attempt, (reidd_phase)up->phase->phase, err);
    case REID__V1__LINK_UP__KIND_PROGRESS: {
        const reidd_progress progress = {
            .iteration = up->progress->iteration,
            .max_iteration = up->progress->max_iteration,
            .epoch = up->progress->epoch,
            .max_epoch = up->progress->max_epoch,
            .eta_s = up->progress->eta_seconds,
            .images_per_s = up->progress->images_per_second,
        };
        const reidd_rank_sums sums = {
            .steps = up->progress->steps,
            .data_s = up->progress->data_seconds,
            .compute_s = up->progress->compute_seconds,
            .wait_s = up->progress->wait_seconds,
        };
        REID_TRY(
            reidd_manager_times(manager, id, l->attempt, l->rank, progress.iteration, &sums, err));
        return reidd_manager_progress(manager, id, l->attempt, l->rank, &progress, err);
    }
    case REID__V1__LINK_UP__KIND_FAILURE:
        if (strlen(up->failure->sentence) > SENTENCE_BYTES)
            return reid_fail(err, REID_ERR_INVALID, "last words have at most %d bytes",
                             SENTENCE_BYTES);
        return reidd_manager_failure(manager, id, l->attempt, l->rank, up->failure->sentence, err);
    case REID__V1__LINK_UP__KIND_AGREED:
    case REID__V1__LINK_UP__KIND_REFUSED:
        return take_answer(l, up, err);
    case REID__V1__LINK_UP__KIND_HOOK_EVENT:
    case REID__V1__LINK_UP__KIND_HOOKS:
    case REID__V1__LINK_UP__KIND_NOTE:
        return take_hook_message(l, up, err);
    case REID__V1__LINK_UP__KIND_HELLO:
        return reid_fail(err, REID_ERR_PRECONDITION, "a link says hello only once");
    default:
        return REID_OK; /* something newer than this daemon */
    }
}

static void on_message(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__LinkUp *up = (const Reid__V1__LinkUp *)message;
    rank_link *l = reid_rpc_call_user(call);
    reid_error err = {0};
    if (l && l->relay) {
        reidd_relay_take(l->relay, message);
        return;
    }
    reid_status status = l ? take(l, up, &err) : take_hello(service, call, up, &err);
    if (status != REID_OK)
        reid_rpc_call_finish(call, status, err.text);
}

static const reid_rpc_method methods[] = {
    {.path = "/reid.v1.RankService/Link",
     .input = &reid__v1__link_up__descriptor,
     .output = &reid__v1__link_down__descriptor,
     .kind = REID_RPC_BIDI,
     .role = REIDD_ROLE_NODE,
     .max_request_bytes = LINK_MESSAGE_BYTES + 64,
     .on_message = on_message},
};

static reid_status guard(const reid_rpc_method *method, const reid_rpc_peer *peer, void *user,
                         reid_error *err)
{
    /* Where reidd is root, ranks are their job's submitter, and the hello tells which job. */
    if (!peer->remote && (geteuid() == 0 || peer->uid == 0 || peer->uid == geteuid()))
        return REID_OK;
    return reid_fail(err, REID_ERR_PERMISSION, "this socket is for the ranks of reidd's own jobs");
}

void reidd_api_serve_ranks(reidd_api *api, reid_rpc_server *server)
{
    reid_rpc_server_set_guard(server, guard, api);
    reidd_api_add_ranks(api, server);
    reidd_api_add_agents(api, server);
}

void reidd_api_add_ranks(reidd_api *api, reid_rpc_server *server)
{
    reid_rpc_server_add_service(server, methods, REID_COUNT_OF(methods), api);
}
