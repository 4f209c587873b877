/* hook add, list, remove, enable, disable */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "connect.h"
#include "hook/attach.h"
#include "hook/lines.h"
#include "list.h"
#include "out/entry.h"
#include "out/hooks.h"
#include "out/json.h"
#include "out/screen.h"
#include "settings.h"

#define SCRIPT_LIMIT_BYTES (64u << 10)
#define DEADLINE_LIMIT_S 60.0

static char *text_or_empty(const char *text)
{
    return (char *)(text != NULL ? text : "");
}

/* ---- options ---- */

static reid_status parse_policy(const char *option, const char *text,
                                Reid__V1__HookPolicy *ret_policy, reid_error *err)
{
    static const char *const names[] = {
        [REID__V1__HOOK_POLICY__HOOK_POLICY_IGNORE] = "ignore",
        [REID__V1__HOOK_POLICY__HOOK_POLICY_DISABLE] = "disable",
        [REID__V1__HOOK_POLICY__HOOK_POLICY_FAIL] = "fail",
    };
    if (text == NULL)
        return REID_OK;
    for (size_t i = 1; i < REID_COUNT_OF(names); i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        *ret_policy = (Reid__V1__HookPolicy)i;
        return REID_OK;
    }
    return reid_fail(err, REID_ERR_INVALID, "--%s is ignore, disable or fail, not '%s'", option,
                     text);
}

/* Options of the other kind of hook are mistakes. */
static reid_status check_options(const reidctl_args *args, reid_error *err)
{
    const struct {
        const char *name;
        bool given, of_exec;
    } rows[] = {
        {"builtin", args->builtin != NULL, false}, {"at-iter", args->at_iter > 0, false},
        {"points", args->points != NULL, true},    {"scalars", args->scalars != NULL, true},
        {"async", args->asynchronous, true},       {"deadline", args->deadline >= 0, true},
        {"on-late", args->on_late != NULL, true},  {"on-lost", args->on_lost != NULL, true},
    };
    bool exec = args->exec != NULL;
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++)
        if (rows[i].given && rows[i].of_exec != exec)
            return reid_fail(err, REID_ERR_INVALID, "--%s %s --exec", rows[i].name,
                             exec ? "does not go with" : "goes only with");
    if (args->asynchronous && (args->deadline >= 0 || args->on_late != NULL))
        return reid_fail(err, REID_ERR_INVALID, "with --async nobody waits: there is no --%s",
                         args->deadline >= 0 ? "deadline" : "on-late");
    if (args->deadline == 0 || args->deadline > DEADLINE_LIMIT_S)
        return reid_fail(err, REID_ERR_INVALID,
                         "--deadline is more than 0 and at most %g seconds, not %g",
                         DEADLINE_LIMIT_S, args->deadline);
    return REID_OK;
}

/* ---- a hook in the training ---- */

/* "decay.lua" → "decay" */
static char *name_of_file(const char *path)
{
    const char *base = reid_path_base(path), *dot = strrchr(base, '.');
    return dot != NULL && dot != base ? reid_xstrndup(base, (size_t)(dot - base))
                                      : reid_xstrdup(base);
}

static reid_status read_script(const char *path, char **ret_text, reid_error *err)
{
    size_t size;
    char *text;
    REID_TRY(reid_file_read(path, SCRIPT_LIMIT_BYTES, &text, &size, err));
    if (strlen(text) != size) {
        free(text);
        return reid_fail(err, REID_ERR_INVALID, "%s is no text", path);
    }
    *ret_text = text;
    return REID_OK;
}

typedef struct addition {
    Reid__V1__AddHookRequest request;
    reidctl_settings options;
    char *name, *script;
} addition;

/* FILE.lua, FILE.so or the name of a built-in hook, from the command line's second word. */
static reid_status choose_what(reidctl *ctl, addition *add, reid_error *err)
{
    char *word = ctl->args.builtin != NULL ? text_or_empty(ctl->args.builtin) : ctl->words[1];
    if (ctl->args.builtin == NULL && reid_str_ends(word, ".lua")) {
        REID_TRY(read_script(word, &add->script, err));
        add->request.what_case = REID__V1__ADD_HOOK_REQUEST__WHAT_LUA;
        add->request.lua = add->script;
        add->name = name_of_file(word);
    } else if (ctl->args.builtin == NULL && reid_str_ends(word, ".so")) {
        if (strchr(word, '/') != NULL)
            return reid_fail(
                err, REID_ERR_INVALID,
                "'%s' has a folder; a native hook is a file of reidd's hook directory, "
                "named without one",
                word);
        add->request.what_case = REID__V1__ADD_HOOK_REQUEST__WHAT_NATIVE;
        add->request.native = word;
        add->name = name_of_file(word);
    } else {
        add->request.what_case = REID__V1__ADD_HOOK_REQUEST__WHAT_BUILTIN;
        add->request.builtin = word;
    }
    return REID_OK;
}

static reid_status make_addition(reidctl *ctl, addition *add, reid_error *err)
{
    Reid__V1__AddHookRequest *request = &add->request;
    int first = ctl->args.builtin != NULL ? 1 : 2;
    if (ctl->word_count < first)
        return reid_fail(err, REID_ERR_INVALID,
                         "hook add needs WHAT: FILE.lua, FILE.so, the name of a built-in hook, or "
                         "--exec PROGRAM");
    REID_TRY(check_options(&ctl->args, err));
    REID_TRY(choose_what(ctl, add, err));
    REID_TRY(
        reidctl_settings_parse(&add->options, ctl->words + first, ctl->word_count - first, err));
    REID_TRY(parse_policy("on-error", ctl->args.on_error, &request->on_error, err));
    request->job = ctl->words[0];
    request->name = text_or_empty(ctl->args.name != NULL ? ctl->args.name : add->name);
    request->options = add->options.pointers;
    request->n_options = add->options.count;
    request->every = ctl->args.every;
    request->when = text_or_empty(ctl->args.when);
    request->at_iter = ctl->args.at_iter;
    request->reason = text_or_empty(ctl->args.reason);
    return REID_OK;
}

static void print_change(const reidctl *ctl, const Reid__V1__HookChange *change, bool added)
{
    for (size_t i = 0; i < change->n_entries; i++)
        if (reidctl_output_is(ctl, "json"))
            reidctl_print_entry_json(change->entries[i]);
        else if (!added)
            reidctl_print_entry_text(change->entries[i]);
    if (added && !reidctl_output_is(ctl, "json"))
        printf("%lld\n", (long long)change->hook);
}

static reid_status change_hooks(reidctl *ctl, const char *method, const ProtobufCMessage *request,
                                reid_error *err)
{
    ProtobufCMessage *answer = NULL;
    reid_status status = reidctl_call_service(ctl, "HookService", method, request,
                                              &reid__v1__hook_change__descriptor, &answer, err);
    if (status == REID_ERR_TIMEOUT)
        return reid_error_prefix(err, REIDCTL_NOT_AGREED_YET);
    REID_TRY(status);
    print_change(ctl, (const Reid__V1__HookChange *)answer, strcmp(method, "Add") == 0);
    protobuf_c_message_free_unpacked(answer, NULL);
    return REID_OK;
}

static int add_inside(reidctl *ctl)
{
    addition add = {.request = REID__V1__ADD_HOOK_REQUEST__INIT};
    reid_error err = {0};
    int code = REIDCTL_OK;
    if (make_addition(ctl, &add, &err) != REID_OK) {
        reidctl_report(&err);
        code = REIDCTL_USAGE; /* nothing was asked of reidd: a missing file is no missing job */
    } else if (change_hooks(ctl, "Add", &add.request.base, &err) != REID_OK) {
        code = reidctl_report(&err);
    }
    reidctl_settings_fini(&add.options);
    free(add.name);
    free(add.script);
    return code;
}

/* ---- a program ---- */

typedef struct registration {
    Reid__V1__RegisterHook request;
    reidctl_list points, scalars;
    REID_VEC(Reid__V1__HookPoint) numbers;
    char *name;
} registration;

static reid_status make_registration(reidctl *ctl, registration *reg, reid_error *err)
{
    Reid__V1__RegisterHook *request = &reg->request;
    const reidctl_args *args = &ctl->args;
    REID_TRY(check_options(args, err));
    reg->points = reidctl_list_split(args->points != NULL ? args->points : "after_step");
    reg->scalars = reidctl_list_split(args->scalars);
    for (size_t i = 0; i < reg->points.parts.count; i++) {
        Reid__V1__HookPoint point = REID__V1__HOOK_POINT__HOOK_POINT_UNSPECIFIED;
        REID_TRY(reidctl_point_find(reg->points.parts.items[i], &point, err));
        reid_vec_push(&reg->numbers, point);
    }
    if (reg->numbers.count == 0)
        return reid_fail(err, REID_ERR_INVALID, "--points needs a point, such as after_step");
    REID_TRY(parse_policy("on-error", args->on_error, &request->on_error, err));
    REID_TRY(parse_policy("on-late", args->on_late, &request->on_late, err));
    REID_TRY(parse_policy("on-lost", args->on_lost, &request->on_lost, err));
    reg->name = name_of_file(args->exec);
    request->name = text_or_empty(args->name != NULL ? args->name : reg->name);
    request->points = reg->numbers.items;
    request->n_points = reg->numbers.count;
    request->every = args->every;
    request->when = text_or_empty(args->when);
    request->scalars = reg->scalars.parts.items;
    request->n_scalars = reg->scalars.parts.count;
    request->asynchronous = args->asynchronous;
    request->deadline_seconds = args->deadline > 0 ? args->deadline : 0;
    request->reason = text_or_empty(args->reason);
    return REID_OK;
}

/* The job is looked up before the program is started for it. */
static int attach(reidctl *ctl, registration *reg)
{
    reid_error err = {0};
    Reid__V1__Job *job = NULL;
    if (reidctl_get_job(ctl, ctl->words[0], &job, &err) != REID_OK)
        return reidctl_report(&err);
    reidctl_disconnect(ctl);
    reg->request.job = job->id;
    char **argv = reid_xcalloc((size_t)ctl->word_count + 1, sizeof *argv);
    argv[0] = text_or_empty(ctl->args.exec);
    for (int i = 1; i < ctl->word_count; i++)
        argv[i] = ctl->words[i];
    int code = reidctl_attach(ctl, &reg->request, argv);
    free(argv);
    reid__v1__job__free_unpacked(job, NULL);
    return code;
}

static int add_program(reidctl *ctl)
{
    registration reg = {.request = REID__V1__REGISTER_HOOK__INIT};
    reid_error err = {0};
    int code =
        make_registration(ctl, &reg, &err) == REID_OK ? attach(ctl, &reg) : reidctl_report(&err);
    reidctl_list_fini(&reg.points);
    reidctl_list_fini(&reg.scalars);
    reid_vec_fini(&reg.numbers);
    free(reg.name);
    return code;
}

int reidctl_cmd_hook_add(reidctl *ctl)
{
    return ctl->args.exec != NULL ? add_program(ctl) : add_inside(ctl);
}

/* ---- remove, enable, disable ---- */

static int change(reidctl *ctl, const char *method)
{
    Reid__V1__HookRequest request = REID__V1__HOOK_REQUEST__INIT;
    reid_error err = {0};
    request.job = ctl->words[0];
    if (reid_parse_int64(ctl->words[1], &request.hook) != REID_OK || request.hook <= 0) {
        request.hook = 0;
        request.name = ctl->words[1];
    }
    request.at_iter = ctl->args.at_iter;
    request.reason = text_or_empty(ctl->args.reason);
    return change_hooks(ctl, method, &request.base, &err) == REID_OK ? REIDCTL_OK
                                                                     : reidctl_report(&err);
}

int reidctl_cmd_hook_remove(reidctl *ctl)
{
    return change(ctl, "Remove");
}

int reidctl_cmd_hook_enable(reidctl *ctl)
{
    return change(ctl, "Enable");
}

int reidctl_cmd_hook_disable(reidctl *ctl)
{
    return change(ctl, "Disable");
}

/* ---- list ---- */

static void print_json(const Reid__V1__ListHooksResponse *list)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer w = reidctl_json_begin(&out);
    reidctl_json_hooks(&w, list);
    puts(reid_str_text(&out));
    reid_str_fini(&out);
}

static void print_table(const reidctl *ctl, const Reid__V1__ListHooksResponse *list)
{
    reid_str out = REID_STR_INIT;
    size_t columns = 0, lines;
    if (ctl->terminal)
        reidctl_screen_size(&columns, &lines);
    reidctl_add_hooks(&out, list, !ctl->args.no_headers, columns, ctl->color);
    fputs(reid_str_text(&out), stdout);
    reid_str_fini(&out);
}

int reidctl_cmd_hook_list(reidctl *ctl)
{
    Reid__V1__ListHooksResponse *list = NULL;
    reid_error err = {0};
    if (reidctl_list_hooks(ctl, ctl->words[0], &list, &err) != REID_OK)
        return reidctl_report(&err);
    if (reidctl_output_is(ctl, "json"))
        print_json(list);
    else
        print_table(ctl, list);
    reid__v1__list_hooks_response__free_unpacked(list, NULL);
    return REIDCTL_OK;
}
