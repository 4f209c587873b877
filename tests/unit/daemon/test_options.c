#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "daemon/options.h"
#include "daemon/shim/options.h"
#include "harness/harness.h"

#define WORDS(...) ((char *[]){(char *)"reidd", __VA_ARGS__, NULL})

static reid_status parse(char *const *words, reidd_options *options, reid_error *err)
{
    int count = 0;
    while (words[count])
        count++;
    return reidd_options_parse(count, words, options, err);
}

static void test_values(void **state)
{
    reidd_options options;
    reid_error err = {0};
    reid_assert_ok(parse(WORDS((char *)"--state-dir", (char *)"/s", (char *)"--slots=3",
                               (char *)"--socket", (char *)"/s/a.sock", (char *)"--grace",
                               (char *)"1.5", (char *)"--log-level=debug", (char *)"--log-json",
                               (char *)"--foreground", (char *)"--group", (char *)"users"),
                         &options, &err),
                   &err);
    assert_string_equal(options.state_dir, "/s");
    assert_string_equal(options.socket_path, "/s/a.sock");
    assert_int_equal(options.slots, 3);
    assert_int_equal(options.grace_ms, 1500);
    assert_int_equal(options.log_level, REID_LOG_DEBUG);
    assert_true(options.log_json);
    assert_string_equal(options.group, "users");
    assert_int_equal(options.check_timeout_ms, 20000);
    reidd_options_fini(&options);
}

static void test_places_from_the_environment(void **state)
{
    reidd_options options;
    reid_error err = {0};
    setenv("REIDD_STATE_DIR", "/from/env", 1);
    setenv("REIDD_HOST", "unix:/from/env.sock", 1);
    reid_assert_ok(parse(WORDS((char *)"--slots", (char *)"1"), &options, &err), &err);
    assert_string_equal(options.state_dir, "/from/env");
    assert_string_equal(options.socket_path, "/from/env.sock");
    reidd_options_fini(&options);
    reid_assert_ok(parse(WORDS((char *)"--socket", (char *)"unix:/x.sock"), &options, &err), &err);
    assert_string_equal(options.socket_path, "/x.sock");
    reidd_options_fini(&options);
    setenv("REIDD_HOST", "tcp://host:1", 1);
    assert_int_equal(parse(WORDS((char *)"--slots", (char *)"1"), &options, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "tcp://host:1"));
    reidd_options_fini(&options);
    unsetenv("REIDD_HOST");
    unsetenv("REIDD_STATE_DIR");
}

static void test_bad_words(void **state)
{
    static const struct {
        const char *words[2];
        const char *said;
    } rows[] = {
        {{"--slots", "-1"}, "--slots"},        {{"--slots", "many"}, "many"},
        {{"--slots", NULL}, "needs a value"},  {{"--slot", "2"}, "did you mean --slots"},
        {{"--grace", "-1"}, "--grace"},        {{"--grace", "nan"}, "--grace"},
        {{"--log-level", "loud"}, "loud"},     {{"--log-json=1", NULL}, "takes no value"},
        {{"serve", NULL}, "unknown option"},   {{"--trainer", ""}, "needs a value"},
        {{"--check-timeout", "0"}, "seconds"}, {{"--slots=", NULL}, "whole number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reidd_options options;
        reid_error err = {0};
        assert_int_equal(
            parse(WORDS((char *)rows[i].words[0], (char *)rows[i].words[1]), &options, &err),
            REID_ERR_INVALID);
        if (!strstr(err.text, rows[i].said))
            fail_msg("%s: %s", rows[i].words[0], err.text);
        reidd_options_fini(&options);
    }
}

/* Every option is in the help, and the help names no other. */
static void test_help(void **state)
{
    char *help = reidd_options_help();
    assert_non_null(strstr(help, "--state-dir DIR"));
    assert_non_null(strstr(help, "--trainer PATH"));
    assert_non_null(strstr(help, "$REIDD_HOST"));
    free(help);
    reidd_options options;
    reid_error err = {0};
    reid_assert_ok(parse(WORDS((char *)"--help"), &options, &err), &err);
    assert_true(options.help);
    reidd_options_fini(&options);
    reidd_options_fini(NULL);
}

static void test_shim_options(void **state)
{
    char *folder = reid_test_dir_new();
    reidd_shim_options options;
    reid_error err = {0};
    char *good[] = {(char *)"/x/reidd-shim",
                    (char *)"--attempt-dir",
                    folder,
                    (char *)"--ranks",
                    (char *)"2",
                    (char *)"--grace-ms",
                    (char *)"50",
                    (char *)"--lock-fd",
                    (char *)"3",
                    (char *)"--",
                    (char *)"train",
                    (char *)"--ranks",
                    NULL};
    reid_assert_ok(reidd_shim_options_parse(12, good, &options, &err), &err);
    assert_int_equal(options.ranks, 2);
    assert_int_equal(options.grace_ms, 50);
    assert_int_equal(options.lock_fd, 3);
    assert_string_equal(options.self, "/x/reidd-shim");
    assert_string_equal(options.command[1], "--ranks");
    char *no_command[] = {
        (char *)"s", (char *)"--attempt-dir", folder, (char *)"--ranks", (char *)"2", NULL};
    assert_int_equal(reidd_shim_options_parse(5, no_command, &options, &err), REID_ERR_INVALID);
    char *no_value[] = {(char *)"s", (char *)"--attempt-dir", NULL};
    assert_int_equal(reidd_shim_options_parse(2, no_value, &options, NULL), REID_ERR_INVALID);
    char *bad[] = {(char *)"s", (char *)"--ranks", (char *)"0", NULL};
    assert_int_equal(reidd_shim_options_parse(3, bad, &options, NULL), REID_ERR_INVALID);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_places_from_the_environment),
        cmocka_unit_test(test_bad_words),    cmocka_unit_test(test_help),
        cmocka_unit_test(test_shim_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
