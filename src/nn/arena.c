#include "nn/arena.h"

#include <stdlib.h>

#include "base/alloc.h"

typedef struct placing {
    size_t weight, index;
} placing;

static size_t aligned(size_t bytes)
{
    return (bytes + REID_ARENA_ALIGN - 1) / REID_ARENA_ALIGN * REID_ARENA_ALIGN;
}

/* Heaviest first; the index breaks ties, so that the result does not depend on the sort. */
static int compare_weight(const void *left, const void *right)
{
    const placing *a = left, *b = right;
    if (a->weight != b->weight)
        return a->weight > b->weight ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

bool reid_arena_alive(const reid_arena_buffer *buffer, int time)
{
    bool alive = buffer->first <= time && time <= buffer->last;
    for (int i = 0; i < buffer->moment_count; i++)
        alive = alive || buffer->moments[i] == time;
    return alive;
}

static bool alive_together(const reid_arena_buffer *a, const reid_arena_buffer *b)
{
    bool together = a->first <= b->last && b->first <= a->last;
    for (int i = 0; i < a->moment_count; i++)
        together = together || reid_arena_alive(b, a->moments[i]);
    for (int i = 0; i < b->moment_count; i++)
        together = together || reid_arena_alive(a, b->moments[i]);
    return together;
}

/* Lowest offset at which `buffer` clears all placed ones; `placed` is sorted by offset. */
static size_t lowest_gap(const reid_arena_buffer *buffers, const size_t *placed,
                         size_t placed_count, const reid_arena_buffer *buffer)
{
    size_t offset = 0;
    for (size_t i = 0; i < placed_count; i++) {
        const reid_arena_buffer *other = &buffers[placed[i]];
        if (!alive_together(buffer, other))
            continue;
        if (other->offset >= offset + aligned(buffer->bytes))
            break;
        if (other->offset + aligned(other->bytes) > offset)
            offset = other->offset + aligned(other->bytes);
    }
    return offset;
}

static void insert_by_offset(const reid_arena_buffer *buffers, size_t *placed, size_t placed_count,
                             size_t index)
{
    size_t at = placed_count;
    for (; at > 0 && buffers[placed[at - 1]].offset > buffers[index].offset; at--)
        placed[at] = placed[at - 1];
    placed[at] = index;
}

/* Gives the roots their offsets in this order; returns the size. */
static size_t place_in_order(reid_arena_buffer *buffers, const placing *order, size_t roots)
{
    size_t *placed = reid_xcalloc(roots + 1, sizeof *placed), total = 0;
    for (size_t i = 0; i < roots; i++) {
        reid_arena_buffer *buffer = &buffers[order[i].index];
        buffer->offset = lowest_gap(buffers, placed, i, buffer);
        insert_by_offset(buffers, placed, i, order[i].index);
        if (buffer->offset + aligned(buffer->bytes) > total)
            total = buffer->offset + aligned(buffer->bytes);
    }
    free(placed);
    return total;
}

static size_t place_by_weight(reid_arena_buffer *buffers, size_t count, bool by_life)
{
    placing *order = reid_xcalloc(count + 1, sizeof *order);
    size_t roots = 0;
    for (size_t i = 0; i < count; i++)
        if (buffers[i].root < 0) {
            size_t life = (size_t)(buffers[i].last - buffers[i].first) + 1;
            order[roots++] = (placing){by_life ? life : buffers[i].bytes, i};
        }
    qsort(order, roots, sizeof *order, compare_weight);
    size_t total = place_in_order(buffers, order, roots);
    free(order);
    return total;
}

size_t reid_arena_place(reid_arena_buffer *buffers, size_t count)
{
    size_t by_life = place_by_weight(buffers, count, true);
    size_t total = place_by_weight(buffers, count, false);
    if (by_life < total)
        total = place_by_weight(buffers, count, true);
    for (size_t i = 0; i < count; i++)
        if (buffers[i].root >= 0)
            buffers[i].offset = buffers[buffers[i].root].offset;
    return total;
}

size_t reid_arena_live_peak(const reid_arena_buffer *buffers, size_t count)
{
    int first = 0, last = 0;
    for (size_t i = 0; i < count; i++) {
        first = buffers[i].first < first ? buffers[i].first : first;
        last = buffers[i].last > last ? buffers[i].last : last;
        for (int k = 0; k < buffers[i].moment_count; k++)
            last = buffers[i].moments[k] > last ? buffers[i].moments[k] : last;
    }
    size_t times = (size_t)(last - first) + 1, peak = 0, sum = 0;
    size_t *begun = reid_xcalloc(times + 1, sizeof *begun);
    size_t *ended = reid_xcalloc(times + 1, sizeof *ended);
    for (size_t i = 0; i < count; i++)
        if (buffers[i].root < 0) {
            begun[buffers[i].first - first] += aligned(buffers[i].bytes);
            ended[buffers[i].last - first + 1] += aligned(buffers[i].bytes);
            for (int k = 0; k < buffers[i].moment_count; k++) {
                begun[buffers[i].moments[k] - first] += aligned(buffers[i].bytes);
                ended[buffers[i].moments[k] - first + 1] += aligned(buffers[i].bytes);
            }
        }
    for (size_t t = 0; t < times; t++) {
        sum = sum + begun[t] - ended[t];
        peak = sum > peak ? sum : peak;
    }
    free(begun);
    free(ended);
    return peak;
}
