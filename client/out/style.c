#include "out/style.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

const char *reidctl_state_name(Reid__V1__JobState state)
{
    static const char *const names[] = {"UNKNOWN",   "PENDING", "STARTING", "RUNNING",
                                        "SUCCEEDED", "FAILED",  "CANCELLED"};
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

const char *reidctl_state_color(Reid__V1__JobState state, bool color)
{
    static const char *const colors[] = {"",         "\033[33m", "\033[36m", "\033[34m",
                                         "\033[32m", "\033[31m", "\033[35m"};
    return color && (unsigned)state < REID_COUNT_OF(colors) ? colors[state] : "";
}

const char *reidctl_plain(bool color)
{
    return color ? "\033[0m" : "";
}

const char *reidctl_bold(bool color)
{
    return color ? "\033[1m" : "";
}

const char *reidctl_dim(bool color)
{
    return color ? "\033[2m" : "";
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
        reid_str_addf(out, "%ldm %02lds", s / 60, s % 60);
    else if (s < 86400)
        reid_str_addf(out, "%ldh %02ldm", s / 3600, s % 3600 / 60);
    else
        reid_str_addf(out, "%ldd %ldh", s / 86400, s % 86400 / 3600);
}

void reidctl_add_sparkline(reid_str *out, const double *values, size_t count, size_t width)
{
    static const char *const marks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t first = count > width ? count - width : 0;
    double low = INFINITY, high = -INFINITY;
    for (size_t i = first; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        low = REID_MIN(low, values[i]);
        high = REID_MAX(high, values[i]);
    }
    for (size_t i = first; i < count; i++) {
        double place = high > low ? (values[i] - low) / (high - low) : 0;
        if (!isfinite(values[i]))
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

void reidctl_add_clean(reid_str *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        reid_str_add_char(out, (unsigned char)*p < 32 || *p == 127 ? '?' : *p);
}

void reidctl_table_add(reidctl_table *table, const char *text)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? table->capacity * 2 : 64;
        table->cells = reid_xrealloc(table->cells, table->capacity * sizeof *table->cells);
    }
    reid_str cell = REID_STR_INIT;
    reidctl_add_clean(&cell, text);
    table->cells[table->count++] = reid_xstrdup(reid_str_text(&cell));
    reid_str_fini(&cell);
}

/* Characters, not bytes, of UTF-8 text. */
static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void reidctl_table_print(const reidctl_table *table, bool skip_head)
{
    size_t *widths = reid_xcalloc(table->columns, sizeof *widths);
    for (size_t i = skip_head ? table->columns : 0; i < table->count; i++)
        widths[i % table->columns] =
            REID_MAX(widths[i % table->columns], text_width(table->cells[i]));
    for (size_t i = skip_head ? table->columns : 0; i < table->count; i++) {
        size_t column = i % table->columns;
        bool last = column + 1 == table->columns;
        fputs(table->cells[i], stdout);
        if (last)
            putchar('\n');
        else
            printf("%*s", (int)(widths[column] - text_width(table->cells[i]) + 2), "");
    }
    free(widths);
}

void reidctl_table_fini(reidctl_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (reidctl_table){0};
}
