/* HookService/Attach: a client that is a hook. The test is both, the client and rank 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "harness/harness.h"
#include "reid/v1/hook.pb-c.h"
#include "support/hook.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name
#define HOOK(name) REID__V1__HOOK_STATE__HOOK_STATE_##name

static void free_down(Reid__V1__LinkDown *down)
{
    reid__v1__link_down__free_unpacked(down, NULL);
}

/* ---- the way there and back ---- */

static void expect_spec(const char *text)
{
    reid_json *spec = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_json_parse(text, strlen(text), &spec, &err), &err);
    assert_string_equal(reid_json_as_string(reid_json_get(spec, "kind"), ""), "remote");
    assert_string_equal(reid_json_as_string(reid_json_get(spec, "name"), ""), "watch");
    const reid_json *points = reid_json_get(spec, "points");
    assert_int_equal(reid_json_count(points), 1);
    assert_string_equal(reid_json_as_string(reid_json_at(points, 0), ""), "after_step");
    assert_int_equal(reid_json_as_int(reid_json_get(spec, "every"), 0), 1);
    assert_true(reid_json_as_double(reid_json_get(spec, "deadline_s"), 0) == 2.5);
    assert_string_equal(reid_json_as_string(reid_json_get(spec, "on_late"), ""), "disable");
    assert_null(reid_json_get(spec, "on_lost")); /* its default is rank 0's */
    assert_false(reid_json_as_bool(reid_json_get(spec, "asynchronous"), true));
    reid_json_free(spec);
}

/* One of each action. */
static void send_actions(hook_client *h, int64_t event)
{
    Reid__V1__StopAction stop = REID__V1__STOP_ACTION__INIT;
    Reid__V1__SkipStepAction skip = REID__V1__SKIP_STEP_ACTION__INIT;
    Reid__V1__SetAction set = REID__V1__SET_ACTION__INIT;
    Reid__V1__Setting setting = REID__V1__SETTING__INIT, *settings[] = {&setting};
    Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT;
    Reid__V1__HookAction actions[4], *pointers[4];
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    for (int i = 0; i < 4; i++) {
        reid__v1__hook_action__init(&actions[i]);
        pointers[i] = &actions[i];
    }
    stop.reason = (char *)"enough";
    setting.name = (char *)"lr";
    setting.value = (char *)"1e-4";
    set.n_settings = 1;
    set.settings = settings;
    scalar.name = (char *)"mine";
    scalar.value = 0.5;
    actions[0].kind_case = REID__V1__HOOK_ACTION__KIND_STOP;
    actions[0].stop = &stop;
    actions[1].kind_case = REID__V1__HOOK_ACTION__KIND_SKIP_STEP;
    actions[1].skip_step = &skip;
    actions[2].kind_case = REID__V1__HOOK_ACTION__KIND_SET;
    actions[2].set = &set;
    actions[3].kind_case = REID__V1__HOOK_ACTION__KIND_PUT_SCALAR;
    actions[3].put_scalar = &scalar;
    verdict.event = event;
    verdict.n_actions = 4;
    verdict.actions = pointers;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict = &verdict;
    hook_send(h, &up);
}

static void test_events_and_verdicts(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h = hook_connect(t);
    hook_register(&h, "x", false); /* by name */
    Reid__V1__LinkDown *down = rank_expect_word(&l, "hook_add");
    assert_int_equal(down->control->n_settings, 1);
    assert_string_equal(down->control->settings[0]->name, "watch");
    assert_string_equal(down->control->reason, "to see");
    expect_spec(down->control->settings[0]->value);
    int64_t hook = rank_agree(&l, folder, down->control->id, "hook_add", "watch", "",
                              down->control->settings[0]->value, 5, "");
    free_down(down);
    Reid__V1__HookDown *attached = hook_expect(&h, REID__V1__HOOK_DOWN__KIND_ATTACHED);
    assert_string_equal(attached->attached->job, id);
    assert_int_equal(attached->attached->hook, hook);
    reid__v1__hook_down__free_unpacked(attached, NULL);
    rank_send_event(&l, hook, 1, 2);
    Reid__V1__HookDown *event = hook_expect(&h, REID__V1__HOOK_DOWN__KIND_EVENT);
    assert_int_equal(event->event->number, 1);
    assert_int_equal(event->event->n_scalars, 2);
    assert_true(event->event->scalars[1]->value == 1.0);
    reid__v1__hook_down__free_unpacked(event, NULL);
    send_actions(&h, 1);
    down = rank_expect_verdict(&l, hook, 1);
    const Reid__V1__HookVerdict *verdict = down->hook_verdict->verdict;
    assert_int_equal(verdict->n_actions, 4);
    assert_string_equal(verdict->actions[0]->stop->reason, "enough");
    assert_string_equal(verdict->actions[2]->set->settings[0]->value, "1e-4");
    assert_true(verdict->actions[3]->put_scalar->value == 0.5);
    free_down(down);
    rank_send_event(&l, hook, 2, 0);
    rank_send_event(&l, hook, 5, 0); /* 3 and 4 were missed before */
    hook_expect_event(&h, 2);
    hook_expect_event(&h, 5);
    hook_verdict(&h, 5); /* answers 2 as well */
    free_down(rank_expect_verdict(&l, hook, 5));
    hook_close(&h);
    rank_expect_gone(&l, hook, "gone");
    rank_close(&l);
    free(folder);
    free(id);
}

/* What the list of hooks says reaches the client. */
static void test_notices(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h, other;
    int64_t hook = hook_attach(t, &l, id, false, &h), second = hook_attach(t, &l, id, true, &other);
    rank_send_hooks(&l, 5, NULL, 0); /* made before they came */
    rank_hook hooks[] = {{hook, "watch", "remote", true, NULL},
                         {second, "watch", "remote", true, NULL}};
    rank_send_hooks(&l, 6, hooks, 2);
    hooks[0].enabled = false;
    hooks[0].last_error = "no verdict came within 2.5 s";
    rank_send_hooks(&l, 7, hooks, 2);
    hook_expect_notice(&h, HOOK(DISABLED), "within 2.5 s");
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)hook);
    rank_agree(&l, folder, "w1", "hook_enable", "watch", number, "", 8, "try again");
    hooks[0].enabled = true;
    rank_send_hooks(&l, 8, hooks, 2);
    hook_expect_notice(&h, HOOK(ENABLED), "enabled by me before iteration 8: try again");
    rank_agree(&l, folder, "w2", "hook_remove", "watch", number, "", 9, "");
    rank_send_hooks(&l, 9, hooks + 1, 1);
    hook_expect_notice(&h, HOOK(REMOVED), "removed by me before iteration 9");
    hook_expect_end(&h, REID_OK, "");
    rank_send_event(&l, second, 1, 0); /* the other one goes on */
    hook_expect_event(&other, 1);
    hook_close(&other);
    rank_expect_gone(&l, second, "gone");
    rank_close(&l);
    free(folder);
    free(id);
}

/* ---- before the training, and after ---- */

static void test_a_job_that_waits(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    char ticket[64];
    test_reidd_option(t, "--slots");
    test_reidd_option(t, "1");
    test_reidd_start(t);
    char *first = rank_start_job(t, ticket);
    char *waits = test_submit(t, "waits", 1, RANK_SCRIPT);
    char *never = test_submit(t, "never", 1, RANK_SCRIPT), *folder = test_job_folder(t, 2);
    hook_client h = hook_connect(t), left = hook_connect(t), lost = hook_connect(t);
    hook_register(&h, waits, false);
    hook_register(&left, waits, false);
    hook_register(&lost, never, false);
    reid_rpc_client_half_close(left.stream); /* nobody knows of it yet */
    hook_expect_end(&left, REID_OK, "");
    reid_assert_ok(test_cancel(t, never, 0, "", &err), &err);
    hook_expect_end(&lost, REID_ERR_PRECONDITION, "ended before its ranks agreed");
    reid_assert_ok(test_cancel(t, first, 1, "", &err), &err);
    rank_environment(t, 2, "REIDD_TICKET", ticket, sizeof ticket);
    rank_link l = rank_join(t, waits, ticket, 0);
    int64_t hook = rank_agree_on_hook(&l, folder);
    reid__v1__hook_down__free_unpacked(hook_expect(&h, REID__V1__HOOK_DOWN__KIND_ATTACHED), NULL);
    rank_send_event(&l, hook, 1, 0);
    hook_expect_event(&h, 1);
    hook_client late = hook_connect(t), nobody = hook_connect(t);
    hook_register(&late, first, false);
    hook_expect_end(&late, REID_ERR_PRECONDITION, "already ended");
    hook_register(&nobody, "nobody", false);
    hook_expect_end(&nobody, REID_ERR_NOT_FOUND, "no job");
    reid_assert_ok(test_cancel(t, waits, 1, "", &err), &err);
    hook_expect_notice(&h, HOOK(REMOVED), "the job is CANCELLED");
    hook_expect_end(&h, REID_OK, "");
    rank_close(&l);
    free(folder);
    free(first);
    free(waits);
    free(never);
}

static void test_links_that_break(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h;
    hook_attach(t, &l, id, false, &h);
    rank_close(&l); /* the client is told when it is known that rank 0 goes on without it */
    l = rank_join(t, id, ticket, 0);
    hook_expect_end(&h, REID_ERR_UNAVAILABLE, "lost its link");
    int64_t hook = hook_attach(t, &l, id, false, &h);
    rank_close(&l);
    assert_int_equal(test_reidd_stop(t, 10), 0);
    hook_expect_end(&h, REID_ERR_UNAVAILABLE, "");
    test_reidd_start(t);
    l = rank_join(t, id, ticket, 0);
    const rank_hook hooks[] = {{hook, "watch", "remote", true, NULL},
                               {hook + 1, "lua", "lua", true, NULL}};
    rank_send_hooks(&l, 9, hooks, 2); /* nobody stands for the first one here */
    rank_expect_gone(&l, hook, "gone");
    rank_send_event(&l, hook, 4, 0);
    rank_expect_gone(&l, hook, "gone");
    rank_close(&l);
    free(id);
}

/* ---- leaving ---- */

static void test_leaving(void **state)
{
    test_reidd *t = *state;
    char ticket[64], number[32];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h;
    int64_t hook = hook_attach(t, &l, id, false, &h);
    rank_send_event(&l, hook, 1, 0);
    hook_expect_event(&h, 1);
    reid_rpc_client_half_close(h.stream);
    test_let_it_send(h.client);
    free_down(rank_expect_verdict(&l, hook, 1)); /* rank 0 is not kept waiting */
    Reid__V1__LinkDown *down = rank_expect_word(&l, "hook_remove");
    snprintf(number, sizeof number, "%lld", (long long)hook);
    assert_string_equal(down->control->settings[0]->name, number);
    rank_send_event(&l, hook, 2, 0);
    free_down(rank_expect_verdict(&l, hook, 2)); /* nor now */
    hook_expect_event(&h, 2);                    /* no point is missed */
    rank_agree(&l, folder, down->control->id, "hook_remove", "watch", number, "", 6, "");
    free_down(down);
    const rank_hook hooks[] = {{hook, "watch", "remote", true, NULL}};
    rank_send_hooks(&l, 6, hooks, 1); /* agreed on, not in effect */
    rank_send_event(&l, hook, 3, 0);
    free_down(rank_expect_verdict(&l, hook, 3));
    hook_expect_event(&h, 3);
    rank_send_hooks(&l, 6, NULL, 0);
    hook_expect_notice(&h, HOOK(REMOVED), "removed by me");
    hook_expect_end(&h, REID_OK, "");
    rank_send_hooks(&l, 6, hooks, 1); /* it has left, and is not lost */
    rank_send_event(&l, hook, 4, 0);
    free_down(rank_expect_verdict(&l, hook, 4));
    h = hook_connect(t);
    hook_register(&h, id, false);
    down = rank_expect_word(&l, "hook_add"); /* leaves between the word and its agreement */
    reid_rpc_client_half_close(h.stream);
    test_let_it_send(h.client);
    hook = rank_agree(&l, folder, down->control->id, "hook_add", "watch", "", "{}", 7, "");
    free_down(down);
    down = rank_expect_word(&l, "hook_remove");
    rank_refuse(&l, down->control->id, 5, "it has gone by itself");
    free_down(down);
    hook_expect_end(&h, REID_OK, "");
    rank_close(&l);
    free(folder);
    free(id);
}

/* A client that dies before rank 0 has answered is reported when its hook shows. */
static void test_dying_early(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h = hook_connect(t);
    hook_register(&h, id, false);
    Reid__V1__LinkDown *down = rank_expect_word(&l, "hook_add");
    hook_close(&h);
    test_let_it_send(t->client);
    int64_t hook = rank_agree(&l, folder, down->control->id, "hook_add", "watch", "", "{}", 7, "");
    rank_send_event(&l, hook, 1, 0);
    rank_expect_gone(&l, hook, "gone");
    free_down(down);
    h = hook_connect(t);
    hook_register(&h, id, false);
    down = rank_expect_word(&l, "hook_add");
    rank_refuse(&l, down->control->id, 3, "there is no metric 'lost'");
    hook_expect_end(&h, REID_ERR_INVALID, "no metric 'lost'");
    free_down(down);
    rank_close(&l);
    free(folder);
    free(id);
}

/* ---- clients that break the rules ---- */

typedef struct bad_message {
    Reid__V1__HookUp up;
    Reid__V1__HookVerdict verdict;
    Reid__V1__HookAction action, *actions[70];
    Reid__V1__SetAction set;
    Reid__V1__Setting setting, *settings[40];
    char text[1100];
} bad_message;

static void bad_init(bad_message *m)
{
    memset(m->text, 'x', sizeof m->text - 1);
    m->text[sizeof m->text - 1] = '\0';
    reid__v1__hook_up__init(&m->up);
    reid__v1__hook_verdict__init(&m->verdict);
    reid__v1__hook_action__init(&m->action);
    reid__v1__set_action__init(&m->set);
    reid__v1__setting__init(&m->setting);
    for (int i = 0; i < 70; i++)
        m->actions[i] = &m->action;
    for (int i = 0; i < 40; i++)
        m->settings[i] = &m->setting;
    m->set.settings = m->settings;
    m->verdict.event = 2;
    m->verdict.actions = m->actions;
    m->up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    m->up.verdict = &m->verdict;
}

static void bad_set(bad_message *m, size_t settings)
{
    m->action.kind_case = REID__V1__HOOK_ACTION__KIND_SET;
    m->action.set = &m->set;
    m->set.n_settings = settings;
    m->verdict.n_actions = 1;
}

static const char *make_bad(bad_message *m, int which)
{
    static Reid__V1__RegisterHook again = REID__V1__REGISTER_HOOK__INIT;
    static Reid__V1__SkipStepAction skip = REID__V1__SKIP_STEP_ACTION__INIT;
    bad_init(m);
    switch (which) {
    case 0:
        m->verdict.event = 3;
        return "the last one is 2";
    case 1:
        m->verdict.event = 1;
        return "answered already";
    case 2:
        m->up.kind_case = REID__V1__HOOK_UP__KIND__NOT_SET;
        return "says nothing";
    case 3:
        m->up.kind_case = REID__V1__HOOK_UP__KIND_REGISTER;
        m->up.register_ = &again;
        return "only once";
    case 4:
        m->verdict.n_actions = 1;
        return "action that says nothing";
    case 5:
        m->action.kind_case = REID__V1__HOOK_ACTION__KIND_SKIP_STEP;
        m->action.skip_step = &skip;
        m->verdict.n_actions = 65;
        return "at most 64 actions, not 65";
    case 6:
        bad_set(m, 33);
        return "1 to 32 settings, not 33";
    case 7:
        bad_set(m, 0);
        return "1 to 32 settings, not 0";
    case 8:
        bad_set(m, 30);
        m->verdict.n_actions = 3;
        return "not 90";
    case 9:
        bad_set(m, 1);
        m->setting.value = m->text;
        return "at most 1000 bytes, not 1099";
    case 10:
        m->verdict.error = m->text;
        return "at most 1000 bytes";
    default:
        return NULL;
    }
}

static void test_rules_are_kept(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    bad_message *m = reid_xcalloc(1, sizeof *m);
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client good;
    int64_t good_hook = hook_attach(t, &l, id, false, &good);
    const char *said;
    for (int which = 0; (said = make_bad(m, which)) != NULL; which++) {
        hook_client h;
        int64_t hook = hook_attach(t, &l, id, false, &h);
        rank_send_event(&l, hook, 1, 0);
        rank_send_event(&l, hook, 2, 0);
        hook_expect_event(&h, 1);
        hook_expect_event(&h, 2);
        hook_verdict(&h, 1);
        free_down(rank_expect_verdict(&l, hook, 1));
        hook_send(&h, &m->up);
        hook_expect_end(&h, REID_ERR_INVALID, said);
        rank_expect_gone(&l, hook, "thrown out: ");
    }
    bad_init(m);
    hook_client h = hook_connect(t);
    hook_send(&h, &m->up);
    hook_expect_end(&h, REID_ERR_INVALID, "first message");
    h = hook_connect(t);
    hook_register(&h, id, false);
    hook_send(&h, &m->up); /* not agreed yet */
    hook_expect_end(&h, REID_ERR_INVALID, "before any event");
    free_down(rank_expect_word(&l, "hook_add"));
    h = hook_connect(t);
    reid_rpc_client_half_close(h.stream);
    hook_expect_end(&h, REID_ERR_INVALID, "without registering");
    rank_send_event(&l, good_hook, 1, 0); /* nobody else was hurt */
    hook_expect_event(&good, 1);
    hook_verdict(&good, 1);
    free_down(rank_expect_verdict(&l, good_hook, 1));
    hook_close(&good);
    rank_close(&l);
    free(m);
    free(id);
}

/* More than a message may have, and bytes that are none. */
static void test_garbage(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h;
    int64_t hook = hook_attach(t, &l, id, false, &h);
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    char *large = reid_xcalloc(1, 70000);
    memset(large, 'x', 69999);
    verdict.error = large;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict = &verdict;
    hook_send(&h, &up);
    hook_expect_end(&h, REID_ERR_EXHAUSTED, "");
    rank_expect_gone(&l, hook, "thrown out");
    hook = hook_attach(t, &l, id, false, &h);
    Reid__V1__Setting garbage = REID__V1__SETTING__INIT; /* its fields are messages in HookUp */
    garbage.name = (char *)"\x7f\x7f\x7f";
    garbage.value = (char *)"\xff\xfe";
    reid_rpc_client_send(h.stream, &garbage.base, 5000, NULL);
    test_let_it_send(h.client);
    hook_expect_end(&h, REID_ERR_INVALID, "");
    rank_expect_gone(&l, hook, "thrown out");
    free(large);
    rank_close(&l);
    free(id);
}

/* ---- too much of everything ---- */

static int64_t missed_of(test_reidd *t, const char *id)
{
    Reid__V1__ListHooksRequest request = REID__V1__LIST_HOOKS_REQUEST__INIT;
    Reid__V1__ListHooksResponse *answer = NULL;
    reid_error err = {0};
    request.job = (char *)id;
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.HookService/List", &request.base,
                                         &reid__v1__list_hooks_response__descriptor, 10000,
                                         (ProtobufCMessage **)&answer, &err),
                   &err);
    assert_int_equal(answer->n_hooks, 1);
    int64_t missed = answer->hooks[0]->missed;
    reid__v1__list_hooks_response__free_unpacked(answer, NULL);
    return missed;
}

/* A client that does not read holds up nobody; it misses events, and sees that it does. */
static void test_slow_client(void **state)
{
    enum { EVENTS = 1500 };
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_join(t, id, ticket, 0);
    hook_client h;
    int64_t hook = hook_attach(t, &l, id, true, &h);
    const rank_hook hooks[] = {{hook, "watch", "remote", true, NULL}};
    rank_send_hooks(&l, 6, hooks, 1);
    for (int64_t n = 1; n <= EVENTS; n++)
        rank_send_event(&l, hook, n, 200); /* 5 KB each */
    int64_t missed = missed_of(t, id), seen = 0, last = 0;
    assert_true(missed > EVENTS / 2);
    while (seen < EVENTS - missed) {
        Reid__V1__HookDown *down = hook_expect(&h, REID__V1__HOOK_DOWN__KIND_EVENT);
        assert_true(down->event->number > last);
        last = down->event->number;
        seen++;
        reid__v1__hook_down__free_unpacked(down, NULL);
    }
    rank_send_event(&l, hook, EVENTS + 1, 0); /* there is room again */
    hook_expect_event(&h, EVENTS + 1);
    hook_verdict(&h, EVENTS + 1);
    free_down(rank_expect_verdict(&l, hook, EVENTS + 1));
    hook_close(&h);
    rank_close(&l);
    free(id);
}

static reid_rpc_client_stream *one_more(reid_rpc_client *client, const char *job)
{
    hook_client h = {.client = client};
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_open(client, "/reid.v1.HookService/Attach",
                                        &reid__v1__hook_down__descriptor, &h.stream, &err),
                   &err);
    hook_register(&h, job, false);
    return h.stream;
}

/* So many clients a job, and so many of their words at once on the way to rank 0. */
static void test_limits(void **state)
{
    enum { CLIENTS = 128, ON_THE_WAY = 32 };
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    reid_rpc_client *clients[2];
    reid_error err = {0};
    for (int i = 0; i < 2; i++)
        reid_assert_ok(reid_rpc_client_connect(t->address, 5000, &clients[i], &err), &err);
    for (int i = 0; i < CLIENTS; i++)
        one_more(clients[i % 2], id);
    hook_client h = hook_connect(t);
    hook_register(&h, id, false);
    hook_expect_end(&h, REID_ERR_EXHAUSTED, "128 clients");
    rank_link l = rank_join(t, id, ticket, 0);
    char *words[CLIENTS];
    for (int i = 0; i < ON_THE_WAY; i++) {
        Reid__V1__LinkDown *down = rank_expect_word(&l, "hook_add");
        words[i] = reid_xstrdup(down->control->id);
        free_down(down);
    }
    for (int i = 0; i < CLIENTS; i++) {
        rank_agree(&l, folder, words[i], "hook_add", "watch", "", "{}", 3, "");
        free(words[i]);
        if (i + ON_THE_WAY >= CLIENTS)
            continue;
        Reid__V1__LinkDown *down = rank_expect_word(&l, "hook_add"); /* one for one */
        words[i + ON_THE_WAY] = reid_xstrdup(down->control->id);
        free_down(down);
    }
    reid_rpc_client_free(clients[0]);
    for (int i = 0; i < CLIENTS / 2; i++) {
        Reid__V1__LinkDown *down = rank_next(&l);
        assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_HOOK_GONE);
        free_down(down);
    }
    h = hook_connect(t);
    hook_register(&h, id, false); /* there is room again */
    free_down(rank_expect_word(&l, "hook_add"));
    reid_rpc_client_free(clients[1]);
    hook_close(&h);
    rank_close(&l);
    free(folder);
    free(id);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_events_and_verdicts),
        CASE(test_notices),
        CASE(test_a_job_that_waits),
        CASE(test_links_that_break),
        CASE(test_leaving),
        CASE(test_dying_early),
        CASE(test_rules_are_kept),
        CASE(test_garbage),
        CASE(test_slow_client),
        CASE(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
