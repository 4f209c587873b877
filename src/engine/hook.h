/* HookBase: what runs around the steps of a training.
 *
 * Six points, called by the trainer for all hooks in order of registration at *every* point (also
 * after_*), as in fast-reid (engine/train_loop.py):
 *
 *     before_train
 *       before_epoch                       storage.epoch = epoch
 *         before_step                      storage.iter = iter
 *         (step)
 *         after_step                       iter counts this step only afterwards
 *       after_epoch                        iter is the number of iterations done
 *     after_train                          always, also after an error; storage.iter = iter
 *
 * A hook is a struct that begins with reid_hook and a const table. before_step should take
 * negligible time.
 *
 * A point returns REID_OK, or a status that ends the training (after_train still
 * runs). A hook that wants something from the trainer asks for it there
 * (reid_trainer_request_stop); the trainer does it at a defined place and on all ranks alike.
 *
 * Life: *_new → reid_trainer_add_hook (the trainer owns it from then on) → points → free with the
 * trainer.
 *
 * State: what a hook must remember for a resume is one JSON value in the trainer's state;
 * hooks without state have NULL there. Hooks are matched by name and, for equal names, by order of
 * registration.
 *
 * Threads: the stepping thread only. Collectives: a hook that calls them must be
 * registered on all ranks, and must not call them in after_train of a training that failed
 * (reid_trainer.status tells).
 */
#ifndef REID_ENGINE_HOOK_H
#define REID_ENGINE_HOOK_H

#include <stdbool.h>

#include "base/json.h"
#include "base/status.h"

struct reid_trainer;
typedef struct reid_hook reid_hook;

typedef enum reid_point {
    REID_BEFORE_TRAIN,
    REID_AFTER_TRAIN,
    REID_BEFORE_EPOCH,
    REID_AFTER_EPOCH,
    REID_BEFORE_STEP,
    REID_AFTER_STEP,
    REID_POINTS /* how many */
} reid_point;

const char *reid_point_name(reid_point point); /* "before_train" */
/* REID_POINTS: no such point. */
reid_point reid_point_find(const char *name);

typedef reid_status reid_hook_point(reid_hook *hook, reid_error *err);

typedef struct reid_hook_impl {
    const char *name; /* "IterationTimer" */
    bool own_errors;  /* its errors say whose they are */
    /* NULL: not interested. */
    reid_hook_point *before_train;
    reid_hook_point *after_train; /* runs even where before_train failed or did not run */
    reid_hook_point *before_epoch;
    reid_hook_point *after_epoch;
    reid_hook_point *before_step;
    reid_hook_point *after_step;
    /* Both or neither. save_state writes exactly one JSON value; numbers in it must be finite.
     * load_state gets it back before the training starts; on error the hook is unchanged. */
    void (*save_state)(const reid_hook *hook, reid_json_writer *json);
    reid_status (*load_state)(reid_hook *hook, const reid_json *state, reid_error *err);
    /* NULL: free(3). Also called for hooks that never ran. */
    void (*free)(reid_hook *hook);
} reid_hook_impl;

/* Told of every point of a hook that it has, with its times (reid_clock_seconds). For profiles. */
typedef struct reid_hook_probe {
    void (*called)(void *user, const reid_hook *hook, reid_point point, double start_s,
                   double end_s);
    void *user;
} reid_hook_probe;

struct reid_hook {
    const reid_hook_impl *impl;
    struct reid_trainer *trainer; /* set at registration, not owned */
    const reid_hook_probe *probe; /* NULL: nobody wants to know; may change between two points */
};

/* Bits 1 << point of those that it has. */
unsigned reid_hook_points(const reid_hook_impl *impl);
/* One point of a hook; an error is given the hook's name and the point's. */
reid_status reid_hook_call(reid_hook *hook, reid_point point, reid_error *err);

/* Any hook, NULL too. For hooks that no trainer owns. */
void reid_hook_free(reid_hook *hook);

#endif
