/* The queue: who is in it, who starts, and why the others wait. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/manager_private.h"
#include "daemon/queue.h"
#include "daemon/sched/after.h"
#include "daemon/sched/order.h"

/* One look at all jobs: the arguments of the scheduler, and whose they are. The memory is kept for
 * the next one. With very many jobs, a page that is written to costs most: reidd forks for each
 * job, and shares all pages with the child for a while. So nothing is written that stays as it was.
 */
struct reidd_round {
    reidd_sched_plan plan;
    REID_VEC(reidd_sched_job) running, queue;
    REID_VEC(reidd_active *) holders;
    REID_VEC(int64_t) ran_ms;
    REID_VEC(reidd_active *) never; /* whose wishes cannot be fulfilled any more */
    REID_VEC(reidd_active *) waiting;
    REID_VEC(reidd_sched_verdict) verdicts;
    REID_VEC(size_t) preempted_for;
};
typedef struct reidd_round round;

/* ---- who is in it ---- */

static reidd_state state_of(const char *id, void *user)
{
    const reidd_manager *manager = user;
    const reidd_active *active = reidd_active_find(manager, id);
    reidd_job job = {0};
    if (active)
        return active->job.state;
    if (reidd_store_job_load(manager->store, id, &job, NULL) != REID_OK)
        return 0;
    reidd_state state = job.state;
    reidd_job_fini(&job);
    return state;
}

static void set_detail(reidd_active *active, char *own_detail)
{
    if (active->detail && own_detail && strcmp(active->detail, own_detail) == 0) {
        free(own_detail);
        return;
    }
    free(active->detail);
    active->detail = own_detail;
}

/* A job that waits for its restart, for somebody or for another job holds back nobody. */
static bool is_queued(reidd_active *active, round *r)
{
    const reidd_job *job = &active->job;
    char id[16];
    reidd_state state = 0;
    if (job->state != REIDD_PENDING || job->restart.at_ms != 0)
        return false;
    if (job->wishes.held) {
        set_detail(active, reid_xstrdup("held; release it to let it start"));
        return false;
    }
    if (!active->after)
        return true;
    reidd_after_verdict verdict =
        reidd_after_check(&active->after, state_of, active->manager, id, &state);
    if (verdict == REIDD_AFTER_WAIT)
        set_detail(active, reid_xasprintf("waits for job %s to end", id));
    if (verdict == REIDD_AFTER_NEVER)
        set_detail(active, reid_xasprintf("job %s, after which this one was to start, ended as %s",
                                          id, reidd_state_name(state)));
    if (verdict == REIDD_AFTER_NEVER)
        reid_vec_push(&r->never, active);
    return verdict == REIDD_AFTER_READY;
}

int64_t reidd_active_ran_ms(reidd_active *active)
{
    uint64_t now = uv_now(active->manager->loop);
    if (!reidd_state_is_started(active->job.state))
        return 0;
    if (active->run_since == 0) { /* started just now, or by the daemon before */
        int64_t passed = reid_clock_wall_ms() - active->job.started_ms;
        active->run_since = now - (uint64_t)REID_MIN(REID_MAX(passed, 0), (int64_t)now - 1);
    }
    return (int64_t)(now - active->run_since);
}

int64_t reidd_active_left_ms(reidd_active *active)
{
    const reidd_job *job = &active->job;
    if (job->wishes.max_time_ms == 0)
        return 0;
    return REID_MAX(job->wishes.max_time_ms - job->ran_ms - reidd_active_ran_ms(active), 1);
}

static reidd_sched_job describe(reidd_active *active)
{
    const reidd_job *job = &active->job;
    bool leaving = active->ending || active->own_failure || active->word_note || job->yields ||
                   job->cancel.wanted || job->limit_reached;
    return (reidd_sched_job){
        .id = job->id,
        .user = job->user,
        .gpu_type = job->wishes.gpu_type,
        .avoid = job->avoid,
        .placement = job->placement,
        .time_ms = reidd_active_left_ms(active),
        .submitted_order = reidd_job_id_number(job->id),
        .ranks = reidd_state_is_started(job->state) || job->wishes.ranks == 0 ? job->ranks
                                                                              : job->wishes.ranks,
        .fewer = job->attempt > 0 ? job->wishes.fewer : NULL,
        .priority = job->wishes.priority,
        .no_preempt = job->wishes.no_preempt || job->eval_only || active->never_pauses,
        .leaving = reidd_state_is_started(job->state) && leaving,
    };
}

static void collect(reidd_manager *manager, round *r)
{
    for (size_t i = 0; i < manager->active.count; i++) {
        reidd_active *active = manager->active.items[i];
        if (reidd_state_is_started(active->job.state)) {
            reid_vec_push(&r->running, describe(active));
            reid_vec_push(&r->holders, active);
            reid_vec_push(&r->ran_ms, reidd_active_ran_ms(active));
            continue;
        }
        if (active->run_since != 0)
            active->run_since = 0;
        if (is_queued(active, r))
            reid_vec_push(&r->queue, describe(active));
    }
}

/* In order of start, as the scheduler wants them. */
static void sort_running(round *r)
{
    for (size_t i = 1; i < r->running.count; i++)
        for (size_t k = i; k > 0 && r->ran_ms.items[k - 1] < r->ran_ms.items[k]; k--) {
            const reidd_sched_job job = r->running.items[k];
            reidd_active *holder = r->holders.items[k];
            int64_t ran_ms = r->ran_ms.items[k];
            r->running.items[k] = r->running.items[k - 1];
            r->holders.items[k] = r->holders.items[k - 1];
            r->ran_ms.items[k] = r->ran_ms.items[k - 1];
            r->running.items[k - 1] = job;
            r->holders.items[k - 1] = holder;
            r->ran_ms.items[k - 1] = ran_ms;
        }
}

static void plan(reidd_manager *manager, round *r)
{
    collect(manager, r);
    sort_running(r);
    if (r->queue.count > 0)
        reidd_sched_order(&manager->shares, r->running.items, r->ran_ms.items, r->running.count,
                          reid_clock_wall_ms(), r->queue.items, r->queue.count);
    reid_vec_reserve(&r->verdicts, r->queue.count + 1);
    reid_vec_reserve(&r->preempted_for, r->running.count + 1);
    for (size_t i = 0; i < r->queue.count; i++)
        reid_vec_push(&r->waiting, reidd_active_find(manager, r->queue.items[i].id));
    r->plan = (reidd_sched_plan){
        .nodes = manager->nodes,
        .running = r->running.items,
        .running_count = r->running.count,
        .queue = r->queue.items,
        .queue_count = r->queue.count,
        .verdicts = r->verdicts.items,
        .preempted_for = r->preempted_for.items,
        .lookahead = (int)manager->limits->values[REIDD_LIMIT_RESERVATIONS],
    };
    reidd_sched_run(&r->plan);
}

static void round_begin(round *r)
{
    r->running.count = r->queue.count = r->holders.count = r->ran_ms.count = 0;
    r->never.count = r->waiting.count = 0;
}

void reidd_round_free(reidd_round *r)
{
    if (!r)
        return;
    reid_vec_fini(&r->running);
    reid_vec_fini(&r->queue);
    reid_vec_fini(&r->holders);
    reid_vec_fini(&r->ran_ms);
    reid_vec_fini(&r->never);
    reid_vec_fini(&r->waiting);
    reid_vec_fini(&r->verdicts);
    reid_vec_fini(&r->preempted_for);
    free(r);
}

/* ---- what follows from it ---- */

static void refuse(reidd_active *active, const char *sentence)
{
    reidd_manager *manager = active->manager;
    reidd_job job;
    reid_error err = {0};
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_refuse(&job, sentence, reid_clock_wall_ms(), &err);
    if (status == REID_OK)
        status = reidd_active_save(manager, &job, "state", "FAILED", &err);
    reidd_job_fini(&job);
    reidd_manager_note_store(manager, status, &err);
    if (status != REID_OK) {
        reidd_manager_schedule_later(manager, REIDD_RETRY_MS);
        return;
    }
    reid_log_warn("job refused id=%s %s", active->job.id, sentence);
    char id[16];
    memcpy(id, active->job.id, sizeof id);
    reidd_active_remove(active);
    reidd_hub_publish(manager->hub, id, REIDD_CHANGED_JOB | REIDD_CHANGED_END);
}

static void refuse_too_large(reidd_active *active)
{
    const reidd_manager *manager = active->manager;
    int most = reidd_sched_capacity(manager->nodes, active->job.wishes.gpu_type);
    REID_AUTOFREE char *sentence =
        reid_xasprintf("the job needs %d slots, and %s %d", active->job.ranks,
                       manager->nodes->count == 1 ? "this node now has" : "there are now", most);
    refuse(active, sentence);
}

static void note_ranks(const reidd_active *active)
{
    const reidd_job *job = &active->job;
    if (job->wishes.ranks == 0 || job->ranks == job->wishes.ranks)
        return;
    REID_AUTOFREE char *detail =
        reid_xasprintf("%d of %d: the nodes that are up and not avoided have no room for more",
                       (int)job->ranks, (int)job->wishes.ranks);
    reid_log_warn("job has fewer ranks id=%s %s", job->id, detail);
    reid_error err = {0};
    if (reidd_store_event_add(active->manager->store, job->id, job->attempt, reid_clock_wall_ms(),
                              "ranks", detail, &err) != REID_OK)
        reid_log_warn("job event not stored id=%s %s", job->id, err.text);
}

static void start(reidd_active *active, reidd_sched_verdict *verdict)
{
    free(active->job.placement);
    active->job.placement = verdict->placement;
    verdict->placement = NULL;
    active->job.ranks = verdict->ranks;
    reidd_active_start(active);
    if (active->job.state != REIDD_PENDING) {
        note_ranks(active);
        return;
    }
    const reidd_waiter again = {.active = active, .kind = REIDD_SCHED_WAIT_SLOTS};
    reid_vec_push(&active->manager->waiting,
                  again); /* it could not be stored, and is tried again */
}

static bool is_turn(reidd_sched_verdict_kind kind)
{
    return kind == REIDD_SCHED_WAIT_TURN || kind == REIDD_SCHED_WAIT_KEPT;
}

/* Why a job waits. For its turn there may be thousands: that is put into words when somebody asks.
 */
static void note_wait(reidd_manager *manager, round *r, size_t index)
{
    reidd_active *active = r->waiting.items[index];
    reidd_sched_verdict *verdict = &r->plan.verdicts[index];
    const reidd_waiter waiter = {
        .active = active,
        .kind = verdict->kind,
        .start_by_ms = verdict->start_in_ms > 0 ? reid_clock_wall_ms() + verdict->start_in_ms : 0,
    };
    verdict->start_in_ms = -1; /* the time goes on until it is said */
    reid_vec_push(&manager->waiting, waiter);
    if (index == 0 || !is_turn(verdict->kind))
        set_detail(active, reidd_sched_reason(&r->plan, index));
    else if (active->detail)
        set_detail(active, NULL);
}

/* Its place among those that wait, from 1; 0: it is not there. */
static size_t place_of(const reidd_active *active)
{
    reidd_manager *manager = active->manager;
    size_t count = manager->waiting.count, hint = manager->waiting_hint;
    for (size_t i = hint > 0 ? hint - 1 : 0; i <= hint + 1 && i < count; i++)
        if (manager->waiting.items[i].active == active)
            return (manager->waiting_hint = i) + 1; /* lists ask for one after the other */
    for (size_t i = 0; i < count; i++)
        if (manager->waiting.items[i].active == active)
            return (manager->waiting_hint = i) + 1;
    return 0;
}

void reidd_manager_forget_waiter(reidd_manager *manager, const reidd_active *active)
{
    size_t place = place_of(active);
    if (place > 0)
        reid_vec_remove(&manager->waiting, place - 1);
    manager->tail.known = false;
}

int reidd_active_place(const reidd_active *active, int64_t *ret_start_by_ms)
{
    size_t place = active->job.state == REIDD_PENDING ? place_of(active) : 0;
    *ret_start_by_ms = place > 0 ? active->manager->waiting.items[place - 1].start_by_ms : 0;
    return (int)place;
}

/* The job's own words, or whose turn it is before. */
static char *reason_of(const reidd_active *active, size_t place)
{
    const reidd_manager *manager = active->manager;
    if (place > 0 && manager->store_fails)
        return reid_xstrdup("waits for the state folder to become writable");
    if (reidd_cluster_rival(manager->cluster))
        return reid_xstrdup(reidd_cluster_rival(manager->cluster));
    if (!reidd_cluster_may_start(manager->cluster))
        return reid_xstrdup("waits for the other nodes to say whether this one is still the head");
    if (active->detail)
        return reid_xstrdup(active->detail);
    if (place > 1)
        return reidd_sched_turn(manager->waiting.items[place - 1].kind,
                                manager->waiting.items[place - 2].active->job.id);
    return reid_xstrdup("waits for slots");
}

char *reidd_active_wait_detail(const reidd_active *active)
{
    if (active->job.restart.at_ms != 0)
        return reidd_restart_detail(&active->job, reid_clock_wall_ms());
    int64_t start_by_ms = 0;
    size_t place = (size_t)reidd_active_place(active, &start_by_ms);
    char *reason = reason_of(active, place);
    int64_t left_ms = start_by_ms - reid_clock_wall_ms();
    if (left_ms <= 0)
        return reason;
    char duration[32];
    reid_format_duration(duration, (double)left_ms / 1000.0);
    char *whole = reid_xasprintf("%s; at the latest in %s", reason, duration);
    free(reason);
    return whole;
}

/* Those who watch a job that waits are told when its place or the reason is another one. */
static void tell_listeners(reidd_manager *manager)
{
    for (const reidd_listener *l = manager->hub->first; l; l = l->after) {
        reidd_active *active = reidd_active_find(manager, l->job_id);
        if (!active || active->job.state != REIDD_PENDING || active->changed)
            continue;
        size_t place = place_of(active);
        REID_AUTOFREE char *reason = reason_of(active, place);
        REID_AUTOFREE char *told = reid_xasprintf("%zu %s", place, reason);
        if (active->told && strcmp(active->told, told) == 0)
            continue;
        free(active->told);
        active->told = reid_xstrdup(told);
        active->changed = true;
        reidd_manager_plan_flush(manager);
    }
}

static void note_tail(reidd_manager *manager, const round *r)
{
    struct reidd_tail *tail = &manager->tail;
    size_t last = r->queue.count - 1;
    tail->known = r->queue.count > 0 && r->plan.over && manager->shares.half_life_ms == 0 &&
                  is_turn(r->plan.verdicts[last].kind);
    if (!tail->known)
        return;
    tail->priority = r->queue.items[last].priority;
    tail->number = r->queue.items[last].submitted_order;
    tail->unused = r->plan.unused;
}

/* What the plan wants to run or to make room does so; reasons are found with that in mind. */
static void carry_out(round *r)
{
    for (size_t i = 0; i < r->plan.running_count; i++) {
        if (r->plan.preempted_for[i] == REIDD_SCHED_NOBODY)
            continue;
        reidd_active_preempt(r->holders.items[i], r->queue.items[r->plan.preempted_for[i]].id);
        r->running.items[i].leaving = r->holders.items[i]->job.yields != NULL;
    }
    for (size_t i = 0; i < r->queue.count; i++) {
        if (r->plan.verdicts[i].kind != REIDD_SCHED_START)
            continue;
        reidd_sched_job started = r->queue.items[i];
        started.ranks = r->plan.verdicts[i].ranks;
        start(r->waiting.items[i], &r->plan.verdicts[i]);
        reid_vec_push(&r->running, started);
    }
    r->plan.running = r->running.items;
    r->plan.running_count = r->running.count;
}

static void apply(reidd_manager *manager, round *r)
{
    carry_out(r);
    for (size_t i = 0; i < r->queue.count; i++)
        if (r->plan.verdicts[i].kind != REIDD_SCHED_START &&
            r->plan.verdicts[i].kind != REIDD_SCHED_REFUSE)
            note_wait(manager, r, i);
    note_tail(manager, r);
    size_t refused = r->never.count;
    for (size_t i = 0; i < r->queue.count; i++)
        if (r->plan.verdicts[i].kind == REIDD_SCHED_REFUSE) {
            refuse_too_large(r->waiting.items[i]);
            refused++;
        }
    for (size_t i = 0; i < r->never.count; i++) {
        REID_AUTOFREE char *sentence = reid_xstrdup(r->never.items[i]->detail);
        refuse(r->never.items[i], sentence);
    }
    if (refused > 0)
        reidd_manager_schedule_later(manager, 0); /* others may wait for these */
}

void reidd_manager_schedule(reidd_manager *manager)
{
    if (manager->closing || manager->scheduling)
        return;
    manager->tail.known = false;
    if (!reidd_cluster_may_start(manager->cluster)) { /* on_change of the cluster comes back here */
        reidd_manager_watch_limits(manager);
        return;
    }
    manager->scheduling = true;
    manager->waiting.count = 0;
    if (!manager->round)
        manager->round = reid_xcalloc(1, sizeof *manager->round);
    round_begin(manager->round);
    plan(manager, manager->round);
    apply(manager, manager->round);
    manager->scheduling = false;
    tell_listeners(manager);
    reidd_manager_watch_limits(manager);
}

/* One more at the end of a queue of which nobody at the end can start changes nothing for the
 * others, however many they are. */
void reidd_manager_enqueue(reidd_manager *manager, reidd_active *active)
{
    struct reidd_tail *tail = &manager->tail;
    const reidd_job *job = &active->job;
    int64_t number = reidd_job_id_number(job->id);
    if (!tail->known || manager->scheduling || job->state != REIDD_PENDING || active->after ||
        job->wishes.held || job->wishes.priority > tail->priority || number < tail->number) {
        reidd_manager_schedule(manager);
        return;
    }
    const reidd_waiter waiter = {
        .active = active,
        .kind = job->ranks <= tail->unused ? REIDD_SCHED_WAIT_KEPT : REIDD_SCHED_WAIT_TURN,
    };
    reid_vec_push(&manager->waiting, waiter);
    tail->priority = job->wishes.priority;
    tail->number = number;
}

static void on_schedule_timer(uv_timer_t *timer)
{
    reidd_manager_schedule(timer->data);
}

void reidd_manager_schedule_later(reidd_manager *manager, uint64_t delay_ms)
{
    uv_timer_t *timer = &manager->schedule_timer;
    if (manager->closing ||
        (uv_is_active((uv_handle_t *)timer) && uv_timer_get_due_in(timer) <= delay_ms))
        return;
    uv_timer_start(timer, on_schedule_timer, delay_ms, 0);
}

/* ---- fair share ---- */

static void add_usage(const char *user, int slots, int64_t started_ms, int64_t ended_ms, void *arg)
{
    reidd_shares_add(arg, user, slots, ended_ms - started_ms, ended_ms);
}

int64_t reidd_manager_usage_since(const reidd_manager *manager)
{
    enum { HALF_LIVES = 20 }; /* after which next to nothing is left */
    int64_t half_life_ms = manager->shares.half_life_ms, now_ms = reid_clock_wall_ms();
    if (half_life_ms == 0)
        return INT64_MAX;
    return half_life_ms > now_ms / HALF_LIVES ? 0 : now_ms - HALF_LIVES * half_life_ms;
}

reid_status reidd_manager_load_shares(reidd_manager *manager, int64_t half_life_ms, reid_error *err)
{
    manager->shares.half_life_ms = half_life_ms;
    if (half_life_ms == 0)
        return REID_OK;
    return reidd_store_usage_each(manager->store, reidd_manager_usage_since(manager), add_usage,
                                  &manager->shares, err);
}
