#include "train/progress_hook.h"

#include "base/alloc.h"
#include "engine/trainer.h"

#define RATE_WINDOW 20  /* steps whose median tells images/s */
#define ETA_WINDOW 1000 /* as the console line's */

typedef struct progress_hook {
    reid_hook hook;
    reid_link *link;
    int64_t images_per_step;
    const reid_step_times *times;
} progress_hook;

static void tell(const progress_hook *self, int64_t done)
{
    const reid_trainer *trainer = self->hook.trainer;
    const reid_history *time = reid_event_storage_history(trainer->storage, "time");
    reid_link_progress progress = {
        .iteration = done,
        .max_iteration = trainer->max_iter,
        .epoch = trainer->epoch,
        .max_epoch = trainer->max_epoch,
        .eta_seconds = -1,
        .steps = self->times->steps,
        .data_s = self->times->data_s,
        .compute_s = self->times->compute_s,
        .wait_s = self->times->wait_s,
    };
    if (time != NULL) {
        double step = reid_history_median(time, RATE_WINDOW);
        if (step > 0)
            progress.images_per_second = (double)self->images_per_step / step;
        progress.eta_seconds =
            reid_history_median(time, ETA_WINDOW) * (double)(trainer->max_iter - done);
    }
    reid_link_progress_set(self->link, &progress);
}

static reid_status before_train(reid_hook *hook, reid_error *err)
{
    (void)err;
    tell((progress_hook *)hook, hook->trainer->iter);
    return REID_OK;
}

static reid_status after_step(reid_hook *hook, reid_error *err)
{
    (void)err;
    tell((progress_hook *)hook,
         hook->trainer->iter + 1); /* the trainer counts the step after its hooks */
    return REID_OK;
}

static const reid_hook_impl progress_impl = {
    .name = "Progress",
    .before_train = before_train,
    .after_step = after_step,
};

reid_hook *reid_progress_hook_new(reid_link *link, int64_t images_per_step,
                                  const reid_step_times *times)
{
    if (link == NULL)
        return NULL;
    progress_hook *self = reid_xcalloc(1, sizeof *self);
    self->hook.impl = &progress_impl;
    self->link = link;
    self->images_per_step = images_per_step;
    self->times = times;
    return &self->hook;
}
