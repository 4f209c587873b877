/* Reads the log files of an attempt as they grow. No loop and no clock of its own: the owner asks
 * again and again. Not thread-safe.
 *
 *     while (reidd_tail_next(tail, ended, &chunk) && send(chunk)) reidd_tail_accept(tail);
 *
 * Live text comes in whole lines, so that lines of several ranks do not mix; a line that stays
 * unfinished (a progress bar) comes as it is once REIDD_TAIL_PATIENCE looks have found nothing new
 * in that file.
 */
#ifndef REIDD_HUB_TAIL_H
#define REIDD_HUB_TAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REIDD_TAIL_CHUNK_BYTES (16u << 10)
#define REIDD_TAIL_PATIENCE 5

typedef struct reidd_tail reidd_tail;

typedef struct reidd_tail_chunk {
    int rank;         /* -1: the launcher */
    const char *node; /* of it, when that is not this one; "" otherwise */
    bool from_stderr;
    const char *data; /* in the buffer */
    size_t size;
    int64_t offset; /* of the first byte in its file */
    char buffer[REIDD_TAIL_CHUNK_BYTES];
} reidd_tail_chunk;

/* `ranks` [count] as wanted, -1 for the launchers of all nodes; count 0: those and all of `world`.
 * tail_lines 0: from the beginning; otherwise the last lines of each file. */
reidd_tail *reidd_tail_new(const char *attempt_folder, const int32_t *ranks, size_t count,
                           int world, int64_t tail_lines);
void reidd_tail_free(reidd_tail *tail);

/* A piece that was not accepted yet, or false when there is none at the moment. `ended`: the files
 * grow no more, everything comes. */
bool reidd_tail_next(reidd_tail *tail, bool ended, reidd_tail_chunk *ret_chunk);
/* The last piece has found its reader; the next one follows. */
void reidd_tail_accept(reidd_tail *tail);

#endif
