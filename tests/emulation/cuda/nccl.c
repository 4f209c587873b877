/* NCCL between processes, or devices of one process, over a file in shared memory: communicators
 * and the order of calls. The data of a collective is moved in nccl_run.c. */
#include "nccl_emu.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static _Thread_local int group_depth;
static const char *const names[] = {"ncclAllReduce", "ncclBroadcast", "ncclReduce", "ncclAllGather",
                                    "ncclReduceScatter"};

const char *emu_nccl_name(int kind)
{
    return names[kind];
}

double emu_nccl_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool joined(const struct ncclComm *c)
{
    for (int r = 0; r < c->size; r++)
        if (!c->shared->rank[r].joined)
            return false;
    return true;
}

/* As in reality a missing rank hangs the others; unlike reality it is named. */
void emu_nccl_missing(ncclComm_t c, const char *what)
{
    double limit = 1e-3 * (double)emu_option("REID_EMU_NCCL_TELL_MS", 5000);
    if (c->told || emu_nccl_now() - c->since < limit)
        return;
    char list[256] = "";
    c->told = true;
    for (int r = 0; r < c->size; r++) {
        const emu_nccl_rank *s = &c->shared->rank[r];
        size_t length = strlen(list);
        if (joined(c) ? s->posted <= c->chunk : !s->joined)
            snprintf(list + length, sizeof list - length, " %d", r);
    }
    emu_report("NCCL-HANG", "rank %d of %d waits in %s for rank(s)%s", c->rank, c->size, what,
               list);
}

ncclResult_t ncclGetVersion(int *ret_version)
{
    *ret_version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *ret_id)
{
    uint64_t random[2];
    if (emu_fault_at(__func__) == EMU_FAIL || getrandom(random, sizeof random, 0) != sizeof random)
        return ncclSystemError;
    memset(ret_id, 0, sizeof *ret_id);
    snprintf(ret_id->internal, sizeof ret_id->internal, "/reid-emu-nccl-%016lx%016lx", random[0],
             random[1]);
    return ncclSuccess;
}

static emu_nccl_shared *map_shared(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return NULL;
    void *p = MAP_FAILED;
    if (ftruncate(fd, sizeof(emu_nccl_shared)) == 0)
        p = mmap(NULL, sizeof(emu_nccl_shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

static ncclResult_t join(ncclComm_t c)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&c->shared->size, &none, c->size) && none != c->size) {
        emu_report("NCCL-MISMATCH", "rank %d says %d ranks, others say %d", c->rank, c->size, none);
        return ncclInvalidUsage;
    }
    if (atomic_exchange(&c->shared->rank[c->rank].joined, 1)) {
        emu_report("NCCL-MISMATCH", "two ranks say that they are rank %d", c->rank);
        return ncclInvalidUsage;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *ret_comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    if (emu_fault_at("ncclCommInitRank") == EMU_FAIL)
        return ncclSystemError;
    bool never = emu_take_stall(); /* this rank never comes */
    if (size < 1 || size > EMU_NCCL_RANKS || rank < 0 || rank >= size ||
        strncmp(id.internal, "/reid-emu-nccl-", 15) != 0)
        return ncclInvalidArgument;
    emu_nccl_shared *shared = map_shared(id.internal);
    if (!shared)
        return ncclSystemError;
    ncclComm_t c = calloc(1, sizeof *c);
    c->shared = shared;
    c->rank = rank;
    c->size = size;
    c->device = emu_device();
    c->since = emu_nccl_now();
    c->blocking = !config || config->blocking != 0;
    snprintf(c->name, sizeof c->name, "%.*s", (int)sizeof c->name - 1, id.internal);
    ncclResult_t result = never ? ncclSuccess : join(c);
    if (result != ncclSuccess) {
        free(c);
        return result;
    }
    *ret_comm = c;
    if (!c->blocking)
        return ncclInProgress;
    if (group_depth)
        return ncclSuccess;
    while (!joined(c) && !c->aborted) {
        emu_nccl_missing(c, "ncclCommInitRank");
        usleep(200);
    }
    shm_unlink(c->name);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *ret_comm, int size, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(ret_comm, size, id, rank, NULL);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *ret_error)
{
    if (!c)
        return ncclInvalidArgument;
    if (emu_fault_at(__func__) == EMU_FAIL)
        c->error = ncclRemoteError;
    *ret_error = c->error ? (ncclResult_t)c->error : joined(c) ? ncclSuccess : ncclInProgress;
    if (*ret_error == ncclInProgress)
        emu_nccl_missing(c, "ncclCommInitRank");
    else
        shm_unlink(c->name);
    return ncclSuccess;
}

/* Queued collectives end, then the communicator can be destroyed. */
ncclResult_t ncclCommRevoke(ncclComm_t c, int flags)
{
    if (!c || flags != NCCL_REVOKE_DEFAULT)
        return ncclInvalidArgument;
    if (emu_fault_at(__func__) == EMU_FAIL)
        return ncclSystemError;
    if (c->destroyed)
        emu_report("NCCL", "ncclCommRevoke of a destroyed communicator");
    c->aborted = c->revoked = 1;
    emu_kick();
    return c->blocking ? ncclSuccess : ncclInProgress;
}

/* The structs are kept: queued operations refer to them. */
ncclResult_t ncclCommAbort(ncclComm_t c)
{
    if (!c)
        return ncclInvalidArgument;
    emu_fault_at(__func__);
    if (c->destroyed)
        emu_report("NCCL", "ncclCommAbort of a destroyed communicator");
    c->aborted = 1;
    c->destroyed = true;
    shm_unlink(c->name);
    emu_kick();
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    if (!c)
        return ncclInvalidArgument;
    if (c->revoked)
        emu_report("NCCL", "ncclCommFinalize of a revoked communicator");
    c->finalized = true;
    return c->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    if (!c)
        return ncclInvalidArgument;
    if (c->destroyed)
        emu_report("NCCL", "a communicator is destroyed twice");
    if (c->run != c->queued && !c->aborted)
        emu_report("NCCL", "ncclCommDestroy with %lu collective(s) still queued",
                   (unsigned long)(c->queued - c->run));
    c->destroyed = true;
    shm_unlink(c->name);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t c, int *ret_size)
{
    *ret_size = c->size;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t c, int *ret_rank)
{
    *ret_rank = c->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t c, int *ret_device)
{
    *ret_device = c->device;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t error)
{
    static const char *const text[] = {
        "no error",
        "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        "unhandled system error (run with NCCL_DEBUG=INFO for "
        "details)",
        "internal error - please report this issue to the NCCL "
        "developers",
        "invalid argument",
        "invalid usage",
        "remote process exited or there was a network error",
        "NCCL operation in progress"};
    return (unsigned)error < sizeof text / sizeof *text ? text[error] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t c)
{
    (void)c;
    return "";
}

ncclResult_t ncclGroupStart(void)
{
    group_depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (!group_depth)
        return ncclInvalidUsage;
    group_depth--;
    return ncclSuccess;
}

/* ---- collectives ---- */

static ncclResult_t check_call(ncclComm_t c, int kind, ncclDataType_t type)
{
    if (!c || c->aborted || !emu_nccl_type_bytes((int)type))
        return ncclInvalidArgument;
    if (c->error)
        return (ncclResult_t)c->error;
    if (c->destroyed || c->finalized) {
        emu_report("NCCL", "%s on a communicator that is over", names[kind]);
        return ncclInvalidUsage;
    }
    if (!joined(c)) {
        emu_report("NCCL", "%s on a communicator that is not ready", names[kind]);
        return ncclInvalidUsage;
    }
    return ncclSuccess;
}

static bool cancelled(emu_op *op)
{
    return ((ncclComm_t)(uintptr_t)op->arg[EMU_NCCL_COMM])->aborted;
}

static ncclResult_t queue(int kind, const void *send, void *receive, size_t count,
                          ncclDataType_t type, int reduction, int root, ncclComm_t c,
                          cudaStream_t stream)
{
    if (emu_fault_at(names[kind]) == EMU_FAIL)
        return ncclUnhandledCudaError;
    ncclResult_t result = check_call(c, kind, type);
    if (result != ncclSuccess || !count)
        return result;
    if (emu_stream_device(stream) != c->device) {
        emu_report("NCCL", "%s: a stream of device %d, a communicator of device %d", names[kind],
                   emu_stream_device(stream), c->device);
        return ncclInvalidArgument;
    }
    if (*emu_stream_capture(stream)) {
        emu_report("UNSUPPORTED", "%s in a captured stream", names[kind]);
        return ncclInvalidUsage;
    }
    emu_op *op = emu_op_new(stream, names[kind], emu_nccl_run);
    size_t bytes = count * emu_nccl_type_bytes((int)type), n = (size_t)c->size;
    op->cancelled = cancelled;
    op->arg[EMU_NCCL_COMM] = (uintptr_t)c;
    op->arg[EMU_NCCL_SEND] = (uintptr_t)send;
    op->arg[EMU_NCCL_RECEIVE] = (uintptr_t)receive;
    op->arg[EMU_NCCL_COUNT] = count;
    op->arg[EMU_NCCL_TYPE] = (uint64_t)type;
    op->arg[EMU_NCCL_REDUCTION] = (uint64_t)reduction;
    op->arg[EMU_NCCL_ROOT] = (uint64_t)root;
    op->arg[EMU_NCCL_KIND] = (uint64_t)kind;
    op->arg[EMU_NCCL_TICKET] = c->queued++;
    if (kind != EMU_BROADCAST || c->rank == root)
        emu_op_range(op, send, bytes * (kind == EMU_REDUCESCATTER ? n : 1), false);
    if (kind != EMU_REDUCE || c->rank == root)
        emu_op_range(op, receive, bytes * (kind == EMU_ALLGATHER ? n : 1), true);
    emu_op_submit(op);
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t c, cudaStream_t stream)
{
    return queue(EMU_ALLREDUCE, send, receive, count, type, (int)reduction, 0, c, stream);
}

ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t c, cudaStream_t stream)
{
    return queue(EMU_BROADCAST, send, receive, count, type, 0, root, c, stream);
}

ncclResult_t ncclBcast(void *data, size_t count, ncclDataType_t type, int root, ncclComm_t c,
                       cudaStream_t stream)
{
    return queue(EMU_BROADCAST, data, data, count, type, 0, root, c, stream);
}

ncclResult_t ncclReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                        ncclRedOp_t reduction, int root, ncclComm_t c, cudaStream_t stream)
{
    return queue(EMU_REDUCE, send, receive, count, type, (int)reduction, root, c, stream);
}

ncclResult_t ncclAllGather(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclComm_t c, cudaStream_t stream)
{
    return queue(EMU_ALLGATHER, send, receive, count, type, 0, 0, c, stream);
}
