#include "evaluation/distance.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/parallel.h"

/* Of rows and panels that are multiplied at a time: 12 rows of this depth stay in the first cache,
 * 256 columns of it in the second. */
#define DEPTH ((size_t)512)
/* Rows packed at a time, at most. Columns are packed anew for each such block, which costs a few
 * percent of the products. */
#define BLOCK_ROWS ((size_t)4 * REID_TILE_ROWS)
#define BLOCKS_PER_THREAD 2 /* so that one thread's delay is not everyone's */

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

bool reid_distance_scratch_init(reid_distance_scratch *scratch, size_t rows, size_t dim)
{
    *scratch = (reid_distance_scratch){.kernel = reid_dot_kernel_choose()};
    rows = round_up(rows, REID_KERNEL_ROWS);
    if (dim > SIZE_MAX / sizeof(float) / REID_MAX(rows, (size_t)REID_TILE_COLUMNS))
        return false;
    scratch->rows_bytes = rows * dim * sizeof(float);
    scratch->columns_bytes = REID_TILE_COLUMNS * dim * sizeof(float);
    scratch->tile_bytes = (size_t)REID_TILE_ROWS * REID_TILE_COLUMNS * sizeof(float);
    scratch->rows = reid_alloc_aligned(scratch->rows_bytes);
    scratch->columns = reid_alloc_aligned(scratch->columns_bytes);
    scratch->tile = reid_alloc_aligned(scratch->tile_bytes);
    return scratch->rows && scratch->columns && scratch->tile;
}

void reid_distance_scratch_fini(reid_distance_scratch *scratch)
{
    reid_free_aligned(scratch->rows, scratch->rows_bytes);
    reid_free_aligned(scratch->columns, scratch->columns_bytes);
    reid_free_aligned(scratch->tile, scratch->tile_bytes);
    *scratch = (reid_distance_scratch){0};
}

/* Dot products of packed rows and columns. */
static void multiply(reid_dot_kernel *kernel, const float *rows, size_t row_count,
                     const float *columns, size_t column_count, size_t dim, float *tile)
{
    for (size_t d = 0; d < dim; d += DEPTH) {
        size_t depth = REID_MIN(DEPTH, dim - d);
        for (size_t r = 0; r < row_count; r += REID_KERNEL_ROWS)
            for (size_t c = 0; c < column_count; c += REID_KERNEL_COLUMNS)
                kernel(rows + r * dim + d * REID_KERNEL_ROWS,
                       columns + c * dim + d * REID_KERNEL_COLUMNS, depth, d == 0,
                       tile + r * REID_TILE_COLUMNS + c, REID_TILE_COLUMNS);
    }
}

REID_CLONES static void cosine_row(float *row, size_t count)
{
    for (size_t i = 0; i < count; i++)
        row[i] = 1.0f - row[i];
}

REID_CLONES static void euclidean_row(float *restrict row, size_t count, float own,
                                      const float *restrict squares)
{
    for (size_t i = 0; i < count; i++)
        row[i] = own + squares[i] - 2.0f * row[i];
}

/* Dot products to distances. */
static void finish(const reid_features *features, reid_eval_metric metric,
                   const reid_selection *rows, const reid_selection *columns, float *tile)
{
    float squares[REID_TILE_COLUMNS];
    for (size_t c = 0; c < columns->count; c++)
        squares[c] = features->squares[reid_selection_at(columns, c)];
    for (size_t r = 0; r < rows->count; r++, tile += REID_TILE_COLUMNS) {
        if (metric == REID_EVAL_COSINE)
            cosine_row(tile, columns->count);
        else
            euclidean_row(tile, columns->count, features->squares[reid_selection_at(rows, r)],
                          squares);
    }
}

void reid_distance_between(const reid_features *features, reid_eval_metric metric,
                           const reid_selection *rows, const reid_selection *columns,
                           reid_distance_scratch *scratch)
{
    REID_ASSERT(rows->count <= REID_TILE_ROWS && columns->count <= REID_TILE_COLUMNS);
    reid_features_pack(features, rows, REID_KERNEL_ROWS, scratch->rows);
    reid_features_pack(features, columns, REID_KERNEL_COLUMNS, scratch->columns);
    multiply(scratch->kernel, scratch->rows, rows->count, scratch->columns, columns->count,
             features->dim, scratch->tile);
    finish(features, metric, rows, columns, scratch->tile);
}

typedef struct streaming {
    const reid_features *features;
    reid_eval_metric metric;
    size_t row_end, block_rows, columns[2];
    reid_distance_visit *visit;
    void *user;
    atomic_size_t next; /* first row nobody has taken */
    atomic_bool no_memory;
} streaming;

/* All tiles of a block of packed rows. */
static void stream_block(const streaming *s, reid_distance_scratch *scratch, size_t first,
                         size_t end)
{
    size_t dim = s->features->dim;
    reid_features_pack(s->features, &(reid_selection){.first = first, .count = end - first},
                       REID_KERNEL_ROWS, scratch->rows);
    for (size_t c = s->columns[0]; c < s->columns[1]; c += REID_TILE_COLUMNS) {
        reid_selection columns = {.first = c,
                                  .count = REID_MIN(s->columns[1] - c, (size_t)REID_TILE_COLUMNS)};
        reid_features_pack(s->features, &columns, REID_KERNEL_COLUMNS, scratch->columns);
        for (size_t r = first; r < end; r += REID_TILE_ROWS) {
            reid_selection rows = {.first = r, .count = REID_MIN(end - r, (size_t)REID_TILE_ROWS)};
            multiply(scratch->kernel, scratch->rows + (r - first) * dim, rows.count,
                     scratch->columns, columns.count, dim, scratch->tile);
            finish(s->features, s->metric, &rows, &columns, scratch->tile);
            s->visit(s->user,
                     &(reid_distance_tile){r, rows.count, c, columns.count, scratch->tile});
        }
    }
}

static void *stream_some(void *argument)
{
    streaming *s = argument;
    reid_distance_scratch scratch;
    size_t first;
    if (!reid_distance_scratch_init(&scratch, s->block_rows, s->features->dim))
        atomic_store(&s->no_memory, true);
    while (!atomic_load(&s->no_memory) &&
           (first = atomic_fetch_add(&s->next, s->block_rows)) < s->row_end)
        stream_block(s, &scratch, first, REID_MIN(first + s->block_rows, s->row_end));
    reid_distance_scratch_fini(&scratch);
    return NULL;
}

reid_status reid_distance_stream(const reid_features *features, reid_eval_metric metric,
                                 const size_t rows[2], const size_t columns[2], int threads,
                                 reid_distance_visit *visit, void *user, reid_error *err)
{
    size_t count = rows[1] - rows[0];
    threads = reid_parallel_threads(threads, (count + REID_KERNEL_ROWS - 1) / REID_KERNEL_ROWS);
    size_t pieces = (size_t)threads * (threads > 1 ? BLOCKS_PER_THREAD : 1);
    size_t rounds = (count + pieces * BLOCK_ROWS - 1) / (pieces * BLOCK_ROWS);
    pieces *= REID_MAX(rounds, (size_t)1); /* all of about the same size */
    streaming s = {.features = features,
                   .metric = metric,
                   .row_end = rows[1],
                   .block_rows = round_up((count + pieces - 1) / pieces, REID_KERNEL_ROWS),
                   .columns = {columns[0], columns[1]},
                   .visit = visit,
                   .user = user};
    atomic_init(&s.next, rows[0]);
    reid_parallel_run(threads, stream_some, &s);
    if (atomic_load(&s.no_memory))
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "no memory for distances between features of %zu values", features->dim);
    return REID_OK;
}
