/* Tasks and alarms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "rpc/pump.h"

enum { COUNT = 500 };

typedef struct item {
    reid_rpc_task task;
    reid_rpc_alarm alarm;
    struct fixture *fixture;
    int id, wanted_ms, rang;
} item;

typedef struct fixture {
    uv_loop_t loop;
    reid_rpc_pump pump;
    item items[COUNT];
    int order[4 * COUNT];
    int count;
    bool closed;
} fixture;

static void ran(reid_rpc_task *task)
{
    item *i = REID_RPC_OWNER(task, item, task);
    i->fixture->order[i->fixture->count++] = i->id;
    if (i->id == 0 && i->fixture->count < 3) /* again, in the same turn */
        reid_rpc_task_post(&i->fixture->pump, task);
}

static void rang(reid_rpc_alarm *alarm)
{
    item *i = REID_RPC_OWNER(alarm, item, alarm);
    i->rang++;
    i->fixture->order[i->fixture->count++] = i->id;
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    uv_loop_init(&f->loop);
    reid_rpc_pump_init(&f->pump, &f->loop);
    for (int i = 0; i < COUNT; i++) {
        f->items[i].id = i;
        f->items[i].fixture = f;
        reid_rpc_task_init(&f->items[i].task, ran);
        reid_rpc_alarm_init(&f->items[i].alarm, rang);
    }
    *state = f;
    return 0;
}

static void pump_closed(reid_rpc_pump *pump)
{
    REID_RPC_OWNER(pump, fixture, pump)->closed = true;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reid_rpc_pump_close(&f->pump, pump_closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void tasks_run_in_order_and_keep_the_loop_alive(void **state)
{
    fixture *f = *state;
    assert_int_equal(uv_loop_alive(&f->loop), 0); /* an idle pump does not */
    for (int i = 0; i < 5; i++) {
        reid_rpc_task_post(&f->pump, &f->items[i].task);
        reid_rpc_task_post(&f->pump, &f->items[i].task); /* once is enough */
    }
    reid_rpc_task_cancel(&f->items[3].task);
    assert_int_equal(f->count, 0);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    static const int expected[] = {0, 1, 2, 4, 0};
    assert_int_equal(f->count, 5);
    assert_memory_equal(f->order, expected, sizeof expected);
}

static void alarms_ring_in_order_of_time(void **state)
{
    fixture *f = *state;
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    for (int round = 0; round < 3; round++) /* moved twice */
        for (int i = 0; i < COUNT; i++) {
            f->items[i].wanted_ms = (int)reid_rng_below(&rng, 60);
            reid_rpc_alarm_set(&f->pump, &f->items[i].alarm, (uint64_t)f->items[i].wanted_ms);
        }
    for (int i = 0; i < COUNT; i += 3)
        reid_rpc_alarm_cancel(&f->pump, &f->items[i].alarm);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* ends by itself with the last alarm */
    assert_int_equal(f->count, COUNT - (COUNT + 2) / 3);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(f->items[i].rang, i % 3 != 0);
    for (int k = 1; k < f->count; k++)
        assert_true(f->items[f->order[k - 1]].alarm.due_ms <= f->items[f->order[k]].alarm.due_ms);
}

static void cancelled_alarms_do_not_keep_the_loop_alive(void **state)
{
    fixture *f = *state;
    reid_rpc_alarm_set(&f->pump, &f->items[0].alarm, 3600000);
    reid_rpc_alarm_set(&f->pump, &f->items[1].alarm, 1);
    reid_rpc_alarm_cancel(&f->pump, &f->items[0].alarm);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->count, 1);
}

static void closing_forgets_everything(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < COUNT; i++) {
        reid_rpc_alarm_set(&f->pump, &f->items[i].alarm, 0);
        reid_rpc_task_post(&f->pump, &f->items[i].task);
    }
    assert_int_equal(f->count, 0);
}

static int tear_down_silent(void **state)
{
    fixture *f = *state;
    reid_rpc_pump_close(&f->pump, pump_closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->count, 0);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tasks_run_in_order_and_keep_the_loop_alive, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(alarms_ring_in_order_of_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_alarms_do_not_keep_the_loop_alive, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(closing_forgets_everything, set_up, tear_down_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
