/* The real cuDNN as a judge: with REID_EMU_CUDNN=path of its libcudnn.so.9, every graph that is
 * finalized is also given to it, to be planned for a GPU that is not there (compute capability
 * REID_EMU_SM). A graph for which it has no plan is reported. */
#include "dnn_emu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 128, CONFIGS = 16 };

typedef cudnnBackendDescriptor_t descriptor;

static struct {
    cudnnStatus_t (*create)(cudnnBackendDescriptorType_t, descriptor *);
    cudnnStatus_t (*destroy)(descriptor);
    cudnnStatus_t (*finalize)(descriptor);
    cudnnStatus_t (*set)(descriptor, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t,
                         int64_t, const void *);
    cudnnStatus_t (*get)(descriptor, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t,
                         int64_t, int64_t *, void *);
    void (*error)(char *, size_t);
    descriptor device;
} real;

/* What cuDNN's own description of an H100 has; other capabilities differ in the first number. */
static const char device_format[] =
    "{\"version\":%zu,\"deviceVer\":%d,\"driverVer\":13000,\"cudaDeviceId\":0,"
    "\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
    "\"regsPerBlock\":65536,\"multiProcessorCount\":132,\"warpSize\":32,"
    "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
    "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,"
    "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"
    "\"supportCoopLaunch\":1,\"smClockRateKHz\":1980000,\"memClockRateKHz\":2619000,"
    "\"l2CacheSize\":52428800,\"totalGlobalMem\":85520809984,\"deviceName\":\"planned\"}";

static void fail(const char *what)
{
    fprintf(stderr, "EMU: REID_EMU_CUDNN: %s\n", what);
    abort();
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        fail(name);
    return found;
}

static void describe_device(void)
{
    char json[1500];
    int sm = (int)emu_option("REID_EMU_SM", 90);
    int shared = sm == 80 ? 166912 : sm == 120 ? 101376 : 232448;
    snprintf(json, sizeof json, device_format, (size_t)CUDNN_VERSION, sm * 10, shared);
    if (real.create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &real.device) ||
        real.set(real.device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                 (int64_t)strlen(json) + 1, json) ||
        real.finalize(real.device))
        fail("the description of the GPU is not taken");
}

static bool open_real(void)
{
    static bool tried;
    const char *path = getenv("REID_EMU_CUDNN");
    if (tried || !path || !*path)
        return real.create != NULL;
    tried = true;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        fail(dlerror());
    *(void **)&real.create = symbol(library, "cudnnBackendCreateDescriptor");
    *(void **)&real.destroy = symbol(library, "cudnnBackendDestroyDescriptor");
    *(void **)&real.finalize = symbol(library, "cudnnBackendFinalize");
    *(void **)&real.set = symbol(library, "cudnnBackendSetAttribute");
    *(void **)&real.get = symbol(library, "cudnnBackendGetAttribute");
    *(void **)&real.error = symbol(library, "cudnnGetLastErrorString");
    describe_device();
    return true;
}

/* Real descriptors of one graph; the first failure ends the copy. */
typedef struct copies {
    descriptor all[PARTS];
    int count;
    cudnnStatus_t status;
} copies;

static descriptor create(copies *c, int type)
{
    descriptor d = NULL;
    if (c->count == PARTS)
        fail("a graph of too many parts");
    c->status = real.create((cudnnBackendDescriptorType_t)type, &d);
    if (c->status == CUDNN_STATUS_SUCCESS)
        c->all[c->count++] = d;
    return d;
}

static void set(copies *c, descriptor d, int name, int type, int64_t count, const void *values)
{
    if (c->status == CUDNN_STATUS_SUCCESS)
        c->status = real.set(d, (cudnnBackendAttributeName_t)name,
                             (cudnnBackendAttributeType_t)type, count, values);
}

static void finalize(copies *c, descriptor d)
{
    if (c->status == CUDNN_STATUS_SUCCESS)
        c->status = real.finalize(d);
}

static descriptor copy_desc(copies *c, const emu_desc *from);

/* In the order in which they were set: the list has the last one first. */
static void copy_attrs(copies *c, descriptor to, const emu_attr *a)
{
    descriptor parts[CONFIGS];
    if (!a)
        return;
    copy_attrs(c, to, a->next);
    if (a->type == CUDNN_TYPE_HANDLE) /* the emulated device's: the description takes its place */
        return;
    const void *values = a->values;
    if (a->type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        for (int64_t i = 0; i < a->count && i < CONFIGS; i++)
            parts[i] = copy_desc(c, ((emu_desc **)a->values)[i]);
        values = parts;
    }
    set(c, to, a->name, a->type, a->count, values);
}

static descriptor copy_desc(copies *c, const emu_desc *from)
{
    if (c->status != CUDNN_STATUS_SUCCESS)
        return NULL;
    descriptor to = create(c, from->type);
    copy_attrs(c, to, from->attrs);
    finalize(c, to);
    return to;
}

/* Has one of the engines that `mode` offers a plan? */
static bool plan(copies *c, descriptor graph, cudnnBackendHeurMode_t mode)
{
    descriptor configs[CONFIGS] = {NULL};
    int64_t count = 0;
    bool found = false;
    descriptor heuristic = create(c, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set(c, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &graph);
    set(c, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    set(c, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &real.device);
    finalize(c, heuristic);
    for (int i = 0; i < CONFIGS && c->status == CUDNN_STATUS_SUCCESS; i++)
        configs[i] = create(c, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (c->status == CUDNN_STATUS_SUCCESS)
        c->status = real.get(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                             CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, configs);
    for (int64_t i = 0; i < count && i < CONFIGS && !found; i++) {
        c->status = CUDNN_STATUS_SUCCESS;
        descriptor p = create(c, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        set(c, p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
            &configs[i]);
        set(c, p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
            &real.device);
        finalize(c, p);
        found = c->status == CUDNN_STATUS_SUCCESS;
    }
    return found;
}

cudnnStatus_t emu_dnn_judge(const emu_desc *graph)
{
    copies c = {.status = CUDNN_STATUS_SUCCESS};
    char text[400] = "";
    if (!open_real())
        return CUDNN_STATUS_SUCCESS;
    descriptor copy = copy_desc(&c, graph);
    bool found = c.status == CUDNN_STATUS_SUCCESS && plan(&c, copy, CUDNN_HEUR_MODE_A);
    if (!found && copy) {
        c.status = CUDNN_STATUS_SUCCESS;
        found = plan(&c, copy, CUDNN_HEUR_MODE_FALLBACK);
    }
    if (!found) {
        real.error(text, sizeof text);
        emu_report("CUDNN-REAL", "the real cuDNN has no plan for a graph: %s", text);
    }
    while (c.count)
        real.destroy(c.all[--c.count]);
    return found ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}
