#include "engine/control.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/hooks/eval_hook.h"
#include "engine/trainer.h"

#define KNOBS_MAX 32
#define OLD_JOURNALS_MAX 10000

typedef REID_VEC(reid_control_request) request_list;

struct reid_control {
    reid_hook base;
    reid_control_options options;
    char *journal_path;
    reid_journal *journal;            /* rank 0, once there is a word */
    reid_journal_entries batch;       /* rank 0: written, not shared yet */
    reid_str text;                    /* the lines of `batch`, or what rank 0 has sent */
    reid_journal_entries pending;     /* in order of (iteration, seq) */
    int64_t done_iteration, done_seq; /* the last word that was applied; -1: none */
    bool changed[KNOBS_MAX];
    reid_control_outcome outcome;
};

/* ---- queue ---- */

struct reid_control_queue {
    pthread_mutex_t mutex;
    request_list list;
};

void reid_control_request_fini(reid_control_request *request)
{
    free(request->id);
    free(request->kind);
    free(request->who);
    free(request->reason);
    for (size_t i = 0; i < request->setting_count; i++) {
        free(request->settings[i].name);
        free(request->settings[i].value);
    }
    free(request->settings);
    *request = (reid_control_request){0};
}

reid_control_queue *reid_control_queue_new(void)
{
    reid_control_queue *queue = reid_xcalloc(1, sizeof *queue);
    pthread_mutex_init(&queue->mutex, NULL);
    return queue;
}

void reid_control_queue_free(reid_control_queue *queue)
{
    if (!queue)
        return;
    for (size_t i = 0; i < queue->list.count; i++)
        reid_control_request_fini(&queue->list.items[i]);
    reid_vec_fini(&queue->list);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

reid_status reid_control_queue_push(reid_control_queue *queue, reid_control_request *own_request,
                                    reid_error *err)
{
    bool known = false;
    pthread_mutex_lock(&queue->mutex);
    for (size_t i = 0; i < queue->list.count; i++)
        known |= strcmp(queue->list.items[i].id, own_request->id) == 0;
    bool full = queue->list.count >= REID_CONTROL_QUEUE_LIMIT;
    if (!known && !full) {
        reid_vec_push(&queue->list, *own_request);
        *own_request = (reid_control_request){0};
    }
    pthread_mutex_unlock(&queue->mutex);
    reid_control_request_fini(own_request);
    if (full && !known)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%d requests wait already for the next step",
                         REID_CONTROL_QUEUE_LIMIT);
    return REID_OK;
}

static request_list take_all(reid_control_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    request_list list = queue->list;
    queue->list = (request_list){0};
    pthread_mutex_unlock(&queue->mutex);
    return list;
}

/* ---- what is to come ---- */

static bool comes_before(const reid_journal_entry *a, const reid_journal_entry *b)
{
    return a->iteration < b->iteration || (a->iteration == b->iteration && a->seq < b->seq);
}

static void add_pending(reid_control *control, reid_journal_entry *own_entry)
{
    size_t at = control->pending.list.count;
    reid_vec_push(&control->pending.list, *own_entry);
    reid_journal_entry *items = control->pending.list.items;
    for (; at > 0 && comes_before(own_entry, &items[at - 1]); at--)
        items[at] = items[at - 1];
    items[at] = *own_entry;
    *own_entry = (reid_journal_entry){0};
}

/* The value that a knob will have before this iteration, as far as is known. */
static void value_before(const reid_control *control, const reid_knob *knob, int64_t iteration,
                         char ret_text[32])
{
    reid_format_double(ret_text, knob->get(&control->options.targets));
    const reid_journal_entries *lists[] = {&control->pending, &control->batch};
    for (size_t k = 0; k < REID_COUNT_OF(lists); k++)
        for (size_t i = 0; i < lists[k]->list.count; i++) {
            const reid_journal_entry *entry = &lists[k]->list.items[i];
            if (entry->iteration <= iteration && strcmp(entry->name, knob->name) == 0)
                snprintf(ret_text, 32, "%s", entry->new_value);
        }
}

/* ---- rank 0: from requests to words ---- */

static reid_status open_journal(reid_control *control, reid_error *err)
{
    if (control->journal)
        return REID_OK;
    reid_journal_entries known;
    REID_TRY(reid_journal_open(control->journal_path, &control->journal, &known, err));
    reid_journal_entries_fini(&known);
    return REID_OK;
}

static reid_status check_kind(const reid_control *control, const reid_control_request *request,
                              reid_error *err)
{
    static const char *const kinds[] = {"set", "checkpoint", "evaluate", "stop", "pause"};
    bool known = false;
    for (size_t i = 0; i < REID_COUNT_OF(kinds); i++)
        known |= strcmp(kinds[i], request->kind) == 0;
    if (!known)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "this reid-train does not know '%.32s'",
                         request->kind);
    bool set = strcmp(request->kind, "set") == 0;
    if (set &&
        (request->setting_count == 0 || request->setting_count > REID_CONTROL_SETTINGS_LIMIT))
        return reid_fail(err, REID_ERR_INVALID, "a set has 1 to %d settings, not %zu",
                         REID_CONTROL_SETTINGS_LIMIT, request->setting_count);
    if (strcmp(request->kind, "evaluate") == 0 && !control->options.targets.eval_hook)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "this job cannot be evaluated: its DATASETS.TESTS is empty");
    return REID_OK;
}

static reid_status choose_iteration(const reid_control *control, int64_t at_iter, int64_t next,
                                    int64_t *ret_iteration, reid_error *err)
{
    int64_t last = control->base.trainer->max_iter;
    if (next >= last)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "the training has just done the last of its %lld iterations",
                         (long long)last);
    if (at_iter > 0 && at_iter < next)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "iteration %lld is already past; the next one is %lld", (long long)at_iter,
                         (long long)next);
    if (at_iter >= last)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "iteration %lld will not come: the last one is %lld", (long long)at_iter,
                         (long long)last - 1);
    *ret_iteration = REID_MAX(at_iter, next);
    return REID_OK;
}

static reid_journal_entry make_entry(const reid_control_request *request, int64_t iteration)
{
    return (reid_journal_entry){
        .wall_ms = request->wall_ms,
        .iteration = iteration,
        .id = reid_xstrdup(request->id),
        .who = reid_xstrdup(request->who),
        .kind = reid_xstrdup(request->kind),
        .reason = reid_xstrdup(request->reason),
    };
}

static reid_status make_entries(reid_control *control, const reid_control_request *request,
                                int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    for (size_t i = 0; i < request->setting_count; i++) {
        double value = 0;
        char old_text[32], new_text[32];
        const reid_control_setting *setting = &request->settings[i];
        REID_TRY(
            reid_knob_check(&control->options.targets, setting->name, setting->value, &value, err));
        value_before(control, reid_knob_find(setting->name), iteration, old_text);
        reid_format_double(new_text, value);
        reid_journal_entry entry = make_entry(request, iteration);
        entry.name = reid_xstrdup(setting->name);
        entry.old_value = reid_xstrdup(old_text);
        entry.new_value = reid_xstrdup(new_text);
        reid_vec_push(&entries->list, entry);
    }
    if (request->setting_count > 0)
        return REID_OK;
    reid_journal_entry entry = make_entry(request, iteration);
    entry.name = reid_xstrdup("");
    entry.old_value = reid_xstrdup("");
    entry.new_value = reid_xstrdup("");
    reid_vec_push(&entries->list, entry);
    return REID_OK;
}

/* All settings of a request, or none. */
static reid_status accept(reid_control *control, const reid_control_request *request, int64_t next,
                          reid_error *err)
{
    int64_t iteration = 0;
    REID_TRY(check_kind(control, request, err));
    REID_TRY(choose_iteration(control, request->at_iter, next, &iteration, err));
    reid_journal_entries entries = {0};
    reid_status status = make_entries(control, request, iteration, &entries, err);
    if (status == REID_OK)
        status = open_journal(control, err);
    if (status == REID_OK)
        status = reid_journal_append(control->journal, entries.list.items, entries.list.count, err);
    if (status != REID_OK) {
        reid_journal_entries_fini(&entries);
        return status;
    }
    for (size_t i = 0; i < entries.list.count; i++) {
        reid_str_addf(&control->text, "%s\n", entries.list.items[i].line);
        reid_vec_push(&control->batch.list, entries.list.items[i]);
    }
    reid_vec_fini(&entries.list);
    return REID_OK;
}

size_t reid_control_prepare(reid_control *control, int64_t next)
{
    if (control->options.comm->rank != 0 || !control->options.queue)
        return 0;
    request_list requests = take_all(control->options.queue);
    for (size_t i = 0; i < requests.count; i++) {
        reid_error why = {0};
        if (accept(control, &requests.items[i], next, &why) != REID_OK) {
            reid_log_info("control refused %s: %s", requests.items[i].kind, why.text);
            if (control->options.refused)
                control->options.refused(control->options.user, requests.items[i].id, &why);
        }
        reid_control_request_fini(&requests.items[i]);
    }
    reid_vec_fini(&requests);
    return control->text.length;
}

/* ---- all ranks ---- */

static bool is_done(const reid_control *control, const reid_journal_entry *entry)
{
    return entry->iteration < control->done_iteration ||
           (entry->iteration == control->done_iteration && entry->seq <= control->done_seq);
}

static reid_status add_lines(reid_control *control, reid_error *err)
{
    const char *at = reid_str_text(&control->text), *end = at + control->text.length;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        reid_journal_entry entry = {0};
        char prev[65], hash[65];
        if (!stop)
            return reid_fail(err, REID_ERR_INTERNAL, "a control word came without its end");
        reid_status status = reid_journal_parse(at, (size_t)(stop - at), &entry, prev, hash, err);
        if (status != REID_OK)
            return reid_error_prefix(err, "a control word came damaged");
        add_pending(control, &entry);
        at = stop + 1;
    }
    return REID_OK;
}

static reid_status broadcast_text(reid_control *control, size_t bytes, reid_error *err)
{
    reid_comm *comm = control->options.comm;
    if (comm->rank == 0)
        return reid_comm_broadcast(comm, control->text.data, bytes, 0, err);
    char *buffer = reid_alloc(bytes, 1);
    if (!buffer)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu bytes of control words",
                         bytes);
    reid_status status = reid_comm_broadcast(comm, buffer, bytes, 0, err);
    if (status == REID_OK)
        reid_str_add_bytes(&control->text, buffer, bytes);
    free(buffer);
    return status;
}

/* Rank 0 tells about each request: its entries stand together. */
static void tell_agreed(const reid_control *control)
{
    const reid_journal_entry *items = control->batch.list.items;
    size_t count = control->batch.list.count;
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && strcmp(items[end].id, items[first].id) == 0; end++)
            ;
        if (control->options.agreed)
            control->options.agreed(control->options.user, items[first].id, items + first,
                                    end - first);
    }
}

reid_status reid_control_share(reid_control *control, size_t bytes, reid_error *err)
{
    if (bytes == 0)
        return REID_OK;
    reid_status status = broadcast_text(control, bytes, err);
    if (status == REID_OK)
        status = add_lines(control, err);
    if (status == REID_OK)
        tell_agreed(control);
    reid_journal_entries_fini(&control->batch);
    reid_str_clear(&control->text);
    return status;
}

/* ---- effects ---- */

static void set_knob(reid_control *control, const char *name, const char *text)
{
    double value = 0;
    for (size_t i = 0; reid_knob_at(i); i++) {
        const reid_knob *knob = reid_knob_at(i);
        if (strcmp(knob->name, name) != 0 || reid_parse_double(text, &value) != REID_OK)
            continue;
        knob->set(&control->options.targets, value);
        control->changed[i] = true;
        for (size_t k = 0; knob->derived && reid_knob_at(k); k++)
            control->changed[k] |= reid_knob_at(k)->hidden;
    }
}

/* Results belong to the last iteration, as those of an epoch's end. */
static reid_status evaluate_now(reid_control *control, reid_error *err)
{
    reid_trainer *trainer = control->base.trainer;
    reid_event_storage_set_iter(trainer->storage, REID_MAX(trainer->iter - 1, 0));
    REID_TRY(reid_eval_hook_run(control->options.targets.eval_hook, err));
    reid_event_storage_flush_row(trainer->storage);
    return REID_OK;
}

static void end_training(reid_control *control, const reid_journal_entry *word,
                         reid_control_outcome outcome)
{
    char reason[256];
    snprintf(reason, sizeof reason, "%s by %s%s%s",
             outcome == REID_CONTROL_PAUSED ? "paused" : "stopped", word->who,
             *word->reason ? ": " : "", word->reason);
    reid_trainer_request_stop(control->base.trainer, reason);
    control->outcome = outcome;
}

static void log_word(const reid_journal_entry *word)
{
    if (*word->name)
        reid_log_info("control iteration=%lld %s %s: %s -> %s by=%s%s%s",
                      (long long)word->iteration, word->kind, word->name, word->old_value,
                      word->new_value, word->who, *word->reason ? " " : "", word->reason);
    else
        reid_log_info("control iteration=%lld %s by=%s%s%s", (long long)word->iteration, word->kind,
                      word->who, *word->reason ? " " : "", word->reason);
}

static reid_status obey(reid_control *control, const reid_journal_entry *word, reid_error *err)
{
    if (control->options.comm->rank == 0)
        log_word(word);
    control->done_iteration = word->iteration;
    control->done_seq = word->seq;
    if (strcmp(word->kind, "set") == 0)
        set_knob(control, word->name, word->new_value);
    else if (strcmp(word->kind, "checkpoint") == 0)
        return control->options.checkpoint(control->options.user, err);
    else if (strcmp(word->kind, "evaluate") == 0 && control->options.targets.eval_hook)
        return evaluate_now(control, err);
    else if (strcmp(word->kind, "stop") == 0)
        end_training(control, word, REID_CONTROL_STOPPED);
    else if (strcmp(word->kind, "pause") == 0)
        end_training(control, word, REID_CONTROL_PAUSED);
    return REID_OK;
}

reid_status reid_control_apply(reid_control *control, reid_error *err)
{
    reid_status status = REID_OK;
    while (status == REID_OK && control->outcome == REID_CONTROL_NONE &&
           control->pending.list.count > 0 &&
           control->pending.list.items[0].iteration <= control->base.trainer->iter) {
        reid_journal_entry word = control->pending.list.items[0];
        reid_vec_remove(&control->pending.list, 0);
        status = obey(control, &word, err);
        reid_journal_entry_fini(&word);
    }
    return status;
}

reid_control_outcome reid_control_outcome_of(const reid_control *control)
{
    return control->outcome;
}

/* ---- resuming ---- */

static reid_status move_aside(const reid_control *control, reid_error *err)
{
    if (!reid_path_exists(control->journal_path))
        return REID_OK;
    REID_AUTOFREE char *folder = reid_path_dir(control->journal_path);
    for (int i = 1; i < OLD_JOURNALS_MAX; i++) {
        REID_AUTOFREE char *path = reid_xasprintf("%s/journal.%d.jsonl", folder, i);
        if (reid_path_exists(path))
            continue;
        if (rename(control->journal_path, path) != 0)
            return reid_fail(err, REID_ERR_IO, "cannot move '%s' aside", control->journal_path);
        reid_log_info("the journal of a former run is now %s", path);
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_EXHAUSTED, "'%s' has too many old journals", folder);
}

/* A stop or pause has been obeyed: whoever resumes wants to go on. */
static bool is_replayed(const reid_control *control, const reid_journal_entry *entry)
{
    return !is_done(control, entry) && strcmp(entry->kind, "stop") != 0 &&
           strcmp(entry->kind, "pause") != 0;
}

static reid_status read_old(reid_control *control, bool resumed, reid_error *err)
{
    if (!resumed)
        return move_aside(control, err);
    if (!reid_path_exists(control->journal_path))
        return REID_OK;
    reid_journal_entries known;
    REID_TRY(reid_journal_open(control->journal_path, &control->journal, &known, err));
    size_t count = 0;
    for (size_t i = 0; i < known.list.count; i++) {
        if (!is_replayed(control, &known.list.items[i]))
            continue;
        reid_str_addf(&control->text, "%s\n", known.list.items[i].line);
        count++;
    }
    if (count > 0)
        reid_log_info("%zu control words of the journal are replayed", count);
    reid_journal_entries_fini(&known);
    return REID_OK;
}

reid_status reid_control_replay(reid_control *control, bool resumed, reid_error *err)
{
    reid_comm *comm = control->options.comm;
    if (comm->rank == 0)
        REID_TRY(read_old(control, resumed, err));
    uint64_t bytes = control->text.length;
    REID_TRY(reid_comm_broadcast(comm, &bytes, sizeof bytes, 0, err));
    return reid_control_share(control, bytes, err);
}

static void save_state(const reid_hook *base, reid_json_writer *json)
{
    const reid_control *control = (const reid_control *)base;
    reid_json_object(json);
    reid_json_key(json, "iteration");
    reid_json_int(json, control->done_iteration);
    reid_json_key(json, "seq");
    reid_json_int(json, control->done_seq);
    reid_json_key(json, "knobs");
    reid_json_object(json);
    for (size_t i = 0; reid_knob_at(i); i++) {
        const reid_knob *knob = reid_knob_at(i);
        if (!control->changed[i] || knob->derived || knob->missing(&control->options.targets))
            continue;
        reid_json_key(json, knob->name);
        reid_json_double(json, knob->get(&control->options.targets));
    }
    reid_json_end_object(json);
    reid_json_end_object(json);
}

static reid_status load_state(reid_hook *base, const reid_json *json, reid_error *err)
{
    reid_control *control = (reid_control *)base;
    const reid_json *knobs = reid_json_get(json, "knobs");
    for (size_t i = 0; i < reid_json_count(knobs); i++) {
        const reid_json *value = NULL;
        const char *name = reid_json_member(knobs, i, &value);
        double number = reid_json_as_double(value, NAN);
        const reid_knob *knob = reid_knob_find(name);
        if (!knob || knob->missing(&control->options.targets)) {
            reid_log_warn("the knob %s was set in the run that is resumed; here there is none",
                          name);
            continue;
        }
        if (!reid_knob_allows(knob, number))
            return reid_fail(err, REID_ERR_CORRUPT, "the knob %s has no number that it can have",
                             name);
        char text[32];
        set_knob(control, name, reid_format_double(text, number));
    }
    control->done_iteration = reid_json_as_int(reid_json_get(json, "iteration"), -1);
    control->done_seq = reid_json_as_int(reid_json_get(json, "seq"), -1);
    return REID_OK;
}

static void free_control(reid_hook *base)
{
    reid_control *control = (reid_control *)base;
    reid_journal_close(control->journal);
    reid_journal_entries_fini(&control->batch);
    reid_journal_entries_fini(&control->pending);
    reid_str_fini(&control->text);
    free(control->journal_path);
    free(control);
}

static const reid_hook_impl CONTROL = {
    .name = "Control",
    .save_state = save_state,
    .load_state = load_state,
    .free = free_control,
};

reid_control *reid_control_new(const reid_control_options *options, reid_hook **ret_hook)
{
    reid_control *control = reid_xcalloc(1, sizeof *control);
    control->base.impl = &CONTROL;
    control->options = *options;
    control->journal_path = reid_xstrdup(options->journal_path);
    control->options.journal_path = control->journal_path;
    control->done_iteration = control->done_seq = -1;
    *ret_hook = &control->base;
    return control;
}
