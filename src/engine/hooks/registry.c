#include "engine/hooks/registry.h"

#include <string.h>

#include "base/compiler.h"
#include "base/str.h"

#define OPTIONS_MAX 16

static const reid_hook_kind *const KINDS[] = {
    &reid_hook_kind_iteration_timer, &reid_hook_kind_lr_scheduler,
    &reid_hook_kind_eval_hook,       &reid_hook_kind_periodic_checkpointer,
    &reid_hook_kind_memory_stats,    &reid_hook_kind_periodic_writer,
};

/* In the order of the kind's options. */
struct reid_hook_values {
    const reid_hook_kind *kind;
    const char *texts[OPTIONS_MAX]; /* NULL: not given */
};

const reid_hook_kind *reid_hook_kind_at(size_t index)
{
    return index < REID_COUNT_OF(KINDS) ? KINDS[index] : NULL;
}

const reid_hook_kind *reid_hook_kind_find(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(KINDS); i++) {
        if (strcmp(KINDS[i]->name, name) == 0)
            return KINDS[i];
    }
    return NULL;
}

/* ---- values ---- */

static size_t option_index(const reid_hook_kind *kind, const char *name, size_t length)
{
    size_t i = 0;
    while (i < kind->option_count && (strlen(kind->options[i].name) != length ||
                                      memcmp(kind->options[i].name, name, length) != 0))
        i++;
    return i;
}

static const char *value_text(const reid_hook_values *values, const char *name,
                              reid_hook_option_type type)
{
    size_t i = option_index(values->kind, name, strlen(name));
    REID_ASSERT(i < values->kind->option_count && values->kind->options[i].type == type);
    return values->texts[i] ? values->texts[i] : values->kind->options[i].otherwise;
}

/* The text was checked when it was set. */
int64_t reid_hook_value_int(const reid_hook_values *values, const char *name)
{
    int64_t value = 0;
    reid_status status = reid_parse_int64(value_text(values, name, REID_HOOK_INT), &value);
    REID_ASSERT(status == REID_OK);
    return value;
}

const char *reid_hook_value_string(const reid_hook_values *values, const char *name)
{
    return value_text(values, name, REID_HOOK_STRING);
}

static reid_status check_value(const reid_hook_kind *kind, const reid_hook_option *option,
                               const char *text, reid_error *err)
{
    int64_t value;
    if (option->type != REID_HOOK_INT)
        return REID_OK;
    if (reid_parse_int64(text, &value) != REID_OK || value < option->minimum)
        return reid_fail(err, REID_ERR_INVALID,
                         "the option %s of the hook %s must be a whole number from %lld on, not "
                         "'%s'",
                         option->name, kind->name, (long long)option->minimum, text);
    return REID_OK;
}

static reid_status unknown_option(const reid_hook_kind *kind, const char *given, reid_error *err)
{
    reid_str names = REID_STR_INIT;
    for (size_t i = 0; i < kind->option_count; i++)
        reid_str_addf(&names, "%s%s", i ? ", " : "", kind->options[i].name);
    reid_status status =
        reid_fail(err, REID_ERR_INVALID, "the hook %s has no option '%.*s'; it has %s", kind->name,
                  (int)strcspn(given, "="), given, names.length ? reid_str_text(&names) : "none");
    reid_str_fini(&names);
    return status;
}

static reid_status set_value(reid_hook_values *values, const char *given, reid_error *err)
{
    const reid_hook_kind *kind = values->kind;
    const char *equals = strchr(given, '=');
    if (!equals)
        return reid_fail(err, REID_ERR_INVALID, "'%s' is not an option of the form name=value",
                         given);
    size_t i = option_index(kind, given, (size_t)(equals - given));
    if (i == kind->option_count)
        return unknown_option(kind, given, err);
    if (values->texts[i])
        return reid_fail(err, REID_ERR_INVALID, "the option %s of the hook %s is there twice",
                         kind->options[i].name, kind->name);
    REID_TRY(check_value(kind, &kind->options[i], equals + 1, err));
    values->texts[i] = equals + 1;
    return REID_OK;
}

/* ---- making ---- */

static reid_status unknown_kind(const char *name, reid_error *err)
{
    const char *nearest = KINDS[0]->name;
    for (size_t i = 1; i < REID_COUNT_OF(KINDS); i++) {
        if (reid_str_distance(name, KINDS[i]->name) < reid_str_distance(name, nearest))
            nearest = KINDS[i]->name;
    }
    return reid_fail(err, REID_ERR_NOT_FOUND, "there is no hook '%s'; did you mean %s?", name,
                     nearest);
}

reid_status reid_hook_make(const char *name, const reid_hook_context *context, size_t option_count,
                           const char *const *options, reid_hook **ret_hook, reid_error *err)
{
    const reid_hook_kind *kind = reid_hook_kind_find(name);
    if (!kind)
        return unknown_kind(name, err);
    REID_ASSERT(kind->option_count <= OPTIONS_MAX);
    reid_hook_values values = {.kind = kind};
    for (size_t i = 0; i < option_count; i++)
        REID_TRY(set_value(&values, options[i], err));
    return kind->make(context, &values, ret_hook, err);
}

reid_status reid_hook_needs(reid_error *err, const char *name, const char *what)
{
    return reid_fail(err, REID_ERR_PRECONDITION,
                     "the hook %s needs %s, which this training does not have", name, what);
}
