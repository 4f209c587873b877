#include "support/rank.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "harness/harness.h"

void rank_environment(test_reidd *t, int number, const char *name, char *ret_value, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)test_wait_mark(t, number, "up"));
    char *data = NULL;
    size_t data_size = 0, length = strlen(name);
    reid_error err = {0};
    reid_assert_ok(reid_file_read(path, 1 << 20, &data, &data_size, &err), &err);
    ret_value[0] = '\0';
    for (size_t i = 0; i < data_size; i += strlen(data + i) + 1)
        if (strncmp(data + i, name, length) == 0 && data[i + length] == '=')
            snprintf(ret_value, size, "%s", data + i + length + 1);
    free(data);
}

char *rank_start_job(test_reidd *t, char ticket[64])
{
    char *id = test_submit(t, "x", 1, RANK_SCRIPT);
    rank_environment(t, t->jobs, "REIDD_TICKET", ticket, 64);
    assert_int_equal(strlen(ticket), 32);
    return id;
}

rank_link rank_open(test_reidd *t)
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

void rank_close(rank_link *l)
{
    reid_rpc_client_free(l->client);
    *l = (rank_link){0};
}

void rank_send(rank_link *l, Reid__V1__LinkUp *up)
{
    reid_rpc_client_send(l->stream, &up->base, 5000, NULL);
}

void test_let_it_send(reid_rpc_client *client)
{
    Reid__V1__InfoRequest request = REID__V1__INFO_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    if (reid_rpc_client_unary(client, "/reid.v1.SystemService/Info", &request.base,
                              &reid__v1__info_response__descriptor, 10000, &answer,
                              NULL) == REID_OK) /* the private socket has no such method */
        protobuf_c_message_free_unpacked(answer, NULL);
}

void rank_push(rank_link *l)
{
    test_let_it_send(l->client);
}

void rank_hello(rank_link *l, const char *id, int attempt, const char *ticket, int rank, int world)
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
    rank_send(l, &up);
}

rank_link rank_join(test_reidd *t, const char *id, const char *ticket, int64_t stored)
{
    rank_link l = rank_open(t);
    rank_hello(&l, id, 1, ticket, 0, 1);
    rank_expect_accept(&l, stored);
    return l;
}

Reid__V1__LinkDown *rank_next(rank_link *l)
{
    Reid__V1__LinkDown *down = NULL;
    reid_error_clear(&l->end);
    reid_rpc_client_next(l->stream, 10000, (ProtobufCMessage **)&down, &l->end);
    return down;
}

void rank_expect_end(rank_link *l, reid_status code, const char *said)
{
    Reid__V1__LinkDown *down = NULL;
    while ((down = rank_next(l)) != NULL)
        reid__v1__link_down__free_unpacked(down, NULL);
    if (l->end.code != code || !strstr(l->end.text, said))
        fail_msg("%s: %s", reid_status_name(l->end.code), l->end.text);
    rank_close(l);
}

void rank_expect_accept(rank_link *l, int64_t stored)
{
    Reid__V1__LinkDown *down = rank_next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_ACCEPT);
    assert_int_equal(down->accept->stored_seq, stored);
    reid__v1__link_down__free_unpacked(down, NULL);
}

Reid__V1__LinkDown *rank_expect_word(rank_link *l, const char *kind)
{
    Reid__V1__LinkDown *down = rank_next(l);
    if (!down)
        fail_msg("%s", l->end.text);
    assert_int_equal(down->kind_case, REID__V1__LINK_DOWN__KIND_CONTROL);
    assert_string_equal(down->control->kind, kind);
    assert_true(*down->control->who != '\0' && down->control->wall_ms > 0);
    return down;
}

int64_t rank_agree(rank_link *l, const char *folder, const char *word, const char *kind,
                   const char *name, const char *old_value, const char *new_value,
                   int64_t iteration, const char *reason)
{
    char *path = reid_path_join(folder, REID_JOURNAL_FILE);
    reid_journal *journal = NULL;
    reid_journal_entries known;
    reid_error err = {0};
    reid_assert_ok(reid_journal_open(path, &journal, &known, &err), &err);
    reid_journal_entry entry = {
        .wall_ms = 1,
        .iteration = iteration,
        .id = reid_xstrdup(word),
        .who = reid_xstrdup("me"),
        .kind = reid_xstrdup(kind),
        .name = reid_xstrdup(name),
        .old_value = reid_xstrdup(old_value),
        .new_value = reid_xstrdup(new_value),
        .reason = reid_xstrdup(reason),
    };
    reid_assert_ok(reid_journal_append(journal, &entry, 1, &err), &err);
    Reid__V1__LinkAgreed agreed = REID__V1__LINK_AGREED__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    agreed.id = (char *)word;
    agreed.iteration = iteration;
    agreed.first_seq = entry.seq;
    agreed.n_lines = 1;
    agreed.lines = &entry.line;
    up.kind_case = REID__V1__LINK_UP__KIND_AGREED;
    up.agreed = &agreed;
    rank_send(l, &up);
    rank_push(l);
    int64_t seq = entry.seq;
    reid_journal_entry_fini(&entry);
    reid_journal_entries_fini(&known);
    reid_journal_close(journal);
    free(path);
    return seq;
}

void rank_refuse(rank_link *l, const char *word, int code, const char *sentence)
{
    Reid__V1__LinkRefused refused = REID__V1__LINK_REFUSED__INIT;
    Reid__V1__LinkUp up = REID__V1__LINK_UP__INIT;
    refused.id = (char *)word;
    refused.code = code;
    refused.sentence = (char *)sentence;
    up.kind_case = REID__V1__LINK_UP__KIND_REFUSED;
    up.refused = &refused;
    rank_send(l, &up);
    rank_push(l);
}
