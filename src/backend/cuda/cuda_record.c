/* Recordings: CUDA graphs, captured from the compute stream. One launch then replaces hundreds. */
#include "backend/cuda/cuda.h"

bool cuda_record_begin(reid_backend *base)
{
    cuda_backend *backend = (cuda_backend *)base;
    if (cuda_is_planned(backend) || backend->eager || backend->failed.code != REID_OK)
        return false;
    /* Thread-local: the watchdog of collectives goes on asking for its events meanwhile. */
    if (cudaStreamBeginCapture(backend->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess)
        return true;
    cudaGetLastError();
    return false;
}

void *cuda_record_end(reid_backend *base)
{
    cuda_backend *backend = (cuda_backend *)base;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t recording = NULL;
    cudaError_t result = cudaStreamEndCapture(backend->stream, &graph);
    if (result == cudaSuccess)
        result = cudaGraphInstantiate(&recording, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    if (result == cudaSuccess)
        return recording;
    cudaGetLastError(); /* the work was not done; it can be queued call by call */
    return NULL;
}

reid_status cuda_record_run(reid_backend *base, void *recording, reid_error *err)
{
    cuda_backend *backend = (cuda_backend *)base;
    REID_TRY(cuda_noted(backend, err));
    CUDA_TRY(cudaGraphLaunch(recording, backend->stream));
    return REID_OK;
}

void cuda_record_free(reid_backend *base, void *recording)
{
    cudaGraphExecDestroy(recording);
}
