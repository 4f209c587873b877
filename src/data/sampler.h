/* Samplers of training images: an endless sequence of global batches, decided by the seed alone.
 *
 * A global batch has `batch` images and serves all ranks: rank r of w takes its r-th contiguous
 * part. fast-reid deals the images out in turn (rank r takes every w-th) and reorders identity
 * batches so that each rank still gets whole identities; here the parts are contiguous at once.
 *
 * A sampler is one row of the table in sampler.c:
 *   TrainingSampler         permutations of all images, one after the other.
 *   NaiveIdentitySampler    batches of P identities × K images. All identities are in a pool. P are
 * drawn without replacement; each gives its next K images of a list shuffled once per pool (drawn
 * with replacement up to K when it has fewer) and leaves the pool when fewer than K are left. When
 *                           fewer than P identities are left, the pool starts anew. P = batch / K
 * (one draw is one global batch), so that the order is the same for any number of ranks and no
 * identity is on two ranks at once. Only when there are fewer identities than that, P = batch /
 * world / K as in fast-reid; a batch begun goes on with the new pool (fast-reid drops it, and hangs
 *                           when a pool never suffices).
 *   BalancedIdentitySampler all identities in random order; each gives one random image and K-1
 * from other cameras (without replacement if there are at least K, else with it); if it has one
 * camera, K-1 other images of it in the same way; if it has one image, that image K times.
 *
 * Life: reid_sampler_new → reid_sampler_next … → reid_sampler_free. The dataset is borrowed. One
 * thread at a time.
 */
#ifndef REID_DATA_SAMPLER_H
#define REID_DATA_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/dataset.h"

typedef struct reid_sampler reid_sampler;

typedef struct reid_sampler_options {
    const char *name; /* DATALOADER.SAMPLER_TRAIN */
    int batch;        /* images of a global batch */
    int instances;    /* K */
    int world;        /* ranks; divides batch */
    uint64_t seed;
} reid_sampler_options;

/* INVALID with one sentence when no batch could ever be made (fast-reid would hang): K does not
 * divide a rank's batch, fewer identities than P, no images. */
reid_status reid_sampler_check(const reid_sampler_options *options, const reid_dataset *dataset,
                               reid_error *err);

reid_status reid_sampler_new(const reid_sampler_options *options, const reid_dataset *dataset,
                             reid_sampler **ret_sampler, reid_error *err);
/* The next global batch: `batch` indices into dataset->items. */
void reid_sampler_next(reid_sampler *sampler, uint32_t *ret_indices);
/* As if `batches` had been taken. */
void reid_sampler_skip(reid_sampler *sampler, int64_t batches);
void reid_sampler_free(reid_sampler *sampler);

#endif
