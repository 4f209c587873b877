/* The one exported symbol. */
#include "backend/module.h"

#include "backend/cuda/cuda.h"

static void *module_symbol(const char *name)
{
    return reid_nccl_symbol ? reid_nccl_symbol(name) : NULL;
}

__attribute__((visibility("default"))) reid_module_entry_fn reid_module_entry;

const reid_module *reid_module_entry(void)
{
    static const reid_module module = {
        .abi = REID_MODULE_ABI,
        .name = "cuda",
        .open = cuda_backend_open,
        .symbol = module_symbol,
    };
    return &module;
}
