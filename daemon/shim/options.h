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
    int ranks;
    int64_t grace_ms; /* between TERM and KILL, unless the file `grace` says otherwise */
    int lock_fd;      /* the lock, taken already; -1: the shim takes it itself */
    char **command;   /* NULL-terminated; the trainer and its arguments */
} reidd_shim_options;

#define REIDD_GRACE_MS 20000

reid_status reidd_shim_options_parse(int argc, char **argv, reidd_shim_options *ret_options,
                                     reid_error *err);

#endif
