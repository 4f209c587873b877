/* The nearest images of every image, queries and gallery together, by Euclidean distance. */
#ifndef REID_EVALUATION_NEIGHBOURS_H
#define REID_EVALUATION_NEIGHBOURS_H

#include "evaluation/features.h"

typedef struct reid_neighbours {
    size_t count, k;
    uint32_t *index; /* [count, k] nearest first; equally near ones in the order of images */
} reid_neighbours;

/* k ≤ features->count. */
reid_status reid_neighbours_init(reid_neighbours *neighbours, const reid_features *features,
                                 size_t k, int threads, reid_error *err);
void reid_neighbours_fini(reid_neighbours *neighbours);

static inline const uint32_t *reid_neighbours_of(const reid_neighbours *neighbours, size_t i)
{
    return neighbours->index + i * neighbours->k;
}

#endif
