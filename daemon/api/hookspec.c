#include "daemon/api/hookspec.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/json.h"

#define NAME_BYTES 64
#define LUA_BYTES (64u << 10)
#define TEXT_BYTES 1000
#define LIST_LIMIT 16 /* options, globs */
#define DEADLINE_LIMIT_S 60

/* reid.v1.HookPoint, reid.v1.HookPolicy */
static const char *const points[] = {NULL,          "before_train", "after_train", "before_epoch",
                                     "after_epoch", "before_step",  "after_step"};
static const char *const policies[] = {NULL, "ignore", "disable", "fail"};

static void add_text(reid_json_writer *w, const char *key, const char *text)
{
    reid_json_key(w, key);
    reid_json_string(w, text);
}

static reid_status check_length(const char *what, const char *text, size_t limit, reid_error *err)
{
    if (strlen(text) > limit)
        return reid_fail(err, REID_ERR_INVALID, "the %s of a hook has at most %zu bytes, not %zu",
                         what, limit, strlen(text));
    return REID_OK;
}

static reid_status add_points(reid_json_writer *w, const Reid__V1__RegisterHook *in,
                              reid_error *err)
{
    if (in->n_points == 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "a hook is registered for at least one point, such as after_step");
    reid_json_key(w, "points");
    reid_json_array(w);
    for (size_t i = 0; i < in->n_points; i++) {
        int point = (int)in->points[i];
        if (i >= REID_COUNT_OF(points) || point < 1 || point >= (int)REID_COUNT_OF(points))
            return reid_fail(err, REID_ERR_INVALID, "%d is not a point of hooks, or one too many",
                             point);
        reid_json_string(w, points[point]);
    }
    reid_json_end_array(w);
    return REID_OK;
}

static reid_status add_policy(reid_json_writer *w, const char *key, int policy, reid_error *err)
{
    if (policy < 0 || policy >= (int)REID_COUNT_OF(policies))
        return reid_fail(err, REID_ERR_INVALID, "%d is not a policy for %s", policy, key);
    if (policy > 0)
        add_text(w, key, policies[policy]);
    return REID_OK;
}

/* What every kind has. */
static reid_status add_common(reid_json_writer *w, const char *kind, const char *name,
                              int64_t every, const char *when, int on_error, reid_error *err)
{
    REID_TRY(check_length("name", name, NAME_BYTES, err));
    REID_TRY(check_length("condition", when, TEXT_BYTES, err));
    if (every < 0)
        return reid_fail(err, REID_ERR_INVALID, "every is %lld, but must not be negative",
                         (long long)every);
    add_text(w, "kind", kind);
    add_text(w, "name", name);
    reid_json_key(w, "every");
    reid_json_int(w, every ? every : 1);
    add_text(w, "when", when);
    return add_policy(w, "on_error", on_error, err);
}

static reid_status check_size(const reid_str *out, size_t before, reid_error *err)
{
    size_t size = out->length - before;
    if (size > REIDD_HOOKSPEC_BYTES)
        return reid_fail(err, REID_ERR_INVALID,
                         "the hook takes %zu bytes written as JSON; %u are allowed", size,
                         REIDD_HOOKSPEC_BYTES);
    return REID_OK;
}

static reid_status check_remote(const Reid__V1__RegisterHook *in, reid_error *err)
{
    if (!isfinite(in->deadline_seconds) || in->deadline_seconds < 0 ||
        in->deadline_seconds > DEADLINE_LIMIT_S)
        return reid_fail(err, REID_ERR_INVALID,
                         "the deadline is %g s, but must be between 0 and %d", in->deadline_seconds,
                         DEADLINE_LIMIT_S);
    if (in->n_scalars > LIST_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a hook has at most %d globs of metrics, not %zu",
                         LIST_LIMIT, in->n_scalars);
    for (size_t i = 0; i < in->n_scalars; i++)
        REID_TRY(check_length("glob of metrics", in->scalars[i], TEXT_BYTES, err));
    return REID_OK;
}

reid_status reidd_hookspec_remote(const Reid__V1__RegisterHook *in, reid_str *out,
                                  const char **ret_name, reid_error *err)
{
    size_t before = out->length;
    reid_json_writer w = reid_json_begin(out);
    const char *name = *in->name ? in->name : "remote";
    REID_TRY(check_remote(in, err));
    reid_json_object(&w);
    REID_TRY(add_common(&w, "remote", name, in->every, in->when, (int)in->on_error, err));
    REID_TRY(add_points(&w, in, err));
    REID_TRY(add_policy(&w, "on_late", (int)in->on_late, err));
    REID_TRY(add_policy(&w, "on_lost", (int)in->on_lost, err));
    reid_json_key(&w, "scalars");
    reid_json_array(&w);
    for (size_t i = 0; i < in->n_scalars; i++)
        reid_json_string(&w, in->scalars[i]);
    reid_json_end_array(&w);
    reid_json_key(&w, "asynchronous");
    reid_json_bool(&w, in->asynchronous);
    reid_json_key(&w, "deadline_s");
    reid_json_double(&w, in->deadline_seconds > 0 ? in->deadline_seconds : 1);
    reid_json_end_object(&w);
    *ret_name = name;
    return check_size(out, before, err);
}

static reid_status add_options(reid_json_writer *w, const Reid__V1__AddHookRequest *in,
                               reid_error *err)
{
    if (in->n_options > LIST_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a hook has at most %d options, not %zu",
                         LIST_LIMIT, in->n_options);
    reid_json_key(w, "options");
    reid_json_array(w);
    for (size_t i = 0; i < in->n_options; i++) {
        const Reid__V1__Setting *option = in->options[i];
        if (!*option->name || strchr(option->name, '='))
            return reid_fail(err, REID_ERR_INVALID, "'%.64s' is not a name of an option",
                             option->name);
        REID_TRY(check_length("option's name", option->name, NAME_BYTES, err));
        REID_TRY(check_length("option's value", option->value, TEXT_BYTES, err));
        REID_AUTOFREE char *text = reid_xasprintf("%s=%s", option->name, option->value);
        reid_json_string(w, text);
    }
    reid_json_end_array(w);
    return REID_OK;
}

typedef struct source {
    const char *kind, *text, *name;
} source;

static reid_status find_source(const Reid__V1__AddHookRequest *in, source *ret_source,
                               reid_error *err)
{
    source s = {0};
    switch (in->what_case) {
    case REID__V1__ADD_HOOK_REQUEST__WHAT_LUA:
        s = (source){"lua", in->lua, "lua"};
        break;
    case REID__V1__ADD_HOOK_REQUEST__WHAT_NATIVE:
        s = (source){"native", in->native, in->native};
        break;
    case REID__V1__ADD_HOOK_REQUEST__WHAT_BUILTIN:
        s = (source){"builtin", in->builtin, in->builtin};
        break;
    default:
        return reid_fail(err, REID_ERR_INVALID,
                         "the request does not say what to add: lua, native or builtin");
    }
    bool lua = in->what_case == REID__V1__ADD_HOOK_REQUEST__WHAT_LUA;
    if (!*s.text)
        return reid_fail(err, REID_ERR_INVALID, "the %s is empty", lua ? "script" : "hook's name");
    REID_TRY(
        check_length(lua ? "script" : "file or name", s.text, lua ? LUA_BYTES : NAME_BYTES, err));
    if (*in->name)
        s.name = in->name;
    *ret_source = s;
    return REID_OK;
}

reid_status reidd_hookspec_add(const Reid__V1__AddHookRequest *in, reid_str *out,
                               const char **ret_name, reid_error *err)
{
    size_t before = out->length;
    reid_json_writer w = reid_json_begin(out);
    source s = {0};
    REID_TRY(find_source(in, &s, err));
    reid_json_object(&w);
    REID_TRY(add_common(&w, s.kind, s.name, in->every, in->when, (int)in->on_error, err));
    add_text(&w, "source", s.text);
    REID_TRY(add_options(&w, in, err));
    reid_json_end_object(&w);
    *ret_name = s.name;
    return check_size(out, before, err);
}
