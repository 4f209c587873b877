#include "rpc/server.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "rpc/server_impl.h"

static void grace_over(reid_rpc_alarm *alarm);
static void report_done(reid_rpc_task *task);
static void trim(reid_rpc_alarm *alarm);

/* Memory of many connections lies between other memory when they are gone: it is given back when
 * for TRIM_MS none of them has gone. */
enum { TRIM_CONNECTIONS = 32, TRIM_MS = 1000 };

static reid_rpc_limits with_defaults(const reid_rpc_limits *limits)
{
    reid_rpc_limits l = limits ? *limits : (reid_rpc_limits){0};
#define OTHERWISE(field, value) l.field = l.field ? l.field : (value)
    OTHERWISE(max_connections, 256);
    OTHERWISE(max_per_user, l.max_connections);
    OTHERWISE(max_per_address, 64);
    OTHERWISE(max_handshakes, 256);
    OTHERWISE(max_tls_per_second, 100);
    OTHERWISE(max_streams, 128);
    OTHERWISE(max_message_bytes, 4u << 20);
    OTHERWISE(max_header_bytes, 16u << 10);
    OTHERWISE(max_queue_bytes, 1u << 20);
    OTHERWISE(max_unread_bytes, 64u << 20);
    OTHERWISE(max_receive_bytes, 64u << 20);
    OTHERWISE(max_unpacked_bytes, 64u << 20);
    OTHERWISE(max_resets_per_second, 100);
    OTHERWISE(max_control_per_second, 100);
    OTHERWISE(preface_timeout_ms, 10000);
    OTHERWISE(quiet_ms, 10000);
    OTHERWISE(linger_ms, 600000);
    OTHERWISE(unread_ms, 2000);
#undef OTHERWISE
    return l;
}

reid_status reid_rpc_server_new(uv_loop_t *loop, const reid_rpc_limits *limits,
                                reid_rpc_server **ret_server, reid_error *err)
{
    reid_rpc_server *server = reid_xcalloc(1, sizeof *server);
    server->callbacks = reid_rpc_conn_callbacks();
    if (!server->callbacks || nghttp2_option_new(&server->option) != 0) {
        nghttp2_session_callbacks_del(server->callbacks);
        free(server);
        return reid_fail(err, REID_ERR_EXHAUSTED, "there is no memory for an RPC server");
    }
    nghttp2_option_set_no_closed_streams(server->option, 1);
    server->limits = with_defaults(limits);
    server->receive.limit = server->limits.max_receive_bytes;
    reid_rpc_room_init(&server->room, server->limits.max_unread_bytes);
    reid_rpc_list_init(&server->listeners);
    reid_rpc_list_init(&server->conns);
    reid_rpc_list_init(&server->lost_calls);
    reid_rpc_alarm_init(&server->grace, grace_over);
    reid_rpc_alarm_init(&server->trim, trim);
    reid_rpc_task_init(&server->done_task, report_done);
    reid_rpc_pump_init(&server->pump, loop);
    server->open_handles = 1;
    *ret_server = server;
    return REID_OK;
}

/* ---- rows ---- */

static int compare_rows(const void *a, const void *b)
{
    const reid_rpc_row *left = a, *right = b;
    return strcmp(left->method->path, right->method->path);
}

void reid_rpc_server_add_service(reid_rpc_server *server, const reid_rpc_method *methods,
                                 size_t count, void *service)
{
    for (size_t i = 0; i < count; i++) {
        const reid_rpc_method *m = &methods[i];
        REID_ASSERT(m->path[0] == '/' && m->input && m->output && m->on_message);
        REID_ASSERT(!reid_rpc_server_find(server, m->path, strlen(m->path)));
        reid_vec_push(&server->rows, ((reid_rpc_row){m, service}));
        qsort(server->rows.items, server->rows.count, sizeof *server->rows.items, compare_rows);
    }
}

const reid_rpc_row *reid_rpc_server_find(const reid_rpc_server *server, const char *path,
                                         size_t length)
{
    size_t low = 0, high = server->rows.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const reid_rpc_row *row = &server->rows.items[middle];
        int order = strncmp(path, row->method->path, length);
        if (order == 0 && row->method->path[length] != '\0')
            order = -1;
        if (order == 0)
            return row;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool reid_rpc_server_has_service(const reid_rpc_server *server, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < server->rows.count; i++) {
        const char *path = server->rows.items[i].method->path;
        if (strncmp(path + 1, name, length) == 0 && path[1 + length] == '/')
            return true;
    }
    return false;
}

void reid_rpc_server_set_guard(reid_rpc_server *server, reid_rpc_guard *guard, void *user)
{
    server->guard = guard;
    server->guard_user = user;
}

size_t reid_rpc_server_connections(const reid_rpc_server *server)
{
    return server->conn_count;
}

size_t reid_rpc_server_calls(const reid_rpc_server *server)
{
    return server->call_count;
}

/* ---- the end ---- */

static void close_listeners(reid_rpc_server *server)
{
    for (reid_rpc_node *n = server->listeners.next; n != &server->listeners; n = n->next)
        reid_rpc_listener_close(REID_RPC_OWNER(n, reid_rpc_listener, node));
}

void reid_rpc_server_check_done(reid_rpc_server *server)
{
    if (server->draining && server->conn_count == 0 && reid_rpc_list_empty(&server->lost_calls) &&
        !server->done && !server->freed)
        reid_rpc_task_post(&server->pump, &server->done_task);
}

static void report_done(reid_rpc_task *task)
{
    reid_rpc_server *server = REID_RPC_OWNER(task, reid_rpc_server, done_task);
    server->done = true;
    reid_rpc_alarm_cancel(&server->pump, &server->grace);
    if (server->on_done)
        server->on_done(server->done_user);
}

static void end_calls(reid_rpc_conn *conn)
{
    reid_rpc_node *next;
    for (reid_rpc_node *n = conn->calls.next; n != &conn->calls; n = next) {
        next = n->next;
        reid_rpc_call *call = REID_RPC_OWNER(n, reid_rpc_call, node);
        reid_rpc_call_end(call, REID_ERR_UNAVAILABLE, "the server is shutting down", true);
    }
}

static void grace_over(reid_rpc_alarm *alarm)
{
    reid_rpc_server *server = REID_RPC_OWNER(alarm, reid_rpc_server, grace);
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = n->next) {
        reid_rpc_conn *conn = REID_RPC_OWNER(n, reid_rpc_conn, node);
        end_calls(conn);
        reid_rpc_alarm_set(&server->pump, &conn->alarm, REID_MIN(server->limits.linger_ms, 1000));
    }
}

void reid_rpc_server_shutdown(reid_rpc_server *server, uint32_t grace_ms,
                              void (*on_done)(void *user), void *user)
{
    if (server->draining) {
        uint64_t due = uv_now(server->pump.loop) + grace_ms;
        if (server->grace.slot > 0 && due < server->grace.due_ms)
            reid_rpc_alarm_set(&server->pump, &server->grace, grace_ms);
        return;
    }
    server->draining = true;
    reid_rpc_alarm_cancel(&server->pump, &server->trim);
    server->on_done = on_done;
    server->done_user = user;
    close_listeners(server);
    if (server->health)
        reid_rpc_health_stop(server->health);
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = n->next)
        reid_rpc_conn_drain(REID_RPC_OWNER(n, reid_rpc_conn, node));
    reid_rpc_alarm_set(&server->pump, &server->grace, grace_ms);
    reid_rpc_server_check_done(server);
}

static void delete_server(reid_rpc_server *server)
{
    while (!reid_rpc_list_empty(&server->listeners)) {
        reid_rpc_listener *listener =
            REID_RPC_OWNER(server->listeners.next, reid_rpc_listener, node);
        reid_rpc_list_remove(&listener->node);
        reid_rpc_listener_free(listener);
    }
    reid_rpc_health_free(server->health);
    reid_rpc_reflection_free(server->reflection);
    nghttp2_session_callbacks_del(server->callbacks);
    nghttp2_option_del(server->option);
    reid_vec_fini(&server->rows);
    free(server);
}

void reid_rpc_server_handle_closed(reid_rpc_server *server)
{
    if (--server->open_handles == 0)
        delete_server(server);
}

static void pump_closed(reid_rpc_pump *pump)
{
    reid_rpc_server_handle_closed(REID_RPC_OWNER(pump, reid_rpc_server, pump));
}

static void trim(reid_rpc_alarm *alarm)
{
    REID_RPC_OWNER(alarm, reid_rpc_server, trim)->closed = 0;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void reid_rpc_server_conn_closed(reid_rpc_server *server)
{
    server->conn_count--;
    if (++server->closed >= TRIM_CONNECTIONS && !server->draining)
        reid_rpc_alarm_set(&server->pump, &server->trim, TRIM_MS);
    reid_rpc_server_check_done(server);
    if (server->freed && server->conn_count == 0)
        reid_rpc_pump_close(&server->pump, pump_closed);
    reid_rpc_server_handle_closed(server);
}

void reid_rpc_server_free(reid_rpc_server *server)
{
    if (!server)
        return;
    REID_ASSERT(!server->freed);
    server->freed = true;
    server->draining = true;
    reid_rpc_room_end(server);
    close_listeners(server);
    reid_rpc_node *next;
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = next) {
        next = n->next;
        reid_rpc_conn *conn = REID_RPC_OWNER(n, reid_rpc_conn, node);
        REID_ASSERT(!conn->wire.in_session);
        reid_rpc_conn_abandon(conn);
    }
    while (!reid_rpc_list_empty(&server->lost_calls))
        reid_rpc_call_report_now(REID_RPC_OWNER(server->lost_calls.next, reid_rpc_call, node));
    reid_rpc_task_cancel(&server->done_task);
    reid_rpc_alarm_cancel(&server->pump, &server->grace);
    reid_rpc_alarm_cancel(&server->pump, &server->trim);
    if (server->conn_count == 0)
        reid_rpc_pump_close(&server->pump, pump_closed);
}
