#include "daemon/ranks.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"

#define WINDOW_MS 2000 /* over which an iteration is averaged, at least */
#define WINDOW_STEPS 3
#define SLOW_SHARE 0.25 /* of an iteration */
#define SLOW_LEAST_S 0.005
#define LOOKS 3 /* in a row that must agree: two are not enough where ranks are slow by turns */

void reidd_ranks_init(reidd_ranks *ranks, int count)
{
    reidd_ranks_fini(ranks);
    ranks->items = reid_xcalloc((size_t)count, sizeof *ranks->items);
    ranks->count = count;
    ranks->suspect = -1;
}

void reidd_ranks_fini(reidd_ranks *ranks)
{
    free(ranks->items);
    free(ranks->slow);
    *ranks = (reidd_ranks){0};
}

void reidd_ranks_hello(reidd_ranks *ranks, int rank, int64_t pid, const char *host)
{
    reidd_rank *r = &ranks->items[rank];
    r->pid = pid;
    snprintf(r->host, sizeof r->host, "%s", host);
}

/* ---- the slow rank ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of all ranks but one; `offset` is that of the number in reidd_rank. */
static double median(const reidd_ranks *ranks, int but, size_t offset)
{
    double *values = reid_xcalloc((size_t)ranks->count, sizeof *values);
    int count = 0;
    for (int i = 0; i < ranks->count; i++)
        if (i != but)
            memcpy(&values[count++], (const char *)&ranks->items[i] + offset, sizeof *values);
    qsort(values, (size_t)count, sizeof *values, compare);
    double middle = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    free(values);
    return middle;
}

static double iteration_s(const reidd_rank *r)
{
    return r->data_s + r->compute_s + r->wait_s;
}

/* The rank for which the others wait, or -1. */
static int find_slow(const reidd_ranks *ranks, double *ret_lag_s)
{
    int slow = 0;
    for (int i = 0; i < ranks->count; i++) {
        if (iteration_s(&ranks->items[i]) <= 0)
            return -1;
        if (ranks->items[i].wait_s < ranks->items[slow].wait_s)
            slow = i;
    }
    const reidd_rank *r = &ranks->items[slow];
    double lag_s = median(ranks, slow, offsetof(reidd_rank, wait_s)) - r->wait_s;
    *ret_lag_s = lag_s;
    return lag_s > SLOW_LEAST_S && lag_s > SLOW_SHARE * iteration_s(r) ? slow : -1;
}

static char *sentence(const reidd_ranks *ranks, int slow, double lag_s)
{
    const reidd_rank *r = &ranks->items[slow];
    double data_s = median(ranks, slow, offsetof(reidd_rank, data_s));
    double compute_s = median(ranks, slow, offsetof(reidd_rank, compute_s));
    bool data = r->data_s - data_s > r->compute_s - compute_s;
    return reid_xasprintf(
        "rank %d%s%s is slow: in each iteration it %s for %.0f ms, %s for %.0f ms, and %s %.0f ms "
        "longer than it does",
        slow, *r->host ? " on " : "", r->host, data ? "waits for its data" : "computes",
        (data ? r->data_s : r->compute_s) * 1e3, ranks->count == 2 ? "the other one" : "the others",
        (data ? data_s : compute_s) * 1e3,
        ranks->count == 2 ? "that one waits for it" : "they wait for it", lag_s * 1e3);
}

static bool judge(reidd_ranks *ranks)
{
    double lag_s = 0;
    int slow = find_slow(ranks, &lag_s);
    ranks->looks = slow == ranks->suspect ? REID_MIN(ranks->looks + 1, LOOKS) : 1;
    ranks->suspect = slow;
    bool had = ranks->slow != NULL;
    if (ranks->looks < LOOKS)
        return false;
    free(ranks->slow);
    ranks->slow = slow >= 0 ? sentence(ranks, slow, lag_s) : NULL;
    return had != (ranks->slow != NULL);
}

/* ---- what they tell ---- */

bool reidd_ranks_take(reidd_ranks *ranks, int rank, int64_t iteration, const reidd_rank_sums *sums,
                      int64_t now_ms)
{
    reidd_rank *r = &ranks->items[rank];
    r->iteration = iteration;
    r->heard_ms = now_ms;
    if (!r->has_base || sums->steps < r->base.steps) { /* the first, or of another process */
        r->base = *sums;
        r->base_ms = now_ms;
        r->has_base = true;
        return false;
    }
    int64_t steps = sums->steps - r->base.steps;
    if (steps < WINDOW_STEPS || now_ms - r->base_ms < WINDOW_MS)
        return false;
    r->data_s = (sums->data_s - r->base.data_s) / (double)steps;
    r->compute_s = (sums->compute_s - r->base.compute_s) / (double)steps;
    r->wait_s = (sums->wait_s - r->base.wait_s) / (double)steps;
    r->base = *sums;
    r->base_ms = now_ms;
    return rank == 0 && ranks->count > 1 && judge(ranks);
}
