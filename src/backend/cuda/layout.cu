/* Between plain tensors (channels outside) and rows of channels: a transposition through shared
 * memory, so that both sides are read and written along their own lines. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define TILE 32
#define TILE_ROWS 8

struct plain_shape {
    int64_t c, p, stride;
    int64_t tiles_p, tiles; /* tiles along P, tiles of one image */
};

/* Block: one tile of TILE places × TILE channels of one image. */
template <class T> __global__ void reid_from_plain_kernel(const float *plain, T *out, plain_shape s)
{
    __shared__ float tile[TILE][TILE + 1];
    int64_t image = blockIdx.x / s.tiles, index = blockIdx.x % s.tiles;
    int64_t p0 = index % s.tiles_p * TILE, c0 = index / s.tiles_p * TILE;
    plain += image * s.c * s.p;
    out += image * s.p * s.stride;
    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
        int64_t c = c0 + i, p = p0 + threadIdx.x;
        tile[i][threadIdx.x] = c < s.c && p < s.p ? plain[c * s.p + p] : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
        int64_t c = c0 + threadIdx.x, p = p0 + i;
        if (c < s.stride && p < s.p)
            out[p * s.stride + c] = reid_from_float<T>(tile[threadIdx.x][i]);
    }
}

template <class T> __global__ void reid_to_plain_kernel(const T *in, float *plain, plain_shape s)
{
    __shared__ float tile[TILE][TILE + 1];
    int64_t image = blockIdx.x / s.tiles, index = blockIdx.x % s.tiles;
    int64_t p0 = index % s.tiles_p * TILE, c0 = index / s.tiles_p * TILE;
    plain += image * s.c * s.p;
    in += image * s.p * s.stride;
    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
        int64_t c = c0 + threadIdx.x, p = p0 + i;
        tile[i][threadIdx.x] = c < s.c && p < s.p ? reid_to_float(in[p * s.stride + c]) : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
        int64_t c = c0 + i, p = p0 + threadIdx.x;
        if (c < s.c && p < s.p)
            plain[c * s.p + p] = tile[threadIdx.x][i];
    }
}

static plain_shape shape_of(int64_t c, int64_t p, int64_t stride)
{
    plain_shape s = {c, p, stride, (p + TILE - 1) / TILE, 0};
    s.tiles = s.tiles_p * ((stride + TILE - 1) / TILE);
    return s;
}

template <class T>
static cudaError_t from_plain(cudaStream_t stream, const float *plain, void *out, int64_t n,
                              plain_shape s)
{
    return REID_LAUNCH(reid_from_plain_kernel<T>, (unsigned)(n * s.tiles), dim3(TILE, TILE_ROWS), 0,
                       stream, plain, static_cast<T *>(out), s);
}

extern "C" cudaError_t reid_cuda_from_plain(cudaStream_t stream, reid_dtype dtype,
                                            const float *plain, void *out, int64_t n, int64_t c,
                                            int64_t p, int64_t stride)
{
    if (p == 1 && stride == c)
        return reid_cuda_cast(stream, dtype, plain, out, (size_t)(n * c));
    return REID_BY_DTYPE(dtype, from_plain, stream, plain, out, n, shape_of(c, p, stride));
}

template <class T>
static cudaError_t to_plain(cudaStream_t stream, const void *in, float *plain, int64_t n,
                            plain_shape s)
{
    return REID_LAUNCH(reid_to_plain_kernel<T>, (unsigned)(n * s.tiles), dim3(TILE, TILE_ROWS), 0,
                       stream, static_cast<const T *>(in), plain, s);
}

extern "C" cudaError_t reid_cuda_to_plain(cudaStream_t stream, reid_dtype dtype, const void *in,
                                          float *plain, int64_t n, int64_t c, int64_t p,
                                          int64_t stride)
{
    if (p == 1 && stride == c)
        return reid_cuda_uncast(stream, dtype, in, plain, (size_t)(n * c));
    return REID_BY_DTYPE(dtype, to_plain, stream, in, plain, n, shape_of(c, p, stride));
}
