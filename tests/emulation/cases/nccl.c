/* Collectives between processes: what data-parallel ranks do, and each of its faults. */
#include "emulation/cases/cases.h"
#include "emulation/cases/kernels.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N = 100000, STEPS = 3 };

typedef struct rank_state {
    ncclComm_t comm;
    cudaStream_t compute, network;
    cudaEvent_t ready, reduced;
    float *x, *gradient, *partial, *sum;
} rank_state;

static bool start(const case_world *w, rank_state *r)
{
    static float h[N];
    r->compute = case_stream();
    r->network = case_stream();
    r->ready = case_event();
    r->reduced = case_event();
    r->x = case_device(N * 4);
    r->gradient = case_device(N * 4);
    r->partial = case_device(32);
    r->sum = case_device(4);
    for (int i = 0; i < N; i++)
        h[i] = (float)(i % 7) + (float)w->rank;
    CASE_OK(cudaMemcpyAsync(r->x, h, sizeof h, cudaMemcpyHostToDevice, r->compute));
    CASE_OK(cudaMemsetAsync(r->gradient, 0, N * 4, r->compute));
    return ncclCommInitRank(&r->comm, w->size, w->id, w->rank) == ncclSuccess;
}

/* Which wait is left out. */
typedef enum missing { NOTHING, WAIT_FOR_COMPUTE, WAIT_FOR_NETWORK } missing;

/* The gradient is averaged on one stream while the other computes. */
static bool train(const case_world *w, missing left_out)
{
    float out = 0.0f;
    rank_state r;
    CASE_CHECK(start(w, &r));
    for (int step = 0; step < STEPS; step++) {
        CASE_OK(case_axpy(r.compute, N, 0.5f, r.x, r.gradient));
        CASE_OK(cudaEventRecord(r.ready, r.compute));
        if (left_out != WAIT_FOR_COMPUTE)
            CASE_OK(cudaStreamWaitEvent(r.network, r.ready, 0));
        CASE_OK(ncclAllReduce(r.gradient, r.gradient, N, ncclFloat32, ncclAvg, r.comm, r.network));
        CASE_OK(cudaEventRecord(r.reduced, r.network));
        if (left_out != WAIT_FOR_NETWORK)
            CASE_OK(cudaStreamWaitEvent(r.compute, r.reduced, 0));
        CASE_OK(case_sum(r.compute, N, r.gradient, r.partial, r.sum));
    }
    CASE_OK(cudaMemcpyAsync(&out, r.sum, 4, cudaMemcpyDeviceToHost, r.compute));
    CASE_OK(cudaStreamSynchronize(r.network));
    double want = 0.0, rank = (w->size - 1) / 2.0; /* of the average */
    for (int i = 0; i < N; i++)
        want += STEPS * 0.5 * (i % 7 + rank);
    CASE_OK(ncclCommDestroy(r.comm));
    return left_out || fabs(out - want) < 1e-4 * want;
}

static bool training(const case_world *w)
{
    return train(w, NOTHING);
}

static bool no_wait_for_compute(const case_world *w)
{
    return train(w, WAIT_FOR_COMPUTE);
}

static bool no_wait_for_network(const case_world *w)
{
    return train(w, WAIT_FOR_NETWORK);
}

static bool broadcast(const case_world *w)
{
    float out[4], in[4] = {1.0f, 2.0f, 3.0f, (float)w->rank};
    ncclComm_t comm;
    cudaStream_t s = case_stream();
    float *d = case_device(16);
    CASE_OK(ncclCommInitRank(&comm, w->size, w->id, w->rank));
    CASE_OK(cudaMemcpyAsync(d, in, 16, cudaMemcpyHostToDevice, s));
    CASE_OK(ncclBroadcast(d, d, 4, ncclFloat32, w->size - 1, comm, s));
    CASE_OK(cudaMemcpyAsync(out, d, 16, cudaMemcpyDeviceToHost, s));
    CASE_OK(ncclCommDestroy(comm));
    return out[3] == (float)(w->size - 1) && out[1] == 2.0f;
}

/* bf16 and fp16 sums: 1 + 2 of two ranks. */
static bool narrow_types(const case_world *w)
{
    static const uint16_t one_or_two[2][2] = {{0x3f80, 0x4000}, {0x3c00, 0x4000}},
                          three[2] = {0x4040, 0x4200};
    static const ncclDataType_t types[2] = {ncclBfloat16, ncclFloat16};
    ncclComm_t comm;
    cudaStream_t s = case_stream();
    CASE_OK(ncclCommInitRank(&comm, w->size, w->id, w->rank));
    for (int t = 0; t < 2; t++) {
        uint16_t out, *d = case_device(2);
        CASE_OK(cudaMemcpyAsync(d, &one_or_two[t][w->rank], 2, cudaMemcpyHostToDevice, s));
        CASE_OK(ncclAllReduce(d, d, 1, types[t], ncclSum, comm, s));
        CASE_OK(cudaMemcpyAsync(&out, d, 2, cudaMemcpyDeviceToHost, s));
        CASE_CHECK(out == three[t]);
    }
    return ncclCommDestroy(comm) == ncclSuccess;
}

static bool count_differs(const case_world *w)
{
    rank_state r;
    ncclResult_t error = ncclSuccess;
    CASE_CHECK(start(w, &r));
    CASE_OK(cudaStreamSynchronize(r.compute));
    CASE_OK(ncclAllReduce(r.gradient, r.gradient, N - (size_t)w->rank, ncclFloat32, ncclSum, r.comm,
                          r.network));
    CASE_OK(cudaStreamSynchronize(r.network));
    CASE_OK(ncclCommGetAsyncError(r.comm, &error));
    return error == ncclInternalError && ncclCommAbort(r.comm) == ncclSuccess;
}

/* Two buckets of the same size in different order are told apart by neither NCCL nor us; of
 * different size they are. */
static bool order_differs(const case_world *w)
{
    rank_state r;
    CASE_CHECK(start(w, &r));
    CASE_OK(cudaStreamSynchronize(r.compute));
    for (int k = 0; k < 2; k++) {
        size_t count = (k ^ w->rank) ? 1000 : 2000;
        ncclAllReduce(r.gradient, r.gradient, count, ncclFloat32, ncclSum, r.comm, r.network);
    }
    cudaStreamSynchronize(r.network);
    return ncclCommAbort(r.comm) == ncclSuccess;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Rank 1 never comes: a non-blocking start can be given up. */
static bool rank_missing(const case_world *w)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = NULL;
    ncclResult_t state = ncclInProgress;
    double start_s = now();
    if (w->rank == 1)
        return true;
    config.blocking = 0;
    CASE_CHECK(ncclCommInitRankConfig(&comm, w->size, w->id, w->rank, &config) == ncclInProgress);
    while (state == ncclInProgress && now() - start_s < 0.5) {
        CASE_OK(ncclCommGetAsyncError(comm, &state));
        usleep(1000);
    }
    return state == ncclInProgress && ncclCommAbort(comm) == ncclSuccess;
}

/* Rank 1 leaves out a collective: the other hangs until it aborts. */
static bool collective_missing(const case_world *w)
{
    rank_state r;
    double start_s = now();
    CASE_CHECK(start(w, &r));
    CASE_OK(cudaStreamSynchronize(r.compute));
    if (w->rank == 1) {
        usleep(700000);
        return ncclCommAbort(r.comm) == ncclSuccess;
    }
    CASE_OK(ncclAllReduce(r.gradient, r.gradient, N, ncclFloat32, ncclSum, r.comm, r.network));
    while (now() - start_s < 0.5)
        usleep(1000);
    CASE_CHECK(cudaStreamQuery(r.network) == cudaErrorNotReady);
    CASE_OK(ncclCommAbort(r.comm));
    return cudaStreamSynchronize(r.network) == cudaSuccess;
}

static bool destroyed_early(const case_world *w)
{
    rank_state r;
    CASE_CHECK(start(w, &r));
    CASE_OK(cudaStreamSynchronize(r.compute));
    if (w->rank == 1)
        return ncclCommAbort(r.comm) == ncclSuccess;
    CASE_OK(ncclAllReduce(r.gradient, r.gradient, N, ncclFloat32, ncclSum, r.comm, r.network));
    return ncclCommDestroy(r.comm) == ncclSuccess;
}

/* Several devices of one process, started in a group. */
static bool devices_of_a_process(const case_world *w)
{
    ncclComm_t comm[2];
    cudaStream_t s[2];
    float *d[2], out[2];
    CASE_OK(ncclGroupStart());
    for (int i = 0; i < 2; i++) {
        CASE_OK(cudaSetDevice(i));
        CASE_OK(ncclCommInitRank(&comm[i], 2, w->id, i));
    }
    CASE_OK(ncclGroupEnd());
    for (int i = 0; i < 2; i++) {
        float v = (float)(i + 1);
        CASE_OK(cudaSetDevice(i));
        s[i] = case_stream();
        d[i] = case_device(4);
        CASE_OK(cudaMemcpyAsync(d[i], &v, 4, cudaMemcpyHostToDevice, s[i]));
    }
    CASE_OK(ncclGroupStart());
    for (int i = 0; i < 2; i++)
        CASE_OK(ncclAllReduce(d[i], d[i], 1, ncclFloat32, ncclSum, comm[i], s[i]));
    CASE_OK(ncclGroupEnd());
    for (int i = 0; i < 2; i++)
        CASE_OK(cudaMemcpyAsync(&out[i], d[i], 4, cudaMemcpyDeviceToHost, s[i]));
    return out[0] == 3.0f && out[1] == 3.0f;
}

static bool memory_of_another_device(const case_world *w)
{
    cudaStream_t s = case_stream();
    float *d = case_device(256);
    CASE_OK(cudaMemsetAsync(d, 0, 256, s));
    CASE_OK(cudaStreamSynchronize(s));
    CASE_OK(cudaSetDevice(1));
    CASE_OK(case_faulty(case_stream(), CASE_ADD_ONE, d));
    return cudaDeviceSynchronize() == cudaErrorIllegalAddress;
}

const case_row nccl_cases[] = {
    {"training", training, NULL, .ranks = 3},
    {"no_wait_for_compute", no_wait_for_compute, "RACE", .ranks = 2},
    {"no_wait_for_network", no_wait_for_network, "RACE", .ranks = 2},
    {"broadcast", broadcast, NULL, .ranks = 3},
    {"narrow_types", narrow_types, NULL, .ranks = 2},
    {"count_differs", count_differs, "NCCL-MISMATCH", .ranks = 2},
    {"order_differs", order_differs, "NCCL-MISMATCH", .ranks = 2},
    {"rank_missing", rank_missing, "NCCL-HANG", .ranks = 2, .env = "REID_EMU_NCCL_TELL_MS=200"},
    {"collective_missing", collective_missing, "NCCL-HANG", .ranks = 2,
     .env = "REID_EMU_NCCL_TELL_MS=200"},
    {"destroyed_early", destroyed_early, "NCCL", .ranks = 2},
    {"devices_of_a_process", devices_of_a_process, NULL, .env = "REID_EMU_DEVICES=2"},
    {"memory_of_another_device", memory_of_another_device, "KERNEL-BOUNDS",
     .env = "REID_EMU_DEVICES=2"},
    {0},
};
