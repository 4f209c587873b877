#include "engine/knobs.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/hooks/eval_hook.h"
#include "engine/hooks/periodic_checkpointer.h"

/* ---- rates ---- */

static const char *no_optimizer(const reid_knob_targets *t)
{
    return t->optimizer ? NULL : "it has no optimizer";
}

static const char *lr_missing(const reid_knob_targets *t)
{
    if (t->optimizer && reid_optimizer_scheduled_lr(t->optimizer) == 0)
        return "its schedule's rate is 0 now, of which everything is a multiple";
    return no_optimizer(t);
}

static double lr_get(const reid_knob_targets *t)
{
    return reid_optimizer_lr(t->optimizer);
}

static void lr_set(const reid_knob_targets *t, double value)
{
    double scheduled = reid_optimizer_scheduled_lr(t->optimizer);
    if (scheduled == 0)
        reid_log_warn("lr stays 0: the schedule's rate has become 0 meanwhile");
    else
        reid_optimizer_set_lr_scale(t->optimizer, (reid_optimizer_lr_scale){value, scheduled});
}

static double lr_factor_get(const reid_knob_targets *t)
{
    reid_optimizer_lr_scale scale = reid_optimizer_get_lr_scale(t->optimizer);
    return scale.rate / scale.reference;
}

static void lr_factor_set(const reid_knob_targets *t, double value)
{
    reid_optimizer_set_lr_scale(t->optimizer, (reid_optimizer_lr_scale){value, 1});
}

static double scale_rate_get(const reid_knob_targets *t)
{
    return reid_optimizer_get_lr_scale(t->optimizer).rate;
}

static void scale_rate_set(const reid_knob_targets *t, double value)
{
    reid_optimizer_lr_scale scale = reid_optimizer_get_lr_scale(t->optimizer);
    scale.rate = value;
    reid_optimizer_set_lr_scale(t->optimizer, scale);
}

static double scale_reference_get(const reid_knob_targets *t)
{
    return reid_optimizer_get_lr_scale(t->optimizer).reference;
}

static void scale_reference_set(const reid_knob_targets *t, double value)
{
    reid_optimizer_lr_scale scale = reid_optimizer_get_lr_scale(t->optimizer);
    scale.reference = value;
    reid_optimizer_set_lr_scale(t->optimizer, scale);
}

static double weight_decay_get(const reid_knob_targets *t)
{
    return reid_optimizer_weight_decay(t->optimizer);
}

static void weight_decay_set(const reid_knob_targets *t, double value)
{
    reid_optimizer_set_weight_decay(t->optimizer, value);
}

static const char *clip_missing(const reid_knob_targets *t)
{
    if (t->optimizer && !reid_optimizer_clips(t->optimizer))
        return "its SOLVER.CLIP_GRADIENTS.ENABLED is False";
    return no_optimizer(t);
}

static double clip_get(const reid_knob_targets *t)
{
    return reid_optimizer_clip_value(t->optimizer);
}

static void clip_set(const reid_knob_targets *t, double value)
{
    reid_optimizer_set_clip_value(t->optimizer, value);
}

/* ---- periods ---- */

static const char *eval_missing(const reid_knob_targets *t)
{
    return t->eval_hook ? NULL : "its DATASETS.TESTS is empty";
}

static double eval_get(const reid_knob_targets *t)
{
    return (double)reid_eval_hook_period(t->eval_hook);
}

static void eval_set(const reid_knob_targets *t, double value)
{
    reid_eval_hook_set_period(t->eval_hook, (int64_t)value);
}

static const char *checkpointer_missing(const reid_knob_targets *t)
{
    return t->checkpointer ? NULL : "it has no PeriodicCheckpointer";
}

static double checkpoint_get(const reid_knob_targets *t)
{
    return (double)reid_periodic_checkpointer_period(t->checkpointer);
}

static void checkpoint_set(const reid_knob_targets *t, double value)
{
    reid_periodic_checkpointer_set_period(t->checkpointer, (int64_t)value);
}

/* ---- losses ---- */

static bool find_loss(const reid_knob_targets *t, const char *name, size_t *ret_index)
{
    for (size_t i = 0; t->plan && i < reid_plan_scalar_count(t->plan); i++) {
        *ret_index = i;
        if (reid_plan_scalar_is_loss(t->plan, i) &&
            strcmp(reid_plan_scalar_name(t->plan, i), name) == 0)
            return true;
    }
    return false;
}

static double loss_get(const reid_knob_targets *t, const char *name)
{
    size_t i = 0;
    return find_loss(t, name, &i) ? reid_plan_loss_weight(t->plan, i) : 0;
}

static void loss_set(const reid_knob_targets *t, const char *name, double value)
{
    size_t i = 0;
    if (find_loss(t, name, &i))
        reid_plan_set_loss_weight(t->plan, i, value);
}

static const char *ce_missing(const reid_knob_targets *t)
{
    size_t i;
    return find_loss(t, "loss_cls", &i) ? NULL : "its MODEL.LOSSES.NAME has no CrossEntropyLoss";
}

static double ce_get(const reid_knob_targets *t)
{
    return loss_get(t, "loss_cls");
}

static void ce_set(const reid_knob_targets *t, double value)
{
    loss_set(t, "loss_cls", value);
}

static const char *tri_missing(const reid_knob_targets *t)
{
    size_t i;
    return find_loss(t, "loss_triplet", &i) ? NULL : "its MODEL.LOSSES.NAME has no TripletLoss";
}

static double tri_get(const reid_knob_targets *t)
{
    return loss_get(t, "loss_triplet");
}

static void tri_set(const reid_knob_targets *t, double value)
{
    loss_set(t, "loss_triplet", value);
}

static const char *margin_missing(const reid_knob_targets *t)
{
    if (t->plan && reid_plan_margin(t->plan) == 0)
        return "its MODEL.LOSSES.TRI.MARGIN is 0, the soft margin";
    return t->plan && reid_plan_margin(t->plan) > 0 ? NULL
                                                    : "its MODEL.LOSSES.NAME has no TripletLoss";
}

static double margin_get(const reid_knob_targets *t)
{
    return reid_plan_margin(t->plan);
}

static void margin_set(const reid_knob_targets *t, double value)
{
    reid_plan_set_margin(t->plan, value);
}

/* ---- augmentation ---- */

static reid_augmentation augmentation(const reid_knob_targets *t)
{
    return t->loader ? reid_loader_augmentation(t->loader) : (reid_augmentation){0};
}

static const char *flip_missing(const reid_knob_targets *t)
{
    return augmentation(t).flips ? NULL : "its INPUT.FLIP.ENABLED is False";
}

static double flip_get(const reid_knob_targets *t)
{
    return augmentation(t).flip_probability;
}

static void flip_set(const reid_knob_targets *t, double value)
{
    reid_augmentation fresh = augmentation(t);
    fresh.flip_probability = value;
    reid_loader_set_augmentation(t->loader, &fresh);
}

static const char *rea_missing(const reid_knob_targets *t)
{
    return augmentation(t).erases ? NULL : "its INPUT.REA.ENABLED is False";
}

static double rea_get(const reid_knob_targets *t)
{
    return augmentation(t).erase_probability;
}

static void rea_set(const reid_knob_targets *t, double value)
{
    reid_augmentation fresh = augmentation(t);
    fresh.erase_probability = value;
    reid_loader_set_augmentation(t->loader, &fresh);
}

/* ---- the table ---- */

#define PERIOD_MOST 1e6

/* clang-format off */
static const reid_knob KNOBS[] = {
    {"lr", "learning rate from then on", .least = 0, .most = 1e3, .above = true, .derived = true,
     .missing = lr_missing, .get = lr_get, .set = lr_set},
    {"lr_factor", "times the schedule's rate", .least = 0, .most = 1e6, .above = true, .derived = true,
     .missing = no_optimizer, .get = lr_factor_get, .set = lr_factor_set},
    {"weight_decay", "SOLVER.WEIGHT_DECAY", .least = 0, .most = 1e3,
     .missing = no_optimizer, .get = weight_decay_get, .set = weight_decay_set},
    {"clip", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", .least = 0, .most = 1e9, .above = true,
     .missing = clip_missing, .get = clip_get, .set = clip_set},
    {"eval_period", "TEST.EVAL_PERIOD", .whole = true, .least = 0, .most = PERIOD_MOST,
     .missing = eval_missing, .get = eval_get, .set = eval_set},
    {"checkpoint_period", "SOLVER.CHECKPOINT_PERIOD", .whole = true, .least = 0, .most = PERIOD_MOST,
     .missing = checkpointer_missing, .get = checkpoint_get, .set = checkpoint_set},
    {"ce_scale", "MODEL.LOSSES.CE.SCALE", .least = 0, .most = 1e6,
     .missing = ce_missing, .get = ce_get, .set = ce_set},
    {"tri_scale", "MODEL.LOSSES.TRI.SCALE", .least = 0, .most = 1e6,
     .missing = tri_missing, .get = tri_get, .set = tri_set},
    {"margin", "MODEL.LOSSES.TRI.MARGIN", .least = 0, .most = 1e6, .above = true,
     .missing = margin_missing, .get = margin_get, .set = margin_set},
    {"flip_prob", "INPUT.FLIP.PROB", .least = 0, .most = 1,
     .missing = flip_missing, .get = flip_get, .set = flip_set},
    {"rea_prob", "INPUT.REA.PROB", .least = 0, .most = 1,
     .missing = rea_missing, .get = rea_get, .set = rea_set},
    {"lr_scale_rate", "state of lr and lr_factor", .hidden = true, .least = 0, .most = 1e300, .above = true,
     .missing = no_optimizer, .get = scale_rate_get, .set = scale_rate_set},
    {"lr_scale_reference", "state of lr and lr_factor", .hidden = true, .least = 0, .most = 1e300, .above = true,
     .missing = no_optimizer, .get = scale_reference_get, .set = scale_reference_set},
};
/* clang-format on */

const reid_knob *reid_knob_at(size_t index)
{
    return index < REID_COUNT_OF(KNOBS) ? &KNOBS[index] : NULL;
}

const reid_knob *reid_knob_find(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(KNOBS); i++)
        if (strcmp(KNOBS[i].name, name) == 0)
            return &KNOBS[i];
    return NULL;
}

bool reid_knob_allows(const reid_knob *knob, double value)
{
    return isfinite(value) && value <= knob->most &&
           (knob->above ? value > knob->least : value >= knob->least) &&
           (!knob->whole || value == floor(value));
}

static reid_status unknown(const char *name, reid_error *err)
{
    reid_str names = REID_STR_INIT;
    for (size_t i = 0; i < REID_COUNT_OF(KNOBS); i++)
        if (!KNOBS[i].hidden)
            reid_str_addf(&names, "%s%s", i ? ", " : "", KNOBS[i].name);
    reid_status status = reid_fail(err, REID_ERR_INVALID, "there is no knob '%.64s'; there are %s",
                                   name, reid_str_text(&names));
    reid_str_fini(&names);
    return status;
}

reid_status reid_knob_check(const reid_knob_targets *targets, const char *name, const char *text,
                            double *ret_value, reid_error *err)
{
    const reid_knob *knob = reid_knob_find(name);
    double value = 0;
    if (!knob || knob->hidden)
        return unknown(name, err);
    const char *why = knob->missing(targets);
    if (why)
        return reid_fail(err, REID_ERR_PRECONDITION, "%s cannot be set in this job: %s", name, why);
    if (reid_parse_double(text, &value) != REID_OK || !isfinite(value) ||
        (knob->whole && value != floor(value)))
        return reid_fail(err, REID_ERR_INVALID, "%s must be a %snumber, not '%.64s'", name,
                         knob->whole ? "whole " : "", text);
    if (!reid_knob_allows(knob, value))
        return reid_fail(err, REID_ERR_INVALID, "%s is %g, but must be %s %g and at most %g", name,
                         value, knob->above ? "above" : "at least", knob->least, knob->most);
    *ret_value = value;
    return REID_OK;
}
