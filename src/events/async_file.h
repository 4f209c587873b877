/* A file that is written and synced by a thread of its own, so that a slow disk does not hold up a
 * training step.
 *
 * Life: open → write … → close (waits for all bytes to be on disk) or abandon (does not). Bytes of
 * one write stay together: when the disk fails in the middle, the file is cut back to the end of
 * the last whole write where that is possible. After a failure the first write, flush or close
 * reports it and nothing is written any more.
 *
 * Threads: one user thread.
 */
#ifndef REID_EVENTS_ASYNC_FILE_H
#define REID_EVENTS_ASYNC_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct reid_async_file reid_async_file;

/* Creates the file if need be and appends. With `end_torn_line`, a file that does not end with a
 * newline gets one. */
reid_status reid_async_file_open(const char *path, bool end_torn_line, reid_async_file **ret_file,
                                 reid_error *err);
/* Queues the bytes and returns. EXHAUSTED when more than 64 MiB wait for the disk. */
reid_status reid_async_file_write(reid_async_file *file, const void *data, size_t size,
                                  reid_error *err);
/* Waits until all queued bytes are on disk. */
reid_status reid_async_file_flush(reid_async_file *file, reid_error *err);
/* Flushes and frees. */
reid_status reid_async_file_close(reid_async_file *own_file, reid_error *err);

#endif
