/* The command line of reidd-shim. Not for people: reidd and mpirun call it. */
#ifndef REIDD_SHIM_OPTIONS_H
#define REIDD_SHIM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

extern const char reidd_shim_usage[];

typedef struct reidd_shim_options {
    bool rank_exec; /* be the wrapper of one rank, as mpirun starts it */
    bool help, version;
    const char *self;        /* this program's path, for mpirun */
    const char *attempt_dir; /* points into argv; in the rank mode from $REIDD_ATTEMPT_DIR */
    int ranks;               /* of the attempt; of a part: those on this node */
    int first;               /* number of the first one; 0 but for a part */
    bool part;               /* the command is orted, which starts the ranks of this node */
    const char *hosts;       /* where the ranks are, as a placement (sched/nodes.h); NULL: here */
    const char *node;        /* this node's name in `hosts` */
    const char *network;     /* of MPI between nodes: CIDR, or this node's address */
    const char *agent;       /* for mpirun to reach other nodes with: reidctl's path */
    int64_t grace_ms;        /* between TERM and KILL, unless the file `grace` says otherwise */
    int lock_fd;             /* the lock, taken already; -1: the shim takes it itself */
    char **command;          /* NULL-terminated; the trainer and its arguments */
} reidd_shim_options;

#define REIDD_GRACE_MS 20000

reid_status reidd_shim_options_parse(int argc, char **argv, reidd_shim_options *ret_options,
                                     reid_error *err);

#endif
