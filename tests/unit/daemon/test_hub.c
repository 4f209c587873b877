#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/hub/hub.h"
#include "daemon/hub/turns.h"

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

/* One percent of the processors: 100 news a second for each. */
static void test_pace(void **state)
{
    reidd_hub hub = {.processors = 2};
    static const struct {
        size_t followers;
        uint64_t pace_ms;
    } rows[] = {{0, 0}, {1, 5}, {20, 100}, {200, 1000}, {1000, 5000}, {16384, 5000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        hub.followers = rows[i].followers;
        assert_int_equal(reidd_hub_pace_ms(&hub), rows[i].pace_ms);
    }
    hub.processors = 64;
    hub.followers = 1000;
    assert_int_equal(reidd_hub_pace_ms(&hub), 156);
}

/* Followers hear of rows when it is their time, others at once; a new state reaches all at once,
 * with what was gathered. */
static void test_followers(void **state)
{
    uv_loop_t loop;
    reidd_hub hub;
    ear link = {0}, followers[2] = {{{0}}}, elsewhere = {.listener.follows = true};
    assert_int_equal(uv_loop_init(&loop), 0);
    reidd_hub_init(&hub, &loop);
    add(&hub, &link, "j");
    reidd_hub_tell(&hub, "j", REIDD_CHANGED_JOB); /* no follower: nothing is gathered */
    add(&hub, &elsewhere, "k");
    for (int i = 0; i < 2; i++) {
        followers[i].listener.follows = true;
        add(&hub, &followers[i], "j");
    }
    assert_int_equal(hub.followers, 3);
    reidd_hub_tell(&hub, "j", REIDD_CHANGED_ROWS);
    assert_int_equal(link.changes, REIDD_CHANGED_JOB | REIDD_CHANGED_ROWS);
    assert_int_equal(followers[0].heard, 0);
    uv_run(&loop, UV_RUN_DEFAULT); /* until the round is over */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(followers[i].heard, 1);
        assert_int_equal(followers[i].changes, REIDD_CHANGED_ROWS);
    }
    reidd_hub_tell(&hub, "j", REIDD_CHANGED_JOB);
    reidd_hub_tell(&hub, "k", REIDD_CHANGED_JOB);
    reidd_hub_publish(&hub, "j", REIDD_CHANGED_END);
    assert_int_equal(followers[1].heard, 2);
    assert_int_equal(followers[1].changes,
                     REIDD_CHANGED_ROWS | REIDD_CHANGED_JOB | REIDD_CHANGED_END);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(followers[1].heard, 2); /* not told again */
    assert_int_equal(elsewhere.heard, 1);
    for (int i = 0; i < 2; i++)
        reidd_hub_remove(&followers[i].listener);
    reidd_hub_remove(&elsewhere.listener);
    assert_int_equal(hub.followers, 0);
    reidd_hub_close(&hub);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)state;
}

typedef struct worker {
    reidd_turn turn; /* first */
    reidd_turns *turns;
    int done, wanted;
    struct worker *victim;
} worker;

static void work(reidd_turn *turn)
{
    worker *w = (worker *)turn;
    if (w->victim)
        reidd_turn_cancel(&w->victim->turn);
    if (++w->done < w->wanted)
        reidd_turn_post(w->turns, turn);
}

static void test_turns(void **state)
{
    uv_loop_t loop;
    reidd_turns turns;
    worker workers[3];
    assert_int_equal(uv_loop_init(&loop), 0);
    reidd_turns_init(&turns, &loop);
    for (int i = 0; i < 3; i++) {
        workers[i] = (worker){.turns = &turns, .wanted = 5 + i};
        reidd_turn_init(&workers[i].turn, work);
        reidd_turn_post(&turns, &workers[i].turn);
        reidd_turn_post(&turns, &workers[i].turn); /* once is enough */
    }
    workers[0].victim = &workers[2];
    assert_int_equal(workers[0].done, 0); /* never at once */
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(workers[0].done, 5);
    assert_int_equal(workers[1].done, 6);
    assert_int_equal(workers[2].done, 0);
    reidd_turns_close(&turns);
    reidd_turn_post(&turns, &workers[1].turn);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(workers[1].done, 6);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_followers),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_only_the_job),
        cmocka_unit_test(test_removal_while_publishing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
