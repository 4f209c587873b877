#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/access/run_as.h"
#include "daemon/exec/confine.h"
#include "daemon/shim/options.h"
#include "daemon/shim/rank.h"
#include "daemon/shim/supervise.h"
#include "version.h"

int main(int argc, char **argv)
{
    reidd_shim_options options;
    reid_error err = {0};
    if (argc > 2 && strcmp(argv[1], "--group") == 0) {
        /* Before anything else, and while this is still root. */
        if (reidd_confine_join(argv[2], &err) != REID_OK)
            fprintf(stderr, "reidd-shim: %s\n", err.text);
        reid_error_clear(&err);
        argv[2] = argv[0];
        argv += 2;
        argc -= 2;
    }
    if (argc > 1 && strcmp(argv[1], "--as") == 0)
        return reidd_run_as_main(argc, argv);
    if (reidd_shim_options_parse(argc, argv, &options, &err) != REID_OK) {
        fprintf(stderr, "reidd-shim: %s\n", err.text);
        return 2;
    }
    if (options.help || options.version) {
        fputs(options.help ? reidd_shim_usage : "reidd-shim " REID_VERSION_TEXT "\n", stdout);
        return 0;
    }
    if (options.rank_exec)
        return reidd_rank_wrap(options.attempt_dir, options.command);
    reid_log_setup(
        &(reid_log_options){.level = REID_LOG_INFO, .program = "reidd-shim", .rank = -1});
    if (options.lock_fd >= 0)
        fcntl(options.lock_fd, F_SETFD, FD_CLOEXEC);
    if (reidd_supervise(&options, &err) != REID_OK) {
        reid_log_error("shim %s", err.text);
        return 1;
    }
    return 0;
}
