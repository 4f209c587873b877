#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/str.h"

/* Set up before other threads log; only the level may be read without order. */
static struct {
    atomic_int level;
    bool json;
    bool journal; /* standard error is systemd's journal */
    const char *program;
    int rank;
    int file_fd;
} sink = {.level = REID_LOG_INFO, .program = "reid", .rank = -1, .file_fd = -1};

static const char *const LEVEL_NAMES[] = {"debug", "info", "warn", "error", "off"};

bool reid_log_level_from_name(const char *name, reid_log_level *ret_level)
{
    for (size_t i = 0; i < REID_COUNT_OF(LEVEL_NAMES); i++) {
        if (strcmp(name, LEVEL_NAMES[i]) == 0) {
            *ret_level = (reid_log_level)i;
            return true;
        }
    }
    return false;
}

/* systemd tells device and inode of what it has connected; a child may have put something else
 * there. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    char own[64];
    snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, own) == 0;
}

bool reid_log_setup(const reid_log_options *options)
{
    int fd = -1;
    if (options->path) {
        fd = open(options->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0)
            return false;
    }
    if (sink.file_fd >= 0)
        close(sink.file_fd);
    sink.file_fd = fd;
    sink.json = options->json;
    sink.journal = stderr_is_journal();
    sink.program = options->program ? options->program : "reid";
    sink.rank = options->rank;
    atomic_store(&sink.level, (int)options->level);
    return true;
}

/* The whole line goes out in one call, with its end; only an interrupted or short write is
 * continued. A sink that fails is not worth stopping the program for, and there is no place left to
 * report it. */
static void put_line(int fd, const char *line, size_t length)
{
    static const char end[] = "\n";
    for (size_t done = 0; done <= length;) {
        const struct iovec parts[2] = {{(char *)line + done, length - done}, {(char *)end, 1}};
        ssize_t written = writev(fd, parts, 2);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        done += (size_t)written;
    }
}

/* Control characters would break the rule of one line per event, or play with the reader's
 * terminal. */
static void add_visible(reid_str *line, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n')
            reid_str_add(line, "\\n");
        else if (c == '\t')
            reid_str_add_char(line, *p);
        else if (c < 0x20 || c == 0x7F)
            reid_str_addf(line, "\\x%02x", c);
        else
            reid_str_add_char(line, *p);
    }
}

static void format_text(reid_str *line, const char *time, reid_log_level level, const char *message)
{
    reid_str_addf(line, "%s %s %s", time, LEVEL_NAMES[level], sink.program);
    if (sink.rank >= 0)
        reid_str_addf(line, " rank=%d", sink.rank);
    reid_str_add(line, ": ");
    add_visible(line, message);
}

/* The journal has time and program itself, and takes the level from the front (sd-daemon(3)). */
static void format_journal(reid_str *line, reid_log_level level, const char *message)
{
    static const int priorities[] = {7, 6, 4, 3};
    reid_str_addf(line, "<%d>", priorities[level]);
    add_visible(line, message);
}

static void format_json(reid_str *line, const char *time, reid_log_level level, const char *message)
{
    reid_json_writer w = reid_json_begin(line);
    reid_json_object(&w);
    reid_json_key(&w, "time");
    reid_json_string(&w, time);
    reid_json_key(&w, "level");
    reid_json_string(&w, LEVEL_NAMES[level]);
    reid_json_key(&w, "program");
    reid_json_string(&w, sink.program);
    if (sink.rank >= 0) {
        reid_json_key(&w, "rank");
        reid_json_int(&w, sink.rank);
    }
    reid_json_key(&w, "message");
    reid_json_string(&w, message);
    reid_json_end_object(&w);
}

void reid_log_write(reid_log_level level, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&sink.level, memory_order_relaxed))
        return;
    REID_ASSERT(level < REID_LOG_OFF);
    bool to_stderr = sink.rank <= 0 || level >= REID_LOG_WARN;
    if (!to_stderr && sink.file_fd < 0)
        return;
    int kept_errno = errno;
    reid_str message = REID_STR_INIT;
    va_list args;
    va_start(args, format);
    reid_str_vaddf(&message, format, args);
    va_end(args);
    char time[32];
    reid_format_time(time, reid_clock_wall_ms());
    reid_str line = REID_STR_INIT;
    if (sink.json)
        format_json(&line, time, level, reid_str_text(&message));
    else
        format_text(&line, time, level, reid_str_text(&message));
    if (sink.file_fd >= 0)
        put_line(sink.file_fd, line.data, line.length);
    if (to_stderr && sink.journal && !sink.json) {
        reid_str_clear(&line);
        format_journal(&line, level, reid_str_text(&message));
    }
    if (to_stderr)
        put_line(STDERR_FILENO, line.data, line.length);
    reid_str_fini(&line);
    reid_str_fini(&message);
    errno = kept_errno;
}

void reid_log_plain(const char *text)
{
    int kept_errno = errno;
    size_t length = strlen(text);
    if (sink.rank <= 0)
        put_line(STDERR_FILENO, text, length);
    if (sink.file_fd >= 0)
        put_line(sink.file_fd, text, length);
    errno = kept_errno;
}
