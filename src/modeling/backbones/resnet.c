/* ResNet (He et al., "Deep residual learning for image recognition", CVPR 2016) in fast-reid's
 * variant (modeling/backbones/resnet.py): the stride of a bottleneck is on its 3×3 convolution, the
 * max-pool rounds up and pads nothing, the last stage's stride is MODEL.BACKBONE.LAST_STRIDE, no
 * convolution has a bias. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "modeling/builder.h"

#define STAGES 4

typedef struct depth_row {
    const char *depth; /* MODEL.BACKBONE.DEPTH */
    bool bottleneck;
    int blocks[STAGES];
} depth_row;

static const depth_row depths[] = {
    {"18x", false, {2, 2, 2, 2}},
    {"34x", false, {3, 4, 6, 3}},
    {"50x", true, {3, 4, 6, 3}},
    {"101x", true, {3, 4, 23, 3}},
};

typedef struct block {
    char name[64]; /* "backbone.layer1.0" */
    int channels;  /* of the inner convolutions */
    int stride;
    bool project; /* the shortcut is a 1×1 convolution: size or channels change */
} block;

static reid_value conv_norm(reid_builder *b, reid_value x, const char *prefix, const char *conv,
                            const char *norm, int channels, int kernel, int stride)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", prefix, conv);
    reid_conv2d attr = {
        .out_channels = channels, .kernel = kernel, .stride = stride, .padding = kernel / 2};
    x = reid_graph_conv2d(b->graph, x, name, attr);
    snprintf(name, sizeof name, "%s.%s", prefix, norm);
    return reid_graph_batch_norm(b->graph, x, name,
                                 (reid_batch_norm){.eps = 1e-5, .momentum = 0.1});
}

static reid_value shortcut(reid_builder *b, reid_value x, const block *k, int channels)
{
    if (!k->project)
        return x;
    return conv_norm(b, x, k->name, "downsample.0", "downsample.1", channels, 1, k->stride);
}

static reid_value basic_block(reid_builder *b, reid_value x, const block *k)
{
    reid_graph *g = b->graph;
    reid_value y =
        reid_graph_relu(g, conv_norm(b, x, k->name, "conv1", "bn1", k->channels, 3, k->stride));
    y = conv_norm(b, y, k->name, "conv2", "bn2", k->channels, 3, 1);
    return reid_graph_relu(g, reid_graph_add(g, y, shortcut(b, x, k, k->channels)));
}

static reid_value bottleneck_block(reid_builder *b, reid_value x, const block *k)
{
    reid_graph *g = b->graph;
    reid_value y = reid_graph_relu(g, conv_norm(b, x, k->name, "conv1", "bn1", k->channels, 1, 1));
    y = reid_graph_relu(g, conv_norm(b, y, k->name, "conv2", "bn2", k->channels, 3, k->stride));
    y = conv_norm(b, y, k->name, "conv3", "bn3", 4 * k->channels, 1, 1);
    return reid_graph_relu(g, reid_graph_add(g, y, shortcut(b, x, k, 4 * k->channels)));
}

static reid_status read_depth(const reid_config *config, const depth_row **ret_row, reid_error *err)
{
    const char *depth = reid_config_string(config, "MODEL.BACKBONE.DEPTH");
    for (size_t i = 0; i < REID_COUNT_OF(depths); i++) {
        if (strcmp(depths[i].depth, depth) == 0) {
            *ret_row = &depths[i];
            return REID_OK;
        }
    }
    return reid_fail(err, REID_ERR_UNSUPPORTED,
                     "MODEL.BACKBONE.DEPTH '%s' is not a ResNet; use 18x, 34x, 50x or 101x", depth);
}

static reid_status check_variant(const reid_config *config, reid_error *err)
{
    static const char *const flags[] = {"MODEL.BACKBONE.WITH_IBN", "MODEL.BACKBONE.WITH_SE",
                                        "MODEL.BACKBONE.WITH_NL"};
    for (size_t i = 0; i < REID_COUNT_OF(flags); i++)
        if (reid_config_bool(config, flags[i]))
            return reid_fail(err, REID_ERR_UNSUPPORTED, "%s is not supported yet; set it to False",
                             flags[i]);
    const char *norm = reid_config_string(config, "MODEL.BACKBONE.NORM");
    if (strcmp(norm, "BN") != 0)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "MODEL.BACKBONE.NORM '%s' is not supported; use BN", norm);
    return REID_OK;
}

static reid_status resnet_build(reid_builder *b, reid_value images, reid_value *ret_features,
                                reid_error *err)
{
    const depth_row *row = NULL;
    REID_TRY(read_depth(b->config, &row, err));
    REID_TRY(check_variant(b->config, err));
    int64_t last_stride = reid_config_int(b->config, "MODEL.BACKBONE.LAST_STRIDE");
    if (last_stride != 1 && last_stride != 2)
        return reid_fail(err, REID_ERR_INVALID, "MODEL.BACKBONE.LAST_STRIDE is %lld; use 1 or 2",
                         (long long)last_stride);
    const int strides[STAGES] = {1, 2, 2, (int)last_stride};
    const int expansion = row->bottleneck ? 4 : 1;
    const int base = (int)reid_config_int(b->config, "MODEL.BACKBONE.WIDTH");

    reid_value x =
        reid_graph_relu(b->graph, conv_norm(b, images, "backbone", "conv1", "bn1", base, 7, 2));
    x = reid_graph_max_pool(b->graph, x,
                            (reid_max_pool){.kernel = 3, .stride = 2, .ceil_mode = true});
    int width = base;
    for (int stage = 0; stage < STAGES; stage++) {
        for (int i = 0; i < row->blocks[stage]; i++) {
            block k = {.channels = base << stage, .stride = i == 0 ? strides[stage] : 1};
            snprintf(k.name, sizeof k.name, "backbone.layer%d.%d", stage + 1, i);
            k.project = k.stride != 1 || width != k.channels * expansion;
            x = row->bottleneck ? bottleneck_block(b, x, &k) : basic_block(b, x, &k);
            width = k.channels * expansion;
        }
    }
    *ret_features = x;
    return REID_OK;
}

const reid_backbone_impl reid_backbone_resnet = {"build_resnet_backbone", resnet_build};
