#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/alloc.h"

static void backend_free(reid_backend *base)
{
    cpu_backend *backend = (cpu_backend *)base;
    if (backend->attr)
        dnnl_primitive_attr_destroy(backend->attr);
    if (backend->stream)
        dnnl_stream_destroy(backend->stream);
    if (backend->engine)
        dnnl_engine_destroy(backend->engine);
    cpu_populate_fini(&backend->populate);
    reid_backend_fini(base);
    free(backend);
}

static bool backend_supports(const reid_backend *backend, reid_dtype compute)
{
    return compute == REID_F32 || (compute == REID_BF16 && ((const cpu_backend *)backend)->bf16);
}

static const char *backend_version(const reid_backend *base)
{
    return ((const cpu_backend *)base)->version;
}

static void *backend_alloc(reid_backend *backend, size_t bytes)
{
    void *memory = reid_alloc_aligned(bytes ? bytes : 1);
    cpu_populate_add(&((cpu_backend *)backend)->populate, memory, bytes);
    return memory;
}

static void backend_release(reid_backend *backend, void *memory, size_t bytes)
{
    cpu_populate_forget(&((cpu_backend *)backend)->populate, memory);
    reid_free_aligned(memory, bytes ? bytes : 1);
}

static void backend_copy_in(reid_backend *backend, void *device, const void *host, size_t bytes)
{
    memcpy(device, host, bytes);
}

static void backend_copy_out(reid_backend *backend, void *host, const void *device, size_t bytes)
{
    memcpy(host, device, bytes);
}

static void backend_zero(reid_backend *backend, void *device, size_t bytes)
{
    memset(device, 0, bytes);
}

/* The thread count is a setting of the calling thread in OpenMP. */
static void backend_begin(reid_backend *backend)
{
    omp_set_num_threads(backend->threads);
}

static reid_status param_layout(reid_backend *base, const reid_op_desc *desc, int index,
                                const reid_shape *shape, const reid_layout **ret_layout,
                                reid_error *err)
{
    cpu_backend *backend = (cpu_backend *)base;
    if (desc->kind == REID_OP_CONV2D && index == 0)
        return cpu_conv_weight_layout(backend, desc, ret_layout, err);
    *ret_layout = cpu_plain_layout(backend, shape, REID_F32);
    return REID_OK;
}

static bool is_rows(const reid_op *op)
{
    return op->desc.input[0]->shape.rank == 2;
}

static void setup(reid_op *op)
{
    switch (op->desc.kind) {
    case REID_OP_BATCH_NORM:
        (is_rows(op) ? cpu_norm_rows_setup : cpu_norm_setup)(op);
        break;
    case REID_OP_RELU:
        cpu_relu_setup(op);
        break;
    case REID_OP_ADD:
        cpu_add_setup(op);
        break;
    case REID_OP_MAX_POOL:
        cpu_max_pool_setup(op);
        break;
    case REID_OP_GLOBAL_AVG_POOL:
        cpu_avg_pool_setup(op);
        break;
    case REID_OP_CROSS_ENTROPY:
        reid_ref_cross_entropy_setup(op);
        break;
    case REID_OP_TRIPLET:
        reid_ref_triplet_setup(op);
        break;
    case REID_OP_ACCURACY:
        reid_ref_accuracy_setup(op);
        break;
    default:
        REID_ASSERT(!"an operation with a constructor of its own");
    }
}

static reid_status op_new(reid_backend *base, const reid_op_desc *desc, reid_op **ret_op,
                          reid_error *err)
{
    cpu_backend *backend = (cpu_backend *)base;
    if (desc->kind == REID_OP_CONV2D)
        return cpu_conv_new(backend, desc, ret_op, err);
    if (desc->kind == REID_OP_LINEAR)
        return cpu_linear_new(backend, desc, ret_op, err);
    reid_op *op = reid_xcalloc(1, sizeof *op);
    op->backend = base;
    op->desc = *desc;
    op->grad_parts = 1;
    setup(op);
    *ret_op = op;
    return REID_OK;
}

static const reid_backend_impl cpu_impl = {
    .abi = REID_BACKEND_ABI,
    .name = "cpu",
    .host_memory = true,
    .free = backend_free,
    .supports = backend_supports,
    .version = backend_version,
    .alloc = backend_alloc,
    .release = backend_release,
    .copy_in = backend_copy_in,
    .copy_out = backend_copy_out,
    .zero = backend_zero,
    .begin = backend_begin,
    .activation_layout = cpu_activation_layout,
    .param_layout = param_layout,
    .from_plain = cpu_from_plain,
    .to_plain = cpu_to_plain,
    .op_new = op_new,
    .tune = cpu_conv_tune,
    .accumulate = cpu_accumulate,
    .adam = cpu_adam,
    .sgd = cpu_sgd,
    .sum_squares = cpu_sum_squares,
    .power_sum = reid_ref_power_sum,
    .clamp = reid_ref_clamp,
    .scale = cpu_scale,
};

static reid_status start(cpu_backend *backend, reid_error *err)
{
    backend_begin(&backend->base);
    DNNL_TRY(dnnl_engine_create(&backend->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&backend->stream, backend->engine, dnnl_stream_default_flags));
    DNNL_TRY(dnnl_primitive_attr_create(&backend->attr));
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(backend->attr, dnnl_scratchpad_mode_user));
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    backend->block = (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? 16 : 8;
    backend->avx2 = (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2;
    backend->bf16 = (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    const dnnl_version_t *v = dnnl_version();
    snprintf(backend->version, sizeof backend->version, "oneDNN %d.%d.%d isa 0x%x", v->major,
             v->minor, v->patch, isa);
    return REID_OK;
}

reid_status reid_cpu_backend_open(int threads, reid_backend **ret_backend, reid_error *err)
{
    cpu_backend *backend = reid_xcalloc(1, sizeof *backend);
    backend->base.impl = &cpu_impl;
    backend->base.threads = threads;
    cpu_populate_init(&backend->populate);
    reid_status status = start(backend, err);
    if (status != REID_OK) {
        backend_free(&backend->base);
        return status;
    }
    *ret_backend = &backend->base;
    return REID_OK;
}
