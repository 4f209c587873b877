/* The command line of reidd: one table of rows for parsing and help. */
#ifndef REIDD_OPTIONS_H
#define REIDD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/status.h"
#include "daemon/limits.h"

#define REIDD_SLOTS_AUTO (-1)

typedef struct reidd_options {
    char *state_dir;   /* absolute */
    char *socket_path; /* absolute */
    char *trainer;     /* NULL: reid-train beside reidd, else in PATH */
    char *group;       /* of viewers; NULL: none */
    char *hook_dir;    /* absolute; NULL: no native hooks */
    char *cluster;     /* absolute: the cluster file; NULL: this node alone */
    char *node;        /* own row in it; NULL: the host's name */
    char *tls_dir;     /* absolute; NULL: no TCP */
    char *network;     /* of the nodes that mpirun starts together; NULL: not told */
    int64_t port;      /* … that they listen at; 0: 7411 */
    char *listen;      /* one more address to serve, tcp://HOST:PORT; NULL: none */
    char *gpus;        /* "auto", "none" or UUIDs; NULL: "auto", with --slots "none" */
    bool take_over;    /* this node is the head, whatever others have followed */
    int64_t slots;     /* REIDD_SLOTS_AUTO: one per GPU that is offered, else one per core */
    int64_t grace_ms, start_timeout_ms, check_timeout_ms, stall_notice_ms;
    int64_t loading_timeout_ms, step_timeout_ms, evaluation_timeout_ms,
        saving_timeout_ms; /* 0: none */
    reid_log_level log_level;
    bool log_json;
    char *operators, *admins;        /* groups that have these roles; NULL: none */
    char *data_roots, *output_roots; /* folders with colons between; NULL: anywhere */
    reidd_limits limits;
    int64_t share_hours; /* half-life of the users' usage; 0: no fair share; -1: not said */
    int64_t limit_grace_ms;
    int64_t pause_timeout_ms;
    char *backup_store; /* absolute; else NULL: only this is done */
    bool check_store;   /* only this is done */
    bool help, version;
} reidd_options;

/* Free with reidd_options_fini, also after a failure. INVALID: one sentence about the option. */
reid_status reidd_options_parse(int argc, char *const *argv, reidd_options *ret_options,
                                reid_error *err);
void reidd_options_fini(reidd_options *options);
char *reidd_options_help(void); /* caller frees */

#endif
