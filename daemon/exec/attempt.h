/* The daemon's side of an attempt: starts its shim, watches it, asks it to stop, and takes over the
 * shims that a former daemon has started.
 *
 * The lock on shim.lock tells whether the shim lives: the daemon takes it and hands the locked
 * descriptor to the shim, so that there is no moment at which a job that is being started looks
 * dead. When the lock is free, exit.json is the end. Without it the shim was killed. Either way,
 * what the attempt has left running is killed, and only then the end is reported: what is in its
 * control group (confine.h), and, where a shim was killed, what has REIDD_ATTEMPT_DIR in its
 * environment. An attempt that was asked to stop ends some time after its grace, whatever its
 * processes do to the files in its folder.
 *
 * Life: reidd_attempt_start or reidd_attempt_adopt → on_end, once, from the loop → _close. Closing
 * earlier only stops watching; the job goes on. Loop thread only.
 */
#ifndef REIDD_EXEC_ATTEMPT_H
#define REIDD_EXEC_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/status.h"
#include "daemon/access/account.h"
#include "daemon/exec/files.h"

typedef struct reidd_attempt reidd_attempt;

typedef struct reidd_attempt_spec {
    const char *job_id;
    int attempt;
    const char *folder;      /* of the attempt; is made */
    const reidd_account *as; /* whose the processes and the folder are; NULL: the daemon's own */
    const char *shim, *trainer;
    const char *config_path;
    bool resume, eval_only;
    const char *fork_from; /* OUTPUT_DIR of another job; NULL: none */
    int64_t fork_iter;     /* 0: its last checkpoint */
    const char *hook_dir;  /* of native hooks; NULL: none */
    const char *gpus;      /* of the ranks, by UUID, with commas between; NULL: none */
    int ranks;             /* of a part: those on this node */
    const char *network;   /* of MPI between nodes: CIDR, or this node's address; NULL: one node */
    const char *hosts;     /* where the ranks are (sched/nodes.h); NULL: all here, or a part */
    const char *node;      /* this node's name in `hosts` */
    const char *agent;     /* with `hosts`: reidctl's path */
    char *const *orted;    /* a part: orted's arguments; NULL: a whole attempt */
    int first;             /* of a part: the number of its first rank */
    int64_t grace_ms;      /* between TERM and KILL */
    const char *group;     /* its control group, which is made; NULL: none */
    const char *link_address; /* unix:/path */
    const char *ticket;
} reidd_attempt_spec;

typedef struct reidd_attempt_outcome {
    bool started;  /* false: the shim never came to start a process */
    bool reported; /* `report` is the shim's; otherwise it says that the shim was killed */
    reidd_exit_report report;
} reidd_attempt_outcome;

typedef void reidd_attempt_on_end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome,
                                  void *user);

reid_status reidd_attempt_start(uv_loop_t *loop, const reidd_attempt_spec *spec,
                                reidd_attempt_on_end *on_end, void *user,
                                reidd_attempt **ret_attempt, reid_error *err);
/* Watches an attempt that was started before, whether its shim still lives or not. */
reid_status reidd_attempt_adopt(uv_loop_t *loop, const char *folder, reidd_attempt_on_end *on_end,
                                void *user, reidd_attempt **ret_attempt, reid_error *err);
/* TERM to the ranks, KILL after grace_ms. Again: the shorter grace counts. A shim that is not ready
 * yet is told as soon as it is. */
void reidd_attempt_stop(reidd_attempt *attempt, int64_t grace_ms);
/* Frees it when the loop has run. NULL is accepted. */
void reidd_attempt_close(reidd_attempt *attempt);

#endif
