/* The RPC rows of the daemon: between reid.v1's messages and the manager. The only folder that
 * knows generated types. Loop thread only. */
#ifndef REIDD_API_API_H
#define REIDD_API_API_H

#include <uv.h>

#include "daemon/access/role.h"
#include "daemon/gpus.h"
#include "daemon/hub/hub.h"
#include "daemon/manager.h"
#include "daemon/store/store.h"
#include "rpc/server.h"

typedef struct reidd_api {
    uv_loop_t *loop;
    reidd_manager *manager;
    reidd_store *store;
    reidd_hub *hub;
    reidd_gpus *gpus;
    const char *state_dir;
    const char *node; /* host name */
    int64_t started_ms;
    struct reidd_attach *attaches; /* clients that are hooks (attach.c) */
    struct reidd_page *page;       /* the last one that went to a follower (metrics.c); or NULL */
    struct rank_link *rank0;       /* links of rank 0, newest first (link.c) */
} reidd_api;

/* JobService, SystemService, health and reflection for everybody's socket. `api` must outlive the
 * server. */
reid_status reidd_api_serve_public(reidd_api *api, reid_rpc_server *server, reid_error *err);
/* RankService, for the private socket. */
void reidd_api_serve_ranks(reidd_api *api, reid_rpc_server *server);

/* When the servers are gone. */
void reidd_api_fini(reidd_api *api);

/* The tables. */
void reidd_api_add_jobs(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_control(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_hooks(reidd_api *api, reid_rpc_server *server);
void reidd_api_add_system(reidd_api *api, reid_rpc_server *server);

/* SystemService.Nodes (nodes.c). */
void reidd_api_nodes(reid_rpc_call *call, const ProtobufCMessage *request, void *service);

/* Streaming rows (watch.c, events.c, metrics.c, logs.c). */
void reidd_api_watch(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_events(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_metrics(reid_rpc_call *call, const ProtobufCMessage *request, void *service);
void reidd_api_logs(reid_rpc_call *call, const ProtobufCMessage *request, void *service);

/* What tables share (job.c). The caller frees the name. */
char *reidd_api_user_name(uid_t uid);
void reidd_api_reply_with_job(reidd_api *api, reid_rpc_call *call, const char *id, bool whole);

#endif
