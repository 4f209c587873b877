#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "events/writer.h"

/* Windows of fast-reid's CommonMetricPrinter, in samples. */
#define LOSS_WINDOW 200
#define DATA_TIME_WINDOW 20
#define ETA_WINDOW 1000

typedef struct console_writer {
    reid_event_writer base;
    reid_console_options options;
    bool started; /* last_iter and last_s are set */
    int64_t last_iter;
    double last_s;
    reid_str text; /* kept from line to line: a step allocates nothing */
} console_writer;

/* The sign of a NaN means nothing, and Python does not print it. */
static void add_number(reid_str *out, const char *format, double value)
{
    char text[352]; /* room for any double in %f */
    if (isnan(value))
        snprintf(text, sizeof text, "nan");
    else
        snprintf(text, sizeof text, format, value);
    reid_str_add(out, text);
}

static void add_losses(const reid_event_storage *storage, reid_str *out)
{
    bool first = true;
    for (size_t i = 0; i < reid_event_storage_count(storage); i++) {
        reid_event_scalar scalar = reid_event_storage_at(storage, i);
        if (!strstr(scalar.name, "loss"))
            continue;
        reid_str_addf(out, "%s%s: ", first ? "" : "  ", scalar.name);
        add_number(out, "%.4g", reid_history_median(scalar.history, LOSS_WINDOW));
        first = false;
    }
}

void reid_console_format(const reid_event_storage *storage, const reid_console_line *line,
                         reid_str *out)
{
    reid_str_add_char(out, ' ');
    if (line->eta_seconds >= 0) {
        char eta[32];
        reid_format_duration(eta, line->eta_seconds);
        reid_str_addf(out, "eta: %s  ", eta);
    }
    reid_str_addf(out, "epoch/iter: %lld/%lld  ", (long long)reid_event_storage_epoch(storage),
                  (long long)reid_event_storage_iter(storage));
    add_losses(storage, out);
    reid_str_add(out, "  ");
    const reid_history *time = reid_event_storage_history(storage, "time");
    if (time) {
        reid_str_add(out, "time: ");
        add_number(out, "%.4f  ", reid_history_global_avg(time));
    }
    const reid_history *data_time = reid_event_storage_history(storage, "data_time");
    if (data_time) {
        reid_str_add(out, "data_time: ");
        add_number(out, "%.4f  ", reid_history_avg(data_time, DATA_TIME_WINDOW));
    }
    const reid_history *lr = reid_event_storage_history(storage, "lr");
    reid_str_add(out, "lr: ");
    if (lr)
        add_number(out, "%.2e", reid_history_latest(lr));
    else
        reid_str_add(out, "N/A");
    reid_str_add(out, "  ");
    if (line->max_mem_mb >= 0)
        reid_str_addf(out, "max_mem: %.0fM", line->max_mem_mb);
}

/* Largest resident set so far, MiB. */
static double peak_memory_mb(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss / 1024 : -1;
}

/* Puts "eta_seconds" once an iteration: the line may be printed twice in the last one of an epoch.
 */
static reid_status measured_eta(console_writer *console, reid_event_storage *storage,
                                const reid_history *time, double *ret_eta_s, reid_error *err)
{
    int64_t iter = reid_event_storage_iter(storage);
    double eta_s =
        reid_history_median(time, ETA_WINDOW) * (double)(console->options.max_iter - iter - 1);
    reid_event_scalar last;
    *ret_eta_s = eta_s;
    if (reid_event_storage_find(storage, "eta_seconds", &last) && last.iter == iter)
        return REID_OK;
    return reid_event_storage_put_scalar(storage, "eta_seconds", eta_s, false, err);
}

/* Before the first "time": from the time between two lines. Negative when there is no line yet. */
static double estimated_eta(console_writer *console, int64_t iter)
{
    double now_s = reid_clock_seconds();
    double eta_s = -1;
    if (console->started && iter > console->last_iter)
        eta_s = (now_s - console->last_s) / (double)(iter - console->last_iter) *
                (double)(console->options.max_iter - iter - 1);
    console->started = true;
    console->last_iter = iter;
    console->last_s = now_s;
    return eta_s;
}

/* Before a line of the log; one that goes elsewhere has no stamp. */
static void add_stamp(console_writer *console)
{
    char stamp[64];
    struct tm local;
    time_t now = (time_t)(reid_clock_wall_ms() / 1000);
    if (console->options.print)
        return;
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "[%m/%d %H:%M:%S reid.events]: ", &local);
    reid_str_add(&console->text, stamp);
}

static void print_line(const console_writer *console)
{
    const char *line = reid_str_text(&console->text);
    if (console->options.print)
        console->options.print(console->options.user, line);
    else
        reid_log_plain(line);
}

static reid_status console_write(reid_event_writer *writer, reid_event_storage *storage,
                                 reid_error *err)
{
    console_writer *console = (console_writer *)writer;
    int64_t iter = reid_event_storage_iter(storage);
    if (iter == console->options.max_iter)
        return REID_OK;
    reid_console_line line = {.max_mem_mb = peak_memory_mb()};
    const reid_history *time = reid_event_storage_history(storage, "time");
    if (time)
        REID_TRY(measured_eta(console, storage, time, &line.eta_seconds, err));
    else
        line.eta_seconds = estimated_eta(console, iter);
    reid_str_clear(&console->text);
    add_stamp(console);
    reid_console_format(storage, &line, &console->text);
    print_line(console);
    writer->written = reid_event_storage_sequence(storage);
    return REID_OK;
}

static void console_free(reid_event_writer *writer)
{
    reid_str_fini(&((console_writer *)writer)->text);
    free(writer);
}

static const reid_event_writer_impl CONSOLE = {
    .name = "console",
    .write = console_write,
    .free = console_free,
};

reid_event_writer *reid_console_writer_new(const reid_console_options *options)
{
    console_writer *console = reid_xcalloc(1, sizeof *console);
    console->base.impl = &CONSOLE;
    console->options = *options;
    reid_str_reserve(&console->text, REID_EVENT_TEXT_BYTES);
    return &console->base;
}
