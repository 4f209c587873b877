#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "rpc/address.h"
#include "rpc/server_impl.h"
#include "rpc/tcp.h"

enum { BACKLOG = 4096, ACCEPTS_PER_TURN = 32, RETRY_MS = 100 };

static void accept_ready(uv_poll_t *poll, int status, int events);

/* ---- the socket file ---- */

/* Whether somebody accepts connections at the path. */
static bool is_alive(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    int result = connect(fd, (const struct sockaddr *)address, sizeof *address);
    bool alive = result == 0 || errno == EAGAIN; /* EAGAIN: its backlog is full */
    close(fd);
    return alive;
}

static reid_status remove_stale(const struct sockaddr_un *address, reid_error *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? REID_OK
                               : reid_fail_errno(err, errno, "cannot look at socket '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return reid_fail(err, REID_ERR_EXISTS,
                         "cannot listen at '%s': there is a file that is not a socket", path);
    if (is_alive(address))
        return reid_fail(err, REID_ERR_EXISTS,
                         "cannot listen at '%s': another process listens there already", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return reid_fail_errno(err, errno, "cannot remove the old socket '%s'", path);
    return REID_OK;
}

static reid_status bind_and_listen(int fd, const struct sockaddr_un *address, unsigned mode,
                                   struct stat *ret_stat, reid_error *err)
{
    const char *path = address->sun_path;
    /* The file never has more permissions than asked for: Linux makes it with the socket's own mode
     * less the umask. */
    if (fchmod(fd, mode & 0777) != 0)
        return reid_fail_errno(err, errno, "cannot set the mode of socket '%s'", path);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        if (errno == EADDRINUSE)
            return reid_fail(err, REID_ERR_EXISTS,
                             "cannot listen at '%s': another process has just begun to", path);
        return reid_fail_errno(err, errno, "cannot make socket '%s'", path);
    }
    if (chmod(path, mode & 0777) != 0 || lstat(path, ret_stat) != 0 || listen(fd, BACKLOG) != 0) {
        reid_status status = reid_fail_errno(err, errno, "cannot listen at '%s'", path);
        unlink(path);
        return status;
    }
    return REID_OK;
}

static void retry_accept(reid_rpc_alarm *alarm)
{
    reid_rpc_listener *listener = REID_RPC_OWNER(alarm, reid_rpc_listener, retry);
    uv_poll_start(&listener->poll, UV_READABLE, accept_ready);
}

/* Takes over the socket; `listener` has everything but its handles. */
static reid_status start_listener(reid_rpc_server *server, reid_rpc_listener *own_listener,
                                  int own_fd, reid_error *err)
{
    reid_rpc_listener *listener = own_listener;
    int failure = uv_poll_init(server->pump.loop, &listener->poll, own_fd);
    if (failure) {
        if (!listener->tls)
            unlink(listener->path);
        reid_fail(err, REID_ERR_IO, "cannot watch socket '%s': %s", listener->path,
                  uv_strerror(failure));
        close(own_fd);
        reid_rpc_listener_free(listener);
        return REID_ERR_IO;
    }
    listener->server = server;
    listener->fd = own_fd;
    listener->poll.data = listener;
    reid_rpc_alarm_init(&listener->retry, retry_accept);
    reid_rpc_crowd_init(listener);
    reid_rpc_list_append(&server->listeners, &listener->node);
    server->open_handles++;
    uv_poll_start(&listener->poll, UV_READABLE, accept_ready);
    return REID_OK;
}

reid_status reid_rpc_server_listen_unix(reid_rpc_server *server, const char *path, unsigned mode,
                                        reid_error *err)
{
    REID_ASSERT(!server->draining);
    struct sockaddr_un address;
    REID_TRY(reid_rpc_sockaddr(path, &address, err));
    REID_TRY(remove_stale(&address, err));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot make a socket");
    struct stat st;
    reid_status status = bind_and_listen(fd, &address, mode, &st, err);
    if (status != REID_OK) {
        close(fd);
        return status;
    }
    reid_rpc_listener *listener = reid_xcalloc(1, sizeof *listener);
    listener->path = reid_xstrdup(path);
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
    return start_listener(server, listener, fd, err);
}

static reid_status listen_tcp(reid_rpc_server *server, const char *text,
                              const reid_rpc_address *address, reid_rpc_tls *tls,
                              char bound[REID_RPC_ENDPOINT_BYTES], reid_error *err)
{
    if (!tls)
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot listen at %s: TCP needs a certificate (a TLS folder)", text);
    if (strcmp(reid_rpc_tls_role(tls), "node") != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot listen at %s: the certificate of '%s' is that of a user (%s), not "
                         "of a node",
                         text, reid_rpc_tls_name(tls), reid_rpc_tls_role(tls));
    int fd;
    REID_TRY(reid_rpc_tcp_listen(address->host, address->port, BACKLOG, bound, &fd, err));
    reid_rpc_listener *listener = reid_xcalloc(1, sizeof *listener);
    listener->path = reid_xstrdup(bound);
    listener->tls = reid_rpc_tls_ref(tls);
    return start_listener(server, listener, fd, err);
}

reid_status reid_rpc_server_listen(reid_rpc_server *server, const char *address, reid_rpc_tls *tls,
                                   unsigned mode, char **ret_bound, reid_error *err)
{
    REID_ASSERT(!server->draining);
    reid_rpc_address parts;
    char bound[REID_RPC_ENDPOINT_BYTES];
    REID_TRY(reid_rpc_address_init(&parts, address, err));
    reid_status status = parts.path ? reid_rpc_server_listen_unix(server, parts.path, mode, err)
                                    : listen_tcp(server, address, &parts, tls, bound, err);
    if (status == REID_OK && ret_bound)
        *ret_bound =
            parts.path ? reid_xasprintf("unix:%s", parts.path) : reid_xasprintf("tcp://%s", bound);
    reid_rpc_address_fini(&parts);
    return status;
}

void reid_rpc_listener_free(reid_rpc_listener *listener)
{
    reid_rpc_tls_free(listener->tls);
    free(listener->path);
    free(listener);
}

static void listener_closed(uv_handle_t *handle)
{
    reid_rpc_listener *listener = handle->data;
    reid_rpc_server_handle_closed(listener->server);
}

void reid_rpc_listener_close(reid_rpc_listener *listener)
{
    if (listener->fd < 0)
        return;
    struct stat st; /* the path may be somebody else's by now */
    if (!listener->tls && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
        st.st_ino == listener->inode)
        unlink(listener->path);
    reid_rpc_alarm_cancel(&listener->server->pump, &listener->retry);
    uv_close((uv_handle_t *)&listener->poll, listener_closed);
    close(listener->fd);
    listener->fd = -1;
}

/* ---- accepting ---- */

bool reid_rpc_listener_may_warn(reid_rpc_listener *listener, char more[REID_RPC_MORE_BYTES])
{
    more[0] = '\0';
    if (!reid_rpc_bucket_take(&listener->warnings, uv_now(listener->server->pump.loop), 1)) {
        listener->unwarned++;
        return false;
    }
    if (listener->unwarned > 0)
        snprintf(more, REID_RPC_MORE_BYTES, " more=%u", listener->unwarned);
    listener->unwarned = 0;
    return true;
}

static void pause_accepting(reid_rpc_listener *listener, int errnum)
{
    reid_log_warn("rpc accept failed path=%s error=\"%s\"", listener->path, strerror(errnum));
    uv_poll_stop(&listener->poll);
    reid_rpc_alarm_set(&listener->server->pump, &listener->retry, RETRY_MS);
}

static void accept_one(reid_rpc_listener *listener, int own_fd, const struct sockaddr *address)
{
    reid_rpc_peer peer = {.uid = (uid_t)-1, .gid = (gid_t)-1, .remote = listener->tls != NULL};
    const char *excess = NULL;
    char more[REID_RPC_MORE_BYTES];
    unsigned limit = 0;
    if (peer.remote)
        reid_rpc_endpoint_format(address, peer.address, sizeof peer.address);
    else if (!reid_rpc_peer_read(&peer, own_fd))
        excess = "no credentials";
    else
        excess = reid_rpc_crowd_excess(listener, &peer, &limit);
    if (excess) {
        if (reid_rpc_listener_may_warn(listener, more))
            reid_log_warn("rpc connection refused reason=\"%s\" path=%s uid=%d limit=%u%s", excess,
                          listener->path, (int)peer.uid, limit, more);
        close(own_fd);
        return;
    }
    if (peer.remote && listener->handshakes >= listener->server->limits.max_handshakes)
        reid_rpc_crowd_drop_beginner(listener);
    if (peer.remote)
        reid_rpc_tcp_tune(own_fd, listener->server->limits.linger_ms);
    reid_rpc_conn_new(listener, own_fd, &peer);
}

/* Handshakes are work that anybody can cause: over a rate they wait in the kernel's queue. */
static bool must_wait(reid_rpc_listener *listener)
{
    reid_rpc_server *server = listener->server;
    if (!listener->tls || reid_rpc_bucket_take(&listener->accepts, uv_now(server->pump.loop),
                                               server->limits.max_tls_per_second))
        return false;
    uv_poll_stop(&listener->poll);
    reid_rpc_alarm_set(&server->pump, &listener->retry, RETRY_MS);
    return true;
}

static void accept_ready(uv_poll_t *poll, int status, int events)
{
    reid_rpc_listener *listener = poll->data;
    for (int i = 0; i < ACCEPTS_PER_TURN && listener->fd >= 0 && !must_wait(listener); i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        int fd =
            accept4(listener->fd, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            listener->accepts.level += 1; /* it was for nothing */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                pause_accepting(listener, errno);
            return;
        }
        accept_one(listener, fd, (const struct sockaddr *)&address);
    }
}
