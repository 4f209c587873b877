#include "out/hooks.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "hook/lines.h"
#include "out/style.h"
#include "out/table.h"

#define ALL_POINTS 6

static const char *state_name(Reid__V1__HookState state)
{
    static const char *const names[] = {
        [REID__V1__HOOK_STATE__HOOK_STATE_UNSPECIFIED] = "UNKNOWN",
        [REID__V1__HOOK_STATE__HOOK_STATE_ENABLED] = "ENABLED",
        [REID__V1__HOOK_STATE__HOOK_STATE_DISABLED] = "DISABLED",
        [REID__V1__HOOK_STATE__HOOK_STATE_REMOVED] = "REMOVED",
    };
    return (size_t)state < REID_COUNT_OF(names) ? names[state] : "UNKNOWN";
}

static const char *state_color(Reid__V1__HookState state, bool color)
{
    return state == REID__V1__HOOK_STATE__HOOK_STATE_DISABLED ? reidctl_bold(color) : "";
}

static void add_points(reidctl_table *table, const Reid__V1__Hook *hook)
{
    reid_str text = REID_STR_INIT;
    for (size_t i = 0; i < hook->n_points; i++)
        reid_str_addf(&text, "%s%s", i > 0 ? "," : "", reidctl_point_name(hook->points[i]));
    if (hook->n_points == ALL_POINTS) {
        reid_str_clear(&text);
        reid_str_add(&text, "all");
    }
    reidctl_table_add(table, reid_str_text(&text), "");
    reid_str_fini(&text);
}

static void add_number(reidctl_table *table, int64_t number)
{
    char text[32] = "";
    if (number > 0)
        snprintf(text, sizeof text, "%lld", (long long)number);
    reidctl_table_add(table, text, "");
}

static void add_row(reidctl_table *table, const Reid__V1__Hook *hook, bool color)
{
    char each[32] = "";
    if (hook->calls > 0)
        snprintf(each, sizeof each, "%.3fms", hook->seconds * 1000 / (double)hook->calls);
    add_number(table, hook->id);
    reidctl_table_add(table, hook->name, "");
    reidctl_table_add(table, hook->kind, "");
    reidctl_table_add(table, state_name(hook->state), state_color(hook->state, color));
    add_points(table, hook);
    add_number(table, hook->every);
    add_number(table, hook->calls);
    reidctl_table_add(table, each, "");
    add_number(table, hook->late);
    add_number(table, hook->missed);
    reidctl_table_add(table, hook->when, "");
    reidctl_table_add(table, hook->last_error, "");
}

void reidctl_add_hooks(reid_str *out, const Reid__V1__ListHooksResponse *list, bool head,
                       size_t width, bool color)
{
    static const char *const names[] = {"ID",     "NAME",   "KIND",  "STATE",
                                        "POINTS", "EVERY",  "CALLS", "TIME/CALL",
                                        "LATE",   "MISSED", "WHEN",  "LAST-ERROR"};
    reidctl_table table = {.columns = REID_COUNT_OF(names), .elastic = REID_COUNT_OF(names) - 1};
    for (size_t i = 0; i < table.columns && head; i++)
        reidctl_table_add(&table, names[i], reidctl_bold(color));
    for (size_t i = 0; i < list->n_hooks; i++)
        add_row(&table, list->hooks[i], color);
    reidctl_table_format(&table, width, out);
    reidctl_table_fini(&table);
}

void reidctl_add_guests(reid_str *out, const Reid__V1__ListHooksResponse *list, bool color)
{
    reidctl_table table = {.columns = 6, .elastic = 5};
    for (size_t i = 0; i < list->n_hooks; i++) {
        const Reid__V1__Hook *hook = list->hooks[i];
        if (hook->id == 0)
            continue;
        reidctl_table_add(&table, " ", "");
        add_number(&table, hook->id);
        reidctl_table_add(&table, hook->name, "");
        reidctl_table_add(&table, hook->kind, "");
        reidctl_table_add(&table, state_name(hook->state), state_color(hook->state, color));
        reidctl_table_add(&table, hook->last_error, "");
    }
    reidctl_table_format(&table, 0, out);
    reidctl_table_fini(&table);
}

static void add_text(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void add_int(reid_json_writer *w, const char *key, int64_t number)
{
    reid_json_key(w, key);
    reid_json_int(w, number);
}

static void add_hook(reid_json_writer *w, const Reid__V1__Hook *hook)
{
    reid_json_object(w);
    reid_json_key(w, "id");
    if (hook->id > 0)
        reid_json_int(w, hook->id);
    else
        reid_json_null(w);
    add_text(w, "name", hook->name);
    add_text(w, "kind", hook->kind);
    add_text(w, "state", state_name(hook->state));
    reid_json_key(w, "points");
    reid_json_array(w);
    for (size_t i = 0; i < hook->n_points; i++)
        reid_json_string(w, reidctl_point_name(hook->points[i]));
    reid_json_end_array(w);
    add_int(w, "every", hook->every);
    add_text(w, "when", hook->when);
    reid_json_key(w, "asynchronous");
    reid_json_bool(w, hook->asynchronous);
    add_int(w, "iteration", hook->iteration);
    add_text(w, "who", hook->who);
    add_int(w, "calls", hook->calls);
    add_int(w, "late", hook->late);
    add_int(w, "missed", hook->missed);
    reid_json_key(w, "seconds");
    reid_json_double(w, hook->seconds);
    add_text(w, "last_error", hook->last_error);
    reid_json_end_object(w);
}

void reidctl_json_hooks(reid_json_writer *w, const Reid__V1__ListHooksResponse *list)
{
    reid_json_array(w);
    for (size_t i = 0; i < list->n_hooks; i++)
        add_hook(w, list->hooks[i]);
    reid_json_end_array(w);
}
