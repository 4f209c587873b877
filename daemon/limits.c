#include "daemon/limits.h"

#define MILLION 1000000

const reidd_limit_row reidd_limit_rows[REIDD_LIMIT_COUNT] = {
    [REIDD_LIMIT_CONNECTIONS] = {"--max-connections", 4096, 1, MILLION,
                                 "connections of clients, at each socket"},
    [REIDD_LIMIT_USER_CONNECTIONS] = {"--max-user-connections", 2048, 1, MILLION,
                                      "of them by one user, or over TCP from one address"},
    [REIDD_LIMIT_STREAMS] = {"--max-streams", 128, 1, 65536, "open calls per connection"},
    [REIDD_LIMIT_SUBSCRIBERS] = {"--max-subscribers", 16384, 1, MILLION,
                                 "open watches, metrics, events, logs and hooks of all clients"},
    [REIDD_LIMIT_USER_SUBSCRIBERS] = {"--max-user-subscribers", 4096, 1, MILLION,
                                      "of them by one user; admins have no such limit"},
    [REIDD_LIMIT_UNREAD_BYTES] = {"--max-unread-bytes", 24 << 20, 1 << 20, 1 << 30,
                                  "bytes of answers that clients have not read, of all together"},
    [REIDD_LIMIT_JOBS] = {"--max-jobs", 20000, 1, MILLION, "jobs that have not ended"},
    [REIDD_LIMIT_USER_JOBS] = {"--max-user-jobs", 1000, 1, MILLION,
                               "of them by one user; admins have no such limit"},
    [REIDD_LIMIT_SUBMISSIONS] = {"--max-submissions", 120, 1, MILLION,
                                 "submissions a minute by one user; admins have no such limit"},
    [REIDD_LIMIT_CHECKS] = {"--max-checks", 256, 1, 65536, "submissions that are being checked"},
    [REIDD_LIMIT_CONFIG_BYTES] = {"--max-config-bytes", 1 << 20, 1024, 1 << 21,
                                  "bytes of a configuration"},
    [REIDD_LIMIT_RANKS] = {"--max-ranks", 4096, 1, 65536, "ranks of a job"},
    [REIDD_LIMIT_HOOK_CLIENTS] = {"--max-hook-clients", 128, 1, 256,
                                  "clients that are hooks of one job"},
    [REIDD_LIMIT_LOWEST_UID] = {"--min-uid", 1000, 1, 4294967293,
                                "lowest uid that jobs run as, where reidd runs as root"},
    [REIDD_LIMIT_RESERVATIONS] = {"--max-reservations", 32, 1, 1000,
                                  "waiting jobs on the same nodes that slots to come are kept for"},
    [REIDD_LIMIT_KEEP_JOBS] = {"--keep-jobs", 100000, 0, 100 * MILLION,
                               "ended jobs that are kept, the latest ones; 0: all"},
    [REIDD_LIMIT_KEEP_DAYS] = {"--keep-days", 0, 0, 36500,
                               "days that ended jobs are kept; 0: for ever"},
};

void reidd_limits_init(reidd_limits *limits)
{
    for (int i = 0; i < REIDD_LIMIT_COUNT; i++)
        limits->values[i] = reidd_limit_rows[i].usual;
}
