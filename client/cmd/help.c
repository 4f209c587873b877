#include "connect.h"

int reidctl_cmd_help(reidctl *ctl)
{
    const reidctl_command *command = NULL;
    reid_error err = {0};
    if (ctl->word_count > 0 && (command = reidctl_command_find(ctl->words[0])) == NULL) {
        reid_fail(&err, REID_ERR_INVALID, "there is no command '%s'; see reidctl --help",
                  ctl->words[0]);
        return reidctl_report(&err);
    }
    reidctl_print_help(command);
    return REIDCTL_OK;
}
