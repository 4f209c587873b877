#include "checkpoint/safetensors.h"

#include "checkpoint/safetensors_impl.h"

static const struct {
    const char *name;
    size_t bytes;
} DTYPES[REID_SAFETENSORS_DTYPES] = {
    [REID_SAFETENSORS_F32] = {"F32", 4}, [REID_SAFETENSORS_BF16] = {"BF16", 2},
    [REID_SAFETENSORS_I32] = {"I32", 4}, [REID_SAFETENSORS_I64] = {"I64", 8},
    [REID_SAFETENSORS_U8] = {"U8", 1},
};

const char *reid_safetensors_dtype_name(reid_safetensors_dtype dtype)
{
    REID_ASSERT((unsigned)dtype < REID_SAFETENSORS_DTYPES);
    return DTYPES[dtype].name;
}

size_t reid_safetensors_dtype_bytes(reid_safetensors_dtype dtype)
{
    REID_ASSERT((unsigned)dtype < REID_SAFETENSORS_DTYPES);
    return DTYPES[dtype].bytes;
}

bool reid_safetensors_shape_bytes(reid_safetensors_dtype dtype, int rank, const int64_t *shape,
                                  size_t *ret_bytes)
{
    size_t bytes = reid_safetensors_dtype_bytes(dtype);
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes))
            return false;
    }
    *ret_bytes = bytes;
    return true;
}

void reid_safetensors_shape_text(reid_str *out, int rank, const int64_t *shape)
{
    reid_str_add_char(out, '[');
    for (int i = 0; i < rank; i++)
        reid_str_addf(out, "%s%lld", i ? "," : "", (long long)shape[i]);
    reid_str_add_char(out, ']');
}
