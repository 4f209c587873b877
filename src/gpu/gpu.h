/* The NVIDIA GPUs of this machine as the driver's management library (NVML) tells them. The library
 * is opened when it is asked for; nothing of it is linked, and a machine without it loses nothing.
 *
 * Life: reid_gpus_open → reid_gpus_sample as often as wanted → reid_gpus_close. Samples take some
 * milliseconds a GPU and may hang as long as a driver does: not on a thread that others wait for.
 * One thread at a time.
 *
 * What a GPU does not tell is REID_GPU_UNKNOWN; a GPU that has fallen off the bus is still listed,
 * with a sentence in `trouble`.
 */
#ifndef REID_GPU_GPU_H
#define REID_GPU_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

#define REID_GPU_UNKNOWN (-1)
#define REID_GPU_PROCESSES 64 /* kept per GPU; there may be more */

typedef struct reid_gpu_process {
    pid_t pid;
    int64_t memory_bytes; /* or REID_GPU_UNKNOWN */
} reid_gpu_process;

/* Why clocks are lower than they could be (NVML's clock event reasons). */
typedef enum reid_gpu_throttle {
    REID_GPU_THROTTLE_POWER_CAP = 1,       /* the power limit, by software */
    REID_GPU_THROTTLE_HARDWARE = 2,        /* hardware slowdown: heat, power brake or draw */
    REID_GPU_THROTTLE_THERMAL = 4,         /* by software, to stay below the temperature limit */
    REID_GPU_THROTTLE_HARDWARE_HEAT = 8,   /* by hardware */
    REID_GPU_THROTTLE_POWER_BRAKE = 16,    /* an external signal */
    REID_GPU_THROTTLE_CLOCK_SETTING = 32,  /* somebody has set lower clocks */
    REID_GPU_THROTTLE_SYNC_BOOST = 64,     /* bound to slower GPUs of a group */
    REID_GPU_THROTTLE_DISPLAY_CLOCK = 128, /* by the display's setting */
} reid_gpu_throttle;

typedef struct reid_gpu_info {
    int index;     /* in NVML's order, that of the PCI bus */
    char uuid[96]; /* "GPU-…", as CUDA_VISIBLE_DEVICES takes it */
    char name[96];
    char bus_id[32];
    int64_t memory_total_bytes, memory_used_bytes;
    int utilization_percent, memory_utilization_percent;
    int temperature_c;
    double power_w, power_limit_w;
    int clock_mhz, clock_max_mhz; /* of the multiprocessors */
    unsigned throttle;            /* reid_gpu_throttle; 0 also when it is not told */
    reid_gpu_process processes[REID_GPU_PROCESSES]; /* that compute */
    int process_count;                              /* of those kept; REID_GPU_UNKNOWN */
    char trouble[160];                              /* "" or why most of the rest is not known */
} reid_gpu_info;

typedef struct reid_gpus reid_gpus;

/* UNSUPPORTED with one sentence: the library is not there, it lacks a function, or there is no
 * driver. */
reid_status reid_gpus_open(reid_gpus **ret_gpus, reid_error *err);
void reid_gpus_close(reid_gpus *gpus);               /* NULL is accepted */
const char *reid_gpus_driver(const reid_gpus *gpus); /* version, "" when not told */

/* All GPUs now; caller frees. Fails only where nothing can be listed at all. */
reid_status reid_gpus_sample(reid_gpus *gpus, reid_gpu_info **ret_infos, size_t *ret_count,
                             reid_error *err);

/* "power-cap", "thermal" …, for the bit `throttle`; NULL behind the last bit (1 << i). */
const char *reid_gpu_throttle_name(unsigned i);

#endif
