#include "engine/guest/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "engine/control.h"
#include "engine/guest/host_private.h"
#include "engine/guest/predicate.h"
#include "engine/trainer.h"

#define TELL_SECONDS 1.0          /* counters go out at most this often */
#define WISH_ID "hook-%lld-%lld-" /* of a request: the guest, the iteration that it is for */

typedef struct guest_slot {
    int64_t id;
    reid_guest_spec spec;
    const reid_guest_kind *kind;
    reid_predicate *when;
    bool enabled;
    int64_t iteration;
    char *who;
    reid_guest *guest; /* NULL: not on this rank, or it could not be opened */
    bool muted;        /* rank 0: it has failed; the word that disables it is on its way */
    reid_status told;  /* the failure that was told of, while it lasts */
    int64_t calls, late, missed; /* late, missed: of former runs */
    double seconds;
    char *last_error; /* NULL: none */
} guest_slot;

struct reid_guest_host {
    reid_hook base;
    reid_guest_host_options options;
    reid_control *control;
    REID_VEC(guest_slot) slots;
    double told_s;
    unsigned wish_count; /* of this call, for their ids */

    /* What a resumed run has wished before: see host.h. */
    int64_t known_iteration; /* -1: nothing */
    REID_VEC(char *) known;  /* ids of wishes for known_iteration */
};

/* ---- the list ---- */

static guest_slot *find_slot(const reid_guest_host *host, int64_t id)
{
    for (size_t i = 0; i < host->slots.count; i++)
        if (host->slots.items[i].id == id)
            return &host->slots.items[i];
    return NULL;
}

static void close_slot(guest_slot *slot)
{
    if (slot->guest)
        slot->guest->kind->close(slot->guest);
    reid_predicate_free(slot->when);
    reid_guest_spec_fini(&slot->spec);
    free(slot->who);
    free(slot->last_error);
}

static void tell(reid_guest_host *host, int64_t id, const char *sentence)
{
    if (host->options.rank == 0 && host->options.note)
        host->options.note(host->options.user, id, sentence);
    if (!sentence)
        host->told_s = reid_clock_seconds();
}

static bool lives_here(const reid_guest_host *host, const guest_slot *slot)
{
    return host->options.rank == 0 || slot->kind->all_ranks;
}

size_t reid_guest_host_count(const reid_guest_host *host)
{
    return host->slots.count;
}

reid_guest_info reid_guest_host_at(const reid_guest_host *host, size_t index)
{
    const guest_slot *slot = &host->slots.items[index];
    return (reid_guest_info){
        .id = slot->id,
        .spec = &slot->spec,
        .enabled = slot->enabled,
        .iteration = slot->iteration,
        .who = slot->who,
        .calls = slot->calls,
        .late = slot->late + (slot->guest ? slot->guest->late : 0),
        .missed = slot->missed + (slot->guest ? slot->guest->missed : 0),
        .seconds = slot->seconds,
        .last_error = slot->last_error ? slot->last_error : "",
    };
}

const char *reid_guest_host_name(const reid_guest_host *host, int64_t id)
{
    const guest_slot *slot = find_slot(host, id);
    return slot ? slot->spec.name : NULL;
}

/* ---- moments ---- */

static reid_moment moment_of(const reid_guest_host *host, reid_point point)
{
    const reid_trainer *trainer = host->base.trainer;
    const reid_hook_context *context = host->options.env.context;
    return (reid_moment){
        .point = point,
        .iter = trainer->iter,
        .max_iter = trainer->max_iter,
        .epoch = trainer->epoch,
        .max_epoch = trainer->max_epoch,
        .iters_per_epoch = trainer->iters_per_epoch,
        .lr = context && context->optimizer ? reid_optimizer_lr(context->optimizer) : 0,
        .storage = trainer->storage,
    };
}

/* What all ranks know of it. */
static bool is_called(const guest_slot *slot, reid_point point, int64_t iter)
{
    bool step = point == REID_BEFORE_STEP || point == REID_AFTER_STEP;
    return slot->enabled && (slot->spec.points & 1u << point) != 0 &&
           (!step || (iter + 1) % slot->spec.every == 0);
}

bool reid_guest_host_is_due(const reid_guest_host *host, reid_point point)
{
    for (size_t i = 0; i < host->slots.count; i++) {
        const guest_slot *slot = &host->slots.items[i];
        if (!slot->spec.asynchronous && !slot->kind->all_ranks &&
            is_called(slot, point, host->base.trainer->iter))
            return true;
    }
    return false;
}

/* ---- wishes ---- */

/* The iteration that a wish at this point is for. */
static int64_t next_iteration(const reid_moment *moment)
{
    return moment->iter + (moment->point == REID_AFTER_STEP);
}

static reid_control_request make_request(reid_guest_host *host, const guest_slot *slot,
                                         const char *kind, const char *reason,
                                         const reid_moment *moment)
{
    return (reid_control_request){
        .id =
            reid_xasprintf(WISH_ID "%s-%u", (long long)slot->id, (long long)next_iteration(moment),
                           reid_point_name(moment->point), host->wish_count++),
        .kind = reid_xstrdup(kind),
        .wall_ms = reid_clock_wall_ms(),
        .who = reid_xasprintf("hook '%s' (id %lld)", slot->spec.name, (long long)slot->id),
        .reason = reid_xstrdup(reason ? reason : ""),
    };
}

/* A resumed run has the words of its former life in the journal. */
static bool is_known(const reid_guest_host *host, const char *id, int64_t iteration)
{
    if (iteration < host->known_iteration)
        return true;
    for (size_t i = 0; iteration == host->known_iteration && i < host->known.count; i++)
        if (strcmp(host->known.items[i], id) == 0)
            return true;
    return false;
}

/* Whether ranks agree on something right after this point; else wishes wait for the next step's
 * exchange, in the queue. */
static bool is_fenced(const reid_guest_host *host, const guest_slot *slot, reid_point point)
{
    if (point == REID_BEFORE_TRAIN)
        return !slot->spec.asynchronous;
    return reid_guest_host_is_due(host, point);
}

static reid_status ask(reid_guest_host *host, const guest_slot *slot,
                       reid_control_request *own_request, const reid_moment *moment,
                       reid_error *err)
{
    reid_status status = REID_OK;
    int64_t next = next_iteration(moment);
    bool moot = next >= moment->max_iter || moment->point == REID_AFTER_TRAIN ||
                is_known(host, own_request->id, next);
    if (!moot && !is_fenced(host, slot, moment->point))
        return reid_control_push(host->control, own_request, err);
    if (!moot)
        status = reid_control_accept(host->control, own_request, next, err);
    reid_control_request_fini(own_request);
    return status;
}

static void add_setting(reid_control_request *request, const char *name, const char *value)
{
    request->settings =
        reid_xrealloc(request->settings, (request->setting_count + 1) * sizeof *request->settings);
    request->settings[request->setting_count++] =
        (reid_control_setting){reid_xstrdup(name), reid_xstrdup(value)};
}

static reid_status ask_change(reid_guest_host *host, const guest_slot *slot, const char *kind,
                              const char *reason, const reid_moment *moment, reid_error *err)
{
    char id[32];
    reid_control_request request = make_request(host, slot, kind, reason, moment);
    snprintf(id, sizeof id, "%lld", (long long)slot->id);
    add_setting(&request, id, "");
    return ask(host, slot, &request, moment, err);
}

static reid_status grant_plain(reid_guest_host *host, const guest_slot *slot, const reid_wish *wish,
                               const reid_moment *moment, reid_error *err)
{
    static const char *const kinds[] = {
        [REID_WISH_STOP] = "stop",
        [REID_WISH_CHECKPOINT] = "checkpoint",
        [REID_WISH_EVALUATE] = "evaluate",
        [REID_WISH_SKIP_STEP] = "skip_step",
    };
    reid_control_request request =
        make_request(host, slot, kinds[wish->kind], wish->reason, moment);
    return ask(host, slot, &request, moment, err);
}

/* All settings of one call are one request: all of them, or none. */
static reid_status grant_settings(reid_guest_host *host, const guest_slot *slot,
                                  const reid_wishes *wishes, const reid_moment *moment,
                                  reid_error *err)
{
    reid_control_request request = {0};
    for (size_t i = 0; i < wishes->list.count; i++) {
        const reid_wish *wish = &wishes->list.items[i];
        if (wish->kind != REID_WISH_SET)
            continue;
        if (!request.id)
            request = make_request(host, slot, "set", NULL, moment);
        add_setting(&request, wish->name, wish->value);
    }
    return request.id ? ask(host, slot, &request, moment, err) : REID_OK;
}

/* With the smoothing hint that the name has already. */
static reid_status put_scalar(reid_event_storage *storage, const reid_wish *wish, reid_error *err)
{
    reid_event_scalar known;
    bool hint = reid_event_storage_find(storage, wish->name, &known) ? known.smoothing_hint : false;
    return reid_event_storage_put_scalar(storage, wish->name, wish->number, hint, err);
}

static reid_status grant(reid_guest_host *host, const guest_slot *slot, const reid_wishes *wishes,
                         const reid_moment *moment, reid_error *err)
{
    host->wish_count = 0;
    for (size_t i = 0; i < wishes->list.count; i++) {
        const reid_wish *wish = &wishes->list.items[i];
        if (wish->kind == REID_WISH_PUT_SCALAR)
            REID_TRY(put_scalar(host->base.trainer->storage, wish, err));
    }
    REID_TRY(grant_settings(host, slot, wishes, moment, err));
    for (size_t i = 0; i < wishes->list.count; i++) {
        const reid_wish *wish = &wishes->list.items[i];
        if (wish->kind != REID_WISH_PUT_SCALAR && wish->kind != REID_WISH_SET)
            REID_TRY(grant_plain(host, slot, wish, moment, err));
    }
    return REID_OK;
}

/* ---- failure ---- */

static reid_guest_policy policy_of(const guest_slot *slot, reid_status status)
{
    if (slot->kind->all_ranks)
        return REID_GUEST_FAIL;
    if (status == REID_ERR_TIMEOUT)
        return slot->spec.on_late;
    return status == REID_ERR_UNAVAILABLE ? slot->spec.on_lost : slot->spec.on_error;
}

/* Who fails in the same way again and again is told of once: others want to be heard, too. */
static void note_failure(reid_guest_host *host, guest_slot *slot, reid_status status,
                         const char *sentence)
{
    bool news = status != slot->told;
    slot->told = status;
    free(slot->last_error);
    slot->last_error = reid_xstrdup(sentence);
    if (!news)
        return;
    reid_log_warn("%s", sentence);
    tell(host, slot->id, sentence);
    tell(host, 0, NULL);
}

static reid_status fail_slot(reid_guest_host *host, guest_slot *slot, const reid_moment *moment,
                             const reid_error *why, reid_error *err)
{
    reid_guest_policy policy = policy_of(slot, why->code);
    bool lost = why->code == REID_ERR_UNAVAILABLE;
    REID_AUTOFREE char *sentence = reid_xasprintf(
        "hook '%s' (id %lld, %s), %s of iteration %lld: %s", slot->spec.name, (long long)slot->id,
        slot->spec.kind, reid_point_name(moment->point), (long long)moment->iter, why->text);
    if (policy == REID_GUEST_FAIL)
        return reid_fail(err, why->code == REID_ERR_CANCELLED ? REID_ERR_INTERNAL : why->code, "%s",
                         sentence);
    note_failure(host, slot, why->code, sentence);
    if (policy == REID_GUEST_IGNORE && !lost)
        return REID_OK;
    slot->muted = true;
    const char *kind = policy == REID_GUEST_DISABLE ? "hook_disable" : "hook_remove";
    reid_error refused = {0};
    host->wish_count = 0;
    if (ask_change(host, slot, kind, why->text, moment, &refused) != REID_OK)
        reid_log_warn("%s", refused.text);
    return REID_OK;
}

/* ---- calling ---- */

static reid_status call_guest(reid_guest_host *host, guest_slot *slot, const reid_moment *moment,
                              bool poll, reid_error *err)
{
    reid_wishes wishes = {0};
    reid_error why = {0};
    double start_s = reid_clock_seconds();
    reid_status status;
    if (poll) {
        status = slot->kind->poll(slot->guest, &wishes, &why);
    } else {
        slot->calls++;
        status = slot->kind->call(slot->guest, moment, &wishes, &why);
    }
    if (status == REID_OK)
        status = grant(host, slot, &wishes, moment, &why);
    reid_wishes_fini(&wishes);
    slot->seconds += reid_clock_seconds() - start_s;
    if (status == REID_OK) {
        slot->told = poll ? slot->told : REID_OK;
        return REID_OK;
    }
    return fail_slot(host, slot, moment, &why, err);
}

static reid_status call_slot(reid_guest_host *host, guest_slot *slot, const reid_moment *moment,
                             reid_error *err)
{
    if (!lives_here(host, slot) || slot->muted || !slot->enabled)
        return REID_OK;
    bool due =
        is_called(slot, moment->point, moment->iter) && reid_predicate_holds(slot->when, moment);
    bool poll = !due && slot->kind->poll && moment->point == REID_AFTER_STEP;
    if (!due && !poll)
        return REID_OK;
    if (!slot->guest) {
        reid_error why = {0};
        reid_fail(&why, REID_ERR_PRECONDITION, "%s", slot->last_error ? slot->last_error : "gone");
        return fail_slot(host, slot, moment, &why, err);
    }
    return call_guest(host, slot, moment, poll, err);
}

static reid_status run_point(reid_hook *base, reid_point point, reid_error *err)
{
    reid_guest_host *host = (reid_guest_host *)base;
    if (point == REID_BEFORE_TRAIN)
        tell(host, 0, NULL);
    if (host->slots.count == 0)
        return REID_OK;
    reid_moment moment = moment_of(host, point);
    for (size_t i = 0; i < host->slots.count; i++)
        REID_TRY(call_slot(host, &host->slots.items[i], &moment, err));
    bool last = point == REID_AFTER_TRAIN;
    if (last || (point == REID_AFTER_STEP && reid_clock_seconds() - host->told_s >= TELL_SECONDS))
        tell(host, 0, NULL);
    return REID_OK;
}

static reid_status before_train(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_BEFORE_TRAIN, err);
}

static reid_status after_train(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_AFTER_TRAIN, err);
}

static reid_status before_epoch(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_BEFORE_EPOCH, err);
}

static reid_status after_epoch(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_AFTER_EPOCH, err);
}

static reid_status before_step(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_BEFORE_STEP, err);
}

static reid_status after_step(reid_hook *base, reid_error *err)
{
    return run_point(base, REID_AFTER_STEP, err);
}

/* ---- adding and removing ---- */

static reid_status open_slot(reid_guest_host *host, guest_slot *slot, reid_error *err)
{
    if (!lives_here(host, slot))
        return REID_OK;
    host->options.env.trainer = host->base.trainer;
    return slot->kind->open(&host->options.env, &slot->spec, slot->id, &slot->guest, err);
}

static reid_status read_slot(const char *spec_json, guest_slot *slot, reid_error *err)
{
    REID_TRY(reid_guest_spec_parse(spec_json, strlen(spec_json), &slot->spec, err));
    slot->kind = reid_guest_kind_find(slot->spec.kind);
    reid_status status = reid_predicate_parse(slot->spec.when, &slot->when, err);
    if (status == REID_OK && slot->when && slot->kind->all_ranks)
        status = reid_fail(err, REID_ERR_INVALID, "a hook of kind %s cannot have a condition",
                           slot->kind->name);
    return status;
}

reid_status reid_guest_host_try(reid_guest_host *host, const char *name, const char *spec_json,
                                char **ret_name, reid_str *ret_spec, reid_error *err)
{
    guest_slot slot = {0};
    if (host->slots.count >= REID_GUESTS_MAX)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "the job has %zu hooks already; remove some first", host->slots.count);
    reid_status status = read_slot(spec_json, &slot, err);
    if (status == REID_OK && *slot.spec.name == '\0') {
        free(slot.spec.name);
        slot.spec.name = reid_xstrdup(*name ? name : slot.spec.kind);
    }
    if (status == REID_OK)
        status = open_slot(host, &slot, err);
    if (status == REID_OK && !slot.spec.asynchronous &&
        slot.spec.deadline_s > host->options.deadline_s)
        status =
            reid_fail(err, REID_ERR_INVALID,
                      "the deadline is %g s, but here it is at most %g, half of COMM.TIMEOUT_S",
                      slot.spec.deadline_s, host->options.deadline_s);
    if (status == REID_OK && slot.spec.points == 0)
        status = reid_fail(err, REID_ERR_INVALID, "the hook has no point to be called at");
    if (status == REID_OK) {
        *ret_name = reid_xstrdup(slot.spec.name);
        reid_guest_spec_write(&slot.spec, ret_spec);
    }
    close_slot(&slot);
    return status;
}

reid_status reid_guest_host_add(reid_guest_host *host, int64_t id, const char *spec_json,
                                int64_t iteration, const char *who, bool *ret_wishes,
                                reid_error *err)
{
    guest_slot slot = {.id = id, .enabled = true, .iteration = iteration, .who = reid_xstrdup(who)};
    reid_status status = read_slot(spec_json, &slot, err);
    if (status != REID_OK) {
        close_slot(&slot);
        return reid_error_prefix(err, "the hook with the id %lld", (long long)id);
    }
    reid_error why = {0};
    if (open_slot(host, &slot, &why) != REID_OK)
        slot.last_error = reid_xstrdup(why.text); /* its first call fails */
    reid_vec_push(&host->slots, slot);
    reid_moment moment = moment_of(host, REID_BEFORE_TRAIN);
    guest_slot *added = &host->slots.items[host->slots.count - 1];
    *ret_wishes |= is_called(added, REID_BEFORE_TRAIN, 0) && !slot.spec.asynchronous;
    tell(host, 0, NULL);
    return is_called(added, REID_BEFORE_TRAIN, 0) ? call_slot(host, added, &moment, err) : REID_OK;
}

void reid_guest_host_remove(reid_guest_host *host, int64_t id)
{
    guest_slot *slot = find_slot(host, id);
    if (!slot)
        return;
    close_slot(slot);
    reid_vec_remove(&host->slots, (size_t)(slot - host->slots.items));
    tell(host, 0, NULL);
}

void reid_guest_host_enable(reid_guest_host *host, int64_t id, bool enabled)
{
    guest_slot *slot = find_slot(host, id);
    if (!slot)
        return;
    slot->enabled = enabled;
    slot->muted = false;
    slot->told = REID_OK;
    tell(host, 0, NULL);
}

/* ---- resuming ---- */

static bool is_wish(const reid_journal_entry *entry)
{
    return reid_str_starts(entry->id, "hook-");
}

bool reid_guest_host_must_return(const reid_journal_entry *entry)
{
    reid_guest_spec spec = {0};
    if (strcmp(entry->kind, "hook_add") != 0 ||
        reid_guest_spec_parse(entry->new_value, strlen(entry->new_value), &spec, NULL) != REID_OK)
        return false;
    const reid_guest_kind *kind = reid_guest_kind_find(spec.kind);
    reid_guest_spec_fini(&spec);
    return kind && kind->transient;
}

static void forget_known(reid_guest_host *host)
{
    for (size_t i = 0; i < host->known.count; i++)
        free(host->known.items[i]);
    reid_vec_fini(&host->known);
}

void reid_guest_host_knows_wish(reid_guest_host *host, const reid_journal_entry *entry)
{
    long long guest = 0, iteration = 0;
    if (!host || !is_wish(entry) || sscanf(entry->id, WISH_ID, &guest, &iteration) != 2)
        return;
    if (iteration < host->known_iteration)
        return;
    if (iteration > host->known_iteration)
        forget_known(host);
    host->known_iteration = iteration;
    reid_vec_push(&host->known, reid_xstrdup(entry->id));
}

static void save_slot(const guest_slot *slot, reid_json_writer *json)
{
    reid_str spec = REID_STR_INIT;
    reid_guest_spec_write(&slot->spec, &spec);
    reid_json_object(json);
    reid_json_key(json, "id");
    reid_json_int(json, slot->id);
    reid_json_key(json, "spec");
    reid_json_string(json, reid_str_text(&spec));
    reid_json_key(json, "enabled");
    reid_json_bool(json, slot->enabled);
    reid_json_key(json, "iteration");
    reid_json_int(json, slot->iteration);
    reid_json_key(json, "who");
    reid_json_string(json, slot->who);
    reid_json_key(json, "calls");
    reid_json_int(json, slot->calls);
    if (slot->guest && slot->kind->save_state) {
        reid_json_key(json, "state");
        slot->kind->save_state(slot->guest, json);
    }
    reid_json_end_object(json);
    reid_str_fini(&spec);
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    const reid_guest_host *host = (const reid_guest_host *)base;
    reid_json_array(json);
    for (size_t i = 0; i < host->slots.count; i++)
        if (!host->slots.items[i].kind->transient)
            save_slot(&host->slots.items[i], json);
    reid_json_end_array(json);
}

static reid_status load_slot(reid_guest_host *host, const reid_json *json, guest_slot *slot,
                             reid_error *err)
{
    slot->id = reid_json_as_int(reid_json_get(json, "id"), 0);
    slot->enabled = reid_json_as_bool(reid_json_get(json, "enabled"), true);
    slot->iteration = reid_json_as_int(reid_json_get(json, "iteration"), 0);
    slot->calls = reid_json_as_int(reid_json_get(json, "calls"), 0);
    slot->who = reid_xstrdup(reid_json_as_string(reid_json_get(json, "who"), ""));
    REID_TRY(read_slot(reid_json_as_string(reid_json_get(json, "spec"), ""), slot, err));
    REID_TRY(open_slot(host, slot, err));
    const reid_json *state = reid_json_get(json, "state");
    if (!state || !slot->guest || !slot->kind->load_state)
        return REID_OK;
    return slot->kind->load_state(slot->guest, state, err);
}

static reid_status load_state(reid_hook *base, const reid_json *state, reid_error *err)
{
    reid_guest_host *host = (reid_guest_host *)base;
    for (size_t i = 0; i < reid_json_count(state); i++) {
        guest_slot slot = {0};
        if (load_slot(host, reid_json_at(state, i), &slot, err) != REID_OK) {
            reid_error_prefix(err, "hook '%s' (id %lld) of the saved state",
                              slot.spec.name ? slot.spec.name : "?", (long long)slot.id);
            close_slot(&slot);
            return err->code;
        }
        reid_vec_push(&host->slots, slot);
    }
    return REID_OK;
}

/* ---- life ---- */

static void free_host(reid_hook *base)
{
    reid_guest_host *host = (reid_guest_host *)base;
    for (size_t i = 0; i < host->slots.count; i++)
        close_slot(&host->slots.items[i]);
    reid_vec_fini(&host->slots);
    forget_known(host);
    free(host);
}

static const reid_hook_impl GUEST_HOST = {
    .name = "GuestHost",
    .own_errors = true,
    .before_train = before_train,
    .after_train = after_train,
    .before_epoch = before_epoch,
    .after_epoch = after_epoch,
    .before_step = before_step,
    .after_step = after_step,
    .save_state = save_state,
    .load_state = load_state,
    .free = free_host,
};

reid_guest_host *reid_guest_host_new(const reid_guest_host_options *options, reid_hook **ret_hook)
{
    reid_guest_host *host = reid_xcalloc(1, sizeof *host);
    host->base.impl = &GUEST_HOST;
    host->options = *options;
    host->known_iteration = -1;
    *ret_hook = &host->base;
    return host;
}

void reid_guest_host_set_control(reid_guest_host *host, reid_control *control)
{
    host->control = control;
}

bool reid_guest_host_is(const reid_guest_host *host, const reid_hook *hook)
{
    return hook == &host->base;
}
