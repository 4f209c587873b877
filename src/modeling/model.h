/* A network built from a configuration: a graph for training, a graph for evaluation, and how its
 * parameters begin.
 *
 *   reid_model_build → reid_params_new(model->train, …) → reid_model_init_params → reid_plan_new
 * for each graph → reid_model_free (any time after the plans exist).
 *
 * MODEL.META_ARCHITECTURE names the whole, MODEL.BACKBONE.NAME, MODEL.HEADS.NAME and
 * MODEL.LOSSES.NAME its parts; each is a row of a table (registry.c). Parameters carry the names of
 * fast-reid's state_dict ("backbone.layer1.0.conv1.weight", "heads.weight"). Both graphs use the
 * same names, so that one reid_params serves both.
 *
 * Scalars of the training graph: the losses ("loss_cls", "loss_triplet", weighted by their SCALE)
 * and the metric "cls_accuracy". The evaluation feature is the head's output behind the neck
 * (BNNeck), [test_batch, feature_dim]. Threads: one at a time.
 */
#ifndef REID_MODELING_MODEL_H
#define REID_MODELING_MODEL_H

#include <stdint.h>

#include "base/status.h"
#include "base/vec.h"
#include "config/config.h"
#include "nn/graph.h"
#include "nn/params.h"

typedef struct reid_model_init_rule {
    char *name; /* of the parameter */
    double deviation;
} reid_model_init_rule;

typedef struct reid_model {
    reid_graph *train;
    reid_value train_images; /* f32 [train_batch, 3, train_height, train_width] */
    reid_value train_labels; /* i32 [train_batch], 0 ≤ label < num_classes */

    reid_graph *eval;
    reid_value eval_images;   /* f32 [test_batch, 3, test_height, test_width] */
    reid_value eval_features; /* output "features": f32 [test_batch, feature_dim] */

    int train_batch, train_height, train_width; /* INPUT.SIZE_TRAIN */
    int test_batch, test_height, test_width;    /* INPUT.SIZE_TEST */
    int num_classes;
    int feature_dim;

    REID_VEC(reid_model_init_rule) init; /* parameters that do not begin as their kind does */
} reid_model;

/* num_classes: MODEL.HEADS.NUM_CLASSES where that is not 0, otherwise the number of training
 * identities (the caller decides). The batches are those of one rank. UNSUPPORTED for a part that
 * is not in the tables, INVALID for values that do not fit together (the sentence names the keys).
 */
reid_status reid_model_build(const reid_config *config, int num_classes, int train_batch,
                             int test_batch, reid_model **ret_model, reid_error *err);
void reid_model_free(reid_model *model);

/* Initial values by fast-reid's distributions: convolutions N(0, 2 / (k² · out_channels)), the
 * classifier N(0, 0.01²), norm weights 1, biases 0, running mean 0, running variance 1. Numbers of
 * parameter i come from the stream (seed, REID_RNG_INIT, i), so they depend neither on ranks nor on
 * threads nor on the instruction set. */
void reid_model_init_params(const reid_model *model, reid_params *params, uint64_t seed);

#endif
