#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "daemon/job/job.h"

static void test_names(void **state)
{
    static const char *const good[] = {
        "a", "0", "bot_R50-128x64.v2",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"};
    static const char *const bad[] = {
        "",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "a\n",
        "\xc3\xa9t\xc3\xa9",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(reidd_job_name_check(good[i], NULL), REID_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        reid_error err = {0};
        assert_int_equal(reidd_job_name_check(bad[i], &err), REID_ERR_INVALID);
        assert_true(strlen(err.text) > 10);
    }
}

static void test_name_from_folder(void **state)
{
    static const char *const rows[][2] = {
        {"/data/logs/market1501/bagtricks_R50", "bagtricks_R50"},
        {"/data/logs/demo///", "demo"},
        {"/", "job"},
        {"", "job"},
        {"/a/..", "job"},
        {"/a/my run (3)", "my-run--3-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *name = reidd_job_name_from(rows[i][0]);
        assert_string_equal(name, rows[i][1]);
        assert_int_equal(reidd_job_name_check(name, NULL), REID_OK);
        free(name);
    }
    char *job = reidd_job_name_from(NULL);
    assert_string_equal(job, "job");
    free(job);
}

static void test_ids_sort_by_time(void **state)
{
    char first[16], second[16], third[16], fourth[16];
    /* 2025-01-01 plus 1 ms, plus 32 ms: digits of base 32 */
    reidd_job_id_next(first, "", INT64_C(1735689600001));
    assert_string_equal(first, "00000001");
    reidd_job_id_next(second, first, INT64_C(1735689600032));
    assert_string_equal(second, "00000010");
    /* the same millisecond, and a clock that went back */
    reidd_job_id_next(third, second, INT64_C(1735689600032));
    assert_string_equal(third, "00000011");
    reidd_job_id_next(fourth, third, INT64_C(1735689500000));
    assert_string_equal(fourth, "00000012");
    /* no i, l, o, u */
    char last[16] = "0000000h", next[16];
    reidd_job_id_next(next, last, 0);
    assert_string_equal(next, "0000000j");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_from_folder),
        cmocka_unit_test(test_ids_sort_by_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
