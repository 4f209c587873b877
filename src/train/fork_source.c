#include "train/fork_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/journal.h"
#include "base/json.h"
#include "base/log.h"
#include "base/vec.h"
#include "checkpoint/checkpoint.h"
#include "data/loader.h"
#include "engine/control.h"
#include "modeling/model.h"
#include "nn/graph.h"
#include "train/evaluate.h"
#include "train/state.h"

#define CONFIG_LIMIT_BYTES ((size_t)1 << 20)

typedef struct found {
    char *path;
    int64_t iteration, created_ms;
} found;

typedef REID_VEC(found) found_list;

void reid_fork_source_fini(reid_fork_source *source)
{
    free(source->dir);
    free(source->checkpoint);
    reid_config_free(source->config);
    reid_str_fini(&source->journal);
    *source = (reid_fork_source){0};
}

/* ---- checkpoints ---- */

static void list_fini(found_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].path);
    reid_vec_fini(list);
}

/* The most iterations first. */
static int compare(const void *left, const void *right)
{
    const found *a = left, *b = right;
    if (a->iteration != b->iteration)
        return a->iteration > b->iteration ? -1 : 1;
    return (a->created_ms < b->created_ms) - (a->created_ms > b->created_ms);
}

static reid_status list_checkpoints(const char *dir, found_list *list, reid_error *err)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    REID_TRY(reid_dir_list(dir, &entries, &count, err));
    for (size_t i = 0; i < count; i++) {
        reid_checkpoint *checkpoint = NULL;
        char *path = reid_path_join(dir, entries[i].name);
        if (entries[i].is_dir && entries[i].name[0] != '.' &&
            reid_checkpoint_open(path, false, &checkpoint, NULL) == REID_OK) {
            const reid_checkpoint_info *info = reid_checkpoint_info_of(checkpoint);
            found one = {reid_xstrdup(path), info->iteration, info->created_ms};
            reid_vec_push(list, one);
        }
        reid_checkpoint_free(checkpoint);
        free(path);
    }
    reid_dir_free(entries, count);
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, compare);
    return REID_OK;
}

static bool is_sound(const char *path)
{
    reid_checkpoint *checkpoint = NULL;
    reid_error why = {0};
    bool sound = reid_checkpoint_open(path, true, &checkpoint, &why) == REID_OK;
    reid_checkpoint_free(checkpoint);
    if (!sound)
        reid_log_warn("checkpoint '%s' cannot be used: %s", path, why.text);
    return sound;
}

static reid_status choose(reid_fork_source *source, const found_list *list, reid_error *err)
{
    for (size_t i = 0; i < list->count && !source->checkpoint; i++) {
        const found *one = &list->items[i];
        bool early = source->iteration < 0 || one->iteration <= source->iteration;
        if (!early || !is_sound(one->path))
            continue;
        source->checkpoint = reid_xstrdup(one->path);
        source->begin = one->iteration;
    }
    if (source->iteration >= 0)
        return REID_OK;
    if (!source->checkpoint)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "there is no checkpoint in '%s' to fork from; wait for one, or name an "
                         "iteration with --fork-iter",
                         source->dir);
    source->iteration = source->begin;
    return REID_OK;
}

/* ---- what a checkpoint says ---- */

static reid_json *read_json(const char *path, const char *file)
{
    reid_checkpoint *checkpoint = NULL;
    reid_json *root = NULL;
    char *text = NULL;
    size_t size = 0;
    if (reid_checkpoint_open(path, false, &checkpoint, NULL) == REID_OK &&
        reid_checkpoint_text(checkpoint, file, &text, &size, NULL) == REID_OK)
        reid_json_parse(text, size, &root, NULL);
    free(text);
    reid_checkpoint_free(checkpoint);
    return root;
}

/* The seed and the length of an epoch are those of the whole run. */
static void read_facts(reid_fork_source *source, const char *path)
{
    reid_json *state = read_json(path, REID_STATE_FILE);
    reid_json *trainer = read_json(path, REID_TRAINER_FILE);
    if (!source->seed_known && reid_json_get(state, "seed")) {
        source->seed = (uint64_t)reid_json_as_int(reid_json_get(state, "seed"), 0);
        source->seed_known = true;
    }
    if (source->iters_per_epoch == 0)
        source->iters_per_epoch = reid_json_as_int(reid_json_get(trainer, "iters_per_epoch"), 0);
    reid_json_free(state);
    reid_json_free(trainer);
}

static reid_status load_config(reid_fork_source *source, const char *text, const char *name,
                               reid_error *err)
{
    source->config = reid_config_new();
    REID_TRY(reid_config_load_text(source->config, text, name, err));
    return reid_config_check(source->config, err);
}

static reid_status config_of_checkpoint(reid_fork_source *source, const char *path, reid_error *err)
{
    reid_checkpoint *checkpoint = NULL;
    char *text = NULL;
    size_t size = 0;
    REID_TRY(reid_checkpoint_open(path, false, &checkpoint, err));
    reid_status status = reid_checkpoint_text(checkpoint, REID_CONFIG_FILE, &text, &size, err);
    reid_checkpoint_free(checkpoint);
    if (status == REID_OK)
        status = load_config(source, text, path, err);
    free(text);
    return status;
}

static reid_status config_of_folder(reid_fork_source *source, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(source->dir, REID_CONFIG_FILE);
    char *text = NULL;
    size_t size = 0;
    if (!reid_path_exists(path))
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "'%s' is not the OUTPUT_DIR of a training: there is no config.yaml in it",
                         source->dir);
    REID_TRY(reid_file_read(path, CONFIG_LIMIT_BYTES, &text, &size, err));
    reid_status status = load_config(source, text, path, err);
    free(text);
    return status;
}

/* Of the stretch that ends at N, or goes over it. */
static reid_status read_config(reid_fork_source *source, const found_list *list, reid_error *err)
{
    if (source->checkpoint && source->begin == source->iteration)
        return config_of_checkpoint(source, source->checkpoint, err);
    const found *next = NULL;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].iteration > source->begin)
            next = &list->items[i];
    if (next && config_of_checkpoint(source, next->path, NULL) == REID_OK)
        return REID_OK;
    reid_config_free(source->config);
    source->config = NULL;
    return config_of_folder(source, err);
}

static reid_status read_checkpoints(reid_fork_source *source, reid_error *err)
{
    found_list list = {0};
    reid_status status = list_checkpoints(source->dir, &list, err);
    if (status == REID_OK)
        status = choose(source, &list, err);
    if (status == REID_OK)
        status = read_config(source, &list, err);
    if (status == REID_OK && source->checkpoint)
        read_facts(source, source->checkpoint);
    for (size_t i = list.count; i-- > 0 && status == REID_OK;)
        read_facts(source, list.items[i].path);
    list_fini(&list);
    return status;
}

/* ---- the journal ---- */

/* The last word that the checkpoint at N has obeyed. */
static int64_t last_done(const reid_fork_source *source)
{
    int64_t seq = 0;
    if (!source->checkpoint || source->begin != source->iteration)
        return 0;
    reid_json *trainer = read_json(source->checkpoint, REID_TRAINER_FILE);
    const reid_json *hooks = reid_json_get(trainer, "hooks");
    for (size_t i = 0; i < reid_json_count(hooks); i++) {
        const reid_json *hook = reid_json_at(hooks, i), *state = reid_json_get(hook, "state");
        if (strcmp(reid_json_as_string(reid_json_get(hook, "name"), ""), "Control") == 0 &&
            reid_json_as_int(reid_json_get(state, "iteration"), -1) == source->iteration)
            seq = reid_json_as_int(reid_json_get(state, "seq"), 0);
    }
    reid_json_free(trainer);
    return seq;
}

static reid_status take_lines(reid_fork_source *source, const reid_journal_entries *entries,
                              reid_error *err)
{
    int64_t done = last_done(source);
    size_t count = 0;
    for (size_t i = 0; i < entries->list.count; i++) {
        const reid_journal_entry *entry = &entries->list.items[i];
        bool fork = strcmp(entry->kind, "fork") == 0;
        if (fork && entry->iteration > source->iteration)
            return reid_fail(
                err, REID_ERR_INVALID,
                "the run in '%s' is itself a fork, which begins at iteration %lld; for an earlier "
                "one fork from '%s'",
                source->dir, (long long)entry->iteration, entry->old_value);
        if (fork || reid_control_is_history(entry, source->iteration) ||
            (entry->iteration == source->iteration && entry->seq <= done))
            count = i + 1;
    }
    for (size_t i = 0; i < count; i++)
        reid_str_addf(&source->journal, "%s\n", entries->list.items[i].line);
    return REID_OK;
}

/* A running job may be writing the last line. */
static reid_status read_journal(reid_fork_source *source, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(source->dir, REID_JOURNAL_FILE);
    char *text = NULL;
    size_t size = 0;
    if (!reid_path_exists(path))
        return REID_OK;
    REID_TRY(reid_file_read(path, REID_JOURNAL_LIMIT_BYTES, &text, &size, err));
    while (size > 0 && text[size - 1] != '\n')
        size--;
    reid_journal_entries entries = {0};
    reid_journal_fault fault;
    reid_journal_read_text(text, size, &entries, &fault);
    free(text);
    reid_status status = REID_OK;
    if (fault.line != 0)
        status = reid_fail(err, REID_ERR_CORRUPT, "'%s' cannot be relied on: %s", path, fault.text);
    else
        status = take_lines(source, &entries, err);
    reid_journal_entries_fini(&entries);
    return status;
}

static reid_status read_source(reid_fork_source *source, reid_error *err)
{
    if (!reid_path_is_dir(source->dir))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no folder '%s' to fork from",
                         source->dir);
    REID_TRY(read_checkpoints(source, err));
    if (!source->seed_known && reid_config_int(source->config, "SEED") >= 0) {
        source->seed = (uint64_t)reid_config_int(source->config, "SEED");
        source->seed_known = true;
    }
    return read_journal(source, err);
}

reid_status reid_fork_source_open(const char *dir, int64_t iteration, reid_fork_source *ret_source,
                                  reid_error *err)
{
    reid_fork_source source = {.dir = reid_path_absolute(dir), .iteration = iteration};
    reid_status status = read_source(&source, err);
    if (status != REID_OK)
        reid_fork_source_fini(&source);
    else
        *ret_source = source;
    return status;
}

/* ---- does it fit? ---- */

static reid_status build(const reid_config *config, int world, reid_model **ret_model,
                         reid_error *err)
{
    int batch = (int)reid_config_int(config, "SOLVER.IMS_PER_BATCH") / world;
    return reid_model_build(config, (int)reid_config_int(config, "MODEL.HEADS.NUM_CLASSES"),
                            REID_MAX(batch, 1), reid_evaluator_batch(config, world), ret_model,
                            err);
}

static reid_status check_network(const reid_fork_source *source, const reid_config *config,
                                 int world, reid_error *err)
{
    const char *theirs = reid_config_string(source->config, "SOLVER.OPT");
    const char *ours = reid_config_string(config, "SOLVER.OPT");
    if (strcmp(theirs, ours) != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "the run in '%s' trains with SOLVER.OPT %s; a fork cannot go on with %s",
                         source->dir, theirs, ours);
    reid_model *from = NULL, *to = NULL;
    reid_status status = build(source->config, world, &from, err);
    if (status == REID_OK)
        status = build(config, world, &to, err);
    if (status == REID_OK && reid_graph_same_params(from->train, to->train, err) != REID_OK)
        status = reid_error_prefix(
            err, "this network cannot take over from that of the run in '%s'", source->dir);
    reid_model_free(from);
    reid_model_free(to);
    return status;
}

/* What is needed to follow the run from its checkpoint to N. */
static reid_status check_way(reid_fork_source *source, int world, reid_error *err)
{
    reid_dataset *dataset = NULL;
    REID_TRY(reid_config_check_world(source->config, world, err));
    REID_TRY(reid_dataset_open_train(source->config, &dataset, err));
    if (source->iters_per_epoch == 0)
        source->iters_per_epoch = reid_train_loader_batches_per_epoch(source->config, dataset);
    reid_dataset_free(dataset);
    if (!source->seed_known)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "the run in '%s' has drawn its seed, and no checkpoint tells it yet",
                         source->dir);
    return REID_OK;
}

static reid_status check_iteration(const reid_fork_source *source, const reid_config *config,
                                   int64_t per_epoch, reid_error *err)
{
    int64_t theirs = reid_config_int(source->config, "SOLVER.MAX_EPOCH") * source->iters_per_epoch;
    int64_t ours = reid_config_int(config, "SOLVER.MAX_EPOCH") * per_epoch;
    if (source->begin < source->iteration && source->iteration > theirs)
        return reid_fail(err, REID_ERR_INVALID,
                         "the run in '%s' has %lld iterations; it does not come to iteration %lld",
                         source->dir, (long long)theirs, (long long)source->iteration);
    if (source->iters_per_epoch != per_epoch)
        return reid_fail(err, REID_ERR_INVALID,
                         "the run in '%s' has %lld iterations per epoch, this one has %lld: the "
                         "data or SOLVER.IMS_PER_BATCH differ",
                         source->dir, (long long)source->iters_per_epoch, (long long)per_epoch);
    if (source->iteration > ours)
        return reid_fail(err, REID_ERR_INVALID,
                         "the fork begins at iteration %lld, but this configuration ends at %lld; "
                         "raise SOLVER.MAX_EPOCH",
                         (long long)source->iteration, (long long)ours);
    return REID_OK;
}

reid_status reid_fork_source_check(reid_fork_source *source, const reid_config *config,
                                   const reid_dataset *dataset, int world, reid_error *err)
{
    if (source->begin < source->iteration || !source->checkpoint)
        if (check_way(source, world, err) != REID_OK)
            return reid_error_prefix(err, "the run in '%s' cannot be followed to iteration %lld",
                                     source->dir, (long long)source->iteration);
    REID_TRY(
        check_iteration(source, config, reid_train_loader_batches_per_epoch(config, dataset), err));
    return check_network(source, config, world, err);
}
