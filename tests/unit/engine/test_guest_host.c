/* Guests on ranks that are threads. The guest is a remote one whose client is a function here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "base/alloc.h"
#include "base/file.h"
#include "engine/control.h"
#include "engine/guest/host.h"
#include "engine/guest/remote.h"
#include "engine/hooks/periodic_checkpointer.h"
#include "engine/simple_trainer.h"
#include "fake_step.h"
#include "harness/harness.h"
#include "thread_ranks.h"

#define RANKS 2
#define EPOCHS 3
#define EPOCH_ITERS 4

typedef struct run run;

/* The client: what it answers. TIMEOUT and UNAVAILABLE are taken as they are. */
typedef reid_status client_fn(run *all, int64_t guest, const reid_remote_event *event,
                              reid_remote_verdict *verdict, reid_error *err);

struct run {
    const char *folder;
    int ranks;
    reid_control_queue *queue;
    client_fn *client;
    const char *state;     /* to start from */
    reid_str trace[RANKS]; /* per rank: "0p20 1p5 s2 …": iterations with the period, skipped ones */
    reid_str events;       /* rank 0: what happened */
    reid_str seen;         /* by the clients: "7:after_step@3 " */
    char *saved;           /* rank 0's state of the last checkpoint */
    reid_status status[RANKS];
    char text[RANKS][1024];
    int64_t open;                 /* mailboxes */
    reid_remote_verdict next[64]; /* by guest: answer to the event just sent */
    reid_status next_status[64];
    reid_error next_error[64];
    bool waiting[64];
};

typedef struct rank {
    run *run;
    reid_comm *comm;
    reid_simple_trainer trainer;
    fake_step step;
    reid_hook *checkpointer;
} rank;

/* ---- the port ---- */

static void open_box(void *user, int64_t guest)
{
    ((run *)user)->open++;
}

static void close_box(void *user, int64_t guest)
{
    ((run *)user)->open--;
}

static bool send_event(void *user, int64_t guest, const reid_remote_event *event)
{
    run *all = user;
    reid_str_addf(&all->seen, "%lld:%s@%lld ", (long long)guest,
                  reid_point_name(event->moment->point), (long long)event->moment->iter);
    reid_remote_verdict *verdict = &all->next[guest % 64];
    *verdict = (reid_remote_verdict){.event = event->number};
    all->next_error[guest % 64] = (reid_error){0};
    all->next_status[guest % 64] =
        all->client(all, guest, event, verdict, &all->next_error[guest % 64]);
    all->waiting[guest % 64] = true;
    return true;
}

static reid_status wait_box(void *user, int64_t guest, double seconds, reid_remote_verdict *ret,
                            reid_error *err)
{
    run *all = user;
    if (!all->waiting[guest % 64])
        return REID_ERR_TIMEOUT;
    if (all->next_status[guest % 64] == REID_ERR_UNAVAILABLE)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "the client has gone");
    if (all->next_status[guest % 64] == REID_ERR_TIMEOUT)
        return REID_ERR_TIMEOUT;
    all->waiting[guest % 64] = false;
    *ret = all->next[guest % 64];
    return REID_OK;
}

/* ---- the rank ---- */

typedef struct tracer {
    reid_hook base;
    rank *rank;
} tracer;

static reid_status trace_step(reid_hook *hook, reid_error *err)
{
    rank *r = ((tracer *)hook)->rank;
    reid_str *trace = &r->run->trace[r->comm->rank];
    char name[32];
    snprintf(name, sizeof name, "f%lld ", (long long)hook->trainer->iter);
    bool skipped = !strstr(reid_str_text(&r->step.calls), name);
    reid_str_addf(trace, "%s%lldp%lld ", skipped ? "s" : "", (long long)hook->trainer->iter,
                  (long long)reid_periodic_checkpointer_period(r->checkpointer));
    return REID_OK;
}

static const reid_hook_impl TRACER = {.name = "Tracer", .after_step = trace_step};

static double one(int rank_, int64_t iter, int scalar)
{
    return 1 + (double)iter;
}

static reid_status no_save(void *user, const reid_checkpoint_request *request, reid_error *err)
{
    return REID_OK;
}

static void save(rank *r)
{
    reid_str state = REID_STR_INIT;
    reid_trainer_save_state(&r->trainer.base, &state);
    if (r->comm->rank == 0) {
        free(r->run->saved);
        r->run->saved = reid_str_take(&state);
    }
    reid_str_fini(&state);
}

static reid_status save_now(void *user, reid_error *err)
{
    rank *r = user;
    if (r->comm->rank == 0)
        reid_str_addf(&r->run->events, "c%lld ", (long long)r->trainer.base.iter);
    save(r);
    return REID_OK;
}

static void agreed(void *user, const char *id, const reid_journal_entry *entries, size_t count)
{
    rank *r = user;
    for (size_t i = 0; i < count; i++)
        reid_str_addf(&r->run->events, "%s@%lld ", entries[i].kind,
                      (long long)entries[i].iteration);
}

static void refused(void *user, const char *id, const reid_error *why)
{
    reid_str_addf(&((rank *)user)->run->events, "no:%s(%s) ", id, why->text);
}

static void note(void *user, int64_t guest, const char *sentence)
{
    if (sentence)
        reid_str_addf(&((rank *)user)->run->events, "[%s] ", sentence);
}

static void add_hooks(rank *r, const reid_remote_port *port)
{
    reid_trainer *trainer = &r->trainer.base;
    bool first = r->comm->rank == 0;
    const reid_periodic_checkpointer_options saver = {.period = 20, .save = no_save};
    r->checkpointer = reid_periodic_checkpointer_new(&saver);
    const reid_guest_host_options guests = {.rank = r->comm->rank,
                                            .deadline_s = 60,
                                            .env = {.port = first ? port : NULL},
                                            .note = note,
                                            .user = r};
    reid_hook *host_hook, *hook;
    reid_guest_host *host = reid_guest_host_new(&guests, &host_hook);
    char *path = reid_path_join(r->run->folder, REID_JOURNAL_FILE);
    const reid_control_options options = {
        .comm = r->comm,
        .queue = first ? r->run->queue : NULL,
        .journal_path = path,
        .targets = {.checkpointer = r->checkpointer},
        .guests = host,
        .checkpoint = save_now,
        .agreed = agreed,
        .refused = refused,
        .user = r,
    };
    trainer->control = reid_control_new(&options, &hook);
    reid_guest_host_set_control(host, trainer->control);
    tracer *watch = reid_xcalloc(1, sizeof *watch);
    watch->base.impl = &TRACER;
    watch->rank = r;
    reid_trainer_add_hook(trainer, host_hook);
    reid_trainer_add_hook(trainer, hook);
    reid_trainer_add_hook(trainer, &watch->base);
    reid_trainer_add_hook(trainer, r->checkpointer);
    free(path);
}

static void run_rank(reid_comm *comm, void *user)
{
    run *all = user;
    rank r = {.run = all, .comm = comm};
    const reid_remote_port port = {all, open_box, close_box, send_event, wait_box};
    fake_step_init(&r.step, comm->rank, one);
    reid_simple_trainer_init(&r.trainer, &r.step.base, comm, EPOCHS, EPOCH_ITERS);
    add_hooks(&r, &port);
    reid_error err = {0};
    int64_t start = 0;
    reid_status status = REID_OK;
    if (all->state)
        status =
            reid_trainer_load_state(&r.trainer.base, all->state, strlen(all->state), &start, &err);
    r.step.iter = start;
    if (status == REID_OK)
        status = reid_control_replay(r.trainer.base.control, all->state != NULL, &err);
    if (status == REID_OK)
        status = reid_trainer_train(&r.trainer.base, start, &err);
    all->status[comm->rank] = status;
    snprintf(all->text[comm->rank], sizeof all->text[0], "%s", err.text);
    if (status == REID_ERR_CANCELLED)
        save(&r);
    reid_simple_trainer_fini(&r.trainer);
    fake_step_fini(&r.step);
}

static void ask(run *all, const char *id, const char *kind, int64_t at_iter, const char *name,
                const char *value)
{
    test_ask(all->queue, id, kind, at_iter, name, value);
}

static int setup(void **state)
{
    *state = reid_test_dir_new();
    return 0;
}

static int teardown(void **state)
{
    reid_test_dir_free(*state);
    return 0;
}

static run *run_new(void **state, client_fn *client)
{
    run *all = reid_xcalloc(1, sizeof *all);
    all->folder = *state;
    all->ranks = RANKS;
    all->queue = reid_control_queue_new();
    all->client = client;
    return all;
}

static void run_free(run *all)
{
    assert_int_equal(all->open, 0);
    for (int i = 0; i < RANKS; i++)
        reid_str_fini(&all->trace[i]);
    reid_str_fini(&all->events);
    reid_str_fini(&all->seen);
    reid_control_queue_free(all->queue);
    free(all->saved);
    free(all);
}

static void train(run *all)
{
    test_run_ranks(all->ranks, run_rank, all);
}

static void expect_trace(const run *all, const char *expected)
{
    for (int i = 0; i < RANKS; i++)
        assert_string_equal(reid_str_text(&all->trace[i]), expected);
}

static const char *seen(const run *all)
{
    return reid_str_text(&all->seen);
}

static const char *events(const run *all)
{
    return reid_str_text(&all->events);
}

#define REMOTE "{\"kind\":\"remote\",\"points\":"

/* ---- clients ---- */

static reid_status agree(run *all, int64_t guest, const reid_remote_event *event,
                         reid_remote_verdict *verdict, reid_error *err)
{
    return REID_OK;
}

static void wish(reid_remote_verdict *verdict, reid_wish_kind kind, const char *name,
                 const char *value)
{
    reid_error err = {0};
    reid_assert_ok(reid_wishes_add(&verdict->wishes, kind, name, value, 0, &err), &err);
}

/* ---- tests ---- */

static void every_point_is_seen_in_order(void **state)
{
    run *all = run_new(state, agree);
    ask(all, "a", "hook_add", 0, "a",
        REMOTE "[\"before_train\",\"after_train\",\"before_epoch\",\"after_epoch\"]}");
    ask(all, "b", "hook_add", 6, "b", REMOTE "[\"before_step\",\"after_step\"],\"every\":2}");
    ask(all, "c", "hook_add", 10, "c",
        REMOTE "[\"before_train\",\"before_step\",\"after_step\"],\"when\":\"iter >= 11 and "
               "total_loss > 1\"}");
    train(all);
    assert_int_equal(all->status[0], REID_OK);
    assert_string_equal(seen(all),
                        "1:before_train@0 1:before_epoch@0 1:after_epoch@4 1:before_epoch@4 "
                        "2:before_step@7 2:after_step@7 1:after_epoch@8 1:before_epoch@8 "
                        "2:before_step@9 2:after_step@9 "
                        "2:before_step@11 3:before_step@11 2:after_step@11 3:after_step@11 "
                        "1:after_epoch@12 1:after_train@12 ");
    run_free(all);
}

static reid_status steer(run *all, int64_t guest, const reid_remote_event *event,
                         reid_remote_verdict *verdict, reid_error *err)
{
    int64_t iter = event->moment->iter;
    bool before = event->moment->point == REID_BEFORE_STEP;
    if (before && iter == 3)
        wish(verdict, REID_WISH_SKIP_STEP, NULL, NULL);
    if (before && iter == 5)
        wish(verdict, REID_WISH_SET, "checkpoint_period", "5");
    if (!before && iter == 6)
        wish(verdict, REID_WISH_SET, "checkpoint_period", "6");
    if (!before && iter == 7)
        wish(verdict, REID_WISH_SKIP_STEP, NULL, NULL);
    if (before && iter == 9)
        wish(verdict, REID_WISH_CHECKPOINT, NULL, NULL);
    if (!before && iter == 10)
        wish(verdict, REID_WISH_STOP, NULL, NULL);
    return REID_OK;
}

static void wishes_hold_for_the_very_next_thing(void **state)
{
    run *all = run_new(state, steer);
    ask(all, "a", "hook_add", 0, "a", REMOTE "[\"before_step\",\"after_step\"]}");
    train(all);
    assert_int_equal(all->status[0], REID_ERR_CANCELLED);
    assert_int_equal(all->status[1], REID_ERR_CANCELLED);
    expect_trace(all, "0p20 1p20 2p20 s3p20 4p20 5p5 6p5 7p6 s8p6 9p6 10p6 ");
    assert_string_equal(events(all), "hook_add@0 skip_step@3 set@5 set@7 skip_step@8 "
                                     "checkpoint@10 c10 stop@11 ");
    assert_non_null(strstr(all->text[0], "stopped by hook 'a' (id 1)"));
    run_free(all);
}

/* Wishes of a former life are in the journal: what the hook says now about those iterations does
 * not count. A remote hook is not there by itself any more. */
static void resumed_run_has_the_same_steps(void **state)
{
    run *all = run_new(state, steer);
    ask(all, "a", "hook_add", 0, "a", REMOTE "[\"before_step\",\"after_step\"]}");
    ask(all, "s", "checkpoint", 2, NULL, NULL);
    ask(all, "p", "pause", 9, NULL, NULL);
    train(all);
    assert_int_equal(all->status[0], REID_ERR_CANCELLED);
    expect_trace(all, "0p20 1p20 2p20 s3p20 4p20 5p5 6p5 7p6 s8p6 ");
    char *paused = reid_xstrdup(all->saved);
    run_free(all);

    all = run_new(state, agree);
    all->state = paused;
    train(all);
    assert_int_equal(all->status[0], REID_OK);
    expect_trace(all, "9p6 10p6 11p6 ");
    assert_string_equal(seen(all), "");
    free(paused);
    run_free(all);
}

static reid_status fall_silent(run *all, int64_t guest, const reid_remote_event *event,
                               reid_remote_verdict *verdict, reid_error *err)
{
    return event->moment->iter >= 4 ? REID_ERR_TIMEOUT : REID_OK;
}

static reid_status vanish(run *all, int64_t guest, const reid_remote_event *event,
                          reid_remote_verdict *verdict, reid_error *err)
{
    return event->moment->iter >= 4 ? REID_ERR_UNAVAILABLE : REID_OK;
}

static reid_status raise_error(run *all, int64_t guest, const reid_remote_event *event,
                               reid_remote_verdict *verdict, reid_error *err)
{
    if (event->moment->iter >= 4)
        verdict->error = reid_xstrdup("ValueError: no");
    return REID_OK;
}

static void check_policy(void **state, client_fn *client, const char *policies,
                         const char *expected_seen, const char *expected_event, bool fails)
{
    run *all = run_new(state, client);
    if (fails)
        all->ranks = 1; /* one that fails alone would leave the others waiting */
    char *spec = reid_xasprintf(REMOTE "[\"after_step\"],\"every\":2,%s}", policies);
    ask(all, "a", "hook_add", 0, "a", spec);
    train(all);
    assert_string_equal(seen(all), expected_seen);
    if (fails) {
        assert_int_not_equal(all->status[0], REID_OK);
        assert_int_not_equal(all->status[0], REID_ERR_CANCELLED);
        assert_non_null(strstr(all->text[0], expected_event));
        assert_ptr_equal(strstr(all->text[0], "hook 'a' (id 1, remote), after_step of iteration 5"),
                         all->text[0]);
    } else {
        assert_int_equal(all->status[0], REID_OK);
        assert_non_null(strstr(events(all), expected_event));
        assert_null(
            strstr(strstr(events(all), expected_event) + 1, expected_event)); /* told once */
    }
    free(spec);
    run_free(all);
}

#define ALL                                                                                        \
    "1:after_step@1 1:after_step@3 1:after_step@5 1:after_step@7 1:after_step@9 1:after_step@11 "
#define UNTIL_5 "1:after_step@1 1:after_step@3 1:after_step@5 "

static void the_late_are_treated_by_policy(void **state)
{
    check_policy(state, fall_silent, "\"on_late\":\"ignore\"", ALL, "no verdict came within 1 s",
                 false);
    check_policy(state, fall_silent, "\"on_late\":\"disable\"", UNTIL_5, "hook_disable@6", false);
}

static void the_lost_are_treated_by_policy(void **state)
{
    check_policy(state, vanish, "\"on_lost\":\"ignore\"", UNTIL_5, "hook_remove@6", false);
    check_policy(state, vanish, "\"on_lost\":\"disable\"", UNTIL_5, "hook_disable@6", false);
}

static void the_failing_are_treated_by_policy(void **state)
{
    check_policy(state, raise_error, "\"on_error\":\"disable\"", UNTIL_5, "hook_disable@6", false);
}

static void the_policy_fail_ends_the_training(void **state)
{
    check_policy(state, fall_silent, "\"on_late\":\"fail\"", UNTIL_5, "no verdict came", true);
    check_policy(state, vanish, "\"on_lost\":\"fail\"", UNTIL_5, "the client has gone", true);
    check_policy(state, raise_error, "\"on_error\":\"fail\"", UNTIL_5, "ValueError: no", true);
}

static reid_status wish_nonsense(run *all, int64_t guest, const reid_remote_event *event,
                                 reid_remote_verdict *verdict, reid_error *err)
{
    if (event->moment->iter == 2) {
        wish(verdict, REID_WISH_SET, "checkpoint_period", "7");
        wish(verdict, REID_WISH_SET, "rate", "1");
    }
    return REID_OK;
}

static void a_wish_that_cannot_be_is_an_error_of_the_hook(void **state)
{
    run *all = run_new(state, wish_nonsense);
    ask(all, "a", "hook_add", 0, "a", REMOTE "[\"after_step\"]}");
    train(all);
    assert_int_equal(all->status[0], REID_OK);
    assert_non_null(strstr(events(all), "there is no knob 'rate'"));
    assert_non_null(strstr(events(all), "hook_disable@3"));
    assert_null(strstr(reid_str_text(&all->trace[0]), "p7")); /* all or nothing */
    run_free(all);
}

static void hooks_come_and_go(void **state)
{
    run *all = run_new(state, agree);
    ask(all, "a", "hook_add", 0, "a", REMOTE "[\"after_step\"]}");
    ask(all, "b", "hook_add", 0, "b", REMOTE "[\"after_step\"]}");
    ask(all, "off", "hook_disable", 2, "1", "");
    ask(all, "on", "hook_enable", 4, "1", "");
    ask(all, "out", "hook_remove", 5, "1", "");
    ask(all, "no", "hook_remove", 5, "77", "");
    train(all);
    assert_string_equal(
        seen(all), "1:after_step@0 2:after_step@0 1:after_step@1 2:after_step@1 2:after_step@2 "
                   "2:after_step@3 1:after_step@4 2:after_step@4 2:after_step@5 2:after_step@6 "
                   "2:after_step@7 2:after_step@8 2:after_step@9 2:after_step@10 "
                   "2:after_step@11 ");
    assert_non_null(strstr(events(all), "no:no(there is no hook 77 in this job)"));
    run_free(all);
}

static void bad_specs_are_refused(void **state)
{
    static const struct {
        const char *spec, *sentence;
    } CASES[] = {
        {"{\"kind\":\"dance\"}", "no hooks of kind 'dance'"},
        {REMOTE "[\"after_dinner\"]}", "there is no point 'after_dinner'"},
        {REMOTE "[]}", "names at least one point"},
        {REMOTE "[\"after_step\"],\"every\":0}", "every is 0"},
        {REMOTE "[\"after_step\"],\"deadline_s\":61}", "at most 60"},
        {REMOTE "[\"after_step\"],\"deadline_s\":-1}", "deadline is -1"},
        {REMOTE "[\"after_step\"],\"when\":\"loss >\"}", "a number is expected"},
        {REMOTE "[\"after_step\"],\"when\":\"> 5\"}", "the name of a metric"},
        {REMOTE "[\"after_step\"],\"when\":\"a > 5 or b < 1\"}", "'and' or the end"},
        {REMOTE "[\"after_step\"],\"on_late\":\"cry\"}", "on_late must be"},
        {"{", ""},
        {"[]", "no hooks of kind ''"},
    };
    run *all = run_new(state, agree);
    char id[16];
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        snprintf(id, sizeof id, "w%zu", i);
        ask(all, id, "hook_add", 0, "x", CASES[i].spec);
    }
    train(all);
    assert_int_equal(all->status[0], REID_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        snprintf(id, sizeof id, "no:w%zu(", i);
        const char *at = strstr(events(all), id);
        if (!at || !strstr(at, CASES[i].sentence))
            fail_msg("'%s' was not refused: %s", CASES[i].spec, events(all));
    }
    run_free(all);
}

/* As a client that does not answer in time but later, and is waited for again then. */
static void asynchronous_wishes_take_the_next_exchange(void **state)
{
    run *all = run_new(state, steer);
    ask(all, "a", "hook_add", 0, "a", REMOTE "[\"after_step\"],\"asynchronous\":true}");
    train(all);
    assert_int_equal(all->status[0], REID_OK);
    assert_non_null(strstr(events(all), "set@9")); /* taken after step 7, agreed on in step 8 */
    assert_string_equal(reid_str_text(&all->trace[0]), reid_str_text(&all->trace[1]));
    run_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_point_is_seen_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(wishes_hold_for_the_very_next_thing, setup, teardown),
        cmocka_unit_test_setup_teardown(resumed_run_has_the_same_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(the_late_are_treated_by_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(the_lost_are_treated_by_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(the_failing_are_treated_by_policy, setup, teardown),
        cmocka_unit_test_setup_teardown(the_policy_fail_ends_the_training, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wish_that_cannot_be_is_an_error_of_the_hook, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(hooks_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_specs_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(asynchronous_wishes_take_the_next_exchange, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
