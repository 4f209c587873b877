/* What the files of the manager share: manager.c (jobs, views), queue.c (who
 * starts), verbs.c, yield.c, lifecycle.c (start, adoption, end), restart.c, ingest.c (what ranks
 * say), submit.c, words.c, hooks.c. */
#ifndef REIDD_MANAGER_PRIVATE_H
#define REIDD_MANAGER_PRIVATE_H

#include "base/recordfile.h"
#include "base/vec.h"
#include "daemon/exec/attempt.h"
#include "daemon/exec/check.h"
#include "daemon/hooks.h"
#include "daemon/index.h"
#include "daemon/late.h"
#include "daemon/manager.h"
#include "daemon/prune.h"
#include "daemon/ranks.h"
#include "daemon/sched/order.h"

#define REIDD_FLUSH_MS 100      /* rows and progress are stored at most this often */
#define REIDD_RETRY_MS 1000     /* after a failed write */
#define REIDD_FLUSH_ROWS 500    /* rows that are stored at once without waiting */
#define REIDD_WAITING_ROWS 8192 /* rows in memory while the store cannot be written */
#define REIDD_METRIC_NAMES 1024 /* different names of one job whose newest value is kept */
#define REIDD_START_TRIES 3     /* attempts whose shim never got going */

typedef struct reidd_metric {
    char *name;
    double value;
    bool dirty; /* not stored yet */
} reidd_metric;

/* A job that has not ended. */
typedef struct reidd_active {
    reidd_manager *manager;
    reidd_job job;
    char *detail;
    char *after;            /* what is left of job.wishes.after */
    char *told;             /* why it waits, as those who watch it were told */
    reidd_state told_state; /* what they were told last */
    reidd_phase told_phase;
    uint64_t run_since; /* of the loop's clock: this attempt; 0: not asked yet */
    uint64_t limit_at;  /* of the loop's clock: its time is over, and it is cut off then */
    uint64_t yield_by;  /* of the loop's clock: it has to have paused then; 0: it need not */
    uint64_t ask_at;    /* when to ask again for a pause or stop; 0: not at all */
    bool asked, never_pauses;

    reidd_attempt *attempt; /* STARTING, RUNNING */
    reidd_crew *crew;       /* its ranks on other nodes; NULL: none */
    char *gpus;             /* its GPUs; NULL: none */
    char *ticket;
    bool *reported; /* [ranks] who has said hello in this life of the daemon */
    int reported_count;
    bool adopted;
    bool restored;     /* its files were not here: the store has come from another place */
    bool elsewhere;    /* the adopted attempt has run there */
    int attempt_base;  /* attempts before it was resumed */
    char *own_failure; /* why the daemon itself stops the attempt */
    int own_rank;      /* who is to blame for it, or -1 */
    int own_code;      /* exit code for it; 0: 1 */
    int64_t heard_ms;  /* of the last progress, on the monotonic clock (deadline.h) */
    int64_t heard_iteration;
    reidd_ranks ranks; /* of the running attempt */
    char *stall;       /* who keeps the ranks waiting (stall.h); NULL: nobody */
    bool flight_noted; /* in this attempt */

    int64_t received_seq, stored_seq;
    REID_VEC(reidd_metric) latest;
    bool changed; /* to be told with the next flush */
    bool unsaved; /* progress that the store does not have */
    int64_t saved_ms;

    uv_timer_t timer; /* STARTING: the deadline; at the end: the next step */
    bool ending;
    reidd_attempt_outcome outcome;
    reid_record_file *spool;

    REID_VEC(struct reidd_word *) words; /* unanswered requests (words.h) */
    int64_t journal_seq;                 /* the last line of the journal that is stored */
    char *word_note;                     /* "pausing before iteration 12" */
    char *stopped_by;                    /* who has asked for a stop, and why */
    reidd_active_hooks hooks;
} reidd_active;

typedef struct reidd_waiting_row {
    reidd_active *active;
    int64_t seq;
    void *bytes;
    size_t size;
} reidd_waiting_row;

/* A job in the queue. */
typedef struct reidd_waiter {
    reidd_active *active;
    reidd_sched_verdict_kind kind;
    int64_t start_by_ms; /* 0: not known */
} reidd_waiter;

struct reidd_manager {
    uv_loop_t *loop;
    reidd_store *store;
    reidd_hub *hub;
    char *state_dir, *shim, *trainer, *link_address, *hook_dir;
    const struct reidd_confine *confine;
    int slots;
    reidd_gpus *gpus;
    const struct reidd_nodes *nodes;
    struct reidd_cluster *cluster;
    reidd_crews *crews; /* NULL: this node alone, or not the head */
    reidd_late *late;   /* the same */
    reidd_prune *prune;
    int64_t grace_ms;
    uint64_t check_timeout_ms, start_timeout_ms, stall_notice_ms;
    uint64_t phase_timeout_ms[REIDD_SAVING + 1]; /* by phase; 0: none */
    reidd_row_decoder *decode_row;
    const reidd_limits *limits;
    char *data_roots, *output_roots;

    REID_VEC(reidd_active *) active; /* in order of submission, or of the latest requeue */
    reidd_index index;               /* of them */
    reidd_shares shares;
    struct reidd_round *round;      /* queue.c */
    REID_VEC(reidd_waiter) waiting; /* in the order of the queue */
    size_t waiting_hint;            /* where somebody was found last */
    struct reidd_tail {             /* its end as the last round left it; queue.c */
        bool known;
        int priority, unused;
        int64_t number;
    } tail;
    bool scheduling;
    char last_id[16];
    REID_VEC(reidd_waiting_row) rows; /* in order of arrival */
    uv_timer_t flush_timer, schedule_timer, check_timer, limit_timer;
    uint64_t limit_grace_ms, pause_timeout_ms;
    bool flush_planned, store_fails, closing;
    int handles; /* open ones, of the manager and its jobs; the last one frees the manager */

    REID_VEC(reidd_submission *) submissions; /* in order of arrival */
    int checks_running;
    unsigned word_count; /* requests so far, for their ids */
};

/* manager.c */
reidd_active *reidd_active_find(const reidd_manager *manager, const char *id);
/* Takes the contents of `job`. */
reidd_active *reidd_active_add(reidd_manager *manager, reidd_job *own_job);
/* Out of the list; its memory goes when its timer is closed. */
void reidd_active_remove(reidd_active *active);
/* Stores the job's state together with one line of its diary, durably; on failure nothing is
 * stored. */
reid_status reidd_active_save(reidd_manager *manager, const reidd_job *job, const char *kind,
                              const char *detail, reid_error *err);
/* Says what the job does now; the hub is told with the next flush. */
void reidd_active_describe(reidd_active *active);
/* The store has failed or works again: logged once. */
void reidd_manager_note_store(reidd_manager *manager, reid_status status, const reid_error *err);
char *reidd_manager_job_dir(const reidd_manager *manager, const char *id);
void reidd_manager_handle_closed(reidd_manager *manager);

/* queue.c */
/* Starts what can start, refuses what never can, and finds out why the others wait. */
void reidd_manager_schedule(reidd_manager *manager);
/* The same, for a job that has just been added. */
void reidd_manager_enqueue(reidd_manager *manager, reidd_active *active);
void reidd_manager_schedule_later(reidd_manager *manager, uint64_t delay_ms);
typedef struct reidd_round reidd_round;
void reidd_round_free(reidd_round *round); /* NULL is accepted */
/* Its place in the queue, from 1; 0: it is not in it. */
int reidd_active_place(const reidd_active *active, int64_t *ret_start_by_ms);
void reidd_manager_forget_waiter(reidd_manager *manager, const reidd_active *active);
/* Why a PENDING job waits. Caller frees. */
char *reidd_active_wait_detail(const reidd_active *active);
/* How long this attempt has had its slots; 0 when it has none. */
int64_t reidd_active_ran_ms(reidd_active *active);
/* What is left of its time, at least 1; 0: no limit. */
int64_t reidd_active_left_ms(reidd_active *active);
/* Usage before that counts nothing any more; INT64_MAX without fair share. */
int64_t reidd_manager_usage_since(const reidd_manager *manager);
reid_status reidd_manager_load_shares(reidd_manager *manager, int64_t half_life_ms,
                                      reid_error *err);

/* verbs.c */
/* Stores `own_job`, a changed copy, with a line of the diary, and lets it take the place of the
 * active's job. On failure nothing is changed, and the copy is freed. */
reid_status reidd_active_replace(reidd_active *active, reidd_job *own_job, const char *kind,
                                 const char *detail, reid_error *err);

/* yield.c */
/* Its ranks are asked to pause; then it goes back into the queue. PRECONDITION: it cannot. */
reid_status reidd_active_yield(reidd_active *active, const char *why, reid_error *err);
void reidd_active_preempt(reidd_active *active, const char *for_id);
/* `job`, a copy of the active's after the end of an attempt: the time that it has run, and back
 * into the queue when it has paused for that. */
reid_status reidd_active_settle(reidd_active *active, reidd_job *job, const reidd_end *end,
                                reid_error *err);
/* The attempt is over, and stored: its usage counts for its user. Before the state changes. */
void reidd_active_count_usage(reidd_active *active);
/* Ends jobs whose time is over, and asks again where ranks have not agreed on a pause. */
void reidd_manager_watch_limits(reidd_manager *manager);

/* lifecycle.c */
void reidd_active_start(reidd_active *active); /* PENDING → STARTING, if it can be stored */
void reidd_active_adopt(reidd_active *active);
void reidd_active_stop(reidd_active *active, int64_t grace_ms);
/* Gives it GPUs, where they are the slots. UNAVAILABLE when there are too few, which a node whose
 * slots are its GPUs never comes to. */
reid_status reidd_active_take_gpus(reidd_active *active, reid_error *err);
/* Every rank has said hello, or one of them works: RUNNING. */
void reidd_active_up(reidd_active *active);

/* What a shim has left is stored, then the attempt's end. */
void reidd_active_attempt_over(reidd_active *active);

/* spread.c: ranks on other nodes */
void reidd_manager_open_crews(reidd_manager *manager);
/* Nothing when the job has none. */
reid_status reidd_active_open_crew(reidd_active *active, bool adopted, reid_error *err);
void reidd_active_close_crew(reidd_active *active);
/* False when there is none; otherwise reidd_active_attempt_over follows when nothing is left. */
bool reidd_active_finish_crew(reidd_active *active);
/* The caller frees *ret_agent when the spec is not needed any more. */
reid_status reidd_active_fill_spread(const reidd_active *active, reidd_attempt_spec *spec,
                                     char **ret_agent, reid_error *err);
int reidd_active_ranks_here(const reidd_active *active);
/* The next attempt of `job` leaves the node alone that is to blame, if one is. */
void reidd_active_note_sick(const reidd_active *active, reidd_job *job, const reidd_end *end);

/* restart.c */
/* Whether there is a checkpoint of the job's last attempt or a later one. */
bool reidd_job_has_saved(const reidd_manager *manager, const reidd_job *job);
/* When an attempt begins: what is saved from now on is its own. */
void reidd_active_note_checkpoint(const reidd_active *active);
/* Whether the attempt that has ended like this is followed by another one. */
bool reidd_active_is_restarted(const reidd_active *active, const reidd_end *end);
/* STARTING, RUNNING → PENDING in `job`, a copy of the active's. */
reid_status reidd_active_plan_restart(const reidd_active *active, reidd_job *job,
                                      const reidd_end *end, reid_error *err);
/* STARTING, RUNNING → PENDING in `job`, which was to pause, but has ended like this. */
reid_status reidd_active_give_way(const reidd_active *active, reidd_job *job, reid_error *err);
/* What an attempt has left is of no use for the next one. */
void reidd_active_forget_attempt(reidd_active *active);
/* "in 4 s (2 of 3) from the last checkpoint: rank 1 was killed by signal 9" */
char *reidd_restart_event(const reidd_job *job);
/* "restarts in 4 s (2 of 3): rank 1 was killed by signal 9" */
char *reidd_restart_detail(const reidd_job *job, int64_t now_ms);
/* Puts it into the queue when its time has come. */
void reidd_active_await_restart(reidd_active *active);

/* ingest.c */
void reidd_manager_plan_flush(reidd_manager *manager);
/* Stores waiting rows and progress; false when the store cannot be written. */
bool reidd_manager_flush(reidd_manager *manager);
void reidd_manager_drop_rows(reidd_manager *manager, const reidd_active *active);
/* The values of a row become the latest of their names. */
void reidd_active_take_latest(reidd_active *active, const reidd_row *row);
/* A row of the running attempt, to be stored with the next flush. */
void reidd_active_take_row(reidd_active *active, const reidd_row *row);
reid_status reidd_active_load_latest(reidd_active *active, reid_error *err);

reid_status reidd_active_check_ticket(const reidd_active *active, const char *ticket,
                                      reid_error *err);
/* The job whose running attempt this is. */
reid_status reidd_manager_find_attempt(const reidd_manager *manager, const char *id, int attempt,
                                       reidd_active **ret_active, reid_error *err);

/* hooks.c */
/* Agreed words about hooks. */
void reidd_active_note_hooks(reidd_active *active, char *const *lines, size_t count);
/* The attempt is over: nobody has hooks any more. */
void reidd_active_drop_hooks(reidd_active *active);

/* words.c */
void reidd_active_drop_words(reidd_active *active); /* those who asked are told */
reid_status reidd_active_load_journal(reidd_active *active, reid_error *err);

/* wishes.c: what a request asks of the scheduler */
reid_status reidd_wishes_check(const reidd_manager *manager, const reidd_submit_request *request,
                               int ranks, reid_error *err);
/* The jobs that it waits for, by their ids; NULL: none. Caller frees. */
reid_status reidd_wishes_after(reidd_manager *manager, const reidd_submit_request *request,
                               char **ret_after, reid_error *err);
/* With how many ranks below `ranks` the configuration would go, down to min_ranks: "4,3". INVALID
 * when there is none; min_ranks 0 or `ranks`: NULL. Caller frees. */
struct reid_config;
reid_status reidd_wishes_fewer(const struct reid_config *config, int ranks, int min_ranks,
                               char **ret_fewer, reid_error *err);
void reidd_wishes_fill(const reidd_submit_request *request, char *own_after,
                       reidd_wishes *ret_wishes);

/* submit.c */
#define REIDD_CONFIG_READ_BYTES ((size_t)64 << 20)
/* Writes the job's configuration file again, from the store, when it is not there: the database was
 * brought here from another node. */
reid_status reidd_active_restore_config(reidd_active *active, reid_error *err);
void reidd_manager_start_checks(reidd_manager *manager);
void reidd_manager_cancel_submissions(reidd_manager *manager);
/* The id that a submission will have which is to start after this job; NULL: none. */
const char *reidd_manager_submission_after(const reidd_manager *manager, const char *id);

#endif
