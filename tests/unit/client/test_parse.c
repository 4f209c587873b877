#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "command.h"
#include "harness/harness.h"

#define MAX_WORDS 16

/* Splits `line` at spaces and parses it. */
typedef struct parsed {
    char text[512];
    char *argv[MAX_WORDS];
    reidctl ctl;
    reid_error err;
    reid_status status;
} parsed;

static const reidctl *parse(parsed *p, const char *line)
{
    int argc = 0;
    char *rest = NULL;
    *p = (parsed){0};
    snprintf(p->text, sizeof p->text, "%s", line);
    for (char *word = strtok_r(p->text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest))
        p->argv[argc++] = word;
    assert_true(argc < MAX_WORDS);
    p->status = reidctl_parse(argc, p->argv, &p->ctl, &p->err);
    return &p->ctl;
}

static const reidctl *parse_ok(parsed *p, const char *line)
{
    const reidctl *ctl = parse(p, line);
    reid_assert_ok(p->status, &p->err);
    return ctl;
}

static void assert_refused(const char *line, const char *part)
{
    parsed p;
    parse(&p, line);
    assert_int_equal(p.status, REID_ERR_INVALID);
    if (strstr(p.err.text, part) == NULL)
        fail_msg("'%s' is not in: %s", part, p.err.text);
}

static void assert_words(const reidctl *ctl, const char *expected)
{
    char text[512] = "";
    for (int i = 0; i < ctl->word_count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? " " : "",
                 ctl->words[i]);
    assert_string_equal(text, expected);
}

/* The command before it whose verb it is, or NULL. */
static const reidctl_command *parent_of(const reidctl_command *verb)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != verb; i++)
        if (reidctl_command_is_of(verb, command)) {
            assert_null(command->run);
            return command;
        }
    assert_true(reidctl_command_is_of(verb, NULL));
    return NULL;
}

static void every_row_is_sound(void **state)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        const reidctl_command *parent = parent_of(command);
        assert_ptr_equal(reidctl_command_find(parent, reidctl_command_word(command)), command);
        if (command->alias != NULL)
            assert_ptr_equal(reidctl_command_find(parent, command->alias), command);
        assert_true(command->max_words < 0 || command->min_words <= command->max_words);
        if (command->run != NULL)
            assert_int_equal(command->word_kind == REIDCTL_WORDS_NONE, command->max_words == 0);
        else
            assert_int_equal(command->word_kind, REIDCTL_WORDS_VERBS);
        size_t named = *command->options != '\0';
        for (const char *at = command->options; *at != '\0'; at++)
            named += *at == ',';
        size_t own = 0;
        const reidctl_option *option, *other;
        for (size_t k = 0; (option = reidctl_option_at(command, k)) != NULL; k++) {
            own += option->scope == REIDCTL_OF_COMMANDS &&
                   option->offset != offsetof(reidctl_args, output);
            assert_int_equal(option->kind == REIDCTL_FLAG, option->value == NULL);
            for (size_t m = 0; m < k && (other = reidctl_option_at(command, m)) != NULL; m++)
                assert_true(option->letter == 0 || option->letter != other->letter);
        }
        if (own != named)
            fail_msg("%s names an option that there is not: %s", command->name, command->options);
    }
}

static void forms_of_options(void **state)
{
    parsed p;
    static const char *const same[] = {"submit -n2 -f c.yml",         "submit -n 2 --follow c.yml",
                                       "submit --ranks=2 -f c.yml",   "submit --ranks 2 c.yml -f",
                                       "submit -fn2 c.yml",           "submit -fn 2 c.yml",
                                       "submit --num-gpus 2 c.yml -f"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        const reidctl *ctl = parse_ok(&p, same[i]);
        assert_int_equal(ctl->args.ranks, 2);
        assert_true(ctl->args.follow);
        assert_words(ctl, "c.yml");
    }
    const reidctl *ctl = parse_ok(&p, "ps -aq");
    assert_true(ctl->args.all && ctl->args.quiet && !ctl->args.no_headers);
    ctl = parse_ok(&p, "wait --timeout 1.5 --reconnect=0 a");
    assert_true(ctl->args.timeout == 1.5 && ctl->args.reconnect == 0);
    ctl = parse_ok(&p, "cancel --reason= a b");
    assert_string_equal(ctl->args.reason, "");
    assert_words(ctl, "a b");
    assert_int_equal(parse_ok(&p, "logs --rank -1 a")->args.rank, -1);
    assert_int_equal(parse_ok(&p, "logs a")->args.rank, REIDCTL_ALL_RANKS);
    assert_true(parse_ok(&p, "logs a")->args.reconnect == REIDCTL_RECONNECT_SECONDS);
}

static void options_before_and_after(void **state)
{
    parsed p;
    assert_string_equal(parse_ok(&p, "-H unix:/a ps")->args.host, "unix:/a");
    assert_string_equal(parse_ok(&p, "ps --host=unix:/b")->args.host, "unix:/b");
    assert_true(parse_ok(&p, "--version")->args.version);
    assert_null(parse_ok(&p, "-h")->command);
    assert_true(p.ctl.args.help);
    assert_string_equal(parse_ok(&p, "ls -h --nothing")->command->name, "ps");
    assert_null(parse_ok(&p, "")->command);
    assert_refused("-f submit c.yml", "has no option '-f'");
    assert_refused("ps --version", "has no option");
}

static void formats(void **state)
{
    parsed p;
    assert_true(reidctl_output_is(parse_ok(&p, "ps"), "table"));
    assert_true(reidctl_output_is(parse_ok(&p, "ps -o json"), "json"));
    assert_true(reidctl_output_is(parse_ok(&p, "metrics a -ocsv"), "csv"));
    assert_false(reidctl_output_is(parse_ok(&p, "cancel a"), "json"));
    assert_refused("ps -o yaml", "table or json, not 'yaml'");
    assert_refused("cancel -o json a", "no option '-o'");
}

static void words_of_a_configuration(void **state)
{
    parsed p;
    assert_words(parse_ok(&p, "submit c.yml SEED -1 -f SOLVER.BASE_LR 0.1"),
                 "c.yml SEED -1 SOLVER.BASE_LR 0.1");
    assert_true(p.ctl.args.follow);
    assert_words(parse_ok(&p, "submit c.yml A=1 SEED -1"), "c.yml A=1 SEED -1");
    assert_words(parse_ok(&p, "submit c.yml SEED --follow"), "c.yml SEED --follow");
    assert_false(p.ctl.args.follow); /* it stands where a value belongs */
    assert_words(parse_ok(&p, "submit c.yml SEED -n -n 2"), "c.yml SEED -n");
    assert_int_equal(p.ctl.args.ranks, 2);
    assert_words(parse_ok(&p, "submit c.yml A a=b SEED -1"), "c.yml A a=b SEED -1");
    assert_words(parse_ok(&p, "submit --config-file c.yml SEED -1 -n 3"), "SEED -1");
    assert_int_equal(p.ctl.args.ranks, 3);
    assert_words(parse_ok(&p, "submit - SEED 1"), "- SEED 1");
    assert_words(parse_ok(&p, "submit -- -odd.yml -f"), "-odd.yml -f");
    assert_words(parse_ok(&p, "describe -- -f"), "-f");
}

static void verbs(void **state)
{
    parsed p;
    assert_string_equal(parse_ok(&p, "hook ls a")->command->name, "hook list");
    assert_words(parse_ok(&p, "hook -H unix:/a rm a 3"), "a 3");
    assert_string_equal(p.ctl.command->name, "hook remove");
    assert_string_equal(p.ctl.args.host, "unix:/a");
    assert_words(parse_ok(&p, "hook add a --exec sh --every 5 -- -c --points x"),
                 "a -c --points x");
    assert_string_equal(p.ctl.args.exec, "sh");
    assert_int_equal(p.ctl.args.every, 5);
    assert_null(p.ctl.args.points);
    assert_string_equal(parse_ok(&p, "hook --help")->command->name, "hook");
    assert_string_equal(parse_ok(&p, "hook add -h")->command->name, "hook add");
    assert_refused("hook", "hook needs a verb; see reidctl hook --help");
    assert_refused("hook ad a", "'hook ad'; did you mean 'hook add'?");
    assert_refused("hook xyzzyplugh", "see reidctl hook --help");
    assert_refused("hook --every 3 add a", "hook has no option '--every'");
    assert_refused("add a", "there is no command 'add'");
    assert_refused("hook list", "hook list needs JOB; see reidctl hook list --help");
    assert_refused("hook rm a", "hook remove needs JOB HOOK");
    assert_refused("hook list a --evry 3", "hook list has no option '--evry'");
    assert_words(parse_ok(&p, "fork a SEED -1 --at-iter 30"), "a SEED -1");
    assert_int_equal(p.ctl.args.at_iter, 30);
}

static void mistakes(void **state)
{
    assert_refused("submitt c.yml", "did you mean 'submit'?");
    assert_refused("xyzzyplugh", "see reidctl --help");
    assert_refused("logs --tial 3 a", "did you mean '--tail'?");
    assert_refused("logs -x a", "see reidctl logs --help");
    assert_refused("ps -ax", "no option '-ax'");
    assert_refused("ps --al", "no option '--al'");
    assert_refused("ps --all=yes", "takes no value");
    assert_refused("logs a --tail", "needs a value: N");
    assert_refused("submit -n", "--ranks needs a value");
    assert_refused("submit -n 0 c", "from 1 on, not '0'");
    assert_refused("submit -n 2x c", "not '2x'");
    assert_refused("submit -n 3000000000 c", "whole number");
    assert_refused("logs --rank=-2 a", "from -1 on");
    assert_refused("wait --timeout nan a", "from 0 on");
    assert_refused("wait --timeout -1 a", "from 0 on");
    assert_refused("wait --timeout 1e300 a", "from 0 on");
    assert_refused("describe", "describe needs JOB");
    assert_refused("describe a b", "does not take 'b'");
    assert_refused("ps a", "does not take 'a'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_sound),
        cmocka_unit_test(forms_of_options),
        cmocka_unit_test(options_before_and_after),
        cmocka_unit_test(formats),
        cmocka_unit_test(words_of_a_configuration),
        cmocka_unit_test(verbs),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
