/* The table of control words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/vec.h"
#include "engine/control_private.h"
#include "engine/hooks/eval_hook.h"
#include "engine/trainer.h"

#define PROFILE_STEPS_MAX 1000

/* ---- set ---- */

/* The value that a knob will have before this iteration, as far as is known. */
static void value_before(const reid_control *control, const reid_knob *knob, int64_t iteration,
                         char ret_text[32])
{
    reid_format_double(ret_text, knob->get(&control->options.targets));
    const reid_journal_entries *lists[] = {&control->pending, &control->batch};
    for (size_t k = 0; k < REID_COUNT_OF(lists); k++)
        for (size_t i = 0; i < lists[k]->list.count; i++) {
            const reid_journal_entry *entry = &lists[k]->list.items[i];
            if (entry->iteration <= iteration && strcmp(entry->kind, "set") == 0 &&
                strcmp(entry->name, knob->name) == 0)
                snprintf(ret_text, 32, "%s", entry->new_value);
        }
}

static reid_status make_set(reid_control *control, const reid_control_request *request,
                            int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    if (request->setting_count == 0 || request->setting_count > REID_CONTROL_SETTINGS_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a set has 1 to %d settings, not %zu",
                         REID_CONTROL_SETTINGS_LIMIT, request->setting_count);
    for (size_t i = 0; i < request->setting_count; i++) {
        double value = 0;
        char old_text[32], new_text[32];
        const reid_control_setting *setting = &request->settings[i];
        REID_TRY(
            reid_knob_check(&control->options.targets, setting->name, setting->value, &value, err));
        value_before(control, reid_knob_find(setting->name), iteration, old_text);
        reid_format_double(new_text, value);
        reid_vec_push(&entries->list,
                      reid_control_entry(request, iteration, setting->name, old_text, new_text));
    }
    return REID_OK;
}

void reid_control_set_knob(reid_control *control, const char *name, const char *text)
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

static reid_status obey_set(reid_control *control, const reid_journal_entry *word, reid_error *err)
{
    reid_control_set_knob(control, word->name, word->new_value);
    return REID_OK;
}

/* ---- between two iterations ---- */

static reid_status obey_checkpoint(reid_control *control, const reid_journal_entry *word,
                                   reid_error *err)
{
    return control->options.checkpoint(control->options.user, err);
}

static reid_status make_evaluate(reid_control *control, const reid_control_request *request,
                                 int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    if (!control->options.targets.eval_hook)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "this job cannot be evaluated: its DATASETS.TESTS is empty");
    reid_vec_push(&entries->list, reid_control_entry(request, iteration, "", "", ""));
    return REID_OK;
}

/* Results belong to the last iteration, as those of an epoch's end. */
static reid_status obey_evaluate(reid_control *control, const reid_journal_entry *word,
                                 reid_error *err)
{
    reid_trainer *trainer = control->base.trainer;
    if (!control->options.targets.eval_hook)
        return REID_OK; /* a fork without tests */
    reid_event_storage_set_iter(trainer->storage, REID_MAX(trainer->iter - 1, 0));
    REID_TRY(reid_eval_hook_run(control->options.targets.eval_hook, err));
    reid_event_storage_flush_row(trainer->storage);
    return REID_OK;
}

/* ---- the end ---- */

static reid_status end_training(reid_control *control, const reid_journal_entry *word,
                                reid_control_outcome outcome)
{
    char reason[256];
    snprintf(reason, sizeof reason, "%s by %s%s%s",
             outcome == REID_CONTROL_PAUSED ? "paused" : "stopped", word->who,
             *word->reason ? ": " : "", word->reason);
    reid_trainer_request_stop(control->base.trainer, reason);
    control->outcome = outcome;
    return REID_OK;
}

static reid_status obey_stop(reid_control *control, const reid_journal_entry *word, reid_error *err)
{
    return end_training(control, word, REID_CONTROL_STOPPED);
}

static reid_status obey_pause(reid_control *control, const reid_journal_entry *word,
                              reid_error *err)
{
    return end_training(control, word, REID_CONTROL_PAUSED);
}

/* ---- steps ---- */

static reid_status obey_skip(reid_control *control, const reid_journal_entry *word, reid_error *err)
{
    control->skip_step = true;
    return REID_OK;
}

static reid_status make_profile(reid_control *control, const reid_control_request *request,
                                int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    int64_t steps = 0;
    char text[32];
    if (!control->options.profile)
        return reid_fail(err, REID_ERR_PRECONDITION, "this training has no profiler");
    if (request->setting_count != 1 ||
        reid_parse_int64(request->settings[0].value, &steps) != REID_OK || steps < 1 ||
        steps > PROFILE_STEPS_MAX)
        return reid_fail(err, REID_ERR_INVALID, "a profile is of 1 to %d steps", PROFILE_STEPS_MAX);
    snprintf(text, sizeof text, "%lld", (long long)steps);
    reid_vec_push(&entries->list, reid_control_entry(request, iteration, "steps", "", text));
    return REID_OK;
}

/* What cannot be recorded must not end a training. */
static reid_status obey_profile(reid_control *control, const reid_journal_entry *word,
                                reid_error *err)
{
    int64_t steps = 0;
    reid_error why = {0};
    if (control->options.profile && reid_parse_int64(word->new_value, &steps) == REID_OK &&
        control->options.profile(control->options.user, steps, &why) != REID_OK)
        reid_log_warn("no profile: %s", why.text);
    return REID_OK;
}

/* ---- guest hooks ---- */

static reid_status make_hook_add(reid_control *control, const reid_control_request *request,
                                 int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    if (!control->options.guests)
        return reid_fail(err, REID_ERR_PRECONDITION, "this training takes no hooks");
    if (request->setting_count != 1)
        return reid_fail(err, REID_ERR_INVALID, "a hook_add has one setting, not %zu",
                         request->setting_count);
    REID_AUTOFREE char *name = NULL;
    reid_str spec = REID_STR_INIT;
    reid_status status = reid_guest_host_try(control->options.guests, request->settings[0].name,
                                             request->settings[0].value, &name, &spec, err);
    if (status == REID_OK)
        reid_vec_push(&entries->list,
                      reid_control_entry(request, iteration, name, "", reid_str_text(&spec)));
    reid_str_fini(&spec);
    return status;
}

static reid_status obey_hook_add(reid_control *control, const reid_journal_entry *word,
                                 reid_error *err)
{
    if (!control->options.guests)
        return REID_OK;
    return reid_guest_host_add(control->options.guests, word->seq, word->new_value, word->iteration,
                               word->who, &control->added_guest, err);
}

/* Of one that is there, or will be by what is agreed on. */
static const char *name_of_guest(const reid_control *control, int64_t id)
{
    const char *name =
        control->options.guests ? reid_guest_host_name(control->options.guests, id) : NULL;
    const reid_journal_entries *lists[] = {&control->pending, &control->batch};
    for (size_t k = 0; k < REID_COUNT_OF(lists); k++)
        for (size_t i = 0; i < lists[k]->list.count; i++) {
            const reid_journal_entry *entry = &lists[k]->list.items[i];
            if (strcmp(entry->kind, "hook_add") == 0 && entry->seq == id)
                name = entry->name;
        }
    return name;
}

static reid_status make_hook_change(reid_control *control, const reid_control_request *request,
                                    int64_t iteration, reid_journal_entries *entries,
                                    reid_error *err)
{
    int64_t id = 0;
    if (request->setting_count != 1 || reid_parse_int64(request->settings[0].name, &id) != REID_OK)
        return reid_fail(err, REID_ERR_INVALID, "%s needs the id of a hook", request->kind);
    const char *name = name_of_guest(control, id);
    if (!name)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no hook %lld in this job",
                         (long long)id);
    reid_vec_push(&entries->list,
                  reid_control_entry(request, iteration, name, request->settings[0].name, ""));
    return REID_OK;
}

static int64_t guest_of(const reid_journal_entry *word)
{
    int64_t id = -1;
    return reid_parse_int64(word->old_value, &id) == REID_OK ? id : -1;
}

static reid_status obey_hook_remove(reid_control *control, const reid_journal_entry *word,
                                    reid_error *err)
{
    if (control->options.guests)
        reid_guest_host_remove(control->options.guests, guest_of(word));
    return REID_OK;
}

static reid_status obey_hook_enable(reid_control *control, const reid_journal_entry *word,
                                    reid_error *err)
{
    if (control->options.guests)
        reid_guest_host_enable(control->options.guests, guest_of(word), true);
    return REID_OK;
}

static reid_status obey_hook_disable(reid_control *control, const reid_journal_entry *word,
                                     reid_error *err)
{
    if (control->options.guests)
        reid_guest_host_enable(control->options.guests, guest_of(word), false);
    return REID_OK;
}

/* ---- a fork's journal says where it comes from ---- */

static reid_status obey_nothing(reid_control *control, const reid_journal_entry *word,
                                reid_error *err)
{
    return REID_OK;
}

static reid_status refuse_fork(reid_control *control, const reid_control_request *request,
                               int64_t iteration, reid_journal_entries *entries, reid_error *err)
{
    return reid_fail(err, REID_ERR_UNSUPPORTED, "a fork is a job of its own");
}

/* ---- the table ---- */

/* clang-format off */
static const reid_word_kind KINDS[] = {
    {"set", .replayed = true, .make = make_set, .obey = obey_set},
    {"checkpoint", .replayed = true, .between = true, .obey = obey_checkpoint},
    {"evaluate", .replayed = true, .between = true, .make = make_evaluate, .obey = obey_evaluate},
    {"stop", .obey = obey_stop},
    {"pause", .obey = obey_pause},
    {"skip_step", .replayed = true, .obey = obey_skip},
    {"profile", .between = true, .make = make_profile, .obey = obey_profile},
    {"hook_add", .replayed = true, .between = true, .make = make_hook_add, .obey = obey_hook_add},
    {"hook_remove", .replayed = true, .between = true, .make = make_hook_change, .obey = obey_hook_remove},
    {"hook_enable", .replayed = true, .between = true, .make = make_hook_change, .obey = obey_hook_enable},
    {"hook_disable", .replayed = true, .between = true, .make = make_hook_change, .obey = obey_hook_disable},
    {"fork", .make = refuse_fork, .obey = obey_nothing},
};
/* clang-format on */

const reid_word_kind *reid_word_kind_find(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(KINDS); i++)
        if (strcmp(KINDS[i].name, name) == 0)
            return &KINDS[i];
    return NULL;
}
