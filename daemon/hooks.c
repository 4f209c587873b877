#include "daemon/hooks.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/journal.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/manager_private.h"

#define WORDS_KEPT (2 * REIDD_HOOKS_LIMIT)

/* ---- lists ---- */

void reidd_hook_fini(reidd_hook *hook)
{
    free(hook->name);
    free(hook->kind);
    free(hook->last_error);
    free(hook->bytes);
    *hook = (reidd_hook){0};
}

void reidd_hook_list_fini(reidd_hook_list *list)
{
    for (size_t i = 0; i < list->hooks.count; i++)
        reidd_hook_fini(&list->hooks.items[i]);
    reid_vec_fini(&list->hooks);
    *list = (reidd_hook_list){0};
}

const reidd_hook *reidd_hook_list_find(const reidd_hook_list *list, int64_t hook)
{
    for (size_t i = 0; i < list->hooks.count; i++)
        if (list->hooks.items[i].id == hook)
            return &list->hooks.items[i];
    return NULL;
}

static void word_fini(reidd_hook_word *word)
{
    free(word->name);
    free(word->sentence);
}

void reidd_active_drop_hooks(reidd_active *active)
{
    reidd_active_hooks *hooks = &active->hooks;
    reidd_hook_list_fini(&hooks->list);
    for (size_t i = 0; i < hooks->words.count; i++)
        word_fini(&hooks->words.items[i]);
    reid_vec_fini(&hooks->words);
    *hooks = (reidd_active_hooks){0};
}

/* ---- agreed words ---- */

static char *describe_word(const reid_journal_entry *entry)
{
    const char *did = strcmp(entry->kind, "hook_remove") == 0    ? "removed"
                      : strcmp(entry->kind, "hook_disable") == 0 ? "disabled"
                      : strcmp(entry->kind, "hook_enable") == 0  ? "enabled"
                                                                 : "added";
    if (reid_str_starts(entry->who, "hook '") && *entry->reason) /* by its own doing */
        return reid_xstrdup(entry->reason);
    return reid_xasprintf("%s by %s before iteration %lld%s%s", did, entry->who,
                          (long long)entry->iteration, *entry->reason ? ": " : "", entry->reason);
}

static void keep_word(reidd_active_hooks *hooks, const reid_journal_entry *entry)
{
    bool added = strcmp(entry->kind, "hook_add") == 0;
    int64_t id = entry->seq;
    if (!added && reid_parse_int64(entry->old_value, &id) != REID_OK)
        return;
    size_t old = 0;
    while (old < hooks->words.count && hooks->words.items[old].hook != id)
        old++;
    if (old == hooks->words.count && hooks->words.count >= WORDS_KEPT)
        old = 0;
    if (old < hooks->words.count) {
        word_fini(&hooks->words.items[old]);
        reid_vec_remove(&hooks->words, old);
    }
    const reidd_hook_word word = {
        .hook = id,
        .name = reid_xstrdup(entry->name),
        .sentence = describe_word(entry),
        .iteration = entry->iteration,
        .added = added,
        .removed = strcmp(entry->kind, "hook_remove") == 0,
    };
    reid_vec_push(&hooks->words, word);
}

void reidd_active_note_hooks(reidd_active *active, char *const *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        reid_journal_entry entry = {0};
        char prev[65], hash[65];
        if (reid_journal_parse(lines[i], strlen(lines[i]), &entry, prev, hash, NULL) != REID_OK)
            continue;
        if (reid_str_starts(entry.kind, "hook_"))
            keep_word(&active->hooks, &entry);
        reid_journal_entry_fini(&entry);
    }
}

const reidd_hook_word *reidd_manager_hook_word(const reidd_manager *manager, const char *id,
                                               int64_t hook)
{
    const reidd_active *active = reidd_active_find(manager, id);
    for (size_t i = 0; active && i < active->hooks.words.count; i++)
        if (active->hooks.words.items[i].hook == hook)
            return &active->hooks.words.items[i];
    return NULL;
}

/* ---- from the link ---- */

reid_status reidd_manager_set_hooks(reidd_manager *manager, const char *id, int attempt,
                                    reidd_hook_list *own_list, reid_error *err)
{
    reidd_active *active = NULL;
    reid_status status = reidd_manager_find_attempt(manager, id, attempt, &active, err);
    if (status != REID_OK) {
        reidd_hook_list_fini(own_list);
        return status;
    }
    reidd_hook_list_fini(&active->hooks.list);
    active->hooks.list = *own_list;
    active->hooks.list.known = true;
    *own_list = (reidd_hook_list){0};
    reidd_hub_publish(manager->hub, id, REIDD_CHANGED_HOOKS);
    return REID_OK;
}

/* A bucket that fills slowly. */
static bool may_note(reidd_active_hooks *hooks)
{
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    if (hooks->note_ms == 0)
        hooks->note_level = REIDD_NOTES_AT_ONCE;
    else
        hooks->note_level += (double)(now_ms - hooks->note_ms) * REIDD_NOTES_PER_MINUTE / 60000.0;
    hooks->note_level = REID_MIN(hooks->note_level, (double)REIDD_NOTES_AT_ONCE);
    hooks->note_ms = now_ms;
    if (hooks->note_level < 1 || hooks->notes >= REIDD_NOTES_PER_LIFE)
        return false;
    hooks->note_level -= 1;
    return true;
}

reid_status reidd_manager_note(reidd_manager *manager, const char *id, int attempt,
                               const char *sentence, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    reidd_active_hooks *hooks = &active->hooks;
    if (!may_note(hooks)) {
        hooks->notes_dropped++;
        return REID_OK;
    }
    REID_AUTOFREE char *more = hooks->notes_dropped > 0
                                   ? reid_xasprintf("%s (%d more were not kept before this)",
                                                    sentence, hooks->notes_dropped)
                                   : NULL;
    reid_log_info("job hook id=%s %s", id, sentence);
    reid_error why = {0};
    reid_status status = reidd_store_event_add(manager->store, id, attempt, reid_clock_wall_ms(),
                                               "hook", more ? more : sentence, &why);
    if (status != REID_OK) { /* not worth breaking the link */
        hooks->notes_dropped++;
        return REID_OK;
    }
    hooks->notes++;
    hooks->notes_dropped = 0;
    active->changed = true;
    reidd_manager_plan_flush(manager);
    return REID_OK;
}

/* ---- looking ---- */

reid_status reidd_manager_hooks(reidd_manager *manager, const char *id,
                                const reidd_hook_list **ret_list, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (!active || active->job.state == REIDD_PAUSED) {
        reidd_job_view view = {0};
        REID_TRY(reidd_manager_view(manager, id, &view, err));
        reid_status status =
            reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s; only a running job has hooks", id,
                      reidd_state_name(view.job.state));
        reidd_job_view_fini(&view);
        return status;
    }
    if (active->adopted && !active->hooks.list.known)
        return reid_fail(err, REID_ERR_UNAVAILABLE,
                         "the ranks of job %s have not reported yet since reidd was started again",
                         id);
    *ret_list = &active->hooks.list;
    return REID_OK;
}

/* Words that were agreed on after the list was made count, too. */
reid_status reidd_manager_hook_named(reidd_manager *manager, const char *id, const char *name,
                                     int64_t *ret_hook, reid_error *err)
{
    const reidd_hook_list *list = NULL;
    REID_TRY(reidd_manager_hooks(manager, id, &list, err));
    const reidd_active_hooks *hooks = &reidd_active_find(manager, id)->hooks;
    int64_t found = 0;
    int count = 0;
    for (size_t i = 0; i < list->hooks.count; i++) {
        const reidd_hook *hook = &list->hooks.items[i];
        const reidd_hook_word *word = reidd_manager_hook_word(manager, id, hook->id);
        if (hook->id == 0 || strcmp(hook->name, name) != 0 || (word && word->removed))
            continue;
        found = hook->id;
        count++;
    }
    for (size_t i = 0; i < hooks->words.count; i++) {
        const reidd_hook_word *word = &hooks->words.items[i];
        if (!word->added || strcmp(word->name, name) != 0 || reidd_hook_list_find(list, word->hook))
            continue;
        found = word->hook;
        count++;
    }
    if (count == 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "job %s has no hook named '%s'", id, name);
    if (count > 1)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s has %d hooks named '%s'; choose one by its id", id, count, name);
    *ret_hook = found;
    return REID_OK;
}
