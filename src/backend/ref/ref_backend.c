#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref.h"
#include "backend/update.h"
#include "base/alloc.h"

static void ref_free(reid_backend *backend)
{
    reid_backend_fini(backend);
    free(backend);
}

static bool ref_supports(const reid_backend *backend, reid_dtype compute)
{
    return compute == REID_F32;
}

static const char *ref_version(const reid_backend *backend)
{
    return "ref 1";
}

static void *ref_alloc(reid_backend *backend, size_t bytes)
{
    return reid_alloc_aligned(bytes ? bytes : 1);
}

static void ref_release(reid_backend *backend, void *memory, size_t bytes)
{
    reid_free_aligned(memory, bytes ? bytes : 1);
}

static void ref_copy_in(reid_backend *backend, void *device, const void *host, size_t bytes)
{
    memcpy(device, host, bytes);
}

static void ref_copy_out(reid_backend *backend, void *host, const void *device, size_t bytes)
{
    memcpy(host, device, bytes);
}

static void ref_zero(reid_backend *backend, void *device, size_t bytes)
{
    memset(device, 0, bytes);
}

static const reid_layout *plain_layout(reid_backend *backend, const reid_shape *shape,
                                       reid_dtype dtype)
{
    reid_layout proto;
    memset(&proto, 0, sizeof proto);
    proto.shape = *shape;
    proto.dtype = dtype;
    proto.bytes = reid_shape_count(shape) * reid_dtype_size(dtype);
    snprintf(proto.text, sizeof proto.text, "plain");
    return reid_layout_intern(backend, &proto, sizeof proto);
}

static const reid_layout *ref_activation_layout(reid_backend *backend, reid_role role,
                                                const reid_shape *shape, reid_dtype dtype)
{
    return plain_layout(backend, shape, dtype);
}

static reid_status ref_param_layout(reid_backend *backend, const reid_op_desc *desc, int index,
                                    const reid_shape *shape, const reid_layout **ret_layout,
                                    reid_error *err)
{
    *ret_layout = plain_layout(backend, shape, REID_F32);
    return REID_OK;
}

static void ref_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                           void *device)
{
    memcpy(device, plain, layout->bytes);
}

static void ref_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                         float *ret_plain)
{
    memcpy(ret_plain, device, layout->bytes);
}

static void ref_accumulate(reid_backend *backend, const reid_layout *layout, void *sum,
                           const void *addend)
{
    float *a = sum;
    const float *b = addend;
    for (size_t i = 0; i < layout->bytes / sizeof(float); i++)
        a[i] += b[i];
}

static void ref_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
                     size_t range_count, float *value, const float *grad, float *m, float *v,
                     float *max_v)
{
    reid_adam_constants c = reid_adam_prepare(args);
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        for (size_t i = r->offset; i < r->offset + r->size; i++)
            value[i] =
                reid_adam_element(&c, value[i], grad[i], m + i, v + i, max_v ? max_v + i : NULL);
}

static void ref_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
                    size_t range_count, float *value, const float *grad, float *momentum_buffer)
{
    reid_sgd_constants c = reid_sgd_prepare(args);
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        for (size_t i = r->offset; i < r->offset + r->size; i++)
            value[i] = reid_sgd_element(&c, value[i], grad[i],
                                        momentum_buffer ? momentum_buffer + i : NULL);
}

static double ref_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                              const float *data)
{
    double sum = 0.0;
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        for (size_t i = r->offset; i < r->offset + r->size; i++)
            sum += (double)data[i] * data[i];
    return sum;
}

static void ref_scale(reid_backend *backend, const reid_range *ranges, size_t range_count,
                      float *data, float factor)
{
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        for (size_t i = r->offset; i < r->offset + r->size; i++)
            data[i] *= factor;
}

static void ref_images(reid_backend *backend, const reid_image_rule *rule,
                       const reid_layout *layout, const uint8_t *planes,
                       const reid_image_choice *choices, void *images)
{
    size_t plane = (size_t)rule->height * (size_t)rule->width;
    float *out = images;
    for (int64_t n = 0; n < layout->shape.dim[0]; n++)
        for (int c = 0; c < REID_IMAGE_CHANNELS; c++, planes += plane)
            for (int y = 0; y < rule->height; y++)
                for (int x = 0; x < rule->width; x++) {
                    reid_image_source from = reid_image_find(rule, &choices[n], y, x);
                    *out++ = reid_image_element(rule, from, planes, c);
                }
}

void reid_ref_op_free(reid_op *op)
{
    free(op);
}

static void (*const setups[REID_OP_KINDS])(reid_op *op) = {
    [REID_OP_CONV2D] = reid_ref_conv_setup,
    [REID_OP_BATCH_NORM] = reid_ref_norm_setup,
    [REID_OP_RELU] = reid_ref_relu_setup,
    [REID_OP_ADD] = reid_ref_add_setup,
    [REID_OP_MAX_POOL] = reid_ref_max_pool_setup,
    [REID_OP_GLOBAL_AVG_POOL] = reid_ref_avg_pool_setup,
    [REID_OP_LINEAR] = reid_ref_linear_setup,
    [REID_OP_CROSS_ENTROPY] = reid_ref_cross_entropy_setup,
    [REID_OP_TRIPLET] = reid_ref_triplet_setup,
    [REID_OP_ACCURACY] = reid_ref_accuracy_setup,
};

static reid_status ref_op_new(reid_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                              reid_error *err)
{
    REID_ASSERT(desc->compute == REID_F32);
    reid_op *op = reid_xcalloc(1, sizeof *op);
    op->backend = backend;
    op->desc = *desc;
    op->grad_parts = 1;
    setups[desc->kind](op);
    *ret_op = op;
    return REID_OK;
}

static const reid_backend_impl ref_impl = {
    .abi = REID_BACKEND_ABI,
    .name = "ref",
    .host_memory = true,
    .folds_norm = true,
    .free = ref_free,
    .supports = ref_supports,
    .version = ref_version,
    .alloc = ref_alloc,
    .release = ref_release,
    .copy_in = ref_copy_in,
    .copy_out = ref_copy_out,
    .zero = ref_zero,
    .activation_layout = ref_activation_layout,
    .param_layout = ref_param_layout,
    .from_plain = ref_from_plain,
    .to_plain = ref_to_plain,
    .op_new = ref_op_new,
    .accumulate = ref_accumulate,
    .adam = ref_adam,
    .sgd = ref_sgd,
    .sum_squares = ref_sum_squares,
    .power_sum = reid_ref_power_sum,
    .clamp = reid_ref_clamp,
    .scale = ref_scale,
    .images = ref_images,
};

reid_status reid_ref_backend_open(int threads, reid_backend **ret_backend, reid_error *err)
{
    reid_backend *backend = reid_xcalloc(1, sizeof *backend);
    backend->impl = &ref_impl;
    backend->threads = 1;
    *ret_backend = backend;
    return REID_OK;
}
