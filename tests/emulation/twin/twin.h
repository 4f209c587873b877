/* Compiles a .cu file with g++ as the host twin of its kernels: force-included in front of it, with
 * REID_EMULATED_TWIN defined. Launch and dynamic shared memory come from here instead of
 * launch.cuh; the emulator runs the kernels and sees every access. */
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "../cuda/emu.h"

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __restrict__
#undef __launch_bounds__
#undef __align__
#define __global__ __attribute__((visibility("default"), noinline))
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx emu_threadIdx()
#define blockIdx emu_blockIdx()
#define blockDim emu_blockDim()
#define gridDim emu_gridDim()
#define warpSize 32

/* ---- launches ---- */

#define REID_LAUNCH(kernel, grid, block, shared, stream, ...)                                      \
    ((void)&emu::registration<&kernel>::done, cudaErrorUnknown)
#define REID_DYN_SHARED(type, name) type *name = static_cast<type *>(emu_dynamic_shared())

#define EMU_RAW __attribute__((no_sanitize("thread", "undefined")))
namespace emu
{
template <class... A, size_t... I>
EMU_RAW void call(void (*function)(A...), void **args, std::index_sequence<I...>)
{
    function(*static_cast<std::remove_cv_t<std::remove_reference_t<A>> *>(args[I])...);
}

template <class... A> EMU_RAW void thunk(void *function, void **args)
{
    call(reinterpret_cast<void (*)(A...)>(function), args, std::index_sequence_for<A...>());
}

template <class... A> int enlist(void (*function)(A...))
{
    static const unsigned sizes[] = {sizeof(A)..., 0};
    emu_register_twin(reinterpret_cast<void *>(function), thunk<A...>, sizeof...(A), sizes);
    return 0;
}

template <auto F> struct registration {
    static int done;
};
template <auto F> int registration<F>::done = enlist(F);
} // namespace emu

/* ---- barriers and warps; the line, because the compiler may copy a call ---- */

#define __syncthreads() ((void)emu_syncthreads(__LINE__, 0, 0))
#define __syncthreads_count(p) emu_syncthreads(__LINE__, (p) != 0, 1)
#define __syncthreads_and(p) emu_syncthreads(__LINE__, (p) != 0, 2)
#define __syncthreads_or(p) emu_syncthreads(__LINE__, (p) != 0, 3)

inline void __syncwarp(unsigned mask = ~0u)
{
    emu_warp(mask, 0, 0, EMU_WARP_SYNC);
}
inline unsigned __ballot_sync(unsigned mask, int p)
{
    return static_cast<unsigned>(emu_warp(mask, p != 0, 0, EMU_WARP_BALLOT));
}
inline int __any_sync(unsigned mask, int p)
{
    return __ballot_sync(mask, p) != 0;
}
inline int __all_sync(unsigned mask, int p)
{
    return __ballot_sync(mask, !p) == 0;
}
inline unsigned __activemask()
{
    return ~0u;
}

template <class T> inline T emu_shuffle(unsigned mask, T v, int source)
{
    static_assert(sizeof(T) <= 8);
    uint64_t word = 0;
    __builtin_memcpy(&word, &v, sizeof v);
    word = emu_warp(mask, word, source, EMU_WARP_SHUFFLE);
    __builtin_memcpy(&v, &word, sizeof v);
    return v;
}
template <class T> inline T __shfl_sync(unsigned mask, T v, int source, int width = 32)
{
    return emu_shuffle(mask, v, emu_lane() / width * width + source % width);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned d, int width = 32)
{
    int lane = emu_lane(), source = lane - static_cast<int>(d);
    return emu_shuffle(mask, v, source >= lane / width * width ? source : lane);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned d, int width = 32)
{
    int lane = emu_lane(), source = lane + static_cast<int>(d);
    return emu_shuffle(mask, v, source / width == lane / width ? source : lane);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32)
{
    int lane = emu_lane(), source = lane ^ bits;
    return emu_shuffle(mask, v, source / width == lane / width ? source : lane);
}
inline void __threadfence()
{
}
inline void __threadfence_block()
{
}

/* ---- atomics ---- */

#define EMU_ATOMIC __attribute__((no_sanitize("thread"), noinline))
#define EMU_READ_MODIFY_WRITE(name, expression)                                                    \
    template <class T> EMU_ATOMIC T name(T *p, std::common_type_t<T> v)                            \
    {                                                                                              \
        emu_atomic_note(p, sizeof *p);                                                             \
        T old = *p;                                                                                \
        *p = (expression);                                                                         \
        return old;                                                                                \
    }
EMU_READ_MODIFY_WRITE(atomicAdd, old + v)
EMU_READ_MODIFY_WRITE(atomicSub, old - v)
EMU_READ_MODIFY_WRITE(atomicMax, old > v ? old : v)
EMU_READ_MODIFY_WRITE(atomicMin, old < v ? old : v)
EMU_READ_MODIFY_WRITE(atomicExch, v)
EMU_READ_MODIFY_WRITE(atomicOr, old | v)
EMU_READ_MODIFY_WRITE(atomicAnd, old &v)
template <class T>
EMU_ATOMIC T atomicCAS(T *p, std::common_type_t<T> compare, std::common_type_t<T> v)
{
    emu_atomic_note(p, sizeof *p);
    T old = *p;
    if (old == compare)
        *p = v;
    return old;
}

/* ---- mathematics and bits ---- */

inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
inline double rsqrt(double x)
{
    return 1.0 / sqrt(x);
}
inline float __expf(float x)
{
    return expf(x);
}
inline float __logf(float x)
{
    return logf(x);
}
inline float __powf(float x, float y)
{
    return powf(x, y);
}
inline float __fdividef(float x, float y)
{
    return x / y;
}
inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
inline float __frsqrt_rn(float x)
{
    return 1.0f / sqrtf(x);
}
inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}
inline float __fmul_rn(float x, float y)
{
    return x * y;
}
inline float __fadd_rn(float x, float y)
{
    return x + y;
}
inline float __fsub_rn(float x, float y)
{
    return x - y;
}
inline double __dmul_rn(double x, double y)
{
    return x * y;
}
inline double __dadd_rn(double x, double y)
{
    return x + y;
}
inline double __fma_rn(double x, double y, double z)
{
    return fma(x, y, z);
}
inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
template <class To, class From> inline To emu_bits(From v)
{
    static_assert(sizeof(To) == sizeof(From));
    To out;
    __builtin_memcpy(&out, &v, sizeof out);
    return out;
}
inline float __int_as_float(int v)
{
    return emu_bits<float>(v);
}
inline int __float_as_int(float v)
{
    return emu_bits<int>(v);
}
inline float __uint_as_float(unsigned v)
{
    return emu_bits<float>(v);
}
inline unsigned __float_as_uint(float v)
{
    return emu_bits<unsigned>(v);
}
inline double __longlong_as_double(long long v)
{
    return emu_bits<double>(v);
}
inline long long __double_as_longlong(double v)
{
    return emu_bits<long long>(v);
}
inline int __float2int_rn(float v)
{
    return static_cast<int>(rintf(v));
}
inline int __float2int_rd(float v)
{
    return static_cast<int>(floorf(v));
}
inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}
inline int __popcll(unsigned long long v)
{
    return __builtin_popcountll(v);
}
inline int __clz(int v)
{
    return v ? __builtin_clz(static_cast<unsigned>(v)) : 32;
}
inline int __ffs(int v)
{
    return __builtin_ffs(v);
}
inline unsigned __umulhi(unsigned a, unsigned b)
{
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
template <class T> inline T __ldg(const T *p)
{
    return *p;
}
template <class T> inline T __ldcs(const T *p)
{
    return *p;
}
template <class A, class B> inline std::common_type_t<A, B> min(A a, B b)
{
    std::common_type_t<A, B> x = a, y = b;
    return x < y ? x : y;
}
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b)
{
    std::common_type_t<A, B> x = a, y = b;
    return x > y ? x : y;
}
