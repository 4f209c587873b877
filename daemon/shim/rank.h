/* The processes of a rank. */
#ifndef REIDD_SHIM_RANK_H
#define REIDD_SHIM_RANK_H

#include <sys/types.h>

#include "base/status.h"
#include "daemon/exec/files.h"

/* In a process that is about to become rank `rank`: standard input from /dev/null, output to
 * logs/rank-N.out and .err, KILL when the parent dies, signals as a program expects them. */
reid_status reidd_rank_prepare(const char *attempt_dir, int rank, pid_t parent, reid_error *err);

/* fork → reidd_rank_prepare (or, with rank < 0, output to launcher.log) → own process group → exec.
 * A command that cannot be started ends with 127 and a sentence on standard error. */
reid_status reidd_rank_spawn(const char *attempt_dir, int rank, char *const *command,
                             pid_t *ret_pid, reid_error *err);

/* `--rank-exec`: takes the node's own settings where the attempt is on several nodes
 * (REIDD_MPI_NET, REIDD_SHM_DIR, REIDD_CONFIG: the configuration's path here), starts the command,
 * writes ranks/rank-N.pid and .exit, and ends the way it ended (returns its exit code, or does not
 * return after a signal). */
int reidd_rank_wrap(const char *attempt_dir, char **command);

/* waitpid's status as a record. */
reidd_rank_exit reidd_rank_exit_from(int wait_status);

#endif
