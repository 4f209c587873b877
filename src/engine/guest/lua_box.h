/* The box in which a scripted hook runs: one Lua state with its libraries and budgets. Only for
 * guest/lua*.c.
 *
 * Budgets, of one call (the script's top level counts as one, too):
 *   instructions  REID_LUA_INSTRUCTIONS of Lua's machine. Library functions that loop are charged
 *                 as well: pattern matching by its steps, table functions by elements, large
 *                 allocations by size. Exact, and the same on every machine.
 *   processor     REID_LUA_CPU_S of the thread's time, looked at every REID_LUA_STRIDE
 *                 instructions: for single instructions that are slow, such as copying a string of
 *                 megabytes. The longest single one takes some tens of milliseconds.
 *   print         REID_LUA_LINES lines; more are counted and not shown.
 * Of the state: REID_LUA_MEMORY_BYTES.
 *
 * A breach is an error that pcall passes on. Left out so that nothing gets past the budgets:
 * coroutines (each counts by itself), __gc (runs uncounted), __mode (the collector's time), io, os,
 * debug, package, load and its like. Metatables are copied when they are set.
 *
 * Order and chance are the same in every run: pairs goes through sorted keys, table.sort is stable,
 * math.random is a counter and a seed, which belong to the state.
 *
 * Threads: the stepping thread.
 */
#ifndef REID_ENGINE_GUEST_LUA_BOX_H
#define REID_ENGINE_GUEST_LUA_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/guest/guest.h"

#define REID_LUA_INSTRUCTIONS 10000000
#define REID_LUA_MEMORY_BYTES ((size_t)16 << 20)
#define REID_LUA_CPU_S 2
#define REID_LUA_STRIDE 100
#define REID_LUA_LINES 100
#define REID_LUA_LINE_BYTES 1000
#define REID_LUA_STATE_BYTES ((size_t)64 << 10) /* of the text in a checkpoint */
#define REID_LUA_STATE_DEPTH 16

typedef enum reid_lua_breach {
    REID_LUA_WITHIN,
    REID_LUA_OVER_INSTRUCTIONS,
    REID_LUA_OVER_CPU,
    REID_LUA_OVER_MEMORY,
} reid_lua_breach;

typedef struct reid_lua_box {
    lua_State *L;
    char *name;
    /* of the state */
    size_t memory_bytes;
    int64_t seed;
    uint64_t draws; /* random numbers since the seed */
    /* of this call */
    int64_t left; /* instructions */
    int64_t cpu_start_ns, next_look_ns;
    bool refused; /* by the allocator */
    reid_lua_breach breach;
    char cause[200]; /* the sentence of the breach */
    size_t lines;
    char trace[400];
    const reid_moment *moment; /* NULL: none of the six points is called */
    reid_wishes *wishes;
    char failure[256]; /* the newest in the log */
    reid_str scratch;  /* the saved form of `state` as it is being made */
} reid_lua_box;

/* ---- lua_box.c: the box and its budgets ---- */

/* EXHAUSTED: no memory. */
reid_status reid_lua_box_init(reid_lua_box *box, const char *name, reid_error *err);
void reid_lua_box_fini(reid_lua_box *box); /* zeroed is fine */
/* Calls fn(L) with `user` as light userdata under new budgets. INVALID: an error in the script,
 * with its line; EXHAUSTED: a budget is used up. */
reid_status reid_lua_box_run(reid_lua_box *box, lua_CFunction fn, void *user, reid_error *err);
reid_lua_box *reid_lua_box_of(lua_State *L);

/* For library functions: raises an error when the call's budget is used up. */
void reid_lua_charge(lua_State *L, int64_t instructions);
/* After a lua_pcall that failed: raises the error again if it was a breach. */
void reid_lua_pass_breach(lua_State *L, int status);
/* Printable UTF-8, cut to fit; what is not printable is '?'. */
void reid_lua_clean(char *out, size_t size, const char *text, size_t length);

/* ---- libraries ---- */

void reid_lua_open_base(lua_State *L);    /* the new globals, with everything below but trainer */
void reid_lua_open_text(lua_State *L);    /* adds to the table on top: string */
void reid_lua_open_table(lua_State *L);   /* adds to the table on top: table */
void reid_lua_open_trainer(lua_State *L); /* global trainer */
void reid_lua_push_trainer(lua_State *L);

/* Pushes an array of the keys of the table at `index`: numbers, strings by bytes, booleans, others.
 * Returns their number. */
lua_Integer reid_lua_push_sorted_keys(lua_State *L, int index);

/* ---- lua_state.c: the global table `state` ---- */

/* Appends the global `state` as JSON, the same bytes for the same content. Raises an error that
 * names what cannot be kept. */
void reid_lua_state_encode(lua_State *L, reid_str *out);
/* Pushes the table that `json` tells of; raises an error for what is no such thing. */
void reid_lua_state_decode(lua_State *L, const reid_json *json);

#endif
