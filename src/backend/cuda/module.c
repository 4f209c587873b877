/* The one exported symbol. */
#include "backend/module.h"

#include <string.h>

#include "backend/cuda/cuda.h"

static reid_status pci_address(int index, char ret_address[32], reid_error *err)
{
    return cuda_check(err, cudaDeviceGetPCIBusId(ret_address, 32, index), "the address of the GPU");
}

static int gpu_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

static void *find_symbol(const char *name)
{
    /* ISO C has no cast from a function pointer to an object pointer; POSIX promises this one. */
    union {
        reid_cuda_pci_address_fn *function;
        void *object;
    } address = {pci_address};
    union {
        reid_cuda_gpu_count_fn *function;
        void *object;
    } count = {gpu_count};
    if (strcmp(name, "reid_cuda_pci_address") == 0)
        return address.object;
    return strcmp(name, "reid_cuda_gpu_count") == 0 ? count.object : reid_nccl_symbol(name);
}

__attribute__((visibility("default"))) reid_module_entry_fn reid_module_entry;

const reid_module *reid_module_entry(void)
{
    static const reid_module module = {
        .abi = REID_MODULE_ABI,
        .name = "cuda",
        .open = cuda_backend_open,
        .symbol = find_symbol,
    };
    return &module;
}
