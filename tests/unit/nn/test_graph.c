#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "nn/graph.h"

static void assert_shape(reid_graph *g, reid_value v, int rank, int64_t a, int64_t b, int64_t c,
                         int64_t d)
{
    reid_shape s = reid_graph_shape(g, v);
    assert_int_equal(s.rank, rank);
    int64_t want[4] = {a, b, c, d};
    for (int i = 0; i < rank; i++)
        assert_int_equal(s.dim[i], want[i]);
}

/* Sizes of torchvision's and fast-reid's stems for 256×128. */
static void shapes_follow_pytorch(void **state)
{
    reid_graph *g = reid_graph_new();
    reid_value x = reid_graph_images(g, 2, 3, 256, 128);
    x = reid_graph_conv2d(g, x, "conv1", (reid_conv2d){64, 7, 2, 3, false});
    assert_shape(g, x, 4, 2, 64, 128, 64);
    reid_value a = reid_graph_max_pool(g, x, (reid_max_pool){3, 2, 0, true});
    assert_shape(g, a, 4, 2, 64, 64, 32);
    reid_value b = reid_graph_max_pool(g, x, (reid_max_pool){3, 2, 1, false});
    assert_shape(g, b, 4, 2, 64, 64, 32);
    reid_value c = reid_graph_max_pool(g, x, (reid_max_pool){3, 2, 0, false});
    assert_shape(g, c, 4, 2, 64, 63, 31);
    reid_value d = reid_graph_conv2d(g, a, "down", (reid_conv2d){128, 1, 2, 0, true});
    assert_shape(g, d, 4, 2, 128, 32, 16);
    assert_shape(g, reid_graph_global_avg_pool(g, d), 2, 2, 128, 0, 0);
    assert_int_equal(reid_graph_check(g, NULL), REID_OK);
    reid_graph_free(g);
}

/* PyTorch: a last window that would start in the padding is dropped. MaxPool2d(2, 2, 1, ceil_mode)
 * on 3 → 2. */
static void a_pooling_window_starts_inside(void **state)
{
    reid_graph *g = reid_graph_new();
    reid_value x = reid_graph_images(g, 1, 1, 3, 4);
    reid_value y = reid_graph_max_pool(g, x, (reid_max_pool){2, 2, 1, true});
    assert_shape(g, y, 4, 1, 1, 2, 3);
    reid_graph_free(g);
}

typedef reid_value build_fn(reid_graph *g);

static void assert_fault(build_fn *build, const char *name, const char *shape, const char *reason)
{
    reid_graph *g = reid_graph_new();
    reid_error err = {0};
    reid_value v = build(g);
    assert_int_equal(v, REID_VALUE_NONE);
    assert_int_equal(reid_graph_relu(g, v),
                     REID_VALUE_NONE); /* later calls do nothing and keep the first sentence */
    assert_int_equal(reid_graph_check(g, &err), REID_ERR_INVALID);
    if (!strstr(err.text, name) || !strstr(err.text, shape) || !strstr(err.text, reason))
        fail_msg("the sentence '%s' lacks '%s', '%s' or '%s'", err.text, name, shape, reason);
    reid_graph_free(g);
}

static reid_value large_kernel(reid_graph *g)
{
    return reid_graph_conv2d(g, reid_graph_images(g, 1, 3, 4, 4), "backbone.conv1",
                             (reid_conv2d){8, 7, 1, 1, false});
}

static reid_value unequal_add(reid_graph *g)
{
    reid_value x = reid_graph_images(g, 1, 4, 4, 4);
    return reid_graph_add(g, x, reid_graph_conv2d(g, x, "c", (reid_conv2d){5, 1, 1, 0, false}));
}

static reid_value linear_on_images(reid_graph *g)
{
    return reid_graph_linear(g, reid_graph_images(g, 1, 3, 4, 4), "heads", 10, false, 1.0);
}

static reid_value same_name_twice(reid_graph *g)
{
    reid_value x = reid_graph_images(g, 1, 3, 4, 4);
    x = reid_graph_conv2d(g, x, "twin", (reid_conv2d){3, 1, 1, 0, false});
    return reid_graph_conv2d(g, x, "twin", (reid_conv2d){3, 1, 1, 0, false});
}

static reid_value empty_batch(reid_graph *g)
{
    return reid_graph_images(g, 0, 3, 4, 4);
}

static reid_value labels_do_not_fit(reid_graph *g)
{
    reid_value x = reid_graph_global_avg_pool(g, reid_graph_images(g, 4, 8, 2, 2));
    return reid_graph_triplet(g, x, reid_graph_labels(g, 3), (reid_triplet){0.3, false, true});
}

static reid_value one_class(reid_graph *g)
{
    reid_value x = reid_graph_global_avg_pool(g, reid_graph_images(g, 4, 8, 2, 2));
    return reid_graph_cross_entropy(g, reid_graph_linear(g, x, "heads", 1, false, 1.0),
                                    reid_graph_labels(g, 4), 0.1);
}

static reid_value foreign_value(reid_graph *g)
{
    return reid_graph_conv2d(g, 7, "lost", (reid_conv2d){3, 1, 1, 0, false});
}

static void faults_name_the_layer_and_its_shapes(void **state)
{
    assert_fault(large_kernel, "conv2d 'backbone.conv1'", "[1,3,4,4]",
                 "larger than the padded image");
    assert_fault(unequal_add, "add_", "[1,4,4,4] and [1,5,4,4]", "one shape");
    assert_fault(linear_on_images, "linear 'heads'", "[1,3,4,4]", "[N,D]");
    assert_fault(same_name_twice, "'twin'", "[1,3,4,4]", "same name");
    assert_fault(empty_batch, "images", "[0,3,4,4]", "not possible");
    assert_fault(labels_do_not_fit, "triplet", "[4,8] and [3]", "one label");
    assert_fault(one_class, "cross_entropy", "[4,1] and [4]", "two classes");
    assert_fault(foreign_value, "lost", "", "not a value");
}

static void only_scalars_with_gradients_are_losses(void **state)
{
    reid_error err = {0};
    reid_graph *g = reid_graph_new();
    reid_value x = reid_graph_global_avg_pool(g, reid_graph_images(g, 4, 8, 2, 2));
    reid_graph_loss(g, x, "loss_cls", 1.0);
    assert_int_equal(reid_graph_check(g, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "'loss_cls' must be a scalar, not [4,8]"));
    reid_graph_free(g);
    g = reid_graph_new();
    x = reid_graph_global_avg_pool(g, reid_graph_images(g, 4, 8, 2, 2));
    reid_graph_loss(g, reid_graph_accuracy(g, x, reid_graph_labels(g, 4)), "acc", 1.0);
    assert_int_equal(reid_graph_check(g, NULL), REID_ERR_INVALID);
    reid_graph_free(g);
    reid_graph_free(NULL);
}

static reid_graph *pair(int channels, bool bias, bool more)
{
    reid_graph *g = reid_graph_new();
    reid_value x = reid_graph_images(g, 2, 3, 8, 8);
    x = reid_graph_conv2d(g, x, "conv", (reid_conv2d){channels, 3, 1, 1, false});
    x = reid_graph_relu(g, reid_graph_batch_norm(g, x, "bn", (reid_batch_norm){0}));
    x = reid_graph_linear(g, reid_graph_global_avg_pool(g, x), "head", 5, bias, 1.0);
    if (more)
        reid_graph_linear(g, x, "more", 2, false, 1.0);
    return g;
}

static void expect_difference(const reid_graph *a, reid_graph *own_b, const char *sentence)
{
    reid_error err = {0};
    assert_int_equal(reid_graph_same_params(a, own_b, &err), REID_ERR_INVALID);
    assert_string_equal(err.text, sentence);
    reid_graph_free(own_b);
}

static void parameters_are_compared_by_name_and_shape(void **state)
{
    reid_graph *a = pair(4, false, false), *same = pair(4, false, false), *b = pair(4, true, true);
    assert_int_equal(reid_graph_same_params(a, same, NULL), REID_OK);
    expect_difference(a, pair(6, false, false), "its 'conv.weight' is [6,3,3,3], not [4,3,3,3]");
    expect_difference(a, pair(4, true, false), "it has 'head.bias', too");
    expect_difference(a, pair(4, false, true), "it has 'more.weight', too");
    expect_difference(b, pair(4, false, true), "it has no 'head.bias'");
    expect_difference(b, pair(4, true, false), "it has no 'more.weight'");
    reid_graph_free(a);
    reid_graph_free(b);
    reid_graph_free(same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_follow_pytorch),
        cmocka_unit_test(a_pooling_window_starts_inside),
        cmocka_unit_test(faults_name_the_layer_and_its_shapes),
        cmocka_unit_test(parameters_are_compared_by_name_and_shape),
        cmocka_unit_test(only_scalars_with_gradients_are_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
