/* Ranks as threads, with knobs that need no network: the two periods. */
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
#include "engine/hooks/eval_hook.h"
#include "engine/hooks/periodic_checkpointer.h"
#include "engine/simple_trainer.h"
#include "fake_step.h"
#include "harness/harness.h"
#include "thread_ranks.h"

#define RANKS 3
#define ITERS 12 /* 3 epochs of 4 */

typedef struct run {
    const char *folder;
    reid_control_queue *queue;
    const char *state[RANKS]; /* to start from; NULL: from scratch */
    /* What happened, by rank. */
    reid_str trace[RANKS]; /* "0:p20 1:p20 …": the period in force in each step */
    reid_str events;       /* rank 0: "c5 e7 ok:a@3 no:b" */
    char *saved[RANKS];
    reid_status status[RANKS];
    reid_control_outcome outcome[RANKS];
    char text[RANKS][1024];
} run;

typedef struct rank {
    run *run;
    reid_comm *comm;
    reid_simple_trainer trainer;
    reid_hook *checkpointer;
} rank;

typedef struct tracer {
    reid_hook base;
    rank *rank;
} tracer;

static reid_status before_step(reid_hook *hook, reid_error *err)
{
    rank *r = ((tracer *)hook)->rank;
    reid_str_addf(&r->run->trace[r->comm->rank], "%lld:p%lld ", (long long)hook->trainer->iter,
                  (long long)reid_periodic_checkpointer_period(r->checkpointer));
    return REID_OK;
}

static const reid_hook_impl TRACER = {.name = "Tracer", .before_step = before_step};

static double one(int rank_, int64_t iter, int scalar)
{
    return 1;
}

static reid_status no_save(void *user, const reid_checkpoint_request *request, reid_error *err)
{
    return REID_OK;
}

static reid_status save_now(void *user, reid_error *err)
{
    rank *r = user;
    if (r->comm->rank == 0)
        reid_str_addf(&r->run->events, "c%lld ", (long long)r->trainer.base.iter);
    reid_str state = REID_STR_INIT;
    reid_trainer_save_state(&r->trainer.base, &state);
    free(r->run->saved[r->comm->rank]);
    r->run->saved[r->comm->rank] = reid_str_take(&state);
    return REID_OK;
}

static reid_status evaluate(void *user, reid_eval_results *results, reid_error *err)
{
    rank *r = user;
    if (r->comm->rank == 0)
        reid_str_addf(&r->run->events, "e%lld ", (long long)r->trainer.base.iter);
    reid_eval_results_add(results, "set", "mAP", 0.5);
    return REID_OK;
}

static void agreed(void *user, const char *id, const reid_journal_entry *entries, size_t count)
{
    rank *r = user;
    reid_str_addf(&r->run->events, "ok:%s@%lldx%zu ", id, (long long)entries[0].iteration, count);
}

static void refused(void *user, const char *id, const reid_error *why)
{
    rank *r = user;
    reid_str_addf(&r->run->events, "no:%s(%s) ", id, why->text);
}

static void add_hooks(rank *r)
{
    reid_trainer *trainer = &r->trainer.base;
    const reid_eval_hook_options eval = {.evaluate = evaluate, .user = r, .comm = r->comm};
    const reid_periodic_checkpointer_options saver = {.period = 20, .save = no_save};
    reid_hook *eval_hook = reid_eval_hook_new(&eval);
    r->checkpointer = reid_periodic_checkpointer_new(&saver);
    char *path = reid_path_join(r->run->folder, REID_JOURNAL_FILE);
    const reid_control_options options = {
        .comm = r->comm,
        .queue = r->comm->rank == 0 ? r->run->queue : NULL,
        .journal_path = path,
        .targets = {.eval_hook = eval_hook, .checkpointer = r->checkpointer},
        .checkpoint = save_now,
        .agreed = agreed,
        .refused = refused,
        .user = r,
    };
    reid_hook *hook;
    trainer->control = reid_control_new(&options, &hook);
    tracer *watch = reid_xcalloc(1, sizeof *watch);
    watch->base.impl = &TRACER;
    watch->rank = r;
    reid_trainer_add_hook(trainer, eval_hook);
    reid_trainer_add_hook(trainer, hook);
    reid_trainer_add_hook(trainer, &watch->base);
    reid_trainer_add_hook(trainer, r->checkpointer);
    free(path);
}

static void run_rank(reid_comm *comm, void *user)
{
    run *all = user;
    fake_step step;
    fake_step_init(&step, comm->rank, one);
    rank r = {.run = all, .comm = comm};
    reid_simple_trainer_init(&r.trainer, &step.base, comm, 3, ITERS / 3);
    add_hooks(&r);
    reid_error err = {0};
    int64_t start = 0;
    const char *state = all->state[comm->rank];
    reid_status status = REID_OK;
    if (state)
        status = reid_trainer_load_state(&r.trainer.base, state, strlen(state), &start, &err);
    if (status == REID_OK)
        status = reid_control_replay(r.trainer.base.control, state != NULL, &err);
    if (status == REID_OK)
        status = reid_trainer_train(&r.trainer.base, start, &err);
    all->status[comm->rank] = status;
    all->outcome[comm->rank] = reid_control_outcome_of(r.trainer.base.control);
    snprintf(all->text[comm->rank], sizeof all->text[0], "%s", err.text);
    if (status == REID_ERR_CANCELLED) {
        reid_str text = REID_STR_INIT;
        reid_trainer_save_state(&r.trainer.base, &text);
        free(all->saved[comm->rank]);
        all->saved[comm->rank] = reid_str_take(&text);
    }
    reid_simple_trainer_fini(&r.trainer);
    fake_step_fini(&step);
}

static void ask(run *all, const char *id, const char *kind, int64_t at_iter, const char *name,
                const char *value)
{
    test_ask(all->queue, id, kind, at_iter, name, value);
}

static void run_fini(run *all)
{
    for (int i = 0; i < RANKS; i++) {
        reid_str_fini(&all->trace[i]);
        free(all->saved[i]);
    }
    reid_str_fini(&all->events);
    reid_control_queue_free(all->queue);
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

static void expect_trace(const run *all, const char *expected)
{
    for (int i = 0; i < RANKS; i++)
        assert_string_equal(reid_str_text(&all->trace[i]), expected);
}

static void words_take_effect_before_the_same_iteration(void **state)
{
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    ask(&all, "late", "set", 9, "checkpoint_period", "7");
    ask(&all, "soon", "set", 0, "checkpoint_period", "5");
    ask(&all, "mid", "set", 4, "checkpoint_period", "6"); /* the first of an epoch */
    test_run_ranks(RANKS, run_rank, &all);
    for (int i = 0; i < RANKS; i++)
        assert_int_equal(all.status[i], REID_OK);
    expect_trace(&all, "0:p5 1:p5 2:p5 3:p5 4:p6 5:p6 6:p6 7:p6 8:p6 9:p7 10:p7 11:p7 ");
    assert_string_equal(reid_str_text(&all.events), "ok:late@9x1 ok:soon@0x1 ok:mid@4x1 ");
    char *path = reid_path_join(*state, REID_JOURNAL_FILE);
    reid_journal_entries entries;
    reid_journal_fault fault;
    assert_int_equal(reid_journal_read(path, &entries, &fault, NULL), REID_OK);
    assert_int_equal(fault.line, 0);
    assert_int_equal(entries.list.count, 3);
    assert_string_equal(entries.list.items[0].old_value, "20");
    assert_string_equal(entries.list.items[2].old_value, "5");
    reid_journal_entries_fini(&entries);
    free(path);
    run_fini(&all);
}

static void bad_requests_are_refused_with_a_sentence(void **state)
{
    static const struct {
        const char *kind, *name, *value;
        int64_t at;
        const char *sentence;
    } CASES[] = {
        {"set", "rate", "1", 0, "there is no knob 'rate'; there are lr, lr_factor"},
        {"set", "lr", "1", 0, "lr cannot be set in this job: it has no optimizer"},
        {"set", "checkpoint_period", "-1", 0, "at least 0"},
        {"set", "checkpoint_period", "1.5", 0, "must be a whole number, not '1.5'"},
        {"set", "checkpoint_period", "nan", 0, "must be a whole number"},
        {"set", "checkpoint_period", "1", 12, "iteration 12 will not come: the last one is 11"},
        {"set", NULL, NULL, 0, "1 to 32 settings"},
        {"dance", NULL, NULL, 0, "does not know 'dance'"},
    };
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    char id[16];
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        snprintf(id, sizeof id, "w%zu", i);
        ask(&all, id, CASES[i].kind, CASES[i].at, CASES[i].name, CASES[i].value);
    }
    test_run_ranks(RANKS, run_rank, &all);
    assert_int_equal(all.status[0], REID_OK);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        if (!strstr(reid_str_text(&all.events), CASES[i].sentence))
            fail_msg("'%s' is not in %s", CASES[i].sentence, reid_str_text(&all.events));
    assert_null(strstr(reid_str_text(&all.events), "ok:"));
    char *path = reid_path_join(*state, REID_JOURNAL_FILE);
    assert_false(reid_path_exists(path));
    free(path);
    run_fini(&all);
}

static void a_full_queue_refuses_and_an_id_counts_once(void **state)
{
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    for (int i = 0; i < REID_CONTROL_QUEUE_LIMIT; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        ask(&all, id, "checkpoint", 0, NULL, NULL);
    }
    ask(&all, "3", "checkpoint", 0, NULL, NULL);
    reid_control_request more = {.id = reid_xstrdup("more")};
    assert_int_equal(reid_control_queue_push(all.queue, &more, NULL), REID_ERR_EXHAUSTED);
    assert_null(more.id);
    run_fini(&all);
}

static void checkpoint_and_evaluation_come_at_their_iteration(void **state)
{
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    ask(&all, "e", "evaluate", 7, NULL, NULL);
    ask(&all, "c", "checkpoint", 5, NULL, NULL);
    test_run_ranks(RANKS, run_rank, &all);
    assert_int_equal(all.status[0], REID_OK);
    assert_string_equal(reid_str_text(&all.events), "ok:e@7x1 ok:c@5x1 c5 e7 ");
    run_fini(&all);
}

/* A run that was paused in the middle of it all, and then resumed, does what an uninterrupted one
 * does: words before the pause are state, those behind it come from the journal. */
static void a_resumed_run_replays_what_is_to_come(void **state)
{
    run first = {.folder = *state, .queue = reid_control_queue_new()};
    ask(&first, "a", "set", 2, "checkpoint_period", "3");
    ask(&first, "b", "set", 6, "checkpoint_period", "4");
    ask(&first, "p", "pause", 6, NULL, NULL);
    ask(&first, "c", "set", 6, "checkpoint_period", "5"); /* behind the pause, same iteration */
    ask(&first, "d", "set", 10, "checkpoint_period", "6");
    test_run_ranks(RANKS, run_rank, &first);
    for (int i = 0; i < RANKS; i++) {
        assert_int_equal(first.status[i], REID_ERR_CANCELLED);
        assert_int_equal(first.outcome[i], REID_CONTROL_PAUSED);
        assert_non_null(strstr(first.text[i], "after iteration 6 of 12: paused by alice: test"));
    }
    expect_trace(&first, "0:p20 1:p20 2:p3 3:p3 4:p3 5:p3 ");
    run second = {.folder = *state, .queue = reid_control_queue_new()};
    for (int i = 0; i < RANKS; i++)
        second.state[i] = first.saved[0]; /* rank 0's is everybody's */
    test_run_ranks(RANKS, run_rank, &second);
    assert_int_equal(second.status[0], REID_OK);
    expect_trace(&second, "6:p5 7:p5 8:p5 9:p5 10:p6 11:p6 ");
    run_fini(&second);
    run_fini(&first);
}

/* A run that was killed goes on from an older checkpoint: what was agreed on since is replayed, the
 * stop is not. */
static void a_killed_run_replays_from_its_checkpoint(void **state)
{
    run first = {.folder = *state, .queue = reid_control_queue_new()};
    ask(&first, "c", "checkpoint", 3, NULL, NULL);
    ask(&first, "a", "set", 5, "checkpoint_period", "3");
    ask(&first, "s", "stop", 8, NULL, NULL);
    test_run_ranks(RANKS, run_rank, &first);
    assert_int_equal(first.outcome[1], REID_CONTROL_STOPPED);
    run second = {.folder = *state, .queue = reid_control_queue_new()};
    char *at_three = reid_xasprintf(
        "{\"version\":1,\"iteration\":3,\"iters_per_epoch\":4,\"epoch_open\":false,\"hooks\":[{"
        "\"name\":\"Control\",\"state\":{\"iteration\":3,\"seq\":1,\"knobs\":{}}}]}");
    for (int i = 0; i < RANKS; i++)
        second.state[i] = at_three;
    test_run_ranks(RANKS, run_rank, &second);
    assert_int_equal(second.status[0], REID_OK);
    expect_trace(&second, "3:p20 4:p20 5:p3 6:p3 7:p3 8:p3 9:p3 10:p3 11:p3 ");
    free(at_three);
    run_fini(&second);
    run_fini(&first);
}

static void append(const char *folder, const char *id, const char *kind, int64_t iteration,
                   const char *value)
{
    reid_journal *journal = NULL;
    reid_journal_entries known;
    reid_error err = {0};
    REID_AUTOFREE char *path = reid_path_join(folder, REID_JOURNAL_FILE);
    reid_assert_ok(reid_journal_open(path, &journal, &known, &err), &err);
    reid_journal_entry entry = {
        .iteration = iteration,
        .id = reid_xstrdup(id),
        .who = reid_xstrdup("alice"),
        .kind = reid_xstrdup(kind),
        .name = reid_xstrdup(*value ? "checkpoint_period" : ""),
        .old_value = reid_xstrdup(""),
        .new_value = reid_xstrdup(value),
        .reason = reid_xstrdup(""),
    };
    reid_assert_ok(reid_journal_append(journal, &entry, 1, &err), &err);
    reid_journal_entry_fini(&entry);
    reid_journal_entries_fini(&known);
    reid_journal_close(journal);
}

/* What was copied of the other run counts up to the fork's iteration; but what a hook wished after
 * the iteration before belongs to it. Words behind the fork's entry are the fork's own. */
static void words_of_a_copied_journal_count_up_to_the_fork(void **state)
{
    append(*state, "a", "set", 8, "2"); /* for later, by a person */
    append(*state, "b", "set", 6, "3");
    append(*state, "c", "set", 4, "4");
    append(*state, "hook-1-6-after_step-0", "set", 6, "5");
    append(*state, "hook-1-6-before_step-0", "set", 6, "6"); /* wished again by the fork's hook */
    append(*state, "f", "fork", 6, "");
    append(*state, "g", "set", 9, "7");
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    for (int i = 0; i < RANKS; i++)
        all.state[i] = "{\"version\":1,\"iteration\":3,\"iters_per_epoch\":4,"
                       "\"epoch_open\":false,\"hooks\":[]}";
    test_run_ranks(RANKS, run_rank, &all);
    assert_int_equal(all.status[0], REID_OK);
    expect_trace(&all, "3:p20 4:p4 5:p4 6:p5 7:p5 8:p5 9:p7 10:p7 11:p7 ");
    run_fini(&all);
}

static void a_new_run_moves_the_old_journal_aside(void **state)
{
    free(reid_test_write_text(*state, REID_JOURNAL_FILE, "of a former run\n"));
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    ask(&all, "a", "set", 2, "checkpoint_period", "3");
    test_run_ranks(RANKS, run_rank, &all);
    assert_int_equal(all.status[0], REID_OK);
    char *old = reid_path_join(*state, "journal.1.jsonl");
    char *text = reid_test_read_text(old);
    assert_string_equal(text, "of a former run\n");
    free(text);
    free(old);
    run_fini(&all);
}

static void a_changed_journal_cannot_be_resumed(void **state)
{
    free(reid_test_write_text(*state, REID_JOURNAL_FILE, "{\"seq\":1}\n"));
    run all = {.folder = *state, .queue = reid_control_queue_new()};
    all.state[0] = "{\"version\":1,\"iteration\":3,\"iters_per_epoch\":4,\"epoch_open\":false,"
                   "\"hooks\":[]}";
    reid_comm *comm = reid_comm_self_new();
    run_rank(comm, &all);
    assert_int_equal(all.status[0], REID_ERR_CORRUPT);
    assert_non_null(strstr(all.text[0], "line 1"));
    reid_comm_free(comm);
    run_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(words_take_effect_before_the_same_iteration, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bad_requests_are_refused_with_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses_and_an_id_counts_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(checkpoint_and_evaluation_come_at_their_iteration, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_resumed_run_replays_what_is_to_come, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_run_replays_from_its_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(words_of_a_copied_journal_count_up_to_the_fork, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_new_run_moves_the_old_journal_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_journal_cannot_be_resumed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
