#include "evaluation/rank.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "evaluation/parallel.h"

#define MAX_PAIRS ((size_t)8 << 20) /* matches of the queries ranked in one pass, about */

/* What one query contributes. */
typedef struct query_score {
    bool valid;
    uint32_t first_rank; /* from 1 */
    double ap, inp;
} query_score;

/* Queries begin … end in one pass over the gallery. Match m of query q has the numbers
 * pairs_begin[q - begin] … pairs_begin[q - begin + 1], in the gallery's order. */
typedef struct pass {
    size_t begin, end;
    size_t *pairs_begin; /* [end - begin + 1] */
    uint32_t *index;     /* gallery image */
    float *own;          /* its distance to the query */
    uint32_t *before;    /* how many gallery images come before it */
} pass;

typedef struct job {
    const reid_eval_set *query, *gallery;
    const reid_features *features;
    reid_eval_metric metric;
    int threads;
    reid_rerank *rerank; /* NULL: distances count as they are */
    uint32_t *gallery_by_pid, *query_by_pid;
    query_score *scores; /* [queries] */
    pass now;
    atomic_size_t next; /* of query_by_pid */
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

/* --- Identities */

static int compare_by_pid(const void *a, const void *b, void *context)
{
    const int32_t *pids = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (pids[x] != pids[y])
        return pids[x] < pids[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* Images ordered by identity, then number; NULL without memory. */
static uint32_t *order_by_pid(const reid_eval_set *set)
{
    uint32_t *order = reid_alloc(set->count, sizeof *order);
    if (!order)
        return NULL;
    for (size_t i = 0; i < set->count; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, set->count, sizeof *order, compare_by_pid, (void *)(uintptr_t)set->pids);
    return order;
}

/* First place in gallery_by_pid that is not before image `index` of identity `pid`. */
static size_t lower_bound(const job *j, int32_t pid, uint32_t index)
{
    size_t low = 0, high = j->gallery->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t image = j->gallery_by_pid[middle];
        int32_t its = j->gallery->pids[image];
        if (its < pid || (its == pid && image < index))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_pid(const job *j, size_t place, int32_t pid)
{
    return place < j->gallery->count && j->gallery->pids[j->gallery_by_pid[place]] == pid;
}

/* Matches of query `q`, into ret_index unless NULL. */
static size_t find_matches(const job *j, size_t q, uint32_t *ret_index)
{
    int32_t pid = j->query->pids[q];
    size_t count = 0;
    for (size_t i = lower_bound(j, pid, 0); has_pid(j, i, pid); i++) {
        uint32_t image = j->gallery_by_pid[i];
        if (j->gallery->camids[image] == j->query->camids[q])
            continue;
        if (ret_index)
            ret_index[count] = image;
        count++;
    }
    return count;
}

/* --- One pass: first the distances of matches, an identity at a time */

static void keep_match_distances(job *j, const reid_selection *queries,
                                 const reid_selection *images, const float *tile)
{
    for (size_t r = 0; r < queries->count; r++, tile += REID_TILE_COLUMNS) {
        size_t pair = j->now.pairs_begin[queries->list[r] - j->now.begin];
        size_t end = j->now.pairs_begin[queries->list[r] - j->now.begin + 1], c = 0;
        for (; pair < end; pair++) { /* both lists ascend */
            uint32_t image = (uint32_t)(j->query->count + j->now.index[pair]);
            while (c < images->count && images->list[c] < image)
                c++;
            if (c == images->count)
                break;
            if (images->list[c] == image)
                j->now.own[pair] = j->rerank ? reid_rerank_blend(j->rerank, queries->list[r],
                                                                 j->now.index[pair], tile[c])
                                             : tile[c];
        }
    }
}

static void measure_identity(job *j, const reid_selection *queries, reid_distance_scratch *scratch)
{
    uint32_t images[REID_TILE_COLUMNS];
    int32_t pid = j->query->pids[queries->list[0]];
    size_t place = lower_bound(j, pid, 0);
    while (has_pid(j, place, pid)) {
        reid_selection columns = {.list = images};
        for (; columns.count < REID_TILE_COLUMNS && has_pid(j, place, pid); place++)
            images[columns.count++] = (uint32_t)j->query->count + j->gallery_by_pid[place];
        for (size_t r = 0; r < queries->count; r += REID_TILE_ROWS) {
            reid_selection rows = {.list = queries->list + r,
                                   .count = REID_MIN(queries->count - r, (size_t)REID_TILE_ROWS)};
            reid_distance_between(j->features, j->metric, &rows, &columns, scratch);
            keep_match_distances(j, &rows, &columns, scratch->tile);
        }
    }
}

static void *measure_matches(void *argument)
{
    job *j = argument;
    reid_distance_scratch scratch;
    size_t begin = j->now.begin, count = j->now.end - begin;
    if (!reid_distance_scratch_init(&scratch, REID_TILE_ROWS, j->features->dim))
        atomic_store(&j->no_memory, true);
    while (!atomic_load(&j->no_memory)) {
        size_t first = atomic_fetch_add(&j->next, 1);
        if (first >= count)
            break;
        const uint32_t *list = j->query_by_pid + begin + first;
        const int32_t *pids = j->query->pids;
        if (first > 0 && pids[list[0]] == pids[list[-1]])
            continue; /* whoever took the first of an identity takes it all */
        size_t n = 1;
        while (first + n < count && pids[list[n]] == pids[list[0]])
            n++;
        measure_identity(j, &(reid_selection){.list = list, .count = n}, &scratch);
    }
    reid_distance_scratch_fini(&scratch);
    return NULL;
}

/* --- Then all distances, each compared with those of the matches */

/* before[m] += how many of the `count` gallery images from `first` on come before match m: nearer,
 * or equally near and earlier in the gallery. */
REID_CLONES static void count_before(const float *distances, size_t first, size_t count,
                                     const uint32_t *index, const float *own, size_t matches,
                                     uint32_t *before)
{
    for (size_t m = 0; m < matches; m++) {
        size_t earlier = index[m] <= first ? 0 : REID_MIN(index[m] - first, count);
        float limit = own[m];
        uint32_t nearer = 0;
        for (size_t i = 0; i < earlier; i++)
            nearer += distances[i] <= limit;
        for (size_t i = earlier; i < count; i++) /* the match itself is not nearer than itself */
            nearer += distances[i] < limit;
        before[m] += nearer;
    }
}

/* Images of the query's identity and camera are left out: as far away as can be. */
static void leave_out(const job *j, size_t q, size_t first, size_t count, float *distances)
{
    int32_t pid = j->query->pids[q];
    for (size_t i = lower_bound(j, pid, (uint32_t)first); has_pid(j, i, pid); i++) {
        size_t image = j->gallery_by_pid[i];
        if (image >= first + count)
            break;
        if (j->gallery->camids[image] == j->query->camids[q])
            distances[image - first] = INFINITY;
    }
}

static void count_tile(void *user, const reid_distance_tile *tile)
{
    job *j = user;
    size_t first = tile->column - j->query->count;
    for (size_t r = 0; r < tile->rows; r++) {
        size_t q = tile->row + r;
        size_t pair = j->now.pairs_begin[q - j->now.begin];
        size_t matches = j->now.pairs_begin[q - j->now.begin + 1] - pair;
        float *distances = tile->distances + r * REID_TILE_COLUMNS;
        if (matches == 0)
            continue;
        if (j->rerank)
            reid_rerank_blend_row(j->rerank, q, first, tile->columns, distances);
        leave_out(j, q, first, tile->columns, distances);
        count_before(distances, first, tile->columns, j->now.index + pair, j->now.own + pair,
                     matches, j->now.before + pair);
    }
}

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Orders `before` of the query's matches. */
static query_score score_query(uint32_t *before, size_t matches)
{
    query_score score = {.valid = matches > 0};
    if (matches == 0)
        return score;
    qsort(before, matches, sizeof *before, compare_ranks);
    double precision = 0.0;
    for (size_t i = 0; i < matches; i++)
        precision += (double)(i + 1) / ((double)before[i] + 1.0);
    score.ap = precision / (double)matches;
    score.inp = (double)matches / ((double)before[matches - 1] + 1.0);
    score.first_rank = before[0] + 1;
    return score;
}

static void free_pass(pass *p)
{
    free(p->pairs_begin);
    free(p->index);
    free(p->own);
    free(p->before);
    *p = (pass){0};
}

/* Takes as many queries from `begin` on as there is room for. */
static reid_status plan_pass(job *j, size_t begin, reid_error *err)
{
    pass *p = &j->now;
    size_t pairs = 0, end = begin;
    do
        pairs += find_matches(j, end++, NULL);
    while (end < j->query->count && pairs < MAX_PAIRS);
    *p = (pass){.begin = begin, .end = end};
    p->pairs_begin = reid_alloc(end - begin + 1, sizeof *p->pairs_begin);
    p->index = reid_alloc(pairs + 1, sizeof *p->index);
    p->own = reid_alloc(pairs + 1, sizeof *p->own);
    p->before = reid_alloc(pairs + 1, sizeof *p->before);
    if (!p->pairs_begin || !p->index || !p->own || !p->before)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu pairs of an identity", pairs);
    for (size_t q = begin; q < end; q++) {
        size_t *at = p->pairs_begin + (q - begin);
        at[1] = at[0] + find_matches(j, q, p->index + at[0]);
    }
    return REID_OK;
}

static reid_status run_pass(job *j, reid_error *err)
{
    pass *p = &j->now;
    size_t count = p->end - p->begin, queries = j->query->count;
    for (size_t i = 0; i < count; i++)
        j->query_by_pid[p->begin + i] = (uint32_t)(p->begin + i);
    qsort_r(j->query_by_pid + p->begin, count, sizeof *j->query_by_pid, compare_by_pid,
            (void *)(uintptr_t)j->query->pids);
    atomic_init(&j->next, 0);
    reid_parallel_run(reid_parallel_threads(j->threads, count), measure_matches, j);
    if (atomic_load(&j->no_memory))
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to rank %zu queries", queries);
    REID_TRY(reid_distance_stream(j->features, j->metric, (size_t[2]){p->begin, p->end},
                                  (size_t[2]){queries, queries + j->gallery->count}, j->threads,
                                  count_tile, j, err));
    for (size_t i = 0; i < count; i++)
        j->scores[p->begin + i] =
            score_query(p->before + p->pairs_begin[i], p->pairs_begin[i + 1] - p->pairs_begin[i]);
    return REID_OK;
}

static reid_status summarise(const job *j, reid_rank_result *ret_result, reid_error *err)
{
    reid_rank_result result = {.max_rank = REID_MIN(j->gallery->count, (size_t)REID_EVAL_MAX_RANK)};
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

static reid_status run_job(job *j, reid_rank_result *ret_result, reid_error *err)
{
    j->gallery_by_pid = order_by_pid(j->gallery);
    j->query_by_pid = reid_alloc(j->query->count, sizeof *j->query_by_pid);
    j->scores = reid_alloc(j->query->count, sizeof *j->scores);
    if (!j->gallery_by_pid || !j->query_by_pid || !j->scores)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to rank %zu queries", j->query->count);
    for (size_t begin = 0; begin < j->query->count; begin = j->now.end) {
        free_pass(&j->now);
        REID_TRY(plan_pass(j, begin, err));
        REID_TRY(run_pass(j, err));
    }
    return summarise(j, ret_result, err);
}

reid_status reid_eval_market1501(const reid_eval_set *query, const reid_eval_set *gallery,
                                 size_t dim, const reid_eval_options *options,
                                 reid_rank_result *ret_result, reid_error *err)
{
    if (query->count == 0 || gallery->count == 0 || dim == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "there is nothing to rank: %zu queries, %zu gallery images, %zu values",
                         query->count, gallery->count, dim);
    if (query->count >= UINT32_MAX || gallery->count >= UINT32_MAX - query->count)
        return reid_fail(err, REID_ERR_INVALID, "%zu queries and %zu gallery images are too many",
                         query->count, gallery->count);
    reid_features features;
    REID_TRY(reid_features_init(&features, query->features, query->count, gallery->features,
                                gallery->count, dim, options->metric == REID_EVAL_COSINE,
                                options->threads, err));
    job j = {.query = query,
             .gallery = gallery,
             .features = &features,
             .metric = options->metric,
             .threads = options->threads};
    atomic_init(&j.no_memory, false);
    reid_status status = REID_OK;
    if (options->rerank)
        status = reid_rerank_new(&features, options->rerank, options->threads, &j.rerank, err);
    if (status == REID_OK)
        status = run_job(&j, ret_result, err);
    free_pass(&j.now);
    free(j.scores);
    free(j.query_by_pid);
    free(j.gallery_by_pid);
    reid_rerank_free(j.rerank);
    reid_features_fini(&features);
    return status;
}
