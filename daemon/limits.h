/* Every limit of the daemon that somebody may run into, in one table: a row is an option, a default
 * and a sentence. reidd --help and reidctl info print the rows; daemon/README.md says where a new
 * one goes. Pure; thread-safe. */
#ifndef REIDD_LIMITS_H
#define REIDD_LIMITS_H

#include <stddef.h>
#include <stdint.h>

typedef enum reidd_limit {
    REIDD_LIMIT_CONNECTIONS,
    REIDD_LIMIT_USER_CONNECTIONS,
    REIDD_LIMIT_STREAMS,
    REIDD_LIMIT_SUBSCRIBERS,
    REIDD_LIMIT_USER_SUBSCRIBERS,
    REIDD_LIMIT_UNREAD_BYTES,
    REIDD_LIMIT_JOBS,
    REIDD_LIMIT_USER_JOBS,
    REIDD_LIMIT_SUBMISSIONS,
    REIDD_LIMIT_CHECKS,
    REIDD_LIMIT_CONFIG_BYTES,
    REIDD_LIMIT_RANKS,
    REIDD_LIMIT_HOOK_CLIENTS,
    REIDD_LIMIT_LOWEST_UID,
    REIDD_LIMIT_RESERVATIONS,
    REIDD_LIMIT_KEEP_JOBS,
    REIDD_LIMIT_KEEP_DAYS,
    REIDD_LIMIT_COUNT,
} reidd_limit;

typedef struct reidd_limits {
    int64_t values[REIDD_LIMIT_COUNT];
} reidd_limits;

typedef struct reidd_limit_row {
    const char *option; /* "--max-jobs" */
    int64_t usual, low, high;
    const char *help;
} reidd_limit_row;

extern const reidd_limit_row reidd_limit_rows[REIDD_LIMIT_COUNT];

void reidd_limits_init(reidd_limits *limits);

#endif
