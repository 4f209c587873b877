#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/sched/after.h"
#include "daemon/sched/order.h"
#include "daemon/sched/sched.h"
#include "harness/harness.h"

static void run(const reidd_nodes *nodes, const reidd_sched_job *running, size_t running_count,
                const reidd_sched_job *queue, size_t queue_count, reidd_sched_verdict *verdicts)
{
    size_t preempted[64];
    reidd_sched_plan plan = {nodes,       running,  running_count, queue,
                             queue_count, verdicts, preempted};
    reidd_sched_run(&plan);
}

/* ---- the verdicts of one node without limits: strictly first in, first out ---- */

enum { W = -1, S = REIDD_SCHED_START, R = REIDD_SCHED_REFUSE };

static void test_one_node(void **state)
{
    static const struct {
        const char *what;
        int slots;
        int running[4], queue[5]; /* ranks, 0 ends */
        int expected[5];
    } rows[] = {
        {"one fits", 2, {0}, {1}, {S}},
        {"exactly fits", 2, {1}, {1}, {S}},
        {"several at once", 4, {0}, {1, 2, 1, 1}, {S, S, S, W}},
        {"the head holds back smaller ones", 4, {3}, {2, 1, 1}, {W, W, W}},
        {"nothing is free", 2, {2}, {1}, {W}},
        {"too large is refused and holds nobody back", 2, {1}, {3, 1}, {R, S}},
        {"too large behind the head", 2, {2}, {1, 5, 1}, {W, R, W}},
        {"more used than there are", 1, {2}, {1}, {W}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reidd_nodes nodes = {0};
        reidd_sched_job running[4], queue[5];
        reidd_sched_verdict verdicts[5];
        size_t running_count = 0, queue_count = 0;
        reidd_nodes_add(&nodes, "head", rows[i].slots, NULL);
        for (; running_count < 4 && rows[i].running[running_count]; running_count++)
            running[running_count] =
                (reidd_sched_job){.id = "r", .ranks = rows[i].running[running_count]};
        for (; queue_count < 5 && rows[i].queue[queue_count]; queue_count++)
            queue[queue_count] = (reidd_sched_job){.id = "q", .ranks = rows[i].queue[queue_count]};
        run(&nodes, running, running_count, queue, queue_count, verdicts);
        for (size_t k = 0; k < queue_count; k++) {
            int kind = (int)verdicts[k].kind;
            assert_null(verdicts[k].placement);
            if ((kind == S || kind == R ? kind : W) != rows[i].expected[k])
                fail_msg("%s: job %zu", rows[i].what, k);
        }
        reidd_nodes_fini(&nodes);
    }
    reidd_nodes none = {0};
    run(&none, NULL, 0, NULL, 0, NULL);
}

static void check_reason(size_t running_count, size_t index, const char *expected)
{
    static const reidd_sched_job running[] = {{.id = "r1", .ranks = 1},
                                              {.id = "r2", .ranks = 1},
                                              {.id = "r3", .ranks = 1},
                                              {.id = "r4", .ranks = 1}};
    static const reidd_sched_job queue[] = {{.id = "aaaa", .ranks = 2}, {.id = "bbbb", .ranks = 1}};
    reidd_nodes nodes = {0};
    reidd_sched_verdict verdicts[] = {{.kind = REIDD_SCHED_WAIT_SLOTS, .start_in_ms = -1},
                                      {.kind = REIDD_SCHED_WAIT_TURN, .start_in_ms = -1}};
    size_t preempted[4];
    reidd_nodes_add(&nodes, "head", 4, NULL);
    const reidd_sched_plan plan = {&nodes, running, running_count, queue, 2, verdicts, preempted};
    char *reason = reidd_sched_reason(&plan, index);
    assert_string_equal(reason, expected);
    free(reason);
    reidd_nodes_fini(&nodes);
}

static void test_reasons(void **state)
{
    check_reason(1, 0, "waits for 2 slots: job r1 runs (1 of 4 slots are used)");
    check_reason(2, 0, "waits for 2 slots: jobs r1 and r2 run (2 of 4 slots are used)");
    check_reason(4, 0, "waits for 2 slots: jobs r1, r2, r3 and 1 more run (4 of 4 slots are used)");
    check_reason(0, 0, "waits for 2 slots");
    check_reason(1, 1, "waits for its turn: job aaaa is before it in the queue");
}

static void test_capacity(void **state)
{
    reidd_nodes nodes = {0};
    assert_int_equal(reidd_sched_capacity(&nodes, NULL), 0);
    reidd_nodes_add(&nodes, "a", 4, NULL);
    reidd_nodes_add(&nodes, "b", 2, "NVIDIA H100")->up = false;
    reidd_nodes_add(&nodes, "c", 3, "NVIDIA V100")->drained = true;
    assert_int_equal(reidd_sched_capacity(&nodes, NULL), 5); /* with GPUs or without, not both */
    assert_int_equal(reidd_sched_capacity(&nodes, "h100"), 2);
    assert_int_equal(reidd_sched_capacity(&nodes, "A100"), 0);
    reidd_nodes_add(&nodes, "d", 0, NULL); /* only schedules */
    assert_int_equal(reidd_sched_capacity(&nodes, NULL), 5);
    reidd_nodes_add(&nodes, "e", 0, NULL)->unknown = true;
    assert_int_equal(reidd_sched_capacity(&nodes, NULL), INT_MAX); /* not heard of yet */
    reidd_nodes_fini(&nodes);
}

/* ---- what must hold in any case ---- */

static unsigned random_of(unsigned *seed, unsigned below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* Nobody gets a slot that somebody has, or half of what it needs, or a node that is down. */
static void check_started(const reidd_nodes *nodes, const reidd_sched_job *running, size_t count,
                          const reidd_sched_job *queue, size_t queue_count,
                          const reidd_sched_verdict *verdicts)
{
    int used[4] = {0};
    for (size_t i = 0; i < count; i++)
        for (size_t row = 0; row < nodes->count; row++)
            used[row] +=
                reidd_placement_ranks_on(running[i].placement, running[i].ranks, nodes, row);
    for (size_t i = 0; i < queue_count; i++) {
        int placed = 0;
        for (size_t row = 0; verdicts[i].kind == REIDD_SCHED_START && row < nodes->count; row++) {
            int ranks = reidd_placement_ranks_on(verdicts[i].placement, queue[i].ranks, nodes, row);
            if (ranks > 0)
                assert_true(reidd_node_takes_jobs(&nodes->items[row]));
            used[row] += ranks;
            placed += ranks;
            assert_true(ranks == 0 || used[row] <= nodes->items[row].slots);
        }
        assert_true(verdicts[i].kind != REIDD_SCHED_START || placed == queue[i].ranks);
    }
}

static void test_random_plans(void **state)
{
    static const char *const names[] = {"n1", "n2", "n3", "n4"};
    unsigned seed = 20261123;
    for (int round = 0; round < 3000; round++) {
        reidd_nodes nodes = {0};
        reidd_sched_job running[3], queue[12];
        reidd_sched_verdict verdicts[12];
        char places[3][16];
        size_t count = 0, queue_count = 1 + random_of(&seed, 12);
        size_t node_count = 1 + random_of(&seed, 4);
        for (size_t i = 0; i < node_count; i++) {
            reidd_node *node =
                reidd_nodes_add(&nodes, names[i], 1 + (int)random_of(&seed, 8), NULL);
            node->up = random_of(&seed, 8) > 0;
        }
        for (size_t i = 0; i < node_count && i < 3; i++, count++) {
            int ranks = 1 + (int)random_of(&seed, (unsigned)nodes.items[i].slots);
            snprintf(places[i], sizeof places[i], "%s:%d", names[i], ranks);
            running[i] = (reidd_sched_job){.id = "r",
                                           .ranks = ranks,
                                           .placement = places[i],
                                           .time_ms = random_of(&seed, 3) * 600000,
                                           .priority = (int)random_of(&seed, 3),
                                           .no_preempt = random_of(&seed, 2) > 0};
        }
        for (size_t i = 0; i < queue_count; i++)
            queue[i] = (reidd_sched_job){.id = "q",
                                         .ranks = 1 + (int)random_of(&seed, 12),
                                         .time_ms = random_of(&seed, 3) * 300000,
                                         .priority = (int)(queue_count - i) / 4};
        run(&nodes, running, count, queue, queue_count, verdicts);
        check_started(&nodes, running, count, queue, queue_count, verdicts);
        for (size_t i = 0; i < queue_count; i++)
            free(verdicts[i].placement);
        reidd_nodes_fini(&nodes);
    }
}

/* What waits without a limit of time anywhere is never overtaken on its nodes. */
static void test_ten_thousand(void **state)
{
    enum { MANY = 10000 };
    reidd_nodes nodes = {0};
    reidd_nodes_add(&nodes, "head", 8, NULL);
    reidd_sched_job running[8], *queue = reid_xcalloc(MANY, sizeof *queue);
    reidd_sched_verdict *verdicts = reid_xcalloc(MANY, sizeof *verdicts);
    for (int i = 0; i < 8; i++)
        running[i] = (reidd_sched_job){.id = "r", .ranks = 1, .time_ms = 60000 * (i + 1)};
    for (int i = 0; i < MANY; i++)
        queue[i] = (reidd_sched_job){
            .id = "q", .user = "u", .ranks = 1 + i % 8, .time_ms = 1000 * (1 + i)};
    run(&nodes, running, 7, queue, MANY, verdicts);
    assert_int_equal(verdicts[0].kind, REIDD_SCHED_START);
    assert_int_equal(verdicts[1].kind, REIDD_SCHED_WAIT_SLOTS);
    assert_int_equal(verdicts[1].start_in_ms, 60000); /* two of the eight: one was started */
    for (int i = 0; i < MANY; i++)
        free(verdicts[i].placement);
    free(queue);
    free(verdicts);
    reidd_nodes_fini(&nodes);
}

/* ---- order and fair share ---- */

static void test_usage_decays(void **state)
{
    reidd_shares shares = {.half_life_ms = 1000};
    reidd_shares_add(&shares, "ada", 2, 4000, 10000);
    assert_true(fabs(reidd_shares_usage(&shares, "ada", 10000) - 8) < 1e-12);
    assert_true(fabs(reidd_shares_usage(&shares, "ada", 11000) - 4) < 1e-12);
    assert_true(fabs(reidd_shares_usage(&shares, "ada", 9000) - 8) <
                1e-12); /* the clock went back */
    reidd_shares_add(&shares, "ada", 1, 1000, 12000);
    assert_true(fabs(reidd_shares_usage(&shares, "ada", 12000) - 3) < 1e-12);
    reidd_shares_add(&shares, "ada", 1, 4000, 10000); /* told late: two half-lives old */
    assert_true(fabs(reidd_shares_usage(&shares, "ada", 12000) - 4) < 1e-12);
    assert_true(reidd_shares_usage(&shares, "bob", 12000) == 0);
    reidd_shares_fini(&shares);
}

static void check_order(reidd_shares *shares, const char *expected)
{
    reidd_sched_job queue[] = {
        {.id = "a", .user = "ada", .ranks = 1, .submitted_order = 1},
        {.id = "b", .user = "bob", .ranks = 1, .submitted_order = 4},
        {.id = "c", .user = "ada", .ranks = 1, .submitted_order = 2},
        {.id = "d", .user = "ada", .ranks = 1, .submitted_order = 3},
        {.id = "e", .user = "bob", .ranks = 1, .submitted_order = 5, .priority = 1},
        {.id = "f", .user = "bob", .ranks = 1, .submitted_order = 6},
    };
    char order[8] = "";
    reidd_sched_order(shares, NULL, NULL, 0, 0, queue, 6);
    for (int i = 0; i < 6; i++)
        order[i] = queue[i].id[0];
    assert_string_equal(order, expected);
}

static void test_order(void **state)
{
    reidd_shares none = {0}, fair = {.half_life_ms = 3600000};
    check_order(&none, "eacdbf");
    check_order(&fair, "eabcfd"); /* in turn, who has used nothing yet by submission */
    reidd_shares_add(&fair, "bob", 1, 1000, 0);
    check_order(&fair, "eabcfd");
    reidd_shares_add(&fair, "ada", 1, 100000, 0);
    check_order(&fair, "ebfacd");
    reidd_shares_fini(&fair);
}

/* ---- after ---- */

static reidd_state state_of(const char *id, void *user)
{
    (void)user;
    return strcmp(id, "good") == 0  ? REIDD_SUCCEEDED
           : strcmp(id, "bad") == 0 ? REIDD_FAILED
           : strcmp(id, "run") == 0 ? REIDD_RUNNING
                                    : 0;
}

static void check_after(const char *text, reidd_after_verdict expected, const char *left)
{
    char *copy = reid_xstrdup(text), id[16] = "";
    reidd_state state = 0;
    assert_int_equal(reidd_after_check(&copy, state_of, NULL, id, &state), expected);
    if (left)
        assert_string_equal(copy, left);
    else
        assert_null(copy);
    free(copy);
}

static void test_after_names(void **state)
{
    static const char text[] = "0000000a:ok,0000000b:any,0000000c";
    assert_true(reidd_after_names(text, "0000000a"));
    assert_true(reidd_after_names(text, "0000000b"));
    assert_true(reidd_after_names(text, "0000000c"));
    assert_false(reidd_after_names(text, "0000000d"));
    assert_false(reidd_after_names(text, "0000000"));
    assert_false(reidd_after_names(text, "000000a"));
    assert_false(reidd_after_names(text, "any"));
    assert_false(reidd_after_names(NULL, "0000000a"));
    assert_false(reidd_after_names("", ""));
}

static void test_after(void **state)
{
    check_after("good:ok", REIDD_AFTER_READY, NULL);
    check_after("bad:any,good:ok", REIDD_AFTER_READY, NULL);
    check_after("good:ok,run:ok,bad:any", REIDD_AFTER_WAIT, "run:ok");
    check_after("run:any,bad:ok", REIDD_AFTER_NEVER, "run:any,bad:ok");
    check_after("gone:ok", REIDD_AFTER_READY, NULL);
    reid_error err = {0};
    char *key = NULL;
    bool any = false;
    reid_assert_ok(reidd_after_parse("train:any", &key, &any, &err), &err);
    assert_string_equal(key, "train");
    assert_true(any);
    free(key);
    reid_assert_ok(reidd_after_parse("train", &key, &any, &err), &err);
    assert_false(any);
    free(key);
    assert_int_equal(reidd_after_parse("train:fine", &key, &any, &err), REID_ERR_INVALID);
    assert_int_equal(reidd_after_parse(":ok", &key, &any, &err), REID_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_node),     cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_capacity),     cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_ten_thousand), cmocka_unit_test(test_usage_decays),
        cmocka_unit_test(test_order),        cmocka_unit_test(test_after),
        cmocka_unit_test(test_after_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
