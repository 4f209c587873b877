#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "evaluation/report.h"
#include "harness/harness.h"

/* What tabulate 0.8.9 prints for these numbers in fast-reid's print_csv_format. */
static void test_table(void **state)
{
    reid_rank_result a = {.map = 0.861333, .minp = 0.594}, b = {.map = 1, .minp = 1};
    a.cmc[0] = 0.94417;
    a.cmc[4] = 0.981;
    a.cmc[9] = 0.989;
    b.cmc[0] = b.cmc[4] = b.cmc[9] = 1;
    reid_eval_report reports[] = {reid_eval_report_from_rank("Market1501", &a),
                                  reid_eval_report_from_rank("X", &b)};
    char *table = reid_eval_report_table(reports, 1);
    assert_string_equal(
        table, "| Dataset    | Rank-1   | Rank-5   | Rank-10   | mAP   | mINP   | metric   |\n"
               "|:-----------|:---------|:---------|:----------|:------|:-------|:---------|\n"
               "| Market1501 | 94.42    | 98.10    | 98.90     | 86.13 | 59.40  | 90.28    |");
    free(table);
    table = reid_eval_report_table(reports, 2);
    assert_string_equal(
        table, "| Dataset    | Rank-1   | Rank-5   | Rank-10   | mAP    | mINP   | metric   |\n"
               "|:-----------|:---------|:---------|:----------|:-------|:-------|:---------|\n"
               "| Market1501 | 94.42    | 98.10    | 98.90     | 86.13  | 59.40  | 90.28    |\n"
               "| X          | 100.00   | 100.00   | 100.00    | 100.00 | 100.00 | 100.00   |");
    free(table);
    reid_assert_close(reid_eval_report_value(&reports[0], "metric"), (86.1333 + 94.417) / 2, 1e-9,
                      0);
    reid_assert_close(reid_eval_report_value(&reports[1], "Rank-10"), 100, 1e-12, 0);
    reid_assert_close(reid_eval_report_value(&reports[1], "Rank-2"), -1, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
