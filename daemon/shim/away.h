/* The ranks of an attempt that are on other nodes. The head's daemon tells of them by files in the
 * attempt's folder, which it fills with what the other nodes' daemons send:
 *
 *     ranks/rank-N.away  it has been started there; ranks/rank-N.exit: how it ended, as for others
 *     nodes/NAME.clock   by how many milliseconds its clock is ahead of this node's, and how wrong
 *                        that may be
 *     nodes/NAME.stop    when the node was asked to end its ranks (milliseconds)
 *     nodes/NAME.begun   the node has got its part of the attempt; nodes/NAME.end: that part is
 * over
 *
 * Nothing is ever signalled here: their own node stops and kills them.
 */
#ifndef REIDD_SHIM_AWAY_H
#define REIDD_SHIM_AWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/sched/nodes.h"
#include "daemon/shim/options.h"

typedef struct reidd_away {
    const char *folder, *self;
    reidd_placement placement; /* empty: all ranks are here */
    const char **nodes;        /* [ranks] of each rank; NULL: all ranks are here */
} reidd_away;

/* INVALID when the placement is none, or is not that of so many ranks. Free with _fini. */
reid_status reidd_away_init(reidd_away *away, const reidd_shim_options *options, reid_error *err);
void reidd_away_fini(reidd_away *away);

/* Whether a rank is on another node. */
bool reidd_away_is(const reidd_away *away, int rank);
bool reidd_away_has_started(const reidd_away *away, int rank);
/* Whether the rank's node has reported the end of all that it had of the attempt. */
bool reidd_away_is_over(const reidd_away *away, int rank);
/* When its node was asked to end it, as the wall clock has it; 0: it was not. */
int64_t reidd_away_stop_ms(const reidd_away *away, int rank);
/* ahead_ms, doubt_ms of the clock of the rank's node; a doubt of REIDD_AWAY_UNKNOWN_MS where
 * nothing is known of it. Zeros for this node's ranks. */
#define REIDD_AWAY_UNKNOWN_MS (INT64_C(100) * 366 * 24 * 3600 * 1000)
void reidd_away_clock(const reidd_away *away, int rank, int64_t *ret_ahead_ms,
                      int64_t *ret_doubt_ms);
/* The node that was asked first to end its ranks, when that was before `before_ms`, and so not
 * because everything ended: its agent has gone. NULL: none. */
const char *reidd_away_left(const reidd_away *away, int64_t before_ms, int64_t *ret_ms);
/* Whether every part that has begun is over. */
bool reidd_away_all_over(const reidd_away *away);

#endif
