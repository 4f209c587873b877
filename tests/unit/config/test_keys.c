/* The table of keys: fast-reid's names, types and defaults, and our own keys beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "config/config.h"

typedef struct fact {
    const char *key;
    reid_config_type type;
    const char *value; /* elements of a list with commas between; a bool is 0 or 1 */
} fact;

/* What fast-reid's fastreid/config/defaults.py holds after Python ran it (numbers as Python's
 * repr). A list of ints and floats is a list of floats here; the element type of an empty list is
 * that of fast-reid's recipes. */
static const fact FACTS[] = {
    {"MODEL.DEVICE", REID_CONFIG_STRING, "cuda"},
    {"MODEL.META_ARCHITECTURE", REID_CONFIG_STRING, "Baseline"},
    {"MODEL.FREEZE_LAYERS", REID_CONFIG_STRING_LIST, ""},
    {"MODEL.QUEUE_SIZE", REID_CONFIG_INT, "8192"},
    {"MODEL.BACKBONE.NAME", REID_CONFIG_STRING, "build_resnet_backbone"},
    {"MODEL.BACKBONE.DEPTH", REID_CONFIG_STRING, "50x"},
    {"MODEL.BACKBONE.LAST_STRIDE", REID_CONFIG_INT, "1"},
    {"MODEL.BACKBONE.FEAT_DIM", REID_CONFIG_INT, "2048"},
    {"MODEL.BACKBONE.NORM", REID_CONFIG_STRING, "BN"},
    {"MODEL.BACKBONE.WITH_IBN", REID_CONFIG_BOOL, "0"},
    {"MODEL.BACKBONE.WITH_SE", REID_CONFIG_BOOL, "0"},
    {"MODEL.BACKBONE.WITH_NL", REID_CONFIG_BOOL, "0"},
    {"MODEL.BACKBONE.SIE_COE", REID_CONFIG_FLOAT, "3.0"},
    {"MODEL.BACKBONE.STRIDE_SIZE", REID_CONFIG_INT_LIST, "16,16"},
    {"MODEL.BACKBONE.DROP_PATH_RATIO", REID_CONFIG_FLOAT, "0.1"},
    {"MODEL.BACKBONE.DROP_RATIO", REID_CONFIG_FLOAT, "0.0"},
    {"MODEL.BACKBONE.ATT_DROP_RATE", REID_CONFIG_FLOAT, "0.0"},
    {"MODEL.BACKBONE.PRETRAIN", REID_CONFIG_BOOL, "0"},
    {"MODEL.BACKBONE.PRETRAIN_PATH", REID_CONFIG_STRING, ""},
    {"MODEL.HEADS.NAME", REID_CONFIG_STRING, "EmbeddingHead"},
    {"MODEL.HEADS.NORM", REID_CONFIG_STRING, "BN"},
    {"MODEL.HEADS.NUM_CLASSES", REID_CONFIG_INT, "0"},
    {"MODEL.HEADS.EMBEDDING_DIM", REID_CONFIG_INT, "0"},
    {"MODEL.HEADS.WITH_BNNECK", REID_CONFIG_BOOL, "0"},
    {"MODEL.HEADS.NECK_FEAT", REID_CONFIG_STRING, "before"},
    {"MODEL.HEADS.POOL_LAYER", REID_CONFIG_STRING, "GlobalAvgPool"},
    {"MODEL.HEADS.CLS_LAYER", REID_CONFIG_STRING, "Linear"},
    {"MODEL.HEADS.MARGIN", REID_CONFIG_FLOAT, "0.0"},
    {"MODEL.HEADS.SCALE", REID_CONFIG_INT, "1"},
    {"MODEL.LOSSES.NAME", REID_CONFIG_STRING_LIST, "CrossEntropyLoss"},
    {"MODEL.LOSSES.CE.EPSILON", REID_CONFIG_FLOAT, "0.0"},
    {"MODEL.LOSSES.CE.ALPHA", REID_CONFIG_FLOAT, "0.2"},
    {"MODEL.LOSSES.CE.SCALE", REID_CONFIG_FLOAT, "1.0"},
    {"MODEL.LOSSES.FL.ALPHA", REID_CONFIG_FLOAT, "0.25"},
    {"MODEL.LOSSES.FL.GAMMA", REID_CONFIG_INT, "2"},
    {"MODEL.LOSSES.FL.SCALE", REID_CONFIG_FLOAT, "1.0"},
    {"MODEL.LOSSES.TRI.MARGIN", REID_CONFIG_FLOAT, "0.3"},
    {"MODEL.LOSSES.TRI.NORM_FEAT", REID_CONFIG_BOOL, "0"},
    {"MODEL.LOSSES.TRI.HARD_MINING", REID_CONFIG_BOOL, "0"},
    {"MODEL.LOSSES.TRI.SCALE", REID_CONFIG_FLOAT, "1.0"},
    {"MODEL.LOSSES.CIRCLE.MARGIN", REID_CONFIG_FLOAT, "0.25"},
    {"MODEL.LOSSES.CIRCLE.GAMMA", REID_CONFIG_INT, "128"},
    {"MODEL.LOSSES.CIRCLE.SCALE", REID_CONFIG_FLOAT, "1.0"},
    {"MODEL.LOSSES.COSFACE.MARGIN", REID_CONFIG_FLOAT, "0.25"},
    {"MODEL.LOSSES.COSFACE.GAMMA", REID_CONFIG_INT, "128"},
    {"MODEL.LOSSES.COSFACE.SCALE", REID_CONFIG_FLOAT, "1.0"},
    {"MODEL.WEIGHTS", REID_CONFIG_STRING, ""},
    {"MODEL.PIXEL_MEAN", REID_CONFIG_FLOAT_LIST, "123.675,116.28,103.53"},
    {"MODEL.PIXEL_STD", REID_CONFIG_FLOAT_LIST, "58.395,57.120000000000005,57.375"},
    {"KD.MODEL_CONFIG", REID_CONFIG_STRING_LIST, ""},
    {"KD.MODEL_WEIGHTS", REID_CONFIG_STRING_LIST, ""},
    {"KD.EMA.ENABLED", REID_CONFIG_BOOL, "0"},
    {"KD.EMA.MOMENTUM", REID_CONFIG_FLOAT, "0.999"},
    {"INPUT.SIZE_TRAIN", REID_CONFIG_INT_LIST, "256,128"},
    {"INPUT.SIZE_TEST", REID_CONFIG_INT_LIST, "256,128"},
    {"INPUT.CROP.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.CROP.SIZE", REID_CONFIG_INT_LIST, "224,224"},
    {"INPUT.CROP.SCALE", REID_CONFIG_FLOAT_LIST, "0.16,1"},
    {"INPUT.CROP.RATIO", REID_CONFIG_FLOAT_LIST, "0.75,1.3333333333333333"},
    {"INPUT.FLIP.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.FLIP.PROB", REID_CONFIG_FLOAT, "0.5"},
    {"INPUT.PADDING.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.PADDING.MODE", REID_CONFIG_STRING, "constant"},
    {"INPUT.PADDING.SIZE", REID_CONFIG_INT, "10"},
    {"INPUT.CJ.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.CJ.PROB", REID_CONFIG_FLOAT, "0.5"},
    {"INPUT.CJ.BRIGHTNESS", REID_CONFIG_FLOAT, "0.15"},
    {"INPUT.CJ.CONTRAST", REID_CONFIG_FLOAT, "0.15"},
    {"INPUT.CJ.SATURATION", REID_CONFIG_FLOAT, "0.1"},
    {"INPUT.CJ.HUE", REID_CONFIG_FLOAT, "0.1"},
    {"INPUT.AFFINE.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.AUTOAUG.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.AUTOAUG.PROB", REID_CONFIG_FLOAT, "0.0"},
    {"INPUT.AUGMIX.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.AUGMIX.PROB", REID_CONFIG_FLOAT, "0.0"},
    {"INPUT.REA.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.REA.PROB", REID_CONFIG_FLOAT, "0.5"},
    {"INPUT.REA.VALUE", REID_CONFIG_FLOAT_LIST, "123.675,116.28,103.53"},
    {"INPUT.RPT.ENABLED", REID_CONFIG_BOOL, "0"},
    {"INPUT.RPT.PROB", REID_CONFIG_FLOAT, "0.5"},
    {"DATASETS.NAMES", REID_CONFIG_STRING_LIST, "Market1501"},
    {"DATASETS.TESTS", REID_CONFIG_STRING_LIST, "Market1501"},
    {"DATASETS.COMBINEALL", REID_CONFIG_BOOL, "0"},
    {"DATALOADER.SAMPLER_TRAIN", REID_CONFIG_STRING, "TrainingSampler"},
    {"DATALOADER.NUM_INSTANCE", REID_CONFIG_INT, "4"},
    {"DATALOADER.NUM_WORKERS", REID_CONFIG_INT, "8"},
    {"DATALOADER.CACHE_MB", REID_CONFIG_INT, "512"},
    {"DATALOADER.SET_WEIGHT", REID_CONFIG_INT_LIST, ""},
    {"SOLVER.AMP.ENABLED", REID_CONFIG_BOOL, "0"},
    {"SOLVER.AMP.DTYPE", REID_CONFIG_STRING, "bf16"},
    {"SOLVER.AMP.LOSS_SCALE", REID_CONFIG_FLOAT, "65536.0"},
    {"SOLVER.AMP.GROWTH_INTERVAL", REID_CONFIG_INT, "2000"},
    {"SOLVER.OPT", REID_CONFIG_STRING, "Adam"},
    {"SOLVER.MAX_EPOCH", REID_CONFIG_INT, "120"},
    {"SOLVER.BASE_LR", REID_CONFIG_FLOAT, "0.0003"},
    {"SOLVER.HEADS_LR_FACTOR", REID_CONFIG_FLOAT, "1.0"},
    {"SOLVER.MOMENTUM", REID_CONFIG_FLOAT, "0.9"},
    {"SOLVER.NESTEROV", REID_CONFIG_BOOL, "0"},
    {"SOLVER.WEIGHT_DECAY", REID_CONFIG_FLOAT, "0.0005"},
    {"SOLVER.WEIGHT_DECAY_NORM", REID_CONFIG_FLOAT, "0.0005"},
    {"SOLVER.BIAS_LR_FACTOR", REID_CONFIG_FLOAT, "1.0"},
    {"SOLVER.WEIGHT_DECAY_BIAS", REID_CONFIG_FLOAT, "0.0005"},
    {"SOLVER.SCHED", REID_CONFIG_STRING, "MultiStepLR"},
    {"SOLVER.DELAY_EPOCHS", REID_CONFIG_INT, "0"},
    {"SOLVER.GAMMA", REID_CONFIG_FLOAT, "0.1"},
    {"SOLVER.STEPS", REID_CONFIG_INT_LIST, "30,55"},
    {"SOLVER.ETA_MIN_LR", REID_CONFIG_FLOAT, "1e-07"},
    {"SOLVER.WARMUP_FACTOR", REID_CONFIG_FLOAT, "0.1"},
    {"SOLVER.WARMUP_ITERS", REID_CONFIG_INT, "1000"},
    {"SOLVER.WARMUP_METHOD", REID_CONFIG_STRING, "linear"},
    {"SOLVER.FREEZE_ITERS", REID_CONFIG_INT, "0"},
    {"SOLVER.CHECKPOINT_PERIOD", REID_CONFIG_INT, "20"},
    {"SOLVER.IMS_PER_BATCH", REID_CONFIG_INT, "64"},
    {"SOLVER.CLIP_GRADIENTS.ENABLED", REID_CONFIG_BOOL, "0"},
    {"SOLVER.CLIP_GRADIENTS.CLIP_TYPE", REID_CONFIG_STRING, "norm"},
    {"SOLVER.CLIP_GRADIENTS.CLIP_VALUE", REID_CONFIG_FLOAT, "5.0"},
    {"SOLVER.CLIP_GRADIENTS.NORM_TYPE", REID_CONFIG_FLOAT, "2.0"},
    {"TEST.EVAL_PERIOD", REID_CONFIG_INT, "20"},
    {"TEST.IMS_PER_BATCH", REID_CONFIG_INT, "64"},
    {"TEST.METRIC", REID_CONFIG_STRING, "cosine"},
    {"TEST.ROC.ENABLED", REID_CONFIG_BOOL, "0"},
    {"TEST.FLIP.ENABLED", REID_CONFIG_BOOL, "0"},
    {"TEST.AQE.ENABLED", REID_CONFIG_BOOL, "0"},
    {"TEST.AQE.ALPHA", REID_CONFIG_FLOAT, "3.0"},
    {"TEST.AQE.QE_TIME", REID_CONFIG_INT, "1"},
    {"TEST.AQE.QE_K", REID_CONFIG_INT, "5"},
    {"TEST.RERANK.ENABLED", REID_CONFIG_BOOL, "0"},
    {"TEST.RERANK.K1", REID_CONFIG_INT, "20"},
    {"TEST.RERANK.K2", REID_CONFIG_INT, "6"},
    {"TEST.RERANK.LAMBDA", REID_CONFIG_FLOAT, "0.3"},
    {"TEST.PRECISE_BN.ENABLED", REID_CONFIG_BOOL, "0"},
    {"TEST.PRECISE_BN.DATASET", REID_CONFIG_STRING, "Market1501"},
    {"TEST.PRECISE_BN.NUM_ITER", REID_CONFIG_INT, "300"},
    {"OUTPUT_DIR", REID_CONFIG_STRING, "logs/"},
    {"CUDNN_BENCHMARK", REID_CONFIG_BOOL, "0"},
};

static const fact OWN[] = {
    {"SEED", REID_CONFIG_INT, "0"},
    {"DATASETS.ROOT", REID_CONFIG_STRING, ""},
    {"MODEL.BACKEND", REID_CONFIG_STRING, "cpu"},
    {"MODEL.BACKBONE.WIDTH", REID_CONFIG_INT, "64"},
    {"MODEL.CONVOLUTION", REID_CONFIG_STRING, "auto"},
    {"MODEL.RECOMPUTE", REID_CONFIG_STRING, "block"},
    {"MODEL.CUDA.GRAPHS", REID_CONFIG_BOOL, "1"},
    {"MODEL.CUDA.NUMA", REID_CONFIG_BOOL, "1"},
    {"MODEL.CUDA.TF32", REID_CONFIG_BOOL, "0"},
    {"COMM.BUCKET_MB", REID_CONFIG_INT, "25"},
    {"COMM.COMPRESSION", REID_CONFIG_STRING, "none"},
    {"COMM.FIRST_BUCKET_MB", REID_CONFIG_INT, "1"},
    {"COMM.TIMEOUT_S", REID_CONFIG_INT, "600"},
};

static void check_element(const reid_config *config, const fact *f, size_t i, const char *expected)
{
    switch (f->type) {
    case REID_CONFIG_BOOL:
        assert_int_equal(reid_config_bool(config, f->key), expected[0] == '1');
        break;
    case REID_CONFIG_INT:
        assert_int_equal(reid_config_int(config, f->key), strtoll(expected, NULL, 10));
        break;
    case REID_CONFIG_FLOAT:
        assert_true(reid_config_float(config, f->key) == strtod(expected, NULL));
        break;
    case REID_CONFIG_STRING:
        assert_string_equal(reid_config_string(config, f->key), expected);
        break;
    case REID_CONFIG_INT_LIST:
        assert_int_equal(reid_config_int_at(config, f->key, i), strtoll(expected, NULL, 10));
        break;
    case REID_CONFIG_FLOAT_LIST:
        assert_true(reid_config_float_at(config, f->key, i) == strtod(expected, NULL));
        break;
    case REID_CONFIG_STRING_LIST:
        assert_string_equal(reid_config_string_at(config, f->key, i), expected);
        break;
    }
}

static void check_fact(const reid_config *config, const fact *f)
{
    int index = reid_config_key_find(f->key);
    if (index < 0)
        fail_msg("%s is not a key", f->key);
    if (reid_config_key_type((size_t)index) != f->type)
        fail_msg("%s is a %s", f->key, reid_config_key_type_name((size_t)index));
    if (f->type < REID_CONFIG_INT_LIST) {
        check_element(config, f, 0, f->value);
        return;
    }
    size_t count = 0;
    char *text = strdup(f->value), *rest = text;
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        assert_true(count < reid_config_count(config, f->key));
        check_element(config, f, count++, part);
    }
    assert_int_equal(reid_config_count(config, f->key), count);
    free(text);
}

static void test_defaults_are_fast_reids(void **state)
{
    reid_config *config = reid_config_new();
    for (size_t i = 0; i < REID_COUNT_OF(FACTS); i++)
        check_fact(config, &FACTS[i]);
    reid_config_free(config);
}

static void test_own_keys(void **state)
{
    reid_config *config = reid_config_new();
    for (size_t i = 0; i < REID_COUNT_OF(OWN); i++)
        check_fact(config, &OWN[i]);
    assert_int_equal(reid_config_key_count(), REID_COUNT_OF(FACTS) + REID_COUNT_OF(OWN));
    reid_config_free(config);
}

static void test_defaults_pass_the_check(void **state)
{
    reid_error err = {0};
    reid_config *config = reid_config_new();
    reid_status status = reid_config_check(config, &err);
    if (status != REID_OK)
        fail_msg("%s", err.text);
    assert_int_equal(reid_config_check_world(config, 8, &err), REID_OK);
    char *remarks = reid_config_remarks(config);
    assert_string_equal(remarks, "");
    free(remarks);
    reid_config_free(config);
}

/* The default of each row is written as an override would write it, and the help is a sentence. */
static void test_rows_are_complete(void **state)
{
    reid_config *config = reid_config_new();
    for (size_t i = 0; i < reid_config_key_count(); i++) {
        reid_error err = {0};
        const char *name = reid_config_key_name(i);
        assert_int_equal(reid_config_key_find(name), (int)i);
        uint64_t before = reid_config_hash(config);
        if (reid_config_set(config, name, reid_config_key_default(i), &err) != REID_OK)
            fail_msg("%s", err.text);
        assert_true(reid_config_hash(config) == before);
        const char *help = reid_config_key_help(i);
        if (strlen(help) < 10 || help[strlen(help) - 1] != '.')
            fail_msg("the help of %s is no sentence", name);
    }
    reid_config_free(config);
}

static void test_what_is_supported_in_words(void **state)
{
    static const char *const CASES[][2] = {
        {"SOLVER.OPT", "Adam, AdamW or SGD"},
        {"MODEL.BACKBONE.DEPTH", "18x, 34x, 50x or 101x"},
        {"INPUT.REA.PROB", "from 0 to 1"},
        {"MODEL.PIXEL_STD", "above 0"},
        {"MODEL.LOSSES.TRI.MARGIN", "at least 0"},
        {"MODEL.BACKBONE.WITH_NL", "only False"},
        {"MODEL.HEADS.WITH_BNNECK", ""},
        {"OUTPUT_DIR", ""},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        int index = reid_config_key_find(CASES[i][0]);
        assert_true(index >= 0);
        char *words = reid_config_key_supported((size_t)index);
        assert_string_equal(words, CASES[i][1]);
        free(words);
    }
}

static void test_nearest_names(void **state)
{
    static const char *const CASES[][2] = {
        {"SOLVER.BASE_LRR", "SOLVER.BASE_LR"},
        {"SOLVER.BSAE_LR", "SOLVER.BASE_LR"},
        {"solver.base_lr", "SOLVER.BASE_LR"},
        {"BASE_LR", "SOLVER.BASE_LR"},
        {"MODEL.BASE_LR", "SOLVER.BASE_LR"},
        {"INPUT.SIZE_TRIAN", "INPUT.SIZE_TRAIN"},
        {"DATASETS.NAME", "DATASETS.NAMES"},
        {"OUTPUT_DIRS", "OUTPUT_DIR"},
        {"SEEDS", "SEED"},
        {"XYZZY.PLUGH.QUUX", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < REID_COUNT_OF(CASES); i++) {
        const char *nearest = reid_config_key_nearest(CASES[i][0]);
        if (CASES[i][1])
            assert_string_equal(nearest ? nearest : "(none)", CASES[i][1]);
        else
            assert_null(nearest);
    }
    assert_int_equal(reid_config_key_find("SOLVER"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_fast_reids),    cmocka_unit_test(test_own_keys),
        cmocka_unit_test(test_defaults_pass_the_check),    cmocka_unit_test(test_rows_are_complete),
        cmocka_unit_test(test_what_is_supported_in_words), cmocka_unit_test(test_nearest_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
