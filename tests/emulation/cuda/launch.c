/* What nvcc's host code calls: registration of kernels, launches. */
#include "emu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KERNELS = 1024, ARGS = 64, SHARED_LIMIT = 48 * 1024 };

typedef struct registered {
    const void *host;
    char *name; /* mangled */
    emu_kernel *twin;
} registered;

static registered kernels[KERNELS];
static int kernel_count;
static _Thread_local struct {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
} pushed;

void **__cudaRegisterFatBinary(void *binary);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
char __cudaInitModule(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, uint3 *thread, uint3 *block, dim3 *block_dim, dim3 *grid_dim,
                            int *warp_size);
void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external,
                       size_t size, int constant, int global);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                     struct CUstream_st *stream);
cudaError_t __cudaPopCallConfiguration(dim3 *ret_grid, dim3 *ret_block, size_t *ret_shared,
                                       void *ret_stream);
cudaError_t __cudaGetKernel(cudaKernel_t *ret_kernel, const void *host);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared, cudaStream_t stream);

void **__cudaRegisterFatBinary(void *binary)
{
    static void *handle;
    (void)binary;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void **handle)
{
    (void)handle;
}

void __cudaUnregisterFatBinary(void **handle)
{
    (void)handle;
}

char __cudaInitModule(void **handle)
{
    (void)handle;
    return 1;
}

void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name,
                            int limit, uint3 *thread, uint3 *block, dim3 *block_dim, dim3 *grid_dim,
                            int *warp_size)
{
    (void)handle, (void)device, (void)limit, (void)thread, (void)block, (void)block_dim;
    (void)grid_dim, (void)warp_size;
    if (kernel_count == KERNELS) {
        fprintf(stderr, "EMU: more than %d kernels\n", KERNELS);
        abort();
    }
    kernels[kernel_count++] = (registered){host, strdup(name), NULL};
}

void __cudaRegisterVar(void **handle, char *host, char *device, const char *name, int external,
                       size_t size, int constant, int global)
{
    (void)handle, (void)host, (void)device, (void)external, (void)size, (void)global;
    if (!constant)
        emu_report("UNSUPPORTED", "the device variable %s", name);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                     struct CUstream_st *stream)
{
    pushed.grid = grid;
    pushed.block = block;
    pushed.shared = shared;
    pushed.stream = stream;
    return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3 *ret_grid, dim3 *ret_block, size_t *ret_shared,
                                       void *ret_stream)
{
    *ret_grid = pushed.grid;
    *ret_block = pushed.block;
    *ret_shared = pushed.shared;
    *(cudaStream_t *)ret_stream = pushed.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t *ret_kernel, const void *host)
{
    *ret_kernel = (cudaKernel_t)(uintptr_t)host;
    return cudaSuccess;
}

/* ---- launches ---- */

typedef struct launch {
    registered *kernel;
    dim3 grid, block;
    size_t shared;
    size_t bytes; /* of the whole struct */
    int count;
    void *args[ARGS]; /* in data */
    char data[];
} launch; /* its start and its arguments are aligned to 16 bytes, as malloc does */

static void *clone_launch(const void *owned)
{
    const launch *from = owned;
    launch *to = malloc(from->bytes);
    memcpy(to, from, from->bytes);
    for (int i = 0; i < from->count; i++)
        to->args[i] = (char *)to + ((char *)from->args[i] - (const char *)from);
    return to;
}

static bool run_launch(emu_op *op)
{
    launch *l = op->owned;
    if (!emu_kernel_run(l->kernel->twin, l->kernel->name, l->grid, l->block, l->shared, l->args))
        emu_break(cudaErrorIllegalAddress);
    return true;
}

static void load_twins(void)
{
    static bool loaded;
    const char *list = getenv("REID_EMU_TWINS");
    if (loaded || !list)
        return;
    loaded = true;
    char *copy = strdup(list), *rest = copy, *path;
    while ((path = strsep(&rest, ":")))
        if (*path && !dlopen(path, RTLD_NOW | RTLD_GLOBAL))
            fprintf(stderr, "EMU: %s\n", dlerror());
    free(copy);
}

static registered *find(const void *host)
{
    for (int i = 0; i < kernel_count; i++)
        if (kernels[i].host == host)
            return &kernels[i];
    return NULL;
}

static bool launchable(dim3 g, dim3 b, size_t shared)
{
    bool some = g.x && g.y && g.z && b.x && b.y && b.z;
    bool grid = g.x <= 2147483647u && g.y <= 65535 && g.z <= 65535;
    bool block = b.x <= 1024 && b.y <= 1024 && b.z <= 64 && b.x * b.y * b.z <= 1024;
    return some && grid && block && shared <= SHARED_LIMIT;
}

/* Words of the arguments that hold addresses of live memory become the twin's addresses. Any other
 * word may be padding: a wrong address is reported when a thread uses it. */
static void translate(char *bytes, unsigned size, emu_op *op)
{
    for (unsigned at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        uintptr_t v;
        memcpy(&v, bytes + at, sizeof v);
        emu_alloc *a = v >= EMU_PAGE ? emu_find(v) : NULL;
        if (!a || a->freed || (a->device >= 0 && a->device != emu_op_device(op)))
            continue;
        if (a->device < 0)
            emu_op_range(op, (void *)a->va, a->size, true); /* how much it touches is not known */
        v = (uintptr_t)a->mem + (v - a->va);
        memcpy(bytes + at, &v, sizeof v);
    }
}

static size_t rounded(unsigned size)
{
    return (size + 15u) & ~(size_t)15;
}

cudaError_t cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args, size_t shared,
                             cudaStream_t stream)
{
    EMU_ENTER();
    registered *k = find(host);
    if (!k)
        return emu_error(cudaErrorInvalidDeviceFunction);
    load_twins();
    k->twin = k->twin ? k->twin : emu_kernel_find(k->name);
    if (!k->twin) {
        emu_report("UNSUPPORTED", "kernel %s has no host twin", k->name);
        return emu_error(cudaErrorInvalidDeviceFunction);
    }
    if (!launchable(grid, block, shared)) {
        emu_report("LAUNCH", "%s: grid (%u,%u,%u) block (%u,%u,%u) shared %zu cannot be launched",
                   k->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared);
        return emu_error(cudaErrorInvalidConfiguration);
    }
    const unsigned *sizes;
    int count = emu_kernel_args(k->twin, &sizes);
    size_t total = 16;
    for (int i = 0; i < count; i++)
        total += rounded(sizes[i]);
    launch *l = calloc(1, sizeof *l + total);
    count = count < ARGS ? count : ARGS;
    *l = (launch){k, grid, block, shared, sizeof *l + total, count, {NULL}};
    emu_op *op = emu_op_new(stream, k->name, run_launch);
    op->owned = l;
    op->clone = clone_launch;
    char *at = (char *)(((uintptr_t)l->data + 15) & ~(uintptr_t)15);
    for (int i = 0; i < count; i++) {
        memcpy(at, args[i], sizes[i]);
        translate(at, sizes[i], op);
        l->args[i] = at;
        at += rounded(sizes[i]);
    }
    emu_op_submit(op);
    return cudaSuccess;
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **args,
                               size_t shared, cudaStream_t stream)
{
    return cudaLaunchKernel((const void *)kernel, grid, block, args, shared, stream);
}

cudaError_t cudaFuncSetAttribute(const void *host, enum cudaFuncAttribute attribute, int value)
{
    EMU_ENTER();
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > SHARED_LIMIT) {
        emu_report("UNSUPPORTED", "%d bytes of dynamic shared memory", value);
        return emu_error(cudaErrorInvalidValue);
    }
    return find(host) ? cudaSuccess : emu_error(cudaErrorInvalidDeviceFunction);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *ret_blocks, const void *host,
                                                          int threads, size_t shared)
{
    (void)host;
    EMU_ENTER();
    int by_threads = threads > 0 ? 2048 / threads : 0,
        by_shared = shared ? (int)(98304 / shared) : 32;
    *ret_blocks = by_threads < by_shared ? by_threads : by_shared;
    return cudaSuccess;
}
