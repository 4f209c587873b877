/* Distances between images, a tile at a time: the whole matrix never exists.
 *
 * A distance has the same bits whatever tile it is computed in and whatever the number of threads
 * (kernel.h), so that what one pass has measured can be compared with what another one measures.
 */
#ifndef REID_EVALUATION_DISTANCE_H
#define REID_EVALUATION_DISTANCE_H

#include "evaluation/features.h"
#include "evaluation/kernel.h"

typedef enum reid_eval_metric {
    REID_EVAL_COSINE,    /* 1 - x·y, for unit features */
    REID_EVAL_EUCLIDEAN, /* squared: |x|² + |y|² - 2 x·y */
} reid_eval_metric;

#define REID_TILE_ROWS (20 * REID_KERNEL_ROWS)
#define REID_TILE_COLUMNS (8 * REID_KERNEL_COLUMNS)

/* The distance of its row r and column c is distances[r × REID_TILE_COLUMNS + c]. */
typedef struct reid_distance_tile {
    size_t row, rows, column, columns; /* images row … row + rows, column … column + columns */
    float *distances;                  /* the visitor may overwrite them */
} reid_distance_tile;

typedef void reid_distance_visit(void *user, const reid_distance_tile *tile);

/* Between images rows[0] … rows[1] and columns[0] … columns[1]. Every pair is visited once; all
 * tiles of one row by the same thread, in the order of columns. EXHAUSTED without memory: about
 * 2 KiB × dim + 240 KiB + at most 4 KiB × dim for each thread. */
reid_status reid_distance_stream(const reid_features *features, reid_eval_metric metric,
                                 const size_t rows[2], const size_t columns[2], int threads,
                                 reid_distance_visit *visit, void *user, reid_error *err);

/* For single tiles; belongs to one thread. */
typedef struct reid_distance_scratch {
    reid_dot_kernel *kernel;
    size_t rows_bytes, columns_bytes, tile_bytes;
    float *rows, *columns, *tile;
} reid_distance_scratch;

/* False without memory; may then be finished all the same. */
bool reid_distance_scratch_init(reid_distance_scratch *scratch, size_t rows, size_t dim);
void reid_distance_scratch_fini(reid_distance_scratch *scratch);

/* Distances of at most REID_TILE_ROWS × REID_TILE_COLUMNS images into scratch->tile, laid out as in
 * a reid_distance_tile. */
void reid_distance_between(const reid_features *features, reid_eval_metric metric,
                           const reid_selection *rows, const reid_selection *columns,
                           reid_distance_scratch *scratch);

#endif
