/* The recipes of deploy/configs load, pass the check, and say what they should. */
#include "expect.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "config/config.h"
#include "harness/harness.h"

static reid_config *load_recipe(const char *name)
{
    reid_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", REID_RECIPES, name);
    reid_config *config = reid_config_new();
    reid_assert_ok(reid_config_load_file(config, path, &err), &err);
    return config;
}

static size_t check_folder(const char *folder)
{
    reid_error err = {0};
    reid_dir_entry *entries;
    size_t count, recipes = 0;
    reid_assert_ok(reid_dir_list(folder, &entries, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        char *path = reid_path_join(folder, entries[i].name);
        if (entries[i].is_dir) {
            recipes += check_folder(path);
        } else if (reid_str_ends(path, ".yml")) {
            reid_config *c = reid_config_new();
            reid_assert_ok(reid_config_load_file(c, path, &err), &err);
            reid_assert_ok(reid_config_check(c, &err), &err);
            reid_assert_ok(reid_config_check_world(c, 1, &err), &err);
            reid_assert_ok(reid_config_check_world(c, 2, &err), &err);
            char *remarks = reid_config_remarks(c);
            assert_string_equal(remarks, "");
            free(remarks);
            reid_config_free(c);
            recipes++;
        }
        free(path);
    }
    reid_dir_free(entries, count);
    return recipes;
}

static void test_all_recipes_pass(void **state)
{
    assert_true(check_folder(REID_RECIPES) >= 4);
}

/* fast-reid's configs/Base-bagtricks.yml, but for AMP, PRETRAIN and CUDNN_BENCHMARK. */
static void test_bag_of_tricks(void **state)
{
    reid_config *c = load_recipe("Market1501/bagtricks_R50.yml");
    assert_string_equal(reid_config_string(c, "MODEL.BACKBONE.DEPTH"), "50x");
    assert_int_equal(reid_config_int(c, "MODEL.BACKBONE.LAST_STRIDE"), 1);
    assert_true(reid_config_bool(c, "MODEL.HEADS.WITH_BNNECK"));
    assert_string_equal(reid_config_string(c, "MODEL.HEADS.NECK_FEAT"), "before");
    assert_int_equal(reid_config_count(c, "MODEL.LOSSES.NAME"), 2);
    assert_true(reid_config_float(c, "MODEL.LOSSES.CE.EPSILON") == 0.1);
    assert_true(reid_config_float(c, "MODEL.LOSSES.TRI.MARGIN") == 0.3);
    assert_true(reid_config_bool(c, "MODEL.LOSSES.TRI.HARD_MINING"));
    assert_int_equal(reid_config_int_at(c, "INPUT.SIZE_TRAIN", 0), 256);
    assert_int_equal(reid_config_int_at(c, "INPUT.SIZE_TRAIN", 1), 128);
    assert_true(reid_config_bool(c, "INPUT.REA.ENABLED"));
    assert_true(reid_config_bool(c, "INPUT.FLIP.ENABLED"));
    assert_true(reid_config_bool(c, "INPUT.PADDING.ENABLED"));
    assert_string_equal(reid_config_string(c, "DATALOADER.SAMPLER_TRAIN"), "NaiveIdentitySampler");
    assert_int_equal(reid_config_int(c, "DATALOADER.NUM_INSTANCE"), 4);
    assert_int_equal(reid_config_int(c, "SOLVER.MAX_EPOCH"), 120);
    assert_true(reid_config_float(c, "SOLVER.BASE_LR") == 3.5e-4);
    assert_int_equal(reid_config_int(c, "SOLVER.IMS_PER_BATCH"), 64);
    assert_int_equal(reid_config_int_at(c, "SOLVER.STEPS", 0), 40);
    assert_int_equal(reid_config_int_at(c, "SOLVER.STEPS", 1), 90);
    assert_int_equal(reid_config_int(c, "SOLVER.WARMUP_ITERS"), 2000);
    assert_int_equal(reid_config_int(c, "SOLVER.CHECKPOINT_PERIOD"), 30);
    assert_int_equal(reid_config_int(c, "TEST.EVAL_PERIOD"), 30);
    assert_int_equal(reid_config_int(c, "TEST.IMS_PER_BATCH"), 128);
    assert_false(reid_config_bool(c, "SOLVER.AMP.ENABLED"));
    assert_false(reid_config_bool(c, "MODEL.BACKBONE.PRETRAIN"));
    assert_string_equal(reid_config_string(c, "OUTPUT_DIR"), "logs/market1501/bagtricks_R50");
    reid_config_free(c);
}

static void test_demo(void **state)
{
    reid_config *c = load_recipe("Demo/bagtricks_R18.yml");
    assert_string_equal(reid_config_string(c, "MODEL.BACKBONE.DEPTH"), "18x");
    assert_string_equal(reid_config_string_at(c, "DATASETS.NAMES", 0), "Market1501");
    assert_true(reid_config_int_at(c, "INPUT.SIZE_TRAIN", 0) <= 128);
    reid_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_recipes_pass),
        cmocka_unit_test(test_bag_of_tricks),
        cmocka_unit_test(test_demo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
