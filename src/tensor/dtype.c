#include "tensor/dtype.h"

#include "base/status.h"

size_t reid_dtype_size(reid_dtype dtype)
{
    switch (dtype) {
    case REID_F32:
    case REID_I32:
        return 4;
    case REID_BF16:
    case REID_F16:
        return 2;
    case REID_U8:
        return 1;
    }
    REID_ASSERT(!"known dtype");
    return 0;
}

const char *reid_dtype_name(reid_dtype dtype)
{
    switch (dtype) {
    case REID_F32:
        return "f32";
    case REID_BF16:
        return "bf16";
    case REID_I32:
        return "i32";
    case REID_U8:
        return "u8";
    case REID_F16:
        return "f16";
    }
    return "unknown";
}
