/* Collectives over device memory by NCCL, as a reid_comm: all-reduce for the reducer and broadcasts
 * of device ranges. Lives in the cuda module (src/comm/nccl).
 *
 * A call is queued on a stream of its own behind everything that the backend's stream has been
 * given so far; reid_comm_work_wait makes the backend's stream wait for it and returns at once.
 * A watchdog polls ncclCommGetAsyncError and the deadlines; on either the communicator is aborted,
 * and the next call fails with the first cause.
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
    const char *flight_path; /* flight recorder's file (comm/flight.h); NULL: none */
} reid_nccl_options;

/* `control` is the host communicator of the same ranks (the id travels over it); it and `backend`
 * outlive the result. Module symbol "reid_nccl_comm_new". */
typedef reid_status reid_nccl_comm_new_fn(reid_backend *backend, reid_comm *control,
                                          const reid_nccl_options *options, reid_comm **ret_comm,
                                          reid_error *err);

#endif
