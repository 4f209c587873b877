#include "daemon/cluster/part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"
#include "daemon/access/run_as.h"
#include "daemon/cluster/mirror.h"
#include "daemon/cluster/part_probe.h"
#include "daemon/cluster/part_words.h"
#include "daemon/exec/address.h"
#include "daemon/exec/attempt.h"
#include "daemon/exec/confine.h"

#define RECORD "part.json" /* in the part's folder: it was started, with these ranks */
#define RECORD_BYTES 4096
#define RANKS_LIMIT 4096
#define PARTS_LIMIT 1024

typedef struct part {
    reidd_parts *parts;
    char job[16];
    int attempt;
    reidd_mirror_ranks ranks;
    char *folder;
    char *gpus;          /* NULL: none */
    reidd_attempt *shim; /* NULL: it has ended */
    reidd_mirror *mirror;
    bool ended, reported; /* reported to this connection */
    bool never_began;     /* it was lost before it had a supervisor */
    reidd_exit_report report;
} part;

struct reidd_parts {
    uv_loop_t *loop;
    reidd_cluster *cluster;
    char *folder; /* of all parts */
    char *shim, *link_address, *hook_dir;
    const struct reidd_confine *confine;
    reidd_gpus *gpus;
    uid_t lowest_uid;
    uv_timer_t timer;
    reidd_probe *probe; /* runs while the head is lost */
    REID_VEC(part *) items;
    bool connected, closing;
};

static void on_shim_end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome, void *user);

/* ---- names ---- */

static bool is_job_id(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length < sizeof((part *)0)->job &&
           text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] ==
               '\0';
}

static part *find(const reidd_parts *parts, const char *job, int attempt)
{
    for (size_t i = 0; i < parts->items.count; i++)
        if (parts->items.items[i]->attempt == attempt &&
            strcmp(parts->items.items[i]->job, job) == 0)
            return parts->items.items[i];
    return NULL;
}

bool reidd_parts_has(const reidd_parts *parts, const char *job_id, int attempt)
{
    return parts && find(parts, job_id, attempt) != NULL;
}

void reidd_parts_each_gpus(const reidd_parts *parts,
                           void (*each)(const char *job_id, int first, const char *gpus,
                                        void *user),
                           void *user)
{
    for (size_t i = 0; parts && i < parts->items.count; i++) {
        const part *p = parts->items.items[i];
        if (p->gpus && !p->ended)
            each(p->job, p->ranks.first, p->gpus, user);
    }
}

/* ---- to the head ---- */

/* The caller keeps the strings. */
static Reid__V1__PartKey key_of(const part *p)
{
    Reid__V1__PartKey key = REID__V1__PART_KEY__INIT;
    key.job = (char *)p->job;
    key.attempt = p->attempt;
    return key;
}

static reid_status send_piece(const reidd_mirror_piece *piece, void *user)
{
    part *p = user;
    if (!p->parts->connected)
        return REID_ERR_UNAVAILABLE;
    Reid__V1__PartKey key = key_of(p);
    Reid__V1__MirrorData data = REID__V1__MIRROR_DATA__INIT;
    Reid__V1__NodeUp up = REID__V1__NODE_UP__INIT;
    data.key = &key;
    data.path = (char *)piece->path;
    data.offset = piece->offset;
    data.data.data = (uint8_t *)piece->data;
    data.data.len = piece->size;
    data.whole = piece->whole;
    up.kind_case = REID__V1__NODE_UP__KIND_MIRROR;
    up.mirror = &data;
    return reidd_cluster_report(p->parts->cluster, &up, NULL);
}

static void tell_started(reidd_parts *parts, const Reid__V1__PartKey *key, const part *p,
                         const char *refused)
{
    Reid__V1__PartStarted started = REID__V1__PART_STARTED__INIT;
    Reid__V1__NodeUp up = REID__V1__NODE_UP__INIT;
    started.key = (Reid__V1__PartKey *)key;
    started.refused = (char *)refused;
    started.gpus = p && p->gpus ? p->gpus : (char *)"";
    up.kind_case = REID__V1__NODE_UP__KIND_PART_STARTED;
    up.part_started = &started;
    reid_error err = {0};
    if (reidd_cluster_report(parts->cluster, &up, &err) != REID_OK)
        reid_log_warn("cluster %s", err.text);
}

static void tell_ended(reidd_parts *parts, Reid__V1__PartKey *key, const reidd_exit_report *report,
                       bool never_began, bool *ret_told)
{
    Reid__V1__PartEnded ended = REID__V1__PART_ENDED__INIT;
    Reid__V1__NodeUp up = REID__V1__NODE_UP__INIT;
    ended.key = key;
    ended.exit_code = report->exit_code;
    ended.signal = report->signal;
    ended.sentence = (char *)report->sentence;
    ended.never_began = never_began;
    up.kind_case = REID__V1__NODE_UP__KIND_PART_ENDED;
    up.part_ended = &ended;
    *ret_told = reidd_cluster_report(parts->cluster, &up, NULL) == REID_OK;
}

/* The next pieces; once everything is there, the end. */
static void step(part *p)
{
    if (!p->parts->connected)
        return;
    reidd_mirror_step(p->mirror);
    if (!p->ended || p->reported || !reidd_mirror_is_complete(p->mirror))
        return;
    Reid__V1__PartKey key = key_of(p);
    tell_ended(p->parts, &key, &p->report, p->never_began, &p->reported);
}

static void on_tick(uv_timer_t *timer)
{
    reidd_parts *parts = timer->data;
    for (size_t i = 0; i < parts->items.count; i++)
        step(parts->items.items[i]);
}

/* The timer runs while there is something to look at. */
static void plan(reidd_parts *parts)
{
    bool wanted = parts->items.count > 0 && parts->connected && !parts->closing;
    bool running = uv_is_active((uv_handle_t *)&parts->timer);
    if (wanted && !running)
        uv_timer_start(&parts->timer, on_tick, REIDD_PART_TICK_MS, REIDD_PART_TICK_MS);
    else if (!wanted && running)
        uv_timer_stop(&parts->timer);
}

/* ---- one part ---- */

static part *add(reidd_parts *parts, const char *job, int attempt, reidd_mirror_ranks ranks)
{
    part *p = reid_xcalloc(1, sizeof *p);
    p->parts = parts;
    p->attempt = attempt;
    p->ranks = ranks;
    snprintf(p->job, sizeof p->job, "%s", job);
    p->folder = reid_xasprintf("%s/%s/attempt-%d", parts->folder, job, attempt);
    p->mirror = reidd_mirror_new(p->folder, ranks, send_piece, p);
    reid_vec_push(&parts->items, p);
    plan(parts);
    return p;
}

static void drop(part *p)
{
    reidd_parts *parts = p->parts;
    for (size_t i = 0; i < parts->items.count; i++) {
        if (parts->items.items[i] != p)
            continue;
        reid_vec_remove(&parts->items, i);
        break;
    }
    reidd_attempt_close(p->shim);
    reidd_mirror_free(p->mirror);
    free(p->folder);
    free(p->gpus);
    free(p);
    plan(parts);
}

/* Nobody needs it any more. */
static void forget(part *p)
{
    reid_error err = {0};
    REID_AUTOFREE char *job_folder = reid_path_dir(p->folder);
    reid_log_info("part forgotten id=%s attempt=%d", p->job, p->attempt);
    if (reid_remove_tree(p->folder, &err) != REID_OK)
        reid_log_warn("part %s", err.text);
    reidd_parts *parts = p->parts;
    REID_AUTOFREE char *job = reid_xstrdup(p->job);
    drop(p);
    for (size_t i = 0; i < parts->items.count; i++)
        if (strcmp(parts->items.items[i]->job, job) == 0)
            return;
    if (reid_remove_tree(job_folder, &err) != REID_OK)
        reid_log_warn("part %s", err.text);
}

static void on_shim_end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome, void *user)
{
    part *p = user;
    p->report = outcome->report;
    p->never_began = !outcome->started;
    p->ended = true;
    if (p->report.exit_code != 0) /* who waited for whom is asked then */
        reidd_mirror_ask_flight(p->mirror);
    reidd_attempt_close(attempt);
    p->shim = NULL;
    reid_log_info("part ended id=%s attempt=%d exit_code=%d %s", p->job, p->attempt,
                  p->report.exit_code, p->report.sentence);
    step(p);
}

/* ---- start ---- */

static reid_status write_record(const part *p, reid_error *err)
{
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    reid_json_key(&w, "first");
    reid_json_int(&w, p->ranks.first);
    reid_json_key(&w, "count");
    reid_json_int(&w, p->ranks.count);
    reid_json_end_object(&w);
    REID_AUTOFREE char *path = reid_path_join(p->folder, RECORD);
    reid_status status = reid_file_write_atomic(path, text.data, text.length, err);
    reid_str_fini(&text);
    return status;
}

static reid_status check_start(const Reid__V1__PartStart *start, reidd_mirror_ranks *ret_ranks,
                               reid_error *err)
{
    if (start->n_ranks == 0 || start->n_ranks > RANKS_LIMIT || start->ranks[0] < 0 ||
        start->grace_ms < 0)
        return reid_fail(err, REID_ERR_INVALID, "a part has 1 to %d ranks", RANKS_LIMIT);
    for (size_t i = 1; i < start->n_ranks; i++)
        if (start->ranks[i] != start->ranks[0] + (int)i)
            return reid_fail(err, REID_ERR_INVALID, "the ranks of a part follow each other");
    *ret_ranks = (reidd_mirror_ranks){.first = start->ranks[0], .count = (int)start->n_ranks};
    return REID_OK;
}

static reid_status check_words(const reidd_parts *parts, const Reid__V1__PartStart *start,
                               char ***ret_argv, reid_error *err)
{
    char address[REIDD_ADDRESS_BYTES] = "";
    const reidd_cluster_node *head = reidd_cluster_head(parts->cluster);
    REID_TRY(reidd_address_resolve(head->host, address, err));
    const reidd_part_origin origin = {.host = address,
                                      .network = reidd_cluster_get_file(parts->cluster)->network};
    return reidd_part_words_check(start->argv, start->n_argv, &origin, ret_argv, err);
}

static reid_status take_gpus(part *p, reid_error *err)
{
    reidd_parts *parts = p->parts;
    if (!parts->gpus || reidd_gpus_count(parts->gpus) == 0)
        return REID_OK;
    char **held = reid_xcalloc(parts->items.count + 1, sizeof(char *));
    size_t count = 0;
    for (size_t i = 0; i < parts->items.count; i++) {
        const part *other = parts->items.items[i];
        if (other != p && other->gpus && !other->ended)
            held[count++] = other->gpus;
    }
    p->gpus = reidd_gpus_pick(parts->gpus, held, count, p->ranks.count);
    free((void *)held);
    if (!p->gpus)
        return reid_fail(err, REID_ERR_UNAVAILABLE, "fewer than %d GPUs are free there",
                         p->ranks.count);
    return REID_OK;
}

/* The submitter is the same by name on all nodes. */
static reid_status find_account(const reidd_parts *parts, const char *user, bool *ret_other,
                                reidd_account *ret_account, reid_error *err)
{
    *ret_other = false;
    if (geteuid() != 0)
        return REID_OK;
    if (!reidd_system_accounts.by_name(user, ret_account))
        return reid_fail(err, REID_ERR_PRECONDITION, "there is no account '%.64s' on node %s", user,
                         reidd_cluster_self(parts->cluster)->name);
    return reidd_run_as_find(ret_account->uid, parts->lowest_uid, NULL, ret_other, ret_account,
                             err);
}

static reid_status launch(part *p, const Reid__V1__PartStart *start, char **argv, reid_error *err)
{
    reidd_parts *parts = p->parts;
    REID_AUTOFREE char *job_folder = reid_path_dir(p->folder);
    REID_AUTOFREE char *config = reid_path_join(job_folder, "config.yaml");
    REID_AUTOFREE char *group = reidd_confine_path(parts->confine, p->job, p->attempt);
    const char *network = reidd_cluster_get_file(parts->cluster)->network;
    reidd_account account;
    bool other = false;
    REID_TRY(find_account(parts, start->user, &other, &account, err));
    REID_TRY(reid_make_dirs(p->folder, 0700, err));
    REID_TRY(reid_file_write_atomic(config, start->config_yaml, strlen(start->config_yaml), err));
    if (other)
        REID_TRY(reidd_run_as_let_in(&account, job_folder, config, err));
    REID_TRY(take_gpus(p, err));
    REID_TRY(write_record(p, err));
    const reidd_attempt_spec spec = {
        .job_id = p->job,
        .attempt = p->attempt,
        .as = other ? &account : NULL,
        .folder = p->folder,
        .shim = parts->shim,
        .config_path = config,
        .hook_dir = parts->hook_dir,
        .gpus = p->gpus,
        .ranks = p->ranks.count,
        .first = p->ranks.first,
        .orted = argv,
        .network = network ? network : reidd_cluster_self(parts->cluster)->host,
        .grace_ms = start->grace_ms,
        .group = group,
        .link_address = parts->link_address,
        .ticket = start->ticket,
    };
    return reidd_attempt_start(parts->loop, &spec, on_shim_end, p, &p->shim, err);
}

static reid_status start_new(reidd_parts *parts, const Reid__V1__PartStart *start, part **ret_part,
                             reid_error *err)
{
    reidd_mirror_ranks ranks;
    char **argv = NULL;
    if (!is_job_id(start->key->job) || start->key->attempt < 1)
        return reid_fail(err, REID_ERR_INVALID, "this is no job");
    if (parts->items.count >= PARTS_LIMIT)
        return reid_fail(err, REID_ERR_EXHAUSTED, "there are %d parts already", PARTS_LIMIT);
    REID_TRY(check_start(start, &ranks, err));
    REID_TRY(check_words(parts, start, &argv, err));
    part *p = add(parts, start->key->job, start->key->attempt, ranks);
    reid_status status = launch(p, start, argv, err);
    reidd_part_words_free(argv);
    if (status == REID_OK) {
        reid_log_info("part started id=%s attempt=%d ranks=%d-%d%s%s", p->job, p->attempt,
                      ranks.first, ranks.first + ranks.count - 1, p->gpus ? " gpus=" : "",
                      p->gpus ? p->gpus : "");
        *ret_part = p;
        return REID_OK;
    }
    reid_remove_tree(p->folder, NULL);
    drop(p);
    return status;
}

static void take_start(reidd_parts *parts, const Reid__V1__PartStart *start)
{
    reid_error err = {0};
    part *p = find(parts, start->key->job, start->key->attempt);
    if (!p && start_new(parts, start, &p, &err) != REID_OK) {
        reid_log_warn("part refused id=%.16s %s", start->key->job, err.text);
        tell_started(parts, start->key, NULL, err.text);
        return;
    }
    tell_started(parts, start->key, p, "");
}

static void take_stop(reidd_parts *parts, const Reid__V1__PartStop *stop)
{
    part *p = find(parts, stop->key->job, stop->key->attempt);
    if (!p) { /* so that nobody waits for it */
        bool told;
        reidd_exit_report report = {.exit_code = 1};
        tell_ended(parts, stop->key, &report, false, &told);
        return;
    }
    reid_log_info("part stopping id=%s attempt=%d grace_ms=%lld %s", p->job, p->attempt,
                  (long long)stop->grace_ms, stop->reason);
    if (p->shim)
        reidd_attempt_stop(p->shim, REID_MAX(stop->grace_ms, 0));
}

/* ---- from the head ---- */

static bool has_key(const Reid__V1__PartKey *key)
{
    return key && key->job;
}

static reid_status on_down(const Reid__V1__NodeDown *message, void *user, reid_error *err)
{
    reidd_parts *parts = user;
    part *p;
    switch (message->kind_case) {
    case REID__V1__NODE_DOWN__KIND_PART_START:
        if (has_key(message->part_start->key))
            take_start(parts, message->part_start);
        return REID_OK;
    case REID__V1__NODE_DOWN__KIND_PART_STOP:
        if (has_key(message->part_stop->key))
            take_stop(parts, message->part_stop);
        return REID_OK;
    case REID__V1__NODE_DOWN__KIND_MIRROR_ACK:
        p = has_key(message->mirror_ack->key)
                ? find(parts, message->mirror_ack->key->job, message->mirror_ack->key->attempt)
                : NULL;
        if (p) {
            reidd_mirror_ack(p->mirror, message->mirror_ack->path, message->mirror_ack->size);
            if (p->ended)
                step(p);
        }
        return REID_OK;
    case REID__V1__NODE_DOWN__KIND_PART_LOOK:
        p = has_key(message->part_look->key)
                ? find(parts, message->part_look->key->job, message->part_look->key->attempt)
                : NULL;
        if (p) {
            reidd_mirror_ask_flight(p->mirror);
            step(p);
        }
        return REID_OK;
    case REID__V1__NODE_DOWN__KIND_PART_FORGET:
        p = has_key(message->part_forget->key)
                ? find(parts, message->part_forget->key->job, message->part_forget->key->attempt)
                : NULL;
        if (p && p->ended)
            forget(p);
        return REID_OK;
    default:
        return REID_OK; /* something newer than this daemon */
    }
}

static void on_joining(Reid__V1__NodeHello *hello, void *user)
{
    reidd_parts *parts = user;
    hello->n_parts = parts->items.count;
    hello->parts = reid_xcalloc(parts->items.count + 1, sizeof *hello->parts);
    for (size_t i = 0; i < parts->items.count; i++) {
        const part *p = parts->items.items[i];
        Reid__V1__PartStatus *status = reid_xmalloc(sizeof *status);
        reid__v1__part_status__init(status);
        status->key = reid_xmalloc(sizeof *status->key);
        reid__v1__part_key__init(status->key);
        status->key->job = reid_xstrdup(p->job);
        status->key->attempt = p->attempt;
        status->ended = p->ended;
        hello->parts[i] = status;
    }
}

static void take_known(reidd_parts *parts, const Reid__V1__PartKnown *known)
{
    part *p = has_key(known->key) ? find(parts, known->key->job, known->key->attempt) : NULL;
    if (!p)
        return;
    for (size_t i = 0; i < known->n_files; i++)
        reidd_mirror_ack(p->mirror, known->files[i]->path, known->files[i]->size);
    if (known->stop && p->shim) {
        reid_log_warn("part stopped, the head has no use for it id=%s attempt=%d", p->job,
                      p->attempt);
        reidd_attempt_stop(p->shim, 0);
    }
}

static void on_welcome(const Reid__V1__NodeWelcome *welcome, void *user)
{
    reidd_parts *parts = user;
    for (size_t i = 0; i < parts->items.count; i++) {
        reidd_mirror_restart(parts->items.items[i]->mirror);
        parts->items.items[i]->reported = false;
    }
    for (size_t i = 0; i < welcome->n_parts; i++)
        take_known(parts, welcome->parts[i]);
    parts->connected = true;
    reidd_probe_stop(parts->probe);
    plan(parts);
}

static void on_head_lost(const char *why, void *user)
{
    reidd_parts *parts = user;
    parts->connected = false;
    reidd_probe_start(parts->probe, REIDD_RESTLESS_MS);
    plan(parts);
}

static void on_cut(void *user)
{
    reidd_parts *parts = user;
    for (size_t i = 0; i < parts->items.count; i++) {
        part *p = parts->items.items[i];
        if (!p->shim)
            continue;
        reid_log_warn("part stopped, its head cannot be reached id=%s attempt=%d", p->job,
                      p->attempt);
        reidd_attempt_stop(p->shim, 0);
    }
}

static const reidd_part_events events = {
    .on_joining = on_joining,
    .on_welcome = on_welcome,
    .on_down = on_down,
    .on_head_lost = on_head_lost,
};

/* ---- start and end ---- */

static reid_status read_record(const char *folder, reidd_mirror_ranks *ret_ranks)
{
    REID_AUTOFREE char *path = reid_path_join(folder, RECORD);
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    reid_json *root = NULL;
    REID_TRY(reid_file_read_foreign(path, RECORD_BYTES, &text, &size, NULL));
    REID_TRY(reid_json_parse(text, size, &root, NULL));
    ret_ranks->first = (int)reid_json_as_int(reid_json_get(root, "first"), -1);
    ret_ranks->count = (int)reid_json_as_int(reid_json_get(root, "count"), 0);
    reid_json_free(root);
    bool sound = ret_ranks->first >= 0 && ret_ranks->count >= 1 && ret_ranks->count <= RANKS_LIMIT;
    return sound ? REID_OK : REID_ERR_CORRUPT;
}

static void adopt(reidd_parts *parts, const char *job, const char *name)
{
    static const char prefix[] = "attempt-";
    int64_t attempt = 0;
    reidd_mirror_ranks ranks;
    REID_AUTOFREE char *folder = reid_xasprintf("%s/%s/%s", parts->folder, job, name);
    if (!is_job_id(job) || !reid_str_starts(name, prefix) ||
        reid_parse_int64(name + sizeof prefix - 1, &attempt) != REID_OK || attempt < 1 ||
        attempt > INT32_MAX)
        return;
    if (read_record(folder, &ranks) != REID_OK) { /* it never came to start */
        reid_remove_tree(folder, NULL);
        return;
    }
    part *p = add(parts, job, (int)attempt, ranks);
    p->gpus = reidd_gpu_list_read(folder);
    reid_error err = {0};
    if (reidd_attempt_adopt(parts->loop, folder, on_shim_end, p, &p->shim, &err) != REID_OK) {
        reid_log_error("part %s", err.text);
        drop(p);
        return;
    }
    reid_log_info("part adopted id=%s attempt=%d", p->job, p->attempt);
}

static void adopt_all(reidd_parts *parts)
{
    reid_dir_entry *jobs = NULL, *attempts = NULL;
    size_t job_count = 0, attempt_count = 0;
    if (reid_dir_list(parts->folder, &jobs, &job_count, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < job_count; i++) {
        REID_AUTOFREE char *path = reid_path_join(parts->folder, jobs[i].name);
        if (reid_dir_list(path, &attempts, &attempt_count, NULL) != REID_OK)
            continue;
        for (size_t k = 0; k < attempt_count; k++)
            adopt(parts, jobs[i].name, attempts[k].name);
        reid_dir_free(attempts, attempt_count);
    }
    reid_dir_free(jobs, job_count);
}

reid_status reidd_parts_new(uv_loop_t *loop, const reidd_parts_options *options,
                            reidd_parts **ret_parts, reid_error *err)
{
    REID_AUTOFREE char *folder = reid_path_join(options->state_dir, "parts");
    REID_TRY(reid_make_dirs(folder, 0700, err));
    reidd_parts *parts = reid_xcalloc(1, sizeof *parts);
    parts->loop = loop;
    parts->cluster = options->cluster;
    parts->folder = reid_xstrdup(folder);
    parts->shim = reid_xstrdup(options->shim);
    parts->link_address = reid_xstrdup(options->link_address);
    parts->hook_dir = options->hook_dir ? reid_xstrdup(options->hook_dir) : NULL;
    parts->confine = options->confine;
    parts->gpus = options->gpus;
    parts->lowest_uid = options->lowest_uid;
    parts->timer.data = parts;
    uv_timer_init(loop, &parts->timer);
    const reidd_cluster_node *head = reidd_cluster_head(options->cluster);
    parts->probe = reidd_probe_new(loop, head->host, head->address, on_cut, parts);
    reidd_probe_start(parts->probe, 0); /* until the head is there */
    adopt_all(parts);
    reidd_cluster_set_parts(options->cluster, &events, parts);
    *ret_parts = parts;
    return REID_OK;
}

static void on_closed(uv_handle_t *handle)
{
    reidd_parts *parts = handle->data;
    reid_vec_fini(&parts->items);
    free(parts->folder);
    free(parts->shim);
    free(parts->link_address);
    free(parts->hook_dir);
    free(parts);
}

void reidd_parts_close(reidd_parts *parts)
{
    if (!parts || parts->closing)
        return;
    parts->closing = true;
    parts->connected = false;
    while (parts->items.count > 0)
        drop(parts->items.items[parts->items.count - 1]);
    reidd_probe_close(parts->probe);
    uv_close((uv_handle_t *)&parts->timer, on_closed);
}
