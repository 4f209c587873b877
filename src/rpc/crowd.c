/* Connections when there are too many of them: who makes way for one more.
 *
 * The oldest without a call does; its client connects again when it needs to. Where all have calls,
 * a client that has more than half of them gives one up. Otherwise the new one is refused. So
 * nobody keeps others out, nor other programs of his own, by holding connections. Over TCP all that
 * is decided when TLS has told who it is; until then there are max_handshakes of them, in which the
 * newer ones displace the older. */
#include <string.h>

#include "base/compiler.h"
#include "rpc/server_impl.h"

typedef enum kin {
    OF_ANYBODY,
    OF_USER, /* of his uid, or over TCP of his name */
    OF_HOST, /* over TCP */
} kin;

typedef struct crowd {
    kin kin;
    const reid_rpc_listener *listener;
    const reid_rpc_peer *peer; /* of the new one */
} crowd;

/* Bytes of "10.77.0.2:40132" before the port. */
static size_t host_bytes(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return colon ? (size_t)(colon - endpoint) : strlen(endpoint);
}

static bool is_same_host(const reid_rpc_peer *a, const reid_rpc_peer *b)
{
    size_t bytes = host_bytes(a->address);
    return host_bytes(b->address) == bytes && memcmp(a->address, b->address, bytes) == 0;
}

static bool is_same_user(const reid_rpc_peer *a, const reid_rpc_peer *b)
{
    return a->remote ? strcmp(a->name, b->name) == 0 && strcmp(a->role, b->role) == 0
                     : a->uid == b->uid;
}

/* A process; over TCP a user at an address. */
static bool is_same_client(const reid_rpc_peer *a, const reid_rpc_peer *b)
{
    return is_same_user(a, b) && (a->remote ? is_same_host(a, b) : a->pid == b->pid);
}

/* Those that have not told yet who they are count elsewhere. */
static bool is_in(const crowd *c, const reid_rpc_conn *conn)
{
    if (conn->listener != c->listener || conn->wire.closing || &conn->peer == c->peer ||
        (conn->peer.remote && !conn->peer.name[0]))
        return false;
    switch (c->kin) {
    case OF_USER:
        return is_same_user(&conn->peer, c->peer);
    case OF_HOST:
        return is_same_host(&conn->peer, c->peer);
    default:
        return true;
    }
}

/* The next of the crowd after this node of the server's list, or NULL. */
static reid_rpc_conn *next_in(const crowd *c, const reid_rpc_node *node)
{
    const reid_rpc_node *end = &c->listener->server->conns;
    for (node = node->next; node != end; node = node->next) {
        reid_rpc_conn *conn = REID_RPC_OWNER(node, reid_rpc_conn, node);
        if (is_in(c, conn))
            return conn;
    }
    return NULL;
}

#define EACH_IN(c, conn)                                                                           \
    for (reid_rpc_conn *conn = next_in(c, &(c)->listener->server->conns); conn;                    \
         conn = next_in(c, &conn->node))

static bool is_node(const reid_rpc_conn *conn)
{
    return strcmp(conn->peer.role, "node") == 0;
}

static reid_rpc_conn *find_idle(const crowd *c)
{
    EACH_IN(c, conn)
    if ((conn->flooding || reid_rpc_list_empty(&conn->calls)) && !is_node(conn))
        return conn;
    return NULL;
}

/* The oldest of another client that has more than half of all (Boyer and Moore's vote). */
static reid_rpc_conn *find_greedy(const crowd *c)
{
    const reid_rpc_conn *leader = NULL;
    reid_rpc_conn *oldest = NULL;
    size_t lead = 0, of_leader = 0, all = 0;
    EACH_IN(c, conn)
    {
        all++;
        if (lead == 0)
            leader = conn;
        if (is_same_client(&conn->peer, &leader->peer))
            lead++;
        else
            lead--;
    }
    if (!leader || is_node(leader) || is_same_client(&leader->peer, c->peer))
        return NULL;
    EACH_IN(c, conn)
    if (is_same_client(&conn->peer, &leader->peer)) {
        of_leader++;
        oldest = oldest ? oldest : conn;
    }
    return of_leader > all / 2 ? oldest : NULL;
}

static size_t count_all(const crowd *c)
{
    size_t count = 0;
    EACH_IN(c, conn)
    count++;
    return count;
}

static bool make_way(const crowd *c)
{
    reid_rpc_conn *gone = find_idle(c);
    if (!gone)
        gone = find_greedy(c);
    if (gone)
        reid_rpc_conn_abandon(gone);
    return gone != NULL;
}

const char *reid_rpc_crowd_excess(const reid_rpc_listener *listener, const reid_rpc_peer *peer,
                                  unsigned *ret_limit)
{
    const reid_rpc_limits *limits = &listener->server->limits;
    const struct {
        kin kin;
        unsigned limit;
        const char *sentence;
    } rows[] = {
        {OF_USER, limits->max_per_user, "too many of one user"},
        {OF_HOST, peer->remote ? limits->max_per_address : UINT32_MAX, "too many of one address"},
        {OF_ANYBODY, limits->max_connections, "full"},
    };
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        const crowd c = {rows[i].kin, listener, peer};
        *ret_limit = rows[i].limit;
        if (listener->conn_count >= rows[i].limit && count_all(&c) >= rows[i].limit &&
            !make_way(&c))
            return rows[i].sentence;
    }
    return NULL;
}

void reid_rpc_crowd_drop_beginner(const reid_rpc_listener *listener)
{
    const reid_rpc_server *server = listener->server;
    for (reid_rpc_node *n = server->conns.next; n != &server->conns; n = n->next) {
        reid_rpc_conn *conn = REID_RPC_OWNER(n, reid_rpc_conn, node);
        if (conn->listener == listener && !conn->began && !conn->wire.closing) {
            reid_rpc_conn_abandon(conn);
            return;
        }
    }
}
