/* The hooks of a session, and what they call. */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/hooks/iteration_timer.h"
#include "engine/hooks/lr_scheduler.h"
#include "engine/hooks/periodic_checkpointer.h"
#include "engine/hooks/periodic_writer.h"
#include "events/writer.h"
#include "train/device.h"
#include "train/fork.h"
#include "train/progress_hook.h"
#include "train/session.h"
#include "train/state.h"

static reid_status evaluate(void *user, reid_eval_results *results, reid_error *err)
{
    reid_session *session = user;
    reid_link_phase before = session->phase;
    reid_session_set_phase(session, REID_LINK_EVALUATING);
    reid_comm_set_phase(session->comm, "evaluation", 0);
    double start_s = reid_profiler_clock(session->profiler);
    reid_status status = reid_session_settle(session, err);
    if (status == REID_OK)
        status = reid_evaluator_run(session->evaluator, results, err);
    if (status == REID_OK)
        status = reid_session_settle(session, err);
    reid_profiler_span(session->profiler, "evaluation", start_s);
    reid_comm_set_phase(session->comm, "training", 0);
    reid_session_set_phase(session, before);
    return status;
}

static reid_status save(void *user, const reid_checkpoint_request *request, reid_error *err)
{
    const reid_session *session = user;
    return session->host ? REID_OK : reid_state_save(user, request->name, !request->best, err);
}

/* Writers of rank 0: console, metrics.json, TensorBoard. */
static reid_status make_writers(reid_session *session, reid_event_writer *ret_writers[3],
                                reid_error *err)
{
    const reid_console_options console = {.max_iter = session->trainer.base.max_iter};
    char *json = reid_path_join(session->output_dir, "metrics.json");
    ret_writers[0] = reid_console_writer_new(&console);
    reid_status status = reid_json_writer_open(json, &ret_writers[1], err);
    if (status == REID_OK)
        status = reid_tensorboard_writer_open(session->output_dir, &ret_writers[2], err);
    free(json);
    return status;
}

/* ---- control words ---- */

reid_status reid_session_save_iteration(reid_session *session, reid_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "model_iter_%07lld", (long long)session->trainer.base.iter);
    return reid_state_save(session, name, true, err);
}

static reid_status checkpoint_now(void *user, reid_error *err)
{
    return ((reid_session *)user)->host ? REID_OK : reid_session_save_iteration(user, err);
}

static reid_status profile(void *user, int64_t steps, reid_error *err)
{
    return reid_profiler_start(((reid_session *)user)->profiler, steps, err);
}

static void tell_agreed(void *user, const char *id, const reid_journal_entry *entries, size_t count)
{
    reid_link_agreed(((reid_session *)user)->link, id, entries, count);
}

static void tell_refused(void *user, const char *id, const reid_error *why)
{
    reid_link_refused(((reid_session *)user)->link, id, why);
}

/* Rank 0: what the daemon should know of the hooks. */
static void tell_hooks(void *user, int64_t guest, const char *sentence)
{
    reid_session *session = user;
    if (sentence) {
        reid_link_note(session->link, guest, sentence);
        return;
    }
    const reid_trainer *trainer = &session->trainer.base;
    size_t own = trainer->hooks.count, guests = reid_guest_host_count(session->guests), count = 0;
    reid_guest_info *list = reid_xcalloc(own + guests, sizeof *list);
    reid_guest_spec *specs = reid_xcalloc(own, sizeof *specs);
    for (size_t i = 0; i < own; i++) {
        const reid_hook *hook = trainer->hooks.items[i];
        for (size_t k = 0; k < guests && reid_guest_host_is(session->guests, hook); k++)
            list[count++] = reid_guest_host_at(session->guests, k);
        specs[i] = (reid_guest_spec){.kind = (char *)"builtin",
                                     .name = (char *)hook->impl->name,
                                     .points = reid_hook_points(hook->impl),
                                     .every = 1,
                                     .when = (char *)""};
        if (specs[i].points != 0 && !reid_guest_host_is(session->guests, hook))
            list[count++] =
                (reid_guest_info){.spec = &specs[i], .enabled = true, .who = "", .last_error = ""};
    }
    reid_link_hooks(session->link, list, count, trainer->iter);
    free(specs);
    free(list);
}

static void add_guests(reid_session *session)
{
    session->hook_context = (reid_hook_context){
        .comm = session->comm,
        .optimizer = session->optimizer,
        .schedule = session->schedule,
        .evaluate = reid_config_count(session->config, "DATASETS.TESTS") > 0 ? evaluate : NULL,
        .evaluate_user = session,
        .save = save,
        .save_user = session,
    };
    const reid_guest_host_options options = {
        .rank = session->comm->rank,
        .deadline_s = (double)reid_config_int(session->config, "COMM.TIMEOUT_S") / 2,
        .env = {.native_dir = session->env.hook_dir,
                .port = reid_link_remote_port(session->link),
                .context = &session->hook_context},
        .note = tell_hooks,
        .user = session,
    };
    reid_hook *hook = NULL;
    session->guests = reid_guest_host_new(&options, &hook);
    reid_trainer_add_hook(&session->trainer.base, hook);
}

static void add_control(reid_session *session, reid_hook *eval_hook, reid_hook *checkpointer)
{
    char *path = reid_path_join(session->output_dir, REID_JOURNAL_FILE);
    const reid_control_options options = {
        .comm = session->comm,
        .queue = session->queue,
        .journal_path = path,
        .targets = {.optimizer = session->optimizer,
                    .plan = session->plan,
                    .loader = session->loader,
                    .eval_hook = eval_hook,
                    .checkpointer = checkpointer},
        .guests = session->guests,
        .profile = profile,
        .checkpoint = checkpoint_now,
        .agreed = tell_agreed,
        .refused = tell_refused,
        .user = session,
    };
    reid_hook *hook = NULL;
    session->control = reid_control_new(&options, &hook);
    reid_trainer_add_hook(&session->trainer.base, hook);
    session->trainer.base.control = session->control;
    reid_guest_host_set_control(session->guests, session->control);
    free(path);
}

static void add_profiler(reid_session *session)
{
    const reid_profiler_options options = {
        .rank = session->comm->rank,
        .output_dir = session->output_dir,
        .step = session->trainer.step,
        .plan = session->plan,
        .reducer = session->reducer,
    };
    reid_hook *hook = NULL;
    session->profiler = reid_profiler_new(&options, &hook);
    reid_trainer_add_hook(&session->trainer.base, hook);
}

/* The same hooks on all ranks, so that one rank's saved state is everybody's; what only rank 0 does
 * is decided inside. */
reid_status reid_session_add_hooks(reid_session *session, reid_error *err)
{
    const reid_config *config = session->config;
    reid_trainer *trainer = &session->trainer.base;
    reid_event_writer *writers[3] = {NULL};
    if (session->comm->rank == 0)
        REID_TRY(make_writers(session, writers, err));
    size_t tests = reid_config_count(config, "DATASETS.TESTS");
    char *metric =
        tests > 1 ? reid_xasprintf("%s/metric", reid_config_string_at(config, "DATASETS.TESTS", 0))
                  : NULL;
    reid_link *link = session->host ? session->host->link : session->link;
    const reid_iteration_timer_options timer = {.warmup_iters = 3};
    const reid_eval_hook_options eval = {.period = reid_config_int(config, "TEST.EVAL_PERIOD"),
                                         .evaluate = evaluate,
                                         .user = session,
                                         .comm = session->comm};
    const reid_periodic_checkpointer_options checkpointer = {
        .period = reid_config_int(config, "SOLVER.CHECKPOINT_PERIOD"),
        .metric = metric,
        .save = save,
        .user = session};
    if (session->host)
        reid_trainer_add_hook(trainer, reid_fork_end_hook_new(session->until));
    reid_trainer_add_hook(trainer, reid_iteration_timer_new(&timer));
    reid_trainer_add_hook(trainer,
                          reid_lr_scheduler_hook_new(session->schedule, session->optimizer));
    reid_hook *eval_hook = tests > 0 ? reid_eval_hook_new(&eval) : NULL;
    reid_hook *saver = reid_periodic_checkpointer_new(&checkpointer);
    reid_trainer_add_hook(trainer, eval_hook);
    add_guests(session);
    add_control(session, eval_hook, saver);
    reid_trainer_add_hook(trainer,
                          reid_periodic_writer_new(REID_PERIODIC_WRITER_PERIOD, writers, 3));
    reid_trainer_add_hook(
        trainer, reid_progress_hook_new(link, reid_config_int(config, "SOLVER.IMS_PER_BATCH"),
                                        &session->trainer.times));
    /* Last: what the others did in after_epoch is in the checkpoint. */
    reid_trainer_add_hook(trainer, saver);
    add_profiler(session); /* it only looks */
    free(metric);
    return REID_OK;
}
