/* The two samplers that fill batches with P identities × K images. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "data/sampler_impl.h"

reid_identity_index reid_identity_index_make(const reid_dataset *dataset)
{
    size_t pids = (size_t)dataset->num_pids;
    reid_identity_index index = {
        .first = reid_xcalloc(pids + 2, sizeof *index.first), /* one more while counting */
        .images = reid_xcalloc(dataset->count, sizeof *index.images),
    };
    for (size_t i = 0; i < dataset->count; i++)
        index.first[dataset->items[i].pid + 2]++;
    for (size_t p = 0; p < pids; p++)
        index.first[p + 2] += index.first[p + 1];
    for (size_t i = 0; i < dataset->count; i++)
        index.images[index.first[dataset->items[i].pid + 1]++] = (uint32_t)i;
    return index;
}

void reid_identity_index_fini(reid_identity_index *index)
{
    free(index->first);
    free(index->images);
    *index = (reid_identity_index){0};
}

reid_status reid_sampler_check_instances(const reid_sampler_options *options, reid_error *err)
{
    int share = options->batch / options->world;
    if (options->instances < 1 || share % options->instances != 0)
        return reid_fail(
            err, REID_ERR_INVALID,
            "%s: DATALOADER.NUM_INSTANCE %d does not divide the %d images of a rank's batch "
            "(SOLVER.IMS_PER_BATCH %d on %d rank%s)",
            options->name, options->instances, share, options->batch, options->world,
            options->world == 1 ? "" : "s");
    return REID_OK;
}

static reid_status fail_too_few(const reid_sampler_options *options, const reid_dataset *dataset,
                                int wanted, const char *whose, reid_error *err)
{
    return reid_fail(err, REID_ERR_INVALID,
                     "%s needs %d identities for %s (SOLVER.IMS_PER_BATCH %d, "
                     "DATALOADER.NUM_INSTANCE %d, %d rank%s), "
                     "but the training set '%s' has only %d",
                     options->name, wanted, whose, options->batch, options->instances,
                     options->world, options->world == 1 ? "" : "s", dataset->name,
                     dataset->num_pids);
}

/* --- NaiveIdentitySampler */

typedef struct naive_state {
    uint64_t seed, pools; /* pools started so far: the key of the next one's random numbers */
    reid_rng rng;
    uint32_t batch, instances, drawn; /* drawn = P: identities of one draw */
    uint32_t num_pids;
    reid_identity_index index;
    uint32_t *pool; /* the identities left: the first `left` entries */
    uint32_t left;
    uint32_t *queue;       /* per identity, its shuffled images; starts at queue_first[p] */
    uint32_t *queue_first; /* [num_pids + 1] */
    uint32_t *taken; /* images used of each queue; UINT32_MAX: not shuffled in this pool yet */
} naive_state;

static int naive_draw_size(const reid_sampler_options *options, const reid_dataset *dataset)
{
    int all = options->batch / options->instances;
    return all <= dataset->num_pids ? all : all / options->world;
}

static reid_status naive_check(const reid_sampler_options *options, const reid_dataset *dataset,
                               reid_error *err)
{
    REID_TRY(reid_sampler_check_instances(options, err));
    int drawn = naive_draw_size(options, dataset);
    if (drawn > dataset->num_pids)
        return fail_too_few(options, dataset, drawn, "a rank's batch", err);
    return REID_OK;
}

static void *naive_create(const reid_sampler_options *options, const reid_dataset *dataset)
{
    naive_state *state = reid_xcalloc(1, sizeof *state);
    state->seed = options->seed;
    state->batch = (uint32_t)options->batch;
    state->instances = (uint32_t)options->instances;
    state->drawn = (uint32_t)naive_draw_size(options, dataset);
    state->num_pids = (uint32_t)dataset->num_pids;
    state->index = reid_identity_index_make(dataset);
    size_t pids = state->num_pids;
    state->pool = reid_xcalloc(pids, sizeof *state->pool);
    state->taken = reid_xcalloc(pids, sizeof *state->taken);
    state->queue_first = reid_xcalloc(pids + 1, sizeof *state->queue_first);
    for (size_t p = 0; p < pids; p++) {
        uint32_t images = state->index.first[p + 1] - state->index.first[p];
        state->queue_first[p + 1] =
            state->queue_first[p] + (images < state->instances ? state->instances : images);
    }
    state->queue = reid_xcalloc(state->queue_first[pids], sizeof *state->queue);
    return state; /* left = 0: the first batch starts a pool */
}

static void naive_start_pool(naive_state *state)
{
    state->rng = reid_rng_stream(state->seed, REID_RNG_SAMPLER, state->pools++, 0);
    for (uint32_t p = 0; p < state->num_pids; p++)
        state->pool[p] = p;
    state->left = state->num_pids;
    memset(state->taken, 0xFF, state->num_pids * sizeof *state->taken);
}

static void naive_shuffle_images(naive_state *state, uint32_t pid)
{
    const uint32_t *images = state->index.images + state->index.first[pid];
    uint32_t have = state->index.first[pid + 1] - state->index.first[pid];
    uint32_t *queue = state->queue + state->queue_first[pid];
    if (have < state->instances) {
        for (uint32_t k = 0; k < state->instances; k++)
            queue[k] = images[reid_rng_below(&state->rng, have)];
    } else {
        memcpy(queue, images, have * sizeof *queue);
        reid_rng_shuffle_u32(&state->rng, queue, have);
    }
    state->taken[pid] = 0;
}

/* Draws P identities: the first P places of the pool become a random choice of its members. Those
 * that are used up are then replaced from the end, last place first, so that no place drawn is
 * disturbed before its turn. */
static void naive_draw(naive_state *state, uint32_t *ret_indices)
{
    uint32_t instances = state->instances;
    for (uint32_t i = 0; i < state->drawn; i++) {
        uint32_t other = i + reid_rng_below(&state->rng, state->left - i);
        uint32_t pid = state->pool[other];
        state->pool[other] = state->pool[i];
        state->pool[i] = pid;
        if (state->taken[pid] == UINT32_MAX)
            naive_shuffle_images(state, pid);
        memcpy(ret_indices + i * instances,
               state->queue + state->queue_first[pid] + state->taken[pid],
               instances * sizeof *ret_indices);
        state->taken[pid] += instances;
    }
    for (uint32_t i = state->drawn; i-- > 0;) {
        uint32_t pid = state->pool[i];
        uint32_t rest = state->queue_first[pid + 1] - state->queue_first[pid] - state->taken[pid];
        if (rest < instances)
            state->pool[i] = state->pool[--state->left];
    }
}

static void naive_next(void *own_state, uint32_t *ret_indices)
{
    naive_state *state = own_state;
    uint32_t per_draw = state->drawn * state->instances;
    for (uint32_t filled = 0; filled < state->batch; filled += per_draw) {
        if (state->left < state->drawn)
            naive_start_pool(state);
        naive_draw(state, ret_indices + filled);
    }
}

static void naive_destroy(void *own_state)
{
    naive_state *state = own_state;
    reid_identity_index_fini(&state->index);
    free(state->pool);
    free(state->taken);
    free(state->queue_first);
    free(state->queue);
    free(state);
}

const reid_sampler_impl reid_sampler_naive_identity = {
    .name = "NaiveIdentitySampler",
    .check = naive_check,
    .create = naive_create,
    .next = naive_next,
    .destroy = naive_destroy,
};

/* --- BalancedIdentitySampler */

typedef struct balanced_state {
    uint64_t seed, rounds; /* rounds started so far */
    reid_rng rng;
    uint32_t batch, instances, num_pids;
    const reid_dataset *dataset;
    reid_identity_index index;
    uint32_t *order;       /* [num_pids] identities of this round */
    uint32_t used, usable; /* of order */
    uint32_t *candidates;  /* room for the images of the largest identity */
} balanced_state;

static reid_status balanced_check(const reid_sampler_options *options, const reid_dataset *dataset,
                                  reid_error *err)
{
    REID_TRY(reid_sampler_check_instances(options, err));
    int wanted = options->batch / options->instances;
    if (wanted > dataset->num_pids)
        return fail_too_few(options, dataset, wanted, "a global batch", err);
    return REID_OK;
}

static void *balanced_create(const reid_sampler_options *options, const reid_dataset *dataset)
{
    balanced_state *state = reid_xcalloc(1, sizeof *state);
    state->seed = options->seed;
    state->batch = (uint32_t)options->batch;
    state->instances = (uint32_t)options->instances;
    state->num_pids = (uint32_t)dataset->num_pids;
    state->dataset = dataset;
    state->index = reid_identity_index_make(dataset);
    state->order = reid_xcalloc(state->num_pids, sizeof *state->order);
    state->usable = state->num_pids - state->num_pids % (state->batch / state->instances);
    state->used = state->usable; /* the first batch starts a round */
    state->candidates = reid_xcalloc(dataset->count, sizeof *state->candidates);
    return state;
}

static void balanced_start_round(balanced_state *state)
{
    state->rng = reid_rng_stream(state->seed, REID_RNG_SAMPLER, state->rounds++, 0);
    for (uint32_t p = 0; p < state->num_pids; p++)
        state->order[p] = p;
    reid_rng_shuffle_u32(&state->rng, state->order, state->num_pids);
    state->used = 0;
}

/* `wanted` of the candidates, without replacement when there are more than that. */
static void balanced_choose(balanced_state *state, uint32_t count, uint32_t wanted,
                            uint32_t *ret_indices)
{
    bool replace = count <= wanted;
    for (uint32_t k = 0; k < wanted; k++) {
        uint32_t at = replace ? reid_rng_below(&state->rng, count)
                              : k + reid_rng_below(&state->rng, count - k);
        ret_indices[k] = state->candidates[at];
        if (!replace) {
            state->candidates[at] = state->candidates[k];
            state->candidates[k] = ret_indices[k];
        }
    }
}

static void balanced_identity(balanced_state *state, uint32_t pid, uint32_t *ret_indices)
{
    const uint32_t *images = state->index.images + state->index.first[pid];
    uint32_t have = state->index.first[pid + 1] - state->index.first[pid];
    uint32_t anchor = images[reid_rng_below(&state->rng, have)], count = 0;
    int camera = state->dataset->items[anchor].camid;
    for (uint32_t i = 0; i < have; i++)
        if (state->dataset->items[images[i]].camid != camera)
            state->candidates[count++] = images[i];
    if (count == 0) { /* one camera only: any other image */
        for (uint32_t i = 0; i < have; i++)
            if (images[i] != anchor)
                state->candidates[count++] = images[i];
    }
    if (count == 0)
        state->candidates[count++] = anchor;
    ret_indices[0] = anchor;
    balanced_choose(state, count, state->instances - 1, ret_indices + 1);
}

static void balanced_next(void *own_state, uint32_t *ret_indices)
{
    balanced_state *state = own_state;
    for (uint32_t filled = 0; filled < state->batch; filled += state->instances) {
        if (state->used == state->usable)
            balanced_start_round(state);
        balanced_identity(state, state->order[state->used++], ret_indices + filled);
    }
}

static void balanced_destroy(void *own_state)
{
    balanced_state *state = own_state;
    reid_identity_index_fini(&state->index);
    free(state->order);
    free(state->candidates);
    free(state);
}

const reid_sampler_impl reid_sampler_balanced_identity = {
    .name = "BalancedIdentitySampler",
    .check = balanced_check,
    .create = balanced_create,
    .next = balanced_next,
    .destroy = balanced_destroy,
};
