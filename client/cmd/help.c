#include "connect.h"

/* help, help COMMAND, help COMMAND VERB */
int reidctl_cmd_help(reidctl *ctl)
{
    const reidctl_command *command = NULL;
    reid_error err = {0};
    for (int i = 0; i < ctl->word_count; i++) {
        const reidctl_command *parent = command;
        command = reidctl_command_find(parent, ctl->words[i]);
        if (command != NULL)
            continue;
        reid_fail(&err, REID_ERR_INVALID, "there is no command '%s%s%s'; see reidctl --help",
                  parent != NULL ? parent->name : "", parent != NULL ? " " : "", ctl->words[i]);
        return reidctl_report(&err);
    }
    reidctl_print_help(command);
    return REIDCTL_OK;
}
