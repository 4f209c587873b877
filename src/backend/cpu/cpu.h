/* Inside of the `cpu` backend: convolutions and linear layers by oneDNN, everything else by our own
 * kernels.
 *
 * Layouts: 4-D activations are blocked by 16 channels (8 without AVX-512), padding channels are
 * zero; images for a stem of at most three channels and all rows ([N,D]) are plain. Convolutions
 * are created with channel counts rounded up to the block, so that every shape gets a compiled
 * kernel; the padding of weights and their gradients stays zero. Parallel loops split work by
 * (image, channel block): results do not depend on the number of threads.
 */
#ifndef REID_BACKEND_CPU_CPU_H
#define REID_BACKEND_CPU_CPU_H

#include <dnnl.h>

#include "backend/cpu/cpu_populate.h"
#include "backend/op.h"
#include "backend/ref/ref.h"
#include "base/compiler.h"

typedef enum cpu_kind { CPU_PLAIN, CPU_BLOCKED, CPU_WEIGHT } cpu_kind;

typedef struct cpu_layout {
    reid_layout base;
    cpu_kind kind;
    dnnl_memory_desc_t md; /* CPU_WEIGHT: true dims, padded as oneDNN has them */
} cpu_layout;

typedef struct cpu_backend {
    reid_backend base;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr; /* scratchpad is ours */
    int block;                  /* channels per block: 16 or 8 */
    bool avx2, bf16;
    char version[96];
    cpu_populate populate;
} cpu_backend;

static inline cpu_backend *cpu_of(const reid_op *op)
{
    return (cpu_backend *)op->backend;
}

static inline const cpu_layout *cpu_layout_of(const reid_layout *layout)
{
    return (const cpu_layout *)layout;
}

/* Geometry of an activation. Blocked: planes of pixels·lanes numbers, n·blocks of them. */
typedef struct cpu_grid {
    int64_t n, c, h, w;
    int64_t blocks; /* channel blocks */
    int lanes;
    int64_t pixels; /* h·w */
    int64_t planes; /* n·blocks */
    int64_t plane;  /* numbers in a plane */
} cpu_grid;

cpu_grid cpu_grid_of(const cpu_backend *backend, const reid_layout *layout);

/* Returns REID_ERR_INTERNAL (EXHAUSTED when out of memory) with the call's name from the enclosing
 * function. */
reid_status cpu_dnnl_fail(dnnl_status_t status, const char *what, reid_error *err);
#define DNNL_TRY(call)                                                                             \
    do {                                                                                           \
        dnnl_status_t dnnl_try_status = (call);                                                    \
        if (dnnl_try_status != dnnl_success)                                                       \
            return cpu_dnnl_fail(dnnl_try_status, #call, err);                                     \
    } while (0)

/* Set-up of operations: fills op->impl and the answers. *_new allocate the op because theirs is
 * larger. */
reid_status cpu_conv_new(cpu_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                         reid_error *err);
/* Of an operation made by cpu_conv_new. */
bool cpu_conv_is_winograd(const reid_op *op, reid_op_pass pass);
/* Whether oneDNN's Winograd kernels could serve this convolution, and how many 4×4 tiles of
 * output use the same transformed weights. */
bool cpu_conv_suits_winograd(const cpu_backend *backend, const reid_op_desc *desc,
                             int64_t *ret_tiles);
/* cpu_conv_tune.c */
reid_status cpu_conv_tune(reid_backend *base, const reid_op_desc *desc,
                          reid_algorithm ret_algorithm[REID_OP_PASSES], reid_error *err);
reid_status cpu_linear_new(cpu_backend *backend, const reid_op_desc *desc, reid_op **ret_op,
                           reid_error *err);
void cpu_norm_setup(reid_op *op);
void cpu_norm_rows_setup(reid_op *op);
void cpu_relu_setup(reid_op *op);
void cpu_add_setup(reid_op *op);
void cpu_max_pool_setup(reid_op *op);
void cpu_avg_pool_setup(reid_op *op);

reid_status cpu_conv_weight_layout(cpu_backend *backend, const reid_op_desc *desc,
                                   const reid_layout **ret_layout, reid_error *err);
const reid_layout *cpu_plain_layout(cpu_backend *backend, const reid_shape *shape,
                                    reid_dtype dtype);

/* cpu_layout.c */
void cpu_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                    void *device);
void cpu_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                  float *ret_plain);
const reid_layout *cpu_activation_layout(reid_backend *backend, reid_role role,
                                         const reid_shape *shape, reid_dtype dtype);

/* cpu_update.c */
void cpu_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
              size_t range_count, float *value, const float *grad, float *m, float *v,
              float *max_v);
void cpu_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
             size_t range_count, float *value, const float *grad, float *momentum_buffer);
double cpu_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                       const float *data);
void cpu_scale(reid_backend *backend, const reid_range *ranges, size_t range_count, float *data,
               float factor);
void cpu_accumulate(reid_backend *backend, const reid_layout *layout, void *sum,
                    const void *addend);

/* Flat loops are cut into pieces of this many elements. */
#define CPU_PIECE ((int64_t)32768)

#endif
