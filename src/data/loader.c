/* A ring of batches and some workers.
 *
 * Batch n lives in slot n mod SLOTS. Workers take a few images at a time from the first open batch
 * that has some left and open the next one when all are taken and its slot is free, so that all of
 * them work on the batch that is wanted first. The sampler runs where a batch is opened, under the
 * lock: batches are opened one after the other, so the order is the sampler's. What an image
 * becomes depends on its batch number and position alone. */
#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/pipeline.h"
#include "data/sampler.h"

#define SLOTS 3 /* one is with the consumer, two are being made */
#define IMAGES_AT_A_TIME 2
#define MAX_WORKERS 256
#define MAX_BATCH 65536

typedef struct slot {
    reid_batch batch;
    uint32_t *items; /* [capacity] indices of images */
    int taken, done; /* images handed to workers; finished */
    bool in_use;     /* from opening until the consumer has let go of it */
    reid_error error;
    int error_position; /* the first image that failed */
} slot;

struct reid_loader {
    const reid_dataset *sets[2]; /* images are numbered through both */
    bool training, bytes;
    int rank, capacity;
    uint64_t seed;
    reid_sampler *sampler;         /* training */
    uint32_t *global_batch;        /* [capacity × world] of the sampler */
    size_t shard_begin, shard_end; /* testing */
    int64_t end;                   /* number of batches; INT64_MAX when training */
    reid_pipeline pipeline;
    size_t image_floats;

    pthread_mutex_t lock;
    pthread_cond_t work, ready, idle;
    slot slots[SLOTS];
    int64_t opened, wanted; /* next batch to open; next one the consumer gets */
    bool held;              /* the consumer has batch wanted - 1 */
    bool stop, halted;      /* halted: workers take nothing for the moment */
    int busy;               /* workers outside the lock */
    pthread_t *workers;
    int worker_count;
};

static const reid_image_item *item_at(const reid_loader *loader, size_t index)
{
    size_t first = loader->sets[0]->count;
    return index < first ? &loader->sets[0]->items[index] : &loader->sets[1]->items[index - first];
}

/* --- Workers. The lock is held where nothing else is said. */

static void open_batch(reid_loader *loader)
{
    slot *s = &loader->slots[loader->opened % SLOTS];
    reid_batch *batch = &s->batch;
    s->in_use = true;
    s->taken = s->done = 0;
    s->error_position = loader->capacity;
    reid_error_clear(&s->error);
    batch->number = loader->opened++;
    if (loader->training) {
        reid_sampler_next(loader->sampler, loader->global_batch);
        batch->count = loader->capacity;
        memcpy(s->items, loader->global_batch + (size_t)loader->rank * (size_t)loader->capacity,
               (size_t)loader->capacity * sizeof *s->items);
    } else {
        size_t begin = loader->shard_begin + (size_t)batch->number * (size_t)loader->capacity;
        batch->first_index = (int64_t)begin;
        batch->count = (int)REID_MIN(loader->shard_end - begin, (size_t)loader->capacity);
        for (int i = 0; i < batch->count; i++)
            s->items[i] = (uint32_t)(begin + (size_t)i);
    }
    for (int i = 0; i < loader->capacity; i++) {
        const reid_image_item *item = i < batch->count ? item_at(loader, s->items[i]) : NULL;
        batch->targets[i] = item ? item->pid : -1;
        batch->camids[i] = item ? item->camid : -1;
        batch->paths[i] = item ? item->path : NULL;
    }
    size_t used = (size_t)batch->count * loader->image_floats;
    if (batch->images)
        memset(batch->images + used, 0,
               ((size_t)loader->capacity * loader->image_floats - used) * sizeof(float));
}

/* The batch with images to hand out; NULL when there is nothing to do. */
static slot *find_work(reid_loader *loader)
{
    if (loader->halted)
        return NULL;
    for (int64_t n = loader->wanted; n < loader->opened; n++) {
        slot *s = &loader->slots[n % SLOTS];
        if (s->taken < s->batch.count)
            return s;
    }
    if (loader->opened >= loader->end || loader->slots[loader->opened % SLOTS].in_use)
        return NULL;
    slot *fresh = &loader->slots[loader->opened % SLOTS];
    open_batch(loader);
    return fresh;
}

/* Without the lock. */
static reid_status make_image(reid_loader *loader, reid_pipeline_scratch *scratch, slot *s,
                              int position, reid_error *err)
{
    const reid_transform *transform = &loader->pipeline.transform;
    reid_transform_choice choice;
    if (loader->training) {
        int global_position = loader->rank * loader->capacity + position;
        reid_rng rng = reid_rng_stream(loader->seed, REID_RNG_AUGMENT, (uint64_t)s->batch.number,
                                       (uint32_t)global_position);
        choice = reid_transform_draw(transform, &rng);
    } else {
        choice = reid_transform_identity(transform);
    }
    if (loader->bytes) {
        s->batch.choices[position] = choice;
        return reid_pipeline_fetch(
            &loader->pipeline, scratch, s->items[position] - loader->shard_begin,
            s->batch.paths[position],
            s->batch.planes + (size_t)position * loader->pipeline.image_bytes, err);
    }
    return reid_pipeline_run(&loader->pipeline, scratch, s->items[position] - loader->shard_begin,
                             s->batch.paths[position], &choice,
                             s->batch.images + (size_t)position * loader->image_floats, err);
}

static void do_work(reid_loader *loader, reid_pipeline_scratch *scratch, slot *s)
{
    int begin = s->taken, failed = -1;
    int end = REID_MIN(begin + IMAGES_AT_A_TIME, s->batch.count);
    s->taken = end;
    loader->busy++;
    pthread_mutex_unlock(&loader->lock);

    reid_error error = {0};
    for (int i = begin; i < end && failed < 0; i++)
        if (make_image(loader, scratch, s, i, &error) != REID_OK)
            failed = i;

    pthread_mutex_lock(&loader->lock);
    loader->busy--;
    s->done += end - begin;
    if (failed >= 0 && failed < s->error_position) {
        s->error_position = failed;
        s->error = error;
    }
    if (s->done == s->batch.count)
        pthread_cond_signal(&loader->ready);
    if (loader->busy == 0)
        pthread_cond_signal(&loader->idle);
}

static void *worker_main(void *argument)
{
    reid_loader *loader = argument;
    reid_pipeline_scratch scratch;
    reid_pipeline_scratch_init(&scratch, &loader->pipeline);
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        slot *s = find_work(loader);
        if (s)
            do_work(loader, &scratch, s);
        else
            pthread_cond_wait(&loader->work, &loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    reid_pipeline_scratch_fini(&scratch);
    return NULL;
}

/* --- Construction */

static reid_status allocate_slots(reid_loader *loader, reid_error *err)
{
    size_t n = (size_t)loader->capacity;
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &loader->slots[i];
        s->batch.capacity = loader->capacity;
        s->batch.first_index = -1;
        s->batch.images = reid_alloc_aligned(n * loader->image_floats * sizeof(float));
        s->batch.targets = reid_alloc(n, sizeof *s->batch.targets);
        s->batch.camids = reid_alloc(n, sizeof *s->batch.camids);
        s->batch.paths = reid_alloc(n, sizeof *s->batch.paths);
        s->items = reid_alloc(n, sizeof *s->items);
        if (!s->batch.images || !s->batch.targets || !s->batch.camids || !s->batch.paths ||
            !s->items)
            return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for batches of %d images",
                             loader->capacity);
    }
    return REID_OK;
}

static void free_images(reid_loader *loader, slot *s)
{
    reid_free_aligned(s->batch.images,
                      (size_t)loader->capacity * loader->image_floats * sizeof(float));
    s->batch.images = NULL;
}

static void free_bytes(reid_loader *loader, slot *s)
{
    reid_free_aligned(s->batch.planes, (size_t)loader->capacity * loader->pipeline.image_bytes);
    free(s->batch.choices);
    s->batch.planes = NULL;
    s->batch.choices = NULL;
}

static void free_slots(reid_loader *loader)
{
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &loader->slots[i];
        free_images(loader, s);
        free_bytes(loader, s);
        free(s->batch.targets);
        free(s->batch.camids);
        free(s->batch.paths);
        free(s->items);
    }
}

static reid_status start_workers(reid_loader *loader, const reid_config *config, reid_error *err)
{
    int64_t wanted = reid_config_int(config, "DATALOADER.NUM_WORKERS");
    wanted = wanted < 1 ? 1 : REID_MIN(wanted, MAX_WORKERS);
    loader->workers = reid_xcalloc((size_t)wanted, sizeof *loader->workers);
    for (; loader->worker_count < wanted; loader->worker_count++) {
        int code =
            pthread_create(&loader->workers[loader->worker_count], NULL, worker_main, loader);
        if (code == 0)
            continue;
        if (loader->worker_count > 0) /* fewer will do */
            break;
        return reid_fail_errno(err, code, "cannot start a data loader thread");
    }
    return REID_OK;
}

static size_t cache_bytes(const reid_config *config)
{
    int64_t wanted = reid_config_int(config, "DATALOADER.CACHE_MB");
    return wanted > 0 && (uint64_t)wanted <= SIZE_MAX >> 20 ? (size_t)wanted << 20 : 0;
}

static reid_loader *loader_new(const reid_config *config, const reid_dataset *first,
                               const reid_dataset *second, int rank, int capacity,
                               const reid_transform *transform, size_t image_count)
{
    reid_loader *loader = reid_xcalloc(1, sizeof *loader);
    loader->sets[0] = first;
    loader->sets[1] = second;
    loader->rank = rank;
    loader->capacity = capacity;
    loader->end = INT64_MAX;
    loader->image_floats = (size_t)transform->height * (size_t)transform->width * 3;
    reid_pipeline_init(&loader->pipeline, transform, image_count, cache_bytes(config));
    if (rank == 0 && image_count > 0)
        reid_log_info("data cache of decoded images set=%s images=%zu of %zu, up to %zu MiB",
                      first->name, loader->pipeline.cached_count, image_count,
                      (loader->pipeline.cached_count * loader->pipeline.image_bytes) >> 20);
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    pthread_cond_init(&loader->idle, NULL);
    return loader;
}

/* The last step of both constructors: on failure the loader is freed. */
static reid_status loader_start(reid_loader *own_loader, const reid_config *config,
                                reid_loader **ret_loader, reid_error *err)
{
    reid_status status = allocate_slots(own_loader, err);
    if (status == REID_OK)
        status = start_workers(own_loader, config, err);
    if (status == REID_OK)
        *ret_loader = own_loader;
    else
        reid_loader_free(own_loader);
    return status;
}

static reid_status read_sampler_options(const reid_config *config, int world, uint64_t seed,
                                        reid_sampler_options *ret_options, reid_error *err)
{
    int64_t batch = reid_config_int(config, "SOLVER.IMS_PER_BATCH");
    int64_t instances = reid_config_int(config, "DATALOADER.NUM_INSTANCE");
    if (batch < 1 || batch > MAX_BATCH)
        return reid_fail(err, REID_ERR_INVALID,
                         "SOLVER.IMS_PER_BATCH is %lld; it must be between 1 and %d",
                         (long long)batch, MAX_BATCH);
    if (instances < 1 || instances > MAX_BATCH)
        return reid_fail(err, REID_ERR_INVALID,
                         "DATALOADER.NUM_INSTANCE is %lld; it must be between 1 and %d",
                         (long long)instances, MAX_BATCH);
    *ret_options = (reid_sampler_options){
        .name = reid_config_string(config, "DATALOADER.SAMPLER_TRAIN"),
        .batch = (int)batch,
        .instances = (int)instances,
        .world = world,
        .seed = seed,
    };
    return REID_OK;
}

int64_t reid_train_loader_batches_per_epoch(const reid_config *config, const reid_dataset *dataset)
{
    int64_t batch = reid_config_int(config, "SOLVER.IMS_PER_BATCH");
    return batch > 0 ? (int64_t)dataset->count / batch : 0;
}

reid_status reid_train_loader_check(const reid_config *config, const reid_dataset *dataset,
                                    int world, reid_error *err)
{
    reid_sampler_options options;
    reid_transform transform;
    REID_TRY(read_sampler_options(config, world, 0, &options, err));
    REID_TRY(reid_sampler_check(&options, dataset, err));
    REID_TRY(reid_transform_init(&transform, config, true, err));
    if (reid_train_loader_batches_per_epoch(config, dataset) == 0)
        return reid_fail(
            err, REID_ERR_INVALID,
            "the training set '%s' has %zu images, fewer than one batch (SOLVER.IMS_PER_BATCH %d)",
            dataset->name, dataset->count, options.batch);
    return REID_OK;
}

reid_status reid_train_loader_new(const reid_config *config, const reid_dataset *dataset, int rank,
                                  int world, uint64_t seed, int64_t first_batch,
                                  reid_loader **ret_loader, reid_error *err)
{
    REID_ASSERT(world > 0 && rank >= 0 && rank < world && first_batch >= 0);
    reid_sampler_options options;
    reid_transform transform;
    REID_TRY(reid_train_loader_check(config, dataset, world, err));
    REID_TRY(read_sampler_options(config, world, seed, &options, err));
    REID_TRY(reid_transform_init(&transform, config, true, err));
    reid_sampler *sampler = NULL;
    REID_TRY(reid_sampler_new(&options, dataset, &sampler, err));

    reid_loader *loader =
        loader_new(config, dataset, NULL, rank, options.batch / world, &transform, dataset->count);
    loader->training = true;
    loader->seed = seed;
    loader->sampler = sampler;
    loader->global_batch = reid_xcalloc((size_t)options.batch, sizeof *loader->global_batch);
    reid_sampler_skip(sampler, first_batch);
    loader->opened = loader->wanted = first_batch;
    return loader_start(loader, config, ret_loader, err);
}

void reid_test_shard(size_t total, int rank, int world, size_t *ret_begin, size_t *ret_end)
{
    size_t ranks = (size_t)world, shard = (total + ranks - 1) / ranks;
    *ret_begin = REID_MIN(shard * (size_t)rank, total);
    *ret_end = REID_MIN(shard * ((size_t)rank + 1), total);
}

reid_status reid_test_loader_new(const reid_config *config, const reid_dataset *query,
                                 const reid_dataset *gallery, int rank, int world, int batch,
                                 reid_loader **ret_loader, reid_error *err)
{
    REID_ASSERT(world > 0 && rank >= 0 && rank < world);
    if (batch < 1 || batch > MAX_BATCH)
        return reid_fail(
            err, REID_ERR_INVALID,
            "%d images in a test batch of a rank; TEST.IMS_PER_BATCH must give each rank 1 to %d",
            batch, MAX_BATCH);
    reid_transform transform;
    REID_TRY(reid_transform_init(&transform, config, false, err));
    size_t total = query->count + gallery->count, begin, end;
    if (total > UINT32_MAX)
        return reid_fail(err, REID_ERR_INVALID, "the test set has %zu images; that is too many",
                         total);
    reid_test_shard(total, rank, world, &begin, &end);
    reid_loader *loader = loader_new(config, query, gallery, rank, batch, &transform, end - begin);
    loader->shard_begin = begin;
    loader->shard_end = end;
    loader->end = (int64_t)((end - begin + (size_t)batch - 1) / (size_t)batch);
    return loader_start(loader, config, ret_loader, err);
}

void reid_loader_free(reid_loader *loader)
{
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->worker_count; i++)
        pthread_join(loader->workers[i], NULL);
    free(loader->workers);
    pthread_cond_destroy(&loader->idle);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free_slots(loader);
    reid_pipeline_fini(&loader->pipeline);
    reid_sampler_free(loader->sampler);
    free(loader->global_batch);
    free(loader);
}

/* --- The consumer */

static void release_held(reid_loader *loader)
{
    if (!loader->held)
        return;
    loader->slots[(loader->wanted - 1) % SLOTS].in_use = false;
    loader->held = false;
    pthread_cond_broadcast(&loader->work);
}

reid_status reid_loader_next(reid_loader *loader, const reid_batch **ret_batch, reid_error *err)
{
    reid_status status = REID_OK;
    const reid_batch *batch = NULL;
    pthread_mutex_lock(&loader->lock);
    release_held(loader);
    if (loader->wanted < loader->end) {
        slot *s = &loader->slots[loader->wanted % SLOTS];
        while (loader->opened <= loader->wanted || s->done < s->batch.count)
            pthread_cond_wait(&loader->ready, &loader->lock);
        if (s->error.code != REID_OK) {
            status = reid_fail(err, s->error.code, "%s",
                               s->error.text); /* the batch stays: asked again, it fails again */
        } else {
            batch = &s->batch;
            loader->held = true;
            loader->wanted++;
        }
    }
    pthread_mutex_unlock(&loader->lock);
    if (status == REID_OK)
        *ret_batch = batch;
    return status;
}

/* Until go_on no worker has an image in hand, nor takes one. The lock is held. */
static void halt(reid_loader *loader)
{
    loader->halted = true;
    while (loader->busy > 0)
        pthread_cond_wait(&loader->idle, &loader->lock);
}

static void go_on(reid_loader *loader)
{
    loader->halted = false;
    pthread_cond_broadcast(&loader->work);
}

reid_status reid_loader_rewind(reid_loader *loader, reid_error *err)
{
    if (loader->training)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "a training loader has no beginning to go back to");
    pthread_mutex_lock(&loader->lock);
    halt(loader);
    for (int i = 0; i < SLOTS; i++)
        loader->slots[i].in_use = false;
    loader->held = false;
    loader->opened = loader->wanted = 0;
    go_on(loader);
    pthread_mutex_unlock(&loader->lock);
    return REID_OK;
}

/* --- Augmentation */

reid_augmentation reid_loader_augmentation(const reid_loader *loader)
{
    const reid_transform *transform = &loader->pipeline.transform;
    return (reid_augmentation){
        .flips = transform->flips,
        .erases = transform->erases,
        .flip_probability = transform->flip_probability,
        .erase_probability = transform->erase_probability,
    };
}

static bool is_possible(double probability, bool switched_on)
{
    return switched_on ? probability >= 0 && probability <= 1 : probability == 0;
}

/* Batches that are open already keep their images, which the sampler has given once and for all.
 * With no worker outside the lock nobody reads the transform. */
static void make_anew(reid_loader *loader)
{
    for (int64_t n = loader->wanted; n < loader->opened; n++) {
        slot *s = &loader->slots[n % SLOTS];
        s->taken = s->done = 0;
        s->error_position = loader->capacity;
        reid_error_clear(&s->error);
    }
}

void reid_loader_set_augmentation(reid_loader *loader, const reid_augmentation *augmentation)
{
    reid_transform *transform = &loader->pipeline.transform;
    REID_ASSERT(loader->training && is_possible(augmentation->flip_probability, transform->flips) &&
                is_possible(augmentation->erase_probability, transform->erases));
    if (augmentation->flip_probability == transform->flip_probability &&
        augmentation->erase_probability == transform->erase_probability)
        return;
    pthread_mutex_lock(&loader->lock);
    halt(loader);
    transform->flip_probability = augmentation->flip_probability;
    transform->erase_probability = augmentation->erase_probability;
    make_anew(loader);
    go_on(loader);
    pthread_mutex_unlock(&loader->lock);
}

/* --- Bytes */

static reid_status allocate_bytes(reid_loader *loader, reid_error *err)
{
    size_t n = (size_t)loader->capacity;
    for (int i = 0; i < SLOTS; i++) {
        reid_batch *batch = &loader->slots[i].batch;
        batch->planes = reid_alloc_aligned(n * loader->pipeline.image_bytes);
        batch->choices = reid_alloc(n, sizeof *batch->choices);
        if (!batch->planes || !batch->choices)
            return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for batches of %d images",
                             loader->capacity);
        memset(batch->planes, 0, n * loader->pipeline.image_bytes);
        for (size_t k = 0; k < n; k++)
            batch->choices[k] = reid_transform_identity(&loader->pipeline.transform);
    }
    return REID_OK;
}

reid_status reid_loader_give_bytes(reid_loader *loader, reid_error *err)
{
    REID_ASSERT(!loader->held && !loader->bytes);
    pthread_mutex_lock(&loader->lock);
    halt(loader);
    reid_status status = allocate_bytes(loader, err);
    loader->bytes = status == REID_OK;
    for (int i = 0; i < SLOTS; i++)
        if (loader->bytes)
            free_images(loader, &loader->slots[i]);
        else
            free_bytes(loader, &loader->slots[i]);
    make_anew(loader);
    go_on(loader);
    pthread_mutex_unlock(&loader->lock);
    return status;
}

const reid_transform *reid_loader_transform(const reid_loader *loader)
{
    return &loader->pipeline.transform;
}
