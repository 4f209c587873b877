/* The command line of reid-train, as fast-reid's train_net.py takes it:
 *   reid-train --config-file FILE [--resume] [--eval-only] [KEY VALUE …]
 *   reid-train --fork-from DIR [--fork-iter N] [--config-file FILE] KEY VALUE …
 * for a daemon, --check-only --world N: would this job run with N ranks?
 * and, for people, --plan-only DEVICE: what would it take? (train/plan_only.h)
 */
#ifndef REID_TRAIN_OPTIONS_H
#define REID_TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_train_options {
    const char *config_file; /* points into argv; NULL: the defaults */
    bool resume;             /* go on from OUTPUT_DIR's last checkpoint */
    bool eval_only;
    const char *fork_from; /* OUTPUT_DIR of the run to begin with; NULL: none */
    int64_t fork_iter;     /* before this iteration; -1: of its newest checkpoint */
    bool check_only;
    int world; /* ranks that --check-only reckons with */
    /* --plan-only: plan for this device, print, end. NULL: no. */
    const char *plan_device;
    const char *plan_gpu;      /* whose data sheet bounds the time; NULL: the device's */
    int64_t plan_memory_bytes; /* of one GPU: what batch fits? 0: not asked */
    int plan_nodes;
    double plan_link_gbit; /* network of one node, one direction */
    bool json;
    bool help, version;
    int override_count; /* KEY VALUE … words, in argv */
    char *const *overrides;
} reid_train_options;

/* Fills *ret_options; nothing is allocated. */
reid_status reid_train_options_parse(int argc, char *const *argv, reid_train_options *ret_options,
                                     reid_error *err);

extern const char reid_train_usage[];

#endif
