/* Addresses of nodes. */
#ifndef REIDD_EXEC_ADDRESS_H
#define REIDD_EXEC_ADDRESS_H

#include <stddef.h>

#include "base/status.h"

#define REIDD_ADDRESS_BYTES 16 /* "255.255.255.255" */

/* The IPv4 address of a host, as text. Blocks while a name is looked up; an address is only copied.
 * NOT_FOUND with a sentence. */
reid_status reidd_address_resolve(const char *host, char ret_address[REIDD_ADDRESS_BYTES],
                                  reid_error *err);

#endif
