/* Files of a part on their way from a member's folder to the head's. */
#include "daemon/cluster/mirror.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "base/vec.h"
#include "harness/harness.h"

typedef struct answer {
    char path[64];
    int64_t size;
} answer;

typedef struct fixture {
    char *folder, *member, *head;
    reidd_mirror_ranks ranks;
    reidd_mirror *mirror;
    REID_VEC(answer) answers; /* of the head, not delivered yet */
    reid_str order;           /* paths in the order in which they came, one for each piece */
    bool deaf;                /* nothing can be sent */
    size_t sent;
} fixture;

static reid_status send_piece(const reidd_mirror_piece *piece, void *user)
{
    fixture *f = user;
    reid_error err = {0};
    answer a = {.size = -1};
    if (f->deaf)
        return REID_ERR_EXHAUSTED;
    f->sent++;
    reid_assert_ok(reidd_mirror_take(f->head, "node2", f->ranks, piece, &a.size, &err), &err);
    snprintf(a.path, sizeof a.path, "%s", piece->path);
    reid_vec_push(&f->answers, a);
    reid_str_addf(&f->order, "%s ", piece->path);
    return REID_OK;
}

/* Answers, which bring further pieces, until nothing is on its way. */
static void deliver(fixture *f)
{
    while (f->answers.count > 0) {
        answer a = f->answers.items[0];
        reid_vec_remove(&f->answers, 0);
        reidd_mirror_ack(f->mirror, a.path, a.size);
    }
}

static int set_up(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    reid_error err = {0};
    f->folder = reid_test_dir_new();
    f->member = reid_path_join(f->folder, "member");
    f->head = reid_path_join(f->folder, "head");
    static const char *const parts[] = {"logs", "ranks", "failures"};
    for (size_t i = 0; i < REID_COUNT_OF(parts); i++) {
        REID_AUTOFREE char *path = reid_path_join(f->member, parts[i]);
        reid_assert_ok(reid_make_dirs(path, 0700, &err), &err);
    }
    reid_assert_ok(reid_make_dirs(f->head, 0700, &err), &err);
    f->ranks = (reidd_mirror_ranks){.first = 2, .count = 2};
    f->mirror = reidd_mirror_new(f->member, f->ranks, send_piece, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    reidd_mirror_free(f->mirror);
    reid_vec_fini(&f->answers);
    reid_str_fini(&f->order);
    reid_test_dir_free(f->folder);
    free(f->member);
    free(f->head);
    free(f);
    return 0;
}

static void append(const char *folder, const char *name, const char *text)
{
    REID_AUTOFREE char *path = reid_path_join(folder, name);
    FILE *file = fopen(path, "ae");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect(const fixture *f, const char *name, const char *text)
{
    REID_AUTOFREE char *path = reid_path_join(f->head, name);
    REID_AUTOFREE char *have = NULL;
    size_t size = 0;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(path, 64u << 20, &have, &size, &err), &err);
    assert_string_equal(have, text);
}

static bool is_at_head(const fixture *f, const char *name)
{
    REID_AUTOFREE char *path = reid_path_join(f->head, name);
    return reid_path_exists(path);
}

static void test_names_and_growth(void **state)
{
    fixture *f = *state;
    assert_true(reidd_mirror_is_complete(f->mirror)); /* nothing is there */
    append(f->member, "logs/rank-2.out", "one\n");
    append(f->member, "logs/launcher.log", "orted\n");
    append(f->member, "ranks/rank-3.pid", "{}");
    append(f->member, "failures/rank-3.json", "{\"sentence\": \"x\"}");
    append(f->member, "logs/rank-7.out", "not of this node");
    append(f->member, "rank0.spool", "rank 0 is elsewhere");
    assert_false(reidd_mirror_is_complete(f->mirror));
    reidd_mirror_step(f->mirror);
    deliver(f);
    expect(f, "logs/rank-2.out", "one\n");
    expect(f, "logs/launcher-node2.log", "orted\n");
    expect(f, "ranks/rank-3.away", "{}");
    expect(f, "failures/rank-3.json", "{\"sentence\": \"x\"}");
    assert_false(is_at_head(f, "logs/launcher.log"));
    assert_false(is_at_head(f, "ranks/rank-3.pid"));
    assert_false(is_at_head(f, "logs/rank-7.out"));
    assert_false(is_at_head(f, "rank0.spool"));
    append(f->member, "logs/rank-2.out", "two\n");
    assert_false(reidd_mirror_is_complete(f->mirror));
    size_t before = f->sent;
    reidd_mirror_step(f->mirror);
    deliver(f);
    assert_int_equal(f->sent - before, 1); /* what the head has is not sent again */
    expect(f, "logs/rank-2.out", "one\ntwo\n");
    assert_true(reidd_mirror_is_complete(f->mirror));
}

/* The end of a rank is told after what it has written. */
static void test_order(void **state)
{
    fixture *f = *state;
    reid_str big = REID_STR_INIT;
    for (int i = 0; big.length < 3 * REIDD_MIRROR_PIECE; i++)
        reid_str_addf(&big, "line %d\n", i);
    append(f->member, "logs/rank-3.err", big.data);
    append(f->member, "ranks/rank-3.exit", "{\"exit_code\": 1}");
    reidd_mirror_step(f->mirror);
    assert_false(is_at_head(f, "ranks/rank-3.exit"));
    deliver(f);
    expect(f, "logs/rank-3.err", big.data);
    expect(f, "ranks/rank-3.exit", "{\"exit_code\": 1}");
    const char *end = strstr(f->order.data, "ranks/rank-3.exit ");
    assert_non_null(end);
    assert_null(strstr(end, "logs/"));
    assert_true(reidd_mirror_is_complete(f->mirror));
    reid_str_fini(&big);
}

/* The head says what it has; from there it goes on, and nothing is there twice. */
static void test_reconnect(void **state)
{
    fixture *f = *state;
    append(f->member, "logs/rank-2.out", "0123456789");
    append(f->member, "ranks/rank-2.pid", "{}");
    reidd_mirror_step(f->mirror);
    f->answers.count = 0; /* the answers are lost with the connection */
    append(f->member, "logs/rank-2.out", "abc");
    reidd_mirror_step(f->mirror); /* still on its way, as far as it knows */
    expect(f, "logs/rank-2.out", "0123456789");
    f->deaf = true;
    reidd_mirror_restart(f->mirror);
    reidd_mirror_ack(f->mirror, "logs/rank-2.out", 10);
    reidd_mirror_step(f->mirror);
    assert_false(reidd_mirror_is_complete(f->mirror));
    f->deaf = false;
    reidd_mirror_step(f->mirror);
    deliver(f);
    expect(f, "logs/rank-2.out", "0123456789abc");
    assert_true(reidd_mirror_is_complete(f->mirror));
    /* A head that has lost the file gets it from the beginning. */
    REID_AUTOFREE char *path = reid_path_join(f->head, "logs/rank-2.out");
    assert_int_equal(unlink(path), 0);
    reidd_mirror_restart(f->mirror);
    reidd_mirror_step(f->mirror);
    deliver(f);
    expect(f, "logs/rank-2.out", "0123456789abc");
}

/* A piece that could not be written is tried again with the next step, not at once. */
static void test_full_disk(void **state)
{
    fixture *f = *state;
    append(f->member, "logs/rank-2.out", "text");
    reidd_mirror_step(f->mirror);
    assert_int_equal(f->sent, 1);
    reidd_mirror_ack(f->mirror, "logs/rank-2.out", 0);
    assert_int_equal(f->sent, 1);
    assert_false(reidd_mirror_is_complete(f->mirror));
    f->answers.count = 0;
    reidd_mirror_step(f->mirror);
    assert_int_equal(f->sent, 2);
    deliver(f);
    expect(f, "logs/rank-2.out", "text");
    assert_true(reidd_mirror_is_complete(f->mirror));
}

static reid_status take(const fixture *f, const char *path, int64_t offset, const char *text,
                        bool whole, int64_t *ret_size)
{
    const reidd_mirror_piece piece = {
        .path = path, .offset = offset, .data = text, .size = strlen(text), .whole = whole};
    return reidd_mirror_take(f->head, "node2", f->ranks, &piece, ret_size, NULL);
}

static void test_refused(void **state)
{
    const fixture *f = *state;
    static const char *const names[] = {"exit.json",
                                        "shim.json",
                                        "shim.lock",
                                        "grace",
                                        "rank0.spool",
                                        "outcome.json",
                                        "",
                                        "/etc/passwd",
                                        "../config.yaml",
                                        "logs/../exit.json",
                                        "logs/rank-1.out",
                                        "logs/rank-4.out",
                                        "logs/rank-02.out",
                                        "logs/rank-2.out/x",
                                        "ranks/rank-2.away",
                                        "logs/launcher-node1.log",
                                        "nodes/node3.end",
                                        "logs//rank-2.out"};
    int64_t size = 0;
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        assert_int_equal(take(f, names[i], 0, "x", false, &size), REID_ERR_INVALID);
        assert_int_equal(take(f, names[i], 0, "x", true, &size), REID_ERR_INVALID);
    }
    assert_int_equal(take(f, "logs/rank-2.out", 0, "x", true, &size), REID_ERR_INVALID);
    assert_int_equal(take(f, "ranks/rank-2.exit", 0, "x", false, &size), REID_ERR_INVALID);
    assert_int_equal(take(f, "logs/rank-2.out", -1, "x", false, &size), REID_ERR_INVALID);
    assert_int_equal(take(f, "logs/rank-2.out", 0, "", false, &size), REID_ERR_INVALID);
    assert_int_equal(take(f, "logs/rank-2.out", 1, "x", false, &size), REID_ERR_INVALID); /* gap */
    assert_int_equal(take(f, "logs/rank-2.out", 0, "abc", false, &size), REID_OK);
    assert_int_equal(size, 3);
    assert_int_equal(take(f, "logs/rank-2.out", 1, "bcd", false, &size), REID_OK); /* overlaps */
    assert_int_equal(size, 4);
    expect(f, "logs/rank-2.out", "abcd");
    assert_int_equal(take(f, "logs/rank-2.out", 0, "xy", false, &size), REID_OK); /* known */
    assert_int_equal(size, 4);
    expect(f, "logs/rank-2.out", "abcd");
}

/* The folder may belong to the job's user. */
static void test_links_are_not_followed(void **state)
{
    const fixture *f = *state;
    int64_t size = 0;
    REID_AUTOFREE char *victim = reid_path_join(f->folder, "victim");
    REID_AUTOFREE char *logs = reid_path_join(f->head, "logs");
    REID_AUTOFREE char *ranks = reid_path_join(f->head, "ranks");
    REID_AUTOFREE char *link = reid_path_join(f->head, "logs/rank-2.out");
    append(f->folder, "victim", "safe");
    assert_int_equal(mkdir(logs, 0700), 0);
    assert_int_equal(symlink(victim, link), 0);
    assert_int_equal(take(f, "logs/rank-2.out", 0, "evil", false, &size), REID_OK);
    assert_int_equal(size, -1);
    assert_int_equal(symlink(f->member, ranks), 0);
    assert_int_equal(take(f, "ranks/rank-2.exit", 0, "{}", true, &size), REID_OK);
    assert_int_equal(size, -1);
    REID_AUTOFREE char *text = NULL;
    size_t length = 0;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(victim, 100, &text, &length, &err), &err);
    assert_string_equal(text, "safe");
}

static void note_size(const char *path, int64_t size, void *user)
{
    reid_str_addf(user, "%s=%lld ", path, (long long)size);
}

static void test_sizes(void **state)
{
    const fixture *f = *state;
    int64_t size = 0;
    reid_str text = REID_STR_INIT;
    assert_int_equal(take(f, "logs/launcher.log", 0, "12345", false, &size), REID_OK);
    assert_int_equal(take(f, "logs/rank-3.err", 0, "123", false, &size), REID_OK);
    assert_int_equal(take(f, "ranks/rank-3.exit", 0, "{}", true, &size), REID_OK);
    reidd_mirror_each(f->head, "node2", f->ranks, note_size, &text);
    assert_string_equal(text.data, "logs/launcher.log=5 logs/rank-3.err=3 ");
    reid_str_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_and_growth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reconnect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
