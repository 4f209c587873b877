/* The daemons of several nodes as one: who they are, which of them are there, and messages between
 * them.
 *
 * One node is the head: it owns jobs, queue and store. The others, members, connect to it and keep
 * one stream open (proto/reid/v1/node.proto: NodeService/Join), on which both sides speak at least
 * every REIDD_BEAT_MS. Who is silent for REIDD_SILENCE_MS is lost. A member that has lost the head
 * looks for it for ever, and keeps what runs on it. Without a cluster file there is no
 * reidd_cluster (functions below that say so take NULL).
 *
 * The head keeps a row of reidd_nodes (daemon/sched/nodes.h) for each node: row 0 is the head.
 *
 * Life: reidd_cluster_new → reidd_cluster_set_parts (whoever starts ranks on members) → _serve →
 * _start → the loop runs → _close. Loop thread only. Handlers may call everything here but _close.
 *
 * Parts, the ranks of an attempt on a member, are others' business: their messages are passed on.
 */
#ifndef REIDD_CLUSTER_CLUSTER_H
#define REIDD_CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/status.h"
#include "daemon/cluster/file.h"
#include "daemon/sched/nodes.h"
#include "daemon/store/store.h"
#include "reid/v1/node.pb-c.h"
#include "rpc/channel.h"
#include "rpc/server.h"

#define REIDD_NODE_OLDEST 2 /* the oldest protocol (base/protocol.h) with nodes in it */

/* Both ends. */
#define REIDD_BEAT_MS 1000
#define REIDD_SILENCE_MS 5000
/* After so much of it a member tries another connection: in one that was cut, and has healed, TCP
 * waits for longer and longer. */
#define REIDD_RESTLESS_MS 3000
#define REIDD_PARTED_MS 8000  /* two members are parted: they can tell each other by nobody else */
#define REIDD_TWIN_MS 2500    /* a node that was heard so lately lives, and is no other one */
#define REIDD_CLOCK_MS 1000   /* a clock that is more off is warned of */
#define REIDD_WEATHER_MS 2000 /* members tell how their machine is */
#define REIDD_JOIN_LEAST_MS 250 /* before a member tries again, doubled up to … */
#define REIDD_JOIN_MOST_MS 2000
#define REIDD_NODE_MESSAGE (1u << 20) /* largest message of a Join */
#define REIDD_NODE_QUEUE (4u << 20)   /* bytes that wait on a member to be sent to the head */

typedef struct reidd_cluster reidd_cluster;

/* ---- who ---- */

bool reidd_cluster_is_head(const reidd_cluster *cluster);   /* NULL: true */
bool reidd_cluster_is_member(const reidd_cluster *cluster); /* NULL: false */
/* The rows of the cluster file (file.h): names and addresses. Borrowed. */
const reidd_cluster_file *reidd_cluster_get_file(const reidd_cluster *cluster);
const reidd_cluster_node *reidd_cluster_self(const reidd_cluster *cluster);
const reidd_cluster_node *reidd_cluster_head(const reidd_cluster *cluster);
/* Whether this daemon may start jobs: not before the others had time to say whom they follow, and
 * not on a head that was replaced. NULL: true. */
bool reidd_cluster_may_start(const reidd_cluster *cluster);
/* A sentence on a head that was replaced; else NULL, also without a cluster. Borrowed until the
 * loop goes on. */
const char *reidd_cluster_rival(const reidd_cluster *cluster);
/* Whether the node is connected (head: that member; member: the head, whatever `name`). */
bool reidd_cluster_is_up(const reidd_cluster *cluster, const char *name);
/* "node3 was lost: nothing was heard of it for 5 s"; "" when it is up. Borrowed until the loop goes
 * on. */
const char *reidd_cluster_note(const reidd_cluster *cluster, const char *name);

/* On the head: by how much a member's wall clock is ahead of the one here (negative: behind), and
 * how wrong that may be. False: it is not known yet. */
bool reidd_cluster_clock(const reidd_cluster *cluster, const char *name, int64_t *ret_ahead_ms,
                         int64_t *ret_doubt_ms);

/* Whether whoever is at the other end of a call is a node of this cluster: over TLS by its
 * certificate (role node), over a Unix socket by the daemon's own user. PERMISSION otherwise, and
 * always without a cluster. ret_name may be NULL; it becomes NULL over a Unix socket (any node). */
reid_status reidd_cluster_check_peer(const reidd_cluster *cluster, const reid_rpc_peer *peer,
                                     const char **ret_name, reid_error *err);

/* Whether the clients of the node at the other end may look only, whatever it says. */
bool reidd_cluster_only_viewers(const reidd_cluster *cluster, const reid_rpc_peer *peer);

/* ---- messages about parts ---- */

typedef struct reidd_part_events {
    /* On the head. `name` and `message` are the callback's only; kinds: part_started, part_ended,
     * mirror. INVALID or any other failure cuts the connection with that sentence. */
    reid_status (*on_up)(const char *name, const Reid__V1__NodeUp *message, void *user,
                         reid_error *err);
    /* On the head: the member has said hello. The callee tells what is known of each of `parts`, by
     * filling welcome->parts (n_parts rows, allocated with protobuf-c's default allocator: they are
     * freed with the welcome). After it messages may be sent to the node. */
    void (*on_hello)(const char *name, Reid__V1__PartStatus *const *parts, size_t part_count,
                     Reid__V1__NodeWelcome *welcome, void *user);
    /* On the head: nothing was heard of it for REIDD_SILENCE_MS. `why` is a finished sentence. A
     * connection that ends and comes back in time is no loss: then only on_hello comes again. */
    void (*on_node_lost)(const char *name, const char *why, void *user);

    /* On the head: calls `each` with the members that have ranks of the same job as `name` has.
     * NULL: nobody watches anybody. */
    void (*each_partner)(const char *name, void (*each)(const char *other, void *arg), void *arg,
                         void *user);
    /* On the head, every second: it reaches both, but `name` does not reach `other` any more. */
    void (*on_parted)(const char *name, const char *other, void *user);

    /* On a member: fills hello->parts in the same way, before each try to join. */
    void (*on_joining)(Reid__V1__NodeHello *hello, void *user);
    /* On a member: the head is there; welcome->parts says what it knows. */
    void (*on_welcome)(const Reid__V1__NodeWelcome *welcome, void *user);
    /* On a member; kinds: part_start, part_stop, part_forget, mirror_ack. */
    reid_status (*on_down)(const Reid__V1__NodeDown *message, void *user, reid_error *err);
    /* On a member: the head is lost. What runs goes on. */
    void (*on_head_lost)(const char *why, void *user);

    /* On the head: another value of reidd_cluster_clock counts. */
    void (*on_clock)(const char *name, void *user);

    /* Both: there is room again after a send that was EXHAUSTED. */
    void (*on_room)(const char *name, void *user);
} reidd_part_events;

/* Slots may be NULL. `events` is kept, not copied. */
void reidd_cluster_set_parts(reidd_cluster *cluster, const reidd_part_events *events, void *user);

/* Head → member. UNAVAILABLE: it is not connected. EXHAUSTED: the queue is full; on_room tells when
 * to go on. Heartbeats have room of their own. */
reid_status reidd_cluster_send(reidd_cluster *cluster, const char *name,
                               const Reid__V1__NodeDown *message, reid_error *err);
/* Member → head, the same. */
reid_status reidd_cluster_report(reidd_cluster *cluster, const Reid__V1__NodeUp *message,
                                 reid_error *err);
/* A member's connection to the head, for further streams (links of ranks, calls of clients); they
 * end when it is lost. NULL while there is none. */
reid_rpc_channel *reidd_cluster_channel(const reidd_cluster *cluster);

/* ---- life ---- */

typedef struct reidd_cluster_options {
    const char *file;           /* path of the cluster file */
    const char *node;           /* own row; NULL: the host's name */
    reid_rpc_tls *tls;          /* for tcp: addresses; borrowed; may be NULL */
    const char *shim, *trainer; /* told in the hello, compared by the head */
    int64_t started_ms;
    reidd_store *store; /* remembers which head counts (succession.h); borrowed */
    bool take_over;     /* this head does, whatever others have followed */
    int slots;          /* of this node */
    reidd_nodes *nodes; /* empty; filled at once: head first, then the others as in the file (on a
                         * member: itself alone) */
    /* Asks for how this machine is; the answer is given to reidd_cluster_set_weather. */
    void (*look)(void *user);
    void (*on_change)(void *user); /* head: a row of `nodes` has changed: schedule again */
    void *user;
} reidd_cluster_options;

/* Reads the file. INVALID, NOT_FOUND: something is wrong with it, or this node is not in it. */
reid_status reidd_cluster_new(uv_loop_t *loop, const reidd_cluster_options *options,
                              reidd_cluster **ret_cluster, reid_error *err);
/* Where what the head learns of nodes is kept (roster.h); before _serve. */
struct reidd_roster;
void reidd_cluster_set_roster(reidd_cluster *cluster, struct reidd_roster *roster);
/* Adds NodeService to the server for nodes and clients, and listens at the address of the own row.
 */
reid_status reidd_cluster_serve(reidd_cluster *cluster, reid_rpc_server *server, reid_error *err);
/* A member begins to look for the head; the head to watch for silence. */
void reidd_cluster_start(reidd_cluster *cluster);
void reidd_cluster_set_weather(reidd_cluster *cluster, const Reid__V1__Node *node);
/* This daemon ends on purpose: the head is told, no new attempt to join is made. */
void reidd_cluster_leave(reidd_cluster *cluster);
/* After the server was freed. Its memory goes when the loop has run. NULL is accepted. */
void reidd_cluster_close(reidd_cluster *cluster);

/* ---- for people (head only) ---- */

/* What is known of a node besides its row in reidd_nodes. Borrowed until the loop goes on. */
typedef struct reidd_cluster_view {
    const reidd_cluster_node *place;
    const Reid__V1__Node *weather; /* the last one; NULL: none yet */
    double heard_s;                /* seconds since; 0: this node; negative: never */
    int64_t since_ms;              /* up or down; 0: never up */
    int64_t started_ms;            /* its reidd; 0: never up */
    int64_t until_s;               /* Unix time that its certificate ends at; 0: not known */
} reidd_cluster_view;
/* `row` of reidd_nodes. */
reidd_cluster_view reidd_cluster_look_at(const reidd_cluster *cluster, size_t row);

#endif
