/* A member of a cluster has no jobs: what its clients ask of the rows for jobs goes on to the head,
 * message by message, in the name of the client, and so do the answers (forward.c). Loop thread
 * only. */
#ifndef REIDD_API_FORWARD_H
#define REIDD_API_FORWARD_H

#include "daemon/api/api.h"

/* What a member may speak with at most, whatever the client's role on the member is: a node that
 * was broken into must not become an admin of the cluster. */
#define REIDD_FORWARD_ROLE REIDD_ROLE_OPERATOR

/* reid_rpc_server_add_service with the rows as they are, or, on a member, with handlers that ask
 * the head. */
void reidd_api_add_rows(reidd_api *api, reid_rpc_server *server, const reid_rpc_method *methods,
                        size_t count);

#endif
