#include "support/hook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "harness/harness.h"

/* ---- the client ---- */

hook_client hook_connect(test_reidd *t)
{
    hook_client h = {0};
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_connect(t->address, 5000, &h.client, &err), &err);
    reid_assert_ok(reid_rpc_client_open(h.client, "/reid.v1.HookService/Attach",
                                        &reid__v1__hook_down__descriptor, &h.stream, &err),
                   &err);
    return h;
}

void hook_close(hook_client *h)
{
    reid_rpc_client_free(h->client);
    *h = (hook_client){0};
}

void hook_send(hook_client *h, Reid__V1__HookUp *up)
{
    reid_rpc_client_send(h->stream, &up->base, 5000, NULL);
    test_let_it_send(h->client);
}

void hook_register(hook_client *h, const char *job, bool asynchronous)
{
    Reid__V1__RegisterHook in = REID__V1__REGISTER_HOOK__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    Reid__V1__HookPoint point = REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP;
    in.job = (char *)job;
    in.name = (char *)"watch";
    in.n_points = 1;
    in.points = &point;
    in.asynchronous = asynchronous;
    in.deadline_seconds = 2.5;
    in.on_late = REID__V1__HOOK_POLICY__HOOK_POLICY_DISABLE;
    in.reason = (char *)"to see";
    up.kind_case = REID__V1__HOOK_UP__KIND_REGISTER;
    up.register_ = &in;
    hook_send(h, &up);
}

void hook_verdict(hook_client *h, int64_t event)
{
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    verdict.event = event;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict = &verdict;
    hook_send(h, &up);
}

Reid__V1__HookDown *hook_next(hook_client *h)
{
    Reid__V1__HookDown *down = NULL;
    reid_error_clear(&h->end);
    reid_rpc_client_next(h->stream, 10000, (ProtobufCMessage **)&down, &h->end);
    return down;
}

Reid__V1__HookDown *hook_expect(hook_client *h, Reid__V1__HookDown__KindCase kind)
{
    Reid__V1__HookDown *down = hook_next(h);
    if (!down)
        fail_msg("the stream ended: %s", h->end.text);
    assert_int_equal(down->kind_case, kind);
    return down;
}

void hook_expect_notice(hook_client *h, Reid__V1__HookState state, const char *said)
{
    Reid__V1__HookDown *down = hook_expect(h, REID__V1__HOOK_DOWN__KIND_NOTICE);
    assert_int_equal(down->notice->state, state);
    if (!strstr(down->notice->sentence, said))
        fail_msg("'%s' is not in '%s'", said, down->notice->sentence);
    reid__v1__hook_down__free_unpacked(down, NULL);
}

void hook_expect_event(hook_client *h, int64_t number)
{
    Reid__V1__HookDown *down = hook_expect(h, REID__V1__HOOK_DOWN__KIND_EVENT);
    assert_int_equal(down->event->number, number);
    reid__v1__hook_down__free_unpacked(down, NULL);
}

void hook_expect_end(hook_client *h, reid_status code, const char *said)
{
    Reid__V1__HookDown *down = hook_next(h);
    if (down)
        fail_msg("a message came: %d", (int)down->kind_case);
    if (h->end.code != code || !strstr(h->end.text, said))
        fail_msg("%s: %s", reid_status_name(h->end.code), h->end.text);
    hook_close(h);
}

int64_t rank_agree_on_hook(rank_link *l, const char *folder)
{
    Reid__V1__LinkDown *down = rank_expect_word(l, "hook_add");
    const Reid__V1__LinkControl *word = down->control;
    int64_t hook = rank_agree(l, folder, word->id, "hook_add", word->settings[0]->name, "",
                              word->settings[0]->value, 5, word->reason);
    reid__v1__link_down__free_unpacked(down, NULL);
    return hook;
}

int64_t hook_attach(test_reidd *t, rank_link *l, const char *job, bool asynchronous,
                    hook_client *ret_client)
{
    char *folder = test_job_folder(t, t->jobs);
    *ret_client = hook_connect(t);
    hook_register(ret_client, job, asynchronous);
    int64_t hook = rank_agree_on_hook(l, folder);
    Reid__V1__HookDown *down = hook_expect(ret_client, REID__V1__HOOK_DOWN__KIND_ATTACHED);
    assert_int_equal(down->attached->hook, hook);
    assert_int_equal(down->attached->iteration, 5);
    assert_string_equal(down->attached->job, job);
    reid__v1__hook_down__free_unpacked(down, NULL);
    free(folder);
    return hook;
}

/* ---- rank 0 ---- */

void rank_send_event(rank_link *l, int64_t hook, int64_t number, int scalars)
{
    Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT, *list[256];
    Reid__V1__HookEvent event = REID__V1__HOOK_EVENT__INIT;
    Reid__V1__LinkHookEvent message = REID__V1__LINK_HOOK_EVENT__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    assert_true(scalars <= 256);
    scalar.name = (char *)"total_loss";
    scalar.value = 1.0 / (double)number;
    for (int i = 0; i < scalars; i++)
        list[i] = &scalar;
    event.number = number;
    event.point = REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP;
    event.iteration = number - 1;
    event.n_scalars = (size_t)scalars;
    event.scalars = list;
    message.hook = hook;
    message.event = &event;
    up.kind_case = REID__V1__LINK_UP__KIND_HOOK_EVENT;
    up.hook_event = &message;
    rank_send(l, &up);
    rank_push(l);
}

void rank_send_hooks(rank_link *l, int64_t iteration, const rank_hook *hooks, size_t count)
{
    Reid__V1__Hook items[8], *pointers[8];
    Reid__V1__LinkHooks message = REID__V1__LINK_HOOKS__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    assert_true(count <= 8);
    for (size_t i = 0; i < count; i++) {
        reid__v1__hook__init(&items[i]);
        items[i].id = hooks[i].id;
        items[i].name = (char *)hooks[i].name;
        items[i].kind = (char *)hooks[i].kind;
        items[i].state = hooks[i].enabled ? REID__V1__HOOK_STATE__HOOK_STATE_ENABLED
                                          : REID__V1__HOOK_STATE__HOOK_STATE_DISABLED;
        items[i].last_error = (char *)(hooks[i].last_error ? hooks[i].last_error : "");
        items[i].calls = 7;
        pointers[i] = &items[i];
    }
    message.iteration = iteration;
    message.n_hooks = count;
    message.hooks = pointers;
    up.kind_case = REID__V1__LINK_UP__KIND_HOOKS;
    up.hooks = &message;
    rank_send(l, &up);
    rank_push(l);
}

void rank_send_note(rank_link *l, int64_t hook, const char *sentence)
{
    Reid__V1__LinkNote note = REID__V1__LINK_NOTE__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    note.hook = hook;
    note.sentence = (char *)sentence;
    up.kind_case = REID__V1__LINK_UP__KIND_NOTE;
    up.note = &note;
    rank_send(l, &up);
    rank_push(l);
}

Reid__V1__LinkDown *rank_expect_verdict(rank_link *l, int64_t hook, int64_t event)
{
    Reid__V1__LinkDown *down = rank_next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_HOOK_VERDICT);
    assert_int_equal(down->hook_verdict->hook, hook);
    assert_int_equal(down->hook_verdict->verdict->event, event);
    return down;
}

void rank_expect_gone(rank_link *l, int64_t hook, const char *said)
{
    Reid__V1__LinkDown *down = rank_next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_HOOK_GONE);
    assert_int_equal(down->hook_gone->hook, hook);
    if (!strstr(down->hook_gone->sentence, said))
        fail_msg("'%s' is not in '%s'", said, down->hook_gone->sentence);
    reid__v1__link_down__free_unpacked(down, NULL);
}
