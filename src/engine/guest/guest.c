#include "engine/guest/guest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"

/* ---- kinds ---- */

static const reid_guest_kind *const KINDS[] = {
    &reid_guest_lua,
    &reid_guest_native,
    &reid_guest_remote,
    &reid_guest_builtin,
};

const reid_guest_kind *reid_guest_kind_find(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(KINDS); i++)
        if (strcmp(KINDS[i]->name, name) == 0)
            return KINDS[i];
    return NULL;
}

/* ---- wishes ---- */

static reid_status add_wish(reid_wishes *wishes, const reid_wish *wish, reid_error *err)
{
    if (wishes->list.count >= REID_WISHES_MAX)
        return reid_fail(err, REID_ERR_EXHAUSTED, "a hook may wish for at most %d things at once",
                         REID_WISHES_MAX);
    const reid_wish copy = {
        .kind = wish->kind,
        .name = wish->name ? reid_xstrdup(wish->name) : NULL,
        .value = wish->value ? reid_xstrdup(wish->value) : NULL,
        .number = wish->number,
        .reason = wish->reason ? reid_xstrdup(wish->reason) : NULL,
    };
    reid_vec_push(&wishes->list, copy);
    return REID_OK;
}

reid_status reid_wishes_add(reid_wishes *wishes, reid_wish_kind kind, const char *name,
                            const char *value, double number, reid_error *err)
{
    const reid_wish wish = {
        .kind = kind, .name = (char *)name, .value = (char *)value, .number = number};
    return add_wish(wishes, &wish, err);
}

reid_status reid_wishes_add_stop(reid_wishes *wishes, const char *reason, reid_error *err)
{
    const reid_wish wish = {.kind = REID_WISH_STOP, .reason = (char *)reason};
    return add_wish(wishes, &wish, err);
}

void reid_wishes_fini(reid_wishes *wishes)
{
    for (size_t i = 0; i < wishes->list.count; i++) {
        free(wishes->list.items[i].name);
        free(wishes->list.items[i].value);
        free(wishes->list.items[i].reason);
    }
    reid_vec_fini(&wishes->list);
}

/* ---- spec ---- */

static const char *const POLICIES[] = {
    [REID_GUEST_IGNORE] = "ignore",
    [REID_GUEST_DISABLE] = "disable",
    [REID_GUEST_FAIL] = "fail",
};

static reid_status read_policy(const reid_json *json, const char *key, reid_guest_policy otherwise,
                               reid_guest_policy *ret_policy, reid_error *err)
{
    const char *text = reid_json_as_string(reid_json_get(json, key), POLICIES[otherwise]);
    for (int i = REID_GUEST_IGNORE; i <= REID_GUEST_FAIL; i++) {
        if (strcmp(text, POLICIES[i]) != 0)
            continue;
        *ret_policy = (reid_guest_policy)i;
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_INVALID, "%s must be ignore, disable or fail, not '%.32s'", key,
                     text);
}

static reid_status read_policies(const reid_json *json, reid_guest_spec *spec, reid_error *err)
{
    REID_TRY(read_policy(json, "on_error", REID_GUEST_DISABLE, &spec->on_error, err));
    REID_TRY(read_policy(json, "on_late", REID_GUEST_IGNORE, &spec->on_late, err));
    return read_policy(json, "on_lost", REID_GUEST_IGNORE, &spec->on_lost, err);
}

static reid_status read_text(const reid_json *json, const char *key, size_t limit, char **ret_text,
                             reid_error *err)
{
    const char *text = reid_json_as_string(reid_json_get(json, key), "");
    if (strlen(text) > limit)
        return reid_fail(err, REID_ERR_INVALID, "the %s of a hook has at most %zu bytes, not %zu",
                         key, limit, strlen(text));
    *ret_text = reid_xstrdup(text);
    return REID_OK;
}

static reid_status read_points(const reid_json *json, unsigned *ret_points, reid_error *err)
{
    const reid_json *list = reid_json_get(json, "points");
    for (size_t i = 0; i < reid_json_count(list); i++) {
        const char *name = reid_json_as_string(reid_json_at(list, i), "");
        reid_point point = reid_point_find(name);
        if (point == REID_POINTS)
            return reid_fail(err, REID_ERR_INVALID,
                             "there is no point '%.32s'; there are before_train, after_train, "
                             "before_epoch, after_epoch, before_step, after_step",
                             name);
        *ret_points |= 1u << point;
    }
    return REID_OK;
}

#define READ_LIST(list, json, key, err)                                                            \
    do {                                                                                           \
        const reid_json *items = reid_json_get((json), (key));                                     \
        if (reid_json_count(items) > REID_GUEST_OPTIONS)                                           \
            return reid_fail((err), REID_ERR_INVALID, "a hook has at most %d %s, not %zu",         \
                             REID_GUEST_OPTIONS, (key), reid_json_count(items));                   \
        for (size_t i = 0; i < reid_json_count(items); i++)                                        \
            reid_vec_push((list), reid_xstrdup(reid_json_as_string(reid_json_at(items, i), "")));  \
    } while (0)

static reid_status read_spec(const reid_json *json, reid_guest_spec *spec, reid_error *err)
{
    REID_TRY(read_text(json, "kind", 16, &spec->kind, err));
    REID_TRY(read_text(json, "name", REID_GUEST_NAME_BYTES, &spec->name, err));
    REID_TRY(read_text(json, "when", 1000, &spec->when, err));
    REID_TRY(read_text(json, "source", REID_GUEST_SOURCE_BYTES, &spec->source, err));
    REID_TRY(read_points(json, &spec->points, err));
    REID_TRY(read_policies(json, spec, err));
    READ_LIST(&spec->options, json, "options", err);
    READ_LIST(&spec->scalars, json, "scalars", err);
    spec->every = reid_json_as_int(reid_json_get(json, "every"), 1);
    spec->asynchronous = reid_json_as_bool(reid_json_get(json, "asynchronous"), false);
    spec->deadline_s = reid_json_as_double(reid_json_get(json, "deadline_s"), 1);
    if (!reid_guest_kind_find(spec->kind))
        return reid_fail(err, REID_ERR_UNSUPPORTED, "this reid-train has no hooks of kind '%s'",
                         spec->kind);
    if (spec->every < 1)
        return reid_fail(err, REID_ERR_INVALID, "every is %lld, but must be at least 1",
                         (long long)spec->every);
    if (!(spec->deadline_s > 0 && spec->deadline_s <= REID_GUEST_DEADLINE_S))
        return reid_fail(err, REID_ERR_INVALID,
                         "the deadline is %g s, but must be above 0 and at most %g",
                         spec->deadline_s, REID_GUEST_DEADLINE_S);
    return REID_OK;
}

reid_status reid_guest_spec_parse(const char *json, size_t length, reid_guest_spec *ret_spec,
                                  reid_error *err)
{
    reid_json *root = NULL;
    *ret_spec = (reid_guest_spec){0};
    REID_TRY(reid_json_parse(json, length, &root, err));
    reid_status status = read_spec(root, ret_spec, err);
    if (status != REID_OK)
        reid_guest_spec_fini(ret_spec);
    reid_json_free(root);
    return status;
}

static void write_text(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static void write_list(reid_json_writer *w, const char *key, char *const *items, size_t count)
{
    reid_json_key(w, key);
    reid_json_array(w);
    for (size_t i = 0; i < count; i++)
        reid_json_string(w, items[i]);
    reid_json_end_array(w);
}

static void write_points(reid_json_writer *w, unsigned points)
{
    reid_json_key(w, "points");
    reid_json_array(w);
    for (int i = 0; i < REID_POINTS; i++)
        if (points & 1u << i)
            reid_json_string(w, reid_point_name((reid_point)i));
    reid_json_end_array(w);
}

void reid_guest_spec_write(const reid_guest_spec *spec, reid_str *out)
{
    reid_json_writer w = reid_json_begin(out);
    reid_json_object(&w);
    write_text(&w, "kind", spec->kind);
    write_text(&w, "name", spec->name);
    write_points(&w, spec->points);
    reid_json_key(&w, "every");
    reid_json_int(&w, spec->every);
    write_text(&w, "when", spec->when);
    write_text(&w, "on_error", POLICIES[spec->on_error]);
    write_text(&w, "on_late", POLICIES[spec->on_late]);
    write_text(&w, "on_lost", POLICIES[spec->on_lost]);
    write_text(&w, "source", spec->source);
    write_list(&w, "options", spec->options.items, spec->options.count);
    write_list(&w, "scalars", spec->scalars.items, spec->scalars.count);
    reid_json_key(&w, "asynchronous");
    reid_json_bool(&w, spec->asynchronous);
    reid_json_key(&w, "deadline_s");
    reid_json_double(&w, spec->deadline_s);
    reid_json_end_object(&w);
}

void reid_guest_spec_fini(reid_guest_spec *spec)
{
    free(spec->kind);
    free(spec->name);
    free(spec->when);
    free(spec->source);
    for (size_t i = 0; i < spec->options.count; i++)
        free(spec->options.items[i]);
    reid_vec_fini(&spec->options);
    for (size_t i = 0; i < spec->scalars.count; i++)
        free(spec->scalars.items[i]);
    reid_vec_fini(&spec->scalars);
    *spec = (reid_guest_spec){0};
}
