/* Triplet loss over the rank's own batch (Hermans et al., "In defense of the triplet loss for
 * person re-identification", 2017; MODEL.LOSSES.TRI). */
#include "modeling/builder.h"

static void triplet_build(reid_builder *b, const reid_head_output *head, reid_value labels,
                          const char *reported)
{
    reid_triplet attr = {
        .margin = reid_config_float(b->config, "MODEL.LOSSES.TRI.MARGIN"),
        .norm_feat = reid_config_bool(b->config, "MODEL.LOSSES.TRI.NORM_FEAT"),
        .hard_mining = reid_config_bool(b->config, "MODEL.LOSSES.TRI.HARD_MINING"),
    };
    reid_value loss = reid_graph_triplet(b->graph, head->features, labels, attr);
    reid_graph_loss(b->graph, loss, reported,
                    reid_config_float(b->config, "MODEL.LOSSES.TRI.SCALE"));
}

const reid_loss_impl reid_loss_triplet = {"TripletLoss", "loss_triplet", triplet_build};
