/* SystemService.Nodes and SetNode: the nodes, their GPUs and who has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/str.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "daemon/cluster/cluster.h"
#include "daemon/cluster/part.h"
#include "reid/v1/system.pb-c.h"
#include "rpc/tls.h"
#include "version.h"

#define REASON_BYTES 1000

typedef struct nodes_call {
    reidd_gpu_look look;
    reidd_api *api;
    reid_rpc_call *call;
    char *only; /* SetNode: the answer is this node; NULL: all */
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

/* A field of an initialised message, or of one that a member has sent. */
static void set_text(char **field, const char *text)
{
    if (*field != protobuf_c_empty_string)
        free(*field);
    *field = reidd_convert_text(text ? text : "");
}

static void mark_gpus(const char *job_id, int first, const char *gpus, void *user)
{
    Reid__V1__Node *node = user;
    for (size_t i = 0; gpus && i < node->n_gpus; i++) {
        Reid__V1__Gpu *gpu = node->gpus[i];
        int place = *gpu->uuid ? reidd_gpus_place(gpus, gpu->uuid) : -1;
        if (place < 0)
            continue;
        set_text(&gpu->job, job_id);
        gpu->rank = first + place;
    }
}

/* A node's row while it is filled. */
typedef struct filling {
    const reidd_api *api;
    Reid__V1__Node *node;
    size_t row;
} filling;

static void add_job(const reidd_slot_user *holder, void *user)
{
    const filling *f = user;
    Reid__V1__Node *node = f->node;
    const reidd_job *source = holder->job;
    int ranks = reidd_placement_ranks_on(source->placement, source->ranks, f->api->nodes, f->row);
    if (ranks == 0)
        return;
    Reid__V1__NodeJob *job = reid_xmalloc(sizeof *job);
    reid__v1__node_job__init(job);
    set_text(&job->id, source->id);
    set_text(&job->name, source->name);
    set_text(&job->user, source->user);
    job->ranks = ranks;
    job->iteration = source->progress.iteration;
    job->max_iteration = source->progress.max_iteration;
    job->step_seconds = holder->step_s;
    job->images_per_second = source->progress.images_per_s;
    job->eta_seconds = source->progress.eta_s;
    node->slots_used += ranks;
    node->jobs = reid_xrealloc(node->jobs, (node->n_jobs + 1) * sizeof(Reid__V1__NodeJob *));
    node->jobs[node->n_jobs++] = job;
    if (f->row == 0)
        mark_gpus(source->id, 0, holder->gpus, node);
}

/* ---- nodes ---- */

static Reid__V1__Node *make_machine(const reidd_api *api, const reidd_gpu_weather *weather)
{
    Reid__V1__Node *node = reid_xmalloc(sizeof *node);
    reid__v1__node__init(node);
    set_text(&node->name, api->node);
    set_text(&node->version, REID_VERSION);
    node->started_ms = api->started_ms;
    node->slots = reidd_manager_slots(api->manager);
    add_machine(node);
    add_gpus(api, node, weather);
    reidd_parts_each_gpus(api->parts, mark_gpus, node);
    return node;
}

/* What another node has told last. */
static Reid__V1__Node *make_remote(const Reid__V1__Node *weather, const char *name)
{
    Reid__V1__Node *node = NULL;
    if (weather) {
        size_t size = reid__v1__node__get_packed_size(weather);
        uint8_t *bytes = reid_xmalloc(size + 1);
        reid__v1__node__pack(weather, bytes);
        node = reid__v1__node__unpack(NULL, size, bytes);
        free(bytes);
    }
    if (!node) {
        node = reid_xmalloc(sizeof *node);
        reid__v1__node__init(node);
    }
    set_text(&node->name, name);
    return node;
}

static void add_note(Reid__V1__Node *node, const char *sentence)
{
    REID_AUTOFREE char *note =
        reid_xasprintf("%s%s%s", node->note, *node->note ? "; " : "", sentence);
    set_text(&node->note, note);
}

/* A node whose certificate ends is lost to the others. */
static void add_certificate(Reid__V1__Node *node, int64_t until_s)
{
    int64_t days = (until_s - reid_clock_wall_ms() / 1000) / 86400;
    if (until_s == 0 || days >= REID_RPC_WARN_DAYS)
        return;
    REID_AUTOFREE char *note = reid_xasprintf("its certificate ends in %lld days", (long long)days);
    add_note(node, note);
}

static void add_state(const reidd_api *api, size_t row, Reid__V1__Node *node)
{
    const reidd_node *known = &api->nodes->items[row];
    const reidd_roster_entry *entry = &api->roster->entries[row];
    node->slots = known->slots;
    node->down = !known->up;
    node->drained = known->drained;
    set_text(&node->note, known->note);
    set_text(&node->drain_reason, entry->reason);
    set_text(&node->drained_by, entry->who);
    if (!api->cluster || reidd_cluster_is_member(api->cluster))
        return;
    reidd_cluster_view view = reidd_cluster_look_at(api->cluster, row);
    set_text(&node->address, view.place->address);
    node->head = view.place->head;
    node->heartbeat_seconds = view.heard_s;
    node->since_ms = view.since_ms;
    node->started_ms = view.started_ms;
    add_certificate(node, view.until_s);
    if (row == 0 && reidd_cluster_rival(api->cluster))
        add_note(node, reidd_cluster_rival(api->cluster));
}

static Reid__V1__Node *make_row(const reidd_api *api, size_t row, const reidd_gpu_weather *weather)
{
    filling f = {.api = api, .row = row};
    if (row == 0)
        f.node = make_machine(api, weather);
    else
        f.node = make_remote(reidd_cluster_look_at(api->cluster, row).weather,
                             api->nodes->items[row].name);
    add_state(api, row, f.node);
    reidd_manager_each_slot_user(api->manager, add_job, &f);
    return f.node;
}

/* ---- the calls ---- */

static void reply_all(const nodes_call *waiting, const reidd_gpu_weather *weather)
{
    const reidd_api *api = waiting->api;
    Reid__V1__NodesResponse out = REID__V1__NODES_RESPONSE__INIT;
    out.nodes = reid_xcalloc(api->nodes->count, sizeof(Reid__V1__Node *));
    for (size_t row = 0; row < api->nodes->count; row++)
        out.nodes[out.n_nodes++] = make_row(api, row, weather);
    reid_rpc_call_reply(waiting->call, &out.base);
    for (size_t i = 0; i < out.n_nodes; i++)
        reid__v1__node__free_unpacked(out.nodes[i], NULL);
    free(out.nodes);
}

static void reply(reidd_gpu_look *look, const reidd_gpu_weather *weather)
{
    nodes_call *waiting = (nodes_call *)look; /* its first member */
    const reidd_api *api = waiting->api;
    if (!waiting->only) {
        reply_all(waiting, weather);
        return;
    }
    const reidd_node *known = reidd_nodes_find(api->nodes, waiting->only);
    Reid__V1__Node *node = make_row(api, (size_t)(known - api->nodes->items), weather);
    reid_rpc_call_reply(waiting->call, &node->base);
    reid__v1__node__free_unpacked(node, NULL);
}

static void on_close(reid_rpc_call *call)
{
    nodes_call *waiting = reid_rpc_call_user(call);
    reidd_gpus_look_cancel(&waiting->look);
    free(waiting->only);
    free(waiting);
}

static void look_and_reply(reidd_api *api, reid_rpc_call *call, const char *only)
{
    nodes_call *waiting = reid_xcalloc(1, sizeof *waiting);
    waiting->look.done = reply;
    waiting->api = api;
    waiting->call = call;
    waiting->only = only ? reid_xstrdup(only) : NULL;
    reid_rpc_call_set_user(call, waiting);
    reid_rpc_call_on_close(call, on_close);
    reidd_gpus_look(api->gpus, &waiting->look);
}

void reidd_api_nodes(reid_rpc_call *call, const ProtobufCMessage *request, void *service)
{
    (void)request;
    look_and_reply(service, call, NULL);
}

void reidd_api_set_node(reid_rpc_call *call, const ProtobufCMessage *message, void *service)
{
    const Reid__V1__SetNodeRequest *request = (const Reid__V1__SetNodeRequest *)message;
    reidd_api *api = service;
    reid_error err = {0};
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    if (strlen(request->reason) > REASON_BYTES) {
        reid_rpc_call_finish(call, REID_ERR_INVALID, "a reason has at most 1000 bytes");
        return;
    }
    if (reidd_roster_drain(api->roster, request->name, request->drained, request->reason,
                           caller.name, &err) != REID_OK) {
        reid_rpc_call_fail(call, &err);
        return;
    }
    reidd_manager_nodes_changed(api->manager);
    look_and_reply(api, call, request->name);
}

/* ---- for the cluster ---- */

typedef struct machine_look {
    reidd_gpu_look look;
    reidd_api *api;
    void (*done)(const Reid__V1__Node *node, void *user);
    void *user;
} machine_look;

static void tell_machine(reidd_gpu_look *look, const reidd_gpu_weather *weather)
{
    machine_look *waiting = (machine_look *)look; /* its first member */
    Reid__V1__Node *node = make_machine(waiting->api, weather);
    waiting->api->machine_look = NULL;
    waiting->done(node, waiting->user);
    reid__v1__node__free_unpacked(node, NULL);
    free(waiting);
}

void reidd_api_look(reidd_api *api, void (*done)(const Reid__V1__Node *node, void *user),
                    void *user)
{
    if (api->machine_look)
        return; /* a driver that is slow */
    machine_look *waiting = reid_xcalloc(1, sizeof *waiting);
    *waiting = (machine_look){.look.done = tell_machine, .api = api, .done = done, .user = user};
    api->machine_look = waiting;
    reidd_gpus_look(api->gpus, &waiting->look);
}

void reidd_api_look_cancel(reidd_api *api)
{
    if (api->machine_look)
        reidd_gpus_look_cancel(&api->machine_look->look);
    free(api->machine_look);
    api->machine_look = NULL;
}
