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
#include "base/journal.h"
#include "base/protocol.h"
#include "harness/harness.h"
#include "reid/v1/control.pb-c.h"
#include "reid/v1/link.pb-c.h"
#include "support/rank.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name

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
    rank_send(l, &up);
}

static void expect_stored(rank_link *l, int64_t seq)
{
    int64_t stored = 0;
    while (stored < seq) {
        Reid__V1__LinkDown *down = rank_next(l);
        if (!down)
            fail_msg("%s", l->end.text);
        assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_STORED);
        stored = down->stored->seq;
        reid__v1__link_down__free_unpacked(down, NULL);
    }
    assert_int_equal(stored, seq);
}

static Reid__V1__LinkDown *hello_of(test_reidd *t, const char *id, char *ticket, int protocol,
                                    rank_link *l)
{
    Reid__V1__LinkHello hello = REID__V1__LINK_HELLO__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    hello.job_id = (char *)id;
    hello.attempt = 1;
    hello.ticket = ticket;
    hello.world = 1;
    hello.protocol = protocol;
    up.kind_case = REID__V1__LINK_UP__KIND_HELLO;
    up.hello = &hello;
    *l = rank_open(t);
    rank_send(l, &up);
    return rank_next(l);
}

/* Trainers of other releases: older ones that are still understood, newer ones that decide for
 * themselves from the daemon's number. */
static void test_trainers_of_other_releases(void **state)
{
    static const int fine[] = {0, REID_PROTOCOL_OLDEST, REID_PROTOCOL, REID_PROTOCOL + 7};
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        Reid__V1__LinkDown *down = hello_of(t, id, ticket, fine[i], &l);
        if (!down)
            fail_msg("%d: %s", fine[i], l.end.text);
        assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_ACCEPT);
        assert_int_equal(down->accept->protocol, REID_PROTOCOL);
        reid__v1__link_down__free_unpacked(down, NULL);
        rank_close(&l);
    }
    assert_null(hello_of(t, id, ticket, -4, &l));
    assert_int_equal(l.end.code, REID_ERR_INVALID);
    assert_non_null(strstr(l.end.text, "tells the protocol -4"));
    rank_close(&l);
    free(id);
}

/* It would be refused again and again: the job ends at once, with the reason. */
static void test_trainer_of_another_age(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l;
    assert_null(hello_of(t, id, ticket, -4, &l));
    rank_close(&l);
    Reid__V1__Job *job = test_wait_state(t, id, REID__V1__JOB_STATE__JOB_STATE_FAILED);
    assert_non_null(strstr(job->failure->sentence, "the trainer of rank 0 of job"));
    assert_non_null(strstr(job->failure->sentence, "tells the protocol -4"));
    assert_int_equal(job->failure->rank, 0);
    assert_int_equal(job->exit_code, 2);
    reid__v1__job__free_unpacked(job, NULL);
    free(id);
}

static void test_who_may_speak(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
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
        rank_link l = rank_open(t);
        rank_hello(&l, rows[i].id, rows[i].attempt, rows[i].ticket, rows[i].rank, rows[i].world);
        rank_expect_end(&l, rows[i].code, rows[i].said);
    }
    Reid__V1__Job *job = test_get(t, id);
    assert_int_equal(job->state, STATE(STARTING)); /* none of them counted */
    reid__v1__job__free_unpacked(job, NULL);
    rank_link l = rank_open(t);
    send_row(&l, 1, "loss");
    rank_expect_end(&l, REID_ERR_PRECONDITION, "hello");
    l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_end(&l, REID_ERR_PRECONDITION, "only once");
    test_expect_state(t, id, STATE(RUNNING));
    free(id);
}

static void test_rows_are_taken_once_and_in_order(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    for (int64_t seq = 1; seq <= 1200; seq++) /* more than one batch */
        send_row(&l, seq, "loss");
    expect_stored(&l, 1200);
    send_row(&l, 1200, "again");
    send_row(&l, 1, "again");
    send_row(&l, 1202, "too early");
    rank_expect_end(&l, REID_ERR_PRECONDITION, "row 1202 came after row 1200");
    l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 1200); /* go on from here */
    send_row(&l, 1201, "loss");
    expect_stored(&l, 1201);
    send_row(&l, 1202, "");
    rank_expect_end(&l, REID_ERR_INVALID, "name");
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
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    reid_assert_ok(test_cancel(t, id, 5, "", &err), &err);
    rank_expect_end(&l, REID_ERR_PRECONDITION, "over");
    l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_end(&l, REID_ERR_PRECONDITION, "does not run");
    test_expect_state(t, id, STATE(CANCELLED));
    free(id);
}

/* ---- control words ---- */

static reid_rpc_client_stream *ask(test_reidd *t, const char *id, const char *knob, int64_t at_iter)
{
    Reid__V1__Setting setting = REID__V1__SETTING__INIT, *settings[] = {&setting};
    Reid__V1__SetRequest request = REID__V1__SET_REQUEST__INIT;
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    setting.name = (char *)knob;
    setting.value = (char *)"1e-4";
    request.id = (char *)id;
    request.n_settings = 1;
    request.settings = settings;
    request.at_iter = at_iter;
    request.reason = (char *)"too fast";
    reid_assert_ok(reid_rpc_client_start(t->client, "/reid.v1.ControlService/Set", &request.base,
                                         &reid__v1__control_response__descriptor, &stream, &err),
                   &err);
    test_let_it_send(t->client);
    return stream;
}

/* The next word for rank 0; its id (caller frees). */
static char *expect_control(rank_link *l, const char *knob, int64_t at_iter)
{
    Reid__V1__LinkDown *down = rank_next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_CONTROL);
    const Reid__V1__LinkControl *control = down->control;
    assert_string_equal(control->kind, "set");
    assert_int_equal(control->n_settings, 1);
    assert_string_equal(control->settings[0]->name, knob);
    assert_string_equal(control->settings[0]->value, "1e-4");
    assert_int_equal(control->at_iter, at_iter);
    assert_string_equal(control->reason, "too fast");
    assert_true(*control->who != '\0' && control->wall_ms > 0);
    char *id = reid_xstrdup(control->id);
    reid__v1__link_down__free_unpacked(down, NULL);
    return id;
}

static void expect_agreed(reid_rpc_client_stream *stream, int64_t iteration, int64_t seq)
{
    Reid__V1__ControlResponse *answer = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&answer, &err), &err);
    assert_non_null(answer);
    assert_int_equal(answer->iteration, iteration);
    assert_int_equal(answer->n_entries, 1);
    assert_int_equal(answer->entries[0]->seq, seq);
    assert_string_equal(answer->entries[0]->new_, "0.0001");
    assert_int_equal(strlen(answer->entries[0]->hash), 64);
    reid__v1__control_response__free_unpacked(answer, NULL);
    reid_rpc_client_stop(stream);
}

static void expect_refused(reid_rpc_client_stream *stream, reid_status code, const char *said)
{
    ProtobufCMessage *answer = NULL;
    reid_error err = {0};
    assert_int_equal(reid_rpc_client_next(stream, 10000, &answer, &err), code);
    if (!strstr(err.text, said))
        fail_msg("%s", err.text);
    reid_rpc_client_stop(stream);
}

static Reid__V1__AuditResponse *audit(test_reidd *t, const char *id)
{
    Reid__V1__AuditRequest request = REID__V1__AUDIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    reid_error err = {0};
    request.id = (char *)id;
    reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.ControlService/Audit", &request.base,
                                         &reid__v1__audit_response__descriptor, 10000, &answer,
                                         &err),
                   &err);
    return (Reid__V1__AuditResponse *)answer;
}

/* A word goes to rank 0, again after a hello, and its answer to who asked; what was acknowledged is
 * remembered by the daemon, through kill -9, even when the file is gone. */
static void test_words_reach_rank_0_and_are_kept(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    reid_rpc_client_stream *early = ask(t, id, "lr", 7); /* before there is a link */
    rank_link l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    char *word = expect_control(&l, "lr", 7);
    rank_close(&l); /* the answer gets lost */
    l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    char *again = expect_control(&l, "lr", 7);
    assert_string_equal(again, word);
    rank_agree(&l, folder, word, "set", "lr", "1", "0.0001", 7, "");
    expect_agreed(early, 7, 1);
    reid_rpc_client_stream *bad = ask(t, id, "rate", 0);
    char *second = expect_control(&l, "rate", 0);
    assert_string_not_equal(second, word);
    rank_refuse(&l, second, 3, "there is no knob 'rate'"); /* INVALID_ARGUMENT */
    expect_refused(bad, REID_ERR_INVALID, "no knob 'rate'");
    rank_close(&l);
    test_reidd_kill(t);
    test_reidd_start(t);
    Reid__V1__AuditResponse *a = audit(t, id);
    assert_true(a->sound && a->n_entries == 1);
    reid__v1__audit_response__free_unpacked(a, NULL);
    char *path = reid_path_join(folder, REID_JOURNAL_FILE);
    assert_int_equal(remove(path), 0);
    a = audit(t, id);
    assert_false(a->sound);
    assert_int_equal(a->fault_line, 1);
    assert_non_null(strstr(a->fault, "missing"));
    reid__v1__audit_response__free_unpacked(a, NULL);
    free(path);
    free(second);
    free(again);
    free(word);
    free(folder);
    free(id);
}

static void test_words_end_with_the_job(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, 0);
    reid_rpc_client_stream *waiting = ask(t, id, "lr", 0);
    reid_rpc_client_stream *left = ask(t, id, "lr", 0);
    free(expect_control(&l, "lr", 0));
    reid_rpc_client_stop(left); /* nobody waits for it any more */
    test_let_it_send(t->client);
    reid_assert_ok(test_cancel(t, id, 5, "", &err), &err);
    expect_refused(ask(t, id, "lr", 0), REID_ERR_PRECONDITION, "cancel");
    expect_refused(waiting, REID_ERR_PRECONDITION, "ended before its ranks agreed");
    rank_close(&l);
    test_expect_state(t, id, STATE(CANCELLED));
    expect_refused(ask(t, id, "lr", 0), REID_ERR_PRECONDITION, "already ended");
    expect_refused(ask(t, "nobody", "lr", 0), REID_ERR_NOT_FOUND, "no job");
    expect_refused(ask(t, id, "lr", -1), REID_ERR_INVALID, "negative");
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
    rank_expect_end(&l, REID_ERR_UNSUPPORTED, "");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_who_may_speak),
        CASE(test_rows_are_taken_once_and_in_order),
        CASE(test_links_end_with_the_job),
        CASE(test_words_reach_rank_0_and_are_kept),
        CASE(test_words_end_with_the_job),
        CASE(test_public_socket_has_no_link),
        CASE(test_trainers_of_other_releases),
        CASE(test_trainer_of_another_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
