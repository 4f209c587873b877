/* The run that a fork begins with: what can be had from its OUTPUT_DIR without touching it.
 *
 * The folder may belong to a running job. Nothing is written there and no lock is taken; a
 * checkpoint counts only with its manifest and checksums, so that one half-written is not seen, and
 * of the journal whole lines only.
 *
 * Fork at iteration N: the state before iteration N, in which the words have been obeyed that take
 * effect before N (reid_control_is_history), or that the checkpoint at N has obeyed already. A
 * checkpoint at exactly N is that state. Otherwise it comes of following the run from the newest
 * checkpoint before N on, with the configuration of the next checkpoint behind it, since a run's
 * configuration changes only where it is resumed, else with that of the folder.
 *
 * Life: reid_fork_source_open → reid_fork_source_check → reid_fork_source_fini (zeroed is fine).
 * One rank does it.
 */
#ifndef REID_TRAIN_FORK_SOURCE_H
#define REID_TRAIN_FORK_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "config/config.h"
#include "data/dataset.h"

typedef struct reid_fork_source {
    char *dir;         /* absolute */
    int64_t iteration; /* N */
    char *checkpoint;  /* to begin with; NULL: there is none up to N */
    int64_t begin;     /* its iteration, or 0 */
    reid_config *config;
    int64_t iters_per_epoch; /* 0: no checkpoint tells */
    bool seed_known;
    uint64_t seed;
    reid_str journal; /* the lines up to the last one that counts */
} reid_fork_source;

/* `iteration` -1: that of the newest checkpoint. */
reid_status reid_fork_source_open(const char *dir, int64_t iteration, reid_fork_source *ret_source,
                                  reid_error *err);
void reid_fork_source_fini(reid_fork_source *source);

/* Whether a run of this configuration can go on from there: the same network and optimizer, the
 * same iterations in an epoch, an N that both have. INVALID otherwise, with a sentence. `config`
 * has its number of classes. */
reid_status reid_fork_source_check(reid_fork_source *source, const reid_config *config,
                                   const reid_dataset *dataset, int world, reid_error *err);

#endif
