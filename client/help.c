#include <stdio.h>

#include "command.h"

static void print_options(const reidctl_command *command)
{
    const reidctl_option *option;
    puts("\nOptions:");
    for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++) {
        char left[64], letter[8] = "   ";
        if (option->letter != 0)
            snprintf(letter, sizeof letter, "-%c,", option->letter);
        snprintf(left, sizeof left, "%s --%s%s%s", letter, option->name, option->value ? " " : "",
                 option->value ? option->value : "");
        printf("  %-24s %s", left, option->help);
        if (option->offset == offsetof(reidctl_args, output))
            for (const char *const *format = command->formats; *format != NULL; format++)
                printf("%s%s", format == command->formats ? ": " : " or ", *format);
        putchar('\n');
    }
}

/* Commands, or the verbs of `parent`. */
static void print_commands(const reidctl_command *parent)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        if (reidctl_command_is_of(command, parent))
            printf("  %-11s %s\n", reidctl_command_word(command), command->help);
}

static void print_program(void)
{
    puts("usage: reidctl [OPTIONS] COMMAND ...\n\n"
         "Talks to reidd: submits training jobs, watches and stops them.\n\nCommands:");
    print_commands(NULL);
    print_options(NULL);
    puts("\nreidctl COMMAND --help tells more. JOB is an id, the beginning of one, or a name.\n"
         "Exit status: 0 ok, 1 the job failed, 2 wrong use, 3 reidd cannot be reached, 4 no such "
         "job,\n5 refused, 124 timeout, 130 interrupted; of wait, watch and submit -f the job's.");
}

void reidctl_print_help(const reidctl_command *command)
{
    if (command == NULL) {
        print_program();
        return;
    }
    printf("usage: reidctl %s [OPTIONS]%s%s\n\n%s\n", command->name, *command->words ? " " : "",
           command->words, command->help);
    if (command->more != NULL)
        printf("%s\n", command->more);
    if (command->alias != NULL) {
        int before = (int)(reidctl_command_word(command) - command->name);
        printf("Also called: %.*s%s\n", before, command->name, command->alias);
    }
    if (command->run == NULL) {
        puts("\nVerbs:");
        print_commands(command);
    }
    print_options(command);
}
