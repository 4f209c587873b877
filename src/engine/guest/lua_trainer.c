/* The global `trainer`: what a script sees of the training and what it may wish for. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/guest/lua_box.h"

#define TRAINER "trainer"
#define STORAGE "storage"
#define REASON_BYTES 200
#define KNOB_BYTES 64

static const reid_moment *moment_of(lua_State *L, const char *what)
{
    const reid_moment *moment = reid_lua_box_of(L)->moment;
    if (!moment)
        luaL_error(L, "%s is only there while one of the hook's points is called", what);
    return moment;
}

static bool is_text(const char *text, size_t length)
{
    return strlen(text) == length && reid_utf8_is_valid(text);
}

static void wish(lua_State *L, reid_wish_kind kind, const char *name, const char *value,
                 double number)
{
    reid_error why = {0};
    if (reid_wishes_add(reid_lua_box_of(L)->wishes, kind, name, value, number, &why) != REID_OK)
        luaL_error(L, "%s", why.text);
}

/* ---- storage ---- */

static bool find_scalar(lua_State *L, reid_event_scalar *ret_scalar)
{
    luaL_checkudata(L, 1, STORAGE);
    const char *name = luaL_checkstring(L, 2);
    const reid_moment *moment = moment_of(L, "trainer.storage");
    return reid_event_storage_find(moment->storage, name, ret_scalar);
}

/* The newest value and the iteration at which it was put; nil when there is none. */
static int storage_get(lua_State *L)
{
    reid_event_scalar scalar;
    if (!find_scalar(L, &scalar)) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushnumber(L, scalar.value);
    lua_pushinteger(L, scalar.iter);
    return 2;
}

/* As writers show it: the median of the last samples of what is smoothed. */
static int storage_smoothed(lua_State *L)
{
    reid_event_scalar scalar;
    if (find_scalar(L, &scalar))
        lua_pushnumber(L, reid_event_scalar_smoothed(&scalar, REID_EVENT_WINDOW));
    else
        lua_pushnil(L);
    return 1;
}

static int storage_put(lua_State *L)
{
    luaL_checkudata(L, 1, STORAGE);
    size_t length;
    const char *name = luaL_checklstring(L, 2, &length);
    luaL_checktype(L, 3, LUA_TNUMBER);
    luaL_argcheck(L, length > 0 && length <= REID_EVENT_NAME_BYTES_MAX && is_text(name, length), 2,
                  "a name has 1 to 200 bytes of UTF-8");
    moment_of(L, "trainer.storage");
    wish(L, REID_WISH_PUT_SCALAR, name, NULL, lua_tonumber(L, 3));
    return 0;
}

/* ---- wishes ---- */

/* The value is at `index`. */
static void wish_set(lua_State *L, const char *name, int index)
{
    if (lua_type(L, index) != LUA_TNUMBER)
        luaL_error(L, "%s must be set to a number, not to a %s", name, luaL_typename(L, index));
    char text[32];
    double number = lua_tonumber(L, index);
    if (!isfinite(number))
        luaL_error(L, "%s cannot be set to %f", name, number);
    if (lua_isinteger(L, index))
        snprintf(text, sizeof text, "%" PRId64, (int64_t)lua_tointeger(L, index));
    else
        reid_format_double(text, number);
    wish(L, REID_WISH_SET, name, text, 0);
}

static int trainer_set(lua_State *L)
{
    luaL_checkudata(L, 1, TRAINER);
    luaL_checktype(L, 2, LUA_TTABLE);
    moment_of(L, "trainer:set");
    lua_settop(L, 2);
    lua_Integer count = reid_lua_push_sorted_keys(L, 2);
    for (lua_Integer i = 1; i <= count; i++) {
        size_t length = 0;
        const char *name = NULL;
        if (lua_rawgeti(L, 3, i) == LUA_TSTRING)
            name = lua_tolstring(L, -1, &length);
        if (!name || length > KNOB_BYTES || !is_text(name, length))
            return luaL_error(L, "trainer:set wants names, as in trainer:set{lr = 0.1}");
        lua_pushvalue(L, -1);
        lua_rawget(L, 2);
        wish_set(L, name, lua_gettop(L));
        lua_settop(L, 3);
    }
    return 0;
}

static int trainer_stop(lua_State *L)
{
    luaL_checkudata(L, 1, TRAINER);
    const char *reason = luaL_optstring(L, 2, NULL);
    moment_of(L, "trainer:stop");
    char text[REASON_BYTES + 1];
    if (reason)
        reid_lua_clean(text, sizeof text, reason, strlen(reason));
    reid_error why = {0};
    if (reid_wishes_add_stop(reid_lua_box_of(L)->wishes, reason ? text : NULL, &why) != REID_OK)
        return luaL_error(L, "%s", why.text);
    return 0;
}

static int wish_plain(lua_State *L, reid_wish_kind kind, const char *what)
{
    luaL_checkudata(L, 1, TRAINER);
    moment_of(L, what);
    wish(L, kind, NULL, NULL, 0);
    return 0;
}

static int trainer_checkpoint(lua_State *L)
{
    return wish_plain(L, REID_WISH_CHECKPOINT, "trainer:checkpoint");
}

static int trainer_evaluate(lua_State *L)
{
    return wish_plain(L, REID_WISH_EVALUATE, "trainer:evaluate");
}

static int trainer_skip_step(lua_State *L)
{
    return wish_plain(L, REID_WISH_SKIP_STEP, "trainer:skip_step");
}

/* ---- fields ---- */

static const struct {
    const char *name;
    size_t offset;
} INTEGERS[] = {{"iter", offsetof(reid_moment, iter)},
                {"max_iter", offsetof(reid_moment, max_iter)},
                {"epoch", offsetof(reid_moment, epoch)},
                {"max_epoch", offsetof(reid_moment, max_epoch)},
                {"iters_per_epoch", offsetof(reid_moment, iters_per_epoch)},
                {NULL, 0}};

/* Upvalue 1: methods and storage by name. */
static int trainer_index(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    for (size_t i = 0; INTEGERS[i].name; i++) {
        if (strcmp(name, INTEGERS[i].name) != 0)
            continue;
        const char *moment = (const char *)moment_of(L, name);
        int64_t value;
        memcpy(&value, moment + INTEGERS[i].offset, sizeof value);
        lua_pushinteger(L, value);
        return 1;
    }
    if (strcmp(name, "lr") == 0) {
        lua_pushnumber(L, moment_of(L, name)->lr);
        return 1;
    }
    if (lua_getfield(L, lua_upvalueindex(1), name) == LUA_TNIL)
        return luaL_error(L, "the trainer has no '%s'", name);
    return 1;
}

static int trainer_newindex(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    if (strcmp(name, "lr") != 0)
        return luaL_error(L, "trainer.%s cannot be assigned to; lr can, other knobs by trainer:set",
                          name);
    moment_of(L, name);
    wish_set(L, name, 3);
    return 0;
}

static int storage_index(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    if (lua_getfield(L, lua_upvalueindex(1), name) == LUA_TNIL)
        return luaL_error(L, "the storage has no '%s'; a metric is storage:get(name)", name);
    return 1;
}

static int no_newindex(lua_State *L)
{
    return luaL_error(L, "the storage cannot be assigned to; a metric is put by storage:put");
}

/* Pushes an object with the type's name. Pops the table of what it has. */
static void push_object(lua_State *L, const char *type, lua_CFunction index, lua_CFunction newindex)
{
    int members = lua_gettop(L);
    lua_newuserdatauv(L, 1, 0);
    luaL_newmetatable(L, type);
    lua_pushvalue(L, members);
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, members);
}

void reid_lua_open_trainer(lua_State *L)
{
    static const luaL_Reg STORAGE_METHODS[] = {
        {"get", storage_get}, {"smoothed", storage_smoothed}, {"put", storage_put}, {NULL, NULL}};
    static const luaL_Reg TRAINER_METHODS[] = {{"set", trainer_set},
                                               {"stop", trainer_stop},
                                               {"checkpoint", trainer_checkpoint},
                                               {"evaluate", trainer_evaluate},
                                               {"skip_step", trainer_skip_step},
                                               {NULL, NULL}};
    luaL_newlib(L, TRAINER_METHODS);
    luaL_newlib(L, STORAGE_METHODS);
    push_object(L, STORAGE, storage_index, no_newindex);
    lua_setfield(L, -2, STORAGE);
    push_object(L, TRAINER, trainer_index, trainer_newindex);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "reid.trainer");
    lua_setglobal(L, TRAINER);
}

void reid_lua_push_trainer(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "reid.trainer");
}
