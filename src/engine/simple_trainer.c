#include "engine/simple_trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "engine/control.h"
#include "engine/nonfinite.h"

/* Columns of the gathered table. */
enum { DATA_TIME, STOP_WISH, WORD_BYTES, FIRST_LOSS };

static double gathered(const reid_simple_trainer *trainer, int rank, size_t column)
{
    return trainer->gathered[(size_t)rank * trainer->width + column];
}

/* ---- metrics ---- */

/* This rank's row, then everybody's. A skipped step has no losses. */
static reid_status exchange(reid_simple_trainer *trainer, double data_time_s, bool skipped,
                            reid_error *err)
{
    const reid_step *step = trainer->step;
    double *row = trainer->gathered + (size_t)trainer->comm->size * trainer->width;
    row[DATA_TIME] = data_time_s;
    row[STOP_WISH] = reid_trainer_wants_stop(&trainer->base);
    if (trainer->base.control)
        row[WORD_BYTES] =
            (double)reid_control_prepare(trainer->base.control, trainer->base.iter + 1);
    size_t column = FIRST_LOSS;
    for (size_t i = 0; i < step->impl->scalar_count(step); i++) {
        if (step->impl->scalar_is_loss(step, i))
            row[column++] = skipped ? 0 : step->impl->scalar(step, i);
    }
    REID_ASSERT(column == trainer->width);
    double start_s = reid_clock_seconds();
    reid_status status = reid_comm_allgather(trainer->comm, row, trainer->width * sizeof *row,
                                             trainer->gathered, err);
    trainer->lost = status != REID_OK;
    REID_TRY(status);
    trainer->waited_s = reid_clock_seconds() - start_s;
    trainer->stop_agreed = false;
    for (int rank = 0; rank < trainer->comm->size; rank++)
        trainer->stop_agreed |= gathered(trainer, rank, STOP_WISH) != 0;
    return REID_OK;
}

static double mean_over_ranks(const reid_simple_trainer *trainer, size_t column)
{
    double sum = 0;
    for (int rank = 0; rank < trainer->comm->size; rank++)
        sum += gathered(trainer, rank, column);
    return sum / trainer->comm->size;
}

static double total_of_means(const reid_simple_trainer *trainer)
{
    double total = 0;
    for (size_t column = FIRST_LOSS; column < trainer->width; column++)
        total += mean_over_ranks(trainer, column);
    return total;
}

static reid_status put(reid_simple_trainer *trainer, const char *name, double value,
                       reid_error *err)
{
    return reid_event_storage_put_scalar(trainer->base.storage, name, value, true, err);
}

/* Of this rank's own batch, as fast-reid logs cls_accuracy. */
static reid_status put_metrics(reid_simple_trainer *trainer, reid_error *err)
{
    const reid_step *step = trainer->step;
    for (size_t i = 0; i < step->impl->scalar_count(step); i++) {
        if (!step->impl->scalar_is_loss(step, i))
            REID_TRY(
                put(trainer, step->impl->scalar_name(step, i), step->impl->scalar(step, i), err));
    }
    return REID_OK;
}

static reid_status put_data_time(reid_simple_trainer *trainer, reid_error *err)
{
    double slowest_s = gathered(trainer, 0, DATA_TIME);
    for (int rank = 1; rank < trainer->comm->size; rank++)
        slowest_s = fmax(slowest_s, gathered(trainer, rank, DATA_TIME));
    return put(trainer, "data_time", slowest_s, err);
}

static reid_status put_losses(reid_simple_trainer *trainer, double total, reid_error *err)
{
    const reid_step *step = trainer->step;
    REID_TRY(put(trainer, "total_loss", total, err));
    if (trainer->width == FIRST_LOSS + 1)
        return REID_OK;
    size_t column = FIRST_LOSS;
    for (size_t i = 0; i < step->impl->scalar_count(step); i++) {
        if (step->impl->scalar_is_loss(step, i))
            REID_TRY(put(trainer, step->impl->scalar_name(step, i),
                         mean_over_ranks(trainer, column++), err));
    }
    return REID_OK;
}

/* All ranks come to the same verdict: they have the same table. */
static reid_status write_metrics(reid_simple_trainer *trainer, const reid_step_batch *batch,
                                 double data_time_s, reid_error *err)
{
    REID_TRY(exchange(trainer, data_time_s, false, err));
    REID_TRY(put_metrics(trainer, err));
    if (trainer->comm->rank == 0)
        REID_TRY(put_data_time(trainer, err));
    double total = total_of_means(trainer);
    if (!isfinite(total)) {
        reid_nonfinite_report report = {
            .comm = trainer->comm,
            .step = trainer->step,
            .batch = batch,
            .iter = trainer->base.iter,
            .losses = trainer->gathered + FIRST_LOSS,
            .loss_count = trainer->width - FIRST_LOSS,
            .stride = trainer->width,
            .total = total,
        };
        return reid_nonfinite_fail(&report, &trainer->bad_images, err);
    }
    return trainer->comm->rank == 0 ? put_losses(trainer, total, err) : REID_OK;
}

/* Of this rank; what is not data or waiting is computing. */
static reid_status put_times(reid_simple_trainer *trainer, double start_s, double data_time_s,
                             reid_error *err)
{
    const reid_step *step = trainer->step;
    double total_s = reid_clock_seconds() - start_s;
    double backward_s = step->impl->waited_s ? step->impl->waited_s(step) : 0;
    double wait_s = fmin(trainer->waited_s + backward_s, total_s - data_time_s);
    double compute_s = total_s - data_time_s - wait_s;
    trainer->times.steps++;
    trainer->times.data_s += data_time_s;
    trainer->times.wait_s += wait_s;
    trainer->times.compute_s += compute_s;
    if (trainer->comm->rank != 0 || trainer->comm->size == 1)
        return REID_OK;
    REID_TRY(put(trainer, "compute_time", compute_s, err));
    return put(trainer, "wait_time", wait_s, err);
}

/* ---- the step ---- */

static reid_status share_words(reid_simple_trainer *trainer, reid_error *err)
{
    size_t words = (size_t)gathered(trainer, 0, WORD_BYTES);
    return words > 0 ? reid_control_share(trainer->base.control, words, err) : REID_OK;
}

static reid_status run_step(reid_trainer *base, reid_error *err)
{
    reid_simple_trainer *trainer = (reid_simple_trainer *)base;
    reid_step *step = trainer->step;
    reid_step_batch batch = {0};
    double start_s = reid_clock_seconds();
    REID_TRY(step->impl->next(step, &batch, err));
    double data_time_s = reid_clock_seconds() - start_s;
    REID_TRY(step->impl->forward(step, err));
    REID_TRY(step->impl->backward(step, err));
    REID_TRY(write_metrics(trainer, &batch, data_time_s, err));
    REID_TRY(step->impl->update(step, err));
    REID_TRY(share_words(trainer, err));
    return put_times(trainer, start_s, data_time_s, err);
}

/* Stops and words are agreed on all the same. */
static reid_status skip_step(reid_trainer *base, reid_error *err)
{
    reid_simple_trainer *trainer = (reid_simple_trainer *)base;
    reid_step_batch batch = {0};
    double start_s = reid_clock_seconds();
    REID_TRY(trainer->step->impl->next(trainer->step, &batch, err));
    double data_time_s = reid_clock_seconds() - start_s;
    REID_TRY(exchange(trainer, data_time_s, true, err));
    if (trainer->comm->rank == 0)
        REID_TRY(put_data_time(trainer, err));
    return share_words(trainer, err);
}

/* One rank need not wait for the next exchange. */
static bool agree_stop(reid_trainer *base, bool wish)
{
    const reid_simple_trainer *trainer = (const reid_simple_trainer *)base;
    return trainer->comm->size == 1 ? wish : trainer->stop_agreed;
}

static const reid_trainer_impl SIMPLE_TRAINER = {
    .run_step = run_step,
    .skip_step = skip_step,
    .agree_stop = agree_stop,
};

void reid_simple_trainer_init(reid_simple_trainer *trainer, reid_step *own_step, reid_comm *comm,
                              int64_t max_epoch, int64_t iters_per_epoch)
{
    *trainer = (reid_simple_trainer){.step = own_step, .comm = comm, .width = FIRST_LOSS};
    reid_trainer_init(&trainer->base, &SIMPLE_TRAINER, max_epoch, iters_per_epoch);
    for (size_t i = 0; i < own_step->impl->scalar_count(own_step); i++)
        trainer->width += own_step->impl->scalar_is_loss(own_step, i);
    REID_ASSERT(trainer->width > FIRST_LOSS);
    /* one row more: this rank's own, to send */
    trainer->gathered =
        reid_xcalloc(((size_t)comm->size + 1) * trainer->width, sizeof *trainer->gathered);
}

void reid_simple_trainer_fini(reid_simple_trainer *trainer)
{
    reid_trainer_fini(&trainer->base);
    reid_step_free(trainer->step);
    trainer->step = NULL;
    if (!trainer->lost)
        free(trainer->gathered);
    trainer->gathered = NULL;
    reid_str_fini(&trainer->bad_images);
}

const char *reid_simple_trainer_bad_images(const reid_simple_trainer *trainer)
{
    return reid_str_text(&trainer->bad_images);
}
