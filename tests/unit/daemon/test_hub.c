#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/hub/hub.h"

typedef struct ear {
    reidd_listener listener; /* first */
    int heard;
    unsigned changes;
    struct ear *victims[2]; /* removed when woken */
} ear;

static void wake(reidd_listener *listener, unsigned changes)
{
    ear *e = (ear *)listener;
    e->heard++;
    e->changes |= changes;
    for (int i = 0; i < 2; i++)
        if (e->victims[i])
            reidd_hub_remove(&e->victims[i]->listener);
}

static void add(reidd_hub *hub, ear *e, const char *id)
{
    e->listener.wake = wake;
    reidd_hub_add(hub, &e->listener, id);
}

static void test_only_the_job(void **state)
{
    reidd_hub hub = {0};
    ear a = {0}, b = {0}, c = {0};
    reidd_hub_publish(&hub, "j1", REIDD_CHANGED_JOB);
    add(&hub, &a, "j1");
    add(&hub, &b, "j2");
    add(&hub, &c, "j1");
    reidd_hub_publish(&hub, "j1", REIDD_CHANGED_JOB | REIDD_CHANGED_END);
    assert_int_equal(a.heard + c.heard, 2);
    assert_int_equal(b.heard, 0);
    assert_int_equal(a.changes, REIDD_CHANGED_JOB | REIDD_CHANGED_END);
    reidd_hub_remove(&a.listener);
    reidd_hub_remove(&a.listener);
    reidd_hub_publish(&hub, "j1", REIDD_CHANGED_ROWS);
    assert_int_equal(a.heard, 1);
    assert_int_equal(c.heard, 2);
    reidd_hub_remove(&b.listener);
    reidd_hub_remove(&c.listener);
    assert_null(hub.first);
}

/* Whoever is removed while the news go round is not woken any more, and nobody is left out. */
static void test_removal_while_publishing(void **state)
{
    for (int victim = 0; victim < 3; victim++) {
        reidd_hub hub = {0};
        ear ears[3] = {0};
        for (int i = 0; i < 3; i++)
            add(&hub, &ears[i], "j");
        /* woken in the order 2, 1, 0 */
        ears[2].victims[0] = &ears[victim];
        ears[2].victims[1] = victim == 1 ? &ears[2] : NULL;
        reidd_hub_publish(&hub, "j", 1);
        for (int i = 0; i < 3; i++)
            assert_int_equal(ears[i].heard, i == victim && i != 2 ? 0 : 1);
        for (int i = 0; i < 3; i++)
            reidd_hub_remove(&ears[i].listener);
        assert_null(hub.first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_job),
        cmocka_unit_test(test_removal_while_publishing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
