#include "daemon/sched/sched.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "daemon/sched/profile.h"

typedef struct run {
    reidd_sched_plan *plan;
    reidd_profile profile;
    size_t blocked; /* jobs that cannot start, so far */
    int unused;     /* slots, whoever they are kept for */
    bool over;      /* nobody behind can start */
} run;

int reidd_sched_capacity(const reidd_nodes *nodes, const char *gpu_type)
{
    int64_t plain = 0, with_gpus = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const reidd_node *node = &nodes->items[i];
        if (node->unknown)
            return INT_MAX;
        if (gpu_type && *gpu_type && (!node->gpu_type || !strcasestr(node->gpu_type, gpu_type)))
            continue;
        if (node->gpu_type)
            with_gpus += node->slots;
        else
            plain += node->slots;
    }
    return (int)REID_MIN(REID_MAX(plain, with_gpus), INT_MAX);
}

static void start(run *r, size_t index, const reidd_sched_job *job)
{
    r->plan->verdicts[index] = (reidd_sched_verdict){
        .kind = REIDD_SCHED_START,
        .ranks = job->ranks,
        .placement = reidd_profile_placement(&r->profile),
    };
    reidd_profile_keep(&r->profile, job, 0);
    r->unused -= job->ranks;
}

/* ---- preemption ---- */

static bool may_preempt(const run *r, size_t victim, const reidd_sched_job *job)
{
    const reidd_sched_job *running = &r->plan->running[victim];
    return running->priority < job->priority && !running->no_preempt && !running->leaving &&
           r->plan->preempted_for[victim] == REIDD_SCHED_NOBODY;
}

static int64_t end_of(const reidd_sched_job *running)
{
    return running->time_ms > 0 ? running->time_ms : REIDD_SCHED_NEVER;
}

/* The next one to be paused: the lowest priority, the latest start. Running is in order of start.
 */
static size_t next_victim(const run *r, const reidd_sched_job *job)
{
    size_t best = REIDD_SCHED_NOBODY;
    for (size_t i = 0; i < r->plan->running_count; i++)
        if (may_preempt(r, i, job) &&
            (best == REIDD_SCHED_NOBODY ||
             r->plan->running[i].priority <= r->plan->running[best].priority))
            best = i;
    return best;
}

/* Those that are not needed stay: the ones of the highest priority first. */
static void spare(run *r, size_t index, const reidd_sched_job *job)
{
    for (size_t round = 0; round < r->plan->running_count; round++) {
        size_t spared = REIDD_SCHED_NOBODY;
        for (size_t i = 0; i < r->plan->running_count; i++) {
            if (r->plan->preempted_for[i] != index)
                continue;
            if (spared != REIDD_SCHED_NOBODY &&
                r->plan->running[i].priority <= r->plan->running[spared].priority)
                continue;
            reidd_profile_end(&r->profile, (int)i, end_of(&r->plan->running[i]));
            if (reidd_profile_fits(&r->profile, job, REIDD_SCHED_SOON_MS))
                spared = i;
            reidd_profile_end(&r->profile, (int)i, REIDD_SCHED_SOON_MS);
        }
        if (spared == REIDD_SCHED_NOBODY)
            return;
        reidd_profile_end(&r->profile, (int)spared, end_of(&r->plan->running[spared]));
        r->plan->preempted_for[spared] = REIDD_SCHED_NOBODY;
    }
}

static bool preempt(run *r, size_t index, const reidd_sched_job *job)
{
    bool fits = false;
    for (;;) {
        size_t victim = next_victim(r, job);
        if (victim == REIDD_SCHED_NOBODY)
            break;
        r->plan->preempted_for[victim] = index;
        reidd_profile_end(&r->profile, (int)victim, REIDD_SCHED_SOON_MS);
        fits = reidd_profile_fits(&r->profile, job, REIDD_SCHED_SOON_MS);
        if (fits)
            break;
    }
    if (fits) {
        spare(r, index, job);
        return true;
    }
    for (size_t i = 0; i < r->plan->running_count; i++) {
        if (r->plan->preempted_for[i] != index)
            continue;
        r->plan->preempted_for[i] = REIDD_SCHED_NOBODY;
        reidd_profile_end(&r->profile, (int)i, end_of(&r->plan->running[i]));
    }
    return false;
}

static bool anybody_lower(const run *r, const reidd_sched_job *job)
{
    return next_victim(r, job) != REIDD_SCHED_NOBODY;
}

/* ---- one job after the other ---- */

static void block(run *r, size_t index, const reidd_sched_job *job)
{
    reidd_sched_verdict *verdict = &r->plan->verdicts[index];
    int most = r->plan->lookahead > 0 ? r->plan->lookahead : REIDD_SCHED_LOOKAHEAD;
    if (reidd_profile_count_waiting(&r->profile) >= most) {
        reidd_profile_close_now(&r->profile);
        return;
    }
    int64_t at = reidd_profile_earliest(&r->profile, job);
    bool paused = at <= REIDD_SCHED_SOON_MS;
    if (!paused && anybody_lower(r, job)) {
        paused = preempt(r, index, job);
        at = reidd_profile_earliest(&r->profile, job); /* and its shares, whatever was tried */
    }
    if (at == REIDD_SCHED_NEVER)
        reidd_profile_close(&r->profile, job);
    else
        reidd_profile_keep(&r->profile, job, at);
    if (paused)
        verdict->kind = REIDD_SCHED_WAIT_PAUSED;
    else if (r->blocked == 0)
        verdict->kind = REIDD_SCHED_WAIT_SLOTS;
    verdict->start_in_ms = at == REIDD_SCHED_NEVER || paused ? -1 : at;
    r->blocked++;
}

typedef bool chooser(reidd_profile *profile, const reidd_sched_job *job);

/* With fewer ranks: those that start now, else the most that its nodes would have room for. False
 * when even the least number is too many for them. */
static bool shrink(run *r, size_t index, chooser *choose)
{
    reidd_sched_job job = r->plan->queue[index], most = {.ranks = 0};
    for (const char *word = job.fewer; word && *word;) {
        char *end = NULL;
        job.ranks = (int)strtol(word, &end, 10);
        word = *end == ',' ? end + 1 : NULL;
        if (job.ranks < 1 || !choose(&r->profile, &job))
            continue;
        if (reidd_profile_fits(&r->profile, &job, 0)) {
            start(r, index, &job);
            return true;
        }
        if (most.ranks == 0)
            most = job;
    }
    if (most.ranks == 0)
        return false;
    choose(&r->profile, &most);
    block(r, index, &most);
    return true;
}

int reidd_sched_least_ranks(const reidd_sched_job *job)
{
    const char *comma = job->fewer ? strrchr(job->fewer, ',') : NULL;
    return job->fewer ? (int)strtol(comma ? comma + 1 : job->fewer, NULL, 10) : job->ranks;
}

static void decide(run *r, size_t index)
{
    const reidd_sched_job *job = &r->plan->queue[index];
    reidd_sched_verdict *verdict = &r->plan->verdicts[index];
    *verdict = (reidd_sched_verdict){
        .kind = job->ranks <= r->unused ? REIDD_SCHED_WAIT_KEPT : REIDD_SCHED_WAIT_TURN,
        .start_in_ms = -1,
    };
    if (reidd_sched_least_ranks(job) > reidd_sched_capacity(r->plan->nodes, job->gpu_type)) {
        verdict->kind = REIDD_SCHED_REFUSE;
        return;
    }
    r->over = r->over || (r->blocked > 0 && reidd_profile_free_now(&r->profile) == 0 &&
                          !anybody_lower(r, job));
    if (r->over)
        return;
    if (job->fewer && !reidd_profile_choose_well(&r->profile, job) &&
        shrink(r, index, reidd_profile_choose_well))
        return;
    bool whole = reidd_profile_choose(&r->profile, job);
    if (!whole && job->fewer && shrink(r, index, reidd_profile_choose))
        return;
    if (!whole)
        verdict->kind = REIDD_SCHED_WAIT_NODES;
    else if (reidd_profile_fits(&r->profile, job, 0))
        start(r, index, job);
    else
        block(r, index, job);
}

void reidd_sched_run(reidd_sched_plan *plan)
{
    run r = {.plan = plan};
    for (size_t i = 0; i < plan->running_count; i++)
        plan->preempted_for[i] = REIDD_SCHED_NOBODY;
    reidd_profile_init(&r.profile, plan->nodes, plan->running, plan->running_count);
    r.unused = reidd_profile_free_now(&r.profile);
    for (size_t i = 0; i < plan->queue_count; i++)
        decide(&r, i);
    plan->over = r.over;
    plan->unused = r.unused;
    reidd_profile_fini(&r.profile);
}
