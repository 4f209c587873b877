#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "connect.h"

/* Makes the script from the tables. Where it knows nothing, bash completes file names. */

/* compgen -W expands its words, so only harmless ones of a daemon are let in. */
static const char head[] =
    "# bash completion of reidctl, made by: reidctl completion bash\n"
    "_reidctl_names() {\n"
    "    local id name rest\n"
    "    \"$@\" --no-headers 2>/dev/null | while read -r id name rest; do\n"
    "        [[ $id != - && $id$name =~ ^[A-Za-z0-9._-]+$ ]] && printf '%s %s ' \"$id\" \"$name\"\n"
    "    done\n"
    "}\n"
    "_reidctl() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local program=(\"${COMP_WORDS[0]}\") command= verbs= choices= words=() i\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "            -H|--host) program+=(-H \"${COMP_WORDS[++i]}\"); continue ;;\n"
    "            --tls-dir) program+=(--tls-dir \"${COMP_WORDS[++i]}\"); continue ;;\n";

static const char options_end[] = ") ((++i)); continue ;;\n"
                                  "            -) ;;\n"
                                  "            -*) continue ;;\n"
                                  "        esac\n"
                                  "        if [[ $command && ! $verbs ]]; then\n"
                                  "            words+=(\"${COMP_WORDS[i]}\")\n"
                                  "            continue\n"
                                  "        fi\n"
                                  "        command+=${command:+ }${COMP_WORDS[i]} verbs=\n"
                                  "        case $command in\n";

static const char tail[] = "    COMPREPLY=($(compgen -W \"$choices\" -- \"$word\"))\n"
                           "}\n"
                           "complete -o default -F _reidctl reidctl\n";

/* All commands, or the verbs of one. */
static void print_commands(const reidctl_command *parent)
{
    const reidctl_command *command;
    const char *gap = "";
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        if (!reidctl_command_is_of(command, parent))
            continue;
        printf("%s%s", gap, reidctl_command_word(command));
        gap = " ";
    }
}

static bool has_option(const reidctl_command *command, const reidctl_option *wanted)
{
    const reidctl_option *option;
    for (size_t i = 0; (option = reidctl_option_at(command, i)) != NULL; i++)
        if (option == wanted)
            return true;
    return false;
}

/* Options whose next word is their value; they are the same with all commands. */
static void print_valued_options(void)
{
    const reidctl_command *command;
    const reidctl_option *option;
    const char *gap = "            ";
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        for (size_t k = 0; (option = reidctl_option_at(command, k)) != NULL; k++) {
            size_t before = 0;
            while (before < i && !has_option(reidctl_command_at(before), option))
                before++;
            if (before < i || option->kind == REIDCTL_FLAG)
                continue;
            printf("%s--%s", gap, option->name);
            if (option->letter != 0)
                printf("|-%c", option->letter);
            gap = "|";
        }
}

/* Other names of a command are turned into its own; one with verbs asks for one more word. */
static void print_aliases(void)
{
    const reidctl_command *command;
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        int before = (int)(reidctl_command_word(command) - command->name);
        if (command->alias != NULL)
            printf("            '%.*s%s') command='%s' ;;\n", before, command->name, command->alias,
                   command->name);
        if (command->run == NULL) {
            printf("            '%s') verbs='", command->name);
            print_commands(command);
            puts("' ;;");
        }
    }
    puts("        esac\n    done");
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
        printf("        '%s':--%s", command->name, option->name);
        if (option->letter != 0)
            printf("|'%s':-%c", command->name, option->letter);
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

static const char *words_of(reidctl_words kind)
{
    static const char live[] = "choices=$(_reidctl_names \"${program[@]}\" ps) ";
    static const char all[] = "choices=$(_reidctl_names \"${program[@]}\" ps --all) ";
    switch (kind) {
    case REIDCTL_WORDS_NONE:
    case REIDCTL_WORDS_FILES:
        return "";
    case REIDCTL_WORDS_LIVE_JOBS:
        return live;
    case REIDCTL_WORDS_JOBS:
        return all;
    case REIDCTL_WORDS_SCRIPT:
        return "((${#words[@]})) || "
               "choices=$(_reidctl_names \"${program[@]}\" ps) ";
    case REIDCTL_WORDS_HOOKS:
        return "if ((${#words[@]})); then "
               "choices=$(_reidctl_names \"${program[@]}\" hook list \"${words[0]}\"); "
               "else choices=$(_reidctl_names \"${program[@]}\" ps); fi ";
    case REIDCTL_WORDS_CONFIG:
        return "[[ ${#words[@]} -gt 0 || \" ${COMP_WORDS[*]}\" == *\" --config-file\"* ]] && "
               "choices=$keys ";
    case REIDCTL_WORDS_FORK:
        return "if ((${#words[@]})); then choices=$keys; "
               "else choices=$(_reidctl_names \"${program[@]}\" ps --all); fi ";
    case REIDCTL_WORDS_KEYS:
        return "choices=$keys ";
    case REIDCTL_WORDS_VERBS:
        return "choices=$verbs ";
    case REIDCTL_WORDS_COMMANDS:
        return "choices=$commands ";
    case REIDCTL_WORDS_SHELLS:
        return "choices=bash ";
    case REIDCTL_WORDS_NODES:
        return "if ((${#words[@]})); then "
               "choices=$(\"${program[@]}\" nodes --no-headers 2>/dev/null | "
               "while read -r n rest; do [[ $n =~ ^[A-Za-z0-9._-]+$ ]] && printf '%s ' \"$n\"; "
               "done); else choices='drain resume'; fi ";
    }
    return "";
}

static void print_script(void)
{
    const reidctl_command *command;
    fputs(head, stdout);
    print_valued_options();
    fputs(options_end, stdout);
    print_aliases();
    fputs("    local commands='", stdout);
    print_commands(NULL);
    fputs("' keys='", stdout);
    for (size_t i = 0; i < reid_config_key_count(); i++)
        printf("%s%s", i > 0 ? " " : "", reid_config_key_name(i));
    puts("'");
    puts("    case $command:$before:$word in\n"
         "        *:--host:*|*:-H:*) return ;;");
    fputs("        :*:-*) choices='", stdout);
    print_options(NULL);
    puts("' ;;\n        :*) choices=$commands ;;");
    puts("    esac\n    case $command:$before in");
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++)
        print_values(command);
    puts("    esac\n    [[ $choices ]] || case $command:$word in");
    for (size_t i = 0; (command = reidctl_command_at(i)) != NULL; i++) {
        printf("        '%s':-*) choices='", command->name);
        print_options(command);
        printf("' ;;\n        '%s':*) %s;;\n", command->name, words_of(command->word_kind));
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
