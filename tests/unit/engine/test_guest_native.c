/* Native hooks: which files are taken, the table, what host and hook say to each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "guest_fixture.h"
#include "harness/harness.h"
#include "script_trainer.h"

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A folder with copies of the modules, as an administrator would make it. */
static char *hooks;

static void copy_module(const char *from, const char *name)
{
    char *data;
    size_t size;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(from, 64 << 20, &data, &size, &err), &err);
    char *path = reid_test_write(hooks, name, data, size);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
    free(data);
}

static int set_up(void **state)
{
    static const char *const MODULES[] = {"good",   "magic",  "version", "size",
                                          "symbol", "create", "points",  "state"};
    hooks = reid_test_dir_new();
    for (size_t i = 0; i < sizeof MODULES / sizeof MODULES[0]; i++) {
        char *from = reid_xasprintf("%s/module_%s.so", REID_TEST_MODULES_DIR, MODULES[i]);
        char *name = reid_xasprintf("%s.so", MODULES[i]);
        copy_module(from, name);
        free(from);
        free(name);
    }
    copy_module(REID_EXAMPLE_HOOK, "example.so");
    return 0;
}

static int tear_down(void **state)
{
    reid_test_dir_free(hooks);
    return 0;
}

static void prepare(guest_fixture *f, const char *file, const char *const *options)
{
    guest_fixture_init(f, "native", file, options);
    f->env.native_dir = hooks;
}

static void opened(guest_fixture *f, const char *file, const char *const *options)
{
    prepare(f, file, options);
    reid_assert_ok(guest_fixture_open(f), &f->err);
}

static void refused(const char *file, unsigned points, const char *const *options,
                    reid_status status, const char *words)
{
    guest_fixture f;
    prepare(&f, file, options);
    f.spec.points = points;
    assert_int_equal(guest_fixture_open(&f), status);
    if (!strstr(f.err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", f.err.text, words);
    assert_null(f.guest);
    guest_fixture_fini(&f);
}

/* ---- the file ---- */

static void test_only_files_of_the_folder(void **unused)
{
    static const char *const NAMES[] = {"../good.so", "/bin/sh", "a/good.so", "",
                                        ".",          "..",      ".hidden.so"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        refused(NAMES[i], 0, NULL, REID_ERR_INVALID, "is not the name of a file in the folder");
    refused("missing.so", 0, NULL, REID_ERR_NOT_FOUND, "missing.so': No such file");
    guest_fixture f;
    prepare(&f, "good.so", NULL);
    f.env.native_dir = NULL;
    assert_int_equal(guest_fixture_open(&f), REID_ERR_PERMISSION);
    assert_non_null(strstr(f.err.text, "reidd --hook-dir"));
    f.env.native_dir = "/nowhere/at/all";
    assert_int_equal(guest_fixture_open(&f), REID_ERR_NOT_FOUND);
    guest_fixture_fini(&f);
}

static void test_only_what_nobody_else_can_write(void **unused)
{
    char *path = reid_path_join(hooks, "good.so");
    chmod(path, 0775);
    refused("good.so", 0, NULL, REID_ERR_PERMISSION, "good.so' can be written by others");
    chmod(path, 0757);
    refused("good.so", 0, NULL, REID_ERR_PERMISSION, "can be written by others");
    chmod(path, 0755);
    chmod(hooks, 0777);
    refused("good.so", 0, NULL, REID_ERR_PERMISSION, "can be written by others");
    chmod(hooks, 0700);
    if (geteuid() == 0) { /* only root can give files away */
        assert_int_equal(chown(path, 12345, 12345), 0);
        refused("good.so", 0, NULL, REID_ERR_PERMISSION, "belongs to neither root nor the user");
        assert_int_equal(chown(path, 0, 0), 0);
    }
    char *link = reid_path_join(hooks, "link.so");
    assert_int_equal(symlink(path, link), 0);
    refused("link.so", 0, NULL, REID_ERR_PERMISSION, "link.so' is not a regular file");
    char *folder = reid_path_join(hooks, "folder.so");
    assert_int_equal(mkdir(folder, 0755), 0);
    refused("folder.so", 0, NULL, REID_ERR_PERMISSION, "folder.so' is not a regular file");
    free(folder);
    free(link);
    free(path);
}

/* ---- the table ---- */

static void test_bad_modules_are_refused(void **unused)
{
    free(reid_test_write_text(hooks, "text.so", "this is no shared object\n"));
    refused("text.so", 0, NULL, REID_ERR_INVALID, "cannot load the native hook 'text.so'");
    refused("symbol.so", 0, NULL, REID_ERR_INVALID, "does not export reid_native_hook_table");
    refused("magic.so", 0, NULL, REID_ERR_INVALID, "has no such mark");
    refused("version.so", 0, NULL, REID_ERR_UNSUPPORTED,
            "'version.so' was built for version 9 of the hook ABI, this training has version 1");
    refused("size.so", 0, NULL, REID_ERR_INVALID, "the native hook 'size.so' has 80 bytes");
    refused("create.so", 0, NULL, REID_ERR_INVALID, "lacks create");
    refused("points.so", 0, NULL, REID_ERR_INVALID, "none of the six points");
    refused("state.so", 0, NULL, REID_ERR_INVALID, "one of save_state and load_state");
    refused("good.so", 1 << REID_AFTER_EPOCH, NULL, REID_ERR_INVALID, "has no after_epoch");
    refused("good.so", 0, OPTIONS("color=red"), REID_ERR_INVALID, "the only option is mode");
    refused("good.so", 0, OPTIONS("mode"), REID_ERR_INVALID, "is not name=value");
}

static void test_points(void **unused)
{
    guest_fixture f;
    opened(&f, "good.so", NULL);
    assert_int_equal(f.spec.points, 1 << REID_BEFORE_TRAIN | 1 << REID_AFTER_STEP);
    reid_assert_ok(guest_fixture_call(&f, REID_BEFORE_TRAIN, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), "put moment56:7:100:1:20:5:0.5=1");
    guest_fixture_fini(&f);
    prepare(&f, "good.so", NULL);
    f.spec.points = 1 << REID_AFTER_STEP;
    reid_assert_ok(guest_fixture_open(&f), &f.err);
    assert_int_equal(f.spec.points, 1 << REID_AFTER_STEP);
    guest_fixture_fini(&f);
}

/* ---- calls ---- */

static void test_host(void **unused)
{
    static const double LOSSES[] = {1, 2, 9};
    guest_fixture f;
    opened(&f, "good.so", OPTIONS("mode=look"));
    assert_int_equal(guest_fixture_call(&f, REID_AFTER_STEP, 7), REID_ERR_INVALID);
    assert_string_equal(f.err.text, "there should be a loss");
    for (int i = 0; i < 3; i++) {
        reid_event_storage_set_iter(f.storage, 4 + i);
        test_put(f.storage, "loss", LOSSES[i], true);
    }
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f), "put newest=9; put smoothed=2; put iter=6");
    guest_fixture_fini(&f);
    opened(&f, "good.so", OPTIONS("mode=wish"));
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 7), &f.err);
    assert_string_equal(guest_fixture_wishes(&f),
                        "set lr=0.05; checkpoint; evaluate; skip; stop 'enough'; stop '-'");
    guest_fixture_fini(&f);
}

static void test_failures(void **unused)
{
    static const struct {
        const char *option, *words;
        reid_status status;
    } ROWS[] = {
        {"mode=fail", "no more of this", REID_ERR_INVALID},
        {"mode=mute", "after_step failed and does not say why", REID_ERR_INVALID},
        {"mode=bytes", "after_step failed with a message that is no UTF-8", REID_ERR_INVALID},
        {"mode=flood", "at most 64", REID_ERR_EXHAUSTED},
        {"mode=nan", "lr cannot be set to", REID_ERR_INVALID},
        {"mode=noname", "a name has 1 to 200 bytes", REID_ERR_INVALID},
        {"mode=big", "save_state gave 65537 bytes; a hook may keep up to 65536", REID_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        guest_fixture f;
        opened(&f, "good.so", OPTIONS(ROWS[i].option));
        for (int64_t iter = 0; iter < 2; iter++) { /* it may be called again */
            assert_int_equal(guest_fixture_call(&f, REID_AFTER_STEP, iter), ROWS[i].status);
            if (!strstr(f.err.text, ROWS[i].words))
                fail_msg("%s: %s", ROWS[i].option, f.err.text);
        }
        guest_fixture_fini(&f);
    }
}

static void test_log(void **unused)
{
    char *folder = reid_test_dir_new();
    char *path = reid_path_join(folder, "log");
    reid_log_setup(&(reid_log_options){.level = REID_LOG_INFO, .rank = 1, .path = path});
    guest_fixture f;
    opened(&f, "good.so", OPTIONS("mode=quiet"));
    guest_fixture_fini(&f);
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    char *text = reid_test_read_text(path);
    assert_non_null(strstr(text, ": hook 'decay': quiet\n"));
    free(text);
    free(path);
    reid_test_dir_free(folder);
}

/* ---- state ---- */

static void test_state(void **unused)
{
    guest_fixture f, other;
    opened(&f, "good.so", NULL);
    opened(&other, "good.so", OPTIONS("mode=fail")); /* two of one module: each has its own */
    reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, 12), &f.err);
    assert_int_not_equal(guest_fixture_call(&other, REID_AFTER_STEP, 34), REID_OK);
    char *saved = guest_fixture_save(&f);
    assert_string_equal(saved, "{\"name\":\"module\",\"bytes\":\"3132\"}");
    char *after_failure = guest_fixture_save(&other); /* it may go on after an error */
    assert_string_equal(after_failure, "{\"name\":\"module\",\"bytes\":\"3334\"}");
    reid_assert_ok(guest_fixture_load(&other, saved), &other.err);
    char *again = guest_fixture_save(&other);
    assert_string_equal(again, saved);
    static const char *const BAD[][2] = {
        {"{}", "of the native hook '?'"},
        {"{\"name\":\"other\",\"bytes\":\"\"}", "'other', this one is 'module'"},
        {"{\"name\":\"module\",\"bytes\":null}", "saved without a state"},
        {"{\"name\":\"module\",\"bytes\":\"123\"}", "damaged"},
        {"{\"name\":\"module\",\"bytes\":\"1x\"}", "damaged"},
        {"{\"name\":\"module\",\"bytes\":\"313131313131313131\"}", "too much to load"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_not_equal(guest_fixture_load(&other, BAD[i][0]), REID_OK);
        if (!strstr(other.err.text, BAD[i][1]))
            fail_msg("%s: %s", BAD[i][0], other.err.text);
    }
    free(saved);
    free(after_failure);
    free(again);
    guest_fixture_fini(&f);
    guest_fixture_fini(&other);
}

/* ---- the example ---- */

static void test_example(void **unused)
{
    guest_fixture f;
    opened(&f, "example.so", OPTIONS("metric=loss", "decay=0.75"));
    double average = 0, weight = 1;
    for (int iter = 0; iter < 6; iter++) {
        double loss = 5.0 - iter;
        if (iter == 4) { /* a step that was skipped; then a resume */
            reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, iter), &f.err);
            assert_string_equal(guest_fixture_wishes(&f), "");
            char *saved = guest_fixture_save(&f);
            guest_fixture_reopen(&f);
            reid_assert_ok(guest_fixture_load(&f, saved), &f.err);
            free(saved);
            continue;
        }
        reid_event_storage_set_iter(f.storage, iter);
        test_put(f.storage, "loss", loss, true);
        average = 0.75 * average + 0.25 * loss;
        weight *= 0.75;
        reid_assert_ok(guest_fixture_call(&f, REID_AFTER_STEP, iter), &f.err);
        assert_int_equal(f.wishes.list.count, 1);
        assert_string_equal(f.wishes.list.items[0].name, "loss_ema");
        reid_assert_close(f.wishes.list.items[0].number, average / (1 - weight), 1e-12, 0);
    }
    guest_fixture_fini(&f);
    refused("example.so", 0, OPTIONS("decay=1"), REID_ERR_INVALID, "decay must be in [0, 1)");
    refused("example.so", 0, OPTIONS("decay="), REID_ERR_INVALID, "decay must be in [0, 1)");
    refused("example.so", 0, OPTIONS("metric="), REID_ERR_INVALID, "metric cannot be ''");
    refused("example.so", 0, OPTIONS("speed=9"), REID_ERR_INVALID, "metric and decay, not 'speed'");
}

int main(void)
{
    reid_log_setup(&(reid_log_options){.level = REID_LOG_OFF, .rank = -1});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_files_of_the_folder),
        cmocka_unit_test(test_only_what_nobody_else_can_write),
        cmocka_unit_test(test_bad_modules_are_refused),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_example),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
