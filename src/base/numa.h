/* Nodes of memory (NUMA): which one a PCI device is at, and a process that stays there.
 *
 * What the kernel tells is read under $REID_SYSFS, else /sys. Thread-safe but for reid_numa_bind,
 * which is for the start of a process.
 */
#ifndef REID_BASE_NUMA_H
#define REID_BASE_NUMA_H

#include <stdbool.h>

#include "base/status.h"

#define REID_NUMA_UNKNOWN (-1)

/* address: "0000:3B:00.0", in either case. UNKNOWN where the kernel does not tell one. */
int reid_numa_of_pci(const char *address);

/* All threads of this process, and those they will start, run on the cores of the node that the
 * process may use; new memory is taken from the node while it has some. ret_cores: how many cores
 * that are; ret_changed: whether it could use others before. PRECONDITION, and nothing changes,
 * when it may use no core of the node. */
reid_status reid_numa_bind(int node, int *ret_cores, bool *ret_changed, reid_error *err);

#endif
