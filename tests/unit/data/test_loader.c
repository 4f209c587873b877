#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/loader.h"
#include "harness/harness.h"
#include "support.h"

enum { PIDS = 6, IMAGES = 5, FLOATS = 3 * 24 * 12 };

typedef struct fixture {
    char *folder;
    reid_config *config;
    reid_dataset *train, *query, *gallery;
} fixture;

static reid_config *augmented_config(const char *folder, const char *workers)
{
    return test_config(folder, "INPUT.PADDING.ENABLED", "True", "INPUT.PADDING.SIZE", "3",
                       "INPUT.FLIP.ENABLED", "True", "INPUT.REA.ENABLED", "True",
                       "SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_INSTANCE", "2",
                       "DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.NUM_WORKERS",
                       workers, NULL);
}

static int setup(void **state)
{
    fixture *f = reid_xcalloc(1, sizeof *f);
    reid_error err = {0};
    f->folder = reid_test_dir_new();
    test_write_market(f->folder, PIDS, IMAGES);
    f->config = augmented_config(f->folder, "3");
    reid_assert_ok(reid_dataset_open_train(f->config, &f->train, &err), &err);
    reid_assert_ok(reid_dataset_open_test(f->config, "Market1501", &f->query, &f->gallery, &err),
                   &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    reid_dataset_free(f->train);
    reid_dataset_free(f->query);
    reid_dataset_free(f->gallery);
    reid_config_free(f->config);
    reid_test_dir_free(f->folder);
    free(f);
    return 0;
}

static reid_loader *train_loader(fixture *f, const char *workers, int rank, int world,
                                 int64_t first)
{
    reid_config *config = augmented_config(f->folder, workers);
    reid_loader *loader = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_train_loader_new(config, f->train, rank, world, 11, first, &loader, &err),
                   &err);
    reid_config_free(config); /* not needed any more */
    return loader;
}

static const reid_batch *next(reid_loader *loader)
{
    const reid_batch *batch = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_loader_next(loader, &batch, &err), &err);
    return batch;
}

static uint64_t hash_images(const reid_batch *batch)
{
    return reid_hash64(batch->images, (size_t)batch->count * FLOATS * sizeof(float), 0);
}

/* Same data for 1, 2 and 7 workers, with and without a cache that is warm, and from the middle on.
 */
static void test_order_is_fixed(void **state)
{
    enum { BATCHES = 20, RESUME = 13 };
    fixture *f = *state;
    uint64_t hashes[BATCHES];
    const char *paths[BATCHES][8];
    static const char *const workers[] = {"1", "2", "7"};
    for (size_t w = 0; w < 3; w++) {
        reid_loader *loader = train_loader(f, workers[w], 0, 1, 0);
        for (int b = 0; b < BATCHES; b++) {
            const reid_batch *batch = next(loader);
            assert_int_equal(batch->number, b);
            assert_int_equal(batch->count, 8);
            assert_int_equal(batch->first_index, -1);
            if (w == 0) {
                hashes[b] = hash_images(batch);
                memcpy(paths[b], batch->paths, sizeof paths[b]);
            }
            assert_true(hashes[b] == hash_images(batch));
            assert_memory_equal(paths[b], batch->paths, sizeof paths[b]);
        }
        reid_loader_free(loader);
    }
    reid_loader *loader = train_loader(f, "2", 0, 1, RESUME);
    for (int b = RESUME; b < BATCHES; b++) {
        const reid_batch *batch = next(loader);
        assert_int_equal(batch->number, b);
        assert_true(hashes[b] == hash_images(batch));
    }
    reid_loader_free(loader);
    assert_true(hashes[0] != hashes[1]);
}

/* Two ranks together see what one rank sees; each has whole identities. */
static void test_ranks_split_the_batch(void **state)
{
    fixture *f = *state;
    reid_loader *whole = train_loader(f, "2", 0, 1, 0);
    reid_loader *half[2] = {train_loader(f, "1", 0, 2, 0), train_loader(f, "3", 1, 2, 0)};
    for (int b = 0; b < 10; b++) {
        const reid_batch *all = next(whole);
        for (int r = 0; r < 2; r++) {
            const reid_batch *part = next(half[r]);
            assert_int_equal(part->count, 4);
            assert_memory_equal(part->images, all->images + (size_t)r * 4 * FLOATS,
                                4 * FLOATS * sizeof(float));
            assert_memory_equal(part->targets, all->targets + r * 4, 4 * sizeof *part->targets);
            assert_memory_equal(part->camids, all->camids + r * 4, 4 * sizeof *part->camids);
            assert_int_equal(part->targets[0], part->targets[1]);
        }
    }
    reid_loader_free(whole);
    reid_loader_free(half[0]);
    reid_loader_free(half[1]);
}

static void test_batch_belongs_to_its_paths(void **state)
{
    fixture *f = *state;
    reid_loader *loader = train_loader(f, "2", 0, 1, 0);
    const reid_batch *batch = next(loader);
    for (int i = 0; i < batch->count; i++) {
        size_t item = 0;
        while (f->train->items[item].path != batch->paths[i])
            item++;
        assert_int_equal(batch->targets[i], f->train->items[item].pid);
        assert_int_equal(batch->camids[i], f->train->items[item].camid);
    }
    assert_int_equal((uintptr_t)batch->images % 64, 0);
    assert_int_equal(reid_train_loader_batches_per_epoch(f->config, f->train), PIDS * IMAGES / 8);
    reid_loader_free(loader);
}

/* Walks all ranks' shards and checks order, padding and pixels. */
static void test_test_loader(void **state)
{
    fixture *f = *state;
    size_t total = f->query->count + f->gallery->count, index = 0;
    for (int rank = 0; rank < 3; rank++) {
        reid_loader *loader = NULL;
        reid_error err = {0};
        reid_assert_ok(
            reid_test_loader_new(f->config, f->query, f->gallery, rank, 3, 4, &loader, &err), &err);
        for (int64_t b = 0;; b++) {
            const reid_batch *batch = next(loader);
            if (!batch)
                break;
            assert_int_equal(batch->number, b);
            assert_int_equal(batch->first_index, index);
            for (int i = 0; i < batch->count; i++, index++) {
                const reid_image_item *item = index < f->query->count
                                                  ? &f->query->items[index]
                                                  : &f->gallery->items[index - f->query->count];
                assert_ptr_equal(batch->paths[i], item->path);
                assert_int_equal(batch->targets[i], item->pid);
            }
            for (int i = batch->count; i < batch->capacity; i++) {
                assert_int_equal(batch->targets[i], -1);
                assert_null(batch->paths[i]);
                assert_true(batch->images[(size_t)i * FLOATS] == 0.0f);
            }
        }
        assert_null(next(loader)); /* still at the end */
        reid_loader_free(loader);
    }
    assert_int_equal(index, total);
}

static void test_rewind(void **state)
{
    fixture *f = *state;
    reid_loader *loader = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_test_loader_new(f->config, f->query, f->gallery, 0, 1, 4, &loader, &err),
                   &err);
    uint64_t first = hash_images(next(loader));
    for (int stop_after = 0; stop_after < 9; stop_after++) {
        reid_assert_ok(reid_loader_rewind(loader, &err), &err);
        const reid_batch *batch = next(loader);
        assert_int_equal(batch->number, 0);
        assert_true(hash_images(batch) == first);
        for (int b = 0; b < stop_after; b++)
            next(loader);
    }
    reid_loader_free(loader);
    loader = train_loader(f, "1", 0, 1, 0);
    assert_int_equal(reid_loader_rewind(loader, &err), REID_ERR_PRECONDITION);
    reid_loader_free(loader);
}

/* What has been decoded once is not read again, unless the cache is switched off. */
static void test_cache(void **state)
{
    fixture *f = *state;
    static const char *const sizes[] = {"512", "0"};
    const char *path = f->query->items[0].path;
    reid_error err = {0};
    reid_loader *loaders[2];
    const reid_batch *batch = NULL;
    uint64_t hash[2];
    for (int i = 0; i < 2; i++) {
        reid_config *config = test_config(f->folder, "DATALOADER.CACHE_MB", sizes[i], NULL);
        reid_assert_ok(
            reid_test_loader_new(config, f->query, f->gallery, 0, 1, 4, &loaders[i], &err), &err);
        reid_config_free(config);
        hash[i] = hash_images(next(loaders[i]));
        while (next(loaders[i]) != NULL)
            continue; /* nothing is under way afterwards */
    }
    assert_true(hash[0] == hash[1]);
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 2; i++)
        reid_assert_ok(reid_loader_rewind(loaders[i], &err), &err);
    assert_true(hash_images(next(loaders[0])) == hash[0]);
    assert_int_not_equal(reid_loader_next(loaders[1], &batch, &err), REID_OK);
    assert_non_null(strstr(err.text, path));
    for (int i = 0; i < 2; i++)
        reid_loader_free(loaders[i]);
}

static uint64_t hash_items(const reid_batch *batch)
{
    return reid_hash64(batch->paths, (size_t)batch->count * sizeof *batch->paths, 0);
}

/* Images and choices of batches first … first + count - 1 with these probabilities from the start.
 */
static void expect_made_with(fixture *f, const char *flip, const char *erase, int64_t first,
                             int count, uint64_t *ret_hashes, uint64_t *ret_items)
{
    reid_config *config = augmented_config(f->folder, "2");
    reid_loader *loader = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_config_set(config, "INPUT.FLIP.PROB", flip, &err), &err);
    reid_assert_ok(reid_config_set(config, "INPUT.REA.PROB", erase, &err), &err);
    reid_assert_ok(reid_train_loader_new(config, f->train, 0, 1, 11, first, &loader, &err), &err);
    for (int b = 0; b < count; b++) {
        const reid_batch *batch = next(loader);
        ret_hashes[b] = hash_images(batch);
        ret_items[b] = hash_items(batch);
    }
    reid_loader_free(loader);
    reid_config_free(config);
}

static void set_chances(reid_loader *loader, double flip, double erase)
{
    reid_augmentation augmentation = reid_loader_augmentation(loader);
    augmentation.flip_probability = flip;
    augmentation.erase_probability = erase;
    reid_loader_set_augmentation(loader, &augmentation);
}

/* The images that a loader of bytes would have made, from what it gives. */
static uint64_t hash_made(const reid_loader *loader, const reid_batch *batch)
{
    float *images = reid_xcalloc((size_t)batch->count * FLOATS, sizeof *images);
    assert_null(batch->images);
    for (size_t i = 0; i < (size_t)batch->count; i++)
        reid_transform_apply(reid_loader_transform(loader), &batch->choices[i],
                             batch->planes + i * FLOATS, images + i * FLOATS);
    uint64_t hash = reid_hash64(images, (size_t)batch->count * FLOATS * sizeof(float), 0);
    free(images);
    return hash;
}

/* From the first batch on, whatever the workers have begun; new chances count as with floats. */
static void test_bytes_are_the_same_images(void **state)
{
    enum { BATCHES = 9, CHANGE = 5 };
    fixture *f = *state;
    static const char *const workers[] = {"1", "2", "7"};
    for (size_t w = 0; w < 3; w++) {
        reid_loader *floats = train_loader(f, workers[w], 0, 1, 0);
        reid_loader *bytes = train_loader(f, workers[w], 0, 1, 0);
        reid_error err = {0};
        reid_assert_ok(reid_loader_give_bytes(bytes, &err), &err);
        for (int b = 0; b < BATCHES; b++) {
            if (b == CHANGE) {
                set_chances(floats, 0.9, 0.1);
                set_chances(bytes, 0.9, 0.1);
            }
            const reid_batch *x = next(floats), *y = next(bytes);
            assert_null(x->planes);
            assert_int_equal(y->number, b);
            assert_true(hash_items(x) == hash_items(y));
            assert_true(hash_images(x) == hash_made(bytes, y));
        }
        reid_loader_free(floats);
        reid_loader_free(bytes);
    }
}

/* The images of a test set, too, whose last batch is not full, and again from its beginning. */
static void test_bytes_of_a_test_set(void **state)
{
    fixture *f = *state;
    reid_loader *loaders[2];
    reid_error err = {0};
    for (int i = 0; i < 2; i++)
        reid_assert_ok(
            reid_test_loader_new(f->config, f->query, f->gallery, 0, 1, 5, &loaders[i], &err),
            &err);
    reid_assert_ok(reid_loader_give_bytes(loaders[1], &err), &err);
    for (int turn = 0; turn < 2; turn++) {
        bool partial = false;
        for (;;) {
            const reid_batch *x, *y;
            reid_assert_ok(reid_loader_next(loaders[0], &x, &err), &err);
            reid_assert_ok(reid_loader_next(loaders[1], &y, &err), &err);
            assert_int_equal(x == NULL, y == NULL);
            if (!x)
                break;
            assert_int_equal(x->count, y->count);
            assert_true(reid_hash64(x->images, (size_t)x->count * FLOATS * sizeof(float), 0) ==
                        hash_made(loaders[1], y));
            for (int i = x->count; i < x->capacity;
                 i++) /* nothing that a device would stumble on */
                assert_int_equal(y->choices[i].crop_y, reid_loader_transform(loaders[1])->pad);
            partial |= x->count < x->capacity;
        }
        assert_true(partial);
        for (int i = 0; i < 2; i++)
            reid_assert_ok(reid_loader_rewind(loaders[i], &err), &err);
    }
    for (int i = 0; i < 2; i++)
        reid_loader_free(loaders[i]);
}

/* Set after any number of batches, with the prefetched ones done, half done or not begun: those
 * before are of a loader that was left alone, those from then on of one made with the new values.
 */
static void test_augmentation_changes_at_the_next_batch(void **state)
{
    enum { BATCHES = 12 };
    fixture *f = *state;
    uint64_t before[BATCHES], after[BATCHES], last[BATCHES], items[BATCHES];
    expect_made_with(f, "0.5", "0.5", 0, BATCHES, before, items);
    expect_made_with(f, "0.9", "0.0", 0, BATCHES, after, items);
    expect_made_with(f, "0.0", "1.0", 0, BATCHES, last, items);
    static const char *const workers[] = {"1", "2", "7"};
    for (int at = 0; at < BATCHES - 4; at++) {
        reid_loader *loader = train_loader(f, workers[at % 3], 0, 1, 0);
        reid_augmentation first = reid_loader_augmentation(loader);
        assert_true(first.flips && first.erases && first.flip_probability == 0.5);
        for (int b = 0; b < BATCHES; b++) {
            if (b == at) {
                set_chances(loader, 0.1, 0.9); /* nobody sees it */
                set_chances(loader, 0.9, 0);
            }
            if (b == at + 3)
                set_chances(loader, 0, 1);
            const reid_batch *batch = next(loader);
            const uint64_t *expected = b < at ? before : b < at + 3 ? after : last;
            assert_int_equal(batch->number, b);
            assert_true(hash_items(batch) == items[b]);
            assert_true(hash_images(batch) == expected[b]);
        }
        set_chances(loader, 0.5, 0.5);
        reid_loader_free(loader); /* with batches that are made anew */
    }
    assert_true(before[0] != after[0] && after[0] != last[0]);
}

static void test_more_ranks_than_images(void **state)
{
    fixture *f = *state;
    size_t total = f->query->count + f->gallery->count, seen = 0;
    for (int rank = 0; rank < 64; rank++) {
        size_t begin, end;
        reid_test_shard(total, rank, 64, &begin, &end);
        assert_true(begin <= end && end <= total);
        seen += end - begin;
    }
    assert_int_equal(seen, total);
    reid_loader *loader = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_test_loader_new(f->config, f->query, f->gallery, 63, 64, 4, &loader, &err),
                   &err);
    assert_null(next(loader));
    reid_loader_free(loader);
}

/* The batch with the broken image fails with its name, again and again; batches before it are good.
 */
static void test_broken_image(void **state)
{
    fixture *f = *state;
    const char *path = f->gallery->items[3].path;
    reid_error err = {0};
    reid_assert_ok(reid_file_write_atomic(path, "\x89PNG\r\n\x1a\nbroken", 14, &err), &err);
    reid_loader *loader = NULL;
    reid_assert_ok(reid_test_loader_new(f->config, f->query, f->gallery, 0, 1, (int)f->query->count,
                                        &loader, &err),
                   &err);
    assert_non_null(next(loader));
    for (int i = 0; i < 3; i++) {
        const reid_batch *batch = NULL;
        reid_error_clear(&err);
        assert_int_equal(reid_loader_next(loader, &batch, &err), REID_ERR_CORRUPT);
        assert_null(batch);
        assert_non_null(strstr(err.text, path));
    }
    reid_loader_free(loader);
    assert_int_equal(unlink(path), 0);
    reid_assert_ok(reid_test_loader_new(f->config, f->query, f->gallery, 0, 1, 3, &loader, &err),
                   &err);
    reid_loader_free(loader); /* at once, with work under way */
    reid_loader_free(NULL);
}

static void test_refused(void **state)
{
    fixture *f = *state;
    static const char *const cases[][3] = {
        {"SOLVER.IMS_PER_BATCH", "64", "identities"},
        {"DATALOADER.NUM_INSTANCE", "3", "does not divide"},
        {"INPUT.RPT.ENABLED", "True", "not supported"},
        {"SOLVER.IMS_PER_BATCH", "9", "does not divide"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reid_error err = {0};
        reid_config *config = augmented_config(f->folder, "1");
        reid_assert_ok(reid_config_set(config, cases[i][0], cases[i][1], &err), &err);
        reid_loader *loader = NULL;
        assert_int_not_equal(reid_train_loader_check(config, f->train, 1, &err), REID_OK);
        assert_non_null(strstr(err.text, cases[i][2]));
        assert_int_not_equal(reid_train_loader_new(config, f->train, 0, 1, 0, 0, &loader, &err),
                             REID_OK);
        assert_null(loader);
        reid_config_free(config);
    }
    reid_error err = {0};
    reid_config *config = test_config(f->folder, "SOLVER.IMS_PER_BATCH", "31", NULL);
    assert_int_equal(reid_train_loader_check(config, f->train, 1, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "fewer than one batch"));
    reid_loader *loader = NULL;
    assert_int_equal(reid_test_loader_new(config, f->query, f->gallery, 0, 1, 0, &loader, &err),
                     REID_ERR_INVALID);
    reid_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_is_fixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ranks_split_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_belongs_to_its_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_test_loader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rewind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_are_the_same_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_a_test_set, setup, teardown),
        cmocka_unit_test_setup_teardown(test_augmentation_changes_at_the_next_batch, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_more_ranks_than_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_image, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
