/* History of one scalar: the last 1,000,000 (value, iteration) pairs in a ring that grows as it
 * fills.
 *
 * Life: zeroed → reid_history_add … → reid_history_fini. Reading is by EventStorage's users through
 * a const pointer. Windows count samples, not iterations, and are cut to what is there. All readers
 * need at least one sample.
 *
 * Threads: none of its own; that of the storage.
 */
#ifndef REID_EVENTS_HISTORY_H
#define REID_EVENTS_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define REID_HISTORY_MAX 1000000

typedef struct reid_history_sample {
    double value;
    int64_t iter;
} reid_history_sample;

typedef struct reid_history {
    reid_history_sample *samples; /* ring */
    size_t capacity;
    size_t first;  /* index of the oldest */
    size_t count;  /* kept, ≤ REID_HISTORY_MAX */
    int64_t total; /* ever added */
    double global_avg;
} reid_history;

/* EXHAUSTED when there is no memory; nothing is added then. */
reid_status reid_history_add(reid_history *history, double value, int64_t iter, reid_error *err);
void reid_history_fini(reid_history *history);

/* 0 is the oldest kept sample. */
reid_history_sample reid_history_at(const reid_history *history, size_t index);
double reid_history_latest(const reid_history *history);
/* As numpy.median: the mean of the middle two for an even number, NaN when there is a NaN among
 * them. */
double reid_history_median(const reid_history *history, size_t window);
double reid_history_avg(const reid_history *history, size_t window);
/* Running mean of all samples ever added, also of those no longer kept: m += (v − m) / n. */
double reid_history_global_avg(const reid_history *history);

#endif
