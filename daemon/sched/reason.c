/* Why a job waits, for people. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/sched/sched.h"

#define NAMED 3 /* jobs and nodes that are named; of the rest the number */

static int slots_of(const reidd_nodes *nodes)
{
    int slots = 0;
    for (size_t i = 0; i < nodes->count; i++)
        slots += nodes->items[i].slots;
    return slots;
}

/* "job a", "jobs a, b and c", "jobs a, b, c and 4 more" */
static void add_jobs(reid_str *text, const reidd_sched_plan *plan, bool leaving)
{
    size_t count = 0, said = 0;
    for (size_t i = 0; i < plan->running_count; i++)
        count += !leaving || plan->running[i].leaving;
    reid_str_add(text, count == 1 ? "job " : "jobs ");
    for (size_t i = 0; i < plan->running_count && said < NAMED; i++) {
        if (leaving && !plan->running[i].leaving)
            continue;
        reid_str_addf(text, "%s%s",
                      said == 0           ? ""
                      : said + 1 == count ? " and "
                                          : ", ",
                      plan->running[i].id);
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

static void add_running(reid_str *text, const reidd_sched_plan *plan)
{
    int used = 0;
    for (size_t i = 0; i < plan->running_count; i++)
        used += plan->running[i].ranks;
    if (plan->running_count == 0)
        return;
    reid_str_add(text, ": ");
    add_jobs(text, plan, false);
    reid_str_addf(text, " %s (%d of %d slots are used)", plan->running_count == 1 ? "runs" : "run",
                  used, slots_of(plan->nodes));
}

static void add_nodes(reid_str *text, const reidd_sched_plan *plan)
{
    const reidd_nodes *nodes = plan->nodes;
    size_t said = 0;
    for (size_t i = 0; i < nodes->count && said < NAMED; i++) {
        const reidd_node *node = &nodes->items[i];
        if (reidd_node_takes_jobs(node))
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

static size_t pausing(const reidd_sched_plan *plan)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->running_count; i++)
        count += plan->running[i].leaving;
    return count;
}

char *reidd_sched_reason(const reidd_sched_plan *plan, size_t index)
{
    const reidd_sched_verdict *verdict = &plan->verdicts[index];
    bool turn = verdict->kind == REIDD_SCHED_WAIT_TURN || verdict->kind == REIDD_SCHED_WAIT_KEPT;
    reid_str text = REID_STR_INIT;
    if (index > 0 && turn)
        return reidd_sched_turn(verdict->kind, plan->queue[index - 1].id);
    reid_str_add(&text, "waits for ");
    add_slots(&text, &plan->queue[index]);
    if (verdict->kind == REIDD_SCHED_WAIT_NODES) {
        add_nodes(&text, plan);
    } else if (verdict->kind == REIDD_SCHED_WAIT_PAUSED && pausing(plan) > 0) {
        reid_str_add(&text, ": ");
        add_jobs(&text, plan, true);
        reid_str_addf(&text, " %s being stopped or paused", pausing(plan) == 1 ? "is" : "are");
    } else {
        add_running(&text, plan);
    }
    if (verdict->start_in_ms > 0) {
        char duration[32];
        reid_format_duration(duration, (double)verdict->start_in_ms / 1000.0);
        reid_str_addf(&text, "; at the latest in %s", duration);
    }
    return reid_str_take(&text);
}
