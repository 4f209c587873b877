/* The triplet loss: distances, mining and the gradient. One warp mines a row; one block adds the
 * rows. Formulas and corner cases: backend/ref/ref_loss.c. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.cuh"

#define BLOCK 128
#define WARPS (BLOCK / 32)

/* ---- distances ---- */

__global__ void reid_triplet_length_kernel(const float *x, int width, float *length)
{
    __shared__ double space[WARPS];
    const float *row = x + (size_t)blockIdx.x * width;
    double sum = 0.0;
    for (int k = threadIdx.x; k < width; k += BLOCK)
        sum += (double)row[k] * row[k];
    sum = sqrt(reid_block_sum<BLOCK>(sum, space));
    if (threadIdx.x == 0)
        length[blockIdx.x] = (float)(sum < 1e-12 ? 1e-12 : sum);
}

#define SIDE 8   /* rows and columns of pairs in a block */
#define DEPTH 32 /* features that go through shared memory at once */

/* length NULL: Euclidean. Products of DEPTH features are summed in float, those sums in double; the
 * order is the same for (i, j) and (j, i). */
__global__ void reid_triplet_distance_kernel(const float *x, int rows, int width,
                                             const float *length, float *distance)
{
    __shared__ float a[SIDE][DEPTH + 1], b[SIDE][DEPTH + 1];
    int self = threadIdx.y * SIDE + threadIdx.x;
    int i0 = blockIdx.y * SIDE, j0 = blockIdx.x * SIDE;
    int i = i0 + threadIdx.y, j = j0 + threadIdx.x;
    double sum = 0.0;
    for (int from = 0; from < width; from += DEPTH) {
        for (int t = self; t < SIDE * DEPTH; t += SIDE * SIDE) {
            int row = t / DEPTH, k = t % DEPTH;
            bool inside = from + k < width;
            a[row][k] = inside && i0 + row < rows ? x[(size_t)(i0 + row) * width + from + k] : 0.0f;
            b[row][k] = inside && j0 + row < rows ? x[(size_t)(j0 + row) * width + from + k] : 0.0f;
        }
        __syncthreads();
        float part = 0.0f;
        for (int k = 0; k < DEPTH; k++) {
            float p = a[threadIdx.y][k], q = b[threadIdx.x][k];
            part += length ? p * q : (p - q) * (p - q);
        }
        sum += part;
        __syncthreads();
    }
    if (i >= rows || j >= rows)
        return;
    double d = length ? 2.0 - 2.0 * sum / ((double)length[i] * length[j])
                      : sqrt(sum < 1e-12 ? 1e-12 : sum);
    distance[(size_t)i * rows + j] = (float)d;
}

/* ---- mining: all lanes of a warp work on one row and get the same results ---- */

struct row_view {
    const float *distance;
    const int32_t *labels;
    int rows, lane;
    int32_t label;
};

struct best_place {
    float value;
    int at; /* rows: none */
};

/* The largest value over the warp, the first among equals. */
__device__ __forceinline__ best_place warp_best(best_place a)
{
    for (int d = 16; d; d >>= 1) {
        float value = __shfl_xor_sync(REID_FULL_WARP, a.value, d);
        int at = __shfl_xor_sync(REID_FULL_WARP, a.at, d);
        if (value > a.value || (value == a.value && at < a.at))
            a = {value, at};
    }
    return a;
}

__device__ __forceinline__ double warp_total(double value)
{
    for (int d = 16; d; d >>= 1)
        value += __shfl_xor_sync(REID_FULL_WARP, value, d);
    return value;
}

/* Farthest row with the same label (sign +1) or nearest with another (sign -1); NaN is farther and
 * nearer than all. */
__device__ __forceinline__ int hardest(const row_view &v, bool positive)
{
    best_place best = {-INFINITY, v.rows};
    for (int j = v.lane; j < v.rows; j += 32) {
        if ((v.labels[j] == v.label) != positive)
            continue;
        float d = v.distance[j], value = d != d ? INFINITY : positive ? d : -d;
        if (best.at == v.rows || value > best.value)
            best = {value, j};
    }
    return warp_best(best).at;
}

/* Softmax-weighted distance to one of the two sets, with what its gradient needs. */
struct weighted_set {
    double sign, top_value, z, value, share;
    int top;
};

__device__ __forceinline__ weighted_set mine_weighted(const row_view &v, bool positive)
{
    weighted_set s = {};
    s.sign = positive ? 1.0 : -1.0;
    best_place top = {-INFINITY, v.rows};
    for (int j = v.lane; j < v.rows; j += 32) {
        bool member = (v.labels[j] == v.label) == positive;
        float value = member ? (positive ? v.distance[j] : -v.distance[j]) : 0.0f;
        if (top.at == v.rows || value > top.value)
            top = {value, j};
    }
    top = warp_best(top);
    s.top = top.at;
    s.top_value = top.value;
    double z = 0.0, sum = 0.0;
    for (int j = v.lane; j < v.rows; j += 32)
        if ((v.labels[j] == v.label) == positive) {
            double e = exp(s.sign * v.distance[j] - s.top_value);
            z += e;
            sum += e * v.distance[j];
        }
    s.z = warp_total(z) + 1e-6;
    s.value = warp_total(sum) / s.z;
    double share = 0.0;
    for (int j = v.lane; j < v.rows; j += 32)
        if ((v.labels[j] == v.label) == positive)
            share += exp(s.sign * v.distance[j] - s.top_value) / s.z * (v.distance[j] - s.value);
    s.share = warp_total(share);
    return s;
}

/* ∂value/∂distance[j] of a member j; the maximum is differentiated too, as in fast-reid. */
__device__ __forceinline__ double weighted_slope(const weighted_set &s, const row_view &v, int j)
{
    double d = v.distance[j], w = exp(s.sign * d - s.top_value) / s.z;
    double slope = w * (1.0 + s.sign * (d - s.value));
    return j == s.top ? slope - s.sign * s.share : slope;
}

__device__ __forceinline__ row_view view_of(const float *distance, const int32_t *labels, int rows,
                                            int row)
{
    return {distance + (size_t)row * rows, labels, rows, (int)(threadIdx.x % 32), labels[row]};
}

/* gap[i] = ap - an of row i */
__global__ void reid_triplet_gap_kernel(const float *distance, const int32_t *labels, int rows,
                                        bool hard, double *gap)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= rows)
        return;
    row_view v = view_of(distance, labels, rows, row);
    double value;
    if (hard) {
        int p = hardest(v, true), q = hardest(v, false);
        value = (double)v.distance[p] - (q < rows ? (double)v.distance[q] : 1e9);
    } else {
        value = mine_weighted(v, true).value - mine_weighted(v, false).value;
    }
    if (v.lane == 0)
        gap[row] = value;
}

/* One block. The loss, and each row's slope by its gap, divided by the rows: gap[rows + i]. A soft
 * margin that overflows somewhere becomes a hinge of 0.3 for the whole batch. */
__global__ void reid_triplet_loss_kernel(double *gap, int rows, double margin, float *loss)
{
    __shared__ double space[WARPS];
    double overflows = 0.0, sum = 0.0;
    for (int i = threadIdx.x; i < rows; i += BLOCK)
        overflows += isinf(expf((float)gap[i])) ? 1.0 : 0.0;
    overflows = reid_block_sum<BLOCK>(overflows, space);
    bool soft = margin == 0.0 && overflows == 0.0;
    if (margin == 0.0 && !soft)
        margin = 0.3;
    for (int i = threadIdx.x; i < rows; i += BLOCK) {
        double g = gap[i], slope;
        if (soft) {
            sum += log1p(exp(g));
            slope = 1.0 / (1.0 + exp(-g));
        } else {
            sum += g + margin > 0.0 || isnan(g) ? g + margin : 0.0;
            slope = (float)(g + margin) >= 0.0f ? 1.0 : 0.0;
        }
        gap[rows + i] = slope / (double)rows;
    }
    sum = reid_block_sum<BLOCK>(sum, space);
    if (threadIdx.x == 0)
        *loss = (float)(sum / (double)rows);
}

/* Row i of ∂loss/∂distance. */
__global__ void reid_triplet_weight_kernel(const float *distance, const int32_t *labels, int rows,
                                           bool hard, const double *gap, float *weight)
{
    int row = blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= rows)
        return;
    row_view v = view_of(distance, labels, rows, row);
    double slope = gap[rows + row];
    float *out = weight + (size_t)row * rows;
    if (slope == 0.0) {
        for (int j = v.lane; j < rows; j += 32)
            out[j] = 0.0f;
    } else if (hard) {
        int p = hardest(v, true), q = hardest(v, false);
        for (int j = v.lane; j < rows; j += 32)
            out[j] = j == p ? (float)slope : j == q ? (float)-slope : 0.0f;
    } else {
        weighted_set near = mine_weighted(v, true), far = mine_weighted(v, false);
        for (int j = v.lane; j < rows; j += 32) {
            bool member = v.labels[j] == v.label;
            out[j] = (float)(member ? slope * weighted_slope(near, v, j)
                                    : -slope * weighted_slope(far, v, j));
        }
    }
}

/* ---- gradient ---- */

/* Block: row i, BLOCK features. Euclidean: dx_i = Σ_j (w_ij + w_ji)/d_ij · (x_i - x_j); with
 * lengths: -2 Σ_j (w_ij + w_ji)·u_j, u = x/|x|. */
__global__ void reid_triplet_grad_kernel(const float *x, int rows, int width, const float *distance,
                                         const float *weight, const float *length, float loss_scale,
                                         float *dx)
{
    __shared__ float factors[BLOCK];
    int i = blockIdx.x, k = blockIdx.y * BLOCK + threadIdx.x;
    float xi = k < width ? x[(size_t)i * width + k] : 0.0f, sum = 0.0f;
    for (int from = 0; from < rows; from += BLOCK) {
        int j = from + threadIdx.x;
        float factor = 0.0f;
        if (j < rows && j != i) {
            size_t ij = (size_t)i * rows + j;
            float w = weight[ij] + weight[(size_t)j * rows + i], d = distance[ij];
            if (length)
                factor = -2.0f * w * loss_scale / length[j];
            else if (w != 0.0f && d > 1e-6f)
                factor = w * loss_scale / d;
        }
        factors[threadIdx.x] = factor;
        __syncthreads();
        int count = rows - from < BLOCK ? rows - from : BLOCK;
        for (int t = 0; t < count && k < width; t++) {
            float f = factors[t];
            if (f == 0.0f)
                continue;
            float xj = x[(size_t)(from + t) * width + k];
            sum += f * (length ? xj : xi - xj);
        }
        __syncthreads();
    }
    if (k < width)
        dx[(size_t)i * width + k] = sum;
}

/* Through the normalisation: dx_i = (du_i - u_i (u_i·du_i)) / |x_i| */
__global__ void reid_triplet_project_kernel(const float *x, int width, const float *length,
                                            float *dx)
{
    __shared__ double space[WARPS];
    const float *xi = x + (size_t)blockIdx.x * width;
    float *d = dx + (size_t)blockIdx.x * width;
    double dot = 0.0;
    for (int k = threadIdx.x; k < width; k += BLOCK)
        dot += (double)xi[k] * d[k];
    dot = reid_block_sum<BLOCK>(dot, space);
    float inverse = 1.0f / length[blockIdx.x], along = (float)dot * inverse * inverse;
    for (int k = threadIdx.x; k < width; k += BLOCK)
        d[k] = (d[k] - along * xi[k]) * inverse;
}

/* ---- launchers ---- */

extern "C" cudaError_t reid_cuda_triplet_forward(cudaStream_t stream, const reid_cuda_triplet *t)
{
    unsigned rows = (unsigned)t->rows, tiles = (rows + SIDE - 1) / SIDE;
    unsigned warps = (rows + WARPS - 1) / WARPS;
    cudaError_t error = cudaSuccess;
    if (t->norm_feat)
        error = REID_LAUNCH(reid_triplet_length_kernel, rows, BLOCK, 0, stream, t->x, t->width,
                            t->length);
    if (error == cudaSuccess)
        error = REID_LAUNCH(reid_triplet_distance_kernel, dim3(tiles, tiles), dim3(SIDE, SIDE), 0,
                            stream, t->x, t->rows, t->width, t->norm_feat ? t->length : nullptr,
                            t->distance);
    if (error == cudaSuccess)
        error = REID_LAUNCH(reid_triplet_gap_kernel, warps, BLOCK, 0, stream, t->distance,
                            t->labels, t->rows, t->hard_mining, t->gap);
    if (error == cudaSuccess)
        error = REID_LAUNCH(reid_triplet_loss_kernel, 1, BLOCK, 0, stream, t->gap, t->rows,
                            t->margin, t->loss);
    if (error == cudaSuccess)
        error = REID_LAUNCH(reid_triplet_weight_kernel, warps, BLOCK, 0, stream, t->distance,
                            t->labels, t->rows, t->hard_mining, t->gap, t->weight);
    return error;
}

extern "C" cudaError_t reid_cuda_triplet_backward(cudaStream_t stream, const reid_cuda_triplet *t)
{
    dim3 grid((unsigned)t->rows, (unsigned)((t->width + BLOCK - 1) / BLOCK));
    const float *length = t->norm_feat ? t->length : nullptr;
    cudaError_t error = REID_LAUNCH(reid_triplet_grad_kernel, grid, BLOCK, 0, stream, t->x, t->rows,
                                    t->width, t->distance, t->weight, length, t->loss_scale, t->dx);
    if (error == cudaSuccess && length)
        error = REID_LAUNCH(reid_triplet_project_kernel, (unsigned)t->rows, BLOCK, 0, stream, t->x,
                            t->width, length, t->dx);
    return error;
}
