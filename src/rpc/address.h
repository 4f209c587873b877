/* Addresses: "unix:/absolute/path", "unix:///absolute/path", "unix:relative/path", and over TCP
 * "tcp://host:port", "tcp://10.77.0.1:7411", "tcp://[fd00::1]:7411". Thread-safe.
 */
#ifndef REID_RPC_ADDRESS_H
#define REID_RPC_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/status.h"

typedef struct reid_rpc_address {
    char *path; /* of a Unix socket; NULL: TCP */
    char *host; /* a name or a numeric address, without brackets */
    uint16_t port;
} reid_rpc_address;

/* Whether it is meant to be one over TCP (it may still be malformed). */
bool reid_rpc_address_is_tcp(const char *address);
/* INVALID for anything else. */
reid_status reid_rpc_address_init(reid_rpc_address *address, const char *text, reid_error *err);
void reid_rpc_address_fini(reid_rpc_address *address);

/* INVALID when the path is empty or longer than a Unix socket's name may be. */
reid_status reid_rpc_sockaddr(const char *path, struct sockaddr_un *ret_sockaddr, reid_error *err);

/* "10.77.0.1:7411" or "[fd00::1]:7411"; an IPv4 address inside IPv6 as IPv4. */
void reid_rpc_endpoint_format(const struct sockaddr *address, char *buffer, size_t buffer_bytes);

#endif
