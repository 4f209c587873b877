/* What is known about a job that is being followed, and how it is shown: pure functions from that
 * to text, without a clock, a terminal or a connection.
 *
 *     reidctl_view view = {0};
 *     reidctl_view_take_job(&view, job); reidctl_view_take_row(&view, row); …
 *     reidctl_view_draw(&view, &sight, &picture);
 *     reidctl_view_fini(&view);
 */
#ifndef REIDCTL_VIEW_H
#define REIDCTL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"
#include "reid/v1/job.pb-c.h"

/* Points kept per metric: when there are more, neighbours are averaged, so that the whole history
 * stays visible in bounded memory. */
#define REIDCTL_SERIES_POINTS 2048
/* Metrics kept; the names come from the job. */
#define REIDCTL_SERIES_MAX 256

typedef struct reidctl_series {
    char *name;
    REID_VEC(double) points; /* each the mean of `stride` values */
    size_t stride;
    double sum; /* of the values of the point that is not full yet */
    size_t summed;
    double latest;
} reidctl_series;

typedef struct reidctl_view {
    Reid__V1__Job *job; /* the newest snapshot, NULL before the first */
    REID_VEC(reidctl_series) series;
    char *evaluation;   /* the newest one as text, NULL before the first */
    const char *notice; /* shown below the picture; NULL: none. Not owned. */
} reidctl_view;

void reidctl_view_fini(reidctl_view *view);
/* Owned from here on. */
void reidctl_view_take_job(reidctl_view *view, Reid__V1__Job *own_job);
/* Whether the row holds results of an evaluation (they are in view->evaluation then). */
bool reidctl_view_take_row(reidctl_view *view, const Reid__V1__MetricRow *row);

/* How the picture is looked at. */
typedef struct reidctl_sight {
    size_t columns, lines; /* cells */
    bool color;
    int64_t now_ms; /* wall clock, for how long it has been running */
} reidctl_sight;

/* Lines, each ended by '\n', none wider than sight->columns and not more than sight->lines: name
 * and state, bar, a sparkline per loss, rates, newest evaluation. Nothing before the first
 * snapshot. */
void reidctl_view_draw(const reidctl_view *view, const reidctl_sight *sight, reid_str *out);

/* Single lines without '\n', for output that is no terminal. */
void reidctl_view_add_state(const reidctl_view *view, reid_str *out);
void reidctl_view_add_training(const reidctl_view *view, reid_str *out);   /* needs job->progress */
void reidctl_view_add_evaluation(const reidctl_view *view, reid_str *out); /* needs evaluation */

#endif
