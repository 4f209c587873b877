/* The globals of a script, but for trainer: what is listed here and nothing else. */
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/guest/lua_box.h"

/* ---- errors ---- */

static int base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, true);
    lua_insert(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    if (status == LUA_OK)
        return lua_gettop(L);
    reid_lua_pass_breach(L, status);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* The handler runs behind the error, not within it as Lua's own: that would be outside the
 * budgets. */
static int base_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushboolean(L, true);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 3);
    lua_remove(L, 2);
    lua_remove(L, 1); /* handler, true, function, arguments */
    int status = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0);
    if (status == LUA_OK)
        return lua_gettop(L) - 1;
    reid_lua_pass_breach(L, status);
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_call(L, 1, LUA_MULTRET);
    lua_pushboolean(L, false);
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

/* ---- metatables ---- */

/* A table gets a copy of the metatable's handlers as they are now: what the script adds to its
 * table later has no say. */
static int base_setmetatable(lua_State *L)
{
    static const char *const HANDLERS[] = {
        "__index", "__newindex", "__call", "__tostring", "__name",   "__pairs", "__close",
        "__eq",    "__lt",       "__le",   "__len",      "__concat", "__unm",   "__add",
        "__sub",   "__mul",      "__div",  "__idiv",     "__mod",    "__pow",   "__bnot",
        "__band",  "__bor",      "__bxor", "__shl",      "__shr"};
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    lua_settop(L, 2);
    if (lua_getmetatable(L, 1)) {
        lua_rawgeti(L, -1, 1); /* set by a metatable with __metatable */
        if (!lua_isnil(L, -1))
            return luaL_error(L, "cannot change a protected metatable");
        lua_settop(L, 2);
    }
    if (lua_isnil(L, 2)) {
        lua_setmetatable(L, 1);
        return 1;
    }
    lua_newtable(L);
    for (size_t i = 0; i < REID_COUNT_OF(HANDLERS); i++) {
        lua_pushstring(L, HANDLERS[i]);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 2) != LUA_TNIL)
            lua_rawset(L, 3);
        else
            lua_pop(L, 2);
    }
    static const char *const REFUSED[] = {"__gc", "__mode"};
    for (size_t i = 0; i < REID_COUNT_OF(REFUSED); i++) {
        lua_pushstring(L, REFUSED[i]);
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "a hook's metatable cannot have %s", REFUSED[i]);
        lua_pop(L, 1);
    }
    lua_pushliteral(L, "__metatable");
    if (lua_rawget(L, 2) != LUA_TNIL) {
        lua_pushboolean(L, true);
        lua_rawseti(L, 3, 1);
    } else {
        lua_pop(L, 1);
        lua_pushvalue(L, 2);
    }
    lua_setfield(L, 3, "__metatable");
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

/* ---- pairs in order ---- */

typedef struct sort_key {
    int group; /* number, string, boolean, other */
    int boolean;
    long double number; /* exact for integers, too */
    const char *text;   /* held by the key in the array */
    size_t length;
    lua_Integer place; /* in the array */
} sort_key;

static int compare_texts(const sort_key *a, const sort_key *b)
{
    int order = memcmp(a->text, b->text, REID_MIN(a->length, b->length));
    if (order != 0)
        return order;
    return a->length < b->length ? -1 : a->length > b->length;
}

static int compare_sort_keys(const void *left, const void *right)
{
    const sort_key *a = left, *b = right;
    if (a == b)
        return 0;
    if (a->group != b->group)
        return a->group - b->group;
    if (a->group == 0)
        return a->number < b->number ? -1 : 1; /* keys are different and no NaN */
    if (a->group == 1)
        return compare_texts(a, b);
    if (a->boolean != b->boolean)
        return a->boolean - b->boolean;
    return a->place < b->place ? -1 : 1;
}

static sort_key sort_key_of(lua_State *L, int index, lua_Integer place)
{
    sort_key key = {.group = 3, .place = place};
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        key.group = 0;
        key.number = lua_isinteger(L, index) ? (long double)lua_tointeger(L, index)
                                             : (long double)lua_tonumber(L, index);
        break;
    case LUA_TSTRING:
        key.group = 1;
        key.text = lua_tolstring(L, index, &key.length);
        break;
    case LUA_TBOOLEAN:
        key.group = 2;
        key.boolean = lua_toboolean(L, index);
        break;
    default:
        break;
    }
    return key;
}

lua_Integer reid_lua_push_sorted_keys(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    lua_newtable(L);
    int found = lua_gettop(L);
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        reid_lua_charge(L, 10);
        lua_pushvalue(L, -2);
        lua_rawseti(L, found, ++count);
    }
    /* Lua aligns for double, not for long double. */
    uintptr_t memory = (uintptr_t)lua_newuserdatauv(L, ((size_t)count + 1) * sizeof(sort_key), 0);
    sort_key *keys =
        (sort_key *)((memory + _Alignof(sort_key) - 1) / _Alignof(sort_key) * _Alignof(sort_key));
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, found, i + 1);
        keys[i] = sort_key_of(L, -1, i + 1);
        lua_pop(L, 1);
    }
    qsort(keys, (size_t)count, sizeof *keys, compare_sort_keys);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, found, keys[i].place);
        lua_rawseti(L, -2, i + 1);
    }
    lua_replace(L, found);
    lua_settop(L, found);
    return count;
}

enum { PAIRS_TABLE = 1, PAIRS_KEYS, PAIRS_DONE, PAIRS_VALUES = 3 };

/* Keys that are gone by now are passed over. */
static int pairs_next(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(PAIRS_DONE));
    lua_settop(L, 0);
    for (;;) {
        i++;
        if (lua_rawgeti(L, lua_upvalueindex(PAIRS_KEYS), i) == LUA_TNIL)
            return 1;
        lua_pushvalue(L, 1);
        if (lua_rawget(L, lua_upvalueindex(PAIRS_TABLE)) != LUA_TNIL)
            break;
        reid_lua_charge(L, 1);
        lua_settop(L, 0);
    }
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(PAIRS_DONE));
    return 2;
}

static int base_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    reid_lua_push_sorted_keys(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_next, PAIRS_VALUES);
    lua_insert(L, 1);
    lua_pushnil(L);
    return 3;
}

/* ---- print and collectgarbage ---- */

static void print_line(reid_lua_box *box, const char *text, size_t length)
{
    if (box->lines++ >= REID_LUA_LINES)
        return;
    char line[REID_LUA_LINE_BYTES + 1];
    reid_lua_clean(line, sizeof line, text, length);
    reid_log_info("hook '%s': %s", box->name, line);
}

static int base_print(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&out, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&out);
    }
    luaL_pushresult(&out);
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    reid_lua_charge(L, (int64_t)length);
    for (;;) {
        const char *end = memchr(text, '\n', length);
        size_t line_length = end ? (size_t)(end - text) : length;
        print_line(reid_lua_box_of(L), text, line_length);
        if (!end)
            return 0;
        text = end + 1;
        length -= line_length + 1;
    }
}

static int base_collectgarbage(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "collect");
    if (strcmp(what, "count") != 0)
        return luaL_error(L, "collectgarbage: only 'count' is there for hooks, not '%s'", what);
    lua_pushnumber(L, (lua_Number)reid_lua_box_of(L)->memory_bytes / 1024);
    return 1;
}

/* ---- chance ---- */

/* In [0, most]; each draw has a stream of its own. */
static uint64_t draw(reid_lua_box *box, uint64_t most)
{
    uint64_t number = box->draws++;
    reid_rng rng =
        reid_rng_stream((uint64_t)box->seed, REID_RNG_HOOK, number, (uint32_t)(number >> 32));
    uint64_t value = reid_rng_u64(&rng);
    if (most == UINT64_MAX)
        return value;
    /* The last values, from which not all outcomes are equally likely, are drawn again. */
    uint64_t outcomes = most + 1, uneven = (UINT64_MAX % outcomes + 1) % outcomes;
    while (value > UINT64_MAX - uneven)
        value = reid_rng_u64(&rng);
    return value % outcomes;
}

static int math_random(lua_State *L)
{
    lua_Integer low = 1, high;
    switch (lua_gettop(L)) {
    case 0:
        lua_pushnumber(L, (lua_Number)(draw(reid_lua_box_of(L), UINT64_MAX) >> 11) * 0x1p-53);
        return 1;
    case 1:
        high = luaL_checkinteger(L, 1);
        if (high == 0) {
            lua_pushinteger(L, (lua_Integer)draw(reid_lua_box_of(L), UINT64_MAX));
            return 1;
        }
        break;
    case 2:
        low = luaL_checkinteger(L, 1);
        high = luaL_checkinteger(L, 2);
        break;
    default:
        return luaL_error(L, "wrong number of arguments");
    }
    luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
    uint64_t most = (uint64_t)high - (uint64_t)low;
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + draw(reid_lua_box_of(L), most)));
    return 1;
}

static int math_randomseed(lua_State *L)
{
    reid_lua_box *box = reid_lua_box_of(L);
    box->seed = luaL_checkinteger(L, 1);
    box->draws = 0;
    return 0;
}

/* ---- all of it ---- */

/* Copies fields of the table at `from` to the one on top. */
static void keep(lua_State *L, int from, const char *const *names)
{
    for (; *names; names++) {
        lua_getfield(L, from, *names);
        lua_setfield(L, -2, *names);
    }
}

/* Pushes a new table with the named functions of a library of Lua's. */
static void open_library(lua_State *L, lua_CFunction open, const char *const *names)
{
    lua_pushcfunction(L, open);
    lua_call(L, 0, 1);
    lua_newtable(L);
    keep(L, lua_absindex(L, -2), names);
    lua_remove(L, -2);
}

static void open_string(lua_State *L)
{
    static const char *const NAMES[] = {"byte",    "char", "format", "len", "lower",
                                        "reverse", "sub",  "upper",  NULL};
    open_library(L, luaopen_string, NAMES);
    reid_lua_open_text(L);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1); /* has arithmetic with numbers in texts, and gets "text":find() */
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

void reid_lua_open_base(lua_State *L)
{
    static const char *const BASE[] = {"assert",   "error",    "getmetatable", "ipairs",   "next",
                                       "rawequal", "rawget",   "rawlen",       "rawset",   "select",
                                       "tonumber", "tostring", "type",         "_VERSION", NULL};
    static const char *const TABLE[] = {"pack", NULL};
    static const char *const MATH[] = {
        "abs",  "acos", "asin", "atan", "ceil",       "cos",  "deg",        "exp",  "floor",
        "fmod", "huge", "log",  "max",  "maxinteger", "min",  "mininteger", "modf", "pi",
        "rad",  "sin",  "sqrt", "tan",  "tointeger",  "type", "ult",        NULL};
    static const char *const UTF8[] = {"char", "charpattern", "codepoint", "codes",
                                       "len",  "offset",      NULL};
    static const luaL_Reg OWN[] = {{"collectgarbage", base_collectgarbage},
                                   {"pairs", base_pairs},
                                   {"pcall", base_pcall},
                                   {"print", base_print},
                                   {"setmetatable", base_setmetatable},
                                   {"xpcall", base_xpcall},
                                   {NULL, NULL}};
    static const luaL_Reg RANDOM[] = {
        {"random", math_random}, {"randomseed", math_randomseed}, {NULL, NULL}};
    open_library(L, luaopen_base, BASE);
    luaL_setfuncs(L, OWN, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "_G");
    open_string(L);
    lua_setfield(L, -2, "string");
    open_library(L, luaopen_table, TABLE);
    reid_lua_open_table(L);
    lua_setfield(L, -2, "table");
    open_library(L, luaopen_math, MATH);
    luaL_setfuncs(L, RANDOM, 0);
    lua_setfield(L, -2, "math");
    open_library(L, luaopen_utf8, UTF8);
    lua_setfield(L, -2, "utf8");
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}
