/* Jobs that have ended are removed: when somebody asks for it, and the oldest ones when there are
 * more than --keep-jobs, or they are older than --keep-days.
 *
 * With a job go its rows in the store (metrics, events, the copy of its journal) and its folder in
 * the state folder (configuration, logs). OUTPUT_DIR is its user's and is never touched; so jobs
 * that were forked from a removed one, or resume in its OUTPUT_DIR, lack nothing. A job that
 * another one still waits for (--after) is not removed. Its id is never given again.
 *
 * A job that is removed is gone for everybody, durably, before the call returns. What it has left
 * is deleted afterwards, a piece at each turn of the loop and its folder on a worker thread, also
 * by the next daemon. The database's file keeps its size; the room in it is used again.
 *
 * Age counts from the job's end, by a clock that goes on steadily from the start of this daemon: a
 * wall clock that jumps ahead removes nothing.
 *
 * What a removed job has used goes on counting for its user's fair share, for as long as usage
 * does: nobody is sooner in turn because he cleans up. Loop thread only.
 */
#ifndef REIDD_PRUNE_H
#define REIDD_PRUNE_H

#include "daemon/manager.h"

typedef struct reidd_prune reidd_prune;

/* NOT_FOUND; PRECONDITION: it has not ended, or another job waits for it. */
reid_status reidd_manager_remove(reidd_manager *manager, const char *id, const char *who,
                                 reid_error *err);

/* Looks soon. */
reidd_prune *reidd_prune_new(reidd_manager *manager);
/* A job has ended: looks in a moment. */
void reidd_prune_later(reidd_prune *prune);
/* Its memory goes when the loop has run. NULL is accepted. */
void reidd_prune_close(reidd_prune *prune);

#endif
