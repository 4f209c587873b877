/* The RPC rows of the daemon: between reid.v1's messages and the manager. The only folder that
 * knows generated types. Loop thread only. */
#ifndef REIDD_API_API_H
#define REIDD_API_API_H

#include <uv.h>

#include "base/vec.h"
#include "daemon/access/access.h"
#include "daemon/access/usage.h"
#include "daemon/cluster/roster.h"
#include "daemon/gpus.h"
#include "daemon/hub/hub.h"
#include "daemon/hub/turns.h"
#include "daemon/limits.h"
#include "daemon/manager.h"
#include "daemon/store/store.h"
#include "reid/v1/system.pb-c.h"
#include "rpc/server.h"

/* Streams that are cursors into something stored send pieces of about PIECE_BYTES and have at most
 * QUEUE_BYTES waiting for their reader: what is not read yet is not read from the store either. */
#define REIDD_PIECE_BYTES (8u << 10)
#define REIDD_QUEUE_BYTES (16u << 10)

typedef struct reidd_api {
    uv_loop_t *loop;
    reidd_manager *manager;
    reidd_store *store;
    reidd_hub *hub;
    reidd_turns *turns;
    reidd_gpus *gpus;
    reidd_access *access;
    reidd_usage *usage;
    const reidd_limits *limits;
    const char *state_dir;
    const char *confinement; /* a sentence (exec/confine.h) */
    const char *node;        /* host name */
    const reidd_nodes *nodes;
    reidd_roster *roster;
    struct reidd_cluster *cluster; /* NULL: this node alone */
    struct reidd_parts *parts;     /* of a member (cluster/part.h); else NULL */
    int64_t started_ms;
    struct reidd_attach *attaches;     /* clients that are hooks (attach.c) */
    struct reidd_pages *pages;         /* of metrics (metrics.c); or NULL */
    struct reidd_picture *picture;     /* the last one that went to a watcher (watch.c); or NULL */
    REID_VEC(reid_rpc_method *) rows;  /* made for this daemon (forward.c) */
    struct machine_look *machine_look; /* under way (nodes.c); or NULL */
    struct rank_link *rank0;           /* links of rank 0, newest first (link.c) */
} reidd_api;

/* JobService, SystemService, health and reflection for everybody's socket. `api` must outlive the
 * server. */
reid_status reidd_api_serve_public(reidd_api *api, reid_rpc_server *server, reid_error *err);
/* RankService and AgentService, for the private socket. */
void reidd_api_serve_ranks(reidd_api *api, reid_rpc_server *server);

/* RankService alone: members relay their ranks' links to the head's other server. */
void reidd_api_add_ranks(reidd_api *api, reid_rpc_server *server);

/* When the servers are gone. */
void reidd_api_fini(reidd_api *api);

/* The tables. */
void reidd_api_add_jobs(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_control(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_hooks(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_system(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_agents(reidd_api *api, reid_rpc_server *server);

/* SystemService.Nodes and .SetNode (nodes.c). */
void reidd_api_nodes(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_set_node(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
/* Tells once how this machine is (without jobs), unless the daemon ends before; the message is the
 * callback's only. */
void reidd_api_look(reidd_api *api, void (*done)(const Reid__V1__Node *node, void *user),
                    void *user);
void reidd_api_look_cancel(reidd_api *api);

/* Hold, Release, Requeue, SetPriority, Remove of JobService (queue.c). */
void reidd_api_hold(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_release(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_requeue(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_set_priority(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_remove(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
/* Only admins let a job go before all others. */
reid_status reidd_api_check_priority(const reidd_caller *caller, int priority, reid_error *err);

void reidd_api_forget_picture(reidd_api *api);

/* Streaming rows (watch.c, events.c, metrics.c, logs.c). */
void reidd_api_watch(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_events(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_metrics(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_logs(reid_rpc_call *call, const ProtobufCMessage *request, void *service);

/* Who calls (caller.c). */
void reidd_api_caller(reidd_api *api, const reid_rpc_call *call, reidd_caller *ret_caller);
/* As reidd_manager_find, for the rows that act on a job: also PERMISSION, when it is another user's
 * and the caller is no admin. */
reid_status reidd_api_find_own(reidd_api *api, const reid_rpc_call *call, const char *key,
                               char ret_id[16], reid_error *err);
/* For rows whose calls stay open: what counts the new one's listener. EXHAUSTED when there are too
 * many of the caller's, or altogether. */
reid_status reidd_api_subscribe(reidd_api *api, const reid_rpc_call *call, reidd_listener *listener,
                                reid_error *err);
reid_rpc_guard reidd_api_guard; /* of the public sockets; `user` is the reidd_api */

/* What tables share (job.c). */
void reidd_api_reply_with_job(reidd_api *api, reid_rpc_call *call, const char *id, bool whole);

#endif
