/* Connections when there are too many of them: who makes way for one more.
 *
 * The one that has been without a call for longest does; its client connects again when it needs
 * to. Where all have calls, a client that has more than half of them gives one up. Otherwise the
 * new one is refused. So nobody keeps others out, nor other programs of his own, by holding
 * connections. Over TCP all that is decided when TLS has told who it is; until then there are
 * max_handshakes of them, in which the newer ones displace the older.
 *
 * Connections are kept by client, so that one who connects again and again costs little: what is
 * walked here are clients. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/hash.h"
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

/* ---- clients ---- */

void reid_rpc_crowd_init(reid_rpc_listener *listener)
{
    for (size_t i = 0; i < REID_RPC_PARTY_ROWS; i++)
        reid_rpc_list_init(&listener->parties[i]);
}

static reid_rpc_party *find_party(reid_rpc_listener *listener, const reid_rpc_peer *peer)
{
    uint64_t hash = peer->remote ? reid_hash64(peer->address, host_bytes(peer->address),
                                               reid_hash64(peer->name, strlen(peer->name), 0))
                                 : reid_hash64(&peer->pid, sizeof peer->pid, peer->uid);
    reid_rpc_node *row = &listener->parties[hash % REID_RPC_PARTY_ROWS];
    for (reid_rpc_node *n = row->next; n != row; n = n->next) {
        reid_rpc_party *party = REID_RPC_OWNER(n, reid_rpc_party, node);
        if (is_same_client(&party->peer, peer))
            return party;
    }
    reid_rpc_party *party = reid_xcalloc(1, sizeof *party);
    party->peer = *peer;
    reid_rpc_list_init(&party->idle);
    reid_rpc_list_init(&party->busy);
    reid_rpc_list_append(row, &party->node);
    return party;
}

void reid_rpc_crowd_join(reid_rpc_conn *conn)
{
    conn->party = find_party(conn->listener, &conn->peer);
    conn->party->count++;
    reid_rpc_list_init(&conn->in_party);
    reid_rpc_crowd_look(conn);
}

void reid_rpc_crowd_look(reid_rpc_conn *conn)
{
    bool is_idle = conn->flooding || reid_rpc_list_empty(&conn->calls);
    bool was_listed = conn->party && !reid_rpc_list_empty(&conn->in_party);
    if (!conn->party || (was_listed && is_idle == (conn->idle_since > 0)))
        return;
    conn->idle_since = is_idle ? ++conn->listener->turns : 0;
    reid_rpc_list_remove(&conn->in_party);
    reid_rpc_list_append(is_idle ? &conn->party->idle : &conn->party->busy, &conn->in_party);
}

void reid_rpc_crowd_leave(reid_rpc_conn *conn)
{
    reid_rpc_party *party = conn->party;
    if (!party)
        return;
    conn->party = NULL;
    reid_rpc_list_remove(&conn->in_party);
    if (--party->count > 0)
        return;
    reid_rpc_list_remove(&party->node);
    free(party);
}

/* ---- crowds ---- */

static bool is_in(const crowd *c, const reid_rpc_party *party)
{
    switch (c->kin) {
    case OF_USER:
        return is_same_user(&party->peer, c->peer);
    case OF_HOST:
        return is_same_host(&party->peer, c->peer);
    default:
        return true;
    }
}

static bool is_node(const reid_rpc_party *party)
{
    return strcmp(party->peer.role, "node") == 0;
}

static reid_rpc_conn *first(const reid_rpc_node *list)
{
    return reid_rpc_list_empty(list) ? NULL : REID_RPC_OWNER(list->next, reid_rpc_conn, in_party);
}

typedef struct survey {
    size_t count;
    reid_rpc_conn *idle;           /* without a call for longest; NULL: there is none */
    const reid_rpc_party *largest; /* NULL: nobody is there */
} survey;

static survey look_at(const crowd *c)
{
    survey all = {0};
    for (size_t i = 0; i < REID_RPC_PARTY_ROWS; i++) {
        const reid_rpc_node *row = &c->listener->parties[i];
        for (const reid_rpc_node *n = row->next; n != row; n = n->next) {
            const reid_rpc_party *party = REID_RPC_OWNER(n, reid_rpc_party, node);
            if (!is_in(c, party))
                continue;
            reid_rpc_conn *idle = is_node(party) ? NULL : first(&party->idle);
            if (idle && (!all.idle || idle->idle_since < all.idle->idle_since))
                all.idle = idle;
            if (!all.largest || party->count > all.largest->count)
                all.largest = party;
            all.count += party->count;
        }
    }
    return all;
}

static bool make_way(const crowd *c, const survey *all)
{
    const reid_rpc_party *largest = all->largest;
    reid_rpc_conn *gone = all->idle;
    if (!gone && largest && largest->count > all->count / 2 && !is_node(largest) &&
        !is_same_client(&largest->peer, c->peer))
        gone = first(&largest->busy);
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
        if (listener->conn_count < rows[i].limit)
            continue;
        const survey all = look_at(&c);
        if (all.count >= rows[i].limit && !make_way(&c, &all))
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
