/* How the ranks find each other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/flight.h"
#include "base/str.h"
#include "comm/nccl/nccl_comm.h"

#define INIT_LIMIT_S 120.0 /* NCCL's start-up takes seconds */
#define POLL_NS 1000000l

reid_status nccl_check(const nccl_comm *c, reid_error *err, ncclResult_t result, const char *what)
{
    if (result == ncclSuccess || result == ncclInProgress)
        return REID_OK;
    const char *detail = ncclGetLastError(c->nccl);
    bool misuse = result == ncclInvalidArgument || result == ncclInvalidUsage;
    return reid_fail(err, misuse ? REID_ERR_INTERNAL : REID_ERR_UNAVAILABLE,
                     "NCCL failed in %s on rank %d: %s%s%s", what, c->base.rank,
                     ncclGetErrorString(result), detail && *detail ? ": " : "",
                     detail ? detail : "");
}

reid_status nccl_settle(nccl_comm *c, double deadline_s, const char *what, reid_error *err)
{
    for (;;) {
        ncclResult_t state = ncclSuccess;
        pthread_mutex_lock(&c->api);
        ncclResult_t result = c->aborted ? ncclSuccess : ncclCommGetAsyncError(c->nccl, &state);
        pthread_mutex_unlock(&c->api);
        REID_TRY(nccl_check(c, err, result, what));
        REID_TRY(nccl_check(c, err, state, what));
        if (state != ncclInProgress)
            return REID_OK;
        if (reid_clock_seconds() > deadline_s)
            return reid_fail(err, REID_ERR_TIMEOUT, "%s", what);
        nanosleep(&(struct timespec){0, POLL_NS}, NULL);
    }
}

/* ---- over the control communicator, whose own functions live in the program ---- */

static reid_status control_call(reid_comm *control, reid_comm_work *work, reid_error *err)
{
    snprintf(work->phase, sizeof work->phase, "%s", control->phase);
    work->timeout_s = control->timeout_s;
    work->divisor = 1;
    work->bucket = -1;
    work->flight = control->flight;
    work->flight_call = reid_flight_queue(
        control->flight, work->kind == REID_COMM_ALLGATHER ? "all-gather" : "broadcast",
        work->phase, -1, work->bytes);
    control->impl->submit(control, work);
    control->impl->wait(control, work);
    if (work->status != REID_OK)
        return reid_fail(err, work->status, "%s", work->err.text);
    return REID_OK;
}

/* What a rank says before NCCL is started. */
typedef struct introduction {
    char host[64], gpu[32];
    ncclUniqueId id; /* rank 0's counts */
    char failure[256];
} introduction;

typedef struct meeting { /* on the heap and kept on failure: the library may still know it */
    reid_comm_work work;
    introduction own;
    introduction all[];
} meeting;

static void introduce(nccl_comm *c, introduction *own)
{
    reid_error err = {0};
    gethostname(own->host, sizeof own->host - 1);
    cudaError_t found = cudaDeviceGetPCIBusId(own->gpu, sizeof own->gpu, c->backend->device);
    reid_status status = cuda_check(&err, found, "the address of the GPU");
    if (status == REID_OK && c->base.rank == 0)
        status = nccl_check(c, &err, ncclGetUniqueId(&own->id), "ncclGetUniqueId");
    if (status != REID_OK)
        snprintf(own->failure, sizeof own->failure, "%.255s", err.text);
}

/* Two ranks on one GPU would hang in NCCL. */
static reid_status check_gpus(const introduction *all, int size, reid_error *err)
{
    for (int r = 0; r < size; r++)
        if (all[r].failure[0])
            return reid_fail(err, REID_ERR_UNAVAILABLE, "%s", all[r].failure);
    for (int a = 0; a < size; a++)
        for (int b = a + 1; b < size; b++)
            if (strcmp(all[a].host, all[b].host) == 0 && strcmp(all[a].gpu, all[b].gpu) == 0)
                return reid_fail(err, REID_ERR_INVALID,
                                 "ranks %d and %d both have GPU %s of %s: each rank needs a GPU of "
                                 "its own; start fewer ranks, or check CUDA_VISIBLE_DEVICES",
                                 a, b, all[a].gpu, all[a].host);
    return REID_OK;
}

static reid_status meet(nccl_comm *c, ncclUniqueId *ret_id, reid_error *err)
{
    size_t size = (size_t)c->base.size;
    meeting *m = reid_xcalloc(1, sizeof *m + size * sizeof(introduction));
    introduce(c, &m->own);
    m->work = (reid_comm_work){.kind = REID_COMM_ALLGATHER,
                               .data = &m->own,
                               .bytes = sizeof(introduction),
                               .output = m->all};
    REID_TRY(control_call(c->control, &m->work, err));
    reid_status status = check_gpus(m->all, c->base.size, err);
    *ret_id = m->all[0].id;
    free(m);
    return status;
}

/* ---- NCCL ---- */

static reid_status late(nccl_comm *c, double waited_s, reid_error *err)
{
    REID_AUTOFREE char *who =
        c->flight_folder ? reid_flight_explain(c->flight_folder, 0, NULL) : NULL;
    reid_error_clear(err);
    return reid_fail(err, REID_ERR_TIMEOUT,
                     "the start-up of NCCL timed out after %.3g s on rank %d: %s", waited_s,
                     c->base.rank,
                     who ? who
                         : "not all ranks have come, or the network does not let them through "
                           "(NCCL_SOCKET_IFNAME names the interface, NCCL_DEBUG=INFO tells more)");
}

/* The in-switch sum of NVLink differs from call to call in its last bits; the user may ask for it.
 */
static void ask_for_same_bits(void)
{
    setenv("NCCL_NVLS_ENABLE", "0", 0);
}

reid_status nccl_init(nccl_comm *c, reid_error *err)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    int version = 0;
    ask_for_same_bits();
    ncclGetVersion(&version);
    snprintf(c->library, sizeof c->library, "NCCL %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
    REID_TRY(meet(c, &id, err));
    config.blocking = 0;
    double limit_s = REID_MIN(c->base.timeout_s, INIT_LIMIT_S);
    uint64_t call = reid_flight_queue(c->base.flight, "start-up", c->base.phase, -1, 0);
    reid_flight_start(c->base.flight, call);
    double start_s = reid_clock_seconds();
    ncclResult_t result = ncclCommInitRankConfig(&c->nccl, c->base.size, id, c->base.rank, &config);
    REID_TRY(nccl_check(c, err, result, "ncclCommInitRankConfig"));
    reid_status status = nccl_settle(c, start_s + limit_s, "start-up", err);
    if (status == REID_ERR_TIMEOUT)
        return late(c, limit_s, err);
    if (status == REID_OK)
        reid_flight_end(c->base.flight, call);
    return status;
}
