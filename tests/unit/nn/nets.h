/* Small networks for the plan's tests. */
#ifndef REID_TESTS_UNIT_NN_NETS_H
#define REID_TESTS_UNIT_NN_NETS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "nn/plan.h"

typedef struct net {
    reid_graph *g;
    reid_value images, labels, features, logits;
    int64_t n, c, h, w, classes;
} net;

static inline const char *layer(char buffer[96], const char *prefix, const char *name)
{
    snprintf(buffer, 96, "%.60s.%.30s", prefix, name);
    return buffer;
}

/* conv-bn-relu-conv-bn, a shortcut (1×1 where the shape changes), add, relu */
static inline reid_value basic_block(reid_graph *g, reid_value x, const char *name,
                                     int64_t channels, int stride)
{
    char b[96];
    reid_value y = reid_graph_conv2d(g, x, layer(b, name, "conv1"),
                                     (reid_conv2d){channels, 3, stride, 1, false});
    y = reid_graph_relu(g,
                        reid_graph_batch_norm(g, y, layer(b, name, "bn1"), (reid_batch_norm){0}));
    y = reid_graph_conv2d(g, y, layer(b, name, "conv2"), (reid_conv2d){channels, 3, 1, 1, false});
    y = reid_graph_batch_norm(g, y, layer(b, name, "bn2"), (reid_batch_norm){0});
    reid_shape in = reid_graph_shape(g, x);
    if (stride != 1 || in.dim[1] != channels) {
        x = reid_graph_conv2d(g, x, layer(b, name, "downsample.0"),
                              (reid_conv2d){channels, 1, stride, 0, false});
        x = reid_graph_batch_norm(g, x, layer(b, name, "downsample.1"), (reid_batch_norm){0});
    }
    return reid_graph_relu(g, reid_graph_add(g, y, x));
}

/* A residual network with a BNNeck head, both losses and accuracy when training. */
static inline net net_new(int64_t n, int64_t h, int64_t w, int blocks, bool training)
{
    net t = {.g = reid_graph_new(), .n = n, .c = 3, .h = h, .w = w, .classes = 5};
    reid_graph *g = t.g;
    char name[64];
    t.images = reid_graph_images(g, n, 3, h, w);
    reid_value x =
        reid_graph_conv2d(g, t.images, "backbone.conv1", (reid_conv2d){16, 7, 2, 3, false});
    x = reid_graph_relu(g, reid_graph_batch_norm(g, x, "backbone.bn1", (reid_batch_norm){0}));
    x = reid_graph_max_pool(g, x, (reid_max_pool){3, 2, 0, true});
    for (int i = 0; i < blocks; i++) {
        snprintf(name, sizeof name, "backbone.layer%d.0", i + 1);
        x = basic_block(g, x, name, 16 + 16 * (i / 2), i == 2 ? 2 : 1);
    }
    x = reid_graph_global_avg_pool(g, x);
    t.features =
        reid_graph_batch_norm(g, x, "heads.bottleneck.0", (reid_batch_norm){.bias_frozen = true});
    if (!training) {
        reid_graph_output(g, t.features, "features");
        return t;
    }
    t.labels = reid_graph_labels(g, n);
    t.logits = reid_graph_linear(g, t.features, "heads", t.classes, false, 1.0);
    reid_graph_loss(g, reid_graph_cross_entropy(g, t.logits, t.labels, 0.1), "loss_cls", 1.0);
    reid_graph_loss(g, reid_graph_triplet(g, x, t.labels, (reid_triplet){0.3, false, true}),
                    "loss_triplet", 0.5);
    reid_graph_metric(g, reid_graph_accuracy(g, t.logits, t.labels), "cls_accuracy");
    reid_graph_output(g, t.logits, "logits");
    return t;
}

/* Plain values that depend on the parameter's place in the list alone. */
static inline void randomize(reid_params *p)
{
    for (size_t i = 0; i < p->count; i++) {
        size_t count = reid_params_plain_count(p, i);
        float *plain = reid_xcalloc(count, sizeof *plain);
        reid_rng rng = reid_rng_stream(5, REID_RNG_TEST, i, 0);
        bool gamma = p->items[i].kind == REID_PARAM_NORM_WEIGHT;
        for (size_t k = 0; k < count; k++)
            plain[k] = (float)((gamma ? 1.0 : 0.0) + 0.15 * reid_rng_normal(&rng));
        reid_params_from_plain(p, i, plain, p->value);
        free(plain);
    }
}

static inline float *random_images(const net *t)
{
    size_t count = (size_t)(t->n * t->c * t->h * t->w);
    float *images = reid_xcalloc(count, sizeof *images);
    reid_rng rng = reid_rng_stream(6, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < count; i++)
        images[i] = (float)reid_rng_normal(&rng);
    return images;
}

static inline void upload(const net *t, reid_plan *plan)
{
    float *images = random_images(t);
    int32_t *labels = reid_xcalloc((size_t)t->n, sizeof *labels);
    for (int64_t i = 0; i < t->n; i++)
        labels[i] = (int32_t)(i / 2 % t->classes);
    if (reid_plan_upload(plan, t->images, images, (size_t)(t->n * t->c * t->h * t->w) * 4, NULL) !=
        REID_OK)
        abort();
    if (t->g && t->labels > 0 &&
        reid_plan_upload(plan, t->labels, labels, (size_t)t->n * 4, NULL) != REID_OK)
        abort();
    free(images);
    free(labels);
}

#endif
