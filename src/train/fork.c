#include "train/fork.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/log.h"
#include "engine/trainer.h"
#include "train/fork_source.h"
#include "train/state.h"

#define SCRATCH ".fork" /* in OUTPUT_DIR */

/* ---- checks ---- */

reid_status reid_fork_check_folder(const char *dir, const reid_config *config, reid_error *err)
{
    REID_AUTOFREE char *output = reid_path_absolute(reid_config_string(config, "OUTPUT_DIR"));
    REID_AUTOFREE char *source = reid_path_absolute(dir);
    struct stat a, b;
    bool same = strcmp(output, source) == 0;
    if (!same && stat(output, &a) == 0 && stat(source, &b) == 0)
        same = a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    if (same)
        return reid_fail(err, REID_ERR_INVALID,
                         "OUTPUT_DIR '%s' is that of the run to fork from; a fork needs another",
                         output);
    return REID_OK;
}

static bool journal_has_fork(const char *output_dir)
{
    REID_AUTOFREE char *path = reid_path_join(output_dir, REID_JOURNAL_FILE);
    reid_journal_entries entries = {0};
    reid_journal_fault fault;
    bool found = false;
    if (reid_journal_read(path, &entries, &fault, NULL) == REID_OK)
        for (size_t i = 0; i < entries.list.count; i++)
            found |= strcmp(entries.list.items[i].kind, "fork") == 0;
    reid_journal_entries_fini(&entries);
    return found;
}

/* --resume, and this fork has its first checkpoint: only then its scratch folder goes. */
static bool has_begun(const reid_train_options *options, const char *output_dir)
{
    REID_AUTOFREE char *scratch = reid_path_join(output_dir, SCRATCH);
    return options->resume && journal_has_fork(output_dir) && !reid_path_exists(scratch);
}

static reid_status open_source(const reid_train_options *options, const reid_config *config,
                               const reid_dataset *dataset, int world, reid_fork_source *ret_source,
                               reid_error *err)
{
    REID_TRY(reid_fork_source_open(options->fork_from, options->fork_iter, ret_source, err));
    return reid_fork_source_check(ret_source, config, dataset, world, err);
}

reid_status reid_fork_check(const reid_train_options *options, const reid_config *config,
                            const reid_dataset *dataset, reid_error *err)
{
    REID_AUTOFREE char *output = reid_path_absolute(reid_config_string(config, "OUTPUT_DIR"));
    if (has_begun(options, output))
        return REID_OK;
    reid_fork_source source = {0};
    reid_status status = open_source(options, config, dataset, options->world, &source, err);
    reid_fork_source_fini(&source);
    return status;
}

/* ---- journal ---- */

static char *user_name(void)
{
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found)
        return reid_xstrdup(found->pw_name);
    return reid_xasprintf("uid %u", (unsigned)geteuid());
}

static reid_status append_origin(const reid_fork_source *source, const char *path, reid_error *err)
{
    reid_journal *journal = NULL;
    reid_journal_entries known = {0};
    REID_TRY(reid_journal_open(path, &journal, &known, err));
    reid_journal_entry entry = {
        .wall_ms = reid_clock_wall_ms(),
        .iteration = source->iteration,
        .id = reid_xasprintf("fork-%lld", (long long)reid_clock_wall_ms()),
        .who = user_name(),
        .kind = reid_xstrdup("fork"),
        .name = reid_xstrdup(""),
        .old_value = reid_xstrdup(source->dir),
        .new_value = reid_xstrdup(source->checkpoint ? reid_path_base(source->checkpoint) : ""),
        .reason = reid_xstrdup(""),
    };
    reid_status status = reid_journal_append(journal, &entry, 1, err);
    reid_journal_entry_fini(&entry);
    reid_journal_entries_fini(&known);
    reid_journal_close(journal);
    return status;
}

/* Made beside, so that OUTPUT_DIR has all of it or none. The leg replays it, too. */
static reid_status write_journal(const reid_session *session, const reid_fork_source *source,
                                 const char *scratch, reid_error *err)
{
    REID_AUTOFREE char *beside = reid_path_join(scratch, REID_JOURNAL_FILE);
    REID_AUTOFREE char *path = reid_path_join(session->output_dir, REID_JOURNAL_FILE);
    char *text = NULL;
    size_t size = 0;
    REID_TRY(reid_control_move_journal_aside(path, err));
    REID_TRY(reid_file_write_atomic(beside, reid_str_text(&source->journal), source->journal.length,
                                    err));
    REID_TRY(append_origin(source, beside, err));
    REID_TRY(reid_file_read(beside, REID_JOURNAL_LIMIT_BYTES, &text, &size, err));
    reid_status status = reid_file_write_atomic(path, text, size, err);
    free(text);
    return status;
}

/* ---- following ---- */

typedef struct end_hook {
    reid_hook base;
    int64_t until;
} end_hook;

/* Asked for before the last step, the wish goes into the exchange of that very step. */
static reid_status end_before_step(reid_hook *base, reid_error *err)
{
    (void)err;
    if (base->trainer->iter + 1 >= ((end_hook *)base)->until)
        reid_trainer_request_stop(base->trainer, "the fork begins here");
    return REID_OK;
}

static const reid_hook_impl END_HOOK = {.name = "ForkEnd", .before_step = end_before_step};

reid_hook *reid_fork_end_hook_new(int64_t until)
{
    end_hook *hook = reid_xcalloc(1, sizeof *hook);
    hook->base.impl = &END_HOOK;
    hook->until = until;
    return &hook->base;
}

static reid_status run_leg(reid_session *leg, reid_error *err)
{
    reid_trainer *trainer = &leg->trainer.base;
    if (leg->start_iter >= leg->until) { /* from scratch to 0 */
        trainer->iter = leg->start_iter;
        return reid_session_save_iteration(leg, err);
    }
    reid_comm_set_phase(leg->comm, "following the run to fork from", 0);
    reid_status status = reid_trainer_train(trainer, leg->start_iter, err);
    if (trainer->iter != leg->until || (status != REID_OK && status != REID_ERR_CANCELLED))
        return status != REID_OK
                   ? status
                   : reid_fail(err, REID_ERR_INTERNAL, "it ended after iteration %lld",
                               (long long)trainer->iter);
    reid_error_clear(err);
    return reid_session_save_iteration(leg, err);
}

/* What all ranks must know. */
typedef struct fork_plan {
    bool begun;   /* nothing is left to do */
    bool follow;  /* there is no checkpoint of N */
    bool scratch; /* nor one before it */
    int64_t iteration;
    uint64_t seed, config_bytes;
} fork_plan;

static reid_status leg_config(const fork_plan *plan, const char *yaml, const char *output_dir,
                              reid_config **ret_config, reid_error *err)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)plan->seed);
    reid_config *config = reid_config_new();
    reid_status status = reid_config_load_text(config, yaml, "the run to fork from", err);
    if (status == REID_OK)
        status = reid_config_set(config, "OUTPUT_DIR", output_dir, err);
    if (status == REID_OK && plan->scratch)
        status = reid_config_set(config, "SEED", seed, err);
    if (status != REID_OK)
        reid_config_free(config);
    else
        *ret_config = config;
    return status;
}

static reid_status follow(reid_session *session, const fork_plan *plan, const char *yaml,
                          const char *checkpoint, const char *scratch, reid_error *err)
{
    reid_session leg = {.lock_fd = -1};
    reid_config *config = NULL;
    REID_TRY(leg_config(plan, yaml, scratch, &config, err));
    if (session->comm->rank == 0)
        reid_log_info("fork: following '%s' up to iteration %lld", session->options->fork_from,
                      (long long)plan->iteration);
    reid_status status = reid_session_open_leg(&leg, session, config, scratch, checkpoint,
                                               !plan->scratch, plan->iteration, err);
    if (status == REID_OK)
        status = run_leg(&leg, err);
    reid_session_close(&leg);
    reid_comm_set_phase(session->comm, "start-up", 0);
    return status;
}

/* ---- beginning ---- */

static char *scratch_of(const reid_session *session)
{
    return reid_path_join(session->output_dir, SCRATCH);
}

/* Rank 0. */
static reid_status prepare(reid_session *session, reid_fork_source *source, fork_plan *plan,
                           char **ret_yaml, reid_error *err)
{
    REID_AUTOFREE char *scratch = scratch_of(session);
    *plan = (fork_plan){.begun = has_begun(session->options, session->output_dir)};
    if (plan->begun)
        return REID_OK;
    REID_TRY(open_source(session->options, session->config, session->dataset, session->comm->size,
                         source, err));
    REID_TRY(reid_remove_tree(scratch, err));
    REID_TRY(reid_make_dirs(scratch, 0755, err));
    REID_TRY(write_journal(session, source, scratch, err));
    *ret_yaml = reid_config_dump(source->config);
    plan->follow = !source->checkpoint || source->begin != source->iteration;
    plan->scratch = !source->checkpoint;
    plan->iteration = source->iteration;
    plan->seed = source->seed;
    plan->config_bytes = strlen(*ret_yaml) + 1;
    reid_log_info("fork of '%s' before iteration %lld", source->dir, (long long)source->iteration);
    return REID_OK;
}

static reid_status share_plan(reid_session *session, fork_plan *plan, char **yaml, reid_error *err)
{
    reid_comm *comm = session->comm;
    REID_TRY(reid_comm_broadcast(comm, plan, sizeof *plan, 0, err));
    if (plan->config_bytes == 0)
        return REID_OK;
    if (comm->rank != 0)
        *yaml = reid_xcalloc(plan->config_bytes, 1);
    return reid_comm_broadcast(comm, *yaml, plan->config_bytes, 0, err);
}

/* Where the session starts: rank 0 alone reads it. */
static char *start_path(const reid_session *session, const reid_fork_source *source,
                        const fork_plan *plan, const char *scratch)
{
    if (session->comm->rank != 0)
        return NULL;
    return plan->follow
               ? reid_xasprintf("%s/model_iter_%07lld", scratch, (long long)plan->iteration)
               : reid_xstrdup(source->checkpoint);
}

reid_status reid_fork_begin(reid_session *session, reid_error *err)
{
    REID_AUTOFREE char *scratch = scratch_of(session);
    reid_fork_source source = {0};
    fork_plan plan = {0};
    char *yaml = NULL;
    reid_status status = REID_OK;
    if (session->comm->rank == 0)
        status = prepare(session, &source, &plan, &yaml, err);
    if (status == REID_OK)
        status = share_plan(session, &plan, &yaml, err);
    if (status == REID_OK && plan.follow)
        status = follow(session, &plan, yaml, source.checkpoint, scratch, err);
    if (status == REID_OK && !plan.begun) {
        session->goes_on = true;
        session->start_path = start_path(session, &source, &plan, scratch);
        session->forks = true;
    }
    free(yaml);
    reid_fork_source_fini(&source);
    return status;
}

reid_status reid_fork_save(reid_session *session, reid_error *err)
{
    if (!session->forks)
        return REID_OK;
    session->trainer.base.iter = session->start_iter;
    REID_TRY(reid_session_save_iteration(session, err));
    if (session->comm->rank != 0)
        return REID_OK;
    REID_AUTOFREE char *scratch = scratch_of(session);
    return reid_remove_tree(scratch, err);
}
