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

/* One look at all jobs: the arguments of the scheduler, and whose they are. */
typedef struct round {
    reidd_sched_plan plan;
    REID_VEC(reidd_sched_job) running, queue;
    REID_VEC(reidd_active *) holders;
    REID_VEC(int64_t) ran_ms;
    REID_VEC(reidd_active *) never; /* whose wishes cannot be fulfilled any more */
    reidd_active **waiting;         /* [queue] */
} round;

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
    bool same = active->detail && own_detail && strcmp(active->detail, own_detail) == 0;
    active->queue_changed = active->queue_changed || !same;
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
        .ranks = job->ranks,
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
        active->run_since = 0;
        active->queue_position = 0;
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
    r->waiting = reid_xcalloc(r->queue.count + 1, sizeof(reidd_active *));
    for (size_t i = 0; i < r->queue.count; i++)
        r->waiting[i] = reidd_active_find(manager, r->queue.items[i].id);
    r->plan = (reidd_sched_plan){
        .nodes = manager->nodes,
        .running = r->running.items,
        .running_count = r->running.count,
        .queue = r->queue.items,
        .queue_count = r->queue.count,
        .verdicts = reid_xcalloc(r->queue.count + 1, sizeof(reidd_sched_verdict)),
        .preempted_for = reid_xcalloc(r->running.count + 1, sizeof(size_t)),
    };
    reidd_sched_run(&r->plan);
}

static void round_fini(round *r)
{
    for (size_t i = 0; i < r->queue.count; i++)
        free(r->plan.verdicts[i].placement);
    free(r->plan.verdicts);
    free(r->plan.preempted_for);
    free((void *)r->waiting);
    reid_vec_fini(&r->running);
    reid_vec_fini(&r->queue);
    reid_vec_fini(&r->holders);
    reid_vec_fini(&r->ran_ms);
    reid_vec_fini(&r->never);
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

static void start(reidd_active *active, reidd_sched_verdict *verdict)
{
    free(active->job.placement);
    active->job.placement = verdict->placement;
    verdict->placement = NULL;
    active->queue_position = 0;
    active->start_by_ms = 0;
    reidd_active_start(active);
    if (active->job.state != REIDD_PENDING)
        return;
    active->queue_position = 1; /* it could not be stored, and is tried again */
    set_detail(active, reid_xstrdup("waits for the state folder to become writable"));
}

/* Why a job waits; the hub is told only when somebody listens and something is new. */
static void note_wait(round *r, size_t index, int position)
{
    reidd_active *active = r->waiting[index];
    reidd_sched_verdict *verdict = &r->plan.verdicts[index];
    bool turn = index > 0 &&
                (verdict->kind == REIDD_SCHED_WAIT_TURN || verdict->kind == REIDD_SCHED_WAIT_KEPT);
    const char *before = index > 0 ? r->queue.items[index - 1].id : "";
    active->start_by_ms =
        verdict->start_in_ms > 0 ? reid_clock_wall_ms() + verdict->start_in_ms : 0;
    verdict->start_in_ms = -1; /* said when somebody asks: the time goes on */
    active->queue_changed = active->queue_changed || active->queue_position != position ||
                            active->waits != verdict->kind || strcmp(active->before, before) != 0;
    active->queue_position = position;
    active->waits = verdict->kind;
    memcpy(active->before, before, strlen(before) + 1);
    if (turn) { /* of which there may be thousands: reidd_active_wait_detail */
        free(active->detail);
        active->detail = NULL;
    } else {
        set_detail(active, reidd_sched_reason(&r->plan, index));
    }
}

static void tell_listeners(reidd_manager *manager)
{
    for (const reidd_listener *l = manager->hub->first; l; l = l->after) {
        reidd_active *active = reidd_active_find(manager, l->job_id);
        if (!active || !active->queue_changed)
            continue;
        active->changed = true;
        active->queue_changed = false;
        reidd_manager_plan_flush(manager);
    }
}

char *reidd_active_wait_detail(const reidd_active *active)
{
    reid_str text = REID_STR_INIT;
    if (active->job.restart.at_ms != 0)
        return reidd_restart_detail(&active->job, reid_clock_wall_ms());
    if (active->manager->store_fails && active->queue_position > 0)
        return reid_xstrdup("waits for the state folder to become writable");
    if (active->detail) {
        reid_str_add(&text, active->detail);
    } else {
        REID_AUTOFREE char *turn = reidd_sched_turn(active->waits, active->before);
        reid_str_add(&text, turn);
    }
    int64_t left_ms = active->start_by_ms - reid_clock_wall_ms();
    if (active->queue_position > 0 && left_ms > 0) {
        char duration[32];
        reid_format_duration(duration, (double)left_ms / 1000.0);
        reid_str_addf(&text, "; at the latest in %s", duration);
    }
    return reid_str_take(&text);
}

/* True when another round is needed: what is to be paused is to be seen as leaving. */
static void apply(reidd_manager *manager, round *r)
{
    for (size_t i = 0; i < r->running.count; i++)
        if (r->plan.preempted_for[i] != REIDD_SCHED_NOBODY)
            reidd_active_preempt(r->holders.items[i], r->queue.items[r->plan.preempted_for[i]].id);
    int position = 0;
    for (size_t i = 0; i < r->queue.count; i++)
        if (r->plan.verdicts[i].kind == REIDD_SCHED_START)
            start(r->waiting[i], &r->plan.verdicts[i]);
        else if (r->plan.verdicts[i].kind != REIDD_SCHED_REFUSE)
            note_wait(r, i, ++position);
    for (size_t i = 0; i < r->queue.count; i++)
        if (r->plan.verdicts[i].kind == REIDD_SCHED_REFUSE)
            refuse_too_large(r->waiting[i]);
    for (size_t i = 0; i < r->never.count; i++) {
        REID_AUTOFREE char *sentence = reid_xstrdup(r->never.items[i]->detail);
        refuse(r->never.items[i], sentence);
    }
    if (r->never.count > 0)
        reidd_manager_schedule_later(manager, 0); /* others may wait for these */
}

void reidd_manager_schedule(reidd_manager *manager)
{
    if (manager->closing || manager->scheduling)
        return;
    manager->scheduling = true;
    round r = {0};
    plan(manager, &r);
    apply(manager, &r);
    round_fini(&r);
    manager->scheduling = false;
    tell_listeners(manager);
    reidd_manager_watch_limits(manager);
}

static void on_schedule_timer(uv_timer_t *timer)
{
    reidd_manager_schedule(timer->data);
}

void reidd_manager_schedule_later(reidd_manager *manager, uint64_t delay_ms)
{
    if (!manager->closing && !uv_is_active((uv_handle_t *)&manager->schedule_timer))
        uv_timer_start(&manager->schedule_timer, on_schedule_timer, delay_ms, 0);
}

/* ---- fair share ---- */

static void add_usage(const char *user, int slots, int64_t started_ms, int64_t ended_ms, void *arg)
{
    reidd_shares_add(arg, user, slots, ended_ms - started_ms, ended_ms);
}

reid_status reidd_manager_load_shares(reidd_manager *manager, int64_t half_life_ms, reid_error *err)
{
    enum { HALF_LIVES = 20 }; /* after which next to nothing is left */
    manager->shares.half_life_ms = half_life_ms;
    if (half_life_ms == 0)
        return REID_OK;
    int64_t now_ms = reid_clock_wall_ms();
    int64_t since_ms = half_life_ms > now_ms / HALF_LIVES ? 0 : now_ms - HALF_LIVES * half_life_ms;
    return reidd_store_usage_each(manager->store, since_ms, add_usage, &manager->shares, err);
}
