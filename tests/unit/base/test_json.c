#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "harness/harness.h"

static reid_json *parse(const char *text)
{
    reid_json *root = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_json_parse(text, strlen(text), &root, &err), &err);
    return root;
}

static void the_writer_puts_commas(void **state)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    reid_json_object(&w);
    reid_json_key(&w, "a");
    reid_json_int(&w, INT64_MIN);
    reid_json_key(&w, "b");
    reid_json_array(&w);
    reid_json_bool(&w, true);
    reid_json_null(&w);
    reid_json_array(&w);
    reid_json_end_array(&w);
    reid_json_string(&w, NULL);
    reid_json_end_array(&w);
    reid_json_key(&w, "c");
    reid_json_object(&w);
    reid_json_end_object(&w);
    reid_json_end_object(&w);
    assert_string_equal(reid_str_text(&out),
                        "{\"a\":-9223372036854775808,\"b\":[true,null,[],null],\"c\":{}}");
    reid_str_fini(&out);
}

/* json.dumps({"eta_seconds": 1.5, "lr": 1e-07, "n": 3.0, "x": [nan, inf, -inf]}) */
static void metrics_look_like_python(void **state)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&out);
    w.item_separator = ", ";
    w.key_separator = ": ";
    reid_json_object(&w);
    reid_json_key(&w, "eta_seconds");
    reid_json_double(&w, 1.5);
    reid_json_key(&w, "lr");
    reid_json_double(&w, 1e-07);
    reid_json_key(&w, "n");
    reid_json_double(&w, 3);
    reid_json_key(&w, "x");
    reid_json_array(&w);
    reid_json_double(&w, NAN);
    reid_json_double(&w, INFINITY);
    reid_json_double(&w, -INFINITY);
    reid_json_end_array(&w);
    reid_json_end_object(&w);
    assert_string_equal(reid_str_text(&out), "{\"eta_seconds\": 1.5, \"lr\": 1e-07, \"n\": 3.0, "
                                             "\"x\": [NaN, Infinity, -Infinity]}");
    reid_str_fini(&out);
}

static void strings_are_escaped(void **state)
{
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"", "\"\""},
        {"plain é 中 😀", "\"plain é 中 😀\""},
        {"q\" b\\ /", "\"q\\\" b\\\\ /\""},
        {"\b\t\n\f\r", "\"\\b\\t\\n\\f\\r\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
        {"a\xff\xc3", "\"a\\ufffd\\ufffd\""},
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},                       /* overlong */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* surrogate */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* above U+10FFFF */
        {"\xe4\xb8", "\"\\ufffd\\ufffd\""},                       /* cut short */
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_str out = REID_STR_INIT;
        reid_json_writer w = reid_json_begin(&out);
        reid_json_string(&w, CASES[i].text);
        assert_string_equal(reid_str_text(&out), CASES[i].expected);
        reid_json_free(parse(reid_str_text(&out)));
        reid_str_fini(&out);
    }
}

static void the_reader_gives_values_and_order(void **state)
{
    reid_json *root = parse(" {\"z\": 1, \"a\": -2.5, \"s\": \"t\\u00e9\", \"l\": [true, null, "
                            "{}], \"o\": {\"k\": 3}} ");
    assert_int_equal(reid_json_type_of(root), REID_JSON_OBJECT);
    assert_int_equal(reid_json_count(root), 5);
    static const char *const ORDER[] = {"z", "a", "s", "l", "o"};
    for (size_t i = 0; i < 5; i++) {
        const reid_json *value = NULL;
        assert_string_equal(reid_json_member(root, i, &value), ORDER[i]);
        assert_ptr_equal(value, reid_json_get(root, ORDER[i]));
    }
    assert_null(reid_json_member(root, 5, NULL));
    assert_int_equal(reid_json_as_int(reid_json_get(root, "z"), 9), 1);
    assert_true(reid_json_as_double(reid_json_get(root, "z"), 9) == 1);
    assert_true(reid_json_as_double(reid_json_get(root, "a"), 9) == -2.5);
    assert_int_equal(reid_json_as_int(reid_json_get(root, "a"), 9), 9);
    assert_string_equal(reid_json_as_string(reid_json_get(root, "s"), ""), "t\xc3\xa9");
    const reid_json *list = reid_json_get(root, "l");
    assert_int_equal(reid_json_type_of(list), REID_JSON_ARRAY);
    assert_int_equal(reid_json_count(list), 3);
    assert_true(reid_json_as_bool(reid_json_at(list, 0), false));
    assert_int_equal(reid_json_type_of(reid_json_at(list, 1)), REID_JSON_NULL);
    assert_int_equal(reid_json_type_of(reid_json_at(list, 2)), REID_JSON_OBJECT);
    assert_null(reid_json_at(list, 3));
    assert_null(reid_json_get(list, "z"));
    assert_null(reid_json_at(root, 0));
    assert_int_equal(reid_json_as_int(reid_json_get(reid_json_get(root, "o"), "k"), 0), 3);
    reid_json_free(root);
}

static void absent_values_give_the_default(void **state)
{
    assert_int_equal(reid_json_type_of(NULL), REID_JSON_NULL);
    assert_null(reid_json_get(NULL, "a"));
    assert_null(reid_json_at(NULL, 0));
    assert_int_equal(reid_json_count(NULL), 0);
    assert_int_equal(reid_json_as_int(NULL, -4), -4);
    assert_true(reid_json_as_double(NULL, 0.25) == 0.25);
    assert_true(reid_json_as_bool(NULL, true));
    assert_string_equal(reid_json_as_string(NULL, "d"), "d");
    reid_json_free(NULL);
}

/* Above a threshold members are found by binary search. */
static void many_members_are_found(void **state)
{
    reid_str text = REID_STR_INIT;
    reid_str_add_char(&text, '{');
    for (int i = 0; i < 500; i++)
        reid_str_addf(&text, "%s\"key%d\": %d", i ? "," : "", (i * 7919) % 500, i);
    reid_str_add_char(&text, '}');
    reid_json *root = parse(reid_str_text(&text));
    for (int i = 0; i < 500; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", (i * 7919) % 500);
        assert_int_equal(reid_json_as_int(reid_json_get(root, key), -1), i);
        assert_string_equal(reid_json_member(root, (size_t)i, NULL), key);
    }
    assert_null(reid_json_get(root, "key500"));
    assert_null(reid_json_get(root, ""));
    reid_json_free(root);
    reid_str_fini(&text);
}

static void numbers_survive_the_way_there_and_back(void **state)
{
    static const double VALUES[] = {0.1, 1e22, 1e-300, 3, -0.0, 5e-324, 1.7976931348623157e308};
    for (size_t i = 0; i < REID_COUNT_OF(VALUES); i++) {
        reid_str out = REID_STR_INIT;
        reid_json_writer w = reid_json_begin(&out);
        reid_json_double(&w, VALUES[i]);
        reid_json *root = parse(reid_str_text(&out));
        assert_int_equal(reid_json_type_of(root), REID_JSON_DOUBLE);
        double back = reid_json_as_double(root, 7);
        assert_memory_equal(&back, &VALUES[i], sizeof back);
        reid_json_free(root);
        reid_str_fini(&out);
    }
    reid_json *root = parse("-9223372036854775808");
    assert_true(reid_json_as_int(root, 0) == INT64_MIN);
    reid_json_free(root);
}

static void bad_texts_are_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "{",
        "{\"a\":1,}",
        "[1] x",
        "{} {}",
        "{\"a\":1,\"a\":2}",
        "{'a':1}",
        "[1,]",
        "9223372036854775808",
        "1e999",
        "nul",
        "\"\\u0000\"",
        "\"\xff\"",
        "\"\n\"",
        "01",
        "+1",
        "\"\\ud800\"",
        "// c\n1",
        "{\"o\":{\"b\":1,\"b\":1}}",
    };
    for (size_t i = 0; i < REID_COUNT_OF(BAD); i++) {
        reid_json *root = NULL;
        reid_error err = {0};
        assert_int_equal(reid_json_parse(BAD[i], strlen(BAD[i]), &root, &err), REID_ERR_INVALID);
        assert_null(root);
        assert_non_null(strstr(err.text, "invalid JSON at line "));
    }
    reid_json *root = NULL;
    assert_int_equal(reid_json_parse(NULL, 0, &root, NULL), REID_ERR_INVALID);
    reid_error err = {0};
    reid_json_parse("{\n \"a\": x}", 10, &root, &err);
    assert_non_null(strstr(err.text, "line 2"));
    assert_int_equal(reid_json_parse("1\0002", 3, &root, NULL), REID_ERR_INVALID);
}

static void depth_and_size_are_bounded(void **state)
{
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP);
    assert_non_null(text);
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    reid_json *root = NULL;
    assert_int_equal(reid_json_parse(text, 2 * DEEP, &root, NULL), REID_ERR_INVALID);
    enum { FINE = 2000 };
    assert_int_equal(reid_json_parse(text + DEEP - FINE, 2 * FINE, &root, NULL), REID_OK);
    reid_json_free(root);
    root = NULL;
    /* Refused by its length alone: not a byte is read. */
    assert_int_equal(reid_json_parse(text, SIZE_MAX, &root, NULL), REID_ERR_EXHAUSTED);
    assert_null(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_writer_puts_commas),
        cmocka_unit_test(metrics_look_like_python),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(the_reader_gives_values_and_order),
        cmocka_unit_test(absent_values_give_the_default),
        cmocka_unit_test(many_members_are_found),
        cmocka_unit_test(numbers_survive_the_way_there_and_back),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
