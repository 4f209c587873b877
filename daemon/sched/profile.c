#include "daemon/sched/profile.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "base/vec.h"

/* ---- the lines ---- */

static bool same_type(const reidd_node *a, const reidd_node *b)
{
    if (!a->gpu_type || !b->gpu_type)
        return a->gpu_type == b->gpu_type;
    return strcmp(a->gpu_type, b->gpu_type) == 0;
}

static void set_pools(reidd_profile *profile)
{
    const reidd_nodes *nodes = profile->nodes;
    for (size_t i = 0; i < nodes->count; i++) {
        profile->lines[i].gpus = nodes->items[i].gpu_type != NULL;
        profile->lines[i].pool = -1;
        for (size_t k = 0; k < i && profile->lines[i].pool < 0; k++)
            if (same_type(&nodes->items[k], &nodes->items[i]))
                profile->lines[i].pool = profile->lines[k].pool;
        if (profile->lines[i].pool < 0)
            profile->lines[i].pool = profile->pools++;
    }
}

static void hold(reidd_profile *profile, size_t node, reidd_hold what)
{
    if (what.slots > 0)
        reid_vec_push(&profile->lines[node].holds, what);
}

static size_t row_of(const reidd_nodes *nodes, const char *name)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (strcmp(nodes->items[i].name, name) == 0)
            return i;
    return nodes->count;
}

static void hold_running(reidd_profile *profile, const reidd_sched_job *job, int owner)
{
    reidd_hold what = {
        .slots = job->ranks,
        .owner = owner,
        .to = job->leaving       ? REIDD_SCHED_SOON_MS
              : job->time_ms > 0 ? job->time_ms
                                 : REIDD_SCHED_NEVER,
    };
    reidd_placement placement = {0};
    if (!job->placement || !*job->placement ||
        reidd_placement_parse(job->placement, &placement, NULL) != REID_OK)
        hold(profile, 0, what);
    for (size_t i = 0; i < placement.count; i++) {
        size_t row = row_of(profile->nodes, placement.items[i].node);
        what.slots = placement.items[i].ranks;
        if (row < profile->nodes->count) /* not taken out of the cluster since */
            hold(profile, row, what);
    }
    reidd_placement_fini(&placement);
}

void reidd_profile_init(reidd_profile *profile, const reidd_nodes *nodes,
                        const reidd_sched_job *running, size_t running_count)
{
    *profile = (reidd_profile){.nodes = nodes};
    profile->lines = reid_xcalloc(nodes->count + 1, sizeof *profile->lines);
    profile->shares = reid_xcalloc(nodes->count + 1, sizeof *profile->shares);
    profile->room = reid_xcalloc(nodes->count + 1, sizeof *profile->room);
    profile->usable = reid_xcalloc(nodes->count + 1, sizeof *profile->usable);
    for (size_t i = 0; i < nodes->count; i++) {
        profile->lines[i].closed_from = REIDD_SCHED_NEVER;
        if (reidd_node_takes_jobs(&nodes->items[i]))
            profile->lines[i].slots = nodes->items[i].slots;
    }
    set_pools(profile);
    for (size_t i = 0; i < running_count; i++)
        hold_running(profile, &running[i], (int)i);
}

void reidd_profile_fini(reidd_profile *profile)
{
    for (size_t i = 0; i < profile->nodes->count; i++)
        reid_vec_fini(&profile->lines[i].holds);
    free(profile->lines);
    free(profile->shares);
    free(profile->room);
    free(profile->usable);
    *profile = (reidd_profile){0};
}

static int64_t end_of(const reidd_profile *profile, const reidd_hold *what)
{
    if (!profile->hopeful || what->to < REIDD_SCHED_NEVER)
        return what->to;
    return what->from > 0 ? what->from + 1 : 0;
}

static int used_at(const reidd_profile *profile, const reidd_timeline *line, int64_t at)
{
    int used = 0;
    for (size_t i = 0; i < line->holds.count; i++)
        if (line->holds.items[i].from <= at && at < end_of(profile, &line->holds.items[i]))
            used += line->holds.items[i].slots;
    return used;
}

/* Slots that are free all the time from `at` until before `end`. */
static int room_of(const reidd_profile *profile, const reidd_timeline *line, int64_t at,
                   int64_t end)
{
    if (line->slots == 0 || (!profile->hopeful && end > line->closed_from))
        return 0;
    int used = used_at(profile, line, at);
    for (size_t i = 0; i < line->holds.count; i++)
        if (line->holds.items[i].from > at && line->holds.items[i].from < end)
            used = REID_MAX(used, used_at(profile, line, line->holds.items[i].from));
    return REID_MAX(line->slots - used, 0);
}

/* ---- which nodes ---- */

/* A pool of all nodes with GPUs. */
#define ALL_GPUS INT_MAX

static bool is_in(const reidd_timeline *line, int pool)
{
    return pool == ALL_GPUS ? line->gpus : line->pool == pool;
}

static int64_t slots_in(const reidd_profile *profile, int pool)
{
    int64_t slots = 0;
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->usable[i] && is_in(&profile->lines[i], pool))
            slots += profile->lines[i].slots;
    return slots;
}

static bool suffices(const reidd_profile *profile, int ranks)
{
    for (int pool = 0; pool < profile->pools; pool++)
        if (slots_in(profile, pool) >= ranks)
            return true;
    return slots_in(profile, ALL_GPUS) >= ranks;
}

static bool has_type(const reidd_node *node, const char *wanted)
{
    return !wanted || !*wanted || (node->gpu_type && strcasestr(node->gpu_type, wanted));
}

static bool choose(reidd_profile *profile, const reidd_sched_job *job, const char *avoid)
{
    const reidd_nodes *nodes = profile->nodes;
    for (size_t i = 0; i < nodes->count; i++)
        profile->usable[i] = has_type(&nodes->items[i], job->gpu_type) &&
                             !reidd_names_have(avoid, nodes->items[i].name);
    return suffices(profile, job->ranks);
}

bool reidd_profile_choose_well(reidd_profile *profile, const reidd_sched_job *job)
{
    return choose(profile, job, job->avoid);
}

bool reidd_profile_choose(reidd_profile *profile, const reidd_sched_job *job)
{
    return choose(profile, job, job->avoid) || choose(profile, job, NULL);
}

bool *reidd_profile_nodes_for(const reidd_nodes *nodes, const reidd_sched_job *job, bool all)
{
    reidd_profile profile;
    reidd_sched_job least = *job;
    least.ranks = reidd_sched_least_ranks(job);
    reidd_profile_init(&profile, nodes, NULL, 0);
    for (size_t i = 0; all && i < nodes->count; i++)
        profile.lines[i].slots = nodes->items[i].slots;
    bool enough = reidd_profile_choose(&profile, &least);
    bool gpus = slots_in(&profile, ALL_GPUS) >= least.ranks;
    bool *usable = reid_xcalloc(nodes->count + 1, sizeof *usable);
    for (size_t i = 0; i < nodes->count; i++)
        usable[i] = profile.usable[i] && (all || profile.lines[i].slots > 0) &&
                    (!enough || (gpus && profile.lines[i].gpus) ||
                     slots_in(&profile, profile.lines[i].pool) >= least.ranks);
    reidd_profile_fini(&profile);
    return usable;
}

/* The node with the least room that has `ranks` left; nodes->count: none. */
static size_t snuggest(const reidd_profile *profile, int ranks, int pool)
{
    size_t best = profile->nodes->count;
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->shares[i] == 0 && profile->room[i] >= ranks &&
            is_in(&profile->lines[i], pool) &&
            (best == profile->nodes->count || profile->room[i] < profile->room[best]))
            best = i;
    return best;
}

static size_t roomiest(const reidd_profile *profile, int pool)
{
    size_t best = profile->nodes->count;
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->shares[i] == 0 && profile->room[i] > 0 && is_in(&profile->lines[i], pool) &&
            (best == profile->nodes->count || profile->room[i] > profile->room[best]))
            best = i;
    return best;
}

/* The roomiest nodes, the last of them as snug as possible: as few nodes as there can be. */
static bool share_out(reidd_profile *profile, int ranks, int pool)
{
    memset(profile->shares, 0, profile->nodes->count * sizeof *profile->shares);
    while (ranks > 0) {
        size_t node = snuggest(profile, ranks, pool);
        if (node == profile->nodes->count)
            node = roomiest(profile, pool);
        if (node == profile->nodes->count)
            return false;
        profile->shares[node] = REID_MIN(ranks, profile->room[node]);
        ranks -= profile->shares[node];
    }
    return true;
}

bool reidd_profile_fits(reidd_profile *profile, const reidd_sched_job *job, int64_t at)
{
    int64_t end = job->time_ms > 0 && at < REIDD_SCHED_NEVER - job->time_ms ? at + job->time_ms
                                                                            : REIDD_SCHED_NEVER;
    int64_t sum = 0;
    for (size_t i = 0; i < profile->nodes->count; i++) {
        profile->room[i] = profile->usable[i] ? room_of(profile, &profile->lines[i], at, end) : 0;
        sum += profile->room[i];
    }
    if (sum < job->ranks)
        return false;
    for (int pool = 0; pool < profile->pools; pool++)
        if (share_out(profile, job->ranks, pool))
            return true;
    return share_out(profile, job->ranks, ALL_GPUS);
}

/* ---- when ---- */

/* The next time after `after` at which something ends. */
static int64_t next_end(const reidd_profile *profile, int64_t after)
{
    int64_t next = REIDD_SCHED_NEVER;
    for (size_t i = 0; i < profile->nodes->count; i++)
        for (size_t k = 0; k < profile->lines[i].holds.count; k++) {
            int64_t end = end_of(profile, &profile->lines[i].holds.items[k]);
            if (end > after && end < next)
                next = end;
        }
    return next;
}

int64_t reidd_profile_earliest(reidd_profile *profile, const reidd_sched_job *job)
{
    int64_t at = 0;
    while (at < REIDD_SCHED_NEVER && !reidd_profile_fits(profile, job, at))
        at = next_end(profile, at);
    return at;
}

void reidd_profile_keep(reidd_profile *profile, const reidd_sched_job *job, int64_t at)
{
    for (size_t i = 0; i < profile->nodes->count; i++)
        hold(profile, i,
             (reidd_hold){.slots = profile->shares[i],
                          .owner = -1,
                          .from = at,
                          .to = job->time_ms > 0 ? at + job->time_ms : REIDD_SCHED_NEVER});
}

void reidd_profile_close(reidd_profile *profile, const reidd_sched_job *job)
{
    profile->hopeful = true;
    int64_t from = reidd_profile_earliest(profile, job);
    profile->hopeful = false;
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->usable[i])
            profile->lines[i].closed_from = REID_MIN(profile->lines[i].closed_from, from);
}

int reidd_profile_count_waiting(reidd_profile *profile)
{
    int most = 0;
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->usable[i]) {
            most = REID_MAX(most, profile->lines[i].waiting);
            profile->lines[i].waiting++;
        }
    return most;
}

void reidd_profile_close_now(reidd_profile *profile)
{
    for (size_t i = 0; i < profile->nodes->count; i++)
        if (profile->usable[i])
            profile->lines[i].closed_from = 0;
}

void reidd_profile_end(reidd_profile *profile, int owner, int64_t at)
{
    for (size_t i = 0; i < profile->nodes->count; i++)
        for (size_t k = 0; k < profile->lines[i].holds.count; k++)
            if (profile->lines[i].holds.items[k].owner == owner)
                profile->lines[i].holds.items[k].to = at;
}

int reidd_profile_free_now(const reidd_profile *profile)
{
    int64_t sum = 0;
    for (size_t i = 0; i < profile->nodes->count; i++) {
        const reidd_timeline *line = &profile->lines[i];
        if (line->closed_from > 0)
            sum += REID_MAX(line->slots - used_at(profile, line, 0), 0);
    }
    return (int)REID_MIN(sum, INT_MAX);
}

char *reidd_profile_placement(const reidd_profile *profile)
{
    reid_str text = REID_STR_INIT;
    bool elsewhere = false;
    for (size_t i = 0; i < profile->nodes->count; i++) {
        if (profile->shares[i] == 0)
            continue;
        reid_str_addf(&text, "%s%s:%d", text.length > 0 ? "," : "", profile->nodes->items[i].name,
                      profile->shares[i]);
        elsewhere = elsewhere || i > 0;
    }
    if (elsewhere)
        return reid_str_take(&text);
    reid_str_fini(&text);
    return NULL;
}
