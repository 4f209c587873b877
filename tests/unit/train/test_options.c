#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "harness/harness.h"
#include "train/options.h"

static reid_train_options options;

static reid_status parse(reid_error *err, const char *first, ...)
{
    char *words[16] = {(char *)"reid-train"};
    int count = 1;
    va_list args;
    va_start(args, first);
    for (const char *word = first; word; word = va_arg(args, const char *))
        words[count++] = (char *)word;
    va_end(args);
    return reid_train_options_parse(count, words, &options, err);
}

static void a_fork_has_a_folder_and_an_iteration(void **state)
{
    reid_error err = {0};
    reid_assert_ok(parse(&err, "--fork-from", "/a", "OUTPUT_DIR", "/b", NULL), &err);
    assert_string_equal(options.fork_from, "/a");
    assert_int_equal(options.fork_iter, -1);
    assert_int_equal(options.override_count, 2);
    reid_assert_ok(parse(&err, "--fork-iter=12", "--fork-from=/a", "--resume", NULL), &err);
    assert_int_equal(options.fork_iter, 12);
    assert_true(options.resume);
    reid_assert_ok(parse(&err, "--fork-from", "/a", "--fork-iter", "-1", NULL), &err);
    assert_int_equal(options.fork_iter, -1);
    reid_assert_ok(parse(&err, "--config-file", "x.yml", NULL), &err);
    assert_null(options.fork_from);
}

#define REFUSED(sentence, ...)                                                                     \
    do {                                                                                           \
        reid_error why = {0};                                                                      \
        assert_int_equal(parse(&why, __VA_ARGS__, NULL), REID_ERR_INVALID);                        \
        if (!strstr(why.text, sentence))                                                           \
            fail_msg("'%s' is not in '%s'", sentence, why.text);                                   \
    } while (0)

static void what_does_not_go_together_is_told(void **state)
{
    REFUSED("--fork-iter needs --fork-from", "--fork-iter", "3");
    REFUSED("needs a folder", "--fork-from", "");
    REFUSED("an iteration from -1", "--fork-from", "/a", "--fork-iter", "-2");
    REFUSED("'1e3'", "--fork-from", "/a", "--fork-iter", "1e3");
    REFUSED("MODEL.WEIGHTS", "--fork-from", "/a", "--eval-only");
    REFUSED("a number of ranks from 1 to 65536", "--world", "0");
    REFUSED("mpirun -np", "--num-gpus", "2");
    REFUSED("unknown option '--fork-form'", "--fork-form", "/a");
    REFUSED("put options first", "A", "1", "--resume");
}

static void a_plan_has_a_device_and_its_own_options(void **state)
{
    reid_error err = {0};
    reid_assert_ok(parse(&err, "--plan-only", "sm_90", "--memory", "80GiB", "--world=16", "--nodes",
                         "2", "--link-gbit", "100", "--gpu=h200-sxm", "--json", "--config-file",
                         "x.yml", "A", "1", NULL),
                   &err);
    assert_string_equal(options.plan_device, "sm_90");
    assert_string_equal(options.plan_gpu, "h200-sxm");
    assert_true(options.plan_memory_bytes == (int64_t)80 << 30);
    assert_int_equal(options.plan_nodes, 2);
    assert_true(options.plan_link_gbit == 100);
    assert_true(options.json);
    assert_int_equal(options.override_count, 2);
    reid_assert_ok(parse(&err, "--plan-only=cpu", "--memory=1.5GB", NULL), &err);
    assert_true(options.plan_memory_bytes == 1500000000);
    reid_assert_ok(parse(&err, "--plan-only=cpu", "--memory", "512M", NULL), &err);
    assert_true(options.plan_memory_bytes == (int64_t)512 << 20);
    REFUSED("needs a device", "--plan-only", "");
    REFUSED("--memory needs --plan-only", "--memory", "80GiB");
    REFUSED("--json needs --plan-only", "--json");
    REFUSED("with its unit", "--plan-only", "cpu", "--memory", "80");
    REFUSED("with its unit", "--plan-only", "cpu", "--memory", "-1GiB");
    REFUSED("with its unit", "--plan-only", "cpu", "--memory", "0GiB");
    REFUSED("with its unit", "--plan-only", "cpu", "--memory", "1e9GiB");
    REFUSED("cannot be shared by --nodes 3", "--plan-only", "cpu", "--world", "8", "--nodes", "3");
    REFUSED("above 0, not 'fast'", "--plan-only", "cpu", "--link-gbit", "fast");
    REFUSED("does not go together", "--plan-only", "cpu", "--resume");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_has_a_folder_and_an_iteration),
        cmocka_unit_test(what_does_not_go_together_is_told),
        cmocka_unit_test(a_plan_has_a_device_and_its_own_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
