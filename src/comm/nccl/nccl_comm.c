/* The communicator: its calls, its life. */
#include "comm/nccl/nccl_comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cuda/kernels.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/flight.h"
#include "base/str.h"

#define WAIT_NS 200000l
#define CLOCK_LIMIT_S 20.0 /* CUDA tells times between events as floats of milliseconds */
#define END_LIMIT_S 30.0

#define CALL_TRY(call, what)                                                                       \
    do {                                                                                           \
        cudaError_t call_try_result = (call);                                                      \
        if (call_try_result != cudaSuccess)                                                        \
            return cuda_check(err, call_try_result, what);                                         \
    } while (0)

/* ---- events ---- */

static reid_status new_call(nccl_comm *c, nccl_call **ret_call, reid_error *err)
{
    nccl_call *call = reid_xcalloc(1, sizeof *call);
    call->next = c->calls;
    c->calls = call; /* freed with the communicator, half made or not */
    for (int i = 0; i < 2; i++) {
        nccl_slot *slot = &call->slot[i];
        cudaEvent_t *events[] = {&slot->ready, &slot->begun, &slot->ended, &slot->reached};
        for (int k = 0; k < 4; k++)
            CALL_TRY(cudaEventCreateWithFlags(events[k], cudaEventDefault), "making an event");
    }
    *ret_call = call;
    return REID_OK;
}

static void free_calls(nccl_comm *c)
{
    while (c->calls) {
        nccl_call *call = c->calls;
        c->calls = call->next;
        for (int i = 0; i < 2; i++) {
            cudaEvent_t events[] = {call->slot[i].ready, call->slot[i].begun, call->slot[i].ended,
                                    call->slot[i].reached};
            for (int k = 0; k < 4; k++)
                if (events[k])
                    cudaEventDestroy(events[k]);
        }
        free(call);
    }
}

/* Until the device has ended what the slot was used for last, and the list has room. */
static reid_status wait_for_slot(nccl_comm *c, const nccl_slot *slot, reid_error *err)
{
    for (;;) {
        pthread_mutex_lock(&c->lock);
        nccl_collect(c);
        bool there = !slot->flying && c->count < NCCL_FLYING;
        pthread_mutex_unlock(&c->lock);
        REID_TRY(nccl_whole(c, err));
        if (there)
            return REID_OK;
        nanosleep(&(struct timespec){0, WAIT_NS}, NULL);
    }
}

static void push(nccl_comm *c, const reid_comm_work *work, nccl_slot *slot, uint64_t bytes)
{
    pthread_mutex_lock(&c->lock);
    nccl_flight *f = &c->flying[(c->first + c->count) % NCCL_FLYING];
    *f = (nccl_flight){
        .slot = slot,
        .kind = work->kind,
        .bucket = work->bucket,
        .bytes = bytes,
        .number = work->flight_call,
        .timeout_s = work->timeout_s,
        .queued_s = work->queued_s,
    };
    memcpy(f->phase, work->phase, sizeof f->phase);
    slot->flying = true;
    c->count++;
    pthread_mutex_unlock(&c->lock);
}

/* ---- calls ---- */

/* The call is queued on the stream only when NCCL is no longer busy with it. */
static reid_status finish_queuing(nccl_comm *c, const reid_comm_work *work, ncclResult_t result,
                                  const char *what, reid_error *err)
{
    REID_TRY(nccl_check(c, err, result, what));
    if (result != ncclInProgress)
        return REID_OK;
    reid_status status = nccl_settle(c, work->queued_s + work->timeout_s, what, err);
    if (status != REID_ERR_TIMEOUT)
        return status;
    reid_error_clear(err);
    return reid_fail(err, status,
                     "%s timed out after %.3g s in phase %s on rank %d: NCCL is busy "
                     "connecting the ranks",
                     what, work->timeout_s, work->phase, c->base.rank);
}

/* False, with a sentence: the watchdog has ended the communicator meanwhile, which is freed. */
static bool enter_nccl(nccl_comm *c, reid_error *err)
{
    pthread_mutex_lock(&c->api);
    if (!c->aborted)
        return true;
    pthread_mutex_unlock(&c->api);
    if (nccl_whole(c, err) == REID_OK)
        reid_fail(err, REID_ERR_UNAVAILABLE, "the GPUs' communicator was aborted");
    return false;
}

static reid_status queue_sum(nccl_comm *c, const reid_comm_work *work, void *data,
                             ncclDataType_t type, reid_error *err)
{
    if (!enter_nccl(c, err))
        return err->code;
    ncclResult_t result =
        ncclAllReduce(data, data, work->count, type, work->divisor == 1.0f ? ncclSum : ncclAvg,
                      c->nccl, c->stream);
    pthread_mutex_unlock(&c->api);
    return finish_queuing(c, work, result, "ncclAllReduce", err);
}

static reid_status queue_allreduce(nccl_comm *c, const reid_comm_work *work, reid_error *err)
{
    reid_comm_compression way = c->options.compression;
    if (work->divisor != 1.0f && work->divisor != (float)c->base.size)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "all-reduce on a GPU: the divisor is %g, not 1 or the %d ranks",
                         (double)work->divisor, c->base.size);
    if (way == REID_COMM_COMPRESSION_NONE || work->divisor == 1.0f)
        return queue_sum(c, work, work->data, ncclFloat32, err);
    if (work->count * sizeof(float) > c->options.max_bytes)
        return reid_fail(err, REID_ERR_INTERNAL,
                         "all-reduce of %zu bytes, but %zu were announced for compression",
                         work->count * sizeof(float), c->options.max_bytes);
    bool half = way == REID_COMM_COMPRESSION_FP16;
    CALL_TRY(reid_cuda_cast_down(c->stream, work->data, c->compressed, half, work->count),
             "compressing gradients");
    REID_TRY(queue_sum(c, work, c->compressed, half ? ncclFloat16 : ncclBfloat16, err));
    CALL_TRY(reid_cuda_cast_up(c->stream, c->compressed, work->data, half, work->count),
             "expanding gradients");
    return REID_OK;
}

static reid_status queue_broadcast(nccl_comm *c, const reid_comm_work *work, reid_error *err)
{
    if (!enter_nccl(c, err))
        return err->code;
    ncclResult_t result = ncclBroadcast(work->data, work->data, work->bytes, ncclInt8, work->root,
                                        c->nccl, c->stream);
    pthread_mutex_unlock(&c->api);
    return finish_queuing(c, work, result, "ncclBroadcast", err);
}

static reid_status queue(nccl_comm *c, reid_comm_work *work, nccl_slot *slot, reid_error *err)
{
    cudaStream_t compute = c->backend->stream;
    CALL_TRY(cudaEventRecord(slot->ready, compute), "queuing a collective call");
    CALL_TRY(cudaStreamWaitEvent(c->stream, slot->ready, 0), "queuing a collective call");
    CALL_TRY(cudaEventRecord(slot->begun, c->stream), "queuing a collective call");
    slot->waited = false;
    REID_TRY(work->kind == REID_COMM_ALLREDUCE ? queue_allreduce(c, work, err)
                                               : queue_broadcast(c, work, err));
    CALL_TRY(cudaEventRecord(slot->ended, c->stream), "queuing a collective call");
    return REID_OK;
}

static reid_status start(nccl_comm *c, reid_comm_work *work, reid_error *err)
{
    if (work->kind != REID_COMM_ALLREDUCE && work->kind != REID_COMM_BROADCAST)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "the GPUs' communicator has all-reduce and broadcast only");
    REID_TRY(nccl_whole(c, err));
    CALL_TRY(cudaSetDevice(c->backend->device), "choosing the GPU");
    nccl_call *call = work->device;
    if (!call)
        REID_TRY(new_call(c, &call, err));
    work->device = call;
    nccl_slot *slot = &call->slot[++call->turn % 2];
    REID_TRY(wait_for_slot(c, slot, err));
    work->queued_s = reid_clock_seconds();
    REID_TRY(queue(c, work, slot, err));
    push(c, work, slot,
         work->kind == REID_COMM_ALLREDUCE ? work->count * sizeof(float) : work->bytes);
    return REID_OK;
}

/* Keeps the first cause for all that follows. */
static void settle_work(nccl_comm *c, reid_comm_work *work, reid_status status,
                        const reid_error *err)
{
    work->status = status;
    if (status == REID_OK)
        return;
    nccl_break(c, err);
    reid_error_clear(&work->err);
    nccl_whole(c, &work->err); /* the owner is told, maybe of an earlier cause */
}

static void nccl_submit(reid_comm *comm, reid_comm_work *work)
{
    nccl_comm *c = (nccl_comm *)comm;
    reid_error err = {0};
    work->pending = true;
    work->done = false;
    reid_error_clear(&work->err);
    settle_work(c, work, start(c, work, &err), &err);
}

static reid_status join(nccl_comm *c, reid_comm_work *work, reid_error *err)
{
    nccl_call *call = work->device;
    nccl_slot *slot = &call->slot[call->turn % 2];
    REID_TRY(nccl_whole(c, err));
    CALL_TRY(cudaEventRecord(slot->reached, c->backend->stream), "waiting for a collective call");
    CALL_TRY(cudaStreamWaitEvent(c->backend->stream, slot->ended, 0),
             "waiting for a collective call");
    slot->waited = true;
    return REID_OK;
}

static void nccl_wait(reid_comm *comm, reid_comm_work *work)
{
    nccl_comm *c = (nccl_comm *)comm;
    reid_error err = {0};
    if (!work->pending)
        return;
    if (work->status == REID_OK)
        settle_work(c, work, join(c, work, &err), &err);
    work->pending = false;
    work->done = true;
}

static reid_status nccl_check_all(reid_comm *comm, reid_error *err)
{
    return nccl_whole((nccl_comm *)comm, err);
}

/* ---- times ---- */

static bool seconds_between(cudaEvent_t from, cudaEvent_t to, double *ret_s)
{
    float ms = 0;
    if (cudaEventElapsedTime(&ms, from, to) != cudaSuccess) {
        cudaGetLastError(); /* without this time, but no kernel has failed */
        return false;
    }
    *ret_s = (double)ms / 1e3;
    return true;
}

/* The older slot: the device is done with it, as a rule. */
static bool nccl_times(reid_comm *comm, reid_comm_work *work)
{
    nccl_comm *c = (nccl_comm *)comm;
    nccl_call *call = work->device;
    double begun_s, ended_s, reached_s, ready_s;
    if (!call || nccl_whole(c, NULL) != REID_OK)
        return false;
    nccl_slot *slot = &call->slot[(call->turn + 1) % 2];
    pthread_mutex_lock(&c->lock);
    nccl_collect(c);
    bool there = slot->waited && !slot->flying;
    pthread_mutex_unlock(&c->lock);
    if (!there || nccl_event_query(slot->reached) != cudaSuccess ||
        !seconds_between(c->clock, slot->begun, &begun_s) ||
        !seconds_between(c->clock, slot->ended, &ended_s) ||
        !seconds_between(c->clock, slot->ready, &ready_s) ||
        !seconds_between(c->clock, slot->reached, &reached_s))
        return false;
    work->queued_s = c->clock_s + ready_s;
    work->started_s = work->arrived_s = c->clock_s + begun_s;
    work->done_s = c->clock_s + ended_s;
    work->exposed_s = ended_s > reached_s ? ended_s - reached_s : 0;
    if (begun_s > CLOCK_LIMIT_S) { /* this event is the clock from now on */
        cudaEvent_t old = c->clock;
        c->clock = slot->begun;
        c->clock_s += begun_s;
        slot->begun = old;
        slot->waited = false;
    }
    return true;
}

/* ---- life ---- */

static const char *nccl_library(const reid_comm *comm)
{
    return ((const nccl_comm *)comm)->library;
}

static void nccl_abort(reid_comm *comm, int code)
{
    nccl_comm *c = (nccl_comm *)comm;
    c->control->impl->abort(c->control, code);
    abort(); /* it does not return */
}

/* Queued calls end, or the watchdog breaks the communicator. */
static bool drain(nccl_comm *c)
{
    for (double end_s = reid_clock_seconds() + END_LIMIT_S; reid_clock_seconds() < end_s;) {
        pthread_mutex_lock(&c->lock);
        nccl_collect(c);
        bool empty = c->count == 0;
        pthread_mutex_unlock(&c->lock);
        if (nccl_whole(c, NULL) != REID_OK)
            return false;
        if (empty)
            return true;
        nanosleep(&(struct timespec){0, WAIT_NS}, NULL);
    }
    return false;
}

static bool finalize(nccl_comm *c)
{
    ncclResult_t result = ncclCommFinalize(c->nccl);
    return result == ncclSuccess || result == ncclInProgress;
}

static bool end_nccl(nccl_comm *c)
{
    bool well = c->thread_started && drain(c);
    nccl_watch_stop(c);
    if (!c->nccl)
        return well;
    if (well && !c->aborted && finalize(c) &&
        nccl_settle(c, reid_clock_seconds() + END_LIMIT_S, "ncclCommFinalize", NULL) == REID_OK) {
        ncclCommDestroy(c->nccl);
        return true;
    }
    if (c->revoked)
        ncclCommDestroy(c->nccl);
    else if (!c->aborted)
        ncclCommAbort(c->nccl);
    return false;
}

static void nccl_free(reid_comm *comm)
{
    nccl_comm *c = (nccl_comm *)comm;
    cudaSetDevice(c->backend->device);
    bool well = end_nccl(c);
    if (c->stream) {
        cudaStreamSynchronize(c->stream);
        cudaStreamDestroy(c->stream);
    }
    free_calls(c);
    if (c->clock)
        cudaEventDestroy(c->clock);
    if (c->compressed)
        cudaFree(c->compressed);
    reid_flight_close(c->base.flight, well);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->api);
    free(c->flight_folder);
    free(comm->call);
    free(c);
}

static const reid_comm_impl NCCL = {
    .name = "nccl",
    .submit = nccl_submit,
    .wait = nccl_wait,
    .library = nccl_library,
    .abort = nccl_abort,
    .free = nccl_free,
    .check = nccl_check_all,
    .times = nccl_times,
};

static nccl_comm *make(reid_backend *backend, reid_comm *control, const reid_nccl_options *options)
{
    nccl_comm *c = reid_xcalloc(1, sizeof *c);
    c->base = (reid_comm){
        .impl = &NCCL,
        .rank = control->rank,
        .size = control->size,
        .local_rank = control->local_rank,
        .local_size = control->local_size,
        .device = true,
        .default_timeout_s =
            options->timeout_s > 0 ? options->timeout_s : control->default_timeout_s,
    };
    memcpy(c->base.phase, control->phase, sizeof c->base.phase);
    c->base.timeout_s = c->base.default_timeout_s;
    c->backend = (cuda_backend *)backend;
    c->control = control;
    c->options = *options;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->api, NULL);
    return c;
}

/* A stream that goes first where both have something to run: a bucket waits for no kernel that is
 * not needed for it. */
static reid_status make_device_parts(nccl_comm *c, reid_error *err)
{
    int least = 0, greatest = 0;
    CALL_TRY(cudaSetDevice(c->backend->device), "choosing the GPU");
    CALL_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for stream priorities");
    CALL_TRY(cudaStreamCreateWithPriority(&c->stream, cudaStreamNonBlocking, greatest),
             "making a stream");
    CALL_TRY(cudaEventCreateWithFlags(&c->clock, cudaEventDefault), "making an event");
    CALL_TRY(cudaEventRecord(c->clock, c->stream), "starting a clock");
    CALL_TRY(cudaStreamSynchronize(c->stream), "starting a clock");
    c->clock_s = reid_clock_seconds();
    if (c->options.compression == REID_COMM_COMPRESSION_NONE)
        return REID_OK;
    size_t bytes = c->options.max_bytes / 2 + 16;
    if (cudaMalloc(&c->compressed, bytes) != cudaSuccess) {
        cudaGetLastError();
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "no GPU memory for %.1f MiB of compressed gradients; COMM.COMPRESSION "
                         "none needs none, a smaller COMM.BUCKET_MB less",
                         (double)bytes / (1 << 20));
    }
    return REID_OK;
}

static reid_nccl_comm_new_fn comm_new;

static reid_status comm_new(reid_backend *backend, reid_comm *control,
                            const reid_nccl_options *options, reid_comm **ret_comm, reid_error *err)
{
    nccl_comm *c = make(backend, control, options);
    reid_status status = REID_OK;
    if (options->flight_path) {
        const char *slash = strrchr(options->flight_path, '/');
        c->flight_folder =
            slash ? strndup(options->flight_path, (size_t)(slash - options->flight_path))
                  : reid_xstrdup(".");
        status = reid_flight_open_path(options->flight_path, c->base.rank, c->base.size,
                                       &c->base.flight, err);
    }
    if (status == REID_OK)
        status = make_device_parts(c, err);
    if (status == REID_OK)
        status = nccl_init(c, err);
    if (status == REID_OK)
        status = nccl_watch_start(c, err);
    if (status != REID_OK) {
        nccl_free(&c->base);
        return status;
    }
    *ret_comm = &c->base;
    return REID_OK;
}

/* Module symbols of this folder. */
void *reid_nccl_symbol(const char *name)
{
    /* ISO C has no cast from a function pointer to an object pointer; POSIX promises this one. */
    union {
        reid_nccl_comm_new_fn *function;
        void *object;
    } symbol = {comm_new};
    return strcmp(name, "reid_nccl_comm_new") == 0 ? symbol.object : NULL;
}
