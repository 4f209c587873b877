#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "harness/harness.h"
#include "modeling/model.h"

static reid_status build(const char *const *pairs, int classes, reid_model **ret_model,
                         reid_error *err)
{
    reid_config *config = reid_config_new();
    reid_error setting = {0};
    reid_assert_ok(reid_config_set(config, "MODEL.HEADS.WITH_BNNECK", "True", &setting), &setting);
    for (; *pairs; pairs += 2)
        reid_assert_ok(reid_config_set(config, pairs[0], pairs[1], &setting), &setting);
    reid_status status = reid_model_build(config, classes, 8, 4, ret_model, err);
    reid_config_free(config);
    return status;
}

static reid_model *build_ok(const char *const *pairs)
{
    reid_model *model = NULL;
    reid_error err = {0};
    reid_assert_ok(build(pairs, 751, &model, &err), &err);
    return model;
}

typedef struct network {
    reid_model *model;
    reid_backend *backend;
    reid_params *params;
} network;

static network network_of(const char *const *pairs)
{
    network n = {.model = build_ok(pairs)};
    reid_error err = {0};
    reid_assert_ok(reid_backend_open("ref", 1, &n.backend, &err), &err);
    reid_assert_ok(reid_params_new(n.model->train, n.backend, NULL, &n.params, &err), &err);
    return n;
}

static void network_fini(network *n)
{
    reid_params_free(n->params);
    reid_backend_free(n->backend);
    reid_model_free(n->model);
}

static size_t find(const network *n, const char *name)
{
    size_t i = reid_params_find(n->params, name);
    if (i == REID_PARAM_NONE)
        fail_msg("there is no parameter %s", name);
    return i;
}

/* torchvision's resnet18, 34, 50, 101 have 11,689,512, 21,797,672, 25,557,032 and 44,549,160
 * parameters, of which 513,000 or 2,049,000 are the classifier that our backbone does not have. */
static void every_depth_has_the_right_size(void **state)
{
    static const struct {
        const char *depth, *feat_dim;
        size_t backbone;
        size_t tensors;
    } CASES[] = {
        {"18x", "512", 11176512, 60},
        {"34x", "512", 21284672, 108},
        {"50x", "2048", 23508032, 159},
        {"101x", "2048", 42500160, 312},
    };
    for (size_t k = 0; k < REID_COUNT_OF(CASES); k++) {
        const char *pairs[] = {"MODEL.BACKBONE.DEPTH", CASES[k].depth, "MODEL.BACKBONE.FEAT_DIM",
                               CASES[k].feat_dim, NULL};
        network n = network_of(pairs);
        size_t backbone = 0, tensors = 0;
        for (size_t i = 0; i < n.params->count; i++) {
            if (strncmp(n.params->items[i].name, "backbone.", 9) == 0) {
                backbone += reid_params_plain_count(n.params, i);
                tensors++;
            }
        }
        assert_int_equal(backbone, CASES[k].backbone);
        assert_int_equal(tensors, CASES[k].tensors);
        assert_int_equal(n.params->count, tensors + 3); /* classifier, BNNeck's weight and bias */
        assert_int_equal(n.model->feature_dim, atoi(CASES[k].feat_dim));
        network_fini(&n);
    }
}

static void names_and_their_order_are_pytorchs(void **state)
{
    static const char *const pairs[] = {"MODEL.BACKBONE.DEPTH", "50x", NULL};
    static const struct {
        size_t index;
        const char *name;
        int rank;
        int64_t shape[4];
    } EXPECTED[] = {
        {0, "backbone.conv1.weight", 4, {64, 3, 7, 7}},
        {1, "backbone.bn1.weight", 1, {64}},
        {2, "backbone.bn1.bias", 1, {64}},
        {3, "backbone.layer1.0.conv1.weight", 4, {64, 64, 1, 1}},
        {9, "backbone.layer1.0.conv3.weight", 4, {256, 64, 1, 1}},
        {12, "backbone.layer1.0.downsample.0.weight", 4, {256, 64, 1, 1}},
        {13, "backbone.layer1.0.downsample.1.weight", 1, {256}},
        {15, "backbone.layer1.1.conv1.weight", 4, {64, 256, 1, 1}},
        {158, "backbone.layer4.2.bn3.bias", 1, {2048}},
        {159, "heads.weight", 2, {751, 2048}},
        {160, "heads.bottleneck.0.weight", 1, {2048}},
        {161, "heads.bottleneck.0.bias", 1, {2048}},
    };
    network n = network_of(pairs);
    for (size_t k = 0; k < REID_COUNT_OF(EXPECTED); k++) {
        const reid_param *param = &n.params->items[EXPECTED[k].index];
        assert_string_equal(param->name, EXPECTED[k].name);
        assert_int_equal(param->rank, EXPECTED[k].rank);
        for (int d = 0; d < param->rank; d++)
            assert_int_equal(param->shape[d], EXPECTED[k].shape[d]);
        assert_int_equal(param->trainable, EXPECTED[k].index != 161); /* BNNeck's bias stays */
    }
    assert_true(reid_params_find_buffer(n.params, "backbone.layer2.0.downsample.1.running_mean") !=
                REID_PARAM_NONE);
    assert_true(reid_params_find_buffer(n.params, "heads.bottleneck.0.num_batches_tracked") !=
                REID_PARAM_NONE);
    network_fini(&n);
}

static void sizes_follow_the_configuration(void **state)
{
    static const char *const pairs[] = {"INPUT.SIZE_TRAIN", "[96, 48]", "INPUT.SIZE_TEST",
                                        "[128, 64]", NULL};
    reid_model *model = build_ok(pairs);
    reid_shape images = reid_graph_shape(model->train, model->train_images);
    reid_shape expected = reid_shape_4d(8, 3, 96, 48);
    assert_true(reid_shape_equal(&images, &expected));
    images = reid_graph_shape(model->eval, model->eval_images);
    expected = reid_shape_4d(4, 3, 128, 64);
    assert_true(reid_shape_equal(&images, &expected));
    reid_shape features = reid_graph_shape(model->eval, model->eval_features);
    expected = reid_shape_2d(4, 2048);
    assert_true(reid_shape_equal(&features, &expected));
    reid_model_free(model);
}

static void an_embedding_goes_before_the_neck(void **state)
{
    static const char *const pairs[] = {"MODEL.HEADS.EMBEDDING_DIM", "256", NULL};
    network n = network_of(pairs);
    const reid_param *conv = &n.params->items[find(&n, "heads.bottleneck.0.weight")];
    assert_int_equal(conv->rank, 4);
    assert_int_equal(conv->shape[0], 256);
    assert_int_equal(conv->shape[1], 2048);
    assert_int_equal(n.params->items[find(&n, "heads.bottleneck.1.weight")].shape[0], 256);
    assert_int_equal(n.params->items[find(&n, "heads.weight")].shape[1], 256);
    assert_int_equal(n.model->feature_dim, 256);
    network_fini(&n);
}

static void the_neck_can_be_left_out(void **state)
{
    static const char *const pairs[] = {"MODEL.HEADS.WITH_BNNECK", "False", NULL};
    network n = network_of(pairs);
    assert_true(reid_params_find(n.params, "heads.bottleneck.0.weight") == REID_PARAM_NONE);
    assert_int_equal(n.params->items[n.params->count - 1].shape[0], 751);
    network_fini(&n);
}

static double deviation_of(const network *n, const char *name)
{
    size_t i = find(n, name), count = reid_params_plain_count(n->params, i);
    float *plain = reid_xcalloc(count, sizeof *plain);
    reid_params_to_plain(n->params, i, n->params->value, plain);
    double sum = 0, squares = 0;
    for (size_t k = 0; k < count; k++) {
        sum += plain[k];
        squares += (double)plain[k] * plain[k];
    }
    free(plain);
    double mean = sum / (double)count;
    return sqrt(squares / (double)count - mean * mean);
}

static void initial_values_have_fast_reids_distributions(void **state)
{
    static const char *const pairs[] = {"MODEL.HEADS.EMBEDDING_DIM", "256", NULL};
    network n = network_of(pairs);
    reid_model_init_params(n.model, n.params, 99);
    /* √(2 / (k² · out_channels)) */
    reid_assert_close(deviation_of(&n, "backbone.conv1.weight"), sqrt(2.0 / (49 * 64)), 0.03, 0);
    reid_assert_close(deviation_of(&n, "backbone.layer2.1.conv2.weight"), sqrt(2.0 / (9 * 128)),
                      0.01, 0);
    reid_assert_close(deviation_of(&n, "backbone.layer4.0.conv3.weight"), sqrt(2.0 / 2048), 0.01,
                      0);
    reid_assert_close(deviation_of(&n, "heads.bottleneck.0.weight"), sqrt(2.0 / 256), 0.01, 0);
    reid_assert_close(deviation_of(&n, "heads.weight"), 0.01, 0.01, 0);
    float values[2048];
    static const struct {
        const char *name;
        size_t count;
        float value;
    } CONSTANTS[] = {{"backbone.layer1.0.bn3.weight", 256, 1},
                     {"backbone.layer1.0.bn3.bias", 256, 0},
                     {"heads.bottleneck.1.weight", 256, 1},
                     {"heads.bottleneck.1.bias", 256, 0}};
    for (size_t k = 0; k < REID_COUNT_OF(CONSTANTS); k++) {
        reid_params_to_plain(n.params, find(&n, CONSTANTS[k].name), n.params->value, values);
        for (size_t i = 0; i < CONSTANTS[k].count; i++)
            assert_true(values[i] == CONSTANTS[k].value);
    }
    reid_params_buffer_get(n.params, reid_params_find_buffer(n.params, "backbone.bn1.running_var"),
                           values);
    assert_true(values[63] == 1);
    reid_params_buffer_get(n.params, reid_params_find_buffer(n.params, "backbone.bn1.running_mean"),
                           values);
    assert_true(values[63] == 0);
    network_fini(&n);
}

static void initial_values_depend_on_the_seed_alone(void **state)
{
    static const char *const pairs[] = {"MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM",
                                        "512", NULL};
    network a = network_of(pairs), b = network_of(pairs);
    reid_model_init_params(a.model, a.params, 5);
    reid_model_init_params(b.model, b.params, 6);
    assert_memory_not_equal(a.params->value, b.params->value, a.params->total * sizeof(float));
    reid_model_init_params(b.model, b.params, 5);
    assert_memory_equal(a.params->value, b.params->value, a.params->total * sizeof(float));
    network_fini(&a);
    network_fini(&b);
}

static void faults_name_the_key(void **state)
{
    static const struct {
        const char *key, *value;
        reid_status status;
        const char *words;
    } CASES[] = {
        {"MODEL.META_ARCHITECTURE", "MGN", REID_ERR_UNSUPPORTED, "MODEL.META_ARCHITECTURE 'MGN'"},
        {"MODEL.BACKBONE.NAME", "build_osnet_backbone", REID_ERR_UNSUPPORTED,
         "build_resnet_backbone"},
        {"MODEL.BACKBONE.DEPTH", "152x", REID_ERR_UNSUPPORTED, "MODEL.BACKBONE.DEPTH '152x'"},
        {"MODEL.BACKBONE.WITH_IBN", "True", REID_ERR_UNSUPPORTED, "MODEL.BACKBONE.WITH_IBN"},
        {"MODEL.BACKBONE.NORM", "GN", REID_ERR_UNSUPPORTED, "MODEL.BACKBONE.NORM 'GN'"},
        {"MODEL.BACKBONE.LAST_STRIDE", "3", REID_ERR_INVALID, "MODEL.BACKBONE.LAST_STRIDE is 3"},
        {"MODEL.BACKBONE.FEAT_DIM", "512", REID_ERR_INVALID, "set FEAT_DIM to 2048"},
        {"MODEL.HEADS.NAME", "ClasHead", REID_ERR_UNSUPPORTED, "MODEL.HEADS.NAME 'ClasHead'"},
        {"MODEL.HEADS.POOL_LAYER", "Flatten", REID_ERR_UNSUPPORTED,
         "MODEL.HEADS.POOL_LAYER 'Flatten'"},
        {"MODEL.HEADS.CLS_LAYER", "ArcSoftmax", REID_ERR_UNSUPPORTED,
         "MODEL.HEADS.CLS_LAYER 'ArcSoftmax'"},
        {"MODEL.HEADS.NECK_FEAT", "beside", REID_ERR_INVALID, "MODEL.HEADS.NECK_FEAT is 'beside'"},
        {"MODEL.LOSSES.NAME", "(\"CircleLoss\",)", REID_ERR_UNSUPPORTED,
         "CrossEntropyLoss, TripletLoss"},
        {"MODEL.LOSSES.NAME", "()", REID_ERR_INVALID, "MODEL.LOSSES.NAME is empty"},
        {"INPUT.SIZE_TRAIN", "[256]", REID_ERR_INVALID, "INPUT.SIZE_TRAIN"},
        {"INPUT.SIZE_TEST", "[0, 128]", REID_ERR_INVALID, "INPUT.SIZE_TEST"},
    };
    for (size_t k = 0; k < REID_COUNT_OF(CASES); k++) {
        const char *pairs[] = {CASES[k].key, CASES[k].value, NULL};
        reid_model *model = NULL;
        reid_error err = {0};
        assert_int_equal(build(pairs, 10, &model, &err), CASES[k].status);
        if (!strstr(err.text, CASES[k].words))
            fail_msg("'%s' does not say '%s'", err.text, CASES[k].words);
        assert_null(model);
    }
    static const char *const none[] = {NULL};
    reid_model *model = NULL;
    reid_error err = {0};
    assert_int_equal(build(none, 0, &model, &err), REID_ERR_INVALID);
    reid_model_free(NULL);
}

/* Too small for a 7×7 stem, three halvings and a pool: the graph's own sentence. */
static void an_image_too_small_is_refused(void **state)
{
    static const char *const pairs[] = {"INPUT.SIZE_TRAIN", "[1, 1]", NULL};
    reid_model *model = NULL;
    reid_error err = {0};
    assert_int_equal(build(pairs, 10, &model, &err), REID_ERR_INVALID);
    assert_true(strlen(err.text) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_depth_has_the_right_size),
        cmocka_unit_test(names_and_their_order_are_pytorchs),
        cmocka_unit_test(sizes_follow_the_configuration),
        cmocka_unit_test(an_embedding_goes_before_the_neck),
        cmocka_unit_test(the_neck_can_be_left_out),
        cmocka_unit_test(initial_values_have_fast_reids_distributions),
        cmocka_unit_test(initial_values_depend_on_the_seed_alone),
        cmocka_unit_test(faults_name_the_key),
        cmocka_unit_test(an_image_too_small_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
