/* Kernels: right results, and what each faulty one is reported as. */
#include "emulation/cases/kernels.h"

#include "emulation/cases/cases.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { N = 10000 };

static float *filled(cudaStream_t s, size_t n)
{
    float *h = malloc(n * sizeof *h), *d = case_device(n * sizeof *h);
    for (size_t i = 0; i < n; i++)
        h[i] = (float)(i % 7);
    if (cudaMemcpyAsync(d, h, n * sizeof *h, cudaMemcpyHostToDevice, s) != cudaSuccess)
        abort();
    free(h);
    return d;
}

static bool sums(const case_world *world)
{
    float out[2], want = 0.0f;
    cudaStream_t s = case_stream();
    float *x = filled(s, N), *y = case_device(N * 4), *partial = case_device(32),
          *sum = case_device(8);
    CASE_OK(cudaMemsetAsync(y, 0, N * 4, s));
    CASE_OK(case_axpy(s, N, 0.5f, x, y));
    CASE_OK(case_sum(s, N, y, partial, sum));
    CASE_OK(case_sum_tree(s, N, y, sum + 1));
    CASE_OK(cudaMemcpyAsync(out, sum, 8, cudaMemcpyDeviceToHost, s));
    for (int i = 0; i < N; i++)
        want += 0.5f * (float)(i % 7);
    return fabsf(out[0] - want) < 1.0f && fabsf(out[1] - want) < 1.0f;
}

static bool pointers_in_a_struct(const case_world *world)
{
    float out[3];
    cudaStream_t s = case_stream();
    case_list list = {{filled(s, 300), filled(s, 200)}, {300, 200}};
    CASE_OK(case_scale_list(s, &list, 3.0f));
    CASE_OK(cudaMemcpyAsync(out, list.data[1] + 197, 12, cudaMemcpyDeviceToHost, s));
    return out[2] == 3.0f * (199 % 7);
}

static bool atomics_and_bf16(const case_world *world)
{
    int in[1000], counts[10];
    uint16_t half[8];
    cudaStream_t s = case_stream();
    for (int i = 0; i < 1000; i++)
        in[i] = i * i % 10;
    int *x = case_device(sizeof in), *c = case_device(sizeof counts);
    CASE_OK(cudaMemcpyAsync(x, in, sizeof in, cudaMemcpyHostToDevice, s));
    CASE_OK(cudaMemsetAsync(c, 0, sizeof counts, s));
    CASE_OK(case_histogram(s, 1000, x, c));
    CASE_OK(cudaMemcpyAsync(counts, c, sizeof counts, cudaMemcpyDeviceToHost, s));
    void *y = case_device(sizeof half);
    CASE_OK(case_to_bf16(s, 8, filled(s, 8), y));
    CASE_OK(cudaMemcpyAsync(half, y, sizeof half, cudaMemcpyDeviceToHost, s));
    return counts[0] == 100 && counts[6] == 200 && half[3] == 0x4040;
}

static bool wide_loads(const case_world *world)
{
    float out;
    cudaStream_t s = case_stream();
    float *y = case_device(400);
    CASE_OK(case_vectors(s, 100, filled(s, 100), y, 0));
    CASE_OK(cudaMemcpyAsync(&out, y + 4, 4, cudaMemcpyDeviceToHost, s));
    return out == 5.0f;
}

static bool wide_loads_misaligned(const case_world *world)
{
    cudaStream_t s = case_stream();
    CASE_OK(case_vectors(s, 96, filled(s, 100), case_device(400), 1));
    return cudaStreamSynchronize(s) == cudaErrorIllegalAddress;
}

/* The last 4 of 10000 floats are missing. */
static bool short_buffer(const case_world *world)
{
    cudaStream_t s = case_stream();
    float *y = filled(s, N);
    CASE_OK(case_axpy(s, N, 1.0f, filled(s, N - 4), y));
    CASE_CHECK(cudaStreamSynchronize(s) == cudaErrorIllegalAddress);
    return cudaMemsetAsync(y, 0, 4, s) == cudaErrorIllegalAddress; /* the context is lost */
}

static bool reads_uninitialised(const case_world *world)
{
    cudaStream_t s = case_stream();
    CASE_OK(case_axpy(s, N, 1.0f, filled(s, N), case_device(N * 4)));
    return cudaStreamSynchronize(s) == cudaSuccess;
}

static bool argument_was_freed(const case_world *world)
{
    cudaStream_t s = case_stream();
    float *x = filled(s, 64);
    CASE_OK(cudaFree(x));
    CASE_OK(case_faulty(s, CASE_ADD_ONE, x));
    return cudaStreamSynchronize(s) == cudaErrorIllegalAddress;
}

static bool too_large(const case_world *world)
{
    return case_too_large(case_stream(), case_device(64)) == cudaErrorInvalidConfiguration;
}

/* Kernels on two streams: the bytes that they really touch decide. */
static bool kernels_on_two_streams(cudaStream_t a, cudaStream_t b, size_t overlap)
{
    float *x = filled(a, N), *y = filled(a, N);
    CASE_OK(cudaStreamSynchronize(a));
    CASE_OK(case_axpy(a, N / 2 + overlap, 1.0f, x, y));
    CASE_OK(case_axpy(b, N / 2, 1.0f, x + N / 2, y + N / 2));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool apart(const case_world *world)
{
    return kernels_on_two_streams(case_stream(), case_stream(), 0);
}

static bool overlapping(const case_world *world)
{
    return kernels_on_two_streams(case_stream(), case_stream(), 1);
}

static bool faulty(case_fault fault)
{
    cudaStream_t s = case_stream();
    CASE_OK(case_faulty(s, fault, filled(s, 64)));
    cudaStreamSynchronize(s);
    return true;
}

#define FAULTY(name, fault)                                                                        \
    static bool name(const case_world *world)                                                      \
    {                                                                                              \
        return faulty(fault);                                                                      \
    }
FAULTY(one_past, CASE_ONE_PAST)
FAULTY(before, CASE_BEFORE)
FAULTY(shared_race, CASE_SHARED_RACE)
FAULTY(shared_unwritten, CASE_SHARED_UNWRITTEN)
FAULTY(shared_past, CASE_SHARED_PAST)
FAULTY(divergent_barrier, CASE_DIVERGENT_BARRIER)
FAULTY(exited_barrier, CASE_EXITED_BARRIER)
FAULTY(grid_race, CASE_GRID_RACE)
FAULTY(shuffle_mask, CASE_SHUFFLE_MASK)
FAULTY(shuffle_exited, CASE_SHUFFLE_EXITED)
FAULTY(warp_race, CASE_WARP_RACE)
FAULTY(shift, CASE_SHIFT)
FAULTY(add_one, CASE_ADD_ONE)

const case_row kernel_cases[] = {
    {"sums", sums, NULL},
    {"pointers_in_a_struct", pointers_in_a_struct, NULL},
    {"atomics_and_bf16", atomics_and_bf16, NULL},
    {"wide_loads", wide_loads, NULL},
    {"wide_loads_misaligned", wide_loads_misaligned, "KERNEL-BOUNDS"},
    {"short_buffer", short_buffer, "KERNEL-BOUNDS"},
    {"reads_uninitialised", reads_uninitialised, "UNINIT"},
    {"argument_was_freed", argument_was_freed, "KERNEL-BOUNDS"},
    {"too_large", too_large, "LAUNCH"},
    {"apart", apart, NULL},
    {"overlapping", overlapping, "RACE"},
    {"one_past", one_past, "KERNEL-BOUNDS"},
    {"before", before, "KERNEL-BOUNDS"},
    {"shared_race", shared_race, "KERNEL-RACE", .also = "UNINIT"},
    {"shared_unwritten", shared_unwritten, "UNINIT"},
    {"shared_past", shared_past, "KERNEL-BOUNDS"},
    {"divergent_barrier", divergent_barrier, "SYNC"},
    {"exited_barrier", exited_barrier, "SYNC"},
    {"grid_race", grid_race, "KERNEL-RACE"},
    {"shuffle_mask", shuffle_mask, "SYNC"},
    {"shuffle_exited", shuffle_exited, "SYNC"},
    {"warp_race", warp_race, "KERNEL-RACE"},
    {"shift", shift, "KERNEL-UB"},
    {"add_one", add_one, NULL},
    {0},
};
