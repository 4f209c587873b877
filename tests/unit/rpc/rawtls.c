#include "rawtls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"

enum { DAY_S = 86400, PATIENCE_S = 10 };

char *rawtls_issue(const char *folder, const char *name, const char *role, const char *hosts,
                   int begin_days, int days)
{
    reid_error err = {0};
    char *ca = reid_path_join(folder, "ca.pem"), *out = reid_path_join(folder, name);
    char *list = reid_xstrdup(hosts ? hosts : ""), *rest = list;
    const char *split[10];
    size_t count = 0;
    for (char *host; count < 10 && (host = strsep(&rest, ",")) != NULL;)
        if (*host)
            split[count++] = host;
    const reid_rpc_ca_request request = {.name = name,
                                         .role = role,
                                         .hosts = split,
                                         .host_count = count,
                                         .days = days,
                                         .begin_s = (int64_t)begin_days * DAY_S};
    if ((!reid_path_exists(ca) && reid_rpc_ca_init(folder, "tests", 30, &err) != REID_OK) ||
        reid_rpc_ca_issue(folder, &request, out, &err) != REID_OK) {
        fprintf(stderr, "rawtls: %s\n", err.text);
        abort();
    }
    free(ca);
    free(list);
    return out;
}

/* ---- sockets ---- */

uint16_t rawtls_port(const char *address)
{
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void have_patience(int fd, int seconds)
{
    const struct timeval limit = {.tv_sec = seconds};
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int rawtls_connect(uint16_t port)
{
    const struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REID_ASSERT(fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    have_patience(fd, PATIENCE_S);
    return fd;
}

int rawtls_bind(uint16_t *ret_port)
{
    struct sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REID_ASSERT(fd >= 0 && bind(fd, (const struct sockaddr *)&address, size) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

int rawtls_listen(uint16_t *ret_port)
{
    int fd = rawtls_bind(ret_port);
    REID_ASSERT(listen(fd, 16) == 0);
    return fd;
}

bool rawtls_is_closed(int fd, int within_s)
{
    char buffer[4096];
    have_patience(fd, within_s);
    ssize_t n;
    while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
        ;
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* ---- TLS ---- */

rawtls *rawtls_new(int own_fd, const char *dir, bool older, const char *protocols)
{
    rawtls *raw = reid_xcalloc(1, sizeof *raw);
    raw->fd = own_fd;
    have_patience(own_fd, PATIENCE_S);
    raw->context = SSL_CTX_new(TLS_method());
    REID_ASSERT(raw->context);
    if (older)
        SSL_CTX_set_max_proto_version(raw->context, TLS1_2_VERSION);
    if (dir) {
        char *certificate = reid_path_join(dir, "cert.pem"), *key = reid_path_join(dir, "key.pem");
        REID_ASSERT(SSL_CTX_use_certificate_file(raw->context, certificate, SSL_FILETYPE_PEM) ==
                        1 &&
                    SSL_CTX_use_PrivateKey_file(raw->context, key, SSL_FILETYPE_PEM) == 1);
        free(certificate);
        free(key);
    }
    raw->ssl = SSL_new(raw->context);
    REID_ASSERT(raw->ssl && SSL_set_fd(raw->ssl, own_fd) == 1);
    if (protocols)
        SSL_set_alpn_protos(raw->ssl, (const unsigned char *)protocols,
                            (unsigned)strlen(protocols));
    return raw;
}

static int take_h2(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_length,
                   const unsigned char *offered, unsigned int size, void *user)
{
    *ret_chosen = offered + 1;
    *ret_length = offered[0];
    return SSL_TLSEXT_ERR_OK;
}

bool rawtls_handshake(rawtls *raw, bool server)
{
    ERR_clear_error();
    if (server)
        SSL_CTX_set_alpn_select_cb(raw->context, take_h2, NULL);
    return (server ? SSL_accept(raw->ssl) : SSL_connect(raw->ssl)) == 1;
}

bool rawtls_write(rawtls *raw, const void *bytes, size_t size)
{
    ERR_clear_error();
    return SSL_write(raw->ssl, bytes, (int)size) == (int)size;
}

bool rawtls_wait_closed(rawtls *raw)
{
    char buffer[4096];
    int n;
    do {
        ERR_clear_error();
        errno = 0;
        n = SSL_read(raw->ssl, buffer, sizeof buffer);
    } while (n > 0);
    return SSL_get_error(raw->ssl, n) != SSL_ERROR_WANT_READ && errno != EAGAIN;
}

void rawtls_free(rawtls *raw)
{
    if (!raw)
        return;
    SSL_free(raw->ssl);
    SSL_CTX_free(raw->context);
    close(raw->fd);
    free(raw);
    ERR_clear_error();
}

/* ---- small pieces ---- */

struct rawtls_chopper {
    int listener;
    uint16_t port, to;
    unsigned most, piece;
    pthread_t thread;
    int stop[2]; /* a pipe: closing its write end ends the thread */
};

static bool pass(rawtls_chopper *c, int from, int to)
{
    char buffer[64];
    c->piece = c->piece % c->most + 1;
    ssize_t n = recv(from, buffer, c->piece < sizeof buffer ? c->piece : sizeof buffer, 0);
    return n > 0 && send(to, buffer, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *chop(void *user)
{
    rawtls_chopper *c = user;
    for (;;) {
        struct pollfd wait[2] = {{.fd = c->stop[0], .events = POLLIN},
                                 {.fd = c->listener, .events = POLLIN}};
        poll(wait, 2, -1);
        if (wait[0].revents)
            return NULL;
        int client = accept(c->listener, NULL, NULL), server = rawtls_connect(c->to);
        struct pollfd fds[3] = {{.fd = c->stop[0], .events = POLLIN},
                                {.fd = client, .events = POLLIN},
                                {.fd = server, .events = POLLIN}};
        bool open = client >= 0;
        while (open && poll(fds, 3, -1) > 0 && !fds[0].revents)
            open = (!fds[1].revents || pass(c, client, server)) &&
                   (!fds[2].revents || pass(c, server, client));
        close(client);
        close(server);
    }
}

rawtls_chopper *rawtls_chopper_new(uint16_t port, unsigned most)
{
    rawtls_chopper *c = reid_xcalloc(1, sizeof *c);
    c->to = port;
    c->most = most;
    c->listener = rawtls_listen(&c->port);
    REID_ASSERT(pipe(c->stop) == 0 && pthread_create(&c->thread, NULL, chop, c) == 0);
    return c;
}

uint16_t rawtls_chopper_port(const rawtls_chopper *chopper)
{
    return chopper->port;
}

void rawtls_chopper_free(rawtls_chopper *c)
{
    close(c->stop[1]);
    pthread_join(c->thread, NULL);
    close(c->stop[0]);
    close(c->listener);
    free(c);
}
