/* Descriptors of cuDNN's graph API. */
#ifndef REID_BACKEND_CUDA_DNN_GRAPH_H
#define REID_BACKEND_CUDA_DNN_GRAPH_H

#include "backend/cuda/dnn.h"

/* Unique ids of the tensors of a convolution. */
enum { CUDA_DNN_X = 1, CUDA_DNN_WEIGHT, CUDA_DNN_Y, CUDA_DNN_RESIDUAL, CUDA_DNN_BIAS };

#define DNN_DESCRIPTORS 20

/* The descriptors of one graph, destroyed together. */
typedef struct cuda_dnn_graph {
    cudnnBackendDescriptor_t all[DNN_DESCRIPTORS];
    int count;
    cudnnBackendDescriptor_t graph; /* finalised; one of `all` */
} cuda_dnn_graph;

reid_status cuda_dnn_graph_init(cuda_backend *backend, const cuda_dnn_conv *conv,
                                cuda_dnn_graph *ret_graph, reid_error *err);
void cuda_dnn_graph_fini(cuda_dnn_graph *graph);

#endif
