/* Addresses: "unix:/absolute/path", "unix:///absolute/path" or "unix:relative/path". Thread-safe.
 */
#ifndef REID_RPC_ADDRESS_H
#define REID_RPC_ADDRESS_H

#include <sys/un.h>

#include "base/status.h"

/* The path in an address; the caller frees it. INVALID for anything else (TCP is not supported). */
reid_status reid_rpc_address_parse(const char *address, char **ret_path, reid_error *err);

/* INVALID when the path is empty or longer than a Unix socket's name may be. */
reid_status reid_rpc_sockaddr(const char *path, struct sockaddr_un *ret_sockaddr, reid_error *err);

#endif
