/* The backend's table, its start and its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/dnn.h"
#include "backend/cuda/kernels.h"
#include "base/alloc.h"

reid_status cuda_check(reid_error *err, cudaError_t result, const char *what)
{
    if (result == cudaSuccess)
        return REID_OK;
    bool lost = result == cudaErrorDevicesUnavailable || result == cudaErrorECCUncorrectable ||
                result == cudaErrorNvlinkUncorrectable || result == cudaErrorNoDevice;
    return reid_fail(err,
                     result == cudaErrorMemoryAllocation ? REID_ERR_EXHAUSTED
                     : lost                              ? REID_ERR_UNAVAILABLE
                                                         : REID_ERR_INTERNAL,
                     "CUDA failed in %s: %s (%s)", what, cudaGetErrorString(result),
                     cudaGetErrorName(result));
}

reid_status cuda_dnn_check(reid_error *err, cudnnStatus_t result, const char *what)
{
    if (result == CUDNN_STATUS_SUCCESS)
        return REID_OK;
    char detail[400] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    return reid_fail(err, REID_ERR_INTERNAL, "cuDNN failed in %s: %s%s%s", what,
                     cudnnGetErrorString(result), detail[0] ? ": " : "", detail);
}

void cuda_note(cuda_backend *backend, cudaError_t result, const char *what)
{
    cuda_check(&backend->failed, result, what);
}

reid_status cuda_noted(cuda_backend *backend, reid_error *err)
{
    if (backend->failed.code == REID_OK)
        return REID_OK;
    return reid_fail(err, backend->failed.code, "%s", backend->failed.text);
}

/* A device that is merely full can be used on. */
static reid_status backend_status(reid_backend *base, reid_error *err)
{
    cuda_backend *backend = (cuda_backend *)base;
    reid_status status = cuda_noted(backend, err);
    if (status == REID_ERR_EXHAUSTED || status == REID_ERR_PRECONDITION)
        reid_error_clear(&backend->failed);
    return status;
}

void cuda_op_free(reid_op *op)
{
    free(op);
}

static void backend_free(reid_backend *base)
{
    cuda_backend *backend = (cuda_backend *)base;
    if (backend->stream)
        cudaStreamSynchronize(backend->stream);
    cuda_dnn_plans_free(backend);
    if (backend->properties)
        cudnnBackendDestroyDescriptor(backend->properties);
    if (backend->dnn)
        cudnnDestroy(backend->dnn);
    cuda_memory_fini(backend);
    if (backend->stream)
        cudaStreamDestroy(backend->stream);
    reid_backend_fini(base);
    free(backend);
}

static bool backend_supports(const reid_backend *backend, reid_dtype compute)
{
    return compute == REID_F32 || compute == REID_BF16 || compute == REID_F16;
}

static const char *backend_version(const reid_backend *base)
{
    return ((const cuda_backend *)base)->version;
}

/* The current device is a setting of the calling thread. */
static void backend_begin(reid_backend *base)
{
    cuda_backend *backend = (cuda_backend *)base;
    if (!cuda_is_planned(backend))
        cuda_note(backend, cudaSetDevice(backend->device), "choice of the GPU");
}

static reid_status param_layout(reid_backend *base, const reid_op_desc *desc, int index,
                                const reid_shape *shape, const reid_layout **ret_layout,
                                reid_error *err)
{
    cuda_kind kind = desc->kind == REID_OP_CONV2D && index == 0 ? CUDA_KRSC : CUDA_DENSE;
    *ret_layout = cuda_layout_new((cuda_backend *)base, kind, shape, REID_F32);
    return REID_OK;
}

static reid_status op_new(reid_backend *base, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err)
{
    static void (*const setups[REID_OP_KINDS])(reid_op * op) = {
        [REID_OP_BATCH_NORM] = cuda_norm_setup,
        [REID_OP_RELU] = cuda_relu_setup,
        [REID_OP_ADD] = cuda_add_setup,
        [REID_OP_MAX_POOL] = cuda_max_pool_setup,
        [REID_OP_GLOBAL_AVG_POOL] = cuda_avg_pool_setup,
        [REID_OP_CROSS_ENTROPY] = cuda_cross_entropy_setup,
        [REID_OP_TRIPLET] = cuda_triplet_setup,
        [REID_OP_ACCURACY] = cuda_accuracy_setup,
    };
    cuda_backend *backend = (cuda_backend *)base;
    if (desc->folded)
        return cuda_fold_new(backend, desc, ret_op, err);
    if (desc->kind == REID_OP_CONV2D)
        return cuda_conv_new(backend, desc, ret_op, err);
    if (desc->kind == REID_OP_LINEAR)
        return cuda_linear_new(backend, desc, ret_op, err);
    if (desc->kind == REID_OP_MAX_POOL && desc->attr.pool.kernel > REID_CUDA_POOL_KERNEL)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "a max_pool with windows of %dx%d: on GPUs they have at most %dx%d",
                         desc->attr.pool.kernel, desc->attr.pool.kernel, REID_CUDA_POOL_KERNEL,
                         REID_CUDA_POOL_KERNEL);
    reid_op *op = reid_xcalloc(1, sizeof *op);
    op->backend = base;
    op->desc = *desc;
    op->grad_parts = 1;
    setups[desc->kind](op);
    *ret_op = op;
    return REID_OK;
}

static const reid_backend_impl cuda_impl = {
    .abi = REID_BACKEND_ABI,
    .name = "cuda",
    .host_memory = false,
    .folds_norm = true,
    .free = backend_free,
    .supports = backend_supports,
    .version = backend_version,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .fetch_start = cuda_fetch_start,
    .fetch_wait = cuda_fetch_wait,
    .zero = cuda_zero,
    .wait = cuda_wait,
    .status = backend_status,
    .begin = backend_begin,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .record_run = cuda_record_run,
    .record_free = cuda_record_free,
    .activation_layout = cuda_activation_layout,
    .param_layout = param_layout,
    .from_plain = cuda_from_plain,
    .to_plain = cuda_to_plain,
    .op_new = op_new,
    .accumulate = cuda_accumulate,
    .adam = cuda_adam,
    .sgd = cuda_sgd,
    .sum_squares = cuda_sum_squares,
    .power_sum = cuda_power_sum,
    .clamp = cuda_clamp,
    .scale = cuda_scale,
    .images = cuda_images,
};

static reid_status start_planned(cuda_backend *backend, reid_error *err)
{
    char *json = cuda_device_json(&backend->gpu);
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &backend->properties);
    if (status == CUDNN_STATUS_SUCCESS)
        status =
            cudnnBackendSetAttribute(backend->properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                     CUDNN_TYPE_CHAR, (int64_t)strlen(json) + 1, json);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(backend->properties);
    free(json);
    return cuda_dnn_check(err, status, "the description of a GPU");
}

static reid_status start_device(cuda_backend *backend, reid_error *err)
{
    CUDA_TRY(cudaSetDevice(backend->device));
    CUDA_TRY(cudaStreamCreateWithFlags(&backend->stream, cudaStreamNonBlocking));
    REID_TRY(cuda_memory_init(backend, err));
    DNN_TRY(cudnnCreate(&backend->dnn));
    DNN_TRY(cudnnSetStream(backend->dnn, backend->stream));
    return REID_OK;
}

static void describe_version(cuda_backend *backend)
{
    int runtime = 0;
    size_t dnn = cudnnGetVersion();
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess)
        runtime = CUDART_VERSION;
    snprintf(backend->version, sizeof backend->version, "CUDA %d.%d cuDNN %zu.%zu.%zu sm_%d %s%s%s",
             runtime / 1000, runtime % 1000 / 10, dnn / 10000, dnn / 100 % 100, dnn % 100,
             backend->gpu.sm, backend->gpu.name, backend->tf32 ? " tf32" : "",
             cuda_is_planned(backend) ? " (planned)" : "");
}

/* What may follow the device: "+tf32", "+eager". */
static reid_status read_options(cuda_backend *backend, const char *device, const char *options,
                                reid_error *err)
{
    while (*options) {
        size_t length = 1 + strcspn(options + 1, "+");
        if (length == 5 && strncmp(options, "+tf32", length) == 0)
            backend->tf32 = true;
        else if (length == 6 && strncmp(options, "+eager", length) == 0)
            backend->eager = true;
        else
            return reid_fail(err, REID_ERR_INVALID,
                             "'cuda:%s': only +tf32 and +eager may follow the device", device);
        options += length;
    }
    return REID_OK;
}

reid_status cuda_backend_open(const char *device, int threads, reid_backend **ret_backend,
                              reid_error *err)
{
    size_t length = strcspn(device, "+");
    REID_AUTOFREE char *name = reid_xstrndup(device, length);
    cuda_backend *backend = reid_xcalloc(1, sizeof *backend);
    backend->base.impl = &cuda_impl;
    backend->base.threads = threads;
    reid_status status = read_options(backend, device, device + length, err);
    if (status == REID_OK)
        status = cuda_device_choose(name, &backend->device, &backend->gpu, err);
    if (status == REID_OK)
        status =
            cuda_is_planned(backend) ? start_planned(backend, err) : start_device(backend, err);
    if (status != REID_OK) {
        backend_free(&backend->base);
        return status;
    }
    describe_version(backend);
    *ret_backend = &backend->base;
    return REID_OK;
}
