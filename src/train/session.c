#include "train/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/flight.h"
#include "base/hash.h"
#include "base/log.h"
#include "engine/plan_step.h"
#include "engine/upload.h"
#include "train/convolution.h"
#include "train/device.h"
#include "train/fork.h"
#include "train/state.h"

#define LINK_SECONDS 2.0

/* ---- configuration ---- */

reid_status reid_session_load_config(const reid_train_options *options, int world,
                                     reid_config **ret_config, reid_error *err)
{
    reid_config *config = reid_config_new();
    reid_status status = REID_OK;
    REID_AUTOFREE char *file = options->config_file ? reid_xstrdup(options->config_file)
                               : options->fork_from
                                   ? reid_path_join(options->fork_from, REID_CONFIG_FILE)
                                   : NULL;
    if (file != NULL)
        status = reid_config_load_file(config, file, err);
    if (status == REID_OK)
        status = reid_config_merge_list(config, options->override_count, options->overrides, err);
    if (status == REID_OK)
        status = reid_config_check(config, err);
    if (status == REID_OK && !options->eval_only)
        status = reid_config_check_world(config, world, err);
    if (status == REID_OK && options->fork_from != NULL)
        status = reid_fork_check_folder(options->fork_from, config, err);
    if (status != REID_OK) {
        reid_config_free(config);
        return status;
    }
    *ret_config = config;
    return REID_OK;
}

void reid_session_set_phase(reid_session *session, reid_link_phase phase)
{
    session->phase = phase;
    reid_link_phase_set(session->link, phase);
}

static void log_remarks(const reid_config *config)
{
    char *remarks = reid_config_remarks(config);
    for (char *line = strtok(remarks, "\n"); line != NULL; line = strtok(NULL, "\n"))
        reid_log_warn("%s", line);
    free(remarks);
}

/* ---- ranks ---- */

static reid_status open_comm(reid_session *session, reid_error *err)
{
    const reid_comm_options options = {
        .timeout_s = (double)reid_config_int(session->config, "COMM.TIMEOUT_S"),
        .background = true};
    return reid_comm_open(&options, &session->comm, err);
}

/* Threads to compute with: OMP_NUM_THREADS, else the cores the launcher bound this rank to, else an
 * equal share of the node's. */
static int compute_threads(const reid_comm *comm)
{
    if (getenv("OMP_NUM_THREADS") != NULL)
        return 0;
    cpu_set_t bound;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long share = REID_MAX(1, cores / REID_MAX(1, comm->local_size));
    if (sched_getaffinity(0, sizeof bound, &bound) != 0 || CPU_COUNT(&bound) >= cores)
        return (int)share;
    if (CPU_COUNT(&bound) < share)
        reid_log_warn("this rank is bound to %d of %ld cores; mpirun --bind-to none gives it %ld",
                      CPU_COUNT(&bound), cores, share);
    return (int)REID_MIN(share, CPU_COUNT(&bound));
}

/* One training at a time writes to an OUTPUT_DIR; the lock goes with the process, however it ends.
 */
static reid_status lock_output(reid_session *session, reid_error *err)
{
    if (session->comm->rank != 0 || session->options->eval_only)
        return REID_OK;
    char *path = reid_path_join(session->output_dir, ".lock");
    session->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    reid_status status = REID_OK;
    if (session->lock_fd < 0)
        status = reid_fail_errno(err, errno, "cannot open '%s'", path);
    else if (flock(session->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        status = reid_fail(
            err, REID_ERR_PRECONDITION,
            "another training is writing to OUTPUT_DIR '%s'; choose another folder, or stop "
            "that one first",
            session->output_dir);
    free(path);
    return status;
}

static reid_status prepare_output(reid_session *session, reid_error *err)
{
    session->output_dir = reid_path_absolute(reid_config_string(session->config, "OUTPUT_DIR"));
    REID_TRY(reid_make_dirs(session->output_dir, 0755, err));
    REID_TRY(lock_output(session, err));
    char *name = session->comm->rank == 0 ? reid_xstrdup("log.txt")
                                          : reid_xasprintf("log.txt.rank%d", session->comm->rank);
    char *path = reid_path_join(session->output_dir, name);
    const reid_log_options log = {
        .level = REID_LOG_INFO, .program = "reid-train", .rank = session->comm->rank, .path = path};
    bool opened = reid_log_setup(&log);
    reid_status status = REID_OK;
    if (!opened)
        status =
            reid_fail(err, REID_ERR_IO, "cannot write the log '%s'; is OUTPUT_DIR writable?", path);
    free(path);
    free(name);
    return status;
}

static reid_status write_config(reid_session *session, reid_error *err)
{
    if (session->comm->rank != 0)
        return REID_OK;
    char *path = reid_path_join(session->output_dir, "config.yaml");
    char *yaml = reid_config_dump(session->config);
    reid_status status = reid_file_write_atomic(path, yaml, strlen(yaml), err);
    free(yaml);
    free(path);
    return status;
}

/* ---- data and network ---- */

static reid_status open_data(reid_session *session, reid_error *err)
{
    REID_TRY(reid_dataset_open_train(session->config, &session->dataset, err));
    if (!session->options->eval_only)
        REID_TRY(
            reid_train_loader_check(session->config, session->dataset, session->comm->size, err));
    if (session->comm->rank != 0)
        return REID_OK;
    const char *subset = "train";
    const reid_dataset *dataset = session->dataset;
    char *table = reid_dataset_table(1, &subset, &dataset);
    reid_log_info("training set %s:", dataset->name);
    reid_log_plain(table);
    free(table);
    return REID_OK;
}

reid_status reid_session_set_classes(reid_config *config, const reid_dataset *dataset,
                                     reid_error *err)
{
    int64_t classes = reid_config_int(config, "MODEL.HEADS.NUM_CLASSES");
    if (classes == 0) {
        char text[32];
        snprintf(text, sizeof text, "%d", dataset->num_pids);
        return reid_config_set(config, "MODEL.HEADS.NUM_CLASSES", text, err);
    }
    if (classes < dataset->num_pids)
        return reid_fail(
            err, REID_ERR_INVALID,
            "MODEL.HEADS.NUM_CLASSES is %lld, but %s has %d identities; set it to 0 to let "
            "the data decide",
            (long long)classes, dataset->name, dataset->num_pids);
    return REID_OK;
}

reid_status reid_session_compute(const reid_config *config, const reid_backend *backend,
                                 reid_dtype *ret_compute, reid_error *err)
{
    *ret_compute = REID_F32;
    if (!reid_config_bool(config, "SOLVER.AMP.ENABLED"))
        return REID_OK;
    bool half = strcmp(reid_config_string(config, "SOLVER.AMP.DTYPE"), "fp16") == 0;
    if (half && !reid_backend_supports(backend, REID_F16))
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "SOLVER.AMP.DTYPE fp16: backend %s has no fp16, only cuda has it; set it "
                         "to bf16",
                         reid_backend_name(backend));
    if (!half && !reid_backend_supports(backend, REID_BF16))
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "SOLVER.AMP.ENABLED: backend %s has no bfloat16 on this machine (AVX512_BF16 is "
            "needed); set it to False",
            reid_backend_name(backend));
    *ret_compute = half ? REID_F16 : REID_BF16;
    return REID_OK;
}

static reid_status make_model(reid_session *session, reid_error *err)
{
    const reid_config *config = session->config;
    int world = session->comm->size;
    int train_batch = (int)(reid_config_int(config, "SOLVER.IMS_PER_BATCH") / world);
    REID_TRY(reid_model_build(config, (int)reid_config_int(config, "MODEL.HEADS.NUM_CLASSES"),
                              train_batch > 0 ? train_batch : 1,
                              reid_evaluator_batch(config, world), &session->model, err));
    REID_TRY(reid_session_open_backend(session, compute_threads(session->comm), err));
    bool direct = strcmp(reid_config_string(config, "MODEL.CONVOLUTION"), "direct") == 0;
    session->plan_options = (reid_plan_options){
        .training = true,
        .convolution = direct ? REID_CONVOLUTION_DIRECT : REID_CONVOLUTION_AUTO,
        .recompute = reid_recompute_of_name(reid_config_string(config, "MODEL.RECOMPUTE")),
    };
    REID_TRY(reid_session_compute(config, session->backend, &session->plan_options.compute, err));
    const reid_params_options options = {.compute = session->plan_options.compute,
                                         .convolution = session->plan_options.convolution};
    return reid_params_new(session->model->train, session->backend, &options, &session->params,
                           err);
}

static reid_status make_plan(reid_session *session, reid_state_reader *reader, reid_error *err)
{
    const reid_config *config = session->config;
    if (!session->options->eval_only)
        REID_TRY(reid_session_choose_convolutions(session, reader, err));
    if (!session->options->eval_only)
        REID_TRY(reid_plan_new(session->model->train, session->backend, session->params,
                               &session->plan_options, &session->plan, err));
    return reid_evaluator_new(config, session->comm, session->backend, session->model,
                              session->params, &session->plan_options, &session->evaluator, err);
}

static int compare_offsets(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Starts of the trained parameters in the flat gradients, ascending: where buckets may be cut. */
static size_t gradient_offsets(const reid_params *params, size_t *ret_offsets)
{
    size_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (params->items[i].trainable)
            ret_offsets[count++] = params->items[i].offset;
    qsort(ret_offsets, count, sizeof *ret_offsets, compare_offsets);
    return count;
}

reid_status reid_session_new_reducer(const reid_config *config, reid_comm *comm,
                                     reid_params *params, reid_reducer **ret_reducer,
                                     reid_error *err)
{
    size_t *offsets = reid_xcalloc(params->count + 1, sizeof *offsets);
    size_t count = gradient_offsets(params, offsets);
    const reid_reducer_options options = {
        .first_bucket_bytes = (size_t)reid_config_int(config, "COMM.FIRST_BUCKET_MB") << 20,
        .bucket_bytes = (size_t)reid_config_int(config, "COMM.BUCKET_MB") << 20,
    };
    reid_status status = reid_reducer_new(comm, params->grad, params->trainable, offsets, count,
                                          &options, ret_reducer, err);
    free(offsets);
    return status;
}

static reid_status make_solver(reid_session *session, int64_t iters_per_epoch, reid_error *err)
{
    const reid_config *config = session->config;
    reid_params *params = session->params;
    REID_TRY(reid_optimizer_new(config, params, session->backend, &session->optimizer, err));
    session->loss_scale = reid_loss_scale_read(config);
    REID_TRY(
        reid_lr_schedule_new(config, iters_per_epoch, session->optimizer, &session->schedule, err));
    return reid_session_new_reducer(config, reid_session_gradient_comm(session), params,
                                    &session->reducer, err);
}

/* Told before the first step, not at the first checkpoint. */
static reid_status check_space(const reid_session *session, reid_error *err)
{
    struct statvfs disk;
    if (session->comm->rank != 0 || statvfs(session->output_dir, &disk) != 0)
        return REID_OK;
    const reid_params *params = session->params;
    uint64_t states = 1 + reid_optimizer_state_count(session->optimizer);
    uint64_t need = states * params->total * sizeof(float) + params->buffer_bytes;
    uint64_t have = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (have >= need)
        return REID_OK;
    return reid_fail(
        err, REID_ERR_EXHAUSTED,
        "OUTPUT_DIR '%s' has %llu MB left on its disk, and one checkpoint takes %llu MB",
        session->output_dir, (unsigned long long)(have / 1000000),
        (unsigned long long)(need / 1000000));
}

/* SEED, or a drawn one; that of the run that is resumed goes first. Rank 0's counts. */
static reid_status choose_seed(reid_session *session, const reid_resume_point *point,
                               reid_error *err)
{
    int64_t seed = reid_config_int(session->config, "SEED");
    session->seed = point->found ? point->seed : (uint64_t)seed;
    uint32_t drawn = 0;
    if (!point->found && seed < 0) {
        if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
            return reid_fail(err, REID_ERR_IO, "cannot draw a random SEED; set SEED to a number");
        session->seed = drawn;
    }
    return REID_OK;
}

static reid_status share_seed(reid_session *session, const reid_resume_point *point,
                              reid_error *err)
{
    if (!point->found && reid_config_int(session->config, "SEED") >= 0)
        return REID_OK;
    REID_TRY(reid_comm_broadcast(session->comm, &session->seed, sizeof session->seed, 0, err));
    reid_log_info("seed %llu", (unsigned long long)session->seed);
    return REID_OK;
}

/* Where parameters begin. Rank 0 draws, while MPI may still be starting; all others get everything
 * from it by broadcast, and a run that goes on from its checkpoint. */
static reid_status draw_params(reid_session *session, const reid_resume_point *point,
                               reid_error *err)
{
    REID_TRY(choose_seed(session, point, err));
    if (session->comm->rank == 0 && !point->found)
        reid_model_init_params(session->model, session->params, session->seed);
    return REID_OK;
}

/* ---- trainer ---- */

static void stream_row(void *user, const reid_event_row *row)
{
    reid_link_row(user, row);
}

static reid_status make_trainer(reid_session *session, reid_state_reader *reader,
                                int64_t iters_per_epoch, int64_t first_batch, reid_error *err)
{
    const reid_config *config = session->config;
    REID_TRY(reid_train_loader_new(config, session->dataset, session->comm->rank,
                                   session->comm->size, session->seed, first_batch,
                                   &session->loader, err));
    if (reid_upload_wants_bytes(session->backend))
        REID_TRY(reid_loader_give_bytes(session->loader, err));
    const reid_plan_step_parts parts = {
        .loader = session->loader,
        .plan = session->plan,
        .images = session->model->train_images,
        .labels = session->model->train_labels,
        .backend = session->backend,
        .reducer = session->reducer,
        .optimizer = session->optimizer,
        .loss_scale = session->plan_options.compute == REID_F16 ? &session->loss_scale : NULL,
    };
    reid_step *step = reid_profiled_step_new(reid_plan_step_new(&parts));
    reid_simple_trainer_init(&session->trainer, step, session->comm,
                             reid_config_int(config, "SOLVER.MAX_EPOCH"), iters_per_epoch);
    session->trainer_made = true;
    session->trainer.base.stop_signal = session->stop_signal;
    REID_TRY(reid_session_add_hooks(session, err));
    REID_TRY(reid_state_load_trainer(session, reader, &session->start_iter, err));
    REID_TRY(reid_control_replay(session->control, reader != NULL || session->host != NULL, err));
    if (session->link != NULL && session->comm->rank == 0)
        reid_event_storage_on_row(session->trainer.base.storage, stream_row, session->link);
    return REID_OK;
}

static reid_status make_training(reid_session *session, reid_state_reader *reader,
                                 const reid_resume_point *point, reid_error *err)
{
    int64_t per_epoch = reid_train_loader_batches_per_epoch(session->config, session->dataset);
    REID_TRY(reid_session_open_device_comm(session, err));
    REID_TRY(make_solver(session, per_epoch, err));
    REID_TRY(check_space(session, err));
    uint64_t hash = reid_plan_hash(session->plan);
    uint64_t buckets = reid_reducer_hash(session->reducer);
    REID_TRY(reid_comm_check_same(session->comm, "the execution plan",
                                  reid_hash64(&hash, sizeof hash, buckets), err));
    REID_TRY(reid_state_load_network(session, reader, err));
    return make_trainer(session, reader, per_epoch, point->iteration, err);
}

/* ---- life ---- */

/* Network, state and, where there is something to train, the trainer. */
static reid_status open_training(reid_session *session, reid_error *err)
{
    reid_comm_set_phase(session->comm, "start-up", 0);
    reid_state_reader *reader = NULL;
    reid_resume_point point;
    reid_status status = reid_state_open(session, &reader, &point, err);
    if (status == REID_OK)
        status = make_model(session, err);
    if (status == REID_OK)
        status = draw_params(session, &point, err);
    if (status == REID_OK)
        status = make_plan(session, reader, err);
    if (status == REID_OK)
        status = share_seed(session, &point, err);
    if (status == REID_OK)
        status = session->options->eval_only ? reid_state_load_network(session, reader, err)
                                             : make_training(session, reader, &point, err);
    reid_state_close(reader);
    return status;
}

/* A training does without, where none can be kept. */
static void start_flight_recorder(reid_session *session)
{
    reid_error err = {0};
    if (session->comm->size == 1)
        return;
    session->flight_dir = reid_path_join(
        session->env.managed ? session->env.attempt_dir : session->output_dir, REID_FLIGHT_DIR);
    if (reid_comm_record(session->comm, session->flight_dir, &err) == REID_OK)
        return;
    reid_log_warn("no flight recorder is kept: %s", err.text);
    free(session->flight_dir);
    session->flight_dir = NULL;
}

static reid_status open_ranks(reid_session *session, reid_error *err)
{
    const reid_job_env *env = &session->env;
    REID_TRY(open_comm(session, err));
    REID_TRY(prepare_output(session, err));
    start_flight_recorder(session);
    if (env->managed && session->comm->rank == 0 && !session->options->eval_only)
        session->queue = reid_control_queue_new();
    return reid_link_open(env, session->comm->rank, session->comm->size, session->queue,
                          &session->link, err);
}

reid_status reid_session_open(reid_session *session, const reid_train_options *options,
                              const reid_job_env *env, const volatile sig_atomic_t *stop_signal,
                              reid_error *err)
{
    *session = (reid_session){.options = options,
                              .env = *env,
                              .stop_signal = stop_signal,
                              .goes_on = options->resume,
                              .lock_fd = -1};
    reid_comm_launch launch;
    reid_comm_launch_detect(&launch);
    REID_TRY(reid_session_load_config(options, launch.size > 0 ? launch.size : 1, &session->config,
                                      err));
    REID_TRY(reid_session_check_compression(session->config, err));
    REID_TRY(open_ranks(session, err));
    reid_session_set_phase(session, REID_LINK_LOADING);
    if (session->comm->rank == 0)
        log_remarks(session->config);
    REID_TRY(open_data(session, err));
    REID_TRY(reid_session_set_classes(session->config, session->dataset, err));
    if (options->fork_from != NULL)
        REID_TRY(reid_fork_begin(session, err));
    REID_TRY(write_config(session, err));
    REID_TRY(open_training(session, err));
    return options->fork_from != NULL ? reid_fork_save(session, err) : REID_OK;
}

reid_status reid_session_open_leg(reid_session *leg, const reid_session *host,
                                  reid_config *own_config, const char *output_dir,
                                  const char *start_path, bool goes_on, int64_t until,
                                  reid_error *err)
{
    *leg = (reid_session){.options = host->options,
                          .host = host,
                          .until = until,
                          .goes_on = goes_on,
                          .start_path = start_path ? reid_xstrdup(start_path) : NULL,
                          .env = {.hook_dir = host->env.hook_dir},
                          .stop_signal = host->stop_signal,
                          .config = own_config,
                          .output_dir = reid_xstrdup(output_dir),
                          .flight_dir = host->flight_dir ? reid_xstrdup(host->flight_dir) : NULL,
                          .comm = host->comm,
                          .lock_fd = -1};
    REID_TRY(open_data(leg, err));
    REID_TRY(reid_session_set_classes(leg->config, leg->dataset, err));
    return open_training(leg, err);
}

/* A run that was stopped can be resumed at the very iteration. */
static reid_status save_stopped(reid_session *session, reid_error *err)
{
    reid_control_outcome outcome = reid_control_outcome_of(session->control);
    REID_TRY(reid_session_save_iteration(session, err));
    if (outcome == REID_CONTROL_NONE || session->comm->rank != 0)
        return REID_OK;
    return reid_job_write_outcome(&session->env,
                                  outcome == REID_CONTROL_PAUSED ? "paused" : "stopped",
                                  (long long)session->trainer.base.iter, err);
}

reid_status reid_session_train(reid_session *session, reid_error *err)
{
    if (session->comm->rank == 0) /* for hooks of a job that waited in the queue */
        reid_link_wait(session->link, LINK_SECONDS);
    reid_session_set_phase(session, REID_LINK_TRAINING);
    reid_comm_set_phase(session->comm, "training", 0);
    if (session->device_comm)
        reid_comm_set_phase(session->device_comm, "training", 0);
    reid_trainer *trainer = &session->trainer.base;
    if (session->start_iter >= trainer->max_iter && session->comm->rank == 0)
        reid_log_info("the run to be resumed has done all its %lld iterations; raise "
                      "SOLVER.MAX_EPOCH to train on",
                      (long long)trainer->max_iter);
    reid_status status = reid_trainer_train(trainer, session->start_iter, err);
    if (status == REID_OK)
        status = reid_session_compare_ranks(session, err);
    if (status == REID_ERR_CANCELLED) {
        reid_error failure = {0};
        if (save_stopped(session, &failure) != REID_OK) {
            reid_error_clear(err);
            return reid_fail(err, failure.code, "stopped, but the state could not be saved: %s",
                             failure.text);
        }
        if (reid_control_outcome_of(session->control) != REID_CONTROL_NONE) {
            reid_log_info("%s", err->text);
            reid_error_clear(err);
            return REID_OK;
        }
    }
    return status;
}

/* --eval-only has no trainer: its figures reach the daemon as one row of scalars. */
static void stream_reports(reid_session *session)
{
    size_t count = 0;
    const reid_eval_report *reports = reid_evaluator_reports(session->evaluator, &count);
    size_t total = count * REID_EVAL_VALUES;
    reid_event_row_scalar *scalars = reid_xcalloc(total + 1, sizeof *scalars);
    for (size_t i = 0; i < total; i++) {
        const reid_eval_report *report = &reports[i / REID_EVAL_VALUES];
        const reid_eval_value *value = &report->values[i % REID_EVAL_VALUES];
        scalars[i].name = count > 1 ? reid_xasprintf("%s/%s", report->dataset, value->name)
                                    : reid_xstrdup(value->name);
        scalars[i].value = value->value;
    }
    const reid_event_row row = {.iter = session->start_iter, .count = total, .scalars = scalars};
    reid_link_row(session->link, &row);
    for (size_t i = 0; i < total; i++)
        free((char *)scalars[i].name);
    free(scalars);
}

reid_status reid_session_evaluate(reid_session *session, reid_error *err)
{
    reid_session_set_phase(session, REID_LINK_EVALUATING);
    REID_TRY(reid_evaluator_run(session->evaluator, NULL, err));
    stream_reports(session);
    return REID_OK;
}

void reid_session_close(reid_session *session)
{
    if (session->trainer_made)
        reid_simple_trainer_fini(&session->trainer);
    reid_loader_free(session->loader);
    reid_reducer_free(session->reducer);
    reid_comm_free(session->device_comm);
    reid_lr_schedule_free(session->schedule);
    reid_optimizer_free(session->optimizer);
    reid_evaluator_free(session->evaluator);
    reid_plan_free(session->plan);
    reid_tuning_free(session->tuning);
    reid_params_free(session->params);
    reid_backend_free(session->backend);
    reid_model_free(session->model);
    reid_dataset_free(session->dataset);
    if (session->host == NULL)
        reid_comm_free(session->comm);
    reid_link_close(session->link, 2.0);
    reid_control_queue_free(session->queue);
    reid_config_free(session->config);
    free(session->output_dir);
    if (session->flight_dir && session->host == NULL)
        rmdir(session->flight_dir); /* when nothing was left to be read */
    free(session->flight_dir);
    free(session->start_path);
    if (session->lock_fd >= 0)
        close(session->lock_fd);
    *session = (reid_session){.lock_fd = -1};
}
