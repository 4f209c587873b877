#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "nets.h"

static reid_params *params_on(const char *backend_name, net *t, reid_backend **ret_backend)
{
    reid_error err = {0};
    reid_params *p = NULL;
    *t = net_new(4, 32, 16, 3, true);
    assert_int_equal(reid_backend_open(backend_name, 2, ret_backend, &err), REID_OK);
    if (reid_params_new(t->g, *ret_backend, NULL, &p, &err) != REID_OK)
        fail_msg("%s", err.text);
    return p;
}

static void drop(net *t, reid_backend *backend, reid_params *p)
{
    reid_params_free(p);
    reid_graph_free(t->g);
    reid_backend_free(backend);
}

/* PyTorch: named_parameters() of a module lists its own parameters, then its children in order of
 * registration. */
static void the_list_is_in_pytorchs_order(void **state)
{
    net t;
    reid_backend *backend;
    reid_params *p = params_on("ref", &t, &backend);
    static const char *const names[] = {
        "backbone.conv1.weight",
        "backbone.bn1.weight",
        "backbone.bn1.bias",
        "backbone.layer1.0.conv1.weight",
        "backbone.layer1.0.bn1.weight",
        "backbone.layer1.0.bn1.bias",
        "backbone.layer1.0.conv2.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_string_equal(p->items[i].name, names[i]);
    assert_string_equal(p->items[p->count - 3].name,
                        "heads.weight"); /* own, though used after its child */
    assert_string_equal(p->items[p->count - 2].name, "heads.bottleneck.0.weight");
    assert_string_equal(p->items[p->count - 1].name, "heads.bottleneck.0.bias");
    assert_string_equal(p->buffers[0].name, "backbone.bn1.running_mean");
    assert_string_equal(p->buffers[2].name, "backbone.bn1.num_batches_tracked");
    assert_true(p->buffers[2].integer);
    drop(&t, backend, p);
}

static void the_flat_order_is_reverse_use_with_frozen_ones_last(void **state)
{
    net t;
    reid_backend *backend;
    reid_params *p = params_on("cpu", &t, &backend);
    const reid_param *first = &p->items[reid_params_find(p, "heads.weight")];
    const reid_param *stem = &p->items[reid_params_find(p, "backbone.conv1.weight")];
    const reid_param *frozen = &p->items[reid_params_find(p, "heads.bottleneck.0.bias")];
    assert_int_equal(first->offset, 0);
    assert_int_equal(stem->offset + stem->size, p->trainable);
    assert_int_equal(frozen->offset, p->trainable);
    assert_int_equal(frozen->offset + frozen->size, p->total);
    assert_false(frozen->trainable);
    assert_int_equal(frozen->kind, REID_PARAM_NORM_BIAS);
    size_t covered = 0;
    for (size_t i = 0; i < p->count; i++) {
        assert_int_equal(p->items[i].offset % 16, 0);
        assert_int_equal(p->items[i].size % 16, 0);
        covered += p->items[i].size;
        for (size_t k = 0; k < i; k++)
            assert_true(p->items[i].offset >= p->items[k].offset + p->items[k].size ||
                        p->items[k].offset >= p->items[i].offset + p->items[i].size);
    }
    assert_int_equal(covered, p->total);
    drop(&t, backend, p);
}

static void plain_values_come_back_and_padding_is_zero(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (int b = 0; b < 2; b++) {
        net t;
        reid_backend *backend;
        reid_params *p = params_on(backends[b], &t, &backend);
        for (size_t i = 0; i < p->count; i++) {
            size_t count = reid_params_plain_count(p, i);
            float *plain = reid_xcalloc(count, sizeof *plain),
                  *back = reid_xcalloc(count, sizeof *back);
            double sum = 0.0, flat_sum = 0.0;
            for (size_t k = 0; k < count; k++)
                sum += plain[k] = (float)(k % 97) + 1.0f;
            for (size_t k = 0; k < p->items[i].size; k++)
                p->value[p->items[i].offset + k] = 0.0f;
            reid_params_from_plain(p, i, plain, p->value);
            reid_params_to_plain(p, i, p->value, back);
            assert_memory_equal(plain, back, count * sizeof *plain);
            for (size_t k = 0; k < p->items[i].size; k++)
                flat_sum += p->value[p->items[i].offset + k];
            assert_true(sum == flat_sum);
            free(plain);
            free(back);
        }
        drop(&t, backend, p);
    }
}

static void norms_start_as_identity(void **state)
{
    net t;
    reid_backend *backend;
    reid_params *p = params_on("cpu", &t, &backend);
    float plain[64];
    reid_params_to_plain(p, reid_params_find(p, "backbone.bn1.weight"), p->value, plain);
    assert_true(plain[0] == 1.0f && plain[15] == 1.0f);
    reid_params_buffer_get(p, reid_params_find_buffer(p, "backbone.bn1.running_var"), plain);
    assert_true(plain[0] == 1.0f && plain[15] == 1.0f);
    reid_params_buffer_get(p, reid_params_find_buffer(p, "backbone.bn1.running_mean"), plain);
    assert_true(plain[0] == 0.0f);
    plain[3] = 2.5f;
    reid_params_buffer_set(p, reid_params_find_buffer(p, "backbone.bn1.running_mean"), plain);
    memset(plain, 0, sizeof plain);
    reid_params_buffer_get(p, reid_params_find_buffer(p, "backbone.bn1.running_mean"), plain);
    assert_true(plain[3] == 2.5f);
    assert_int_equal(reid_params_find(p, "no.such"), REID_PARAM_NONE);
    assert_int_equal(reid_params_find_buffer(p, "backbone.bn1.weight"), REID_PARAM_NONE);
    drop(&t, backend, p);
}

static void a_faulty_graph_and_an_unknown_backend_are_refused(void **state)
{
    reid_error err = {0};
    reid_backend *backend = NULL;
    assert_int_equal(reid_backend_open("gpu", 1, &backend, &err), REID_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "'gpu'"));
    assert_int_equal(reid_backend_open("cpu", -1, &backend, NULL), REID_ERR_INVALID);
    assert_int_equal(reid_backend_open("ref", 1, &backend, NULL), REID_OK);
    reid_graph *g = reid_graph_new();
    reid_graph_images(g, 0, 1, 1, 1);
    reid_params *p = NULL;
    assert_int_equal(reid_params_new(g, backend, NULL, &p, NULL), REID_ERR_INVALID);
    assert_null(p);
    reid_graph_free(g);
    g = reid_graph_new();
    const reid_params_options options = {.compute = REID_BF16};
    reid_error_clear(&err);
    assert_int_equal(reid_params_new(g, backend, &options, &p, &err), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "bf16"));
    reid_params_free(NULL);
    reid_graph_free(g);
    reid_backend_free(backend);
    reid_backend_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_is_in_pytorchs_order),
        cmocka_unit_test(the_flat_order_is_reverse_use_with_frozen_ones_last),
        cmocka_unit_test(plain_values_come_back_and_padding_is_zero),
        cmocka_unit_test(norms_start_as_identity),
        cmocka_unit_test(a_faulty_graph_and_an_unknown_backend_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
