#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "harness/harness.h"
#include "hook/verdict.h"

/* "stop(why) checkpoint set(lr=1e-4,clip=1) put(x=1.5)", "error(why)" */
static void describe(const Reid__V1__HookVerdict *message, reid_str *out)
{
    if (*message->error != '\0')
        reid_str_addf(out, "error(%s)", message->error);
    for (size_t i = 0; i < message->n_actions; i++) {
        const Reid__V1__HookAction *action = message->actions[i];
        reid_str_add(out, out->length > 0 ? " " : "");
        switch (action->kind_case) {
        case REID__V1__HOOK_ACTION__KIND_STOP:
            reid_str_addf(out, "stop(%s)", action->stop->reason);
            break;
        case REID__V1__HOOK_ACTION__KIND_CHECKPOINT:
            reid_str_add(out, "checkpoint");
            break;
        case REID__V1__HOOK_ACTION__KIND_EVALUATE:
            reid_str_add(out, "evaluate");
            break;
        case REID__V1__HOOK_ACTION__KIND_SKIP_STEP:
            reid_str_add(out, "skip_step");
            break;
        case REID__V1__HOOK_ACTION__KIND_SET:
            for (size_t k = 0; k < action->set->n_settings; k++)
                reid_str_addf(out, "%s%s=%s", k > 0 ? "," : "set(", action->set->settings[k]->name,
                              action->set->settings[k]->value);
            reid_str_add(out, ")");
            break;
        case REID__V1__HOOK_ACTION__KIND_PUT_SCALAR:
            reid_str_addf(out, "put(%s=%.17g)", action->put_scalar->name,
                          action->put_scalar->value);
            break;
        default:
            reid_str_add(out, "?");
        }
    }
}

static void assert_verdict(reidctl_verdict *verdict, const char *line, const char *expected)
{
    reid_error err = {0};
    reid_str text = REID_STR_INIT;
    reid_assert_ok(reidctl_verdict_add(verdict, line, strlen(line), &err), &err);
    const Reid__V1__HookVerdict *message = reidctl_verdict_message(verdict, 7);
    assert_int_equal(message->event, 7);
    describe(message, &text);
    if (strcmp(reid_str_text(&text), expected) != 0)
        fail_msg("'%s' is understood as '%s', not '%s'", line, reid_str_text(&text), expected);
    /* It can be sent, and is the same afterwards. */
    size_t size = reid__v1__hook_verdict__get_packed_size(message);
    uint8_t *bytes = reid_xmalloc(size + 1);
    reid__v1__hook_verdict__pack(message, bytes);
    Reid__V1__HookVerdict *copy = reid__v1__hook_verdict__unpack(NULL, size, bytes);
    assert_non_null(copy);
    reid_str_clear(&text);
    describe(copy, &text);
    assert_string_equal(reid_str_text(&text), expected);
    reid__v1__hook_verdict__free_unpacked(copy, NULL);
    free(bytes);
    reid_str_fini(&text);
}

static void lines_are_understood(void **state)
{
    static const struct {
        const char *line, *expected;
    } rows[] = {
        {"", ""},
        {"  ", ""},
        {"continue", ""},
        {"continue\r", ""},
        {"{}", ""},
        {" { } ", ""},
        {"{\"continue\": true, \"stop\": false, \"set\": {}, \"put\": null, \"error\": \"\"}", ""},
        {"stop", "stop()"},
        {"stop  it is  enough ", "stop(it is  enough)"},
        {"{\"stop\": true}", "stop()"},
        {"{\"stop\": \"gr\\u00fcn\"}", "stop(gr\303\274n)"},
        {"stop \377\033", "stop(?"
                          "?)"},
        {"checkpoint", "checkpoint"},
        {"evaluate", "evaluate"},
        {"skip_step", "skip_step"},
        {"set lr=1e-4", "set(lr=1e-4)"},
        {"set lr=1e-4  clip=2", "set(lr=1e-4,clip=2)"},
        {"{\"set\": {\"lr\": 1e-4, \"eval_period\": 3, \"clip\": \"off\"}}",
         "set(lr=0.0001,eval_period=3,clip=off)"},
        {"put a=1.5 b=-3", "put(a=1.5) put(b=-3)"},
        {"{\"put\": {\"a b\": 0.1, \"c\": 7}}", "put(a b=0.10000000000000001) put(c=7)"},
        {"{\"checkpoint\": true, \"evaluate\": true, \"skip_step\": true, \"put\": {\"x\": 1}}",
         "checkpoint evaluate skip_step put(x=1)"},
        {"error", "error(it gave no reason)"},
        {"error no disk left", "error(no disk left)"},
        {"{\"stop\": true, \"error\": \"bad\"}", "error(bad)"},
        {"{\"error\": \"bad\", \"stop\": true}", "error(bad)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        reidctl_verdict verdict = {0};
        assert_verdict(&verdict, rows[i].line, rows[i].expected);
        reidctl_verdict_fini(&verdict);
    }
}

static void lines_add_up(void **state)
{
    reidctl_verdict verdict = {0};
    assert_verdict(&verdict, "checkpoint", "checkpoint");
    assert_verdict(&verdict, "set lr=1", "checkpoint set(lr=1)");
    reidctl_verdict_fail(&verdict, "it ended");
    assert_string_equal(reidctl_verdict_message(&verdict, 1)->error, "it ended");
    reidctl_verdict_fini(&verdict);
    assert_verdict(&verdict, "continue", "");
    reidctl_verdict_fini(&verdict);
}

static void assert_refused(reidctl_verdict *verdict, const char *line, size_t length,
                           const char *part)
{
    reid_error err = {0};
    size_t before = verdict->actions.count;
    assert_int_equal(reidctl_verdict_add(verdict, line, length, &err), REID_ERR_INVALID);
    if (strstr(err.text, part) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("'%s' is not in one sentence: %s", part, err.text);
    assert_int_equal(verdict->actions.count, before);
}

static void mistakes_are_one_sentence(void **state)
{
    static const struct {
        const char *line, *part;
    } rows[] = {
        {"chekpoint", "there is no answer 'chekpoint'; did you mean 'checkpoint'?"},
        {"iter 5 loss 3.2", "there is no answer 'iter'"},
        {"checkpoint now", "nothing may stand behind 'checkpoint', not 'now'"},
        {"set", "NAME=VALUE"},
        {"set lr", "not 'lr'"},
        {"set lr=", "not 'lr='"},
        {"set =1", "not '=1'"},
        {"set lr = 1", "without spaces"},
        {"put x=fast", "the metric 'x' is a number, not 'fast'"},
        {"put", "NAME=NUMBER"},
        {"{", "no JSON"},
        {"{\"stop\": true} {}", "no JSON"},
        {"{\"stop\": true, \"stop\": true}", "no JSON"},
        {"{\"stop\": 1}", "\"stop\" is true, false or a reason"},
        {"{\"checkpoint\": \"yes\"}", "\"checkpoint\" is true or false"},
        {"{\"set\": [1]}", "\"set\" is an object of knobs"},
        {"{\"set\": {\"lr\": [1]}}", "the knob 'lr'"},
        {"{\"set\": {\"lr\": true}}", "the knob 'lr'"},
        {"{\"put\": {\"x\": \"1\"}}", "the metric 'x' is a number"},
        {"{\"put\": 3}", "\"put\" is an object of metrics"},
        {"{\"error\": true}", "\"error\" is a text"},
        {"{\"stpo\": true}", "did you mean 'stop'?"},
        {"{\"checkpoint\": true, \"nothing\": 1}", "there is no answer 'nothing'"},
        {"[]", "there is no answer '[]'"},
    };
    reidctl_verdict verdict = {0};
    reid_error err = {0};
    reid_assert_ok(reidctl_verdict_add(&verdict, "evaluate", 8, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(&verdict, rows[i].line, strlen(rows[i].line), rows[i].part);
    assert_refused(&verdict, "stop\0now", 8, "no text");
    assert_refused(&verdict, "{\"stop\": \"\377\"}", 13, "no JSON");
    reidctl_verdict_fini(&verdict);
}

/* reidd throws out a client that asks for more. */
static void limits(void **state)
{
    reidctl_verdict verdict = {0};
    reid_str line = REID_STR_INIT;
    reid_error err = {0};
    reid_str_add(&line, "put");
    for (int i = 0; i < REIDCTL_VERDICT_ACTIONS; i++)
        reid_str_addf(&line, " m%d=%d", i, i);
    reid_assert_ok(reidctl_verdict_add(&verdict, line.data, line.length, &err), &err);
    assert_int_equal(reidctl_verdict_message(&verdict, 1)->n_actions, REIDCTL_VERDICT_ACTIONS);
    assert_refused(&verdict, "stop", 4, "at most 64 things");
    reidctl_verdict_fini(&verdict);

    reid_str_clear(&line);
    reid_str_add(&line, "set");
    for (int i = 0; i < REIDCTL_VERDICT_SETTINGS; i++)
        reid_str_addf(&line, " k%d=%d", i, i);
    reid_assert_ok(reidctl_verdict_add(&verdict, line.data, line.length, &err), &err);
    reid_str_add(&line, " more=1");
    assert_refused(&verdict, line.data, line.length, "at most 32 knobs");
    reidctl_verdict_fini(&verdict);

    reid_str_clear(&line);
    reid_str_add(&line, "stop ");
    for (int i = 0; i < REIDCTL_VERDICT_TEXT_BYTES; i++)
        reid_str_add(&line, "x");
    reid_assert_ok(reidctl_verdict_add(&verdict, line.data, line.length, &err), &err);
    reid_str_add(&line, "x");
    assert_refused(&verdict, line.data, line.length, "at most 1000 bytes, not 1001");

    /* What a program says of its failure is cut, at the end of a character. */
    reid_str_clear(&line);
    reid_str_add(&line, "error x");
    for (int i = 0; i < REIDCTL_VERDICT_TEXT_BYTES; i++)
        reid_str_add(&line, "\303\274");
    reid_assert_ok(reidctl_verdict_add(&verdict, line.data, line.length, &err), &err);
    assert_int_equal(strlen(reidctl_verdict_message(&verdict, 1)->error), 999);
    reidctl_verdict_fini(&verdict);
    reid_str_fini(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_understood),
        cmocka_unit_test(lines_add_up),
        cmocka_unit_test(mistakes_are_one_sentence),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
