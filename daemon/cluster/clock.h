/* By how much the wall clock of another node is ahead of this one's, learned from heartbeats. Pure.
 *
 * This node's beat holds its monotonic clock; the other's next beat returns that, how long it was
 * held there, and the other's wall clock. The way there and back is what is left of the time; when
 * the other's clock was read, half of it is taken to have been over, which is wrong by the other
 * half at most (as in RFC 5905, 8). The quickest way counts, for as long as clocks may be trusted
 * not to have drifted by more, and until one of them is set. */
#ifndef REIDD_CLUSTER_CLOCK_H
#define REIDD_CLUSTER_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct reidd_clock {
    bool known;
    int64_t ahead_us; /* negative: it is behind */
    int64_t doubt_us; /* how wrong that may have been … */
    int64_t at_us;    /* … then, on this node's monotonic clock */
} reidd_clock;

/* One answer: when this node had sent (monotonic), how long the other one has held it, its wall
 * clock; and both clocks of this node at its arrival. Returns whether another value counts now. */
bool reidd_clock_take(reidd_clock *clock, int64_t sent_us, int64_t held_us, int64_t their_wall_us,
                      int64_t now_us, int64_t wall_us);
/* The doubt at `now_us`: clocks drift. */
int64_t reidd_clock_doubt_us(const reidd_clock *clock, int64_t now_us);

#endif
