/* Streams that read from the store or from files take turns. Loop thread only.
 *
 * However many want to go on at once: they do so one after the other in the order of their posts,
 * and after TURN_MS the loop looks at everything else first. A turn is embedded in its owner, who
 * does a small piece of work in `run` and posts it again while there is more; _cancel it before its
 * memory goes. */
#ifndef REIDD_HUB_TURNS_H
#define REIDD_HUB_TURNS_H

#include <uv.h>

#include "rpc/list.h"

typedef struct reidd_turn {
    reid_rpc_node node;
    void (*run)(struct reidd_turn *turn);
} reidd_turn;

typedef struct reidd_turns {
    uv_idle_t *idle; /* active while somebody waits; NULL: closed */
    reid_rpc_node waiting;
} reidd_turns;

void reidd_turns_init(reidd_turns *turns, uv_loop_t *loop);
void reidd_turns_close(reidd_turns *turns); /* the loop runs once more after it */

void reidd_turn_init(reidd_turn *turn, void (*run)(reidd_turn *turn));
void reidd_turn_post(reidd_turns *turns, reidd_turn *turn); /* nothing when already posted */
void reidd_turn_cancel(reidd_turn *turn);

#endif
