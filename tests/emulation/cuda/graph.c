/* Graphs made by capturing one stream: its operations are kept as patterns, a launch submits copies
 * of them in their order. Events and collectives in a captured stream are not supported. */
#include "emu.h"

#include <stdlib.h>
#include <string.h>

struct CUgraph_st {
    emu_op *first, **last;
    int references; /* the graph and what was made of it */
    bool invalid;
    enum cudaStreamCaptureMode mode;
};

struct CUgraphExec_st {
    struct CUgraph_st *graph;
};

/* Captures that are not relaxed: a thread-local one binds its own thread only. */
static int global_captures;
static _Thread_local int own_captures;

bool emu_capture_forbids_calls(void)
{
    return __atomic_load_n(&global_captures, __ATOMIC_RELAXED) > 0 || own_captures > 0;
}

static void count_capture(enum cudaStreamCaptureMode mode, int by)
{
    if (mode == cudaStreamCaptureModeGlobal)
        __atomic_add_fetch(&global_captures, by, __ATOMIC_RELAXED);
    else if (mode == cudaStreamCaptureModeThreadLocal)
        own_captures += by;
}

void emu_capture_add(struct CUgraph_st *graph, emu_op *op)
{
    *graph->last = op;
    graph->last = &op->next;
}

cudaError_t emu_capture_refuse(struct CUgraph_st *graph, const char *call)
{
    (void)call;
    graph->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
}

static void graph_unref(struct CUgraph_st *graph)
{
    if (--graph->references)
        return;
    while (graph->first) {
        emu_op *op = graph->first;
        graph->first = op->next;
        emu_op_free(op);
    }
    free(graph);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    EMU_ENTER();
    struct CUgraph_st **capture = emu_stream_capture(stream);
    if ((uintptr_t)stream <= 2)
        return emu_error(cudaErrorStreamCaptureUnsupported);
    if (*capture)
        return emu_error(cudaErrorIllegalState);
    struct CUgraph_st *graph = calloc(1, sizeof *graph);
    graph->last = &graph->first;
    graph->references = 1;
    graph->mode = mode;
    count_capture(mode, 1);
    *capture = graph;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *ret_graph)
{
    struct CUgraph_st **capture = emu_stream_capture(stream), *graph = *capture;
    cudaError_t failed = emu_enter(__func__); /* also injected: the capture ends all the same */
    if (!graph)
        return failed ? failed : emu_error(cudaErrorIllegalState);
    count_capture(graph->mode, -1);
    graph->invalid |= failed != cudaSuccess;
    *capture = NULL;
    *ret_graph = graph->invalid ? NULL : graph;
    if (!graph->invalid)
        return cudaSuccess;
    graph_unref(graph);
    return failed ? failed : emu_error(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *ret_status)
{
    EMU_ENTER();
    const struct CUgraph_st *graph = *emu_stream_capture(stream);
    *ret_status = !graph           ? cudaStreamCaptureStatusNone
                  : graph->invalid ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ret_exec, cudaGraph_t graph,
                                 unsigned long long flags)
{
    (void)flags;
    EMU_ENTER();
    cudaGraphExec_t exec = calloc(1, sizeof *exec);
    exec->graph = graph;
    graph->references++;
    *ret_exec = exec;
    return cudaSuccess;
}

/* Memory of a graph must be there at every launch. */
static void check_ranges(const emu_op *op)
{
    for (int i = 0; i < op->range_count; i++) {
        const emu_alloc *a = emu_find(op->range[i].address);
        if (!a || a->freed)
            emu_report("MEMORY", "a launched graph: '%s' uses memory that was freed", op->name);
    }
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    EMU_ENTER();
    for (const emu_op *pattern = exec->graph->first; pattern; pattern = pattern->next) {
        emu_op *op = emu_op_new(stream, pattern->name, pattern->run);
        check_ranges(pattern);
        memcpy(op->arg, pattern->arg, sizeof op->arg);
        memcpy(op->range, pattern->range, sizeof op->range);
        op->range_count = pattern->range_count;
        op->clone = pattern->clone;
        op->owned = pattern->clone ? pattern->clone(pattern->owned) : NULL;
        emu_op_submit(op);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *ret_count)
{
    EMU_ENTER();
    if (nodes)
        return emu_error(cudaErrorNotSupported);
    *ret_count = 0;
    for (const emu_op *op = graph->first; op; op = op->next)
        ++*ret_count;
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    (void)exec, (void)stream;
    EMU_ENTER();
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    EMU_ENTER();
    graph_unref(exec->graph);
    free(exec);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    EMU_ENTER();
    graph_unref(graph);
    return cudaSuccess;
}
