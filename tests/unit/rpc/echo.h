/* The Echo service of echo.proto on a server of ours. Counters may be read from any thread. */
#ifndef REID_TESTS_RPC_ECHO_H
#define REID_TESTS_RPC_ECHO_H

#include <stdatomic.h>

#include "echo.pb-c.h"
#include "rpc/client.h"
#include "rpc/server.h"

#define ECHO_PATH "/reid.test.Echo/"

typedef struct echo_service {
    atomic_int opened, closed; /* calls that keep a state: all but Say, Small, Silent, Twice */
    atomic_int cancelled, timed_out; /* how they closed */
    atomic_int refused, drains;      /* sends answered EXHAUSTED; on_drain calls */
    atomic_int second_send;          /* status of the second answer in Twice */
    atomic_size_t most_queued;       /* bytes in one call */
} echo_service;

/* Adds the rows and a guard that forbids Secret. */
void echo_service_add(echo_service *echo, reid_rpc_server *server);

/* A server with Echo, health and reflection on a loop of its own thread. */
typedef struct echo_server echo_server;
echo_server *echo_server_new(const reid_rpc_limits *limits);
/* The same, also at a free port of 127.0.0.1 with mutual TLS; that is then its address. With
 * $ECHO_TLS set, _new makes certificates and does this, too, so that the same tests run over TLS.
 */
echo_server *echo_server_new_tls(const reid_rpc_limits *limits, reid_rpc_tls *tls);
const char *echo_server_path(const echo_server *server);    /* of the Unix socket */
const char *echo_server_address(const echo_server *server); /* "unix:…", "tcp://127.0.0.1:…" */
/* A client of it, over TLS as the user "alice" of the role "operator". */
reid_status echo_server_connect(const echo_server *server, reid_rpc_client **ret_client,
                                reid_error *err);
/* The uid that it sees of such a client. */
int64_t echo_server_uid(const echo_server *server);
echo_service *echo_server_service(echo_server *server);
/* Starts a shutdown and returns at once. */
void echo_server_shutdown(echo_server *server, uint32_t grace_ms);
/* Whether the shutdown is over. */
bool echo_server_is_down(const echo_server *server);
size_t echo_server_connections(echo_server *server); /* as the loop last saw them */
size_t echo_server_calls(echo_server *server);
/* Ends everything: shuts down without grace when that was not done, joins the thread, frees. */
void echo_server_free(echo_server *server);

#endif
