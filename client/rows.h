/* A feed of metric rows with its cursor: every row exactly once, whatever happens to the
 * connection.
 *
 *     reidctl_rows rows; reidctl_rows_init(&rows, id, follow);
 *     feed = reidctl_rows_feed(&rows); …
 *     for (size_t i = reidctl_rows_take(&rows, &feeds, 0, chunk); i < chunk->n_rows; i++) …
 */
#ifndef REIDCTL_ROWS_H
#define REIDCTL_ROWS_H

#include "feed.h"

typedef struct reidctl_rows {
    Reid__V1__MetricsRequest request; /* names may be set; attempt and seq are the cursor */
    bool again; /* rows were missed, and none has come since they were asked for again */
} reidctl_rows;

/* `id` is kept, not copied. */
void reidctl_rows_init(reidctl_rows *rows, const char *id, bool follow);
reidctl_feed reidctl_rows_feed(const reidctl_rows *rows);

/* Index of the first row of `chunk` that has not been taken before, and the cursor is moved behind
 * the last one. When reidd has left rows out because this reader was too slow, feed `which` is
 * started again from the cursor, and nothing of the chunk is taken (n_rows is returned); what does
 * not come then either is told to standard error. */
size_t reidctl_rows_take(reidctl_rows *rows, reidctl_feeds *feeds, size_t which,
                         const Reid__V1__MetricsChunk *chunk);

#endif
