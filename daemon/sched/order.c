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
    reidd_share_user *user;
    const reidd_sched_job *jobs;
    size_t left;
} line;

static int compare_users(const void *a, const void *b)
{
    const reidd_sched_job *x = a, *y = b;
    int users = strcmp(x->user, y->user);
    return users != 0 ? users : compare(a, b);
}

/* Whose job is next: of the least usage; of equals, the job that was submitted first. */
static bool is_before(const line *a, const line *b)
{
    if (a->user->ordered != b->user->ordered)
        return a->user->ordered < b->user->ordered;
    return a->jobs->submitted_order < b->jobs->submitted_order;
}

/* A heap: nobody is before who is at half its index. */
static void sink(line *lines, size_t count, size_t at)
{
    for (size_t next; (next = 2 * at + 1) < count; at = next) {
        if (next + 1 < count && is_before(&lines[next + 1], &lines[next]))
            next++;
        if (!is_before(&lines[next], &lines[at]))
            return;
        const line moved = lines[at];
        lines[at] = lines[next];
        lines[next] = moved;
    }
}

/* A line for each user of `jobs`, which are in order of users; lines has room for as many as there
 * are jobs. */
static size_t make_lines(reidd_shares *shares, const reidd_sched_job *jobs, size_t count,
                         line *lines)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(jobs[i].user, jobs[i - 1].user) != 0)
            find_or_add(shares, jobs[i].user); /* which may move the others */
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(jobs[i].user, jobs[i - 1].user) != 0)
            lines[made++] = (line){.user = find(shares, jobs[i].user), .jobs = &jobs[i]};
        lines[made - 1].left++;
    }
    return made;
}

/* Orders jobs of one priority. */
static void order_equals(reidd_shares *shares, reidd_sched_job *jobs, size_t count)
{
    reidd_sched_job *by_user = reid_xcalloc(count, sizeof *by_user);
    line *lines = reid_xcalloc(count, sizeof *lines);
    memcpy(by_user, jobs, count * sizeof *jobs);
    qsort(by_user, count, sizeof *by_user, compare_users);
    const size_t users = make_lines(shares, by_user, count, lines);
    size_t left = users;
    for (size_t i = left; i-- > 0;)
        sink(lines, left, i);
    for (size_t i = 0; users > 1 && i < count; i++) {
        line *first = &lines[0];
        jobs[i] = *first->jobs++;
        first->user->ordered += (double)jobs[i].ranks * REIDD_SHARE_GUESS_S;
        if (--first->left == 0)
            *first = lines[--left];
        sink(lines, left, 0);
    }
    free(by_user);
    free(lines);
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
