#include "engine/guest/lua_box.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/utf8.h"

/* An allocation from 1 KiB on costs an instruction for so many bytes: making and copying it. */
#define BYTES_AN_INSTRUCTION 64
#define LOOK_EVERY_NS 100000000
#define TRACE_LEVELS 12

reid_lua_box *reid_lua_box_of(lua_State *L)
{
    return *(reid_lua_box **)lua_getextraspace(L);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- instructions and time ---- */

static void on_count(lua_State *L, lua_Debug *running);

/* The first breach of a call stays its cause. */
static void note_breach(reid_lua_box *box, reid_lua_breach breach, const lua_Debug *at)
{
    char place[LUA_IDSIZE + 20] = "";
    if (box->breach != REID_LUA_WITHIN)
        return;
    box->breach = breach;
    if (at && at->currentline > 0)
        snprintf(place, sizeof place, "%s:%d: ", at->short_src, at->currentline);
    if (breach == REID_LUA_OVER_MEMORY)
        snprintf(box->cause, sizeof box->cause,
                 "%sthe script needs more than its %zu MiB of memory", place,
                 REID_LUA_MEMORY_BYTES >> 20);
    else if (breach == REID_LUA_OVER_CPU)
        snprintf(box->cause, sizeof box->cause,
                 "%sthe budget of %d s of processor time for one call is used up", place,
                 REID_LUA_CPU_S);
    else
        snprintf(box->cause, sizeof box->cause,
                 "%sthe budget of %d instructions for one call is used up", place,
                 REID_LUA_INSTRUCTIONS);
}

/* From now on every instruction is looked at and nothing is allocated: there may be thousands of
 * __close on the way out. `at`: the running function; NULL: the caller of this library function. */
static void raise_breach(lua_State *L, reid_lua_breach breach, lua_Debug *at)
{
    reid_lua_box *box = reid_lua_box_of(L);
    lua_Debug caller;
    if (!at && lua_getstack(L, 1, &caller))
        at = &caller;
    if (at)
        lua_getinfo(L, "Sl", at);
    note_breach(box, breach, at);
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    lua_pushnil(L);
    lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *running)
{
    reid_lua_box *box = reid_lua_box_of(L);
    box->left -= REID_LUA_STRIDE;
    if (box->left < 0 || box->breach != REID_LUA_WITHIN)
        raise_breach(L, REID_LUA_OVER_INSTRUCTIONS, running);
    /* The thread's own clock is a system call, the other one is not. */
    int64_t now = reid_clock_mono_ns();
    if (now < box->next_look_ns)
        return;
    box->next_look_ns = now + LOOK_EVERY_NS;
    if (thread_cpu_ns() - box->cpu_start_ns > (int64_t)REID_LUA_CPU_S * 1000000000)
        raise_breach(L, REID_LUA_OVER_CPU, running);
}

void reid_lua_charge(lua_State *L, int64_t instructions)
{
    reid_lua_box *box = reid_lua_box_of(L);
    if (instructions > box->left) {
        box->left = -1;
        raise_breach(L, REID_LUA_OVER_INSTRUCTIONS, NULL);
    }
    box->left -= instructions;
}

void reid_lua_pass_breach(lua_State *L, int status)
{
    reid_lua_box *box = reid_lua_box_of(L);
    if (status == LUA_ERRMEM)
        note_breach(box, REID_LUA_OVER_MEMORY, NULL);
    if (box->breach != REID_LUA_WITHIN)
        lua_error(L);
}

/* ---- memory ---- */

static void *allocate(void *user, void *memory, size_t old_bytes, size_t bytes)
{
    reid_lua_box *box = user;
    if (!memory)
        old_bytes = 0; /* it is the kind of object then */
    if (bytes == 0) {
        free(memory);
        box->memory_bytes -= old_bytes;
        return NULL;
    }
    if (bytes > old_bytes) {
        bool over = bytes - old_bytes > REID_LUA_MEMORY_BYTES - box->memory_bytes;
        if (over || (box->refused && box->left < 0)) {
            /* Lua now collects all garbage and asks again: slow work, and charged. */
            box->left -= (int64_t)(box->memory_bytes / BYTES_AN_INSTRUCTION);
            box->refused = true;
            if (box->left < 0 && box->L) /* may be set from anywhere, as a signal handler would */
                lua_sethook(box->L, on_count, LUA_MASKCOUNT, 1);
            return NULL;
        }
        if (bytes >= 1024)
            box->left -= (int64_t)(bytes / BYTES_AN_INSTRUCTION);
    }
    void *result = realloc(memory, bytes);
    if (!result && bytes > old_bytes)
        return NULL;
    box->memory_bytes += bytes - old_bytes;
    return result ? result : memory; /* Lua relies on shrinking */
}

/* ---- errors ---- */

void reid_lua_clean(char *out, size_t size, const char *text, size_t length)
{
    size_t kept = length < size ? length : size - 1;
    if (kept < length) { /* not in the middle of a character */
        for (size_t back = 0; back < 3 && kept > 0 && (text[kept] & 0xC0) == 0x80; back++)
            kept--;
    }
    for (size_t i = 0; i < kept; i++) {
        unsigned char c = (unsigned char)text[i];
        out[i] = text[i];
        if (c == '\t' || c == '\n' || c == '\r')
            out[i] = ' ';
        else if (c < 0x20 || c == 0x7F)
            out[i] = '?';
    }
    out[kept] = '\0';
    for (size_t i = 0; i < kept;) {
        size_t bytes = reid_utf8_length(out + i);
        if (bytes == 0)
            out[i++] = '?';
        else
            i += bytes;
    }
}

/* Message handler. The way to the error, for the log; without memory, since there may be none. */
static int on_error(lua_State *L)
{
    reid_lua_box *box = reid_lua_box_of(L);
    if (box->trace[0])
        return 1; /* of a later error on the way out */
    size_t used = 0;
    lua_Debug at;
    for (int level = 1; level <= TRACE_LEVELS && lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sln", &at);
        if (at.currentline <= 0)
            continue;
        int more = snprintf(box->trace + used, sizeof box->trace - used, "%s%s:%d in %s",
                            used > 0 ? ", " : "", at.short_src, at.currentline,
                            at.name ? at.name : at.what);
        if (more < 0 || (size_t)more >= sizeof box->trace - used)
            break;
        used += (size_t)more;
    }
    return 1;
}

/* The error is on top of the stack. __tostring of an error object is not asked: it is script. */
static reid_status failure(reid_lua_box *box, int status, reid_error *err)
{
    char text[500];
    size_t length;
    if (status == LUA_ERRMEM)
        note_breach(box, REID_LUA_OVER_MEMORY, NULL);
    if (box->breach != REID_LUA_WITHIN) {
        snprintf(text, sizeof text, "%s", box->cause);
    } else if (lua_type(box->L, -1) == LUA_TSTRING) {
        const char *message = lua_tolstring(box->L, -1, &length);
        reid_lua_clean(text, sizeof text, message, length);
    } else {
        snprintf(text, sizeof text, "an error was raised with a %s instead of a message",
                 luaL_typename(box->L, -1));
    }
    if (strncmp(text, box->failure, sizeof box->failure - 1) != 0) {
        snprintf(box->failure, sizeof box->failure, "%.255s", text);
        reid_log_warn("hook '%s': %s%s%s", box->name, text,
                      box->trace[0] ? "; the way there: " : "", box->trace);
    }
    bool over = box->breach != REID_LUA_WITHIN;
    return reid_fail(err, over ? REID_ERR_EXHAUSTED : REID_ERR_INVALID, "%s", text);
}

/* ---- the box ---- */

reid_status reid_lua_box_run(reid_lua_box *box, lua_CFunction fn, void *user, reid_error *err)
{
    lua_State *L = box->L;
    box->left = REID_LUA_INSTRUCTIONS;
    box->cpu_start_ns = thread_cpu_ns();
    box->next_look_ns = reid_clock_mono_ns() + LOOK_EVERY_NS;
    box->refused = false;
    box->breach = REID_LUA_WITHIN;
    box->lines = 0;
    box->trace[0] = '\0';
    lua_sethook(L, on_count, LUA_MASKCOUNT, REID_LUA_STRIDE);
    lua_settop(L, 0);
    lua_pushcfunction(L, on_error);
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, user);
    int status = lua_pcall(L, 1, 0, 1);
    reid_status result = status == LUA_OK ? REID_OK : failure(box, status, err);
    if (box->lines > REID_LUA_LINES)
        reid_log_warn("hook '%s': %zu more lines were printed in this call; %d are shown",
                      box->name, box->lines - REID_LUA_LINES, REID_LUA_LINES);
    lua_settop(L, 0);
    return result;
}

static int open_libraries(lua_State *L)
{
    reid_lua_open_base(L);
    reid_lua_open_trainer(L);
    return 0;
}

reid_status reid_lua_box_init(reid_lua_box *box, const char *name, reid_error *err)
{
    *box = (reid_lua_box){.name = reid_xstrdup(name)};
    /* By name, since a hook that is only tried has no number yet. */
    box->seed = (int64_t)reid_hash64(name, strlen(name), 0);
    box->L = lua_newstate(allocate, box);
    if (!box->L)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the hook '%s'", name);
    *(reid_lua_box **)lua_getextraspace(box->L) = box;
    return reid_lua_box_run(box, open_libraries, NULL, err);
}

void reid_lua_box_fini(reid_lua_box *box)
{
    if (box->L)
        lua_close(box->L);
    reid_str_fini(&box->scratch);
    free(box->name);
    *box = (reid_lua_box){0};
}
