#include "evaluation/rank.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/distance.h"

#define BLOCK_ROWS 64                 /* queries of one block, at most */
#define BLOCK_BYTES ((size_t)8 << 20) /* distances of one block, about */
#define MAX_THREADS 64

/* What one query contributes. */
typedef struct query_score {
    bool valid;
    uint32_t first_rank; /* from 1 */
    double ap, inp;
} query_score;

typedef struct job {
    const reid_eval_set *query, *gallery_set;
    const reid_gallery *gallery;
    const uint32_t *by_pid;
    size_t block_rows, max_matches;
    query_score *scores;      /* [queries] */
    atomic_size_t next;       /* first query nobody has taken */
    atomic_size_t not_finite; /* lowest query whose feature is not finite */
    atomic_bool no_memory;
} job;

reid_status reid_eval_metric_from_name(const char *name, reid_eval_metric *ret_metric,
                                       reid_error *err)
{
    if (strcmp(name, "cosine") == 0)
        *ret_metric = REID_EVAL_COSINE;
    else if (strcmp(name, "euclidean") == 0)
        *ret_metric = REID_EVAL_EUCLIDEAN;
    else
        return reid_fail(err, REID_ERR_INVALID,
                         "TEST.METRIC '%s' is not known; it must be cosine or euclidean", name);
    return REID_OK;
}

static int compare_by_pid(const void *a, const void *b, void *context)
{
    const int32_t *pids = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (pids[x] != pids[y])
        return pids[x] < pids[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* First place in by_pid whose identity is at least `pid`. */
static size_t lower_bound(const job *j, int32_t pid)
{
    size_t low = 0, high = j->gallery_set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (j->gallery_set->pids[j->by_pid[middle]] < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many gallery images come before image `self`: nearer, or equally near and earlier in the
 * gallery. Images left out are at infinity. */
REID_CLONES static uint32_t count_before(const float *distances, size_t count, size_t self)
{
    float own = distances[self];
    uint32_t nearer = 0;
    for (size_t i = 0; i < self; i++)
        nearer += distances[i] <= own;
    for (size_t i = self + 1; i < count; i++)
        nearer += distances[i] < own;
    return nearer;
}

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* `ranks` is scratch for all matches of an identity. Overwrites distances of images left out. */
static void score_query(const job *j, size_t q, float *distances, uint32_t *ranks,
                        query_score *ret_score)
{
    const reid_eval_set *gallery = j->gallery_set;
    int32_t pid = j->query->pids[q], camid = j->query->camids[q];
    size_t begin = lower_bound(j, pid), end = begin, matches = 0;
    for (; end < gallery->count && gallery->pids[j->by_pid[end]] == pid; end++)
        if (gallery->camids[j->by_pid[end]] == camid)
            distances[j->by_pid[end]] = INFINITY;
    for (size_t i = begin; i < end; i++)
        if (gallery->camids[j->by_pid[i]] != camid)
            ranks[matches++] = count_before(distances, gallery->count, j->by_pid[i]) + 1;
    *ret_score = (query_score){.valid = matches > 0};
    if (matches == 0)
        return;
    qsort(ranks, matches, sizeof *ranks, compare_ranks);
    double precision = 0.0;
    for (size_t i = 0; i < matches; i++)
        precision += (double)(i + 1) / ranks[i];
    ret_score->ap = precision / (double)matches;
    ret_score->inp = (double)matches / ranks[matches - 1];
    ret_score->first_rank = ranks[0];
}

static void note_lowest(atomic_size_t *lowest, size_t value)
{
    size_t seen = atomic_load(lowest);
    while (value < seen && !atomic_compare_exchange_weak(lowest, &seen, value)) {
    }
}

static void *score_blocks(void *argument)
{
    job *j = argument;
    size_t dim = j->gallery->dim, stride = j->gallery->panels * REID_DISTANCE_PANEL;
    size_t rows_room = REID_MAX(j->block_rows, (size_t)REID_DISTANCE_ROWS);
    size_t distance_bytes = j->block_rows * stride * sizeof(float),
           query_bytes = rows_room * dim * sizeof(float);
    float *distances = reid_alloc_aligned(distance_bytes), *query = reid_alloc_aligned(query_bytes);
    float squares[BLOCK_ROWS];
    uint32_t *ranks = reid_alloc(j->max_matches + 1, sizeof *ranks);
    if (!distances || !query || !ranks)
        atomic_store(&j->no_memory, true);
    while (!atomic_load(&j->no_memory)) {
        size_t first = atomic_fetch_add(&j->next, j->block_rows);
        if (first >= j->query->count)
            break;
        size_t rows = REID_MIN(j->block_rows, j->query->count - first);
        size_t good =
            reid_query_prepare(j->gallery, j->query->features + first * dim, rows, query, squares);
        if (good < rows) {
            note_lowest(&j->not_finite, first + good);
            break;
        }
        reid_gallery_distances(j->gallery, query, squares, rows, distances);
        for (size_t r = 0; r < rows; r++)
            score_query(j, first + r, distances + r * stride, ranks, &j->scores[first + r]);
    }
    free(ranks);
    reid_free_aligned(query, query_bytes);
    reid_free_aligned(distances, distance_bytes);
    return NULL;
}

/* On the calling thread and up to threads - 1 more. */
static void run_threads(job *j, int threads)
{
    pthread_t others[MAX_THREADS];
    int started = 0;
    while (started < threads - 1 && pthread_create(&others[started], NULL, score_blocks, j) == 0)
        started++;
    score_blocks(j);
    for (int i = 0; i < started; i++)
        pthread_join(others[i], NULL);
}

static reid_status summarise(const job *j, reid_rank_result *ret_result, reid_error *err)
{
    reid_rank_result result = {.max_rank =
                                   REID_MIN(j->gallery_set->count, (size_t)REID_EVAL_MAX_RANK)};
    for (size_t q = 0; q < j->query->count; q++) {
        const query_score *score = &j->scores[q];
        if (!score->valid)
            continue;
        result.valid_queries++;
        result.map += score->ap;
        result.minp += score->inp;
        for (size_t k = score->first_rank; k <= REID_EVAL_MAX_RANK; k++)
            result.cmc[k - 1] += 1.0;
    }
    result.skipped_queries = j->query->count - result.valid_queries;
    if (result.valid_queries == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "no query identity appears in the gallery under another camera: there is "
                         "nothing to evaluate");
    double valid = (double)result.valid_queries;
    result.map /= valid;
    result.minp /= valid;
    for (size_t k = 0; k < REID_EVAL_MAX_RANK; k++)
        result.cmc[k] /= valid;
    *ret_result = result;
    return REID_OK;
}

static size_t largest_identity(const job *j)
{
    size_t largest = 0, run = 0;
    for (size_t i = 0; i < j->gallery_set->count; i++) {
        const int32_t *pids = j->gallery_set->pids;
        run = i > 0 && pids[j->by_pid[i]] == pids[j->by_pid[i - 1]] ? run + 1 : 1;
        largest = REID_MAX(largest, run);
    }
    return largest;
}

static int choose_threads(int wanted, size_t blocks)
{
    long cpus = wanted > 0 ? wanted : sysconf(_SC_NPROCESSORS_ONLN);
    cpus = REID_MIN(cpus, MAX_THREADS);
    cpus = REID_MIN(cpus, (long)REID_MIN(blocks, (size_t)MAX_THREADS));
    return (int)REID_MAX(cpus, 1);
}

static reid_status run_job(job *j, int threads, reid_rank_result *ret_result, reid_error *err)
{
    size_t stride = j->gallery->panels * REID_DISTANCE_PANEL;
    size_t rows = BLOCK_BYTES / (stride * sizeof(float));
    j->block_rows = REID_MAX(REID_MIN(rows, (size_t)BLOCK_ROWS), (size_t)1);
    j->max_matches = largest_identity(j);
    atomic_init(&j->next, 0);
    atomic_init(&j->not_finite, j->query->count);
    atomic_init(&j->no_memory, false);
    run_threads(j, choose_threads(threads, (j->query->count + j->block_rows - 1) / j->block_rows));
    if (atomic_load(&j->no_memory))
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to rank %zu queries", j->query->count);
    if (atomic_load(&j->not_finite) < j->query->count)
        return reid_fail(err, REID_ERR_NONFINITE,
                         "the feature of query image %zu is not finite (or too large)",
                         atomic_load(&j->not_finite));
    return summarise(j, ret_result, err);
}

reid_status reid_eval_market1501(const reid_eval_set *query, const reid_eval_set *gallery,
                                 size_t dim, reid_eval_metric metric, int threads,
                                 reid_rank_result *ret_result, reid_error *err)
{
    if (query->count == 0 || gallery->count == 0 || dim == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "there is nothing to rank: %zu queries, %zu gallery images, %zu values",
                         query->count, gallery->count, dim);
    if (gallery->count >= UINT32_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a gallery of %zu images is too large",
                         gallery->count);
    reid_gallery packed;
    REID_TRY(reid_gallery_init(&packed, gallery->features, gallery->count, dim, metric, err));
    reid_status status;
    uint32_t *by_pid = reid_alloc(gallery->count, sizeof *by_pid);
    query_score *scores = reid_alloc(query->count, sizeof *scores);
    if (by_pid && scores) {
        for (size_t i = 0; i < gallery->count; i++)
            by_pid[i] = (uint32_t)i;
        qsort_r(by_pid, gallery->count, sizeof *by_pid, compare_by_pid,
                (void *)(uintptr_t)gallery->pids);
        job j = {.query = query,
                 .gallery_set = gallery,
                 .gallery = &packed,
                 .by_pid = by_pid,
                 .scores = scores};
        status = run_job(&j, threads, ret_result, err);
    } else {
        status = reid_fail(err, REID_ERR_EXHAUSTED, "no memory to rank %zu queries", query->count);
    }
    free(scores);
    free(by_pid);
    reid_gallery_fini(&packed);
    return status;
}
