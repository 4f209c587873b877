/* Colours, table columns, durations and little charts for people. */
#ifndef REIDCTL_STYLE_H
#define REIDCTL_STYLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "reid/v1/job.pb-c.h"

const char *reidctl_state_name(Reid__V1__JobState state); /* "RUNNING" */
const char *reidctl_phase_name(Reid__V1__JobPhase phase); /* "training", "" when unknown */
bool reidctl_state_is_final(Reid__V1__JobState state);
/* Escape sequence of a state's colour, "" without colour; ends with reidctl_plain. */
const char *reidctl_state_color(Reid__V1__JobState state, bool color);
const char *reidctl_plain(bool color);
const char *reidctl_bold(bool color);
const char *reidctl_dim(bool color);

/* "3m 20s", "2h 05m", "4d 3h"; "-" for a negative number. */
void reidctl_add_age(reid_str *out, double seconds);
/* One character per value, ▁ to █ between the smallest and the largest; the newest `width` values.
 */
void reidctl_add_sparkline(reid_str *out, const double *values, size_t count, size_t width);
/* [██████▌    ] of `width` cells. */
void reidctl_add_bar(reid_str *out, double fraction, size_t width);
/* Text from a job may come from anybody: control characters become '?'. */
void reidctl_add_clean(reid_str *out, const char *text);

/* A table: cells row by row, columns as wide as their widest cell. */
typedef struct reidctl_table {
    size_t columns;
    char **cells;
    size_t count, capacity;
} reidctl_table;
void reidctl_table_add(reidctl_table *table, const char *text);       /* copied, cleaned */
void reidctl_table_print(const reidctl_table *table, bool skip_head); /* to standard output */
void reidctl_table_fini(reidctl_table *table);

#endif
