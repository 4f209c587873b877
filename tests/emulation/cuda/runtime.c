/* The runtime's memory, copies, device properties and errors. */
#include "emu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local cudaError_t last_error;
static cudaError_t sticky;

cudaError_t emu_error(cudaError_t error)
{
    if (error)
        last_error = error;
    return error;
}

cudaError_t emu_sticky(void)
{
    return sticky;
}

void emu_break(cudaError_t error)
{
    if (!sticky)
        sticky = error;
}

cudaError_t emu_enter(const char *api)
{
    if (emu_fault_at(api) == EMU_FAIL) {
        bool memory = strstr(api, "Malloc") || strstr(api, "HostAlloc");
        return emu_error(memory ? cudaErrorMemoryAllocation : cudaErrorUnknown);
    }
    return emu_error(sticky);
}

/* ---- allocation ---- */

static cudaError_t allocate(void **ret_memory, size_t bytes, int device)
{
    if (emu_capture_forbids_calls())
        return emu_error(cudaErrorStreamCaptureUnsupported);
    emu_lock();
    emu_alloc *a = emu_alloc_new(bytes, device);
    emu_unlock();
    if (!a)
        return emu_error(cudaErrorMemoryAllocation);
    *ret_memory = (void *)a->va;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **ret_memory, size_t bytes)
{
    EMU_ENTER();
    return allocate(ret_memory, bytes, emu_device());
}

cudaError_t cudaMallocHost(void **ret_memory, size_t bytes)
{
    EMU_ENTER();
    return allocate(ret_memory, bytes, -1);
}

cudaError_t cudaHostAlloc(void **ret_memory, size_t bytes, unsigned flags)
{
    (void)flags;
    EMU_ENTER();
    return allocate(ret_memory, bytes, -1);
}

static emu_alloc *live(void *memory, const char *what, bool pinned)
{
    emu_alloc *a = emu_find((uintptr_t)memory);
    if (a && a->va == (uintptr_t)memory && !a->freed && (a->device < 0) == pinned)
        return a;
    emu_report("MEMORY", "%s of %p, which is no live allocation of that kind", what, memory);
    return NULL;
}

/* As the real one, waits for the device. */
static cudaError_t release(void *memory, const char *what, bool pinned)
{
    if (!memory)
        return cudaSuccess;
    if (emu_capture_forbids_calls())
        return emu_error(cudaErrorStreamCaptureUnsupported);
    cudaDeviceSynchronize();
    emu_lock();
    emu_alloc *a = live(memory, what, pinned);
    if (a)
        emu_alloc_drop(a);
    emu_unlock();
    return a ? cudaSuccess : emu_error(cudaErrorInvalidValue);
}

cudaError_t cudaFree(void *memory)
{
    EMU_ENTER();
    return release(memory, "cudaFree", false);
}

cudaError_t cudaFreeHost(void *memory)
{
    EMU_ENTER();
    return release(memory, "cudaFreeHost", true);
}

/* The race check counts it as a write of all of it. */
static bool run_free(emu_op *op)
{
    emu_lock();
    emu_race_finish(op);
    op->range_count = 0;
    emu_alloc *a = live((void *)(uintptr_t)op->arg[0], "cudaFreeAsync", false);
    if (a)
        emu_alloc_drop(a);
    emu_unlock();
    return true;
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    EMU_ENTER();
    emu_op *op = emu_op_new(stream, __func__, run_free);
    op->arg[0] = (uintptr_t)memory;
    emu_alloc *a = emu_find((uintptr_t)memory);
    if (a && !a->freed)
        emu_op_range(op, memory, a->size, true);
    emu_op_submit(op);
    return cudaSuccess;
}

static bool run_nothing(emu_op *op)
{
    (void)op;
    return true;
}

static bool run_fresh(emu_op *op)
{
    emu_lock();
    emu_race_finish(op); /* counts as a write, but leaves the memory uninitialised */
    op->range_count = 0;
    emu_alloc *a = emu_find((uintptr_t)op->arg[0]);
    if (a && !a->freed)
        memset(emu_arena.init + (a->mem - emu_arena.data) / 8, 0, a->size / 8 + 1);
    emu_unlock();
    return true;
}

cudaError_t cudaMallocAsync(void **ret_memory, size_t bytes, cudaStream_t stream)
{
    EMU_ENTER();
    cudaError_t error = allocate(ret_memory, bytes, emu_stream_device(stream));
    if (error)
        return error;
    emu_op *op = emu_op_new(stream, __func__, bytes ? run_fresh : run_nothing);
    op->arg[0] = (uintptr_t)*ret_memory;
    emu_op_range(op, *ret_memory, bytes, true);
    emu_op_submit(op);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *ret_free, size_t *ret_total)
{
    EMU_ENTER();
    *ret_total = emu_memory_limit();
    *ret_free = emu_memory_limit() - emu_memory_used(emu_device());
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *ret, const void *memory)
{
    EMU_ENTER();
    emu_alloc *a = emu_find((uintptr_t)memory);
    memset(ret, 0, sizeof *ret);
    ret->type = !a              ? cudaMemoryTypeUnregistered
                : a->device < 0 ? cudaMemoryTypeHost
                                : cudaMemoryTypeDevice;
    ret->device = a && a->device >= 0 ? a->device : emu_device();
    ret->devicePointer = a ? (void *)(uintptr_t)memory : NULL;
    ret->hostPointer = a && a->device < 0 ? (void *)(uintptr_t)memory : NULL;
    return cudaSuccess;
}

/* ---- copies ---- */

static bool run_copy(emu_op *op)
{
    const void *from = op->owned ? op->owned : emu_mem((void *)(uintptr_t)op->arg[1]);
    memmove(emu_mem((void *)(uintptr_t)op->arg[0]), from, op->arg[2]);
    return true;
}

typedef enum place { PAGEABLE, PINNED, DEVICE } place;

static place place_of(const void *p)
{
    emu_alloc *a = emu_find((uintptr_t)p);
    if (emu_is_device_address((uintptr_t)p))
        return DEVICE;
    return a ? PINNED : PAGEABLE;
}

static int kind_of(place to, place from)
{
    if (to == DEVICE)
        return from == DEVICE ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice;
    return from == DEVICE ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
}

/* Pageable sources are staged at the call; copies to pageable memory are waited for, as in
 * reality. */
static cudaError_t copy(void *to, const void *from, size_t bytes, int kind, cudaStream_t stream,
                        bool wait)
{
    static const char *const names[] = {"copy host to host", "copy host to device",
                                        "copy device to host", "copy device to device"};
    place target = place_of(to), source = place_of(from);
    int actual = kind_of(target, source);
    if (!bytes)
        return cudaSuccess;
    if (kind != cudaMemcpyDefault && kind != actual) {
        emu_report("MEMCPY", "kind %d was given, the pointers say %d (%s)", kind, actual,
                   names[actual]);
        return emu_error(cudaErrorInvalidValue);
    }
    struct CUgraph_st **capture = emu_stream_capture(stream);
    if (*capture && (target == PAGEABLE || source == PAGEABLE))
        return emu_error(emu_capture_refuse(*capture, "a copy of pageable memory"));
    emu_op *op = emu_op_new(stream, names[actual], run_copy);
    op->arg[0] = (uintptr_t)to;
    op->arg[1] = (uintptr_t)from;
    op->arg[2] = bytes;
    if (source == PAGEABLE) {
        op->owned = malloc(bytes);
        memcpy(op->owned, from, bytes);
    } else {
        emu_op_range(op, from, bytes, false);
    }
    if (target != PAGEABLE)
        emu_op_range(op, to, bytes, true);
    struct CUstream_st *on = op->stream;
    emu_op_submit(op);
    return wait || target == PAGEABLE ? emu_drain(on) : cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    EMU_ENTER();
    if (kind == cudaMemcpyDeviceToHost && emu_fault_at("cudaMemcpyAsync/out") == EMU_FAIL)
        return emu_error(cudaErrorUnknown);
    return copy(to, from, bytes, (int)kind, stream, false);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    EMU_ENTER();
    return copy(to, from, bytes, (int)kind, NULL, true);
}

static bool run_set(emu_op *op)
{
    memset(emu_mem((void *)(uintptr_t)op->arg[0]), (int)op->arg[1], op->arg[2]);
    return true;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    EMU_ENTER();
    if (!bytes)
        return cudaSuccess;
    emu_op *op = emu_op_new(stream, "memset", run_set);
    op->arg[0] = (uintptr_t)memory;
    op->arg[1] = (uint64_t)(unsigned)value;
    op->arg[2] = bytes;
    emu_op_range(op, memory, bytes, true);
    if (!op->range_count) {
        emu_op_free(op);
        return emu_error(cudaErrorInvalidValue);
    }
    emu_op_submit(op);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    return cudaMemsetAsync(memory, value, bytes, NULL);
}

static bool run_host(emu_op *op)
{
    ((cudaHostFn_t)(uintptr_t)op->arg[0])((void *)(uintptr_t)op->arg[1]);
    return true;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    EMU_ENTER();
    emu_op *op = emu_op_new(stream, "host function", run_host);
    op->arg[0] = (uintptr_t)function;
    op->arg[1] = (uintptr_t)data;
    emu_op_submit(op);
    return cudaSuccess;
}

/* ---- devices ---- */

/* REID_EMU_SM: 90 is compute capability 9.0. */
static int capability(void)
{
    return (int)emu_option("REID_EMU_SM", 90);
}

static void set_limits(struct cudaDeviceProp *p)
{
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->sharedMemPerBlock = 49152;
    p->sharedMemPerBlockOptin = 49152;
    p->sharedMemPerMultiprocessor = 102400;
    p->totalConstMem = 65536;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *ret, int device)
{
    EMU_ENTER();
    if (device < 0 || device >= emu_device_count())
        return emu_error(cudaErrorInvalidDevice);
    memset(ret, 0, sizeof *ret);
    snprintf(ret->name, sizeof ret->name, "Emulated GPU"); /* ranks compare it */
    for (int i = 0; i < 16; i++)
        ret->uuid.bytes[i] = (char)(i == 15 ? device : 0xe0 + i);
    ret->totalGlobalMem = emu_memory_limit();
    ret->major = capability() / 10;
    ret->minor = capability() % 10;
    ret->multiProcessorCount = 4;
    ret->pciBusID = device + 1;
    ret->asyncEngineCount = 2;
    ret->unifiedAddressing = 1;
    ret->memoryBusWidth = 5120;
    ret->l2CacheSize = 4 << 20;
    ret->concurrentKernels = 1;
    set_limits(ret);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *ret_value, enum cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error)
        return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *ret_value = p.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *ret_value = (int)p.sharedMemPerBlock;
        break;
    case cudaDevAttrWarpSize:
        *ret_value = p.warpSize;
        break;
    case cudaDevAttrMultiProcessorCount:
        *ret_value = p.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *ret_value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *ret_value = p.minor;
        break;
    case cudaDevAttrMaxGridDimX:
        *ret_value = p.maxGridSize[0];
        break;
    case cudaDevAttrClockRate:
        *ret_value = 1500000;
        break;
    case cudaDevAttrMemoryClockRate:
        *ret_value = 2000000;
        break;
    case cudaDevAttrL2CacheSize:
        *ret_value = p.l2CacheSize;
        break;
    default:
        emu_report("UNSUPPORTED", "device attribute %d", (int)attribute);
        return emu_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *ret_text, int length, int device)
{
    EMU_ENTER();
    snprintf(ret_text, (size_t)length, "0000:%02X:00.0", device + 1);
    return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags(unsigned flags)
{
    (void)flags;
    EMU_ENTER();
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void)
{
    EMU_ENTER();
    return cudaDeviceSynchronize();
}

cudaError_t cudaRuntimeGetVersion(int *ret_version)
{
    *ret_version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *ret_version)
{
    *ret_version = CUDART_VERSION;
    return cudaSuccess;
}

/* ---- errors ---- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return sticky ? sticky : error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return sticky ? sticky : last_error;
}

typedef struct error_row {
    cudaError_t error;
    const char *name, *text;
} error_row;

static const error_row error_rows[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

static const error_row *row_of(cudaError_t error)
{
    for (size_t i = 0; i < sizeof error_rows / sizeof *error_rows; i++)
        if (error_rows[i].error == error)
            return &error_rows[i];
    return &error_rows[sizeof error_rows / sizeof *error_rows - 1];
}

const char *cudaGetErrorName(cudaError_t error)
{
    return row_of(error)->name;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return row_of(error)->text;
}
