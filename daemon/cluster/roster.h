/* What outlives the daemon about nodes: who is drained, by whom and why, and how many slots each
 * had (so that a head that has just started does not take a node it has not heard yet for one
 * without).
 *
 * It keeps the `drained` mark of the rows of reidd_nodes, and their note as long as they are up.
 *
 * Life: reidd_roster_init (when all rows are there) → … → reidd_roster_fini. Loop thread only.
 */
#ifndef REIDD_CLUSTER_ROSTER_H
#define REIDD_CLUSTER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "daemon/sched/nodes.h"
#include "daemon/store/store.h"

typedef struct reidd_roster_entry {
    char *reason, *who; /* of the drain; never NULL */
    char *down;         /* why the node is down; NULL: it is up */
} reidd_roster_entry;

typedef struct reidd_roster {
    reidd_store *store;
    reidd_nodes *nodes;
    reidd_roster_entry *entries; /* as many as nodes */
    size_t count;
} reidd_roster;

/* Reads the store: rows without slots get those they had, and drained ones their mark. `store` and
 * `nodes` outlive the roster. */
reid_status reidd_roster_init(reidd_roster *roster, reidd_store *store, reidd_nodes *nodes,
                              reid_error *err);
void reidd_roster_fini(reidd_roster *roster);

const reidd_roster_entry *reidd_roster_entry_of(const reidd_roster *roster, const char *name);

/* Stored before it counts. NOT_FOUND: no such node, with those there are. `reason` may be "". */
reid_status reidd_roster_drain(reidd_roster *roster, const char *name, bool drained,
                               const char *reason, const char *who, reid_error *err);
/* The row is up, or (`down` not NULL) not, with the reason for people. Not stored. */
void reidd_roster_mark(reidd_roster *roster, size_t row, const char *down);
/* Slots and GPUs of the row; stored when they are new. gpu_type NULL or "": none. A store that
 * cannot be written is logged only. Whether something has changed. */
bool reidd_roster_learn(reidd_roster *roster, size_t row, int slots, const char *gpu_type);

#endif
