#include "solver/loss_scale.h"

reid_loss_scale reid_loss_scale_read(const reid_config *config)
{
    return (reid_loss_scale){
        .scale = reid_config_float(config, "SOLVER.AMP.LOSS_SCALE"),
        .growth_interval = reid_config_int(config, "SOLVER.AMP.GROWTH_INTERVAL"),
    };
}

static reid_status shrink(reid_loss_scale *scale, reid_error *err)
{
    if (scale->scale / 2 < REID_LOSS_SCALE_MIN)
        return reid_fail(err, REID_ERR_NONFINITE,
                         "the gradients are infinite or NaN even with the loss multiplied by %g: "
                         "fp16 is not enough for this training; use SOLVER.AMP.DTYPE bf16",
                         scale->scale);
    scale->scale /= 2;
    scale->good_steps = 0;
    return REID_OK;
}

reid_status reid_loss_scale_update(reid_loss_scale *scale, bool finite, reid_error *err)
{
    if (!finite)
        return shrink(scale, err);
    if (++scale->good_steps < scale->growth_interval)
        return REID_OK;
    if (scale->scale * 2 <= REID_LOSS_SCALE_MAX)
        scale->scale *= 2;
    scale->good_steps = 0;
    return REID_OK;
}
