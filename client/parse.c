#include <string.h>

#include "base/compiler.h"
#include "base/str.h"
#include "command.h"

/* ---- names ---- */

/* The nearer one of `best` and `name` to what was typed; NULL stands for "none is near". */
static const char *nearer(const char *typed, const char *best, const char *name)
{
    size_t limit = best != NULL ? reid_str_distance(typed, best) : strlen(typed) / 3 + 2;
    return reid_str_distance(typed, name) < limit ? name : best;
}

/* `parent` as in reidctl_command_find. */
static reid_status fail_command(const reidctl_command *parent, const char *typed, reid_error *err)
{
    const char *best = NULL;
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        if (!reidctl_command_is_of(command, parent))
            continue;
        best = nearer(typed, best, reidctl_command_word(command));
        if (command->alias != NULL)
            best = nearer(typed, best, command->alias);
    }
    const char *of = parent != NULL ? parent->name : "", *gap = parent != NULL ? " " : "";
    if (best != NULL)
        return reid_fail(err, REID_ERR_INVALID,
                         "there is no command '%s%s%s'; did you mean '%s%s%s'?", of, gap, typed, of,
                         gap, best);
    return reid_fail(err, REID_ERR_INVALID, "there is no command '%s%s%s'; see reidctl %s%s--help",
                     of, gap, typed, of, gap);
}

static reid_status fail_option(const reidctl_command *command, const char *typed, reid_error *err)
{
    const char *best = NULL;
    const reidctl_option *option;
    if (reid_str_starts(typed, "--"))
        for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++)
            best = nearer(typed + 2, best, option->name);
    const char *of = command != NULL ? command->name : "reidctl";
    if (best != NULL)
        return reid_fail(err, REID_ERR_INVALID, "%s has no option '%s'; did you mean '--%s'?", of,
                         typed, best);
    return reid_fail(err, REID_ERR_INVALID, "%s has no option '%s'; see reidctl %s%s--help", of,
                     typed, command != NULL ? of : "", command != NULL ? " " : "");
}

/* By its name (`length` bytes of it), or by its letter when that is not 0. */
static const reidctl_option *find_option(const reidctl_command *command, const char *name,
                                         size_t length, char letter)
{
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++)
        if (letter != 0
                ? option->letter == letter
                : strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

/* ---- values ---- */

static reid_status set_option(const reidctl_option *option, const char *value, reidctl_args *args,
                              reid_error *err)
{
    void *field = (char *)args + option->offset;
    switch (option->kind) {
    case REIDCTL_FLAG:
        *(bool *)field = true;
        return REID_OK;
    case REIDCTL_INT: {
        int64_t number;
        if (reid_parse_int64(value, &number) != REID_OK || number < option->least ||
            number > INT32_MAX)
            return reid_fail(err, REID_ERR_INVALID,
                             "--%s needs a whole number from %lld on, not '%s'", option->name,
                             (long long)option->least, value);
        *(int64_t *)field = number;
        return REID_OK;
    }
    case REIDCTL_REAL: {
        double number;
        if (reid_parse_double(value, &number) != REID_OK || !(number >= 0 && number <= 1e9))
            return reid_fail(err, REID_ERR_INVALID, "--%s needs a number from 0 on, not '%s'",
                             option->name, value);
        *(double *)field = number;
        return REID_OK;
    }
    case REIDCTL_TEXT:
        *(const char **)field = value;
        return REID_OK;
    case REIDCTL_LIST: {
        reidctl_texts *list = field;
        if (list->count == REID_COUNT_OF(list->items))
            return reid_fail(err, REID_ERR_INVALID, "--%s is given more than %zu times",
                             option->name, list->count);
        list->items[list->count++] = value;
        return REID_OK;
    }
    }
    return REID_OK;
}

/* The line as far as it has been read. */
typedef struct reader {
    int argc, at; /* argv[at] comes next */
    char **argv;
} reader;

static reid_status take_value(reader *line, const reidctl_option *option, reidctl *ctl,
                              reid_error *err)
{
    if (line->at >= line->argc)
        return reid_fail(err, REID_ERR_INVALID, "--%s needs a value: %s", option->name,
                         option->value);
    return set_option(option, line->argv[line->at++], &ctl->args, err);
}

/* --name, --name=value, --name value */
static reid_status parse_long(reader *line, const char *word, reidctl *ctl, reid_error *err)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const reidctl_option *option = find_option(ctl->command, name, length, 0);
    if (option == NULL)
        return fail_option(ctl->command, word, err);
    if (option->kind == REIDCTL_FLAG && equals != NULL)
        return reid_fail(err, REID_ERR_INVALID, "--%s takes no value", option->name);
    if (option->kind != REIDCTL_FLAG && equals == NULL)
        return take_value(line, option, ctl, err);
    return set_option(option, equals != NULL ? equals + 1 : NULL, &ctl->args, err);
}

/* -f, -aq, -n2, -n 2, -fn2 */
static reid_status parse_letters(reader *line, const char *word, reidctl *ctl, reid_error *err)
{
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        const reidctl_option *option = find_option(ctl->command, NULL, 0, *letter);
        if (option == NULL)
            return fail_option(ctl->command, word, err);
        if (option->kind != REIDCTL_FLAG)
            return letter[1] != '\0' ? set_option(option, letter + 1, &ctl->args, err)
                                     : take_value(line, option, ctl, err);
        REID_TRY(set_option(option, NULL, &ctl->args, err));
    }
    return REID_OK;
}

/* ---- words ---- */

/* Whether the next word is the VALUE of a KEY, which may begin with '-'. */
static bool is_value_next(const reidctl *ctl)
{
    if (ctl->command->word_kind != REIDCTL_WORDS_CONFIG &&
        ctl->command->word_kind != REIDCTL_WORDS_FORK)
        return false;
    bool next = false;
    for (int i = ctl->args.config_file != NULL ? 0 : 1; i < ctl->word_count; i++)
        next = !next && strchr(ctl->words[i], '=') == NULL;
    return next;
}

/* The format asked for, or the first one. */
static reid_status choose_output(const reidctl_command *command, reidctl_args *args,
                                 reid_error *err)
{
    if (command->formats == NULL)
        return REID_OK;
    reid_str known = REID_STR_INIT;
    for (const char *const *format = command->formats; *format != NULL; format++) {
        if (args->output == NULL || strcmp(args->output, *format) == 0) {
            args->output = *format;
            reid_str_fini(&known);
            return REID_OK;
        }
        reid_str_addf(&known, "%s%s", format == command->formats ? "" : " or ", *format);
    }
    reid_fail(err, REID_ERR_INVALID, "%s writes %s, not '%s'", command->name, reid_str_text(&known),
              args->output);
    reid_str_fini(&known);
    return REID_ERR_INVALID;
}

static reid_status check_words(const reidctl *ctl, reid_error *err)
{
    const reidctl_command *command = ctl->command;
    if (command->run == NULL)
        return reid_fail(err, REID_ERR_INVALID, "%s needs a verb; see reidctl %s --help",
                         command->name, command->name);
    if (ctl->word_count < command->min_words)
        return reid_fail(err, REID_ERR_INVALID, "%s needs %s; see reidctl %s --help", command->name,
                         command->words, command->name);
    if (command->max_words >= 0 && ctl->word_count > command->max_words)
        return reid_fail(err, REID_ERR_INVALID, "%s does not take '%s'; see reidctl %s --help",
                         command->name, ctl->words[command->max_words], command->name);
    return REID_OK;
}

static reid_status take_word(reidctl *ctl, char *word, reid_error *err)
{
    const reidctl_command *parent = ctl->command;
    if (parent != NULL && parent->run != NULL) {
        ctl->words[ctl->word_count++] = word;
        return REID_OK;
    }
    ctl->command = reidctl_command_find(parent, word);
    return ctl->command != NULL ? REID_OK : fail_command(parent, word, err);
}

bool reidctl_output_is(const reidctl *ctl, const char *format)
{
    return ctl->args.output != NULL && strcmp(ctl->args.output, format) == 0;
}

reid_status reidctl_parse(int argc, char **argv, reidctl *ctl, reid_error *err)
{
    reader line = {.argc = argc, .argv = argv};
    bool only_words = false;
    ctl->words = argv; /* a word is never put behind the place that is being read */
    ctl->word_count = 0;
    ctl->args.rank = REIDCTL_ALL_RANKS;
    ctl->args.interval = REIDCTL_INTERVAL_SECONDS;
    ctl->args.reconnect = REIDCTL_RECONNECT_SECONDS;
    ctl->args.deadline = ctl->args.restart_backoff = REIDCTL_NOT_GIVEN;
    while (line.at < argc) {
        char *word = argv[line.at++];
        bool is_value = ctl->command != NULL && is_value_next(ctl);
        bool number = word[0] == '-' && word[1] >= '0' && word[1] <= '9'; /* no option */
        if (only_words || is_value || number || word[0] != '-' || word[1] == '\0')
            REID_TRY(take_word(ctl, word, err));
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (word[1] == '-')
            REID_TRY(parse_long(&line, word, ctl, err));
        else
            REID_TRY(parse_letters(&line, word, ctl, err));
        if (ctl->args.help)
            return REID_OK; /* whatever else there is */
    }
    if (ctl->command == NULL)
        return REID_OK;
    REID_TRY(check_words(ctl, err));
    return choose_output(ctl->command, &ctl->args, err);
}
