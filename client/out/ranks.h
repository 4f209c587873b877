/* The ranks of a job for people and programs: pure functions from a job to text. */
#ifndef REIDCTL_OUT_RANKS_H
#define REIDCTL_OUT_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "reid/v1/job.pb-c.h"

typedef struct reidctl_ranks_sight {
    size_t columns; /* cells; 0: no limit */
    bool color, headers;
} reidctl_ranks_sight;

/* A line about the job, one about its slow rank, and a row per rank. Lines ended by '\n'. */
void reidctl_ranks_top(const Reid__V1__Job *job, const reidctl_ranks_sight *sight, reid_str *out);
/* {"id", "state", "phase", "straggler", "ranks": [{"rank", …, "note"}]}; what is not known is null.
 */
void reidctl_ranks_json(const Reid__V1__Job *job, reid_str *out);

#endif
