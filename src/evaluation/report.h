/* Results of an evaluation as name/value pairs in percent, and fast-reid's table of them. */
#ifndef REID_EVALUATION_REPORT_H
#define REID_EVALUATION_REPORT_H

#include <stddef.h>

#include "evaluation/rank.h"

#define REID_EVAL_VALUES 6

typedef struct reid_eval_value {
    const char *name; /* static */
    double value;     /* percent */
} reid_eval_value;

typedef struct reid_eval_report {
    const char *dataset;                      /* borrowed */
    reid_eval_value values[REID_EVAL_VALUES]; /* Rank-1, Rank-5, Rank-10, mAP, mINP, metric = (mAP +
                                                 Rank-1) / 2 */
} reid_eval_report;

reid_eval_report reid_eval_report_from_rank(const char *dataset, const reid_rank_result *result);

/* The value called `name`; -1 when there is none. */
double reid_eval_report_value(const reid_eval_report *report, const char *name);

/* Pipe table with two decimals, one row per report, no newline at the end (caller frees):
 *   | Dataset    | Rank-1   | Rank-5   | Rank-10   | mAP   | mINP   | metric   |
 *   |:-----------|:---------|:---------|:----------|:------|:-------|:---------|
 *   | Market1501 | 94.42    | 98.13    | 98.90     | 86.13 | 59.41  | 90.28    |
 */
char *reid_eval_report_table(const reid_eval_report *reports, size_t count);

#endif
