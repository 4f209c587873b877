/* A trainer for tests of single hooks: each step puts what the test wants. */
#ifndef ENGINE_TEST_SCRIPT_TRAINER_H
#define ENGINE_TEST_SCRIPT_TRAINER_H

#include "engine/trainer.h"

typedef struct script_trainer {
    reid_trainer base;
    /* NULL: nothing. */
    reid_status (*step)(reid_trainer *trainer, void *user, reid_error *err);
    void *user;
} script_trainer;

void script_trainer_init(script_trainer *trainer, int64_t max_epoch, int64_t iters_per_epoch);
void test_put(reid_event_storage *storage, const char *name, double value, bool smoothing_hint);

#endif
