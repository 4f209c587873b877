/* KEY VALUE and KEY=VALUE. */
#include "expect.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "config/config.h"
#include "harness/harness.h"

/* As from a main's argv: the words are writable texts. */
static reid_status merge(reid_config *config, const char *const *words, size_t count,
                         reid_error *err)
{
    char *argv[32];
    assert_true(count <= REID_COUNT_OF(argv));
    for (size_t i = 0; i < count; i++)
        argv[i] = strdup(words[i]);
    reid_status status = reid_config_merge_list(config, (int)count, argv, err);
    for (size_t i = 0; i < count; i++)
        free(argv[i]);
    return status;
}

#define MERGE(config, err, ...)                                                                    \
    merge(config, ((const char *const[]){__VA_ARGS__}),                                            \
          REID_COUNT_OF(((const char *const[]){__VA_ARGS__})), err)

static void test_pairs(void **state)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_assert_ok(MERGE(c, &err, "SOLVER.MAX_EPOCH", "3", "SOLVER.OPT=SGD", "DATASETS.NAMES",
                         "(\"Market1501\",)", "INPUT.SIZE_TRAIN=[64,32]", "OUTPUT_DIR", "a=b",
                         "MODEL.LOSSES.TRI.MARGIN", "0", "SOLVER.STEPS", "4,8", "TEST.AQE.ENABLED",
                         "true", "MODEL.WEIGHTS="),
                   &err);
    assert_int_equal(reid_config_int(c, "SOLVER.MAX_EPOCH"), 3);
    assert_string_equal(reid_config_string(c, "SOLVER.OPT"), "SGD");
    assert_int_equal(reid_config_count(c, "DATASETS.NAMES"), 1);
    assert_int_equal(reid_config_int_at(c, "INPUT.SIZE_TRAIN", 1), 32);
    assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), "a=b");
    assert_true(reid_config_float(c, "MODEL.LOSSES.TRI.MARGIN") == 0);
    assert_int_equal(reid_config_int_at(c, "SOLVER.STEPS", 1), 8);
    assert_true(reid_config_bool(c, "TEST.AQE.ENABLED"));
    assert_string_equal(reid_config_string(c, "MODEL.WEIGHTS"), "");
    assert_string_equal(reid_config_origin(c, "SOLVER.OPT"), "the command line");
    reid_assert_ok(reid_config_merge_list(c, 0, NULL, &err), &err);
    reid_config_free(c);
}

/* The last of two wins; an empty list and the empty text are values. */
static void test_again(void **state)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_assert_ok(
        MERGE(c, &err, "SEED", "1", "SEED", "-1", "SOLVER.STEPS", "()", "OUTPUT_DIR", "''"), &err);
    assert_int_equal(reid_config_int(c, "SEED"), -1);
    assert_int_equal(reid_config_count(c, "SOLVER.STEPS"), 0);
    assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), "");
    reid_config_free(c);
}

/* A string key takes numbers and bools as they were written, and quotes keep what would be decoded.
 */
static void test_strings(void **state)
{
    static const char *const CASES[][2] = {
        {"2024", "2024"},   {"1e3", "1e3"},         {"True", "True"}, {"None", ""},
        {"'None'", "None"}, {"\"a b\"", "a b"},     {"'1'", "1"},     {"a b", "a b"},
        {"0010", "0010"},   {"'it\\'s'", "it's"},   {"it's", "it's"}, {"(old)", "(old)"},
        {"a,b", "a,b"},     {"naïve/ö", "naïve/ö"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        reid_assert_ok(reid_config_set(c, "OUTPUT_DIR", CASES[i][0], &err), &err);
        assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), CASES[i][1]);
        reid_config_free(c);
    }
}

static void test_refusals(void **state)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    uint64_t before = reid_config_hash(c);
    EXPECT_FAILURE(MERGE(c, &err, "SEED", "1", "SOLVER.STEPS"), &err, REID_ERR_INVALID,
                   "the command line: the last key 'SOLVER.STEPS' has no value");
    EXPECT_FAILURE(
        MERGE(c, &err, "SEED", "2", "SOLVER.BASE_LRR", "1"), &err, REID_ERR_INVALID,
        "the command line: unknown key 'SOLVER.BASE_LRR'; did you mean 'SOLVER.BASE_LR'?");
    EXPECT_FAILURE(MERGE(c, &err, "_BASE_", "a.yml"), &err, REID_ERR_INVALID,
                   "the command line: _BASE_ belongs at the top of a file");
    EXPECT_FAILURE(MERGE(c, &err, "SOLVER", "1"), &err, REID_ERR_INVALID,
                   "the command line: SOLVER is a section of keys, it takes no value");
    EXPECT_FAILURE(MERGE(c, &err, "=1"), &err, REID_ERR_INVALID,
                   "the command line: unknown key ''");
    EXPECT_FAILURE(MERGE(c, &err, "--resume", "SEED"), &err, REID_ERR_INVALID,
                   "the command line: unknown key '--resume'");
    EXPECT_FAILURE(MERGE(c, &err, "SOLVER.MAX_EPOCH", "99999999999999999999"), &err,
                   REID_ERR_INVALID,
                   "the command line: SOLVER.MAX_EPOCH takes an int, not the text "
                   "'99999999999999999999' (too large)");
    EXPECT_FAILURE(MERGE(c, &err, "SOLVER.MAX_EPOCH", "010"), &err, REID_ERR_INVALID,
                   "the command line: SOLVER.MAX_EPOCH takes an int, not the text '010' (write it "
                   "without leading zeros)");
    EXPECT_FAILURE(MERGE(c, &err, "INPUT.FLIP.ENABLED", "yes"), &err, REID_ERR_INVALID,
                   "the command line: INPUT.FLIP.ENABLED takes True or False, not the text 'yes'");
    EXPECT_FAILURE(MERGE(c, &err, "OUTPUT_DIR", "\xff\xfe"), &err, REID_ERR_INVALID,
                   "the command line: OUTPUT_DIR takes a string, not the text '?"
                   "?' (it is not UTF-8)");
    EXPECT_FAILURE(MERGE(c, &err, "OUT\nPUT\x1b[31m", "1"), &err, REID_ERR_INVALID,
                   "the command line: unknown key 'OUT?PUT?[31m'");
    EXPECT_FAILURE(reid_config_set(c, "SOLVER.GAMMA", "[0.1]", &err), &err, REID_ERR_INVALID,
                   "the command line: SOLVER.GAMMA takes a float, not the list [0.1]");
    assert_true(reid_config_hash(c) == before);
    reid_config_free(c);
}

/* A very long key or value gives a short sentence that is still UTF-8. */
static void test_long_words(void **state)
{
    char word[3000];
    for (size_t i = 0; i + 2 < sizeof word; i += 2)
        memcpy(word + i, "é", 3);
    for (int shift = 0; shift < 2; shift++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        word[0] = 'a';
        assert_int_equal(reid_config_set(c, shift ? "SEED" : word, shift ? word + 1 : "1", &err),
                         REID_ERR_INVALID);
        assert_true(strlen(err.text) < 300);
        assert_non_null(strstr(err.text, "…'"));
        reid_config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),      cmocka_unit_test(test_again),
        cmocka_unit_test(test_strings),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
