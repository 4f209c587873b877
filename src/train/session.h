/* One rank's training session: everything that a configuration stands for, put together
 * (fast-reid's DefaultTrainer).
 *
 * Life: reid_session_open (configuration, ranks, data, network, start from scratch, weights or a
 * checkpoint) → reid_session_train or reid_session_evaluate → reid_session_close. All ranks call
 * the same in the same order. The members are read by the files of this folder; nobody else needs
 * them.
 */
#ifndef REID_TRAIN_SESSION_H
#define REID_TRAIN_SESSION_H

#include <signal.h>

#include "backend/backend.h"
#include "base/status.h"
#include "comm/comm.h"
#include "comm/reducer.h"
#include "config/config.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "engine/control.h"
#include "engine/hooks/profiler.h"
#include "engine/guest/host.h"
#include "engine/simple_trainer.h"
#include "modeling/model.h"
#include "nn/params.h"
#include "nn/plan.h"
#include "solver/loss_scale.h"
#include "solver/lr_schedule.h"
#include "solver/optimizer.h"
#include "train/evaluate.h"
#include "train/job.h"
#include "train/link.h"
#include "train/options.h"

typedef struct reid_session {
    const reid_train_options *options;
    /* Of a leg, which follows the run that a fork begins with: whose ranks and daemon it uses; it
     * ends before iteration `until` and saves no checkpoint. NULL elsewhere. */
    const struct reid_session *host;
    int64_t until;
    bool goes_on;     /* from a checkpoint */
    bool forks;       /* it begins a fork */
    char *start_path; /* rank 0: that one; NULL: the last one in output_dir */
    reid_job_env env;
    const volatile sig_atomic_t *stop_signal;
    reid_config *config;
    char *output_dir;
    int lock_fd; /* rank 0's lock on output_dir; -1: none */
    reid_comm *comm;
    reid_comm *device_comm;    /* between the ranks' devices; NULL: comm serves for all */
    char *flight_dir;          /* of the flight recorders; NULL: none are kept */
    reid_control_queue *queue; /* rank 0 with a daemon */
    reid_link *link;           /* NULL without a daemon */
    reid_link_phase phase;
    uint64_t seed;
    int64_t start_iter; /* iterations done by the run that it goes on with */

    reid_dataset *dataset; /* training set */
    reid_backend *backend;
    reid_model *model;
    reid_params *params;
    reid_plan_options plan_options;
    reid_tuning *tuning; /* MODEL.CONVOLUTION auto */
    reid_plan *plan;
    reid_evaluator *evaluator;
    reid_optimizer *optimizer;
    reid_loss_scale loss_scale; /* in fp16 */
    reid_lr_schedule *schedule;
    reid_reducer *reducer;
    reid_loader *loader;
    reid_simple_trainer trainer;
    reid_control *control;   /* one of the trainer's hooks */
    reid_profiler *profiler; /* likewise */
    reid_guest_host *guests; /* another */
    reid_hook_context hook_context;
    bool trainer_made;
} reid_session;

/* On failure the half-open session is closed by reid_session_close all the same. */
reid_status reid_session_open(reid_session *session, const reid_train_options *options,
                              const reid_job_env *env, const volatile sig_atomic_t *stop_signal,
                              reid_error *err);
/* A session beside `host`, which is open as far as its ranks. Its folder is there. */
reid_status reid_session_open_leg(reid_session *leg, const reid_session *host,
                                  reid_config *own_config, const char *output_dir,
                                  const char *start_path, bool goes_on, int64_t until,
                                  reid_error *err);
/* REID_ERR_CANCELLED after a stop signal; the state is saved then. After a control word to stop or
 * pause the state is saved, too, and it is REID_OK. */
reid_status reid_session_train(reid_session *session, reid_error *err);
reid_status reid_session_evaluate(reid_session *session, reid_error *err);
void reid_session_close(reid_session *session);

void reid_session_set_phase(reid_session *session, reid_link_phase phase);

/* Inside: all hooks of the trainer (session_hooks.c), and a checkpoint of where it is. */
reid_status reid_session_add_hooks(reid_session *session, reid_error *err);
reid_status reid_session_save_iteration(reid_session *session, reid_error *err);

/* Loads --config-file and the overrides and checks them for `world` ranks. */
reid_status reid_session_load_config(const reid_train_options *options, int world,
                                     reid_config **ret_config, reid_error *err);

/* MODEL.HEADS.NUM_CLASSES 0 becomes the number of training identities; INVALID when it is less than
 * that. */
reid_status reid_session_set_classes(reid_config *config, const reid_dataset *dataset,
                                     reid_error *err);

/* The reducer of these parameters' gradients, with COMM.*'s buckets. */
reid_status reid_session_new_reducer(const reid_config *config, reid_comm *comm,
                                     reid_params *params, reid_reducer **ret_reducer,
                                     reid_error *err);

/* What activations are computed in: SOLVER.AMP.DTYPE under SOLVER.AMP.ENABLED, else float32.
 * UNSUPPORTED where the backend cannot. */
reid_status reid_session_compute(const reid_config *config, const reid_backend *backend,
                                 reid_dtype *ret_compute, reid_error *err);

/* --check-only: everything that would keep the job from running, found without starting it. */
reid_status reid_session_check(const reid_train_options *options, reid_error *err);

#endif
