#include "daemon/sched/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/vec.h"

static reidd_share_user *find(const reidd_shares *shares, const char *user)
{
    for (size_t i = 0; i < shares->count; i++)
        if (strcmp(shares->items[i].name, user) == 0)
            return &shares->items[i];
    return NULL;
}

static reidd_share_user *find_or_add(reidd_shares *shares, const char *user)
{
    reidd_share_user *found = find(shares, user);
    if (found)
        return found;
    const reidd_share_user fresh = {.name = reid_xstrdup(user)};
    reid_vec_push(shares, fresh);
    return &shares->items[shares->count - 1];
}

/* What is left of an amount after this time; a clock that went back changes nothing. */
static double decayed(const reidd_shares *shares, double amount, int64_t passed_ms)
{
    if (passed_ms <= 0 || shares->half_life_ms <= 0)
        return amount;
    return amount * exp2(-(double)passed_ms / (double)shares->half_life_ms);
}

void reidd_shares_add(reidd_shares *shares, const char *user, int slots, int64_t ran_ms,
                      int64_t end_ms)
{
    double amount = (double)slots * (double)REID_MAX(ran_ms, 0) / 1000.0;
    if (shares->half_life_ms <= 0 || amount <= 0)
        return;
    reidd_share_user *found = find_or_add(shares, user);
    if (end_ms >= found->at_ms) {
        found->slot_s = decayed(shares, found->slot_s, end_ms - found->at_ms) + amount;
        found->at_ms = end_ms;
    } else {
        found->slot_s += decayed(shares, amount, found->at_ms - end_ms);
    }
}

double reidd_shares_usage(const reidd_shares *shares, const char *user, int64_t now_ms)
{
    const reidd_share_user *found = find(shares, user);
    return found ? decayed(shares, found->slot_s, now_ms - found->at_ms) : 0;
}

void reidd_shares_fini(reidd_shares *shares)
{
    for (size_t i = 0; i < shares->count; i++)
        free(shares->items[i].name);
    reid_vec_fini(shares);
}

/* ---- the order ---- */

static int compare(const void *a, const void *b)
{
    const reidd_sched_job *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return (x->submitted_order > y->submitted_order) - (x->submitted_order < y->submitted_order);
}

/* The jobs of one user among those of one priority, in order of submission. */
typedef struct line {
    size_t user; /* index of the shares */
    size_t *jobs;
    size_t count, next;
} line;

typedef REID_VEC(line) line_list;

static void add_to_line(line_list *lines, size_t user, size_t job, size_t most)
{
    size_t at = 0;
    while (at < lines->count && lines->items[at].user != user)
        at++;
    if (at == lines->count) {
        const line fresh = {.user = user, .jobs = reid_xcalloc(most, sizeof(size_t))};
        reid_vec_push(lines, fresh);
    }
    lines->items[at].jobs[lines->items[at].count++] = job;
}

/* Whose job is next: of the least usage; of equals, the job that was submitted first. */
static line *next_line(const reidd_shares *shares, line_list *lines, const reidd_sched_job *jobs)
{
    line *best = NULL;
    for (size_t i = 0; i < lines->count; i++) {
        line *one = &lines->items[i];
        if (one->next == one->count)
            continue;
        double mine = shares->items[one->user].ordered;
        double least = best ? shares->items[best->user].ordered : INFINITY;
        if (!best || mine < least ||
            (mine == least && jobs[one->jobs[one->next]].submitted_order <
                                  jobs[best->jobs[best->next]].submitted_order))
            best = one;
    }
    return best;
}

/* Orders jobs of one priority, which are in order of submission. */
static void order_equals(reidd_shares *shares, reidd_sched_job *jobs, size_t count)
{
    line_list lines = {0};
    for (size_t i = 0; i < count; i++)
        add_to_line(&lines, (size_t)(find_or_add(shares, jobs[i].user) - shares->items), i, count);
    if (lines.count > 1) {
        reidd_sched_job *sorted = reid_xcalloc(count, sizeof *sorted);
        for (size_t i = 0; i < count; i++) {
            line *one = next_line(shares, &lines, jobs);
            sorted[i] = jobs[one->jobs[one->next++]];
            shares->items[one->user].ordered += (double)sorted[i].ranks * REIDD_SHARE_GUESS_S;
        }
        memcpy(jobs, sorted, count * sizeof *sorted);
        free(sorted);
    }
    for (size_t i = 0; i < lines.count; i++)
        free(lines.items[i].jobs);
    reid_vec_fini(&lines);
}

void reidd_sched_order(reidd_shares *shares, const reidd_sched_job *running, const int64_t *ran_ms,
                       size_t running_count, int64_t now_ms, reidd_sched_job *queue,
                       size_t queue_count)
{
    qsort(queue, queue_count, sizeof *queue, compare);
    if (shares->half_life_ms <= 0)
        return;
    for (size_t i = 0; i < running_count; i++)
        find_or_add(shares, running[i].user);
    for (size_t i = 0; i < shares->count; i++)
        shares->items[i].ordered = reidd_shares_usage(shares, shares->items[i].name, now_ms);
    for (size_t i = 0; i < running_count; i++)
        find(shares, running[i].user)->ordered +=
            (double)running[i].ranks * (double)REID_MAX(ran_ms[i], 0) / 1000.0;
    for (size_t first = 0, end; first < queue_count; first = end) {
        for (end = first + 1; end < queue_count && queue[end].priority == queue[first].priority;)
            end++;
        order_equals(shares, queue + first, end - first);
    }
}
