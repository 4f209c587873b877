/* Logging: one line per event, `area event key=value …`, to standard error (and to a sink when one
 * is set).
 *
 * reid_log_info("job started id=%s ranks=%d", …). Levels below the threshold cost one comparison.
 * Where standard error is systemd's journal (JOURNAL_STREAM), a line of text there is `<6>job
 * started …`: its level, for journalctl -p, and the event. Any thread may log; a line is written
 * with one write(2). The sink is the only global of the module.
 */
#ifndef REID_BASE_LOG_H
#define REID_BASE_LOG_H

#include <stdbool.h>

typedef enum reid_log_level {
    REID_LOG_DEBUG,
    REID_LOG_INFO,
    REID_LOG_WARN,
    REID_LOG_ERROR,
    REID_LOG_OFF
} reid_log_level;

typedef struct reid_log_options {
    reid_log_level level;
    bool json;           /* JSON lines instead of text */
    const char *program; /* "reidd"; kept, not copied */
    int rank; /* ≥ 0: added to each line; ranks above 0 print only warnings and errors to stderr */
    const char *path; /* also appended to this file when not NULL (all levels ≥ level) */
} reid_log_options;

/* Until the first call: level INFO, text, program "reid", no rank. Returns false when `path` cannot
 * be opened. */
bool reid_log_setup(const reid_log_options *options);
bool reid_log_level_from_name(const char *name,
                              reid_log_level *ret_level); /* debug info warn error off */
void reid_log_write(reid_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes `text` and a newline as it is (no prefix, no level): fast-reid's metric line goes through
 * here. */
void reid_log_plain(const char *text);

#define reid_log_debug(...) reid_log_write(REID_LOG_DEBUG, __VA_ARGS__)
#define reid_log_info(...) reid_log_write(REID_LOG_INFO, __VA_ARGS__)
#define reid_log_warn(...) reid_log_write(REID_LOG_WARN, __VA_ARGS__)
#define reid_log_error(...) reid_log_write(REID_LOG_ERROR, __VA_ARGS__)

#endif
