/* The files of a part on their way to the head, which thereby has in its folder of the attempt what
 * it has of ranks of its own: logs, rows, last words, how ranks ended.
 *
 * Growing files are sent in pieces, by offset; small ones as a whole, once they are there. A member
 * has one piece of each file on its way; the head answers with the size that it has then, which
 * counts (a full disk at the head: the same piece again later). How a rank ended is sent after
 * everything that was written before it.
 *
 * The names are a fixed set: the head writes no others, and nothing of ranks that are not the
 * node's. ranks/rank-N.pid becomes ranks/rank-N.away there, since a process number of another node
 * means nothing; logs/launcher.log becomes logs/launcher-NODE.log.
 */
#ifndef REIDD_CLUSTER_MIRROR_H
#define REIDD_CLUSTER_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define REIDD_MIRROR_PIECE (128u << 10)
#define REIDD_MIRROR_WHOLE (64u << 10) /* largest file that is sent as a whole */

/* Ranks first, first + 1, … */
typedef struct reidd_mirror_ranks {
    int first, count;
} reidd_mirror_ranks;

typedef struct reidd_mirror_piece {
    const char *path;
    int64_t offset;
    const void *data;
    size_t size;
    bool whole;
} reidd_mirror_piece;

/* ---- member ---- */

typedef struct reidd_mirror reidd_mirror;
/* Anything but OK: the piece is tried again with the next step. */
typedef reid_status reidd_mirror_send(const reidd_mirror_piece *piece, void *user);

reidd_mirror *reidd_mirror_new(const char *folder, reidd_mirror_ranks ranks,
                               reidd_mirror_send *send, void *user);
void reidd_mirror_free(reidd_mirror *mirror); /* NULL is accepted */
/* The head is there (again): what it has is told by reidd_mirror_ack of each file; others count as
 * empty. */
void reidd_mirror_restart(reidd_mirror *mirror);
/* The ranks' flight recorders (base/flight.h) are sent with the next step, as they are then. Nobody
 * needs them else. */
void reidd_mirror_ask_flight(reidd_mirror *mirror);
/* Looks at the files and sends what is new. Call it now and then, and after acks. */
void reidd_mirror_step(reidd_mirror *mirror);
void reidd_mirror_ack(reidd_mirror *mirror, const char *path, int64_t size);
/* Whether the head has everything. Meaningful when nobody writes any more. */
bool reidd_mirror_is_complete(reidd_mirror *mirror);

/* ---- head ---- */

/* Writes a piece into the head's folder of the attempt; *ret_size: what is there then (-1: nothing
 * could be written, which is logged). INVALID: the node may not write this, or a gap. */
reid_status reidd_mirror_take(const char *folder, const char *node, reidd_mirror_ranks ranks,
                              const reidd_mirror_piece *piece, int64_t *ret_size, reid_error *err);
/* Sizes of the growing files that are there already. */
void reidd_mirror_each(const char *folder, const char *node, reidd_mirror_ranks ranks,
                       void (*each)(const char *path, int64_t size, void *user), void *user);

#endif
