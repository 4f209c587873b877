/* Operations for GPUs that are not there, planned by the real cuDNN. Shapes of ResNet-50's layers
 * at 256×128. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "backend/op.h"

static reid_backend *open_planned(const char *name)
{
    reid_error err = {0};
    reid_backend *backend = NULL;
    if (reid_backend_open(name, 1, &backend, &err) != REID_OK)
        fail_msg("%s", err.text);
    return backend;
}

/* A training convolution (h > 0) or linear layer. */
typedef struct layer {
    int64_t c, h, w, out;
    int kernel, stride, padding;
} layer;

/* In evaluation, with the batch norm behind it, or in training. */
static reid_op *plan(reid_backend *backend, const layer *l, reid_dtype compute, bool folded,
                     reid_error *err)
{
    const reid_backend_impl *impl = backend->impl;
    reid_shape in = l->h ? reid_shape_4d(32, l->c, l->h, l->w) : reid_shape_2d(32, l->c), out,
               weight;
    reid_op_desc d = {
        .name = "layer", .training = true, .compute = compute, .input_count = 1, .param_count = 1};
    reid_op *op = NULL;
    if (l->h) {
        d.kind = REID_OP_CONV2D;
        d.attr.conv = (reid_conv2d){l->out, l->kernel, l->stride, l->padding, false};
        out = reid_shape_4d(32, l->out, (l->h + 2 * l->padding - l->kernel) / l->stride + 1,
                            (l->w + 2 * l->padding - l->kernel) / l->stride + 1);
        weight = reid_shape_4d(l->out, l->c, l->kernel, l->kernel);
    } else {
        d.kind = REID_OP_LINEAR;
        d.attr.linear = (reid_linear){l->out, false, 1.0};
        out = reid_shape_2d(32, l->out);
        weight = reid_shape_2d(l->out, l->c);
    }
    d.input[0] = impl->activation_layout(backend, REID_ROLE_INNER, &in, l->h ? compute : REID_F32);
    d.output = impl->activation_layout(backend, REID_ROLE_INNER, &out, l->h ? compute : REID_F32);
    assert_int_equal(impl->param_layout(backend, &d, 0, &weight, &d.param[0], err), REID_OK);
    d.input_grad[0] = d.param_grad[0] = !folded;
    if (folded) {
        d.training = false;
        d.folded = d.relu = true;
        d.param_count = 3;
        if (l->kernel == 1) { /* the end of a block */
            d.input_count = 2;
            d.input[1] = d.output;
        }
    }
    return impl->op_new(backend, &d, &op, err) == REID_OK ? op : NULL;
}

static const layer layers[] = {
    {3, 256, 128, 64, 7, 2, 3},   {64, 64, 32, 64, 1, 1, 0},   {64, 64, 32, 64, 3, 1, 1},
    {64, 64, 32, 256, 1, 1, 0},   {256, 64, 32, 64, 1, 1, 0},  {128, 64, 32, 128, 3, 2, 1},
    {256, 64, 32, 512, 1, 2, 0},  {512, 32, 16, 128, 1, 1, 0}, {256, 16, 8, 256, 3, 1, 1},
    {1024, 16, 8, 2048, 1, 1, 0}, {512, 16, 8, 512, 3, 1, 1},  {2048, 16, 8, 512, 1, 1, 0},
    {2048, 0, 0, 751, 0, 0, 0},
};

/* In 16 bits cuDNN has one plan for convolution, residual, bias and ReLU of every layer, but
 * maybe of the first. */
static void plans_folded(reid_backend *backend, const layer *l, reid_dtype compute)
{
    reid_error err = {0};
    reid_op *op = plan(backend, l, compute, true, &err);
    if (!op)
        fail_msg("%s: %s", reid_backend_version(backend), err.text);
    assert_non_null(strstr(op->kernels, "folded"));
    if (compute != REID_F32) {
        assert_true(strstr(op->kernels, "fused") != NULL || l->c == 3);
        assert_non_null(strstr(op->kernels, " tc"));
    }
    op->impl->free(op);
}

static void plans_layers(const char *device)
{
    static const reid_dtype types[] = {REID_F32, REID_BF16, REID_F16};
    reid_backend *backend = open_planned(device);
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
            reid_error err = {0};
            reid_op *op = plan(backend, &layers[i], types[t], false, &err);
            if (!op)
                fail_msg("%s: %s", device, err.text);
            /* three engines; tensor cores for 16 bits, and never for exact f32 */
            const char *k = op->kernels;
            int engines = 0;
            for (const char *e = strstr(k, "eng"); e; e = strstr(e + 1, "eng"))
                engines++;
            assert_int_equal(engines, 3);
            assert_int_equal(strstr(k, " tc") != NULL, types[t] != REID_F32 && layers[i].h);
            assert_non_null(strstr(k, "GFLOP"));
            assert_true(op->needs_input[0]);
            op->impl->free(op);
            if (layers[i].h)
                plans_folded(backend, &layers[i], types[t]);
        }
    reid_backend_free(backend);
}

static void sm_80(void **state)
{
    plans_layers("cuda:sm_80");
}

static void sm_90(void **state)
{
    plans_layers("cuda:sm_90");
}

static void sm_100(void **state)
{
    plans_layers("cuda:sm_100");
}

static void sm_120(void **state)
{
    plans_layers("cuda:sm_120");
}

static void f32_uses_tensor_cores_only_when_asked(void **state)
{
    reid_error err = {0};
    reid_backend *backend = open_planned("cuda:sm_90+tf32");
    assert_non_null(strstr(reid_backend_version(backend), "tf32"));
    reid_op *op = plan(backend, &layers[2], REID_F32, false, &err);
    assert_non_null(op);
    assert_non_null(strstr(op->kernels, " tc"));
    op->impl->free(op);
    reid_backend_free(backend);
}

static void nothing_can_be_allocated(void **state)
{
    reid_error err = {0};
    reid_backend *backend = open_planned("cuda:sm_90");
    assert_false(reid_backend_is_host(backend));
    assert_non_null(strstr(reid_backend_version(backend), "sm_90"));
    assert_int_equal(reid_backend_status(backend, &err), REID_OK);
    assert_null(reid_backend_alloc(backend, 1024));
    assert_int_equal(reid_backend_status(backend, &err), REID_ERR_PRECONDITION);
    assert_non_null(strstr(err.text, "only planned for"));
    reid_backend_free(backend);
}

static void layouts_are_channels_last(void **state)
{
    reid_backend *backend = open_planned("cuda:sm_90");
    reid_shape images = reid_shape_4d(2, 3, 4, 5), rows = reid_shape_2d(2, 7);
    const reid_backend_impl *impl = backend->impl;
    const reid_layout *a = impl->activation_layout(backend, REID_ROLE_INNER, &images, REID_BF16);
    assert_string_equal(a->text, "nhwc bf16");
    assert_int_equal(a->bytes, 2 * 3 * 4 * 5 * 2);
    assert_ptr_equal(a, impl->activation_layout(backend, REID_ROLE_IMAGES, &images, REID_BF16));
    const reid_layout *b = impl->activation_layout(backend, REID_ROLE_INNER, &rows, REID_F32);
    assert_string_equal(b->text, "dense f32");
    assert_int_equal(b->bytes, 2 * 7 * 4);
    reid_backend_free(backend);
}

static void too_large_windows_are_refused(void **state)
{
    reid_backend *backend = open_planned("cuda:sm_90");
    reid_shape in = reid_shape_4d(2, 4, 40, 40), out = reid_shape_4d(2, 4, 24, 24);
    reid_op_desc d = {.kind = REID_OP_MAX_POOL, .input_count = 1, .attr.pool = {17, 1, 0, false}};
    reid_error err = {0};
    reid_op *op = NULL;
    d.input[0] = backend->impl->activation_layout(backend, REID_ROLE_INNER, &in, REID_F32);
    d.output = backend->impl->activation_layout(backend, REID_ROLE_INNER, &out, REID_F32);
    assert_int_equal(backend->impl->op_new(backend, &d, &op, &err), REID_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "windows of 17x17: on GPUs they have at most 16x16"));
    reid_backend_free(backend);
}

static void unknown_devices_are_refused(void **state)
{
    static const char *const names[] = {"cuda:sm_70", "cuda:sm_",        "cuda:x",
                                        "cuda:-1",    "cuda:sm_90+tf16", "cuda:sm_90+"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        reid_error err = {0};
        reid_backend *backend = NULL;
        assert_int_equal(reid_backend_open(names[i], 1, &backend, &err), REID_ERR_INVALID);
        assert_non_null(strstr(err.text, strchr(names[i], ':') + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sm_80),
        cmocka_unit_test(sm_90),
        cmocka_unit_test(sm_100),
        cmocka_unit_test(sm_120),
        cmocka_unit_test(f32_uses_tensor_cores_only_when_asked),
        cmocka_unit_test(nothing_can_be_allocated),
        cmocka_unit_test(layouts_are_channels_last),
        cmocka_unit_test(too_large_windows_are_refused),
        cmocka_unit_test(unknown_devices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
