/* The one exported symbol. */
#include "backend/module.h"

#include "backend/cuda/cuda.h"

__attribute__((visibility("default"))) reid_module_entry_fn reid_module_entry;

const reid_module *reid_module_entry(void)
{
    static const reid_module module = {
        .abi = REID_MODULE_ABI,
        .name = "cuda",
        .open = cuda_backend_open,
        .symbol = reid_nccl_symbol,
    };
    return &module;
}
