/* The scheduler under thousands of random events, with what must hold after each of them.
 *
 *     unit_daemon_sched_random [STORIES [FIRST-SEED]]
 *
 * A story is a world of nodes and some hundred lines as in tests/scenarios, made from its seed. One
 * that breaks a rule is printed up to there: with an `expect` it is a scenario. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/sched/after.h"
#include "harness/harness.h"
#include "sim/sim.h"

#define STORIES 60
#define LINES 150
#define CROWD 30 /* jobs that wait: then it is rather time that goes on */

static int stories = STORIES;
static unsigned first_seed = 1;

typedef struct story {
    sim sim;
    uint64_t random;
    bool limits;   /* all jobs have one */
    char head[16]; /* whose start was promised, in the last plan */
    int64_t promised_ms;
    uint64_t digest; /* of all starts */
    int64_t plans, promises, preemptions, backfills;
} story;

static unsigned any(story *t, unsigned below)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(t->random >> 33) % below;
}

static bool one_in(story *t, unsigned times)
{
    return any(t, times) == 0;
}

/* ---- what can be known of a plan without the scheduler ---- */

typedef struct room {
    int64_t plain, gpus; /* slots that may be used together */
} room;

static bool has_room(room r, int ranks)
{
    return r.plain >= ranks || r.gpus >= ranks;
}

static bool is_of_type(const reidd_node *node, const char *wanted)
{
    return !wanted || (node->gpu_type && strcasestr(node->gpu_type, wanted));
}

static void add_room(room *r, const reidd_node *node, int64_t slots)
{
    if (node->gpu_type)
        r->gpus += slots;
    else
        r->plain += slots;
}

/* Slots of nodes that take jobs and that the job could use, avoided ones or not. */
static room whole_room(const reidd_nodes *nodes, const reidd_sched_job *job, const char *avoid)
{
    room r = {0};
    for (size_t i = 0; i < nodes->count; i++) {
        const reidd_node *node = &nodes->items[i];
        if (reidd_node_takes_jobs(node) && is_of_type(node, job->gpu_type) &&
            !reidd_names_have(avoid, node->name))
            add_room(&r, node, node->slots);
    }
    return r;
}

static const char *avoided(const reidd_nodes *nodes, const reidd_sched_job *job, int ranks)
{
    return has_room(whole_room(nodes, job, job->avoid), ranks) ? job->avoid : NULL;
}

static int64_t end_of(const reidd_sched_job *job)
{
    return job->leaving ? REIDD_SCHED_SOON_MS : job->time_ms > 0 ? job->time_ms : INT64_MAX;
}

/* The same without what runs, or has just been started by the plan in place of queue[0..upto), and
 * is there at `at`. `hopeful`: what has no limit is not. */
static room free_room(const reidd_sched_plan *plan, size_t upto, const reidd_sched_job *job,
                      int ranks, int64_t at, bool hopeful)
{
    room r = {0};
    const char *avoid = avoided(plan->nodes, job, ranks);
    for (size_t row = 0; row < plan->nodes->count; row++) {
        const reidd_node *node = &plan->nodes->items[row];
        int64_t used = 0;
        if (!reidd_node_takes_jobs(node) || !is_of_type(node, job->gpu_type) ||
            reidd_names_have(avoid, node->name))
            continue;
        for (size_t i = 0; i < plan->running_count; i++) {
            const reidd_sched_job *one = &plan->running[i];
            if (plan->preempted_for[i] != REIDD_SCHED_NOBODY && at >= REIDD_SCHED_SOON_MS)
                continue;
            if (end_of(one) > at && !(hopeful && end_of(one) == INT64_MAX))
                used += reidd_placement_ranks_on(one->placement, one->ranks, plan->nodes, row);
        }
        for (size_t i = 0; i < upto; i++) {
            const reidd_sched_verdict *verdict = &plan->verdicts[i];
            int64_t end = end_of(&plan->queue[i]);
            if (verdict->kind == REIDD_SCHED_START && end > at && !(hopeful && end == INT64_MAX))
                used +=
                    reidd_placement_ranks_on(verdict->placement, verdict->ranks, plan->nodes, row);
        }
        add_room(&r, node, REID_MAX(node->slots - used, 0));
    }
    return r;
}

static bool is_blocked(const reidd_sched_verdict *verdict)
{
    return verdict->kind != REIDD_SCHED_START && verdict->kind != REIDD_SCHED_REFUSE &&
           verdict->kind != REIDD_SCHED_WAIT_NODES;
}

/* The first that waits for slots; queue_count: none. */
static size_t head_of(const reidd_sched_plan *plan)
{
    size_t i = 0;
    while (i < plan->queue_count && !is_blocked(&plan->verdicts[i]))
        i++;
    return i;
}

/* ---- what must hold ---- */

static void check_nodes(const sim *s, const reidd_sched_plan *plan)
{
    for (size_t row = 0; row < plan->nodes->count; row++) {
        const reidd_node *node = &plan->nodes->items[row];
        int used = 0, fresh = 0;
        for (size_t i = 0; i < plan->running_count; i++)
            used += reidd_placement_ranks_on(plan->running[i].placement, plan->running[i].ranks,
                                             plan->nodes, row);
        for (size_t i = 0; i < plan->queue_count; i++)
            if (plan->verdicts[i].kind == REIDD_SCHED_START)
                fresh += reidd_placement_ranks_on(plan->verdicts[i].placement,
                                                  plan->verdicts[i].ranks, plan->nodes, row);
        if (used + fresh > node->slots)
            SIM_BAD(s, "%s has %d slots, and %d ranks", node->name, node->slots, used + fresh);
        if (fresh > 0 && !reidd_node_takes_jobs(node))
            SIM_BAD(s, "%s is down or drained, and gets %d ranks", node->name, fresh);
    }
}

static bool may_have(const sim_job *job, int ranks)
{
    char word[16];
    snprintf(word, sizeof word, "%d", ranks);
    return ranks == job->wanted || (job->attempts > 0 && reidd_names_have(job->fewer, word));
}

static void check_placement(sim *s, const reidd_sched_plan *plan, size_t index)
{
    const reidd_sched_job *job = &plan->queue[index];
    const reidd_sched_verdict *verdict = &plan->verdicts[index];
    const char *avoid = avoided(plan->nodes, job, verdict->ranks);
    int placed = 0;
    bool plain = false, gpus = false;
    for (size_t row = 0; row < plan->nodes->count; row++) {
        const reidd_node *node = &plan->nodes->items[row];
        int ranks = reidd_placement_ranks_on(verdict->placement, verdict->ranks, plan->nodes, row);
        if (ranks == 0)
            continue;
        placed += ranks;
        plain = plain || !node->gpu_type;
        gpus = gpus || node->gpu_type;
        if (!is_of_type(node, job->gpu_type) || reidd_names_have(avoid, node->name))
            SIM_BAD(s, "job %s is not to be on %s", job->id, node->name);
    }
    if (placed != verdict->ranks || !may_have(sim_find(s, job->id), verdict->ranks) ||
        (plain && gpus))
        SIM_BAD(s, "job %s gets %d of %d ranks on %s", job->id, placed, job->ranks,
                verdict->placement ? verdict->placement : "the head");
}

/* Those before which it was not to start have ended as it wanted, once at least. */
static void check_start(sim *s, const reidd_sched_job *queued)
{
    const sim_job *job = sim_find(s, queued->id);
    if (job->held || job->state != REIDD_PENDING)
        SIM_BAD(s, "job %s is held or %s, and starts", job->id, reidd_state_name(job->state));
    for (const char *word = job->wish; word && *word;) {
        char id[16];
        size_t length = strcspn(word, ":,");
        snprintf(id, sizeof id, "%.*s", (int)length, word);
        const sim_job *before = sim_find(s, id);
        if (!(strncmp(word + length, ":any", 4) == 0 ? before->has_ended : before->has_succeeded))
            SIM_BAD(s, "job %s starts before %s has ended", job->id, id);
        word = strchr(word, ',');
        word = word ? word + 1 : NULL;
    }
}

static bool want_the_same(const reidd_sched_job *a, const reidd_sched_job *b)
{
    return a->ranks == b->ranks && a->time_ms == b->time_ms && !a->avoid && !b->avoid &&
           !a->fewer && !b->fewer &&
           strcmp(a->gpu_type ? a->gpu_type : "", b->gpu_type ? b->gpu_type : "") == 0;
}

static void check_order(const sim *s, const reidd_sched_plan *plan)
{
    for (size_t i = 0; i < plan->queue_count; i++)
        for (size_t k = i + 1; k < plan->queue_count; k++) {
            const reidd_sched_job *a = &plan->queue[i], *b = &plan->queue[k];
            bool same_user = s->shares.half_life_ms == 0 || strcmp(a->user, b->user) == 0;
            if (a->priority < b->priority || (a->priority == b->priority && same_user &&
                                              a->submitted_order > b->submitted_order))
                SIM_BAD(s, "job %s is before %s", a->id, b->id);
            if (want_the_same(a, b) && plan->verdicts[k].kind == REIDD_SCHED_START &&
                plan->verdicts[i].kind != REIDD_SCHED_START)
                SIM_BAD(s, "job %s starts, and %s, which wants the same, was before it", b->id,
                        a->id);
        }
}

static void check_preempted(story *t, const reidd_sched_plan *plan)
{
    for (size_t i = 0; i < plan->running_count; i++) {
        size_t whom = plan->preempted_for[i];
        const reidd_sched_job *one = &plan->running[i];
        if (whom == REIDD_SCHED_NOBODY)
            continue;
        t->preemptions++;
        if (one->priority >= plan->queue[whom].priority || one->no_preempt || one->leaving ||
            plan->verdicts[whom].kind != REIDD_SCHED_WAIT_PAUSED)
            SIM_BAD(&t->sim, "job %s is paused for %s", one->id, plan->queue[whom].id);
    }
}

static bool somebody_leaves(const reidd_sched_plan *plan)
{
    for (size_t i = 0; i < plan->running_count; i++)
        if (plan->preempted_for[i] != REIDD_SCHED_NOBODY ||
            end_of(&plan->running[i]) <= REIDD_SCHED_SOON_MS)
            return true;
    return false;
}

static void check_wait(const sim *s, const reidd_sched_plan *plan, size_t index, size_t head)
{
    const reidd_sched_job *job = &plan->queue[index];
    const reidd_sched_verdict *verdict = &plan->verdicts[index];
    room whole = whole_room(plan->nodes, job, NULL);
    REID_AUTOFREE char *reason = reidd_sched_reason(plan, index);
    bool fewer = job->fewer != NULL;
    if (!reid_str_starts(reason, "waits for "))
        SIM_BAD(s, "job %s: '%s'", job->id, reason);
    if (verdict->kind == REIDD_SCHED_WAIT_NODES && has_room(whole, job->ranks))
        SIM_BAD(s, "job %s has nodes enough: %s", job->id, reason);
    if (verdict->kind == REIDD_SCHED_WAIT_PAUSED && !somebody_leaves(plan))
        SIM_BAD(s, "job %s: nobody leaves: %s", job->id, reason);
    if (index == head && !fewer &&
        has_room(free_room(plan, index, job, job->ranks, 0, false), job->ranks))
        SIM_BAD(s, "job %s has room: %s", job->id, reason);
    if ((verdict->kind == REIDD_SCHED_WAIT_TURN || verdict->kind == REIDD_SCHED_WAIT_KEPT) &&
        index <= head)
        SIM_BAD(s, "job %s has nobody before it: %s", job->id, reason);
}

/* What starts behind the first that waits puts it off in no case. */
static void check_backfill(story *t, const reidd_sched_plan *plan, size_t head)
{
    const reidd_sched_job *job = &plan->queue[head];
    const reidd_sched_verdict *verdict = &plan->verdicts[head];
    int64_t at = verdict->start_in_ms;
    if (job->fewer || verdict->kind == REIDD_SCHED_WAIT_PAUSED || (at < 0 && somebody_leaves(plan)))
        return;
    if (at < 0) /* not known: as if what has no limit ended at once */
        for (at = 0; !has_room(free_room(plan, head, job, job->ranks, at, true), job->ranks);) {
            int64_t next = INT64_MAX;
            for (size_t i = 0; i < plan->running_count; i++)
                if (end_of(&plan->running[i]) > at)
                    next = REID_MIN(next, end_of(&plan->running[i]));
            for (size_t i = 0; i < head; i++)
                if (plan->verdicts[i].kind == REIDD_SCHED_START && end_of(&plan->queue[i]) > at)
                    next = REID_MIN(next, end_of(&plan->queue[i]));
            at = next;
        }
    bool known = verdict->start_in_ms >= 0;
    for (size_t i = head + 1; i < plan->queue_count; i++)
        t->backfills += plan->verdicts[i].kind == REIDD_SCHED_START;
    if (known &&
        !has_room(free_room(plan, plan->queue_count, job, job->ranks, at, false), job->ranks))
        SIM_BAD(&t->sim, "job %s cannot start in %lld ms, as it was to", job->id, (long long)at);
    const char *avoid = avoided(plan->nodes, job, job->ranks);
    for (size_t i = head + 1; !known && i < plan->queue_count; i++)
        for (size_t row = 0; row < plan->nodes->count; row++) {
            const reidd_node *node = &plan->nodes->items[row];
            if (plan->verdicts[i].kind == REIDD_SCHED_START && is_of_type(node, job->gpu_type) &&
                !reidd_names_have(avoid, node->name) && end_of(&plan->queue[i]) > at &&
                reidd_placement_ranks_on(plan->verdicts[i].placement, plan->verdicts[i].ranks,
                                         plan->nodes, row) > 0)
                SIM_BAD(&t->sim, "job %s starts on %s, and may put off %s", plan->queue[i].id,
                        node->name, job->id);
        }
}

/* As long as only time goes on, jobs end, and others come behind it, the first one's start never
 * comes later than was said before. */
static void check_promise(story *t, const reidd_sched_plan *plan, size_t head)
{
    bool same = head < plan->queue_count && strcmp(t->head, plan->queue[head].id) == 0;
    for (size_t i = 0; i < head && i < plan->queue_count; i++)
        same = same && plan->verdicts[i].kind != REIDD_SCHED_START;
    if (head == plan->queue_count || somebody_leaves(plan) || plan->queue[head].fewer) {
        *t->head = '\0';
        return;
    }
    int64_t in = plan->verdicts[head].start_in_ms, at = in < 0 ? INT64_MAX : t->sim.now_ms + in;
    if (same && at > t->promised_ms)
        SIM_BAD(&t->sim, "job %s was to start at %lld, and is now to start at %lld",
                plan->queue[head].id, (long long)t->promised_ms, (long long)at);
    t->promises += same && at < INT64_MAX;
    snprintf(t->head, sizeof t->head, "%s", plan->queue[head].id);
    t->promised_ms = at;
}

/* As a remark among the lines, for whoever looks into a failure. */
static void note_plan(const sim *s, const reidd_sched_plan *plan)
{
    for (size_t i = 0; i < plan->running_count; i++) {
        const reidd_sched_job *one = &plan->running[i];
        reid_str_addf(s->told, "# %s runs on %s, %lld ms left%s%s\n", one->id,
                      one->placement ? one->placement : "the head",
                      (long long)(one->time_ms > 0 ? end_of(one) : -1),
                      one->leaving ? ", leaving" : "",
                      plan->preempted_for[i] != REIDD_SCHED_NOBODY ? ", to be paused" : "");
    }
    for (size_t i = 0; i < plan->queue_count; i++) {
        const reidd_sched_verdict *verdict = &plan->verdicts[i];
        REID_AUTOFREE char *reason = reidd_sched_reason(plan, i);
        reid_str_addf(s->told, "# %s (%lld ms) %s %s; verdict %d, start in %lld ms\n",
                      plan->queue[i].id, (long long)plan->queue[i].time_ms,
                      verdict->kind == REIDD_SCHED_START ? "starts on" : "waits:",
                      verdict->kind != REIDD_SCHED_START ? reason
                      : verdict->placement               ? verdict->placement
                                                         : "the head",
                      (int)verdict->kind, (long long)verdict->start_in_ms);
    }
}

static void look(sim *s, const reidd_sched_plan *plan, void *user)
{
    story *t = user;
    if (s->told)
        note_plan(s, plan);
    size_t head = head_of(plan), started = 0;
    t->plans++;
    check_nodes(s, plan);
    check_order(s, plan);
    check_preempted(t, plan);
    for (size_t i = 0; i < plan->queue_count; i++) {
        const reidd_sched_verdict *verdict = &plan->verdicts[i];
        if (verdict->kind == REIDD_SCHED_START) {
            check_placement(s, plan, i);
            check_start(s, &plan->queue[i]);
            started++;
            for (const char *c = plan->queue[i].id; *c; c++)
                t->digest = (t->digest ^ (uint64_t)*c) * 1099511628211u;
            t->digest ^= (uint64_t)s->now_ms;
        } else if (verdict->kind != REIDD_SCHED_REFUSE) {
            check_wait(s, plan, i, head);
        }
    }
    if (head < plan->queue_count) {
        check_backfill(t, plan, head);
        if (plan->running_count + started == 0)
            SIM_BAD(s, "nothing runs, and job %s waits", plan->queue[head].id);
    }
    check_promise(t, plan, head);
}

/* ---- what happens ---- */

static void tell(story *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(story *t, const char *format, ...)
{
    char line[200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    t->sim.line++;
    sim_obey(&t->sim, line);
}

static const sim_job *pick(story *t, reidd_state state)
{
    size_t count = t->sim.jobs.count, first = count ? any(t, (unsigned)count) : 0;
    for (size_t i = 0; i < count; i++)
        if (t->sim.jobs.items[(first + i) % count].state == state)
            return &t->sim.jobs.items[(first + i) % count];
    return NULL;
}

static const sim_job *pick_pausing(story *t)
{
    for (size_t i = 0; i < t->sim.jobs.count; i++)
        if (sim_runs(&t->sim.jobs.items[i]) && t->sim.jobs.items[i].pausing)
            return &t->sim.jobs.items[i];
    return NULL;
}

static const char *any_node(story *t)
{
    return t->sim.nodes.items[any(t, (unsigned)t->sim.nodes.count)].name;
}

static void submit(story *t)
{
    static const char *const types[] = {"V100", "H100", "h100"};
    reid_str line = REID_STR_INIT;
    int ranks = 1 + (int)any(t, one_in(t, 3) ? 12 : 3);
    reid_str_addf(&line, "submit j%zu -n %d --user u%u", t->sim.jobs.count, ranks, any(t, 3));
    if (t->limits || one_in(t, 2))
        reid_str_addf(&line, " --max-time %um", 1 + any(t, 120));
    if (one_in(t, 4))
        reid_str_addf(&line, " --priority %d", (int)any(t, 4) - 1);
    for (int i = 0; i < 2 && t->sim.jobs.count > 0 && one_in(t, 8); i++)
        reid_str_addf(&line, "%sj%u:%s", i > 0 ? "," : " --after ",
                      any(t, (unsigned)t->sim.jobs.count), one_in(t, 2) ? "ok" : "any");
    if (one_in(t, 5))
        reid_str_addf(&line, " --gpu-type %s", types[any(t, 3)]);
    if (one_in(t, 6))
        reid_str_addf(&line, " --avoid %s", any_node(t));
    if (one_in(t, 6) && ranks > 2)
        reid_str_addf(&line, " --fewer %d,%d", ranks - 1, 1 + (int)any(t, (unsigned)ranks - 2));
    if (one_in(t, 12))
        reid_str_add(&line, " --hold");
    if (one_in(t, 8))
        reid_str_add(&line, " --no-preempt");
    tell(t, "%s", reid_str_text(&line));
    reid_str_fini(&line);
}

static void change_node(story *t)
{
    static const char *const verbs[] = {"down", "up", "up", "drain", "resume", "resume"};
    *t->head = '\0'; /* other nodes, other starts */
    tell(t, "%s %s", verbs[any(t, REID_COUNT_OF(verbs))], any_node(t));
}

static void change_job(story *t)
{
    static const struct {
        const char *verb;
        reidd_state state;
    } verbs[] = {
        {"finish", REIDD_RUNNING},    {"finish", REIDD_RUNNING}, {"fail", REIDD_RUNNING},
        {"cancel", REIDD_RUNNING},    {"cancel", REIDD_PENDING}, {"requeue", REIDD_FAILED},
        {"requeue", REIDD_CANCELLED}, {"hold", REIDD_PENDING},   {"release", REIDD_PENDING},
    };
    unsigned which = any(t, REID_COUNT_OF(verbs));
    const sim_job *job = pick(t, verbs[which].state);
    if (job)
        tell(t, "%s %s", verbs[which].verb, job->id);
}

static void change_priority(story *t)
{
    const sim_job *job = pick(t, one_in(t, 2) ? REIDD_RUNNING : REIDD_PENDING);
    if (job)
        tell(t, "priority %s %d", job->id, (int)any(t, 5) - 1);
}

static size_t waiting(const story *t)
{
    size_t count = 0;
    for (size_t i = 0; i < t->sim.jobs.count; i++)
        count += t->sim.jobs.items[i].state == REIDD_PENDING && !t->sim.jobs.items[i].held;
    return count;
}

static void go_on(story *t)
{
    const sim_job *pausing = pick_pausing(t);
    unsigned what = any(t, 100);
    if (pausing && one_in(t, 2))
        tell(t, "paused %s", pausing->id);
    else if (what < 40 && waiting(t) < CROWD)
        submit(t);
    else if (what < 65)
        tell(t, "advance %us", 1 + any(t, one_in(t, 2) ? 30 : 3600));
    else if (what < 88)
        change_job(t);
    else if (what < 93)
        change_priority(t);
    else
        change_node(t);
}

/* When nobody comes any more and all nodes are there, everybody has a turn. */
static void check_end(story *t)
{
    for (size_t i = 0; i < t->sim.nodes.count; i++) {
        *t->head = '\0';
        tell(t, "up %s", t->sim.nodes.items[i].name);
        *t->head = '\0';
        tell(t, "resume %s", t->sim.nodes.items[i].name);
    }
    for (size_t i = 0; i < t->sim.jobs.count; i++)
        if (t->sim.jobs.items[i].held && t->sim.jobs.items[i].state == REIDD_PENDING)
            tell(t, "release %s", t->sim.jobs.items[i].id);
    for (const sim_job *job; (job = pick(t, REIDD_RUNNING)) != NULL;)
        tell(t, "%s %s", job->pausing ? "paused" : one_in(t, 4) ? "fail" : "finish", job->id);
    const sim_job *left = pick(t, REIDD_PENDING);
    if (left)
        SIM_BAD(&t->sim, "job %s never starts: %s", left->id, left->reason ? left->reason : "");
}

static void tell_world(story *t)
{
    static const char *const types[] = {"", "", "Tesla_V100", "NVIDIA_H100"};
    bool gpus = one_in(t, 2);
    unsigned nodes = 1 + any(t, 5);
    t->limits = one_in(t, 3);
    for (unsigned i = 0; i < nodes; i++)
        tell(t, "node n%u %u %s", i, 1 + any(t, 8), types[gpus ? any(t, 4) : 0]);
    if (one_in(t, 2))
        tell(t, "fair-share %uh", 1 + any(t, 24));
}

static void run_story(unsigned seed, story *ret_story)
{
    reid_str told = REID_STR_INIT;
    char name[32];
    snprintf(name, sizeof name, "seed %u", seed);
    story t = {.sim = {.name = name, .told = &told, .look = look}, .random = seed};
    t.sim.user = &t;
    for (int i = 0; i < 4; i++)
        any(&t, 2);
    t.sim.lookahead = one_in(&t, 2) ? 1 + (int)any(&t, 4) : 0;
    tell_world(&t);
    for (int i = 0; i < LINES; i++)
        go_on(&t);
    check_end(&t);
    sim_fini(&t.sim);
    reid_str_fini(&told);
    *ret_story = t;
}

static void test_stories(void **state)
{
    int64_t plans = 0, promises = 0, preemptions = 0, backfills = 0;
    for (int i = 0; i < stories; i++) {
        story t;
        run_story(first_seed + (unsigned)i, &t);
        plans += t.plans;
        promises += t.promises;
        preemptions += t.preemptions;
        backfills += t.backfills;
    }
    print_message("%lld plans, %lld promises, %lld pauses, %lld starts before their turn\n",
                  (long long)plans, (long long)promises, (long long)preemptions,
                  (long long)backfills);
    assert_true(promises > 0 && preemptions > 0 && backfills > 0); /* it was about something */
}

static void test_the_same_again(void **state)
{
    for (unsigned seed = first_seed; seed < first_seed + 5; seed++) {
        story a, b;
        run_story(seed, &a);
        run_story(seed, &b);
        assert_true(a.digest == b.digest && a.plans == b.plans);
    }
}

/* ---- fair share ---- */

/* Three users with always something in the queue, whose jobs are of different sizes and lengths. */
static void test_shares_become_equal(void **state)
{
    static const struct {
        int ranks, minutes;
    } kinds[] = {{1, 10}, {4, 30}, {2, 45}};
    enum { DAYS = 6 };
    double used[3] = {0};
    story t = {.sim = {.name = "fair share"}, .random = first_seed};
    tell(&t, "node n 8");
    tell(&t, "fair-share 24h");
    for (int minute = 0; minute < DAYS * 1440; minute += 5) {
        for (int user = 0; user < 3; user++) {
            int has = 0;
            for (size_t i = 0; i < t.sim.jobs.count; i++)
                has += t.sim.jobs.items[i].state == REIDD_PENDING &&
                       t.sim.jobs.items[i].user[1] == '0' + user;
            for (; has < 8; has++)
                tell(&t, "submit j%zu --user u%d -n %d --max-time %dm", t.sim.jobs.count, user,
                     kinds[user].ranks, kinds[user].minutes);
        }
        tell(&t, "advance 5m");
    }
    for (size_t i = 0; i < t.sim.jobs.count; i++)
        used[t.sim.jobs.items[i].user[1] - '0'] +=
            (double)t.sim.jobs.items[i].ran_ms * t.sim.jobs.items[i].wanted;
    double all = used[0] + used[1] + used[2];
    print_message("shares of %.3f, %.3f and %.3f; %.3f of the slots were used\n", used[0] / all,
                  used[1] / all, used[2] / all, all / (8.0 * DAYS * 86400000));
    for (int user = 0; user < 3; user++)
        assert_true(fabs(used[user] / all - 1.0 / 3) < 0.03);
    sim_fini(&t.sim);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_the_same_again),
        cmocka_unit_test(test_shares_become_equal),
    };
    if (argc > 1)
        stories = atoi(argv[1]);
    if (argc > 2)
        first_seed = (unsigned)atoi(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
