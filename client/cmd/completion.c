#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "connect.h"

/* Makes the script from the tables. Where it knows nothing, bash completes file names. */

/* compgen -W expands its words, so only harmless ones of a daemon are let in. */
static const char head[] =
    "# bash completion of reidctl, made by: reidctl completion bash\n"
    "_reidctl_jobs() {\n"
    "    local id name rest\n"
    "    \"$@\" --no-headers 2>/dev/null | while read -r id name rest; do\n"
    "        [[ $id$name =~ ^[A-Za-z0-9._-]+$ ]] && printf '%s %s ' \"$id\" \"$name\"\n"
    "    done\n"
    "}\n"
    "_reidctl() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local program=(\"${COMP_WORDS[0]}\") command= choices= config= i\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "            -H|--host) program+=(-H \"${COMP_WORDS[++i]}\") ;;\n"
    "            *.yml|*.yaml|-) config=given ;;\n"
    "            -*) ;;\n"
    "            *) [[ $command ]] || command=${COMP_WORDS[i]} ;;\n"
    "        esac\n"
    "    done\n";

static const char tail[] = "    COMPREPLY=($(compgen -W \"$choices\" -- \"$word\"))\n"
                           "}\n"
                           "complete -o default -F _reidctl reidctl\n";

static void print_commands(void)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        printf("%s%s", i > 0 ? " " : "", command->name);
}

static void print_aliases(void)
{
    const reidctl_command *command;
    puts("    case $command in");
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        if (command->alias != NULL)
            printf("        %s) command=%s ;;\n", command->alias, command->name);
    puts("    esac");
}

static void print_options(const reidctl_command *command)
{
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++)
        printf("%s--%s", i > 0 ? " " : "", option->name);
}

/* Rows for the values of a command's options: formats are known, the rest is the user's. */
static void print_values(const reidctl_command *command)
{
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++) {
        if (option->kind == REIDCTL_FLAG)
            continue;
        printf("        %s:--%s", command->name, option->name);
        if (option->letter != 0)
            printf("|%s:-%c", command->name, option->letter);
        if (option->offset != offsetof(reidctl_args, output)) {
            puts(") return ;;");
            continue;
        }
        fputs(") choices='", stdout);
        for (const char *const *format = command->formats; *format != NULL; format++)
            printf("%s%s", format == command->formats ? "" : " ", *format);
        puts("' ;;");
    }
}

static void print_words(const reidctl_command *command)
{
    printf("        %s:*) ", command->name);
    switch (command->word_kind) {
    case REIDCTL_WORDS_NONE:
        break;
    case REIDCTL_WORDS_LIVE_JOBS:
        fputs("choices=$(_reidctl_jobs \"${program[@]}\" ps) ", stdout);
        break;
    case REIDCTL_WORDS_JOBS:
        fputs("choices=$(_reidctl_jobs \"${program[@]}\" ps --all) ", stdout);
        break;
    case REIDCTL_WORDS_CONFIG:
        fputs("[[ $config ]] && choices=$keys ", stdout);
        break;
    case REIDCTL_WORDS_KEYS:
        fputs("choices=$keys ", stdout);
        break;
    case REIDCTL_WORDS_COMMANDS:
        fputs("choices=$commands ", stdout);
        break;
    case REIDCTL_WORDS_SHELLS:
        fputs("choices=bash ", stdout);
        break;
    }
    puts(";;");
}

static void print_script(void)
{
    const reidctl_command *command;
    fputs(head, stdout);
    fputs("    local commands='", stdout);
    print_commands();
    fputs("' keys='", stdout);
    for (size_t i = 0; i < reid_config_key_count(); i++)
        printf("%s%s", i > 0 ? " " : "", reid_config_key_name(i));
    puts("'");
    print_aliases();
    puts("    case $command:$before:$word in\n"
         "        :--host:*|:-H:*) return ;;");
    fputs("        :*:-*) choices='", stdout);
    print_options(NULL);
    puts("' ;;\n        :*) choices=$commands ;;");
    puts("    esac\n    case $command:$before in");
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        print_values(command);
    puts("    esac\n    [[ $choices ]] || case $command:$word in");
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        printf("        %s:-*) choices='", command->name);
        print_options(command);
        puts("' ;;");
        print_words(command);
    }
    puts("    esac");
    fputs(tail, stdout);
}

int reidctl_cmd_completion(reidctl *ctl)
{
    if (strcmp(ctl->words[0], "bash") != 0) {
        reid_error err = {0};
        reid_fail(&err, REID_ERR_INVALID, "completion knows bash, not '%s'", ctl->words[0]);
        return reidctl_report(&err);
    }
    print_script();
    return REIDCTL_OK;
}
