/* Replays the stories in tests/scenarios (README.md there): the scheduler's policy with a clock
 * that is moved by hand. The jobs here are a table; who runs, where, and who waits why is decided
 * by daemon/sched as in the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "harness/harness.h"
#include "sim/sim.h"

static void replay(const char *folder, const char *name)
{
    REID_AUTOFREE char *path = reid_path_join(folder, name);
    sim s = {.name = name};
    char *text = reid_test_read_text(path), *rest = NULL;
    for (char *line = text; line; line = rest) {
        rest = strchr(line, '\n');
        if (rest)
            *rest++ = '\0';
        s.line++;
        char *hash = strchr(line, '#');
        if (hash)
            *hash = '\0';
        line = reid_str_trim(line);
        if (*line)
            sim_obey(&s, line);
    }
    free(text);
    sim_fini(&s);
}

static void test_scenarios(void **state)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0, replayed = 0;
    reid_error err = {0};
    reid_assert_ok(reid_dir_list(SCENARIOS, &entries, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        if (!reid_str_ends(entries[i].name, ".txt"))
            continue;
        replay(SCENARIOS, entries[i].name);
        replayed++;
    }
    reid_dir_free(entries, count);
    assert_true(replayed >= 8);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
