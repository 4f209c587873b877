/* From a request to a job on the disk. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "config/config.h"
#include "daemon/access/paths.h"
#include "daemon/access/run_as.h"
#include "daemon/manager_private.h"
#include "daemon/sched/after.h"

struct reidd_submission {
    reidd_manager *manager;
    reidd_job job;
    bool other; /* its processes run as `account` */
    reidd_account account;
    char *folder, *config_path;
    reidd_check *check; /* NULL while it waits for its turn */
    reidd_submit_done *done;
    void *user;
};

static int check_limit(void)
{
    return REID_MAX((int)uv_available_parallelism(), 2);
}

static void submission_free(reidd_submission *submission)
{
    reidd_job_fini(&submission->job);
    free(submission->folder);
    free(submission->config_path);
    free(submission);
}

static void forget(reidd_submission *submission)
{
    reidd_manager *manager = submission->manager;
    for (size_t i = 0; i < manager->submissions.count; i++) {
        if (manager->submissions.items[i] != submission)
            continue;
        reid_vec_remove(&manager->submissions, i);
        break;
    }
    manager->checks_running -= submission->check != NULL;
    submission->check = NULL;
}

/* ---- what can be said at once ---- */

static reid_status check_path(const reid_config *config, const char *key, reid_error *err)
{
    const char *path = reid_config_string(config, key);
    if (*path && *path != '/')
        return reid_fail(err, REID_ERR_INVALID,
                         "%s is '%s', but must be an absolute path: reidd does not know the folder "
                         "that it is relative to",
                         key, path);
    return REID_OK;
}

/* Outputs are data, too: of jobs that begin with the weights of others. */
static reid_status check_read(const reidd_manager *manager, const reid_config *config,
                              const char *key, reid_error *err)
{
    const char *path = reid_config_string(config, key);
    if (!*path || !manager->data_roots)
        return REID_OK;
    if (manager->output_roots &&
        reidd_paths_check("--output-roots", manager->output_roots, key, path, NULL) == REID_OK)
        return REID_OK;
    return reidd_paths_check("--data-roots", manager->data_roots, key, path, err);
}

static reid_status check_roots(const reidd_manager *manager, const reid_config *config,
                               reid_error *err)
{
    REID_TRY(reidd_paths_check("--output-roots", manager->output_roots, "OUTPUT_DIR",
                               reid_config_string(config, "OUTPUT_DIR"), err));
    REID_TRY(check_read(manager, config, "DATASETS.ROOT", err));
    return check_read(manager, config, "MODEL.WEIGHTS", err);
}

static reid_status check_config(const reidd_manager *manager, const char *yaml, int ranks,
                                int min_ranks, char **ret_output_dir, char **ret_fewer,
                                reid_error *err)
{
    reid_config *config = reid_config_new();
    reid_status status = reid_config_load_text(config, yaml, "configuration", err);
    if (status == REID_OK)
        status = reid_config_check(config, err);
    if (status == REID_OK)
        status = reid_config_check_world(config, ranks, err);
    if (status == REID_OK)
        status = check_path(config, "OUTPUT_DIR", err);
    if (status == REID_OK)
        status = check_path(config, "DATASETS.ROOT", err);
    if (status == REID_OK)
        status = check_roots(manager, config, err);
    if (status == REID_OK)
        status = reidd_wishes_fewer(config, ranks, min_ranks, ret_fewer, err);
    if (status == REID_OK)
        *ret_output_dir = reid_xstrdup(reid_config_string(config, "OUTPUT_DIR"));
    reid_config_free(config);
    if (status == REID_ERR_UNSUPPORTED) /* the method is supported, what it was given is not */
        err->code = status = REID_ERR_INVALID;
    return status;
}

static reid_status check_restarts(const reidd_submit_request *request, reid_error *err)
{
    double backoff_s = request->restart_backoff_s, most_s = REIDD_BACKOFF_MAX_MS / 1000.0;
    if (request->max_restarts < 0 || request->max_restarts > REIDD_RESTARTS_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a job has 0 to %d restarts, not %d",
                         REIDD_RESTARTS_MAX, request->max_restarts);
    if (!(backoff_s >= 0 && backoff_s <= most_s)) /* or no number */
        return reid_fail(err, REID_ERR_INVALID,
                         "the first restart waits for %g s, but must wait for 0 to %g s", backoff_s,
                         most_s);
    if (backoff_s > 0 && request->max_restarts == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "there is a backoff of %g s before restarts, but no restart is allowed",
                         backoff_s);
    return REID_OK;
}

static bool is_by(const reidd_job *job, const reidd_submit_request *request)
{
    return job->uid == request->uid && strcmp(job->user, request->user) == 0;
}

/* Jobs of the user that have not ended, or are being checked. */
static int64_t count_jobs_of(const reidd_manager *manager, const reidd_submit_request *request)
{
    int64_t count = 0;
    for (size_t i = 0; i < manager->active.count; i++)
        count += is_by(&manager->active.items[i]->job, request);
    for (size_t i = 0; i < manager->submissions.count; i++)
        count += is_by(&manager->submissions.items[i]->job, request);
    return count;
}

static reid_status check_room(const reidd_manager *manager, const reidd_submit_request *request,
                              reid_error *err)
{
    const int64_t *limits = manager->limits->values;
    const char *rival = reidd_cluster_rival(manager->cluster);
    if (rival)
        return reid_fail(err, REID_ERR_PRECONDITION, "%s", rival);
    if ((int64_t)manager->active.count >= limits[REIDD_LIMIT_JOBS])
        return reid_fail(err, REID_ERR_EXHAUSTED, "%zu jobs are queued or running already",
                         manager->active.count);
    if ((int64_t)manager->submissions.count >= limits[REIDD_LIMIT_CHECKS])
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "%zu submissions are being checked; try again in a moment",
                         manager->submissions.count);
    if (!request->by_admin && count_jobs_of(manager, request) >= limits[REIDD_LIMIT_USER_JOBS])
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "user %s has %lld jobs that have not ended, which is the limit",
                         request->user, (long long)limits[REIDD_LIMIT_USER_JOBS]);
    return REID_OK;
}

static reid_status check_numbers(const reidd_manager *manager, const reidd_submit_request *request,
                                 int ranks, reid_error *err)
{
    const int64_t *limits = manager->limits->values;
    if (ranks < 1 || ranks > limits[REIDD_LIMIT_RANKS])
        return reid_fail(err, REID_ERR_INVALID, "a job has 1 to %lld ranks, not %d",
                         (long long)limits[REIDD_LIMIT_RANKS], ranks);
    if (!*request->config_yaml)
        return reid_fail(err, REID_ERR_INVALID, "the configuration is empty");
    if ((int64_t)strlen(request->config_yaml) > limits[REIDD_LIMIT_CONFIG_BYTES])
        return reid_fail(err, REID_ERR_INVALID, "the configuration is larger than %lld KiB",
                         (long long)limits[REIDD_LIMIT_CONFIG_BYTES] >> 10);
    if (*request->name)
        REID_TRY(reidd_job_name_check(request->name, err));
    REID_TRY(check_restarts(request, err));
    REID_TRY(reidd_wishes_check(manager, request, ranks, err));
    return check_room(manager, request, err);
}

/* The same folder under another name is found by the trainer's check. */
static reid_status check_fork(reidd_manager *manager, const reidd_submit_request *request,
                              const char *output_dir, char **ret_from, reid_error *err)
{
    char id[16];
    reidd_job source = {0};
    if (!request->fork_job)
        return REID_OK;
    if (request->resume || request->eval_only)
        return reid_fail(err, REID_ERR_INVALID,
                         "a forked job begins with the state of another "
                         "one: it cannot %s",
                         request->resume ? "resume, too" : "only evaluate");
    if (request->fork_iter < 0)
        return reid_fail(err, REID_ERR_INVALID, "the iteration is %lld, but must not be negative",
                         (long long)request->fork_iter);
    REID_TRY(reidd_manager_find(manager, request->fork_job, id, err));
    REID_TRY(reidd_store_job_load(manager->store, id, &source, err));
    bool same = strcmp(source.output_dir, output_dir) == 0;
    if (!same)
        *ret_from = reid_xstrdup(source.output_dir);
    reidd_job_fini(&source);
    if (same)
        return reid_fail(err, REID_ERR_INVALID,
                         "the OUTPUT_DIR is that of job %s; a forked job needs its own", id);
    return REID_OK;
}

/* ---- the trainer's check, and after it ---- */

static reid_status store_config(const reidd_submission *submission, reid_error *err)
{
    REID_AUTOFREE char *yaml = NULL;
    size_t size = 0;
    REID_TRY(reid_file_read(submission->config_path, REIDD_CONFIG_READ_BYTES, &yaml, &size, err));
    return reidd_store_config_add(submission->manager->store, submission->job.id, yaml, err);
}

static reid_status store(reidd_submission *submission, reid_error *err)
{
    reidd_store *db = submission->manager->store;
    const reidd_job *job = &submission->job;
    reid_status status = reidd_store_begin(db, true, err);
    if (status == REID_OK)
        status = reidd_store_job_add(db, job, err);
    if (status == REID_OK)
        status = store_config(submission, err);
    if (status == REID_OK)
        status = reidd_store_event_add(db, job->id, 0, job->submitted_ms, "state", "PENDING", err);
    if (status == REID_OK && job->fork_from) {
        REID_AUTOFREE char *detail =
            job->fork_iter > 0 ? reid_xasprintf("from '%s' before iteration %lld", job->fork_from,
                                                (long long)job->fork_iter)
                               : reid_xasprintf("from the last checkpoint in '%s'", job->fork_from);
        status = reidd_store_event_add(db, job->id, 0, job->submitted_ms, "fork", detail, err);
    }
    if (status == REID_OK)
        status = reidd_store_commit(db, err);
    reidd_store_rollback(db);
    return status;
}

static void finish(reidd_submission *submission, reid_error *result)
{
    reidd_manager *manager = submission->manager;
    char id[16];
    memcpy(id, submission->job.id, sizeof id);
    forget(submission);
    if (result->code == REID_OK)
        store(submission, result);
    if (result->code == REID_OK) {
        const reidd_job *job = &submission->job;
        reid_log_info("job submitted id=%s name=%s user=%s ranks=%d", id, job->name, job->user,
                      job->ranks);
        reidd_manager_enqueue(manager, reidd_active_add(manager, &submission->job));
    } else {
        reid_log_info("job not accepted name=%s %s", submission->job.name, result->text);
        reid_remove_tree(submission->folder, NULL);
    }
    submission->done(result, id, submission->user);
    submission_free(submission);
    reidd_manager_start_checks(manager);
}

static void on_checked(const reid_error *result, void *user)
{
    reid_error copy = *result;
    finish(user, &copy);
}

/* False when it could not be started; the submission is over then. */
static bool start_check(reidd_submission *submission)
{
    reidd_manager *manager = submission->manager;
    reid_error err = {0};
    const reidd_check_spec spec = {
        .as = submission->other ? &submission->account : NULL,
        .shim = manager->shim,
        .trainer = manager->trainer,
        .config_path = submission->config_path,
        .folder = submission->folder,
        .ranks = submission->job.ranks,
        .resume = submission->job.resume,
        .eval_only = submission->job.eval_only,
        .fork_from = submission->job.fork_from,
        .fork_iter = submission->job.fork_iter,
        .timeout_ms = manager->check_timeout_ms,
    };
    if (reidd_check_start(manager->loop, &spec, on_checked, submission, &submission->check, &err) ==
        REID_OK) {
        manager->checks_running++;
        return true;
    }
    finish(submission, &err);
    return false;
}

void reidd_manager_start_checks(reidd_manager *manager)
{
    size_t i = 0;
    while (!manager->closing && i < manager->submissions.count &&
           manager->checks_running < check_limit()) {
        reidd_submission *submission = manager->submissions.items[i];
        if (submission->check)
            i++;
        else if (!start_check(submission))
            return; /* finish() has come back here */
    }
}

/* ---- the request ---- */

static reid_status write_config(reidd_submission *submission, const char *yaml, reid_error *err)
{
    REID_AUTOFREE char *jobs = reid_path_dir(submission->folder);
    REID_TRY(reid_make_dirs(submission->folder, 0700, err));
    REID_TRY(reid_fsync_dir(jobs, err));
    REID_TRY(reid_file_write_atomic(submission->config_path, yaml, strlen(yaml), err));
    return submission->other ? reidd_run_as_let_in(&submission->account, submission->folder,
                                                   submission->config_path, err)
                             : REID_OK;
}

reid_status reidd_active_restore_config(reidd_active *active, reid_error *err)
{
    reidd_manager *manager = active->manager;
    const reidd_job *job = &active->job;
    uid_t lowest_uid = (uid_t)manager->limits->values[REIDD_LIMIT_LOWEST_UID];
    REID_AUTOFREE char *folder = reidd_manager_job_dir(manager, job->id);
    REID_AUTOFREE char *path = reid_path_join(folder, "config.yaml");
    REID_AUTOFREE char *yaml = NULL;
    reidd_submission like = {.manager = manager, .folder = folder, .config_path = path};
    if (reid_path_exists(path) ||
        reidd_store_config_load(manager->store, job->id, &yaml, NULL) != REID_OK)
        return REID_OK; /* the start will say what is missing */
    active->restored = true;
    if (reidd_run_as_find((uid_t)job->uid, lowest_uid, NULL, &like.other, &like.account, NULL) !=
        REID_OK)
        return REID_OK; /* the same */
    return write_config(&like, yaml, err);
}

static reidd_submission *submission_new(reidd_manager *manager, const reidd_submit_request *request,
                                        int ranks, char *own_output_dir)
{
    reidd_submission *submission = reid_xcalloc(1, sizeof *submission);
    reidd_job *job = &submission->job;
    submission->manager = manager;
    job->submitted_ms = reid_clock_wall_ms();
    reidd_job_id_next(job->id, manager->last_id, job->submitted_ms);
    memcpy(manager->last_id, job->id, sizeof job->id);
    job->name = *request->name ? reid_xstrdup(request->name) : reidd_job_name_from(own_output_dir);
    job->user = reid_xstrdup(request->user);
    job->uid = request->uid;
    job->output_dir = own_output_dir;
    job->ranks = ranks;
    job->resume = request->resume;
    job->eval_only = request->eval_only;
    if (request->max_restarts > 0)
        job->restart = (reidd_restart){
            .allowed = request->max_restarts,
            .backoff_ms = request->restart_backoff_s > 0
                              ? (int64_t)ceil(request->restart_backoff_s * 1000)
                              : REIDD_BACKOFF_MS,
        };
    job->state = REIDD_PENDING;
    job->progress.eta_s = -1;
    job->failure.rank = -1;
    submission->folder = reidd_manager_job_dir(manager, job->id);
    submission->config_path = reid_path_join(submission->folder, "config.yaml");
    return submission;
}

static void on_first_turn(uv_timer_t *timer)
{
    reidd_manager_start_checks(timer->data);
}

reid_status reidd_manager_submit(reidd_manager *manager, const reidd_submit_request *request,
                                 reidd_submit_done *done, void *user,
                                 reidd_submission **ret_submission, reid_error *err)
{
    int ranks = request->ranks == 0 ? 1 : request->ranks;
    char *output_dir = NULL;
    reidd_account account = {0};
    bool other = false;
    uid_t lowest_uid = (uid_t)manager->limits->values[REIDD_LIMIT_LOWEST_UID];
    REID_TRY(reidd_run_as_find(request->uid, lowest_uid, NULL, &other, &account, err));
    REID_TRY(check_numbers(manager, request, ranks, err));
    char *fork_from = NULL;
    char *own_after = NULL, *own_fewer = NULL;
    REID_TRY(check_config(manager, request->config_yaml, ranks, request->min_ranks, &output_dir,
                          &own_fewer, err));
    reid_status fits = check_fork(manager, request, output_dir, &fork_from, err);
    if (fits == REID_OK)
        fits = reidd_wishes_after(manager, request, &own_after, err);
    if (fits != REID_OK) {
        free(output_dir);
        free(own_fewer);
        free(fork_from);
        return fits;
    }
    reidd_submission *submission = submission_new(manager, request, ranks, output_dir);
    reidd_wishes_fill(request, own_after, &submission->job.wishes);
    submission->job.wishes.ranks = ranks;
    submission->job.wishes.fewer = own_fewer;
    submission->job.fork_from = fork_from;
    submission->job.fork_iter = fork_from ? request->fork_iter : 0;
    submission->other = other;
    submission->account = account;
    submission->done = done;
    submission->user = user;
    reid_status status = write_config(submission, request->config_yaml, err);
    if (status != REID_OK) {
        reid_remove_tree(submission->folder, NULL);
        submission_free(submission);
        return status;
    }
    reid_vec_push(&manager->submissions, submission);
    *ret_submission = submission;
    uv_timer_start(&manager->check_timer, on_first_turn, 0,
                   0); /* done() only comes from the loop */
    return REID_OK;
}

void reidd_submission_cancel(reidd_submission *submission)
{
    reidd_manager *manager = submission->manager;
    reidd_check *check = submission->check;
    forget(submission);
    if (check)
        reidd_check_cancel(check);
    reid_remove_tree(submission->folder, NULL);
    submission_free(submission);
    if (!manager->closing)
        uv_timer_start(&manager->check_timer, on_first_turn, 0, 0);
}

const char *reidd_manager_submission_after(const reidd_manager *manager, const char *id)
{
    for (size_t i = 0; i < manager->submissions.count; i++) {
        const reidd_job *job = &manager->submissions.items[i]->job;
        if (reidd_after_names(job->wishes.after, id))
            return job->id;
    }
    return NULL;
}

void reidd_manager_cancel_submissions(reidd_manager *manager)
{
    while (manager->submissions.count > 0)
        reidd_submission_cancel(manager->submissions.items[0]);
}
