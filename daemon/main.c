#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/join/join.h"
#include "daemon/options.h"
#include "version.h"

static int print_help(void)
{
    char *help = reidd_options_help();
    fputs(help, stdout);
    free(help);
    return 0;
}

int main(int argc, char **argv)
{
    reidd_options options;
    reid_error err = {0};
    int code = 0;
    if (reidd_options_parse(argc, argv, &options, &err) != REID_OK) {
        fprintf(stderr, "reidd: %s\n", err.text);
        code = 2;
    } else if (options.help) {
        code = print_help();
    } else if (options.version) {
        puts("reidd " REID_VERSION_TEXT);
    } else if (reidd_join_is_wanted()) {
        reidd_join_exec(&options, argc, argv, &err);
        fprintf(stderr, "reidd: %s\n", err.text);
        code = 1;
    } else if (options.network || options.port) {
        fputs("reidd: --network and --port are for a reidd that mpirun starts\n", stderr);
        code = 2;
    } else {
        reid_log_setup(&(reid_log_options){
            .level = options.log_level, .json = options.log_json, .program = "reidd", .rank = -1});
        if (reidd_daemon_run(&options, &err) != REID_OK) {
            fprintf(stderr, "reidd: %s\n", err.text);
            code = 1;
        }
    }
    reidd_options_fini(&options);
    return code;
}
