/* The Echo service of the RPC tests as a program: grpcio_server SOCKET, or grpcio_server tcp://…
 * TLS_FOLDER. Says "ready", over TCP with the address after it, ends on SIGTERM with a grace of
 * half a second, and then says how many calls were opened, closed, cancelled and timed out. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "descriptors.h"
#include "echo.h"

typedef struct program {
    reid_rpc_server *server;
    uv_signal_t term;
    echo_service echo;
    char *bound;
} program;

static reid_status start_listening(program *p, const char *address, const char *tls_dir,
                                   reid_error *err)
{
    if (!tls_dir)
        return reid_rpc_server_listen_unix(p->server, address, 0600, err);
    reid_rpc_tls *tls;
    REID_TRY(reid_rpc_tls_new(tls_dir, &tls, err));
    reid_status status = reid_rpc_server_listen(p->server, address, tls, 0, &p->bound, err);
    reid_rpc_tls_free(tls);
    return status;
}

static void done(void *user)
{
    program *p = user;
    reid_rpc_server_free(p->server);
}

static void terminated(uv_signal_t *term, int number)
{
    program *p = term->data;
    uv_close((uv_handle_t *)term, NULL);
    reid_rpc_server_shutdown(p->server, 500, done, p);
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: grpcio_server SOCKET | tcp://HOST:PORT TLS_FOLDER\n");
        return 2;
    }
    uv_loop_t *loop = uv_default_loop();
    program p = {0};
    reid_error err = {0};
    size_t size = (size_t)(reid_proto_descriptors_end - reid_proto_descriptors);
    if (reid_rpc_server_new(loop, NULL, &p.server, &err) != REID_OK)
        goto failed;
    echo_service_add(&p.echo, p.server);
    reid_rpc_server_add_health(p.server);
    if (reid_rpc_server_add_reflection(p.server, reid_proto_descriptors, size, &err) != REID_OK ||
        start_listening(&p, argv[1], argv[2], &err) != REID_OK)
        goto failed;
    uv_signal_init(loop, &p.term);
    p.term.data = &p;
    uv_signal_start(&p.term, terminated, SIGTERM);
    printf(p.bound ? "ready %s\n" : "ready\n", p.bound);
    free(p.bound);
    fflush(stdout);
    uv_run(loop, UV_RUN_DEFAULT);
    printf("opened %d closed %d cancelled %d timed_out %d\n", p.echo.opened, p.echo.closed,
           p.echo.cancelled, p.echo.timed_out);
    return uv_loop_close(loop) == 0 ? 0 : 1;
failed:
    reid_log_error("%s", err.text);
    return 1;
}
