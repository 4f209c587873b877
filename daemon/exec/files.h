/* The files of an attempt's folder, which the daemon, the shim and the ranks share:
 *
 *     shim.lock            flock held while the shim lives; taken by the daemon and handed to the
 * shim shim.json            the shim is up (it starts nothing before this file is there) grace
 * milliseconds between TERM and KILL, written before the shim gets TERM exit.json            the
 * attempt is over; the last act of the shim logs/launcher.log    mpirun and the shim;
 * logs/rank-N.out, logs/rank-N.err ranks/rank-N.pid     the processes of a rank; ranks/rank-N.exit:
 * how it ended failures/rank-N.json last words of a dying rank rank0.spool          metric rows
 * (base/recordfile.h) gpus               UUIDs of the ranks' GPUs, commas between (where there
 * are GPUs) tmp/                 TMPDIR of the ranks; removed at the end
 */
#ifndef REIDD_EXEC_FILES_H
#define REIDD_EXEC_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

/* Paths within an attempt's folder; caller frees. */
char *reidd_attempt_path(const char *folder, const char *name);
char *reidd_rank_path(const char *folder, const char *part, int rank, const char *suffix);
/* Of another node that has ranks of the attempt (shim/away.h). */
char *reidd_node_path(const char *folder, const char *node, const char *suffix);

/* Opens the lock file and takes the lock. UNAVAILABLE when somebody holds it. */
reid_status reidd_attempt_lock(const char *folder, int *ret_fd, reid_error *err);
/* Whether a shim holds the lock. */
bool reidd_attempt_is_locked(const char *folder);

/* Removes what writers that were killed have left of the small files. Names carry the writer's pid:
 * one that lives, or whose pid another process has by now, keeps its own. */
void reidd_attempt_sweep(const char *folder);

typedef struct reidd_shim_info {
    pid_t pid;
    uint64_t start_time;
    int protocol;       /* that the shim speaks; 0: it does not tell */
    pid_t launcher_pid; /* mpirun, or the only rank; 0 while it has not been started */
    char shm_dir[128];  /* folder under /dev/shm for shared memory segments; "" for none */
} reidd_shim_info;
reid_status reidd_shim_info_write(const char *folder, const reidd_shim_info *info, reid_error *err);
reid_status reidd_shim_info_read(const char *folder, reidd_shim_info *ret_info, reid_error *err);

typedef struct reidd_exit_report {
    int exit_code; /* 0: every rank ended well */
    int signal;
    int rank;     /* the culprit, or -1 */
    bool stopped; /* the shim was asked to stop the ranks */
    int64_t ended_ms;
    char sentence[1024]; /* the first cause; "" when all is well */
} reidd_exit_report;
/* Sets room on the disk aside, so that the report can be written when the disk is full by then. */
reid_status reidd_exit_report_reserve(const char *folder, reid_error *err);
reid_status reidd_exit_report_write(const char *folder, const reidd_exit_report *report,
                                    reid_error *err);
reid_status reidd_exit_report_read(const char *folder, reidd_exit_report *ret_report,
                                   reid_error *err);

typedef struct reidd_rank_pids {
    pid_t wrapper; /* the shim's process around the rank */
    pid_t rank;
} reidd_rank_pids;
reid_status reidd_rank_pids_write(const char *folder, int rank, const reidd_rank_pids *pids,
                                  reid_error *err);
reid_status reidd_rank_pids_read(const char *folder, int rank, reidd_rank_pids *ret_pids,
                                 reid_error *err);

typedef struct reidd_rank_exit {
    int exit_code, signal; /* of a process that a signal killed: 128 + signal, signal */
    int64_t wall_ms;
    int64_t late_ms; /* so much earlier it may have been */
} reidd_rank_exit;
reid_status reidd_rank_exit_write(const char *folder, int rank, const reidd_rank_exit *end,
                                  reid_error *err);
reid_status reidd_rank_exit_read(const char *folder, int rank, reidd_rank_exit *ret_end,
                                 reid_error *err);

/* What a rank left as its last words. */
typedef struct reidd_last_words {
    int rank;
    int64_t wall_ms;
    bool of_others; /* what it misses of other ranks, which may have failed before it */
    char sentence[1024];
} reidd_last_words;
reid_status reidd_last_words_read(const char *folder, int rank, reidd_last_words *ret_words,
                                  reid_error *err);

/* outcome.json, left by rank 0 when a training was ended by a control word. */
typedef struct reidd_outcome {
    bool paused; /* else stopped */
    int64_t iteration;
} reidd_outcome;
/* NOT_FOUND when there is none. */
reid_status reidd_outcome_read(const char *folder, reidd_outcome *ret_outcome, reid_error *err);

reid_status reidd_gpu_list_write(const char *folder, const char *list, reid_error *err);
/* Caller frees; NULL when there is none. */
char *reidd_gpu_list_read(const char *folder);

reid_status reidd_grace_write(const char *folder, int64_t grace_ms, reid_error *err);
int64_t reidd_grace_read(const char *folder, int64_t otherwise_ms);

#endif
