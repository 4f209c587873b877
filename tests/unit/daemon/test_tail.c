#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "daemon/hub/tail.h"
#include "harness/harness.h"

static void append(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/logs", folder);
    assert_int_equal(reid_make_dirs(path, 0755, NULL), REID_OK);
    snprintf(path, sizeof path, "%s/logs/%s", folder, name);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Everything that can be had now, as "rank o|e:text|". */
static void drain(reidd_tail *tail, bool ended, reid_str *text)
{
    reidd_tail_chunk chunk;
    reid_str_clear(text);
    while (reidd_tail_next(tail, ended, &chunk)) {
        reid_str_addf(text, "%d%s%s%s:", chunk.rank, chunk.from_stderr ? "e" : "o",
                      *chunk.node ? " " : "", chunk.node);
        reid_str_add_bytes(text, chunk.data, chunk.size);
        reid_str_add_char(text, '|');
        reidd_tail_accept(tail);
    }
}

static void test_whole_lines_while_live(void **state)
{
    char *folder = reid_test_dir_new();
    reid_str text = REID_STR_INIT;
    reidd_tail *tail = reidd_tail_new(folder, NULL, 0, 2, 0);
    drain(tail, false, &text);
    assert_string_equal(reid_str_text(&text), ""); /* no files yet */
    append(folder, "rank-0.out", "one\ntwo");
    append(folder, "rank-1.err", "oops\n");
    append(folder, "launcher.log", "launch\n");
    drain(tail, false, &text);
    assert_string_equal(text.data, "-1o:launch\n|0o:one\n|1e:oops\n|");
    append(folder, "rank-0.out", " and a half\nthree");
    drain(tail, false, &text);
    assert_string_equal(text.data, "0o:two and a half\n|");
    drain(tail, true, &text); /* at the end everything comes */
    assert_string_equal(text.data, "0o:three|");
    drain(tail, true, &text);
    assert_string_equal(reid_str_text(&text), "");
    reidd_tail_free(tail);
    reid_str_fini(&text);
    reid_test_dir_free(folder);
}

static void test_unfinished_line_comes_after_patience(void **state)
{
    char *folder = reid_test_dir_new();
    reid_str text = REID_STR_INIT;
    append(folder, "rank-0.out", "50 %");
    reidd_tail *tail = reidd_tail_new(folder, NULL, 0, 1, 0);
    for (int i = 0; i < REIDD_TAIL_PATIENCE; i++) {
        drain(tail, false, &text);
        assert_string_equal(reid_str_text(&text), "");
    }
    drain(tail, false, &text);
    assert_string_equal(text.data, "0o:50 %|");
    reidd_tail_free(tail);
    reid_str_fini(&text);
    reid_test_dir_free(folder);
}

static void test_last_lines(void **state)
{
    static const struct {
        const char *content;
        int64_t lines;
        const char *expected;
    } rows[] = {
        {"a\nb\nc\n", 1, "0o:c\n|"},
        {"a\nb\nc\n", 2, "0o:b\nc\n|"},
        {"a\nb\nc\n", 3, "0o:a\nb\nc\n|"},
        {"a\nb\nc\n", 9, "0o:a\nb\nc\n|"},
        {"a\nb\nc", 1, "0o:c|"},
        {"a\nb\nc", 2, "0o:b\nc|"},
        {"\n\n", 1, "0o:\n|"},
        {"", 3, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *folder = reid_test_dir_new();
        reid_str text = REID_STR_INIT;
        append(folder, "rank-0.out", rows[i].content);
        reidd_tail *tail = reidd_tail_new(folder, NULL, 0, 1, rows[i].lines);
        drain(tail, true, &text);
        assert_string_equal(reid_str_text(&text), rows[i].expected);
        reidd_tail_free(tail);
        reid_str_fini(&text);
        reid_test_dir_free(folder);
    }
}

/* More than a chunk, more than the block of the backward search; offsets tell where. */
static void test_large_file(void **state)
{
    char *folder = reid_test_dir_new();
    reid_str content = REID_STR_INIT, text = REID_STR_INIT;
    for (int i = 0; i < 30000; i++)
        reid_str_addf(&content, "line %06d\n", i);
    append(folder, "rank-3.err", content.data);
    const int32_t ranks[] = {3};
    reidd_tail *tail = reidd_tail_new(folder, ranks, 1, 8, 20000);
    reidd_tail_chunk chunk;
    int64_t expected = (int64_t)content.length - 20000 * 12;
    while (reidd_tail_next(tail, true, &chunk)) {
        assert_int_equal(chunk.rank, 3);
        assert_true(chunk.from_stderr);
        assert_int_equal(chunk.offset, expected);
        assert_true(chunk.size <= REIDD_TAIL_CHUNK_BYTES && chunk.data[chunk.size - 1] == '\n');
        reid_str_add_bytes(&text, chunk.data, chunk.size);
        expected += (int64_t)chunk.size;
        reidd_tail_accept(tail);
    }
    assert_string_equal(text.data, content.data + content.length - 20000 * 12);
    reidd_tail_free(tail);
    reid_str_fini(&text);
    reid_str_fini(&content);
    reid_test_dir_free(folder);
}

/* A piece that found no room is offered again. */
static void test_unaccepted_piece_comes_again(void **state)
{
    char *folder = reid_test_dir_new();
    append(folder, "rank-0.out", "a\n");
    reidd_tail *tail = reidd_tail_new(folder, NULL, 0, 1, 0);
    reidd_tail_chunk chunk;
    for (int i = 0; i < 3; i++) {
        assert_true(reidd_tail_next(tail, false, &chunk));
        assert_memory_equal(chunk.data, "a\n", chunk.size);
    }
    reidd_tail_accept(tail);
    assert_false(reidd_tail_next(tail, false, &chunk));
    reidd_tail_free(tail);
    reidd_tail_free(NULL);
    reid_test_dir_free(folder);
}

static void test_launchers_of_other_nodes(void **state)
{
    char *folder = reid_test_dir_new();
    reid_str text = REID_STR_INIT;
    const int32_t launchers[] = {-1}, rank0[] = {0};
    reidd_tail *tail = reidd_tail_new(folder, launchers, 1, 2, 0);
    reidd_tail *other = reidd_tail_new(folder, rank0, 1, 2, 0);
    append(folder, "launcher.log", "launch\n");
    append(folder, "launcher-node-2.log", "orted\n");
    append(folder, "launcher-.log", "no node\n");
    append(folder, "launcher-node-3.log.mirror", "half of it\n");
    append(folder, "rank-0.out", "one\n");
    drain(tail, false, &text);
    assert_string_equal(text.data, "-1o:launch\n|-1o node-2:orted\n|");
    append(folder, "launcher-node-3.log", "late\n");
    append(folder, "launcher-node-2.log", "more\n");
    reid_str_clear(&text);
    drain(tail, false, &text);
    assert_string_equal(text.data, "-1o node-2:more\n|-1o node-3:late\n|");
    drain(other, true, &text);
    assert_string_equal(text.data, "0o:one\n|");
    reidd_tail_free(tail);
    reidd_tail_free(other);
    reid_str_fini(&text);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_lines_while_live),
        cmocka_unit_test(test_unfinished_line_comes_after_patience),
        cmocka_unit_test(test_last_lines),
        cmocka_unit_test(test_large_file),
        cmocka_unit_test(test_unaccepted_piece_comes_again),
        cmocka_unit_test(test_launchers_of_other_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
