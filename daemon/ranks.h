/* What each rank of a running attempt said last, on what the time of its iterations goes, and which
 * rank the others wait for.
 *
 * A rank tells sums over its steps: seconds until the batch was there, seconds of computing, and
 * seconds in which it stood still for the communication with the others. Differences over a few
 * seconds give what an iteration takes lately. The ranks' iterations take equally long, since they
 * end together; the slow rank is the one that waits least. It is told when the others wait for more
 * than a quarter of an iteration longer than it does, three times in a row. No files, no clock.
 */
#ifndef REIDD_RANKS_H
#define REIDD_RANKS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct reidd_rank_sums {
    int64_t steps;
    double data_s, compute_s, wait_s;
} reidd_rank_sums;

typedef struct reidd_rank {
    char host[64]; /* "": not told */
    int64_t pid;   /* 0: it has not reported */
    int64_t iteration;
    int64_t heard_ms;                 /* monotonic; 0: never */
    double data_s, compute_s, wait_s; /* of one iteration; all 0: not known yet */
    /* private */
    reidd_rank_sums base;
    int64_t base_ms;
    bool has_base;
} reidd_rank;

typedef struct reidd_ranks {
    reidd_rank *items;
    int count;
    char *slow; /* a sentence; NULL: no rank is slow */
    /* private */
    int suspect, looks;
} reidd_ranks;

/* Zeroed is fine for both. _init forgets what was there. */
void reidd_ranks_init(reidd_ranks *ranks, int count);
void reidd_ranks_fini(reidd_ranks *ranks);

void reidd_ranks_hello(reidd_ranks *ranks, int rank, int64_t pid, const char *host);
/* True when `slow` has come or gone. */
bool reidd_ranks_take(reidd_ranks *ranks, int rank, int64_t iteration, const reidd_rank_sums *sums,
                      int64_t now_ms);

#endif
