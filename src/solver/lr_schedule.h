/* Learning-rate schedules: warm-up per iteration, then MultiStepLR or CosineAnnealingLR per epoch.
 *
 * Follows fast-reid (solver/build.py, solver/lr_scheduler.py, engine/hooks.py LRScheduler) and
 * torch.optim.lr_scheduler:
 *
 *   warm-up   lr = base · f(a), a = w / WARMUP_ITERS with w the number of warm-up steps taken (0
 * before the first iteration): constant f = WARMUP_FACTOR; linear f = WARMUP_FACTOR (1 − a) + a;
 * exp f = WARMUP_FACTOR^(1 − a); 1 from a = 1. MultiStep lr = base · GAMMA^(number of STEPS ≤ e), e
 * the number of epoch steps taken. Cosine    lr = ETA_MIN_LR + (base − ETA_MIN_LR)(1 + cos(π e /
 * T_max)) / 2, T_max = MAX_EPOCH − max(ceil(WARMUP_ITERS / iterations per epoch), DELAY_EPOCHS).
 *
 *   after iteration i (0-based): w += 1 while i + 1 ≤ WARMUP_ITERS.
 *   after epoch E (0-based):     e += 1 when the iterations done + 1 > WARMUP_ITERS and E + 1 >
 * DELAY_EPOCHS.
 *
 * So e counts epochs that ended after warm-up, not epochs: with WARMUP_ITERS 2000 and 202
 * iterations per epoch the first e is taken after epoch 9, and STEPS [40, 90] take effect at epochs
 * 49 and 99. fast-reid's recipes are tuned with that. Where T_max ≤ 0 no epoch of annealing is left
 * and lr stays at base.
 *
 * The rate is a pure function of (w, e) and the group's base rate: a schedule restored from its
 * state gives the same bits. Life: reid_lr_schedule_new sets the rates for iteration 0 → after_step
 * each iteration, after_epoch each epoch → _free. Threads: the stepping thread only.
 */
#ifndef REID_SOLVER_LR_SCHEDULE_H
#define REID_SOLVER_LR_SCHEDULE_H

#include <stdint.h>

#include "base/status.h"
#include "config/config.h"
#include "solver/optimizer.h"

typedef struct reid_lr_schedule reid_lr_schedule;

/* What a checkpoint keeps: the two counters. */
typedef struct reid_lr_schedule_state {
    int64_t warmup_steps;
    int64_t epoch_steps;
} reid_lr_schedule_state;

/* Reads SOLVER.{SCHED, STEPS, GAMMA, ETA_MIN_LR, MAX_EPOCH, DELAY_EPOCHS, WARMUP_*}. `optimizer`
 * (may be NULL: then only reid_lr_schedule_lr is of use) must outlive the schedule; its groups get
 * their rate for iteration 0. UNSUPPORTED for an unknown SCHED, INVALID for values that give no
 * schedule. */
reid_status reid_lr_schedule_new(const reid_config *config, int64_t iters_per_epoch,
                                 reid_optimizer *optimizer, reid_lr_schedule **ret_schedule,
                                 reid_error *err);
void reid_lr_schedule_free(reid_lr_schedule *schedule);

/* The rate of a group with this base rate, now. */
double reid_lr_schedule_lr(const reid_lr_schedule *schedule, double base_lr);

/* After iteration `iter` (0-based), with the rate of that iteration logged already. */
void reid_lr_schedule_after_step(reid_lr_schedule *schedule, int64_t iter);
/* After the last iteration of epoch `epoch` (0-based). */
void reid_lr_schedule_after_epoch(reid_lr_schedule *schedule, int64_t epoch);

reid_lr_schedule_state reid_lr_schedule_state_get(const reid_lr_schedule *schedule);
/* INVALID for counters that no run of this configuration reaches (negative, or past the warm-up).
 */
reid_status reid_lr_schedule_state_set(reid_lr_schedule *schedule, reid_lr_schedule_state state,
                                       reid_error *err);

#endif
