/* A program that answers lines: a child process on a libuv loop, with pipes at its standard input
 * and output; its standard error is ours. It is in a session of its own, so that Ctrl-C is ours
 * alone to act on.
 *
 * Life: reidctl_program_start → _write … on_readable, _next_line → _close_input → on_end →
 * reidctl_program_free. Everything on the loop's thread; nothing blocks.
 *
 * It has ended when the process has gone and its output was read to the end, or when the output is
 * still held open by somebody else two seconds later. Lines are kept until they are taken; while
 * there are some, its output is not read, so that a program that writes much is held back by its
 * pipe.
 */
#ifndef REIDCTL_HOOK_PROGRAM_H
#define REIDCTL_HOOK_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "base/status.h"
#include "base/str.h"

#define REIDCTL_PROGRAM_LINE_BYTES (64u << 10) /* the longest line */

typedef struct reidctl_program reidctl_program;

typedef struct reidctl_program_events {
    void (*on_readable)(void *user); /* _next_line has something to say */
    void (*on_written)(void *user);  /* _queued has fallen */
    void (*on_end)(void *user);      /* once */
} reidctl_program_events;

/* argv ends with NULL; argv[0] is looked for in PATH. INVALID when it cannot be run. */
reid_status reidctl_program_start(uv_loop_t *loop, char **argv,
                                  const reidctl_program_events *events, void *user,
                                  reidctl_program **ret_program, reid_error *err);
/* Kills it when it has not ended; the memory goes when the loop has run. No callback comes from
 * here on. NULL is accepted. */
void reidctl_program_free(reidctl_program *program);

/* Queues text for its standard input; nothing when that is closed, or the program does not read any
 * more. */
void reidctl_program_write(reidctl_program *program, const char *text, size_t length);
size_t reidctl_program_queued(const reidctl_program *program); /* bytes it has not taken yet */
/* The end of its input, after what is queued. */
void reidctl_program_close_input(reidctl_program *program);
/* The same, and if it has not ended within `grace_ms`, it gets TERM, and after that time KILL. */
void reidctl_program_end(reidctl_program *program, unsigned grace_ms);

/* Takes its next line, without the line's end. *ret_line is NULL when there is none yet; else it is
 * valid until the next call. INVALID: it writes a line that is too long. */
reid_status reidctl_program_next_line(reidctl_program *program, const char **ret_line,
                                      size_t *ret_length, reid_error *err);

bool reidctl_program_has_ended(const reidctl_program *program);
/* Whether it has closed its input or its output by itself: it cannot answer any more. */
bool reidctl_program_is_cut_off(const reidctl_program *program);
/* Of one that has ended: whether with exit status 0, and if not, "sh ended with exit status 3",
 * "sh was ended by signal 9 (Killed)". */
bool reidctl_program_is_success(const reidctl_program *program);
void reidctl_program_add_end(const reidctl_program *program, reid_str *out);
const char *reidctl_program_name(const reidctl_program *program);

#endif
