/* The dump loads back to the same, and the hash sees values alone. */
#include "expect.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "config/config.h"
#include "harness/harness.h"

static void expect_round_trip(const reid_config *config)
{
    reid_error err = {0};
    char *text = reid_config_dump(config);
    reid_config *again = reid_config_new();
    if (reid_config_load_text(again, text, "dump", &err) != REID_OK)
        fail_msg("%s in\n%s", err.text, text);
    char *text_again = reid_config_dump(again);
    assert_string_equal(text, text_again);
    assert_true(reid_config_hash(config) == reid_config_hash(again));
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        const char *key = reid_config_key_name(i);
        char *value = reid_config_text(config, key);
        char *value_again = reid_config_text(again, key);
        assert_string_equal(value, value_again);
        reid_assert_ok(reid_config_set(again, key, value, &err), &err);
        free(value);
        free(value_again);
    }
    assert_true(reid_config_hash(config) == reid_config_hash(again));
    free(text_again);
    free(text);
    reid_config_free(again);
}

static void test_defaults(void **state)
{
    reid_config *c = reid_config_new();
    expect_round_trip(c);
    char *text = reid_config_dump(c);
    /* As PyYAML writes fast-reid's config.yaml: keys sorted, lists in blocks, 1.0e-07. */
    assert_true(strncmp(text, "COMM:\n  BUCKET_MB: 25\n", 22) == 0);
    assert_non_null(
        strstr(text, "\nDATASETS:\n  COMBINEALL: false\n  NAMES:\n  - Market1501\n  ROOT: ''\n"));
    assert_non_null(strstr(
        text,
        "\n  CLIP_GRADIENTS:\n    CLIP_TYPE: norm\n    CLIP_VALUE: 5.0\n    ENABLED: false\n"));
    assert_non_null(strstr(text, "\n  ETA_MIN_LR: 1.0e-07\n"));
    assert_non_null(strstr(text, "\n  MODEL_CONFIG: []\n"));
    free(text);
    reid_config_free(c);
}

static const char *const TEXTS[] = {
    "",       "None",  "'None'", "null",       "True",  "yes",  "50",      "0x10", "1e3",
    "'50'",   "\"a\"", "a'b",    "a\"b",       "a b",   " a ",  "a: b",    "a #b", "- a",
    "[1, 2]", "(a)",   "{a}",    "*a",         "&a",    "!a",   "%a",      "@a",   "`a",
    "|",      ">",     "?",      ":",          "-",     "~",    "=",       "<<",   "1,2",
    "a\tb",   "a\nb",  "a\\nb",  "\\",         "é…😀",   "\x7f", "//a",     "~/x",  ".inf",
    "012",    "a,b",   "'",      "2020-01-01", "50x",   "0b12", "1e5x",    "5/a",  "1:30",
    "...",    "---",   "y",      "\x1b[0m",    "tab\t", "\n",   "'\\x41'",
};

static void test_awkward_strings(void **state)
{
    for (size_t i = 0; i < REID_COUNT_OF(TEXTS); i++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        char quoted[128], list[272];
        size_t length = 0;
        quoted[length++] = '"';
        for (const char *at = TEXTS[i]; *at; at++) {
            if (*at == '"' || *at == '\\' || *at == '\n')
                quoted[length++] = '\\';
            quoted[length++] = *at == '\n' ? 'n' : *at;
        }
        quoted[length++] = '"';
        quoted[length] = '\0';
        snprintf(list, sizeof list, "[%s, %s]", quoted, quoted);
        reid_assert_ok(reid_config_set(c, "OUTPUT_DIR", quoted, &err), &err);
        reid_assert_ok(reid_config_set(c, "DATASETS.NAMES", list, &err), &err);
        assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), TEXTS[i]);
        assert_string_equal(reid_config_string_at(c, "DATASETS.NAMES", 1), TEXTS[i]);
        expect_round_trip(c);
        reid_config_free(c);
    }
}

static void test_numbers(void **state)
{
    static const char *const NUMBERS[] = {
        "0",    "0.1",   "1e-7",   "1e+22", "123456789012345680",     "-0.0",
        ".inf", "-.inf", "5e-324", "3",     "1.7976931348623157e308", "0.30000000000000004"};
    for (size_t i = 0; i < REID_COUNT_OF(NUMBERS); i++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        reid_assert_ok(reid_config_set(c, "SOLVER.BASE_LR", NUMBERS[i], &err), &err);
        expect_round_trip(c);
        reid_config_free(c);
    }
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_assert_ok(reid_config_set(c, "SEED", "9223372036854775807", &err), &err);
    reid_assert_ok(reid_config_set(c, "SOLVER.STEPS", "[-1, 0, 7]", &err), &err);
    reid_assert_ok(reid_config_set(c, "INPUT.FLIP.ENABLED", "True", &err), &err);
    expect_round_trip(c);
    reid_config_free(c);
}

static void test_random_strings(void **state)
{
    reid_rng rng = reid_rng_stream(3, REID_RNG_TEST, 0, 0);
    for (int round = 0; round < 300; round++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        char text[12];
        size_t length = reid_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < length; i++)
            text[i] = (char)(1 + reid_rng_below(&rng, 126));
        text[length] = '\0';
        if (reid_config_set(c, "OUTPUT_DIR", text, &err) == REID_OK)
            expect_round_trip(c);
        reid_config_free(c);
    }
}

static void test_hash_ignores_order_and_place(void **state)
{
    reid_error err = {0};
    reid_config *a = reid_config_new();
    reid_config *b = reid_config_new();
    reid_assert_ok(
        reid_config_load_text(a, "SEED: 3\nSOLVER: {OPT: SGD, STEPS: [1, 2]}\n", "a", &err), &err);
    reid_assert_ok(reid_config_set(b, "SOLVER.STEPS", "(1, 2)", &err), &err);
    reid_assert_ok(reid_config_set(b, "SOLVER.OPT", "'SGD'", &err), &err);
    reid_assert_ok(reid_config_set(b, "SEED", "3", &err), &err);
    assert_true(reid_config_hash(a) == reid_config_hash(b));
    reid_config *clone = reid_config_clone(a);
    assert_true(reid_config_hash(a) == reid_config_hash(clone));
    assert_string_equal(reid_config_origin(clone, "SEED"), "a:1");
    reid_assert_ok(reid_config_set(clone, "SEED", "4", &err), &err);
    assert_true(reid_config_hash(a) != reid_config_hash(clone));
    assert_int_equal(reid_config_int(a, "SEED"), 3);
    reid_config_free(clone);
    reid_config_free(b);
    reid_config_free(a);
    reid_config_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_awkward_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_random_strings),
        cmocka_unit_test(test_hash_ignores_order_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
