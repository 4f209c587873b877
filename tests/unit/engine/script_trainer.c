#include "script_trainer.h"

static reid_status run_step(reid_trainer *base, reid_error *err)
{
    script_trainer *trainer = (script_trainer *)base;
    return trainer->step ? trainer->step(base, trainer->user, err) : REID_OK;
}

static const reid_trainer_impl SCRIPT = {.run_step = run_step};

void script_trainer_init(script_trainer *trainer, int64_t max_epoch, int64_t iters_per_epoch)
{
    *trainer = (script_trainer){0};
    reid_trainer_init(&trainer->base, &SCRIPT, max_epoch, iters_per_epoch);
}

void test_put(reid_event_storage *storage, const char *name, double value, bool smoothing_hint)
{
    REID_ASSERT(reid_event_storage_put_scalar(storage, name, value, smoothing_hint, NULL) ==
                REID_OK);
}
