#include "out/nodes.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "out/json.h"
#include "out/style.h"
#include "out/table.h"
#include "out/text.h"

#define GIB 1073741824.0

/* ---- cells: each is one word ---- */

static void cell(reidctl_table *table, const char *color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void cell(reidctl_table *table, const char *color, const char *format, ...)
{
    reid_str text = REID_STR_INIT;
    va_list args;
    va_start(args, format);
    reid_str_vaddf(&text, format, args);
    va_end(args);
    for (char *c = text.data; c && *c; c++)
        if (*c == ' ')
            *c = '-';
    reidctl_table_add(table, reid_str_text(&text), color);
    reid_str_fini(&text);
}

/* "used/total", in GiB. */
static void memory_cell(reidctl_table *table, int64_t used, int64_t total, const char *color)
{
    if (used < 0 || total <= 0)
        cell(table, "", "%s", "");
    else
        cell(table, color, "%.1f/%.1fGiB", (double)used / GIB, (double)total / GIB);
}

static void number_cell(reidctl_table *table, double value, const char *unit, const char *color)
{
    if (value < 0)
        cell(table, "", "%s", "");
    else
        cell(table, color, "%.0f%s", value, unit);
}

static void heads(reidctl_table *table, const char *const *names, size_t count,
                  const reidctl_nodes_sight *sight)
{
    for (size_t i = 0; i < count && sight->headers; i++)
        reidctl_table_add(table, names[i], reidctl_bold(sight->color));
}

/* "NVIDIA H100 80GB HBM3" is told without its maker. */
static const char *short_name(const char *name)
{
    static const char maker[] = "NVIDIA ";
    return reid_str_starts(name, maker) ? name + sizeof maker - 1 : name;
}

/* ---- nodes ---- */

/* "4xH100-80GB-HBM3"; GPUs of other kinds are counted after a '+'. */
static void gpus_cell(reidctl_table *table, const Reid__V1__Node *node)
{
    size_t same = 0;
    if (node->n_gpus == 0) {
        cell(table, "", "%s", "");
        return;
    }
    for (size_t i = 0; i < node->n_gpus; i++)
        same += strcmp(node->gpus[i]->name, node->gpus[0]->name) == 0;
    if (same == node->n_gpus)
        cell(table, "", "%zux%s", same, short_name(node->gpus[0]->name));
    else
        cell(table, "", "%zux%s+%zu", same, short_name(node->gpus[0]->name), node->n_gpus - same);
}

static const char *state_of(const Reid__V1__Node *node)
{
    if (node->down)
        return "DOWN";
    if (!node->drained)
        return "UP";
    return node->slots_used > 0 ? "DRAINING" : "DRAINED";
}

/* A node that is down tells nothing any more, one that has just joined soon will. */
static bool tells_machine(const Reid__V1__Node *node)
{
    return !node->down && node->cpus > 0;
}

static void machine_cells(reidctl_table *table, const Reid__V1__Node *node)
{
    if (!tells_machine(node)) {
        for (int i = 0; i < 3; i++)
            cell(table, "", "%s", "");
        return;
    }
    cell(table, "", "%d", node->cpus);
    cell(table, "", "%.2f", node->load_1);
    memory_cell(table, node->memory_total_bytes - node->memory_available_bytes,
                node->memory_total_bytes, "");
}

static void node_row(reidctl_table *table, const Reid__V1__Node *node,
                     const reidctl_nodes_sight *sight)
{
    bool fine = !node->down && !node->drained;
    cell(table, "", "%s", node->name);
    cell(table, fine ? "" : reidctl_bold(sight->color), "%s", state_of(node));
    if (node->slots == 0 && node->heartbeat_seconds < 0) /* it has never been heard */
        cell(table, "", "%s", "");
    else
        cell(table, "", "%d", node->slots);
    cell(table, "", "%d", node->slots_used);
    cell(table, "", "%zu", node->n_jobs);
    machine_cells(table, node);
    gpus_cell(table, node);
    cell(table, "", "%s", node->gpu_driver);
    if (node->down || node->started_ms == 0)
        cell(table, "", "%s", "");
    else
        reidctl_table_add_age(table, (double)(sight->now_ms - node->started_ms) / 1000);
    if (*node->address == '\0' || node->head)
        cell(table, "", "%s", node->head ? "head" : "");
    else if (node->heartbeat_seconds < 0)
        cell(table, "", "%s", "never");
    else
        cell(table, "", "%.1fs", node->heartbeat_seconds);
}

/* Why a node is not as it should be, below the table. */
static void note_line(const Reid__V1__Node *node, const reidctl_nodes_sight *sight, reid_str *out)
{
    reid_str line = REID_STR_INIT, clean = REID_STR_INIT;
    if (*node->note == '\0')
        return;
    reid_str_addf(&line, "%s is %s", node->name, state_of(node));
    if (node->since_ms > 0 && node->down) {
        reid_str_add(&line, " for ");
        reidctl_add_age(&line, (double)(sight->now_ms - node->since_ms) / 1000);
    }
    reid_str_addf(&line, ": %s", node->note);
    if (node->down && node->drained)
        reid_str_add(&line, "; it is drained, too");
    reidctl_add_clean(&clean, reid_str_text(&line));
    reidctl_add_cut(out, reid_str_text(&clean), sight->columns > 0 ? sight->columns : 2000);
    reid_str_add(out, "\n");
    reid_str_fini(&line);
    reid_str_fini(&clean);
}

void reidctl_nodes_table(const Reid__V1__NodesResponse *list, const reidctl_nodes_sight *sight,
                         reid_str *out)
{
    static const char *const head[] = {"NODE", "STATE",  "SLOTS", "USED",   "JOBS",   "CPUS",
                                       "LOAD", "MEMORY", "GPUS",  "DRIVER", "UPTIME", "HEARD"};
    reidctl_table table = {.columns = REID_COUNT_OF(head), .elastic = 8};
    heads(&table, head, REID_COUNT_OF(head), sight);
    for (size_t i = 0; i < list->n_nodes; i++)
        node_row(&table, list->nodes[i], sight);
    reidctl_table_format(&table, sight->columns, out);
    reidctl_table_fini(&table);
    for (size_t i = 0; i < list->n_nodes && sight->headers; i++)
        note_line(list->nodes[i], sight, out);
}

/* ---- top ---- */

static const Reid__V1__NodeJob *find_job(const Reid__V1__Node *node, const char *id)
{
    for (size_t i = 0; i < node->n_jobs && *id != '\0'; i++)
        if (strcmp(node->jobs[i]->id, id) == 0)
            return node->jobs[i];
    return NULL;
}

static void step_cells(reidctl_table *table, const Reid__V1__NodeJob *job)
{
    if (job == NULL || job->max_iteration <= 0)
        cell(table, "", "%s", "");
    else
        cell(table, "", "%lld/%lld", (long long)job->iteration, (long long)job->max_iteration);
    if (job == NULL || !(job->step_seconds > 0))
        cell(table, "", "%s", "");
    else
        cell(table, "", "%.1fms", job->step_seconds * 1e3);
    if (job == NULL || !(job->images_per_second > 0))
        cell(table, "", "%s", "");
    else
        cell(table, "", "%.0f", job->images_per_second);
}

static void throttle_cell(reidctl_table *table, const Reid__V1__Gpu *gpu, bool color)
{
    reid_str text = REID_STR_INIT;
    for (size_t i = 0; i < gpu->n_throttle; i++)
        reid_str_addf(&text, "%s%s", i ? "," : "", gpu->throttle[i]);
    cell(table, reidctl_bold(color), "%s", reid_str_text(&text));
    reid_str_fini(&text);
}

static void gpu_row(reidctl_table *table, const Reid__V1__Node *node, const Reid__V1__Gpu *gpu,
                    const reidctl_nodes_sight *sight)
{
    const Reid__V1__NodeJob *job = find_job(node, gpu->job);
    cell(table, "", "%s", node->name);
    cell(table, "", "%d", gpu->index);
    cell(table, "", "%s", short_name(gpu->name));
    number_cell(table, gpu->utilization_percent, "%", "");
    memory_cell(table, gpu->memory_used_bytes, gpu->memory_total_bytes, "");
    number_cell(table, gpu->temperature_celsius, "C", "");
    if (gpu->power_watts < 0 || gpu->power_limit_watts < 0)
        number_cell(table, gpu->power_watts, "W", "");
    else
        cell(table, "", "%.0f/%.0fW", gpu->power_watts, gpu->power_limit_watts);
    if (*gpu->job != '\0') {
        cell(table, "", "%s", gpu->job);
        cell(table, "", "%d", gpu->rank);
    } else {
        cell(table, "", "%s", gpu->offered ? "free" : "");
        cell(table, "", "%s", "");
    }
    step_cells(table, job);
    throttle_cell(table, gpu, sight->color);
}

static bool has_gpu(const Reid__V1__Node *node, const Reid__V1__NodeJob *job)
{
    for (size_t i = 0; i < node->n_gpus; i++)
        if (strcmp(node->gpus[i]->job, job->id) == 0)
            return true;
    return false;
}

static void job_row(reidctl_table *table, const Reid__V1__Node *node, const Reid__V1__NodeJob *job)
{
    cell(table, "", "%s", node->name);
    for (int i = 0; i < 6; i++)
        cell(table, "", "%s", "");
    cell(table, "", "%s", job->id);
    if (job->ranks > 1)
        cell(table, "", "0-%d", job->ranks - 1);
    else
        cell(table, "", "0");
    step_cells(table, job);
    cell(table, "", "%s", "");
}

/* The table as lines that are not wider than the sight: what does not fit on the right is left out.
 */
static void add_table(const reidctl_table *table, const reidctl_nodes_sight *sight, reid_str *out)
{
    reid_str text = REID_STR_INIT;
    reidctl_table_format(table, sight->columns, &text);
    char *rest = text.data;
    for (char *line; sight->columns > 0 && (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        reidctl_add_cut(out, line, sight->columns);
        reid_str_add(out, "\n");
    }
    if (sight->columns == 0)
        reid_str_add(out, reid_str_text(&text));
    reid_str_fini(&text);
}

static void node_line(const Reid__V1__Node *node, const reidctl_nodes_sight *sight, reid_str *out)
{
    reid_str line = REID_STR_INIT, clean = REID_STR_INIT;
    reid_str_addf(&line, "%s: %s%d of %d slots used", node->name,
                  node->down      ? "DOWN; "
                  : node->drained ? "takes no new jobs; "
                                  : "",
                  node->slots_used, node->slots);
    if (tells_machine(node))
        reid_str_addf(&line, "; load %.2f of %d CPUs; %.1f of %.1f GiB used", node->load_1,
                      node->cpus,
                      (double)(node->memory_total_bytes - node->memory_available_bytes) / GIB,
                      (double)node->memory_total_bytes / GIB);
    if (*node->gpu_driver != '\0')
        reid_str_addf(&line, "; driver %s", node->gpu_driver);
    if (*node->gpu_note != '\0')
        reid_str_addf(&line, "; %s", node->gpu_note);
    reidctl_add_clean(&clean, reid_str_text(&line));
    if (sight->columns > 0)
        reidctl_add_cut(out, reid_str_text(&clean), sight->columns);
    else
        reid_str_add(out, reid_str_text(&clean));
    reid_str_add(out, "\n");
    reid_str_fini(&line);
    reid_str_fini(&clean);
}

static void trouble_lines(const Reid__V1__Node *node, const reidctl_nodes_sight *sight,
                          reid_str *out)
{
    for (size_t i = 0; i < node->n_gpus; i++) {
        reid_str line = REID_STR_INIT;
        if (*node->gpus[i]->trouble == '\0')
            continue;
        reidctl_add_clean(&line, node->name);
        reid_str_add(&line, ": ");
        reidctl_add_clean(&line, node->gpus[i]->trouble);
        reidctl_add_cut(out, reid_str_text(&line), sight->columns > 0 ? sight->columns : 1000);
        reid_str_add(out, "\n");
        reid_str_fini(&line);
    }
}

void reidctl_nodes_top(const Reid__V1__NodesResponse *list, const reidctl_nodes_sight *sight,
                       reid_str *out)
{
    static const char *const head[] = {"NODE", "GPU",      "TYPE",    "UTIL", "MEMORY",
                                       "TEMP", "POWER",    "JOB",     "RANK", "ITERATION",
                                       "STEP", "IMAGES/S", "THROTTLE"};
    reidctl_table table = {.columns = REID_COUNT_OF(head), .elastic = 2};
    heads(&table, head, REID_COUNT_OF(head), sight);
    for (size_t i = 0; i < list->n_nodes; i++) {
        const Reid__V1__Node *node = list->nodes[i];
        if (sight->headers)
            node_line(node, sight, out);
        for (size_t k = 0; k < node->n_gpus; k++)
            gpu_row(&table, node, node->gpus[k], sight);
        for (size_t k = 0; k < node->n_jobs; k++)
            if (!has_gpu(node, node->jobs[k]))
                job_row(&table, node, node->jobs[k]);
        if (sight->headers)
            trouble_lines(node, sight, out);
    }
    add_table(&table, sight, out);
    reidctl_table_fini(&table);
}

/* ---- JSON ---- */

static void put_text(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

static void put_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void put_real(reid_json_writer *w, const char *key, double value)
{
    reid_json_key(w, key);
    reid_json_double(w, value);
}

/* null where a driver did not tell. */
static void put_told(reid_json_writer *w, const char *key, double value)
{
    reid_json_key(w, key);
    if (value < 0)
        reid_json_null(w);
    else
        reid_json_double(w, value);
}

static void put_told_bytes(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    if (value < 0)
        reid_json_null(w);
    else
        reid_json_int(w, value);
}

static void put_holder(reid_json_writer *w, const Reid__V1__Gpu *gpu)
{
    reid_json_key(w, "offered");
    reid_json_bool(w, gpu->offered);
    put_text(w, "job", *gpu->job != '\0' ? gpu->job : NULL);
    put_told_bytes(w, "rank", *gpu->job != '\0' ? gpu->rank : -1);
    reid_json_key(w, "processes");
    reid_json_array(w);
    for (size_t i = 0; i < gpu->n_processes; i++) {
        reid_json_object(w);
        put_int(w, "pid", gpu->processes[i]->pid);
        put_told_bytes(w, "memory_bytes", gpu->processes[i]->memory_bytes);
        reid_json_end_object(w);
    }
    reid_json_end_array(w);
}

static void put_gpu(reid_json_writer *w, const Reid__V1__Gpu *gpu)
{
    reid_json_object(w);
    put_int(w, "index", gpu->index);
    put_text(w, "uuid", gpu->uuid);
    put_text(w, "name", gpu->name);
    put_text(w, "bus_id", gpu->bus_id);
    put_told_bytes(w, "memory_total_bytes", gpu->memory_total_bytes);
    put_told_bytes(w, "memory_used_bytes", gpu->memory_used_bytes);
    put_told(w, "utilization_percent", gpu->utilization_percent);
    put_told(w, "memory_utilization_percent", gpu->memory_utilization_percent);
    put_told(w, "temperature_celsius", gpu->temperature_celsius);
    put_told(w, "power_watts", gpu->power_watts);
    put_told(w, "power_limit_watts", gpu->power_limit_watts);
    put_told(w, "clock_mhz", gpu->clock_mhz);
    put_told(w, "clock_max_mhz", gpu->clock_max_mhz);
    reid_json_key(w, "throttle");
    reid_json_array(w);
    for (size_t i = 0; i < gpu->n_throttle; i++)
        reid_json_string(w, gpu->throttle[i]);
    reid_json_end_array(w);
    put_text(w, "trouble", gpu->trouble);
    put_holder(w, gpu);
    reid_json_end_object(w);
}

static void put_job(reid_json_writer *w, const Reid__V1__NodeJob *job)
{
    reid_json_object(w);
    put_text(w, "id", job->id);
    put_text(w, "name", job->name);
    put_text(w, "user", job->user);
    put_int(w, "ranks", job->ranks);
    put_int(w, "iteration", job->iteration);
    put_int(w, "max_iteration", job->max_iteration);
    put_real(w, "step_seconds", job->step_seconds);
    put_real(w, "images_per_second", job->images_per_second);
    put_told(w, "eta_seconds", job->eta_seconds);
    reid_json_end_object(w);
}

static void put_node(reid_json_writer *w, const Reid__V1__Node *node)
{
    reid_json_object(w);
    put_text(w, "name", node->name);
    put_text(w, "version", node->version);
    put_int(w, "started_ms", node->started_ms);
    put_int(w, "slots", node->slots);
    put_int(w, "slots_used", node->slots_used);
    put_int(w, "cpus", node->cpus);
    put_real(w, "load_1", node->load_1);
    put_real(w, "load_5", node->load_5);
    put_real(w, "load_15", node->load_15);
    put_int(w, "memory_total_bytes", node->memory_total_bytes);
    put_int(w, "memory_available_bytes", node->memory_available_bytes);
    put_text(w, "state", state_of(node));
    put_text(w, "note", *node->note != '\0' ? node->note : NULL);
    reid_json_key(w, "drained");
    reid_json_bool(w, node->drained);
    put_text(w, "drain_reason", node->drained ? node->drain_reason : NULL);
    put_text(w, "drained_by", node->drained ? node->drained_by : NULL);
    put_told(w, "heartbeat_seconds", *node->address != '\0' ? node->heartbeat_seconds : -1);
    put_text(w, "address", *node->address != '\0' ? node->address : NULL);
    reid_json_key(w, "head");
    reid_json_bool(w, node->head);
    put_int(w, "since_ms", node->since_ms);
    put_text(w, "gpu_driver", node->gpu_driver);
    put_text(w, "gpu_note", node->gpu_note);
    reid_json_key(w, "gpus");
    reid_json_array(w);
    for (size_t i = 0; i < node->n_gpus; i++)
        put_gpu(w, node->gpus[i]);
    reid_json_end_array(w);
    reid_json_key(w, "jobs");
    reid_json_array(w);
    for (size_t i = 0; i < node->n_jobs; i++)
        put_job(w, node->jobs[i]);
    reid_json_end_array(w);
    reid_json_end_object(w);
}

void reidctl_nodes_json(const Reid__V1__NodesResponse *list, reid_str *out)
{
    reid_str_add(out, "[");
    for (size_t i = 0; i < list->n_nodes; i++) {
        reid_json_writer w = reidctl_json_begin(out);
        reid_str_add(out, i == 0 ? "\n" : ",\n");
        put_node(&w, list->nodes[i]);
    }
    reid_str_add(out, list->n_nodes > 0 ? "\n]\n" : "]\n");
}
