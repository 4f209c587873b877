/* Files and their _BASE_. */
#include "expect.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "config/config.h"
#include "harness/harness.h"

static void write_file(const char *folder, const char *name, const char *text)
{
    free(reid_test_write_text(folder, name, text));
}

static reid_status load(reid_config *config, const char *folder, const char *name, reid_error *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return reid_config_load_file(config, path, err);
}

static void test_child_over_base(void **state)
{
    reid_error err = {0};
    char *folder = reid_test_dir_new();
    char place[512];
    write_file(folder, "root.yml",
               "SOLVER:\n  OPT: SGD\n  MAX_EPOCH: 1\n  BASE_LR: 0.5\nSEED: 4\n");
    write_file(folder, "a/middle.yml",
               "_BASE_: ../root.yml\nSOLVER:\n  MAX_EPOCH: 2\n  STEPS: [1]\n");
    write_file(folder, "a/b/leaf.yml",
               "SOLVER:\n  MAX_EPOCH: 3\n_BASE_: \"../middle.yml\"\n"); /* order is free */
    reid_config *c = reid_config_new();
    reid_assert_ok(load(c, folder, "a/b/leaf.yml", &err), &err);
    assert_int_equal(reid_config_int(c, "SOLVER.MAX_EPOCH"), 3);
    assert_int_equal(reid_config_count(c, "SOLVER.STEPS"), 1);
    assert_string_equal(reid_config_string(c, "SOLVER.OPT"), "SGD");
    assert_int_equal(reid_config_int(c, "SEED"), 4);
    assert_int_equal(reid_config_int(c, "DATALOADER.NUM_INSTANCE"), 4);
    snprintf(place, sizeof place, "%s/a/b/leaf.yml:2", folder);
    assert_string_equal(reid_config_origin(c, "SOLVER.MAX_EPOCH"), place);
    snprintf(place, sizeof place, "%s/a/b/../../root.yml:5", folder);
    assert_string_equal(reid_config_origin(c, "SEED"), place);
    reid_config_free(c);
    reid_test_dir_free(folder);
}

static void test_absolute_and_home(void **state)
{
    reid_error err = {0};
    char *folder = reid_test_dir_new();
    char text[512];
    write_file(folder, "root.yml", "SEED: 7\n");
    snprintf(text, sizeof text, "_BASE_: %s/root.yml\n", folder);
    write_file(folder, "a/absolute.yml", text);
    write_file(folder, "a/home.yml", "_BASE_: ~/root.yml\n");
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    setenv("HOME", folder, 1);
    static const char *const NAMES[] = {"a/absolute.yml", "a/home.yml"};
    for (size_t i = 0; i < 2; i++) {
        reid_config *c = reid_config_new();
        reid_assert_ok(load(c, folder, NAMES[i], &err), &err);
        assert_int_equal(reid_config_int(c, "SEED"), 7);
        reid_config_free(c);
    }
    if (home)
        setenv("HOME", home, 1);
    free(home);
    reid_test_dir_free(folder);
}

static void expect_refusal(const char *folder, const char *name, reid_status code,
                           const char *format)
{
    reid_error err = {0};
    reid_str sentence = REID_STR_INIT;
    for (const char *at = format; *at; at++) { /* '@' stands for the folder */
        if (*at == '@')
            reid_str_add(&sentence, folder);
        else
            reid_str_add_char(&sentence, *at);
    }
    reid_config *c = reid_config_new();
    uint64_t before = reid_config_hash(c);
    EXPECT_FAILURE(load(c, folder, name, &err), &err, code, sentence.data);
    assert_true(reid_config_hash(c) == before);
    reid_config_free(c);
    reid_str_fini(&sentence);
}

static void test_refusals(void **state)
{
    char *folder = reid_test_dir_new();
    write_file(folder, "self.yml", "SEED: 1\n_BASE_: self.yml\n");
    expect_refusal(folder, "self.yml", REID_ERR_INVALID,
                   "@/self.yml:2: _BASE_ '@/self.yml' leads back to itself");
    write_file(folder, "x.yml", "_BASE_: sub/y.yml\n");
    write_file(folder, "sub/y.yml", "_BASE_: ../x.yml\n");
    expect_refusal(folder, "x.yml", REID_ERR_INVALID,
                   "@/sub/y.yml:1: _BASE_ '@/sub/../x.yml' leads back to itself");
    write_file(folder, "web.yml", "_BASE_: https://example.org/bot.yml\n");
    expect_refusal(folder, "web.yml", REID_ERR_UNSUPPORTED,
                   "@/web.yml:1: _BASE_ 'https://example.org/bot.yml' is on the web, which is not "
                   "supported; fetch "
                   "the file and give its path");
    write_file(folder, "lost.yml", "SEED: 1\n\n_BASE_: none.yml\n");
    expect_refusal(folder, "lost.yml", REID_ERR_NOT_FOUND,
                   "@/lost.yml:3: _BASE_: cannot open '@/none.yml': No such file or directory");
    expect_refusal(folder, "none.yml", REID_ERR_NOT_FOUND,
                   "cannot open '@/none.yml': No such file or directory");
    write_file(folder, "list.yml", "_BASE_: [a.yml]\n");
    expect_refusal(folder, "list.yml", REID_ERR_INVALID,
                   "@/list.yml:1: _BASE_ takes the path of one file");
    write_file(folder, "empty.yml", "_BASE_:\n");
    expect_refusal(folder, "empty.yml", REID_ERR_INVALID,
                   "@/empty.yml:1: _BASE_ takes the path of one file");
    write_file(folder, "map.yml", "_BASE_:\n  a: 1\n");
    expect_refusal(folder, "map.yml", REID_ERR_INVALID,
                   "@/map.yml:1: _BASE_ takes the path of one file");
    write_file(folder, "wrong.yml", "SOLVER:\n  OPTT: SGD\n");
    write_file(folder, "right.yml", "_BASE_: wrong.yml\nSEED: 3\n");
    expect_refusal(folder, "right.yml", REID_ERR_INVALID,
                   "@/wrong.yml:2: unknown key 'SOLVER.OPTT'; did you mean 'SOLVER.OPT'?");
    expect_refusal(folder, ".", REID_ERR_IO, "cannot read '@/.': Is a directory");
    reid_test_dir_free(folder);
}

static void test_long_chain(void **state)
{
    reid_error err = {0};
    char *folder = reid_test_dir_new();
    char name[32], text[64];
    write_file(folder, "0.yml", "SEED: 9\n");
    for (int i = 1; i <= 16; i++) {
        snprintf(name, sizeof name, "%d.yml", i);
        snprintf(text, sizeof text, "_BASE_: %d.yml\n", i - 1);
        write_file(folder, name, text);
    }
    reid_config *c = reid_config_new();
    reid_assert_ok(load(c, folder, "15.yml", &err), &err);
    assert_int_equal(reid_config_int(c, "SEED"), 9);
    reid_config_free(c);
    expect_refusal(folder, "16.yml", REID_ERR_INVALID,
                   "@/1.yml:1: more than 16 files, each the _BASE_ of another");
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_over_base),
        cmocka_unit_test(test_absolute_and_home),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_long_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
