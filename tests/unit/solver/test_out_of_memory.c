/* A device whose n-th allocation fails, for every n: an error with the device's sentence, nothing
 * left behind, nothing released that was never there, and the device usable afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "backend/op.h"
#include "base/compiler.h"
#include "harness/harness.h"
#include "nn/plan.h"
#include "solver/optimizer.h"

#define SENTENCE "the device is full, say the tests"
#define LIVE_LIMIT 64

/* What stands between the test and a real backend. */
static struct {
    reid_backend_impl impl;
    const reid_backend_impl *real;
    int calls, fail_at;
    bool untold; /* a failed allocation that status has not told yet */
    void *live[LIVE_LIMIT];
    size_t live_count;
} device;

static void *alloc_or_fail(reid_backend *backend, size_t bytes)
{
    if (++device.calls == device.fail_at) {
        device.untold = true;
        return NULL;
    }
    void *memory = device.real->alloc(backend, bytes);
    assert_non_null(memory);
    assert_true(device.live_count < LIVE_LIMIT);
    device.live[device.live_count++] = memory;
    return memory;
}

static void release(reid_backend *backend, void *memory, size_t bytes)
{
    size_t i = 0;
    while (i < device.live_count && device.live[i] != memory)
        i++;
    assert_true(i < device.live_count);
    device.live[i] = device.live[--device.live_count];
    device.real->release(backend, memory, bytes);
}

static reid_status status_once(reid_backend *backend, reid_error *err)
{
    if (!device.untold)
        return REID_OK;
    device.untold = false;
    return reid_fail(err, REID_ERR_EXHAUSTED, SENTENCE);
}

static reid_backend *open_device(const char *name, int fail_at)
{
    reid_backend *backend = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_backend_open(name, 1, &backend, &err), &err);
    memset(&device, 0, sizeof device);
    device.real = backend->impl;
    device.impl = *backend->impl;
    device.impl.alloc = alloc_or_fail;
    device.impl.release = release;
    device.impl.status = status_once;
    device.fail_at = fail_at;
    backend->impl = &device.impl;
    return backend;
}

typedef struct network {
    reid_graph *train, *eval;
    reid_value images, labels;
} network;

#define IMAGES 4
#define CLASSES 3

static reid_value add_layers(reid_graph *g, reid_value *ret_images)
{
    *ret_images = reid_graph_images(g, IMAGES, 3, 8, 8);
    reid_value x = reid_graph_conv2d(g, *ret_images, "conv1", (reid_conv2d){16, 3, 1, 1, false});
    x = reid_graph_relu(g, reid_graph_batch_norm(g, x, "bn1", (reid_batch_norm){0}));
    reid_value y = reid_graph_conv2d(g, x, "conv2", (reid_conv2d){16, 3, 1, 1, false});
    y = reid_graph_batch_norm(g, y, "bn2", (reid_batch_norm){0});
    return reid_graph_global_avg_pool(g, reid_graph_relu(g, reid_graph_add(g, y, x)));
}

static network make_network(void)
{
    network n = {.train = reid_graph_new(), .eval = reid_graph_new()};
    reid_value x = add_layers(n.train, &n.images), eval_images;
    n.labels = reid_graph_labels(n.train, IMAGES);
    reid_value logits = reid_graph_linear(n.train, x, "heads", CLASSES, false, 1.0);
    reid_graph_loss(n.train, reid_graph_cross_entropy(n.train, logits, n.labels, 0), "loss_cls", 1);
    reid_graph_output(n.eval, add_layers(n.eval, &eval_images), "features");
    return n;
}

typedef struct trained {
    reid_params *params;
    reid_plan *plan, *eval_plan;
    reid_optimizer *optimizer;
} trained;

/* In a training's order. */
static reid_status build(const network *n, reid_backend *backend, trained *t, reid_error *err)
{
    const reid_plan_options options = {.training = true, .recompute = REID_RECOMPUTE_STAGE};
    const reid_plan_options eval = {.training = false};
    reid_config *config = reid_config_new();
    reid_status status = reid_params_new(n->train, backend, NULL, &t->params, err);
    if (status == REID_OK)
        status = reid_plan_new(n->train, backend, t->params, &options, &t->plan, err);
    if (status == REID_OK)
        status = reid_optimizer_new(config, t->params, backend, &t->optimizer, err);
    if (status == REID_OK)
        status = reid_plan_new(n->eval, backend, t->params, &eval, &t->eval_plan, err);
    reid_config_free(config);
    return status;
}

static void drop(trained *t)
{
    reid_optimizer_free(t->optimizer);
    reid_plan_free(t->eval_plan);
    reid_plan_free(t->plan);
    reid_params_free(t->params);
    *t = (trained){0};
}

static void step(const network *n, trained *t)
{
    const int32_t labels[IMAGES] = {0, 1, 2, 0};
    float images[IMAGES * 3 * 8 * 8];
    reid_error err = {0};
    for (size_t i = 0; i < REID_COUNT_OF(images); i++)
        images[i] = (float)(i % 7) - 3;
    reid_assert_ok(reid_plan_upload(t->plan, n->images, images, sizeof images, &err), &err);
    reid_assert_ok(reid_plan_upload(t->plan, n->labels, labels, sizeof labels, &err), &err);
    reid_assert_ok(reid_plan_forward(t->plan, &err), &err);
    reid_assert_ok(reid_plan_backward(t->plan, NULL, NULL, &err), &err);
    reid_optimizer_step(t->optimizer);
    reid_assert_ok(reid_plan_read_scalars(t->plan, &err), &err);
}

/* False when there is no n-th allocation. */
static bool check_nth(const char *name, const network *n, int nth)
{
    reid_backend *backend = open_device(name, nth);
    reid_error err = {0};
    trained t = {0};
    reid_status status = build(n, backend, &t, &err);
    bool failed = status != REID_OK;
    assert_int_equal(failed, device.calls >= nth);
    if (failed) {
        assert_int_equal(status, REID_ERR_EXHAUSTED);
        if (!strstr(err.text, SENTENCE))
            fail_msg("%s: allocation %d: '%s' lacks the device's sentence", name, nth, err.text);
        assert_false(device.untold); /* or the next step would report it */
        drop(&t);
        assert_int_equal(device.live_count, 0);
        device.fail_at = 0;
        reid_error again = {0};
        reid_assert_ok(build(n, backend, &t, &again), &again);
    }
    step(n, &t);
    drop(&t);
    assert_int_equal(device.live_count, 0);
    reid_backend_free(backend);
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    static const char *const names[] = {"ref", "cpu"};
    network n = make_network();
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        int nth = 1;
        while (check_nth(names[i], &n, nth))
            nth++;
        assert_int_equal(nth - 1, 3 + 1 + 2 + 1); /* parameters, step, Adam's states, evaluation */
    }
    reid_graph_free(n.train);
    reid_graph_free(n.eval);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
