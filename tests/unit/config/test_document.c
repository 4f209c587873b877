/* YAML: what is read, what is refused, and that garbage is survived. */
#include "expect.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/str.h"
#include "config/config.h"
#include "harness/harness.h"

static const char GOOD[] = "MODEL:\n"
                           "  BACKBONE: {DEPTH: 18x, FEAT_DIM: 512}\n"
                           "  LOSSES:\n"
                           "    NAME: (\"CrossEntropyLoss\", \"TripletLoss\",)\n"
                           "    TRI:\n"
                           "      MARGIN: 0   # an int for a float key\n"
                           "      HARD_MINING: yes\n"
                           "  WEIGHTS:\n"
                           "DATASETS:\n"
                           "  NAMES: [Market1501, \"2020\", 2021]\n"
                           "  TESTS: (\"Market1501\",)\n"
                           "INPUT:\n"
                           "  SIZE_TRAIN: [ 64, 0x20 ]\n"
                           "  CROP: {SCALE: \"(1, 0.5)\", RATIO: [3e-1, 1E0]}\n"
                           "SOLVER:\n"
                           "  BASE_LR: 3e-4\n"
                           "  WEIGHT_DECAY: 5E-4\n"
                           "  STEPS: (8,)\n"
                           "  CLIP_GRADIENTS: {NORM_TYPE: .inf, ENABLED: \"True\"}\n"
                           "KD:\n"
                           "OUTPUT_DIR: 007\n";

static void test_values(void **state)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_assert_ok(reid_config_load_text(c, GOOD, "good", &err), &err);
    assert_string_equal(reid_config_string(c, "MODEL.BACKBONE.DEPTH"), "18x");
    assert_int_equal(reid_config_int(c, "MODEL.BACKBONE.FEAT_DIM"), 512);
    assert_int_equal(reid_config_count(c, "MODEL.LOSSES.NAME"), 2);
    assert_string_equal(reid_config_string_at(c, "MODEL.LOSSES.NAME", 1), "TripletLoss");
    assert_true(reid_config_float(c, "MODEL.LOSSES.TRI.MARGIN") == 0);
    assert_true(reid_config_bool(c, "MODEL.LOSSES.TRI.HARD_MINING"));
    assert_string_equal(reid_config_string(c, "MODEL.WEIGHTS"), "");
    assert_int_equal(reid_config_count(c, "DATASETS.NAMES"), 3);
    assert_string_equal(reid_config_string_at(c, "DATASETS.NAMES", 1), "2020");
    assert_string_equal(reid_config_string_at(c, "DATASETS.NAMES", 2), "2021");
    assert_string_equal(reid_config_string_at(c, "DATASETS.TESTS", 0), "Market1501");
    assert_int_equal(reid_config_int_at(c, "INPUT.SIZE_TRAIN", 1), 32);
    assert_true(reid_config_float_at(c, "INPUT.CROP.SCALE", 0) == 1);
    assert_true(reid_config_float_at(c, "INPUT.CROP.RATIO", 0) == 0.3);
    assert_true(reid_config_float(c, "SOLVER.BASE_LR") == 3e-4);
    assert_true(reid_config_float(c, "SOLVER.WEIGHT_DECAY") == 5e-4);
    assert_int_equal(reid_config_count(c, "SOLVER.STEPS"), 1);
    assert_int_equal(reid_config_int_at(c, "SOLVER.STEPS", 0), 8);
    assert_true(reid_config_float(c, "SOLVER.CLIP_GRADIENTS.NORM_TYPE") > 1e300);
    assert_true(reid_config_bool(c, "SOLVER.CLIP_GRADIENTS.ENABLED"));
    assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), "007");
    assert_string_equal(reid_config_origin(c, "OUTPUT_DIR"), "good:21");
    assert_string_equal(reid_config_origin(c, "SEED"), "default");
    reid_config_free(c);
}

static void test_refusals(void **state)
{
    static const char *const CASES[][2] = {
        {"", "t: there are no keys in it"},
        {"# only a comment\n", "t: there are no keys in it"},
        {"hello", "t:1: expected keys and values, such as 'SOLVER:'"},
        {"- 1\n- 2\n", "t:1: expected keys and values, such as 'SOLVER:'"},
        {"SEED: 1\nSEED: 2\n", "t:2: 'SEED' is given twice, first on line 1"},
        {"SOLVER:\n  OPT: SGD\nSEED: 1\nSOLVER:\n  GAMMA: 1\n",
         "t:4: 'SOLVER' is given twice, first on line 1"},
        {"SOLVER: {OPT: SGD, OPT: Adam}", "t:1: 'SOLVER.OPT' is given twice, first on line 1"},
        {"\n\nSOLVER:\n  BASE_LRR: 1\n",
         "t:4: unknown key 'SOLVER.BASE_LRR'; did you mean 'SOLVER.BASE_LR'?"},
        {"SOLVR:\n  OPT: SGD\n", "t:1: unknown section 'SOLVR'; did you mean 'SOLVER'?"},
        {"SOLVER:\n  XYZZY:\n    A: 1\n", "t:2: unknown section 'SOLVER.XYZZY'"},
        {"SOLVER: 3\n", "t:1: SOLVER is a section of keys, it takes no value"},
        {"SOLVER:\n  OPT:\n    A: 1\n",
         "t:2: SOLVER.OPT takes a value (string), not a section of keys"},
        {"SOLVER:\n  STEPS: 40\n",
         "t:2: SOLVER.STEPS takes a list of ints, not the int 40; write a list, such as [30, 55]"},
        {"SOLVER:\n  STEPS: [1, [2]]\n",
         "t:2: SOLVER.STEPS takes a list of ints, not the list […] as element 2"},
        {"SOLVER:\n  STEPS: [1, \"2\"]\n", "t:2: SOLVER.STEPS takes a list of ints, not the string "
                                           "'2' as element 2 (leave the quotes out)"},
        {"SOLVER:\n  STEPS: [1, ~]\n",
         "t:2: SOLVER.STEPS takes a list of ints, not None as element 2"},
        {"SOLVER:\n  STEPS: [a: 1]\n", "t:2: a list holds a mapping"},
        {"SOLVER:\n  MAX_EPOCH: 1.5\n", "t:2: SOLVER.MAX_EPOCH takes an int, not the float 1.5"},
        {"SOLVER:\n  MAX_EPOCH: yes\n", "t:2: SOLVER.MAX_EPOCH takes an int, not the bool yes"},
        {"SOLVER:\n  MAX_EPOCH:\n", "t:2: SOLVER.MAX_EPOCH takes an int, not None"},
        {"SOLVER:\n  NESTEROV: 1\n", "t:2: SOLVER.NESTEROV takes True or False, not the int 1"},
        {"SOLVER:\n  BASE_LR: .nan\n", "t:2: SOLVER.BASE_LR takes a float, not the float .nan"},
        {"DATASETS:\n  NAMES: (\"Market1501\")\n",
         "t:2: DATASETS.NAMES takes a list of strings, not the string 'Market1501'; write a list, "
         "such as ('Market1501',)"},
        {"OUTPUT_DIR: [a]\n", "t:1: OUTPUT_DIR takes a string, not the list […]"},
        {"_BASE_: a.yml\n", "t:1: _BASE_ is for files; this text has no folder to look in"},
        {"MODEL:\n  _BASE_: a.yml\n", "t:2: _BASE_ belongs at the top of a file"},
        {"SEED: &a 1\n", "t:1: anchors (&a) are not allowed"},
        {"SEED: 1\nOUTPUT_DIR: *a\n", "t:2: aliases (*a) are not allowed"},
        {"<<: *a\n", "t:1: aliases (*a) are not allowed"},
        {"SEED: !!python/name:os.system x\n",
         "t:1: tags (tag:yaml.org,2002:python/name:os.system) are not allowed"},
        {"--- \nSEED: 1\n---\nSEED: 2\n", "t:3: a second document begins"},
        {"? [a]\n: 1\n", "t:1: a key must be a word"},
        {"'': 1\n", "t:1: '' cannot be a key"},
        {"OUTPUT_DIR: \"a\\0b\"\n", "t:1: a value holds a NUL character"},
        {"SOLVER:\n  STEPS: [1, 2\nSEED: 1\n",
         "t:3: not valid YAML: did not find expected ',' or ']'"},
        {"OUTPUT_DIR: \"abc\n", "t:2: not valid YAML: found unexpected end of stream"},
        {"SEED: 1\nOUTPUT_DIR: \xff\n", "t:2: not valid YAML: invalid leading UTF-8 octet"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        reid_error err = {0};
        reid_config *c = reid_config_new();
        uint64_t before = reid_config_hash(c);
        EXPECT_FAILURE(reid_config_load_text(c, CASES[i][0], "t", &err), &err, REID_ERR_INVALID,
                       CASES[i][1]);
        assert_true(reid_config_hash(c) == before);
        reid_config_free(c);
    }
}

static void repeat(reid_str *text, const char *part, int count)
{
    for (int i = 0; i < count; i++)
        reid_str_add(text, part);
}

static void test_large_and_deep(void **state)
{
    reid_error err = {0};
    reid_str text = REID_STR_INIT;
    reid_config *c = reid_config_new();
    reid_str_add(&text, "SEED: ");
    repeat(&text, "[", 500000);
    EXPECT_FAILURE(reid_config_load_text(c, text.data, "t", &err), &err, REID_ERR_INVALID,
                   "t:1: nested more than 16 deep");
    reid_str_clear(&text);
    repeat(&text, "{a: ", 200000);
    EXPECT_FAILURE(reid_config_load_text(c, text.data, "t", &err), &err, REID_ERR_INVALID,
                   "t:1: nested more than 16 deep");
    reid_str_clear(&text);
    reid_str_add(&text, "SOLVER:\n  STEPS: [0");
    repeat(&text, ",0", 2000);
    EXPECT_FAILURE(reid_config_load_text(c, text.data, "t", &err), &err, REID_ERR_INVALID,
                   "t:2: the list has more than 1024 elements");
    reid_str_clear(&text);
    for (int i = 0; i < 5000; i++)
        reid_str_addf(&text, "k%d: 1\n", i);
    EXPECT_FAILURE(reid_config_load_text(c, text.data, "t", &err), &err, REID_ERR_INVALID,
                   "t:4097: more than 4096 keys");
    reid_str_clear(&text);
    reid_str_add(&text, "OUTPUT_DIR: ");
    repeat(&text, "0123456789", 500);
    assert_int_equal(reid_config_load_text(c, text.data, "t", &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "(too long)"));
    assert_true(strlen(err.text) < 200);
    reid_error_clear(&err);
    reid_str_clear(&text);
    repeat(&text, "#123456789\n", 100000);
    EXPECT_FAILURE(reid_config_load_text(c, text.data, "t", &err), &err, REID_ERR_EXHAUSTED,
                   "t: larger than 1048576 bytes");
    reid_str_fini(&text);
    reid_config_free(c);
}

static bool is_clean_text(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20)
            return false;
    }
    return true;
}

/* Every prefix of a good text, and texts with some bytes changed: a status with a sentence or
 * success, never a crash. */
static void try_text(const char *text)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_status status = reid_config_load_text(c, text, "t", &err);
    if (status == REID_OK)
        reid_config_check(c, &err);
    else
        assert_true(err.text[0] == 't' && is_clean_text(err.text));
    char *dump = reid_config_dump(c);
    free(dump);
    reid_config_free(c);
}

static void test_truncated_and_garbled(void **state)
{
    char text[sizeof GOOD];
    for (size_t length = 0; length < sizeof GOOD; length++) {
        memcpy(text, GOOD, length);
        text[length] = '\0';
        try_text(text);
    }
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    for (int round = 0; round < 2000; round++) {
        memcpy(text, GOOD, sizeof GOOD);
        for (uint32_t n = 1 + reid_rng_below(&rng, 4); n > 0; n--)
            text[reid_rng_below(&rng, sizeof GOOD - 1)] = (char)(1 + reid_rng_below(&rng, 255));
        try_text(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_large_and_deep),
        cmocka_unit_test(test_truncated_and_garbled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
