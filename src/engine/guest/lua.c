/* Hooks in Lua 5.4: functions named after the points, in a box (lua_box.h). The language as a
 * script sees it is told in deploy/hooks/README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/guest/lua_box.h"

typedef struct lua_guest {
    reid_guest base;
    reid_lua_box box;
    reid_str state; /* `state` as JSON after the newest call that went well */
} lua_guest;

/* ---- open ---- */

typedef struct opening {
    lua_guest *guest;
    reid_guest_spec *spec;
} opening;

static void set_options(lua_State *L, const reid_guest_spec *spec)
{
    lua_newtable(L);
    for (size_t i = 0; i < spec->options.count; i++) {
        const char *option = spec->options.items[i];
        const char *equals = strchr(option, '=');
        if (!equals || equals == option)
            luaL_error(L, "the option '%s' is not name=value", option);
        lua_pushlstring(L, option, (size_t)(equals - option));
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL)
            luaL_error(L, "the option '%s' is there twice", lua_tostring(L, -2));
        lua_pop(L, 1);
        lua_pushstring(L, equals + 1);
        lua_rawset(L, -3);
    }
    lua_setglobal(L, "options");
}

/* As a file would be: behind a mark of UTF-8 and up to the end of a "#!" line. */
static void load_source(lua_State *L, const reid_guest_spec *spec)
{
    const char *source = spec->source;
    if (strncmp(source, "\xEF\xBB\xBF", 3) == 0)
        source += 3;
    if (*source == '#')
        source += strcspn(source, "\n");
    const char *ending = reid_str_ends(spec->name, ".lua") ? "" : ".lua";
    const char *chunk = lua_pushfstring(L, "@%s%s", spec->name, ending);
    if (luaL_loadbufferx(L, source, strlen(source), chunk, "t") != LUA_OK)
        lua_error(L);
    lua_remove(L, -2);
}

static unsigned find_points(lua_State *L, unsigned wanted)
{
    unsigned points = 0;
    lua_pushglobaltable(L);
    for (int point = 0; point < REID_POINTS; point++) {
        const char *name = reid_point_name((reid_point)point);
        lua_pushstring(L, name);
        int type = lua_rawget(L, -2);
        if (type != LUA_TNIL && type != LUA_TFUNCTION)
            luaL_error(L, "'%s' is a %s in the script; it must be a function", name,
                       lua_typename(L, type));
        if (type == LUA_TFUNCTION)
            points |= 1u << point;
        else if (wanted & (1u << point))
            luaL_error(L, "the script has no function '%s', at which the hook is to be called",
                       name);
        lua_pop(L, 1);
    }
    if (points == 0)
        luaL_error(L, "the script has no function named after a point: before_train, after_train, "
                      "before_epoch, after_epoch, before_step, after_step");
    return wanted ? wanted : points;
}

/* What cannot be kept is found right away and not when a checkpoint is made. */
static void note_state(lua_State *L, lua_guest *guest)
{
    reid_str_clear(&guest->box.scratch);
    reid_lua_state_encode(L, &guest->box.scratch);
    reid_str kept = guest->state;
    guest->state = guest->box.scratch;
    guest->box.scratch = kept;
}

static int open_script(lua_State *L)
{
    opening *o = lua_touserdata(L, 1);
    set_options(L, o->spec);
    lua_newtable(L);
    lua_setglobal(L, "state");
    load_source(L, o->spec);
    lua_call(L, 0, 0);
    unsigned points = find_points(L, o->spec->points);
    note_state(L, o->guest);
    o->spec->points = points;
    return 0;
}

static void lua_guest_close(reid_guest *base)
{
    lua_guest *guest = (lua_guest *)base;
    if (!guest)
        return;
    reid_lua_box_fini(&guest->box);
    reid_str_fini(&guest->state);
    free(guest);
}

static reid_status lua_guest_open(const reid_guest_env *env, reid_guest_spec *spec, int64_t id,
                                  reid_guest **ret_guest, reid_error *err)
{
    if (strlen(spec->source) > REID_GUEST_SOURCE_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "the script is longer than %u bytes",
                         REID_GUEST_SOURCE_BYTES);
    lua_guest *guest = reid_xcalloc(1, sizeof *guest);
    guest->base.kind = &reid_guest_lua;
    reid_status status = reid_lua_box_init(&guest->box, spec->name, err);
    opening o = {.guest = guest, .spec = spec};
    if (status == REID_OK)
        status = reid_lua_box_run(&guest->box, open_script, &o, err);
    if (status == REID_OK)
        *ret_guest = &guest->base;
    else
        lua_guest_close(&guest->base);
    return status;
}

/* ---- call ---- */

static int call_point(lua_State *L)
{
    lua_guest *guest = lua_touserdata(L, 1);
    lua_pushglobaltable(L);
    const char *name = reid_point_name(guest->box.moment->point);
    lua_pushstring(L, name);
    if (lua_rawget(L, -2) != LUA_TFUNCTION)
        return luaL_error(L, "'%s' is no longer a function", name);
    reid_lua_push_trainer(L);
    lua_call(L, 1, 0);
    note_state(L, guest);
    return 0;
}

static int keep_state(lua_State *L)
{
    note_state(L, lua_touserdata(L, 1));
    return 0;
}

static reid_status lua_guest_call(reid_guest *base, const reid_moment *moment, reid_wishes *wishes,
                                  reid_error *err)
{
    lua_guest *guest = (lua_guest *)base;
    guest->box.moment = moment;
    guest->box.wishes = wishes;
    reid_status status = reid_lua_box_run(&guest->box, call_point, guest, err);
    guest->box.moment = NULL;
    guest->box.wishes = NULL;
    /* The hook may go on, with what it has changed so far. If that cannot be kept, a resume starts
     * from what could. */
    if (status != REID_OK)
        reid_lua_box_run(&guest->box, keep_state, guest, NULL);
    return status;
}

/* ---- state ---- */

#define STATE_VERSION 1

static void lua_guest_save_state(const reid_guest *base, reid_json_writer *json)
{
    const lua_guest *guest = (const lua_guest *)base;
    reid_json_object(json);
    reid_json_key(json, "version");
    reid_json_int(json, STATE_VERSION);
    reid_json_key(json, "seed");
    reid_json_int(json, guest->box.seed);
    reid_json_key(json, "draws");
    reid_json_int(json, (int64_t)guest->box.draws);
    reid_json_key(json, "state");
    reid_str_add(json->out, reid_str_text(&guest->state)); /* it is JSON already */
    json->need_comma = true;
    reid_json_end_object(json);
}

typedef struct loading {
    lua_guest *guest;
    const reid_json *json;
} loading;

/* The table stays the same one: the script may have it in a local variable. */
static int load_script_state(lua_State *L)
{
    loading *load = lua_touserdata(L, 1);
    reid_lua_state_decode(L, load->json);
    int loaded = lua_gettop(L);
    if (lua_getglobal(L, "state") != LUA_TTABLE)
        return luaL_error(L, "the global 'state' is not a table");
    int kept = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, kept) != 0;) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, kept);
    }
    for (lua_pushnil(L); lua_next(L, loaded) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, kept);
    }
    note_state(L, load->guest);
    return 0;
}

static reid_status lua_guest_load_state(reid_guest *base, const reid_json *state, reid_error *err)
{
    lua_guest *guest = (lua_guest *)base;
    const reid_json *seed = reid_json_get(state, "seed"), *draws = reid_json_get(state, "draws");
    int64_t version = reid_json_as_int(reid_json_get(state, "version"), 0);
    if (version > STATE_VERSION)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "the saved state of a Lua hook is of version %lld; %d is the newest known",
                         (long long)version, STATE_VERSION);
    if (version < 1 || reid_json_type_of(seed) != REID_JSON_INT ||
        reid_json_type_of(draws) != REID_JSON_INT || reid_json_as_int(draws, -1) < 0)
        return reid_fail(err, REID_ERR_INVALID, "this is not the saved state of a Lua hook");
    loading load = {.guest = guest, .json = reid_json_get(state, "state")};
    REID_TRY(reid_lua_box_run(&guest->box, load_script_state, &load, err));
    guest->box.seed = reid_json_as_int(seed, 0);
    guest->box.draws = (uint64_t)reid_json_as_int(draws, 0);
    return REID_OK;
}

const reid_guest_kind reid_guest_lua = {
    .name = "lua",
    .open = lua_guest_open,
    .call = lua_guest_call,
    .save_state = lua_guest_save_state,
    .load_state = lua_guest_load_state,
    .close = lua_guest_close,
};
