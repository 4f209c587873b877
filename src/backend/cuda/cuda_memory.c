/* Device memory and copies. Host memory of callers is ordinary: it travels through pinned buffers
 * in turn, so that a copy never reads or writes it behind the caller's back. */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/kernels.h"
#include "base/compiler.h"

static void note_exhausted(cuda_backend *backend, size_t bytes)
{
    size_t available = 0, total = backend->gpu.memory_bytes;
    cudaGetLastError(); /* a failed allocation leaves the device usable */
    if (cudaMemGetInfo(&available, &total) != cudaSuccess)
        cudaGetLastError();
    reid_fail(&backend->failed, REID_ERR_EXHAUSTED,
              "GPU %d (%s) has no room for %zu MiB: %zu of %zu MiB are free", backend->device,
              backend->gpu.name, (bytes >> 20) + 1, available >> 20, total >> 20);
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

static reid_status staging_alloc(cuda_backend *backend, size_t bytes, reid_error *err)
{
    cuda_staging *all[] = {&backend->in[0], &backend->in[1], &backend->out[0], &backend->out[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CUDA_TRY(cudaHostAlloc(&all[i]->host, bytes, cudaHostAllocDefault));
        CUDA_TRY(cudaEventCreateWithFlags(&all[i]->done, cudaEventDisableTiming));
    }
    CUDA_TRY(cudaMalloc((void **)&backend->convert, 2 * bytes));
    backend->staging_bytes = bytes;
    return REID_OK;
}

static void staging_free(cuda_backend *backend)
{
    cuda_staging *all[] = {&backend->in[0], &backend->in[1], &backend->out[0], &backend->out[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i]->done)
            cudaEventDestroy(all[i]->done);
        if (all[i]->host)
            cudaFreeHost(all[i]->host);
        memset(all[i], 0, sizeof *all[i]);
    }
    if (backend->convert)
        cudaFree(backend->convert);
    backend->convert = NULL;
    backend->staging_bytes = 0;
}

static void grow(cuda_backend *backend, size_t bytes)
{
    cuda_wait(&backend->base);
    staging_free(backend);
    staging_alloc(backend, (bytes + 4095) / 4096 * 4096, &backend->failed);
}

/* A copy between the host and the device in parts, each through a pinned buffer; with a layout
 * that is not plain also through a buffer on the device, where a kernel converts. */
typedef struct transfer {
    unsigned char *device;
    size_t part, part_device;  /* bytes on the host, and on the device, of one part */
    size_t bytes;              /* on the host */
    const reid_layout *layout; /* NULL: the same bytes on both sides */
} transfer;

/* Outermost index, channels and places of a layout's plain form [N,C,P]. */
typedef struct plain_form {
    int64_t n, c, p;
} plain_form;

static plain_form form_of(const reid_layout *layout)
{
    const int64_t *d = layout->shape.dim;
    int64_t count = (int64_t)reid_shape_count(&layout->shape);
    if (cuda_kind_of(layout) != CUDA_DENSE)
        return (plain_form){d[0], d[1], d[2] * d[3]};
    return layout->shape.rank < 2 ? (plain_form){count, 1, 1} : (plain_form){d[0], count / d[0], 1};
}

static transfer transfer_raw(const cuda_backend *backend, const void *device, size_t bytes)
{
    size_t part = backend->staging_bytes;
    return part ? (transfer){(unsigned char *)device, part, part, bytes, NULL}
                : (transfer){.part = 1}; /* noted by grow */
}

/* Parts are whole outermost indices (images): the buffers grow where one does not fit. */
static transfer transfer_of(cuda_backend *backend, const reid_layout *layout, const void *device)
{
    if (cuda_kind_of(layout) == CUDA_DENSE && layout->dtype == REID_F32)
        return transfer_raw(backend, device, layout->bytes);
    plain_form f = form_of(layout);
    size_t one = (size_t)(f.c * f.p) * sizeof(float);
    if (one > backend->staging_bytes)
        grow(backend, one);
    size_t many = backend->staging_bytes / one;
    if (!many) /* noted by grow */
        return (transfer){.part = 1};
    return (transfer){(unsigned char *)device, many * one,
                      many * (size_t)(cuda_stride_of(layout) * f.p) *
                          reid_dtype_size(layout->dtype),
                      (size_t)f.n * one, layout};
}

static cudaError_t convert(cuda_backend *backend, const transfer *t, size_t turn, bool in)
{
    plain_form f = form_of(t->layout);
    float *plain = backend->convert + turn % 2 * (backend->staging_bytes / sizeof(float));
    void *device = t->device + turn * t->part_device;
    size_t bytes = REID_MIN(t->bytes - turn * t->part, t->part);
    int64_t n = (int64_t)(bytes / sizeof(float)) / (f.c * f.p), stride = cuda_stride_of(t->layout);
    return in ? reid_cuda_from_plain(backend->stream, t->layout->dtype, plain, device, n, f.c, f.p,
                                     stride)
              : reid_cuda_to_plain(backend->stream, t->layout->dtype, device, plain, n, f.c, f.p,
                                   stride);
}

static cudaError_t part_in(cuda_backend *backend, const transfer *t, size_t turn,
                           const unsigned char *host)
{
    cuda_staging *staging = &backend->in[turn % 2];
    size_t at = turn * t->part, bytes = REID_MIN(t->bytes - at, t->part);
    void *target =
        t->layout ? (void *)(backend->convert + turn % 2 * (backend->staging_bytes / sizeof(float)))
                  : t->device + at;
    cudaError_t result = staging_ready(staging);
    if (result != cudaSuccess)
        return result;
    memcpy(staging->host, host + at, bytes);
    result = cudaMemcpyAsync(target, staging->host, bytes, cudaMemcpyHostToDevice, backend->stream);
    if (result == cudaSuccess)
        result = staging_start(staging, backend->stream);
    if (result == cudaSuccess && t->layout)
        result = convert(backend, t, turn, true);
    return result;
}

static cudaError_t transfer_in(cuda_backend *backend, const transfer *t, const void *host)
{
    cudaError_t result = cudaSuccess;
    for (size_t turn = 0; turn * t->part < t->bytes && result == cudaSuccess; turn++)
        result = part_in(backend, t, turn, host);
    return result;
}

static cudaError_t part_out(cuda_backend *backend, const transfer *t, size_t turn)
{
    cuda_staging *staging = &backend->out[turn % 2];
    size_t at = turn * t->part, bytes = REID_MIN(t->bytes - at, t->part);
    const void *source = t->device + at;
    cudaError_t result = cudaSuccess;
    if (t->layout) {
        source = backend->convert + turn % 2 * (backend->staging_bytes / sizeof(float));
        result = convert(backend, t, turn, false);
    }
    if (result == cudaSuccess)
        result =
            cudaMemcpyAsync(staging->host, source, bytes, cudaMemcpyDeviceToHost, backend->stream);
    return result == cudaSuccess ? staging_start(staging, backend->stream) : result;
}

/* The copy of one part runs while the part before it is taken from its buffer. */
static cudaError_t transfer_out(cuda_backend *backend, const transfer *t, unsigned char *host)
{
    size_t parts = (t->bytes + t->part - 1) / t->part;
    cudaError_t result = cudaSuccess;
    for (size_t turn = 0; turn <= parts && result == cudaSuccess; turn++) {
        if (turn < parts)
            result = part_out(backend, t, turn);
        if (turn == 0 || result != cudaSuccess)
            continue;
        cuda_staging *staging = &backend->out[(turn - 1) % 2];
        size_t at = (turn - 1) * t->part;
        result = staging_ready(staging);
        if (result == cudaSuccess)
            memcpy(host + at, staging->host, REID_MIN(t->bytes - at, t->part));
    }
    return result;
}

static cudaError_t make_room(cuda_staging *staging, size_t bytes)
{
    if (bytes <= staging->bytes)
        return cudaSuccess;
    if (staging->host)
        cudaFreeHost(staging->host);
    staging->host = NULL;
    staging->bytes = 0;
    size_t rounded = (bytes + 4095) / 4096 * 4096;
    cudaError_t result = cudaSuccess;
    if (!staging->done)
        result = cudaEventCreateWithFlags(&staging->done, cudaEventDisableTiming);
    if (result == cudaSuccess)
        result = cudaHostAlloc(&staging->host, rounded, cudaHostAllocDefault);
    if (result == cudaSuccess)
        staging->bytes = rounded;
    return result;
}

/* Queued as a whole; the host waits for nothing but its own memcpy. */
static cudaError_t upload(cuda_backend *backend, void *device, const void *host, size_t bytes)
{
    cuda_staging *staging = &backend->upload[backend->upload_turn++ % CUDA_UPLOADS];
    cudaError_t result = staging_ready(staging);
    if (result == cudaSuccess)
        result = make_room(staging, bytes);
    if (result != cudaSuccess)
        return result;
    memcpy(staging->host, host, bytes);
    result = cudaMemcpyAsync(device, staging->host, bytes, cudaMemcpyHostToDevice, backend->stream);
    return result == cudaSuccess ? staging_start(staging, backend->stream) : result;
}

void cuda_copy_in(reid_backend *base, void *device, const void *host, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    transfer t = transfer_raw(backend, device, bytes);
    cudaError_t result = bytes > 0 && bytes <= CUDA_UPLOAD_LIMIT
                             ? upload(backend, device, host, bytes)
                             : transfer_in(backend, &t, host);
    cuda_note(backend, result, "copy to the GPU");
}

void cuda_copy_out(reid_backend *base, void *host, const void *device, size_t bytes)
{
    cuda_backend *backend = (cuda_backend *)base;
    transfer t = transfer_raw(backend, device, bytes);
    cuda_note(backend, transfer_out(backend, &t, host), "copy from the GPU");
}

void cuda_from_plain(reid_backend *base, const reid_layout *layout, const float *plain,
                     void *device)
{
    cuda_backend *backend = (cuda_backend *)base;
    transfer t = transfer_of(backend, layout, device);
    cuda_note(backend, transfer_in(backend, &t, plain), "copy to the GPU");
}

void cuda_to_plain(reid_backend *base, const reid_layout *layout, const void *device,
                   float *ret_plain)
{
    cuda_backend *backend = (cuda_backend *)base;
    transfer t = transfer_of(backend, layout, device);
    cuda_note(backend, transfer_out(backend, &t, (unsigned char *)ret_plain), "copy from the GPU");
}

void cuda_fetch_start(reid_backend *base, const float *const *device, size_t count)
{
    cuda_backend *backend = (cuda_backend *)base;
    float *host = backend->fetched.host;
    REID_ASSERT(count <= REID_FETCH_LIMIT);
    cudaError_t result = staging_ready(&backend->fetched); /* of a fetch that nobody waited for */
    for (size_t i = 0; i < count && result == cudaSuccess; i++)
        result = cudaMemcpyAsync(host + i, device[i], sizeof *host, cudaMemcpyDeviceToHost,
                                 backend->stream);
    if (result == cudaSuccess)
        result = staging_start(&backend->fetched, backend->stream);
    backend->fetch_count = count;
    cuda_note(backend, result, "copy from the GPU");
}

void cuda_fetch_wait(reid_backend *base, float *ret_values)
{
    cuda_backend *backend = (cuda_backend *)base;
    cudaError_t result = staging_ready(&backend->fetched);
    if (result == cudaSuccess)
        memcpy(ret_values, backend->fetched.host, backend->fetch_count * sizeof *ret_values);
    cuda_note(backend, result, "copy from the GPU");
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
    REID_TRY(staging_alloc(backend, CUDA_STAGING_BYTES, err));
    CUDA_TRY(cudaMalloc((void **)&backend->reduce, CUDA_REDUCE_COUNT * sizeof(double)));
    CUDA_TRY(cudaHostAlloc(&backend->fetched.host, REID_FETCH_LIMIT * sizeof(float),
                           cudaHostAllocDefault));
    CUDA_TRY(cudaEventCreateWithFlags(&backend->fetched.done, cudaEventDisableTiming));
    CUDA_TRY(cudaHostAlloc((void **)&backend->reduce_host, CUDA_REDUCE_HOST_BYTES,
                           cudaHostAllocDefault));
    return REID_OK;
}

void cuda_memory_fini(cuda_backend *backend)
{
    staging_free(backend);
    for (size_t i = 0; i < CUDA_UPLOADS; i++) {
        if (backend->upload[i].done)
            cudaEventDestroy(backend->upload[i].done);
        if (backend->upload[i].host)
            cudaFreeHost(backend->upload[i].host);
    }
    if (backend->fetched.done)
        cudaEventDestroy(backend->fetched.done);
    if (backend->fetched.host)
        cudaFreeHost(backend->fetched.host);
    if (backend->reduce_host)
        cudaFreeHost(backend->reduce_host);
    if (backend->reduce)
        cudaFree(backend->reduce);
}
