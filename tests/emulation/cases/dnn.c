/* cuDNN graphs: convolutions against plain loops, and wrong uses. */
#include "emulation/cases/cases.h"

#include <cudnn.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef cudnnBackendDescriptor_t descriptor;

enum { BATCH = 2, C = 5, H = 7, W = 6, K = 4, R = 3, P = 4, Q = 3, STRIDE = 2, PAD = 1 };
enum { X_COUNT = BATCH * C * H * W, W_COUNT = K * C * R * R, Y_COUNT = BATCH * K * P * Q };

typedef enum pass { FORWARD, DATA, FILTER } pass;

static descriptor make(cudnnBackendDescriptorType_t type)
{
    descriptor d = NULL;
    cudnnBackendCreateDescriptor(type, &d);
    return d;
}

static bool set(descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                int64_t count, const void *values)
{
    return cudnnBackendSetAttribute(d, name, type, count, values) == CUDNN_STATUS_SUCCESS;
}

static bool set_desc(descriptor d, cudnnBackendAttributeName_t name, descriptor value)
{
    return set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static descriptor tensor(int64_t id, int64_t n, int64_t c, int64_t h, int64_t w)
{
    const int64_t dims[4] = {n, c, h, w}, strides[4] = {c * h * w, 1, w * c, c}, alignment = 16;
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    descriptor d = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    cudnnBackendFinalize(d);
    return d;
}

static descriptor window(void)
{
    const int64_t two = 2, pad[2] = {PAD, PAD}, stride[2] = {STRIDE, STRIDE}, one[2] = {1, 1};
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    descriptor d = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &two);
    set(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    set(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, one);
    cudnnBackendFinalize(d);
    return d;
}

/* y_rows: P, or something that does not fit. */
static descriptor operation(pass p, int64_t y_rows)
{
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t x, w, y, window;
    } names[] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC}};
    descriptor op = make(names[p].type);
    set_desc(op, names[p].x, tensor(1, BATCH, C, H, W));
    set_desc(op, names[p].w, tensor(2, K, C, R, R));
    set_desc(op, names[p].y, tensor(3, BATCH, K, y_rows, Q));
    set_desc(op, names[p].window, window());
    return op;
}

/* Plan of the engine at `place` of those that are offered; NULL: refused. */
static descriptor plan(cudnnHandle_t handle, pass p, int place)
{
    descriptor op = operation(p, P), graph = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR),
               heuristic = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), configs[8],
               result = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    int64_t count = 0;
    cudnnBackendFinalize(op);
    set_desc(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, op);
    set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    cudnnBackendFinalize(graph);
    set_desc(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    cudnnBackendFinalize(heuristic);
    for (int i = 0; i < 8; i++)
        configs[i] = make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                             CUDNN_TYPE_BACKEND_DESCRIPTOR, 8, &count, configs);
    if (place >= count)
        return NULL;
    set_desc(result, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[place]);
    set(result, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    if (cudnnBackendFinalize(result) != CUDNN_STATUS_SUCCESS)
        return NULL;
    cudnnBackendDestroyDescriptor(heuristic); /* the plan keeps what it needs */
    cudnnBackendDestroyDescriptor(graph);
    cudnnBackendDestroyDescriptor(op);
    return result;
}

typedef struct data {
    float x[X_COUNT], w[W_COUNT], y[Y_COUNT];
} data;

/* The same by definition; `into` is overwritten where the pass writes. */
static void by_definition(pass p, data *into)
{
    double sum[X_COUNT + W_COUNT + Y_COUNT] = {0};
    for (int n = 0; n < BATCH; n++)
        for (int k = 0; k < K; k++)
            for (int i = 0; i < P * Q; i++)
                for (int j = 0; j < C * R * R; j++) {
                    int c = j % C, r = j / C / R, s = j / C % R;
                    int h = i / Q * STRIDE - PAD + r, w = i % Q * STRIDE - PAD + s;
                    if (h < 0 || w < 0 || h >= H || w >= W)
                        continue;
                    int x = ((n * H + h) * W + w) * C + c, f = ((k * R + r) * R + s) * C + c,
                        y = (n * P * Q + i) * K + k;
                    if (p == FORWARD)
                        sum[y] += (double)into->x[x] * into->w[f];
                    else if (p == DATA)
                        sum[x] += (double)into->y[y] * into->w[f];
                    else
                        sum[f] += (double)into->y[y] * into->x[x];
                }
    float *out = p == FORWARD ? into->y : p == DATA ? into->x : into->w;
    int count = p == FORWARD ? Y_COUNT : p == DATA ? X_COUNT : W_COUNT;
    for (int i = 0; i < count; i++)
        out[i] = (float)sum[i];
}

static void fill(float *v, int count, int step)
{
    for (int i = 0; i < count; i++)
        v[i] = (float)(i * step % 19) / 7.0f - 1.1f;
}

/* Runs one pass with the engine at `place`; the largest error goes to *ret_worst. */
static bool run(pass p, int place, bool with_workspace, size_t skew, double *ret_worst)
{
    static data in, out;
    cudnnHandle_t handle;
    cudaStream_t s = case_stream();
    char *device[3], *workspace = with_workspace ? case_device(1 << 16) : NULL;
    float *host[3] = {in.x, in.w, in.y}, *back[3] = {out.x, out.w, out.y};
    const size_t bytes[3] = {sizeof in.x, sizeof in.w, sizeof in.y};
    const int64_t ids[3] = {1, 2, 3};
    const int written = p == FORWARD ? 2 : p == DATA ? 0 : 1;
    fill(in.x, X_COUNT, 5);
    fill(in.w, W_COUNT, 7);
    fill(in.y, Y_COUNT, 11);
    CASE_OK(cudnnCreate(&handle));
    CASE_OK(cudnnSetStream(handle, s));
    descriptor pl = plan(handle, p, place), pack = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    CASE_CHECK(pl);
    for (int i = 0; i < 3; i++) {
        device[i] = (char *)case_device(bytes[i] + skew) + skew;
        if (i != written)
            CASE_OK(cudaMemcpyAsync(device[i], host[i], bytes[i], cudaMemcpyHostToDevice, s));
    }
    set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids);
    set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, device);
    set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    CASE_OK(cudnnBackendFinalize(pack));
    CASE_OK(cudnnBackendExecute(handle, pl, pack));
    memcpy(back[written], host[written], bytes[written]);
    CASE_OK(
        cudaMemcpyAsync(back[written], device[written], bytes[written], cudaMemcpyDeviceToHost, s));
    by_definition(p, &in);
    *ret_worst = 0.0;
    for (size_t i = 0; i < bytes[written] / sizeof(float); i++)
        *ret_worst = fmax(*ret_worst, fabs((double)host[written][i] - back[written][i]));
    return cudnnDestroy(handle) == CUDNN_STATUS_SUCCESS;
}

static bool convolutions(const case_world *world)
{
    for (int p = FORWARD; p <= FILTER; p++) {
        double worst = 0.0;
        CASE_CHECK(run((pass)p, 2, true, 0, &worst));
        CASE_CHECK(worst < 1e-5);
    }
    return true;
}

/* The engine that rounds to tf32 is right to three digits and no more. */
static bool tf32(const case_world *world)
{
    double worst = 0.0;
    CASE_CHECK(run(FORWARD, 1, true, 0, &worst));
    return worst > 1e-4 && worst < 3e-2;
}

static bool nondeterministic(const case_world *world)
{
    double worst = 0.0;
    return run(FORWARD, 0, true, 0, &worst);
}

static bool no_workspace(const case_world *world)
{
    double worst = 0.0;
    return run(FORWARD, 2, false, 0, &worst);
}

static bool misaligned(const case_world *world)
{
    double worst = 0.0;
    return run(FORWARD, 2, true, 8, &worst);
}

static bool shapes_do_not_fit(const case_world *world)
{
    return cudnnBackendFinalize(operation(FORWARD, P + 1)) == CUDNN_STATUS_BAD_PARAM;
}

static bool unfinalized_part(const case_world *world)
{
    descriptor graph = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    return !set_desc(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation(FORWARD, P));
}

const case_row dnn_cases[] = {
    {"convolutions", convolutions, NULL},
    {"tf32", tf32, NULL},
    {"nondeterministic", nondeterministic, "CUDNN", .wrong = true},
    {"no_workspace", no_workspace, "CUDNN", .wrong = true},
    {"misaligned", misaligned, "CUDNN", .wrong = true},
    {"shapes_do_not_fit", shapes_do_not_fit, "CUDNN"},
    {"unfinalized_part", unfinalized_part, "CUDNN"},
    {0},
};
