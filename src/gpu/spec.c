#include "gpu/spec.h"

#include <string.h>

#define T 1e12
#define GB 1e9
#define GIB 1073741824.0

/* clang-format off */
static const reid_gpu_spec specs[] = {
    {.name = "a100-sxm-80gb", .title = "NVIDIA A100 SXM4 80 GB", .sm = 80,
     .matrix_bf16 = 312 * T, .matrix_fp16 = 312 * T, .matrix_tf32 = 156 * T, .matrix_f32 = 19.5 * T,
     .vector_f32 = 19.5 * T, .memory_bytes_per_s = 2039 * GB, .memory_bytes = 80 * GIB, .link_bytes_per_s = 300 * GB,
     .source = "NVIDIA A100 data sheet (NVLink 3: 600 GB/s in both directions)"},
    {.name = "a100-sxm-40gb", .title = "NVIDIA A100 SXM4 40 GB", .sm = 80,
     .matrix_bf16 = 312 * T, .matrix_fp16 = 312 * T, .matrix_tf32 = 156 * T, .matrix_f32 = 19.5 * T,
     .vector_f32 = 19.5 * T, .memory_bytes_per_s = 1555 * GB, .memory_bytes = 40 * GIB, .link_bytes_per_s = 300 * GB,
     .source = "NVIDIA A100 data sheet (NVLink 3: 600 GB/s in both directions)"},
    {.name = "h100-sxm", .title = "NVIDIA H100 SXM5 80 GB", .sm = 90,
     .matrix_bf16 = 989.4 * T, .matrix_fp16 = 989.4 * T, .matrix_tf32 = 494.7 * T, .matrix_f32 = 66.9 * T,
     .vector_f32 = 66.9 * T, .memory_bytes_per_s = 3350 * GB, .memory_bytes = 80 * GIB, .link_bytes_per_s = 450 * GB,
     .source = "NVIDIA H100 data sheet and architecture paper (NVLink 4: 900 GB/s in both directions)"},
    {.name = "h200-sxm", .title = "NVIDIA H200 SXM 141 GB", .sm = 90,
     .matrix_bf16 = 989.4 * T, .matrix_fp16 = 989.4 * T, .matrix_tf32 = 494.7 * T, .matrix_f32 = 66.9 * T,
     .vector_f32 = 66.9 * T, .memory_bytes_per_s = 4800 * GB, .memory_bytes = 141 * GB, .link_bytes_per_s = 450 * GB,
     .source = "NVIDIA H200 data sheet"},
    {.name = "b200-hgx", .title = "NVIDIA B200 180 GB (HGX)", .sm = 100,
     .matrix_bf16 = 2250 * T, .matrix_fp16 = 2250 * T, .matrix_tf32 = 1100 * T, .matrix_f32 = 75 * T,
     .vector_f32 = 75 * T, .memory_bytes_per_s = 7700 * GB, .memory_bytes = 180 * GB, .link_bytes_per_s = 900 * GB,
     .source = "NVIDIA HGX B200 data sheet, half of its figures with sparsity (NVLink 5: 1.8 TB/s in both directions)"},
    {.name = "rtx-5090", .title = "NVIDIA GeForce RTX 5090 32 GB", .sm = 120,
     .matrix_bf16 = 209.5 * T, .matrix_fp16 = 209.5 * T, .matrix_tf32 = 104.8 * T, .matrix_f32 = 104.8 * T,
     .vector_f32 = 104.8 * T, .memory_bytes_per_s = 1792 * GB, .memory_bytes = 32 * GIB, .link_bytes_per_s = 63 * GB,
     .source = "NVIDIA RTX Blackwell architecture paper (sums in f32; PCIe 5.0 x16)"},
};
/* clang-format on */

/* matrix, memory, call_s, overlap_slowdown, network: tests/bench/simulate/README.md. link: 370 of
 * 450 GB/s on an H100 (NVIDIA/nccl-tests#212, NVIDIA/nccl#1455). Latencies: NCCL's
 * src/graph/tuning.cc (ring, simple protocol). reserved_bytes: a round figure. */
const reid_gpu_assumptions reid_gpu_assumed = {
    .matrix = 0.5,
    .memory = 0.75,
    .link = 370.0 / 450.0,
    .network = 0.9,
    .call_s = 3e-6,
    .overlap_slowdown = 0.1,
    .link_latency_s = 3.4e-6,
    .link_tree_latency_s = 4e-6,
    .network_latency_s = 14e-6,
    .collective_s = 8.4e-6,
    .reserved_bytes = 1 * GIB,
};

const reid_gpu_spec *reid_gpu_spec_at(size_t i)
{
    return i < sizeof specs / sizeof specs[0] ? &specs[i] : NULL;
}

const reid_gpu_spec *reid_gpu_spec_by_name(const char *name)
{
    for (size_t i = 0; reid_gpu_spec_at(i); i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    return NULL;
}

const reid_gpu_spec *reid_gpu_spec_by_sm(int sm)
{
    for (size_t i = 0; reid_gpu_spec_at(i); i++)
        if (specs[i].sm == sm)
            return &specs[i];
    return NULL;
}
