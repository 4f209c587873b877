/* What GPU types can do at most, from their makers' data sheets: one table, for people who size a
 * job and for bounds of time. None of it is measured here.
 *
 * Peaks are dense (without sparsity), per GPU. "Matrix" is what convolutions and products can reach
 * in a type (tensor cores, or the plain units for f32 without TF32), "vector" what all else can.
 * The efficiencies are assumptions, said to be so wherever they are used: that share of a peak is
 * reached by a good library (tests/bench/simulate/README.md holds them against published runs).
 */
#ifndef REID_GPU_SPEC_H
#define REID_GPU_SPEC_H

#include <stddef.h>

typedef struct reid_gpu_spec {
    const char *name;                                         /* "h100-sxm", as on a command line */
    const char *title;                                        /* "NVIDIA H100 SXM5 80 GB" */
    int sm;                                                   /* compute capability · 10 */
    double matrix_bf16, matrix_fp16, matrix_tf32, matrix_f32; /* FLOP/s */
    double vector_f32;
    double memory_bytes_per_s;
    double memory_bytes;
    double link_bytes_per_s; /* to the other GPUs of its node, one direction, before protocol */
    const char *source;
} reid_gpu_spec;

/* Shares of the peaks that are reckoned with, and costs of calls and links; the same for all types.
 */
typedef struct reid_gpu_assumptions {
    double matrix, memory, link, network; /* shares of the peaks */
    double call_s;                        /* launch and drain of a kernel */
    double overlap_slowdown;              /* backward is slower by that beside an all-reduce */
    double link_latency_s, link_tree_latency_s, network_latency_s, collective_s;
    double reserved_bytes; /* context, libraries, NCCL's buffers: not counted by a plan */
} reid_gpu_assumptions;

extern const reid_gpu_assumptions reid_gpu_assumed;

const reid_gpu_spec *reid_gpu_spec_at(size_t i);              /* NULL behind the last */
const reid_gpu_spec *reid_gpu_spec_by_name(const char *name); /* NULL: unknown */
/* The first of that compute capability; NULL: none is in the table. */
const reid_gpu_spec *reid_gpu_spec_by_sm(int sm);

#endif
