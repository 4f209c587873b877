/* Names, colours, durations and little charts for people. */
#ifndef REIDCTL_OUT_STYLE_H
#define REIDCTL_OUT_STYLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "reid/v1/job.pb-c.h"

const char *reidctl_state_name(Reid__V1__JobState state); /* "RUNNING" */
const char *reidctl_phase_name(Reid__V1__JobPhase phase); /* "training", "" when unknown */
bool reidctl_state_is_final(Reid__V1__JobState state);
/* job->detail when it says more than state and phase do, else "". */
const char *reidctl_job_detail(const Reid__V1__Job *job);

/* Escape sequences, "" when `color` is false. Each ends with reidctl_plain. */
const char *reidctl_state_color(Reid__V1__JobState state, bool color);
const char *reidctl_bold(bool color);
const char *reidctl_dim(bool color);
const char *reidctl_plain(bool color);

/* "45s", "3m20s", "2h05m", "4d03h": one word; "-" for a negative number and for NaN. */
void reidctl_add_age(reid_str *out, double seconds);

/* One character per cell, ▁ to █ between the smallest and the largest value, at most `width` of
 * them; when there are more values, each cell stands for the mean of its share. Not finite: "?". */
void reidctl_add_sparkline(reid_str *out, const double *values, size_t count, size_t width);

/* ▕██████▌    ▏ with `width` cells between the marks, `fraction` of them filled. */
void reidctl_add_bar(reid_str *out, double fraction, size_t width);

#endif
