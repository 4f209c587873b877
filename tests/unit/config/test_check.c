/* What reid_config_check refuses, and what it only remarks on. */
#include "expect.h"

#include <stdlib.h>

#include "base/compiler.h"
#include "config/config.h"
#include "harness/harness.h"

typedef struct refusal {
    const char *overrides[6]; /* KEY, VALUE, …, NULL */
    reid_status code;
    const char *sentence;
} refusal;

static reid_config *config_with(const char *const *overrides)
{
    reid_error err = {0};
    reid_config *config = reid_config_new();
    for (size_t i = 0; overrides[i]; i += 2)
        reid_assert_ok(reid_config_set(config, overrides[i], overrides[i + 1], &err), &err);
    return config;
}

static void expect_refusals(const refusal *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        reid_error err = {0};
        reid_config *c = config_with(rows[i].overrides);
        EXPECT_FAILURE(reid_config_check(c, &err), &err, rows[i].code, rows[i].sentence);
        reid_config_free(c);
    }
}

#define CL "the command line: "

static void test_known_but_not_supported(void **state)
{
    static const refusal ROWS[] = {
        {{"MODEL.BACKBONE.WITH_IBN", "True"},
         REID_ERR_UNSUPPORTED,
         CL "MODEL.BACKBONE.WITH_IBN True is known but not supported yet; leave it at False"},
        {{"MODEL.BACKBONE.PRETRAIN", "True"},
         REID_ERR_UNSUPPORTED,
         CL "MODEL.BACKBONE.PRETRAIN True is known but not supported yet; nothing is fetched from "
            "the web, give the "
            "weights with MODEL.WEIGHTS"},
        {{"MODEL.META_ARCHITECTURE", "MGN"},
         REID_ERR_UNSUPPORTED,
         CL "MODEL.META_ARCHITECTURE 'MGN' is known but not supported yet; supported: Baseline"},
        {{"SOLVER.OPT", "RAdam"},
         REID_ERR_UNSUPPORTED,
         CL "SOLVER.OPT 'RAdam' is known but not supported yet; supported: Adam, AdamW or SGD"},
        {{"DATASETS.NAMES", "[Market1501, MSMT17]"},
         REID_ERR_UNSUPPORTED,
         CL "DATASETS.NAMES 'MSMT17' is known but not supported yet; supported: Market1501"},
        {{"KD.MODEL_CONFIG", "['a.yml']"},
         REID_ERR_UNSUPPORTED,
         CL "KD.MODEL_CONFIG ['a.yml'] is known but not supported yet; leave it at []"},
        {{"MODEL.FREEZE_LAYERS", "['backbone']", "SOLVER.FREEZE_ITERS", "10"},
         REID_ERR_UNSUPPORTED,
         CL "MODEL.FREEZE_LAYERS is known but not supported yet; set SOLVER.FREEZE_ITERS to 0"},
        {{"INPUT.CJ.ENABLED", "True", "TEST.FLIP.ENABLED", "True"},
         REID_ERR_UNSUPPORTED,
         CL "INPUT.CJ.ENABLED True is known but not supported yet; leave it at False; nor "
            "supported: TEST.FLIP.ENABLED"},
    };
    expect_refusals(ROWS, REID_COUNT_OF(ROWS));
    static const char *const SWITCHES[] = {
        "MODEL.BACKBONE.WITH_SE",  "MODEL.BACKBONE.WITH_NL", "KD.EMA.ENABLED",
        "INPUT.CROP.ENABLED",      "INPUT.CJ.ENABLED",       "INPUT.AFFINE.ENABLED",
        "INPUT.AUTOAUG.ENABLED",   "INPUT.AUGMIX.ENABLED",   "INPUT.RPT.ENABLED",
        "TEST.ROC.ENABLED",        "TEST.FLIP.ENABLED",      "TEST.AQE.ENABLED",
        "TEST.PRECISE_BN.ENABLED",
    };
    for (size_t i = 0; i < REID_COUNT_OF(SWITCHES); i++) {
        reid_config *c = config_with((const char *const[]){SWITCHES[i], "True", NULL});
        assert_int_equal(reid_config_check(c, NULL), REID_ERR_UNSUPPORTED);
        reid_config_free(c);
    }
}

static void test_unknown_values_and_ranges(void **state)
{
    static const refusal ROWS[] = {
        {{"SOLVER.OPT", "Adamm"},
         REID_ERR_INVALID,
         CL "SOLVER.OPT 'Adamm' is unknown; supported: Adam, AdamW or SGD; did you mean 'Adam'?"},
        {{"MODEL.BACKBONE.DEPTH", "50"},
         REID_ERR_INVALID,
         CL "MODEL.BACKBONE.DEPTH '50' is unknown; supported: 18x, 34x, 50x or 101x; did you mean "
            "'50x'?"},
        {{"SOLVER.OPT", "|"},
         REID_ERR_INVALID,
         CL "SOLVER.OPT '|' is unknown; supported: Adam, AdamW or SGD"},
        {{"SOLVER.OPT", ""},
         REID_ERR_INVALID,
         CL "SOLVER.OPT '' is unknown; supported: Adam, AdamW or SGD"},
        {{"SOLVER.MAX_EPOCH", "0"},
         REID_ERR_INVALID,
         CL "SOLVER.MAX_EPOCH is 0; it must be from 1 to 1000000"},
        {{"SOLVER.BASE_LR", "-1e-3"},
         REID_ERR_INVALID,
         CL "SOLVER.BASE_LR is -0.001; it must be from 0 to 1000"},
        {{"SOLVER.BASE_LR", ".inf"},
         REID_ERR_INVALID,
         CL "SOLVER.BASE_LR is inf; it must be from 0 to 1000"},
        {{"SOLVER.IMS_PER_BATCH", "0"},
         REID_ERR_INVALID,
         CL "SOLVER.IMS_PER_BATCH is 0; it must be from 1 to 1048576"},
        {{"INPUT.FLIP.PROB", "1.5"},
         REID_ERR_INVALID,
         CL "INPUT.FLIP.PROB is 1.5; it must be from 0 to 1"},
        {{"INPUT.SIZE_TRAIN", "[5000, 128]"},
         REID_ERR_INVALID,
         CL "INPUT.SIZE_TRAIN is 5000; it must be from 1 to 4096"},
        {{"INPUT.SIZE_TRAIN", "[256]"},
         REID_ERR_INVALID,
         CL "INPUT.SIZE_TRAIN has 1 element; it must have 2"},
        {{"INPUT.SIZE_TEST", "[]"},
         REID_ERR_INVALID,
         CL "INPUT.SIZE_TEST has 0 elements; it must have 2"},
        {{"MODEL.PIXEL_STD", "[1, 0, 1]"},
         REID_ERR_INVALID,
         CL "MODEL.PIXEL_STD is 0; it must be above 0"},
        {{"MODEL.LOSSES.NAME", "()"},
         REID_ERR_INVALID,
         CL "MODEL.LOSSES.NAME has 0 elements; it must have 1 to 8"},
        {{"MODEL.LOSSES.TRI.MARGIN", "-0.1"},
         REID_ERR_INVALID,
         CL "MODEL.LOSSES.TRI.MARGIN is -0.1; it must be at least 0"},
        {{"MODEL.LOSSES.CE.EPSILON", "-0.5"},
         REID_ERR_INVALID,
         CL "MODEL.LOSSES.CE.EPSILON is -0.5; it must be from 0 to 1, or -1"},
        {{"DATALOADER.NUM_WORKERS", "1000000"},
         REID_ERR_INVALID,
         CL "DATALOADER.NUM_WORKERS is 1000000; it must be from 0 to 256"},
        {{"DATALOADER.CACHE_MB", "-1"},
         REID_ERR_INVALID,
         CL "DATALOADER.CACHE_MB is -1; it must be from 0 to 16777216"},
        {{"SEED", "-2"}, REID_ERR_INVALID, CL "SEED is -2; it must be at least -1"},
    };
    expect_refusals(ROWS, REID_COUNT_OF(ROWS));
}

static void test_relations(void **state)
{
    static const refusal ROWS[] = {
        {{"DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "SOLVER.IMS_PER_BATCH", "66"},
         REID_ERR_INVALID,
         CL "SOLVER.IMS_PER_BATCH is 66, which is not a multiple of DATALOADER.NUM_INSTANCE (4)"},
        {{"SOLVER.STEPS", "[40, 40]"},
         REID_ERR_INVALID,
         CL "SOLVER.STEPS must ascend, but 40 follows 40"},
        {{"SOLVER.STEPS", "[90, 40]"},
         REID_ERR_INVALID,
         CL "SOLVER.STEPS must ascend, but 40 follows 90"},
        {{"MODEL.BACKBONE.DEPTH", "18x"},
         REID_ERR_INVALID,
         "MODEL.BACKBONE.FEAT_DIM is 2048, but a backbone of depth 18x has 512 features; set it to "
         "512"},
        {{"SOLVER.SCHED", "CosineAnnealingLR", "SOLVER.DELAY_EPOCHS", "120"},
         REID_ERR_INVALID,
         CL "SOLVER.DELAY_EPOCHS is 120, which leaves no epoch of SOLVER.MAX_EPOCH (120) to "
            "CosineAnnealingLR"},
        {{
             "SOLVER.OPT",
             "SGD",
             "SOLVER.NESTEROV",
             "True",
         },
         REID_OK,
         ""},
        {{"DATASETS.TESTS", "()"},
         REID_ERR_INVALID,
         CL "DATASETS.TESTS is empty; name a data set, or set TEST.EVAL_PERIOD to 0"},
        {{"OUTPUT_DIR", ""}, REID_ERR_INVALID, CL "OUTPUT_DIR is empty; give a folder"},
    };
    expect_refusals(ROWS, REID_COUNT_OF(ROWS));
    static const refusal NESTEROV = {
        {"SOLVER.NESTEROV", "True", "SOLVER.MOMENTUM", "0"}, REID_ERR_INVALID, ""};
    reid_error err = {0};
    reid_config *c = config_with(NESTEROV.overrides);
    reid_assert_ok(reid_config_check(c, &err), &err); /* Adam does not look at it */
    reid_assert_ok(reid_config_set(c, "SOLVER.OPT", "SGD", &err), &err);
    EXPECT_FAILURE(reid_config_check(c, &err), &err, REID_ERR_INVALID,
                   CL "SOLVER.NESTEROV needs a SOLVER.MOMENTUM above 0");
    reid_config_free(c);
}

static void test_accepted(void **state)
{
    static const char *const ROWS[][5] = {
        {"TEST.EVAL_PERIOD", "0", "DATASETS.TESTS", "()", NULL},
        {"SOLVER.IMS_PER_BATCH", "66", NULL},
        {"SOLVER.STEPS", "[]", NULL},
        {"SOLVER.CHECKPOINT_PERIOD", "0", NULL},
        {"MODEL.LOSSES.CE.EPSILON", "-1", NULL},
        {"SOLVER.CLIP_GRADIENTS.NORM_TYPE", ".inf", NULL},
        {"MODEL.BACKBONE.DEPTH", "34x", "MODEL.BACKBONE.FEAT_DIM", "512", NULL},
        {"SEED", "-1", NULL},
    };
    for (size_t i = 0; i < REID_COUNT_OF(ROWS); i++) {
        reid_error err = {0};
        reid_config *c = config_with(ROWS[i]);
        reid_assert_ok(reid_config_check(c, &err), &err);
        reid_config_free(c);
    }
}

/* The sentence points to the line of the file that gave the value, and an older error is kept. */
static void test_place(void **state)
{
    reid_error err = {0};
    reid_config *c = reid_config_new();
    reid_assert_ok(
        reid_config_load_text(c, "SEED: 1\nTEST:\n  ROC:\n    ENABLED: True\n", "bot.yml", &err),
        &err);
    EXPECT_FAILURE(
        reid_config_check(c, &err), &err, REID_ERR_UNSUPPORTED,
        "bot.yml:4: TEST.ROC.ENABLED True is known but not supported yet; leave it at False");
    reid_fail(&err, REID_ERR_IO, "first");
    EXPECT_FAILURE(reid_config_check(c, &err), &err, REID_ERR_UNSUPPORTED, "first");
    assert_int_equal(reid_config_check(c, NULL), REID_ERR_UNSUPPORTED);
    reid_config_free(c);
}

static void test_world(void **state)
{
    reid_error err = {0};
    reid_config *c = config_with(
        (const char *const[]){"DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", NULL});
    reid_assert_ok(reid_config_check_world(c, 1, &err), &err);
    reid_assert_ok(reid_config_check_world(c, 16, &err), &err);
    EXPECT_FAILURE(reid_config_check_world(c, 3, &err), &err, REID_ERR_INVALID,
                   "SOLVER.IMS_PER_BATCH is 64, which is not a multiple of 3 ranks");
    EXPECT_FAILURE(
        reid_config_check_world(c, 32, &err), &err, REID_ERR_INVALID,
        "SOLVER.IMS_PER_BATCH is 64, so each of 32 ranks has 2 images, which is not a multiple of "
        "DATALOADER.NUM_INSTANCE (4)");
    EXPECT_FAILURE(reid_config_check_world(c, 64, &err), &err, REID_ERR_INVALID,
                   "SOLVER.IMS_PER_BATCH is 64, which leaves one image to each of 64 ranks; batch "
                   "normalisation needs "
                   "two");
    reid_assert_ok(reid_config_set(c, "TEST.IMS_PER_BATCH", "1", &err), &err);
    EXPECT_FAILURE(reid_config_check_world(c, 2, &err), &err, REID_ERR_INVALID,
                   CL "TEST.IMS_PER_BATCH is 1, less than one image for each of 2 ranks");
    reid_config_free(c);
}

static void test_remarks(void **state)
{
    reid_config *c = config_with((const char *const[]){
        "INPUT.CJ.PROB", "0.7", "CUDNN_BENCHMARK", "True", "MODEL.FREEZE_LAYERS", "[backbone]",
        "MODEL.DEVICE", "cuda", "INPUT.FLIP.ENABLED", "True", "INPUT.FLIP.PROB", "0.2", NULL});
    char *remarks = reid_config_remarks(c);
    assert_string_equal(remarks,
                        "INPUT.CJ.PROB 0.7 has no effect while INPUT.CJ.ENABLED is False\n"
                        "MODEL.DEVICE 'cuda' has no effect: MODEL.BACKEND 'cpu' computes\n"
                        "CUDNN_BENCHMARK True has no effect on a CPU\n"
                        "MODEL.FREEZE_LAYERS has no effect while SOLVER.FREEZE_ITERS is 0\n");
    free(remarks);
    reid_config_free(c);

    c = config_with(
        (const char *const[]){"MODEL.CUDA.TF32", "True", "MODEL.CUDA.GRAPHS", "False", NULL});
    remarks = reid_config_remarks(c);
    assert_string_equal(remarks,
                        "MODEL.CUDA.TF32 True has no effect: MODEL.BACKEND 'cpu' computes\n"
                        "MODEL.CUDA.GRAPHS False has no effect: MODEL.BACKEND 'cpu' computes\n");
    free(remarks);
    reid_config_free(c);

    c = config_with((const char *const[]){
        "MODEL.BACKEND", "cuda", "MODEL.CUDA.TF32", "True", "MODEL.CUDA.GRAPHS", "False",
        "MODEL.DEVICE", "cpu", "CUDNN_BENCHMARK", "True", "MODEL.CONVOLUTION", "rule", NULL});
    remarks = reid_config_remarks(c);
    assert_string_equal(
        remarks, "MODEL.DEVICE 'cpu' has no effect: MODEL.BACKEND 'cuda' computes\n"
                 "MODEL.CONVOLUTION 'rule' is the same as 'auto' on GPUs: cuDNN's order of engines "
                 "decides\n"
                 "CUDNN_BENCHMARK True has no effect: the first deterministic engine in cuDNN's "
                 "order is taken\n");
    free(remarks);
    reid_config_free(c);

    /* Nobody gave MODEL.DEVICE of a dump of the defaults. */
    reid_error err = {0};
    c = reid_config_new();
    char *dump = reid_config_dump(c);
    reid_assert_ok(reid_config_load_text(c, dump, "dump", &err), &err);
    remarks = reid_config_remarks(c);
    assert_string_equal(remarks, "");
    free(remarks);
    free(dump);
    reid_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_but_not_supported),
        cmocka_unit_test(test_unknown_values_and_ranges),
        cmocka_unit_test(test_relations),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_remarks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
