#include "train/link_mail.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/vec.h"
#include "rpc/text.h"

#define GONE_KEPT 256  /* clients that were lost before their hook was opened */
#define TELL_HOOKS_S 1 /* counters alone are told at most this often */
#define DAEMON_GONE "the link to reidd broke"

typedef struct waiting_verdict {
    int64_t event;
    reid_wishes wishes;
    char *error;
} waiting_verdict;

typedef struct mailbox {
    int64_t guest;
    int events_waiting; /* of it in reid_link_mail.events */
    REID_VEC(waiting_verdict) verdicts;
    char *lost; /* how its client was lost; NULL: it is there */
} mailbox;

/* One piece of memory: the message with all that it points to. */
typedef struct outgoing_event {
    Reid__V1__LinkUp up;
    Reid__V1__LinkHookEvent hook_event;
    Reid__V1__HookEvent event;
} outgoing_event;

typedef struct lost_client {
    int64_t guest;
    char *sentence;
} lost_client;

typedef struct waiting_note {
    int64_t guest;
    char *sentence;
} waiting_note;

struct reid_link_mail {
    reid_remote_port port;
    void (*wake)(void *user);
    void *user;
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    bool up;
    REID_VEC(mailbox *) boxes;
    REID_VEC(outgoing_event *) events; /* of all hooks, in order */
    REID_VEC(lost_client) gone;
    REID_VEC(waiting_note) notes;
    Reid__V1__LinkHooks *hooks; /* newest list; NULL: there was none */
    bool hooks_new;
    double hooks_made_s;
};

/* ---- mailboxes; the mutex is held ---- */

static mailbox *find_box(reid_link_mail *mail, int64_t guest)
{
    for (size_t i = 0; i < mail->boxes.count; i++)
        if (mail->boxes.items[i]->guest == guest)
            return mail->boxes.items[i];
    return NULL;
}

static void free_verdict(waiting_verdict *verdict)
{
    reid_wishes_fini(&verdict->wishes);
    free(verdict->error);
}

static void free_box(mailbox *box)
{
    for (size_t i = 0; i < box->verdicts.count; i++)
        free_verdict(&box->verdicts.items[i]);
    reid_vec_fini(&box->verdicts);
    free(box->lost);
    free(box);
}

static void lose(reid_link_mail *mail, mailbox *box, const char *sentence)
{
    if (!box->lost)
        box->lost = reid_xstrdup(sentence);
    pthread_cond_signal(&mail->arrived);
}

static void drop_event(reid_link_mail *mail, size_t index)
{
    outgoing_event *event = mail->events.items[index];
    mailbox *box = find_box(mail, event->hook_event.hook);
    if (box)
        box->events_waiting--;
    reid_vec_remove(&mail->events, index);
    free(event);
}

/* ---- the port: stepping thread ---- */

static void open_box(void *user, int64_t guest)
{
    reid_link_mail *mail = user;
    mailbox *box = reid_xcalloc(1, sizeof *box);
    box->guest = guest;
    pthread_mutex_lock(&mail->mutex);
    for (size_t i = 0; i < mail->gone.count; i++) {
        if (mail->gone.items[i].guest != guest)
            continue;
        box->lost = mail->gone.items[i].sentence;
        reid_vec_remove(&mail->gone, i);
        break;
    }
    if (!mail->up && !box->lost)
        box->lost = reid_xstrdup(DAEMON_GONE);
    reid_vec_push(&mail->boxes, box);
    pthread_mutex_unlock(&mail->mutex);
}

/* Events that wait go out all the same. */
static void close_box(void *user, int64_t guest)
{
    reid_link_mail *mail = user;
    pthread_mutex_lock(&mail->mutex);
    for (size_t i = 0; i < mail->boxes.count; i++) {
        mailbox *box = mail->boxes.items[i];
        if (box->guest != guest)
            continue;
        reid_vec_remove(&mail->boxes, i);
        free_box(box);
        break;
    }
    pthread_mutex_unlock(&mail->mutex);
}

static outgoing_event *make_event(int64_t guest, const reid_remote_event *in)
{
    size_t count = in->scalar_count, names = 0;
    for (size_t i = 0; i < count; i++)
        names += strlen(in->scalars[i].name) + 1;
    outgoing_event *out = reid_xmalloc(
        sizeof *out + count * (sizeof(Reid__V1__Scalar *) + sizeof(Reid__V1__Scalar)) + names);
    Reid__V1__Scalar **pointers = (Reid__V1__Scalar **)(out + 1);
    Reid__V1__Scalar *scalars = (Reid__V1__Scalar *)(pointers + count);
    char *text = (char *)(scalars + count);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(in->scalars[i].name) + 1;
        reid__v1__scalar__init(&scalars[i]);
        scalars[i].name = memcpy(text, in->scalars[i].name, size);
        scalars[i].value = in->scalars[i].value;
        pointers[i] = &scalars[i];
        text += size;
    }
    const reid_moment *moment = in->moment;
    reid__v1__hook_event__init(&out->event);
    out->event.number = in->number;
    out->event.point = (Reid__V1__HookPoint)((int)moment->point + 1);
    out->event.epoch = (int32_t)moment->epoch;
    out->event.iteration = moment->iter;
    out->event.max_iteration = moment->max_iter;
    out->event.max_epoch = (int32_t)moment->max_epoch;
    out->event.lr = moment->lr;
    out->event.n_scalars = count;
    out->event.scalars = pointers;
    reid__v1__link_hook_event__init(&out->hook_event);
    out->hook_event.hook = guest;
    out->hook_event.event = &out->event;
    reid__v1__link_up__init(&out->up);
    out->up.kind_case = REID__V1__LINK_UP__KIND_HOOK_EVENT;
    out->up.hook_event = &out->hook_event;
    return out;
}

static bool send_event(void *user, int64_t guest, const reid_remote_event *event)
{
    reid_link_mail *mail = user;
    bool queued = false, full = false;
    pthread_mutex_lock(&mail->mutex);
    mailbox *box = find_box(mail, guest);
    full = box && box->events_waiting >= REID_LINK_EVENTS_WAITING;
    if (box && !full && !box->lost) {
        reid_vec_push(&mail->events, make_event(guest, event));
        box->events_waiting++;
        queued = true;
    }
    pthread_mutex_unlock(&mail->mutex);
    if (queued)
        mail->wake(mail->user);
    return !full;
}

static void take_verdict(mailbox *box, reid_remote_verdict *ret_verdict)
{
    const waiting_verdict *first = &box->verdicts.items[0];
    *ret_verdict = (reid_remote_verdict){
        .event = first->event, .wishes = first->wishes, .error = first->error};
    reid_vec_remove(&box->verdicts, 0);
}

struct timespec reid_link_time_after(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + (int64_t)(seconds * 1e9);
    t.tv_sec += (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

/* What a client said before it went still counts. */
static reid_status wait_verdict(void *user, int64_t guest, double seconds,
                                reid_remote_verdict *ret_verdict, reid_error *err)
{
    reid_link_mail *mail = user;
    struct timespec until = {0};
    if (seconds > 0)
        until = reid_link_time_after(seconds);
    pthread_mutex_lock(&mail->mutex);
    mailbox *box = find_box(mail, guest); /* only this thread takes it away */
    bool late = seconds <= 0;
    while (box && box->verdicts.count == 0 && !box->lost && !late)
        late = pthread_cond_timedwait(&mail->arrived, &mail->mutex, &until) != 0;
    reid_status status = REID_OK;
    if (box && box->verdicts.count > 0)
        take_verdict(box, ret_verdict);
    else if (!box || box->lost)
        status = reid_fail(err, REID_ERR_UNAVAILABLE, "%s", box ? box->lost : "it was closed");
    else
        status = reid_fail(err, REID_ERR_TIMEOUT, "no verdict came within %g s", seconds);
    pthread_mutex_unlock(&mail->mutex);
    return status;
}

/* ---- the list of hooks: stepping thread ---- */

static Reid__V1__Hook *make_hook(const reid_guest_info *info)
{
    Reid__V1__Hook *hook = reid_xmalloc(sizeof *hook);
    reid__v1__hook__init(hook);
    hook->id = info->id;
    hook->name = reid_utf8_clean(info->spec->name);
    hook->kind = reid_utf8_clean(info->spec->kind);
    hook->state = info->enabled ? REID__V1__HOOK_STATE__HOOK_STATE_ENABLED
                                : REID__V1__HOOK_STATE__HOOK_STATE_DISABLED;
    hook->points = reid_xcalloc(REID_POINTS, sizeof *hook->points);
    for (int i = 0; i < REID_POINTS; i++)
        if (info->spec->points & 1u << i)
            hook->points[hook->n_points++] = (Reid__V1__HookPoint)(i + 1);
    hook->every = info->spec->every;
    hook->when = reid_utf8_clean(info->spec->when);
    hook->asynchronous = info->spec->asynchronous;
    hook->iteration = info->iteration;
    hook->who = reid_utf8_clean(info->who);
    hook->calls = info->calls;
    hook->late = info->late;
    hook->missed = info->missed;
    hook->seconds = info->seconds;
    hook->last_error = reid_utf8_clean(info->last_error);
    return hook;
}

/* `clean` is `raw` with some bytes replaced by '?'. */
static bool is_same_text(const char *clean, const char *raw)
{
    size_t i = 0;
    for (; clean[i] && raw[i]; i++)
        if (clean[i] != raw[i] && clean[i] != '?')
            return false;
    return clean[i] == raw[i];
}

/* But for counters. The mutex is not needed: only this thread changes the list. */
static bool is_same_list(const Reid__V1__LinkHooks *hooks, const reid_guest_info *list,
                         size_t count)
{
    if (!hooks || hooks->n_hooks != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const Reid__V1__Hook *hook = hooks->hooks[i];
        bool enabled = hook->state == REID__V1__HOOK_STATE__HOOK_STATE_ENABLED;
        const char *last_error = list[i].last_error ? list[i].last_error : "";
        if (hook->id != list[i].id || enabled != list[i].enabled ||
            !is_same_text(hook->last_error, last_error))
            return false;
    }
    return true;
}

void reid_link_mail_hooks(reid_link_mail *mail, const reid_guest_info *list, size_t count,
                          int64_t iteration)
{
    if (is_same_list(mail->hooks, list, count) &&
        (count == 0 || reid_clock_seconds() - mail->hooks_made_s < TELL_HOOKS_S))
        return;
    Reid__V1__LinkHooks *hooks = reid_xmalloc(sizeof *hooks);
    reid__v1__link_hooks__init(hooks);
    hooks->iteration = iteration;
    hooks->n_hooks = count;
    hooks->hooks = reid_xcalloc(count + 1, sizeof(Reid__V1__Hook *));
    for (size_t i = 0; i < count; i++)
        hooks->hooks[i] = make_hook(&list[i]);
    pthread_mutex_lock(&mail->mutex);
    Reid__V1__LinkHooks *old = mail->hooks;
    mail->hooks = hooks;
    mail->hooks_new = true;
    pthread_mutex_unlock(&mail->mutex);
    mail->hooks_made_s = reid_clock_seconds();
    if (old)
        reid__v1__link_hooks__free_unpacked(old, NULL);
    mail->wake(mail->user);
}

void reid_link_mail_note(reid_link_mail *mail, int64_t guest, const char *sentence)
{
    waiting_note note = {.guest = guest, .sentence = reid_utf8_clean(sentence)};
    pthread_mutex_lock(&mail->mutex);
    if (mail->notes.count >= REID_LINK_NOTES_WAITING) {
        free(mail->notes.items[0].sentence);
        reid_vec_remove(&mail->notes, 0);
    }
    reid_vec_push(&mail->notes, note);
    pthread_mutex_unlock(&mail->mutex);
    mail->wake(mail->user);
}

/* ---- from the daemon: loop thread ---- */

void reid_link_mail_up(reid_link_mail *mail)
{
    pthread_mutex_lock(&mail->mutex);
    mail->up = true;
    mail->hooks_new = mail->hooks != NULL;
    pthread_mutex_unlock(&mail->mutex);
}

void reid_link_mail_down(reid_link_mail *mail)
{
    pthread_mutex_lock(&mail->mutex);
    mail->up = false;
    while (mail->events.count > 0)
        drop_event(mail, mail->events.count - 1);
    for (size_t i = 0; i < mail->boxes.count; i++)
        lose(mail, mail->boxes.items[i], DAEMON_GONE);
    pthread_mutex_unlock(&mail->mutex);
}

static reid_status add_action(reid_wishes *wishes, const Reid__V1__HookAction *action,
                              reid_error *err)
{
    switch (action->kind_case) {
    case REID__V1__HOOK_ACTION__KIND_STOP:
        return reid_wishes_add_stop(wishes, *action->stop->reason ? action->stop->reason : NULL,
                                    err);
    case REID__V1__HOOK_ACTION__KIND_CHECKPOINT:
        return reid_wishes_add(wishes, REID_WISH_CHECKPOINT, NULL, NULL, 0, err);
    case REID__V1__HOOK_ACTION__KIND_EVALUATE:
        return reid_wishes_add(wishes, REID_WISH_EVALUATE, NULL, NULL, 0, err);
    case REID__V1__HOOK_ACTION__KIND_SKIP_STEP:
        return reid_wishes_add(wishes, REID_WISH_SKIP_STEP, NULL, NULL, 0, err);
    case REID__V1__HOOK_ACTION__KIND_PUT_SCALAR:
        return reid_wishes_add(wishes, REID_WISH_PUT_SCALAR, action->put_scalar->name, NULL,
                               action->put_scalar->value, err);
    case REID__V1__HOOK_ACTION__KIND_SET:
        for (size_t i = 0; i < action->set->n_settings; i++)
            REID_TRY(reid_wishes_add(wishes, REID_WISH_SET, action->set->settings[i]->name,
                                     action->set->settings[i]->value, 0, err));
        return REID_OK;
    default:
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "it answered with an action that this reid-train does not know");
    }
}

static waiting_verdict convert_verdict(const Reid__V1__HookVerdict *in)
{
    waiting_verdict out = {.event = in->event};
    reid_error err = {0};
    reid_status status = REID_OK;
    if (*in->error)
        out.error = reid_xstrdup(in->error);
    for (size_t i = 0; !out.error && status == REID_OK && i < in->n_actions; i++)
        status = add_action(&out.wishes, in->actions[i], &err);
    if (status != REID_OK) {
        reid_wishes_fini(&out.wishes);
        out.error = reid_xstrdup(err.text);
    }
    return out;
}

/* Two verdicts without a wish are as good as the later one. */
static bool is_plain(const waiting_verdict *verdict)
{
    return !verdict->error && verdict->wishes.list.count == 0;
}

void reid_link_mail_verdict(reid_link_mail *mail, const Reid__V1__LinkHookVerdict *message)
{
    waiting_verdict verdict = convert_verdict(message->verdict);
    pthread_mutex_lock(&mail->mutex);
    mailbox *box = find_box(mail, message->hook);
    size_t count = box ? box->verdicts.count : 0;
    if (!box || box->lost) {
        free_verdict(&verdict);
    } else if (count > 0 && is_plain(&verdict) && is_plain(&box->verdicts.items[count - 1])) {
        box->verdicts.items[count - 1].event = verdict.event;
    } else if (count >= REID_LINK_VERDICTS_WAITING) {
        free_verdict(&verdict);
        lose(mail, box, "it answered faster than the training could obey");
    } else {
        reid_vec_push(&box->verdicts, verdict);
    }
    pthread_cond_signal(&mail->arrived);
    pthread_mutex_unlock(&mail->mutex);
}

void reid_link_mail_gone(reid_link_mail *mail, const Reid__V1__LinkHookGone *message)
{
    const char *sentence = *message->sentence ? message->sentence : "its client has gone";
    pthread_mutex_lock(&mail->mutex);
    mailbox *box = find_box(mail, message->hook);
    if (box) {
        lose(mail, box, sentence);
    } else { /* its hook is agreed on and will be opened soon, or was closed */
        if (mail->gone.count >= GONE_KEPT) {
            free(mail->gone.items[0].sentence);
            reid_vec_remove(&mail->gone, 0);
        }
        lost_client lost = {.guest = message->hook, .sentence = reid_xstrdup(sentence)};
        reid_vec_push(&mail->gone, lost);
    }
    pthread_mutex_unlock(&mail->mutex);
}

/* ---- to the daemon: loop thread ---- */

static bool flush_hooks(reid_link_mail *mail, bool (*send)(void *user, Reid__V1__LinkUp *up),
                        void *user)
{
    if (!mail->hooks_new)
        return true;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    up.kind_case = REID__V1__LINK_UP__KIND_HOOKS;
    up.hooks = mail->hooks;
    mail->hooks_new = !send(user, &up);
    return !mail->hooks_new;
}

static bool flush_notes(reid_link_mail *mail, bool (*send)(void *user, Reid__V1__LinkUp *up),
                        void *user)
{
    while (mail->notes.count > 0) {
        Reid__V1__LinkNote note = REID__V1__LINK_NOTE__INIT;
        Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
        note.hook = mail->notes.items[0].guest;
        note.sentence = mail->notes.items[0].sentence;
        up.kind_case = REID__V1__LINK_UP__KIND_NOTE;
        up.note = &note;
        if (!send(user, &up))
            return false;
        free(note.sentence);
        reid_vec_remove(&mail->notes, 0);
    }
    return true;
}

bool reid_link_mail_flush(reid_link_mail *mail, bool (*send)(void *user, Reid__V1__LinkUp *up),
                          void *user)
{
    bool all = true;
    pthread_mutex_lock(&mail->mutex);
    while (all && mail->events.count > 0) {
        all = send(user, &mail->events.items[0]->up);
        if (all)
            drop_event(mail, 0);
    }
    all = all && flush_hooks(mail, send, user) && flush_notes(mail, send, user);
    pthread_mutex_unlock(&mail->mutex);
    return all;
}

bool reid_link_mail_is_empty(reid_link_mail *mail)
{
    pthread_mutex_lock(&mail->mutex);
    bool empty = mail->events.count == 0 && !mail->hooks_new && mail->notes.count == 0;
    pthread_mutex_unlock(&mail->mutex);
    return empty;
}

/* ---- life ---- */

void reid_link_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

const reid_remote_port *reid_link_mail_port(const reid_link_mail *mail)
{
    return &mail->port;
}

reid_link_mail *reid_link_mail_new(void (*wake)(void *user), void *user)
{
    reid_link_mail *mail = reid_xcalloc(1, sizeof *mail);
    mail->wake = wake;
    mail->user = user;
    mail->port = (reid_remote_port){mail, open_box, close_box, send_event, wait_verdict};
    pthread_mutex_init(&mail->mutex, NULL);
    reid_link_condition_init(&mail->arrived);
    return mail;
}

void reid_link_mail_free(reid_link_mail *mail)
{
    if (!mail)
        return;
    while (mail->events.count > 0)
        drop_event(mail, mail->events.count - 1);
    reid_vec_fini(&mail->events);
    for (size_t i = 0; i < mail->boxes.count; i++)
        free_box(mail->boxes.items[i]);
    reid_vec_fini(&mail->boxes);
    for (size_t i = 0; i < mail->gone.count; i++)
        free(mail->gone.items[i].sentence);
    reid_vec_fini(&mail->gone);
    for (size_t i = 0; i < mail->notes.count; i++)
        free(mail->notes.items[i].sentence);
    reid_vec_fini(&mail->notes);
    if (mail->hooks)
        reid__v1__link_hooks__free_unpacked(mail->hooks, NULL);
    pthread_cond_destroy(&mail->arrived);
    pthread_mutex_destroy(&mail->mutex);
    free(mail);
}
