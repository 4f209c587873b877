#include "backend/cuda/dnn_graph.h"

#include <string.h>

typedef cudnnBackendDescriptor_t descriptor;

static reid_status create(cuda_dnn_graph *g, cudnnBackendDescriptorType_t type,
                          descriptor *ret_descriptor, reid_error *err)
{
    REID_ASSERT(g->count < DNN_DESCRIPTORS);
    DNN_TRY(cudnnBackendCreateDescriptor(type, &g->all[g->count]));
    *ret_descriptor = g->all[g->count++];
    return REID_OK;
}

static reid_status set(descriptor d, cudnnBackendAttributeName_t name,
                       cudnnBackendAttributeType_t type, int64_t count, const void *values,
                       reid_error *err)
{
    return cuda_dnn_check(err, cudnnBackendSetAttribute(d, name, type, count, values),
                          "an attribute of a graph");
}

static reid_status set_i64(descriptor d, cudnnBackendAttributeName_t name, int64_t count,
                           const int64_t *values, reid_error *err)
{
    return set(d, name, CUDNN_TYPE_INT64, count, values, err);
}

static reid_status set_descriptor(descriptor d, cudnnBackendAttributeName_t name, descriptor value,
                                  reid_error *err)
{
    return set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value, err);
}

static reid_status finalize(descriptor d, reid_error *err)
{
    return cuda_dnn_check(err, cudnnBackendFinalize(d), "a part of a graph");
}

static cudnnDataType_t data_type(reid_dtype dtype)
{
    return dtype == REID_BF16  ? CUDNN_DATA_BFLOAT16
           : dtype == REID_F16 ? CUDNN_DATA_HALF
                               : CUDNN_DATA_FLOAT;
}

/* Between two operations of a graph, ids from here on; in no memory. */
#define VIRTUAL 100

/* Plain order of dimensions, strides of channels last. */
static reid_status tensor(cuda_dnn_graph *g, int64_t id, reid_dtype dtype, const int64_t dims[4],
                          descriptor *ret_tensor, reid_error *err)
{
    const cudnnDataType_t type = data_type(dtype);
    const bool in_no_memory = id >= VIRTUAL;
    const int64_t strides[4] = {dims[1] * dims[2] * dims[3], 1, dims[3] * dims[1], dims[1]};
    const int64_t alignment = 16;
    descriptor d = NULL;
    REID_TRY(create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, &d, err));
    REID_TRY(set(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, dims, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_TENSOR_STRIDES, 4, strides, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &id, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment, err));
    if (in_no_memory)
        REID_TRY(set(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &in_no_memory, err));
    REID_TRY(finalize(d, err));
    *ret_tensor = d;
    return REID_OK;
}

static reid_status geometry(cuda_dnn_graph *g, const cuda_dnn_conv *conv, descriptor *ret_conv,
                            reid_error *err)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t two = 2, padding[2] = {conv->padding, conv->padding},
                  strides[2] = {conv->stride, conv->stride}, dilations[2] = {1, 1};
    descriptor d = NULL;
    REID_TRY(create(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, &d, err));
    REID_TRY(set(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute, err));
    REID_TRY(set(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &two, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, padding, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, padding, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, strides, err));
    REID_TRY(set_i64(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dilations, err));
    REID_TRY(finalize(d, err));
    *ret_conv = d;
    return REID_OK;
}

/* The same node under three sets of names. */
typedef struct names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, weight, y, conv, alpha, beta;
} names;

static const names passes[REID_OP_PASSES] = {
    [REID_PASS_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [REID_PASS_INPUTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [REID_PASS_PARAMS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static reid_status product(cuda_dnn_graph *g, const cuda_dnn_conv *c, descriptor x,
                           descriptor weight, descriptor y, descriptor *ret_op, reid_error *err)
{
    const names *node = &passes[c->pass];
    const double zero = 0.0;
    descriptor conv = NULL, op = NULL;
    REID_TRY(geometry(g, c, &conv, err));
    REID_TRY(create(g, node->type, &op, err));
    REID_TRY(set_descriptor(op, node->x, x, err));
    REID_TRY(set_descriptor(op, node->weight, weight, err));
    REID_TRY(set_descriptor(op, node->y, y, err));
    REID_TRY(set_descriptor(op, node->conv, conv, err));
    REID_TRY(set(op, node->alpha, CUDNN_TYPE_DOUBLE, 1, &c->alpha, err));
    REID_TRY(set(op, node->beta, CUDNN_TYPE_DOUBLE, 1, &zero, err));
    REID_TRY(finalize(op, err));
    *ret_op = op;
    return REID_OK;
}

/* y = x + b, or the ReLU of x. */
static reid_status pointwise(cuda_dnn_graph *g, cudnnPointwiseMode_t mode, descriptor x,
                             descriptor b, descriptor y, descriptor *ret_op, reid_error *err)
{
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    descriptor what = NULL, op = NULL;
    REID_TRY(create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &what, err));
    REID_TRY(set(what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode, err));
    REID_TRY(set(what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute, err));
    REID_TRY(finalize(what, err));
    REID_TRY(create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &op, err));
    REID_TRY(set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what, err));
    REID_TRY(set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x, err));
    if (b)
        REID_TRY(set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b, err));
    REID_TRY(set_descriptor(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y, err));
    REID_TRY(finalize(op, err));
    *ret_op = op;
    return REID_OK;
}

#define FUSED_OPS 4

/* The operations in the one order that cuDNN has engines ahead of time for: convolution, addition
 * of the residual, bias, ReLU. */
static reid_status operations(cuda_dnn_graph *g, const cuda_dnn_conv *c, descriptor ops[FUSED_OPS],
                              int64_t *ret_count, reid_error *err)
{
    const int64_t x_dims[4] = {c->n, c->c, c->h, c->w},
                  weight_dims[4] = {c->k, c->c, c->kernel, c->kernel},
                  y_dims[4] = {c->n, c->k, c->p, c->q}, bias_dims[4] = {1, c->k, 1, 1};
    int64_t count = 0, links = 1 + c->residual + c->relu;
    descriptor x = NULL, weight = NULL, y = NULL, bias = NULL, z = NULL, link[FUSED_OPS] = {NULL};
    REID_TRY(tensor(g, CUDA_DNN_X, c->dtype, x_dims, &x, err));
    REID_TRY(tensor(g, CUDA_DNN_WEIGHT, c->dtype, weight_dims, &weight, err));
    REID_TRY(tensor(g, CUDA_DNN_Y, c->dtype, y_dims, &y, err));
    for (int64_t i = 0; c->fused && i < links; i++)
        REID_TRY(tensor(g, VIRTUAL + i, REID_F32, y_dims, &link[i], err));
    REID_TRY(product(g, c, x, weight, c->fused ? link[0] : y, &ops[count++], err));
    if (c->residual) {
        REID_TRY(tensor(g, CUDA_DNN_RESIDUAL, c->dtype, y_dims, &z, err));
        REID_TRY(pointwise(g, CUDNN_POINTWISE_ADD, link[0], z, link[count], &ops[count], err));
        count++;
    }
    if (c->fused) {
        REID_TRY(tensor(g, CUDA_DNN_BIAS, c->dtype, bias_dims, &bias, err));
        REID_TRY(pointwise(g, CUDNN_POINTWISE_ADD, link[count - 1], bias, c->relu ? link[count] : y,
                           &ops[count], err));
        count++;
    }
    if (c->relu) {
        REID_TRY(
            pointwise(g, CUDNN_POINTWISE_RELU_FWD, link[count - 1], NULL, y, &ops[count], err));
        count++;
    }
    *ret_count = count;
    return REID_OK;
}

static reid_status build(cuda_backend *backend, const cuda_dnn_conv *c, cuda_dnn_graph *g,
                         reid_error *err)
{
    descriptor ops[FUSED_OPS] = {NULL}, graph = NULL;
    int64_t count = 0;
    REID_TRY(operations(g, c, ops, &count, err));
    REID_TRY(create(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &graph, err));
    REID_TRY(
        set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, ops, err));
    if (!cuda_is_planned(backend))
        REID_TRY(
            set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &backend->dnn, err));
    REID_TRY(finalize(graph, err));
    g->graph = graph;
    return REID_OK;
}

reid_status cuda_dnn_graph_init(cuda_backend *backend, const cuda_dnn_conv *conv,
                                cuda_dnn_graph *ret_graph, reid_error *err)
{
    cuda_dnn_graph graph = {0};
    reid_status status = build(backend, conv, &graph, err);
    if (status != REID_OK) {
        cuda_dnn_graph_fini(&graph);
        return status;
    }
    *ret_graph = graph;
    return REID_OK;
}

void cuda_dnn_graph_fini(cuda_dnn_graph *graph)
{
    while (graph->count > 0)
        cudnnBackendDestroyDescriptor(graph->all[--graph->count]);
}
