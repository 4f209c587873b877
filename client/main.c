/* reidctl: the command line of reidd. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/place.h"
#include "cmd/agent.h"
#include "connect.h"
#include "version.h"

/* Standard descriptors that the caller has closed must not become the connection's. Writing to them
 * goes on failing. */
static bool fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    return fd >= 0;
}

static void look_at_terminal(reidctl *ctl)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool dumb = term == NULL || *term == '\0' || strcmp(term, "dumb") == 0;
    ctl->terminal = isatty(STDOUT_FILENO) == 1 && !dumb;
    ctl->color = ctl->terminal && (no_color == NULL || *no_color == '\0');
}

static int run(reidctl *ctl, int argc, char **argv)
{
    reid_error err = {0};
    if (argc > 0 && strcmp(argv[0], "agent") == 0) /* its words are mpirun's */
        return reidctl_agent(argc - 1, argv + 1);
    if (reidctl_parse(argc, argv, ctl, &err) != REID_OK)
        return reidctl_report(&err);
    if (ctl->args.version) {
        printf("reidctl %s\n", REID_VERSION_TEXT);
        return REIDCTL_OK;
    }
    if (ctl->args.help || ctl->command == NULL) {
        reidctl_print_help(ctl->command);
        return ctl->args.help ? REIDCTL_OK : REIDCTL_USAGE;
    }
    ctl->address = reid_place_address(ctl->args.host, NULL);
    int code = ctl->command->run(ctl);
    reidctl_disconnect(ctl);
    free(ctl->address);
    return code;
}

/* A reader that has gone ends the program as it ends any other filter. */
static int finish_output(int code)
{
    bool stopped = code == REIDCTL_INTERRUPTED && !reidctl_is_interrupted();
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if ((failed || stopped) && reidctl_is_reader_gone()) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    if (!failed)
        return code;
    fprintf(stderr, "reidctl: cannot write standard output%s%s\n", errno != 0 ? ": " : "",
            errno != 0 ? strerror(errno) : "");
    return REIDCTL_FAILED;
}

int main(int argc, char **argv)
{
    reidctl ctl = {0};
    const reid_log_options log = {.level = REID_LOG_WARN, .program = "reidctl", .rank = -1};
    reid_log_setup(&log);
    signal(SIGPIPE, SIG_IGN);
    if (!fill_standard_descriptors())
        return REIDCTL_FAILED;
    look_at_terminal(&ctl);
    return finish_output(run(&ctl, argc - 1, argv + 1));
}
