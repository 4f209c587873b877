/* SystemService.Nodes: this node, its GPUs and who has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "reid/v1/system.pb-c.h"
#include "version.h"

typedef struct nodes_call {
    reidd_gpu_look look;
    reidd_api *api;
    reid_rpc_call *call;
} nodes_call;

/* ---- the machine ---- */

/* A line of /proc/meminfo in bytes; 0 when it is not there. */
static int64_t memory_line(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    long long kib = 0;
    return line && sscanf(line + strlen(key), ": %lld kB", &kib) == 1 ? (int64_t)kib * 1024 : 0;
}

static void add_machine(Reid__V1__Node *node)
{
    char text[4096] = "";
    double load[3] = {0};
    FILE *file = fopen("/proc/meminfo", "re");
    if (file) {
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
    }
    node->memory_total_bytes = memory_line(text, "MemTotal");
    node->memory_available_bytes = memory_line(text, "MemAvailable");
    if (getloadavg(load, 3) == 3) {
        node->load_1 = load[0];
        node->load_5 = load[1];
        node->load_15 = load[2];
    }
    node->cpus = (int32_t)uv_available_parallelism();
}

/* ---- GPUs ---- */

static void add_throttle(Reid__V1__Gpu *gpu, unsigned throttle)
{
    const char *name;
    size_t room = 0;
    while (reid_gpu_throttle_name((unsigned)room))
        room++;
    gpu->throttle = reid_xcalloc(room + 1, sizeof(char *));
    for (unsigned i = 0; (name = reid_gpu_throttle_name(i)) != NULL; i++)
        if (throttle & 1u << i)
            gpu->throttle[gpu->n_throttle++] = reid_xstrdup(name);
}

static void add_processes(Reid__V1__Gpu *gpu, const reid_gpu_info *info)
{
    if (info->process_count <= 0)
        return;
    gpu->processes = reid_xcalloc((size_t)info->process_count, sizeof(Reid__V1__GpuProcess *));
    for (int i = 0; i < info->process_count; i++) {
        Reid__V1__GpuProcess *process = reid_xmalloc(sizeof *process);
        reid__v1__gpu_process__init(process);
        process->pid = info->processes[i].pid;
        process->memory_bytes = info->processes[i].memory_bytes;
        gpu->processes[gpu->n_processes++] = process;
    }
}

static Reid__V1__Gpu *make_gpu(const reidd_api *api, const reid_gpu_info *info)
{
    Reid__V1__Gpu *gpu = reid_xmalloc(sizeof *gpu);
    reid__v1__gpu__init(gpu);
    gpu->uuid = reidd_convert_text(info->uuid);
    gpu->index = info->index;
    gpu->name = reidd_convert_text(info->name);
    gpu->bus_id = reidd_convert_text(info->bus_id);
    gpu->memory_total_bytes = info->memory_total_bytes;
    gpu->memory_used_bytes = info->memory_used_bytes;
    gpu->utilization_percent = info->utilization_percent;
    gpu->memory_utilization_percent = info->memory_utilization_percent;
    gpu->temperature_celsius = info->temperature_c;
    gpu->power_watts = info->power_w;
    gpu->power_limit_watts = info->power_limit_w;
    gpu->clock_mhz = info->clock_mhz;
    gpu->clock_max_mhz = info->clock_max_mhz;
    gpu->trouble = reidd_convert_text(info->trouble);
    gpu->offered = *info->uuid && reidd_gpus_offers(api->gpus, info->uuid);
    add_throttle(gpu, info->throttle);
    add_processes(gpu, info);
    return gpu;
}

static void add_gpus(const reidd_api *api, Reid__V1__Node *node, const reidd_gpu_weather *weather)
{
    node->gpu_note = reidd_convert_text(weather->note);
    node->gpu_driver = reidd_convert_text(weather->driver);
    node->gpus = reid_xcalloc(weather->count + 1, sizeof(Reid__V1__Gpu *));
    for (size_t i = 0; i < weather->count; i++)
        node->gpus[node->n_gpus++] = make_gpu(api, &weather->infos[i]);
}

/* ---- jobs ---- */

static void set_text(char **field, const char *text)
{
    *field = reidd_convert_text(text ? text : "");
}

static void mark_gpus(Reid__V1__Node *node, const reidd_slot_user *holder)
{
    for (size_t i = 0; holder->gpus && i < node->n_gpus; i++) {
        Reid__V1__Gpu *gpu = node->gpus[i];
        int rank = *gpu->uuid ? reidd_gpus_place(holder->gpus, gpu->uuid) : -1;
        if (rank < 0)
            continue;
        set_text(&gpu->job, holder->job->id);
        gpu->rank = rank;
    }
}

static void add_job(const reidd_slot_user *holder, void *user)
{
    Reid__V1__Node *node = user;
    const reidd_job *source = holder->job;
    Reid__V1__NodeJob *job = reid_xmalloc(sizeof *job);
    reid__v1__node_job__init(job);
    set_text(&job->id, source->id);
    set_text(&job->name, source->name);
    set_text(&job->user, source->user);
    job->ranks = source->ranks;
    job->iteration = source->progress.iteration;
    job->max_iteration = source->progress.max_iteration;
    job->step_seconds = holder->step_s;
    job->images_per_second = source->progress.images_per_s;
    job->eta_seconds = source->progress.eta_s;
    node->jobs = reid_xrealloc(node->jobs, (node->n_jobs + 1) * sizeof(Reid__V1__NodeJob *));
    node->jobs[node->n_jobs++] = job;
    mark_gpus(node, holder);
}

/* ---- the call ---- */

static void reply(reidd_gpu_look *look, const reidd_gpu_weather *weather)
{
    nodes_call *waiting = (nodes_call *)look; /* its first member */
    const reidd_api *api = waiting->api;
    Reid__V1__NodesResponse out = REID__V1__NODES_RESPONSE__INIT;
    Reid__V1__Node *node = reid_xmalloc(sizeof *node);
    reid__v1__node__init(node);
    set_text(&node->name, api->node);
    set_text(&node->version, REID_VERSION);
    node->started_ms = api->started_ms;
    node->slots = reidd_manager_slots(api->manager);
    node->slots_used = reidd_manager_slots_used(api->manager);
    add_machine(node);
    add_gpus(api, node, weather);
    reidd_manager_each_slot_user(api->manager, add_job, node);
    out.n_nodes = 1;
    out.nodes = &node;
    reid_rpc_call_reply(waiting->call, &out.base);
    reid__v1__node__free_unpacked(node, NULL);
}

static void on_close(reid_rpc_call *call)
{
    nodes_call *waiting = reid_rpc_call_user(call);
    reidd_gpus_look_cancel(&waiting->look);
    free(waiting);
}

void reidd_api_nodes(reid_rpc_call *call, const ProtobufCMessage *request, void *service)
{
    nodes_call *waiting = reid_xcalloc(1, sizeof *waiting);
    waiting->look.done = reply;
    waiting->api = service;
    waiting->call = call;
    reid_rpc_call_set_user(call, waiting);
    reid_rpc_call_on_close(call, on_close);
    reidd_gpus_look(waiting->api->gpus, &waiting->look);
}
