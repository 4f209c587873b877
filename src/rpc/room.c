/* Answers that wait for their readers, of all connections together: a budget, and who gives way
 * when it is used up.
 *
 * Streams have three quarters of it, and an eighth more while they are read (frame.c), so that
 * questions are answered while streams are not read.
 * Whoever is refused for lack of it waits in line. While somebody has to, the rest is looked at
 * every unread_ms, and what was not read at all since the last look is dropped, the largest first.
 */
#include <inttypes.h>

#include "base/compiler.h"
#include "base/log.h"
#include "rpc/server_impl.h"

static void on_given(reid_rpc_quota *quota);
static void share_out(reid_rpc_task *task);
static void look(reid_rpc_alarm *alarm);

void reid_rpc_room_init(reid_rpc_room *room, uint64_t limit)
{
    *room = (reid_rpc_room){.quota = {.limit = limit, .on_given = on_given}};
    reid_rpc_list_init(&room->waiting);
    reid_rpc_task_init(&room->task, share_out);
    reid_rpc_alarm_init(&room->alarm, look);
}

void reid_rpc_room_end(reid_rpc_server *server)
{
    server->room.quota.on_given = NULL;
    reid_rpc_task_cancel(&server->room.task);
    reid_rpc_alarm_cancel(&server->pump, &server->room.alarm);
}

void reid_rpc_room_open(reid_rpc_call *call)
{
    reid_rpc_quota *quota = &call->server->room.quota;
    bool stream = call->row && call->row->method->kind == REID_RPC_SERVER_STREAM;
    call->seen_taken = UINT64_MAX; /* not looked at yet */
    call->outbox.quota = quota;
    call->outbox.quota_share = stream ? quota->limit / 4 * 3 : quota->limit;
}

/* ---- in line ---- */

static void on_given(reid_rpc_quota *quota)
{
    reid_rpc_room *room = REID_RPC_OWNER(quota, reid_rpc_room, quota);
    reid_rpc_server *server = REID_RPC_OWNER(room, reid_rpc_server, room);
    if (!reid_rpc_list_empty(&room->waiting) && quota->used <= quota->limit / 8 * 5)
        reid_rpc_task_post(&server->pump, &room->task);
}

static void share_out(reid_rpc_task *task)
{
    reid_rpc_room *room = REID_RPC_OWNER(task, reid_rpc_room, task);
    reid_rpc_node line;
    reid_rpc_list_init(&line);
    reid_rpc_list_move(&line, &room->waiting);
    while (!reid_rpc_list_empty(&line)) {
        reid_rpc_call *call = REID_RPC_OWNER(line.next, reid_rpc_call, in_line);
        reid_rpc_list_remove(&call->in_line);
        if (room->quota.used >= reid_rpc_outbox_share(&call->outbox)) {
            reid_rpc_list_append(&room->waiting, &call->in_line);
            continue;
        }
        call->outbox.starved = false; /* with an answer in its queue it goes on when that is out */
        if (reid_rpc_outbox_take_drain(&call->outbox) && !call->ended && call->on_drain)
            call->on_drain(call);
    }
}

/* ---- who gives way ---- */

static bool has_moved(const reid_rpc_conn *conn)
{
    return conn->wire.bytes_out != conn->seen_bytes_out;
}

static size_t unread_bytes(const reid_rpc_conn *conn)
{
    size_t bytes = has_moved(conn) ? 0 : conn->wire.counted;
    for (reid_rpc_node *n = conn->calls.next; n != &conn->calls; n = n->next) {
        const reid_rpc_call *call = REID_RPC_OWNER(n, reid_rpc_call, node);
        if (call->outbox.taken == call->seen_taken)
            bytes += call->outbox.bytes;
    }
    return bytes;
}

static void note_positions(reid_rpc_server *server)
{
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = n->next) {
        reid_rpc_conn *conn = REID_RPC_OWNER(n, reid_rpc_conn, node);
        conn->seen_bytes_out = conn->wire.bytes_out;
        for (reid_rpc_node *c = conn->calls.next; c != &conn->calls; c = c->next) {
            reid_rpc_call *call = REID_RPC_OWNER(c, reid_rpc_call, node);
            call->seen_taken = call->outbox.taken;
        }
    }
}

static void drop_unread(reid_rpc_conn *conn)
{
    if (!has_moved(conn)) {
        reid_rpc_conn_abandon(conn);
        return;
    }
    for (reid_rpc_node *n = conn->calls.next, *next; n != &conn->calls; n = next) {
        reid_rpc_call *call = REID_RPC_OWNER(n, reid_rpc_call, node);
        next = n->next;
        if (call->outbox.taken == call->seen_taken && call->outbox.bytes > 0)
            reid_rpc_call_reset(call, "its answers were not read while others waited for room");
    }
}

static reid_rpc_conn *find_worst(reid_rpc_server *server, size_t *ret_bytes)
{
    reid_rpc_conn *worst = NULL;
    *ret_bytes = 0;
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = n->next) {
        reid_rpc_conn *conn = REID_RPC_OWNER(n, reid_rpc_conn, node);
        size_t bytes = conn->wire.closing ? 0 : unread_bytes(conn);
        if (bytes > *ret_bytes) {
            *ret_bytes = bytes;
            worst = conn;
        }
    }
    return worst;
}

static void look(reid_rpc_alarm *alarm)
{
    reid_rpc_room *room = REID_RPC_OWNER(alarm, reid_rpc_room, alarm);
    reid_rpc_server *server = REID_RPC_OWNER(room, reid_rpc_server, room);
    uint64_t left = room->quota.used, dropped = 0;
    reid_rpc_conn *worst;
    char who[REID_RPC_WHO_BYTES];
    size_t bytes, count = 0;
    while (room->lacking && left > room->quota.limit / 2 && (worst = find_worst(server, &bytes))) {
        if (count++ == 0)
            reid_rpc_conn_describe(worst, who);
        drop_unread(worst);
        left -= REID_MIN(left, bytes);
        dropped += bytes;
    }
    if (count > 0)
        reid_log_warn("rpc answers dropped reason=\"not read while others wait for room\" "
                      "connections=%zu bytes=%" PRIu64 " largest: %s",
                      count, dropped, who);
    note_positions(server);
    room->lacking = !reid_rpc_list_empty(&room->waiting);
    if (room->lacking)
        reid_rpc_alarm_set(&server->pump, &room->alarm, server->limits.unread_ms);
}

void reid_rpc_room_refused(reid_rpc_call *call)
{
    reid_rpc_server *server = call->server;
    reid_rpc_room *room = &server->room;
    if (!call->outbox.starved)
        return;
    reid_rpc_list_remove(&call->in_line);
    reid_rpc_list_append(&room->waiting, &call->in_line);
    room->lacking = true;
    if (room->alarm.slot > 0)
        return;
    note_positions(server);
    reid_rpc_alarm_set(&server->pump, &room->alarm, server->limits.unread_ms);
}
