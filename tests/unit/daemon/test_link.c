/* The private socket: who may speak for a rank, and what is taken from it. */
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
#include "harness/harness.h"
#include "reid/v1/link.pb-c.h"
#include "support/reidd.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

typedef struct rank_link {
    reid_rpc_client *client;
    reid_rpc_client_stream *stream;
    reid_error end; /* how it ended */
} rank_link;

static rank_link open_link(test_reidd *t)
{
    rank_link l = {0};
    reid_error err = {0};
    char *address = reid_xasprintf("unix:%s/link.sock", t->folder);
    reid_assert_ok(reid_rpc_client_connect(address, 5000, &l.client, &err), &err);
    reid_assert_ok(reid_rpc_client_open(l.client, "/reid.v1.RankService/Link",
                                        &reid__v1__link_down__descriptor, &l.stream, &err),
                   &err);
    free(address);
    return l;
}

static void close_link(rank_link *l)
{
    reid_rpc_client_free(l->client);
    *l = (rank_link){0};
}

static void send_up(rank_link *l, Reid__V1__LinkUp *up)
{
    reid_rpc_client_send(l->stream, &up->base, 5000, NULL);
}

static void send_hello(rank_link *l, const char *id, int attempt, const char *ticket, int rank,
                       int world)
{
    Reid__V1__LinkHello hello = REID__V1__LINK_HELLO__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    hello.job_id = (char *)id;
    hello.attempt = attempt;
    hello.ticket = (char *)ticket;
    hello.rank = rank;
    hello.world = world;
    up.kind_case = REID__V1__LINK_UP__KIND_HELLO;
    up.hello = &hello;
    send_up(l, &up);
}

static void send_row(rank_link *l, int64_t seq, const char *name)
{
    Reid__V1__Scalar scalar = REID__V1__SCALAR__INIT;
    Reid__V1__Scalar *scalars[] = {&scalar};
    Reid__V1__MetricRow row = REID__V1__METRIC_ROW__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    scalar.name = (char *)name;
    row.attempt = 77; /* not for the rank to say */
    row.seq = seq;
    row.iteration = seq - 1;
    row.n_scalars = 1;
    row.scalars = scalars;
    up.kind_case = REID__V1__LINK_UP__KIND_ROW;
    up.row = &row;
    send_up(l, &up);
}

/* The next answer, or NULL at the end of the link (then `end` says why). */
static Reid__V1__LinkDown *next(rank_link *l)
{
    Reid__V1__LinkDown *down = NULL;
    reid_error_clear(&l->end);
    reid_rpc_client_next(l->stream, 10000, (ProtobufCMessage **)&down, &l->end);
    return down;
}

static void expect_end(rank_link *l, reid_status code, const char *said)
{
    Reid__V1__LinkDown *down = NULL;
    while ((down = next(l)) != NULL)
        reid__v1__link_down__free_unpacked(down, NULL);
    if (l->end.code != code || !strstr(l->end.text, said))
        fail_msg("%s: %s", reid_status_name(l->end.code), l->end.text);
    close_link(l);
}

static void expect_accept(rank_link *l, int64_t seq)
{
    Reid__V1__LinkDown *down = next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_ACCEPT);
    assert_int_equal(down->accept->stored_seq, seq);
    reid__v1__link_down__free_unpacked(down, NULL);
}

static void expect_stored(rank_link *l, int64_t seq)
{
    int64_t stored = 0;
    while (stored < seq) {
        Reid__V1__LinkDown *down = next(l);
        if (!down)
            fail_msg("%s", l->end.text);
        assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_STORED);
        stored = down->stored->seq;
        reid__v1__link_down__free_unpacked(down, NULL);
    }
    assert_int_equal(stored, seq);
}

/* A job whose rank waits, and the ticket from its environment. */
static char *start_job(test_reidd *t, char ticket[64])
{
    char *id = test_submit(t, "x", 1, "on-term 143\nmark up\nwait never\n");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)test_wait_mark(t, t->jobs, "up"));
    char *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    reid_assert_ok(reid_file_read(path, 1 << 20, &data, &size, &err), &err);
    ticket[0] = '\0';
    for (size_t i = 0; i < size; i += strlen(data + i) + 1)
        if (strncmp(data + i, "REIDD_TICKET=", 13) == 0)
            snprintf(ticket, 64, "%s", data + i + 13);
    free(data);
    assert_int_equal(strlen(ticket), 32);
    return id;
}

static void test_who_may_speak(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = start_job(t, ticket);
    struct stat info;
    char *path = reid_path_join(t->folder, "link.sock");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    free(path);
    char wrong[64];
    strcpy(wrong, ticket);
    wrong[31] = wrong[31] == '0' ? '1' : '0';
    const struct {
        const char *id, *ticket;
        int attempt, rank, world;
        reid_status code;
        const char *said;
    } rows[] = {
        {id, wrong, 1, 0, 1, REID_ERR_PERMISSION, "ticket"},
        {id, "", 1, 0, 1, REID_ERR_PERMISSION, "ticket"},
        {id, ticket, 2, 0, 1, REID_ERR_PRECONDITION, "does not run"},
        {id, ticket, 1, 1, 1, REID_ERR_PRECONDITION, "rank 1"},
        {id, ticket, 1, -1, 1, REID_ERR_PRECONDITION, "rank -1"},
        {id, ticket, 1, 0, 2, REID_ERR_PRECONDITION, "of 2"},
        {"nobody", ticket, 1, 0, 1, REID_ERR_PRECONDITION, "nobody"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rank_link l = open_link(t);
        send_hello(&l, rows[i].id, rows[i].attempt, rows[i].ticket, rows[i].rank, rows[i].world);
        expect_end(&l, rows[i].code, rows[i].said);
    }
    Reid__V1__Job *job = test_get(t, id);
    assert_int_equal(job->state, STATE(STARTING)); /* none of them counted */
    reid__v1__job__free_unpacked(job, NULL);
    rank_link l = open_link(t);
    send_row(&l, 1, "loss");
    expect_end(&l, REID_ERR_PRECONDITION, "hello");
    l = open_link(t);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_accept(&l, 0);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_end(&l, REID_ERR_PRECONDITION, "only once");
    test_expect_state(t, id, STATE(RUNNING));
    free(id);
}

static void test_rows_are_taken_once_and_in_order(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = start_job(t, ticket);
    rank_link l = open_link(t);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_accept(&l, 0);
    for (int64_t seq = 1; seq <= 1200; seq++) /* more than one batch */
        send_row(&l, seq, "loss");
    expect_stored(&l, 1200);
    send_row(&l, 1200, "again");
    send_row(&l, 1, "again");
    send_row(&l, 1202, "too early");
    expect_end(&l, REID_ERR_PRECONDITION, "row 1202 came after row 1200");
    l = open_link(t);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_accept(&l, 1200); /* go on from here */
    send_row(&l, 1201, "loss");
    expect_stored(&l, 1201);
    send_row(&l, 1202, "");
    expect_end(&l, REID_ERR_INVALID, "name");
    char *rows = test_metrics(t, id, 0, 0, NULL), *expected = test_rows_expected(1, 1, 1201);
    assert_string_equal(rows, expected);
    free(rows);
    free(expected);
    free(id);
}

/* When the job ends, its links do; and nobody speaks for it any more. */
static void test_links_end_with_the_job(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    char ticket[64];
    test_reidd_start(t);
    char *id = start_job(t, ticket);
    rank_link l = open_link(t);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_accept(&l, 0);
    reid_assert_ok(test_cancel(t, id, 5, "", &err), &err);
    expect_end(&l, REID_ERR_PRECONDITION, "over");
    l = open_link(t);
    send_hello(&l, id, 1, ticket, 0, 1);
    expect_end(&l, REID_ERR_PRECONDITION, "does not run");
    test_expect_state(t, id, STATE(CANCELLED));
    free(id);
}

/* The public socket does not serve ranks. */
static void test_public_socket_has_no_link(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    rank_link l = {0};
    test_reidd_start(t);
    reid_assert_ok(reid_rpc_client_connect(t->address, 5000, &l.client, &err), &err);
    reid_assert_ok(reid_rpc_client_open(l.client, "/reid.v1.RankService/Link",
                                        &reid__v1__link_down__descriptor, &l.stream, &err),
                   &err);
    expect_end(&l, REID_ERR_UNSUPPORTED, "");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_who_may_speak),
        CASE(test_rows_are_taken_once_and_in_order),
        CASE(test_links_end_with_the_job),
        CASE(test_public_socket_has_no_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
