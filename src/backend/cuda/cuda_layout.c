/* Layouts. */
#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda.h"

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
