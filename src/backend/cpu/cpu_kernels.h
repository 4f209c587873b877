/* Kernels over one plane (pixels × lanes numbers), one set for each element type and lane count.
 *
 * d0, d1: addends of the output's gradient; d1 may be NULL. mask tells how a fused ReLU is undone.
 * All sums are per lane, in a fixed order. */
#ifndef REID_BACKEND_CPU_KERNELS_H
#define REID_BACKEND_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"

typedef enum cpu_mask {
    CPU_MASK_NONE,
    CPU_MASK_FROM_INPUT, /* the sign of the output is computed again from x */
    CPU_MASK_FROM_OUTPUT /* y is read */
} cpu_mask;

/* One channel block of a normalisation: arrays of `lanes` floats. */
typedef struct cpu_norm_lanes {
    const float *mean, *scale, *bias; /* y = (x - mean)·scale + bias */
    const float *mean_dy, *slope;     /* backward */
} cpu_norm_lanes;

typedef struct cpu_norm_plane {
    const void *x, *residual, *y, *d0, *d1;
    void *out, *out_residual;
    int64_t pixels;
    bool relu;
    cpu_mask mask;
    cpu_norm_lanes lanes;
} cpu_norm_plane;

typedef struct cpu_pool_plane {
    const void *x, *d0, *d1;
    void *out;
    uint8_t *index; /* position in the window, for each output number; may be NULL in forward */
    int64_t h, w, out_h, out_w;
    int kernel, stride, padding;
} cpu_pool_plane;

typedef struct cpu_kernels {
    int lanes;
    /* mean and sum of squared differences from it, per lane */
    void (*norm_statistics)(const void *x, int64_t pixels, float *ret_mean, float *ret_m2);
    void (*norm_apply)(const cpu_norm_plane *p);
    /* Σ dy and Σ dy·(x - mean); writes the masked dy to out_residual when not NULL */
    void (*norm_sums)(const cpu_norm_plane *p, float *ret_sum, float *ret_dot);
    /* dx to out; with out_residual set, dy is read from there, already summed and masked */
    void (*norm_gradient)(const cpu_norm_plane *p);
    void (*max_pool)(const cpu_pool_plane *p);
    void (*max_pool_gradient)(const cpu_pool_plane *p);
    void (*average)(const void *x, int64_t pixels, float *ret_mean);
    void (*spread)(const float *value, int64_t pixels, void *out);
    /* flat, any count */
    void (*add)(const void *a, const void *b, void *out, int64_t count, bool relu);
    void (*relu)(const void *x, void *out, int64_t count);
    void (*masked_sum)(const void *d0, const void *d1, const void *y, void *out, int64_t count);
    void (*accumulate)(void *sum, const void *addend, int64_t count);
} cpu_kernels;

struct cpu_backend;

/* The set for a layout: by element type, channels in a block and instruction set. */
const cpu_kernels *cpu_kernels_for(const struct cpu_backend *backend, const reid_layout *layout);

extern const cpu_kernels cpu_kernels_f32x16, cpu_kernels_bf16x16; /* AVX-512 */
extern const cpu_kernels cpu_kernels_f32x8;                       /* AVX2 */
extern const cpu_kernels cpu_kernels_f32x8_base;                  /* any */

#endif
