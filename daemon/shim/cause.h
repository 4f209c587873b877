/* The first cause of an attempt's end. Pure but for the small files it reads in the attempt's
 * folder.
 *
 * Candidates are the last words of a rank (failures/rank-N.json) and the ends of ranks that no one
 * asked for. The earliest counts. Times of other nodes are only known to some milliseconds, or not
 * at all; among those that may each have been the first, what they are decides: a rank that was
 * killed comes before one that says what is wrong with it, that before one that has just ended, and
 * all before those that miss others or were ended by mpirun.
 *
 * Where a rank is known to have failed but not how, and where nothing is known of any rank,
 * mpirun's own message in logs/launcher.log is read, then mpirun's exit status.
 */
#ifndef REIDD_SHIM_CAUSE_H
#define REIDD_SHIM_CAUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/exec/files.h"
#include "daemon/shim/memory.h"

typedef struct reidd_rank_fate {
    bool ended;
    /* `end` is what happened; otherwise the processes are only known to be gone since end.wall_ms
     */
    bool known;
    bool away;        /* on another node; mpirun knows how it ended when that node has not told */
    bool asked;       /* it ended after its node was asked to end it */
    reidd_oom memory; /* of an end by signal 9 that this shim has not sent */
    reidd_rank_exit end; /* in the time of this node */
    /* Of the clock of its node: what it is ahead (its words' time has that in it), and how wrong
     * that, and so end.wall_ms, may be. */
    int64_t ahead_ms, doubt_ms;
} reidd_rank_fate;

typedef struct reidd_launcher_fate {
    bool is_mpirun; /* otherwise the launched process was the only rank */
    bool started;
    bool hung; /* it did not end after its ranks, and was killed */
    reidd_rank_exit end;
} reidd_launcher_fate;

typedef struct reidd_cause_input {
    const char *attempt_dir;
    const reidd_rank_fate *ranks;
    int rank_count;
    const char *const *nodes; /* [rank_count] of each rank; NULL: all are here */
    reidd_launcher_fate launcher;
    int64_t stop_ms;       /* when the ranks were asked to stop; 0: they were not */
    int64_t kill_ms;       /* when what was left was killed; 0: it was not */
    bool grace_over;       /* killed because the ranks did not stop in time */
    int64_t left_ms;       /* when left_node's agent has gone; 0: none has */
    const char *left_node; /* whose agent has gone before its ranks; NULL: none */
    const char *own;       /* what the shim itself found wrong; NULL: nothing */
} reidd_cause_input;

/* Fills everything but ended_ms. */
void reidd_cause_find(const reidd_cause_input *input, reidd_exit_report *ret_report);

/* Reads mpirun's message about the first rank that failed. False when there is none. */
bool reidd_cause_from_launcher(const char *text, int *ret_rank, int *ret_exit_code,
                               int *ret_signal);

#endif
