/* What a server or a channel does "soon" and "at a time": tasks and alarms on a libuv loop.
 *
 * A task runs once, from the loop, before it waits again: connections are flushed and closing calls
 * reported that way, so that user code is never entered from inside a call of its own, and
 * everything queued in one turn leaves in one write. Alarms ring at a time; they share one uv timer
 * (a binary heap). Both are embedded in their objects, hold no memory and are taken back with
 * _cancel, after which the object may be freed.
 */
#ifndef REID_RPC_PUMP_H
#define REID_RPC_PUMP_H

#include <stdint.h>

#include <uv.h>

#include "base/vec.h"
#include "rpc/list.h"

typedef struct reid_rpc_task {
    reid_rpc_node node;
    void (*run)(struct reid_rpc_task *task);
} reid_rpc_task;

typedef struct reid_rpc_alarm {
    uint64_t due_ms;
    size_t slot; /* 1-based place in the heap; 0: not set */
    void (*ring)(struct reid_rpc_alarm *alarm);
} reid_rpc_alarm;

typedef struct reid_rpc_pump {
    uv_loop_t *loop;
    uv_prepare_t prepare;
    uv_idle_t idle; /* active while tasks wait: keeps the loop alive and from sleeping */
    uv_timer_t timer;
    reid_rpc_node tasks, running;
    REID_VEC(reid_rpc_alarm *) heap;
    unsigned open_handles;
    void (*on_closed)(struct reid_rpc_pump *pump);
    uint8_t *scratch; /* SCRATCH_BYTES, for one read or write at a time */
} reid_rpc_pump;

enum { REID_RPC_SCRATCH_BYTES = 128 * 1024 };

void reid_rpc_pump_init(reid_rpc_pump *pump, uv_loop_t *loop);
/* Forgets tasks and alarms; on_closed is called from the loop when the handles are closed and all
 * memory but the pump's own is freed. */
void reid_rpc_pump_close(reid_rpc_pump *pump, void (*on_closed)(reid_rpc_pump *pump));

void reid_rpc_task_init(reid_rpc_task *task, void (*run)(reid_rpc_task *task));
void reid_rpc_task_post(reid_rpc_pump *pump, reid_rpc_task *task); /* nothing when already posted */
void reid_rpc_task_cancel(reid_rpc_task *task);

void reid_rpc_alarm_init(reid_rpc_alarm *alarm, void (*ring)(reid_rpc_alarm *alarm));
void reid_rpc_alarm_set(reid_rpc_pump *pump, reid_rpc_alarm *alarm,
                        uint64_t after_ms); /* moves it when set */
void reid_rpc_alarm_cancel(reid_rpc_pump *pump, reid_rpc_alarm *alarm);

#endif
