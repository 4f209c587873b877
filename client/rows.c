#include "rows.h"

#include <stdio.h>

void reidctl_rows_init(reidctl_rows *rows, const char *id, bool follow)
{
    *rows = (reidctl_rows){0};
    reid__v1__metrics_request__init(&rows->request);
    rows->request.id = (char *)id;
    rows->request.follow = follow;
}

reidctl_feed reidctl_rows_feed(const reidctl_rows *rows)
{
    return (reidctl_feed){.method = "Metrics",
                          .request = &rows->request.base,
                          .output = &reid__v1__metrics_chunk__descriptor};
}

static bool is_new(const reidctl_rows *rows, const Reid__V1__MetricRow *row)
{
    return row->attempt > rows->request.attempt ||
           (row->attempt == rows->request.attempt && row->seq > rows->request.seq);
}

size_t reidctl_rows_take(reidctl_rows *rows, reidctl_feeds *feeds, size_t which,
                         const Reid__V1__MetricsChunk *chunk)
{
    if (chunk->missed > 0 && !rows->again) {
        rows->again = true;
        reidctl_feeds_again(feeds, which);
        return chunk->n_rows;
    }
    if (chunk->missed > 0)
        fprintf(stderr, "reidctl: %lld rows are missing, this reader was too slow\n",
                (long long)chunk->missed);
    size_t first = 0;
    while (first < chunk->n_rows && !is_new(rows, chunk->rows[first]))
        first++;
    if (first < chunk->n_rows) {
        const Reid__V1__MetricRow *last = chunk->rows[chunk->n_rows - 1];
        rows->request.attempt = last->attempt;
        rows->request.seq = last->seq;
        rows->again = false;
    }
    return first;
}
