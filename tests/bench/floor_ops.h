/* What the floor of a training step is made of: oneDNN primitives and plain loops on one machine's
 * best layouts, in two flat lists. Memory is allocated once, on huge pages, and never freed; every
 * failure ends the program. */
#ifndef BENCH_FLOOR_OPS_H
#define BENCH_FLOOR_OPS_H

#include <dnnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

typedef enum floor_part {
    FLOOR_CONV_FORWARD,
    FLOOR_CONV_DATA,
    FLOOR_CONV_WEIGHTS,
    FLOOR_NORM_FORWARD,
    FLOOR_NORM_BACKWARD,
    FLOOR_ADD_FORWARD,
    FLOOR_ADD_BACKWARD,
    FLOOR_POOL,
    FLOOR_REORDER,
    FLOOR_ADAM,
    FLOOR_PARTS
} floor_part;
extern const char *const floor_part_names[FLOOR_PARTS];

typedef struct floor_activation {
    dnnl_memory_desc_t md;
    void *data;
    int64_t channels, height, width;
    size_t count, bytes;
} floor_activation;

/* A primitive, or one of the loops when `primitive` is NULL. */
typedef struct floor_call {
    floor_part part;
    dnnl_primitive_t primitive;
    int arg_count;
    dnnl_exec_arg_t args[8];
    void *to;
    const void *a, *b, *mask;
    size_t count;
} floor_call;
typedef REID_VEC(floor_call) floor_list;

typedef struct floor_choice { /* measured once per shape and direction */
    int64_t key[7];
    bool winograd;
} floor_choice;

typedef struct floor_machine {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr;
    dnnl_data_type_t type;
    int64_t batch;
    bool direct;
    void *scratch;
    size_t scratch_bytes;
    void *wide[2]; /* float32 copies of bfloat16 tensors, for Winograd */
    size_t wide_bytes;
    size_t parameters;
    float *value, *m, *v, *grad; /* of the optimizer */
    uint16_t *value_bf16;
    floor_list forward, backward;
    REID_VEC(floor_choice) choices;
    int calls, winograd_calls; /* of convolutions */
    double seconds[FLOOR_PARTS];
} floor_machine;

typedef struct floor_conv {
    floor_activation source, target;
    int64_t kernel, stride, padding;
    dnnl_memory_desc_t wide_source, wide_target;           /* in float32 */
    dnnl_primitive_desc_t forward[2], data[2], weights[2]; /* direct, Winograd or NULL */
    int forward_chosen;
    void *weight[2], *weight_grad;
} floor_conv;

typedef struct floor_norm {
    floor_activation source, target;
    bool relu;
    dnnl_primitive_desc_t forward, backward;
    float *scale_shift, *scale_shift_grad, *mean, *variance;
    void *workspace;
} floor_norm;

typedef struct floor_pool {
    floor_activation source, target;
    dnnl_primitive_desc_t forward, backward;
    void *workspace;
} floor_pool;

/* First all layers are made (which sizes the scratch memory), then floor_prepare is called, then
 * calls are added in the order they run. */
void floor_open(floor_machine *f, int threads);
floor_activation floor_activation_new(floor_machine *f, int64_t channels, int64_t height,
                                      int64_t width, dnnl_format_tag_t tag);
floor_conv floor_conv_new(floor_machine *f, floor_activation source, int64_t channels,
                          int64_t kernel, int64_t stride, int64_t padding, bool first);
floor_norm floor_norm_new(floor_machine *f, floor_activation source, bool relu);
floor_pool floor_pool_new(floor_machine *f, floor_activation source);
void floor_prepare(floor_machine *f);
void *floor_alloc(size_t bytes);
void floor_fill(const floor_machine *f, void *data, size_t count, float range);

void floor_add_conv(floor_machine *f, floor_conv *conv);
/* source_grad NULL: only the weights' gradient. */
void floor_add_conv_backward(floor_machine *f, const floor_conv *conv, void *source_grad,
                             void *target_grad);
void floor_add_norm(floor_machine *f, const floor_norm *norm);
void floor_add_norm_backward(floor_machine *f, const floor_norm *norm, void *source_grad,
                             void *target_grad);
void floor_add_pool(floor_machine *f, const floor_pool *pool);
void floor_add_pool_backward(floor_machine *f, const floor_pool *pool, void *source_grad,
                             void *target_grad);
/* to = relu(a + b) */
void floor_add_sum(floor_machine *f, const floor_activation *to, const void *a, const void *b);
/* to = (a + b) · (mask > 0); b may be NULL */
void floor_add_masked(floor_machine *f, void *to, const void *a, const void *b,
                      const floor_activation *mask);
void floor_add_adam(floor_machine *f);

void floor_run(floor_machine *f, const floor_list *list); /* adds to f->seconds */

#endif
