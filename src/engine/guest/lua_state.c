/* `state` in checkpoints, exact to the bit. A value is
 *
 *     true, false             boolean
 *     12                      integer
 *     "text"                  string
 *     {"bytes": "00ff"}       string that is no UTF-8 text, in hexadecimal
 *     {"float": "3fb9…"}      float, by its 64 bits in hexadecimal: made after each call, so quick
 *     {"table": [[key, value], …]}   keys in order
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/guest/lua_box.h"

/* ---- to JSON ---- */

typedef struct encoder {
    lua_State *L;
    reid_json_writer json;
    int seen;       /* index of the set of tables met so far */
    char path[200]; /* of the value, as one would write it: state.best[3] */
    size_t path_length;
} encoder;

static void encode_value(encoder *e, int index, int depth);

static void check_size(encoder *e, size_t more)
{
    if (e->json.out->length + more > REID_LUA_STATE_BYTES)
        luaL_error(e->L, "state is too large for a checkpoint: over %d bytes when written",
                   (int)REID_LUA_STATE_BYTES);
}

static void encode_string(encoder *e, int index)
{
    size_t length;
    const char *text = lua_tolstring(e->L, index, &length);
    check_size(e, length);
    if (strlen(text) == length && reid_utf8_is_valid(text)) {
        reid_json_string(&e->json, text);
        return;
    }
    reid_json_object(&e->json);
    reid_json_key(&e->json, "bytes");
    reid_json_string(&e->json, ""); /* filled in below */
    e->json.out->length--;
    for (size_t i = 0; i < length; i++)
        reid_str_addf(e->json.out, "%02x", (unsigned char)text[i]);
    reid_str_add_char(e->json.out, '"');
    reid_json_end_object(&e->json);
}

static void encode_number(encoder *e, int index)
{
    if (lua_isinteger(e->L, index)) {
        reid_json_int(&e->json, lua_tointeger(e->L, index));
        return;
    }
    double number = lua_tonumber(e->L, index);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    char text[17];
    for (int i = 15; i >= 0; i--, bits >>= 4)
        text[i] = "0123456789abcdef"[bits & 15];
    text[16] = '\0';
    reid_json_object(&e->json);
    reid_json_key(&e->json, "float");
    reid_json_string(&e->json, text);
    reid_json_end_object(&e->json);
}

/* Whether the keys are 1 … n, which need no sorting. */
static bool is_sequence(lua_State *L, int index)
{
    lua_Unsigned length = lua_rawlen(L, index), count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        reid_lua_charge(L, 1);
        lua_Integer key = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (key < 1 || (lua_Unsigned)key > length) {
            lua_pop(L, 2);
            return false;
        }
        count++;
    }
    return count == length;
}

/* Adds ".name" or "[key]" for the key on top of the stack; returns the length before. */
static size_t path_push(encoder *e)
{
    size_t before = e->path_length, room = sizeof e->path - before;
    char *at = e->path + before;
    if (lua_type(e->L, -1) == LUA_TSTRING) {
        char name[40];
        reid_lua_clean(name, sizeof name, lua_tostring(e->L, -1), strlen(lua_tostring(e->L, -1)));
        snprintf(at, room, ".%s", name);
    } else if (lua_isinteger(e->L, -1)) {
        snprintf(at, room, "[%lld]", (long long)lua_tointeger(e->L, -1));
    } else {
        snprintf(at, room, "[%s]", luaL_typename(e->L, -1));
    }
    e->path_length = strlen(e->path);
    return before;
}

static void encode_table(encoder *e, int index, int depth)
{
    lua_State *L = e->L;
    luaL_checkstack(L, 20, "state");
    if (depth > REID_LUA_STATE_DEPTH)
        luaL_error(L, "%s is nested too deep for a checkpoint: over %d tables", e->path,
                   REID_LUA_STATE_DEPTH);
    if (lua_getmetatable(L, index))
        luaL_error(L, "%s has a metatable, which a checkpoint cannot keep", e->path);
    lua_pushvalue(L, index);
    if (lua_rawget(L, e->seen) != LUA_TNIL)
        luaL_error(L,
                   "%s is a table that is also elsewhere in state; a checkpoint cannot keep that",
                   e->path);
    lua_pushvalue(L, index);
    lua_pushboolean(L, true);
    lua_rawset(L, e->seen);
    bool sequence = is_sequence(L, index);
    lua_Integer count = (lua_Integer)lua_rawlen(L, index);
    if (sequence)
        lua_pushnil(L);
    else
        count = reid_lua_push_sorted_keys(L, index);
    int keys = lua_gettop(L);
    reid_json_object(&e->json);
    reid_json_key(&e->json, "table");
    reid_json_array(&e->json);
    for (lua_Integer i = 1; i <= count; i++) {
        check_size(e, 0);
        if (sequence)
            lua_pushinteger(L, i);
        else
            lua_rawgeti(L, keys, i);
        size_t before = path_push(e);
        reid_json_array(&e->json);
        if (lua_type(L, -1) == LUA_TTABLE)
            luaL_error(L, "%s: a checkpoint cannot keep a table as a key", e->path);
        encode_value(e, lua_gettop(L), depth);
        lua_rawget(L, index);
        encode_value(e, lua_gettop(L), depth);
        reid_json_end_array(&e->json);
        e->path[e->path_length = before] = '\0';
        lua_settop(L, keys);
    }
    reid_json_end_array(&e->json);
    reid_json_end_object(&e->json);
    lua_settop(L, keys - 2);
}

static void encode_value(encoder *e, int index, int depth)
{
    switch (lua_type(e->L, index)) {
    case LUA_TBOOLEAN:
        reid_json_bool(&e->json, lua_toboolean(e->L, index));
        break;
    case LUA_TNUMBER:
        encode_number(e, index);
        break;
    case LUA_TSTRING:
        encode_string(e, index);
        break;
    case LUA_TTABLE:
        encode_table(e, index, depth + 1);
        break;
    default:
        luaL_error(e->L,
                   "%s is a %s; a checkpoint keeps booleans, numbers, strings and tables of these",
                   e->path, luaL_typename(e->L, index));
    }
}

void reid_lua_state_encode(lua_State *L, reid_str *out)
{
    lua_newtable(L);
    encoder e = {.L = L, .json = reid_json_begin(out), .seen = lua_gettop(L), .path = "state"};
    e.path_length = strlen(e.path);
    lua_pushglobaltable(L);
    lua_pushliteral(L, "state");
    if (lua_rawget(L, -2) != LUA_TTABLE)
        luaL_error(L, "the global 'state' is a %s; it must stay a table", luaL_typename(L, -1));
    encode_value(&e, lua_gettop(L), 0);
    check_size(&e, 0);
    lua_settop(L, e.seen - 1);
}

/* ---- from JSON ---- */

static void decode_value(lua_State *L, const reid_json *json, int depth);

static void damaged(lua_State *L, const char *what)
{
    luaL_error(L, "the saved state is damaged: %s", what);
}

static void decode_bytes(lua_State *L, const char *text)
{
    size_t length = strlen(text);
    if (length % 2 != 0 || strspn(text, "0123456789abcdef") != length)
        damaged(L, "bytes that are not hexadecimal");
    luaL_Buffer out;
    char *bytes = luaL_buffinitsize(L, &out, length / 2 + 1);
    for (size_t i = 0; i < length / 2; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    luaL_pushresultsize(&out, length / 2);
}

static void decode_float(lua_State *L, const char *text)
{
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        damaged(L, "a float that is not 64 bits");
    uint64_t bits = strtoull(text, NULL, 16);
    double number;
    memcpy(&number, &bits, sizeof number);
    lua_pushnumber(L, number);
}

static void decode_table(lua_State *L, const reid_json *pairs, int depth)
{
    if (depth > REID_LUA_STATE_DEPTH)
        damaged(L, "nested too deep");
    luaL_checkstack(L, 10, "state");
    lua_newtable(L);
    for (size_t i = 0; i < reid_json_count(pairs); i++) {
        const reid_json *pair = reid_json_at(pairs, i);
        if (reid_json_type_of(pair) != REID_JSON_ARRAY || reid_json_count(pair) != 2)
            damaged(L, "no pair of key and value");
        decode_value(L, reid_json_at(pair, 0), depth);
        if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1))
            damaged(L, "NaN as a key");
        decode_value(L, reid_json_at(pair, 1), depth);
        lua_rawset(L, -3);
    }
}

static void decode_object(lua_State *L, const reid_json *json, int depth)
{
    const reid_json *value;
    const char *kind = reid_json_count(json) == 1 ? reid_json_member(json, 0, &value) : "";
    if (strcmp(kind, "table") == 0 && reid_json_type_of(value) == REID_JSON_ARRAY) {
        decode_table(L, value, depth + 1);
        return;
    }
    const char *text = strcmp(kind, "") == 0 ? NULL : reid_json_as_string(value, NULL);
    if (!text)
        damaged(L, "an object of no known kind");
    else if (strcmp(kind, "bytes") == 0)
        decode_bytes(L, text);
    else if (strcmp(kind, "float") == 0)
        decode_float(L, text);
    else
        damaged(L, "an object of no known kind");
}

static void decode_value(lua_State *L, const reid_json *json, int depth)
{
    switch (reid_json_type_of(json)) {
    case REID_JSON_BOOL:
        lua_pushboolean(L, reid_json_as_bool(json, false));
        break;
    case REID_JSON_INT:
        lua_pushinteger(L, reid_json_as_int(json, 0));
        break;
    case REID_JSON_STRING:
        lua_pushstring(L, reid_json_as_string(json, ""));
        break;
    case REID_JSON_OBJECT:
        decode_object(L, json, depth);
        break;
    default:
        damaged(L, "a value of no known kind");
    }
}

void reid_lua_state_decode(lua_State *L, const reid_json *json)
{
    decode_value(L, json, 0);
    if (!lua_istable(L, -1))
        damaged(L, "it is no table");
}
