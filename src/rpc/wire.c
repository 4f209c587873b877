#include "rpc/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/status.h"

/* Portions per turn of the loop and connection: nobody is kept waiting by one busy peer. */
enum { READS_PER_TURN = 8, WRITES_PER_TURN = 16 };
enum { TRUST_MS = 1000 };
/* Nothing is read while so much waits that TLS itself has to say: a peer can ask for it. */
enum { MAX_SEALED_BYTES = 512 * 1024, MAX_RECORD_BYTES = 16 * 1024 };
static void flush_task(reid_rpc_task *task);
static void poll_ready(uv_poll_t *poll, int status, int events);
static void read_some(reid_rpc_wire *wire);
static void shake_hands(reid_rpc_wire *wire);
static void linger_over(reid_rpc_alarm *alarm);
static void pulse(reid_rpc_alarm *alarm);
static void look_at_trust(reid_rpc_alarm *alarm);

void reid_rpc_wire_init(reid_rpc_wire *wire, reid_rpc_pump *pump, nghttp2_session *own_session,
                        void (*on_broken)(reid_rpc_wire *wire, const char *why),
                        void (*on_closed)(reid_rpc_wire *wire))
{
    *wire = (reid_rpc_wire){.pump = pump,
                            .session = own_session,
                            .on_broken = on_broken,
                            .on_closed = on_closed,
                            .fd = -1};
    reid_rpc_task_init(&wire->flush, flush_task);
    reid_rpc_alarm_init(&wire->linger, linger_over);
    reid_rpc_alarm_init(&wire->pulse, pulse);
    reid_rpc_alarm_init(&wire->trust, look_at_trust);
}

/* Sealed bytes that the socket has not taken. */
static size_t sealed_bytes(const reid_rpc_wire *wire)
{
    return wire->secure ? wire->secure->out_bytes - wire->secure->out_sent : 0;
}

bool reid_rpc_wire_stuck(const reid_rpc_wire *wire)
{
    return wire->rest != NULL || sealed_bytes(wire) > 0;
}

static void break_wire(reid_rpc_wire *wire, const char *why)
{
    if (wire->broken || wire->closing)
        return;
    wire->broken = true;
    uv_poll_stop(&wire->poll);
    reid_rpc_alarm_cancel(wire->pump, &wire->linger);
    reid_rpc_alarm_cancel(wire->pump, &wire->pulse);
    reid_rpc_alarm_cancel(wire->pump, &wire->trust);
    reid_rpc_task_cancel(&wire->flush);
    /* what TLS found wrong came first */
    wire->on_broken(wire, wire->secure && wire->secure->why[0] ? wire->secure->why : why);
}

static bool may_read(const reid_rpc_wire *wire)
{
    if (wire->shut || !reid_rpc_wire_stuck(wire))
        return true;
    return sealed_bytes(wire) < MAX_SEALED_BYTES &&
           (wire->max_waiting_frames == 0 ||
            nghttp2_session_get_outbound_queue_size(wire->session) < wire->max_waiting_frames);
}

static void update_events(reid_rpc_wire *wire)
{
    if (wire->fd < 0 || wire->broken || wire->closing)
        return;
    int events = 0;
    if (reid_rpc_wire_stuck(wire))
        events |= UV_WRITABLE;
    if (may_read(wire))
        events |= UV_READABLE;
    if (events == wire->events)
        return;
    wire->events = events;
    uv_poll_start(&wire->poll, events, poll_ready);
}

int reid_rpc_wire_attach(reid_rpc_wire *wire, int own_fd)
{
    int failure = uv_poll_init(wire->pump->loop, &wire->poll, own_fd);
    if (failure) {
        close(own_fd);
        return failure;
    }
    wire->poll.data = wire;
    wire->fd = own_fd;
    update_events(wire);
    reid_rpc_wire_touch(wire);
    return 0;
}

int reid_rpc_wire_attach_secure(reid_rpc_wire *wire, int own_fd, reid_rpc_secure *own_secure)
{
    wire->secure = own_secure;
    return reid_rpc_wire_attach(wire, own_fd);
}

void reid_rpc_wire_touch(reid_rpc_wire *wire)
{
    if (wire->fd >= 0 && !wire->shut && !wire->broken && !wire->closing)
        reid_rpc_task_post(wire->pump, &wire->flush);
}

/* ---- writing ---- */

/* Returns how many bytes the socket took, or -1 when it is broken. */
static ssize_t send_some(reid_rpc_wire *wire, const uint8_t *bytes, size_t size)
{
    ssize_t n;
    do
        n = send(wire->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        wire->bytes_out += (uint64_t)n;
        return n;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

/* Collects frames in the scratch buffer. Returns the number of bytes, or -1 when the session
 * failed. `*ret_big` is set to a frame that does not fit behind the others and must be sent after
 * them. */
static ssize_t collect(reid_rpc_wire *wire, const uint8_t **ret_big, size_t *ret_big_size)
{
    uint8_t *scratch = wire->pump->scratch;
    size_t used = 0;
    *ret_big = NULL;
    while (used < REID_RPC_SCRATCH_BYTES / 2) {
        const uint8_t *bytes;
        wire->in_session = true;
        ssize_t n = nghttp2_session_mem_send(wire->session, &bytes);
        wire->in_session = false;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        if ((size_t)n > REID_RPC_SCRATCH_BYTES - used) {
            *ret_big = bytes;
            *ret_big_size = (size_t)n;
            break;
        }
        memcpy(scratch + used, bytes, (size_t)n);
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static void keep_rest(reid_rpc_wire *wire, const uint8_t *bytes, size_t size, const uint8_t *more,
                      size_t more_size)
{
    wire->rest = reid_xmalloc(size + more_size);
    memcpy(wire->rest, bytes, size);
    if (more_size > 0)
        memcpy(wire->rest + size, more, more_size);
    wire->rest_bytes = size + more_size;
    wire->rest_sent = 0;
}

/* The peer may have sent its last words before it closed. */
static void write_failed(reid_rpc_wire *wire)
{
    read_some(wire);
    break_wire(wire, "the connection was closed by the peer");
}

static bool send_sealed(reid_rpc_wire *wire)
{
    while (sealed_bytes(wire) > 0) {
        size_t size = sealed_bytes(wire);
        ssize_t n = send_some(wire, wire->secure->out + wire->secure->out_sent, size);
        if (n < 0) {
            write_failed(wire);
            return false;
        }
        reid_rpc_secure_sent(wire->secure, (size_t)n);
        if ((size_t)n < size)
            return false;
    }
    return true;
}

/* Sends what was left over; false while some still is, or when the wire broke. */
static bool send_rest(reid_rpc_wire *wire)
{
    if (wire->secure)
        return send_sealed(wire);
    if (!wire->rest)
        return true;
    ssize_t n = send_some(wire, wire->rest + wire->rest_sent, wire->rest_bytes - wire->rest_sent);
    if (n < 0) {
        write_failed(wire);
        return false;
    }
    wire->rest_sent += (size_t)n;
    if (wire->rest_sent < wire->rest_bytes)
        return false;
    free(wire->rest);
    wire->rest = NULL;
    return true;
}

static void linger_over(reid_rpc_alarm *alarm)
{
    break_wire(REID_RPC_OWNER(alarm, reid_rpc_wire, linger), "the connection was closed");
}

/* All has been said. What the peer still sends is read and dropped, until it closes, too. */
static void end_session(reid_rpc_wire *wire)
{
    if (wire->secure) {
        reid_rpc_secure_end(wire->secure);
        send_sealed(wire); /* a few bytes; a socket that does not take them is no loss */
    }
    if (wire->broken || wire->closing)
        return;
    if (wire->linger_ms == 0 || shutdown(wire->fd, SHUT_WR) != 0) {
        break_wire(wire, "the connection was closed");
        return;
    }
    wire->shut = true;
    update_events(wire);
    reid_rpc_alarm_set(wire->pump, &wire->linger, wire->linger_ms);
}

/* Sends what was collected, or seals it for send_rest; false when the wire broke. */
static bool put(reid_rpc_wire *wire, size_t size, const uint8_t *big, size_t big_size)
{
    if (wire->secure) {
        if (reid_rpc_secure_write(wire->secure, wire->pump->scratch, size) &&
            reid_rpc_secure_write(wire->secure, big, big_size))
            return true;
        break_wire(wire, "TLS failed");
        return false;
    }
    ssize_t n = send_some(wire, wire->pump->scratch, size);
    if (n < 0) {
        write_failed(wire);
        return false;
    }
    if ((size_t)n < size || big)
        keep_rest(wire, wire->pump->scratch + n, size - (size_t)n, big, big_size);
    return true;
}

static void flush_session(reid_rpc_wire *wire)
{
    for (int i = 0; i < WRITES_PER_TURN && send_rest(wire); i++) {
        const uint8_t *big;
        size_t big_size = 0;
        ssize_t size = collect(wire, &big, &big_size);
        if (wire->closing)
            return;
        if (size < 0) {
            break_wire(wire, "the HTTP/2 session failed");
            return;
        }
        if (size == 0 && !big) {
            if (!nghttp2_session_want_read(wire->session) &&
                !nghttp2_session_want_write(wire->session)) {
                end_session(wire);
                return;
            }
            break;
        }
        if (!put(wire, (size_t)size, big, big_size))
            return;
        if (i + 1 == WRITES_PER_TURN && !wire->rest)
            reid_rpc_wire_touch(wire);
    }
    update_events(wire);
}

/* What the socket did not take is no call's any more. */
static void count_waiting(reid_rpc_wire *wire, size_t bytes)
{
    if (!wire->quota)
        return;
    wire->quota->used += bytes;
    reid_rpc_quota_give(wire->quota, wire->counted);
    wire->counted = bytes;
}

static void flush_task(reid_rpc_task *task)
{
    reid_rpc_wire *wire = REID_RPC_OWNER(task, reid_rpc_wire, flush);
    if (!wire->secure || wire->secure->established)
        flush_session(wire);
    else
        shake_hands(wire);
    count_waiting(wire, (wire->rest ? wire->rest_bytes : 0) +
                            (wire->secure ? wire->secure->out_capacity : 0));
}

/* ---- reading ---- */

/* Plain bytes to the session; false when there is no more use for them. */
static bool feed_session(reid_rpc_wire *wire, const uint8_t *bytes, size_t size)
{
    wire->in_session = true;
    ssize_t used = nghttp2_session_mem_recv(wire->session, bytes, size);
    wire->in_session = false;
    if (wire->closing)
        return false;
    if (used < 0) {
        break_wire(wire, used == NGHTTP2_ERR_BAD_CLIENT_MAGIC
                             ? "the peer does not speak HTTP/2"
                             : "the peer broke the HTTP/2 protocol");
        return false;
    }
    return true;
}

static bool feed(reid_rpc_wire *wire, const uint8_t *bytes, size_t size)
{
    if (!wire->sieve)
        return feed_session(wire, bytes, size);
    const uint8_t *run;
    size_t n;
    while ((n = reid_rpc_sieve_next(wire->sieve, &bytes, &size, &run)) > 0)
        if (!feed_session(wire, run, n))
            return false;
    if (wire->sieve->left_out > 0)
        wire->on_left_out(wire);
    return true;
}

/* One step of the handshake, with the bytes that were given. A peer that is refused is told so, and
 * as after a session there is time to read it. */
static void shake_hands(reid_rpc_wire *wire)
{
    int result = reid_rpc_secure_handshake(wire->secure);
    if (result < 0) {
        end_session(wire);
        return;
    }
    if (result > 0) {
        reid_rpc_alarm_set(wire->pump, &wire->trust, TRUST_MS);
        if (wire->on_secured)
            wire->on_secured(wire);
        reid_rpc_wire_touch(wire);
    }
    if (!wire->broken && !wire->closing)
        send_sealed(wire);
    update_events(wire);
}

static bool feed_sealed(reid_rpc_wire *wire, const uint8_t *bytes, size_t size)
{
    reid_rpc_secure *secure = wire->secure;
    reid_rpc_secure_give(secure, bytes, size);
    if (!secure->established)
        shake_hands(wire);
    while (secure->established && !wire->broken && !wire->closing && !wire->shut) {
        uint8_t plain[MAX_RECORD_BYTES];
        ssize_t n = reid_rpc_secure_read(secure, plain, sizeof plain);
        if (n == 0)
            break;
        if (n < 0) {
            send_sealed(wire);
            break_wire(wire, "TLS failed");
            return false;
        }
        if (!feed(wire, plain, (size_t)n))
            return false;
    }
    return !wire->broken && !wire->closing;
}

static void read_some(reid_rpc_wire *wire)
{
    for (int i = 0; i < READS_PER_TURN && !wire->broken && !wire->closing; i++) {
        ssize_t n;
        do
            n = recv(wire->fd, wire->pump->scratch, REID_RPC_SCRATCH_BYTES, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            break_wire(wire, "the connection was closed by the peer");
            return;
        }
        wire->bytes_in += (uint64_t)n;
        if (wire->shut)
            continue;
        bool useful = wire->secure ? feed_sealed(wire, wire->pump->scratch, (size_t)n)
                                   : feed(wire, wire->pump->scratch, (size_t)n);
        if (!useful)
            return;
        reid_rpc_wire_touch(wire);
        if (n < REID_RPC_SCRATCH_BYTES)
            return;
    }
}

static void poll_ready(uv_poll_t *poll, int status, int events)
{
    reid_rpc_wire *wire = poll->data;
    if (status < 0) { /* an error on the socket: reading tells which */
        read_some(wire);
        if (!wire->broken && !wire->closing)
            break_wire(wire, "the connection failed");
        return;
    }
    if (events & UV_READABLE)
        read_some(wire);
    if ((events & UV_WRITABLE) && !wire->broken && !wire->closing)
        reid_rpc_wire_touch(wire);
}

/* ---- peers that have vanished ---- */

static void pulse(reid_rpc_alarm *alarm)
{
    reid_rpc_wire *wire = REID_RPC_OWNER(alarm, reid_rpc_wire, pulse);
    read_some(wire); /* this loop may have been the one that slept */
    if (wire->broken || wire->closing || wire->shut)
        return;
    bool heard = wire->bytes_in != wire->pulse_bytes_in;
    if (!heard && wire->pinged) {
        break_wire(wire, "nothing is heard from the peer any more");
        return;
    }
    wire->pulse_bytes_in = wire->bytes_in;
    wire->pinged = !heard;
    if (!heard) {
        nghttp2_submit_ping(wire->session, NGHTTP2_FLAG_NONE, NULL);
        reid_rpc_wire_touch(wire);
    }
    reid_rpc_alarm_set(wire->pump, &wire->pulse, wire->pulse_ms);
}

void reid_rpc_wire_watch(reid_rpc_wire *wire, uint32_t quiet_ms)
{
    wire->pulse_ms = quiet_ms;
    wire->pulse_bytes_in = wire->bytes_in;
    reid_rpc_alarm_set(wire->pump, &wire->pulse, quiet_ms);
}

/* ---- peers that are believed no more ---- */

static void look_at_trust(reid_rpc_alarm *alarm)
{
    reid_rpc_wire *wire = REID_RPC_OWNER(alarm, reid_rpc_wire, trust);
    if (wire->broken || wire->closing || wire->shut)
        return;
    if (reid_rpc_secure_recheck(wire->secure))
        reid_rpc_alarm_set(wire->pump, &wire->trust, TRUST_MS);
    else
        break_wire(wire, wire->secure->why);
}

/* ---- closing ---- */

static void finish_close(reid_rpc_wire *wire)
{
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    nghttp2_session_del(wire->session);
    wire->session = NULL;
    reid_rpc_secure_free(wire->secure);
    wire->secure = NULL;
    free(wire->rest);
    wire->rest = NULL;
    count_waiting(wire, 0);
    wire->on_closed(wire);
}

static void poll_closed(uv_handle_t *handle)
{
    finish_close(handle->data);
}

static void close_task(reid_rpc_task *task)
{
    finish_close(REID_RPC_OWNER(task, reid_rpc_wire, flush));
}

void reid_rpc_wire_close(reid_rpc_wire *wire)
{
    if (wire->closing)
        return;
    wire->closing = true;
    reid_rpc_task_cancel(&wire->flush);
    reid_rpc_alarm_cancel(wire->pump, &wire->linger);
    reid_rpc_alarm_cancel(wire->pump, &wire->pulse);
    reid_rpc_alarm_cancel(wire->pump, &wire->trust);
    if (wire->fd >= 0) {
        uv_close((uv_handle_t *)&wire->poll, poll_closed);
        return;
    }
    reid_rpc_task_init(&wire->flush,
                       close_task); /* no handle yet: close from the loop all the same */
    reid_rpc_task_post(wire->pump, &wire->flush);
}
