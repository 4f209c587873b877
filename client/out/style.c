#include "out/style.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"

const char *reidctl_state_name(Reid__V1__JobState state)
{
    static const char *const names[] = {"UNKNOWN",   "PENDING", "STARTING",  "RUNNING",
                                        "SUCCEEDED", "FAILED",  "CANCELLED", "PAUSED"};
    return (unsigned)state < REID_COUNT_OF(names) ? names[state] : names[0];
}

const char *reidctl_phase_name(Reid__V1__JobPhase phase)
{
    static const char *const names[] = {"", "loading", "training", "evaluating", "saving"};
    return (unsigned)phase < REID_COUNT_OF(names) ? names[phase] : names[0];
}

bool reidctl_state_is_final(Reid__V1__JobState state)
{
    return state == REID__V1__JOB_STATE__JOB_STATE_SUCCEEDED ||
           state == REID__V1__JOB_STATE__JOB_STATE_FAILED ||
           state == REID__V1__JOB_STATE__JOB_STATE_CANCELLED;
}

const char *reidctl_job_detail(const Reid__V1__Job *job)
{
    return strcmp(job->detail, reidctl_phase_name(job->phase)) != 0 ? job->detail : "";
}

const char *reidctl_state_color(Reid__V1__JobState state, bool color)
{
    static const char *const colors[] = {"",         "\033[33m", "\033[36m", "\033[34m",
                                         "\033[32m", "\033[31m", "\033[35m", "\033[33m"};
    return color && (unsigned)state < REID_COUNT_OF(colors) ? colors[state] : "";
}

const char *reidctl_bold(bool color)
{
    return color ? "\033[1m" : "";
}

const char *reidctl_dim(bool color)
{
    return color ? "\033[2m" : "";
}

const char *reidctl_plain(bool color)
{
    return color ? "\033[0m" : "";
}

void reidctl_add_age(reid_str *out, double seconds)
{
    if (!(seconds >= 0)) {
        reid_str_add(out, "-");
        return;
    }
    long s = seconds < 1e9 ? (long)seconds : 1000000000L;
    if (s < 60)
        reid_str_addf(out, "%lds", s);
    else if (s < 3600)
        reid_str_addf(out, "%ldm%02lds", s / 60, s % 60);
    else if (s < 86400)
        reid_str_addf(out, "%ldh%02ldm", s / 3600, s % 3600 / 60);
    else
        reid_str_addf(out, "%ldd%02ldh", s / 86400, s % 86400 / 3600);
}

/* The mean of a cell's share of the values. */
static double cell_value(const double *values, size_t count, size_t cells, size_t cell)
{
    size_t begin = cell * count / cells, end = (cell + 1) * count / cells;
    double sum = 0;
    for (size_t i = begin; i < end; i++)
        sum += values[i];
    return sum / (double)(end - begin);
}

void reidctl_add_sparkline(reid_str *out, const double *values, size_t count, size_t width)
{
    static const char *const marks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t cells = REID_MIN(count, width);
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < cells; i++) {
        double value = cell_value(values, count, cells, i);
        if (!isfinite(value))
            continue;
        low = REID_MIN(low, value);
        high = REID_MAX(high, value);
    }
    for (size_t i = 0; i < cells; i++) {
        double value = cell_value(values, count, cells, i);
        double place = high > low ? (value - low) / (high - low) : 0;
        if (!isfinite(value))
            reid_str_add(out, "?");
        else
            reid_str_add(out, marks[REID_MIN((size_t)(place * 8), REID_COUNT_OF(marks) - 1)]);
    }
}

void reidctl_add_bar(reid_str *out, double fraction, size_t width)
{
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    fraction = fraction >= 0 ? REID_MIN(fraction, 1) : 0;
    size_t filled = (size_t)(fraction * (double)width * 8);
    reid_str_add(out, "▕");
    for (size_t i = 0; i < width; i++)
        reid_str_add(out, filled >= 8 * (i + 1) ? "█"
                          : filled > 8 * i      ? eighths[filled - 8 * i]
                                                : " ");
    reid_str_add(out, "▏");
}
