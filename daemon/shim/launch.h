/* How ranks are launched: the environment and mpirun's command line.
 *
 * Across nodes mpirun's rsh launcher is used with `reidctl agent` in the place of ssh, for each
 * node at once (no tree), with orted staying in its supervisor's hands (leave_session_attached) and
 * with all parameters in the environment, so that the other node can be strict about orted's
 * command line. What belongs to each node (folders, addresses) is told to its ranks by
 * REIDD_SHM_DIR and REIDD_MPI_NET, because mpirun sends its own OMPI_* variables along, which would
 * win.
 */
#ifndef REIDD_SHIM_LAUNCH_H
#define REIDD_SHIM_LAUNCH_H

#include "base/status.h"
#include "daemon/shim/options.h"

/* The trainer itself is started, without mpirun: a job of one rank on this node. */
bool reidd_launch_is_alone(const reidd_shim_options *options);

/* Cores that this process may use. */
int reidd_launch_cores(void);

/* Changes the environment of this process to that of the ranks: no traces of an mpirun around
 * reidd; TMPDIR and shared memory segments in folders of this attempt; Open MPI kept to this node
 * and this machine's memory; OMP_NUM_THREADS by share of the cores unless it is set. `shm_dir` ""
 * leaves the segments where Open MPI puts them. */
reid_status reidd_launch_environment(const reidd_shim_options *options, const char *shm_dir,
                                     reid_error *err);

/* The command that the shim starts: the trainer itself for one rank, else mpirun, this program as
 * the wrapper, the trainer. Free with reidd_launch_command_free. */
/* A part's command is orted's, as it was given. */
char **reidd_launch_command(const reidd_shim_options *options);
void reidd_launch_command_free(char **command);

#endif
