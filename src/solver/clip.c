#include "solver/clip.h"

#include <float.h>
#include <string.h>

reid_status reid_clip_read(const reid_config *config, reid_clip *ret_clip, reid_error *err)
{
    reid_clip clip = {.type = REID_CLIP_NONE};
    if (reid_config_bool(config, "SOLVER.CLIP_GRADIENTS.ENABLED")) {
        const char *type = reid_config_string(config, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE");
        clip.limit = reid_config_float(config, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE");
        clip.norm_order = reid_config_float(config, "SOLVER.CLIP_GRADIENTS.NORM_TYPE");
        if (strcmp(type, "norm") == 0)
            clip.type = REID_CLIP_NORM;
        else if (strcmp(type, "value") == 0)
            clip.type = REID_CLIP_VALUE;
        else
            return reid_fail(err, REID_ERR_INVALID,
                             "SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '%s'; use norm or value", type);
        if (!(clip.limit >= 0))
            return reid_fail(err, REID_ERR_INVALID,
                             "SOLVER.CLIP_GRADIENTS.CLIP_VALUE is %g; it must not be negative",
                             clip.limit);
        if (clip.type == REID_CLIP_NORM && !(clip.norm_order > 0))
            return reid_fail(err, REID_ERR_INVALID,
                             "SOLVER.CLIP_GRADIENTS.NORM_TYPE is %g; it must be positive",
                             clip.norm_order);
    }
    *ret_clip = clip;
    return REID_OK;
}

static double norm_factor(const reid_clip *clip, reid_backend *backend,
                          const reid_solver_group *group, const float *grad, double loss_scale)
{
    double norm = reid_backend_norm(backend, group->ranges.items, group->ranges.count, grad,
                                    clip->norm_order);
    double factor = clip->limit / (norm / loss_scale + 1e-6);
    return factor >= 1 ? 1 : factor; /* NaN stays */
}

double reid_clip_group(const reid_clip *clip, reid_backend *backend, const reid_solver_group *group,
                       float *grad, double loss_scale)
{
    double factor = 1;
    switch (clip->type) {
    case REID_CLIP_NONE:
        break;
    case REID_CLIP_VALUE:
        reid_backend_clamp(backend, group->ranges.items, group->ranges.count, grad,
                           clip->limit * loss_scale);
        break;
    case REID_CLIP_NORM:
        factor = norm_factor(clip, backend, group, grad, loss_scale);
        break;
    }
    return factor == 0 ? DBL_MIN : factor / loss_scale; /* to the update rules 0 means 1 */
}
