/* Descriptors of cuDNN's graph interface: recorded, checked when finalized. */
#include "dnn_emu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_error[400];

#define DETERMINISTIC true
const emu_engine emu_engines[] = {
    {0, false, false, 4096, 1, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}},
    {1,
     DETERMINISTIC,
     true,
     0,
     2,
     {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}},
    {2, DETERMINISTIC, false, 2048, 0, {0}},
    {3, DETERMINISTIC, false, 1024, 1, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}},
};

const emu_step_row emu_step_rows[EMU_STEP_KINDS] = {
    [EMU_STEP_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                          {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
                          1u << 2},
    [EMU_STEP_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
                       1u << 0},
    [EMU_STEP_FILTER] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                         {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
                         1u << 1},
    [EMU_STEP_MATMUL] = {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
                         {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC,
                          CUDNN_ATTR_OPERATION_MATMUL_CDESC},
                         1u << 2},
    [EMU_STEP_POINTWISE] = {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                            {CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_DXDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_DYDESC},
                            1u << 2 | 1u << 3},
};

int emu_step_kind_of(const emu_desc *op)
{
    int kind = 0;
    while (kind < EMU_STEP_KINDS && emu_step_rows[kind].type != op->type)
        kind++;
    return kind;
}

cudnnStatus_t emu_dnn_fail(cudnnStatus_t status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return status;
}

/* Wrong use, which the real library may let pass. */
static cudnnStatus_t misuse(const char *what, const emu_desc *d, int name)
{
    emu_report("CUDNN", "%s: descriptor of type %d, attribute %d", what, d->type, name);
    return emu_dnn_fail(CUDNN_STATUS_BAD_PARAM, "%s: attribute %d", what, name);
}

/* ---- the library ---- */

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

size_t cudnnGetCudartVersion(void)
{
    return CUDART_VERSION;
}

void cudnnGetLastErrorString(char *ret_text, size_t capacity)
{
    if (capacity)
        snprintf(ret_text, capacity, "%s", last_error);
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch ((int)status) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
        return "CUDNN_STATUS_INTERNAL_ERROR";
    }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *ret_handle)
{
    if (emu_fault_at(__func__) == EMU_FAIL)
        return emu_dnn_fail(CUDNN_STATUS_INTERNAL_ERROR, "injected");
    cudnnHandle_t handle = calloc(1, sizeof *handle);
    handle->device = emu_device();
    *ret_handle = handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    if (emu_stream_device(stream) != handle->device) {
        emu_report("CUDNN", "cudnnSetStream: a stream of another device");
        return CUDNN_STATUS_BAD_PARAM;
    }
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *ret_stream)
{
    *ret_stream = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- attributes ---- */

size_t emu_attr_bytes(int type)
{
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    case CUDNN_TYPE_FRACTION:
        return sizeof(cudnnFraction_t);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    case CUDNN_TYPE_HANDLE:
        return 8;
    default:
        return 4;
    }
}

emu_attr *emu_attr_find(const emu_desc *d, int name)
{
    emu_attr *a = d->attrs;
    while (a && a->name != name)
        a = a->next;
    return a;
}

emu_desc *emu_attr_desc(const emu_desc *d, int name)
{
    const emu_attr *a = d ? emu_attr_find(d, name) : NULL;
    return a ? *(emu_desc **)a->values : NULL;
}

int64_t emu_attr_int(const emu_desc *d, int name, int64_t otherwise)
{
    const emu_attr *a = emu_attr_find(d, name);
    if (!a)
        return otherwise;
    switch (emu_attr_bytes(a->type)) {
    case 1:
        return *(const bool *)a->values;
    case 4:
        return *(const int *)a->values;
    default:
        return *(const int64_t *)a->values;
    }
}

void emu_desc_ref(emu_desc *d)
{
    __atomic_add_fetch(&d->references, 1, __ATOMIC_ACQ_REL);
}

void emu_desc_unref(emu_desc *d)
{
    if (!d || __atomic_sub_fetch(&d->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    while (d->attrs) {
        emu_attr *a = d->attrs;
        d->attrs = a->next;
        for (int64_t i = 0; a->type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < a->count; i++)
            emu_desc_unref(((emu_desc **)a->values)[i]);
        free(a->values);
        free(a);
    }
    emu_desc_unref(d->graph);
    free(d);
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *ret_descriptor)
{
    if (emu_fault_at(__func__) == EMU_FAIL)
        return emu_dnn_fail(CUDNN_STATUS_INTERNAL_ERROR, "injected");
    emu_desc *d = calloc(1, sizeof *d);
    d->type = (int)type;
    d->references = 1;
    d->engine = -1;
    *ret_descriptor = d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    emu_desc_unref(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values)
{
    emu_desc *d = descriptor;
    if (!d || !values || count < 1)
        return emu_dnn_fail(CUDNN_STATUS_BAD_PARAM, "attribute %d: no value", (int)name);
    if (d->finalized)
        return misuse("set after finalize", d, (int)name);
    for (int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; i++) {
        emu_desc *value = ((emu_desc *const *)values)[i];
        if (!value || !value->finalized)
            return misuse("an unfinalized descriptor is set", d, (int)name);
        emu_desc_ref(value);
    }
    emu_attr *a = calloc(1, sizeof *a);
    size_t bytes = emu_attr_bytes((int)type) * (size_t)count;
    *a = (emu_attr){(int)name, (int)type, count, malloc(bytes), d->attrs};
    memcpy(a->values, values, bytes);
    d->attrs = a;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- finalize ---- */

static cudnnStatus_t check_tensor(const emu_desc *d)
{
    static const int needed[] = {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_ATTR_TENSOR_DIMENSIONS,
                                 CUDNN_ATTR_TENSOR_STRIDES, CUDNN_ATTR_TENSOR_UNIQUE_ID,
                                 CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!emu_attr_find(d, needed[i]))
            return misuse("a tensor lacks an attribute", d, needed[i]);
    const emu_attr *dims = emu_attr_find(d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    const emu_attr *strides = emu_attr_find(d, CUDNN_ATTR_TENSOR_STRIDES);
    if (dims->count != strides->count || dims->count < 3 || dims->count > 4)
        return misuse("a tensor of a rank that is not 3 or 4", d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    for (int64_t i = 0; i < dims->count; i++)
        if (((int64_t *)dims->values)[i] < 1 || ((int64_t *)strides->values)[i] < 1)
            return misuse("a tensor with a dimension below 1", d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    return CUDNN_STATUS_SUCCESS;
}

static int64_t dim(const emu_desc *tensor, int i)
{
    return ((int64_t *)emu_attr_find(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS)->values)[i];
}

static emu_desc *window_of(const emu_desc *op, int kind)
{
    static const int names[] = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC};
    return emu_attr_desc(op, names[kind]);
}

static int64_t pair(const emu_desc *window, int name, int i)
{
    const emu_attr *a = emu_attr_find(window, name);
    return a ? ((int64_t *)a->values)[i] : -1;
}

static cudnnStatus_t check_convolution(const emu_desc *op, int kind)
{
    const emu_step_row *row = &emu_step_rows[kind];
    const emu_desc *x = emu_attr_desc(op, row->tensor[0]), *w = emu_attr_desc(op, row->tensor[1]),
                   *y = emu_attr_desc(op, row->tensor[2]), *win = window_of(op, kind);
    if (!x || !w || !y || !win)
        return misuse("a convolution lacks a part", op, 0);
    bool ok = dim(x, 0) == dim(y, 0) && dim(x, 1) == dim(w, 1) && dim(y, 1) == dim(w, 0);
    for (int i = 0; i < 2; i++) {
        int64_t pad = pair(win, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) +
                      pair(win, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i);
        int64_t reach = (dim(w, 2 + i) - 1) * pair(win, CUDNN_ATTR_CONVOLUTION_DILATIONS, i) + 1;
        int64_t stride = pair(win, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i);
        ok = ok && stride > 0 && dim(y, 2 + i) == (dim(x, 2 + i) + pad - reach) / stride + 1;
    }
    return ok ? CUDNN_STATUS_SUCCESS : misuse("shapes of a convolution do not fit", op, 0);
}

static cudnnStatus_t check_matmul(const emu_desc *op)
{
    const int *names = emu_step_rows[EMU_STEP_MATMUL].tensor;
    const emu_desc *a = emu_attr_desc(op, names[0]), *b = emu_attr_desc(op, names[1]),
                   *c = emu_attr_desc(op, names[2]);
    if (!a || !b || !c)
        return misuse("a matmul lacks a part", op, 0);
    bool ok = dim(a, 2) == dim(b, 1) && dim(a, 1) == dim(c, 1) && dim(b, 2) == dim(c, 2);
    return ok ? CUDNN_STATUS_SUCCESS : misuse("shapes of a matmul do not fit", op, 0);
}

static cudnnStatus_t check(const emu_desc *d)
{
    int kind = emu_step_kind_of(d);
    if (d->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR)
        return check_tensor(d);
    if (kind <= EMU_STEP_FILTER)
        return check_convolution(d, kind);
    if (kind == EMU_STEP_MATMUL)
        return check_matmul(d);
    if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
        return emu_dnn_judge(d);
    return CUDNN_STATUS_SUCCESS;
}

/* The engine and the graph of a configuration that the program put together itself. */
static void adopt(emu_desc *d)
{
    emu_desc *from = NULL;
    if (d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && !d->graph) {
        d->graph = emu_attr_desc(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
        d->engine = (int)emu_attr_int(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
    } else if (d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && !d->graph) {
        from = emu_attr_desc(d, CUDNN_ATTR_ENGINECFG_ENGINE);
        d->graph = from ? from->graph : NULL;
        d->engine = from ? from->engine : -1;
    } else {
        return;
    }
    if (d->graph)
        emu_desc_ref(d->graph);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    emu_desc *d = descriptor;
    if (emu_fault_at(__func__) == EMU_FAIL)
        return emu_dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "injected");
    cudnnStatus_t status = check(d);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    adopt(d);
    if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const emu_desc *config = emu_attr_desc(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        if (!config || !emu_engine_of(config))
            return emu_dnn_fail(CUDNN_STATUS_NOT_SUPPORTED, "no such engine for this graph");
    }
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- heuristics ---- */

static bool reads_f32(const emu_desc *graph)
{
    const emu_attr *ops = emu_attr_find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const emu_desc *op = *(emu_desc **)ops->values;
    int kind = emu_step_kind_of(op);
    for (int j = 0; kind < EMU_STEP_KINDS && j < EMU_DNN_TENSORS; j++) {
        int name = emu_step_rows[kind].tensor[j];
        const emu_desc *t =
            name && !(emu_step_rows[kind].written >> j & 1) ? emu_attr_desc(op, name) : NULL;
        if (t && emu_attr_int(t, CUDNN_ATTR_TENSOR_DATA_TYPE, -1) == CUDNN_DATA_FLOAT)
            return true;
    }
    return false;
}

int emu_engines_of(const emu_desc *graph, const emu_engine *ret_engines[4])
{
    const emu_attr *ops = emu_attr_find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (ops->count > 1 && emu_option("REID_EMU_FUSION", 1) == 0)
        return 0;
    ret_engines[0] = &emu_engines[0];
    if (!reads_f32(graph)) {
        ret_engines[1] = &emu_engines[3];
        return 2;
    }
    ret_engines[1] = &emu_engines[1];
    ret_engines[2] = &emu_engines[2];
    return 3;
}

const emu_engine *emu_engine_of(const emu_desc *config)
{
    const emu_engine *engines[4];
    int count = config->graph ? emu_engines_of(config->graph, engines) : 0;
    for (int i = 0; i < count; i++)
        if (engines[i]->index == config->engine)
            return engines[i];
    return NULL;
}

static void become(emu_desc *d, emu_desc *graph, int engine)
{
    if (d->graph)
        emu_desc_unref(d->graph);
    emu_desc_ref(graph);
    d->graph = graph;
    d->engine = engine;
    d->finalized = true;
}

static cudnnStatus_t get_results(const emu_desc *heuristic, int64_t room, int64_t *ret_count,
                                 emu_desc **results)
{
    const emu_engine *engines[4];
    emu_desc *graph = emu_attr_desc(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    int count = graph ? emu_engines_of(graph, engines) : 0;
    for (int i = 0; i < count && i < room; i++)
        become(results[i], graph, engines[i]->index);
    *ret_count = room && room < count ? room : count;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_of_engine(const emu_desc *d, int name, int64_t room, int64_t *ret_count,
                                   void *ret)
{
    const emu_engine *engine = emu_engine_of(d);
    *ret_count = 0;
    if (!engine)
        return emu_dnn_fail(CUDNN_STATUS_BAD_PARAM, "no engine is set");
    if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX) {
        *ret_count = 1;
        *(int64_t *)ret = engine->index;
    } else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
        *ret_count = engine->note_count;
        for (int i = 0; i < engine->note_count && i < room; i++)
            ((cudnnBackendNumericalNote_t *)ret)[i] = engine->notes[i];
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t get_stored(const emu_desc *d, int name, int64_t room, int64_t *ret_count,
                                void *ret)
{
    const emu_attr *a = emu_attr_find(d, name);
    *ret_count = a ? a->count : 0;
    if (a && a->type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        return misuse("descriptors are not given back by the emulator", d, name);
    if (a && ret)
        memcpy(ret, a->values,
               emu_attr_bytes(a->type) * (size_t)(room < a->count ? room : a->count));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room,
                                       int64_t *ret_count, void *ret)
{
    const emu_desc *d = descriptor;
    int64_t unused;
    (void)type;
    ret_count = ret_count ? ret_count : &unused;
    if (!d->finalized)
        return misuse("get before finalize", d, (int)name);
    if (d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR)
        return get_of_engine(d, (int)name, room, ret_count, ret);
    switch ((int)name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        return get_results(d, room, ret_count, ret);
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        become(*(emu_desc **)ret, d->graph, d->engine);
        *ret_count = 1;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        d = emu_attr_desc(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        *(int64_t *)ret = emu_engine_of(d)->workspace_bytes;
        *ret_count = 1;
        return CUDNN_STATUS_SUCCESS;
    default:
        return get_stored(d, (int)name, room, ret_count, ret);
    }
}
