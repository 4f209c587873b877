/* HookService but for Attach, JobService/Events, SkipStep and Profile, forks. The test is rank 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "harness/harness.h"
#include "reid/v1/hook.pb-c.h"
#include "support/hook.h"

#define STATE(name) REID__V1__JOB_STATE__JOB_STATE_##name
#define SERVICE "/reid.v1.HookService/"

/* ---- asking ---- */

static reid_rpc_client_stream *start(test_reidd *t, const char *path,
                                     const ProtobufCMessage *request,
                                     const ProtobufCMessageDescriptor *output)
{
    reid_rpc_client_stream *stream = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_start(t->client, path, request, output, &stream, &err), &err);
    test_let_it_send(t->client);
    return stream;
}

static reid_rpc_client_stream *add_lua(test_reidd *t, const char *id, const char *name,
                                       const char *text)
{
    Reid__V1__AddHookRequest request = REID__V1__ADD_HOOK_REQUEST__INIT;
    Reid__V1__Setting option = REID__V1__SETTING__INIT, *options[] = {&option};
    request.job = (char *)id;
    request.name = (char *)name;
    request.what_case = REID__V1__ADD_HOOK_REQUEST__WHAT_LUA;
    request.lua = (char *)text;
    option.name = (char *)"limit";
    option.value = (char *)"5";
    request.n_options = 1;
    request.options = options;
    request.every = 3;
    request.when = (char *)"total_loss > 5";
    request.reason = (char *)"to see";
    return start(t, SERVICE "Add", &request.base, &reid__v1__hook_change__descriptor);
}

static reid_rpc_client_stream *change(test_reidd *t, const char *verb, const char *id, int64_t hook,
                                      const char *name)
{
    Reid__V1__HookRequest request = REID__V1__HOOK_REQUEST__INIT;
    char path[64];
    snprintf(path, sizeof path, SERVICE "%s", verb);
    request.job = (char *)id;
    request.hook = hook;
    request.name = (char *)name;
    return start(t, path, &request.base, &reid__v1__hook_change__descriptor);
}

static Reid__V1__HookChange *expect_change(reid_rpc_client_stream *stream)
{
    Reid__V1__HookChange *answer = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_next(stream, 10000, (ProtobufCMessage **)&answer, &err), &err);
    assert_non_null(answer);
    reid_rpc_client_stop(stream);
    return answer;
}

static void expect_refused(reid_rpc_client_stream *stream, reid_status code, const char *said)
{
    ProtobufCMessage *answer = NULL;
    reid_error err = {0};
    reid_status status = reid_rpc_client_next(stream, 10000, &answer, &err);
    if (status != code || !strstr(err.text, said))
        fail_msg("%s: %s", reid_status_name(status), err.text);
    reid_rpc_client_stop(stream);
}

/* Agrees on the word that comes next before iteration 5. */
static int64_t agree_on_add(rank_link *l, const char *folder, size_t source_bytes)
{
    Reid__V1__LinkDown *down = rank_expect_word(l, "hook_add");
    const Reid__V1__LinkControl *word = down->control;
    const char *text = word->settings[0]->value;
    reid_json *spec = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_json_parse(text, strlen(text), &spec, &err), &err);
    assert_string_equal(reid_json_as_string(reid_json_get(spec, "kind"), ""), "lua");
    assert_int_equal(strlen(reid_json_as_string(reid_json_get(spec, "source"), "")), source_bytes);
    assert_string_equal(reid_json_as_string(reid_json_get(spec, "when"), ""), "total_loss > 5");
    assert_int_equal(reid_json_as_int(reid_json_get(spec, "every"), 0), 3);
    assert_string_equal(reid_json_as_string(reid_json_at(reid_json_get(spec, "options"), 0), ""),
                        "limit=5");
    reid_json_free(spec);
    int64_t hook =
        rank_agree(l, folder, word->id, "hook_add", word->settings[0]->name, "", text, 5, "");
    reid__v1__link_down__free_unpacked(down, NULL);
    return hook;
}

static void agree_on_change(rank_link *l, const char *folder, const char *kind, int64_t hook)
{
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)hook);
    Reid__V1__LinkDown *down = rank_expect_word(l, kind);
    assert_int_equal(down->control->n_settings, 1);
    assert_string_equal(down->control->settings[0]->name, number);
    assert_string_equal(down->control->settings[0]->value, "");
    rank_agree(l, folder, down->control->id, kind, "x", number, "", 9, "");
    reid__v1__link_down__free_unpacked(down, NULL);
}

/* ---- hooks ---- */

static void test_add_and_change(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    reid_rpc_client_stream *early = add_lua(t, id, "one", "function after_step() end");
    rank_link l = rank_join(t, id, ticket, 0);
    int64_t hook = agree_on_add(&l, folder, strlen("function after_step() end"));
    Reid__V1__HookChange *answer = expect_change(early);
    assert_int_equal(answer->hook, hook);
    assert_int_equal(answer->iteration, 5);
    assert_int_equal(answer->n_entries, 1);
    assert_string_equal(answer->entries[0]->name, "one");
    reid__v1__hook_change__free_unpacked(answer, NULL);
    /* It has a name from its agreement on, not only when rank 0 has told its list. */
    reid_rpc_client_stream *waiting = change(t, "Disable", id, 0, "one");
    agree_on_change(&l, folder, "hook_disable", hook);
    answer = expect_change(waiting);
    assert_int_equal(answer->hook, hook);
    assert_int_equal(answer->iteration, 9);
    reid__v1__hook_change__free_unpacked(answer, NULL);
    waiting = change(t, "Enable", id, hook, "");
    agree_on_change(&l, folder, "hook_enable", hook);
    reid__v1__hook_change__free_unpacked(expect_change(waiting), NULL);
    const rank_hook hooks[] = {{0, "EvalHook", "builtin", true, NULL},
                               {hook, "one", "lua", true, NULL},
                               {hook + 9, "two", "lua", true, NULL},
                               {hook + 10, "two", "lua", true, NULL}};
    rank_send_hooks(&l, 12, hooks, 4);
    expect_refused(change(t, "Remove", id, 0, "two"), REID_ERR_PRECONDITION, "2 hooks named 'two'");
    expect_refused(change(t, "Remove", id, 0, "three"), REID_ERR_NOT_FOUND, "'three'");
    expect_refused(change(t, "Remove", id, 0, "EvalHook"), REID_ERR_NOT_FOUND, "'EvalHook'");
    waiting = change(t, "Remove", id, 0, "one");
    agree_on_change(&l, folder, "hook_remove", hook);
    reid__v1__hook_change__free_unpacked(expect_change(waiting), NULL);
    expect_refused(change(t, "Remove", id, 0, "one"), REID_ERR_NOT_FOUND, "'one'");
    rank_close(&l);
    free(folder);
    free(id);
}

static void test_bad_requests(void **state)
{
    test_reidd *t = *state;
    test_reidd_start(t);
    char ticket[64], *id = rank_start_job(t, ticket);
    char *large = reid_xcalloc(1, (64 << 10) + 2);
    memset(large, 'x', (64 << 10) + 1);
    expect_refused(add_lua(t, id, "", ""), REID_ERR_INVALID, "script is empty");
    expect_refused(add_lua(t, id, "", large), REID_ERR_INVALID, "at most 65536 bytes, not 65537");
    memset(large, '\x01', 64 << 10);
    large[64 << 10] = '\0';
    expect_refused(add_lua(t, id, "", large), REID_ERR_INVALID, "131072 are allowed");
    large[65] = '\0';
    memset(large, 'x', 65);
    expect_refused(add_lua(t, id, large, "x"), REID_ERR_INVALID, "at most 64 bytes, not 65");
    expect_refused(add_lua(t, "nobody", "", "x"), REID_ERR_NOT_FOUND, "no job");
    Reid__V1__AddHookRequest nothing = REID__V1__ADD_HOOK_REQUEST__INIT;
    nothing.job = id;
    expect_refused(start(t, SERVICE "Add", &nothing.base, &reid__v1__hook_change__descriptor),
                   REID_ERR_INVALID, "does not say what to add");
    expect_refused(change(t, "Remove", id, 0, ""), REID_ERR_INVALID, "id");
    expect_refused(change(t, "Remove", id, 1, "x"), REID_ERR_INVALID, "not both");
    expect_refused(change(t, "Remove", id, -1, ""), REID_ERR_INVALID, "from 1");
    reid_error err = {0};
    reid_assert_ok(test_cancel(t, id, 1, "", &err), &err);
    test_expect_state(t, id, STATE(CANCELLED));
    expect_refused(add_lua(t, id, "", "x"), REID_ERR_PRECONDITION, "already ended");
    expect_refused(change(t, "Remove", id, 0, "x"), REID_ERR_PRECONDITION, "CANCELLED");
    free(large);
    free(id);
}

/* The longest script goes through everything: link, journal, store, events, audit. */
static void test_long_scripts(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    rank_link l = rank_join(t, id, ticket, 0);
    char *text = reid_xcalloc(1, (64 << 10) + 1);
    memset(text, '"', 60 << 10); /* twice as long in JSON, and four times in the journal */
    for (int i = 0; i < 20; i++) {
        reid_rpc_client_stream *stream = add_lua(t, id, "long", text);
        agree_on_add(&l, folder, 60 << 10);
        Reid__V1__HookChange *answer = expect_change(stream);
        assert_true(strlen(answer->entries[0]->new_) > 120 << 10);
        reid__v1__hook_change__free_unpacked(answer, NULL);
    }
    test_reidd_kill(t);
    test_reidd_start(t);
    Reid__V1__AuditRequest request = REID__V1__AUDIT_REQUEST__INIT;
    int64_t entries = 0;
    for (bool more = true; more;) {
        Reid__V1__AuditResponse *answer = NULL;
        reid_error err = {0};
        request.id = id;
        request.after_seq = entries;
        reid_assert_ok(reid_rpc_client_unary(t->client, "/reid.v1.ControlService/Audit",
                                             &request.base, &reid__v1__audit_response__descriptor,
                                             10000, (ProtobufCMessage **)&answer, &err),
                       &err);
        assert_true(answer->sound && answer->n_entries > 0);
        entries += (int64_t)answer->n_entries;
        more = answer->more;
        reid__v1__audit_response__free_unpacked(answer, NULL);
    }
    assert_int_equal(entries, 20);
    rank_close(&l);
    free(text);
    free(folder);
    free(id);
}

static reid_status list(test_reidd *t, const char *id, Reid__V1__ListHooksResponse **ret_answer,
                        reid_error *err)
{
    Reid__V1__ListHooksRequest request = REID__V1__LIST_HOOKS_REQUEST__INIT;
    request.job = (char *)id;
    return reid_rpc_client_unary(t->client, SERVICE "List", &request.base,
                                 &reid__v1__list_hooks_response__descriptor, 10000,
                                 (ProtobufCMessage **)ret_answer, err);
}

static void test_list(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    reid_error err = {0};
    Reid__V1__ListHooksResponse *answer = NULL;
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    reid_assert_ok(list(t, id, &answer, &err), &err);
    assert_int_equal(answer->n_hooks, 0);
    reid__v1__list_hooks_response__free_unpacked(answer, NULL);
    rank_link l = rank_join(t, id, ticket, 0);
    const rank_hook hooks[] = {{0, "EvalHook", "builtin", true, NULL},
                               {3, "mine", "lua", false, "line 1: no such thing"}};
    rank_send_hooks(&l, 12, hooks, 2);
    reid_assert_ok(list(t, id, &answer, &err), &err);
    assert_int_equal(answer->n_hooks, 2);
    assert_int_equal(answer->iteration, 12);
    assert_string_equal(answer->hooks[0]->name, "EvalHook");
    assert_int_equal(answer->hooks[1]->id, 3);
    assert_int_equal(answer->hooks[1]->calls, 7);
    assert_int_equal(answer->hooks[1]->state, REID__V1__HOOK_STATE__HOOK_STATE_DISABLED);
    assert_string_equal(answer->hooks[1]->last_error, "line 1: no such thing");
    reid__v1__list_hooks_response__free_unpacked(answer, NULL);
    rank_close(&l);
    test_reidd_kill(t);
    test_reidd_start(t);
    assert_int_equal(list(t, id, &answer, &err), REID_ERR_UNAVAILABLE);
    reid_error_clear(&err);
    l = rank_join(t, id, ticket, 0);
    rank_send_hooks(&l, 13, hooks, 2);
    reid_assert_ok(list(t, id, &answer, &err), &err);
    assert_int_equal(answer->n_hooks, 2);
    reid__v1__list_hooks_response__free_unpacked(answer, NULL);
    reid_assert_ok(test_cancel(t, id, 1, "", &err), &err);
    test_expect_state(t, id, STATE(CANCELLED));
    assert_int_equal(list(t, id, &answer, &err), REID_ERR_PRECONDITION);
    rank_close(&l);
    free(id);
}

/* ---- other words ---- */

static void test_skip_step_and_profile(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket);
    rank_link l = rank_join(t, id, ticket, 0);
    Reid__V1__ControlRequest skip = REID__V1__CONTROL_REQUEST__INIT;
    Reid__V1__ProfileRequest profile = REID__V1__PROFILE_REQUEST__INIT;
    skip.id = profile.id = id;
    skip.at_iter = 30;
    reid_rpc_client_stream *streams[3];
    streams[0] = start(t, "/reid.v1.ControlService/SkipStep", &skip.base,
                       &reid__v1__control_response__descriptor);
    Reid__V1__LinkDown *down = rank_expect_word(&l, "skip_step");
    assert_int_equal(down->control->n_settings, 0);
    assert_int_equal(down->control->at_iter, 30);
    reid__v1__link_down__free_unpacked(down, NULL);
    for (int i = 0; i < 2; i++) {
        profile.steps = i * 7;
        streams[1 + i] = start(t, "/reid.v1.ControlService/Profile", &profile.base,
                               &reid__v1__control_response__descriptor);
        down = rank_expect_word(&l, "profile");
        assert_int_equal(down->control->n_settings, 1);
        assert_string_equal(down->control->settings[0]->name, "steps");
        assert_string_equal(down->control->settings[0]->value, i == 0 ? "10" : "7");
        reid__v1__link_down__free_unpacked(down, NULL);
    }
    profile.steps = 1001;
    expect_refused(start(t, "/reid.v1.ControlService/Profile", &profile.base,
                         &reid__v1__control_response__descriptor),
                   REID_ERR_INVALID, "1 to 1000 steps, not 1001");
    for (int i = 0; i < 3; i++)
        reid_rpc_client_stop(streams[i]);
    rank_close(&l);
    free(id);
}

/* ---- events ---- */

typedef struct diary {
    reid_rpc_client_stream *stream;
    int64_t number; /* of the last event */
    reid_str text;  /* "kind:detail" lines */
    bool ended;
} diary;

static diary follow(test_reidd *t, const char *id, int64_t after, bool follow)
{
    Reid__V1__EventsRequest request = REID__V1__EVENTS_REQUEST__INIT;
    request.id = (char *)id;
    request.after = after;
    request.follow = follow;
    return (diary){.number = after,
                   .stream = start(t, "/reid.v1.JobService/Events", &request.base,
                                   &reid__v1__events_chunk__descriptor)};
}

static void read_events(diary *d)
{
    Reid__V1__EventsChunk *chunk = NULL;
    reid_error err = {0};
    reid_assert_ok(reid_rpc_client_next(d->stream, 10000, (ProtobufCMessage **)&chunk, &err), &err);
    d->ended = chunk == NULL;
    for (size_t i = 0; chunk && i < chunk->n_events; i++) {
        const Reid__V1__JobEvent *event = chunk->events[i];
        assert_true(event->number > d->number && event->wall_ms > 0);
        d->number = event->number;
        reid_str_addf(&d->text, "%s:%.60s\n", event->kind, event->detail);
    }
    if (chunk)
        reid__v1__events_chunk__free_unpacked(chunk, NULL);
}

static void expect_event(diary *d, const char *line)
{
    while (!strstr(reid_str_text(&d->text), line)) {
        if (d->ended)
            fail_msg("'%s' is not in\n%s", line, reid_str_text(&d->text));
        read_events(d);
    }
}

static int count_of(const diary *d, const char *kind)
{
    int count = 0;
    for (const char *at = reid_str_text(&d->text); (at = strstr(at, kind)) != NULL; at++)
        count++;
    return count;
}

static void close_diary(diary *d)
{
    reid_rpc_client_stop(d->stream);
    reid_str_fini(&d->text);
}

static void test_events(void **state)
{
    test_reidd *t = *state;
    char ticket[64];
    reid_error err = {0};
    test_reidd_start(t);
    char *id = rank_start_job(t, ticket), *folder = test_job_folder(t, 1);
    diary live = follow(t, id, 0, true);
    expect_event(&live, "state:STARTING\n");
    rank_link l = rank_join(t, id, ticket, 0);
    expect_event(&live, "state:RUNNING\n");
    rank_agree(&l, folder, "w", "set", "lr", "1", "2", 5, "");
    expect_event(&live, "journal:{\"seq\":1,");
    int64_t cursor = live.number;
    rank_send_note(&l, 3, "hook 'x' (id 3): it failed");
    expect_event(&live, "hook:hook 'x' (id 3): it failed\n");
    for (int i = 0; i < 100; i++)
        rank_send_note(&l, 3, "again");
    reid_assert_ok(test_cancel(t, id, 1, "bored", &err), &err);
    expect_event(&live, "cancel:bored\n");
    while (!live.ended)
        read_events(&live);
    assert_true(strstr(live.text.data, "state:CANCELLED\n"));
    assert_in_range(count_of(&live, "hook:"), 20, 22); /* the disk is not filled */
    diary rest = follow(t, id, cursor, false);
    while (!rest.ended)
        read_events(&rest);
    assert_true(reid_str_starts(rest.text.data, "hook:hook 'x'"));
    assert_int_equal(rest.number, live.number);
    diary none = follow(t, id, live.number, false);
    read_events(&none);
    assert_true(none.ended);
    diary bad = follow(t, id, -1, false);
    expect_refused(bad.stream, REID_ERR_INVALID, "negative");
    bad = follow(t, "nobody", 0, false);
    expect_refused(bad.stream, REID_ERR_NOT_FOUND, "no job");
    close_diary(&live);
    close_diary(&rest);
    close_diary(&none);
    rank_close(&l);
    free(folder);
    free(id);
}

/* ---- forks, and what the ranks are told ---- */

static reid_status fork_job(test_reidd *t, const char *source, int64_t at_iter, bool resume,
                            const char *output_dir, char **ret_id, reid_error *err)
{
    char *folder = output_dir ? reid_xstrdup(output_dir) : test_job_folder(t, ++t->jobs);
    if (!output_dir)
        free(reid_test_write_text(folder, "script", RANK_SCRIPT));
    char *yaml = reid_xasprintf("OUTPUT_DIR: %s\n", folder);
    Reid__V1__SubmitRequest request = REID__V1__SUBMIT_REQUEST__INIT;
    Reid__V1__Fork fork = REID__V1__FORK__INIT;
    Reid__V1__Job *job = NULL;
    request.config_yaml = yaml;
    request.name = (char *)"forked";
    request.ranks = 1;
    request.resume = resume;
    request.fork = &fork;
    fork.job = (char *)source;
    fork.at_iter = at_iter;
    reid_status status = test_submit_raw(t, &request, &job, err);
    if (status == REID_OK) {
        *ret_id = reid_xstrdup(job->id);
        reid__v1__job__free_unpacked(job, NULL);
    }
    free(folder);
    free(yaml);
    return status;
}

/* The words of the command line of job N's rank, with spaces in between. */
static char *command_line(test_reidd *t, int number)
{
    char path[64], *data = NULL;
    size_t size = 0;
    reid_error err = {0};
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)test_wait_mark(t, number, "up"));
    reid_assert_ok(reid_file_read(path, 1 << 16, &data, &size, &err), &err);
    for (size_t i = 0; i + 1 < size; i++)
        if (!data[i])
            data[i] = ' ';
    return data;
}

static void expect_forked(test_reidd *t, const char *options)
{
    char *line = command_line(t, t->jobs);
    char *wanted = reid_xasprintf("--fork-from %s/out-1%s", t->folder, options);
    if (!reid_str_ends(line, wanted))
        fail_msg("'%s' does not end in '%s'", line, wanted);
    free(wanted);
    free(line);
}

static void test_forks(void **state)
{
    test_reidd *t = *state;
    reid_error err = {0};
    test_reidd_option(t, "--slots");
    test_reidd_option(t, "4");
    test_reidd_start(t);
    char *source = test_submit(t, "source", 1, RANK_SCRIPT), *id = NULL;
    char *folder = test_job_folder(t, 1);
    reid_assert_ok(fork_job(t, "source", 12, false, NULL, &id, &err), &err);
    expect_forked(t, " --fork-iter 12");
    diary d = follow(t, id, 0, false);
    expect_event(&d, "fork:from '");
    close_diary(&d);
    test_reidd_kill(t); /* what is stored is enough */
    test_reidd_start(t);
    reid_assert_ok(test_cancel(t, id, 1, "", &err), &err);
    free(id);
    reid_assert_ok(fork_job(t, source, 0, false, NULL, &id, &err), &err);
    expect_forked(t, "");
    assert_int_equal(fork_job(t, source, 1, true, folder, &id, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "cannot resume, too"));
    reid_error_clear(&err);
    assert_int_equal(fork_job(t, source, 1, false, folder, &id, &err), REID_ERR_INVALID);
    assert_non_null(strstr(err.text, "needs its own"));
    reid_error_clear(&err);
    assert_int_equal(fork_job(t, source, -1, false, "/elsewhere", &id, &err), REID_ERR_INVALID);
    reid_error_clear(&err);
    assert_int_equal(fork_job(t, "nobody", 1, false, "/elsewhere", &id, &err), REID_ERR_NOT_FOUND);
    free(id);
    free(folder);
    free(source);
}

static void test_hook_dir(void **state)
{
    test_reidd *t = *state;
    char value[256];
    test_reidd_option(t, "--hook-dir");
    test_reidd_option(t, "/opt/../opt/hooks");
    test_reidd_start(t);
    free(test_submit(t, "x", 1, RANK_SCRIPT));
    rank_environment(t, 1, "REIDD_HOOK_DIR", value, sizeof value);
    assert_true(reid_str_starts(value, "/opt") && reid_str_ends(value, "/hooks"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, test_reidd_set_up, test_reidd_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_add_and_change), CASE(test_bad_requests), CASE(test_long_scripts),
        CASE(test_list),           CASE(test_events),       CASE(test_skip_step_and_profile),
        CASE(test_forks),          CASE(test_hook_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
