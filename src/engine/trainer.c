#include "engine/trainer.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "engine/control.h"

static reid_status call_hooks(reid_trainer *trainer, reid_point point, reid_error *err)
{
    for (size_t i = 0; i < trainer->hooks.count; i++)
        REID_TRY(reid_hook_call(trainer->hooks.items[i], point, err));
    return REID_OK;
}

/* ---- life ---- */

void reid_trainer_init(reid_trainer *trainer, const reid_trainer_impl *impl, int64_t max_epoch,
                       int64_t iters_per_epoch)
{
    REID_ASSERT(impl->run_step);
    REID_ASSERT(iters_per_epoch >= 1 && max_epoch >= 0 && max_epoch <= INT64_MAX / iters_per_epoch);
    *trainer = (reid_trainer){
        .impl = impl,
        .storage = reid_event_storage_new(0),
        .max_iter = max_epoch * iters_per_epoch,
        .iters_per_epoch = iters_per_epoch,
        .max_epoch = max_epoch,
    };
}

void reid_trainer_fini(reid_trainer *trainer)
{
    for (size_t i = trainer->hooks.count; i > 0; i--)
        reid_hook_free(trainer->hooks.items[i - 1]);
    reid_vec_fini(&trainer->hooks);
    reid_event_storage_free(trainer->storage);
    trainer->storage = NULL;
}

void reid_trainer_add_hook(reid_trainer *trainer, reid_hook *own_hook)
{
    if (!own_hook)
        return;
    own_hook->trainer = trainer;
    reid_vec_push(&trainer->hooks, own_hook);
}

/* ---- stopping ---- */

void reid_trainer_request_stop(reid_trainer *trainer, const char *reason)
{
    if (trainer->stop_requested)
        return;
    trainer->stop_requested = true;
    snprintf(trainer->stop_reason, sizeof trainer->stop_reason, "%s", reason);
}

bool reid_trainer_wants_stop(reid_trainer *trainer)
{
    int number = trainer->stop_signal ? (int)*trainer->stop_signal : 0;
    if (number != 0 && !trainer->stop_requested) {
        char reason[64];
        snprintf(reason, sizeof reason, "signal %d (%s)", number, strsignal(number));
        reid_trainer_request_stop(trainer, reason);
    }
    return trainer->stop_requested;
}

static reid_status stopped(const reid_trainer *trainer, const char *reason, reid_error *err)
{
    return reid_fail(err, REID_ERR_CANCELLED, "training stopped after iteration %lld of %lld: %s",
                     (long long)trainer->iter, (long long)trainer->max_iter, reason);
}

static reid_status stop_if_agreed(reid_trainer *trainer, reid_error *err)
{
    bool stop = reid_trainer_wants_stop(trainer);
    if (trainer->impl->agree_stop)
        stop = trainer->impl->agree_stop(trainer, stop);
    if (!stop)
        return REID_OK;
    return stopped(
        trainer, trainer->stop_requested ? trainer->stop_reason : "another rank asked for it", err);
}

/* All ranks have the same words, and come to the same verdict. */
static reid_status apply_control(reid_trainer *trainer, reid_error *err)
{
    if (!trainer->control)
        return REID_OK;
    REID_TRY(reid_control_apply(trainer->control, err));
    if (reid_control_outcome_of(trainer->control) == REID_CONTROL_NONE)
        return REID_OK;
    return stopped(trainer, trainer->stop_reason, err);
}

/* A point, and what comes of it at once. */
static reid_status run_point(reid_trainer *trainer, reid_point point, reid_error *err)
{
    REID_TRY(call_hooks(trainer, point, err));
    if (!trainer->control)
        return REID_OK;
    REID_TRY(reid_control_fence(trainer->control, point, err));
    if (reid_control_outcome_of(trainer->control) == REID_CONTROL_NONE)
        return REID_OK;
    return stopped(trainer, trainer->stop_reason, err);
}

static reid_status run_or_skip_step(reid_trainer *trainer, reid_error *err)
{
    bool skip = trainer->control && reid_control_take_skip(trainer->control);
    if (skip && trainer->impl->skip_step)
        return trainer->impl->skip_step(trainer, err);
    return trainer->impl->run_step(trainer, err);
}

/* ---- the loop ---- */

static reid_status run_iteration(reid_trainer *trainer, reid_error *err)
{
    reid_event_storage_set_iter(trainer->storage, trainer->iter);
    trainer->iteration_begun = true;
    REID_TRY(run_point(trainer, REID_BEFORE_STEP, err));
    REID_TRY(run_or_skip_step(trainer, err));
    REID_TRY(run_point(trainer, REID_AFTER_STEP, err));
    reid_event_storage_flush_row(trainer->storage);
    trainer->iter++;
    trainer->iteration_begun = false;
    trainer->epoch_open = trainer->iter % trainer->iters_per_epoch == 0;
    return stop_if_agreed(trainer, err);
}

static reid_status enter_epoch(reid_trainer *trainer, reid_error *err)
{
    trainer->epoch = trainer->iter / trainer->iters_per_epoch;
    reid_event_storage_set_epoch(trainer->storage, trainer->epoch);
    if (trainer->iter % trainer->iters_per_epoch != 0)
        return REID_OK;
    trainer->iteration_begun = true;
    return run_point(trainer, REID_BEFORE_EPOCH, err);
}

/* What hooks put here belongs to the last iteration, as in fast-reid. */
static reid_status leave_epoch(reid_trainer *trainer, reid_error *err)
{
    trainer->epoch_open = false;
    reid_event_storage_set_iter(trainer->storage, trainer->iter - 1);
    REID_TRY(run_point(trainer, REID_AFTER_EPOCH, err));
    reid_event_storage_flush_row(trainer->storage);
    return REID_OK;
}

static reid_status run_all(reid_trainer *trainer, reid_error *err)
{
    REID_TRY(run_point(trainer, REID_BEFORE_TRAIN, err));
    if (trainer->epoch_open)
        REID_TRY(leave_epoch(trainer, err));
    while (trainer->iter < trainer->max_iter) {
        REID_TRY(apply_control(trainer, err));
        REID_TRY(enter_epoch(trainer, err));
        REID_TRY(run_iteration(trainer, err));
        while (!trainer->epoch_open) {
            REID_TRY(apply_control(trainer, err));
            REID_TRY(run_iteration(trainer, err));
        }
        REID_TRY(leave_epoch(trainer, err));
    }
    return REID_OK;
}

/* Every hook gets its after_train, whatever the others did. */
static void finish(reid_trainer *trainer, reid_error *err)
{
    reid_event_storage_set_iter(trainer->storage, trainer->iter);
    for (size_t i = 0; i < trainer->hooks.count; i++) {
        reid_error local = {0};
        reid_status status = reid_hook_call(trainer->hooks.items[i], REID_AFTER_TRAIN, &local);
        if (status == REID_OK)
            continue;
        if (trainer->status == REID_OK)
            trainer->status = reid_fail(err, status, "%s", local.text);
        else
            reid_log_error("at the end of the training: %s", local.text);
    }
    reid_event_storage_flush_row(trainer->storage);
}

/* At the end of an epoch without its after_epoch, and after the last one, the epoch is the one that
 * ended. */
static void set_start(reid_trainer *trainer, int64_t start_iter)
{
    trainer->iter = trainer->start_iter = start_iter;
    trainer->start_epoch = start_iter / trainer->iters_per_epoch;
    bool ended = trainer->epoch_open || start_iter == trainer->max_iter;
    trainer->epoch = trainer->start_epoch - (ended && trainer->start_epoch > 0);
    reid_event_storage_set_iter(trainer->storage, start_iter);
    reid_event_storage_set_epoch(trainer->storage, trainer->epoch);
}

reid_status reid_trainer_train(reid_trainer *trainer, int64_t start_iter, reid_error *err)
{
    REID_ASSERT(start_iter >= 0 && start_iter <= trainer->max_iter);
    REID_ASSERT(!trainer->epoch_open ||
                (start_iter > 0 && start_iter % trainer->iters_per_epoch == 0));
    set_start(trainer, start_iter);
    trainer->status = run_all(trainer, err);
    finish(trainer, err);
    return trainer->status;
}
