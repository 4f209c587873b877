/* LRScheduler: after each step puts "lr" (unsmoothed: the rate that this step used) and then moves
 * the schedule; after each epoch moves the schedule's epoch part. The schedule's counters are its
 * state.
 */
#ifndef REID_ENGINE_HOOKS_LR_SCHEDULER_H
#define REID_ENGINE_HOOKS_LR_SCHEDULER_H

#include "engine/hook.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"

/* Neither is owned; both must outlive the hook. */
reid_hook *reid_lr_scheduler_hook_new(reid_lr_schedule *schedule, reid_optimizer *optimizer);

#endif
