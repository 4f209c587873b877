/* Hooks in Lua: what a script sees and wishes for, its options, its state, its errors. What it
 * cannot do is in test_guest_lua_box.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "guest_fixture.h"
#include "harness/harness.h"
#include "script_trainer.h"

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void refused(const char *source, unsigned points, const char *const *options,
                    const char *words)
{
    guest_fixture f;
    guest_fixture_init(&f, "lua", source, options);
    f.spec.points = points;
    if (guest_fixture_open(&f) == REID_OK)
        fail_msg("this was taken: %s", source);
    if (!strstr(f.err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", f.err.text, words);
    assert_null(f.guest);
    guest_fixture_fini(&f);
}

static void opened(guest_fixture *f, const char *source)
{
    guest_fixture_init(f, "lua", source, NULL);
    reid_assert_ok(guest_fixture_open(f), &f->err);
}

/* ---- open ---- */

static void test_points_are_the_functions(void **unused)
{
    guest_fixture f;
    opened(&f, "function before_epoch() end function after_train() end function other() end");
    assert_int_equal(f.spec.points, 1 << REID_BEFORE_EPOCH | 1 << REID_AFTER_TRAIN);
    guest_fixture_fini(&f);
    guest_fixture_init(&f, "lua", "function before_step() end function after_step() end", NULL);
    f.spec.points = 1 << REID_AFTER_STEP; /* only there */
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    assert_int_equal(f.spec.points, 1 << REID_AFTER_STEP);
    guest_fixture_fini(&f);
    /* As a file may begin; lines count on. */
    opened(&f, "\xEF\xBB\xBF#!/usr/bin/lua\nfunction after_step() error('here') end");
    assert_int_not_equal(guest_fixture_call(&f, REID_AFTER_STEP, 1), REID_OK);
    assert_string_equal(f.err.text, "decay.lua:2: here");
    guest_fixture_fini(&f);
}

static void test_bad_scripts_are_refused(void **unused)
{
    refused("x = 1", 0, NULL, "no function named after a point");
    refused("", 0, NULL, "no function named after a point");
    refused("function after_step() end\nif x the\nend", 0, NULL, "decay.lua:2: 'then' expected");
    refused("function after_step() end\n\nerror('not today')", 0, NULL, "decay.lua:3: not today");
    refused("after_step = 3", 0, NULL, "'after_step' is a number in the script");
    refused("function after_step() end", 1 << REID_BEFORE_STEP | 1 << REID_AFTER_STEP, NULL,
            "no function 'before_step'");
    refused("\x1bLuaT", 0, NULL, "binary chunk");
    refused("while true do end function after_step() end", 0, NULL, "budget of 10000000 instr");
    refused("print(trainer.iter) function after_step() end", 0, NULL, "decay.lua:1: iter is only");
    refused("trainer:stop() function after_step() end", 0, NULL, "trainer:stop is only there");
    refused("state.f = print function after_step() end", 0, NULL, "state.f is a function");
    char *long_script = reid_xmalloc(70000);
    memset(long_script, ' ', 69999);
    long_script[69999] = '\0';
    refused(long_script, 0, NULL, "longer than 65536 bytes");
    free(long_script);
}

static void test_options(void **unused)
{
    guest_fixture f;
    guest_fixture_init(&f, "lua",
                       "assert(options.gamma == '0.1' and options.empty == '' and "
                       "options.a == 'b=c' and options.other == nil)\n"
                       "function after_step() end",
                       OPTIONS("gamma=0.1", "empty=", "a=b=c"));
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    guest_fixture_fini(&f);
    refused("function after_step() end", 0, OPTIONS("gamma"), "'gamma' is not name=value");
    refused("function after_step() end", 0, OPTIONS("=1"), "'=1' is not name=value");
    refused("function after_step() end", 0, OPTIONS("a=1", "a=2"), "'a' is there twice");
}

/* ---- the trainer ---- */

static void test_trainer_fields(void **unused)
{
    guest_lua_works("assert(trainer.iter == 7 and trainer.max_iter == 100)\n"
                    "assert(trainer.epoch == 1 and trainer.max_epoch == 20)\n"
                    "assert(trainer.iters_per_epoch == 5 and trainer.lr == 0.5)\n"
                    "assert(math.type(trainer.iter) == 'integer')\n"
                    "assert(trainer == _G.trainer)");
    guest_lua_fails("return trainer.iteration", "decay.lua:2: the trainer has no 'iteration'");
    guest_lua_fails("trainer.iter = 3", "trainer.iter cannot be assigned to");
    guest_lua_fails("return trainer.storage.loss", "the storage has no 'loss'");
    guest_lua_fails("trainer.storage.loss = 1", "put by storage:put");
}

static void test_storage(void **unused)
{
    guest_fixture f;
    opened(&f, "function after_step(t)\n"
               "  local s = t.storage\n"
               "  assert(s:get('nothing') == nil and s:smoothed('nothing') == nil)\n"
               "  local v, i = s:get('loss')\n"
               "  assert(v == 9 and i == 6, v)\n"
               "  assert(s:smoothed('loss') == 2, s:smoothed('loss'))\n" /* of 1, 2, 9 */
               "  assert(s:smoothed('plain') == 5)\n"
               "  s:put('twice', 2 * v) s:put('nan', 0/0)\n"
               "end");
    const double values[] = {1, 2, 9};
    for (int i = 0; i < 3; i++) {
        reid_event_storage_set_iter(f.storage, 4 + i);
        test_put(f.storage, "loss", values[i], true);
        test_put(f.storage, "plain", 3 + i, false);
    }
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), "put twice=18; put nan=-nan");
    assert_true(isnan(f.wishes.list.items[1].number));
    guest_fixture_fini(&f);
    guest_lua_fails("trainer.storage:put('', 1)", "a name has 1 to 200 bytes");
    guest_lua_fails("trainer.storage:put('a\\0b', 1)", "a name has 1 to 200 bytes");
    guest_lua_fails("trainer.storage:put('\\xff', 1)", "a name has 1 to 200 bytes of UTF-8");
    guest_lua_fails("trainer.storage:put('a', '1')", "number expected, got string");
    guest_lua_fails("trainer.storage.put('a', 1)", "storage expected, got string");
}

static void test_wishes(void **unused)
{
    guest_fixture f;
    opened(&f, "function after_step(t)\n"
               "  t.lr = t.lr / 10\n"
               "  t:set{weight_decay = 1e-4, margin = 2, lr = 0.3}\n"
               "  t:stop('enough\\nof it') t:checkpoint() t:evaluate() t:skip_step()\n"
               "end\n"
               "function before_step(t) t:stop() end");
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f),
                        "set lr=0.05; set lr=0.3; set margin=2; set weight_decay=0.0001; "
                        "stop 'enough of it'; checkpoint; evaluate; skip");
    reid_assert_ok(guest_fixture_call(&f, REID_BEFORE_STEP, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), "stop '-'");
    guest_fixture_fini(&f);
    guest_lua_fails("trainer.lr = 0/0", "lr cannot be set to");
    guest_lua_fails("trainer.lr = 1/0", "lr cannot be set to inf");
    guest_lua_fails("trainer.lr = '0.1'", "lr must be set to a number, not to a string");
    guest_lua_fails("trainer:set{0.1}", "trainer:set wants names");
    guest_lua_fails("trainer:set{[('x'):rep(1e6)] = 1}", "trainer:set wants names");
    guest_lua_fails("trainer:set{['lr\\0'] = 1}", "trainer:set wants names");
    guest_lua_fails("trainer:set(0.1)", "table expected, got number");
    guest_lua_fails("trainer.stop('now')", "trainer expected, got string");
    guest_lua_fails("for i = 1, 100 do trainer:checkpoint() end", "at most 64");
}

/* ---- errors ---- */

static void test_errors_have_their_place(void **unused)
{
    guest_lua_fails("\n\nlocal t = nil\nreturn t.x", "decay.lua:5: attempt to index a nil value");
    guest_lua_fails("error('of mine', 0)", "of mine");
    guest_lua_fails("error({})", "raised with a table instead of a message");
    guest_lua_fails("error()", "raised with a nil instead of a message");
    guest_lua_fails("error('bad \\xff\\x01 text')", "bad ?? text");
    guest_lua_fails("error(setmetatable({}, {__tostring = function() while true do end end}))",
                    "raised with a table");
    guest_lua_fails("after_step = nil trainer = nil local function f() return f() + 1 end f()",
                    "more than its 16 MiB of memory");
    /* A name that ends with .lua stays as it is, a hook works on after an error. */
    guest_fixture f;
    guest_fixture_init(&f, "lua",
                       "n = 0 function after_step() n = n + 1 if n == 1 then error('once') end "
                       "if n == 3 then after_step = 1 end end",
                       NULL);
    free(f.spec.name);
    f.spec.name = reid_xstrdup("step.lua");
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    assert_int_equal(guest_fixture_call(&f, REID_AFTER_STEP, 1), REID_ERR_INVALID);
    assert_string_equal(f.err.text, "step.lua:1: once");
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 2), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 3), &f.err);
    assert_int_equal(guest_fixture_call(&f, REID_AFTER_STEP, 4), REID_ERR_INVALID);
    assert_string_equal(f.err.text, "'after_step' is no longer a function");
    guest_fixture_fini(&f);
}

static char *logged(const char *source)
{
    char *folder = reid_test_dir_new();
    char *path = reid_path_join(folder, "log");
    reid_log_setup(&(reid_log_options){.level = REID_LOG_INFO, .rank = 1, .path = path});
    guest_fixture f;
    opened(&f, source);
    guest_fixture_call(&f, REID_AFTER_STEP, 7);
    guest_fixture_fini(&f);
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    char *text = reid_test_read_text(path);
    free(path);
    reid_test_dir_free(folder);
    return text;
}

static void test_print_and_trace_go_to_the_log(void **unused)
{
    char *text = logged("local function deep() error('down here') end\n"
                        "function after_step()\n"
                        "  print('lr', 0.1, nil, true) print('two\\nlines \\27[1m')\n"
                        "  deep()\nend");
    assert_non_null(strstr(text, ": hook 'decay': lr 0.1 nil true\n"));
    assert_non_null(strstr(text, ": hook 'decay': two\n"));
    assert_non_null(strstr(text, ": hook 'decay': lines ?[1m\n"));
    assert_non_null(strstr(text, "decay.lua:1: down here; the way there: decay.lua:1 in"));
    assert_non_null(strstr(text, "decay.lua:4 in"));
    free(text);
    text = logged("function after_step() for i = 1, 130 do print('line', i) end "
                  "print(('x'):rep(5000)) end");
    assert_non_null(strstr(text, "line 100\n"));
    assert_null(strstr(text, "line 101\n"));
    assert_non_null(strstr(text, "31 more lines were printed in this call; 100 are shown"));
    free(text);
    text = logged("function after_step() print(('x'):rep(5000)) end");
    assert_int_equal(strspn(strstr(text, "xxx"), "x"), 1000);
    free(text);
}

/* ---- state ---- */

#define FILL                                                                                       \
    "function before_step()\n"                                                                     \
    "  state.yes, state.no = true, false\n"                                                        \
    "  state.int, state.least, state.most = -3, math.mininteger, math.maxinteger\n"                \
    "  state.tenth, state.whole, state.minus0 = 0.1, 1.0, -0.0\n"                                  \
    "  state.inf, state.ninf, state.nan, state.nnan = 1/0, -1/0, 0/0, -(0/0)\n"                    \
    "  state.tiny, state.huge = 5e-324, 1.7976931348623157e308\n"                                  \
    "  state.text, state.bytes, state.empty = 'Z\\u{fc}rich \"\\n', '\\0\\xff\\x80', ''\n"         \
    "  state['a key\\0'] = 1 state[3] = 'three' state[2.5] = {} state[true] = {{1, 2}, x = {}}\n"  \
    "  state[1 << 53] = 'a' state[(1 << 53) + 1] = 'b'\n"                                          \
    "end\n"

#define CHECK                                                                                      \
    "function after_step()\n"                                                                      \
    "  local s = state\n"                                                                          \
    "  assert(s.yes == true and s.no == false)\n"                                                  \
    "  assert(s.int == -3 and s.least == math.mininteger and s.most == math.maxinteger)\n"         \
    "  assert(math.type(s.int) == 'integer' and math.type(s.whole) == 'float')\n"                  \
    "  assert(s.tenth == 0.1 and s.whole == 1 and 1 / s.minus0 == -1 / 0)\n"                       \
    "  assert(s.inf == 1 / 0 and s.ninf == -1 / 0 and s.nan ~= s.nan and s.nnan ~= s.nnan)\n"      \
    "  assert(string.format('%f', s.nan) == string.format('%f', 0/0))\n"                           \
    "  assert(string.format('%f', s.nnan) == string.format('%f', -(0/0)))\n"                       \
    "  assert(s.tiny == 5e-324 and s.huge == 1.7976931348623157e308)\n"                            \
    "  assert(s.text == 'Z\\u{fc}rich \"\\n' and s.bytes == '\\0\\xff\\x80' and s.empty == '')\n"  \
    "  assert(s['a key\\0'] == 1 and s[3] == 'three' and #s[2.5] == 0)\n"                          \
    "  assert(s[true][1][1] == 1 and s[true][1][2] == 2 and next(s[true].x) == nil)\n"             \
    "  assert(s[1 << 53] == 'a' and s[(1 << 53) + 1] == 'b')\n"                                    \
    "  assert(kept == state, 'the table is the same one')\n"                                       \
    "end\n"                                                                                        \
    "kept = state\n"

static void test_state_comes_back_to_the_bit(void **unused)
{
    guest_fixture f;
    opened(&f, FILL CHECK "state.old = 'is gone after a load'\n"
                          "function after_epoch() assert(state.old == nil) end");
    reid_assert_ok(guest_fixture_call(&f, REID_BEFORE_STEP, 7), &f.err);
    assert_int_not_equal(guest_fixture_call(&f, REID_AFTER_EPOCH, 7), REID_OK);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    char *saved = guest_fixture_save(&f);
    guest_fixture_reopen(&f);
    char *fresh = guest_fixture_save(&f);
    assert_string_not_equal(fresh, saved);
    reid_assert_ok(guest_fixture_load(&f, saved), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    char *again = guest_fixture_save(&f);
    assert_string_equal(again, saved);
    reid_assert_ok(guest_fixture_load(&f, fresh), &f.err);
    char *back = guest_fixture_save(&f);
    assert_string_equal(back, fresh);
    free(saved);
    free(fresh);
    free(again);
    free(back);
    guest_fixture_fini(&f);
}

static void test_what_cannot_be_kept_is_an_error(void **unused)
{
    guest_lua_fails("state.deep = {list = {1, print}}", "state.deep.list[2] is a function");
    guest_lua_fails("state.t = trainer", "state.t is a userdata");
    guest_lua_fails("state = 3", "the global 'state' is a number; it must stay a table");
    guest_lua_fails("state[{}] = 1", "cannot keep a table as a key");
    guest_lua_fails("state.me = state", "state.me is a table that is also elsewhere");
    guest_lua_fails("state.a = {} state.b = state.a", "state.b is a table that is also elsewhere");
    guest_lua_fails("state.m = setmetatable({}, {})", "state.m has a metatable");
    guest_lua_fails("local t = state for i = 1, 20 do t.x = {} t = t.x end", "nested too deep");
    guest_lua_works("local t = state for i = 1, 15 do t.x = {} t = t.x end");
    guest_lua_fails("state.s = ('x'):rep(70000)", "too large for a checkpoint: over 65536 bytes");
    guest_lua_fails("for i = 1, 20000 do state[i] = i end", "too large for a checkpoint");
    guest_lua_works("for i = 1, 2000 do state[i] = i end state = {new = state}");
}

static void test_state_after_errors(void **unused)
{
    guest_fixture f;
    opened(&f, "state.n = 0 function after_step(t)\n"
               "state.n = t.iter if t.iter == 2 then error('here') end\n"
               "if t.iter == 3 then state.f = print end\nend");
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 1), &f.err);
    /* A hook that fails may go on with what it has; so must a resumed one. */
    assert_int_not_equal(guest_fixture_call(&f, REID_AFTER_STEP, 2), REID_OK);
    char *saved = guest_fixture_save(&f);
    assert_non_null(strstr(saved, "[\"n\",2]"));
    free(saved);
    assert_int_not_equal(guest_fixture_call(&f, REID_AFTER_STEP, 3), REID_OK);
    saved = guest_fixture_save(&f);
    assert_non_null(strstr(saved, "[\"n\",2]"));
    free(saved);
    guest_fixture_fini(&f);
}

static void test_bad_saved_states(void **unused)
{
    guest_fixture f;
    opened(&f, "state.n = 5 function after_step(t) assert(state.n == 5) end");
#define STATE(text) "{\"version\":1,\"seed\":1,\"draws\":0,\"state\":" text "}"
    static const struct {
        const char *json, *words;
    } ROWS[] = {
        {"null", "not the saved state"},
        {"{\"version\":2,\"seed\":1,\"draws\":0,\"state\":{\"table\":[]}}", "of version 2"},
        {"{\"version\":1,\"seed\":1,\"draws\":-1,\"state\":{\"table\":[]}}", "not the saved"},
        {STATE("3"), "damaged: it is no table"},
        {STATE("null"), "damaged"},
        {STATE("{\"table\":[[1]]}"), "no pair"},
        {STATE("{\"table\":[[1,{\"real\":\"x\"}]]}"), "no known kind"},
        {STATE("{\"table\":[[1,{\"bytes\":\"abc\"}]]}"), "hexadecimal"},
        {STATE("{\"table\":[[{\"float\":\"7ff8000000000000\"},1]]}"), "NaN as a key"},
        {STATE("{\"table\":[[1,{\"float\":\"3ff8\"}]]}"), "not 64 bits"},
        {STATE("{\"table\":[[1,{}]]}"), "no known kind"},
        {STATE("{\"table\":[[1,{\"table\":[],\"float\":\"1\"}]]}"), "no known kind"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        assert_int_not_equal(guest_fixture_load(&f, ROWS[i].json), REID_OK);
        if (!strstr(f.err.text, ROWS[i].words))
            fail_msg("%s: %s", ROWS[i].json, f.err.text);
        reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 1), &f.err); /* unchanged */
    }
    guest_fixture_fini(&f);
}

static void test_chance_is_part_of_the_state(void **unused)
{
    const char *source = "function after_step(t) for i = 1, 3 do\n"
                         "t.storage:put('u', math.random()) t.storage:put('d', math.random(6))\n"
                         "t.storage:put('r', math.random(-2, 2)) t.storage:put('i', math.random(0))"
                         "\nend end function after_epoch() math.randomseed(42) end";
    guest_fixture f;
    opened(&f, source);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 1), &f.err);
    char *first = reid_xstrdup(guest_fixture_wishes(&f));
    for (size_t i = 0; i < f.wishes.list.count; i += 4) {
        double u = f.wishes.list.items[i].number, d = f.wishes.list.items[i + 1].number;
        double r = f.wishes.list.items[i + 2].number;
        assert_true(u >= 0 && u < 1 && d >= 1 && d <= 6 && r >= -2 && r <= 2);
    }
    char *saved = guest_fixture_save(&f);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 2), &f.err);
    char *second = reid_xstrdup(guest_fixture_wishes(&f));
    assert_string_not_equal(first, second);
    guest_fixture_reopen(&f); /* the same again: nothing of the clock or of addresses is in it */
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 1), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), first);
    guest_fixture_reopen(&f);
    reid_assert_ok(guest_fixture_load(&f, saved), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 2), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), second);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_EPOCH, 2), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 3), &f.err);
    char *seeded = reid_xstrdup(guest_fixture_wishes(&f));
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_EPOCH, 3), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 4), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), seeded);
    free(first);
    free(second);
    free(seeded);
    free(saved);
    guest_fixture_fini(&f);
    guest_lua_fails("math.random(2, 1)", "interval is empty");
    guest_lua_fails("math.randomseed()", "number expected");
}

/* ---- the shipped examples ---- */

static void example(guest_fixture *f, const char *file, const char *const *options)
{
    char *path = reid_path_join(REID_HOOKS_DIR, file);
    char *source = reid_test_read_text(path);
    guest_fixture_init(f, "lua", source, options);
    free(source);
    free(path);
}

static void put_at(guest_fixture *f, int64_t iter, const char *name, double value)
{
    reid_event_storage_set_iter(f->storage, iter);
    test_put(f->storage, name, value, true);
}

static void test_example_step_lr(void **unused)
{
    guest_fixture f;
    example(&f, "step_lr.lua", OPTIONS("milestones=3, 5", "gamma=0.5"));
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    for (int iter = 0; iter < 8; iter++) {
        reid_assert_ok(guest_fixture_call(&f, REID_BEFORE_STEP, iter), &f.err);
        assert_string_equal(guest_fixture_wishes(&f), iter == 3   ? "set lr=0.25"
                                                      : iter == 5 ? "set lr=0.125"
                                                                  : "");
        if (iter == 3)
            f.moment.lr = 0.25;
    }
    guest_fixture_fini(&f);
    static const char *const BAD[][2] = {{NULL}, {"milestones=a"}, {"milestones=2.5"}};
    for (size_t i = 0; i < 3; i++) {
        example(&f, "step_lr.lua", BAD[i]);
        assert_int_equal(guest_fixture_open(&f), REID_ERR_INVALID);
        assert_non_null(strstr(f.err.text, "milestones"));
        guest_fixture_fini(&f);
    }
}

static void test_example_early_stop(void **unused)
{
    static const double LOSSES[] = {3, 2, 2.5, 1.95, 2.2, 2.3};
    guest_fixture f;
    example(&f, "early_stop.lua", OPTIONS("metric=val", "patience=3", "min_delta=0.1"));
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_EPOCH, 0), &f.err);
    for (int epoch = 0; epoch < 6; epoch++) {
        reid_event_storage_set_iter(f.storage, epoch);
        test_put(f.storage, "val", LOSSES[epoch], false);
        if (epoch == 3) { /* a resume in between changes nothing */
            char *saved = guest_fixture_save(&f);
            guest_fixture_reopen(&f);
            reid_assert_ok(guest_fixture_load(&f, saved), &f.err);
            free(saved);
        }
        reid_assert_ok(guest_fixture_call(&f, REID_AFTER_EPOCH, epoch), &f.err);
        assert_string_equal(guest_fixture_wishes(&f),
                            epoch < 4    ? ""
                            : epoch == 4 ? "stop 'val has not been better than 2 for 3 epochs'"
                                         : "stop 'val has not been better than 2 for 4 epochs'");
    }
    guest_fixture_fini(&f);
}

static void test_example_skip_spikes(void **unused)
{
    guest_fixture f;
    example(&f, "skip_spikes.lua", OPTIONS("factor=3", "warmup=4"));
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    static const double LOSSES[] = {1, 9, 1, 1, 1, 8, -1, 1, NAN, 1}; /* -1: none is put */
    static const char *const WISHES[] = {
        "", "", "", "", "", "", "skip; put skipped_steps=1", "", "", "skip; put skipped_steps=2"};
    for (int iter = 0; iter < 10; iter++) {
        reid_assert_ok(guest_fixture_call(&f, REID_BEFORE_STEP, iter), &f.err);
        assert_string_equal(guest_fixture_wishes(&f), WISHES[iter]);
        if (LOSSES[iter] != -1)
            put_at(&f, iter, "total_loss", LOSSES[iter]);
    }
    guest_fixture_fini(&f);
}

static void test_example_print_time(void **unused)
{
    guest_fixture f;
    example(&f, "print_time.lua", NULL);
    char *source = reid_xstrdup(f.spec.source);
    guest_fixture_fini(&f);
    char *folder = reid_test_dir_new();
    char *path = reid_path_join(folder, "log");
    reid_log_setup(&(reid_log_options){.level = REID_LOG_INFO, .rank = 1, .path = path});
    opened(&f, source);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 6), &f.err);
    put_at(&f, 7, "time", 0.25);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 8), &f.err);
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    char *text = reid_test_read_text(path);
    assert_non_null(strstr(text, ": hook 'decay': iteration 7 took 0.250 s\n"));
    assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n')); /* the only line */
    free(text);
    free(source);
    free(path);
    reid_test_dir_free(folder);
    guest_fixture_fini(&f);
}

int main(void)
{
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_are_the_functions),
        cmocka_unit_test(test_bad_scripts_are_refused),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_trainer_fields),
        cmocka_unit_test(test_storage),
        cmocka_unit_test(test_wishes),
        cmocka_unit_test(test_errors_have_their_place),
        cmocka_unit_test(test_print_and_trace_go_to_the_log),
        cmocka_unit_test(test_state_comes_back_to_the_bit),
        cmocka_unit_test(test_what_cannot_be_kept_is_an_error),
        cmocka_unit_test(test_state_after_errors),
        cmocka_unit_test(test_bad_saved_states),
        cmocka_unit_test(test_chance_is_part_of_the_state),
        cmocka_unit_test(test_example_step_lr),
        cmocka_unit_test(test_example_early_stop),
        cmocka_unit_test(test_example_skip_spikes),
        cmocka_unit_test(test_example_print_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
