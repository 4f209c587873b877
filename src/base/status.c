#include "base/status.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/utf8.h"

static const char *const STATUS_NAMES[] = {
    [REID_OK] = "ok",
    [REID_ERR_INVALID] = "invalid",
    [REID_ERR_NOT_FOUND] = "not found",
    [REID_ERR_EXISTS] = "already exists",
    [REID_ERR_PERMISSION] = "permission denied",
    [REID_ERR_UNSUPPORTED] = "unsupported",
    [REID_ERR_PRECONDITION] = "failed precondition",
    [REID_ERR_EXHAUSTED] = "exhausted",
    [REID_ERR_IO] = "input/output error",
    [REID_ERR_CORRUPT] = "corrupt",
    [REID_ERR_TIMEOUT] = "timeout",
    [REID_ERR_CANCELLED] = "cancelled",
    [REID_ERR_UNAVAILABLE] = "unavailable",
    [REID_ERR_NONFINITE] = "not finite",
    [REID_ERR_INTERNAL] = "internal error",
};

const char *reid_status_name(reid_status code)
{
    if ((size_t)code >= REID_COUNT_OF(STATUS_NAMES))
        return "unknown status";
    return STATUS_NAMES[code];
}

static bool is_control(const char *c)
{
    const unsigned char *s = (const unsigned char *)c;
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

/* Sentences quote what files and peers say, cut it, and go on over the wire, where a text is UTF-8,
 * and to terminals and log files, where control characters say something else. */
static void make_harmless(char *text)
{
    while (*text) {
        size_t length = reid_utf8_length(text);
        bool blank = *text == '\n' || *text == '\t';
        if (length == 0 || is_control(text))
            memset(text, blank ? ' ' : '?', length ? length : 1);
        text += length ? length : 1;
    }
}

reid_status reid_fail(reid_error *err, reid_status code, const char *format, ...)
{
    REID_ASSERT(code != REID_OK);
    if (!err || err->code != REID_OK)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_harmless(err->text);
    err->code = code;
    return code;
}

static reid_status status_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return REID_ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return REID_ERR_PERMISSION;
    case EEXIST:
        return REID_ERR_EXISTS;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
        return REID_ERR_EXHAUSTED;
    case ETIMEDOUT:
        return REID_ERR_TIMEOUT;
    default:
        return REID_ERR_IO;
    }
}

reid_status reid_fail_errno(reid_error *err, int errnum, const char *format, ...)
{
    reid_status code = status_from_errno(errnum);
    if (!err || err->code != REID_OK)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    char reason[128];
    const char *text = strerror_r(errnum, reason, sizeof reason);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", text);
    make_harmless(err->text);
    err->code = code;
    return code;
}

reid_status reid_error_prefix(reid_error *err, const char *format, ...)
{
    if (!err || err->code == REID_OK)
        return REID_OK;
    char sentence[sizeof err->text];
    memcpy(sentence, err->text, sizeof sentence);
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", sentence);
    make_harmless(err->text);
    return err->code;
}

void reid_error_clear(reid_error *err)
{
    if (!err)
        return;
    err->code = REID_OK;
    err->text[0] = '\0';
}

_Noreturn void reid_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
