/* Who is at the other end of a connection. */
#ifndef REID_RPC_PEER_H
#define REID_RPC_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { REID_RPC_NAME_BYTES = 65, REID_RPC_ROLE_BYTES = 16, REID_RPC_ENDPOINT_BYTES = 64 };

/* Plain data, copied freely. A local peer has credentials and empty texts; a remote one has texts,
 * and no credentials: uid and gid are -1, pid is 0. */
typedef struct reid_rpc_peer {
    uid_t uid; /* SO_PEERCRED: of a server, who began to listen; of a client, who connected */
    gid_t gid;
    pid_t pid;
    bool remote; /* TCP with mutual TLS; the certificate was checked before any call */
    char name[REID_RPC_NAME_BYTES];        /* CN of its certificate: a node's or a user's name */
    char role[REID_RPC_ROLE_BYTES];        /* OU: "node", "viewer", "operator" or "admin" */
    char address[REID_RPC_ENDPOINT_BYTES]; /* "10.77.0.2:40132", "[fd00::2]:40132" */
    int64_t until_s; /* Unix time that its certificate ends at; 0 for a local one */
    /* In whose name it says to call (reid_rpc_stream_options.caller), of a call only; "" for its
     * own. It is for the guard to believe it or not: anybody can say that. */
    char for_name[REID_RPC_NAME_BYTES];
    char for_role[REID_RPC_ROLE_BYTES];
} reid_rpc_peer;

/* Fills in who is at the other end of a connected Unix socket; false when the kernel does not tell.
 */
bool reid_rpc_peer_read(reid_rpc_peer *ret_peer, int fd);

#endif
