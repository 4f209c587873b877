/* Offsets for buffers whose lifetimes are known: two buffers that live at the same time never
 * overlap.
 *
 * Time is the index of a call; a buffer lives from `first` to `last`, both included, and in some
 * single calls beside that. One after the other is put at the lowest offset that fits between those
 * already placed and alive at the same time (Pisarchyk & Lee 2020, "Efficient memory management for
 * deep neural net inference"): the largest first, or the longest-lived first, whichever of the two
 * needs less. */
#ifndef REID_NN_ARENA_H
#define REID_NN_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#define REID_ARENA_ALIGN ((size_t)256)
#define REID_ARENA_MOMENTS 2

typedef struct reid_arena_buffer {
    size_t bytes;
    int first, last;
    int root;      /* ≥ 0: shares the place of that buffer, whose lifetime covers both */
    size_t offset; /* result */
    int moment_count;
    int moments[REID_ARENA_MOMENTS]; /* single calls outside of [first, last]; not of guests */
} reid_arena_buffer;

bool reid_arena_alive(const reid_arena_buffer *buffer, int time);
/* Returns the size of the arena. Buffers with a root get their root's offset. */
size_t reid_arena_place(reid_arena_buffer *buffers, size_t count);
/* The most bytes alive at one time: no placement needs less. */
size_t reid_arena_live_peak(const reid_arena_buffer *buffers, size_t count);

#endif
