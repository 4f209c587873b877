/* Loaders: worker threads that read, decode, resize, augment and normalise images into batches.
 *
 * The order of images and every random choice follow from the seed alone: number of workers, ranks
 * and restarts do not change them. Global batch b holds SOLVER.IMS_PER_BATCH images; rank r of w
 * gets its r-th contiguous part, and the random choices for an image are keyed by (seed, b,
 * position in the global batch). With an identity sampler each rank's part holds whole identities.
 *
 * Life: reid_*_loader_new → reid_loader_next … → reid_loader_free (which stops and joins the
 * workers). The dataset(s) are borrowed and must outlive the loader. One thread consumes; all
 * buffers are allocated by _new. Each loader keeps decoded and resized images in memory, up to
 * DATALOADER.CACHE_MB, for all its workers; rank 0 logs how many fit.
 */
#ifndef REID_DATA_LOADER_H
#define REID_DATA_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "config/config.h"
#include "data/dataset.h"
#include "data/transform.h"

typedef struct reid_loader reid_loader;

typedef struct reid_batch {
    int64_t number; /* training: global batch number; testing: from 0 on this rank */
    int count;    /* images in it; less than the capacity only in the last batch of a test loader */
    int capacity; /* N */
    float *images;   /* [N,3,H,W], (x - PIXEL_MEAN) / PIXEL_STD, x in 0…255; zeros beyond count;
                        64-byte aligned; NULL when the loader gives bytes */
    uint8_t *planes; /* [N,3,H,W] before augmentation, or NULL; of any image beyond count */
    reid_transform_choice *choices; /* [N] what would have been done to them, or NULL */
    int32_t *targets;               /* [N] pid (training: label); -1 beyond count */
    int32_t *camids;                /* [N] */
    const char **paths;             /* [N], owned by the dataset; NULL beyond count */
    int64_t first_index;            /* testing: index of images[0] in query+gallery; training: -1 */
} reid_batch;

/* Everything that would keep the training loader from working with this data on `world` ranks: P×K
 * against the identities, batch against ranks, sizes, augmentations not supported. */
reid_status reid_train_loader_check(const reid_config *config, const reid_dataset *dataset,
                                    int world, reid_error *err);

/* Endless stream of batches from global batch `first_batch` on (resume: the number of batches
 * already used). */
reid_status reid_train_loader_new(const reid_config *config, const reid_dataset *dataset, int rank,
                                  int world, uint64_t seed, int64_t first_batch,
                                  reid_loader **ret_loader, reid_error *err);

/* From the next batch on, u8 planes and the random choices instead of finished images: for devices
 * that augment by themselves. Before the first batch. */
reid_status reid_loader_give_bytes(reid_loader *loader, reid_error *err);
/* What happens to the images; constant but for the probabilities. */
const reid_transform *reid_loader_transform(const reid_loader *loader);

/* Probabilities of the random choices (INPUT.FLIP.PROB, INPUT.REA.PROB). */
typedef struct reid_augmentation {
    bool flips, erases; /* switched on in the configuration */
    double flip_probability, erase_probability;
} reid_augmentation;

/* Of the batch that comes next, and of all after it. Training loaders; the consumer's thread. */
reid_augmentation reid_loader_augmentation(const reid_loader *loader);
/* For the batch that comes next and all after it, exactly as if the loader had been made with them:
 * what is prepared already is made anew. Only an augmentation that is switched on can have a
 * probability, from 0 to 1. */
void reid_loader_set_augmentation(reid_loader *loader, const reid_augmentation *augmentation);

/* Whole batches in an epoch: images / SOLVER.IMS_PER_BATCH. */
int64_t reid_train_loader_batches_per_epoch(const reid_config *config, const reid_dataset *dataset);

/* Query then gallery, no augmentation; rank r gets the r-th contiguous shard of ceil(count / world)
 * images (fast-reid's InferenceSampler), in batches of `batch` images. fast-reid's choice of it is
 * TEST.IMS_PER_BATCH / world. */
reid_status reid_test_loader_new(const reid_config *config, const reid_dataset *query,
                                 const reid_dataset *gallery, int rank, int world, int batch,
                                 reid_loader **ret_loader, reid_error *err);

/* Images of this rank's shard [*ret_begin, *ret_end) of a test loader over `total` images. */
void reid_test_shard(size_t total, int rank, int world, size_t *ret_begin, size_t *ret_end);

/* The next batch; it is valid until the next call on this loader. At the end of a test loader
 * *ret_batch is NULL (status OK). An image that cannot be read or decoded fails the batch that
 * holds it (the sentence names the file), and every later call too. */
reid_status reid_loader_next(reid_loader *loader, const reid_batch **ret_batch, reid_error *err);

/* Starts a test loader again at its first batch; decoded images stay cached. */
reid_status reid_loader_rewind(reid_loader *loader, reid_error *err);

void reid_loader_free(reid_loader *loader);

#endif
