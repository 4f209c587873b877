#include "guest_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "harness/harness.h"

void guest_fixture_init(guest_fixture *f, const char *kind, const char *source,
                        const char *const *options)
{
    *f = (guest_fixture){0};
    f->storage = reid_event_storage_new(0);
    f->spec = (reid_guest_spec){.kind = reid_xstrdup(kind),
                                .name = reid_xstrdup("decay"),
                                .every = 1,
                                .when = reid_xstrdup(""),
                                .on_error = REID_GUEST_DISABLE,
                                .on_late = REID_GUEST_IGNORE,
                                .on_lost = REID_GUEST_IGNORE,
                                .source = reid_xstrdup(source),
                                .deadline_s = 1};
    for (; options && *options; options++)
        reid_vec_push(&f->spec.options, reid_xstrdup(*options));
    f->moment = (reid_moment){.point = REID_AFTER_STEP,
                              .iter = 7,
                              .max_iter = 100,
                              .epoch = 1,
                              .max_epoch = 20,
                              .iters_per_epoch = 5,
                              .lr = 0.5,
                              .storage = f->storage};
}

void guest_fixture_fini(guest_fixture *f)
{
    if (f->guest)
        f->guest->kind->close(f->guest);
    reid_wishes_fini(&f->wishes);
    reid_guest_spec_fini(&f->spec);
    reid_event_storage_free(f->storage);
}

reid_status guest_fixture_open(guest_fixture *f)
{
    const reid_guest_kind *kind = reid_guest_kind_find(f->spec.kind);
    assert_non_null(kind);
    reid_error_clear(&f->err);
    return kind->open(&f->env, &f->spec, 3, &f->guest, &f->err);
}

reid_status guest_fixture_call(guest_fixture *f, reid_point point, int64_t iter)
{
    reid_wishes_fini(&f->wishes);
    reid_error_clear(&f->err);
    f->moment.point = point;
    f->moment.iter = iter;
    return f->guest->kind->call(f->guest, &f->moment, &f->wishes, &f->err);
}

const char *guest_fixture_wishes(guest_fixture *f)
{
    static char text[1000];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < f->wishes.list.count; i++) {
        const reid_wish *wish = &f->wishes.list.items[i];
        const char *between = i > 0 ? "; " : "";
        char *at = text + used;
        size_t room = sizeof text - used;
        if (wish->kind == REID_WISH_SET)
            snprintf(at, room, "%sset %s=%s", between, wish->name, wish->value);
        else if (wish->kind == REID_WISH_PUT_SCALAR)
            snprintf(at, room, "%sput %s=%.17g", between, wish->name, wish->number);
        else if (wish->kind == REID_WISH_STOP)
            snprintf(at, room, "%sstop '%s'", between, wish->reason ? wish->reason : "-");
        else
            snprintf(at, room, "%s%s", between,
                     wish->kind == REID_WISH_CHECKPOINT ? "checkpoint"
                     : wish->kind == REID_WISH_EVALUATE ? "evaluate"
                                                        : "skip");
        used += strlen(at);
    }
    return text;
}

char *guest_fixture_save(guest_fixture *f)
{
    reid_str out = REID_STR_INIT;
    reid_json_writer json = reid_json_begin(&out);
    f->guest->kind->save_state(f->guest, &json);
    return reid_str_take(&out);
}

reid_status guest_fixture_load(guest_fixture *f, const char *text)
{
    reid_json *json;
    reid_error_clear(&f->err);
    reid_assert_ok(reid_json_parse(text, strlen(text), &json, &f->err), &f->err);
    reid_status status = f->guest->kind->load_state(f->guest, json, &f->err);
    reid_json_free(json);
    return status;
}

void guest_fixture_reopen(guest_fixture *f)
{
    f->guest->kind->close(f->guest);
    f->guest = NULL;
    reid_assert_ok(guest_fixture_open(f), &f->err);
}

reid_status guest_run_lua(const char *body, char ret_text[1024])
{
    guest_fixture f;
    char *source = reid_xasprintf("function after_step(trainer)\n%s\nend\n", body);
    guest_fixture_init(&f, "lua", source, NULL);
    free(source);
    reid_status status = guest_fixture_open(&f);
    if (status == REID_OK)
        status = guest_fixture_call(&f, REID_AFTER_STEP, 7);
    snprintf(ret_text, 1024, "%s", f.err.text);
    guest_fixture_fini(&f);
    return status;
}

void guest_lua_works(const char *body)
{
    char text[1024];
    if (guest_run_lua(body, text) != REID_OK)
        fail_msg("%s\n%s", body, text);
}

void guest_lua_fails(const char *body, const char *words)
{
    char text[1024];
    if (guest_run_lua(body, text) == REID_OK)
        fail_msg("this went well: %s", body);
    if (!strstr(text, words))
        fail_msg("%s\nfailed with \"%s\" and not with \"%s\"", body, text, words);
}
