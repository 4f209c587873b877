/* A job and its states. Pure: no clock, no files, no loop.
 *
 *     PENDING ──start──▶ STARTING ──up──▶ RUNNING ──end──▶ SUCCEEDED | FAILED | CANCELLED
 *        │  ◀──requeue──     │                               (final: nothing changes by itself)
 *        ├──cancel──▶ CANCELLED
 *        └──refuse──▶ FAILED                STARTING ──end──▶ SUCCEEDED | FAILED | CANCELLED
 *
 *     STARTING, RUNNING ──pause──▶ PAUSED ──resume──▶ PENDING   (one job, one more attempt)
 *                                    └──cancel──▶ CANCELLED
 *     STARTING, RUNNING ──restart──▶ PENDING   (it has failed, and restarts are left)
 *     STARTING, RUNNING ──give way──▶ PENDING   (its slots were needed, and it has not paused)
 *     FAILED, CANCELLED, SUCCEEDED (stopped early) ──again──▶ PENDING   (somebody wants it)
 *
 * Every function that changes a state refuses (PRECONDITION, one sentence, nothing changed) what
 * the picture does not show. Cancelling a started job is a wish: it is kept in `cancel`, and the
 * end decides: exit code 0 is still SUCCEEDED, everything else CANCELLED.
 *
 * The first cause of a failure is kept: what a rank said last (`reidd_job_note_failure`) is used
 * when the end itself has no sentence. A job that waits for its restart has the failure of the
 * attempt before.
 */
#ifndef REIDD_JOB_JOB_H
#define REIDD_JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* The numbers are those of reid.v1.JobState and are stored. */
typedef enum reidd_state {
    REIDD_PENDING = 1,
    REIDD_STARTING = 2,
    REIDD_RUNNING = 3,
    REIDD_SUCCEEDED = 4,
    REIDD_FAILED = 5,
    REIDD_CANCELLED = 6,
    REIDD_PAUSED = 7,
} reidd_state;

/* The numbers are those of reid.v1.JobPhase and are stored. */
typedef enum reidd_phase {
    REIDD_PHASE_NONE = 0,
    REIDD_LOADING = 1,
    REIDD_TRAINING = 2,
    REIDD_EVALUATING = 3,
    REIDD_SAVING = 4,
} reidd_phase;

typedef struct reidd_progress {
    int64_t iteration; /* iterations finished */
    int64_t max_iteration;
    int32_t epoch; /* 0-based */
    int32_t max_epoch;
    double eta_s; /* negative: unknown */
    double images_per_s;
} reidd_progress;

typedef struct reidd_failure {
    char *sentence; /* NULL: no failure */
    int32_t rank;   /* -1: no rank is to blame */
    int32_t exit_code;
    int32_t signal; /* 0: it was not a signal */
} reidd_failure;

typedef struct reidd_cancel {
    bool wanted;
    char *reason; /* may be NULL */
    int64_t grace_ms;
} reidd_cancel;

#define REIDD_RESTARTS_MAX 1000
#define REIDD_BACKOFF_MS 1000      /* unless the user says otherwise */
#define REIDD_BACKOFF_MAX_MS 60000 /* however often it is doubled */

typedef struct reidd_restart {
    int32_t allowed;    /* 0: none */
    int32_t done;       /* so far */
    int64_t backoff_ms; /* before the first one */
    int64_t at_ms;      /* PENDING: not started before; 0: it is in the queue */
    int32_t origin;     /* the attempt that began from nothing last; 0: the first */
} reidd_restart;

#define REIDD_PRIORITY_MAX 1000 /* and as much below 0 */

/* What its submitter asks of the scheduler (sched/sched.h). */
typedef struct reidd_wishes {
    int32_t priority;    /* the larger, the sooner; 0 unless somebody says otherwise */
    int64_t max_time_ms; /* on slots, over all attempts; 0: no limit */
    char *after;         /* "ID:ok,ID:any": not before these have ended; NULL: nothing */
    char *gpu_type;      /* a part of the name of the GPUs that it wants, in any case; NULL: any */
    int32_t ranks;       /* what it was submitted with; 0: as many as it has */
    char *fewer;         /* "4,3": with so many it may go on, too, after a failure; NULL: never */
    bool held;           /* not started before somebody releases it */
    bool no_preempt;     /* never paused for the sake of another job */
} reidd_wishes;

typedef struct reidd_job {
    char id[16];
    char *name;
    char *user;
    uint32_t uid;
    char *output_dir;
    int32_t ranks; /* of the newest attempt (wishes.ranks: what was asked for) */
    bool resume, eval_only;
    char *fork_from;   /* OUTPUT_DIR of the job whose state it begins with; NULL: none */
    int64_t fork_iter; /* before this iteration; 0: of the last checkpoint */

    reidd_state state;
    reidd_phase phase;
    int32_t attempt; /* 1-based; 0 before the first start */
    int64_t submitted_ms, started_ms, ended_ms, last_progress_ms;
    reidd_progress progress;
    reidd_failure failure;
    reidd_cancel cancel;
    reidd_restart restart;
    reidd_wishes wishes;
    char *placement;     /* of the newest attempt (sched/nodes.h); NULL: all ranks on this node */
    char *avoid;         /* nodes to be left alone while others suffice, with commas; NULL: none */
    char *yields;        /* why it goes back into the queue once it has paused; NULL: it stays */
    int32_t preemptions; /* how often it was paused for the sake of another job */
    int64_t ran_ms;      /* on slots, in attempts that have ended */
    bool limit_reached;  /* its time is over: it is being stopped, or was */
    int32_t exit_code;   /* once ended: 0, or what a waiting client returns (never 0 then) */
} reidd_job;

/* How an attempt ended, as its supervisor tells. */
typedef struct reidd_end {
    int32_t exit_code; /* 0: every rank ended well */
    int32_t signal;
    int32_t rank;         /* the culprit, or -1 */
    const char *sentence; /* the first cause; NULL or "" when unknown */
    int64_t ended_ms;
} reidd_end;

/* What `reidctl wait` returns for a job that was cancelled: 128 + SIGTERM, as shells have it. */
#define REIDD_EXIT_CANCELLED 143
/* What reid-train returns for a wrong command line or configuration: a restart cures nothing. */
#define REIDD_EXIT_USAGE 2

/* Zero is a job with nothing in it; fini frees the texts and zeroes. */
void reidd_job_fini(reidd_job *job);
void reidd_job_copy(reidd_job *ret_copy, const reidd_job *job);

const char *reidd_state_name(reidd_state state); /* "PENDING" */
const char *reidd_phase_name(reidd_phase phase); /* "training", "" for NONE */
bool reidd_state_is_final(reidd_state state);
bool reidd_state_is_started(reidd_state state); /* STARTING or RUNNING: it holds slots */
bool reidd_transition_is_legal(reidd_state from, reidd_state to);

/* PENDING → STARTING: the next attempt. */
reid_status reidd_job_start(reidd_job *job, int64_t now_ms, reid_error *err);
/* STARTING → PENDING: the attempt never came to start a process. */
reid_status reidd_job_requeue(reidd_job *job, reid_error *err);
/* STARTING → RUNNING; in RUNNING it changes nothing. */
reid_status reidd_job_up(reidd_job *job, reid_error *err);
/* What the ranks do; a STARTING job is RUNNING from then on. */
reid_status reidd_job_set_phase(reidd_job *job, reidd_phase phase, reid_error *err);
/* The numbers are taken over as they are, except that iterations never go back in an attempt. */
reid_status reidd_job_set_progress(reidd_job *job, const reidd_progress *progress, int64_t now_ms,
                                   reid_error *err);
/* Remembers the first failure that is told; later ones change nothing. */
void reidd_job_note_failure(reidd_job *job, int32_t rank, const char *sentence);
/* STARTING, RUNNING → PAUSED: its ranks have saved and ended. */
reid_status reidd_job_pause(reidd_job *job, int64_t iteration, reid_error *err);
/* PAUSED → PENDING; the next attempt goes on from the checkpoint. */
reid_status reidd_job_resume(reidd_job *job, reid_error *err);
/* PENDING, PAUSED → CANCELLED; a started job gets the wish (again: the shorter grace counts).
 * PRECONDITION after SUCCEEDED and FAILED; a CANCELLED job stays what it is. */
reid_status reidd_job_cancel(reidd_job *job, const char *reason, int64_t grace_ms, int64_t now_ms,
                             reid_error *err);
/* PENDING → FAILED: it can never run on this node. */
reid_status reidd_job_refuse(reidd_job *job, const char *sentence, int64_t now_ms, reid_error *err);
/* Whether the job is to be restarted after this end. */
bool reidd_job_may_restart(const reidd_job *job, const reidd_end *end);
/* How long the next restart waits: backoff_ms, then twice as long each time up to the limit. */
int64_t reidd_job_backoff_ms(const reidd_job *job);
/* STARTING, RUNNING → PENDING, with the failure of this end and a time before which it shall not
 * start. `from_checkpoint`: the next attempt goes on from one, otherwise it begins anew.
 * PRECONDITION also when it may not be restarted. */
reid_status reidd_job_restart(reidd_job *job, const reidd_end *end, bool from_checkpoint,
                              int64_t now_ms, reid_error *err);
/* STARTING, RUNNING → PENDING: the attempt is over without having paused, as it was asked to. No
 * restart is counted. `from_checkpoint` as above. */
reid_status reidd_job_give_way(reidd_job *job, bool from_checkpoint, reid_error *err);
/* FAILED, CANCELLED, SUCCEEDED with iterations left → PENDING, with its restarts and its time as at
 * first. `from_checkpoint`: the next attempt goes on from one, otherwise it begins anew. */
reid_status reidd_job_again(reidd_job *job, bool from_checkpoint, reid_error *err);
/* STARTING, RUNNING → SUCCEEDED, FAILED, CANCELLED. A job that was stopped because its time was
 * over is CANCELLED, however well it has ended, unless it had finished. */
reid_status reidd_job_end(reidd_job *job, const reidd_end *end, reid_error *err);

/* ---- names and ids ---- */

/* Letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64. */
reid_status reidd_job_name_check(const char *name, reid_error *err);
/* A valid name made from the last part of OUTPUT_DIR ("job" when nothing of it can be used). Caller
 * frees. */
char *reidd_job_name_from(const char *output_dir);

#define REIDD_ID_LENGTH 8
/* Eight digits of Crockford's base 32: milliseconds since 2025, so that ids sort by time. `last` is
 * the largest id given so far ("" for none); the new one is larger, even when the clock went back.
 */
void reidd_job_id_next(char ret_id[16], const char *last, int64_t now_ms);
/* The number that an id stands for: of two jobs, the one submitted first has the smaller one. */
int64_t reidd_job_id_number(const char *id);

#endif
