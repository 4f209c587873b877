/* Status codes and errors.
 *
 * A fallible call returns reid_status and takes `reid_error *err` last. The leaf that finds the
 * fault writes one finished sentence (what, where, what to do); callers may put context before it.
 * Only programs print it. `err` may be NULL. The sentence is UTF-8, whatever was quoted (other
 * bytes become '?'). Outputs are written only on success. An error that is already set is kept: the
 * first cause wins. Threads: no shared state; an error object belongs to one thread at a time.
 */
#ifndef REID_BASE_STATUS_H
#define REID_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>

typedef enum reid_status {
    REID_OK = 0,
    REID_ERR_INVALID,      /* bad input: a key, a value, a file's content, a request */
    REID_ERR_NOT_FOUND,    /* a file, a job, a name that is not there */
    REID_ERR_EXISTS,       /* already there */
    REID_ERR_PERMISSION,   /* not allowed to this user or process */
    REID_ERR_UNSUPPORTED,  /* known, but not built or not supported yet */
    REID_ERR_PRECONDITION, /* right request at the wrong time, or in the wrong state */
    REID_ERR_EXHAUSTED,    /* memory, disk, a quota or a queue is full */
    REID_ERR_IO,           /* the operating system or a device failed */
    REID_ERR_CORRUPT,      /* stored data do not match their checksum or format */
    REID_ERR_TIMEOUT,      /* a deadline passed */
    REID_ERR_CANCELLED,    /* stopped on request */
    REID_ERR_UNAVAILABLE,  /* a peer (rank, daemon, client) is gone or unreachable */
    REID_ERR_NONFINITE,    /* a loss became infinite or NaN */
    REID_ERR_INTERNAL,     /* a defect of ours or of a library */
} reid_status;

typedef struct reid_error {
    reid_status code;
    char text[1024];
} reid_error;

/* Short name of a status, such as "not found". */
const char *reid_status_name(reid_status code);

/* Sets `err` (when not NULL and not yet set) and returns `code`. */
reid_status reid_fail(reid_error *err, reid_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": " and the text of `errnum` at the end; picks the code from errnum (ENOENT →
 * NOT_FOUND, EACCES/EPERM → PERMISSION, EEXIST → EXISTS, ENOMEM/ENOSPC/EMFILE/ENFILE → EXHAUSTED,
 * ETIMEDOUT → TIMEOUT, else IO). */
reid_status reid_fail_errno(reid_error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the sentence of an error that is set; does nothing otherwise. Returns
 * err's code. */
reid_status reid_error_prefix(reid_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Makes the object empty again. */
void reid_error_clear(reid_error *err);

/* Returns from the caller when `expression` is not REID_OK. */
#define REID_TRY(expression)                                                                       \
    do {                                                                                           \
        reid_status reid_try_status = (expression);                                                \
        if (reid_try_status != REID_OK)                                                            \
            return reid_try_status;                                                                \
    } while (0)

/* A programmer's error. Kept in release builds; prints the place and aborts. */
#define REID_ASSERT(condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            reid_assert_failed(#condition, __FILE__, __LINE__);                                    \
    } while (0)
_Noreturn void reid_assert_failed(const char *condition, const char *file, int line);

#endif
