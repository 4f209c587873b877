/* Cross entropy over the identities, with label smoothing (MODEL.LOSSES.CE). A negative EPSILON
 * asks for the adaptive smoothing, ALPHA times the probability of the label. */
#include "modeling/builder.h"

static void cross_entropy_build(reid_builder *b, const reid_head_output *head, reid_value labels,
                                const char *reported)
{
    double epsilon = reid_config_float(b->config, "MODEL.LOSSES.CE.EPSILON");
    double alpha = reid_config_float(b->config, "MODEL.LOSSES.CE.ALPHA");
    reid_value loss = epsilon < 0
                          ? reid_graph_cross_entropy_adaptive(b->graph, head->logits, labels, alpha)
                          : reid_graph_cross_entropy(b->graph, head->logits, labels, epsilon);
    reid_graph_loss(b->graph, loss, reported,
                    reid_config_float(b->config, "MODEL.LOSSES.CE.SCALE"));
}

const reid_loss_impl reid_loss_cross_entropy = {"CrossEntropyLoss", "loss_cls",
                                                cross_entropy_build};
