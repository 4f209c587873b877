#include "daemon/hub/turns.h"

#include <stdlib.h>

#include "base/alloc.h"

#define TURN_MS 10

void reidd_turns_init(reidd_turns *turns, uv_loop_t *loop)
{
    turns->idle = reid_xcalloc(1, sizeof *turns->idle);
    uv_idle_init(loop, turns->idle);
    turns->idle->data = turns;
    reid_rpc_list_init(&turns->waiting);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void reidd_turns_close(reidd_turns *turns)
{
    if (turns->idle)
        uv_close((uv_handle_t *)turns->idle, on_closed);
    turns->idle = NULL;
}

static void take_turns(uv_idle_t *idle)
{
    reidd_turns *turns = idle->data;
    const uint64_t until_ns = uv_hrtime() + TURN_MS * 1000000ULL;
    while (!reid_rpc_list_empty(&turns->waiting)) {
        if (uv_hrtime() > until_ns)
            return;
        reidd_turn *turn = REID_RPC_OWNER(turns->waiting.next, reidd_turn, node);
        reid_rpc_list_remove(&turn->node);
        turn->run(turn);
    }
    uv_idle_stop(idle);
}

void reidd_turn_init(reidd_turn *turn, void (*run)(reidd_turn *turn))
{
    reid_rpc_list_init(&turn->node);
    turn->run = run;
}

void reidd_turn_post(reidd_turns *turns, reidd_turn *turn)
{
    if (!turns->idle || !reid_rpc_list_empty(&turn->node))
        return;
    reid_rpc_list_append(&turns->waiting, &turn->node);
    if (!uv_is_active((uv_handle_t *)turns->idle))
        uv_idle_start(turns->idle, take_turns);
}

void reidd_turn_cancel(reidd_turn *turn)
{
    reid_rpc_list_remove(&turn->node);
}
