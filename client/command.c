#include "command.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/str.h"

#define FIELD(member) offsetof(reidctl_args, member)

static const reidctl_option options[] = {
    {"follow", 'f', REIDCTL_FLAG, NULL,
     "go on showing what is new until the job ends; Ctrl-C detaches", FIELD(follow)},
    {"all", 'a', REIDCTL_FLAG, NULL, "ended jobs too", FIELD(all)},
    {"quiet", 'q', REIDCTL_FLAG, NULL, "ids only", FIELD(quiet)},
    {"no-headers", 0, REIDCTL_FLAG, NULL, "leave out the table's head", FIELD(no_headers)},
    {"resume", 0, REIDCTL_FLAG, NULL, "go on from OUTPUT_DIR's last checkpoint", FIELD(resume)},
    {"eval-only", 0, REIDCTL_FLAG, NULL, "evaluate only", FIELD(eval_only)},
    {"dry-run", 0, REIDCTL_FLAG, NULL, "print the resolved configuration and submit nothing",
     FIELD(dry_run)},
    {"ranks", 'n', REIDCTL_INT, "N", "number of ranks (default 1)", FIELD(ranks)},
    {"rank", 'r', REIDCTL_INT, "R", "one rank only; -1 is the launcher", FIELD(rank)},
    {"tail", 0, REIDCTL_INT, "N", "only the last N lines of each log, then what follows",
     FIELD(tail)},
    {"limit", 0, REIDCTL_INT, "N", "at most N jobs", FIELD(limit)},
    {"attempt", 0, REIDCTL_INT, "K", "that attempt instead of the newest", FIELD(attempt)},
    {"grace", 0, REIDCTL_REAL, "SECONDS", "time to save and end before it is killed", FIELD(grace)},
    {"timeout", 0, REIDCTL_REAL, "SECONDS", "give up after that long (exit status 124)",
     FIELD(timeout)},
    {"name", 0, REIDCTL_TEXT, "NAME", "name of the job", FIELD(name)},
    {"names", 0, REIDCTL_TEXT, "GLOBS", "only these metrics, such as 'loss*,lr'", FIELD(names)},
    {"output", 'o', REIDCTL_TEXT, "FORMAT", NULL, FIELD(output)},
    {"reason", 0, REIDCTL_TEXT, "TEXT", "kept with the job", FIELD(reason)},
};

/* clang-format off */
static const reidctl_command commands[] = {
    {"submit", NULL, "CONFIG [KEY VALUE ...]", 1, -1, "check a job and put it in the queue",
     "CONFIG is a fast-reid configuration; - reads standard input. Relative OUTPUT_DIR, DATASETS.ROOT and\n"
     "MODEL.WEIGHTS are taken from the current folder. Prints the job's id.",
     "follow,ranks,name,resume,eval-only,dry-run,output", reidctl_cmd_submit},
    {"ps", "ls", "", 0, 0, "list jobs, newest first",
     "FORMAT is table or json.", "all,quiet,no-headers,limit,output", reidctl_cmd_ps},
    {"describe", "inspect", "JOB", 1, 1, "everything about one job",
     "JOB is an id, the beginning of one, or a name. FORMAT is table or json.", "output", reidctl_cmd_describe},
    {"watch", NULL, "JOB", 1, 1, "live progress: bar, losses, learning rate, images/s",
     "Redraws in place on a terminal, prints lines otherwise. Ctrl-C detaches, the job goes on.", "",
     reidctl_cmd_watch},
    {"logs", NULL, "JOB", 1, 1, "the ranks' output",
     NULL, "follow,rank,tail,attempt", reidctl_cmd_logs},
    {"metrics", NULL, "JOB", 1, 1, "every scalar of a job",
     "FORMAT is jsonl (one object per iteration) or csv (one line per scalar).", "follow,names,output",
     reidctl_cmd_metrics},
    {"cancel", "stop", "JOB ...", 1, -1, "end jobs; they save a checkpoint first",
     NULL, "grace,reason", reidctl_cmd_cancel},
    {"wait", NULL, "JOB", 1, 1, "wait for the end of a job; its exit status is this command's",
     NULL, "timeout", reidctl_cmd_wait},
    {"config", NULL, "JOB", 1, 1, "the resolved configuration of a job",
     NULL, "", reidctl_cmd_config},
    {"version", NULL, "", 0, 0, "versions of reidctl and reidd", NULL, "output", reidctl_cmd_version},
    {"completion", NULL, "bash", 1, 1, "print a completion script: source <(reidctl completion bash)",
     NULL, "", reidctl_cmd_completion},
};
/* clang-format on */

const reidctl_command *reidctl_command_at(size_t index)
{
    return index < REID_COUNT_OF(commands) ? &commands[index] : NULL;
}

const reidctl_command *reidctl_command_find(const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, name) == 0 ||
            (commands[i].alias != NULL && strcmp(commands[i].alias, name) == 0))
            return &commands[i];
    return NULL;
}

/* Whether `name` is an item of a comma-separated list. */
static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = strstr(list, name); at != NULL; at = strstr(at + 1, name))
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

const reidctl_option *reidctl_option_of(const reidctl_command *command, size_t index)
{
    for (size_t i = 0; i < REID_COUNT_OF(options); i++)
        if (listed(command->options, options[i].name) && index-- == 0)
            return &options[i];
    return NULL;
}

static const reidctl_option *find_option(const reidctl_command *command, const char *name,
                                         size_t length, char letter)
{
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_of(command, i)) != NULL; i++)
        if (letter != 0
                ? option->letter == letter
                : strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

static reid_status set_option(const reidctl_option *option, const char *value, reidctl_args *args,
                              reid_error *err)
{
    void *field = (char *)args + option->offset;
    switch (option->kind) {
    case REIDCTL_FLAG:
        *(bool *)field = true;
        return REID_OK;
    case REIDCTL_INT:
        if (reid_parse_int64(value, field) != REID_OK)
            return reid_fail(err, REID_ERR_INVALID, "--%s needs a whole number, not '%s'",
                             option->name, value);
        return REID_OK;
    case REIDCTL_REAL:
        if (reid_parse_double(value, field) != REID_OK || !(*(double *)field >= 0))
            return reid_fail(err, REID_ERR_INVALID, "--%s needs a number from 0 on, not '%s'",
                             option->name, value);
        return REID_OK;
    case REIDCTL_TEXT:
        *(const char **)field = value;
        return REID_OK;
    }
    return REID_OK;
}

/* argv[*index] is an option; takes its value too. */
static reid_status parse_option(const reidctl_command *command, int argc, char **argv, int *index,
                                reidctl *ctl, reid_error *err)
{
    const char *word = argv[*index];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    const char *equals = is_long ? strchr(name, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const reidctl_option *option = find_option(command, name, length, is_long ? 0 : *name);
    if (option == NULL || (!is_long && option->kind == REIDCTL_FLAG && name[1] != '\0'))
        return reid_fail(err, REID_ERR_INVALID, "%s has no option '%s'; see reidctl %s --help",
                         command->name, word, command->name);
    const char *value = NULL;
    if (equals != NULL)
        value = equals + 1;
    else if (!is_long && name[1] != '\0')
        value = name + 1; /* -n2 */
    if (option->kind == REIDCTL_FLAG) {
        if (value != NULL)
            return reid_fail(err, REID_ERR_INVALID, "--%s takes no value", option->name);
    } else if (value == NULL) {
        if (*index + 1 >= argc)
            return reid_fail(err, REID_ERR_INVALID, "--%s needs a value: %s", option->name,
                             option->value);
        value = argv[++*index];
    }
    return set_option(option, value, &ctl->args, err);
}

reid_status reidctl_parse(const reidctl_command *command, int argc, char **argv, reidctl *ctl,
                          bool *ret_help, reid_error *err)
{
    ctl->words = argv;
    ctl->word_count = 0;
    ctl->args.rank = -2; /* all */
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        /* A value of KEY VALUE may begin with '-': SEED -1. */
        bool is_value = command->run == reidctl_cmd_submit && ctl->word_count >= 2 &&
                        ctl->word_count % 2 == 0 &&
                        strchr(ctl->words[ctl->word_count - 1], '=') == NULL;
        if (only_words || is_value || argv[i][0] != '-' || argv[i][1] == '\0') {
            ctl->words[ctl->word_count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *ret_help = true;
            return REID_OK;
        } else {
            REID_TRY(parse_option(command, argc, argv, &i, ctl, err));
        }
    }
    if (ctl->word_count < command->min_words)
        return reid_fail(err, REID_ERR_INVALID, "%s needs %s; see reidctl %s --help", command->name,
                         command->words, command->name);
    if (command->max_words >= 0 && ctl->word_count > command->max_words)
        return reid_fail(err, REID_ERR_INVALID, "%s does not take '%s'; see reidctl %s --help",
                         command->name, ctl->words[command->max_words], command->name);
    return REID_OK;
}

void reidctl_print_help(void)
{
    puts("usage: reidctl [-H ADDRESS] COMMAND ...\n\nTalks to reidd: submits training jobs, "
         "watches and "
         "stops them.\n\nCommands:");
    for (size_t i = 0; i < REID_COUNT_OF(commands); i++)
        printf("  %-11s %s\n", commands[i].name, commands[i].help);
    puts("\nOptions:\n"
         "  -H, --host ADDRESS   reidd's socket, unix:/path (default: $REIDD_HOST, else the usual "
         "place)\n"
         "  --version, --help\n\n"
         "reidctl COMMAND --help tells more. Exit status: 0 ok, 1 the job failed, 2 wrong use, 3 "
         "reidd cannot\n"
         "be reached, 4 no such job, 5 refused, 124 timeout, 130 interrupted.");
}

void reidctl_print_command_help(const reidctl_command *command)
{
    printf("usage: reidctl %s%s%s%s\n\n%s\n", command->name, *command->options ? " [OPTIONS]" : "",
           *command->words ? " " : "", command->words, command->help);
    if (command->more != NULL)
        printf("%s\n", command->more);
    if (command->alias != NULL)
        printf("Also called: %s\n", command->alias);
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_of(command, i)) != NULL; i++) {
        char left[64];
        char letter[8] = "   ";
        if (option->letter != 0)
            snprintf(letter, sizeof letter, "-%c,", option->letter);
        snprintf(left, sizeof left, "%s --%s%s%s", letter, option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        printf("%s  %-24s %s\n", i == 0 ? "\nOptions:\n" : "", left,
               option->help != NULL ? option->help : "format of the output");
    }
}
