/* TrainerBase: the loop with hooks (order: hook.h). It knows nothing of data, networks and
 * optimizers; a concrete trainer begins with reid_trainer and gives run_step.
 *
 * Life: reid_trainer_init → add hooks and listeners → [reid_event_storage_load,
 * reid_trainer_load_state] → reid_trainer_train, once → [both states saved] → reid_trainer_fini.
 *
 * Starting anywhere: training starts at the count of iterations done, in the middle of an epoch
 * too. before_epoch runs when the first iteration of an epoch is entered and not at a resume inside
 * it, and after_epoch once per epoch, so that the calls before a stop and after the resume are
 * together those of an uninterrupted run (but for before_train and after_train, which run once per
 * process). A hook that needs something from its before_epoch keeps it in its state.
 *
 * Stopping: a request, from a hook, a signal flag or the caller, ends the training after the
 * current step (with several ranks: after the first step in which all have learned of it), before
 * after_epoch even if the step was the last of its epoch; then after_epoch is what a resume does
 * first. The caller decides about a checkpoint.
 *
 * Control words (control.h) are applied before an iteration, and before before_epoch if it is the
 * first of its epoch; a stop or pause ends the training there. What hooks want of a point that the
 * training waits for is agreed on right after the point.
 *
 * State (reid_trainer_save_state) may be taken after reid_trainer_train, or by a hook in
 * after_epoch: then hooks registered before it have done their after_epoch, and a resume continues
 * with the next epoch.
 *
 * Threads: the stepping thread only; the signal flag may be set by a signal handler.
 */
#ifndef REID_ENGINE_TRAINER_H
#define REID_ENGINE_TRAINER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "base/vec.h"
#include "engine/hook.h"
#include "events/event_storage.h"

typedef struct reid_trainer reid_trainer;
struct reid_control;

typedef struct reid_trainer_impl {
    /* One iteration: trainer->iter is its number. Required. */
    reid_status (*run_step)(reid_trainer *trainer, reid_error *err);
    /* Draws the batch of this iteration and drops it. NULL: steps cannot be skipped. */
    reid_status (*skip_step)(reid_trainer *trainer, reid_error *err);
    /* Whether to stop after this step, the same answer on all ranks: `wish` is this rank's. Called
     * after each step. NULL: the wish is the answer (one rank). */
    bool (*agree_stop)(reid_trainer *trainer, bool wish);
} reid_trainer_impl;

struct reid_trainer {
    const reid_trainer_impl *impl;
    reid_event_storage *storage;  /* owned */
    REID_VEC(reid_hook *) hooks;  /* owned */
    struct reid_control *control; /* one of the hooks; NULL: no control words */

    int64_t iter; /* the current iteration; between steps, the number of iterations done */
    int64_t start_iter;
    int64_t max_iter; /* max_epoch × iters_per_epoch */
    int64_t iters_per_epoch;
    int64_t epoch;       /* the current epoch; after the training, the last one */
    int64_t start_epoch; /* of start_iter */
    int64_t max_epoch;

    /* First cause of the end so far: REID_OK while all is well, REID_ERR_CANCELLED after a stop.
     * Hooks may read it in after_train. */
    reid_status status;
    bool stop_requested;
    char stop_reason[256];
    const volatile sig_atomic_t
        *stop_signal;     /* NULL, or a flag: the number of a signal that asks for a stop */
    bool iteration_begun; /* before_epoch or before_step of `iter` has been called */
    bool epoch_open;      /* the last iteration of `epoch` is done, its after_epoch has not begun */
};

/* max_epoch ≥ 0, iters_per_epoch ≥ 1. */
void reid_trainer_init(reid_trainer *trainer, const reid_trainer_impl *impl, int64_t max_epoch,
                       int64_t iters_per_epoch);
void reid_trainer_fini(
    reid_trainer *trainer); /* frees hooks (last first) and storage; zeroed is fine */

/* At the end of the list. NULL is dropped, so that a hook may be made conditionally. */
void reid_trainer_add_hook(reid_trainer *trainer, reid_hook *own_hook);

/* From a hook, run_step or the caller; the first reason is kept. */
void reid_trainer_request_stop(reid_trainer *trainer, const char *reason);
/* Whether this rank wants to stop: a request was made, or the signal flag is set. */
bool reid_trainer_wants_stop(reid_trainer *trainer);

/* Trains from `start_iter` iterations done (0 … max_iter) to max_iter. REID_ERR_CANCELLED after a
 * stop, with the reason; otherwise the first error. Errors of after_train are returned only when
 * there was no other, else logged. */
reid_status reid_trainer_train(reid_trainer *trainer, int64_t start_iter, reid_error *err);

/* Appends a JSON object: the number of iterations done, whether an after_epoch is due, and the
 * hooks' states. */
void reid_trainer_save_state(const reid_trainer *trainer, reid_str *out);
/* For a trainer with the same hooks, before training; returns the iteration to start from. Hooks
 * without a saved state are left as they are and named in a warning, and so are states without a
 * hook. INVALID or CORRUPT for what cannot be such a state, or does not fit iters_per_epoch. */
reid_status reid_trainer_load_state(reid_trainer *trainer, const char *text, size_t length,
                                    int64_t *ret_start_iter, reid_error *err);

#endif
