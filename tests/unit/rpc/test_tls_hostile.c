/* TLS peers that begin and do not end, flood, or vanish. After each of them the server serves the
 * others as before. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "base/rng.h"
#include "echo.h"
#include "harness/harness.h"
#include "rawtls.h"
#include "rpc/client.h"

enum { PER_ADDRESS = 12, HANDSHAKES = 6, PER_USER = 3 };

typedef struct fixture {
    char *folder, *node, *alice;
    reid_rpc_tls *tls, *alice_tls;
    echo_server *server;
    uint16_t port;
    reid_error err;
} fixture;

static int start(void **state, const reid_rpc_limits *limits)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->node = rawtls_issue(f->folder, "node1", "node", "127.0.0.1", 0, 20);
    f->alice = rawtls_issue(f->folder, "alice", "viewer", NULL, 0, 20);
    if (reid_rpc_tls_new(f->node, &f->tls, &f->err) != REID_OK ||
        reid_rpc_tls_new(f->alice, &f->alice_tls, &f->err) != REID_OK)
        return -1;
    f->server = echo_server_new_tls(limits, f->tls);
    f->port = rawtls_port(echo_server_address(f->server));
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    const reid_rpc_limits limits = {
        .max_per_address = PER_ADDRESS, .max_handshakes = HANDSHAKES, .preface_timeout_ms = 600000};
    return start(state, &limits);
}

static int set_up_impatient(void **state)
{
    const reid_rpc_limits limits = {.preface_timeout_ms = 500};
    return start(state, &limits);
}

static int set_up_attentive(void **state)
{
    const reid_rpc_limits limits = {.quiet_ms = 100};
    return start(state, &limits);
}

static int set_up_slow(void **state)
{
    const reid_rpc_limits limits = {.max_tls_per_second = 3};
    return start(state, &limits);
}

static int set_up_strict(void **state)
{
    const reid_rpc_limits limits = {.max_per_user = PER_USER};
    return start(state, &limits);
}

static int tear_down(void **state)
{
    fixture *f = *state;
    echo_server_free(f->server);
    reid_rpc_tls_free(f->tls);
    reid_rpc_tls_free(f->alice_tls);
    free(f->node);
    free(f->alice);
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

static reid_status say(reid_rpc_client *client, reid_error *err)
{
    Reid__Test__Ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *answer;
    reid_status status =
        reid_rpc_client_unary(client, ECHO_PATH "Say", &request.base,
                              &reid__test__answer__descriptor, 20000, &answer, err);
    if (status == REID_OK)
        protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

static bool connect_one(fixture *f, reid_rpc_client **ret_client)
{
    return reid_rpc_client_connect_tls(echo_server_address(f->server), f->alice_tls, 20000,
                                       ret_client, NULL) == REID_OK;
}

static bool is_serving(void *context)
{
    reid_rpc_client *client;
    if (!connect_one(context, &client))
        return false;
    bool good = say(client, NULL) == REID_OK;
    reid_rpc_client_free(client);
    return good;
}

static void assert_serving(fixture *f)
{
    assert_true(reid_test_wait(is_serving, f, 60));
}

static bool no_connections(void *server)
{
    return echo_server_connections(server) == 0;
}

static void assert_empty(fixture *f)
{
    assert_serving(f);
    assert_true(reid_test_wait(no_connections, f->server, 60));
}

/* ---- those that never finish ---- */

/* A ClientHello as the library makes it. */
static size_t make_hello(uint8_t *buffer, size_t size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_connect(ssl);
    int n = BIO_read(out, buffer, (int)size);
    SSL_free(ssl);
    SSL_CTX_free(context);
    assert_true(n > 100);
    return (size_t)n;
}

static void handshakes_that_stop_halfway(void **state)
{
    fixture *f = *state;
    uint8_t hello[2048];
    size_t size = make_hello(hello, sizeof hello);
    const size_t parts[] = {0, 1, 5, 6, size / 2, size - 1, size};
    int fds[7];
    for (size_t i = 0; i < 7; i++) {
        fds[i] = rawtls_connect(f->port);
        assert_int_equal(send(fds[i], hello, parts[i], MSG_NOSIGNAL), parts[i]);
    }
    for (size_t i = 0; i < 7; i++) {
        assert_true(rawtls_is_closed(fds[i], 60));
        close(fds[i]);
    }
    assert_true(reid_test_wait(no_connections, f->server, 60));
}

static void a_byte_now_and_then_does_not_help(void **state)
{
    fixture *f = *state;
    uint8_t hello[2048];
    size_t size = make_hello(hello, sizeof hello);
    int fd = rawtls_connect(f->port);
    for (size_t sent = 0; sent + 1 < size; sent++) {
        if (send(fd, hello + sent, 1, MSG_NOSIGNAL) != 1)
            break;
        usleep(5000);
    }
    assert_true(rawtls_is_closed(fd, 60));
    close(fd);
    assert_true(reid_test_wait(no_connections, f->server, 60));
}

static void tls_without_http2(void **state)
{
    fixture *f = *state;
    rawtls *raw = rawtls_new(rawtls_connect(f->port), f->alice, false, "\x02h2");
    rawtls_handshake(raw, false);
    assert_true(rawtls_wait_closed(raw));
    rawtls_free(raw);
    assert_true(reid_test_wait(no_connections, f->server, 60));
}

/* ---- wrong bytes ---- */

static void garbage(void **state)
{
    fixture *f = *state;
    uint8_t hello[2048], bytes[3000];
    size_t size = make_hello(hello, sizeof hello);
    for (uint32_t round = 0; round < 60; round++) {
        reid_rng rng = reid_rng_stream(7, REID_RNG_TEST, round, 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)reid_rng_u32(&rng);
        if (round % 3 == 1) /* a handshake with a few bytes changed */
            for (int i = 0; i < 3; i++)
                hello[reid_rng_u32(&rng) % size] ^= bytes[i];
        int fd = rawtls_connect(f->port);
        if (round % 3 > 0)
            send(fd, hello, size, MSG_NOSIGNAL);
        if (round % 3 != 1)
            send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        assert_true(rawtls_is_closed(fd, 20));
        close(fd);
    }
    assert_empty(f);
}

static void plain_http(void **state)
{
    fixture *f = *state;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        NGHTTP2_CLIENT_MAGIC,
    };
    for (int i = 0; i < 2; i++) {
        int fd = rawtls_connect(f->port);
        send(fd, texts[i], strlen(texts[i]), MSG_NOSIGNAL);
        assert_true(rawtls_is_closed(fd, 20));
        close(fd);
    }
    assert_empty(f);
}

static void garbage_inside(void **state)
{
    fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        rawtls *raw = rawtls_new(rawtls_connect(f->port), f->alice, false, "\x02h2");
        assert_true(rawtls_handshake(raw, false));
        static const char text[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        if (round == 0) /* not HTTP/2 */
            assert_true(rawtls_write(raw, text, sizeof text - 1));
        else /* not TLS any more */
            assert_int_equal(send(raw->fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
        assert_true(rawtls_wait_closed(raw));
        rawtls_free(raw);
    }
    assert_empty(f);
}

static const uint8_t settings[] = {0, 0, 0, NGHTTP2_SETTINGS, 0, 0, 0, 0, 0};

static rawtls *begin(fixture *f, const char *dir)
{
    rawtls *raw = rawtls_new(rawtls_connect(f->port), dir, false, "\x02h2");
    assert_true(rawtls_handshake(raw, false));
    assert_true(rawtls_write(raw, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN));
    assert_true(rawtls_write(raw, settings, sizeof settings));
    return raw;
}

/* Each asks the server to say something; nothing of it is read. */
static void a_flood_of_key_updates(void **state)
{
    fixture *f = *state;
    rawtls *raw = begin(f, f->alice);
    const struct timeval limit = {.tv_usec = 300000};
    setsockopt(raw->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    bool taken = true;
    for (int i = 0; i < 2000 && taken; i++)
        taken = SSL_key_update(raw->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
                SSL_do_handshake(raw->ssl) == 1;
    assert_true(rawtls_wait_closed(raw));
    rawtls_free(raw);
    assert_empty(f);
}

static void new_keys_now_and_then(void **state)
{
    fixture *f = *state;
    static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};
    rawtls *raw = begin(f, f->alice);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(SSL_key_update(raw->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_true(rawtls_write(raw, ping, sizeof ping));
    }
    size_t got = 0; /* SETTINGS twice, WINDOW_UPDATE, and the answers to the PINGs */
    uint8_t buffer[4096];
    while (got < 10 * sizeof ping) {
        int n = SSL_read(raw->ssl, buffer, sizeof buffer);
        assert_true(n > 0);
        got += (size_t)n;
    }
    rawtls_free(raw);
    assert_empty(f);
}

/* ---- too many ---- */

static void idle_strangers_make_way(void **state)
{
    fixture *f = *state;
    int fds[PER_ADDRESS - 2];
    for (size_t i = 0; i < PER_ADDRESS - 2; i++)
        fds[i] = rawtls_connect(f->port);
    for (size_t i = 0; i + HANDSHAKES < PER_ADDRESS - 2; i++) /* the oldest */
        assert_true(rawtls_is_closed(fds[i], 20));
    assert_serving(f);
    for (size_t i = 0; i < PER_ADDRESS - 2; i++)
        close(fds[i]);
    assert_empty(f);
}

/* A client with an open call does not make way. */
static bool make_busy(reid_rpc_client *client)
{
    Reid__Test__Ask ask = REID__TEST__ASK__INIT;
    reid_rpc_client_stream *stream;
    ProtobufCMessage *answer = NULL;
    if (reid_rpc_client_open(client, ECHO_PATH "Chat", &reid__test__answer__descriptor, &stream,
                             NULL) != REID_OK ||
        reid_rpc_client_send(stream, &ask.base, 60000, NULL) != REID_OK ||
        reid_rpc_client_next(stream, 60000, &answer, NULL) != REID_OK || !answer)
        return false;
    protobuf_c_message_free_unpacked(answer, NULL);
    return true;
}

static void too_many_of_one_address(void **state)
{
    fixture *f = *state;
    reid_rpc_client *clients[PER_ADDRESS], *more;
    for (int i = 0; i < PER_ADDRESS; i++)
        assert_true(connect_one(f, &clients[i]) && make_busy(clients[i]));
    assert_false(connect_one(f, &more));
    for (int i = 0; i < PER_ADDRESS; i++) {
        reid_assert_ok(say(clients[i], &f->err), &f->err);
        reid_rpc_client_free(clients[i]);
    }
    assert_true(reid_test_wait(no_connections, f->server, 60));
    assert_empty(f);
}

/* They wait, and come in. */
static void more_connections_than_the_rate(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 35; i++) {
        reid_rpc_client *client;
        reid_assert_ok(reid_rpc_client_connect_tls(echo_server_address(f->server), f->alice_tls,
                                                   60000, &client, &f->err),
                       &f->err);
        reid_rpc_client_free(client);
    }
    assert_empty(f);
}

static void too_many_of_one_user(void **state)
{
    fixture *f = *state;
    reid_rpc_client *clients[PER_USER], *more;
    for (int i = 0; i < PER_USER; i++)
        assert_true(connect_one(f, &clients[i]) && make_busy(clients[i]));
    assert_false(connect_one(f, &more));
    char *bob = rawtls_issue(f->folder, "bob", "viewer", NULL, 0, 20);
    reid_rpc_tls *tls;
    reid_assert_ok(reid_rpc_tls_new(bob, &tls, &f->err), &f->err);
    reid_assert_ok(
        reid_rpc_client_connect_tls(echo_server_address(f->server), tls, 60000, &more, &f->err),
        &f->err);
    reid_rpc_client_free(more);
    reid_rpc_tls_free(tls);
    free(bob);
    char address[200]; /* at a Unix socket, users are uids */
    snprintf(address, sizeof address, "unix:%s", echo_server_path(f->server));
    for (int i = 0; i < PER_USER; i++) {
        reid_assert_ok(say(clients[i], &f->err), &f->err);
        reid_rpc_client_free(clients[i]);
        reid_assert_ok(reid_rpc_client_connect(address, 60000, &clients[i], &f->err), &f->err);
        assert_true(make_busy(clients[i]));
    }
    assert_int_equal(reid_rpc_client_connect(address, 60000, &more, NULL), REID_ERR_UNAVAILABLE);
    for (int i = 0; i < PER_USER; i++) {
        reid_assert_ok(say(clients[i], &f->err), &f->err);
        reid_rpc_client_free(clients[i]);
    }
    assert_empty(f);
}

/* ---- those that have vanished ---- */

static void a_silent_node_is_dropped(void **state)
{
    fixture *f = *state;
    rawtls *raw = begin(f, f->node);
    assert_true(rawtls_wait_closed(raw)); /* PING came and was not answered */
    rawtls_free(raw);
    assert_empty(f);
}

/* Only the loop turns, for many times as long as the server wants to hear something. */
static bool is_kept(void *context)
{
    fixture *f = context;
    reid_rpc_client *client;
    if (reid_rpc_client_connect_tls(echo_server_address(f->server), f->tls, 20000, &client, NULL) !=
        REID_OK)
        return false;
    Reid__Test__Ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *answer;
    bool kept = reid_rpc_client_unary(client, ECHO_PATH "Never", &request.base,
                                      &reid__test__answer__descriptor, 1500, &answer,
                                      NULL) == REID_ERR_TIMEOUT &&
                say(client, NULL) == REID_OK;
    reid_rpc_client_free(client);
    return kept;
}

/* More than one attempt: a machine that is busy elsewhere looks like a silent node. */
static void a_node_that_answers_stays(void **state)
{
    assert_true(reid_test_wait(is_kept, *state, 30));
}

/* The blocking client's loop stands still between calls. */
static void a_user_may_be_silent(void **state)
{
    fixture *f = *state;
    reid_rpc_client *client;
    assert_true(connect_one(f, &client));
    usleep(600000);
    reid_assert_ok(say(client, &f->err), &f->err);
    reid_rpc_client_free(client);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name, before) cmocka_unit_test_setup_teardown(name, before, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(handshakes_that_stop_halfway, set_up_impatient),
        TEST(a_byte_now_and_then_does_not_help, set_up_impatient),
        TEST(tls_without_http2, set_up_impatient),
        TEST(garbage, set_up),
        TEST(plain_http, set_up),
        TEST(garbage_inside, set_up),
        TEST(a_flood_of_key_updates, set_up),
        TEST(new_keys_now_and_then, set_up),
        TEST(idle_strangers_make_way, set_up),
        TEST(too_many_of_one_address, set_up),
        TEST(too_many_of_one_user, set_up_strict),
        TEST(more_connections_than_the_rate, set_up_slow),
        TEST(a_silent_node_is_dropped, set_up_attentive),
        TEST(a_node_that_answers_stays, set_up_attentive),
        TEST(a_user_may_be_silent, set_up_attentive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
