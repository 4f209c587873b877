/* Baseline: backbone, head, losses (fast-reid modeling/meta_arch/baseline.py). Images arrive
 * normalised. */
#include "modeling/builder.h"

static reid_status baseline_build(reid_builder *b, reid_value images, reid_value labels,
                                  reid_value *ret_embedding, reid_error *err)
{
    const reid_backbone_impl *backbone;
    const reid_head_impl *head;
    REID_TRY(reid_backbone_find(b->config, &backbone, err));
    REID_TRY(reid_head_find(b->config, &head, err));

    reid_value map;
    reid_head_output output;
    REID_TRY(backbone->build(b, images, &map, err));
    REID_TRY(head->build(b, map, &output, err));
    if (b->training) {
        REID_TRY(reid_losses_build(b, &output, labels, err));
        reid_graph_metric(b->graph, reid_graph_accuracy(b->graph, output.logits, labels),
                          "cls_accuracy");
    }
    *ret_embedding = output.embedding;
    return REID_OK;
}

const reid_meta_arch_impl reid_meta_arch_baseline = {"Baseline", baseline_build};
