#include "modeling/model.h"

#include <limits.h>
#include <stdlib.h>

#include "modeling/builder.h"

void reid_builder_init_normal(reid_builder *b, const char *parameter, double deviation)
{
    if (!b->training)
        return; /* the training graph holds every parameter */
    reid_model_init_rule rule = {reid_xstrdup(parameter), deviation};
    reid_vec_push(&b->model->init, rule);
}

static reid_status read_size(const reid_config *config, const char *key, int *ret_height,
                             int *ret_width, reid_error *err)
{
    if (reid_config_count(config, key) != 2)
        return reid_fail(err, REID_ERR_INVALID, "%s needs two numbers: height and width", key);
    int64_t height = reid_config_int_at(config, key, 0);
    int64_t width = reid_config_int_at(config, key, 1);
    if (height < 1 || width < 1 || height > 65536 || width > 65536)
        return reid_fail(err, REID_ERR_INVALID,
                         "%s is [%lld, %lld]; both must be between 1 and 65536", key,
                         (long long)height, (long long)width);
    *ret_height = (int)height;
    *ret_width = (int)width;
    return REID_OK;
}

static reid_status build_train(reid_model *model, reid_builder *b, const reid_meta_arch_impl *arch,
                               reid_error *err)
{
    b->graph = model->train = reid_graph_new();
    b->training = true;
    model->train_images =
        reid_graph_images(b->graph, model->train_batch, 3, model->train_height, model->train_width);
    model->train_labels = reid_graph_labels(b->graph, model->train_batch);
    reid_value embedding = REID_VALUE_NONE;
    REID_TRY(arch->build(b, model->train_images, model->train_labels, &embedding, err));
    return reid_graph_check(b->graph, err);
}

static reid_status build_eval(reid_model *model, reid_builder *b, const reid_meta_arch_impl *arch,
                              reid_error *err)
{
    b->graph = model->eval = reid_graph_new();
    b->training = false;
    model->eval_images =
        reid_graph_images(b->graph, model->test_batch, 3, model->test_height, model->test_width);
    REID_TRY(arch->build(b, model->eval_images, REID_VALUE_NONE, &model->eval_features, err));
    reid_graph_output(b->graph, model->eval_features, "features");
    REID_TRY(reid_graph_check(b->graph, err));
    model->feature_dim = (int)reid_graph_shape(b->graph, model->eval_features).dim[1];
    return REID_OK;
}

static reid_status build(reid_model *model, const reid_config *config, reid_error *err)
{
    reid_builder b = {.config = config, .num_classes = model->num_classes, .model = model};
    const reid_meta_arch_impl *arch;
    REID_TRY(reid_meta_arch_find(config, &arch, err));
    REID_TRY(read_size(config, "INPUT.SIZE_TRAIN", &model->train_height, &model->train_width, err));
    REID_TRY(read_size(config, "INPUT.SIZE_TEST", &model->test_height, &model->test_width, err));
    REID_TRY(build_train(model, &b, arch, err));
    return build_eval(model, &b, arch, err);
}

reid_status reid_model_build(const reid_config *config, int num_classes, int train_batch,
                             int test_batch, reid_model **ret_model, reid_error *err)
{
    if (num_classes < 1)
        return reid_fail(err, REID_ERR_INVALID, "a classifier needs at least one identity, not %d",
                         num_classes);
    if (train_batch < 1 || test_batch < 1)
        return reid_fail(
            err, REID_ERR_INVALID,
            "a rank needs at least one image per batch, not %d (training) and %d (test)",
            train_batch, test_batch);
    reid_model *model = reid_xcalloc(1, sizeof *model);
    model->num_classes = num_classes;
    model->train_batch = train_batch;
    model->test_batch = test_batch;
    reid_status status = build(model, config, err);
    if (status != REID_OK) {
        reid_model_free(model);
        return status;
    }
    *ret_model = model;
    return REID_OK;
}

void reid_model_free(reid_model *model)
{
    if (!model)
        return;
    reid_graph_free(model->train);
    reid_graph_free(model->eval);
    for (size_t i = 0; i < model->init.count; i++)
        free(model->init.items[i].name);
    reid_vec_fini(&model->init);
    free(model);
}
