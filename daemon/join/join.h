/* reidd started by mpirun (`mpirun -N 1 --hostfile hosts reidd …`): becomes reidd-join (main.c),
 * which comes back as an independent reidd with a cluster file. */
#ifndef REIDD_JOIN_JOIN_H
#define REIDD_JOIN_JOIN_H

#include <stdbool.h>

#include "base/status.h"
#include "daemon/options.h"

/* Whether this process was started by mpirun (Open MPI). */
bool reidd_join_is_wanted(void);

/* Returns only when it fails. NOT_FOUND: a build without MPI has no reidd-join. INVALID: options
 * that do not go together with it; the node has no address. */
reid_status reidd_join_exec(const reidd_options *options, int argc, char **argv, reid_error *err);

/* An address of this machine, for others: the first one within `network` ("10.77.0.0/24",
 * "fd00::/8"; NULL: the one of the host's name, else the first that is not the loop back). Caller
 * frees. NOT_FOUND when there is none. */
reid_status reidd_join_find_address(const char *network, char **ret_address, reid_error *err);

#endif
