#include "real_job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "engine/hooks/lr_scheduler.h"
#include "harness/harness.h"
#include "support.h"

enum { HEIGHT = 24, WIDTH = 12 };

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

static void open_job(job *j, const char *folder, int64_t first_batch)
{
    reid_error err = {0};
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
        .backend = j->backend,
        .reducer = j->reducer,
        .optimizer = j->optimizer,
        .loss_scale = j->loss_scale.scale > 0 ? &j->loss_scale : NULL,
    };
    reid_simple_trainer_init(&j->trainer, reid_plan_step_new(&parts), j->comm, EPOCHS, STEPS);
    reid_trainer_add_hook(&j->trainer.base, reid_lr_scheduler_hook_new(j->schedule, j->optimizer));
}

void job_open(job *j, const char *folder, int64_t first_batch)
{
    *j = (job){0};
    open_job(j, folder, first_batch);
}

void job_open_scaled(job *j, const char *folder, int64_t first_batch, double scale,
                     int64_t growth_interval)
{
    *j = (job){.loss_scale = {.scale = scale, .growth_interval = growth_interval}};
    open_job(j, folder, first_batch);
}

void job_close(job *j)
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
