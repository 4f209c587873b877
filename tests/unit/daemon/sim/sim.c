/* Jobs and nodes with a clock that is moved by hand, for tests of the scheduler's policy. */
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/sched/after.h"

void sim_bad(const sim *s, const char *format, ...)
{
    char text[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (s->told)
        fputs(reid_str_text(s->told), stderr);
    fail_msg("%s:%d: %s", s->name, s->line, text);
    abort();
}

sim_job *sim_find(sim *s, const char *id)
{
    for (size_t i = 0; id && i < s->jobs.count; i++)
        if (strcmp(s->jobs.items[i].id, id) == 0)
            return &s->jobs.items[i];
    SIM_BAD(s, "there is no job '%s'", id ? id : "");
}

bool sim_runs(const sim_job *job)
{
    return job->state == REIDD_RUNNING;
}

/* "90", "90s", "10m", "2h", "1d" */
static int64_t parse_time(const sim *s, const char *text)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    long number = strtol(text, &end, 10);
    for (size_t i = 0; end != text && i < REID_COUNT_OF(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return number * units[i].ms;
    SIM_BAD(s, "'%s' is no time", text);
}

/* ---- scheduling ---- */

static reidd_state state_of(const char *id, void *user)
{
    return sim_find(user, id)->state;
}

typedef REID_VEC(reidd_sched_job) sched_list;

static reidd_sched_job describe(const sim *s, const sim_job *job)
{
    int64_t ran = job->ran_ms + (sim_runs(job) ? s->now_ms - job->started_ms : 0);
    return (reidd_sched_job){
        .id = job->id,
        .user = job->user,
        .gpu_type = job->gpu_type,
        .avoid = job->avoid,
        .placement = job->placement,
        .time_ms = job->limit_ms ? REID_MAX(job->limit_ms - ran, 1) : 0,
        .submitted_order = job - s->jobs.items,
        .ranks = sim_runs(job) ? job->ranks : job->wanted,
        .fewer = job->attempts > 0 ? job->fewer : NULL,
        .priority = job->priority,
        .no_preempt = job->no_preempt,
        .leaving = job->pausing,
    };
}

static bool is_queued(sim *s, sim_job *job)
{
    char id[16];
    reidd_state state = 0;
    if (job->state != REIDD_PENDING)
        return false;
    reidd_after_verdict verdict = reidd_after_check(&job->after, state_of, s, id, &state);
    free(job->reason);
    job->reason = job->held                     ? reid_xstrdup("is held")
                  : verdict == REIDD_AFTER_WAIT ? reid_xasprintf("waits for job %s to end", id)
                  : verdict == REIDD_AFTER_NEVER
                      ? reid_xasprintf("job %s ended as %s", id, reidd_state_name(state))
                      : NULL;
    if (verdict == REIDD_AFTER_NEVER && !job->held) {
        job->state = REIDD_FAILED;
        job->refused = job->has_ended = true;
    }
    return !job->reason;
}

static int by_start(const void *a, const void *b)
{
    const sim_job *const *x = a, *const *y = b;
    return ((*x)->start_order > (*y)->start_order) - ((*x)->start_order < (*y)->start_order);
}

static void apply(sim *s, reidd_sched_plan *plan)
{
    for (size_t i = 0; i < plan->running_count; i++)
        if (plan->preempted_for[i] != REIDD_SCHED_NOBODY)
            sim_find(s, plan->running[i].id)->pausing = true;
    reid_str queue = REID_STR_INIT;
    for (size_t i = 0; i < plan->queue_count; i++) {
        sim_job *job = sim_find(s, plan->queue[i].id);
        if (plan->verdicts[i].kind == REIDD_SCHED_START) {
            job->state = REIDD_RUNNING;
            job->ranks = plan->verdicts[i].ranks;
            job->attempts++;
            job->started_ms = s->now_ms;
            job->start_order = ++s->starts;
            free(job->placement);
            job->placement = plan->verdicts[i].placement;
        } else if (plan->verdicts[i].kind == REIDD_SCHED_REFUSE) {
            job->state = REIDD_FAILED;
            job->refused = job->has_ended = true;
        } else {
            reid_str_addf(&queue, "%s%s", queue.length ? " " : "", job->id);
        }
    }
    free(s->queue);
    s->queue = reid_xstrdup(reid_str_text(&queue));
    reid_str_fini(&queue);
}

/* One round; true when something was started, refused or is to be paused: then there is another. */
static bool round_of(sim *s)
{
    sched_list running = {0}, queue = {0};
    REID_VEC(sim_job *) started = {0};
    REID_VEC(int64_t) ran = {0};
    for (size_t i = 0; i < s->jobs.count; i++)
        if (sim_runs(&s->jobs.items[i]))
            reid_vec_push(&started, &s->jobs.items[i]);
    if (started.count > 0)
        qsort((void *)started.items, started.count, sizeof *started.items, by_start);
    for (size_t i = 0; i < started.count; i++) {
        reid_vec_push(&running, describe(s, started.items[i]));
        reid_vec_push(&ran, s->now_ms - started.items[i]->started_ms);
    }
    for (size_t i = 0; i < s->jobs.count; i++)
        if (is_queued(s, &s->jobs.items[i]))
            reid_vec_push(&queue, describe(s, &s->jobs.items[i]));
    if (queue.count > 0)
        reidd_sched_order(&s->shares, running.items, ran.items, running.count, s->now_ms,
                          queue.items, queue.count);
    reidd_sched_plan plan = {
        .nodes = &s->nodes,
        .running = running.items,
        .running_count = running.count,
        .queue = queue.items,
        .queue_count = queue.count,
        .verdicts = reid_xcalloc(queue.count + 1, sizeof(reidd_sched_verdict)),
        .preempted_for = reid_xcalloc(running.count + 1, sizeof(size_t)),
        .lookahead = s->lookahead,
    };
    reidd_sched_run(&plan);
    if (s->look)
        s->look(s, &plan, s->user);
    bool more = false;
    for (size_t i = 0; i < running.count; i++)
        more = more || plan.preempted_for[i] != REIDD_SCHED_NOBODY;
    for (size_t i = 0; i < queue.count; i++) {
        more = more || plan.verdicts[i].kind == REIDD_SCHED_START ||
               plan.verdicts[i].kind == REIDD_SCHED_REFUSE;
        sim_job *job = sim_find(s, queue.items[i].id);
        free(job->reason);
        job->reason = reidd_sched_reason(&plan, i);
    }
    apply(s, &plan);
    free(plan.verdicts);
    free(plan.preempted_for);
    reid_vec_fini(&running);
    reid_vec_fini(&queue);
    reid_vec_fini(&started);
    reid_vec_fini(&ran);
    return more;
}

static void schedule(sim *s)
{
    if (s->nodes.count == 0)
        return;
    while (round_of(s))
        continue;
}

/* ---- what happens ---- */

static void leave(sim *s, sim_job *job, reidd_state state)
{
    if (sim_runs(job)) {
        reidd_shares_add(&s->shares, job->user, job->ranks, s->now_ms - job->started_ms, s->now_ms);
        job->ran_ms += s->now_ms - job->started_ms;
    }
    if (reidd_state_is_final(job->state) && !reidd_state_is_final(state))
        job->ran_ms = 0; /* somebody wants it again */
    if (reidd_state_is_final(job->state) && !reidd_state_is_final(state))
        reidd_node_set_text(&job->after, job->wish);
    job->state = state;
    job->pausing = job->refused = false;
    job->has_ended = job->has_ended || reidd_state_is_final(state);
    job->has_succeeded = job->has_succeeded || state == REIDD_SUCCEEDED;
}

static int64_t over_at(const sim_job *job)
{
    return job->started_ms + REID_MAX(job->limit_ms - job->ran_ms, 1);
}

/* Jobs whose time is over end on the way. */
static void advance(sim *s, int64_t by_ms)
{
    int64_t end = s->now_ms + by_ms;
    while (s->now_ms < end) {
        int64_t next = end;
        for (size_t i = 0; i < s->jobs.count; i++) {
            const sim_job *job = &s->jobs.items[i];
            if (sim_runs(job) && job->limit_ms)
                next = REID_MIN(next, REID_MAX(over_at(job), s->now_ms));
        }
        s->now_ms = next;
        for (size_t i = 0; i < s->jobs.count; i++) {
            sim_job *job = &s->jobs.items[i];
            if (sim_runs(job) && job->limit_ms && over_at(job) <= s->now_ms)
                leave(s, job, REIDD_CANCELLED);
        }
        schedule(s);
    }
}

static char *next_word(char **rest)
{
    char *word = strtok_r(NULL, " ", rest);
    return word;
}

static const char *need(sim *s, char **rest)
{
    const char *word = next_word(rest);
    if (!word)
        SIM_BAD(s, "something is missing at the end");
    return word;
}

static void submit(sim *s, char **rest)
{
    sim_job job = {.ranks = 1, .state = REIDD_PENDING};
    snprintf(job.id, sizeof job.id, "%s", need(s, rest));
    job.user = reid_xstrdup("ada");
    for (const char *word; (word = next_word(rest)) != NULL;) {
        if (strcmp(word, "-n") == 0)
            job.ranks = (int)parse_time(s, need(s, rest)) / 1000;
        else if (strcmp(word, "--user") == 0)
            reidd_node_set_text(&job.user, need(s, rest));
        else if (strcmp(word, "--priority") == 0)
            job.priority = atoi(need(s, rest));
        else if (strcmp(word, "--max-time") == 0)
            job.limit_ms = parse_time(s, need(s, rest));
        else if (strcmp(word, "--after") == 0)
            job.after = reid_xstrdup(need(s, rest));
        else if (strcmp(word, "--gpu-type") == 0)
            job.gpu_type = reid_xstrdup(need(s, rest));
        else if (strcmp(word, "--avoid") == 0)
            job.avoid = reid_xstrdup(need(s, rest));
        else if (strcmp(word, "--fewer") == 0)
            job.fewer = reid_xstrdup(need(s, rest));
        else if (strcmp(word, "--hold") == 0)
            job.held = true;
        else if (strcmp(word, "--no-preempt") == 0)
            job.no_preempt = true;
        else
            SIM_BAD(s, "submit has no '%s'", word);
    }
    job.wanted = job.ranks;
    job.wish = job.after ? reid_xstrdup(job.after) : NULL;
    reid_vec_push(&s->jobs, job);
}

static void node(sim *s, char **rest)
{
    const char *name = need(s, rest), *slots = need(s, rest), *type = next_word(rest);
    reidd_nodes_add(&s->nodes, name, atoi(slots), type);
}

static bool change_node(sim *s, const char *verb, char **rest)
{
    bool up = strcmp(verb, "up") == 0, down = strcmp(verb, "down") == 0;
    bool drain = strcmp(verb, "drain") == 0, resume = strcmp(verb, "resume") == 0;
    if (!up && !down && !drain && !resume)
        return false;
    reidd_node *one = reidd_nodes_find(&s->nodes, need(s, rest));
    if (!one)
        SIM_BAD(s, "there is no such node");
    const char *note = *rest && **rest ? *rest : NULL;
    one->up = up || (one->up && !down);
    one->drained = drain || (one->drained && !resume);
    reidd_node_set_text(&one->note, note);
    return true;
}

static bool change_job(sim *s, const char *verb, char **rest)
{
    static const struct {
        const char *verb;
        reidd_state from, to;
    } verbs[] = {
        {"finish", REIDD_RUNNING, REIDD_SUCCEEDED},  {"fail", REIDD_RUNNING, REIDD_FAILED},
        {"cancel", REIDD_RUNNING, REIDD_CANCELLED},  {"cancel", REIDD_PENDING, REIDD_CANCELLED},
        {"paused", REIDD_RUNNING, REIDD_PENDING},    {"hold", REIDD_PENDING, REIDD_PENDING},
        {"release", REIDD_PENDING, REIDD_PENDING},   {"requeue", REIDD_FAILED, REIDD_PENDING},
        {"requeue", REIDD_CANCELLED, REIDD_PENDING},
    };
    size_t known = 0;
    for (size_t i = 0; i < REID_COUNT_OF(verbs); i++)
        known += strcmp(verbs[i].verb, verb) == 0;
    if (known == 0 && strcmp(verb, "priority") != 0)
        return false;
    sim_job *job = sim_find(s, need(s, rest));
    if (known == 0)
        job->priority = atoi(need(s, rest));
    for (size_t i = 0; i < REID_COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].verb, verb) != 0 || verbs[i].from != job->state)
            continue;
        leave(s, job, verbs[i].to);
        known = 0;
    }
    if (known > 0)
        SIM_BAD(s, "job %s is %s", job->id, reidd_state_name(job->state));
    job->held = strcmp(verb, "hold") == 0 || (job->held && strcmp(verb, "release") != 0);
    return true;
}

/* ---- what is expected ---- */

static const char *state_word(const sim_job *job)
{
    return job->refused                    ? "is refused"
           : sim_runs(job) && job->pausing ? "is pausing"
           : sim_runs(job)                 ? "runs"
           : job->state == REIDD_PENDING   ? "waits"
           : job->state == REIDD_FAILED    ? "has failed"
           : job->state == REIDD_SUCCEEDED ? "has finished"
                                           : "is cancelled";
}

static void expect(sim *s, char *text)
{
    text = reid_str_trim(text);
    if (reid_str_starts(text, "queue")) {
        const char *wanted = reid_str_trim(text + strlen("queue"));
        if (strcmp(s->queue ? s->queue : "", wanted) != 0)
            SIM_BAD(s, "the queue is '%s'", s->queue ? s->queue : "");
        return;
    }
    char *rest = strchr(text, ' ');
    if (!rest)
        SIM_BAD(s, "what is expected of %s?", text);
    *rest++ = '\0';
    const sim_job *job = sim_find(s, text);
    const char *is = state_word(job);
    size_t length = strlen(is);
    if (strncmp(rest, is, length) != 0 || (rest[length] && !strchr(" :", rest[length])))
        SIM_BAD(s, "job %s %s%s%s: %s", job->id, is, sim_runs(job) ? " on " : "",
                sim_runs(job) && job->placement ? job->placement : "",
                job->reason ? job->reason : "");
    const char *more = rest + length;
    if (reid_str_starts(more, " on ")) {
        REID_AUTOFREE char *here =
            job->placement ? reid_xstrdup(job->placement)
                           : reid_xasprintf("%s:%d", s->nodes.items[0].name, job->ranks);
        if (strcmp(more + 4, here) != 0)
            SIM_BAD(s, "job %s runs on %s", job->id, here);
    } else if (reid_str_starts(more, ": ")) {
        if (!job->reason || strcmp(more + 2, job->reason) != 0)
            SIM_BAD(s, "job %s: '%s'", job->id, job->reason ? job->reason : "");
    } else if (*more) {
        SIM_BAD(s, "'%s' is not understood", more);
    }
}

void sim_obey(sim *s, char *line)
{
    if (s->told)
        reid_str_addf(s->told, "%s\n", line);
    if (reid_str_starts(line, "expect ")) {
        expect(s, line + strlen("expect "));
        return;
    }
    char *rest = NULL;
    const char *verb = strtok_r(line, " ", &rest);
    if (strcmp(verb, "node") == 0)
        node(s, &rest);
    else if (strcmp(verb, "fair-share") == 0)
        s->shares.half_life_ms = parse_time(s, need(s, &rest));
    else if (strcmp(verb, "submit") == 0)
        submit(s, &rest);
    else if (strcmp(verb, "advance") == 0)
        advance(s, parse_time(s, need(s, &rest)));
    else if (!change_node(s, verb, &rest) && !change_job(s, verb, &rest))
        SIM_BAD(s, "'%s' is not understood", verb);
    schedule(s);
}

void sim_fini(sim *s)
{
    for (size_t i = 0; i < s->jobs.count; i++) {
        sim_job *job = &s->jobs.items[i];
        free(job->user);
        free(job->gpu_type);
        free(job->avoid);
        free(job->after);
        free(job->wish);
        free(job->fewer);
        free(job->placement);
        free(job->reason);
    }
    reid_vec_fini(&s->jobs);
    reidd_nodes_fini(&s->nodes);
    reidd_shares_fini(&s->shares);
    free(s->queue);
}
