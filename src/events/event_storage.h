/* EventStorage: the one place where training puts its scalars, and from which writers, hooks and
 * streams read them.
 *
 * The meaning is that of fast-reid's utils/events.py and utils/history_buffer.py: each name has a
 * history of (value, iteration) pairs; a name is put always with the same smoothing hint; a reader
 * that respects hints takes the median of the last 20 samples of hinted names and the latest value
 * of the others.
 *
 * Life: reid_event_storage_new → set_iter/set_epoch by the trainer, put_scalar by anybody → _free.
 *
 * Rows: all scalars put since the last row form one row, handed to the listeners when the iteration
 * changes and at reid_event_storage_flush_row (the trainer calls it after each step, each epoch and
 * the training), so that a stream gets every scalar and not every 200th.
 *
 * Threads: the stepping
 * thread only; listeners are called on it and must not block.
 *
 * Names: 1 … 200 bytes of valid UTF-8
 * without control characters; prefixed by the open scopes ("scope/name").
 */
#ifndef REID_EVENTS_EVENT_STORAGE_H
#define REID_EVENTS_EVENT_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "events/history.h"

#define REID_EVENT_WINDOW 20          /* samples of the default median */
#define REID_EVENT_NAME_BYTES_MAX 200 /* with scopes */
#define REID_EVENT_NAMES_MAX 4096     /* different names in one storage */
#define REID_EVENT_TEXT_BYTES 8192    /* first room for what is written of one iteration */

typedef struct reid_event_storage reid_event_storage;

reid_event_storage *reid_event_storage_new(int64_t start_iter);
void reid_event_storage_free(reid_event_storage *storage);

/* Changing the iteration first hands out the pending row under the old one. */
void reid_event_storage_set_iter(reid_event_storage *storage, int64_t iter);
int64_t reid_event_storage_iter(const reid_event_storage *storage);
void reid_event_storage_set_epoch(reid_event_storage *storage, int64_t epoch);
int64_t reid_event_storage_epoch(const reid_event_storage *storage);

/* Adds (value, current iteration) to the history of `name`. NaN and infinities are values like
 * others. INVALID: a bad name, or a hint that differs from the first one; EXHAUSTED: too many
 * names, or no memory. Nothing is put then. */
reid_status reid_event_storage_put_scalar(reid_event_storage *storage, const char *name,
                                          double value, bool smoothing_hint, reid_error *err);

/* Names put from now on get "scope/" in front (a trailing '/' of `scope` is dropped; scopes do not
 * nest in fast-reid: a new one replaces the old one until it is popped, and so here). At most 8
 * deep. */
void reid_event_storage_push_scope(reid_event_storage *storage, const char *scope);
void reid_event_storage_pop_scope(reid_event_storage *storage);

/* One name as it stands. `name` and `history` belong to the storage. */
typedef struct reid_event_scalar {
    const char *name;
    double value; /* latest */
    int64_t iter; /* at which it was put */
    bool smoothing_hint;
    uint64_t sequence; /* number of the put, from 1, over all names: a writer that keeps the largest
                        * one it has written knows what is new, also within one iteration */
    const reid_history *history;
} reid_event_scalar;

size_t reid_event_storage_count(const reid_event_storage *storage);
/* In order of first put. */
reid_event_scalar reid_event_storage_at(const reid_event_storage *storage, size_t index);
/* False when nothing was put under the full name. */
bool reid_event_storage_find(const reid_event_storage *storage, const char *name,
                             reid_event_scalar *ret_scalar);
/* NULL when nothing was put under the full name. */
const reid_history *reid_event_storage_history(const reid_event_storage *storage, const char *name);
/* Latest value, or the median of the last `window` samples when the name is hinted. */
double reid_event_scalar_smoothed(const reid_event_scalar *scalar, size_t window);
/* Number of the newest put, 0 before the first. */
uint64_t reid_event_storage_sequence(const reid_event_storage *storage);

/* ---- rows ---- */

typedef struct reid_event_row_scalar {
    const char *name;
    double value;
} reid_event_row_scalar;

/* Valid during the call. A name put twice within one row is there once, with its last value. */
typedef struct reid_event_row {
    int64_t iter;
    int64_t epoch;
    size_t count;
    const reid_event_row_scalar *scalars; /* in order of first put within the row */
} reid_event_row;

typedef void reid_event_row_fn(void *user, const reid_event_row *row);

/* Listeners are called in order of registration and live as long as the storage. */
void reid_event_storage_on_row(reid_event_storage *storage, reid_event_row_fn *fn, void *user);
/* Hands out the pending row; does nothing when it is empty. */
void reid_event_storage_flush_row(reid_event_storage *storage);

/* ---- state ---- */

/* Everything but scopes, listeners and the pending row, exact to the bit; little-endian bytes with
 * a version and a checksum, about 16 bytes per sample. Appends to `out`. */
void reid_event_storage_save(const reid_event_storage *storage, reid_str *out);
/* Replaces the content. CORRUPT: not such bytes, or damaged; UNSUPPORTED: written by a newer
 * version. The storage is unchanged then. */
reid_status reid_event_storage_load(reid_event_storage *storage, const void *data, size_t size,
                                    reid_error *err);

#endif
