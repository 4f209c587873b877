#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/journal.h"
#include "harness/harness.h"

static int setup(void **state)
{
    *state = reid_test_dir_new();
    return 0;
}

static int teardown(void **state)
{
    reid_test_dir_free(*state);
    return 0;
}

static reid_journal_entry entry(int64_t iteration, const char *name, const char *value)
{
    return (reid_journal_entry){
        .wall_ms = 1700000000000,
        .iteration = iteration,
        .id = reid_xstrdup("a-1"),
        .who = reid_xstrdup("alice"),
        .kind = reid_xstrdup("set"),
        .name = reid_xstrdup(name),
        .old_value = reid_xstrdup("1"),
        .new_value = reid_xstrdup(value),
        .reason = reid_xstrdup("\"why\"\n"),
    };
}

static void append(const char *path, const char *name, const char *value)
{
    reid_error err = {0};
    reid_journal *journal = NULL;
    reid_journal_entries known = {0};
    reid_assert_ok(reid_journal_open(path, &journal, &known, &err), &err);
    reid_journal_entry e = entry((int64_t)known.list.count * 10, name, value);
    reid_assert_ok(reid_journal_append(journal, &e, 1, &err), &err);
    assert_int_equal(e.seq, known.list.count + 1);
    reid_journal_entry_fini(&e);
    reid_journal_entries_fini(&known);
    reid_journal_close(journal);
}

static char *make(const char *folder)
{
    char *path = reid_path_join(folder, REID_JOURNAL_FILE);
    append(path, "lr", "0.1");
    append(path, "clip", "2");
    append(path, "lr", "0.01");
    return path;
}

static void what_is_written_is_read(void **state)
{
    char *path = make(*state);
    reid_journal_entries entries;
    reid_journal_fault fault;
    reid_error err = {0};
    reid_assert_ok(reid_journal_read(path, &entries, &fault, &err), &err);
    assert_int_equal(fault.line, 0);
    assert_int_equal(entries.list.count, 3);
    const reid_journal_entry *e = &entries.list.items[2];
    assert_int_equal(e->seq, 3);
    assert_int_equal(e->iteration, 20);
    assert_string_equal(e->name, "lr");
    assert_string_equal(e->new_value, "0.01");
    assert_string_equal(e->who, "alice");
    assert_string_equal(e->reason, "\"why\"\n");
    reid_journal_entries_fini(&entries);
    free(path);
}

/* The chain is checked with another implementation: coreutils. */
static void the_hash_is_that_of_the_line(void **state)
{
    char *path = make(*state);
    char *text = reid_test_read_text(path);
    char *hash = strstr(text, ",\"hash\":\"");
    char *part = reid_test_write(*state, "part", text, (size_t)(hash - text));
    char *command = reid_xasprintf("sha256sum %s", part);
    FILE *pipe = popen(command, "r");
    char said[65] = "";
    assert_non_null(pipe);
    assert_int_equal(fread(said, 1, 64, pipe), 64);
    pclose(pipe);
    assert_memory_equal(hash + 9, said, 64);
    const char *second = strchr(text, '\n') + 1;
    const char *prev = strstr(second, "\"prev_hash\":\"");
    assert_memory_equal(prev + 13, said, 64);
    free(command);
    free(part);
    free(text);
    free(path);
}

static int64_t fault_of(const char *text, size_t length, size_t *ret_entries)
{
    reid_journal_entries entries;
    reid_journal_fault fault;
    reid_journal_read_text(text, length, &entries, &fault);
    *ret_entries = entries.list.count;
    reid_journal_entries_fini(&entries);
    return fault.line;
}

/* Any one byte, put to another value, shows in its own line or, for the end of a line, at it. */
static void every_changed_byte_shows(void **state)
{
    char *path = make(*state);
    char *text = reid_test_read_text(path);
    size_t length = strlen(text), entries;
    int64_t line = 1;
    for (size_t i = 0; i < length; i++) {
        char before = text[i];
        text[i] = before == 'x' ? 'y' : 'x';
        int64_t fault = fault_of(text, length, &entries);
        if (fault != line || entries != (size_t)line - 1)
            fail_msg("byte %zu of line %lld: fault in line %lld", i, (long long)line,
                     (long long)fault);
        text[i] = before;
        line += before == '\n';
    }
    assert_int_equal(fault_of(text, length, &entries), 0);
    assert_int_equal(entries, 3);
    free(text);
    free(path);
}

static void removed_and_moved_lines_show(void **state)
{
    char *path = make(*state);
    char *text = reid_test_read_text(path);
    size_t entries;
    char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
    assert_int_equal(fault_of(second, strlen(second), &entries), 1);
    char *moved = reid_xasprintf("%.*s%s%.*s", (int)(second - text), text, third,
                                 (int)(third - second), second);
    assert_int_equal(fault_of(moved, strlen(moved), &entries), 2);
    assert_int_equal(fault_of(text, (size_t)(third - text), &entries), 0); /* cut at the end */
    reid_journal_entries left;
    reid_journal_fault fault;
    reid_journal_read_text(text, (size_t)(third - text), &left, &fault);
    char *copy = reid_xasprintf("%.*s", (int)strcspn(third, "\n"), third);
    reid_journal_compare(&left, copy, &fault);
    assert_int_equal(fault.line, 3);
    assert_non_null(strstr(fault.text, "missing"));
    reid_journal_entries_fini(&left);
    free(copy);
    free(moved);
    free(text);
    free(path);
}

/* A chain made anew over other contents is right in itself; the copies tell. */
static void a_forged_chain_differs_from_the_copies(void **state)
{
    char *path = make(*state), *forged = reid_path_join(*state, "forged.jsonl");
    append(forged, "lr", "0.1");
    append(forged, "clip", "3");
    append(forged, "lr", "0.01");
    reid_journal_entries entries, honest;
    reid_journal_fault fault, none;
    assert_int_equal(reid_journal_read(forged, &entries, &fault, NULL), REID_OK);
    assert_int_equal(reid_journal_read(path, &honest, &none, NULL), REID_OK);
    assert_int_equal(fault.line, 0);
    for (size_t i = honest.list.count; i > 0; i--)
        reid_journal_compare(&entries, honest.list.items[i - 1].line, &fault);
    assert_int_equal(fault.line, 2);
    reid_journal_entries_fini(&entries);
    reid_journal_entries_fini(&honest);
    free(forged);
    free(path);
}

static void a_torn_line_is_cut_off_by_the_next_writer(void **state)
{
    char *path = make(*state);
    char *text = reid_test_read_text(path);
    size_t entries;
    char *torn = reid_xasprintf("%s{\"seq\":4,\"id", text);
    assert_int_equal(fault_of(torn, strlen(torn), &entries), 4);
    assert_int_equal(entries, 3);
    free(reid_test_write_text(*state, REID_JOURNAL_FILE, torn));
    append(path, "margin", "0.4");
    reid_journal_entries all;
    reid_journal_fault fault;
    assert_int_equal(reid_journal_read(path, &all, &fault, NULL), REID_OK);
    assert_int_equal(fault.line, 0);
    assert_int_equal(all.list.count, 4);
    reid_journal_entries_fini(&all);
    free(torn);
    free(text);
    free(path);
}

static void a_writer_refuses_a_changed_file(void **state)
{
    char *path = make(*state);
    char *text = reid_test_read_text(path);
    strstr(text, "clip")[0] = 'k';
    free(reid_test_write_text(*state, REID_JOURNAL_FILE, text));
    reid_journal *journal = NULL;
    reid_journal_entries known;
    reid_error err = {0};
    assert_int_equal(reid_journal_open(path, &journal, &known, &err), REID_ERR_CORRUPT);
    assert_non_null(strstr(err.text, "line 2"));
    assert_null(journal);
    free(text);
    free(path);
}

static void what_is_no_journal_is_told(void **state)
{
    static const char *const TEXTS[] = {"\n", "{}\n", "not json\n", "{\"seq\":1}\n"};
    reid_journal_entries entries;
    reid_journal_fault fault;
    size_t count;
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        assert_int_equal(fault_of(TEXTS[i], strlen(TEXTS[i]), &count), 1);
    assert_int_equal(fault_of("\0\0\n", 3, &count), 1);
    assert_int_equal(reid_journal_read("/nonexistent/journal", &entries, &fault, NULL), REID_OK);
    assert_int_equal(entries.list.count, 0);
    char *pipe = reid_path_join(*state, "pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(reid_journal_read(pipe, &entries, &fault, NULL), REID_ERR_INVALID);
    free(pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(the_hash_is_that_of_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(every_changed_byte_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_and_moved_lines_show, setup, teardown),
        cmocka_unit_test_setup_teardown(a_forged_chain_differs_from_the_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_line_is_cut_off_by_the_next_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_writer_refuses_a_changed_file, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_journal_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
