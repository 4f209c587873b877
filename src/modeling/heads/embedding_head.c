/* EmbeddingHead (fast-reid modeling/heads/embedding_head.py): global average pooling, then the neck
 * "heads.bottleneck" (a 1×1 convolution to EMBEDDING_DIM where that is set, and the BNNeck of Luo
 * et al., "Bag of tricks and a strong baseline for deep person re-identification", CVPRW 2019,
 * whose bias stays zero), then a linear classifier without bias, "heads.weight". */
#include <string.h>

#include "base/compiler.h"
#include "modeling/builder.h"

static reid_status check_choice(const reid_config *config, const char *key,
                                const char *const *known, size_t count, reid_error *err)
{
    const char *value = reid_config_string(config, key);
    for (size_t i = 0; i < count; i++)
        if (strcmp(known[i], value) == 0)
            return REID_OK;
    return reid_fail(err, REID_ERR_UNSUPPORTED, "%s '%s' is not supported; use %s", key, value,
                     known[0]);
}

static reid_status check(reid_builder *b, reid_value map, reid_error *err)
{
    static const char *const pools[] = {"GlobalAvgPool", "FastGlobalAvgPool"};
    static const char *const classifiers[] = {"Linear"};
    static const char *const norms[] = {"BN"};
    REID_TRY(check_choice(b->config, "MODEL.HEADS.POOL_LAYER", pools, REID_COUNT_OF(pools), err));
    REID_TRY(check_choice(b->config, "MODEL.HEADS.CLS_LAYER", classifiers,
                          REID_COUNT_OF(classifiers), err));
    REID_TRY(check_choice(b->config, "MODEL.HEADS.NORM", norms, REID_COUNT_OF(norms), err));
    REID_TRY(reid_graph_check(b->graph, err)); /* from here on `map` has a shape */
    int64_t channels = reid_graph_shape(b->graph, map).dim[1];
    int64_t feat_dim = reid_config_int(b->config, "MODEL.BACKBONE.FEAT_DIM");
    if (channels != feat_dim)
        return reid_fail(err, REID_ERR_INVALID,
                         "MODEL.BACKBONE.FEAT_DIM is %lld, but this backbone gives %lld channels; "
                         "set FEAT_DIM to %lld",
                         (long long)feat_dim, (long long)channels, (long long)channels);
    return REID_OK;
}

static reid_status pick_features(reid_builder *b, reid_value pooled, reid_value neck,
                                 reid_value *ret_features, reid_error *err)
{
    const char *which = reid_config_string(b->config, "MODEL.HEADS.NECK_FEAT");
    if (strcmp(which, "before") == 0)
        *ret_features = pooled;
    else if (strcmp(which, "after") == 0)
        *ret_features = neck;
    else
        return reid_fail(err, REID_ERR_INVALID,
                         "MODEL.HEADS.NECK_FEAT is '%s'; use before or after", which);
    return REID_OK;
}

static reid_status embedding_head_build(reid_builder *b, reid_value map,
                                        reid_head_output *ret_output, reid_error *err)
{
    REID_TRY(check(b, map, err));
    int64_t embedding_dim = reid_config_int(b->config, "MODEL.HEADS.EMBEDDING_DIM");
    reid_graph *g = b->graph;

    reid_value pooled = reid_graph_global_avg_pool(g, map);
    reid_value neck = pooled;
    if (embedding_dim > 0) {
        /* Behind the pooling in fast-reid; a 1×1 convolution and a mean commute. */
        reid_conv2d attr = {.out_channels = embedding_dim, .kernel = 1, .stride = 1};
        neck = reid_graph_global_avg_pool(g, reid_graph_conv2d(g, map, "heads.bottleneck.0", attr));
    }
    if (reid_config_bool(b->config, "MODEL.HEADS.WITH_BNNECK")) {
        reid_batch_norm attr = {.eps = 1e-5, .momentum = 0.1, .bias_frozen = true};
        neck = reid_graph_batch_norm(
            g, neck, embedding_dim > 0 ? "heads.bottleneck.1" : "heads.bottleneck.0", attr);
    }

    reid_head_output output = {REID_VALUE_NONE, REID_VALUE_NONE, neck};
    if (b->training) {
        double scale = reid_config_float(b->config, "MODEL.HEADS.SCALE");
        output.logits = reid_graph_linear(g, neck, "heads", b->num_classes, false, scale);
        reid_builder_init_normal(b, "heads.weight", 0.01);
        REID_TRY(pick_features(b, pooled, neck, &output.features, err));
    }
    *ret_output = output;
    return REID_OK;
}

const reid_head_impl reid_head_embedding = {"EmbeddingHead", embedding_head_build};
