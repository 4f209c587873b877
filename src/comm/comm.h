/* Collective communication between the ranks of one training.
 *
 * Life: reid_comm_open (or reid_comm_self_new, reid_comm_mpi_new) → collectives, called by all
 * ranks in the same order → reid_comm_free. `self` is a world of one rank and does nothing; `mpi`
 * is any number of ranks over MPI. Between GPUs there is a second one beside it, for gradients: see
 * comm/nccl.h; what is said here of determinism and waits is of the host's.
 *
 * Determinism: an all-reduce adds the ranks' values in the order of the ranks, ((x0 + x1) + x2) +
 * …, element by element, whatever the size of the call. All ranks get the same bits, and the same
 * bits from run to run and however the data are cut into calls.
 *
 * Deadlines: every call has one (timeout_s of the options or of the last reid_comm_set_phase),
 * counted from the moment the call reaches the head of this rank's queue. When it passes, the call
 * fails with TIMEOUT and a sentence that names the operation, the phase and the ranks from which
 * nothing came. A rank that is known to be lost gives UNAVAILABLE. After either the communicator is
 * broken: every later call fails at once with the first sentence, and the memory handed to the
 * failed call must stay alive until the process ends; the caller saves what it can and calls
 * reid_comm_abort.
 *
 * Threads: one thread of the communicator makes all MPI calls, start-up and end included. The
 * functions below may be called by one thread at a time (the stepping thread); they put work in a
 * queue, served in order.
 */
#ifndef REID_COMM_COMM_H
#define REID_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct reid_comm_impl;
struct reid_flight;

typedef struct reid_comm {
    const struct reid_comm_impl *impl;
    int rank; /* 0 … size-1 */
    int size;
    int local_rank; /* among the ranks of this node */
    int local_size;
    bool device; /* data are device memory and calls are queued on the device (comm/nccl.h) */
    /* private */
    struct reid_flight *flight;  /* NULL: none */
    struct reid_comm_work *call; /* the blocking call under way */
    char phase[32];
    double timeout_s, default_timeout_s;
} reid_comm;

typedef struct reid_comm_options {
    double timeout_s; /* deadline of each collective (COMM.TIMEOUT_S); ≤ 0 means 600 */
    bool background; /* mpi: return while MPI_Init still runs, when the launcher's environment tells
                        rank and size. The first collective (or reid_comm_barrier) waits for it and
                        reports its failure. Other threads must not call setenv meanwhile. */
} reid_comm_options;

/* What the launcher's environment says about this process (Open MPI's and PMI's variables); nothing
 * is started. */
typedef struct reid_comm_launch {
    bool launched;                          /* by mpirun, srun or alike */
    int rank, size, local_rank, local_size; /* size 0: not told */
} reid_comm_launch;
void reid_comm_launch_detect(reid_comm_launch *ret_launch);

/* mpi when a launcher started more than one rank (UNSUPPORTED in a build without MPI), else self.
 */
reid_status reid_comm_open(const reid_comm_options *options, reid_comm **ret_comm, reid_error *err);
reid_comm *reid_comm_self_new(void);
/* At most one in the life of a process. On one node it chooses shared memory (OMPI_MCA_btl,
 * OMPI_MCA_pml and OMPI_MCA_mpi_yield_when_idle are set where the user did not); across nodes the
 * choice is Open MPI's. UNSUPPORTED in a build without MPI. */
reid_status reid_comm_mpi_new(const reid_comm_options *options, reid_comm **ret_comm,
                              reid_error *err);
bool reid_comm_mpi_available(void);
/* Name and version of the library behind it ("Open MPI 4.1.4", "none"), for manifests and the
 * plan's hash. */
const char *reid_comm_library(const reid_comm *comm);

/* All ranks end together; a broken communicator is left without MPI's farewell, which would hang.
 * NULL is fine. */
void reid_comm_free(reid_comm *comm);

/* Names what the ranks are doing ("training", "evaluation") for error sentences, and sets the
 * deadline of the calls that follow; timeout_s ≤ 0 goes back to that of the options. */
void reid_comm_set_phase(reid_comm *comm, const char *phase, double timeout_s);

/* Keeps a record of the calls from now on in folder/rank-N.mpi (base/flight.h); it is removed when
 * the communicator ends well. Does nothing for a world of one. */
reid_status reid_comm_record(reid_comm *comm, const char *folder, reid_error *err);

/* On a device, where calls return before they are done: the sentence that broke the communicator,
 * also one that came after the last call. What the device computes after a failure is not defined,
 * so ask before its memory is saved or shown, and after a wait for the device. Elsewhere ok. */
reid_status reid_comm_check(reid_comm *comm, reid_error *err);

reid_status reid_comm_barrier(reid_comm *comm, reid_error *err);
/* `data` of rank `root` to all ranks. */
reid_status reid_comm_broadcast(reid_comm *comm, void *data, size_t bytes, int root,
                                reid_error *err);
/* data[i] = Σ over ranks of data[i], in place. */
reid_status reid_comm_allreduce_sum(reid_comm *comm, float *data, size_t count, reid_error *err);
/* Same number of bytes from each rank; `ret_all` holds size × bytes in the order of the ranks. */
reid_status reid_comm_allgather(reid_comm *comm, const void *data, size_t bytes, void *ret_all,
                                reid_error *err);
/* Any number of bytes from each rank to `root`. There: *ret_data (caller frees) holds all in the
 * order of the ranks, rank r's from ret_offsets[r] to ret_offsets[r + 1]; ret_offsets has size + 1
 * places. On the other ranks the two outputs are not touched and may be NULL. */
reid_status reid_comm_gather_varied(reid_comm *comm, const void *data, size_t bytes, int root,
                                    void **ret_data, size_t *ret_offsets, reid_error *err);

/* Ends this process and, over MPI, all ranks, with exit code `code`. No clean-up is done and it
 * does not return. */
_Noreturn void reid_comm_abort(reid_comm *comm, int code);

/* ---- an all-reduce in the background (used by the reducer) ---- */

/* Owned by the caller, in place until the wait returns. Times are reid_clock_seconds; those of a
 * device are known after reid_comm_work_times only. */
typedef struct reid_comm_work {
    int bucket; /* for the flight recorder; set by the caller of reid_comm_allreduce_start */
    double queued_s, started_s;
    double arrived_s; /* the first data of every other rank were here: before it this rank waited
                         for others */
    double done_s;
    /* private */
    int kind, root;
    bool pending, done;
    void *data, *output;
    size_t bytes, count;
    float divisor;
    char phase[32];
    double timeout_s;
    size_t *offsets;
    reid_status status;
    reid_error err;
    struct reid_comm_work *next;
    struct reid_flight *flight;
    uint64_t flight_call;
    double exposed_s; /* device: how long the computation stood still for it */
    void *device;     /* events of a device; of the communicator */
} reid_comm_work;

/* data[i] = (Σ over ranks of data[i]) / divisor. `data` must not be touched until the wait. Does
 * not allocate. */
void reid_comm_allreduce_start(reid_comm *comm, float *data, size_t count, float divisor,
                               reid_comm_work *work);
/* Ok at once for work that was never started. On a device: what is queued from now on comes after
 * it; the host does not wait. */
reid_status reid_comm_work_wait(reid_comm *comm, reid_comm_work *work, reid_error *err);
/* Fills in the times of work that was waited for. False while a device has not done it, or when it
 * is not known. Does not block. */
bool reid_comm_work_times(reid_comm *comm, reid_comm_work *work);

/* ---- helpers made of the above ---- */

/* Fails on all ranks with one sentence ("the execution plan of rank 2 differs from that of the
 * other ranks …") when `value` is not the same everywhere. `what` is a noun phrase: "the execution
 * plan". */
reid_status reid_comm_check_same(reid_comm *comm, const char *what, uint64_t value,
                                 reid_error *err);

typedef struct reid_comm_part {
    void *data;
    size_t bytes;
} reid_comm_part;
/* Rank root's bytes of every part to all ranks, after a check that all ranks have the same sizes.
 */
reid_status reid_comm_broadcast_parts(reid_comm *comm, const reid_comm_part *parts, size_t count,
                                      int root, reid_error *err);

#endif
