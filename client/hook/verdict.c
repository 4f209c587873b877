#include "hook/verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"
#include "base/str.h"
#include "out/text.h"

/* ---- actions ---- */

/* Of this kind, or NULL when there are as many as there may be. Its part is the caller's to set at
 * once. */
static Reid__V1__HookAction *add_action(reidctl_verdict *verdict,
                                        Reid__V1__HookAction__KindCase kind, reid_error *err)
{
    if (verdict->actions.count >= REIDCTL_VERDICT_ACTIONS) {
        reid_fail(err, REID_ERR_INVALID, "an answer may ask for at most %d things",
                  REIDCTL_VERDICT_ACTIONS);
        return NULL;
    }
    Reid__V1__HookAction *action = reid_xmalloc(sizeof *action);
    reid__v1__hook_action__init(action);
    action->kind_case = kind;
    reid_vec_push(&verdict->actions, action);
    return action;
}

static reid_status check_text(const char *text, const char *what, reid_error *err)
{
    if (strlen(text) <= REIDCTL_VERDICT_TEXT_BYTES)
        return REID_OK;
    return reid_fail(err, REID_ERR_INVALID, "%s may have at most %d bytes, not %zu", what,
                     REIDCTL_VERDICT_TEXT_BYTES, strlen(text));
}

static reid_status add_stop(reidctl_verdict *verdict, const char *reason, reid_error *err)
{
    REID_TRY(check_text(reason, "the reason of a stop", err));
    Reid__V1__HookAction *action = add_action(verdict, REID__V1__HOOK_ACTION__KIND_STOP, err);
    if (action == NULL)
        return REID_ERR_INVALID;
    action->stop = reid_xmalloc(sizeof *action->stop);
    reid__v1__stop_action__init(action->stop);
    action->stop->reason = reid_xstrdup(reason);
    return REID_OK;
}

/* checkpoint, evaluate, skip_step: nothing but themselves. */
static reid_status add_plain(reidctl_verdict *verdict, Reid__V1__HookAction__KindCase kind,
                             reid_error *err)
{
    Reid__V1__HookAction *action = add_action(verdict, kind, err);
    if (action == NULL)
        return REID_ERR_INVALID;
    if (kind == REID__V1__HOOK_ACTION__KIND_CHECKPOINT) {
        action->checkpoint = reid_xmalloc(sizeof *action->checkpoint);
        reid__v1__checkpoint_action__init(action->checkpoint);
    } else if (kind == REID__V1__HOOK_ACTION__KIND_EVALUATE) {
        action->evaluate = reid_xmalloc(sizeof *action->evaluate);
        reid__v1__evaluate_action__init(action->evaluate);
    } else {
        action->skip_step = reid_xmalloc(sizeof *action->skip_step);
        reid__v1__skip_step_action__init(action->skip_step);
    }
    return REID_OK;
}

static reid_status add_put(reidctl_verdict *verdict, const char *name, double value,
                           reid_error *err)
{
    REID_TRY(check_text(name, "the name of a metric", err));
    Reid__V1__HookAction *action = add_action(verdict, REID__V1__HOOK_ACTION__KIND_PUT_SCALAR, err);
    if (action == NULL)
        return REID_ERR_INVALID;
    action->put_scalar = reid_xmalloc(sizeof *action->put_scalar);
    reid__v1__scalar__init(action->put_scalar);
    action->put_scalar->name = reid_xstrdup(name);
    action->put_scalar->value = value;
    return REID_OK;
}

/* An action without settings yet; all of them are set before the same iteration. */
static reid_status add_set(reidctl_verdict *verdict, Reid__V1__SetAction **ret_set, reid_error *err)
{
    Reid__V1__HookAction *action = add_action(verdict, REID__V1__HOOK_ACTION__KIND_SET, err);
    if (action == NULL)
        return REID_ERR_INVALID;
    action->set = *ret_set = reid_xmalloc(sizeof *action->set);
    reid__v1__set_action__init(action->set);
    action->set->settings = reid_xcalloc(REIDCTL_VERDICT_SETTINGS, sizeof *action->set->settings);
    return REID_OK;
}

static reid_status add_setting(Reid__V1__SetAction *set, const char *name, const char *value,
                               reid_error *err)
{
    REID_TRY(check_text(name, "the name of a knob", err));
    REID_TRY(check_text(value, "the value of a knob", err));
    if (set->n_settings >= REIDCTL_VERDICT_SETTINGS)
        return reid_fail(err, REID_ERR_INVALID, "an answer may set at most %d knobs",
                         REIDCTL_VERDICT_SETTINGS);
    Reid__V1__Setting *setting = reid_xmalloc(sizeof *setting);
    reid__v1__setting__init(setting);
    setting->name = reid_xstrdup(name);
    setting->value = reid_xstrdup(value);
    set->settings[set->n_settings++] = setting;
    return REID_OK;
}

static void cut_actions(reidctl_verdict *verdict, size_t count)
{
    while (verdict->actions.count > count) {
        verdict->actions.count--;
        reid__v1__hook_action__free_unpacked(verdict->actions.items[verdict->actions.count], NULL);
    }
}

void reidctl_verdict_fail(reidctl_verdict *verdict, const char *why)
{
    reid_str text = REID_STR_INIT;
    reidctl_add_clean(&text, *why != '\0' ? why : "it gave no reason");
    if (text.length > REIDCTL_VERDICT_TEXT_BYTES) {
        size_t end = REIDCTL_VERDICT_TEXT_BYTES;
        while (end > 0 && ((unsigned char)text.data[end] & 0xC0) == 0x80)
            end--; /* not in the middle of a character */
        text.data[end] = '\0';
    }
    cut_actions(verdict, 0);
    free(verdict->error);
    verdict->error = reid_str_take(&text);
}

/* ---- one answer ---- */

typedef struct answer {
    const char *name;
    Reid__V1__HookAction__KindCase kind; /* of the plain ones */
    reid_status (*from_json)(reidctl_verdict *verdict, const struct answer *row,
                             const reid_json *value, reid_error *err);
    /* `rest` is what stands behind the word; it may be changed. */
    reid_status (*from_words)(reidctl_verdict *verdict, const struct answer *row, char *rest,
                              reid_error *err);
} answer;

static reid_status flag_of_json(reidctl_verdict *verdict, const answer *row, const reid_json *value,
                                reid_error *err)
{
    if (reid_json_type_of(value) != REID_JSON_BOOL)
        return reid_fail(err, REID_ERR_INVALID, "\"%s\" is true or false", row->name);
    if (!reid_json_as_bool(value, false) || row->kind == REID__V1__HOOK_ACTION__KIND__NOT_SET)
        return REID_OK;
    return add_plain(verdict, row->kind, err);
}

static reid_status flag_of_words(reidctl_verdict *verdict, const answer *row, char *rest,
                                 reid_error *err)
{
    if (*rest != '\0')
        return reid_fail(err, REID_ERR_INVALID, "nothing may stand behind '%s', not '%.32s'",
                         row->name, rest);
    return row->kind == REID__V1__HOOK_ACTION__KIND__NOT_SET ? REID_OK
                                                             : add_plain(verdict, row->kind, err);
}

static reid_status stop_of_json(reidctl_verdict *verdict, const answer *row, const reid_json *value,
                                reid_error *err)
{
    switch (reid_json_type_of(value)) {
    case REID_JSON_STRING:
        return add_stop(verdict, reid_json_as_string(value, ""), err);
    case REID_JSON_BOOL:
        return reid_json_as_bool(value, false) ? add_stop(verdict, "", err) : REID_OK;
    default:
        return reid_fail(err, REID_ERR_INVALID, "\"stop\" is true, false or a reason");
    }
}

static reid_status stop_of_words(reidctl_verdict *verdict, const answer *row, char *rest,
                                 reid_error *err)
{
    return add_stop(verdict, rest, err);
}

static reid_status set_of_json(reidctl_verdict *verdict, const answer *row, const reid_json *value,
                               reid_error *err)
{
    Reid__V1__SetAction *set;
    if (reid_json_type_of(value) != REID_JSON_OBJECT)
        return reid_fail(err, REID_ERR_INVALID,
                         "\"set\" is an object of knobs, such as {\"lr\": 1e-4}");
    if (reid_json_count(value) == 0)
        return REID_OK;
    REID_TRY(add_set(verdict, &set, err));
    for (size_t i = 0; i < reid_json_count(value); i++) {
        const reid_json *item;
        const char *name = reid_json_member(value, i, &item), *text;
        char number[32];
        reid_json_type type = reid_json_type_of(item);
        if (type == REID_JSON_INT)
            snprintf(number, sizeof number, "%lld", (long long)reid_json_as_int(item, 0));
        else if (type == REID_JSON_DOUBLE)
            reid_format_double(number, reid_json_as_double(item, 0));
        else if (type != REID_JSON_STRING)
            return reid_fail(err, REID_ERR_INVALID, "the knob '%.64s' is set to a number or a text",
                             name);
        text = type == REID_JSON_STRING ? reid_json_as_string(item, "") : number;
        REID_TRY(add_setting(set, name, text, err));
    }
    return REID_OK;
}

static reid_status put_of_json(reidctl_verdict *verdict, const answer *row, const reid_json *value,
                               reid_error *err)
{
    if (reid_json_type_of(value) != REID_JSON_OBJECT)
        return reid_fail(err, REID_ERR_INVALID,
                         "\"put\" is an object of metrics, such as {\"name\": 1.5}");
    for (size_t i = 0; i < reid_json_count(value); i++) {
        const reid_json *item;
        const char *name = reid_json_member(value, i, &item);
        reid_json_type type = reid_json_type_of(item);
        if (type != REID_JSON_INT && type != REID_JSON_DOUBLE)
            return reid_fail(err, REID_ERR_INVALID, "the metric '%.64s' is a number", name);
        REID_TRY(add_put(verdict, name, reid_json_as_double(item, 0), err));
    }
    return REID_OK;
}

/* The next NAME=VALUE, NULL at the end. */
static reid_status next_pair(char **rest, const answer *row, char **ret_name, char **ret_value,
                             reid_error *err)
{
    *ret_name = strtok_r(NULL, " ", rest);
    if (*ret_name == NULL)
        return REID_OK;
    char *equals = strchr(*ret_name, '=');
    if (equals == NULL || equals == *ret_name || equals[1] == '\0')
        return reid_fail(err, REID_ERR_INVALID,
                         "behind '%s' stands NAME=VALUE, without spaces, not '%.64s'", row->name,
                         *ret_name);
    *equals = '\0';
    *ret_value = equals + 1;
    return REID_OK;
}

static reid_status set_of_words(reidctl_verdict *verdict, const answer *row, char *rest,
                                reid_error *err)
{
    Reid__V1__SetAction *set;
    char *name = NULL, *value = NULL;
    REID_TRY(add_set(verdict, &set, err));
    for (;;) {
        REID_TRY(next_pair(&rest, row, &name, &value, err));
        if (name == NULL)
            break;
        REID_TRY(add_setting(set, name, value, err));
    }
    if (set->n_settings > 0)
        return REID_OK;
    return reid_fail(err, REID_ERR_INVALID, "behind 'set' stands NAME=VALUE");
}

static reid_status put_of_words(reidctl_verdict *verdict, const answer *row, char *rest,
                                reid_error *err)
{
    char *name = NULL, *value = NULL;
    for (bool first = true;; first = false) {
        double number;
        REID_TRY(next_pair(&rest, row, &name, &value, err));
        if (name == NULL && first)
            return reid_fail(err, REID_ERR_INVALID, "behind 'put' stands NAME=NUMBER");
        if (name == NULL)
            return REID_OK;
        if (reid_parse_double(value, &number) != REID_OK)
            return reid_fail(err, REID_ERR_INVALID, "the metric '%.64s' is a number, not '%.64s'",
                             name, value);
        REID_TRY(add_put(verdict, name, number, err));
    }
}

static reid_status error_of_json(reidctl_verdict *verdict, const answer *row,
                                 const reid_json *value, reid_error *err)
{
    if (reid_json_type_of(value) != REID_JSON_STRING)
        return reid_fail(err, REID_ERR_INVALID, "\"error\" is a text");
    if (*reid_json_as_string(value, "") != '\0')
        reidctl_verdict_fail(verdict, reid_json_as_string(value, ""));
    return REID_OK;
}

static reid_status error_of_words(reidctl_verdict *verdict, const answer *row, char *rest,
                                  reid_error *err)
{
    reidctl_verdict_fail(verdict, rest);
    return REID_OK;
}

static const answer answers[] = {
    {"continue", REID__V1__HOOK_ACTION__KIND__NOT_SET, flag_of_json, flag_of_words},
    {"stop", REID__V1__HOOK_ACTION__KIND_STOP, stop_of_json, stop_of_words},
    {"checkpoint", REID__V1__HOOK_ACTION__KIND_CHECKPOINT, flag_of_json, flag_of_words},
    {"evaluate", REID__V1__HOOK_ACTION__KIND_EVALUATE, flag_of_json, flag_of_words},
    {"skip_step", REID__V1__HOOK_ACTION__KIND_SKIP_STEP, flag_of_json, flag_of_words},
    {"set", REID__V1__HOOK_ACTION__KIND_SET, set_of_json, set_of_words},
    {"put", REID__V1__HOOK_ACTION__KIND_PUT_SCALAR, put_of_json, put_of_words},
    {"error", REID__V1__HOOK_ACTION__KIND__NOT_SET, error_of_json, error_of_words},
};

static const answer *find_answer(const char *name, reid_error *err)
{
    const char *best = NULL;
    size_t least = strlen(name) / 3 + 2;
    for (size_t i = 0; i < REID_COUNT_OF(answers); i++) {
        size_t distance = reid_str_distance(name, answers[i].name);
        if (strcmp(name, answers[i].name) == 0)
            return &answers[i];
        best = distance < least ? answers[i].name : best;
        least = REID_MIN(least, distance);
    }
    reid_fail(err, REID_ERR_INVALID, "there is no answer '%.64s'%s%s%s", name,
              best != NULL ? "; did you mean '" : "", best != NULL ? best : "",
              best != NULL ? "'?" : "");
    return NULL;
}

static reid_status add_json(reidctl_verdict *verdict, const char *line, size_t length,
                            reid_error *err)
{
    reid_json *root = NULL;
    reid_status status = reid_json_parse(line, length, &root, err);
    if (status != REID_OK)
        return reid_error_prefix(err, "the answer is no JSON");
    for (size_t i = 0; status == REID_OK && i < reid_json_count(root); i++) {
        const reid_json *value;
        const char *name = reid_json_member(root, i, &value);
        const answer *row = find_answer(name, err);
        if (row == NULL)
            status = REID_ERR_INVALID;
        else if (reid_json_type_of(value) != REID_JSON_NULL)
            status = row->from_json(verdict, row, value, err);
    }
    reid_json_free(root);
    return status;
}

static reid_status add_words(reidctl_verdict *verdict, char *line, reid_error *err)
{
    char *rest = NULL, *word = strtok_r(line, " ", &rest);
    if (word == NULL)
        return REID_OK;
    const answer *row = find_answer(word, err);
    if (row == NULL)
        return REID_ERR_INVALID;
    return row->from_words(verdict, row, rest != NULL ? reid_str_trim(rest) : line + strlen(line),
                           err);
}

reid_status reidctl_verdict_add(reidctl_verdict *verdict, const char *line, size_t length,
                                reid_error *err)
{
    size_t count = verdict->actions.count;
    if (memchr(line, '\0', length) != NULL)
        return reid_fail(err, REID_ERR_INVALID, "the answer is no text");
    char *text = reid_xstrndup(line, length);
    const char *start = reid_str_trim(text);
    reid_status status;
    if (*start == '{') {
        status = add_json(verdict, start, strlen(start), err);
    } else {
        reid_str clean = REID_STR_INIT; /* texts on the wire are UTF-8 */
        reidctl_add_clean(&clean, start);
        status = clean.length > 0 ? add_words(verdict, clean.data, err) : REID_OK;
        reid_str_fini(&clean);
    }
    free(text);
    if (status != REID_OK)
        cut_actions(verdict, count);
    return status == REID_OK ? REID_OK : REID_ERR_INVALID;
}

const Reid__V1__HookVerdict *reidctl_verdict_message(reidctl_verdict *verdict, int64_t event)
{
    reid__v1__hook_verdict__init(&verdict->message);
    verdict->message.event = event;
    if (verdict->error != NULL) {
        verdict->message.error = verdict->error;
        return &verdict->message;
    }
    verdict->message.actions = verdict->actions.items;
    verdict->message.n_actions = verdict->actions.count;
    return &verdict->message;
}

void reidctl_verdict_fini(reidctl_verdict *verdict)
{
    cut_actions(verdict, 0);
    reid_vec_fini(&verdict->actions);
    free(verdict->error);
    *verdict = (reidctl_verdict){0};
}
