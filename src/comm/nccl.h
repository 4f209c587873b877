/* Collectives over device memory by NCCL, as a reid_comm: all-reduce for the reducer and broadcasts
 * of device ranges. Lives in the cuda module (src/comm/nccl).
 *
 * A call is queued on a stream of its own behind everything that the backend's stream has been
 * given so far; reid_comm_work_wait makes the backend's stream wait for it and returns at once.
 * A watchdog polls ncclCommGetAsyncError and the deadlines; on either the communicator is aborted,
 * and the next call fails with the first cause. All-reduce (divisor 1 or the number of ranks) and
 * broadcast only; the other calls are UNSUPPORTED.
 *
 * Deadlines count from the moment the device comes to the call, or, while it does not, from the end
 * of the call before it. Where a flight recorder is kept the sentence names the rank that lags.
 * Compression: gradients are rounded, averaged in that type and widened again; only calls with a
 * divisor, so that it never touches parameters.
 */
#ifndef REID_COMM_NCCL_H
#define REID_COMM_NCCL_H

#include "backend/backend.h"
#include "comm/comm.h"

/* What gradients are sent as. */
typedef enum reid_comm_compression {
    REID_COMM_COMPRESSION_NONE,
    REID_COMM_COMPRESSION_BF16,
    REID_COMM_COMPRESSION_FP16,
} reid_comm_compression;

typedef struct reid_nccl_options {
    double timeout_s; /* deadline of each collective; ≤ 0: that of `control` */
    reid_comm_compression compression;
    size_t max_bytes;        /* largest all-reduce; sizes the buffer for compressed gradients */
    const char *flight_path; /* "folder/rank-N.nccl" (base/flight.h); NULL: no recorder */
    /* Called once, on the watchdog's thread, when the communicator was aborted and nobody has
     * asked for a long while: the stepping thread hangs. NULL: nothing. */
    void (*failed)(void *user, const reid_error *why);
    void *user;
} reid_nccl_options;

/* `control` is the host communicator of the same ranks (the id travels over it); it and `backend`
 * outlive the result. Module symbol "reid_nccl_comm_new". */
typedef reid_status reid_nccl_comm_new_fn(reid_backend *backend, reid_comm *control,
                                          const reid_nccl_options *options, reid_comm **ret_comm,
                                          reid_error *err);

#endif
