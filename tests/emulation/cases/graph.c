/* A captured stream: its graph does at every launch what the calls would have done. */
#include "emulation/cases/cases.h"
#include "emulation/cases/kernels.h"

#include <stdlib.h>

enum { N = 1000 };

/* y += 2·x and its sum, as a graph. */
typedef struct work {
    cudaStream_t stream;
    float *x, *y, *partial, *sum;
    cudaGraphExec_t exec;
} work;

static bool prepare(work *w)
{
    static float ones[N];
    for (int i = 0; i < N; i++)
        ones[i] = 1.0f;
    w->stream = case_stream();
    w->x = case_device(N * 4);
    w->y = case_device(N * 4);
    w->partial = case_device(32);
    w->sum = case_device(4);
    CASE_OK(cudaMemcpyAsync(w->x, ones, sizeof ones, cudaMemcpyHostToDevice, w->stream));
    CASE_OK(cudaMemsetAsync(w->y, 0, N * 4, w->stream));
    return true;
}

static bool capture(work *w)
{
    cudaGraph_t graph;
    CASE_OK(cudaStreamBeginCapture(w->stream, cudaStreamCaptureModeThreadLocal));
    CASE_OK(case_axpy(w->stream, N, 2.0f, w->x, w->y));
    CASE_OK(case_sum(w->stream, N, w->y, w->partial, w->sum));
    CASE_OK(cudaStreamEndCapture(w->stream, &graph));
    CASE_OK(cudaGraphInstantiate(&w->exec, graph, 0));
    return cudaGraphDestroy(graph) == cudaSuccess;
}

static bool sum_is(work *w, float want)
{
    float sum;
    CASE_OK(cudaMemcpyAsync(&sum, w->sum, 4, cudaMemcpyDeviceToHost, w->stream));
    return sum == want;
}

static bool launches(const case_world *world)
{
    work w;
    CASE_CHECK(prepare(&w) && capture(&w));
    CASE_OK(cudaGraphLaunch(w.exec, w.stream));
    CASE_CHECK(sum_is(&w, 2.0f * N)); /* capturing itself did nothing */
    CASE_OK(cudaGraphLaunch(w.exec, w.stream));
    CASE_OK(cudaGraphLaunch(w.exec, w.stream));
    CASE_CHECK(sum_is(&w, 6.0f * N));
    return cudaGraphExecDestroy(w.exec) == cudaSuccess;
}

static bool wait_while_capturing(const case_world *world)
{
    work w;
    cudaGraph_t graph;
    CASE_CHECK(prepare(&w));
    CASE_OK(cudaStreamBeginCapture(w.stream, cudaStreamCaptureModeRelaxed));
    CASE_CHECK(cudaStreamSynchronize(w.stream) == cudaErrorStreamCaptureUnsupported);
    CASE_CHECK(cudaStreamEndCapture(w.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    return cudaStreamSynchronize(w.stream) == cudaSuccess;
}

static bool allocation_while_capturing(const case_world *world)
{
    work w;
    void *memory;
    CASE_CHECK(prepare(&w));
    CASE_OK(cudaStreamBeginCapture(w.stream, cudaStreamCaptureModeThreadLocal));
    return cudaMalloc(&memory, 4) == cudaErrorStreamCaptureUnsupported;
}

/* The graph reads what another stream writes. */
static bool unordered_launch(const case_world *world)
{
    work w;
    cudaStream_t other = case_stream();
    CASE_CHECK(prepare(&w) && capture(&w));
    CASE_OK(cudaStreamSynchronize(w.stream));
    CASE_OK(cudaMemsetAsync(w.x, 0, N * 4, other));
    CASE_OK(cudaGraphLaunch(w.exec, w.stream));
    CASE_OK(cudaStreamSynchronize(other));
    return cudaStreamSynchronize(w.stream) == cudaSuccess;
}

static bool memory_was_freed(const case_world *world)
{
    work w;
    CASE_CHECK(prepare(&w) && capture(&w));
    CASE_OK(cudaFree(w.x));
    CASE_OK(cudaGraphLaunch(w.exec, w.stream));
    return cudaStreamSynchronize(w.stream) == cudaErrorIllegalAddress;
}

const case_row graph_cases[] = {
    {"launches", launches, NULL},
    {"wait_while_capturing", wait_while_capturing, NULL},
    {"allocation_while_capturing", allocation_while_capturing, NULL},
    {"unordered_launch", unordered_launch, "RACE"},
    {"memory_was_freed", memory_was_freed, "KERNEL-BOUNDS"},
    {0},
};
