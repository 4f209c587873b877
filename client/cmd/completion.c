#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "connect.h"

static void print_commands(void)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        printf("%s%s", i > 0 ? " " : "", command->name);
}

static void print_options(const reidctl_command *command)
{
    const reidctl_option *option;
    fputs("--help", stdout);
    for (size_t i = 0; (option = reidctl_option_of(command, i)) != NULL; i++)
        printf(" --%s", option->name);
}

static void print_keys(void)
{
    for (size_t i = 0; i < reid_config_key_count(); i++)
        printf("%s%s", i > 0 ? " " : "", reid_config_key_name(i));
}

int reidctl_cmd_completion(reidctl *ctl)
{
    if (strcmp(ctl->words[0], "bash") != 0) {
        reid_error err = {0};
        reid_fail(&err, REID_ERR_INVALID, "completion knows bash, not '%s'", ctl->words[0]);
        return reidctl_report(&err);
    }
    fputs("_reidctl() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} choices=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then choices='",
          stdout);
    print_commands();
    fputs("'\n    elif [[ $word == -* ]]; then\n        case $command in\n", stdout);
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        printf("            %s) choices='", command->name);
        print_options(command);
        puts("' ;;");
    }
    fputs("        esac\n    else\n        case $command in\n            submit) choices='",
          stdout);
    print_keys();
    fputs("'; compopt -o default ;;\n"
          "            describe|watch|logs|metrics|cancel|wait|config)\n"
          "                choices=$(reidctl ps --all --quiet 2>/dev/null) ;;\n"
          "            completion) choices=bash ;;\n"
          "        esac\n    fi\n"
          "    COMPREPLY=($(compgen -W \"$choices\" -- \"$word\"))\n"
          "}\n"
          "complete -F _reidctl reidctl\n",
          stdout);
    return REIDCTL_OK;
}
