/* Arithmetic of one element, written once for C and CUDA.
 *
 * Everything is float, in the order of operations of PyTorch 1.13's CPU kernels, so that results
 * agree to rounding.
 */
#ifndef REID_BACKEND_ELEMENT_H
#define REID_BACKEND_ELEMENT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __CUDACC__
#define REID_ELEMENT static __host__ __device__ __forceinline__
#else
#define REID_ELEMENT static inline __attribute__((always_inline))
#endif

/* A part of flat buffers, in numbers. */
typedef struct reid_range {
    size_t offset, size;
} reid_range;

/* Constants of one Adam step, computed once per call in double (reid_adam_prepare). */
typedef struct reid_adam_constants {
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float minus_step_size, sqrt_bias_correction2, eps, weight_decay, keep, grad_factor;
} reid_adam_constants;

/* g: gradient; m, v: running averages; max_v NULL or AMSGrad's maximum. Returns the new value. */
REID_ELEMENT float reid_adam_element(const reid_adam_constants *c, float value, float g, float *m,
                                     float *v, float *max_v)
{
    value = value * c->keep;
    g = g * c->grad_factor + c->weight_decay * value;
    float m1 = *m * c->beta1 + c->one_minus_beta1 * g;
    float v1 = *v * c->beta2 + c->one_minus_beta2 * g * g;
    *m = m1;
    *v = v1;
    float second = v1;
    if (max_v) {
        second = *max_v > v1 ? *max_v : v1;
        *max_v = second;
    }
    float denominator = sqrtf(second) / c->sqrt_bias_correction2 + c->eps;
    return value + c->minus_step_size * m1 / denominator;
}

typedef struct reid_sgd_constants {
    float lr, momentum, one_minus_dampening, weight_decay, grad_factor;
    bool nesterov, first;
} reid_sgd_constants;

/* b: momentum buffer or NULL. Returns the new value. */
REID_ELEMENT float reid_sgd_element(const reid_sgd_constants *c, float value, float g, float *b)
{
    g = g * c->grad_factor + c->weight_decay * value;
    if (b) {
        float next = c->first ? g : *b * c->momentum + c->one_minus_dampening * g;
        *b = next;
        g = c->nesterov ? g + c->momentum * next : next;
    }
    return value - c->lr * g;
}

/* NaN stays NaN, so that a broken network shows in its loss. */
REID_ELEMENT float reid_relu_element(float x)
{
    return x < 0.0f ? 0.0f : x;
}

/* Gradient through a ReLU whose output was y. */
REID_ELEMENT float reid_relu_grad_element(float grad, float y)
{
    return y <= 0.0f ? 0.0f : grad;
}

/* As torch.clamp to [-limit, limit]: in this order a NaN stays. */
REID_ELEMENT float reid_clamp_element(float x, float limit)
{
    float value = x > limit ? limit : x;
    return value < -limit ? -limit : value;
}

/* Normalisation with the affine map: (x - mean)·(γ/σ) + β; scale = γ/σ. Backward recomputes ReLU
 * masks with it. */
REID_ELEMENT float reid_norm_element(float x, float mean, float scale, float bias)
{
    return (x - mean) * scale + bias;
}

/* dx of batch norm: scale·(dy - mean(dy) - (x - mean)·k), k = Σ dy·(x-mean) / (M·σ²). */
REID_ELEMENT float reid_norm_grad_element(float dy, float x, float mean, float scale, float mean_dy,
                                          float k)
{
    return scale * (dy - mean_dy - (x - mean) * k);
}

#endif
