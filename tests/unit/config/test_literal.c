/* Values as texts. The expectations are what Python's ast.literal_eval gives, and the text itself
 * where it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/str.h"
#include "config/literal.h"

/* "i40", "f0.5", "s'text'", "t'text'", "T", "F", "N", "[…]" */
static void describe(const reid_literal *l, reid_str *out)
{
    switch (l->kind) {
    case REID_LITERAL_TEXT:
        reid_str_addf(out, "t'%s'", l->text);
        break;
    case REID_LITERAL_NONE:
        reid_str_add(out, "N");
        break;
    case REID_LITERAL_BOOL:
        reid_str_add(out, l->truth ? "T" : "F");
        break;
    case REID_LITERAL_INT:
        reid_str_addf(out, "i%lld", (long long)l->integer);
        break;
    case REID_LITERAL_FLOAT:
        reid_str_addf(out, "f%.17g", l->number);
        break;
    case REID_LITERAL_STRING:
        reid_str_addf(out, "s'%s'", l->text);
        break;
    case REID_LITERAL_LIST:
        reid_str_add(out, "[");
        for (size_t i = 0; i < l->count; i++) {
            reid_str_add(out, i > 0 ? " " : "");
            describe(&l->items[i], out);
        }
        reid_str_add(out, "]");
        break;
    }
}

static void check_case(const char *text, const char *expected)
{
    reid_literal literal;
    reid_str found = REID_STR_INIT;
    reid_literal_parse(text, &literal);
    describe(&literal, &found);
    if (strcmp(reid_str_text(&found), expected) != 0)
        fail_msg("<%s> gives %s, not %s", text, reid_str_text(&found), expected);
    reid_str_fini(&found);
    reid_literal_fini(&literal);
}

static void test_scalars(void **state)
{
    static const char *const CASES[][2] = {
        {"40", "i40"},
        {" 40 ", "i40"},
        {"-40", "i-40"},
        {"+40", "i40"},
        {"- 40", "i-40"},
        {"1_000", "i1000"},
        {"0x1F", "i31"},
        {"0o17", "i15"},
        {"0b101", "i5"},
        {"0", "i0"},
        {"000", "i0"},
        {"9223372036854775807", "i9223372036854775807"},
        {"3e-4", "f0.00029999999999999997"},
        {"5E-4", "f0.00050000000000000001"},
        {"1.", "f1"},
        {".5", "f0.5"},
        {"-1.5", "f-1.5"},
        {"1e5", "f100000"},
        {"1_0.2_5", "f10.25"},
        {"True", "T"},
        {"False", "F"},
        {"None", "N"},
        {"'abc'", "s'abc'"},
        {"\"abc\"", "s'abc'"},
        {"''", "s''"},
        {"'50'", "s'50'"},
        {"(8)", "i8"},
        {"(\"Market1501\")", "s'Market1501'"},
        {"'a\\tb\\x41\\u00e9\\U0001f600\\\\'", "s'a\tbA\xc3\xa9\xf0\x9f\x98\x80\\'"},
        {"'\\d'", "s'\\d'"},
        {"\"it's\"", "s'it's'"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++)
        check_case(CASES[i][0], CASES[i][1]);
}

static void test_lists_and_tuples(void **state)
{
    static const char *const CASES[][2] = {
        {"(\"Market1501\",)", "[s'Market1501']"},
        {"(\"CrossEntropyLoss\", \"TripletLoss\",)", "[s'CrossEntropyLoss' s'TripletLoss']"},
        {"(8,)", "[i8]"},
        {"[40, 90]", "[i40 i90]"},
        {"[40,90,]", "[i40 i90]"},
        {"( 0.16 , 1 )", "[f0.16 i1]"},
        {"[]", "[]"},
        {"()", "[]"},
        {"[None, True]", "[N T]"},
        {"[[1], (2, 3)]", "[[i1] [i2 i3]]"},
        {"((1))", "i1"},
        {"(\n1,\n2)", "[i1 i2]"},
        {"40, 90", "[i40 i90]"},
        {"8,", "[i8]"},
        {"'a','b'", "[s'a' s'b']"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++)
        check_case(CASES[i][0], CASES[i][1]);
}

/* No literal in Python, or one that no key can use (bytes, a set, a NUL, a string with a prefix).
 */
static void test_what_is_no_literal_stays_text(void **state)
{
    static const char *const CASES[] = {
        "",
        "50x",
        "Market1501",
        "logs/market1501",
        "/a/b",
        "~/x",
        "true",
        "inf",
        "nan",
        "010",
        "0x",
        "1__0",
        "1_",
        "--1",
        "1j",
        "1e",
        "e5",
        "0.485*255",
        "a,b",
        "(1,,2)",
        "(,)",
        "(1 2)",
        "[1",
        "(1]",
        "[1]]",
        "'abc",
        "'a' 'b'",
        "'a\nb'",
        "{1: 2}",
        "{1}",
        "b'a'",
        "r'a'",
        "f'a'",
        "'\\0'",
        "'\\N{x}'",
        "'\\xg1'",
        "(\"a\" \"b\")",
        "99999999999999999999",
        "1e999",
        "0x1p3",
        "-",
        "+",
        ".",
        "_1",
        "'\\ud800'",
        "...",
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_literal literal;
        reid_literal_parse(CASES[i], &literal);
        if (literal.kind != REID_LITERAL_TEXT)
            fail_msg("<%s> is read as kind %d", CASES[i], (int)literal.kind);
        assert_string_equal(literal.text, CASES[i]);
        reid_literal_fini(&literal);
    }
}

/* Ours: YAML's infinities, and bare words inside brackets. */
static void test_beyond_python(void **state)
{
    check_case("[Market1501, MSMT17]", "[t'Market1501' t'MSMT17']");
    check_case("(Market1501,)", "[t'Market1501']");
    check_case(".inf", "finf");
    check_case("-.INF", "f-inf");
    reid_literal literal;
    reid_literal_parse(".nan", &literal);
    assert_int_equal(literal.kind, REID_LITERAL_FLOAT);
    assert_true(isnan(literal.number));
    reid_literal_fini(&literal);
}

static void test_numbers_alone(void **state)
{
    reid_literal literal;
    reid_literal_parse_number("5E-4", &literal);
    assert_int_equal(literal.kind, REID_LITERAL_FLOAT);
    assert_true(literal.number == 5e-4);
    reid_literal_fini(&literal);
    static const char *const TEXTS[] = {"[1]", "'1'", "True", "None", "(1)"};
    for (size_t i = 0; i < REID_COUNT_OF(TEXTS); i++) {
        reid_literal_parse_number(TEXTS[i], &literal);
        assert_int_equal(literal.kind, REID_LITERAL_TEXT);
        reid_literal_fini(&literal);
    }
}

static void test_bounds(void **state)
{
    reid_str text = REID_STR_INIT;
    reid_literal literal;
    for (int i = 0; i < REID_LITERAL_MAX_ITEMS + 1; i++)
        reid_str_add(&text, i == 0 ? "[1" : ",1");
    reid_str_add(&text, "]");
    reid_literal_parse(text.data, &literal);
    assert_int_equal(literal.kind, REID_LITERAL_TEXT);
    reid_literal_fini(&literal);
    reid_str_clear(&text);
    for (int i = 0; i < REID_LITERAL_MAX_LENGTH; i++)
        reid_str_add(&text, "(");
    reid_literal_parse(text.data, &literal);
    assert_int_equal(literal.kind, REID_LITERAL_TEXT);
    reid_literal_fini(&literal);
    reid_str_clear(&text);
    for (int i = 0; i < REID_LITERAL_MAX_LENGTH; i++)
        reid_str_add(&text, "1");
    reid_literal_parse(text.data, &literal);
    assert_int_equal(literal.kind, REID_LITERAL_TEXT);
    reid_literal_fini(&literal);
    reid_str_fini(&text);
}

/* Any bytes at all: no crash, and the text is never lost. */
static void test_garbage(void **state)
{
    static const char LETTERS[] = "()[],'\"\\ 01.eE+-_xNTa\n\xc3\xff";
    reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, 0, 0);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t length = reid_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < length; i++)
            text[i] = LETTERS[reid_rng_below(&rng, sizeof LETTERS - 1)];
        text[length] = '\0';
        reid_literal literal;
        reid_literal_parse(text, &literal);
        assert_non_null(literal.text);
        if (literal.kind != REID_LITERAL_STRING)
            assert_string_equal(literal.text, text);
        reid_literal_fini(&literal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_lists_and_tuples),
        cmocka_unit_test(test_what_is_no_literal_stays_text),
        cmocka_unit_test(test_beyond_python),
        cmocka_unit_test(test_numbers_alone),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
