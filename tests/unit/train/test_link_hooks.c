/* The rank's link, the daemon and a client that is a hook, as they are: events go there, verdicts
 * come back, and whoever is lost is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "engine/control_private.h"
#include "harness/harness.h"
#include "reid/v1/hook.pb-c.h"
#include "support/hook.h"
#include "train/link.h"

enum { ROUNDS = 300 };

/* ---- rank 0 ---- */

typedef struct rank {
    test_reidd *t;
    char *id, *attempt_dir, *address, *folder, *ticket;
    reid_control_queue *queue;
    reid_link *link;
    const reid_remote_port *port;
} rank;

static rank start_rank(test_reidd *t)
{
    rank r = {.t = t, .queue = reid_control_queue_new()};
    reid_error err = {0};
    r.ticket = reid_xcalloc(1, 64);
    r.id = rank_start_job(t, r.ticket);
    r.folder = test_job_folder(t, 1);
    r.attempt_dir = reid_xasprintf("%s/jobs/%s/attempt-1", t->state_dir, r.id);
    r.address = reid_xasprintf("unix:%s/link.sock", t->folder);
    const reid_job_env env = {.managed = true,
                              .job_id = r.id,
                              .attempt = 1,
                              .attempt_dir = r.attempt_dir,
                              .link_address = r.address,
                              .ticket = r.ticket};
    reid_assert_ok(reid_link_open(&env, 0, 1, r.queue, &r.link, &err), &err);
    reid_link_wait(r.link, 20);
    r.port = reid_link_remote_port(r.link);
    assert_non_null(r.port);
    return r;
}

static void end_rank(rank *r, double wait_s)
{
    reid_link_close(r->link, wait_s);
    reid_control_queue_free(r->queue);
    free(r->id);
    free(r->folder);
    free(r->attempt_dir);
    free(r->address);
    free(r->ticket);
}

static bool request_came(void *context)
{
    rank *r = context;
    reid_control_request request = reid_control_queue_take(r->queue);
    if (!request.id)
        return false;
    assert_string_equal(request.kind, "hook_add");
    char *path = reid_path_join(r->folder, REID_JOURNAL_FILE);
    reid_journal *journal = NULL;
    reid_journal_entries known;
    reid_error err = {0};
    reid_assert_ok(reid_journal_open(path, &journal, &known, &err), &err);
    reid_journal_entry entry =
        reid_control_entry(&request, 3, request.settings[0].name, "", request.settings[0].value);
    reid_assert_ok(reid_journal_append(journal, &entry, 1, &err), &err);
    reid_link_agreed(r->link, request.id, &entry, 1);
    reid_journal_entry_fini(&entry);
    reid_journal_entries_fini(&known);
    reid_journal_close(journal);
    reid_control_request_fini(&request);
    free(path);
    return true;
}

/* Agrees on the next registration and opens the hook: the first of a job has the id 1. */
static void agree(rank *r, int64_t hook)
{
    assert_true(reid_test_wait(request_came, r, 20));
    r->port->open(r->port->user, hook);
}

static bool send_event(rank *r, int64_t hook, int64_t number)
{
    const reid_moment moment = {
        .point = REID_AFTER_STEP, .iter = number + 9, .max_iter = 1000, .lr = 0.25};
    static const reid_event_row_scalar scalars[] = {{"total_loss", 1.5}, {"loss_cls", 0.5}};
    const reid_remote_event event = {
        .number = number, .moment = &moment, .scalar_count = 2, .scalars = scalars};
    return r->port->send(r->port->user, hook, &event);
}

static reid_status wait_verdict(rank *r, int64_t hook, double seconds,
                                reid_remote_verdict *ret_verdict, reid_error *err)
{
    *ret_verdict = (reid_remote_verdict){0};
    return r->port->wait(r->port->user, hook, seconds, ret_verdict, err);
}

static void expect_lost(rank *r, int64_t hook, const char *said)
{
    reid_remote_verdict verdict;
    reid_error err = {0};
    assert_int_equal(wait_verdict(r, hook, 20, &verdict, &err), REID_ERR_UNAVAILABLE);
    if (!strstr(err.text, said))
        fail_msg("%s", err.text);
}

/* ---- a client with a thread of its own ---- */

typedef struct echo {
    test_reidd *t;
    const char *job;
    int64_t answers; /* so many, then it stays silent */
    bool leave;      /* half-closes then */
    pthread_t thread;
} echo;

static void answer(hook_client *h, int64_t number)
{
    Reid__V1__Setting setting = REID__V1__SETTING__INIT, *settings[] = {&setting};
    Reid__V1__SetAction set = REID__V1__SET_ACTION__INIT;
    Reid__V1__HookAction action = REID__V1__HOOK_ACTION__INIT, *actions[] = {&action};
    Reid__V1__HookVerdict verdict = REID__V1__HOOK_VERDICT__INIT;
    Reid__V1__HookUp up = REID__V1__HOOK_UP__INIT;
    setting.name = (char *)"lr";
    setting.value = (char *)"0.125";
    set.n_settings = 1;
    set.settings = settings;
    action.kind_case = REID__V1__HOOK_ACTION__KIND_SET;
    action.set = &set;
    verdict.event = number;
    verdict.n_actions = number % 2; /* each second one is plain */
    verdict.actions = actions;
    up.kind_case = REID__V1__HOOK_UP__KIND_VERDICT;
    up.verdict = &verdict;
    reid_rpc_client_send(h->stream, &up.base, 5000, NULL); /* goes out with the next wait */
}

static void *run_echo(void *user)
{
    const echo *e = user;
    hook_client h = hook_connect(e->t);
    hook_register(&h, e->job, false);
    Reid__V1__HookDown *down = NULL;
    int64_t answered = 0;
    while (answered < e->answers && (down = hook_next(&h)) != NULL) {
        if (down->kind_case == REID__V1__HOOK_DOWN__KIND_EVENT) {
            answer(&h, down->event->number);
            answered++;
        }
        reid__v1__hook_down__free_unpacked(down, NULL);
    }
    test_let_it_send(h.client);
    if (e->leave)
        reid_rpc_client_half_close(h.stream);
    while ((down = hook_next(&h)) != NULL) /* until it ends */
        reid__v1__hook_down__free_unpacked(down, NULL);
    hook_close(&h);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A synchronous hook costs a step far less than a millisecond; here the loaded machines of a test
 * are allowed more. */
static void test_round_trips(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    rank r = start_rank(t);
    echo e = {.t = t, .job = r.id, .answers = ROUNDS};
    assert_int_equal(pthread_create(&e.thread, NULL, run_echo, &e), 0);
    agree(&r, 1);
    double seconds[ROUNDS];
    reid_error err = {0};
    for (int64_t n = 1; n <= ROUNDS; n++) {
        reid_remote_verdict verdict;
        double start = reid_clock_seconds();
        assert_true(send_event(&r, 1, n));
        reid_assert_ok(wait_verdict(&r, 1, 20, &verdict, &err), &err);
        seconds[n - 1] = reid_clock_seconds() - start;
        assert_int_equal(verdict.event, n);
        assert_null(verdict.error);
        assert_int_equal(verdict.wishes.list.count, n % 2);
        if (n % 2) {
            assert_int_equal(verdict.wishes.list.items[0].kind, REID_WISH_SET);
            assert_string_equal(verdict.wishes.list.items[0].name, "lr");
            assert_string_equal(verdict.wishes.list.items[0].value, "0.125");
        }
        reid_wishes_fini(&verdict.wishes);
    }
    qsort(seconds, ROUNDS, sizeof seconds[0], by_value);
    printf("a round trip takes %.0f us (median), %.0f us (99 of 100)\n", seconds[ROUNDS / 2] * 1e6,
           seconds[ROUNDS * 99 / 100] * 1e6);
    assert_true(seconds[ROUNDS / 2] < 0.02);
    reid_remote_verdict none;
    double start = reid_clock_seconds();
    assert_true(send_event(&r, 1, ROUNDS + 1)); /* it is silent now */
    assert_int_equal(wait_verdict(&r, 1, 0.05, &none, &err), REID_ERR_TIMEOUT);
    assert_in_range((int)((reid_clock_seconds() - start) * 1000), 50, 10000);
    test_reidd_kill(t); /* with it everybody has gone */
    expect_lost(&r, 1, "link to reidd");
    pthread_join(e.thread, NULL);
    r.port->open(r.port->user, 2); /* nor is anybody there for a new one */
    expect_lost(&r, 2, "link to reidd");
    assert_true(send_event(&r, 2, 1));
    r.port->close(r.port->user, 1);
    r.port->close(r.port->user, 2);
    end_rank(&r, 0);
}

/* Its client leaves, or dies, or was never there. */
static void test_clients_that_go(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    rank r = start_rank(t);
    hook_client h = hook_connect(t);
    hook_register(&h, r.id, false);
    agree(&r, 1);
    reid__v1__hook_down__free_unpacked(hook_expect(&h, REID__V1__HOOK_DOWN__KIND_ATTACHED), NULL);
    assert_true(send_event(&r, 1, 1));
    hook_expect_event(&h, 1);
    hook_verdict(&h, 1);
    hook_close(&h);
    reid_remote_verdict verdict;
    reid_error err = {0};
    reid_assert_ok(wait_verdict(&r, 1, 20, &verdict, &err), &err); /* what it said still counts */
    assert_int_equal(verdict.event, 1);
    expect_lost(&r, 1, "its client has gone");
    r.port->close(r.port->user, 1);
    h = hook_connect(t);
    hook_register(&h, r.id, false);
    assert_true(reid_test_wait(request_came, &r, 20));
    reid__v1__hook_down__free_unpacked(hook_expect(&h, REID__V1__HOOK_DOWN__KIND_ATTACHED), NULL);
    hook_close(&h); /* before the hook is opened */
    test_let_it_send(t->client);
    r.port->open(r.port->user, 2);
    expect_lost(&r, 2, "its client has gone");
    r.port->open(r.port->user, 77);
    assert_true(send_event(&r, 77, 1)); /* nobody has ever stood for it */
    expect_lost(&r, 77, "its client has gone");
    end_rank(&r, 5);
}

/* ---- the list, and sentences ---- */

static Reid__V1__ListHooksResponse *list(test_reidd *t, const char *id)
{
    Reid__V1__ListHooksRequest request = REID__V1__LIST_HOOKS_REQUEST__INIT;
    Reid__V1__ListHooksResponse *answer = NULL;
    request.job = (char *)id;
    reid_rpc_client_unary(t->client, "/reid.v1.HookService/List", &request.base,
                          &reid__v1__list_hooks_response__descriptor, 10000,
                          (ProtobufCMessage **)&answer, NULL);
    return answer;
}

static bool is_listed(void *context)
{
    rank *r = context;
    Reid__V1__ListHooksResponse *answer = list(r->t, r->id);
    bool listed = answer && answer->n_hooks == 2 && answer->iteration == 7;
    if (listed) {
        const Reid__V1__Hook *hook = answer->hooks[1];
        assert_string_equal(hook->name, "mine");
        assert_string_equal(hook->kind, "lua");
        assert_int_equal(hook->state, REID__V1__HOOK_STATE__HOOK_STATE_DISABLED);
        assert_int_equal(hook->n_points, 2);
        assert_int_equal(hook->points[0], REID__V1__HOOK_POINT__HOOK_POINT_BEFORE_TRAIN);
        assert_int_equal(hook->points[1], REID__V1__HOOK_POINT__HOOK_POINT_AFTER_STEP);
        assert_string_equal(hook->last_error, "bad bytes: ?");
        assert_true(hook->calls == 11 && hook->late == 2 && hook->seconds == 0.5);
    }
    if (answer)
        reid__v1__list_hooks_response__free_unpacked(answer, NULL);
    return listed;
}

static bool has_note(void *context)
{
    rank *r = context;
    Reid__V1__EventsRequest request = REID__V1__EVENTS_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    Reid__V1__EventsChunk *chunk = NULL;
    reid_error err = {0};
    bool found = false;
    request.id = r->id;
    reid_assert_ok(reid_rpc_client_start(r->t->client, "/reid.v1.JobService/Events", &request.base,
                                         &reid__v1__events_chunk__descriptor, &stream, &err),
                   &err);
    while (reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&chunk, NULL) == REID_OK &&
           chunk) {
        for (size_t i = 0; i < chunk->n_events; i++)
            found |= strcmp(chunk->events[i]->kind, "hook") == 0 &&
                     strcmp(chunk->events[i]->detail, "told while nobody was there") == 0;
        reid__v1__events_chunk__free_unpacked(chunk, NULL);
        chunk = NULL;
    }
    reid_rpc_client_stop(stream);
    return found;
}

/* Both are known to a daemon that comes back. */
static void test_list_and_notes(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    rank r = start_rank(t);
    reid_guest_spec specs[2] = {{.kind = (char *)"builtin", .name = (char *)"EvalHook"},
                                {.kind = (char *)"lua", .name = (char *)"mine"}};
    specs[0].when = specs[1].when = (char *)"";
    specs[1].points = 1u << REID_BEFORE_TRAIN | 1u << REID_AFTER_STEP;
    const reid_guest_info infos[] = {
        {.id = 0, .spec = &specs[0], .enabled = true, .who = "", .last_error = ""},
        {.id = 3,
         .spec = &specs[1],
         .who = "me",
         .calls = 11,
         .late = 2,
         .seconds = 0.5,
         .last_error = "bad bytes: \xff"},
    };
    reid_link_hooks(r.link, infos, 2, 7);
    assert_true(reid_test_wait(is_listed, &r, 20));
    test_reidd_kill(t);
    reid_link_note(r.link, 3, "told while nobody was there");
    test_reidd_start(t);
    assert_true(reid_test_wait(is_listed, &r, 20));
    assert_true(reid_test_wait(has_note, &r, 20));
    end_rank(&r, 5);
}

/* A link without a daemon, and none at all. */
static void test_nobody(void **state)
{
    reid_link_wait(NULL, 20);
    assert_null(reid_link_remote_port(NULL));
    reid_link_hooks(NULL, NULL, 0, 0);
    reid_link_note(NULL, 0, "x");
    char *folder = reid_test_dir_new(), *address = reid_xasprintf("unix:%s/none", folder);
    const reid_job_env env = {.managed = true,
                              .job_id = "x",
                              .attempt = 1,
                              .attempt_dir = folder,
                              .link_address = address,
                              .ticket = ""};
    rank r = {0};
    reid_error err = {0};
    reid_assert_ok(reid_link_open(&env, 0, 1, NULL, &r.link, &err), &err);
    reid_link_wait(r.link, 0.05); /* does not wait for ever */
    r.port = reid_link_remote_port(r.link);
    r.port->open(r.port->user, 1);
    expect_lost(&r, 1, "link to reidd");
    for (int i = 0; i < 200; i++)
        reid_link_note(r.link, 1, "nobody hears it");
    reid_link_close(r.link, 0);
    free(address);
    reid_test_dir_free(folder);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_round_trips),
        CASE(test_clients_that_go),
        CASE(test_list_and_notes),
        cmocka_unit_test(test_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
