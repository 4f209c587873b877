/* Layouts and their conversion from and to plain f32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/alloc.h"

const reid_layout *cuda_layout_new(cuda_backend *backend, cuda_kind kind, const reid_shape *shape,
                                   reid_dtype dtype)
{
    static const char *const names[] = {"dense", "nhwc", "krsc"};
    cuda_layout proto;
    memset(&proto, 0, sizeof proto);
    proto.base.shape = *shape;
    proto.base.dtype = dtype;
    proto.base.bytes = reid_shape_count(shape) * reid_dtype_size(dtype);
    proto.kind = kind;
    proto.stride = shape->rank > 1 ? shape->dim[1] : 1;
    snprintf(proto.base.text, sizeof proto.base.text, "%s %s", names[kind], reid_dtype_name(dtype));
    return reid_layout_intern(&backend->base, &proto.base, sizeof proto);
}

const reid_layout *cuda_activation_layout(reid_backend *backend, reid_role role,
                                          const reid_shape *shape, reid_dtype dtype)
{
    cuda_kind kind = shape->rank == 4 ? CUDA_NHWC : CUDA_DENSE;
    return cuda_layout_new((cuda_backend *)backend, kind, shape, dtype);
}

static void put(reid_dtype dtype, void *memory, size_t i, float value)
{
    if (dtype == REID_BF16)
        ((uint16_t *)memory)[i] = reid_f32_to_bf16(value);
    else
        ((float *)memory)[i] = value;
}

static float get(reid_dtype dtype, const void *memory, size_t i)
{
    return dtype == REID_BF16 ? reid_bf16_to_f32(((const uint16_t *)memory)[i])
                              : ((const float *)memory)[i];
}

/* Channels last or not: [A,B,H,W] plain is [A,H,W,B] on the device; dense is the same in both. */
typedef struct order {
    size_t outer, channels, pixels;
} order;

static order order_of(const reid_layout *layout)
{
    const int64_t *d = layout->shape.dim;
    if (cuda_kind_of(layout) == CUDA_DENSE)
        return (order){1, 1, reid_shape_count(&layout->shape)};
    return (order){(size_t)d[0], (size_t)d[1], (size_t)(d[2] * d[3])};
}

void cuda_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                     void *device)
{
    order o = order_of(layout);
    void *staged = reid_xmalloc(layout->bytes);
    for (size_t n = 0; n < o.outer; n++)
        for (size_t c = 0; c < o.channels; c++)
            for (size_t i = 0; i < o.pixels; i++)
                put(layout->dtype, staged, (n * o.pixels + i) * o.channels + c, *plain++);
    cuda_copy_in(backend, device, staged, layout->bytes);
    free(staged);
}

void cuda_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                   float *ret_plain)
{
    order o = order_of(layout);
    void *staged = reid_xmalloc(layout->bytes);
    cuda_copy_out(backend, staged, device, layout->bytes);
    for (size_t n = 0; n < o.outer; n++)
        for (size_t c = 0; c < o.channels; c++)
            for (size_t i = 0; i < o.pixels; i++)
                *ret_plain++ = get(layout->dtype, staged, (n * o.pixels + i) * o.channels + c);
    free(staged);
}
