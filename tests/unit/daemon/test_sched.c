#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "daemon/sched/sched.h"

enum { W = REIDD_SCHED_WAIT, S = REIDD_SCHED_START, R = REIDD_SCHED_REFUSE };

static void test_plan(void **state)
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
        reidd_sched_job running[4], queue[5];
        reidd_sched_verdict verdicts[5];
        size_t running_count = 0, queue_count = 0;
        for (; running_count < 4 && rows[i].running[running_count]; running_count++)
            running[running_count] = (reidd_sched_job){"r", rows[i].running[running_count]};
        for (; queue_count < 5 && rows[i].queue[queue_count]; queue_count++)
            queue[queue_count] = (reidd_sched_job){"q", rows[i].queue[queue_count]};
        reidd_sched_plan(rows[i].slots, running, running_count, queue, queue_count, verdicts);
        for (size_t k = 0; k < queue_count; k++)
            if ((int)verdicts[k] != rows[i].expected[k])
                fail_msg("%s: job %zu", rows[i].what, k);
    }
    reidd_sched_plan(2, NULL, 0, NULL, 0, NULL);
}

static void check_reason(const reidd_sched_job *running, size_t count, size_t index,
                         const char *expected)
{
    const reidd_sched_job queue[] = {{"aaaa", 2}, {"bbbb", 1}};
    char *reason = reidd_sched_reason(4, running, count, queue, index);
    assert_string_equal(reason, expected);
    free(reason);
}

static void test_reasons(void **state)
{
    const reidd_sched_job running[] = {{"r1", 1}, {"r2", 1}, {"r3", 1}, {"r4", 1}};
    check_reason(running, 1, 0, "waits for 2 slots: job r1 runs (1 of 4 slots are used)");
    check_reason(running, 2, 0, "waits for 2 slots: jobs r1 and r2 run (2 of 4 slots are used)");
    check_reason(running, 4, 0,
                 "waits for 2 slots: jobs r1, r2, r3 and 1 more run (4 of 4 slots are used)");
    check_reason(running, 0, 0, "waits for 2 slots");
    check_reason(running, 1, 1, "waits for its turn: job aaaa is before it in the queue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plan), cmocka_unit_test(test_reasons)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
