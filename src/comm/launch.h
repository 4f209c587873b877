/* How this process was started, and what to tell Open MPI before its start-up. */
#ifndef REID_COMM_LAUNCH_H
#define REID_COMM_LAUNCH_H

#include "comm/comm.h"

/* Sets, in the environment, what the user has not set there or on mpirun's command line: waiting
 * ranks yield the processor; on one node only shared memory is looked at (a start-up of 0.1 s
 * less), and hwloc looks for cores and memory alone, not for displays, disks and PCI cards (0.04 s
 * less); a process without a launcher does not start Open MPI's daemon. Across nodes the transports
 * are Open MPI's choice. `shared_memory` is that transport's name ("vader"). */
void reid_comm_launch_choose(const reid_comm_launch *launch, const char *shared_memory);

#endif
