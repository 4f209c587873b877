/* The Echo service of echo.proto on a server of ours. Counters may be read from any thread. */
#ifndef REID_TESTS_RPC_ECHO_H
#define REID_TESTS_RPC_ECHO_H

#include <stdatomic.h>

#include "echo.pb-c.h"
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
/* The same at a free port of 127.0.0.1, with mutual TLS. */
echo_server *echo_server_new_tls(const reid_rpc_limits *limits, reid_rpc_tls *tls);
const char *echo_server_path(const echo_server *server);
const char *echo_server_address(const echo_server *server); /* "unix:…", "tcp://127.0.0.1:…" */
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
