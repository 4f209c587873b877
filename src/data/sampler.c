#include "data/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"
#include "data/sampler_impl.h"

struct reid_sampler {
    const reid_sampler_impl *impl;
    void *state;
    uint32_t *skipped; /* [batch] */
};

/* --- TrainingSampler: image number i of the stream is entry i mod N of permutation i / N. */

typedef struct permutation_state {
    uint64_t seed;
    uint32_t count, batch;
    uint64_t position; /* in the stream */
    uint64_t current;  /* number of the permutation in `order`; UINT64_MAX: none yet */
    uint32_t *order;
} permutation_state;

static void *permutation_create(const reid_sampler_options *options, const reid_dataset *dataset)
{
    permutation_state *state = reid_xcalloc(1, sizeof *state);
    state->seed = options->seed;
    state->count = (uint32_t)dataset->count;
    state->batch = (uint32_t)options->batch;
    state->current = UINT64_MAX;
    state->order = reid_xcalloc(dataset->count, sizeof *state->order);
    return state;
}

static void permutation_next(void *own_state, uint32_t *ret_indices)
{
    permutation_state *state = own_state;
    for (uint32_t i = 0; i < state->batch; i++, state->position++) {
        uint64_t wanted = state->position / state->count;
        if (wanted != state->current) {
            reid_rng rng = reid_rng_stream(state->seed, REID_RNG_SAMPLER, wanted, 0);
            for (uint32_t k = 0; k < state->count; k++)
                state->order[k] = k;
            reid_rng_shuffle_u32(&rng, state->order, state->count);
            state->current = wanted;
        }
        ret_indices[i] = state->order[state->position % state->count];
    }
}

static void permutation_skip(void *own_state, int64_t batches)
{
    permutation_state *state = own_state;
    state->position += (uint64_t)batches * state->batch;
}

static void permutation_destroy(void *own_state)
{
    permutation_state *state = own_state;
    free(state->order);
    free(state);
}

static const reid_sampler_impl training_sampler = {
    .name = "TrainingSampler",
    .create = permutation_create,
    .next = permutation_next,
    .skip = permutation_skip,
    .destroy = permutation_destroy,
};

/* --- The table. */

static const reid_sampler_impl *const samplers[] = {
    &training_sampler,
    &reid_sampler_naive_identity,
    &reid_sampler_balanced_identity,
};

static const reid_sampler_impl *find_sampler(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(samplers); i++)
        if (strcmp(samplers[i]->name, name) == 0)
            return samplers[i];
    return NULL;
}

static reid_status fail_unknown(const char *name, reid_error *err)
{
    reid_str known = REID_STR_INIT;
    for (size_t i = 0; i < REID_COUNT_OF(samplers); i++)
        reid_str_addf(&known, "%s%s", i ? ", " : "", samplers[i]->name);
    reid_fail(err, REID_ERR_UNSUPPORTED,
              "DATALOADER.SAMPLER_TRAIN '%s' is not supported; supported ones: %s", name,
              reid_str_text(&known));
    reid_str_fini(&known);
    return REID_ERR_UNSUPPORTED;
}

reid_status reid_sampler_check(const reid_sampler_options *options, const reid_dataset *dataset,
                               reid_error *err)
{
    const reid_sampler_impl *impl = find_sampler(options->name);
    if (!impl)
        return fail_unknown(options->name, err);
    if (dataset->count == 0 || dataset->count > UINT32_MAX)
        return reid_fail(err, REID_ERR_INVALID, "the training set '%s' has %zu images",
                         dataset->name, dataset->count);
    if (options->batch < 1 || options->world < 1 || options->batch % options->world != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "SOLVER.IMS_PER_BATCH %d cannot be divided evenly among %d ranks",
                         options->batch, options->world);
    return impl->check ? impl->check(options, dataset, err) : REID_OK;
}

reid_status reid_sampler_new(const reid_sampler_options *options, const reid_dataset *dataset,
                             reid_sampler **ret_sampler, reid_error *err)
{
    REID_TRY(reid_sampler_check(options, dataset, err));
    reid_sampler *sampler = reid_xcalloc(1, sizeof *sampler);
    sampler->impl = find_sampler(options->name);
    sampler->state = sampler->impl->create(options, dataset);
    sampler->skipped = reid_xcalloc((size_t)options->batch, sizeof *sampler->skipped);
    *ret_sampler = sampler;
    return REID_OK;
}

void reid_sampler_next(reid_sampler *sampler, uint32_t *ret_indices)
{
    sampler->impl->next(sampler->state, ret_indices);
}

void reid_sampler_skip(reid_sampler *sampler, int64_t batches)
{
    if (sampler->impl->skip) {
        sampler->impl->skip(sampler->state, batches);
        return;
    }
    for (int64_t i = 0; i < batches; i++)
        sampler->impl->next(sampler->state, sampler->skipped);
}

void reid_sampler_free(reid_sampler *sampler)
{
    if (!sampler)
        return;
    sampler->impl->destroy(sampler->state);
    free(sampler->skipped);
    free(sampler);
}
