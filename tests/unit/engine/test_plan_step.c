/* The trainer on the real parts: images from files, a small network on the reference backend, Adam
 * with a schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "engine/hooks/lr_scheduler.h"
#include "engine/plan_step.h"
#include "engine/simple_trainer.h"
#include "harness/harness.h"
#include "support.h"

enum { PIDS = 6, IMAGES = 6, BATCH = 8, HEIGHT = 24, WIDTH = 12, EPOCHS = 3, STEPS = 4 };
_Static_assert(PIDS *IMAGES / BATCH == STEPS, "iterations per epoch");

typedef struct job {
    reid_config *config;
    reid_dataset *dataset;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
    reid_comm *comm;
    reid_reducer *reducer;
    reid_loader *loader;
    reid_simple_trainer trainer;
} job;

static reid_graph *small_network(reid_value *ret_images, reid_value *ret_labels)
{
    reid_graph *g = reid_graph_new();
    *ret_images = reid_graph_images(g, BATCH, 3, HEIGHT, WIDTH);
    *ret_labels = reid_graph_labels(g, BATCH);
    reid_conv2d conv = {.out_channels = 8, .kernel = 3, .stride = 2, .padding = 1};
    reid_value x = reid_graph_conv2d(g, *ret_images, "conv1", conv);
    x = reid_graph_relu(g, reid_graph_batch_norm(g, x, "bn1", (reid_batch_norm){0}));
    reid_value features = reid_graph_global_avg_pool(g, x);
    reid_value logits = reid_graph_linear(g, features, "classifier", PIDS, false, 1.0);
    reid_graph_loss(g, reid_graph_cross_entropy(g, logits, *ret_labels, 0.1), "loss_cls", 1.0);
    reid_triplet triplet = {.margin = 0.3, .hard_mining = true};
    reid_graph_loss(g, reid_graph_triplet(g, features, *ret_labels, triplet), "loss_triplet", 1.0);
    reid_graph_metric(g, reid_graph_accuracy(g, logits, *ret_labels), "cls_accuracy");
    return g;
}

static void fill_params(reid_params *params)
{
    for (size_t i = 0; i < params->count; i++) {
        if (params->items[i].kind != REID_PARAM_WEIGHT)
            continue;
        size_t count = reid_params_plain_count(params, i);
        float *plain = reid_xcalloc(count, sizeof *plain);
        reid_rng rng = reid_rng_stream(3, REID_RNG_INIT, i, 0);
        for (size_t j = 0; j < count; j++)
            plain[j] = (float)(0.1 * reid_rng_normal(&rng));
        reid_params_from_plain(params, i, plain, params->value);
        free(plain);
    }
}

static void job_open(job *j, const char *folder, int64_t first_batch)
{
    reid_error err = {0};
    *j = (job){0};
    j->config = test_config(folder, "SOLVER.IMS_PER_BATCH", "8", "DATALOADER.NUM_INSTANCE", "2",
                            "DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler",
                            "DATALOADER.NUM_WORKERS", "2", "SOLVER.BASE_LR", "0.01",
                            "SOLVER.WARMUP_ITERS", "5", "SOLVER.MAX_EPOCH", "3", "SOLVER.STEPS",
                            "[1]", "SOLVER.OPT", "Adam", "INPUT.FLIP.ENABLED", "True", NULL);
    reid_assert_ok(reid_dataset_open_train(j->config, &j->dataset, &err), &err);
    reid_assert_ok(reid_backend_open("ref", 1, &j->backend, &err), &err);
    reid_value images, labels;
    reid_graph *graph = small_network(&images, &labels);
    reid_assert_ok(reid_params_new(graph, j->backend, NULL, &j->params, &err), &err);
    fill_params(j->params);
    reid_plan_options options = {.training = true, .compute = REID_F32};
    reid_assert_ok(reid_plan_new(graph, j->backend, j->params, &options, &j->plan, &err), &err);
    reid_graph_free(graph);
    reid_assert_ok(reid_optimizer_new(j->config, j->params, j->backend, &j->optimizer, &err), &err);
    reid_assert_ok(reid_lr_schedule_new(j->config, STEPS, j->optimizer, &j->schedule, &err), &err);
    j->comm = reid_comm_self_new();
    reid_assert_ok(reid_reducer_new(j->comm, j->params->grad, j->params->total, NULL, 0, NULL,
                                    &j->reducer, &err),
                   &err);
    reid_assert_ok(
        reid_train_loader_new(j->config, j->dataset, 0, 1, 5, first_batch, &j->loader, &err), &err);
    reid_plan_step_parts parts = {
        .loader = j->loader,
        .plan = j->plan,
        .images = images,
        .labels = labels,
        .image_bytes = 3 * HEIGHT * WIDTH * sizeof(float),
        .reducer = j->reducer,
        .optimizer = j->optimizer,
    };
    reid_simple_trainer_init(&j->trainer, reid_plan_step_new(&parts), j->comm, EPOCHS, STEPS);
    reid_trainer_add_hook(&j->trainer.base, reid_lr_scheduler_hook_new(j->schedule, j->optimizer));
}

static void job_close(job *j)
{
    reid_simple_trainer_fini(&j->trainer);
    reid_loader_free(j->loader);
    reid_reducer_free(j->reducer);
    reid_comm_free(j->comm);
    reid_lr_schedule_free(j->schedule);
    reid_optimizer_free(j->optimizer);
    reid_plan_free(j->plan);
    reid_params_free(j->params);
    reid_backend_free(j->backend);
    reid_dataset_free(j->dataset);
    reid_config_free(j->config);
}

/* All that a checkpoint holds, from one process to the next. */
static void hand_over(const job *from, job *to)
{
    reid_error err = {0};
    size_t bytes = from->params->total * sizeof(float);
    memcpy(to->params->value, from->params->value, bytes);
    memcpy(to->params->buffer_memory, from->params->buffer_memory, from->params->buffer_bytes);
    for (size_t i = 0; i < reid_optimizer_state_count(from->optimizer); i++)
        memcpy(reid_optimizer_state_at(to->optimizer, i).flat,
               reid_optimizer_state_at(from->optimizer, i).flat, bytes);
    reid_optimizer_set_step_count(to->optimizer, reid_optimizer_step_count(from->optimizer));
    reid_str events = REID_STR_INIT, saved = REID_STR_INIT;
    reid_event_storage_save(from->trainer.base.storage, &events);
    reid_assert_ok(
        reid_event_storage_load(to->trainer.base.storage, events.data, events.length, &err), &err);
    reid_trainer_save_state(&from->trainer.base, &saved);
    int64_t iter;
    reid_assert_ok(
        reid_trainer_load_state(&to->trainer.base, saved.data, saved.length, &iter, &err), &err);
    assert_int_equal(iter, from->trainer.base.iter);
    reid_str_fini(&events);
    reid_str_fini(&saved);
}

typedef struct stop_hook {
    reid_hook base;
    int64_t after;
} stop_hook;

static reid_status stop_after(reid_hook *hook, reid_error *err)
{
    if (hook->trainer->iter == ((stop_hook *)hook)->after)
        reid_trainer_request_stop(hook->trainer, "test");
    return REID_OK;
}

static const reid_hook_impl STOP = {.name = "Stop", .after_step = stop_after};

static void assert_same_history(const job *a, const job *b, const char *name)
{
    const reid_history *x = reid_event_storage_history(a->trainer.base.storage, name);
    const reid_history *y = reid_event_storage_history(b->trainer.base.storage, name);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(x->count, EPOCHS * STEPS);
    assert_int_equal(y->count, EPOCHS * STEPS);
    for (size_t i = 0; i < x->count; i++) {
        reid_history_sample p = reid_history_at(x, i), q = reid_history_at(y, i);
        assert_memory_equal(&p, &q, sizeof p);
    }
}

static void stop_and_resume(const char *folder, const job *whole, int64_t after)
{
    job first, second;
    reid_error err = {0};
    job_open(&first, folder, 0);
    stop_hook *stop = reid_xcalloc(1, sizeof *stop);
    *stop = (stop_hook){.base.impl = &STOP, .after = after};
    reid_trainer_add_hook(&first.trainer.base, &stop->base);
    assert_int_equal(reid_trainer_train(&first.trainer.base, 0, &err), REID_ERR_CANCELLED);
    int64_t done = first.trainer.base.iter;
    assert_int_equal(done, after + 1);
    job_open(&second, folder, done);
    hand_over(&first, &second);
    reid_error_clear(&err);
    reid_assert_ok(reid_trainer_train(&second.trainer.base, done, &err), &err);
    assert_memory_equal(whole->params->value, second.params->value,
                        whole->params->total * sizeof(float));
    assert_memory_equal(whole->params->buffer_memory, second.params->buffer_memory,
                        whole->params->buffer_bytes);
    static const char *const names[] = {"total_loss", "loss_cls", "loss_triplet", "cls_accuracy",
                                        "lr"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_same_history(whole, &second, names[i]);
    job_close(&first);
    job_close(&second);
}

/* Stopped in the middle of an epoch, at its end, in the warm-up and after it. */
static void a_resumed_training_has_the_same_bits(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job whole;
    reid_error err = {0};
    job_open(&whole, folder, 0);
    reid_assert_ok(reid_trainer_train(&whole.trainer.base, 0, &err), &err);
    static const int64_t stops[] = {0, 3, 5, 7, 10};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        stop_and_resume(folder, &whole, stops[i]);
    job_close(&whole);
    reid_test_dir_free(folder);
}

/* Warm-up over 5 iterations from 0.1 of the rate, then steps of 0.1 counted in epochs that end
 * after it: the reference's formulas, worked out by hand. */
static void the_rate_logged_is_the_one_used(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job j;
    reid_error err = {0};
    job_open(&j, folder, 0);
    reid_assert_ok(reid_trainer_train(&j.trainer.base, 0, &err), &err);
    static const double expected[EPOCHS * STEPS] = {0.1, 0.28, 0.46, 0.64, 0.82, 1,
                                                    1,   1,    0.1,  0.1,  0.1,  0.1};
    reid_event_scalar lr;
    assert_true(reid_event_storage_find(j.trainer.base.storage, "lr", &lr));
    assert_false(lr.smoothing_hint);
    for (size_t i = 0; i < EPOCHS * STEPS; i++)
        reid_assert_close(reid_history_at(lr.history, i).value, 0.01 * expected[i], 1e-12, 0);
    const reid_history *loss = reid_event_storage_history(j.trainer.base.storage, "loss_cls");
    assert_true(reid_history_at(loss, 0).value > 1 && reid_history_at(loss, 0).value < 4);
    assert_true(reid_history_median(loss, 4) < reid_history_at(loss, 0).value);
    job_close(&j);
    reid_test_dir_free(folder);
}

/* Through the real parts: the images are those that the loader gave, and nothing was updated. */
static void a_diverged_network_names_its_images(void **state)
{
    char *folder = reid_test_dir_new();
    test_write_market(folder, PIDS, IMAGES);
    job j;
    job_open(&j, folder, 0);
    for (size_t i = 0; i < j.params->total; i++)
        j.params->value[i] = NAN;
    reid_error err = {0};
    assert_int_equal(reid_trainer_train(&j.trainer.base, 0, &err), REID_ERR_NONFINITE);
    const char *images = reid_simple_trainer_bad_images(&j.trainer);
    int lines = 0;
    for (const char *p = images; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, BATCH);
    assert_non_null(strstr(images, "/bounding_box_train/"));
    assert_non_null(strstr(err.text, folder));
    assert_int_equal(reid_optimizer_step_count(j.optimizer), 0);
    job_close(&j);
    reid_test_dir_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_training_has_the_same_bits),
        cmocka_unit_test(the_rate_logged_is_the_one_used),
        cmocka_unit_test(a_diverged_network_names_its_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
