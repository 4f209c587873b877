#include "solver/clip.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/compiler.h"

reid_status reid_clip_read(const reid_config *config, const reid_backend *backend,
                           reid_clip *ret_clip, reid_error *err)
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
        if ((clip.type == REID_CLIP_VALUE || clip.norm_order != 2) &&
            !reid_backend_is_host(backend))
            return reid_fail(err, REID_ERR_UNSUPPORTED,
                             "backend '%s' clips gradients only by their 2-norm",
                             reid_backend_name(backend));
    }
    *ret_clip = clip;
    return REID_OK;
}

REID_CLONES static void clamp(float *data, float limit, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        /* In this order a NaN stays, as with torch.clamp. */
        float value = data[i] > limit ? limit : data[i];
        data[i] = value < -limit ? -limit : value;
    }
}

static double norm_infinite(const reid_solver_group *group, const float *grad)
{
    double largest = 0;
    for (size_t r = 0; r < group->ranges.count; r++) {
        const float *data = grad + group->ranges.items[r].offset;
        for (size_t i = 0; i < group->ranges.items[r].size; i++) {
            if (isnan(data[i]))
                return NAN;
            largest = fmax(largest, fabs(data[i]));
        }
    }
    return largest;
}

static double norm_of_order(const reid_solver_group *group, const float *grad, double order)
{
    double sum = 0;
    for (size_t r = 0; r < group->ranges.count; r++) {
        const float *data = grad + group->ranges.items[r].offset;
        for (size_t i = 0; i < group->ranges.items[r].size; i++)
            sum += pow(fabs(data[i]), order);
    }
    return pow(sum, 1 / order);
}

static double norm_factor(const reid_clip *clip, reid_backend *backend,
                          const reid_solver_group *group, const float *grad, double loss_scale)
{
    double norm;
    if (clip->norm_order == 2)
        norm =
            sqrt(reid_backend_sum_squares(backend, group->ranges.items, group->ranges.count, grad));
    else if (isinf(clip->norm_order))
        norm = norm_infinite(group, grad);
    else
        norm = norm_of_order(group, grad, clip->norm_order);
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
        for (size_t r = 0; r < group->ranges.count; r++)
            clamp(grad + group->ranges.items[r].offset, (float)(clip->limit * loss_scale),
                  group->ranges.items[r].size);
        break;
    case REID_CLIP_NORM:
        factor = norm_factor(clip, backend, group, grad, loss_scale);
        break;
    }
    return factor == 0 ? DBL_MIN : factor / loss_scale; /* to the update rules 0 means 1 */
}
