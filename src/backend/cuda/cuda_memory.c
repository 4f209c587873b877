/* Device memory and copies. Host memory of callers is ordinary: it travels through two pinned
 * buffers in turn, so that a copy never reads or writes it behind the caller's back. */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/compiler.h"

#define GIB (1.0 / (double)(1u << 30))

static void note_exhausted(cuda_backend *backend, size_t bytes)
{
    size_t available = 0, total = backend->gpu.memory_bytes;
    cudaGetLastError(); /* a failed allocation leaves the device usable */
    if (cudaMemGetInfo(&available, &total) != cudaSuccess)
        cudaGetLastError();
    reid_fail(&backend->failed, REID_ERR_EXHAUSTED,
              "GPU %d (%s) has no room for %.2f GiB: %.2f of %.2f GiB are free", backend->device,
              backend->gpu.name, (double)bytes * GIB, (double)available * GIB, (double)total * GIB);
}

void *cuda_alloc(reid_backend *base, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    void *memory = NULL;
    bytes = bytes ? bytes : 1;
    if (cuda_is_planned(backend)) {
        reid_fail(&backend->failed, REID_ERR_PRECONDITION,
                  "nothing can be allocated or run on %s: it is only planned for",
                  backend->gpu.name);
        return NULL;
    }
    cuda_note(backend, cudaSetDevice(backend->device), "choice of the GPU");
    cudaError_t result = cudaMalloc(&memory, bytes);
    if (result == cudaErrorMemoryAllocation) {
        note_exhausted(backend, bytes);
        return NULL;
    }
    if (result == cudaSuccess)
        result = cudaMemsetAsync(memory, 0, bytes, backend->stream);
    if (result == cudaSuccess)
        result = cudaStreamSynchronize(backend->stream);
    cuda_note(backend, result, "allocation of device memory");
    if (result == cudaSuccess)
        return memory;
    if (memory)
        cudaFree(memory);
    return NULL;
}

void cuda_release(reid_backend *base, void *memory, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_wait(base);
    cuda_note(backend, cudaFree(memory), "release of device memory");
}

/* Waits until the buffer's last copy is done. */
static cudaError_t staging_ready(cuda_staging *staging)
{
    cudaError_t result = staging->busy ? cudaEventSynchronize(staging->done) : cudaSuccess;
    staging->busy = false;
    return result;
}

static cudaError_t staging_start(cuda_staging *staging, cudaStream_t stream)
{
    cudaError_t result = cudaEventRecord(staging->done, stream);
    staging->busy = result == cudaSuccess;
    return result;
}

static cudaError_t copy_in(cuda_backend *backend, unsigned char *device, const unsigned char *host,
                           size_t bytes)
{
    for (size_t at = 0, turn = 0; at < bytes; at += CUDA_STAGING_BYTES, turn++) {
        cuda_staging *staging = &backend->in[turn % 2];
        size_t part = REID_MIN(bytes - at, CUDA_STAGING_BYTES);
        cudaError_t result = staging_ready(staging);
        if (result != cudaSuccess)
            return result;
        memcpy(staging->host, host + at, part);
        result = cudaMemcpyAsync(device + at, staging->host, part, cudaMemcpyHostToDevice,
                                 backend->stream);
        if (result == cudaSuccess)
            result = staging_start(staging, backend->stream);
        if (result != cudaSuccess)
            return result;
    }
    return cudaSuccess;
}

void cuda_copy_in(reid_backend *base, void *device, const void *host, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend, copy_in(backend, device, host, bytes), "copy to the GPU");
}

/* The copy of one part runs while the part before it is taken from its buffer. */
static cudaError_t copy_out(cuda_backend *backend, unsigned char *host, const unsigned char *device,
                            size_t bytes)
{
    size_t parts = (bytes + CUDA_STAGING_BYTES - 1) / CUDA_STAGING_BYTES;
    for (size_t i = 0; i < parts + 1; i++) {
        cudaError_t result = cudaSuccess;
        if (i < parts) {
            cuda_staging *staging = &backend->out[i % 2];
            size_t at = i * CUDA_STAGING_BYTES, part = REID_MIN(bytes - at, CUDA_STAGING_BYTES);
            result = cudaMemcpyAsync(staging->host, device + at, part, cudaMemcpyDeviceToHost,
                                     backend->stream);
            if (result == cudaSuccess)
                result = staging_start(staging, backend->stream);
        }
        if (result == cudaSuccess && i > 0) {
            cuda_staging *staging = &backend->out[(i - 1) % 2];
            size_t at = (i - 1) * CUDA_STAGING_BYTES;
            result = staging_ready(staging);
            if (result == cudaSuccess)
                memcpy(host + at, staging->host, REID_MIN(bytes - at, CUDA_STAGING_BYTES));
        }
        if (result != cudaSuccess)
            return result;
    }
    return cudaSuccess;
}

void cuda_copy_out(reid_backend *base, void *host, const void *device, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    cuda_note(backend, copy_out(backend, host, device, bytes), "copy from the GPU");
}

void cuda_zero(reid_backend *base, void *device, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    if (bytes)
        cuda_note(backend, cudaMemsetAsync(device, 0, bytes, backend->stream),
                  "zeroing of device memory");
}

void cuda_wait(reid_backend *base)
{
    cuda_backend *backend = (cuda_backend *)base;
    if (!cuda_is_planned(backend))
        cuda_note(backend, cudaStreamSynchronize(backend->stream), "work of the GPU");
}

reid_status cuda_memory_init(cuda_backend *backend, reid_error *err)
{
    cuda_staging *all[] = {&backend->in[0], &backend->in[1], &backend->out[0], &backend->out[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CUDA_TRY(cudaHostAlloc(&all[i]->host, CUDA_STAGING_BYTES, cudaHostAllocDefault));
        CUDA_TRY(cudaEventCreateWithFlags(&all[i]->done, cudaEventDisableTiming));
    }
    CUDA_TRY(cudaMalloc((void **)&backend->reduce, CUDA_REDUCE_COUNT * sizeof(double)));
    CUDA_TRY(cudaHostAlloc((void **)&backend->reduce_host, CUDA_REDUCE_HOST_BYTES,
                           cudaHostAllocDefault));
    return REID_OK;
}

void cuda_memory_fini(cuda_backend *backend)
{
    cuda_staging *all[] = {&backend->in[0], &backend->in[1], &backend->out[0], &backend->out[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i]->done)
            cudaEventDestroy(all[i]->done);
        if (all[i]->host)
            cudaFreeHost(all[i]->host);
    }
    if (backend->reduce_host)
        cudaFreeHost(backend->reduce_host);
    if (backend->reduce)
        cudaFree(backend->reduce);
}
