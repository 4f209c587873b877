/* Checkpoint folders: what is committed is found again, and what is damaged is not used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "harness/harness.h"

static const int64_t SHAPE[] = {2, 2};

/* Saves a checkpoint whose contents tell its iteration. */
static void save(const char *folder, const char *name, int64_t iteration, bool mark_last)
{
    static const reid_safetensors_pair libraries[] = {{"oneDNN", "2.6.3"}, {"reidd", "0.1.0"}};
    reid_error err = {0};
    reid_checkpoint_writer *writer = NULL;
    reid_checkpoint_options options = {.config_hash = UINT64_C(0xFEDCBA9876543210),
                                       .world_size = 2,
                                       .iteration = iteration,
                                       .epoch = iteration / 10,
                                       .libraries = libraries,
                                       .library_count = 2,
                                       .mark_last = mark_last};
    float weight[4] = {(float)iteration, 1, 2, 3};
    reid_safetensors_item item = {
        .name = "w", .dtype = REID_SAFETENSORS_F32, .rank = 2, .shape = {2, 2}, .data = weight};
    char text[64];
    snprintf(text, sizeof text, "{\"iteration\":%lld}", (long long)iteration);
    reid_assert_ok(reid_checkpoint_writer_begin(folder, name, &options, &writer, &err), &err);
    reid_assert_ok(reid_checkpoint_writer_add_tensor(writer, "model.safetensors", &item, &err),
                   &err);
    item.name = "w.exp_avg";
    reid_assert_ok(reid_checkpoint_writer_add_tensor(writer, "optimizer.safetensors", &item, &err),
                   &err);
    reid_assert_ok(reid_checkpoint_writer_add_text(writer, "state.json", text, strlen(text), &err),
                   &err);
    reid_assert_ok(reid_checkpoint_writer_commit(writer, &err), &err);
    reid_checkpoint_writer_free(writer);
}

static void check_latest(const char *folder, const char *name, int64_t iteration)
{
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    float weight[4];
    reid_assert_ok(reid_checkpoint_latest(folder, &checkpoint, &err), &err);
    assert_string_equal(reid_checkpoint_info_of(checkpoint)->name, name);
    assert_int_equal(reid_checkpoint_info_of(checkpoint)->iteration, iteration);
    reid_assert_ok(reid_checkpoint_tensor(checkpoint, "model.safetensors", "w",
                                          REID_SAFETENSORS_F32, 2, SHAPE, weight, &err),
                   &err);
    assert_true(weight[0] == (float)iteration);
    reid_checkpoint_free(checkpoint);
}

static char *file_of(const char *folder, const char *name, const char *file)
{
    REID_AUTOFREE char *dir = reid_path_join(folder, name);
    return reid_path_join(dir, file);
}

/* Turns one bit in the middle of a file. */
static void damage(const char *folder, const char *name, const char *file)
{
    REID_AUTOFREE char *path = file_of(folder, name, file);
    char *data;
    size_t size;
    assert_int_equal(reid_file_read(path, 1 << 20, &data, &size, NULL), REID_OK);
    data[size / 2] ^= 4;
    FILE *stream = fopen(path, "w");
    assert_int_equal(fwrite(data, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
    free(data);
}

static void cut_short(const char *folder, const char *name, const char *file)
{
    REID_AUTOFREE char *path = file_of(folder, name, file);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 1), 0);
}

static void remove_file(const char *folder, const char *name, const char *file)
{
    REID_AUTOFREE char *path = file_of(folder, name, file);
    assert_int_equal(unlink(path), 0);
}

static void test_what_is_committed_is_read(void **state)
{
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *output = reid_path_join(folder, "logs/demo"); /* made by the writer */
    REID_AUTOFREE char *dir = reid_path_join(output, "model_0003");
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    save(output, "model_0003", 37, true);
    reid_assert_ok(reid_checkpoint_open(dir, true, &checkpoint, &err), &err);
    const reid_checkpoint_info *info = reid_checkpoint_info_of(checkpoint);
    assert_string_equal(info->path, dir);
    assert_string_equal(info->name, "model_0003");
    assert_true(info->config_hash == UINT64_C(0xFEDCBA9876543210));
    assert_int_equal(info->world_size, 2);
    assert_int_equal(info->iteration, 37);
    assert_int_equal(info->epoch, 3);
    assert_true(info->created_ms > INT64_C(1700000000000));
    assert_string_equal(reid_checkpoint_library(checkpoint, "oneDNN"), "2.6.3");
    assert_null(reid_checkpoint_library(checkpoint, "cuDNN"));
    assert_true(reid_checkpoint_has(checkpoint, "state.json"));
    assert_false(reid_checkpoint_has(checkpoint, "manifest.json"));
    const reid_safetensors *tensors;
    reid_assert_ok(reid_checkpoint_tensors(checkpoint, "optimizer.safetensors", &tensors, &err),
                   &err);
    assert_int_equal(reid_safetensors_count(tensors), 1);
    assert_string_equal(reid_safetensors_at(tensors, 0)->name, "w.exp_avg");
    char *text;
    size_t size;
    reid_assert_ok(reid_checkpoint_text(checkpoint, "state.json", &text, &size, &err), &err);
    assert_string_equal(text, "{\"iteration\":37}");
    assert_int_equal(size, 16);
    free(text);
    assert_int_equal(reid_checkpoint_text(checkpoint, "../../secret", &text, &size, &err),
                     REID_ERR_NOT_FOUND);
    reid_checkpoint_free(checkpoint);
    reid_checkpoint_free(NULL);
    REID_AUTOFREE char *last_path = reid_path_join(output, "last_checkpoint");
    REID_AUTOFREE char *last = reid_test_read_text(last_path);
    assert_string_equal(last, "model_0003");
    reid_test_dir_free(folder);
}

static void test_names_that_are_refused(void **state)
{
    static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "/etc", "manifest.json"};
    char *folder = reid_test_dir_new();
    reid_checkpoint_options options = {.world_size = 1};
    reid_checkpoint_writer *writer = NULL;
    reid_error err = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(reid_checkpoint_writer_begin(folder, names[i], &options, &writer, NULL),
                         REID_ERR_INVALID);
    reid_assert_ok(reid_checkpoint_writer_begin(folder, "model_best", &options, &writer, &err),
                   &err);
    reid_safetensors_item item = {.name = "a", .data = "1234"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(reid_checkpoint_writer_add_text(writer, names[i], "x", 1, NULL),
                         REID_ERR_INVALID);
        assert_int_equal(reid_checkpoint_writer_add_tensor(writer, names[i], &item, NULL),
                         REID_ERR_INVALID);
    }
    reid_assert_ok(reid_checkpoint_writer_add_text(writer, "a", NULL, 0, &err), &err);
    assert_int_equal(reid_checkpoint_writer_add_text(writer, "a", "x", 1, NULL), REID_ERR_EXISTS);
    assert_int_equal(reid_checkpoint_writer_add_tensor(writer, "a", &item, NULL), REID_ERR_EXISTS);
    reid_checkpoint_writer_free(writer); /* without commit: nothing was written */
    reid_checkpoint_writer_free(NULL);
    reid_dir_entry *entries;
    size_t count;
    assert_int_equal(reid_dir_list(folder, &entries, &count, NULL), REID_OK);
    assert_int_equal(count, 0);
    reid_dir_free(entries, count);
    reid_test_dir_free(folder);
}

static void test_damage_is_found_and_named(void **state)
{
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json",
                                        "manifest.json"};
    static void (*const harms[])(const char *, const char *, const char *) = {damage, cut_short,
                                                                              remove_file};
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *dir = reid_path_join(folder, "model_0000");
    for (size_t f = 0; f < 4; f++) {
        for (size_t h = 0; h < 3; h++) {
            reid_error err = {0};
            reid_checkpoint *checkpoint = NULL;
            save(folder, "model_0000", 5, false);
            harms[h](folder, "model_0000", files[f]);
            bool no_manifest = f == 3 && h == 2;
            reid_status expected = no_manifest ? REID_ERR_NOT_FOUND : REID_ERR_CORRUPT;
            assert_int_equal(reid_checkpoint_open(dir, true, &checkpoint, &err), expected);
            assert_non_null(strstr(err.text, files[f]));
        }
    }
    reid_test_dir_free(folder);
}

/* Without `verify` the sizes are compared, and a damaged text is found when it is read. */
static void test_opening_without_verifying(void **state)
{
    char *folder = reid_test_dir_new(), *text;
    size_t size;
    REID_AUTOFREE char *dir = reid_path_join(folder, "model_0000");
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    save(folder, "model_0000", 5, false);
    damage(folder, "model_0000", "state.json");
    reid_assert_ok(reid_checkpoint_open(dir, false, &checkpoint, &err), &err);
    assert_int_equal(reid_checkpoint_text(checkpoint, "state.json", &text, &size, &err),
                     REID_ERR_CORRUPT);
    reid_checkpoint_free(checkpoint);
    cut_short(folder, "model_0000", "model.safetensors");
    assert_int_equal(reid_checkpoint_open(dir, false, &checkpoint, NULL), REID_ERR_CORRUPT);
    reid_test_dir_free(folder);
}

static void test_the_latest_is_the_marked_one(void **state)
{
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *absent = reid_path_join(folder, "absent");
    reid_checkpoint *checkpoint = NULL;
    assert_int_equal(reid_checkpoint_latest(folder, &checkpoint, NULL), REID_ERR_NOT_FOUND);
    assert_int_equal(reid_checkpoint_latest(absent, &checkpoint, NULL), REID_ERR_NOT_FOUND);
    save(folder, "model_0000", 10, true);
    check_latest(folder, "model_0000", 10);
    save(folder, "model_0001", 20, true);
    check_latest(folder, "model_0001", 20);
    save(folder, "model_best", 30, false);
    check_latest(folder, "model_0001", 20);
    save(folder, "model_0001", 40, true); /* replaced */
    check_latest(folder, "model_0001", 40);
    reid_test_dir_free(folder);
}

static void test_broken_ones_are_passed_over(void **state)
{
    char *folder = reid_test_dir_new();
    REID_AUTOFREE char *log = reid_path_join(folder, "log.txt");
    REID_AUTOFREE char *other = file_of(folder, "inference", "x");
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    save(folder, "model_0000", 10, true);
    save(folder, "model_best", 25, false);
    save(folder, "model_0001", 20, true);
    save(folder, "model_0002", 30, true);
    free(reid_test_write_text(folder, "inference/x", "a folder that is none of ours"));
    reid_log_options options = {.level = REID_LOG_WARN, .program = "test", .rank = -1, .path = log};
    assert_true(reid_log_setup(&options));
    damage(folder, "model_0002", "optimizer.safetensors");
    check_latest(folder, "model_best", 25);
    REID_AUTOFREE char *text = reid_test_read_text(log);
    assert_non_null(strstr(text, "model_0002/optimizer.safetensors' is damaged"));
    assert_non_null(strstr(text, "model_best' is used instead"));
    cut_short(folder, "model_best", "model.safetensors");
    check_latest(folder, "model_0001", 20);
    remove_file(folder, "model_0001", "manifest.json");
    check_latest(folder, "model_0000", 10);
    damage(folder, "model_0000", "manifest.json");
    assert_int_equal(reid_checkpoint_latest(folder, &checkpoint, &err), REID_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "none of the checkpoints"));
    reid_test_dir_free(folder);
}

static void test_a_bad_mark_is_passed_over(void **state)
{
    static const char *const marks[] = {"",           "\n",          "../model_0000",
                                        "model_9999", "model_0000/", ".tmp-x-1"};
    char *folder = reid_test_dir_new();
    save(folder, "model_0000", 10, true);
    save(folder, "model_0001", 20, false);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        free(reid_test_write_text(folder, "last_checkpoint", marks[i]));
        check_latest(folder, "model_0001", 20);
    }
    free(reid_test_write_text(folder, "last_checkpoint", " model_0000\n"));
    check_latest(folder, "model_0000", 10);
    REID_AUTOFREE char *mark = reid_path_join(folder, "last_checkpoint");
    assert_int_equal(unlink(mark), 0);
    check_latest(folder, "model_0001", 20);
    reid_test_dir_free(folder);
}

/* A manifest that is in order by its checksum but not by its meaning. */
static void test_manifests_that_are_refused(void **state)
{
    char *folder = reid_test_dir_new();
    reid_error err = {0};
    reid_checkpoint *checkpoint = NULL;
    REID_AUTOFREE char *dir = reid_path_join(folder, "m");
    static const char *const texts[] = {"", "{}", "[]",
                                        "{\"format\":\"x\",\"checksum\":\"0123456789abcdef\"}\n",
                                        ",\"checksum\":\"0123456789abcdef\"}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(reid_test_write_text(folder, "m/manifest.json", texts[i]));
        reid_error_clear(&err);
        assert_int_equal(reid_checkpoint_open(dir, true, &checkpoint, &err), REID_ERR_CORRUPT);
        assert_non_null(strstr(err.text, "manifest.json"));
    }
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_committed_is_read),
        cmocka_unit_test(test_names_that_are_refused),
        cmocka_unit_test(test_damage_is_found_and_named),
        cmocka_unit_test(test_opening_without_verifying),
        cmocka_unit_test(test_the_latest_is_the_marked_one),
        cmocka_unit_test(test_broken_ones_are_passed_over),
        cmocka_unit_test(test_a_bad_mark_is_passed_over),
        cmocka_unit_test(test_manifests_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
