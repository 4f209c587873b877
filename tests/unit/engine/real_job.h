/* A training of the real parts: images from files, a small network on the reference backend, Adam
 * with a schedule, one rank. */
#ifndef ENGINE_TEST_REAL_JOB_H
#define ENGINE_TEST_REAL_JOB_H

#include "engine/plan_step.h"
#include "engine/simple_trainer.h"
#include "solver/lr_schedule.h"

enum { PIDS = 6, IMAGES = 6, BATCH = 8, EPOCHS = 3, STEPS = 4 };
_Static_assert(PIDS *IMAGES / BATCH == STEPS, "iterations per epoch");

typedef struct job {
    reid_config *config;
    reid_dataset *dataset;
    reid_backend *backend;
    reid_params *params;
    reid_plan *plan;
    reid_optimizer *optimizer;
    reid_lr_schedule *schedule;
    reid_comm *comm;
    reid_reducer *reducer;
    reid_loader *loader;
    reid_loss_scale loss_scale; /* of job_open_scaled */
    reid_simple_trainer trainer;
} job;

/* `folder` holds what test_write_market(folder, PIDS, IMAGES) gave. */
void job_open(job *j, const char *folder, int64_t first_batch);
/* The same with dynamic loss scaling, in float32. */
void job_open_scaled(job *j, const char *folder, int64_t first_batch, double scale,
                     int64_t growth_interval);
void job_close(job *j);

#endif
