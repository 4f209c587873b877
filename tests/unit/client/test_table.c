#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "out/table.h"

static void add_row(reidctl_table *table, const char *a, const char *b, const char *c)
{
    reidctl_table_add(table, a, "");
    reidctl_table_add(table, b, "");
    reidctl_table_add(table, c, "");
}

static void assert_table(const reidctl_table *table, size_t width, const char *expected)
{
    reid_str out = REID_STR_INIT;
    reidctl_table_format(table, width, &out);
    assert_string_equal(reid_str_text(&out), expected);
    reid_str_fini(&out);
}

static void columns_are_aligned(void **state)
{
    reidctl_table table = {.columns = 3, .elastic = 1};
    add_row(&table, "ID", "NAME", "STATE");
    add_row(&table, "1", "名前", "RUNNING");
    add_row(&table, "22", "a\nb", "");
    assert_table(&table, 0,
                 "ID  NAME  STATE\n"
                 "1   名前  RUNNING\n"
                 "22  a b   -\n");
    reidctl_table_fini(&table);
}

static void the_elastic_column_gives_way(void **state)
{
    reidctl_table table = {.columns = 3, .elastic = 1};
    add_row(&table, "ID", "NAME", "STATE");
    add_row(&table, "1", "a-name-of-twenty-chars", "FAILED");
    assert_table(&table, 24,
                 "ID  NAME          STATE\n"
                 "1   a-name-of-t…  FAILED\n");
    assert_table(&table, 5,
                 "ID  NAME      STATE\n"
                 "1   a-name-…  FAILED\n"); /* not below 8 */
    assert_table(&table, 34,
                 "ID  NAME                    STATE\n"
                 "1   a-name-of-twenty-chars  FAILED\n");
    reidctl_table_fini(&table);
}

static void colors_take_no_room(void **state)
{
    reidctl_table table = {.columns = 2, .elastic = 0};
    reidctl_table_add(&table, "x", "\033[31m");
    reidctl_table_add_age(&table, 61);
    reidctl_table_add(&table, "abc", "");
    reidctl_table_add_age(&table, -1);
    assert_table(&table, 0,
                 "\033[31mx\033[0m    1m01s\n"
                 "abc  -\n");
    reidctl_table_fini(&table);
}

static void empty(void **state)
{
    reidctl_table table = {.columns = 3, .elastic = 1};
    assert_table(&table, 40, "");
    reidctl_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(the_elastic_column_gives_way),
        cmocka_unit_test(colors_take_no_room),
        cmocka_unit_test(empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
