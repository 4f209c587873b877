/* Inside of the NCCL communicator.
 *
 * Streams: the backend's compute stream, and one of the communicator. A call is queued there behind
 * an event of the compute stream (`ready`); the wait for it makes the compute stream wait for the
 * event behind it (`ended`). The host waits for neither.
 *
 * Threads: the owner's, and the watchdog's. `lock` guards the fields below it; NCCL's own functions
 * are called under `api`, which the watchdog takes by force after a while, for it must be able to
 * abort a call that hangs. Order: api, then lock.
 */
#ifndef REID_COMM_NCCL_NCCL_COMM_H
#define REID_COMM_NCCL_NCCL_COMM_H

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backend/cuda/cuda.h"
#include "comm/comm_impl.h"
#include "comm/nccl.h"

/* Calls that were queued and not seen to end. */
#define NCCL_FLYING 256

/* Events around one call. */
typedef struct nccl_slot {
    cudaEvent_t ready;   /* compute stream: the data are there */
    cudaEvent_t begun;   /* own stream: the call is next */
    cudaEvent_t ended;   /* own stream: the call is done */
    cudaEvent_t reached; /* compute stream: it needs the result */
    bool flying;         /* under `lock` */
    bool waited;         /* `reached` was recorded, so that all four have a time */
} nccl_slot;

/* What reid_comm_work.device points to. Two slots in turn: the host may queue a call again while
 * the device is at the one before. */
typedef struct nccl_call {
    struct nccl_call *next; /* of all */
    nccl_slot slot[2];
    unsigned turn; /* of the last call */
} nccl_call;

typedef struct nccl_flight {
    nccl_slot *slot;
    int kind, bucket;
    uint64_t bytes, number; /* number: of the flight recorder */
    char phase[32];
    double timeout_s, queued_s;
    double begun_s; /* seen to have begun; 0: not yet */
} nccl_flight;

typedef struct nccl_comm {
    reid_comm base;
    cuda_backend *backend;
    reid_comm *control;
    reid_nccl_options options;
    char *flight_folder; /* NULL: no recorder */
    cudaStream_t stream;
    void *compressed; /* options.max_bytes / 2 */
    nccl_call *calls; /* all that were made */
    cudaEvent_t clock;
    double clock_s; /* host time of `clock` */
    char library[32];

    pthread_t thread;
    bool thread_started;
    pthread_mutex_t api;
    ncclComm_t nccl;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, told;       /* told: the owner has been given the sentence */
    bool aborted, revoked; /* revoked: aborted, but still to be destroyed */
    reid_error broken;     /* code REID_OK: not broken */
    nccl_flight flying[NCCL_FLYING];
    unsigned first, count;
    double last_end_s; /* when the oldest call came to the head of the queue */
} nccl_comm;

/* ---- nccl_init.c ---- */

/* UNAVAILABLE, or UNSUPPORTED for a wrong call: "what: NCCL's words". Ok for Success and
 * InProgress. */
reid_status nccl_check(const nccl_comm *c, reid_error *err, ncclResult_t result, const char *what);
/* Collective over `control`. On failure c->nccl may be half made. */
reid_status nccl_init(nccl_comm *c, reid_error *err);
/* Until NCCL has done what it answered ncclInProgress for. */
reid_status nccl_settle(nccl_comm *c, double deadline_s, const char *what, reid_error *err);

/* ---- nccl_watch.c ---- */

reid_status nccl_watch_start(nccl_comm *c, reid_error *err);
void nccl_watch_stop(nccl_comm *c);
/* The first cause stays. Any thread. */
void nccl_break(nccl_comm *c, const reid_error *why);
/* The sentence when broken; the owner has been told then. */
reid_status nccl_whole(nccl_comm *c, reid_error *err);
/* Takes what the device has ended from the list. Under `lock`. */
void nccl_collect(nccl_comm *c);
/* cudaErrorNotReady is an answer here and leaves no trace. */
cudaError_t nccl_event_query(cudaEvent_t event);

#endif
