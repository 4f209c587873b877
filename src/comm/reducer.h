/* The gradient all-reduce of DistributedDataParallel, overlapped with the backward pass.
 *
 * Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
 * sections 3.2 and 4.2: the gradients are cut into buckets (a small first one, so that
 * communication starts early, then large ones); a bucket is summed over the ranks as soon as its
 * last gradient is written, while backward goes on. Here the flat gradient buffer is laid out in
 * the order in which backward fills it, so that a bucket is a range of that buffer and nothing is
 * copied.
 *
 * One step: reid_reducer_begin → backward calls reid_reducer_ready for each finished range →
 * reid_reducer_finish, after which the buffer holds the average over the ranks, the same bits on
 * each. With one rank all of it does nothing. No allocation in a step. Called from the stepping
 * thread.
 *
 * With a communicator of a device (comm/nccl.h) the gradients are device memory, everything is
 * queued, and "after reid_reducer_finish" means what is queued after it; the host does not wait.
 */
#ifndef REID_COMM_REDUCER_H
#define REID_COMM_REDUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "comm/comm.h"

typedef struct reid_reducer reid_reducer;

typedef struct reid_reducer_options {
    size_t first_bucket_bytes; /* COMM.FIRST_BUCKET_MB · 2^20; 0 means 1 MiB */
    size_t bucket_bytes;       /* COMM.BUCKET_MB · 2^20; 0 means 25 MiB */
} reid_reducer_options;

typedef struct reid_reducer_stats {
    double exposed_s; /* finish() waited this long: what the overlap did not hide */
    double total_s;   /* sum over buckets of start to end on the communication thread */
    double others_s;  /* part of total_s spent waiting for the first data of other ranks */
    size_t buckets;
    size_t bytes; /* of gradients */
    bool device;  /* measured on the device, of a step or two before the last finished one */
} reid_reducer_stats;

/* `grad` [total] f32 stays the caller's and outlives the reducer. `range_offsets` holds
 * `range_count` ascending starts of parameters (the first is 0; copied); a bucket ends where a
 * parameter ends, at or after its size is reached, as in PyTorch. NULL and 0: one range. INVALID
 * for offsets that do not ascend or lie beyond total. */
reid_status reid_reducer_new(reid_comm *comm, float *grad, size_t total,
                             const size_t *range_offsets, size_t range_count,
                             const reid_reducer_options *options, reid_reducer **ret_reducer,
                             reid_error *err);
/* Waits for work under way. NULL is fine. Free it before its communicator. */
void reid_reducer_free(reid_reducer *reducer);

/* Starts a step. `skip`: this is not the last micro-batch of a gradient accumulation; ready() and
 * finish() do nothing. */
void reid_reducer_begin(reid_reducer *reducer, bool skip);
/* [offset, offset + size) of the gradients (floats) is final. Ranges come in ascending order
 * without overlap; what lies between two of them (a frozen parameter, padding) counts as final too.
 * `reducer` is a reid_reducer: the function is the callback that backward takes. A failure is kept
 * for finish(). */
void reid_reducer_ready(void *reducer, size_t offset, size_t size);
/* Sends what is left, waits for all buckets. On failure the gradients are not defined. */
reid_status reid_reducer_finish(reid_reducer *reducer, reid_error *err);

/* Whether what the device has computed so far counts: see reid_comm_check. */
reid_status reid_reducer_check(reid_reducer *reducer, reid_error *err);

/* Of the last finished step. */
void reid_reducer_last_stats(const reid_reducer *reducer, reid_reducer_stats *ret_stats);
size_t reid_reducer_bucket_count(const reid_reducer *reducer);

/* Where bucket `index` ends, in floats; it begins where the one before it ends. */
size_t reid_reducer_bucket_end(const reid_reducer *reducer, size_t index);

/* One bucket in the last finished step; times are reid_clock_seconds, as in reid_comm_work. All
 * zero when nothing was sent. */
typedef struct reid_reducer_bucket {
    size_t bytes;
    double queued_s, started_s, arrived_s, done_s;
} reid_reducer_bucket;
reid_reducer_bucket reid_reducer_last_bucket(const reid_reducer *reducer, size_t index);
/* Of the cut into buckets; part of what ranks compare before the first step (reid_comm_check_same).
 */
uint64_t reid_reducer_hash(const reid_reducer *reducer);

#endif
