/* A stand-in for libnvidia-ml.so.1, told by a text file what there is: $REID_FAKE_NVML. The file is
 * read anew whenever GPUs are counted, so that a test can change the weather. Without the file
 * there is no driver.
 *
 *     driver 580.65.06
 *     gpu GPU-6f2c…              begins a GPU; the lines that follow are about it
 *     name NVIDIA H100 80GB HBM3
 *     memory 85520809984 1073741824      total, used
 *     use 97 41                  per cent of the time: computing, memory
 *     temperature 63
 *     power 612345 700000        milliwatts: drawn, limit
 *     clock 1755 1980            MHz: now, most
 *     throttle 0x24              NVML's bits of clock event reasons
 *     process 4711 1073741824    pid, bytes
 *     fail nvmlDeviceGetPowerUsage 3     that function gives that result for this GPU
 *
 * What a GPU is not told of is "not supported", as in reality. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9 };
enum { GPUS = 16, PROCESSES = 8, FAILURES = 8 };

typedef struct fake_process { /* nvmlProcessInfo_v2_t */
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} fake_process;

typedef struct fake_gpu {
    char uuid[96], name[96];
    unsigned long long memory[2], throttle;
    unsigned use[2], temperature, power[2], clock[2];
    int has_memory, has_use, has_temperature, has_power, has_clock, has_throttle;
    fake_process processes[PROCESSES];
    unsigned process_count;
    struct {
        char function[64];
        int result;
    } failures[FAILURES];
    unsigned failure_count;
} fake_gpu;

static fake_gpu gpus[GPUS];
static unsigned gpu_count;
static char driver[64];

/* The tested program declares these itself, as it does with the real library. */
int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int result);
int nvmlSystemGetDriverVersion(char *version, unsigned length);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length);
int nvmlDeviceGetName(void *device, char *name, unsigned length);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory);
int nvmlDeviceGetUtilizationRates(void *device, unsigned *use);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz);
int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned *mhz);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, fake_process *list);

static void read_line(const char *line)
{
    fake_gpu *g = gpu_count ? &gpus[gpu_count - 1] : NULL;
    fake_process process = {0, 0, ~0u, ~0u};
    char word[96];
    int result;
    if (sscanf(line, "driver %63s", driver) == 1)
        return;
    if (sscanf(line, "gpu %95s", word) == 1 && gpu_count < GPUS) {
        g = &gpus[gpu_count++];
        memset(g, 0, sizeof *g);
        snprintf(g->uuid, sizeof g->uuid, "%s", word);
        return;
    }
    if (!g)
        return;
    if (sscanf(line, "name %95[^\n]", g->name) == 1)
        return;
    g->has_memory |= sscanf(line, "memory %llu %llu", &g->memory[0], &g->memory[1]) == 2;
    g->has_use |= sscanf(line, "use %u %u", &g->use[0], &g->use[1]) == 2;
    g->has_temperature |= sscanf(line, "temperature %u", &g->temperature) == 1;
    g->has_power |= sscanf(line, "power %u %u", &g->power[0], &g->power[1]) == 2;
    g->has_clock |= sscanf(line, "clock %u %u", &g->clock[0], &g->clock[1]) == 2;
    g->has_throttle |= sscanf(line, "throttle %llx", &g->throttle) == 1;
    if (sscanf(line, "process %u %llu", &process.pid, &process.used) == 2 &&
        g->process_count < PROCESSES)
        g->processes[g->process_count++] = process;
    if (sscanf(line, "fail %63s %d", word, &result) == 2 && g->failure_count < FAILURES) {
        snprintf(g->failures[g->failure_count].function, 64, "%.63s", word);
        g->failures[g->failure_count++].result = result;
    }
}

static int read_file(void)
{
    const char *path = getenv("REID_FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[256];
    if (!file)
        return DRIVER_NOT_LOADED;
    gpu_count = 0;
    while (fgets(line, sizeof line, file))
        read_line(line);
    fclose(file);
    return SUCCESS;
}

/* The result for a call about this GPU. */
static int result_of(const fake_gpu *g, const char *function, int has)
{
    if (!g)
        return INVALID_ARGUMENT;
    for (unsigned i = 0; i < g->failure_count; i++)
        if (strcmp(g->failures[i].function, function) == 0)
            return g->failures[i].result;
    return has ? SUCCESS : NOT_SUPPORTED;
}

#define ANSWER(has, assignment)                                                                    \
    do {                                                                                           \
        const fake_gpu *g = device;                                                                \
        int result = result_of(g, __func__, g && (has));                                           \
        if (result == SUCCESS) {                                                                   \
            assignment;                                                                            \
        }                                                                                          \
        return result;                                                                             \
    } while (0)

int nvmlInit_v2(void)
{
    return read_file();
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

const char *nvmlErrorString(int result)
{
    return result == DRIVER_NOT_LOADED ? "Driver Not Loaded"
           : result == NOT_SUPPORTED   ? "Not Supported"
           : result == 15              ? "GPU is lost"
                                       : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    snprintf(version, length, "%s", driver);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    int result = read_file();
    *count = gpu_count;
    return result;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    const fake_gpu *g = index < gpu_count ? &gpus[index] : NULL;
    int result = result_of(g, __func__, 1);
    *device = result == SUCCESS ? &gpus[index] : NULL;
    return result;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    ANSWER(1, snprintf(uuid, length, "%s", g->uuid));
}

int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    ANSWER(1, snprintf(name, length, "%s", g->name));
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory)
{
    ANSWER(g->has_memory, (memory[0] = g->memory[0], memory[1] = g->memory[0] - g->memory[1],
                           memory[2] = g->memory[1]));
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *use)
{
    ANSWER(g->has_use, (use[0] = g->use[0], use[1] = g->use[1]));
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    (void)sensor;
    ANSWER(g->has_temperature, *celsius = g->temperature);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    ANSWER(g->has_power, *milliwatts = g->power[0]);
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts)
{
    ANSWER(g->has_power, *milliwatts = g->power[1]);
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz)
{
    (void)type;
    ANSWER(g->has_clock, *mhz = g->clock[0]);
}

int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned *mhz)
{
    (void)type;
    ANSWER(g->has_clock, *mhz = g->clock[1]);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    ANSWER(g->has_throttle, *reasons = g->throttle);
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, fake_process *list)
{
    ANSWER(1, {
        for (unsigned i = 0; i < g->process_count && i < *count; i++)
            list[i] = g->processes[i];
        *count = g->process_count;
    });
}
