/* table.concat, insert, move, remove, sort and unpack, charged by elements: a table whose __len
 * says 2^60 would keep Lua's own busy for ever. Unlike Lua's, sort is stable and does not ask the
 * clock, so that its outcome is the same in every run. */
#include <limits.h>

#include "engine/guest/lua_box.h"

#define UNPACK_MAX 10000 /* each costs a place on the stack */

static lua_Integer length_of_table(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer length = luaL_len(L, 1);
    luaL_argcheck(L, length >= 0 && length < INT_MAX, 1, "its length is out of bounds");
    return length;
}

static int table_insert(lua_State *L)
{
    lua_Integer end = length_of_table(L) + 1;
    lua_Integer at = end;
    int arguments = lua_gettop(L);
    if (arguments == 3) {
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, at >= 1 && at <= end, 2, "position out of bounds");
        reid_lua_charge(L, end - at);
        for (lua_Integer i = end; i > at; i--) {
            lua_geti(L, 1, i - 1);
            lua_seti(L, 1, i);
        }
    } else if (arguments != 2) {
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_seti(L, 1, at);
    return 0;
}

static int table_remove(lua_State *L)
{
    lua_Integer count = length_of_table(L);
    lua_Integer at = luaL_optinteger(L, 2, count);
    /* count + 1 is allowed, as is 0 for an empty table */
    luaL_argcheck(L, at == count || (at >= 1 && at <= count + 1), 2, "position out of bounds");
    lua_geti(L, 1, at);
    if (at < count)
        reid_lua_charge(L, count - at);
    for (; at < count; at++) {
        lua_geti(L, 1, at + 1);
        lua_seti(L, 1, at);
    }
    lua_pushnil(L);
    lua_seti(L, 1, at);
    return 1;
}

static int table_move(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer from = luaL_checkinteger(L, 2);
    lua_Integer end = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    luaL_checktype(L, target, LUA_TTABLE);
    if (end >= from) {
        luaL_argcheck(L, from > 0 || end < LUA_MAXINTEGER + from, 3, "too many elements to move");
        lua_Integer count = end - from + 1;
        luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
        reid_lua_charge(L, count);
        bool backwards =
            to > from && to <= end && (target == 1 || lua_compare(L, 1, target, LUA_OPEQ));
        for (lua_Integer i = 0; i < count; i++) {
            lua_Integer offset = backwards ? count - 1 - i : i;
            lua_geti(L, 1, from + offset);
            lua_seti(L, target, to + offset);
        }
    }
    lua_pushvalue(L, target);
    return 1;
}

static int table_concat(lua_State *L)
{
    lua_Integer count = length_of_table(L);
    size_t between_length;
    const char *between = luaL_optlstring(L, 2, "", &between_length);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer end = luaL_optinteger(L, 4, count);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (lua_Integer i = from; i <= end; i++) {
        reid_lua_charge(L, 1);
        lua_geti(L, 1, i);
        if (!lua_isstring(L, -1))
            luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
        luaL_addvalue(&out);
        if (i == end)
            break; /* i + 1 may not exist */
        luaL_addlstring(&out, between, between_length);
    }
    luaL_pushresult(&out);
    return 1;
}

static int table_unpack(lua_State *L)
{
    lua_Integer from = luaL_optinteger(L, 2, 1);
    lua_Integer end = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
    if (from > end)
        return 0;
    lua_Unsigned more = (lua_Unsigned)end - (lua_Unsigned)from;
    if (more >= UNPACK_MAX || !lua_checkstack(L, (int)more + 1))
        return luaL_error(L, "too many results to unpack");
    reid_lua_charge(L, (int64_t)more + 1);
    for (lua_Unsigned i = 0; i <= more; i++)
        lua_geti(L, 1, (lua_Integer)((lua_Unsigned)from + i));
    return (int)more + 1;
}

/* ---- sort ---- */

enum { SORT_TABLE = 1, SORT_ORDER, SORT_A, SORT_B };

/* Whether element i of the table at `source` comes before element j. */
static bool comes_before(lua_State *L, int source, lua_Integer i, lua_Integer j)
{
    reid_lua_charge(L, 4);
    bool ordered = !lua_isnil(L, SORT_ORDER);
    if (ordered)
        lua_pushvalue(L, SORT_ORDER);
    lua_rawgeti(L, source, i);
    lua_rawgeti(L, source, j);
    bool before;
    if (ordered) {
        lua_call(L, 2, 1);
        before = lua_toboolean(L, -1);
        lua_pop(L, 1);
    } else {
        before = lua_compare(L, -2, -1, LUA_OPLT);
        lua_pop(L, 2);
    }
    return before;
}

/* [low, middle) and [middle, high) of `source` are sorted; merged into `target`. */
static void merge(lua_State *L, int source, int target, lua_Integer low, lua_Integer middle,
                  lua_Integer high)
{
    lua_Integer a = low, b = middle;
    for (lua_Integer i = low; i < high; i++) {
        bool take_b = b < high && (a >= middle || comes_before(L, source, b, a));
        lua_rawgeti(L, source, take_b ? b++ : a++);
        lua_rawseti(L, target, i);
    }
}

static int table_sort(lua_State *L)
{
    lua_Integer count = length_of_table(L);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    if (count < 2)
        return 0;
    reid_lua_charge(L, count);
    lua_createtable(L, (int)count, 0);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, SORT_TABLE, i);
        lua_rawseti(L, SORT_A, i);
    }
    int source = SORT_A, target = SORT_B;
    for (lua_Integer width = 1; width < count; width *= 2) {
        for (lua_Integer low = 1; low <= count; low += 2 * width) {
            lua_Integer middle = low + width, high = low + 2 * width;
            merge(L, source, target, low, middle > count ? count + 1 : middle,
                  high > count ? count + 1 : high);
        }
        int swapped = source;
        source = target;
        target = swapped;
    }
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, source, i);
        lua_seti(L, SORT_TABLE, i);
    }
    return 0;
}

void reid_lua_open_table(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {{"concat", table_concat},
                                         {"insert", table_insert},
                                         {"move", table_move},
                                         {"remove", table_remove},
                                         {"sort", table_sort},
                                         {"unpack", table_unpack},
                                         {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
