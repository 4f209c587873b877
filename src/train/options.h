/* The command line of reid-train, as fast-reid's train_net.py takes it:
 *   reid-train --config-file FILE [--resume] [--eval-only] [KEY VALUE …]
 *   reid-train --fork-from DIR [--fork-iter N] [--config-file FILE] KEY VALUE …
 * and, for a daemon, --check-only --world N: would this job run with N ranks?
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
    bool help, version;
    int override_count; /* KEY VALUE … words, in argv */
    char *const *overrides;
} reid_train_options;

/* Fills *ret_options; nothing is allocated. */
reid_status reid_train_options_parse(int argc, char *const *argv, reid_train_options *ret_options,
                                     reid_error *err);

extern const char reid_train_usage[];

#endif
