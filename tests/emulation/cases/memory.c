/* Device memory from the host, pinned memory, limits, misuse. */
#include "emulation/cases/cases.h"

#include <string.h>

enum { N = 5000 };

static bool copies(const case_world *world)
{
    static float in[N], out[N];
    float *d = case_device(sizeof in), *e = case_device(sizeof in);
    cudaStream_t s = case_stream();
    for (int i = 0; i < N; i++)
        in[i] = (float)i;
    CASE_OK(cudaMemcpyAsync(d, in, sizeof in, cudaMemcpyHostToDevice, s));
    memset(in, 0, sizeof in); /* pageable memory was staged */
    CASE_OK(cudaMemcpyAsync(e, d, sizeof in, cudaMemcpyDeviceToDevice, s));
    CASE_OK(cudaMemcpyAsync(out, e, sizeof out, cudaMemcpyDeviceToHost, s));
    CASE_OK(cudaStreamSynchronize(s));
    CASE_CHECK(out[4999] == 4999.0f);
    CASE_OK(cudaFree(d));
    CASE_OK(cudaFree(e));
    return cudaStreamDestroy(s) == cudaSuccess;
}

static bool host_reads_device(const case_world *world)
{
    volatile float *d = case_device(400);
    return d[3] == 0.0f;
}

static bool host_writes_freed(const case_world *world)
{
    volatile float *d = case_device(400);
    CASE_OK(cudaFree((void *)d));
    d[3] = 1.0f;
    return true;
}

/* H2D copy from pinned memory: the host may read it meanwhile, and write it after the wait. */
static bool pinned_used_right(const case_world *world)
{
    float *h = case_pinned(N * sizeof(float)), *d = case_device(N * sizeof(float));
    cudaStream_t s = case_stream();
    for (int i = 0; i < N; i++)
        h[i] = 2.0f;
    CASE_OK(cudaMemcpyAsync(d, h, N * sizeof(float), cudaMemcpyHostToDevice, s));
    CASE_CHECK(h[N - 1] == 2.0f);
    CASE_OK(cudaStreamSynchronize(s));
    h[0] = 3.0f;
    CASE_OK(cudaMemcpyAsync(h, d, N * sizeof(float), cudaMemcpyDeviceToHost, s));
    cudaEvent_t done = case_event();
    CASE_OK(cudaEventRecord(done, s));
    CASE_OK(cudaEventSynchronize(done));
    return h[0] == 2.0f;
}

static bool pinned_written_early(const case_world *world)
{
    float *h = case_pinned(N * sizeof(float)), *d = case_device(N * sizeof(float));
    memset(h, 0, N * sizeof(float));
    CASE_OK(cudaMemcpyAsync(d, h, N * sizeof(float), cudaMemcpyHostToDevice, case_stream()));
    h[7] = 1.0f;
    return true;
}

static bool pinned_read_early(const case_world *world)
{
    volatile float *h = case_pinned(N * sizeof(float));
    float *d = case_device(N * sizeof(float));
    cudaStream_t s = case_stream();
    CASE_OK(cudaMemsetAsync(d, 0, N * sizeof(float), s));
    CASE_OK(cudaMemcpyAsync((void *)h, d, N * sizeof(float), cudaMemcpyDeviceToHost, s));
    return h[7] == 0.0f;
}

/* A wait for another stream does not make the copy's pages readable. */
static bool pinned_after_wrong_wait(const case_world *world)
{
    volatile float *h = case_pinned(N * sizeof(float));
    float *d = case_device(N * sizeof(float));
    cudaStream_t s = case_stream(), other = case_stream();
    CASE_OK(cudaMemsetAsync(d, 0, N * sizeof(float), s));
    CASE_OK(cudaMemcpyAsync((void *)h, d, N * sizeof(float), cudaMemcpyDeviceToHost, s));
    CASE_OK(cudaStreamSynchronize(other));
    return h[7] == 0.0f;
}

static bool copy_of_uninitialised(const case_world *world)
{
    static float out[N];
    float *d = case_device(sizeof out);
    cudaStream_t s = case_stream();
    CASE_OK(cudaMemsetAsync(d, 0, sizeof out - 4, s));
    return cudaMemcpyAsync(out, d, sizeof out, cudaMemcpyDeviceToHost, s) == cudaSuccess;
}

static bool copy_overruns(const case_world *world)
{
    static char in[1000];
    char *d = case_device(999);
    cudaStream_t s = case_stream();
    cudaMemcpyAsync(d, in, sizeof in, cudaMemcpyHostToDevice, s);
    return cudaStreamSynchronize(s) == cudaSuccess;
}

static bool copy_of_wrong_kind(const case_world *world)
{
    static char in[100];
    char *d = case_device(sizeof in);
    cudaMemcpyAsync(d, in, sizeof in, cudaMemcpyDeviceToHost, case_stream());
    return true;
}

static bool freed_twice(const case_world *world)
{
    char *d = case_device(100);
    CASE_OK(cudaFree(d));
    return cudaFree(d) == cudaErrorInvalidValue;
}

static bool freed_in_the_middle(const case_world *world)
{
    char *d = case_device(100);
    return cudaFree(d + 4) == cudaErrorInvalidValue;
}

static bool set_after_free(const case_world *world)
{
    char *d = case_device(100);
    CASE_OK(cudaFree(d));
    return cudaMemsetAsync(d, 0, 100, case_stream()) != cudaSuccess;
}

static bool over_the_limit(const case_world *world)
{
    void *a = case_device(3u << 20), *b = NULL;
    CASE_CHECK(cudaMalloc(&b, 2u << 20) == cudaErrorMemoryAllocation);
    CASE_CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
    CASE_CHECK(cudaGetLastError() == cudaSuccess);
    CASE_OK(cudaFree(a));
    size_t left = 0, total = 0;
    CASE_OK(cudaMemGetInfo(&left, &total));
    CASE_CHECK(left == 4u << 20 && total == left);
    return cudaMalloc(&b, 2u << 20) == cudaSuccess;
}

static bool nth_call_fails(const case_world *world)
{
    void *a = NULL;
    CASE_OK(cudaMalloc(&a, 100));
    CASE_CHECK(cudaMalloc(&a, 100) == cudaErrorMemoryAllocation);
    return cudaMalloc(&a, 100) == cudaSuccess;
}

static bool leaks(const case_world *world)
{
    case_device(100);
    return true;
}

static bool default_stream(const case_world *world)
{
    return cudaMemsetAsync(case_device(100), 0, 100, NULL) == cudaSuccess;
}

static bool stream_after_destroy(const case_world *world)
{
    cudaStream_t s = case_stream();
    CASE_OK(cudaStreamDestroy(s));
    return cudaMemsetAsync(case_device(100), 0, 100, s) == cudaSuccess;
}

/* A stalled operation holds its stream and no other. That work goes on is an error that stays for
 * cudaGetLastError, as with the real runtime. */
static bool stalled_copy(const case_world *world)
{
    char *d = case_device(100), *e = case_device(100);
    cudaStream_t s = case_stream(), other = case_stream();
    CASE_OK(cudaMemsetAsync(d, 0, 100, s));
    CASE_OK(cudaMemsetAsync(e, 0, 100, other));
    CASE_OK(cudaStreamSynchronize(other));
    CASE_CHECK(cudaStreamQuery(s) == cudaErrorNotReady);
    CASE_CHECK(cudaGetLastError() == cudaErrorNotReady);
    return cudaGetLastError() == cudaSuccess;
}

const case_row memory_cases[] = {
    {"copies", copies, NULL, .env = "REID_EMU_LEAKS=1"},
    {"host_reads_device", host_reads_device, "HOST-DEREF", .dies = true},
    {"host_writes_freed", host_writes_freed, "HOST-DEREF", .dies = true},
    {"pinned_used_right", pinned_used_right, NULL},
    {"pinned_written_early", pinned_written_early, "PINNED", .dies = true},
    {"pinned_read_early", pinned_read_early, "PINNED", .dies = true},
    {"pinned_after_wrong_wait", pinned_after_wrong_wait, "PINNED", .dies = true},
    {"copy_of_uninitialised", copy_of_uninitialised, "UNINIT"},
    {"copy_overruns", copy_overruns, "MEMORY"},
    {"copy_of_wrong_kind", copy_of_wrong_kind, "MEMCPY"},
    {"freed_twice", freed_twice, "MEMORY"},
    {"freed_in_the_middle", freed_in_the_middle, "MEMORY"},
    {"set_after_free", set_after_free, "MEMORY"},
    {"over_the_limit", over_the_limit, NULL, .env = "REID_EMU_MEM_MB=4"},
    {"nth_call_fails", nth_call_fails, NULL, .env = "REID_EMU_FAULT=cudaMalloc:2"},
    {"leaks", leaks, "LEAK", .env = "REID_EMU_LEAKS=1"},
    {"default_stream", default_stream, "DEFAULT-STREAM"},
    {"stream_after_destroy", stream_after_destroy, "STREAM"},
    {"stalled_copy", stalled_copy, NULL, .env = "REID_EMU_FAULT=cudaMemsetAsync:1:stall"},
    {0},
};
