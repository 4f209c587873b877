/* The box of scripted hooks: ways out of it, budgets that cannot be got past, and libraries that do
 * what Lua's own do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/guest/lua_box.h"
#include "guest_fixture.h"
#include "harness/harness.h"

#define INSTRUCTIONS "budget of 10000000 instructions for one call is used up"
#define MEMORY "more than its 16 MiB of memory"

/* ---- ways out ---- */

static void test_what_is_not_there(void **unused)
{
    guest_lua_works(
        "for _, name in ipairs{'io', 'os', 'debug', 'package', 'require', 'load', 'loadstring',\n"
        "    'loadfile', 'dofile', 'coroutine', 'warn', 'module', 'setfenv'} do\n"
        "  assert(_G[name] == nil and _ENV[name] == nil, name)\n"
        "end\n"
        "assert(string.dump == nil and string.pack == nil and math.randomseed ~= nil)");
    /* Nothing but what is listed, at any depth. */
    guest_lua_works(
        "local allowed = {}\n"
        "for name in ([[_G _VERSION assert collectgarbage error getmetatable ipairs math next\n"
        "    options pairs pcall print rawequal rawget rawlen rawset select setmetatable state\n"
        "    string table tonumber tostring trainer type utf8 xpcall after_step\n"
        "    string.byte string.char string.find string.format string.gmatch string.gsub\n"
        "    string.len string.lower string.match string.rep string.reverse string.sub\n"
        "    string.upper table.concat table.insert table.move table.pack table.remove\n"
        "    table.sort table.unpack]]):gmatch('%S+') do allowed[name] = true end\n"
        "for name, value in pairs(_G) do\n"
        "  assert(allowed[name], name)\n"
        "  if type(value) == 'table' and (name == 'string' or name == 'table') then\n"
        "    for inner in pairs(value) do assert(allowed[name .. '.' .. inner], inner) end\n"
        "  end\n"
        "end");
}

static void test_metatables(void **unused)
{
    guest_lua_works("assert(getmetatable('') == false)\n"
                    "assert(not pcall(setmetatable, '', {}))\n"
                    "assert(getmetatable(trainer) == false)\n"
                    "assert(getmetatable(trainer.storage) == false)\n"
                    "assert(not pcall(rawset, trainer, 'iter', 1))\n"
                    "assert(('x'):rep(3) == 'xxx')");
    guest_lua_works(
        "assert('10' + 1 == 11 and -'2' == -2 and '3' * '4' == 12 and 10 .. '' == '10')");
    guest_lua_works("local mt = {__index = {a = 1}, other = 2}\n"
                    "local t = setmetatable({}, mt)\n"
                    "assert(t.a == 1 and getmetatable(t) == mt)\n"
                    "setmetatable(t, nil) assert(t.a == nil and getmetatable(t) == nil)\n"
                    "local p = setmetatable({}, {__metatable = 'mine'})\n"
                    "assert(getmetatable(p) == 'mine' and not pcall(setmetatable, p, {}))\n"
                    "local v = setmetatable({}, {__add = function(a, b) return 7 end,\n"
                    "  __call = function(self, x) return x end, __len = function() return 3 end})\n"
                    "assert(v + 1 == 7 and v(5) == 5 and #v == 3)");
    /* A finalizer would run outside of the count, weak tables show the collector's time. */
    guest_lua_fails("setmetatable({}, {__gc = function() while true do end end})",
                    "a hook's metatable cannot have __gc");
    guest_lua_fails("setmetatable({}, {__mode = 'k'})", "a hook's metatable cannot have __mode");
    guest_lua_works("local mt = {} local t = setmetatable({}, mt)\n"
                    "mt.__gc = function() while true do end end\n" /* too late to count */
                    "t = nil for i = 1, 2e4 do local garbage = {} end");
}

static void test_text_chunks_only(void **unused)
{
    lua_State *L = luaL_newstate(); /* a whole, valid binary chunk */
    assert_int_equal(luaL_loadstring(L, "function after_step() end"), LUA_OK);
    lua_getglobal(L, "string");
    luaL_requiref(L, "string", luaopen_string, 0);
    lua_getfield(L, -1, "dump");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    guest_fixture f;
    guest_fixture_init(&f, "lua", lua_tostring(L, -1), NULL);
    assert_int_equal(guest_fixture_open(&f), REID_ERR_INVALID);
    assert_non_null(strstr(f.err.text, "attempt to load a binary chunk"));
    guest_fixture_fini(&f);
    lua_close(L);
}

/* ---- budgets ---- */

/* Other programs may keep the machine busy meanwhile. */
static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void test_instructions(void **unused)
{
    guest_lua_fails("while true do end", "decay.lua:2: the " INSTRUCTIONS);
    guest_lua_fails("local function f() return f() end f()", INSTRUCTIONS);
    guest_lua_fails("::again:: goto again", INSTRUCTIONS);
    guest_lua_fails("for i = 1, math.maxinteger do end", INSTRUCTIONS);
    guest_lua_works("for i = 1, 1e6 do local x = i * 2 end");
}

static void test_nothing_swallows_the_end(void **unused)
{
    static const char *const BODIES[] = {
        "while true do pcall(function() while true do end end) end",
        "pcall(pcall, pcall, function() while true do end end) while true do end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "xpcall(error, function() while true do end end)",
        "xpcall(error, function() error('again') end)",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
        "print(setmetatable({}, {__tostring = function() while true do end end}))",
        "table.sort({3, 2, 1}, function() while true do end end)",
        "('x'):gsub('.', function() while true do end end)",
        "for k in pairs(setmetatable({}, {__pairs = function() while true do end end})) do end",
    };
    for (size_t i = 0; i < sizeof BODIES / sizeof BODIES[0]; i++)
        guest_lua_fails(BODIES[i], i == 4 ? "again" : INSTRUCTIONS);
    /* What is to be closed on the way out has a moment and not more; its errors change nothing. */
    guest_lua_fails("local t <close> = setmetatable({}, {__close = function() while true do end "
                    "end})\nwhile true do end",
                    INSTRUCTIONS);
    guest_lua_fails("local t <close> = setmetatable({}, {__close = function() error('x') end})\n"
                    "error('first')",
                    "x");
    double start_s = cpu_seconds();
    guest_lua_fails("local big = ('x'):rep(1 << 22)\n"
                    "local mt = {__close = function() for i = 1, 50 do big:upper() end end}\n"
                    "local function f() local c <close> = setmetatable({}, mt) return 1 + f() end\n"
                    "local g <close> = setmetatable({}, mt) while true do pcall(f) end",
                    "the ");
    assert_true(cpu_seconds() - start_s < 10);
    /* pcall itself works. */
    guest_lua_works("local ok, why = pcall(error, 'x') assert(not ok and why == 'x')\n"
                    "ok, why = pcall(error, {1}) assert(not ok and why[1] == 1)\n"
                    "local t = table.pack(pcall(function(...) return ... end, 1, nil, 3))\n"
                    "assert(t.n == 4 and t[1] == true and t[2] == 1 and t[4] == 3)\n"
                    "t = table.pack(xpcall(function(...) return ... end, print, 1, nil))\n"
                    "assert(t.n == 3 and t[1] == true and t[2] == 1)\n"
                    "t = table.pack(xpcall(error, function(e) return e .. '!', 2 end, 'no'))\n"
                    "assert(t.n == 3 and t[1] == false and t[2] == 'no!' and t[3] == 2)");
}

static void test_memory(void **unused)
{
    guest_lua_fails("local s = 'x' while true do s = s .. s end", MEMORY);
    guest_lua_fails("local t = {} for i = 1, 1e9 do t[i] = i end", MEMORY);
    guest_lua_fails("local t = {} while true do t = {t} end", "the ");
    guest_lua_fails("return ('x'):rep(1e9)", "resulting string too large");
    guest_lua_fails("return ('x'):rep(1 << 40, ('y'):rep(1 << 20))", "string too large");
    guest_lua_fails("return ('x'):rep(12 << 20):upper()", MEMORY);
    guest_lua_fails("while true do pcall(string.rep, 'x', 15 << 20) end", MEMORY);
    guest_lua_fails("while true do pcall(string.rep, 'x', 7 << 20) end", "the ");
    guest_lua_fails("local t = {} for i = 1, 15e4 do t[i] = {i} end while true do t[#t] = {} end",
                    "the ");
    guest_lua_fails("local a = {} while true do pcall(function() a[#a+1] = ('x'):rep(1e6) .. #a "
                    "end) end",
                    MEMORY);
    guest_lua_fails("local t = {} for i = 1, 200 do t[i] = ('x'):rep(1e5) .. i end\n"
                    "return table.concat(t)",
                    MEMORY);
    guest_lua_works("assert(#('x'):rep(4 << 20) == 4 << 20)\n"
                    "for i = 1, 20 do local s = ('x'):rep(1 << 20) .. i end");
    guest_lua_works("assert(collectgarbage('count') < 1000)");
    guest_lua_fails("collectgarbage()", "only 'count' is there for hooks, not 'collect'");
    /* The next call has its memory again. */
    guest_fixture f;
    guest_fixture_init(&f, "lua",
                       "function after_step(t) if t.iter == 1 then local s = 'x' "
                       "while true do s = s .. s end end return #('x'):rep(1e6) end",
                       NULL);
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(guest_fixture_call(&f, REID_AFTER_STEP, 1), REID_ERR_EXHAUSTED);
        reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 2), &f.err);
    }
    guest_fixture_fini(&f);
}

/* Each of these would keep a library function of Lua's own busy for ages. Here they end within the
 * budget of time, and nearly all by the count. */
static void test_functions_that_loop(void **unused)
{
    static const char *const BODIES[] = {
        "return ('a'):rep(40):find(('a?'):rep(40) .. ('a'):rep(40))",
        "return ('a'):rep(5000):find(('.-'):rep(20) .. 'b')",
        "return ('a'):rep(5000):match(('.*'):rep(20) .. 'b')",
        "for m in ('a'):rep(5000):gmatch(('.*'):rep(20) .. 'b') do end",
        "return ('a'):rep(5000):gsub(('.-'):rep(20) .. 'b', '')",
        "return ('a'):rep(1 << 20):find('[' .. ('b'):rep(1 << 20) .. ']')",
        "return ('('):rep(1 << 15):gsub('%b()', '')",
        "return ('a'):rep(1 << 22):find('%f[%A]') and ('a'):rep(5000):find('(.*)(.*)(.*)%1%2%3b')",
        "local t = setmetatable({}, {__len = function() return (1 << 31) - 2 end})\n"
        "table.insert(t, 1, 0)",
        "local t = setmetatable({}, {__len = function() return (1 << 31) - 2 end})\n"
        "table.remove(t, 1)",
        "local t = setmetatable({}, {__len = function() return (1 << 31) - 2 end})\n"
        "table.sort(t, rawequal)",
        "table.move({}, 1, 1 << 60, 2, {})",
        "table.concat(setmetatable({}, {__index = string}), '', 1, 1 << 60)",
        "local t = {} for i = 1, 1e5 do t[i] = '' end for i = 1, 1e3 do table.concat(t) end",
        "local t = {} for i = 1, 1e4 do t[i] = -i end for i = 1, 1e3 do table.sort(t) end",
        "local t = {} for i = 1, 1e5 do t[i] = i end for i = 1, 1e3 do for k in pairs(t) do break "
        "end end",
        "for i = 1, 1e7 do local s = ('x'):rep(1 << 20) end",
        "local s = ('x'):rep(1 << 20) for i = 1, 1e7 do print(s) end",
    };
    for (size_t i = 0; i < sizeof BODIES / sizeof BODIES[0]; i++) {
        double start_s = cpu_seconds();
        char text[1024];
        reid_status status = guest_run_lua(BODIES[i], text);
        double seconds = cpu_seconds() - start_s;
        if (status == REID_OK || seconds > 10)
            fail_msg("%s: %s after %.1f s", BODIES[i], status ? text : "went well", seconds);
        if (i != 12) /* refused at the first element */
            assert_int_equal(status, REID_ERR_EXHAUSTED);
    }
    guest_lua_works("assert(#(''):rep(1 << 62) == 0 and (''):rep(1 << 62, '') == '')");
    guest_lua_works("assert(('a'):rep(1 << 20):find(('a'):rep(1 << 19) .. 'b', 1, true) == nil)");
    guest_lua_fails("table.unpack({}, 1, 1e8)", "too many results to unpack");
    guest_lua_fails("table.insert(setmetatable({}, {__len = function() return -5 end}), 1)",
                    "its length is out of bounds");
    guest_lua_fails("table.insert(setmetatable({}, {__len = function() return 1 << 62 end}), 1)",
                    "its length is out of bounds");
    guest_lua_fails("return ('x'):rep(500):find(('(x'):rep(100))", "too many captures");
    guest_lua_fails("return ('x'):rep(500):find(('x?'):rep(400))", "pattern too complex");
}

/* Slow single instructions that are not counted by size: processor time ends them. */
static void test_processor_time(void **unused)
{
    double start_s = cpu_seconds();
    guest_lua_fails("local a, b = ('x'):rep(3e6) .. 'a', ('x'):rep(3e6) .. 'b'\n"
                    "for i = 1, 1e7 do local less = a < b end",
                    "budget of 2 s of processor time for one call is used up");
    assert_true(cpu_seconds() - start_s < 10);
}

/* ---- the same as Lua's own ---- */

static void test_pairs_in_order(void **unused)
{
    guest_lua_works(
        "local t = {[true] = 1, [false] = 2, b = 3, a = 4, ['a\\0'] = 5, [2.5] = 6, [-1] = 7,\n"
        "  [1 << 53] = 8, [(1 << 53) + 1] = 9, [1/0] = 10, [''] = 11, 12, 13, [3] = 14}\n"
        "local seen = {}\n"
        "for k, v in pairs(t) do seen[#seen + 1] = v assert(t[k] == v) end\n"
        "assert(table.concat(seen, ' ') == '7 12 13 6 14 8 9 10 11 4 5 3 2 1',\n"
        "  table.concat(seen, ' '))");
    guest_lua_works(
        "local t = {a = 1, b = 2, c = 3, d = 4} local seen = ''\n"
        "for k, v in pairs(t) do seen = seen .. k t.b = nil t.c = 9 t.e = 1\n"
        "  if k == 'c' then assert(v == 9) end end\n"
        "assert(seen == 'acd', seen)\n"
        "for k in pairs({}) do error('empty') end\n"
        "assert(not pcall(pairs) and not pcall(pairs, 3))\n"
        "local p = setmetatable({}, {__pairs = function(t) return next, {1}, nil end})\n"
        "for k, v in pairs(p) do assert(k == 1 and v == 1) end");
}

static void test_table_functions(void **unused)
{
    guest_lua_works(
        "local t = {1, 2, 3}\n"
        "table.insert(t, 4) table.insert(t, 1, 0) table.insert(t, 6, 5)\n"
        "assert(table.concat(t, ',') == '0,1,2,3,4,5')\n"
        "assert(not pcall(table.insert, t, 8, 1) and not pcall(table.insert, t, 0, 1))\n"
        "assert(not pcall(table.insert, t) and not pcall(table.insert, t, 1, 2, 3))\n"
        "assert(table.remove(t) == 5 and table.remove(t, 1) == 0 and table.remove(t, 5) == nil)\n"
        "assert(table.concat(t, ',') == '1,2,3,4')\n"
        "assert(not pcall(table.remove, t, 6) and table.remove({}) == nil)\n"
        "assert(table.remove({}, 0) == nil and table.remove({}, 1) == nil)\n"
        "assert(table.concat(table.move(t, 2, 4, 1), ',') == '2,3,4,4')\n"
        "assert(table.concat(table.move(t, 1, 3, 2), ',') == '2,2,3,4')\n"
        "assert(table.concat(table.move(t, 1, 2, 3, {7, 8}), ',') == '7,8,2,2')\n"
        "assert(table.concat({1, 2.5, 'x'}, '-', 2, 3) == '2.5-x' and table.concat({}) == '')\n"
        "assert(not pcall(table.concat, {{}}))\n"
        "local a, b, c = table.unpack({1, nil, 3}, 1, 3) assert(a == 1 and b == nil and c == 3)\n"
        "assert(select('#', table.unpack({}, 1, 0)) == 0)\n"
        "assert(select('#', table.unpack({}, math.maxinteger, math.maxinteger)) == 1)");
    guest_lua_works(
        "for n = 0, 70 do\n"
        "  local t = {} for i = 1, n do t[i] = {math.random(9), i} end\n"
        "  table.sort(t, function(a, b) return a[1] < b[1] end)\n"
        "  for i = 2, n do\n"
        "    assert(t[i - 1][1] < t[i][1] or t[i - 1][1] == t[i][1] and t[i - 1][2] < t[i][2])\n"
        "  end\n"
        "end\n"
        "local t = {3, 1, 2} table.sort(t) assert(table.concat(t) == '123')\n"
        "t = {'b', 'a', 'B'} table.sort(t) assert(table.concat(t) == 'Bab')\n"
        "table.sort({1, 2, 3, 4}, function() return true end)\n"
        "assert(not pcall(table.sort, {1, 'x'}))");
}

/* A text from a small alphabet, so that much matches. */
static void random_text(reid_rng *rng, const char *const *pieces, uint32_t count, uint32_t most,
                        reid_str *out)
{
    reid_str_clear(out);
    reid_str_add(out, "");
    for (uint32_t n = reid_rng_below(rng, most + 1); n > 0; n--)
        reid_str_add(out, pieces[reid_rng_below(rng, count)]);
}

/* Calls string.NAME(subject, pattern, …) and appends what came of it. */
static void outcome(lua_State *L, const char *name, const reid_str *subject,
                    const reid_str *pattern, const reid_str *third, reid_str *out)
{
    lua_settop(L, 0);
    lua_getglobal(L, "apply");
    lua_pushstring(L, name);
    lua_pushlstring(L, subject->data, subject->length);
    lua_pushlstring(L, pattern->data, pattern->length);
    lua_pushlstring(L, third->data, third->length);
    if (lua_pcall(L, 4, 1, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    reid_str_add(out, lua_tostring(L, -1));
}

static const char APPLY[] =
    "function apply(name, s, p, r)\n"
    "  local t\n"
    "  if name == 'gmatch' then\n"
    "    t = table.pack(pcall(function() local l = {}\n"
    "      for a, b, c in s:gmatch(p) do l[#l + 1] = tostring(a) .. tostring(b) .. tostring(c) "
    "end\n"
    "      return table.concat(l, '|') end))\n"
    "  elseif name == 'gsub' then t = table.pack(pcall(string.gsub, s, p, r))\n"
    "  elseif name == 'gsub2' then\n"
    "    t = table.pack(pcall(string.gsub, s, p, {a = 'X', b = false, ab = 7}, 3))\n"
    "  elseif name == 'find' then t = table.pack(pcall(string.find, s, p, #r - 3, #r == 2))\n"
    "  else t = table.pack(pcall(string.match, s, p, #r - 3)) end\n"
    "  if not t[1] then return 'error' end\n"
    "  for i = 1, t.n do t[i] = tostring(t[i]) end\n"
    "  return table.concat(t, ';')\n"
    "end\n";

/* Lua's own library is the judge: same results, and errors at the same places. */
static void test_patterns_are_those_of_lua(void **unused)
{
    static const char *const SUBJECT[] = {"a", "b", "A", "1", " ", "(", ")", "ab", "a.b", "\xe9"};
    static const char *const PATTERN[] = {
        "a",    "b",      ".",     "%a",   "%A",   "%d",     "%s",   "%w", "%u", "%p", "[ab]",
        "[^a]", "[%d-z]", "[a-b]", "[]a]", "[^]]", "*",      "+",    "-",  "?",  "(",  ")",
        "()",   "%1",     "^",     "$",    "%b()", "%f[%a]", "%(",   "%%", "[",  "%",  "%f",
        "%bx",  "%x",     "%l",    "%g",   "%c",   "(a*)",   "(.-)", "%2"};
    static const char *const REPLACEMENT[] = {"x", "%0", "%1", "%2", "%%", "%", "%x"};
    static const char *const NAMES[] = {"find", "match", "gmatch", "gsub", "gsub2"};
    lua_State *oracle = luaL_newstate();
    luaL_openlibs(oracle);
    reid_lua_box box;
    reid_error err = {0};
    reid_assert_ok(reid_lua_box_init(&box, "patterns", &err), &err);
    assert_int_equal(luaL_dostring(oracle, APPLY), LUA_OK);
    assert_int_equal(luaL_dostring(box.L, APPLY), LUA_OK);
    reid_str s = REID_STR_INIT, p = REID_STR_INIT, r = REID_STR_INIT;
    reid_str expected = REID_STR_INIT, actual = REID_STR_INIT;
    size_t matched = 0, errors = 0;
    for (unsigned round = 0; round < 6000; round++) {
        reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, round, 0);
        random_text(&rng, SUBJECT, 10, 8, &s);
        random_text(&rng, PATTERN, sizeof PATTERN / sizeof PATTERN[0], 5, &p);
        random_text(&rng, REPLACEMENT, 7, 3, &r);
        const char *name = NAMES[round % 5];
        reid_str_clear(&expected);
        reid_str_clear(&actual);
        outcome(oracle, name, &s, &p, &r, &expected);
        box.left = REID_LUA_INSTRUCTIONS;
        box.next_look_ns = INT64_MAX;
        outcome(box.L, name, &s, &p, &r, &actual);
        if (strcmp(actual.data, expected.data) != 0)
            fail_msg("%s('%s', '%s', '%s') is %s, not %s", name, s.data, p.data, r.data,
                     actual.data, expected.data);
        errors += strcmp(expected.data, "error") == 0;
        matched += strcmp(expected.data, "error") != 0 && strcmp(expected.data, "true;nil") != 0;
    }
    assert_true(matched > 900 && errors > 300); /* both have been looked at */
    lua_close(oracle);
    reid_lua_box_fini(&box);
    reid_str_fini(&s);
    reid_str_fini(&p);
    reid_str_fini(&r);
    reid_str_fini(&expected);
    reid_str_fini(&actual);
}

static void test_find_from(void **unused)
{
    guest_lua_works(
        "assert(('hello'):find('l', -2) == 4 and ('hello'):find('', 6) == 6)\n"
        "assert(('hello'):find('', 7) == nil and ('hello'):find('h', -100) == 1)\n"
        "assert(('hello'):find('h', math.mininteger) == 1)\n"
        "assert(('hello'):find('h', math.maxinteger) == nil)\n"
        "assert(('a.b'):find('.', 2, true) == 2 and ('a\\0b'):find('\\0') == 2)\n"
        "assert(('a\\0b'):find('%z') == nil and ('a\\0b'):match('[\\0]()') == 3)\n"
        "assert(('abc'):gsub('%w', '%0%0', 2) == 'aabbc' and ('abc'):gsub('', '-') == '-a-b-c-')\n"
        "assert(('x = 1'):gsub('(%w+) = (%w+)', '%2 = %1') == '1 = x')\n"
        "assert(('ab'):rep(3, ',') == 'ab,ab,ab' and ('ab'):rep(0) == '' and ('x'):rep(-1) == '')\n"
        "assert(('x'):rep(1, ',') == 'x' and (''):rep(3, ',') == ',,')\n"
        "assert(('abc'):gsub('b', {b = true == false}) == 'abc')\n"
        "assert(not pcall(string.gsub, 'abc', 'b', {b = {}}))\n"
        "assert(('THE (quick) fox'):find('%((%a+)%)') == 5)\n"
        "assert(select(3, ('THE (quick) fox'):find('%((%a+)%)')) == 'quick')");
}

int main(void)
{
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_metatables),
        cmocka_unit_test(test_text_chunks_only),
        cmocka_unit_test(test_instructions),
        cmocka_unit_test(test_nothing_swallows_the_end),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_functions_that_loop),
        cmocka_unit_test(test_processor_time),
        cmocka_unit_test(test_pairs_in_order),
        cmocka_unit_test(test_table_functions),
        cmocka_unit_test(test_patterns_are_those_of_lua),
        cmocka_unit_test(test_find_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
