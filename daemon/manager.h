/* The daemon's jobs: takes them in, queues, starts, watches, stops and remembers them.
 *
 * Jobs that have not ended are held here; ended ones are read from the store when somebody asks.
 * Every change is stored before it is told (through the hub). Where the store cannot be written (a
 * full disk), nothing is lost: submissions and cancels fail with the reason, queued jobs wait, rows
 * wait in memory up to a limit and then in the rank's spool, ends are tried again until they are
 * stored.
 *
 * Life: reidd_manager_new (knows all jobs; adopts what runs) → the calls below → _close, after
 * which the loop must run until nothing is left of it. Jobs that run go on without the daemon. Loop
 * thread only.
 */
#ifndef REIDD_MANAGER_H
#define REIDD_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/status.h"
#include "daemon/cluster/agent.h"
#include "daemon/gpus.h"
#include "daemon/hub/hub.h"
#include "daemon/job/job.h"
#include "daemon/limits.h"
#include "daemon/ranks.h"
#include "daemon/store/store.h"

typedef struct reidd_manager reidd_manager;

/* One metric row, taken apart as far as the manager needs it. */
typedef struct reidd_scalar {
    const char *name;
    double value;
} reidd_scalar;

typedef struct reidd_row {
    int64_t seq, iteration;
    const void *bytes; /* packed, as it is stored */
    size_t size;
    const reidd_scalar *scalars;
    size_t scalar_count;
} reidd_row;

/* Takes packed bytes apart and calls `use`; CORRUPT (and no call) when they are no row. */
typedef reid_status reidd_row_decoder(const void *bytes, size_t size, int attempt,
                                      void (*use)(const reidd_row *row, void *user), void *user,
                                      reid_error *err);

typedef struct reidd_manager_options {
    const char *state_dir; /* absolute */
    int slots;
    reidd_gpus *gpus; /* offered ones are the slots; borrowed, outlives the manager */
    const struct reidd_nodes *nodes; /* sched/nodes.h; row 0 is this node; borrowed, the same */
    struct reidd_cluster *cluster;   /* NULL: this node alone; borrowed, the same */
    const char *shim, *trainer;
    const char *link_address;            /* unix:/path, for the ranks */
    const char *hook_dir;                /* of native hooks, absolute; NULL: none are allowed */
    const struct reidd_confine *confine; /* exec/confine.h; borrowed, outlives the manager */
    int64_t grace_ms;                    /* default between TERM and KILL */
    uint64_t check_timeout_ms, start_timeout_ms;
    uint64_t stall_notice_ms;                    /* 0: 30 s (stall.h) */
    uint64_t phase_timeout_ms[REIDD_SAVING + 1]; /* by phase; 0: none (deadline.h) */
    uint64_t pause_timeout_ms;  /* for pausing when its slots are needed; 0: 600 s (deadline.h) */
    uint64_t limit_grace_ms;    /* for saving when a job's time is over; 0: 120 s */
    int64_t share_half_life_ms; /* of the users' usage; 0: no fair share (sched/order.h) */
    reidd_row_decoder *decode_row;
    const reidd_limits *limits;            /* borrowed, outlive the manager */
    const char *data_roots, *output_roots; /* access/paths.h; NULL: anywhere */
} reidd_manager_options;

/* The texts of the options are copied. `store` and `hub` must outlive the manager. */
reid_status reidd_manager_new(uv_loop_t *loop, reidd_store *store, reidd_hub *hub,
                              const reidd_manager_options *options, reidd_manager **ret_manager,
                              reid_error *err);
void reidd_manager_close(reidd_manager *manager); /* NULL is accepted */

int reidd_manager_slots(const reidd_manager *manager);
int reidd_manager_slots_used(const reidd_manager *manager);
size_t reidd_manager_running(const reidd_manager *manager); /* jobs that hold slots */
/* Whether this attempt runs, or its end is being stored. */
bool reidd_manager_has_attempt(reidd_manager *manager, const char *job_id, int attempt);
/* A row of the nodes is up, down, drained, or has other slots than before. NULL is accepted. */
void reidd_manager_nodes_changed(reidd_manager *manager);

/* What holds slots. The texts live until `each` returns. */
typedef struct reidd_slot_user {
    const reidd_job *job;
    const char *gpus; /* of its ranks, in their order, with commas between; NULL: none */
    double step_s;    /* seconds of an iteration, as its ranks told last; 0: unknown */
} reidd_slot_user;
void reidd_manager_each_slot_user(const reidd_manager *manager,
                                  void (*each)(const reidd_slot_user *holder, void *user),
                                  void *user);

/* ---- submitting ---- */

typedef struct reidd_submit_request {
    const char *name;        /* "": made from the configuration */
    const char *config_yaml; /* complete, with absolute paths */
    int ranks;               /* 0: 1 */
    bool resume, eval_only;
    const char *fork_job;     /* id, prefix or name of the job to begin with; NULL: none */
    int64_t fork_iter;        /* before this iteration; 0: its last checkpoint */
    int max_restarts;         /* 0: none */
    double restart_backoff_s; /* at most 60; 0: 1 s */
    int priority;             /* at most REIDD_PRIORITY_MAX, also below 0 */
    double max_time_s;        /* 0: no limit */
    char *const *after;       /* "JOB", "JOB:ok", "JOB:any" (sched/after.h) */
    size_t after_count;
    const char *gpu_type; /* "": any */
    bool hold, no_preempt;
    int min_ranks; /* with so many it may go on after a failure; 0: never with fewer */
    const char *user;
    uint32_t uid;
    bool by_admin; /* the limits of one user do not count */
} reidd_submit_request;

typedef struct reidd_submission reidd_submission;

/* `result->code` OK: the job is on the disk, and queued or started. Called once from the loop,
 * unless the submission is cancelled. */
typedef void reidd_submit_done(const reid_error *result, const char *job_id, void *user);

/* Checks the request; what can be refused at once is refused here (then nothing is called).
 * INVALID: a bad name, number or configuration. PRECONDITION: more ranks than slots. EXHAUSTED: too
 * many jobs. NOT_FOUND: no such job to fork. The rest is the trainer's own check: PRECONDITION with
 * its sentence. */
reid_status reidd_manager_submit(reidd_manager *manager, const reidd_submit_request *request,
                                 reidd_submit_done *done, void *user,
                                 reidd_submission **ret_submission, reid_error *err);
/* Whoever asked has gone: as if it had not been submitted. */
void reidd_submission_cancel(reidd_submission *submission);

/* ---- looking ---- */

typedef struct reidd_job_view {
    reidd_job job;
    char *detail;        /* a sentence for people */
    int queue_position;  /* from 1, while PENDING */
    int64_t start_by_ms; /* PENDING: when it starts at the latest; 0: not known */
} reidd_job_view;
void reidd_job_view_fini(reidd_job_view *view);

/* By id, name or prefix; as reidd_store_job_find. */
reid_status reidd_manager_find(reidd_manager *manager, const char *key, char ret_id[16],
                               reid_error *err);
/* Whether the job is queued, paused or runs; false also for an id that nobody has. */
bool reidd_manager_is_open(const reidd_manager *manager, const char *id);
reid_status reidd_manager_view(reidd_manager *manager, const char *id, reidd_job_view *ret_view,
                               reid_error *err);
/* As reidd_store_job_list. The views are freed after the callback. */
reid_status reidd_manager_list(reidd_manager *manager, unsigned states, int64_t limit,
                               const char *before,
                               void (*each)(const reidd_job_view *view, void *user), void *user,
                               reid_error *err);
/* The newest value of every metric of the job, including what is not stored yet. */
reid_status reidd_manager_latest(reidd_manager *manager, const char *id,
                                 void (*each)(const char *name, double value, void *user),
                                 void *user, reid_error *err);
/* The ranks of a running job, with a sentence about each that has something wrong with it (else
 * ""), and how long it has been silent (negative: always). Nothing for other jobs. Returns the
 * sentence about the slow rank, or NULL. */
const char *reidd_manager_ranks(reidd_manager *manager, const char *id,
                                void (*each)(int number, const reidd_rank *rank, double silent_s,
                                             const char *note, void *user),
                                void *user);
/* The configuration as it was submitted; caller frees. */
reid_status reidd_manager_config(reidd_manager *manager, const char *id, char **ret_yaml,
                                 reid_error *err);
char *reidd_manager_attempt_dir(const reidd_manager *manager, const char *id, int attempt);

/* grace_ms < 0: the daemon's default. See reidd_job_cancel. */
reid_status reidd_manager_cancel(reidd_manager *manager, const char *id, const char *reason,
                                 int64_t grace_ms, reid_error *err);

/* ---- what the ranks say ---- */

typedef struct reidd_hello {
    const char *job_id, *ticket, *host;
    int64_t pid;
    int attempt, rank, world;
} reidd_hello;

/* PERMISSION: the ticket is not this attempt's. PRECONDITION: the attempt is over, or the numbers
 * do not fit. The rank shall send the rows after *ret_stored_seq. */
reid_status reidd_manager_hello(reidd_manager *manager, const reidd_hello *hello,
                                int64_t *ret_stored_seq, reid_error *err);
/* A rank whose trainer this reidd does not understand: while its job starts, this ends it with that
 * sentence; one that runs was there before this reidd, and is let go on. */
void reidd_manager_refuse_hello(reidd_manager *manager, const reidd_hello *hello,
                                const char *sentence);
/* The following are for an attempt that has said hello; PRECONDITION when it is over. */
/* A row that is known already is ignored; PRECONDITION when one is missing in between (say hello
 * again); EXHAUSTED when too many wait for the disk (say hello again later). */
reid_status reidd_manager_row(reidd_manager *manager, const char *id, int attempt,
                              const reidd_row *row, reid_error *err);
reid_status reidd_manager_phase(reidd_manager *manager, const char *id, int attempt,
                                reidd_phase phase, reid_error *err);
reid_status reidd_manager_progress(reidd_manager *manager, const char *id, int attempt, int rank,
                                   const reidd_progress *progress, reid_error *err);
/* On what the rank's time went so far; goes with its progress. */
reid_status reidd_manager_times(reidd_manager *manager, const char *id, int attempt, int rank,
                                int64_t iteration, const reidd_rank_sums *sums, reid_error *err);
reid_status reidd_manager_failure(reidd_manager *manager, const char *id, int attempt, int rank,
                                  const char *sentence, reid_error *err);
/* What mpirun starts in the place of ssh asks for ranks of the attempt on another node
 * (api/agent.c, cluster/agent.h). PERMISSION, PRECONDITION, NOT_FOUND. */
typedef struct reidd_agent_request {
    const char *job_id, *ticket, *host;
    int attempt;
    char *const *words;
    size_t word_count;
} reidd_agent_request;
reid_status reidd_manager_agent(reidd_manager *manager, const reidd_agent_request *request,
                                const reidd_agent_events *events, void *user,
                                reidd_agent **ret_agent, reid_error *err);

/* The last row of the running attempt that is in the store; 0 for other jobs. */
int64_t reidd_manager_stored_seq(const reidd_manager *manager, const char *id);

#endif
