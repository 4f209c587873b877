/* A device that computes: memory, copies, layouts, operations over flat ranges.
 *
 * Backends: "ref" (plain loops, the oracle of all tests), "cpu" (oneDNN) and "cuda" (a module).
 * Life: reid_backend_open → params, plans → reid_backend_free last. Operations of a network are
 * created through backend/op.h by plans only.
 *
 * Memory from reid_backend_alloc is the backend's ("device") memory. "ref" and "cpu"
 * compute on the host, so their pointers may be read directly (reid_backend_is_host); code that
 * wants to run on any backend copies. Work may be queued; reid_backend_wait ends it. Copies out
 * wait for what they read. Threads: one at a time per backend.
 */
#ifndef REID_BACKEND_BACKEND_H
#define REID_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/image.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

typedef struct reid_backend reid_backend;

/* How a tensor lies in memory. Made and owned by a backend, one object per distinct layout: compare
 * pointers. */
typedef struct reid_layout {
    reid_shape shape; /* plain shape */
    reid_dtype dtype;
    size_t bytes;  /* with padding */
    char text[64]; /* for people and hashes, such as "nChw16c" */
} reid_layout;

/* name: "ref", "cpu", "cuda" or "cuda:device" (backend/module.h; UNSUPPORTED where the module or
 * its libraries are missing); an unknown name is NOT_FOUND. threads: cores to compute with; 0 = as
 * OMP_NUM_THREADS or all cores. */
reid_status reid_backend_open(const char *name, int threads, reid_backend **ret_backend,
                              reid_error *err);
void reid_backend_free(reid_backend *backend);
const char *reid_backend_name(const reid_backend *backend);
/* Libraries and instruction set, such as "oneDNN 2.6.3 isa 0xe7". */
const char *reid_backend_version(const reid_backend *backend);
int reid_backend_threads(const reid_backend *backend);
bool reid_backend_is_host(const reid_backend *backend);
bool reid_backend_supports(const reid_backend *backend, reid_dtype compute);
/* Names of the backends that need no module, in a NULL-terminated table. */
const char *const *reid_backend_names(void);

/* Zeroed, aligned for the device; NULL on failure, then reid_backend_status says why. */
void *reid_backend_alloc(reid_backend *backend, size_t bytes);
void reid_backend_release(reid_backend *backend, void *memory, size_t bytes);
void reid_backend_copy_in(reid_backend *backend, void *device, const void *host, size_t bytes);
void reid_backend_copy_out(reid_backend *backend, void *host, const void *device, size_t bytes);
void reid_backend_zero(reid_backend *backend, void *device, size_t bytes);
void reid_backend_wait(reid_backend *backend);
/* The first failure of the calls here that have no status, work that was queued included; a failed
 * device stays failed, a failed alloc is told once. Ask after an alloc gave NULL, and after
 * waits. */
reid_status reid_backend_status(reid_backend *backend, reid_error *err);

/* Between plain f32 on the host and `layout` on the device (which may be another type); padding
 * becomes zero. */
void reid_backend_from_plain(reid_backend *backend, const reid_layout *layout, const float *plain,
                             void *device);
void reid_backend_to_plain(reid_backend *backend, const reid_layout *layout, const void *device,
                           float *ret_plain);

/* The rest works on flat buffers of floats: on the numbers of `ranges`, which lie on the host, are
 * disjoint, and count alike in all buffers of a call. One call is one sweep over memory; on a GPU,
 * one launch for all ranges of a parameter group.
 *
 * One Adam step (torch.optim.Adam, L2 coupled, single-tensor form of PyTorch 1.13): g =
 * grad_factor·grad + weight_decay·value;  m = β1·m + (1-β1)·g;  v = β2·v + (1-β2)·g² value -= (lr /
 * (1-β1^step)) · m / (√v / √(1-β2^step) + eps) max_v: AMSGrad's running maximum, or NULL. step
 * counts from 1. */
typedef struct reid_adam {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;
    bool decoupled;     /* AdamW: value *= 1 - lr·weight_decay first, and no L2 term */
    double grad_factor; /* of clipping and of a loss scale; 0 means 1 */
} reid_adam;
void reid_backend_adam(reid_backend *backend, const reid_adam *args, const reid_range *ranges,
                       size_t range_count, float *value, const float *grad, float *m, float *v,
                       float *max_v);

/* One SGD step (torch.optim.SGD): g = grad_factor·grad + weight_decay·value; b = momentum·b +
 * (1-dampening)·g (b = g when first); g = nesterov ? g + momentum·b : b; value -= lr·g.
 * momentum_buffer may be NULL when momentum is 0. */
typedef struct reid_sgd {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, first;
    double grad_factor; /* as Adam's */
} reid_sgd;
void reid_backend_sgd(reid_backend *backend, const reid_sgd *args, const reid_range *ranges,
                      size_t range_count, float *value, const float *grad, float *momentum_buffer);

/* In double, the same bits at any thread count; not finite exactly when one of the numbers is not
 * (squares of floats cannot overflow it). Waits. */
double reid_backend_sum_squares(reid_backend *backend, const reid_range *ranges, size_t range_count,
                                const float *data);
/* The norm of that order (> 0, INFINITY: the largest absolute value), likewise. */
double reid_backend_norm(reid_backend *backend, const reid_range *ranges, size_t range_count,
                         const float *data, double order);
/* Each number to the nearest in [-limit, limit]; NaN stays NaN. */
void reid_backend_clamp(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        float *data, double limit);
void reid_backend_scale(reid_backend *backend, const reid_range *ranges, size_t range_count,
                        float *data, double factor);

/* Whether images can be handed over as bytes: reid_backend_images is there. */
bool reid_backend_takes_bytes(const reid_backend *backend);
/* u8 images to a network's input: planes [N,3,H,W] and choices [N] in device memory → images in
 * `layout` of shape [N,3,H,W] (f32 or bf16). image.h says what is done; the choices must be such as
 * src/data draws. */
void reid_backend_images(reid_backend *backend, const reid_image_rule *rule,
                         const reid_layout *layout, const uint8_t *planes,
                         const reid_image_choice *choices, void *images);

#endif
