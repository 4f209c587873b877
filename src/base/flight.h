/* The flight recorder of one communicator of one rank: its last calls in a ring in a mapped file,
 * which others read while the rank hangs, and after it has died.
 *
 * Folder: rank-N.CHANNEL for each rank of this node and each communicator ("mpi", "nccl"). A call
 * is queued, started and ended; the ranks' calls on one channel have the same numbers, 1, 2, …, so
 * that the rank with the lower number is the one that the others wait for. Writing costs a few
 * stores; nothing is synced to disk.
 *
 * Life: reid_flight_open → {reid_flight_queue → _start → _end}* → reid_flight_close. Threads:
 * queue is called by one thread; start and end by any, in the order of the calls. All functions but
 * open take NULL and do nothing then.
 */
#ifndef REID_BASE_FLIGHT_H
#define REID_BASE_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define REID_FLIGHT_DIR "flight" /* in the folder of an attempt, else in OUTPUT_DIR */

typedef struct reid_flight reid_flight;

/* Makes folder/rank-N.CHANNEL anew. */
reid_status reid_flight_open(const char *folder, const char *channel, int rank, int size,
                             reid_flight **ret_flight, reid_error *err);
/* The same by the file's path, "folder/rank-N.CHANNEL". */
reid_status reid_flight_open_path(const char *path, int rank, int size, reid_flight **ret_flight,
                                  reid_error *err);
/* `ended_well`: nobody has to read it any more; the file is removed. */
void reid_flight_close(reid_flight *flight, bool ended_well);

/* Returns the number of the call. `what`: "all-reduce"; bucket -1: none. */
uint64_t reid_flight_queue(reid_flight *flight, const char *what, const char *phase, int bucket,
                           uint64_t bytes);
/* A device has come to it, or the communication thread. */
void reid_flight_start(reid_flight *flight, uint64_t call);
void reid_flight_end(reid_flight *flight, uint64_t call);

/* ---- reading ---- */

typedef struct reid_flight_call {
    uint64_t number;
    char what[16], phase[16];
    int bucket; /* -1: none */
    uint64_t bytes;
    int64_t queued_ns, started_ns, ended_ns; /* reid_clock_mono_ns of this node; 0: not yet */
} reid_flight_call;

typedef struct reid_flight_state {
    char channel[16];
    int rank, size;
    int64_t pid;
    char process;                    /* as in /proc/PID/stat: 'R', 'S', 'D', 'T' …; 'X': gone */
    uint64_t queued, started, ended; /* numbers of the last such calls */
} reid_flight_state;

/* NOT_FOUND, or CORRUPT when it is not such a file. */
reid_status reid_flight_read(const char *path, reid_flight_state *ret_state, reid_error *err);
/* One call; NOT_FOUND when the ring has gone on, or it has not come so far. */
reid_status reid_flight_read_call(const char *path, uint64_t number, reid_flight_call *ret_call,
                                  reid_error *err);

/* The file as it is now, for a machine with other clocks and processes, which writes it into a file
 * of its own: there it is read as if it were one of its ranks'. Caller frees. */
reid_status reid_flight_copy(const char *path, char **ret_data, size_t *ret_size, reid_error *err);

/* Who keeps whom waiting, from all files of the folder: one sentence ("rank 2 has not come to
 * all-reduce 1234 (bucket 3, 25.0 MiB, training), for which ranks 0, 1 and 3 have waited 31 s; …").
 * NULL when no rank has waited for least_wait_s. `ret_rank`: the one that is named first, or -1;
 * may be NULL. Caller frees. */
char *reid_flight_explain(const char *folder, double least_wait_s, int *ret_rank);

#endif
