#include "backend/cuda/dnn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/dnn_graph.h"
#include "base/alloc.h"

typedef cudnnBackendDescriptor_t descriptor;

/* Engines looked at per heuristic; cuDNN offers up to some dozens. */
#define ENGINES 64
#define NOTES 16

/* What an engine says about its numbers, as a set of 1 << note. */
static unsigned notes_of(descriptor config, int64_t *ret_index)
{
    cudnnBackendNumericalNote_t notes[NOTES];
    int64_t count = 0, one = 0;
    unsigned set = 0;
    descriptor engine = NULL;
    *ret_index = -1;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
        CUDNN_STATUS_SUCCESS)
        return ~0u;
    if (cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 1, &one, &engine) != CUDNN_STATUS_SUCCESS ||
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &one,
                                 ret_index) != CUDNN_STATUS_SUCCESS ||
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                 CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &count,
                                 notes) != CUDNN_STATUS_SUCCESS)
        set = ~0u; /* an engine that says nothing of itself is not taken */
    for (int64_t i = 0; i < count && i < NOTES; i++)
        set |= 1u << notes[i];
    cudnnBackendDestroyDescriptor(engine);
    return set;
}

#define NOTE(name) (1u << CUDNN_NUMERICAL_NOTE_##name)
#define NOTES_WINOGRAD                                                                             \
    (NOTE(WINOGRAD) | NOTE(WINOGRAD_TILE_4x4) | NOTE(WINOGRAD_TILE_6x6) | NOTE(WINOGRAD_TILE_13x13))

static unsigned refused_notes(const cuda_backend *backend, const cuda_dnn_conv *conv)
{
    unsigned refused = NOTE(NONDETERMINISTIC) | NOTE(REDUCED_PRECISION_REDUCTION);
    /* On tensor cores f32 is rounded to tf32. */
    if (conv->dtype == REID_F32 && !backend->tf32)
        refused |= NOTE(TENSOR_CORE) | NOTE(DOWN_CONVERT_INPUTS);
    if (conv->direct)
        refused |= NOTES_WINOGRAD | NOTE(FFT);
    return refused;
}

/* What is kept of the search: why nothing was found. */
typedef struct search {
    int offered, refused;
    char last[256];
} search;

static bool make_plan(cuda_backend *backend, descriptor config, descriptor *ret_plan,
                      size_t *ret_workspace_bytes, search *s)
{
    descriptor plan = NULL;
    int64_t count = 0, bytes = 0;
    bool planned = cuda_is_planned(backend);
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (status == CUDNN_STATUS_SUCCESS && planned)
        status = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &backend->properties);
    else if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE,
                                          1, &backend->dnn);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                          CUDNN_TYPE_INT64, 1, &count, &bytes);
    if (status == CUDNN_STATUS_SUCCESS) {
        *ret_plan = plan;
        *ret_workspace_bytes = (size_t)bytes;
        return true;
    }
    cudnnGetLastErrorString(s->last, sizeof s->last);
    if (plan)
        cudnnBackendDestroyDescriptor(plan);
    return false;
}

/* Two calls on tensor cores are faster than one without. */
static unsigned wanted_notes(const cuda_backend *backend, const cuda_dnn_conv *conv)
{
    bool tensor_cores = conv->dtype != REID_F32 || backend->tf32;
    return conv->fused && tensor_cores ? NOTE(TENSOR_CORE) : 0;
}

/* Takes the first engine of `configs` that may be used. */
static bool take_first(cuda_backend *backend, descriptor *configs, int64_t count,
                       cuda_dnn_plan *plan, search *s)
{
    unsigned refused = refused_notes(backend, &plan->conv),
             wanted = wanted_notes(backend, &plan->conv);
    for (int64_t i = 0; i < count; i++) {
        int64_t index = -1;
        unsigned notes = notes_of(configs[i], &index);
        s->offered++;
        if (notes & refused || (notes & wanted) != wanted) {
            s->refused++;
            continue;
        }
        if (make_plan(backend, configs[i], &plan->plan, &plan->workspace_bytes, s)) {
            snprintf(plan->engine, sizeof plan->engine, "eng%d%s%s", (int)index,
                     notes & NOTE(TENSOR_CORE) ? " tc" : "",
                     notes & NOTES_WINOGRAD ? " winograd" : "");
            return true;
        }
    }
    return false;
}

static cudnnStatus_t heuristics(cuda_backend *backend, descriptor graph,
                                cudnnBackendHeurMode_t mode, descriptor *configs,
                                int64_t *ret_count)
{
    descriptor heuristic = NULL;
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE,
                                          CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (status == CUDNN_STATUS_SUCCESS && cuda_is_planned(backend))
        status = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &backend->properties);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(heuristic);
    if (status == CUDNN_STATUS_SUCCESS)
        status =
            cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, ret_count, configs);
    if (heuristic)
        cudnnBackendDestroyDescriptor(heuristic);
    return status;
}

static bool choose(cuda_backend *backend, descriptor graph, cuda_dnn_plan *plan, search *s)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    bool found = false;
    size_t mode_count = plan->conv.fused ? 1 : sizeof modes / sizeof modes[0];
    for (size_t m = 0; !found && m < mode_count; m++) {
        descriptor configs[ENGINES] = {0};
        int64_t count = 0;
        cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
        for (int i = 0; i < ENGINES && status == CUDNN_STATUS_SUCCESS; i++)
            status = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]);
        if (status == CUDNN_STATUS_SUCCESS)
            status = heuristics(backend, graph, modes[m], configs, &count);
        if (status == CUDNN_STATUS_SUCCESS)
            found = take_first(backend, configs, count < ENGINES ? count : ENGINES, plan, s);
        else
            cudnnGetLastErrorString(s->last, sizeof s->last);
        for (int i = 0; i < ENGINES && configs[i]; i++)
            cudnnBackendDestroyDescriptor(configs[i]);
    }
    return found;
}

static reid_status no_plan(const cuda_backend *backend, const cuda_dnn_conv *c, const char *layer,
                           const search *s, reid_error *err)
{
    static const char *const passes[REID_OP_PASSES] = {"the output", "the gradient of the weights",
                                                       "the gradient of the input"};
    return reid_fail(err, REID_ERR_UNSUPPORTED,
                     "%s: cuDNN has no plan on sm_%d for %s of a convolution %lldx%lldx%lldx%lld "
                     "to %lld, kernel %d, stride %d, in %s (%d engines offered, %d of them not "
                     "deterministic or of lower precision%s%s)",
                     layer, backend->gpu.sm, passes[c->pass], (long long)c->n, (long long)c->c,
                     (long long)c->h, (long long)c->w, (long long)c->k, c->kernel, c->stride,
                     reid_dtype_name(c->dtype), s->offered, s->refused, s->last[0] ? "; " : "",
                     s->last);
}

reid_status cuda_dnn_plan_get(cuda_backend *backend, const cuda_dnn_conv *conv, const char *layer,
                              const cuda_dnn_plan **ret_plan, reid_error *err)
{
    for (const cuda_dnn_plan *p = backend->plans; p; p = p->next)
        if (memcmp(&p->conv, conv, sizeof *conv) == 0) {
            *ret_plan = p;
            return REID_OK;
        }
    cuda_dnn_graph graph;
    search s = {0};
    reid_status status = cuda_dnn_graph_init(backend, conv, &graph, err);
    if (status != REID_OK)
        return reid_error_prefix(err, "%s", layer);
    cuda_dnn_plan *plan = reid_xcalloc(1, sizeof *plan);
    memcpy(&plan->conv, conv, sizeof *conv);
    bool found = choose(backend, graph.graph, plan, &s);
    cuda_dnn_graph_fini(&graph);
    if (!found) {
        free(plan);
        return no_plan(backend, conv, layer, &s, err);
    }
    plan->next = backend->plans;
    backend->plans = plan;
    *ret_plan = plan;
    return REID_OK;
}

void cuda_dnn_plans_free(cuda_backend *backend)
{
    while (backend->plans) {
        cuda_dnn_plan *next = backend->plans->next;
        cudnnBackendDestroyDescriptor(backend->plans->plan);
        free(backend->plans);
        backend->plans = next;
    }
}

reid_status cuda_dnn_call_bind(cuda_dnn_call *call, const cuda_dnn_places *places, reid_error *err)
{
    const cuda_dnn_conv *conv = &call->plan->conv;
    const int64_t ids[] = {CUDA_DNN_X, CUDA_DNN_WEIGHT, CUDA_DNN_Y, CUDA_DNN_BIAS,
                           CUDA_DNN_RESIDUAL};
    const void *const addresses[] = {places->x, places->weight, places->y, places->bias,
                                     places->residual};
    int64_t count = 3 + conv->fused + conv->residual;
    cuda_dnn_call_fini(call);
    DNN_TRY(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &call->pack));
    DNN_TRY(cudnnBackendSetAttribute(call->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                     CUDNN_TYPE_INT64, count, ids));
    DNN_TRY(cudnnBackendSetAttribute(call->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                     CUDNN_TYPE_VOID_PTR, count, addresses));
    DNN_TRY(cudnnBackendSetAttribute(call->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                     CUDNN_TYPE_VOID_PTR, 1, &places->workspace));
    DNN_TRY(cudnnBackendFinalize(call->pack));
    return REID_OK;
}

reid_status cuda_dnn_call_run(cuda_backend *backend, const cuda_dnn_call *call, reid_error *err)
{
    return cuda_dnn_check(err, cudnnBackendExecute(backend->dnn, call->plan->plan, call->pack),
                          call->plan->engine);
}

void cuda_dnn_call_fini(cuda_dnn_call *call)
{
    if (call->pack)
        cudnnBackendDestroyDescriptor(call->pack);
    call->pack = NULL;
}

const char *cuda_dnn_call_text(const cuda_dnn_call *call, char buffer[48])
{
    if (call->plan)
        snprintf(buffer, 48, "%s %.1f MiB", call->plan->engine,
                 (double)call->plan->workspace_bytes / (double)(1u << 20));
    else
        snprintf(buffer, 48, "none");
    return buffer;
}
