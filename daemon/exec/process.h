/* Processes as /proc shows them: who they are, what descends from whom, what belongs to an attempt.
 * Linux only. Thread-safe. */
#ifndef REIDD_EXEC_PROCESS_H
#define REIDD_EXEC_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct reidd_process {
    pid_t pid, parent;
    char state;          /* 'R', 'S', 'Z', … */
    uint64_t start_time; /* clock ticks since boot; with the pid it names a process for ever */
} reidd_process;

/* False when there is no such process. */
bool reidd_process_read(pid_t pid, reidd_process *ret_process);
/* Running (zombies are not), and the same process that had this start time (0: any). */
bool reidd_process_is_alive(pid_t pid, uint64_t start_time);

/* The real user of a process; false when there is no such process. */
bool reidd_process_user(pid_t pid, uid_t *ret_uid);

/* Sends `signal` to all descendants of `ancestor`, not to itself. Returns how many there are,
 * zombies not counted. Signal 0 only counts. */
size_t reidd_process_signal_descendants(pid_t ancestor, int signal);

/* Sends `signal` to every process whose environment, as it was at its start, has `entry`
 * ("NAME=value"); not to the caller. Returns how many there are. Only processes of the same user
 * can be seen. */
size_t reidd_process_signal_by_environment(const char *entry, int signal);

#endif
