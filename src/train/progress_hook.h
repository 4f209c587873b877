/* Tells the daemon after each step how far the training is. Registered on every rank: a rank that
 * falls silent shows. */
#ifndef REID_TRAIN_PROGRESS_HOOK_H
#define REID_TRAIN_PROGRESS_HOOK_H

#include "engine/hook.h"
#include "engine/simple_trainer.h"
#include "train/link.h"

/* images_per_step: of all ranks. `link` and `times` are borrowed; `link` may be NULL. */
reid_hook *reid_progress_hook_new(reid_link *link, int64_t images_per_step,
                                  const reid_step_times *times);

#endif
