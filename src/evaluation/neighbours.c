#include "evaluation/neighbours.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/distance.h"

typedef struct search {
    reid_neighbours *neighbours;
    float *distances; /* [count, k] ascending; infinite where there is none yet */
} search;

REID_CLONES static bool any_below(const float *distances, size_t count, float limit)
{
    int32_t below = 0;
    for (size_t i = 0; i < count; i++)
        below |= distances[i] < limit;
    return below != 0;
}

/* Behind all that are as near: they come earlier. */
static void insert(float *distances, uint32_t *index, size_t k, float distance, uint32_t image)
{
    size_t at = k - 1;
    while (at > 0 && distances[at - 1] > distance) {
        distances[at] = distances[at - 1];
        index[at] = index[at - 1];
        at--;
    }
    distances[at] = distance;
    index[at] = image;
}

#define PIECE ((size_t)32)

static void search_tile(void *user, const reid_distance_tile *tile)
{
    search *s = user;
    size_t k = s->neighbours->k;
    for (size_t r = 0; r < tile->rows; r++) {
        float *best = s->distances + (tile->row + r) * k;
        uint32_t *index = s->neighbours->index + (tile->row + r) * k;
        const float *row = tile->distances + r * REID_TILE_COLUMNS;
        for (size_t c = 0; c < tile->columns; c += PIECE) {
            size_t end = REID_MIN(c + PIECE, tile->columns);
            if (!any_below(row + c, end - c, best[k - 1]))
                continue;
            for (size_t i = c; i < end; i++)
                if (row[i] < best[k - 1])
                    insert(best, index, k, row[i], (uint32_t)(tile->column + i));
        }
    }
}

reid_status reid_neighbours_init(reid_neighbours *neighbours, const reid_features *features,
                                 size_t k, int threads, reid_error *err)
{
    size_t count = features->count;
    REID_ASSERT(k >= 1 && k <= count);
    *neighbours = (reid_neighbours){.count = count, .k = k};
    search s = {.neighbours = neighbours};
    if (k <= SIZE_MAX / sizeof(float) / count) {
        neighbours->index = reid_alloc(count * k, sizeof *neighbours->index);
        s.distances = reid_alloc(count * k, sizeof *s.distances);
    }
    reid_status status = REID_OK;
    if (!neighbours->index || !s.distances)
        status = reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu neighbours of %zu images", k,
                           count);
    for (size_t i = 0; status == REID_OK && i < count * k; i++)
        s.distances[i] = INFINITY;
    if (status == REID_OK)
        status = reid_distance_stream(features, REID_EVAL_EUCLIDEAN, (size_t[2]){0, count},
                                      (size_t[2]){0, count}, threads, search_tile, &s, err);
    free(s.distances);
    if (status != REID_OK)
        reid_neighbours_fini(neighbours);
    return status;
}

void reid_neighbours_fini(reid_neighbours *neighbours)
{
    free(neighbours->index);
    *neighbours = (reid_neighbours){0};
}
