#include "train/device.h"

#include <stdlib.h>
#include <string.h>

#include "backend/module.h"
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/flight.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/numa.h"
#include "comm/nccl.h"

static bool wants_cuda(const reid_config *config)
{
    return strcmp(reid_config_string(config, "MODEL.BACKEND"), "cuda") == 0;
}

/* ---- which device ---- */

static bool one_gpu_is_visible(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible && *visible && !strchr(visible, ',');
}

/* To the cores and the memory beside the GPU, before the driver takes any. A machine with one node
 * needs none of it, and without it a training is only slower. Returns how many cores are left, 0:
 * as many as before. */
static int stay_beside(const reid_session *session, int index)
{
    const reid_module *module = NULL;
    reid_error err = {0};
    char address[32] = "";
    union { /* POSIX promises this conversion, ISO C does not */
        void *object;
        reid_cuda_pci_address_fn *function;
    } ask = {NULL};
    int cores = 0;
    bool changed = false;
    if (!reid_config_bool(session->config, "MODEL.CUDA.NUMA") ||
        reid_module_load("cuda", &module, NULL) != REID_OK)
        return 0;
    ask.object = module->symbol("reid_cuda_pci_address");
    if (!ask.object || ask.function(index, address, NULL) != REID_OK)
        return 0; /* opening the GPU says why */
    int node = reid_numa_of_pci(address);
    if (node == REID_NUMA_UNKNOWN)
        return 0;
    if (reid_numa_bind(node, &cores, &changed, &err) != REID_OK) {
        reid_log_warn("GPU %s is at NUMA node %d, and this rank is not: %s", address, node,
                      err.text);
        return 0;
    }
    if (changed)
        reid_log_info("this rank stays on the %d core%s of NUMA node %d, beside its GPU %s", cores,
                      cores == 1 ? "" : "s", node, address);
    return cores;
}

reid_status reid_session_open_backend(reid_session *session, int threads, reid_error *err)
{
    const char *name = reid_config_string(session->config, "MODEL.BACKEND");
    const reid_comm *comm = session->comm;
    if (!wants_cuda(session->config))
        return reid_backend_open(name, threads, &session->backend, err);
    int index = one_gpu_is_visible() ? 0 : comm->local_rank;
    int cores = stay_beside(session, index);
    threads = cores > 0 ? REID_MIN(threads, cores) : threads;
    REID_AUTOFREE char *device =
        reid_xasprintf("%s:%d%s%s", name, index,
                       reid_config_bool(session->config, "MODEL.CUDA.TF32") ? "+tf32" : "",
                       reid_config_bool(session->config, "MODEL.CUDA.GRAPHS") ? "" : "+eager");
    reid_status status = reid_backend_open(device, threads, &session->backend, err);
    if (status == REID_ERR_NOT_FOUND) /* fewer GPUs than ranks */
        return reid_error_prefix(err,
                                 "rank %d is number %d of %d ranks on this node, and each needs a "
                                 "GPU of its own",
                                 comm->rank, comm->local_rank + 1, comm->local_size);
    return status;
}

/* ---- its communicator ---- */

static reid_comm_compression compression_of(const reid_config *config)
{
    const char *name = reid_config_string(config, "COMM.COMPRESSION");
    return strcmp(name, "bf16") == 0   ? REID_COMM_COMPRESSION_BF16
           : strcmp(name, "fp16") == 0 ? REID_COMM_COMPRESSION_FP16
                                       : REID_COMM_COMPRESSION_NONE;
}

reid_status reid_session_check_compression(const reid_config *config, reid_error *err)
{
    if (compression_of(config) == REID_COMM_COMPRESSION_NONE || wants_cuda(config))
        return REID_OK;
    return reid_fail(err, REID_ERR_INVALID,
                     "COMM.COMPRESSION %s: gradients are compressed between GPUs only, and "
                     "MODEL.BACKEND is %s; set it to none",
                     reid_config_string(config, "COMM.COMPRESSION"),
                     reid_config_string(config, "MODEL.BACKEND"));
}

/* Upper bound of a bucket: it ends with the parameter that fills it. */
static size_t largest_bucket(const reid_session *session)
{
    const reid_params *params = session->params;
    size_t largest = 0;
    for (size_t i = 0; i < params->count; i++)
        largest = REID_MAX(largest, params->items[i].size);
    size_t bucket_mb = (size_t)REID_MAX(reid_config_int(session->config, "COMM.BUCKET_MB"),
                                        reid_config_int(session->config, "COMM.FIRST_BUCKET_MB"));
    return REID_MIN((bucket_mb << 20) + largest * sizeof(float), params->trainable * sizeof(float));
}

/* The stepping thread hangs in the device's driver: these are the last words of this rank. */
static void device_failed(void *user, const reid_error *why)
{
    reid_session *session = user;
    reid_log_error("%s", why->text);
    reid_job_write_failure(&session->env, session->comm->rank, reid_link_phase_name(session->phase),
                           why);
    reid_comm_abort(session->comm, 1);
}

reid_status reid_session_open_device_comm(reid_session *session, reid_error *err)
{
    const reid_module *module = NULL;
    if (session->comm->size == 1 && compression_of(session->config) != REID_COMM_COMPRESSION_NONE)
        reid_log_warn("COMM.COMPRESSION %s has no effect: one rank sends nothing",
                      reid_config_string(session->config, "COMM.COMPRESSION"));
    if (session->comm->size == 1 || reid_backend_is_host(session->backend))
        return REID_OK;
    REID_TRY(reid_module_load(reid_backend_name(session->backend), &module, err));
    union { /* POSIX promises this conversion, ISO C does not */
        void *object;
        reid_nccl_comm_new_fn *function;
    } make = {module->symbol("reid_nccl_comm_new")};
    if (!make.object)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "backend %s was built without NCCL: it trains on one GPU only",
                         reid_backend_name(session->backend));
    REID_AUTOFREE char *path =
        session->flight_dir
            ? reid_xasprintf("%s/rank-%d.nccl", session->flight_dir, session->comm->rank)
            : NULL;
    const reid_nccl_options options = {
        .compression = compression_of(session->config),
        .max_bytes = largest_bucket(session),
        .flight_path = path,
        .failed = device_failed,
        .user = session,
    };
    REID_TRY(make.function(session->backend, session->comm, &options, &session->device_comm, err));
    reid_log_info("gradients go over %s%s%s", reid_comm_library(session->device_comm),
                  options.compression ? " as " : "",
                  options.compression ? reid_config_string(session->config, "COMM.COMPRESSION")
                                      : "");
    return REID_OK;
}

reid_comm *reid_session_gradient_comm(const reid_session *session)
{
    return session->device_comm ? session->device_comm : session->comm;
}

/* ---- waits ---- */

reid_status reid_session_settle(reid_session *session, reid_error *err)
{
    if (reid_backend_is_host(session->backend))
        return REID_OK;
    reid_backend_wait(session->backend);
    /* First: an aborted collective shows in the device's state, too. */
    if (session->device_comm)
        REID_TRY(reid_comm_check(session->device_comm, err));
    return reid_backend_status(session->backend, err);
}

reid_status reid_session_compare_ranks(reid_session *session, reid_error *err)
{
    const reid_params *params = session->params;
    size_t bytes = params->total * sizeof(float);
    REID_TRY(reid_session_settle(session, err));
    if (session->comm->size == 1)
        return REID_OK;
    float *copy = NULL;
    if (!reid_backend_is_host(session->backend)) {
        copy = reid_alloc(bytes, 1);
        if (copy == NULL)
            return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu bytes of parameters",
                             bytes);
        reid_backend_copy_out(session->backend, copy, params->value, bytes);
    }
    uint64_t hash = reid_hash64(copy ? copy : params->value, bytes, 0);
    free(copy);
    REID_TRY(reid_backend_status(session->backend, err));
    return reid_comm_check_same(session->comm, "the trained network", hash, err);
}
