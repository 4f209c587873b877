#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "nets.h"
#include "nn/plan_impl.h"

typedef struct bench {
    net t;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
} bench;

static bench bench_on(const char *backend, int threads, net t, reid_plan_options options)
{
    bench b = {.t = t};
    reid_error err = {0};
    options.training = true;
    if (reid_backend_open(backend, threads, &b.backend, &err) != REID_OK ||
        reid_params_new(t.g, b.backend, NULL, &b.params, &err) != REID_OK ||
        reid_plan_new(t.g, b.backend, b.params, &options, &b.plan, &err) != REID_OK)
        fail_msg("%s", err.text);
    randomize(b.params);
    return b;
}

static void bench_fini(bench *b)
{
    reid_plan_free(b->plan);
    reid_params_free(b->params);
    reid_backend_free(b->backend);
    reid_graph_free(b->t.g);
}

static void step(bench *b)
{
    upload(&b->t, b->plan);
    assert_int_equal(reid_plan_forward(b->plan, NULL), REID_OK);
    assert_int_equal(reid_plan_backward(b->plan, NULL, NULL, NULL), REID_OK);
}

/* Largest difference of two benches' gradients, each parameter relative to its largest gradient. */
static double gradient_distance(const bench *a, const bench *b)
{
    double worst = 0.0;
    assert_int_equal(a->params->count, b->params->count);
    for (size_t i = 0; i < a->params->count; i++) {
        size_t count = reid_params_plain_count(a->params, i);
        float *x = reid_xcalloc(count, sizeof *x), *y = reid_xcalloc(count, sizeof *y);
        reid_params_to_plain(a->params, i, a->params->grad, x);
        reid_params_to_plain(b->params, i, b->params->grad, y);
        double top = 1e-6, d = 0.0;
        for (size_t k = 0; k < count; k++) {
            top = fmax(top, fabs((double)x[k]));
            d = fmax(d, fabs((double)x[k] - y[k]));
        }
        worst = fmax(worst, d / top);
        free(x);
        free(y);
    }
    return worst;
}

static void assert_scalars_close(const bench *a, const bench *b, double tolerance)
{
    assert_int_equal(reid_plan_scalar_count(a->plan), 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(reid_plan_scalar(a->plan, i) - reid_plan_scalar(b->plan, i)) <= tolerance);
}

static void cpu_and_ref_agree(void **state)
{
    bench ref = bench_on("ref", 1, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    bench cpu = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    step(&ref);
    step(&cpu);
    assert_scalars_close(&ref, &cpu, 1e-4);
    assert_string_equal(reid_plan_scalar_name(cpu.plan, 0), "loss_cls");
    assert_true(reid_plan_scalar_is_loss(cpu.plan, 1));
    assert_false(reid_plan_scalar_is_loss(cpu.plan, 2));
    assert_true(gradient_distance(&ref, &cpu) < 2e-3);
    bench_fini(&ref);
    bench_fini(&cpu);
}

/* Fused and unfused plans have different lists of calls and buffers, but compute the same. */
static void fusion_changes_nothing(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (int k = 0; k < 2; k++) {
        bench fused = bench_on(backends[k], 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
        bench plain = bench_on(backends[k], 2, net_new(6, 32, 16, 3, true),
                               (reid_plan_options){.no_fusion = true});
        step(&fused);
        step(&plain);
        assert_scalars_close(&fused, &plain, 1e-5);
        assert_true(gradient_distance(&plain, &fused) < 1e-4);
        /* 4 batch norm + ReLU, 3 of + addition + ReLU */
        assert_int_equal(reid_plan_get_stats(plain.plan).forward_calls,
                         reid_plan_get_stats(fused.plan).forward_calls + 4 + 3 * 2);
        bench_fini(&fused);
        bench_fini(&plain);
    }
}

static double total_loss(bench *b)
{
    upload(&b->t, b->plan);
    assert_int_equal(reid_plan_forward(b->plan, NULL), REID_OK);
    double sum = 0.0;
    for (size_t i = 0; i < reid_plan_scalar_count(b->plan); i++)
        if (reid_plan_scalar_is_loss(b->plan, i))
            sum += reid_plan_scalar(b->plan, i);
    return sum;
}

static void gradients_are_the_slopes_of_the_loss(void **state)
{
    bench b = bench_on("ref", 1, net_new(4, 16, 16, 1, true), (reid_plan_options){0});
    step(&b);
    reid_rng rng = reid_rng_stream(9, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < b.params->count; i++) {
        const reid_param *p = &b.params->items[i];
        size_t at =
            p->offset + reid_rng_below(&rng, (uint32_t)reid_params_plain_count(b.params, i));
        double top = 1e-3;
        for (size_t k = 0; k < p->size; k++)
            top = fmax(top, fabs((double)b.params->grad[p->offset + k]));
        double gradient = b.params->grad[at];
        float keep = b.params->value[at];
        b.params->value[at] = keep + 1e-3f;
        double above = total_loss(&b);
        b.params->value[at] = keep - 1e-3f;
        double slope = (above - total_loss(&b)) / 2e-3;
        b.params->value[at] = keep;
        if (!p->trainable)
            assert_true(gradient == 0.0);
        else if (!(fabs(slope - gradient) < 0.05 * top + 1e-3))
            fail_msg("%s: slope %g, gradient %g, largest %g", p->name, slope, gradient, top);
    }
    bench_fini(&b);
}

/* A value read by three layers, one of them twice: its gradient is the sum of all. */
static net many_readers(void)
{
    net t = {.g = reid_graph_new(), .n = 4, .c = 3, .h = 8, .w = 8, .classes = 5};
    reid_graph *g = t.g;
    t.images = reid_graph_images(g, 4, 3, 8, 8);
    reid_value x = reid_graph_conv2d(g, t.images, "stem", (reid_conv2d){16, 3, 1, 1, true});
    reid_value a = reid_graph_conv2d(g, x, "a", (reid_conv2d){16, 3, 1, 1, false});
    reid_value b = reid_graph_conv2d(g, x, "b", (reid_conv2d){16, 1, 1, 0, false});
    reid_value c = reid_graph_add(g, x, x);
    reid_value y =
        reid_graph_add(g, reid_graph_add(g, a, c), reid_graph_relu(g, reid_graph_add(g, b, x)));
    reid_value f = reid_graph_global_avg_pool(g, reid_graph_add(g, y, x));
    t.labels = reid_graph_labels(g, 4);
    t.logits = reid_graph_linear(g, f, "heads", 5, true, 4.0);
    reid_graph_loss(g, reid_graph_cross_entropy(g, t.logits, t.labels, 0.2), "loss_cls", 2.0);
    reid_graph_loss(g, reid_graph_triplet(g, f, t.labels, (reid_triplet){0.0, true, false}),
                    "loss_triplet", 1.0);
    reid_graph_metric(g, reid_graph_accuracy(g, t.logits, t.labels), "cls_accuracy");
    return t;
}

static void shared_values_sum_their_gradients(void **state)
{
    bench b = bench_on("ref", 1, many_readers(), (reid_plan_options){0});
    bench cpu = bench_on("cpu", 2, many_readers(), (reid_plan_options){0});
    step(&b);
    step(&cpu);
    assert_true(gradient_distance(&b, &cpu) < 1e-3);
    size_t stem = reid_params_find(b.params, "stem.weight");
    const reid_param *p = &b.params->items[stem];
    for (size_t k = 0; k < 40; k += 7) {
        double gradient = b.params->grad[p->offset + k];
        float *value = &b.params->value[p->offset + k], keep = *value;
        *value = keep + 1e-3f;
        double above = total_loss(&b);
        *value = keep - 1e-3f;
        double slope = (above - total_loss(&b)) / 2e-3;
        *value = keep;
        if (!(fabs(slope - gradient) < 2e-3 + 0.02 * fabs(gradient)))
            fail_msg("stem.weight[%zu]: slope %g, gradient %g", k, slope, gradient);
    }
    bench_fini(&b);
    bench_fini(&cpu);
}

static bool live_together(const reid_plan *plan, const reid_arena_buffer *a,
                          const reid_arena_buffer *b)
{
    int end = (int)(plan->nodes.count + plan->steps.count);
    for (int time = -1; time <= end; time++)
        if (reid_arena_alive(a, time) && reid_arena_alive(b, time))
            return true;
    return false;
}

static void live_buffers_never_overlap(void **state)
{
    for (int fused = 0; fused < 2; fused++) {
        bench b = bench_on("cpu", 1, net_new(4, 32, 16, 4, true),
                           (reid_plan_options){.no_fusion = !fused});
        const reid_arena_buffer *buffers = b.plan->buffers.items;
        for (size_t i = 0; i < b.plan->buffers.count; i++)
            for (size_t k = 0; k < i; k++) {
                const reid_arena_buffer *x = &buffers[i], *y = &buffers[k];
                if (x->root >= 0 || y->root >= 0 || !live_together(b.plan, x, y))
                    continue;
                assert_true(x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset);
            }
        /* A guest begins when its host is read for the last time, and shares its place from then
         * on. */
        for (size_t i = 0; i < b.plan->buffers.count; i++)
            if (buffers[i].root >= 0)
                assert_true(buffers[i].bytes <= buffers[buffers[i].root].bytes &&
                            buffers[i].last <= buffers[buffers[i].root].last);
        bench_fini(&b);
    }
}

typedef struct ready_log {
    size_t next, calls;
    bool in_order;
} ready_log;

static void on_ready(void *user, size_t offset, size_t size)
{
    ready_log *log = user;
    log->in_order = log->in_order && offset == log->next && size > 0;
    log->next = offset + size;
    log->calls++;
}

typedef struct final_check {
    const reid_params *params;
    float *seen; /* copy of each range at the time it was announced */
} final_check;

static void on_final(void *user, size_t offset, size_t size)
{
    final_check *check = user;
    memcpy(check->seen + offset, check->params->grad + offset, size * sizeof(float));
}

static void gradients_are_announced_once_in_order_and_final(void **state)
{
    for (int fused = 0; fused < 2; fused++) {
        bench b = bench_on("cpu", 2, net_new(4, 32, 16, 4, true),
                           (reid_plan_options){.no_fusion = !fused});
        ready_log log = {.in_order = true};
        upload(&b.t, b.plan);
        assert_int_equal(reid_plan_forward(b.plan, NULL), REID_OK);
        assert_int_equal(reid_plan_backward(b.plan, on_ready, &log, NULL), REID_OK);
        assert_true(log.in_order);
        assert_int_equal(log.next, b.params->trainable);
        assert_true(log.calls > 10); /* layer by layer, not at the end */
        assert_int_equal(reid_plan_forward(b.plan, NULL), REID_OK);
        for (size_t i = 0; i < b.params->total; i++)
            b.params->grad[i] = i < b.params->trainable ? NAN : 0.0f; /* stale numbers would show */
        final_check check = {b.params, reid_xcalloc(b.params->total, sizeof(float))};
        assert_int_equal(reid_plan_backward(b.plan, on_final, &check, NULL), REID_OK);
        for (size_t i = 0; i < b.params->count; i++) {
            size_t count = reid_params_plain_count(b.params, i);
            float *a = reid_xcalloc(count, sizeof *a), *c = reid_xcalloc(count, sizeof *c);
            reid_params_to_plain(b.params, i, check.seen, a);
            reid_params_to_plain(b.params, i, b.params->grad, c);
            for (size_t k = 0; k < count; k++)
                assert_true(isfinite(a[k]) && a[k] == c[k]);
            free(a);
            free(c);
        }
        free(check.seen);
        bench_fini(&b);
    }
}

static void the_same_step_gives_the_same_bits(void **state)
{
    bench a = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    bench b = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    size_t bytes = a.params->total * sizeof(float);
    float *first = reid_xmalloc(bytes);
    step(&a);
    memcpy(first, a.params->grad, bytes);
    step(&a);
    assert_memory_equal(first, a.params->grad, bytes);
    step(&b);
    assert_memory_equal(first, b.params->grad, bytes);
    for (size_t i = 0; i < 3; i++)
        assert_true(reid_plan_scalar(a.plan, i) == reid_plan_scalar(b.plan, i));
    free(first);
    bench_fini(&a);
    bench_fini(&b);
}

static void the_hash_tells_plans_apart(void **state)
{
    bench a = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    bench b = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    bench other = bench_on("cpu", 2, net_new(6, 32, 16, 2, true), (reid_plan_options){0});
    bench ref = bench_on("ref", 1, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    assert_true(reid_plan_hash(a.plan) == reid_plan_hash(b.plan));
    assert_true(reid_plan_hash(a.plan) != reid_plan_hash(other.plan));
    assert_true(reid_plan_hash(a.plan) != reid_plan_hash(ref.plan));
    bench_fini(&a);
    bench_fini(&b);
    bench_fini(&other);
    bench_fini(&ref);
}

static void no_activation_is_reordered_and_memory_is_bounded(void **state)
{
    bench b = bench_on("cpu", 2, net_new(8, 64, 32, 4, true), (reid_plan_options){0});
    reid_plan_stats stats = reid_plan_get_stats(b.plan);
    size_t all = 0;
    for (size_t i = 0; i < b.plan->buffers.count; i++)
        all += b.plan->buffers.items[i].bytes;
    assert_int_equal(stats.activation_reorders, 0);
    assert_true(stats.arena_bytes >= stats.live_peak_bytes);
    assert_true((double)stats.arena_bytes <= 1.1 * (double)stats.live_peak_bytes);
    assert_true(stats.arena_bytes < all * 3 / 5);
    char *text = reid_plan_summary(b.plan);
    assert_non_null(strstr(text, "reorders: activations 0"));
    assert_non_null(strstr(text, "backbone.layer1.0.conv1"));
    free(text);
    bench_fini(&b);
}

static void evaluation_uses_running_statistics_and_other_batches(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    float features[2][3 * 32];
    for (int k = 0; k < 2; k++) {
        bench b = bench_on(backends[k], 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
        net eval = net_new(3, 32, 16, 3, false);
        reid_plan *plan = NULL;
        const reid_plan_options options = {.training = false};
        step(&b);
        assert_int_equal(reid_plan_new(eval.g, b.backend, b.params, &options, &plan, NULL),
                         REID_OK);
        assert_int_equal(
            reid_plan_download(plan, eval.features, features[k], sizeof features[k], NULL),
            REID_ERR_PRECONDITION);
        upload(&eval, plan);
        float before[32], after[32];
        size_t mean = reid_params_find_buffer(b.params, "heads.bottleneck.0.running_mean");
        reid_params_buffer_get(b.params, mean, before);
        assert_true(before[0] != 0.0f); /* the training step moved it */
        assert_int_equal(reid_plan_forward(plan, NULL), REID_OK);
        reid_params_buffer_get(b.params, mean, after);
        assert_memory_equal(before, after, sizeof before);
        assert_int_equal(
            reid_plan_download(plan, eval.features, features[k], sizeof features[k], NULL),
            REID_OK);
        assert_int_equal(reid_plan_download(plan, eval.features, features[k], 4, NULL),
                         REID_ERR_INVALID);
        float tracked;
        reid_params_buffer_get(
            b.params, reid_params_find_buffer(b.params, "backbone.bn1.num_batches_tracked"),
            &tracked);
        assert_true(tracked == 1.0f);
        reid_plan_free(plan);
        reid_graph_free(eval.g);
        bench_fini(&b);
    }
    for (size_t i = 0; i < sizeof features[0] / sizeof features[0][0]; i++)
        assert_true(fabs((double)features[0][i] - features[1][i]) < 1e-3);
}

/* One call for a convolution and what follows it, with the bits of all of them. */
static void evaluation_folds_batch_norms_into_convolutions(void **state)
{
    float features[2][3 * 32];
    size_t calls[2];
    bench b = bench_on("ref", 1, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    step(&b);
    for (int k = 0; k < 2; k++) {
        net eval = net_new(3, 32, 16, 3, false);
        reid_plan *plan = NULL;
        const reid_plan_options options = {.no_fusion = k};
        assert_int_equal(reid_plan_new(eval.g, b.backend, b.params, &options, &plan, NULL),
                         REID_OK);
        char *text = reid_plan_summary(plan);
        assert_int_equal(strstr(text, "conv2d+norm+relu") == NULL, k);
        assert_int_equal(strstr(text, "conv2d+norm+add+relu") == NULL, k);
        free(text);
        calls[k] = reid_plan_get_stats(plan).forward_calls;
        upload(&eval, plan);
        assert_int_equal(reid_plan_forward(plan, NULL), REID_OK);
        assert_int_equal(
            reid_plan_download(plan, eval.features, features[k], sizeof features[k], NULL),
            REID_OK);
        reid_plan_free(plan);
        reid_graph_free(eval.g);
    }
    assert_true(calls[0] * 2 < calls[1]);
    assert_memory_equal(features[0], features[1], sizeof features[0]);
    bench_fini(&b);
}

static void bad_inputs_are_refused(void **state)
{
    bench b = bench_on("cpu", 1, net_new(4, 16, 16, 1, true), (reid_plan_options){0});
    int32_t labels[4] = {0, 4, 5, 0};
    reid_error err = {0};
    assert_int_equal(reid_plan_upload(b.plan, b.t.labels, labels, sizeof labels, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "label 5 at position 2"));
    labels[2] = -1;
    assert_int_equal(reid_plan_upload(b.plan, b.t.labels, labels, sizeof labels, NULL),
                     REID_ERR_INVALID);
    assert_int_equal(reid_plan_upload(b.plan, b.t.labels, labels, 8, NULL), REID_ERR_INVALID);
    assert_int_equal(reid_plan_backward(b.plan, NULL, NULL, NULL), REID_ERR_PRECONDITION);
    bench_fini(&b);
}

static void plans_that_cannot_work_are_refused(void **state)
{
    bench b = bench_on("ref", 1, net_new(4, 16, 16, 1, true), (reid_plan_options){0});
    reid_error err = {0};
    reid_plan *plan = NULL;
    net single = net_new(1, 16, 16, 1, true); /* the neck would normalise over one row */
    const reid_plan_options training = {.training = true};
    assert_int_equal(reid_plan_new(single.g, b.backend, b.params, &training, &plan, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "'heads.bottleneck.0' on [1,16]"));
    net deeper = net_new(4, 16, 16, 2, true);
    reid_error_clear(&err);
    assert_int_equal(reid_plan_new(deeper.g, b.backend, b.params, &training, &plan, &err),
                     REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "backbone.layer2.0.conv1.weight"));
    const reid_plan_options bf16 = {.training = true, .compute = REID_BF16};
    assert_int_equal(reid_plan_new(b.t.g, b.backend, b.params, &bf16, &plan, NULL),
                     REID_ERR_UNSUPPORTED);
    assert_null(plan);
    reid_plan_free(NULL);
    reid_graph_free(single.g);
    reid_graph_free(deeper.g);
    bench_fini(&b);
}

/* bf16 keeps 8 bits: losses and gradients agree with f32 to that, the master weights stay f32. */
static void bf16_is_close_where_the_machine_has_it(void **state)
{
    bench b = bench_on("cpu", 2, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
    net same = net_new(6, 32, 16, 3, true);
    reid_plan *plan = NULL;
    if (!reid_backend_supports(b.backend, REID_BF16)) {
        bench_fini(&b);
        reid_graph_free(same.g);
        skip();
    }
    const reid_plan_options options = {.training = true, .compute = REID_BF16};
    assert_int_equal(reid_plan_new(same.g, b.backend, b.params, &options, &plan, NULL), REID_OK);
    step(&b);
    size_t count = b.params->trainable;
    float *want = reid_xmalloc(count * sizeof *want);
    memcpy(want, b.params->grad, count * sizeof *want);
    upload(&same, plan);
    assert_int_equal(reid_plan_forward(plan, NULL), REID_OK);
    assert_int_equal(reid_plan_backward(plan, NULL, NULL, NULL), REID_OK);
    assert_true(fabs(reid_plan_scalar(plan, 0) - reid_plan_scalar(b.plan, 0)) < 0.05);
    double dot = 0.0, a = 0.0, c = 0.0;
    for (size_t i = 0; i < count; i++) {
        dot += (double)want[i] * b.params->grad[i];
        a += (double)want[i] * want[i];
        c += (double)b.params->grad[i] * b.params->grad[i];
    }
    assert_true(dot / sqrt(a * c) > 0.98);
    assert_true(reid_plan_get_stats(plan).arena_bytes < reid_plan_get_stats(b.plan).arena_bytes);
    assert_true(reid_plan_hash(plan) != reid_plan_hash(b.plan));
    free(want);
    reid_plan_free(plan);
    reid_graph_free(same.g);
    bench_fini(&b);
}

static void a_broken_network_shows_in_its_loss(void **state)
{
    bench b = bench_on("cpu", 2, net_new(4, 16, 16, 1, true), (reid_plan_options){0});
    size_t index = reid_params_find(b.params, "backbone.conv1.weight");
    b.params->value[b.params->items[index].offset] = NAN;
    assert_true(isnan(total_loss(&b)));
    bench_fini(&b);
}

/* Gradients are linear in the weights: what one loss gives and what the other gives add up. */
static void weights_and_margin_change_between_steps(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    for (int k = 0; k < 2; k++) {
        bench b = bench_on(backends[k], 1, net_new(6, 32, 16, 3, true), (reid_plan_options){0});
        size_t count = b.params->trainable;
        float *first = reid_xmalloc(count * sizeof *first), *sum = reid_xcalloc(count, sizeof *sum);
        double w0 = reid_plan_loss_weight(b.plan, 0), w1 = reid_plan_loss_weight(b.plan, 1);
        step(&b);
        double loss = reid_plan_scalar(b.plan, 1);
        memcpy(first, b.params->grad, count * sizeof *first);
        for (int alone = 0; alone < 2; alone++) {
            reid_plan_set_loss_weight(b.plan, 0, alone == 0 ? 2 * w0 : 0);
            reid_plan_set_loss_weight(b.plan, 1, alone == 1 ? 2 * w1 : 0);
            step(&b);
            for (size_t i = 0; i < count; i++)
                sum[i] += b.params->grad[i] / 2;
        }
        assert_true(fabs(reid_plan_scalar(b.plan, 1) - 2 * loss) < 1e-5 * fabs(loss) + 1e-6);
        assert_true(reid_plan_scalar(b.plan, 0) == 0);
        double top = 0, worst = 0;
        for (size_t i = 0; i < count; i++) {
            top = fmax(top, fabs((double)first[i]));
            worst = fmax(worst, fabs((double)first[i] - sum[i]));
        }
        assert_true(top > 0 && worst < 1e-3 * top);
        double margin = reid_plan_margin(b.plan);
        assert_true(margin > 0);
        reid_plan_set_margin(b.plan, margin + 10); /* every anchor is within it */
        reid_plan_set_loss_weight(b.plan, 1, 1);
        step(&b);
        double wide = reid_plan_scalar(b.plan, 1);
        reid_plan_set_margin(b.plan, margin + 11);
        step(&b);
        assert_true(fabs(reid_plan_scalar(b.plan, 1) - wide - 1) < 1e-4);
        free(first);
        free(sum);
        bench_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_and_ref_agree),
        cmocka_unit_test(weights_and_margin_change_between_steps),
        cmocka_unit_test(fusion_changes_nothing),
        cmocka_unit_test(gradients_are_the_slopes_of_the_loss),
        cmocka_unit_test(shared_values_sum_their_gradients),
        cmocka_unit_test(live_buffers_never_overlap),
        cmocka_unit_test(gradients_are_announced_once_in_order_and_final),
        cmocka_unit_test(the_same_step_gives_the_same_bits),
        cmocka_unit_test(the_hash_tells_plans_apart),
        cmocka_unit_test(no_activation_is_reordered_and_memory_is_bounded),
        cmocka_unit_test(evaluation_uses_running_statistics_and_other_batches),
        cmocka_unit_test(evaluation_folds_batch_norms_into_convolutions),
        cmocka_unit_test(bad_inputs_are_refused),
        cmocka_unit_test(plans_that_cannot_work_are_refused),
        cmocka_unit_test(bf16_is_close_where_the_machine_has_it),
        cmocka_unit_test(a_broken_network_shows_in_its_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
