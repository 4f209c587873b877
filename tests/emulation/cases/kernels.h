/* Launchers of the kernels of kernels.cu. */
#ifndef REID_TESTS_EMULATION_KERNELS_H
#define REID_TESTS_EMULATION_KERNELS_H

#include <cuda_runtime_api.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* y += a·x */
cudaError_t case_axpy(cudaStream_t stream, size_t n, float a, const float *x, float *y);
/* Sum of x in two levels; partial has 8 places. */
cudaError_t case_sum(cudaStream_t stream, size_t n, const float *x, float *partial, float *sum);
/* The same by one block with dynamic shared memory. */
cudaError_t case_sum_tree(cudaStream_t stream, size_t n, const float *x, float *sum);
/* Pointers inside an argument. */
typedef struct case_list {
    float *data[4];
    size_t count[4];
} case_list;
cudaError_t case_scale_list(cudaStream_t stream, const case_list *list, float factor);
cudaError_t case_histogram(cudaStream_t stream, size_t n, const int *x, int *counts);
cudaError_t case_to_bf16(cudaStream_t stream, size_t n, const float *x, void *y);
cudaError_t case_vectors(cudaStream_t stream, size_t n, const float *x, float *y, size_t skew);
/* One of the faulty kernels; x has 64 floats. */
typedef enum case_fault {
    CASE_ONE_PAST,
    CASE_BEFORE,
    CASE_SHARED_RACE,
    CASE_SHARED_UNWRITTEN,
    CASE_SHARED_PAST,
    CASE_DIVERGENT_BARRIER,
    CASE_EXITED_BARRIER,
    CASE_GRID_RACE,
    CASE_SHUFFLE_MASK,
    CASE_SHUFFLE_EXITED,
    CASE_WARP_RACE,
    CASE_SHIFT,
    CASE_ADD_ONE,
} case_fault;
cudaError_t case_faulty(cudaStream_t stream, case_fault fault, float *x);
cudaError_t case_too_large(cudaStream_t stream, float *x);

#ifdef __cplusplus
}
#endif
#endif
