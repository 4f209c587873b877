/* Writers take scalars out of an EventStorage: console line, metrics.json, TensorBoard files, or
 * one of your own.
 *
 * A writer is a struct that begins with reid_event_writer and a const table. The PeriodicWriter
 * hook calls write() every so many iterations, after each epoch and at the end, and then close(). A
 * writer never blocks a step for long: the file writers hand their bytes to a thread of their own.
 *
 * Errors: write() and close() return a status whose sentence names the file.
 * reid_event_writer_write applies the policy: a warning, once, and the writer is disabled; with
 * `strict` the error goes to the caller.
 *
 * What is new: `written` is the sequence number (event_storage.h) up to which scalars are written;
 * so scalars put after the last step of an epoch (evaluation) are not lost, though their iteration
 * was written before. It is part of a checkpoint.
 *
 * Threads: all calls on the stepping thread.
 */
#ifndef REID_EVENTS_WRITER_H
#define REID_EVENTS_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "events/event_storage.h"

typedef struct reid_event_writer reid_event_writer;

typedef struct reid_event_writer_impl {
    const char *name; /* "console", "json", "tensorboard", …; unique among the writers of a job */
    /* Required. Writes what is new and brings `written` up to date. */
    reid_status (*write)(reid_event_writer *writer, reid_event_storage *storage, reid_error *err);
    /* Waits until everything written is on disk; NULL: nothing to wait for. */
    reid_status (*flush)(reid_event_writer *writer, reid_error *err);
    /* Flushes and releases the resources; called once. NULL: nothing to do. */
    reid_status (*close)(reid_event_writer *writer, reid_error *err);
    /* Releases the object, after close() or without it. Required. */
    void (*free)(reid_event_writer *writer);
} reid_event_writer_impl;

struct reid_event_writer {
    const reid_event_writer_impl *impl;
    uint64_t written;
    bool strict;   /* an error ends the training */
    bool disabled; /* failed before, or closed */
};

reid_status reid_event_writer_write(reid_event_writer *writer, reid_event_storage *storage,
                                    reid_error *err);
reid_status reid_event_writer_flush(reid_event_writer *writer, reid_error *err);
reid_status reid_event_writer_close(reid_event_writer *writer, reid_error *err);
void reid_event_writer_free(reid_event_writer *writer); /* NULL is fine */

/* ---- console ---- */

typedef struct reid_console_options {
    int64_t max_iter;                            /* iterations of the whole training, for the ETA */
    void (*print)(void *user, const char *line); /* NULL: reid_log_plain with a time in front */
    void *user;
} reid_console_options;

/* fast-reid's CommonMetricPrinter: losses as median(200), time as global average, data_time as
 * avg(20), latest lr, ETA from median(1000) of time (put as "eta_seconds", once an iteration), peak
 * resident memory of this process as max_mem. Silent once the storage's iteration is max_iter. */
reid_event_writer *reid_console_writer_new(const reid_console_options *options);

/* What the line says, apart from the storage. Negative: left out. */
typedef struct reid_console_line {
    double eta_seconds;
    double max_mem_mb;
} reid_console_line;
/* The line as fast-reid prints it (with its leading space), from what the storage holds. */
void reid_console_format(const reid_event_storage *storage, const reid_console_line *line,
                         reid_str *out);

/* ---- metrics.json ---- */

/* Appends one JSON object a line, keys sorted, text as Python's json.dumps(…, sort_keys=True)
 * writes it, with "iteration"; scalars of different iterations are on lines of their own. Hinted
 * scalars are medians of 20. Flushed to disk at each write. A torn last line of an earlier run is
 * ended first. */
reid_status reid_json_writer_open(const char *path, reid_event_writer **ret_writer,
                                  reid_error *err);

/* ---- TensorBoard ---- */

/* A new file events.out.tfevents.<seconds>.<host>.<pid>.<n> in `folder`, which must exist. Tags are
 * the scalar names, steps the iterations; hinted scalars are medians of 20. Flushed to disk at each
 * write. */
reid_status reid_tensorboard_writer_open(const char *folder, reid_event_writer **ret_writer,
                                         reid_error *err);

#endif
