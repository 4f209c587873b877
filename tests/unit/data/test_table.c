#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "data/table.h"

/* What tabulate 0.8.9 prints for tablefmt="pipe", numalign="left". */
static void test_matches_tabulate(void **state)
{
    const char *cells[] = {"subset", "# ids", "# images",      "# cameras", "train",         "751",
                           "12936",  "6",     "a longer name", "1",         "1234567890123", "2"};
    char *table = reid_table_pipe(3, 4, cells);
    assert_string_equal(table, "| subset        | # ids   | # images      | # cameras   |\n"
                               "|:--------------|:--------|:--------------|:------------|\n"
                               "| train         | 751     | 12936         | 6           |\n"
                               "| a longer name | 1       | 1234567890123 | 2           |");
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matches_tabulate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
