#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/dataset_reader.h"
#include "harness/harness.h"
#include "support.h"

static int setup(void **state)
{
    *state = reid_test_dir_new();
    return 0;
}

static int teardown(void **state)
{
    reid_test_dir_free(*state);
    return 0;
}

static void test_names_are_parsed(void **state)
{
    static const struct {
        const char *name;
        int pid, camid; /* pid -2: refused */
    } cases[] = {
        {"0002_c1s1_000451_03.jpg", 2, 0},
        {"-1_c6s3_000001_00.jpg", -1, 5},
        {"0000_c3s1_1.jpg", 0, 2},
        {"1501_c2.png", 1501, 1},
        {"abc_0012_c4_x.jpg", 12, 3},
        {"12_34_c5s1.jpg", 34, 4},
        {"7_c12s1.jpg", 7, 11},
        {"x7_c1.jpg", 7, 0},
        {"0002_s1.jpg", -2, 0},
        {"c1s1.jpg", -2, 0},
        {"0002_c0s1.jpg", -2, 0},
        {"--1_c1.jpg", -2, 0},
        {"-2_c1.jpg", -2, 0},
        {"99999999999_c1.jpg", -2, 0},
        {"1-2_c1.jpg", -2, 0},
        {"_c1.jpg", -2, 0},
        {"", -2, 0},
        {"5_c", -2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int pid = -7, camid = -7;
        reid_error err = {0};
        reid_status status = reid_market1501_parse_name(cases[i].name, &pid, &camid, &err);
        if (cases[i].pid == -2) {
            assert_int_equal(status, REID_ERR_INVALID);
            assert_non_null(strstr(err.text, cases[i].name));
            assert_int_equal(pid, -7);
        } else {
            reid_assert_ok(status, &err);
            assert_int_equal(pid, cases[i].pid);
            assert_int_equal(camid, cases[i].camid);
        }
    }
}

/* Labels follow the order of texts: "market1501_10" < "market1501_9". */
static void test_training_labels(void **state)
{
    const char *names[] = {"0009_c1s1_1.jpg", "0010_c2s1_1.jpg", "0100_c2s1_1.JPG",
                           "-1_c1s1_1.jpg",   "0009_c6s1_2.png", "0000_c1s1_1.jpeg",
                           "Thumbs.db"};
    char name[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, sizeof name, "Market-1501-v15.09.15/bounding_box_train/%s", names[i]);
        test_write_empty(*state, name);
    }
    reid_config *config = test_config(*state, NULL);
    reid_dataset *dataset = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_dataset_open_train(config, &dataset, &err), &err);
    assert_string_equal(dataset->name, "Market1501");
    assert_int_equal(dataset->count, 5);
    assert_int_equal(dataset->num_pids, 4); /* 0, 10, 100, 9 */
    assert_int_equal(dataset->num_cams, 3); /* 0, 1, 5 */
    static const struct {
        const char *name;
        int pid, camid;
    } expected[] = {{"0000_c1s1_1.jpeg", 0, 0},
                    {"0009_c1s1_1.jpg", 3, 0},
                    {"0009_c6s1_2.png", 3, 2},
                    {"0010_c2s1_1.jpg", 1, 1},
                    {"0100_c2s1_1.JPG", 2, 1}};
    for (size_t i = 0; i < dataset->count; i++) {
        assert_string_equal(reid_path_base(dataset->items[i].path), expected[i].name);
        assert_int_equal(dataset->items[i].pid, expected[i].pid);
        assert_int_equal(dataset->items[i].camid, expected[i].camid);
    }
    reid_dataset_free(dataset);
    reid_config_free(config);
}

/* The pattern is looked for in the base name: this folder would match "2024_c2". */
static void test_folder_name_does_not_count(void **state)
{
    char *root = reid_path_join(*state, "2024_c2ams");
    test_write_empty(root, "bounding_box_train/0005_c1s1_1.jpg");
    test_write_empty(root, "bounding_box_train/0006_c1s1_1.jpg");
    reid_config *config = test_config(root, NULL);
    reid_dataset *dataset = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_dataset_open_train(config, &dataset, &err), &err);
    assert_int_equal(dataset->num_pids, 2);
    reid_dataset_free(dataset);
    reid_config_free(config);
    free(root);
}

static void test_query_and_gallery(void **state)
{
    test_write_market(*state, 3, 4);
    reid_config *config = test_config("", NULL);
    assert_int_equal(setenv("FASTREID_DATASETS", *state, 1), 0); /* DATASETS.ROOT is empty */
    reid_dataset *query = NULL, *gallery = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_dataset_open_test(config, "Market1501", &query, &gallery, &err), &err);
    assert_int_equal(query->count, 3);
    assert_int_equal(query->num_cams, 1);
    assert_int_equal(query->items[1].pid, 1002); /* not relabelled */
    assert_int_equal(query->items[1].camid, 0);
    assert_int_equal(gallery->count, 3 * 3 + 1); /* the distractor stays, junk goes */
    assert_int_equal(gallery->num_pids, 4);
    assert_int_equal(gallery->items[0].pid, 0);
    const reid_dataset *both[] = {query, gallery};
    char *table = reid_dataset_table(2, (const char *[]){"query", "gallery"}, both);
    assert_string_equal(table, "| subset   | # ids   | # images   | # cameras   |\n"
                               "|:---------|:--------|:-----------|:------------|\n"
                               "| query    | 3       | 3          | 1           |\n"
                               "| gallery  | 4       | 10         | 3           |");
    free(table);
    reid_dataset_free(query);
    reid_dataset_free(gallery);
    reid_config_free(config);
    unsetenv("FASTREID_DATASETS");
}

static void test_combineall(void **state)
{
    test_write_market(*state, 3, 4);
    reid_config *config = test_config(*state, "DATASETS.COMBINEALL", "True", NULL);
    reid_dataset *dataset = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_dataset_open_train(config, &dataset, &err), &err);
    assert_int_equal(dataset->count, 12 + 3 + 9); /* no distractor */
    assert_int_equal(dataset->num_pids, 6);
    assert_int_equal(dataset->num_cams, 3 + 3); /* test cameras are cameras of their own */
    reid_dataset_free(dataset);
    reid_config_free(config);
}

static void test_joined_sets(void **state)
{
    test_write_market(*state, 2, 3);
    reid_config *config =
        test_config(*state, "DATASETS.NAMES", "('Market1501', 'Market1501')", NULL);
    reid_dataset *dataset = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_dataset_open_train(config, &dataset, &err), &err);
    assert_string_equal(dataset->name, "Market1501+Market1501");
    assert_int_equal(dataset->count, 12);
    assert_int_equal(dataset->num_pids, 2); /* same labels, same people */
    reid_dataset_free(dataset);
    reid_config_free(config);
}

static void expect_failure(const char *root, reid_status expected, const char *part)
{
    reid_config *config = test_config(root, NULL);
    reid_dataset *dataset = NULL;
    reid_error err = {0};
    assert_int_equal(reid_dataset_open_train(config, &dataset, &err), expected);
    assert_null(dataset);
    if (!strstr(err.text, part))
        fail_msg("'%s' is not in: %s", part, err.text);
    reid_config_free(config);
}

static void test_bad_folders(void **state)
{
    expect_failure(*state, REID_ERR_NOT_FOUND, "DATASETS.ROOT");
    char *folder = reid_path_join(*state, "bounding_box_train");
    reid_error err = {0};
    reid_assert_ok(reid_make_dirs(folder, 0755, &err), &err);
    expect_failure(*state, REID_ERR_NOT_FOUND, "no images");
    test_write_empty(*state, "bounding_box_train/-1_c1s1_1.jpg");
    expect_failure(*state, REID_ERR_NOT_FOUND, "known identity");
    test_write_empty(*state, "bounding_box_train/holiday.jpg");
    expect_failure(*state, REID_ERR_INVALID, "holiday.jpg");
    free(folder);
}

static void test_bad_requests(void **state)
{
    test_write_empty(*state, "bounding_box_train/0001_c1s1_1.jpg");
    reid_config *config = test_config(*state, NULL);
    reid_dataset *query = NULL, *gallery = NULL;
    reid_error err = {0};
    assert_int_equal(reid_dataset_open_test(config, "Market1501", &query, &gallery, &err),
                     REID_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/query'"));
    reid_error_clear(&err);
    assert_int_equal(reid_dataset_open_test(config, "Nowhere", &query, &gallery, &err),
                     REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "Market1501"));
    assert_null(query);
    reid_config_free(config);
    reid_dataset_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_parsed),
        cmocka_unit_test_setup_teardown(test_training_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_name_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_query_and_gallery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_combineall, setup, teardown),
        cmocka_unit_test_setup_teardown(test_joined_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_folders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
