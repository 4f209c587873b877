/* Why a job waits, for people. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/sched/profile.h"
#include "daemon/sched/sched.h"

#define NAMED 3 /* jobs and nodes that are named; of the rest the number */

/* What of the plan concerns one job: nodes that it could lie on, and who runs there. */
typedef struct view {
    const reidd_sched_plan *plan;
    bool *usable; /* [nodes] */
} view;

static int slots_of(const view *v)
{
    int slots = 0;
    for (size_t i = 0; i < v->plan->nodes->count; i++)
        slots += v->usable[i] ? v->plan->nodes->items[i].slots : 0;
    return slots;
}

/* Its ranks on nodes that matter. */
static int ranks_here(const view *v, const reidd_sched_job *running)
{
    int ranks = 0;
    for (size_t i = 0; i < v->plan->nodes->count; i++)
        if (v->usable[i])
            ranks +=
                reidd_placement_ranks_on(running->placement, running->ranks, v->plan->nodes, i);
    return ranks;
}

static bool is_told(const view *v, size_t index, bool leaving)
{
    const reidd_sched_job *running = &v->plan->running[index];
    return (!leaving || running->leaving) && ranks_here(v, running) > 0;
}

static size_t count_jobs(const view *v, bool leaving)
{
    size_t count = 0;
    for (size_t i = 0; i < v->plan->running_count; i++)
        count += is_told(v, i, leaving);
    return count;
}

/* "job a", "jobs a, b and c", "jobs a, b, c and 4 more" */
static void add_jobs(reid_str *text, const view *v, size_t count, bool leaving)
{
    size_t said = 0;
    reid_str_add(text, count == 1 ? "job " : "jobs ");
    for (size_t i = 0; i < v->plan->running_count && said < NAMED; i++) {
        if (!is_told(v, i, leaving))
            continue;
        reid_str_addf(text, "%s%s",
                      said == 0           ? ""
                      : said + 1 == count ? " and "
                                          : ", ",
                      v->plan->running[i].id);
        said++;
    }
    if (count > said)
        reid_str_addf(text, " and %zu more", count - said);
}

static void add_slots(reid_str *text, const reidd_sched_job *job)
{
    reid_str_addf(text, "%d slot%s", job->ranks, job->ranks == 1 ? "" : "s");
    if (job->gpu_type && *job->gpu_type)
        reid_str_addf(text, " with GPUs of type '%s'", job->gpu_type);
}

static void add_running(reid_str *text, const view *v)
{
    size_t count = count_jobs(v, false);
    int used = 0;
    for (size_t i = 0; i < v->plan->running_count; i++)
        used += ranks_here(v, &v->plan->running[i]);
    if (count == 0)
        return;
    reid_str_add(text, ": ");
    add_jobs(text, v, count, false);
    reid_str_addf(text, " %s (%d of %d slots are used)", count == 1 ? "runs" : "run", used,
                  slots_of(v));
}

static void add_leaving(reid_str *text, const view *v)
{
    size_t count = count_jobs(v, true);
    if (count == 0) {
        add_running(text, v);
        return;
    }
    reid_str_add(text, ": ");
    add_jobs(text, v, count, true);
    reid_str_addf(text, " %s being stopped or paused", count == 1 ? "is" : "are");
}

static void add_nodes(reid_str *text, const view *v)
{
    const reidd_nodes *nodes = v->plan->nodes;
    size_t said = 0;
    for (size_t i = 0; i < nodes->count && said < NAMED; i++) {
        const reidd_node *node = &nodes->items[i];
        if (reidd_node_takes_jobs(node) || (!v->usable[i] && !node->unknown))
            continue;
        reid_str_addf(text, "%s%s is %s%s%s%s", said++ == 0 ? ": " : ", ", node->name,
                      node->up ? "drained" : "down", node->note && *node->note ? " (" : "",
                      node->note && *node->note ? node->note : "",
                      node->note && *node->note ? ")" : "");
    }
}

char *reidd_sched_turn(reidd_sched_verdict_kind kind, const char *before)
{
    if (kind == REIDD_SCHED_WAIT_KEPT)
        return reid_xasprintf("waits for its turn: job %s is before it in the queue, and the free "
                              "slots are kept for those before it",
                              before);
    return reid_xasprintf("waits for its turn: job %s is before it in the queue", before);
}

char *reidd_sched_reason(const reidd_sched_plan *plan, size_t index)
{
    const reidd_sched_verdict *verdict = &plan->verdicts[index];
    bool turn = verdict->kind == REIDD_SCHED_WAIT_TURN || verdict->kind == REIDD_SCHED_WAIT_KEPT;
    bool nodes = verdict->kind == REIDD_SCHED_WAIT_NODES;
    reid_str text = REID_STR_INIT;
    if (index > 0 && turn)
        return reidd_sched_turn(verdict->kind, plan->queue[index - 1].id);
    view v = {plan, reidd_profile_nodes_for(plan->nodes, &plan->queue[index], nodes)};
    reid_str_add(&text, "waits for ");
    add_slots(&text, &plan->queue[index]);
    if (nodes)
        add_nodes(&text, &v);
    else if (verdict->kind == REIDD_SCHED_WAIT_PAUSED)
        add_leaving(&text, &v);
    else
        add_running(&text, &v);
    free(v.usable);
    if (verdict->start_in_ms > 0) {
        char duration[32];
        reid_format_duration(duration, (double)verdict->start_in_ms / 1000.0);
        reid_str_addf(&text, "; at the latest in %s", duration);
    }
    return reid_str_take(&text);
}
