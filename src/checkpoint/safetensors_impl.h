/* Shared by the writer and the reader of safetensors files. */
#ifndef REID_CHECKPOINT_SAFETENSORS_IMPL_H
#define REID_CHECKPOINT_SAFETENSORS_IMPL_H

#include <stdbool.h>

#include "base/str.h"
#include "checkpoint/safetensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian; a big-endian machine needs a conversion here"
#endif

#define REID_SAFETENSORS_METADATA "__metadata__"

/* False for a negative extent or a size beyond size_t. */
bool reid_safetensors_shape_bytes(reid_safetensors_dtype dtype, int rank, const int64_t *shape,
                                  size_t *ret_bytes);
/* "[64,3,7,7]" */
void reid_safetensors_shape_text(reid_str *out, int rank, const int64_t *shape);

#endif
