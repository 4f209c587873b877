#include "daemon/cluster/clock.h"

#include <stdlib.h>

#define READING_US 1000 /* clocks are read, and written down, in ms */
#define DRIFT_US_PER_S                                                                             \
    500 /* of two clocks that are being set right, which is the worst of them                      \
         */
#define LONGEST_US 60000000

int64_t reidd_clock_doubt_us(const reidd_clock *clock, int64_t now_us)
{
    return clock->doubt_us + (now_us - clock->at_us) / 1000000 * DRIFT_US_PER_S;
}

bool reidd_clock_take(reidd_clock *clock, int64_t sent_us, int64_t held_us, int64_t their_wall_us,
                      int64_t now_us, int64_t wall_us)
{
    if (sent_us <= 0 || sent_us > now_us || now_us - sent_us > LONGEST_US || held_us < 0 ||
        held_us > now_us - sent_us || their_wall_us <= 0)
        return false; /* whatever that is, it is no answer */
    int64_t way_us = now_us - sent_us - held_us;
    const reidd_clock found = {
        .known = true,
        .ahead_us = their_wall_us + way_us / 2 - wall_us,
        .doubt_us = way_us / 2 + READING_US,
        .at_us = now_us,
    };
    int64_t old_doubt_us = reidd_clock_doubt_us(clock, now_us);
    bool was_set = llabs(found.ahead_us - clock->ahead_us) > found.doubt_us + old_doubt_us;
    if (clock->known && !was_set && found.doubt_us > old_doubt_us)
        return false;
    *clock = found;
    return true;
}
