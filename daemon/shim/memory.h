/* Whether the kernel has killed a process because memory ran out. It tells in its log (/dev/kmsg,
 * where that may be read), and counts: of the control group (memory.events, memory.oom_control) and
 * of the machine (/proc/vmstat).
 */
#ifndef REIDD_SHIM_MEMORY_H
#define REIDD_SHIM_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

typedef enum reidd_oom {
    REIDD_OOM_NOT = 0,
    REIDD_OOM_LIKELY, /* it has killed somebody since then */
    REIDD_OOM_SURE,   /* it says so of this process */
} reidd_oom;

typedef struct reidd_memory_watch {
    int log_fd;    /* -1: none */
    char *path[2]; /* of the counters; NULL: none */
    uint64_t kills[2];
} reidd_memory_watch;

/* From now on. `root` is put before every path; "" but in tests. */
void reidd_memory_watch_init(reidd_memory_watch *watch, const char *root);
/* Of a process that signal 9 has ended. What the log says is read once: ask for one process. */
reidd_oom reidd_memory_watch_ask(reidd_memory_watch *watch, pid_t pid);
void reidd_memory_watch_fini(reidd_memory_watch *watch);

#endif
