/* Whether the kernel has killed a process because memory ran out. It tells in its log (/dev/kmsg,
 * where that may be read), and counts: of the control group (memory.events, memory.oom_control) and
 * of the machine (/proc/vmstat). A group's counter has the kills in it and below, whatever has run
 * out: when it stays, it was another process that the machine's counter tells of.
 */
#ifndef REIDD_SHIM_MEMORY_H
#define REIDD_SHIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum reidd_oom {
    REIDD_OOM_NOT = 0,
    REIDD_OOM_POSSIBLE, /* it has killed somebody since then, perhaps of another job */
    REIDD_OOM_LIKELY,   /* it has killed a process of this attempt */
    REIDD_OOM_SURE,     /* it says so of this process */
} reidd_oom;

typedef struct reidd_memory_watch {
    int log_fd;    /* -1: none */
    char *path[2]; /* of the counters; NULL: none */
    uint64_t kills[2];
    bool own;     /* path[0] is of the attempt's own group (exec/confine.h) */
    bool decides; /* path[0] has whatever is killed here */
} reidd_memory_watch;

/* From now on. `root` is put before every path; "" but in tests. */
void reidd_memory_watch_init(reidd_memory_watch *watch, const char *root);
/* Of a process that signal 9 has ended. What the log says is read once: ask for one process. */
reidd_oom reidd_memory_watch_ask(reidd_memory_watch *watch, pid_t pid);
void reidd_memory_watch_fini(reidd_memory_watch *watch);

#endif
