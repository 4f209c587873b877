/* reidctl: the command line of reidd. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "connect.h"
#include "version.h"

static int usage_error(const char *text)
{
    fprintf(stderr, "reidctl: %s\n", text);
    return REIDCTL_USAGE;
}

/* Options before the command. *ret_next is the index of the command; a result ≥ 0 is an exit
 * status. */
static int parse_globals(int argc, char **argv, reidctl *ctl, int *ret_next)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            reidctl_print_help();
            return REIDCTL_OK;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("reidctl %s\n", REID_VERSION_TEXT);
            return REIDCTL_OK;
        }
        if ((strcmp(argv[i], "-H") == 0 || strcmp(argv[i], "--host") == 0) && i + 1 < argc)
            ctl->address = argv[++i];
        else if (strncmp(argv[i], "--host=", 7) == 0)
            ctl->address = argv[i] + 7;
        else
            return usage_error("see reidctl --help for the options before a command");
    }
    *ret_next = i;
    return -1;
}

int main(int argc, char **argv)
{
    reidctl ctl = {0};
    reid_error err = {0};
    bool help = false;
    int next = 0;
    const reid_log_options log = {.level = REID_LOG_WARN, .program = "reidctl", .rank = -1};
    reid_log_setup(&log);
    signal(SIGPIPE, SIG_IGN);
    int code = parse_globals(argc, argv, &ctl, &next);
    if (code >= 0)
        return code;
    if (next >= argc) {
        reidctl_print_help();
        return REIDCTL_USAGE;
    }
    const char *name = argv[next];
    const reidctl_command *command =
        reidctl_command_find(strcmp(name, "help") == 0 && next + 1 < argc ? argv[next + 1] : name);
    if (command == NULL && strcmp(name, "help") == 0) {
        reidctl_print_help();
        return REIDCTL_OK;
    }
    if (command == NULL) {
        fprintf(stderr, "reidctl: there is no command '%s'; see reidctl --help\n", name);
        return REIDCTL_USAGE;
    }
    if (strcmp(name, "help") == 0)
        help = true;
    else if (reidctl_parse(command, argc - next - 1, argv + next + 1, &ctl, &help, &err) != REID_OK)
        return reidctl_report(&err);
    if (help) {
        reidctl_print_command_help(command);
        return REIDCTL_OK;
    }
    char *address = reidctl_default_address();
    if (ctl.address == NULL)
        ctl.address = address;
    const char *no_color = getenv("NO_COLOR");
    ctl.terminal = isatty(STDOUT_FILENO) == 1;
    ctl.color = ctl.terminal && (no_color == NULL || *no_color == '\0');
    code = command->run(&ctl);
    reid_rpc_client_free(ctl.client);
    free(address);
    return code;
}
