/* How the ranks of one node are launched: the environment and mpirun's command line. */
#ifndef REIDD_SHIM_LAUNCH_H
#define REIDD_SHIM_LAUNCH_H

#include "base/status.h"
#include "daemon/shim/options.h"

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
char **reidd_launch_command(const reidd_shim_options *options);
void reidd_launch_command_free(char **command);

#endif
