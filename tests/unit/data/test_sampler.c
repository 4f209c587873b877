#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "data/sampler.h"
#include "harness/harness.h"
#include "support.h"

enum { MAX_BATCH = 64 };

static reid_sampler *make(const reid_dataset *dataset, const char *name, int batch, int instances,
                          int world, uint64_t seed)
{
    reid_sampler *sampler = NULL;
    reid_error err = {0};
    reid_sampler_options options = {name, batch, instances, world, seed};
    reid_assert_ok(reid_sampler_new(&options, dataset, &sampler, &err), &err);
    return sampler;
}

static void test_permutations(void **state)
{
    reid_dataset *dataset =
        test_dataset(5, 7); /* 35 images, batches of 4: an epoch ends inside a batch */
    reid_sampler *sampler = make(dataset, "TrainingSampler", 4, 1, 1, 9);
    uint32_t stream[36 * 4];
    for (int b = 0; b < 36; b++)
        reid_sampler_next(sampler, stream + 4 * b);
    bool differs = false;
    for (int epoch = 0; epoch < 4; epoch++) {
        int seen[35] = {0};
        for (int i = 0; i < 35; i++) {
            seen[stream[35 * epoch + i]]++;
            differs |= stream[35 * epoch + i] != stream[i];
        }
        for (int i = 0; i < 35; i++)
            assert_int_equal(seen[i], 1);
    }
    assert_true(differs);
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

/* Every batch: P different identities, K images of each side by side. In a pool an image is used
 * once at most, and an identity with fewer than K images once. */
static void check_identity_batches(const reid_dataset *dataset, const uint32_t *batch, int count,
                                   int instances)
{
    int pids[MAX_BATCH];
    for (int i = 0; i < count; i++) {
        pids[i] = dataset->items[batch[i]].pid;
        if (i % instances)
            assert_int_equal(pids[i], pids[i - 1]);
    }
    for (int i = 0; i < count; i += instances)
        for (int k = 0; k < i; k += instances)
            assert_int_not_equal(pids[i], pids[k]);
}

static void test_naive_identity(void **state)
{
    reid_dataset *dataset = test_dataset(20, 11);
    reid_sampler *sampler = make(dataset, "NaiveIdentitySampler", 16, 4, 1, 1);
    /* 20 identities give 2 draws of 4 each: 40 in all; a pool ends when fewer than 4 identities are
     * left, so after at least 37 of them, in draws of 4: 10 batches, or 9 and up to 3 identities
     * with draws left. */
    int used[220] = {0}, pools = 0, in_pool = 0;
    for (int b = 0; b < 200; b++) {
        uint32_t batch[16];
        reid_sampler_next(sampler, batch);
        check_identity_batches(dataset, batch, 16, 4);
        bool again = false;
        for (int i = 0; i < 16; i++)
            again |= used[batch[i]] > 0;
        if (again) {
            assert_true(in_pool >= 8 && in_pool <= 10);
            memset(used, 0, sizeof used);
            pools++;
            in_pool = 0;
        }
        for (int i = 0; i < 16; i++)
            assert_int_equal(used[batch[i]]++, 0);
        in_pool++;
    }
    assert_true(pools >= 15);
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

static void test_naive_identity_with_few_images(void **state)
{
    reid_dataset *dataset = test_dataset(9, 2); /* fewer than K: drawn with replacement */
    reid_sampler *sampler = make(dataset, "NaiveIdentitySampler", 12, 4, 1, 1);
    int seen[18] = {0};
    for (int b = 0; b < 60; b++) {
        uint32_t batch[12];
        reid_sampler_next(sampler, batch);
        check_identity_batches(dataset, batch, 12, 4);
        for (int i = 0; i < 12; i++)
            seen[batch[i]]++;
    }
    for (int i = 0; i < 18; i++)
        assert_true(seen[i] > 10);
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

static void test_balanced_identity(void **state)
{
    reid_dataset *dataset = test_dataset(10, 9);
    dataset->items[0].camid = 0;
    for (int i = 0; i < 9; i++)
        dataset->items[i].camid = 0; /* identity 0: one camera */
    reid_sampler *sampler = make(dataset, "BalancedIdentitySampler", 12, 3, 2, 3);
    int seen[10] = {0};
    for (int b = 0; b < 100; b++) {
        uint32_t batch[12];
        reid_sampler_next(sampler, batch);
        check_identity_batches(dataset, batch, 12, 3);
        for (int i = 0; i < 12; i += 3) {
            seen[dataset->items[batch[i]].pid]++;
            for (int k = 1; k < 3; k++) {
                assert_int_not_equal(batch[i], batch[i + k]);
                if (dataset->items[batch[i]].pid != 0)
                    assert_int_not_equal(dataset->items[batch[i]].camid,
                                         dataset->items[batch[i + k]].camid);
            }
            assert_int_not_equal(batch[i + 1],
                                 batch[i + 2]); /* six candidates: without replacement */
        }
    }
    for (int p = 0; p < 10; p++) /* two batches of 4 a round: 8 of 10 identities, 50 rounds */
        assert_true(seen[p] > 25 && seen[p] <= 50);
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

static void test_balanced_identity_with_one_image(void **state)
{
    reid_dataset *dataset = test_dataset(4, 1);
    reid_sampler *sampler = make(dataset, "BalancedIdentitySampler", 12, 3, 1, 3);
    uint32_t batch[12];
    reid_sampler_next(sampler, batch);
    for (int i = 0; i < 12; i++)
        assert_int_equal(batch[i], batch[i / 3 * 3]);
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

static void test_seed_ranks_and_skipping(void **state)
{
    static const char *const names[] = {"TrainingSampler", "NaiveIdentitySampler",
                                        "BalancedIdentitySampler"};
    reid_dataset *dataset = test_dataset(13, 9);
    for (size_t n = 0; n < 3; n++) {
        reid_sampler *first = make(dataset, names[n], 16, 4, 1, 5);
        reid_sampler *ranks = make(dataset, names[n], 16, 4, 4, 5);
        reid_sampler *later = make(dataset, names[n], 16, 4, 2, 5);
        reid_sampler *other = make(dataset, names[n], 16, 4, 1, 6);
        reid_sampler_skip(later, 33);
        bool differs = false;
        for (int b = 0; b < 60; b++) {
            uint32_t x[16], y[16];
            reid_sampler_next(first, x);
            reid_sampler_next(ranks, y);
            assert_memory_equal(x, y, sizeof x); /* the same for any number of ranks */
            if (b >= 33) {
                reid_sampler_next(later, y);
                assert_memory_equal(x, y, sizeof x);
            }
            reid_sampler_next(other, y);
            differs |= memcmp(x, y, sizeof x) != 0;
        }
        assert_true(differs);
        reid_sampler_free(first);
        reid_sampler_free(ranks);
        reid_sampler_free(later);
        reid_sampler_free(other);
    }
    reid_dataset_free(dataset);
}

/* Six identities, four for each of two ranks: fast-reid would throw every batch away. */
static void test_fewer_identities_than_a_global_batch(void **state)
{
    reid_dataset *dataset = test_dataset(6, 4);
    reid_sampler *sampler = make(dataset, "NaiveIdentitySampler", 32, 4, 2, 5);
    for (int b = 0; b < 50; b++) {
        uint32_t batch[32];
        reid_sampler_next(sampler, batch);
        check_identity_batches(dataset, batch, 16, 4);
        check_identity_batches(dataset, batch + 16, 16, 4);
    }
    reid_sampler_free(sampler);
    reid_dataset_free(dataset);
}

static void test_refused(void **state)
{
    reid_dataset *dataset = test_dataset(6, 4);
    static const struct {
        reid_sampler_options options;
        const char *part;
    } cases[] = {
        {{"NaiveIdentitySampler", 32, 4, 1, 0}, "needs 8 identities"},
        {{"BalancedIdentitySampler", 32, 4, 2, 0}, "needs 8 identities"},
        {{"NaiveIdentitySampler", 16, 3, 1, 0}, "NUM_INSTANCE 3 does not divide"},
        {{"NaiveIdentitySampler", 16, 4, 8, 0}, "does not divide the 2 images"},
        {{"TrainingSampler", 16, 4, 3, 0}, "divided evenly among 3 ranks"},
        {{"SetReWeightSampler", 16, 4, 1, 0}, "NaiveIdentitySampler"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reid_sampler *sampler = NULL;
        reid_error err = {0};
        assert_int_not_equal(reid_sampler_new(&cases[i].options, dataset, &sampler, &err), REID_OK);
        assert_null(sampler);
        if (!strstr(err.text, cases[i].part))
            fail_msg("'%s' is not in: %s", cases[i].part, err.text);
    }
    reid_sampler_free(NULL);
    reid_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_naive_identity),
        cmocka_unit_test(test_naive_identity_with_few_images),
        cmocka_unit_test(test_balanced_identity),
        cmocka_unit_test(test_balanced_identity_with_one_image),
        cmocka_unit_test(test_seed_ranks_and_skipping),
        cmocka_unit_test(test_fewer_identities_than_a_global_batch),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
