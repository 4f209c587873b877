#include "rpc/pump.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/status.h"

/* Tasks that tasks post run in the same turn of the loop, so that an answer leaves with the message
 * that asked for it; but only so often, so that input and timers are not kept waiting by a stream
 * that always has more. */
enum { ROUNDS_PER_TURN = 3 };

static void run_tasks(uv_prepare_t *prepare)
{
    reid_rpc_pump *pump = prepare->data;
    for (int i = 0; i < ROUNDS_PER_TURN && !reid_rpc_list_empty(&pump->tasks); i++) {
        reid_rpc_list_move(&pump->running, &pump->tasks);
        while (!reid_rpc_list_empty(&pump->running)) {
            reid_rpc_task *task = REID_RPC_OWNER(pump->running.next, reid_rpc_task, node);
            reid_rpc_list_remove(&task->node);
            task->run(task);
        }
    }
    if (reid_rpc_list_empty(&pump->tasks))
        uv_idle_stop(&pump->idle);
}

static void stay_awake(uv_idle_t *idle)
{
}

void reid_rpc_pump_init(reid_rpc_pump *pump, uv_loop_t *loop)
{
    *pump = (reid_rpc_pump){.loop = loop, .open_handles = 3};
    reid_rpc_list_init(&pump->tasks);
    reid_rpc_list_init(&pump->running);
    pump->scratch = reid_xmalloc(REID_RPC_SCRATCH_BYTES);
    uv_prepare_init(loop, &pump->prepare);
    uv_idle_init(loop, &pump->idle);
    uv_timer_init(loop, &pump->timer);
    pump->prepare.data = pump->idle.data = pump->timer.data = pump;
    uv_prepare_start(&pump->prepare, run_tasks);
    uv_unref((uv_handle_t *)&pump->prepare);
}

static void handle_closed(uv_handle_t *handle)
{
    reid_rpc_pump *pump = handle->data;
    if (--pump->open_handles > 0)
        return;
    free(pump->scratch);
    reid_vec_fini(&pump->heap);
    pump->on_closed(pump);
}

void reid_rpc_pump_close(reid_rpc_pump *pump, void (*on_closed)(reid_rpc_pump *pump))
{
    while (!reid_rpc_list_empty(&pump->tasks))
        reid_rpc_list_remove(pump->tasks.next);
    while (!reid_rpc_list_empty(&pump->running))
        reid_rpc_list_remove(pump->running.next);
    while (pump->heap.count > 0)
        reid_rpc_alarm_cancel(pump, pump->heap.items[pump->heap.count - 1]);
    pump->on_closed = on_closed;
    uv_close((uv_handle_t *)&pump->prepare, handle_closed);
    uv_close((uv_handle_t *)&pump->idle, handle_closed);
    uv_close((uv_handle_t *)&pump->timer, handle_closed);
}

void reid_rpc_task_init(reid_rpc_task *task, void (*run)(reid_rpc_task *task))
{
    reid_rpc_list_init(&task->node);
    task->run = run;
}

void reid_rpc_task_post(reid_rpc_pump *pump, reid_rpc_task *task)
{
    if (!reid_rpc_list_empty(&task->node))
        return;
    reid_rpc_list_append(&pump->tasks, &task->node);
    if (!uv_is_active((uv_handle_t *)&pump->idle))
        uv_idle_start(&pump->idle, stay_awake);
}

void reid_rpc_task_cancel(reid_rpc_task *task)
{
    reid_rpc_list_remove(&task->node);
}

/* ---- alarms ---- */

static void place(reid_rpc_pump *pump, size_t slot, reid_rpc_alarm *alarm)
{
    pump->heap.items[slot - 1] = alarm;
    alarm->slot = slot;
}

static void sift_up(reid_rpc_pump *pump, reid_rpc_alarm *alarm)
{
    size_t slot = alarm->slot;
    while (slot > 1 && pump->heap.items[slot / 2 - 1]->due_ms > alarm->due_ms) {
        place(pump, slot, pump->heap.items[slot / 2 - 1]);
        slot /= 2;
    }
    place(pump, slot, alarm);
}

static void sift_down(reid_rpc_pump *pump, reid_rpc_alarm *alarm)
{
    size_t slot = alarm->slot;
    for (;;) {
        size_t child = slot * 2;
        if (child > pump->heap.count)
            break;
        if (child < pump->heap.count &&
            pump->heap.items[child]->due_ms < pump->heap.items[child - 1]->due_ms)
            child++;
        if (pump->heap.items[child - 1]->due_ms >= alarm->due_ms)
            break;
        place(pump, slot, pump->heap.items[child - 1]);
        slot = child;
    }
    place(pump, slot, alarm);
}

static void rearm(reid_rpc_pump *pump);

static void ring_due(uv_timer_t *timer)
{
    reid_rpc_pump *pump = timer->data;
    uint64_t now = uv_now(pump->loop);
    while (pump->heap.count > 0 && pump->heap.items[0]->due_ms <= now) {
        reid_rpc_alarm *alarm = pump->heap.items[0];
        reid_rpc_alarm_cancel(pump, alarm);
        alarm->ring(alarm);
    }
    rearm(pump);
}

/* The timer is left running when the first alarm moves later (it then wakes up once for nothing),
 * and stopped with the last alarm, so that it does not keep the loop alive. */
static void rearm(reid_rpc_pump *pump)
{
    if (pump->heap.count == 0 || uv_is_closing((uv_handle_t *)&pump->timer))
        return;
    uint64_t now = uv_now(pump->loop), due = pump->heap.items[0]->due_ms;
    uint64_t wait = due > now ? due - now : 0;
    if (uv_is_active((uv_handle_t *)&pump->timer) && uv_timer_get_due_in(&pump->timer) <= wait)
        return;
    uv_timer_start(&pump->timer, ring_due, wait, 0);
}

void reid_rpc_alarm_init(reid_rpc_alarm *alarm, void (*ring)(reid_rpc_alarm *alarm))
{
    *alarm = (reid_rpc_alarm){.ring = ring};
}

void reid_rpc_alarm_set(reid_rpc_pump *pump, reid_rpc_alarm *alarm, uint64_t after_ms)
{
    reid_rpc_alarm_cancel(pump, alarm);
    uv_update_time(pump->loop); /* a loop that was not run for a while has an old clock */
    alarm->due_ms = uv_now(pump->loop) + after_ms;
    reid_vec_push(&pump->heap, alarm);
    alarm->slot = pump->heap.count;
    sift_up(pump, alarm);
    rearm(pump);
}

void reid_rpc_alarm_cancel(reid_rpc_pump *pump, reid_rpc_alarm *alarm)
{
    if (alarm->slot == 0)
        return;
    size_t slot = alarm->slot;
    alarm->slot = 0;
    reid_rpc_alarm *last = pump->heap.items[--pump->heap.count];
    if (pump->heap.count == 0)
        uv_timer_stop(&pump->timer);
    if (last == alarm)
        return;
    place(pump, slot, last);
    sift_up(pump, last);
    sift_down(pump, last);
}
