/* Which GPU: one of the visible ones, or the description of one that is not there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/str.h"

/* GPUs that can be planned for, from NVIDIA's data sheets and the CUDA programming guide's table
 * of compute capabilities. */
typedef struct planned_gpu {
    cuda_gpu gpu;
    int sm_clock_khz, memory_clock_khz;
    int l2_bytes, threads_per_sm, blocks_per_sm;
} planned_gpu;

static const planned_gpu planned[] = {
    {{80, 108, 166912, (size_t)81920 << 20, "NVIDIA A100-SXM4-80GB"},
     1410000,
     1593000,
     40 << 20,
     2048,
     32},
    {{90, 132, 232448, (size_t)81559 << 20, "NVIDIA H100 80GB HBM3"},
     1980000,
     2619000,
     50 << 20,
     2048,
     32},
    {{100, 148, 232448, (size_t)183359 << 20, "NVIDIA B200"},
     1965000,
     3996000,
     126 << 20,
     2048,
     32},
    {{120, 170, 101376, (size_t)32607 << 20, "NVIDIA GeForce RTX 5090"},
     2407000,
     14001000,
     96 << 20,
     1536,
     24},
};
#define PLANNED (sizeof planned / sizeof planned[0])

static reid_status choose_planned(const char *name, cuda_gpu *ret_gpu, reid_error *err)
{
    int64_t sm = 0;
    if (reid_parse_int64(name + strlen("sm_"), &sm) == REID_OK)
        for (size_t i = 0; i < PLANNED; i++)
            if (planned[i].gpu.sm == sm) {
                *ret_gpu = planned[i].gpu;
                return REID_OK;
            }
    return reid_fail(err, REID_ERR_INVALID,
                     "there is no description of a GPU '%s'; plans can be made for sm_80, sm_90, "
                     "sm_100 and sm_120",
                     name);
}

char *cuda_device_json(const cuda_gpu *gpu)
{
    const planned_gpu *p = planned;
    while (p < planned + PLANNED - 1 && p->gpu.sm != gpu->sm)
        p++;
    reid_str s = REID_STR_INIT;
    reid_str_addf(&s,
                  "{\"version\":%zu,\"deviceVer\":%d,\"driverVer\":13000,\"cudaDeviceId\":0,"
                  "\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
                  "\"regsPerBlock\":65536,\"multiProcessorCount\":%d,\"warpSize\":32,",
                  cudnnGetVersion(), gpu->sm * 10, gpu->multiprocessors);
    reid_str_addf(&s,
                  "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%zu,"
                  "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
                  "\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,",
                  gpu->shared_bytes, p->blocks_per_sm, p->threads_per_sm);
    reid_str_addf(&s,
                  "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,"
                  "\"smClockRateKHz\":%d,\"memClockRateKHz\":%d,\"l2CacheSize\":%d,"
                  "\"totalGlobalMem\":%zu,\"deviceName\":\"%s\"}",
                  p->sm_clock_khz, p->memory_clock_khz, p->l2_bytes, gpu->memory_bytes, gpu->name);
    return reid_str_take(&s);
}

/* "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", as nvidia-smi prints it. */
static void uuid_text(char text[64], const cudaUUID_t *uuid)
{
    const unsigned char *b = (const unsigned char *)uuid->bytes;
    snprintf(text, 64, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

static reid_status find_uuid(const char *name, int count, int *ret_device, reid_error *err)
{
    for (int i = 0; i < count; i++) {
        struct cudaDeviceProp p;
        char text[64];
        CUDA_TRY(cudaGetDeviceProperties(&p, i));
        uuid_text(text, &p.uuid);
        if (strcmp(text, name) == 0) {
            *ret_device = i;
            return REID_OK;
        }
    }
    return reid_fail(err, REID_ERR_NOT_FOUND, "there is no visible GPU '%s' among %d", name, count);
}

static reid_status describe(int device, cuda_gpu *ret, reid_error *err)
{
    struct cudaDeviceProp p;
    CUDA_TRY(cudaGetDeviceProperties(&p, device));
    *ret = (cuda_gpu){.sm = p.major * 10 + p.minor,
                      .multiprocessors = p.multiProcessorCount,
                      .shared_bytes = p.sharedMemPerBlockOptin,
                      .memory_bytes = p.totalGlobalMem};
    snprintf(ret->name, sizeof ret->name, "%s", p.name);
    if (ret->sm < 80)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "GPU %d (%s) has compute capability %d.%d; 8.0 or newer is needed", device,
                         p.name, p.major, p.minor);
    return REID_OK;
}

static reid_status count_devices(int *ret_count, reid_error *err)
{
    cudaError_t result = cudaGetDeviceCount(ret_count);
    if (result == cudaErrorInsufficientDriver)
        return reid_fail(err, REID_ERR_UNAVAILABLE,
                         "no GPU can be used: this machine has no NVIDIA driver, or one older than "
                         "CUDA %d.%d needs",
                         CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (result == cudaErrorNoDevice || (result == cudaSuccess && *ret_count == 0))
        return reid_fail(err, REID_ERR_UNAVAILABLE,
                         "no GPU is visible to this process (CUDA_VISIBLE_DEVICES is %s)",
                         getenv("CUDA_VISIBLE_DEVICES") ? getenv("CUDA_VISIBLE_DEVICES")
                                                        : "not set");
    return cuda_check(err, result, "count of GPUs");
}

reid_status cuda_device_choose(const char *name, int *ret_device, cuda_gpu *ret_gpu,
                               reid_error *err)
{
    int count = 0, device = 0;
    int64_t index = 0;
    if (reid_str_starts(name, "sm_")) {
        *ret_device = -1;
        return choose_planned(name, ret_gpu, err);
    }
    bool is_uuid = reid_str_starts(name, "GPU-");
    if (!is_uuid && name[0] && (reid_parse_int64(name, &index) != REID_OK || index < 0))
        return reid_fail(err, REID_ERR_INVALID,
                         "'cuda:%s' names no GPU: give an index, GPU-<uuid> or sm_<number>", name);
    REID_TRY(count_devices(&count, err));
    if (is_uuid)
        REID_TRY(find_uuid(name, count, &device, err));
    else if (index >= count)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no GPU %s: %d %s visible", name, count,
                         count == 1 ? "is" : "are");
    else
        device = (int)index;
    *ret_device = device;
    return describe(device, ret_gpu, err);
}
