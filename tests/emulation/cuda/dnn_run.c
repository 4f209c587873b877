/* Execution of a plan: tensors become dense float arrays, the graph's operations run in order,
 * results are stored in the type of their tensor. */
#include "dnn_emu.h"
#include "half.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 32, STEPS = 8 };

typedef struct tensor {
    int64_t id, stride[4];
    int type; /* cudnnDataType_t */
    bool is_virtual, by_value;
    void *address; /* as the program gave it */
    float value;   /* by_value */
    bool reads, writes;
    emu_dense dense;
} tensor;

typedef struct step {
    emu_desc *op; /* referenced */
    int kind;
    int tensor[EMU_DNN_TENSORS]; /* places in run.tensors, -1 */
} step;

typedef struct run {
    tensor tensors[TENSORS];
    step steps[STEPS];
    int tensor_count, step_count;
    const emu_engine *engine;
    void *workspace;
} run;

/* ---- elements ---- */

static size_t type_bytes(int type)
{
    switch (type) {
    case CUDNN_DATA_FLOAT:
        return 4;
    case CUDNN_DATA_HALF:
    case CUDNN_DATA_BFLOAT16:
        return 2;
    default:
        return 0;
    }
}

static float load(const void *p, int type, size_t i)
{
    if (type == CUDNN_DATA_FLOAT)
        return ((const float *)p)[i];
    uint16_t bits = ((const uint16_t *)p)[i];
    return type == CUDNN_DATA_BFLOAT16 ? emu_bf16_load(bits) : emu_fp16_load(bits);
}

static void store(void *p, int type, size_t i, float v)
{
    if (type == CUDNN_DATA_FLOAT)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = type == CUDNN_DATA_BFLOAT16 ? emu_bf16_store(v) : emu_fp16_store(v);
}

/* To 10 bits of mantissa, as tensor cores take f32. */
static float to_tf32(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Elements from the first to the last one, holes included. */
static size_t span_bytes(const tensor *t)
{
    int64_t last = 0;
    for (int i = 0; i < t->dense.rank; i++)
        last += (t->dense.dim[i] - 1) * t->stride[i];
    return (size_t)(last + 1) * type_bytes(t->type);
}

/* For each element: its place in the dense array and in memory. */
#define EACH_ELEMENT(t, dense_at, memory_at)                                                       \
    for (int64_t i0 = 0; i0 < (t)->dense.dim[0]; i0++)                                             \
        for (int64_t i1 = 0; i1 < (t)->dense.dim[1]; i1++)                                         \
            for (int64_t i2 = 0; i2 < (t)->dense.dim[2]; i2++)                                     \
                for (int64_t i3 = 0; i3 < ((t)->dense.rank == 4 ? (t)->dense.dim[3] : 1); i3++)    \
                    for (size_t                                                                    \
                             dense_at = emu_dense_at(&(t)->dense, (int64_t[4]){i0, i1, i2, i3}),   \
                             memory_at = (size_t)(i0 * (t)->stride[0] + i1 * (t)->stride[1] +      \
                                                  i2 * (t)->stride[2] + i3 * (t)->stride[3]),      \
                             once = 1;                                                             \
                         once; once = 0)

/* Dense order is memory order. */
static bool is_dense(const tensor *t)
{
    const int64_t *d = t->dense.dim, *s = t->stride;
    if (t->dense.rank == 3)
        return s[2] == 1 && s[1] == d[2] && s[0] == d[1] * d[2];
    return s[1] == 1 && s[3] == d[1] && s[2] == d[1] * d[3] && s[0] == d[1] * d[2] * d[3];
}

static void fetch(tensor *t)
{
    size_t count = emu_dense_count(&t->dense);
    if (t->by_value) {
        for (size_t i = 0; i < count; i++)
            t->dense.data[i] = t->value;
        return;
    }
    const void *memory = emu_mem(t->address);
    if (is_dense(t)) {
        for (size_t i = 0; i < count; i++)
            t->dense.data[i] = load(memory, t->type, i);
        return;
    }
    EACH_ELEMENT(t, to, from)
    t->dense.data[to] = load(memory, t->type, from);
}

static void put_back(const tensor *t)
{
    void *memory = emu_mem(t->address);
    if (is_dense(t)) {
        size_t count = emu_dense_count(&t->dense);
        for (size_t i = 0; i < count; i++)
            store(memory, t->type, i, t->dense.data[i]);
        return;
    }
    EACH_ELEMENT(t, from, to)
    store(memory, t->type, to, t->dense.data[from]);
}

/* ---- steps ---- */

static void copy_pair(const emu_desc *d, int name, int64_t to[2])
{
    memcpy(to, emu_attr_find(d, name)->values, 2 * sizeof *to);
}

static void convolve(const step *s, emu_dense *d[EMU_DNN_TENSORS])
{
    static const int windows[] = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                                  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC};
    static const int alphas[] = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA};
    const emu_desc *window = emu_attr_desc(s->op, windows[s->kind]);
    emu_window win;
    copy_pair(window, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, win.pad);
    copy_pair(window, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, win.stride);
    copy_pair(window, CUDNN_ATTR_CONVOLUTION_DILATIONS, win.dilation);
    emu_dense *out = s->kind == EMU_STEP_FORWARD ? d[2] : s->kind == EMU_STEP_DATA ? d[0] : d[1];
    if (s->kind == EMU_STEP_FORWARD)
        emu_conv_forward(&win, d[0], d[1], d[2]);
    else if (s->kind == EMU_STEP_DATA)
        emu_conv_data(&win, d[0], d[1], d[2]);
    else
        emu_conv_filter(&win, d[0], d[1], d[2]);
    const emu_attr *alpha = emu_attr_find(s->op, alphas[s->kind]);
    double factor = !alpha                             ? 1.0
                    : alpha->type == CUDNN_TYPE_DOUBLE ? *(double *)alpha->values
                                                       : (double)*(float *)alpha->values;
    size_t count = emu_dense_count(out);
    for (size_t i = 0; factor != 1.0 && i < count; i++)
        out->data[i] = (float)((double)out->data[i] * factor);
}

static void run_step(run *r, step *s)
{
    const emu_step_row *row = &emu_step_rows[s->kind];
    emu_dense *d[EMU_DNN_TENSORS] = {NULL};
    for (int j = 0; j < EMU_DNN_TENSORS; j++) {
        if (s->tensor[j] < 0)
            continue;
        tensor *t = &r->tensors[s->tensor[j]];
        d[j] = &t->dense;
        if (t->dense.data)
            continue;
        t->dense.data = malloc(emu_dense_count(&t->dense) * sizeof(float));
        if (!(row->written >> j & 1))
            fetch(t);
        for (size_t i = 0; r->engine->tf32 && t->type == CUDNN_DATA_FLOAT &&
                           !(row->written >> j & 1) && i < emu_dense_count(&t->dense);
             i++)
            t->dense.data[i] = to_tf32(t->dense.data[i]);
    }
    if (s->kind <= EMU_STEP_FILTER) {
        convolve(s, d);
    } else if (s->kind == EMU_STEP_MATMUL) {
        emu_matmul(d[0], d[1], d[2]);
    } else {
        const emu_desc *mode = emu_attr_desc(s->op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
        int name = (int)emu_attr_int(mode, CUDNN_ATTR_POINTWISE_MODE, -1);
        if (!emu_pointwise(name, d[0], d[1], d[4], d[2] ? d[2] : d[3]))
            emu_report("UNSUPPORTED", "pointwise mode %d", name);
    }
}

static bool run_graph(emu_op *op)
{
    run *r = op->owned;
    for (int i = 0; i < r->step_count; i++)
        run_step(r, &r->steps[i]);
    for (int i = 0; i < r->tensor_count; i++) {
        if (r->tensors[i].writes && !r->tensors[i].is_virtual)
            put_back(&r->tensors[i]);
        free(r->tensors[i].dense.data);
    }
    if (r->engine->workspace_bytes) /* a real engine leaves rubbish there */
        memset(emu_mem(r->workspace), 0xff, (size_t)r->engine->workspace_bytes);
    for (int i = 0; i < r->step_count; i++)
        emu_desc_unref(r->steps[i].op);
    return true;
}

static void *clone_run(const void *owned)
{
    run *r = malloc(sizeof *r);
    memcpy(r, owned, sizeof *r);
    for (int i = 0; i < r->step_count; i++)
        emu_desc_ref(r->steps[i].op);
    return r;
}

/* ---- from descriptors ---- */

static void *address_of(const emu_desc *pack, int64_t id)
{
    const emu_attr *ids = emu_attr_find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const emu_attr *pointers = emu_attr_find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    for (int64_t i = 0; ids && pointers && i < ids->count && i < pointers->count; i++)
        if (((int64_t *)ids->values)[i] == id)
            return ((void **)pointers->values)[i];
    return NULL;
}

static const char *fill_tensor(tensor *t, const emu_desc *d, const emu_desc *pack)
{
    const emu_attr *dims = emu_attr_find(d, CUDNN_ATTR_TENSOR_DIMENSIONS);
    const emu_attr *strides = emu_attr_find(d, CUDNN_ATTR_TENSOR_STRIDES);
    t->dense.rank = (int)dims->count;
    for (int i = 0; i < 4; i++) {
        t->dense.dim[i] = i < dims->count ? ((int64_t *)dims->values)[i] : 1;
        t->stride[i] = i < dims->count ? ((int64_t *)strides->values)[i] : 0;
    }
    t->type = (int)emu_attr_int(d, CUDNN_ATTR_TENSOR_DATA_TYPE, -1);
    t->is_virtual = emu_attr_int(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, 0);
    t->by_value = emu_attr_int(d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, 0);
    t->address = t->is_virtual ? NULL : address_of(pack, t->id);
    if (!type_bytes(t->type))
        return "a tensor of a type that the emulator does not know";
    if (!t->is_virtual && !t->address)
        return "a tensor is missing in the variant pack";
    if (t->by_value)
        t->value = load(t->address, t->type, 0);
    int64_t alignment = emu_attr_int(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
    if (!t->is_virtual && !t->by_value && (uintptr_t)t->address % (uintptr_t)alignment)
        return "a tensor is not aligned as its descriptor says";
    return NULL;
}

/* Place of the tensor in r->tensors. */
static int place_tensor(run *r, const emu_desc *d, const emu_desc *pack, const char **ret_fault)
{
    int64_t id = emu_attr_int(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 0);
    for (int i = 0; i < r->tensor_count; i++)
        if (r->tensors[i].id == id)
            return i;
    if (r->tensor_count == TENSORS) {
        *ret_fault = "too many tensors";
        return 0;
    }
    tensor *t = &r->tensors[r->tensor_count];
    t->id = id;
    const char *fault = fill_tensor(t, d, pack);
    if (fault)
        *ret_fault = fault;
    return r->tensor_count++;
}

static const char *fill_step(run *r, emu_desc *op, const emu_desc *pack)
{
    const char *fault = NULL;
    step *s = &r->steps[r->step_count++];
    s->op = op;
    s->kind = emu_step_kind_of(op);
    if (s->kind == EMU_STEP_KINDS)
        return "an operation that the emulator does not know";
    emu_desc_ref(op);
    for (int j = 0; j < EMU_DNN_TENSORS; j++) {
        int name = emu_step_rows[s->kind].tensor[j];
        const emu_desc *d = name ? emu_attr_desc(op, name) : NULL;
        s->tensor[j] = d ? place_tensor(r, d, pack, &fault) : -1;
        if (!d)
            continue;
        bool written = emu_step_rows[s->kind].written >> j & 1;
        r->tensors[s->tensor[j]].writes |= written;
        r->tensors[s->tensor[j]].reads |= !written;
    }
    return fault;
}

static const char *fill_run(run *r, const emu_desc *graph, const emu_desc *pack)
{
    const emu_attr *ops = emu_attr_find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (ops->count > STEPS)
        return "too many operations in a graph";
    for (int64_t i = 0; i < ops->count; i++) {
        const char *fault = fill_step(r, ((emu_desc **)ops->values)[i], pack);
        if (fault)
            return fault;
    }
    const emu_attr *workspace = emu_attr_find(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    r->workspace = workspace ? *(void **)workspace->values : NULL;
    if (r->engine->workspace_bytes && !r->workspace)
        return "the plan needs a workspace, none is given";
    if (!r->engine->deterministic)
        return "a plan with the NONDETERMINISTIC note is run";
    return NULL;
}

/* Engines use their workspace while they read and write the tensors, and no engine convolves in
 * place. */
static void check_overlaps(const run *r)
{
    for (int i = 0; i < r->tensor_count; i++) {
        const tensor *t = &r->tensors[i];
        uintptr_t lo = (uintptr_t)t->address, hi = lo + span_bytes(t);
        uintptr_t work = (uintptr_t)r->workspace;
        if (t->is_virtual || t->by_value)
            continue;
        if (r->engine->workspace_bytes && lo < work + (uintptr_t)r->engine->workspace_bytes &&
            work < hi)
            emu_report("CUDNN", "the workspace overlaps tensor %ld", (long)t->id);
        for (int k = 0; k < i && r->steps[0].kind <= EMU_STEP_MATMUL; k++) {
            const tensor *o = &r->tensors[k];
            uintptr_t other = (uintptr_t)o->address;
            if (!o->is_virtual && !o->by_value && (t->writes || o->writes) &&
                lo < other + span_bytes(o) && other < hi)
                emu_report("CUDNN", "tensors %ld and %ld overlap, one is written", (long)t->id,
                           (long)o->id);
        }
    }
}

static void declare(emu_op *op, const run *r)
{
    check_overlaps(r);
    for (int i = 0; i < r->tensor_count; i++) {
        const tensor *t = &r->tensors[i];
        if (t->is_virtual || t->by_value)
            continue;
        if (t->reads)
            emu_op_range(op, t->address, span_bytes(t), false);
        if (t->writes)
            emu_op_range(op, t->address, span_bytes(t), true);
    }
    emu_op_range(op, r->workspace, (size_t)r->engine->workspace_bytes, true);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_descriptor,
                                  cudnnBackendDescriptor_t pack)
{
    static const char *const names[] = {"cudnn convolution forward", "cudnn convolution data",
                                        "cudnn convolution filter", "cudnn matmul",
                                        "cudnn pointwise"};
    const emu_desc *plan = plan_descriptor, *p = pack;
    if (emu_fault_at(__func__) == EMU_FAIL)
        return emu_dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "injected");
    if (emu_sticky())
        return emu_dnn_fail(CUDNN_STATUS_EXECUTION_FAILED, "%s", cudaGetErrorString(emu_sticky()));
    if (!plan || !p || !plan->finalized || !p->finalized) {
        emu_report("CUDNN", "execute with an unfinalized plan or variant pack");
        return emu_dnn_fail(CUDNN_STATUS_BAD_PARAM, "not finalized");
    }
    const emu_desc *config = emu_attr_desc(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    run *r = calloc(1, sizeof *r);
    r->engine = emu_engine_of(config);
    const char *fault = fill_run(r, config->graph, p);
    if (fault) {
        emu_report("CUDNN", "cudnnBackendExecute: %s", fault);
        free(r);
        return emu_dnn_fail(CUDNN_STATUS_BAD_PARAM, "%s", fault);
    }
    emu_op *op = emu_op_new(handle->stream, names[r->steps[0].kind], run_graph);
    op->owned = r;
    op->clone = clone_run;
    declare(op, r);
    emu_op_submit(op);
    return CUDNN_STATUS_SUCCESS;
}
