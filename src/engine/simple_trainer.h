/* SimpleTrainer: data → forward → backward (gradients averaged over ranks) → metrics → optimizer
 * step, in fast-reid's order (engine/train_loop.py): metrics are written before the parameters
 * change.
 *
 * Metrics: every rank's losses, data_time, stop wish and (rank 0) the size of new control words
 * travel in one small allgather per step; the words, if any, follow in a broadcast.
 * Rank 0 puts data_time (maximum over ranks), the other metrics of the network from its own batch
 * (cls_accuracy), total_loss (sum of the mean losses) and, when there are several, each loss (mean
 * over ranks). A mean or sum that is not finite ends the training on all ranks at the same step
 * with REID_ERR_NONFINITE, before the parameters change: "Loss became infinite or NaN at
 * iteration=N …" with the losses and the images of the ranks whose loss it was.
 *
 * Times: each rank keeps sums of what its steps were spent on, which tell the rank that the others
 * wait for. With several ranks, rank 0 puts its own of this step as compute_time and wait_time.
 *
 * Life: as reid_trainer; it frees the step, and the communicator must outlive it.
 *
 * Threads: the stepping thread; collective: all ranks step together.
 */
#ifndef REID_ENGINE_SIMPLE_TRAINER_H
#define REID_ENGINE_SIMPLE_TRAINER_H

#include "comm/comm.h"
#include "engine/step.h"
#include "engine/trainer.h"

/* Sums over the steps of this process. */
typedef struct reid_step_times {
    int64_t steps;
    double data_s;    /* until the batch was there */
    double wait_s;    /* standing still for the communication with other ranks */
    double compute_s; /* the rest */
} reid_step_times;

typedef struct reid_simple_trainer {
    reid_trainer base;
    reid_step *step;  /* owned */
    reid_comm *comm;  /* not owned */
    double *gathered; /* [size, 3 + losses]: data_time, stop wish, bytes of control words, losses */
    size_t width;
    bool stop_agreed;
    bool lost; /* the last exchange failed: a broken communicator may still know the table */
    reid_step_times times;
    double waited_s;     /* in this step so far, but for backward */
    reid_str bad_images; /* after REID_ERR_NONFINITE: see below */
} reid_simple_trainer;

void reid_simple_trainer_init(reid_simple_trainer *trainer, reid_step *own_step, reid_comm *comm,
                              int64_t max_epoch, int64_t iters_per_epoch);
void reid_simple_trainer_fini(reid_simple_trainer *trainer); /* zeroed is fine */

/* After REID_ERR_NONFINITE, for the log: the paths of all images of the offending batch, "rank N:
 * path" a line (on rank 0 of all offending ranks, elsewhere this rank's own). "" otherwise. */
const char *reid_simple_trainer_bad_images(const reid_simple_trainer *trainer);

#endif
