#include "daemon/deadline.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/access/identity.h"
#include "daemon/exec/process.h"

#define HURRY_GRACE_MS 2000 /* for ranks that do not get on anyway */
#define NAMED_RANKS 8       /* in one sentence */

/* ---- signs of life ---- */

void reidd_active_heard(reidd_active *active)
{
    active->heard_ms = reid_clock_mono_ns() / 1000000;
}

int64_t reidd_active_silent_ms(const reidd_active *active)
{
    return reid_clock_mono_ns() / 1000000 - active->heard_ms;
}

/* ---- who is to blame ---- */

/* "process 4711 of rank 1 is stopped"; nothing for a process that can run. */
static bool add_process(reid_str *out, pid_t pid, const char *of, bool may_be_gone)
{
    reidd_process process = {0};
    if (pid <= 0)
        return false;
    bool there = reidd_process_read(pid, &process) && !strchr("ZX", process.state);
    const char *how = !there                        ? "is gone"
                      : strchr("Tt", process.state) ? "is stopped"
                      : process.state == 'D'        ? "waits for a disk or a device"
                                                    : NULL;
    if (!how || (!there && may_be_gone))
        return false;
    reid_str_addf(out, "%sprocess %d of %s %s", out->length ? "; " : "", (int)pid, of, how);
    return true;
}

/* Processes of this node that cannot get on; *ret_rank is the first rank among them, or -1. */
static void add_processes(reid_str *out, const reidd_active *active, const char *folder,
                          int *ret_rank)
{
    reidd_shim_info shim = {0};
    *ret_rank = -1;
    for (int i = 0; i < active->job.ranks; i++) {
        reidd_rank_pids pids = {0};
        char of[64];
        if (reidd_rank_pids_read(folder, i, &pids, NULL) != REID_OK)
            continue;
        snprintf(of, sizeof of, "rank %d", i);
        bool stuck = add_process(out, pids.rank, of, false);
        snprintf(of, sizeof of, "rank %d's wrapper", i);
        if (pids.wrapper != pids.rank)
            stuck = add_process(out, pids.wrapper, of, true) || stuck;
        if (stuck && *ret_rank < 0)
            *ret_rank = i;
    }
    if (reidd_shim_info_read(folder, &shim, NULL) != REID_OK)
        return;
    if (active->job.ranks > 1)
        add_process(out, shim.launcher_pid, "mpirun", true);
    add_process(out, shim.pid, "the job's supervisor", false);
}

/* Caller frees. */
static char *blame(const reidd_active *active, double waited_s, int *ret_rank)
{
    const reidd_job *job = &active->job;
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(active->manager, job->id, job->attempt);
    REID_AUTOFREE char *flights = reid_path_join(folder, REID_FLIGHT_DIR);
    int waited_for = -1, stuck = -1;
    reidd_identity before = reidd_identity_of_owner(folder);
    REID_AUTOFREE char *waiting = reid_flight_explain(flights, waited_s / 2, &waited_for);
    reidd_identity_leave(&before);
    reid_str processes = REID_STR_INIT, out = REID_STR_INIT;
    add_processes(&processes, active, folder, &stuck);
    *ret_rank = stuck >= 0 ? stuck : waited_for >= 0 ? waited_for : job->ranks == 1 ? 0 : -1;
    if (waiting)
        reid_str_add(&out, waiting);
    /* The recorder's sentence names processes of ranks itself. */
    if (processes.length && !(waiting && strstr(waiting, reid_str_text(&processes))))
        reid_str_addf(&out, "%s%s", out.length ? "; " : "", reid_str_text(&processes));
    if (!out.length && job->ranks == 1)
        reid_str_add(&out, "rank 0 runs, but does not get on");
    else if (!out.length)
        reid_str_add(&out, "its ranks run, and none of them waits for another one");
    reid_str_fini(&processes);
    return reid_str_take(&out);
}

const char *reidd_manager_ranks(reidd_manager *manager, const char *id,
                                void (*each)(int number, const reidd_rank *rank, double silent_s,
                                             const char *note, void *user),
                                void *user)
{
    const reidd_active *active = reidd_active_find(manager, id);
    if (!active || !reidd_state_is_started(active->job.state) || active->ending)
        return NULL;
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(manager, id, active->job.attempt);
    for (int i = 0; i < active->ranks.count; i++) {
        const reidd_rank *rank = &active->ranks.items[i];
        reid_str note = REID_STR_INIT;
        reidd_rank_pids pids = {0};
        char of[64];
        snprintf(of, sizeof of, "rank %d", i);
        if (reidd_rank_pids_read(folder, i, &pids, NULL) == REID_OK)
            add_process(&note, pids.rank, of, false);
        else if (!active->reported[i])
            reid_str_add(&note, "has not reported");
        each(i, rank, rank->heard_ms ? (double)(now_ms - rank->heard_ms) / 1000 : -1,
             reid_str_text(&note), user);
        reid_str_fini(&note);
    }
    return active->ranks.slow;
}

/* ---- the end ---- */

void reidd_active_end(reidd_active *active, const char *kind, const char *sentence, int rank)
{
    const reidd_job *job = &active->job;
    reid_error err = {0};
    active->own_failure = reid_xstrdup(sentence);
    active->own_rank = rank;
    reid_log_warn("job stopped id=%s %s", job->id, sentence);
    if (reidd_store_event_add(active->manager->store, job->id, job->attempt, reid_clock_wall_ms(),
                              kind, sentence, &err) != REID_OK)
        reid_log_warn("job event is lost id=%s %s", job->id, err.text);
    reidd_active_stop(active, HURRY_GRACE_MS);
    reidd_active_describe(active);
}

static void end_attempt(reidd_active *active, char *own_sentence, int rank)
{
    reidd_active_end(active, "deadline", own_sentence, rank);
    free(own_sentence);
}

typedef struct phase_limit {
    const char *what, *option;
} phase_limit;

static const phase_limit limits[] = {
    [REIDD_LOADING] = {"loading has taken", "--loading-timeout"},
    [REIDD_TRAINING] = {"no iteration has ended for", "--step-timeout"},
    [REIDD_EVALUATING] = {"the evaluation has taken", "--evaluation-timeout"},
    [REIDD_SAVING] = {"saving has taken", "--saving-timeout"},
};

bool reidd_active_is_late(reidd_active *active)
{
    const reidd_job *job = &active->job;
    reidd_phase phase = job->phase == REIDD_PHASE_NONE ? REIDD_LOADING : job->phase;
    int64_t limit_ms = (int64_t)active->manager->phase_timeout_ms[phase];
    if (active->own_failure || job->cancel.wanted || limit_ms == 0)
        return active->own_failure != NULL;
    if (reidd_active_silent_ms(active) < limit_ms)
        return false;
    int rank = -1;
    double limit_s = (double)limit_ms / 1000;
    REID_AUTOFREE char *who = blame(active, limit_s, &rank);
    end_attempt(
        active,
        reid_xasprintf("%s %g s (%s): %s", limits[phase].what, limit_s, limits[phase].option, who),
        rank);
    return true;
}

static int64_t longest_step_ms(const reidd_active *active)
{
    double longest_s = 0;
    for (int i = 0; i < active->ranks.count; i++) {
        const reidd_rank *rank = &active->ranks.items[i];
        longest_s = REID_MAX(longest_s, rank->data_s + rank->compute_s + rank->wait_s);
    }
    return (int64_t)(longest_s * 1000);
}

void reidd_active_hurry(reidd_active *active)
{
    reidd_job *job = &active->job;
    int64_t patience_ms = REID_MAX(REIDD_QUIET_MS, 2 * longest_step_ms(active));
    if (job->cancel.grace_ms != active->manager->grace_ms || job->phase == REIDD_SAVING ||
        job->phase == REIDD_EVALUATING || reidd_active_silent_ms(active) < patience_ms)
        return;
    reid_log_info("job cancelled id=%s: its ranks do not get on, and are killed", job->id);
    job->cancel.grace_ms = 0;
    reidd_active_stop(active, 0);
}

void reidd_active_end_pause(reidd_active *active)
{
    double limit_s = (double)active->manager->pause_timeout_ms / 1000;
    int rank = -1;
    if (active->own_failure)
        return;
    if (active->job.eval_only) {
        end_attempt(active,
                    reid_xasprintf("%s; it evaluates, and has nothing to save", active->job.yields),
                    -1);
        return;
    }
    REID_AUTOFREE char *who = blame(active, limit_s, &rank);
    end_attempt(active,
                reid_xasprintf("%s, and it has not paused within %g s (--pause-timeout): %s",
                               active->job.yields, limit_s, who),
                -1);
}

/* "ranks 1, 3 and 7": those that have not reported. *ret_first is the first of them. */
static char *missing_ranks(const reidd_active *active, int *ret_first)
{
    int ranks = active->job.ranks, total = ranks - active->reported_count, named = 0;
    reid_str out = REID_STR_INIT;
    *ret_first = -1;
    reid_str_add(&out, total == 1 ? "rank" : "ranks");
    for (int i = 0; i < ranks && named < NAMED_RANKS; i++) {
        if (active->reported[i])
            continue;
        if (*ret_first < 0)
            *ret_first = i;
        reid_str_addf(&out, "%s %d", named == 0 ? "" : named + 1 == total ? " and" : ",", i);
        named++;
    }
    if (total > named)
        reid_str_addf(&out, " and %d more", total - named);
    return reid_str_take(&out);
}

void reidd_active_end_start(reidd_active *active)
{
    const reidd_job *job = &active->job;
    REID_AUTOFREE char *folder = reidd_manager_attempt_dir(active->manager, job->id, job->attempt);
    int missing = -1, stuck = -1;
    REID_AUTOFREE char *who = missing_ranks(active, &missing);
    reid_str processes = REID_STR_INIT;
    add_processes(&processes, active, folder, &stuck);
    char *sentence = reid_xasprintf(
        "%s %s not reported within %g s of the start (--start-timeout; %d of %d have)%s%s", who,
        job->ranks - active->reported_count == 1 ? "has" : "have",
        (double)active->manager->start_timeout_ms / 1000, active->reported_count, job->ranks,
        processes.length ? ": " : "", reid_str_text(&processes));
    reid_str_fini(&processes);
    end_attempt(active, sentence, stuck >= 0 ? stuck : missing);
}
