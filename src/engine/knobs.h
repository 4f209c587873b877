/* What can be set while a training runs: one row per knob (knobs.c). All values are numbers.
 *
 *   lr                 the rate that the metrics show, from that iteration on. The schedule goes on
 *                      in proportion: a decay by 10 that comes later divides this rate by 10. Same
 *                      as lr_factor = wanted rate / the schedule's rate of that moment; groups keep
 *                      their proportions (BIAS_LR_FACTOR, HEADS_LR_FACTOR).
 *   lr_factor          every rate is the schedule's times this; 1 at first
 *   weight_decay       of all groups that had SOLVER.WEIGHT_DECAY at first
 *   clip               SOLVER.CLIP_GRADIENTS.CLIP_VALUE, where clipping is on
 *   eval_period        TEST.EVAL_PERIOD, epochs; 0: never
 *   checkpoint_period  SOLVER.CHECKPOINT_PERIOD, epochs; 0: only at the end
 *   ce_scale           MODEL.LOSSES.CE.SCALE
 *   tri_scale          MODEL.LOSSES.TRI.SCALE
 *   margin             MODEL.LOSSES.TRI.MARGIN, where it is above 0
 *   flip_prob          INPUT.FLIP.PROB, where INPUT.FLIP.ENABLED; of the batches from that
 * iteration on, whatever the loader has prepared already rea_prob           INPUT.REA.PROB likewise
 *
 * A value is checked before it is agreed on (reid_knob_check), on one rank; setting it then cannot
 * fail. Threads: the stepping thread.
 */
#ifndef REID_ENGINE_KNOBS_H
#define REID_ENGINE_KNOBS_H

#include "data/loader.h"
#include "engine/hook.h"
#include "nn/plan.h"
#include "solver/optimizer.h"

/* Borrowed. NULL: what needs it is not there. */
typedef struct reid_knob_targets {
    reid_optimizer *optimizer;
    reid_plan *plan;
    reid_loader *loader; /* of training */
    reid_hook *eval_hook;
    reid_hook *checkpointer;
} reid_knob_targets;

typedef struct reid_knob {
    const char *name, *help;
    bool whole; /* a whole number */
    double least, most;
    bool above;   /* greater than `least` */
    bool derived; /* its state is that of the hidden knobs */
    bool hidden;  /* for saved states only: cannot be set by a word */
    /* NULL: it can be set; otherwise why not, a part of a sentence. */
    const char *(*missing)(const reid_knob_targets *targets);
    double (*get)(const reid_knob_targets *targets);
    void (*set)(const reid_knob_targets *targets, double value);
} reid_knob;

const reid_knob *reid_knob_at(size_t index);       /* NULL beyond the end */
const reid_knob *reid_knob_find(const char *name); /* hidden ones, too */

bool reid_knob_allows(const reid_knob *knob, double value); /* its range */

/* INVALID: an unknown name (the known ones are told), no number, out of range. PRECONDITION: not in
 * this job. */
reid_status reid_knob_check(const reid_knob_targets *targets, const char *name, const char *text,
                            double *ret_value, reid_error *err);

#endif
