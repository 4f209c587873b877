#include "gpu/gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* ---- what is used of NVML's interface (nvml.h of CUDA 12 and 13), by its documented layout ----
 */

typedef void *nvml_device;

typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

typedef struct nvml_utilization {
    unsigned gpu, memory;
} nvml_utilization;

typedef struct nvml_pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} nvml_pci;

typedef struct nvml_process {
    unsigned pid;
    unsigned long long used_memory;
    unsigned gpu_instance, compute_instance;
} nvml_process;

enum { NVML_SUCCESS = 0 };
enum { NVML_TEMPERATURE_GPU = 0, NVML_CLOCK_SM = 1 };
enum { NVML_PROCESSES_MOST = 1024 };

typedef struct nvml_functions {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int result);
    int (*driver_version)(char *version, unsigned length);
    int (*count)(unsigned *count);
    int (*by_index)(unsigned index, nvml_device *device);
    int (*uuid)(nvml_device device, char *uuid, unsigned length);
    int (*name)(nvml_device device, char *name, unsigned length);
    int (*pci)(nvml_device device, nvml_pci *pci);
    int (*memory)(nvml_device device, nvml_memory *memory);
    int (*utilization)(nvml_device device, nvml_utilization *utilization);
    int (*temperature)(nvml_device device, int sensor, unsigned *celsius);
    int (*power)(nvml_device device, unsigned *milliwatts);
    int (*power_limit)(nvml_device device, unsigned *milliwatts);
    int (*clock)(nvml_device device, int type, unsigned *mhz);
    int (*clock_max)(nvml_device device, int type, unsigned *mhz);
    int (*throttle)(nvml_device device, unsigned long long *reasons);
    int (*processes)(nvml_device device, unsigned *count, nvml_process *processes);
} nvml_functions;

/* One function of the library: `older` is its name in earlier drivers. */
typedef struct nvml_row {
    const char *name, *older;
    size_t offset;
    bool needed; /* others may be missing: their figures are unknown then */
} nvml_row;

#define AT(member) offsetof(nvml_functions, member)
static const nvml_row nvml_rows[] = {
    {"nvmlInit_v2", NULL, AT(init), true},
    {"nvmlShutdown", NULL, AT(shutdown), true},
    {"nvmlErrorString", NULL, AT(error_string), true},
    {"nvmlSystemGetDriverVersion", NULL, AT(driver_version), false},
    {"nvmlDeviceGetCount_v2", NULL, AT(count), true},
    {"nvmlDeviceGetHandleByIndex_v2", NULL, AT(by_index), true},
    {"nvmlDeviceGetUUID", NULL, AT(uuid), true},
    {"nvmlDeviceGetName", NULL, AT(name), true},
    {"nvmlDeviceGetPciInfo_v3", NULL, AT(pci), false},
    {"nvmlDeviceGetMemoryInfo", NULL, AT(memory), false},
    {"nvmlDeviceGetUtilizationRates", NULL, AT(utilization), false},
    {"nvmlDeviceGetTemperature", NULL, AT(temperature), false},
    {"nvmlDeviceGetPowerUsage", NULL, AT(power), false},
    {"nvmlDeviceGetEnforcedPowerLimit", NULL, AT(power_limit), false},
    {"nvmlDeviceGetClockInfo", NULL, AT(clock), false},
    {"nvmlDeviceGetMaxClockInfo", NULL, AT(clock_max), false},
    {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons",
     AT(throttle), false},
    {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2",
     AT(processes), false},
};

struct reid_gpus {
    void *library;
    nvml_functions nvml;
    bool started;
    char driver[96];
};

/* ---- start and end ---- */

static reid_status find_functions(reid_gpus *gpus, reid_error *err)
{
    for (size_t i = 0; i < REID_COUNT_OF(nvml_rows); i++) {
        const nvml_row *row = &nvml_rows[i];
        void *symbol = dlsym(gpus->library, row->name);
        if (!symbol && row->older)
            symbol = dlsym(gpus->library, row->older);
        if (!symbol && row->needed)
            return reid_fail(err, REID_ERR_UNSUPPORTED,
                             "no GPUs can be listed: libnvidia-ml.so.1 has no %s", row->name);
        memcpy((char *)&gpus->nvml + row->offset, &symbol, sizeof symbol);
    }
    return REID_OK;
}

static reid_status start(reid_gpus *gpus, reid_error *err)
{
    gpus->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!gpus->library)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "no GPUs can be listed: libnvidia-ml.so.1 of NVIDIA's driver is not "
                         "there");
    REID_TRY(find_functions(gpus, err));
    int result = gpus->nvml.init();
    if (result != NVML_SUCCESS)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "no GPUs can be listed: NVML does not start: %s",
                         gpus->nvml.error_string(result));
    gpus->started = true;
    if (!gpus->nvml.driver_version ||
        gpus->nvml.driver_version(gpus->driver, sizeof gpus->driver) != NVML_SUCCESS)
        gpus->driver[0] = '\0';
    return REID_OK;
}

reid_status reid_gpus_open(reid_gpus **ret_gpus, reid_error *err)
{
    reid_gpus *gpus = reid_xcalloc(1, sizeof *gpus);
    reid_status status = start(gpus, err);
    if (status != REID_OK) {
        reid_gpus_close(gpus);
        return status;
    }
    *ret_gpus = gpus;
    return REID_OK;
}

void reid_gpus_close(reid_gpus *gpus)
{
    if (!gpus)
        return;
    if (gpus->started)
        gpus->nvml.shutdown();
    if (gpus->library)
        dlclose(gpus->library);
    free(gpus);
}

const char *reid_gpus_driver(const reid_gpus *gpus)
{
    return gpus->driver;
}

/* ---- one GPU ---- */

/* Whether the function is there and has succeeded. */
#define TELLS(gpus, function, ...)                                                                 \
    ((gpus)->nvml.function && (gpus)->nvml.function(__VA_ARGS__) == NVML_SUCCESS)

static void sample_memory(const reid_gpus *gpus, nvml_device device, reid_gpu_info *info)
{
    nvml_memory memory = {0};
    info->memory_total_bytes = info->memory_used_bytes = REID_GPU_UNKNOWN;
    if (!TELLS(gpus, memory, device, &memory))
        return;
    info->memory_total_bytes = (int64_t)memory.total;
    info->memory_used_bytes = (int64_t)memory.used;
}

static void sample_load(const reid_gpus *gpus, nvml_device device, reid_gpu_info *info)
{
    nvml_utilization use = {0};
    bool told = TELLS(gpus, utilization, device, &use);
    unsigned number = 0;
    info->utilization_percent = told ? (int)use.gpu : REID_GPU_UNKNOWN;
    info->memory_utilization_percent = told ? (int)use.memory : REID_GPU_UNKNOWN;
    told = TELLS(gpus, temperature, device, NVML_TEMPERATURE_GPU, &number);
    info->temperature_c = told ? (int)number : REID_GPU_UNKNOWN;
    told = TELLS(gpus, power, device, &number);
    info->power_w = told ? number / 1000.0 : REID_GPU_UNKNOWN;
    told = TELLS(gpus, power_limit, device, &number);
    info->power_limit_w = told ? number / 1000.0 : REID_GPU_UNKNOWN;
    told = TELLS(gpus, clock, device, NVML_CLOCK_SM, &number);
    info->clock_mhz = told ? (int)number : REID_GPU_UNKNOWN;
    told = TELLS(gpus, clock_max, device, NVML_CLOCK_SM, &number);
    info->clock_max_mhz = told ? (int)number : REID_GPU_UNKNOWN;
}

/* NVML's bits; 1, an idle GPU, limits nobody. */
static const struct {
    unsigned long long nvml;
    const char *name;
} throttles[] = {
    {0x04, "power-cap"},   {0x08, "hardware"},      {0x20, "thermal"},    {0x40, "hardware-heat"},
    {0x80, "power-brake"}, {0x02, "clock-setting"}, {0x10, "sync-boost"}, {0x100, "display-clock"},
};

const char *reid_gpu_throttle_name(unsigned i)
{
    return i < REID_COUNT_OF(throttles) ? throttles[i].name : NULL;
}

static void sample_throttle(const reid_gpus *gpus, nvml_device device, reid_gpu_info *info)
{
    unsigned long long reasons = 0;
    info->throttle = 0;
    if (!TELLS(gpus, throttle, device, &reasons))
        return;
    for (unsigned i = 0; i < REID_COUNT_OF(throttles); i++)
        if (reasons & throttles[i].nvml)
            info->throttle |= 1u << i;
}

static void sample_processes(const reid_gpus *gpus, nvml_device device, reid_gpu_info *info)
{
    nvml_process list[NVML_PROCESSES_MOST];
    unsigned count = NVML_PROCESSES_MOST;
    info->process_count = REID_GPU_UNKNOWN;
    if (!TELLS(gpus, processes, device, &count, list))
        return;
    info->process_count = (int)REID_MIN(count, (unsigned)REID_GPU_PROCESSES);
    for (int i = 0; i < info->process_count; i++) {
        bool told = list[i].used_memory != ~0ULL; /* NVML_VALUE_NOT_AVAILABLE */
        info->processes[i] = (reid_gpu_process){
            .pid = (pid_t)list[i].pid,
            .memory_bytes = told ? (int64_t)list[i].used_memory : REID_GPU_UNKNOWN,
        };
    }
}

static void sample_one(const reid_gpus *gpus, unsigned index, reid_gpu_info *info)
{
    nvml_device device = NULL;
    nvml_pci pci = {0};
    *info = (reid_gpu_info){.index = (int)index};
    int result = gpus->nvml.by_index(index, &device);
    if (result == NVML_SUCCESS)
        result = gpus->nvml.uuid(device, info->uuid, sizeof info->uuid);
    if (result == NVML_SUCCESS)
        result = gpus->nvml.name(device, info->name, sizeof info->name);
    if (result != NVML_SUCCESS) {
        snprintf(info->trouble, sizeof info->trouble, "GPU %u does not answer: %s", index,
                 gpus->nvml.error_string(result));
        device = NULL;
    }
    if (device && TELLS(gpus, pci, device, &pci))
        snprintf(info->bus_id, sizeof info->bus_id, "%.31s", pci.bus_id);
    if (!device) {
        info->memory_total_bytes = info->memory_used_bytes = REID_GPU_UNKNOWN;
        info->utilization_percent = info->memory_utilization_percent = REID_GPU_UNKNOWN;
        info->temperature_c = info->clock_mhz = info->clock_max_mhz = REID_GPU_UNKNOWN;
        info->power_w = info->power_limit_w = info->process_count = REID_GPU_UNKNOWN;
        return;
    }
    sample_memory(gpus, device, info);
    sample_load(gpus, device, info);
    sample_throttle(gpus, device, info);
    sample_processes(gpus, device, info);
}

reid_status reid_gpus_sample(reid_gpus *gpus, reid_gpu_info **ret_infos, size_t *ret_count,
                             reid_error *err)
{
    unsigned count = 0;
    int result = gpus->nvml.count(&count);
    if (result != NVML_SUCCESS)
        return reid_fail(err, REID_ERR_IO, "the GPUs cannot be listed: %s",
                         gpus->nvml.error_string(result));
    reid_gpu_info *infos = reid_alloc((size_t)count + 1, sizeof *infos);
    if (!infos)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for a list of %u GPUs", count);
    for (unsigned i = 0; i < count; i++)
        sample_one(gpus, i, &infos[i]);
    *ret_infos = infos;
    *ret_count = count;
    return REID_OK;
}
