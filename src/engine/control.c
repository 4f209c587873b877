#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/control_private.h"
#include "engine/guest/host_private.h"
#include "engine/trainer.h"

#define OLD_JOURNALS_MAX 10000

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

static char *copy(const char *text)
{
    return reid_xstrdup(text ? text : "");
}

reid_journal_entry reid_control_entry(const reid_control_request *request, int64_t iteration,
                                      const char *name, const char *old_value,
                                      const char *new_value)
{
    return (reid_journal_entry){
        .wall_ms = request->wall_ms,
        .iteration = iteration,
        .id = copy(request->id),
        .who = copy(request->who),
        .kind = copy(request->kind),
        .name = copy(name),
        .old_value = copy(old_value),
        .new_value = copy(new_value),
        .reason = copy(request->reason),
    };
}

static reid_status make_entries(reid_control *control, const reid_control_request *request,
                                int64_t next, reid_journal_entries *entries, reid_error *err)
{
    const reid_word_kind *kind = reid_word_kind_find(request->kind);
    int64_t iteration = 0;
    if (!kind)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "this reid-train does not know '%.32s'",
                         request->kind);
    if (kind->between && control->base.trainer->iteration_begun)
        next = REID_MAX(next, control->base.trainer->iter + 1);
    REID_TRY(choose_iteration(control, request->at_iter, next, &iteration, err));
    if (kind->make)
        return kind->make(control, request, iteration, entries, err);
    reid_vec_push(&entries->list, reid_control_entry(request, iteration, "", "", ""));
    return REID_OK;
}

/* All settings of a request, or none. */
reid_status reid_control_accept(reid_control *control, const reid_control_request *request,
                                int64_t next, reid_error *err)
{
    reid_journal_entries entries = {0};
    reid_status status = make_entries(control, request, next, &entries, err);
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

reid_status reid_control_push(reid_control *control, reid_control_request *own_request,
                              reid_error *err)
{
    return reid_control_queue_push(control->options.queue, own_request, err);
}

size_t reid_control_prepare(reid_control *control, int64_t next)
{
    if (control->options.comm->rank != 0)
        return 0;
    for (int i = 0; control->options.queue && i < REID_CONTROL_QUEUE_LIMIT; i++) {
        reid_control_request request = reid_control_queue_take(control->options.queue);
        if (!request.id)
            break;
        reid_error why = {0};
        if (reid_control_accept(control, &request, next, &why) != REID_OK) {
            reid_log_info("control refused %s: %s", request.kind, why.text);
            if (control->options.refused)
                control->options.refused(control->options.user, request.id, &why);
        }
        reid_control_request_fini(&request);
    }
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

/* A fence: all ranks learn what rank 0 has now. */
static reid_status share_now(reid_control *control, int64_t next, reid_error *err)
{
    uint64_t bytes = reid_control_prepare(control, next);
    REID_TRY(reid_comm_broadcast(control->options.comm, &bytes, sizeof bytes, 0, err));
    return reid_control_share(control, bytes, err);
}

reid_status reid_control_fence(reid_control *control, reid_point point, reid_error *err)
{
    const reid_trainer *trainer = control->base.trainer;
    const reid_guest_host *guests = control->options.guests;
    bool due = point == REID_BEFORE_TRAIN || (guests && reid_guest_host_is_due(guests, point));
    if (!due)
        return REID_OK;
    REID_TRY(share_now(control, trainer->iter + (point == REID_AFTER_STEP), err));
    bool before = point == REID_BEFORE_EPOCH || point == REID_BEFORE_STEP;
    return before ? reid_control_apply(control, err) : REID_OK;
}

/* ---- effects ---- */

static void log_word(const reid_journal_entry *word)
{
    const char *colon = *word->reason ? ": " : "";
    if (strcmp(word->kind, "set") == 0)
        reid_log_info("control iteration=%lld %s: %s -> %s by=%s%s%s", (long long)word->iteration,
                      word->name, word->old_value, word->new_value, word->who, colon, word->reason);
    else
        reid_log_info("control iteration=%lld %s%s%s by=%s%s%s", (long long)word->iteration,
                      word->kind, *word->name ? " " : "", word->name, word->who, colon,
                      word->reason);
}

static reid_status obey(reid_control *control, const reid_journal_entry *word, reid_error *err)
{
    const reid_word_kind *kind = reid_word_kind_find(word->kind);
    if (!kind)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "this reid-train does not know the word '%.32s' of the journal, line %lld",
                         word->kind, (long long)word->seq);
    if (control->options.comm->rank == 0)
        log_word(word);
    control->done_iteration = word->iteration;
    control->done_seq = word->seq;
    return kind->obey(control, word, err);
}

static reid_status obey_pending(reid_control *control, reid_error *err)
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

reid_status reid_control_apply(reid_control *control, reid_error *err)
{
    do {
        control->added_guest = false;
        REID_TRY(obey_pending(control, err));
        if (control->added_guest) /* its before_train may have had wishes */
            REID_TRY(share_now(control, control->base.trainer->iter, err));
    } while (control->added_guest);
    return REID_OK;
}

bool reid_control_take_skip(reid_control *control)
{
    bool skip = control->skip_step;
    control->skip_step = false;
    return skip;
}

reid_control_outcome reid_control_outcome_of(const reid_control *control)
{
    return control->outcome;
}

/* ---- resuming ---- */

reid_status reid_control_move_journal_aside(const char *journal_path, reid_error *err)
{
    if (!reid_path_exists(journal_path))
        return REID_OK;
    REID_AUTOFREE char *folder = reid_path_dir(journal_path);
    for (int i = 1; i < OLD_JOURNALS_MAX; i++) {
        REID_AUTOFREE char *path = reid_xasprintf("%s/journal.%d.jsonl", folder, i);
        if (reid_path_exists(path))
            continue;
        if (rename(journal_path, path) != 0)
            return reid_fail(err, REID_ERR_IO, "cannot move '%s' aside", journal_path);
        reid_log_info("the journal of a former run is now %s", path);
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_EXHAUSTED, "'%s' has too many old journals", folder);
}

bool reid_control_is_history(const reid_journal_entry *entry, int64_t iteration)
{
    bool wished_after = reid_str_starts(entry->id, "hook-") && strstr(entry->id, "-after_");
    return entry->iteration < iteration || (entry->iteration == iteration && wished_after);
}

/* For each entry the iteration before which it counts: that of the forks behind it. Caller frees.
 */
static int64_t *fork_limits(const reid_journal_entries *known)
{
    int64_t *limits = reid_xcalloc(known->list.count + 1, sizeof *limits), limit = INT64_MAX;
    for (size_t i = known->list.count; i-- > 0;) {
        const reid_journal_entry *entry = &known->list.items[i];
        limits[i] = limit;
        if (strcmp(entry->kind, "fork") == 0)
            limit = REID_MIN(limit, entry->iteration);
    }
    return limits;
}

/* A stop or pause has been obeyed: whoever resumes wants to go on. A remote hook must come again.
 */
static bool is_replayed(const reid_control *control, const reid_journal_entry *entry)
{
    const reid_word_kind *kind = reid_word_kind_find(entry->kind);
    return !is_done(control, entry) && (!kind || kind->replayed) &&
           !reid_guest_host_must_return(entry);
}

static reid_status read_old(reid_control *control, bool resumed, reid_error *err)
{
    if (!resumed)
        return reid_control_move_journal_aside(control->journal_path, err);
    if (!reid_path_exists(control->journal_path))
        return REID_OK;
    reid_journal_entries known;
    REID_TRY(reid_journal_open(control->journal_path, &control->journal, &known, err));
    REID_AUTOFREE int64_t *limits = fork_limits(&known);
    size_t count = 0;
    for (size_t i = 0; i < known.list.count; i++) {
        if (!reid_control_is_history(&known.list.items[i], limits[i]))
            continue;
        reid_guest_host_knows_wish(control->options.guests, &known.list.items[i]);
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
        reid_control_set_knob(control, name, reid_format_double(text, number));
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
