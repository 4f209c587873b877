#include "rpc/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rpc/address.h"

enum { KEEP_IDLE_S = 10, KEEP_INTERVAL_S = 3, KEEP_COUNT = 3 };

static void set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value); /* works without, only later */
}

void reid_rpc_tcp_tune(int fd, uint32_t unacked_ms)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
    if (unacked_ms > 0)
        set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)unacked_ms);
}

/* A socket that listens at one address; -1 with errno. */
static int listen_at(const struct addrinfo *info, int backlog)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

reid_status reid_rpc_tcp_listen(const char *host, uint16_t port, int backlog,
                                char bound[REID_RPC_ENDPOINT_BYTES], int *ret_fd, reid_error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo *list;
    int failure = getaddrinfo(host, service, &hints, &list);
    if (failure)
        return reid_fail(err, REID_ERR_INVALID, "cannot listen at '%s': %s", host,
                         failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
    int fd = -1, errnum = 0;
    for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next) {
        fd = listen_at(info, backlog);
        errnum = errno;
    }
    freeaddrinfo(list);
    if (fd < 0 && errnum == EADDRINUSE)
        return reid_fail(err, REID_ERR_EXISTS,
                         "cannot listen at %s, port %u: another process listens there already",
                         host, (unsigned)port);
    if (fd < 0)
        return reid_fail_errno(err, errnum, "cannot listen at %s, port %u", host, (unsigned)port);
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    reid_rpc_endpoint_format((const struct sockaddr *)&address, bound, REID_RPC_ENDPOINT_BYTES);
    *ret_fd = fd;
    return REID_OK;
}

/* ---- connecting ---- */

struct reid_rpc_dial {
    uv_loop_t *loop;
    uv_getaddrinfo_t lookup;
    uv_timer_t timer;
    uv_poll_t poll;
    struct addrinfo *list, *next; /* `next`: not yet tried */
    int fd;
    uint64_t end_ms;
    unsigned busy; /* handles and look-ups of the loop */
    bool looking, done;
    char why[128];
    void (*on_done)(void *user, int own_fd, const char *why);
    void *user;
};

static void try_next(reid_rpc_dial *dial);

static void release(reid_rpc_dial *dial)
{
    if (--dial->busy > 0)
        return;
    if (dial->list)
        uv_freeaddrinfo(dial->list);
    free(dial);
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

/* The end of its use; memory goes with the last callback of the loop. */
static void finish(reid_rpc_dial *dial, int fd, bool tell)
{
    dial->done = true;
    uv_close((uv_handle_t *)&dial->timer, timer_closed);
    if (tell)
        dial->on_done(dial->user, fd, dial->why);
}

static void poll_closed(uv_handle_t *handle)
{
    reid_rpc_dial *dial = handle->data;
    if (!dial->done)
        try_next(dial);
    release(dial);
}

/* Gives this address up, or with `keep` only its watching. */
static void stop_polling(reid_rpc_dial *dial, bool keep)
{
    uv_close((uv_handle_t *)&dial->poll, poll_closed);
    if (!keep)
        close(dial->fd);
    dial->fd = -1;
    uv_timer_stop(&dial->timer);
}

static void say(reid_rpc_dial *dial, const char *why)
{
    snprintf(dial->why, sizeof dial->why, "%s", why);
}

static void connect_ready(uv_poll_t *poll, int status, int events)
{
    reid_rpc_dial *dial = poll->data;
    int errnum = 0;
    socklen_t size = sizeof errnum;
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &errnum, &size) != 0)
        errnum = errno;
    int fd = dial->fd;
    if (errnum == 0 && status == 0) {
        stop_polling(dial, true);
        finish(dial, fd, true);
        return;
    }
    say(dial, strerror(errnum ? errnum : EIO));
    stop_polling(dial, false);
}

static void attempt_over(uv_timer_t *timer)
{
    reid_rpc_dial *dial = timer->data;
    say(dial, strerror(ETIMEDOUT));
    stop_polling(dial, false);
}

/* Returns false with `why` when this address cannot even be tried. */
static bool try_address(reid_rpc_dial *dial, const struct addrinfo *info, unsigned left)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        say(dial, strerror(errno));
        return false;
    }
    int failure = 0;
    if (connect(fd, info->ai_addr, info->ai_addrlen) != 0 && errno != EINPROGRESS &&
        errno != EINTR) {
        say(dial, strerror(errno));
        failure = -1;
    }
    if (!failure && (failure = uv_poll_init(dial->loop, &dial->poll, fd)) != 0)
        say(dial, uv_strerror(failure));
    if (failure) {
        close(fd);
        return false;
    }
    uint64_t now = uv_now(dial->loop);
    uint64_t time_left = dial->end_ms > now ? dial->end_ms - now : 1;
    dial->fd = fd;
    dial->busy++;
    dial->poll.data = dial;
    uv_poll_start(&dial->poll, UV_WRITABLE, connect_ready);
    uv_timer_start(&dial->timer, attempt_over, time_left / left, 0);
    return true;
}

static void try_next(reid_rpc_dial *dial)
{
    while (dial->next) {
        const struct addrinfo *info = dial->next;
        unsigned left = 0;
        for (const struct addrinfo *i = info; i; i = i->ai_next)
            left++;
        dial->next = info->ai_next;
        if (try_address(dial, info, left))
            return;
    }
    finish(dial, -1, true);
}

static void looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    reid_rpc_dial *dial = request->data;
    dial->looking = false;
    dial->list = dial->next = list;
    if (status != 0) {
        snprintf(dial->why, sizeof dial->why, "the host is not known: %s", uv_strerror(status));
        dial->next = NULL;
    }
    if (!dial->done)
        try_next(dial);
    release(dial);
}

static void begin(uv_timer_t *timer)
{
    try_next(timer->data);
}

/* A numeric address needs no look-up, and no thread for it. */
static void look_up(reid_rpc_dial *dial, const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int failure = 0;
    if (getaddrinfo(host, service, &hints, &dial->list) != 0) {
        hints.ai_flags = AI_NUMERICSERV;
        failure = uv_getaddrinfo(dial->loop, &dial->lookup, looked_up, host, service, &hints);
        if (failure == 0) {
            dial->busy++;
            dial->looking = true;
            return;
        }
        snprintf(dial->why, sizeof dial->why, "the host is not known: %s", uv_strerror(failure));
        dial->list = NULL;
    }
    dial->next = dial->list;
    uv_timer_start(&dial->timer, begin, 0, 0);
}

reid_rpc_dial *reid_rpc_dial_start(uv_loop_t *loop, const char *host, uint16_t port,
                                   uint32_t timeout_ms,
                                   void (*on_done)(void *user, int own_fd, const char *why),
                                   void *user)
{
    reid_rpc_dial *dial = reid_xcalloc(1, sizeof *dial);
    dial->loop = loop;
    dial->fd = -1;
    dial->on_done = on_done;
    dial->user = user;
    uv_update_time(loop);
    dial->end_ms = uv_now(loop) + timeout_ms;
    uv_timer_init(loop, &dial->timer);
    dial->timer.data = dial->lookup.data = dial;
    dial->busy = 1; /* the timer */
    look_up(dial, host, port);
    return dial;
}

void reid_rpc_dial_cancel(reid_rpc_dial *dial)
{
    if (!dial || dial->done)
        return;
    if (dial->looking)
        uv_cancel((uv_req_t *)&dial->lookup); /* when it has not begun yet */
    if (dial->fd >= 0)
        stop_polling(dial, false);
    finish(dial, -1, false);
}
