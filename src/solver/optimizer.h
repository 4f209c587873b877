/* Optimizers over the flat parameter buffers, with fast-reid's parameter groups and gradient
 * clipping.
 *
 * Groups (fast-reid solver/build.py): each trained parameter gets BASE_LR and WEIGHT_DECAY; a batch
 * norm's parameters get WEIGHT_DECAY_NORM; then every parameter named "bias" (those of batch norms
 * too) gets WEIGHT_DECAY_BIAS and BASE_LR · BIAS_LR_FACTOR; then everything under "heads" is
 * multiplied by HEADS_LR_FACTOR. Parameters of equal rate and decay form one group, in order of
 * first appearance, and a group is a few ranges of the flat buffers.
 *
 * Clipping (SOLVER.CLIP_GRADIENTS) comes before the update. As fast-reid's optimizer sees one flat
 * tensor per group, "norm" takes the norm of the whole group: g *= min(1, CLIP_VALUE / (‖g‖ +
 * 1e-6)); "value" clamps each element.
 *
 * Update rules are torch.optim's with its defaults: Adam and AdamW (β 0.9, 0.999, ε 1e-8), SGD
 * (MOMENTUM, NESTEROV).
 *
 * A group keeps its base rate apart from the rate in force: schedules read the one and set the
 * other. Life: reid_optimizer_new → {gradients are ready → reid_optimizer_step}* →
 * reid_optimizer_free, before params and backend. Threads: the stepping thread only.
 */
#ifndef REID_SOLVER_OPTIMIZER_H
#define REID_SOLVER_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "config/config.h"
#include "nn/params.h"

typedef struct reid_optimizer reid_optimizer;

/* Reads SOLVER.{OPT, BASE_LR, …}. UNSUPPORTED for an unknown OPT, INVALID for values that
 * contradict each other, EXHAUSTED when the states do not fit in memory. */
reid_status reid_optimizer_new(const reid_config *config, reid_params *params,
                               reid_backend *backend, reid_optimizer **ret_optimizer,
                               reid_error *err);
/* How many flat states SOLVER.OPT keeps, without making one. Fails as reid_optimizer_new. */
reid_status reid_optimizer_states_of(const reid_config *config, size_t *ret_count, reid_error *err);
void reid_optimizer_free(reid_optimizer *optimizer);

/* Updates params->value with params->grad, clipped where configured (CLIP_TYPE value clamps
 * params->grad itself, else it stays as it is). */
void reid_optimizer_step(reid_optimizer *optimizer);
/* The same for gradients of a loss that was multiplied by loss_scale. False, and nothing changes,
 * when one of them is not finite. Waits for the device. */
bool reid_optimizer_step_scaled(reid_optimizer *optimizer, double loss_scale);

/* The rate that fast-reid logs: that of the first group whose base rate is the commonest among
 * groups. */
double reid_optimizer_lr(const reid_optimizer *optimizer);

size_t reid_optimizer_group_count(const reid_optimizer *optimizer);
double reid_optimizer_group_base_lr(const reid_optimizer *optimizer, size_t group);
double reid_optimizer_group_lr(const reid_optimizer *optimizer, size_t group);
/* The schedule's; the rate in force is this times the factor below. */
void reid_optimizer_group_set_lr(reid_optimizer *optimizer, size_t group, double lr);
double reid_optimizer_group_weight_decay(const reid_optimizer *optimizer, size_t group);

/* ---- for control words: changes between two steps ---- */

/* Every rate in force is the schedule's times rate/reference (1/1 at first). In two numbers, so
 * that a schedule's rate that equals the reference gives the wanted rate to the last bit. */
typedef struct reid_optimizer_lr_scale {
    double rate, reference; /* above 0 */
} reid_optimizer_lr_scale;
reid_optimizer_lr_scale reid_optimizer_get_lr_scale(const reid_optimizer *optimizer);
void reid_optimizer_set_lr_scale(reid_optimizer *optimizer, reid_optimizer_lr_scale scale);
/* The rate that is logged, as the schedule set it. */
double reid_optimizer_scheduled_lr(const reid_optimizer *optimizer);
/* The decay of all groups that had SOLVER.WEIGHT_DECAY at first. */
double reid_optimizer_weight_decay(const reid_optimizer *optimizer);
void reid_optimizer_set_weight_decay(reid_optimizer *optimizer, double decay);
/* SOLVER.CLIP_GRADIENTS.CLIP_VALUE; of use only where clipping is on. */
bool reid_optimizer_clips(const reid_optimizer *optimizer);
double reid_optimizer_clip_value(const reid_optimizer *optimizer);
void reid_optimizer_set_clip_value(reid_optimizer *optimizer, double value);

/* Ranges of a group in the flat buffers, ascending; neighbours are merged. */
typedef reid_range reid_optimizer_range;
size_t reid_optimizer_group_range_count(const reid_optimizer *optimizer, size_t group);
reid_optimizer_range reid_optimizer_group_range(const reid_optimizer *optimizer, size_t group,
                                                size_t range);

/* For checkpoints: everything a restored optimizer needs but the rates, which the schedule sets.
 * States are flat buffers of params->total floats in the order of params (reid_params_to_plain and
 * _from_plain convert them). */
typedef struct reid_optimizer_state {
    const char *name; /* torch's: "exp_avg", "exp_avg_sq", "momentum_buffer" */
    float *flat;
} reid_optimizer_state;
const char *reid_optimizer_name(const reid_optimizer *optimizer); /* "Adam" */
size_t reid_optimizer_state_count(const reid_optimizer *optimizer);
reid_optimizer_state reid_optimizer_state_at(const reid_optimizer *optimizer, size_t i);
int64_t reid_optimizer_step_count(const reid_optimizer *optimizer); /* steps taken */
void reid_optimizer_set_step_count(reid_optimizer *optimizer, int64_t steps);

#endif
