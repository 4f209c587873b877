/* What meta-architectures, backbones, heads and losses implement, and what they build with. Private
 * to this folder.
 *
 * A part emits its layers through nn/graph.h. Shape faults are remembered by the graph and asked
 * for once by reid_model_build; a part returns a status only for what the configuration gets wrong.
 * Functions run twice, for the training graph and for the evaluation graph (b->training), and must
 * use the same names in both.
 */
#ifndef REID_MODELING_BUILDER_H
#define REID_MODELING_BUILDER_H

#include "modeling/model.h"

typedef struct reid_builder {
    const reid_config *config;
    reid_graph *graph;
    bool training;
    int num_classes;
    reid_model *model; /* for init rules */
} reid_builder;

typedef struct reid_backbone_impl {
    const char *name; /* MODEL.BACKBONE.NAME */
    /* images [N,3,H,W] → feature map [N,C,h,w]; layers are named "backbone.…" */
    reid_status (*build)(reid_builder *b, reid_value images, reid_value *ret_features,
                         reid_error *err);
} reid_backbone_impl;

typedef struct reid_head_output {
    reid_value features;  /* [N,D] that metric-learning losses see; training only */
    reid_value logits;    /* [N,num_classes]; training only */
    reid_value embedding; /* [N,D] behind the neck: what evaluation compares */
} reid_head_output;

typedef struct reid_head_impl {
    const char *name; /* MODEL.HEADS.NAME */
    /* feature map [N,C,h,w] → outputs; layers are named "heads.…" */
    reid_status (*build)(reid_builder *b, reid_value map, reid_head_output *ret_output,
                         reid_error *err);
} reid_head_impl;

typedef struct reid_loss_impl {
    const char *name;     /* in MODEL.LOSSES.NAME */
    const char *reported; /* "loss_cls" */
    /* Adds its scalar to the graph with reid_graph_loss(…, b's reported name, SCALE). */
    void (*build)(reid_builder *b, const reid_head_output *head, reid_value labels,
                  const char *reported);
} reid_loss_impl;

typedef struct reid_meta_arch_impl {
    const char *name; /* MODEL.META_ARCHITECTURE */
    /* labels is REID_VALUE_NONE for evaluation; then *ret_embedding is the feature. */
    reid_status (*build)(reid_builder *b, reid_value images, reid_value labels,
                         reid_value *ret_embedding, reid_error *err);
} reid_meta_arch_impl;

/* The parts; each lives in a file of its own. */
extern const reid_meta_arch_impl reid_meta_arch_baseline;
extern const reid_backbone_impl reid_backbone_resnet;
extern const reid_head_impl reid_head_embedding;
extern const reid_loss_impl reid_loss_cross_entropy;
extern const reid_loss_impl reid_loss_triplet;

/* Look-up by the configuration's name; UNSUPPORTED names the key, the value and what there is. */
reid_status reid_meta_arch_find(const reid_config *config, const reid_meta_arch_impl **ret_impl,
                                reid_error *err);
reid_status reid_backbone_find(const reid_config *config, const reid_backbone_impl **ret_impl,
                               reid_error *err);
reid_status reid_head_find(const reid_config *config, const reid_head_impl **ret_impl,
                           reid_error *err);
/* Builds every loss that MODEL.LOSSES.NAME lists, in the order of the table (as fast-reid does). */
reid_status reid_losses_build(reid_builder *b, const reid_head_output *head, reid_value labels,
                              reid_error *err);

/* This parameter begins as N(0, deviation²). */
void reid_builder_init_normal(reid_builder *b, const char *parameter, double deviation);

/* `number` normal deviates times `deviation`, from the stream (seed, REID_RNG_INIT, index). */
void reid_init_normal(uint64_t seed, uint64_t index, double deviation, float *ret_values,
                      size_t number);

#endif
