/* string.find, match, gmatch, gsub and rep as in Lua 5.4's manual (6.4.1, "Patterns"), charged by
 * steps: Lua's own cannot be interrupted, and a pattern such as (".-"):rep(30) takes them longer
 * than any training. */
#include <ctype.h>
#include <string.h>

#include "engine/guest/lua_box.h"

#define ESCAPE '%'
#define DEPTH_MAX 200 /* of recursion on the C stack */
#define CAPTURES_MAX 32
#define SPECIALS "^$*+?.([%-"

enum { LENGTH_OPEN = -1, LENGTH_POSITION = -2 };

typedef struct matcher {
    lua_State *L;
    reid_lua_box *box;
    const char *subject, *subject_end, *pattern_end;
    int depth, count;
    struct {
        const char *start;
        ptrdiff_t length;
    } captures[CAPTURES_MAX];
} matcher;

static const char *match(matcher *m, const char *s, const char *p);

static void step(matcher *m, ptrdiff_t steps)
{
    m->box->left -= steps;
    if (m->box->left < 0)
        reid_lua_charge(m->L, 1);
}

/* ---- one character ---- */

/* Behind the item that begins at p, without its repetition sign. */
static const char *item_end(matcher *m, const char *p)
{
    const char *start = p;
    if (*p == ESCAPE) {
        if (p + 1 == m->pattern_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 2;
    }
    if (*p != '[')
        return p + 1;
    p++;
    if (*p == '^')
        p++;
    do { /* a ']' that comes first is an ordinary character */
        if (p == m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == ESCAPE)
            p++;
        if (p > m->pattern_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
    } while (p == m->pattern_end || *p != ']');
    step(m, p - start);
    return p + 1;
}

static bool in_class(int c, int class)
{
    bool is;
    switch (tolower(class)) {
    case 'a':
        is = isalpha(c);
        break;
    case 'c':
        is = iscntrl(c);
        break;
    case 'd':
        is = isdigit(c);
        break;
    case 'g':
        is = isgraph(c);
        break;
    case 'l':
        is = islower(c);
        break;
    case 'p':
        is = ispunct(c);
        break;
    case 's':
        is = isspace(c);
        break;
    case 'u':
        is = isupper(c);
        break;
    case 'w':
        is = isalnum(c);
        break;
    case 'x':
        is = isxdigit(c);
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !is : is;
}

/* p is at '[', last at the ']'. */
static bool in_set(matcher *m, int c, const char *p, const char *last)
{
    step(m, last - p);
    bool inside = true;
    if (p[1] == '^') {
        inside = false;
        p++;
    }
    while (++p < last) {
        if (*p == ESCAPE) {
            p++;
            if (in_class(c, (unsigned char)*p))
                return inside;
        } else if (p[1] == '-' && p + 2 < last) {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
                return inside;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return inside;
        }
    }
    return !inside;
}

/* Whether the item p … end takes the character at s. */
static bool takes(matcher *m, const char *s, const char *p, const char *end)
{
    step(m, 1);
    if (s >= m->subject_end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.':
        return true;
    case ESCAPE:
        return in_class(c, (unsigned char)p[1]);
    case '[':
        return in_set(m, c, p, end - 1);
    default:
        return (unsigned char)*p == c;
    }
}

/* ---- items of more than one character ---- */

static const char *longest(matcher *m, const char *s, const char *p, const char *end)
{
    ptrdiff_t count = 0;
    while (takes(m, s + count, p, end))
        count++;
    for (; count >= 0; count--) {
        const char *result = match(m, s + count, end + 1);
        if (result)
            return result;
    }
    return NULL;
}

static const char *shortest(matcher *m, const char *s, const char *p, const char *end)
{
    for (;; s++) {
        const char *result = match(m, s, end + 1);
        if (result)
            return result;
        if (!takes(m, s, p, end))
            return NULL;
    }
}

static const char *balanced(matcher *m, const char *s, const char *p)
{
    if (p + 1 >= m->pattern_end)
        luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= m->subject_end || *s != *p)
        return NULL;
    ptrdiff_t open = 1;
    for (const char *at = s + 1; at < m->subject_end; at++) {
        step(m, 1);
        if (*at == p[1]) {
            if (--open == 0)
                return at + 1;
        } else if (*at == *p) {
            open++;
        }
    }
    return NULL;
}

static const char *capture_opens(matcher *m, const char *s, const char *p, ptrdiff_t length)
{
    if (m->count >= CAPTURES_MAX)
        luaL_error(m->L, "too many captures");
    m->captures[m->count].start = s;
    m->captures[m->count].length = length;
    m->count++;
    const char *result = match(m, s, p);
    if (!result)
        m->count--;
    return result;
}

static const char *capture_closes(matcher *m, const char *s, const char *p)
{
    int i = m->count - 1;
    while (i >= 0 && m->captures[i].length != LENGTH_OPEN)
        i--;
    if (i < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->captures[i].length = s - m->captures[i].start;
    const char *result = match(m, s, p);
    if (!result)
        m->captures[i].length = LENGTH_OPEN;
    return result;
}

static const char *captured_again(matcher *m, const char *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= m->count || m->captures[i].length == LENGTH_OPEN)
        luaL_error(m->L, "invalid capture index %%%d in the pattern", i + 1);
    ptrdiff_t length = m->captures[i].length;
    if (length == LENGTH_POSITION)
        return NULL; /* a number is not in the text */
    step(m, length / 16);
    if (m->subject_end - s < length || memcmp(m->captures[i].start, s, (size_t)length) != 0)
        return NULL;
    return s + length;
}

/* %f[set]: p is at the set. */
static bool at_frontier(matcher *m, const char *s, const char *p, const char *end)
{
    int before = s == m->subject ? 0 : (unsigned char)s[-1];
    int here = s < m->subject_end ? (unsigned char)*s : 0;
    return !in_set(m, before, p, end - 1) && in_set(m, here, p, end - 1);
}

/* ---- a pattern ---- */

/* %b, %f and %1: moves both on. False: p is at none of these. *s becomes NULL without a match. */
static bool special(matcher *m, const char **s, const char **p)
{
    char kind = (*p)[1];
    if (kind == 'b') {
        *s = balanced(m, *s, *p + 2);
        *p += 4;
    } else if (kind == 'f') {
        const char *set = *p + 2;
        if (*set != '[')
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        *p = item_end(m, set);
        if (!at_frontier(m, *s, set, *p))
            *s = NULL;
    } else if (isdigit((unsigned char)kind)) {
        *s = captured_again(m, *s, kind);
        *p += 2;
    } else {
        return false;
    }
    return true;
}

/* A loop for what needs no way back, recursion for the rest. */
static const char *match_items(matcher *m, const char *s, const char *p)
{
    while (p < m->pattern_end) {
        step(m, 1);
        if (*p == '(')
            return p[1] == ')' ? capture_opens(m, s, p + 2, LENGTH_POSITION)
                               : capture_opens(m, s, p + 1, LENGTH_OPEN);
        if (*p == ')')
            return capture_closes(m, s, p + 1);
        if (*p == '$' && p + 1 == m->pattern_end)
            return s == m->subject_end ? s : NULL;
        if (*p == ESCAPE && special(m, &s, &p)) {
            if (!s)
                return NULL;
            continue;
        }
        const char *end = item_end(m, p);
        char sign = end < m->pattern_end ? *end : '\0';
        if (sign == '*')
            return longest(m, s, p, end);
        if (sign == '-')
            return shortest(m, s, p, end);
        bool taken = takes(m, s, p, end);
        if (sign == '+')
            return taken ? longest(m, s + 1, p, end) : NULL;
        if (sign == '?') {
            const char *result = taken ? match(m, s + 1, end + 1) : NULL;
            if (result)
                return result;
            p = end + 1;
        } else if (taken) {
            s++;
            p = end;
        } else {
            return NULL;
        }
    }
    return s;
}

static const char *match(matcher *m, const char *s, const char *p)
{
    if (++m->depth > DEPTH_MAX)
        luaL_error(m->L, "pattern too complex");
    const char *result = match_items(m, s, p);
    m->depth--;
    return result;
}

static matcher matcher_for(lua_State *L, const char *subject, size_t subject_length,
                           const char *pattern, size_t pattern_length)
{
    return (matcher){.L = L,
                     .box = reid_lua_box_of(L),
                     .subject = subject,
                     .subject_end = subject + subject_length,
                     .pattern_end = pattern + pattern_length};
}

static const char *match_at(matcher *m, const char *s, const char *p)
{
    m->depth = m->count = 0;
    return match(m, s, p);
}

/* ---- captures as values ---- */

static void push_capture(matcher *m, int i, const char *s, const char *end)
{
    if (i >= m->count) {
        if (i != 0)
            luaL_error(m->L, "invalid capture index %%%d", i + 1);
        lua_pushlstring(m->L, s, (size_t)(end - s));
        return;
    }
    ptrdiff_t length = m->captures[i].length;
    if (length == LENGTH_OPEN)
        luaL_error(m->L, "unfinished capture");
    if (length == LENGTH_POSITION)
        lua_pushinteger(m->L, m->captures[i].start - m->subject + 1);
    else
        lua_pushlstring(m->L, m->captures[i].start, (size_t)length);
}

/* All of them; without any, the whole match if `whole`. Returns how many. */
static int push_captures(matcher *m, const char *s, const char *end, bool whole)
{
    int count = m->count == 0 && whole ? 1 : m->count;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++)
        push_capture(m, i, s, end);
    return count;
}

/* ---- find and match ---- */

/* Offset of argument `init`, at most length + 1. */
static size_t start_offset(lua_State *L, int argument, size_t length)
{
    lua_Integer init = luaL_optinteger(L, argument, 1);
    if (init > 0)
        return (lua_Unsigned)init - 1 > length ? length + 1 : (size_t)init - 1;
    if (init == 0 || init < -(lua_Integer)length)
        return 0;
    return length - (size_t)-init;
}

static int find_plain(lua_State *L, const char *s, size_t length, size_t init, const char *p,
                      size_t pattern_length)
{
    reid_lua_charge(L, (int64_t)((length - init + pattern_length) / 16));
    const char *at = memmem(s + init, length - init, p, pattern_length);
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - s + 1);
    lua_pushinteger(L, at - s + (lua_Integer)pattern_length);
    return 2;
}

static bool has_specials(const char *p, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (p[i] && strchr(SPECIALS, p[i]))
            return true;
    }
    return false;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t length, pattern_length;
    const char *s = luaL_checklstring(L, 1, &length);
    const char *p = luaL_checklstring(L, 2, &pattern_length);
    size_t init = start_offset(L, 3, length);
    if (init > length) {
        lua_pushnil(L);
        return 1;
    }
    reid_lua_charge(L, (int64_t)(pattern_length / 16));
    if (find && (lua_toboolean(L, 4) || !has_specials(p, pattern_length)))
        return find_plain(L, s, length, init, p, pattern_length);
    matcher m = matcher_for(L, s, length, p, pattern_length);
    bool anchored = *p == '^';
    for (const char *at = s + init; at <= m.subject_end; at++) {
        const char *end = match_at(&m, at, p + anchored);
        if (end && find) {
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, end - s);
            return push_captures(&m, NULL, NULL, false) + 2;
        }
        if (end)
            return push_captures(&m, at, end, true);
        if (anchored)
            break;
    }
    lua_pushnil(L);
    return 1;
}

static int text_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int text_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch ---- */

enum { GMATCH_SUBJECT = 1, GMATCH_PATTERN, GMATCH_AT, GMATCH_LAST_END, GMATCH_VALUES = 4 };

static int gmatch_next(lua_State *L)
{
    size_t length, pattern_length;
    const char *s = lua_tolstring(L, lua_upvalueindex(GMATCH_SUBJECT), &length);
    const char *p = lua_tolstring(L, lua_upvalueindex(GMATCH_PATTERN), &pattern_length);
    lua_Integer start = lua_tointeger(L, lua_upvalueindex(GMATCH_AT));
    lua_Integer last_end = lua_tointeger(L, lua_upvalueindex(GMATCH_LAST_END));
    matcher m = matcher_for(L, s, length, p, pattern_length);
    for (lua_Integer at = start; at <= (lua_Integer)length; at++) {
        const char *end = match_at(&m, s + at, p);
        if (!end || end - s == last_end) /* not the empty match behind the last one */
            continue;
        lua_pushinteger(L, end - s);
        lua_copy(L, -1, lua_upvalueindex(GMATCH_AT));
        lua_replace(L, lua_upvalueindex(GMATCH_LAST_END));
        return push_captures(&m, s + at, end, true);
    }
    lua_pushinteger(L, (lua_Integer)length + 1);
    lua_replace(L, lua_upvalueindex(GMATCH_AT));
    return 0;
}

static int text_gmatch(lua_State *L)
{
    size_t length;
    luaL_checklstring(L, 1, &length);
    luaL_checkstring(L, 2);
    size_t init = start_offset(L, 3, length);
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer)init);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, GMATCH_VALUES);
    return 1;
}

/* ---- gsub ---- */

static void add_template(matcher *m, luaL_Buffer *out, const char *s, const char *end)
{
    size_t length;
    const char *text = lua_tolstring(m->L, 3, &length);
    step(m, (ptrdiff_t)length);
    for (size_t i = 0; i < length; i++) {
        if (text[i] != ESCAPE) {
            luaL_addchar(out, text[i]);
            continue;
        }
        i++;
        if (text[i] == ESCAPE) {
            luaL_addchar(out, ESCAPE);
        } else if (text[i] == '0') {
            luaL_addlstring(out, s, (size_t)(end - s));
        } else if (isdigit((unsigned char)text[i])) {
            push_capture(m, text[i] - '1', s, end);
            luaL_tolstring(m->L, -1, NULL); /* a position is a number */
            lua_remove(m->L, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(m->L, "invalid use of '%%' in replacement string");
        }
    }
}

static void add_replacement(matcher *m, luaL_Buffer *out, const char *s, const char *end)
{
    lua_State *L = m->L;
    int type = lua_type(L, 3);
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, end, true), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, s, end);
        lua_gettable(L, 3);
    } else {
        add_template(m, out, s, end);
        return;
    }
    if (!lua_toboolean(L, -1)) { /* the match stays */
        lua_pop(L, 1);
        luaL_addlstring(out, s, (size_t)(end - s));
        return;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(out);
}

static int text_gsub(lua_State *L)
{
    size_t length, pattern_length;
    const char *s = luaL_checklstring(L, 1, &length);
    const char *p = luaL_checklstring(L, 2, &pattern_length);
    int type = lua_type(L, 3);
    luaL_argexpected(L,
                     type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                         type == LUA_TTABLE,
                     3, "string/function/table");
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)length + 1);
    lua_settop(L, 4);
    matcher m = matcher_for(L, s, length, p, pattern_length);
    bool anchored = *p == '^';
    const char *last_end = NULL;
    lua_Integer count = 0;
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    while (count < most) {
        const char *end = match_at(&m, s, p + anchored);
        if (end && end != last_end) {
            count++;
            add_replacement(&m, &out, s, end);
            s = last_end = end;
        } else if (s < m.subject_end) {
            luaL_addchar(&out, *s++);
        } else {
            break;
        }
        if (anchored)
            break;
    }
    luaL_addlstring(&out, s, (size_t)(m.subject_end - s));
    luaL_pushresult(&out);
    lua_pushinteger(L, count);
    return 2;
}

/* ---- rep ---- */

static int text_rep(lua_State *L)
{
    size_t length, between_length;
    const char *s = luaL_checklstring(L, 1, &length);
    lua_Integer count = luaL_checkinteger(L, 2);
    const char *between = luaL_optlstring(L, 3, "", &between_length);
    if (count <= 0 || length + between_length == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((lua_Unsigned)count > REID_LUA_MEMORY_BYTES / (length + between_length))
        return luaL_error(L, "resulting string too large");
    size_t total = length * (size_t)count + between_length * (size_t)(count - 1);
    reid_lua_charge(L, count / 8);
    luaL_Buffer out;
    char *at = luaL_buffinitsize(L, &out, total);
    while (count-- > 0) {
        memcpy(at, s, length);
        at += length;
        if (count > 0)
            memcpy(at, between, between_length);
        at += between_length;
    }
    luaL_pushresultsize(&out, total);
    return 1;
}

void reid_lua_open_text(lua_State *L)
{
    static const luaL_Reg FUNCTIONS[] = {{"find", text_find}, {"gmatch", text_gmatch},
                                         {"gsub", text_gsub}, {"match", text_match},
                                         {"rep", text_rep},   {NULL, NULL}};
    luaL_setfuncs(L, FUNCTIONS, 0);
}
