#include "daemon/cluster/part_probe.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "daemon/exec/address.h"

#define PATIENCE_MS 3000 /* of one try */

typedef struct attempt {
    uv_tcp_t socket;
    uv_connect_t request;
    reidd_probe *probe; /* NULL: nobody waits for it */
} attempt;

struct reidd_probe {
    uv_timer_t timer;
    char *host;
    int port; /* 0: there is nothing to try */
    void (*on_cut)(void *user);
    void *user;
    attempt *trying;
    int64_t tried_ms, answered_ms; /* monotonic */
    bool running;
};

static int64_t now_ms(void)
{
    return reid_clock_mono_ns() / 1000000;
}

static void on_attempt_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop_attempt(reidd_probe *probe)
{
    attempt *a = probe->trying;
    if (!a)
        return;
    probe->trying = NULL;
    a->probe = NULL;
    uv_close((uv_handle_t *)&a->socket, on_attempt_closed);
}

/* A refusal is an answer. */
static void on_connect(uv_connect_t *request, int status)
{
    attempt *a = request->data;
    reidd_probe *probe = a->probe;
    if (!probe)
        return;
    if (status == 0 || status == UV_ECONNREFUSED || status == UV_ECONNRESET)
        probe->answered_ms = now_ms();
    drop_attempt(probe);
}

static void try_once(reidd_probe *probe)
{
    char text[REIDD_ADDRESS_BYTES];
    struct sockaddr_in address;
    if (reidd_address_resolve(probe->host, text, NULL) != REID_OK ||
        uv_ip4_addr(text, probe->port, &address) != 0)
        return;
    attempt *a = reid_xcalloc(1, sizeof *a);
    a->probe = probe;
    a->socket.data = a->request.data = a;
    uv_tcp_init(probe->timer.loop, &a->socket);
    probe->trying = a;
    probe->tried_ms = now_ms();
    int rc = uv_tcp_connect(&a->request, &a->socket, (const struct sockaddr *)&address, on_connect);
    if (rc != 0)
        on_connect(&a->request, rc);
}

static void on_tick(uv_timer_t *timer)
{
    reidd_probe *probe = timer->data;
    int64_t now = now_ms();
    if (now - probe->answered_ms >= REIDD_CUT_OFF_MS) {
        reidd_probe_stop(probe);
        probe->on_cut(probe->user);
        return;
    }
    if (probe->trying && now - probe->tried_ms >= PATIENCE_MS)
        drop_attempt(probe);
    if (!probe->trying)
        try_once(probe);
}

reidd_probe *reidd_probe_new(uv_loop_t *loop, const char *host, const char *address,
                             void (*on_cut)(void *user), void *user)
{
    reidd_probe *probe = reid_xcalloc(1, sizeof *probe);
    const char *colon = strrchr(address, ':');
    int64_t port = 0;
    if (reid_str_starts(address, "tcp://") && colon &&
        reid_parse_int64(colon + 1, &port) == REID_OK && port > 0 && port < 65536)
        probe->port = (int)port;
    probe->host = reid_xstrdup(host);
    probe->on_cut = on_cut;
    probe->user = user;
    probe->timer.data = probe;
    uv_timer_init(loop, &probe->timer);
    return probe;
}

void reidd_probe_start(reidd_probe *probe, int64_t silent_ms)
{
    if (probe->port == 0 || probe->running)
        return;
    probe->running = true;
    probe->answered_ms = now_ms() - silent_ms;
    uv_timer_start(&probe->timer, on_tick, 0, REIDD_PROBE_MS);
}

void reidd_probe_stop(reidd_probe *probe)
{
    probe->running = false;
    uv_timer_stop(&probe->timer);
    drop_attempt(probe);
}

static void on_closed(uv_handle_t *handle)
{
    reidd_probe *probe = handle->data;
    free(probe->host);
    free(probe);
}

void reidd_probe_close(reidd_probe *probe)
{
    if (!probe)
        return;
    reidd_probe_stop(probe);
    uv_close((uv_handle_t *)&probe->timer, on_closed);
}
