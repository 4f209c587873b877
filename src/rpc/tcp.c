#include "rpc/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
