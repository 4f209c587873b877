#include "daemon/stall.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/log.h"
#include "daemon/access/identity.h"
#include "daemon/deadline.h"

#define LEAST_PERIOD_MS 200
#define FAILURE_WAIT_S 1.0 /* shorter waits are what a training does all the time */

static char *explain(const reidd_active *active, double least_wait_s)
{
    REID_AUTOFREE char *attempt =
        reidd_manager_attempt_dir(active->manager, active->job.id, active->job.attempt);
    REID_AUTOFREE char *folder = reid_path_join(attempt, REID_FLIGHT_DIR);
    REIDD_AS_OWNER(attempt);
    return reid_flight_explain(folder, least_wait_s, NULL);
}

static void add_event(reidd_active *active, const char *kind, const char *sentence)
{
    reid_error err = {0};
    const reidd_job *job = &active->job;
    if (reidd_store_event_add(active->manager->store, job->id, job->attempt, reid_clock_wall_ms(),
                              kind, sentence, &err) != REID_OK)
        reid_log_warn("job event is lost id=%s %s", job->id, err.text);
}

/* Two sentences of one stall differ in their seconds: the first is told, the newest is shown. */
static void set_stall(reidd_active *active, char *own_sentence)
{
    if (!active->stall) {
        reid_log_warn("job stalls id=%s %s", active->job.id, own_sentence);
        add_event(active, "stall", own_sentence);
    }
    free(active->stall);
    active->stall = own_sentence;
    reidd_active_describe(active);
}

static void end_stall(reidd_active *active)
{
    if (!active->stall)
        return;
    reid_log_info("job goes on id=%s", active->job.id);
    add_event(active, "stall", "the ranks go on");
    reidd_active_forget_stall(active);
    reidd_active_describe(active);
}

static void on_watch(uv_timer_t *timer)
{
    reidd_active *active = timer->data;
    const reidd_job *job = &active->job;
    int64_t limit_ms = (int64_t)active->manager->stall_notice_ms;
    if (active->ending || job->state != REIDD_RUNNING)
        return;
    if (active->manager->store_fails) /* what the ranks say is refused then */
        reidd_active_heard(active);
    /* Half of the shortest deadline is over: what other nodes know may be needed soon. */
    if (!job->cancel.wanted &&
        (uint64_t)reidd_active_silent_ms(active) >= 2 * uv_timer_get_repeat(timer))
        reidd_crew_look(active->crew);
    if (job->cancel.wanted)
        reidd_active_hurry(active);
    if (job->cancel.wanted || reidd_active_is_late(active))
        return;
    if (job->phase != REIDD_TRAINING || reidd_active_silent_ms(active) < limit_ms) {
        end_stall(active);
        return;
    }
    char *sentence = explain(active, (double)limit_ms / 2000);
    if (sentence)
        set_stall(active, sentence);
    else
        end_stall(active);
}

void reidd_active_watch(reidd_active *active)
{
    const reidd_manager *manager = active->manager;
    uint64_t shortest_ms = manager->stall_notice_ms;
    for (size_t i = 0; i < REID_COUNT_OF(manager->phase_timeout_ms); i++)
        if (manager->phase_timeout_ms[i] > 0)
            shortest_ms = REID_MIN(shortest_ms, manager->phase_timeout_ms[i]);
    uint64_t period_ms =
        active->job.cancel.wanted ? LEAST_PERIOD_MS : REID_MAX(shortest_ms / 4, LEAST_PERIOD_MS);
    reidd_active_heard(active);
    uv_timer_start(&active->timer, on_watch, period_ms, period_ms);
}

void reidd_active_note_slow(reidd_active *active)
{
    const char *slow = active->ranks.slow;
    reid_log_info("job ranks id=%s %s", active->job.id, slow ? slow : "keep pace again");
    add_event(active, "straggler", slow ? slow : "the ranks keep pace again");
    reidd_active_describe(active);
}

void reidd_active_note_flight(reidd_active *active)
{
    if (active->flight_noted || active->job.ranks == 1 || active->job.cancel.wanted)
        return;
    if (active->crew && !active->ending) { /* other nodes send theirs with the end */
        reidd_crew_look(active->crew);
        return;
    }
    REID_AUTOFREE char *sentence = explain(active, FAILURE_WAIT_S);
    if (!sentence)
        return;
    active->flight_noted = true;
    reid_log_info("job flight recorder id=%s %s", active->job.id, sentence);
    add_event(active, "flight", sentence);
}

void reidd_active_forget_stall(reidd_active *active)
{
    free(active->stall);
    active->stall = NULL;
}
