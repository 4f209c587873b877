/* A backend that is a shared object of its own, opened when a job asks for it, so that hosts
 * without its libraries lose nothing.
 *
 * libreid-NAME.so exports one symbol, reid_module_entry, which gives a reid_module. It is looked
 * for in the folder of $REID_MODULE_DIR if that is set, else in ../lib beside the program's folder.
 * A module is never closed. "cuda" is NVIDIA GPUs (src/backend/cuda): cuDNN, own kernels, NCCL.
 */
#ifndef REID_BACKEND_MODULE_H
#define REID_BACKEND_MODULE_H

#include "backend/backend.h"

/* Of everything a module and the program share: this header, backend/op.h, comm/comm_impl.h. */
#define REID_MODULE_ABI 1u

typedef struct reid_module {
    uint32_t abi;
    const char *name; /* "cuda" */
    /* `device` is what follows the colon of a backend's name, or "": "cuda", "cuda:2" (an index
     * among the visible GPUs), "cuda:GPU-<uuid>", "cuda:sm_90" (a GPU that is not there: plans can
     * be made, nothing can be run); "+tf32" behind it: f32 products may round their factors to
     * tf32; "+eager": no CUDA graphs. */
    reid_status (*open)(const char *device, int threads, reid_backend **ret_backend,
                        reid_error *err);
    /* Other functions by name, NULL when unknown; each is declared where it is used
     * ("reid_nccl_comm_new" in comm/nccl.h). */
    void *(*symbol)(const char *name);
} reid_module;

/* Symbol "reid_cuda_pci_address": the PCI address ("0000:3B:00.0") of a GPU by its index among the
 * visible ones, before it is opened. */
typedef reid_status reid_cuda_pci_address_fn(int index, char ret_address[32], reid_error *err);

/* Symbol "reid_cuda_gpu_count": how many GPUs are visible; none is opened. */
typedef int reid_cuda_gpu_count_fn(void);

#define REID_MODULE_ENTRY "reid_module_entry"
typedef const reid_module *reid_module_entry_fn(void);

/* UNSUPPORTED with one sentence: no such file, a library it needs is missing, another ABI. The
 * result lives as long as the process. */
reid_status reid_module_load(const char *name, const reid_module **ret_module, reid_error *err);

#endif
