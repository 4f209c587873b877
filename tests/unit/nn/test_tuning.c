#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "nets.h"
#include "nn/tuning.h"

#define BATCH 8

/* 16 → 16 → 32 channels on maps of 16×8 and 8×4. */
static net network(reid_backend **ret_backend)
{
    assert_int_equal(reid_backend_open("cpu", 1, ret_backend, NULL), REID_OK);
    return net_new(BATCH, 64, 32, 3, true);
}

static void fini(net *t, reid_backend *backend, reid_tuning *tuning)
{
    reid_tuning_free(tuning);
    reid_backend_free(backend);
    reid_graph_free(t->g);
}

/* Hash of the plan, and what it says of itself. */
static uint64_t hash_with(const net *t, reid_backend *backend, const reid_tuning *tuning,
                          char **ret_summary)
{
    reid_params *params = NULL;
    reid_plan *plan = NULL;
    const reid_plan_options options = {.training = true, .tuning = tuning};
    assert_int_equal(reid_params_new(t->g, backend, NULL, &params, NULL), REID_OK);
    assert_int_equal(reid_plan_new(t->g, backend, params, &options, &plan, NULL), REID_OK);
    uint64_t hash = reid_plan_hash(plan);
    if (ret_summary)
        *ret_summary = reid_plan_summary(plan);
    reid_plan_free(plan);
    reid_params_free(params);
    return hash;
}

static bool has_winograd(reid_backend *backend)
{
    return strstr(reid_backend_version(backend), "isa 0x") != NULL &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static void measured_once_and_kept(void **state)
{
    (void)state;
    reid_backend *backend;
    net t = network(&backend);
    reid_tuning *tuning = reid_tuning_new(), *again = reid_tuning_new();
    int measured = 0, winograd = 0;
    assert_false(reid_tuning_covers(tuning, t.g, backend, REID_F32));
    assert_int_equal(
        reid_tuning_measure(tuning, t.g, backend, REID_F32, &measured, &winograd, NULL), REID_OK);
    assert_true(reid_tuning_covers(tuning, t.g, backend, REID_F32));
    assert_true(winograd <= measured);
    if (has_winograd(backend))
        assert_true(measured > 0);
    assert_false(reid_tuning_covers(tuning, t.g, backend, REID_BF16));

    char *text = reid_tuning_text(tuning), *shapes = reid_tuning_shapes(t.g, backend, REID_F32);
    assert_non_null(strstr(text, "n8 c3 o16 64x32 k7 s2 p3 f32 rule rule rule\n"));
    assert_non_null(strstr(shapes, "n8 c16 o16 16x8 k3 s1 p1 f32\n"));
    assert_int_equal(reid_tuning_read(again, text, NULL), REID_OK);
    assert_int_equal(reid_tuning_count(again), reid_tuning_count(tuning));
    char *copy = reid_tuning_text(again);
    assert_string_equal(copy, text);

    /* What is known is not measured again. */
    assert_int_equal(reid_tuning_measure(again, t.g, backend, REID_F32, &measured, &winograd, NULL),
                     REID_OK);
    assert_int_equal(measured, 0);
    assert_int_equal(hash_with(&t, backend, tuning, NULL), hash_with(&t, backend, again, NULL));
    free(copy);
    free(shapes);
    free(text);
    reid_tuning_free(again);
    fini(&t, backend, tuning);
}

/* How often the line of a layer says "wino". */
static int winograd_words(const char *summary, const char *layer)
{
    int words = 0;
    const char *line = strstr(summary, layer);
    assert_non_null(line);
    for (const char *end = line + strcspn(line, "\n"); line < end; line++)
        words += strncmp(line, "wino", 4) == 0;
    return words;
}

static void the_plan_follows_the_table(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "n8 c16 o16 16x8 k3 s1 p1 f32 direct direct direct\n",
        "n8 c16 o16 16x8 k3 s1 p1 f32 winograd winograd winograd\n",
        "n8 c16 o16 16x8 k3 s1 p1 f32 winograd direct winograd\n",
    };
    static const int expected[] = {0, 3, 2};
    reid_backend *backend;
    net t = network(&backend);
    uint64_t hashes[3];
    for (int i = 0; i < 3; i++) {
        reid_tuning *tuning = reid_tuning_new();
        char *summary = NULL;
        assert_int_equal(reid_tuning_read(tuning, rows[i], NULL), REID_OK);
        hashes[i] = hash_with(&t, backend, tuning, &summary);
        if (has_winograd(backend))
            assert_int_equal(winograd_words(summary, "backbone.layer1.0.conv1"), expected[i]);
        assert_int_equal(winograd_words(summary, "backbone.conv1"), 0);
        free(summary);
        reid_tuning_free(tuning);
    }
    if (has_winograd(backend)) {
        assert_true(hashes[0] != hashes[1]); /* ranks that chose apart are told */
        assert_true(hashes[1] != hashes[2]);
    }
    fini(&t, backend, NULL);
}

static void bad_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\n",
        "n8 c16 o16 16x8 k3 s1 p1 f32 direct direct\n",
        "n8 c16 o16 16x8 k3 s1 p1 f32 direct direct fast\n",
        "direct direct direct\n",
        "n1 c1 o1 1x1 k1 s1 p1 f32 rule rule rule\ngarbage",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        reid_tuning *tuning = reid_tuning_new();
        reid_error err = {0};
        assert_int_equal(reid_tuning_read(tuning, texts[i], &err), REID_ERR_INVALID);
        assert_non_null(strstr(err.text, "line "));
        assert_int_equal(reid_tuning_count(tuning), 0);
        reid_tuning_free(tuning);
    }
    char *longest = reid_xcalloc(1, 5000);
    memset(longest, 'n', 4999);
    reid_tuning *tuning = reid_tuning_new();
    assert_int_equal(reid_tuning_read(tuning, longest, NULL), REID_ERR_INVALID);
    assert_int_equal(reid_tuning_read(tuning, "", NULL), REID_OK);
    reid_tuning_free(tuning);
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measured_once_and_kept),
        cmocka_unit_test(the_plan_follows_the_table),
        cmocka_unit_test(bad_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
