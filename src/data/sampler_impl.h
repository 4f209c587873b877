/* Inside the data module: one kind of sampler. */
#ifndef REID_DATA_SAMPLER_IMPL_H
#define REID_DATA_SAMPLER_IMPL_H

#include "base/rng.h"
#include "data/sampler.h"

typedef struct reid_sampler_impl {
    const char *name;
    /* NULL: works with any data. */
    reid_status (*check)(const reid_sampler_options *options, const reid_dataset *dataset,
                         reid_error *err);
    void *(*create)(const reid_sampler_options *options, const reid_dataset *dataset);
    void (*next)(void *state, uint32_t *ret_indices);
    /* NULL: batches are made and thrown away. */
    void (*skip)(void *state, int64_t batches);
    void (*destroy)(void *state);
} reid_sampler_impl;

extern const reid_sampler_impl reid_sampler_naive_identity, reid_sampler_balanced_identity;

/* The images of each identity: those of identity p are images[first[p] … first[p + 1]), in the
 * order of the dataset. */
typedef struct reid_identity_index {
    uint32_t *first;  /* [num_pids + 1] */
    uint32_t *images; /* [count] */
} reid_identity_index;

reid_identity_index reid_identity_index_make(const reid_dataset *dataset);
void reid_identity_index_fini(reid_identity_index *index);

/* What both identity samplers need: K divides a rank's batch. */
reid_status reid_sampler_check_instances(const reid_sampler_options *options, reid_error *err);

#endif
