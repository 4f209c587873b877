/* Mutual TLS: identities, whom each side believes, and bytes that come in any pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pthread.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "echo.h"
#include "harness/harness.h"
#include "rawtls.h"
#include "rpc/channel.h"
#include "rpc/client.h"

typedef Reid__Test__Ask ask;
typedef Reid__Test__Answer answer;

typedef struct fixture {
    char *folder, *other; /* of two authorities */
    char *node, *alice;   /* folders of the first one */
    reid_rpc_tls *node_tls, *alice_tls;
    echo_server *server;
    reid_error err;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->folder = reid_test_dir_new();
    f->other = reid_test_dir_new();
    f->node = rawtls_issue(f->folder, "node1", "node", "127.0.0.1", 0, 20);
    f->alice = rawtls_issue(f->folder, "alice", "admin", NULL, 0, 20);
    if (reid_rpc_tls_new(f->node, &f->node_tls, &f->err) != REID_OK ||
        reid_rpc_tls_new(f->alice, &f->alice_tls, &f->err) != REID_OK) {
        fprintf(stderr, "%s\n", f->err.text);
        return -1;
    }
    f->server = echo_server_new_tls(NULL, f->node_tls);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    echo_server_free(f->server);
    reid_rpc_tls_free(f->node_tls);
    reid_rpc_tls_free(f->alice_tls);
    free(f->node);
    free(f->alice);
    reid_test_dir_free(f->folder);
    reid_test_dir_free(f->other);
    free(f);
    return 0;
}

static reid_status try(fixture *f, const char *address, reid_rpc_tls *tls)
{
    reid_rpc_client *client;
    reid_error_clear(&f->err);
    reid_status status = reid_rpc_client_connect_tls(address, tls, 10000, &client, &f->err);
    if (status == REID_OK)
        reid_rpc_client_free(client);
    return status;
}

static void expect_end(const fixture *f, const char *end)
{
    const char *at = strstr(f->err.text, end);
    if (!at || strcmp(at, end) != 0)
        fail_msg("'%s' does not end with '%s'", f->err.text, end);
}

/* ---- identities ---- */

static void both_sides_know_each_other(void **state)
{
    fixture *f = *state;
    reid_rpc_client *client;
    const char *address = echo_server_address(f->server);
    reid_assert_ok(reid_rpc_client_connect_tls(address, f->alice_tls, 0, &client, &f->err),
                   &f->err);
    const reid_rpc_peer *peer = reid_rpc_client_peer(client);
    assert_true(peer->remote);
    assert_string_equal(peer->name, "node1");
    assert_string_equal(peer->role, "node");
    assert_string_equal(peer->address, address + strlen("tcp://"));
    assert_int_equal(peer->uid, (uid_t)-1);
    ask request = REID__TEST__ASK__INIT;
    ProtobufCMessage *message;
    assert_int_equal(reid_rpc_client_unary(client, ECHO_PATH "Secret", &request.base,
                                           &reid__test__answer__descriptor, 5000, &message,
                                           &f->err),
                     REID_ERR_PERMISSION);
    assert_string_equal(f->err.text, "admin alice may not do this");
    reid_rpc_client_free(client);
}

static void a_local_peer_has_no_texts(void **state)
{
    fixture *f = *state;
    char address[200];
    reid_rpc_client *client;
    snprintf(address, sizeof address, "unix:%s", echo_server_path(f->server));
    reid_assert_ok(reid_rpc_client_connect_tls(address, NULL, 0, &client, &f->err), &f->err);
    const reid_rpc_peer *peer = reid_rpc_client_peer(client);
    assert_false(peer->remote);
    assert_int_equal(peer->uid, getuid());
    assert_string_equal(peer->name, "");
    assert_string_equal(peer->address, "");
    reid_rpc_client_free(client);
}

static void expect_refused_folder(fixture *f, const char *dir, reid_status code, const char *end)
{
    reid_rpc_tls *tls;
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_tls_new(dir, &tls, &f->err), code);
    expect_end(f, end);
}

static void copy_file(const char *from, const char *to, const char *name)
{
    char *source = reid_path_join(from, name);
    char *text = reid_test_read_text(source);
    free(reid_test_write_text(to, name, text));
    free(text);
    free(source);
}

static void folders_that_are_no_identity(void **state)
{
    fixture *f = *state;
    char path[300];
    expect_refused_folder(f, f->other, REID_ERR_NOT_FOUND, "ca.pem': No such file or directory");
    char *late = rawtls_issue(f->folder, "late", "node", NULL, -10, 5);
    expect_refused_folder(f, late, REID_ERR_INVALID, "certificate has expired");
    char *early = rawtls_issue(f->folder, "early", "node", NULL, 2, 5);
    expect_refused_folder(f, early, REID_ERR_INVALID, "certificate is not yet valid");

    char *mixed = rawtls_issue(f->other, "mixed", "node", NULL, 0, 5);
    copy_file(f->folder, mixed, "ca.pem");
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "unable to get local issuer certificate");
    copy_file(f->alice, mixed, "cert.pem");
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "is not that of cert.pem");
    copy_file(f->alice, mixed, "key.pem");
    snprintf(path, sizeof path, "%s/key.pem", mixed);
    assert_int_equal(chmod(path, 0640), 0);
    expect_refused_folder(f, mixed, REID_ERR_PERMISSION, "change that with chmod 600");
    free(reid_test_write_text(mixed, "key.pem", "no key\n"));
    assert_int_equal(chmod(path, 0600), 0);
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "in PEM form without a password");
    free(reid_test_write_text(mixed, "cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"));
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "holds no certificate in PEM form");
    copy_file(f->alice, mixed, "cert.pem");
    snprintf(path, sizeof path, "%s/ca.pem", mixed);
    assert_int_equal(unlink(path), 0);
    free(reid_test_write_text(mixed, "ca.pem", ""));
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "holds no certificate in PEM form");
    copy_file(f->alice, mixed, "key.pem");
    char *own = reid_test_read_text((snprintf(path, sizeof path, "%s/cert.pem", f->alice), path));
    free(reid_test_write_text(mixed, "ca.pem", own));
    expect_refused_folder(f, mixed, REID_ERR_INVALID, "that is not an authority's");
    free(own);
    free(late);
    free(early);
    free(mixed);
}

static void names_and_roles_of_requests(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *name, *role, *host;
        int days;
    } bad[] = {
        {"a/b", "node", NULL, 1},
        {"", "node", NULL, 1},
        {"..", "admin", NULL, 1},
        {"n", "root", NULL, 1},
        {"n", "", NULL, 1},
        {"n", "viewer", "host", 1},
        {"n", "node", "a,DNS:b", 1},
        {"n", "node", "a b", 1},
        {"n", "node", "", 1},
        {"n_@", "node", NULL, 1},
        {"n", "node", NULL, 0},
        {"n", "node", NULL, 40000},
        {"-n", "admin", NULL, 1},
        {"a\nb", "admin", NULL, 1},
        {"n", "node", "*", 1},
        {"12345678901234567890123456789012345678901234567890123456789012345", "admin", NULL, 1},
    };
    for (size_t i = 0; i < REID_COUNT_OF(bad); i++) {
        const reid_rpc_ca_request request = {.name = bad[i].name,
                                             .role = bad[i].role,
                                             .hosts = &bad[i].host,
                                             .host_count = bad[i].host != NULL,
                                             .days = bad[i].days};
        if (reid_rpc_ca_issue(f->folder, &request, f->other, NULL) != REID_ERR_INVALID)
            fail_msg("row %zu was not refused", i);
    }
    reid_dir_entry *entries;
    size_t count;
    reid_assert_ok(reid_dir_list(f->other, &entries, &count, &f->err), &f->err);
    assert_int_equal(count, 0); /* nothing was written */
    reid_dir_free(entries, count);
}

static void nothing_is_overwritten(void **state)
{
    fixture *f = *state;
    const reid_rpc_ca_request request = {.name = "bob", .role = "viewer", .days = 1};
    char path[300];
    snprintf(path, sizeof path, "%s/key.pem", f->alice);
    char *before = reid_test_read_text(path);
    assert_int_equal(reid_rpc_ca_issue(f->folder, &request, f->alice, NULL), REID_ERR_EXISTS);
    assert_int_equal(reid_rpc_ca_init(f->folder, "again", 1, NULL), REID_ERR_EXISTS);
    char *after = reid_test_read_text(path);
    assert_string_equal(before, after);
    free(before);
    free(after);
    char *mixed = rawtls_issue(f->other, "mixed", "node", NULL, 0, 5);
    snprintf(path, sizeof path, "%s/cert.pem", mixed);
    unlink(path);
    snprintf(path, sizeof path, "%s/key.pem", mixed);
    unlink(path);
    assert_int_equal(reid_rpc_ca_issue(f->folder, &request, mixed, &f->err), REID_ERR_EXISTS);
    expect_end(f, "is that of another authority; nothing was overwritten");
    free(mixed);
}

static void certificates_can_be_read(void **state)
{
    fixture *f = *state;
    char path[300];
    char *many = rawtls_issue(f->folder, "node2", "node", "10.77.0.2,fd00::2,gpu2.example", 0, 9);
    snprintf(path, sizeof path, "%s/cert.pem", many);
    reid_rpc_certificate c;
    reid_assert_ok(reid_rpc_certificate_read(path, &c, &f->err), &f->err);
    assert_string_equal(c.name, "node2");
    assert_string_equal(c.role, "node");
    assert_string_equal(c.issuer, "tests");
    assert_string_equal(c.hosts, "node2, 10.77.0.2, fd00::2, gpu2.example");
    assert_false(c.is_authority);
    assert_int_equal(c.until_s - c.from_s, 9 * 86400 + 300);
    reid_rpc_certificate_fini(&c);
    free(many);
    many = rawtls_issue(f->folder, "node3", "node", NULL, 0, 900); /* the authority has 30 days */
    snprintf(path, sizeof path, "%s/cert.pem", many);
    reid_assert_ok(reid_rpc_certificate_read(path, &c, &f->err), &f->err);
    assert_in_range(c.until_s - c.from_s, 29 * 86400, 30 * 86400 + 300);
    reid_rpc_certificate_fini(&c);
    free(many);
}

/* ---- whom the client believes ---- */

typedef struct false_server {
    int listener;
    uint16_t port;
    const char *dir;
    bool accepted;
    pthread_t thread;
} false_server;

static void *serve_once(void *user)
{
    false_server *s = user;
    rawtls *raw = rawtls_new(accept(s->listener, NULL, NULL), s->dir, false, NULL);
    s->accepted = rawtls_handshake(raw, true);
    rawtls_free(raw);
    return NULL;
}

/* What the client says of a server with this certificate. */
static void expect_server_refused(fixture *f, const char *dir, const char *end)
{
    false_server s = {.dir = dir};
    char address[60];
    s.listener = rawtls_listen(&s.port);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", (unsigned)s.port);
    assert_int_equal(pthread_create(&s.thread, NULL, serve_once, &s), 0);
    assert_int_equal(try(f, address, f->alice_tls), REID_ERR_PERMISSION);
    pthread_join(s.thread, NULL);
    close(s.listener);
    expect_end(f, end);
    assert_false(s.accepted);
}

static void false_servers(void **state)
{
    fixture *f = *state;
    static const char *const hosts = "127.0.0.1";
    struct {
        char *dir;
        const char *end;
    } rows[] = {
        {rawtls_issue(f->other, "node1", "node", hosts, 0, 5),
         ": its certificate is not of the authority in ca.pem"},
        {rawtls_issue(f->folder, "late", "node", hosts, -10, 5), ": its certificate has expired"},
        {rawtls_issue(f->folder, "early", "node", hosts, 2, 5),
         ": its certificate was refused: certificate is not yet valid"},
        {rawtls_issue(f->folder, "node9", "node", "127.0.0.2,localhost", 0, 5),
         ": its certificate is not for '127.0.0.1'"},
        {rawtls_issue(f->folder, "127.0.0.1", "node", "node1", 0, 5),
         ": its certificate is not for '127.0.0.1'"}, /* the name is no address */
        {rawtls_issue(f->folder, "mallory", "admin", NULL, 0, 5), NULL}, /* a user's */
    };
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        expect_server_refused(f, rows[i].dir,
                              rows[i].end ? rows[i].end
                                          : ": its certificate is not one for a server");
        free(rows[i].dir);
    }
}

static void other_host_name(void **state)
{
    fixture *f = *state;
    char address[60];
    snprintf(address, sizeof address, "tcp://localhost:%u",
             (unsigned)rawtls_port(echo_server_address(f->server)));
    assert_int_equal(try(f, address, f->alice_tls), REID_ERR_PERMISSION);
    expect_end(f, ": its certificate is not for 'localhost'");
}

static void a_users_certificate_does_not_serve(void **state)
{
    fixture *f = *state;
    uv_loop_t loop;
    reid_rpc_server *server;
    uv_loop_init(&loop);
    reid_assert_ok(reid_rpc_server_new(&loop, NULL, &server, &f->err), &f->err);
    assert_int_equal(
        reid_rpc_server_listen(server, "tcp://127.0.0.1:0", f->alice_tls, 0, NULL, &f->err),
        REID_ERR_INVALID);
    expect_end(f, "is that of a user (admin), not of a node");
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_server_listen(server, "tcp://127.0.0.1:0", NULL, 0, NULL, &f->err),
                     REID_ERR_INVALID);
    expect_end(f, "TCP needs a certificate (a TLS folder)");
    char *bound;
    reid_assert_ok(
        reid_rpc_server_listen(server, "tcp://127.0.0.1:0", f->node_tls, 0, &bound, &f->err),
        &f->err);
    assert_int_equal(reid_rpc_server_listen(server, bound, f->node_tls, 0, NULL, NULL),
                     REID_ERR_EXISTS);
    assert_int_equal(
        reid_rpc_server_listen(server, "tcp://192.0.2.1:0", f->node_tls, 0, NULL, NULL),
        REID_ERR_IO); /* an address that this machine does not have */
    free(bound);
    reid_rpc_server_free(server);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- whom the server believes ---- */

static void users_of_another_authority(void **state)
{
    fixture *f = *state;
    char *eve = rawtls_issue(f->other, "eve", "admin", NULL, 0, 5);
    reid_rpc_tls *tls;
    reid_assert_ok(reid_rpc_tls_new(eve, &tls, &f->err), &f->err);
    assert_int_equal(try(f, echo_server_address(f->server), tls), REID_ERR_PERMISSION);
    expect_end(f, ": its certificate is not of the authority in ca.pem");
    reid_rpc_tls_free(tls);
    copy_file(f->folder, eve, "ca.pem"); /* knows the server, and is still not known by it */
    rawtls *raw = rawtls_new(rawtls_connect(rawtls_port(echo_server_address(f->server))), eve,
                             false, "\x02h2");
    rawtls_handshake(raw, false);
    assert_true(rawtls_wait_closed(raw));
    rawtls_free(raw);
    free(eve);
}

static bool is_admitted(fixture *f, const char *dir, bool older, const char *protocols)
{
    uint16_t port = rawtls_port(echo_server_address(f->server));
    rawtls *raw = rawtls_new(rawtls_connect(port), dir, older, protocols);
    uint8_t answer_byte;
    bool in = rawtls_handshake(raw, false) && SSL_read(raw->ssl, &answer_byte, 1) == 1;
    rawtls_free(raw);
    return in;
}

static void clients_without_what_it_takes(void **state)
{
    fixture *f = *state;
    char *late = rawtls_issue(f->folder, "late", "admin", NULL, -10, 5);
    assert_true(is_admitted(f, f->alice, false, "\x02h2"));
    assert_true(is_admitted(f, f->node, false, "\x08http/1.1\x02h2"));
    assert_false(is_admitted(f, NULL, false, "\x02h2"));
    assert_false(is_admitted(f, late, false, "\x02h2"));
    assert_false(is_admitted(f, f->alice, true, "\x02h2"));
    assert_false(is_admitted(f, f->alice, false, NULL));
    assert_false(is_admitted(f, f->alice, false, "\x08http/1.1"));
    assert_int_equal(try(f, echo_server_address(f->server), f->alice_tls), REID_OK);
    free(late);
}

/* ---- connecting ---- */

static void nobody_there(void **state)
{
    fixture *f = *state;
    uint16_t port;
    char address[80];
    int listener = rawtls_bind(&port); /* and nobody listens */
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", (unsigned)port);
    assert_int_equal(try(f, address, f->alice_tls), REID_ERR_UNAVAILABLE);
    expect_end(f, ": Connection refused; is it running?");
    close(listener);
    assert_int_equal(try(f, "tcp://no..host:1", f->alice_tls), REID_ERR_UNAVAILABLE);
    assert_non_null(strstr(f->err.text, ": the host is not known: "));
    assert_int_equal(try(f, "tcp://127.0.0.1:0", f->alice_tls), REID_ERR_INVALID);
    assert_int_equal(try(f, "tcp://127.0.0.1:1", NULL), REID_ERR_INVALID);
    expect_end(f, "TCP needs a certificate (a TLS folder)");
    listener = rawtls_listen(&port); /* accepts, as the kernel does, and says nothing */
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", (unsigned)port);
    reid_rpc_client *client;
    reid_error_clear(&f->err);
    assert_int_equal(reid_rpc_client_connect_tls(address, f->alice_tls, 100, &client, &f->err),
                     REID_ERR_TIMEOUT);
    expect_end(f, " has not answered within 100 ms");
    close(listener);
}

static void must_not_come(reid_rpc_channel *channel, const reid_error *why, void *user)
{
    fail_msg("a closed channel was told: %s", why->text);
}

/* At any stage: before the look-up, while connecting, in the handshake, after it. */
static void closing_while_connecting(void **state)
{
    fixture *f = *state;
    const reid_rpc_channel_events events = {.on_lost = must_not_come};
    char by_name[60];
    snprintf(by_name, sizeof by_name, "tcp://localhost:%u",
             (unsigned)rawtls_port(echo_server_address(f->server)));
    const char *const addresses[] = {echo_server_address(f->server), by_name, "tcp://no..host:9",
                                     "tcp://127.0.0.1:9"};
    for (int turns = 0; turns < 8; turns++)
        for (size_t i = 0; i < REID_COUNT_OF(addresses); i++) {
            uv_loop_t loop;
            reid_rpc_channel *channel;
            reid_rpc_channel_events none = {0};
            uv_loop_init(&loop);
            reid_assert_ok(reid_rpc_channel_connect_tls(&loop, addresses[i], f->alice_tls, 0,
                                                        turns == 0 ? &events : &none, f, &channel,
                                                        &f->err),
                           &f->err);
            for (int turn = 0; turn < turns; turn++)
                uv_run(&loop, turn % 2 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
            reid_rpc_channel_close(channel);
            uv_run(&loop, UV_RUN_DEFAULT);
            assert_int_equal(uv_loop_close(&loop), 0);
        }
    assert_int_equal(try(f, echo_server_address(f->server), f->alice_tls), REID_OK);
}

/* ---- files that change ---- */

typedef struct visit {
    fixture *f;
    reid_rpc_tls *tls;
    reid_status expected;
    char serial[64]; /* of the server's certificate */
} visit;

static bool ends_so(void *context)
{
    visit *v = context;
    return try(v->f, echo_server_address(v->f->server), v->tls) == v->expected;
}

static void revoked_users_stay_out(void **state)
{
    fixture *f = *state;
    unsigned count;
    reid_rpc_tls *bob_tls;
    char *bob = rawtls_issue(f->folder, "bob", "viewer", NULL, 0, 5);
    reid_assert_ok(reid_rpc_tls_new(bob, &bob_tls, &f->err), &f->err);
    assert_int_equal(reid_rpc_ca_revoke(f->folder, "carol", &count, NULL), REID_ERR_NOT_FOUND);
    reid_assert_ok(reid_rpc_ca_revoke(f->folder, "alice", &count, &f->err), &f->err);
    assert_int_equal(count, 1);
    assert_int_equal(try(f, echo_server_address(f->server), f->alice_tls), REID_OK);
    copy_file(f->folder, f->node, "crl.pem");
    visit v = {f, f->alice_tls, REID_ERR_PERMISSION, ""};
    assert_true(reid_test_wait(ends_so, &v, 60));
    expect_end(f, ": it says that our certificate was revoked");
    assert_int_equal(try(f, echo_server_address(f->server), bob_tls), REID_OK);

    reid_rpc_certificate c; /* by serial, and the list keeps what it had */
    char path[300];
    snprintf(path, sizeof path, "%s/cert.pem", bob);
    reid_assert_ok(reid_rpc_certificate_read(path, &c, &f->err), &f->err);
    reid_assert_ok(reid_rpc_ca_revoke(f->folder, c.serial, &count, &f->err), &f->err);
    assert_int_equal(count, 1);
    reid_assert_ok(reid_rpc_ca_revoke(f->folder, "bob", &count, &f->err), &f->err);
    assert_int_equal(count, 0);
    reid_rpc_certificate_fini(&c);
    copy_file(f->folder, f->node, "crl.pem");
    v.tls = bob_tls;
    assert_true(reid_test_wait(ends_so, &v, 60));
    assert_int_equal(try(f, echo_server_address(f->server), f->alice_tls), REID_ERR_PERMISSION);
    copy_file(f->folder, bob, "crl.pem");
    expect_refused_folder(f, bob, REID_ERR_INVALID, "certificate revoked");
    reid_rpc_tls_free(bob_tls);
    free(bob);
}

/* A connection that stands: the server has heard its preface and settings. NULL: not let in. */
static rawtls *stand(fixture *f, const char *dir)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    rawtls *raw = rawtls_new(rawtls_connect(rawtls_port(echo_server_address(f->server))), dir,
                             false, "\x02h2");
    uint8_t byte;
    if (rawtls_handshake(raw, false) && rawtls_write(raw, preface, sizeof preface) &&
        SSL_read(raw->ssl, &byte, 1) == 1)
        return raw;
    rawtls_free(raw);
    return NULL;
}

/* Whether a PING comes back. */
static bool stands(rawtls *raw)
{
    static const char ping[] = "\0\0\x08\6\0\0\0\0\0still me";
    char bytes[4096];
    size_t count = 0;
    if (!rawtls_write(raw, ping, sizeof ping - 1))
        return false;
    for (int n; count < sizeof bytes; count += (size_t)n) {
        n = SSL_read(raw->ssl, bytes + count, (int)(sizeof bytes - count));
        if (n <= 0)
            return false;
        if (memmem(bytes, count + (size_t)n, "still me", 8))
            return true;
    }
    return false;
}

static void connections_that_stand_are_cut(void **state)
{
    fixture *f = *state;
    char *bob = rawtls_issue(f->folder, "bob", "viewer", NULL, 0, 5);
    char *brief = reid_path_join(f->folder, "brief");
    const reid_rpc_ca_request request = {
        .name = "brief", .role = "viewer", .days = 1, .begin_s = 3 - 86400};
    rawtls *of_alice = stand(f, f->alice), *of_bob = stand(f, bob);
    assert_non_null(of_alice);
    assert_non_null(of_bob);
    reid_assert_ok(reid_rpc_ca_revoke(f->folder, "alice", NULL, &f->err), &f->err);
    copy_file(f->folder, f->node, "crl.pem");
    assert_true(rawtls_wait_closed(of_alice));
    assert_true(stands(of_bob));
    /* And at the certificate's end; on a machine that is slow, it was not let in before. */
    reid_assert_ok(reid_rpc_ca_issue(f->folder, &request, brief, &f->err), &f->err);
    rawtls *of_brief = stand(f, brief);
    if (of_brief)
        assert_true(rawtls_wait_closed(of_brief));
    assert_true(stands(of_bob));
    rawtls_free(of_alice);
    rawtls_free(of_bob);
    rawtls_free(of_brief);
    free(bob);
    free(brief);
}

static void read_serial(visit *v)
{
    uint16_t port = rawtls_port(echo_server_address(v->f->server));
    rawtls *raw = rawtls_new(rawtls_connect(port), v->f->alice, false, "\x02h2");
    assert_true(rawtls_handshake(raw, false));
    BIGNUM *number =
        ASN1_INTEGER_to_BN(X509_get0_serialNumber(SSL_get0_peer_certificate(raw->ssl)), NULL);
    char *hex = BN_bn2hex(number);
    snprintf(v->serial, sizeof v->serial, "%s", hex);
    OPENSSL_free(hex);
    BN_free(number);
    rawtls_free(raw);
}

static bool has_new_serial(void *context)
{
    visit *v = context;
    char before[sizeof v->serial];
    memcpy(before, v->serial, sizeof before);
    read_serial(v);
    return strcmp(v->serial, before) != 0;
}

static void renewed_certificates_count(void **state)
{
    fixture *f = *state;
    visit v = {.f = f};
    read_serial(&v);
    char *renewed = reid_path_join(f->folder, "renewed");
    const char *hosts[] = {"127.0.0.1"};
    const reid_rpc_ca_request request = {
        .name = "node1", .role = "node", .hosts = hosts, .host_count = 1, .days = 3};
    reid_assert_ok(reid_rpc_ca_issue(f->folder, &request, renewed, &f->err), &f->err);
    copy_file(renewed, f->node, "cert.pem"); /* does not fit the key for a moment */
    assert_int_equal(try(f, echo_server_address(f->server), f->alice_tls), REID_OK);
    copy_file(renewed, f->node, "key.pem");
    assert_true(reid_test_wait(has_new_serial, &v, 60));
    free(renewed);
}

static void broken_files_do_not_count(void **state)
{
    fixture *f = *state;
    visit v = {f, f->alice_tls, REID_OK, ""};
    read_serial(&v);
    free(reid_test_write_text(f->node, "ca.pem", "no certificate\n"));
    usleep(1200000); /* now they are looked at again */
    assert_true(ends_so(&v));
    copy_file(f->alice, f->node, "cert.pem"); /* another name */
    copy_file(f->alice, f->node, "key.pem");
    copy_file(f->folder, f->node, "ca.pem");
    usleep(1200000);
    assert_true(ends_so(&v));
    char before[sizeof v.serial];
    memcpy(before, v.serial, sizeof before);
    read_serial(&v);
    assert_string_equal(v.serial, before);
}

/* ---- bytes ---- */

static void say(fixture *f, reid_rpc_client *client, size_t size)
{
    uint8_t *payload = reid_xmalloc(size + 1);
    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 31 + i / 251);
    ask request = REID__TEST__ASK__INIT;
    request.payload = (ProtobufCBinaryData){size, payload};
    ProtobufCMessage *message;
    reid_assert_ok(reid_rpc_client_unary(client, ECHO_PATH "Say", &request.base,
                                         &reid__test__answer__descriptor, 60000, &message, &f->err),
                   &f->err);
    const answer *a = (const answer *)message;
    assert_int_equal(a->payload.len, size);
    assert_true(size == 0 || memcmp(a->payload.data, payload, size) == 0);
    protobuf_c_message_free_unpacked(message, NULL);
    free(payload);
}

static void messages_of_many_sizes(void **state)
{
    fixture *f = *state;
    static const size_t sizes[] = {0, 1, 16000, 16384, 16385, 40000, 131072, 1 << 20, 4000000};
    reid_rpc_client *client;
    reid_assert_ok(reid_rpc_client_connect_tls(echo_server_address(f->server), f->alice_tls, 0,
                                               &client, &f->err),
                   &f->err);
    for (size_t i = 0; i < REID_COUNT_OF(sizes); i++)
        say(f, client, sizes[i]);
    reid_rpc_client_free(client);
}

static void bytes_in_small_pieces(void **state)
{
    fixture *f = *state;
    static const unsigned most[] = {1, 7, 50};
    for (size_t i = 0; i < REID_COUNT_OF(most); i++) {
        rawtls_chopper *chopper =
            rawtls_chopper_new(rawtls_port(echo_server_address(f->server)), most[i]);
        char address[60];
        reid_rpc_client *client;
        snprintf(address, sizeof address, "tcp://127.0.0.1:%u",
                 (unsigned)rawtls_chopper_port(chopper));
        reid_assert_ok(reid_rpc_client_connect_tls(address, f->alice_tls, 60000, &client, &f->err),
                       &f->err);
        say(f, client, 5000);
        say(f, client, 17000);
        reid_rpc_client_free(client);
        rawtls_chopper_free(chopper);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(both_sides_know_each_other),
        TEST(a_local_peer_has_no_texts),
        TEST(folders_that_are_no_identity),
        TEST(names_and_roles_of_requests),
        TEST(nothing_is_overwritten),
        TEST(certificates_can_be_read),
        TEST(false_servers),
        TEST(other_host_name),
        TEST(a_users_certificate_does_not_serve),
        TEST(users_of_another_authority),
        TEST(clients_without_what_it_takes),
        TEST(nobody_there),
        TEST(closing_while_connecting),
        TEST(revoked_users_stay_out),
        TEST(connections_that_stand_are_cut),
        TEST(renewed_certificates_count),
        TEST(broken_files_do_not_count),
        TEST(messages_of_many_sizes),
        TEST(bytes_in_small_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
