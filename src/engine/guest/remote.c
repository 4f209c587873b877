#include "engine/guest/remote.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"

/* Events that a synchronous client may owe answers for; further ones are not sent to it. */
#define UNANSWERED_MAX 16

typedef struct remote_guest {
    reid_guest base;
    const reid_remote_port *port;
    int64_t id; /* 0: only tried */
    bool asynchronous;
    double deadline_s;
    REID_VEC(char *) globs;
    REID_VEC(bool) wanted;                  /* of the storage's names so far */
    REID_VEC(reid_event_row_scalar) chosen; /* of the event being made */
    int64_t number;                         /* of the newest event, sent or missed */
    int64_t sent, answered;                 /* newest numbers */
    int unanswered;                         /* sent since the last answer */
} remote_guest;

/* ---- scalars ---- */

static bool is_wanted(const remote_guest *r, const char *name)
{
    for (size_t i = 0; i < r->globs.count; i++)
        if (fnmatch(r->globs.items[i], name, 0) == 0)
            return true;
    return r->globs.count == 0;
}

/* A name keeps its place in the storage, so each is matched once. */
static void choose_scalars(remote_guest *r, const reid_event_storage *storage)
{
    size_t count = storage ? reid_event_storage_count(storage) : 0;
    r->chosen.count = 0;
    for (size_t i = 0; i < count; i++) {
        const reid_event_scalar scalar = reid_event_storage_at(storage, i);
        if (i == r->wanted.count)
            reid_vec_push(&r->wanted, is_wanted(r, scalar.name));
        const reid_event_row_scalar chosen = {.name = scalar.name, .value = scalar.value};
        if (r->wanted.items[i])
            reid_vec_push(&r->chosen, chosen);
    }
}

/* ---- verdicts ---- */

/* Moves the wishes of a verdict to the host's; NULL: they come too late and are dropped. */
static reid_status use_verdict(remote_guest *r, reid_remote_verdict *own_verdict,
                               reid_wishes *wishes, reid_error *err)
{
    reid_status status = REID_OK;
    r->answered = REID_MAX(r->answered, own_verdict->event);
    r->unanswered = 0;
    if (own_verdict->error)
        status = reid_fail(err, REID_ERR_INVALID, "%s", own_verdict->error);
    else if (wishes && wishes->list.count == 0) {
        *wishes = own_verdict->wishes;
        own_verdict->wishes = (reid_wishes){0};
    }
    reid_wishes_fini(&own_verdict->wishes);
    free(own_verdict->error);
    return status;
}

/* Takes what has come already, without waiting. An asynchronous client's wishes are taken one
 * verdict at a time, the others at the next opportunity. */
static reid_status take_arrived(remote_guest *r, reid_wishes *wishes, reid_error *err)
{
    reid_wishes *target = r->asynchronous ? wishes : NULL;
    while (!target || target->list.count == 0) {
        reid_remote_verdict verdict = {0};
        reid_error why = {0};
        reid_status status = r->port->wait(r->port->user, r->id, 0, &verdict, &why);
        if (status == REID_ERR_TIMEOUT)
            return REID_OK;
        if (status != REID_OK)
            return reid_fail(err, status, "%s", why.text);
        REID_TRY(use_verdict(r, &verdict, target, err));
    }
    return REID_OK;
}

static reid_status wait_for_answer(remote_guest *r, reid_wishes *wishes, reid_error *err)
{
    double until = reid_clock_seconds() + r->deadline_s;
    for (;;) {
        reid_remote_verdict verdict = {0};
        reid_error why = {0};
        double left = REID_MAX(until - reid_clock_seconds(), 0);
        reid_status status = r->port->wait(r->port->user, r->id, left, &verdict, &why);
        if (status == REID_ERR_TIMEOUT) {
            r->base.late++;
            return reid_fail(err, REID_ERR_TIMEOUT, "no verdict came within %g s", r->deadline_s);
        }
        if (status != REID_OK)
            return reid_fail(err, status, "%s", why.text);
        bool mine = verdict.event == r->sent;
        REID_TRY(use_verdict(r, &verdict, mine ? wishes : NULL, err));
        if (mine)
            return REID_OK;
    }
}

/* ---- the kind ---- */

static void send_event(remote_guest *r, const reid_moment *moment)
{
    choose_scalars(r, moment->storage);
    const reid_remote_event event = {
        .number = ++r->number,
        .moment = moment,
        .scalar_count = r->chosen.count,
        .scalars = r->chosen.items,
    };
    bool owes_much = !r->asynchronous && r->unanswered >= UNANSWERED_MAX;
    if (owes_much || !r->port->send(r->port->user, r->id, &event)) {
        r->base.missed++;
        return;
    }
    r->sent = event.number;
    r->unanswered++;
}

/* A synchronous client that was late is waited for again once it has answered everything. */
static reid_status call(reid_guest *guest, const reid_moment *moment, reid_wishes *wishes,
                        reid_error *err)
{
    remote_guest *r = (remote_guest *)guest;
    REID_TRY(take_arrived(r, wishes, err));
    bool caught_up = r->answered == r->sent;
    send_event(r, moment);
    bool delivered = r->sent == r->number;
    if (r->asynchronous || !caught_up || !delivered)
        return REID_OK;
    return wait_for_answer(r, wishes, err);
}

static reid_status poll_remote(reid_guest *guest, reid_wishes *wishes, reid_error *err)
{
    return take_arrived((remote_guest *)guest, wishes, err);
}

static void close_remote(reid_guest *guest)
{
    remote_guest *r = (remote_guest *)guest;
    if (r->id != 0)
        r->port->close(r->port->user, r->id);
    for (size_t i = 0; i < r->globs.count; i++)
        free(r->globs.items[i]);
    reid_vec_fini(&r->globs);
    reid_vec_fini(&r->wanted);
    reid_vec_fini(&r->chosen);
    free(r);
}

static reid_status open_remote(const reid_guest_env *env, reid_guest_spec *spec, int64_t id,
                               reid_guest **ret_guest, reid_error *err)
{
    if (!env->port)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "this training runs without reidd: no client can be a hook of it");
    if (spec->points == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "a remote hook names at least one point, such as after_step");
    remote_guest *r = reid_xcalloc(1, sizeof *r);
    r->base.kind = &reid_guest_remote;
    r->port = env->port;
    r->id = id;
    r->asynchronous = spec->asynchronous;
    r->deadline_s = spec->deadline_s;
    for (size_t i = 0; i < spec->scalars.count; i++)
        reid_vec_push(&r->globs, reid_xstrdup(spec->scalars.items[i]));
    if (id != 0)
        r->port->open(r->port->user, id);
    *ret_guest = &r->base;
    return REID_OK;
}

const reid_guest_kind reid_guest_remote = {
    .name = "remote",
    .transient = true,
    .open = open_remote,
    .call = call,
    .poll = poll_remote,
    .close = close_remote,
};
