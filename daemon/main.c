#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/crash.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/join/join.h"
#include "daemon/options.h"
#include "daemon/store/care.h"
#include "version.h"

static int print_help(void)
{
    char *help = reidd_options_help();
    fputs(help, stdout);
    free(help);
    return 0;
}

/* Without a daemon: --check-store, --backup-store. */
static int care(const reidd_options *options)
{
    char *path = reid_path_join(options->state_dir, "reidd.db"), *text = NULL;
    reid_error err = {0};
    reid_status status = REID_OK;
    umask(077); /* a copy holds the secrets of ranks */
    if (options->check_store)
        status = reidd_store_check(path, &text, &err);
    if (status == REID_OK && text)
        printf("'%s' is sound: %s\n", path, text);
    if (status == REID_OK && options->backup_store)
        status = reidd_store_backup(path, options->backup_store, &err);
    if (status != REID_OK)
        fprintf(stderr, "reidd: %s\n", err.text);
    free(text);
    free(path);
    return status == REID_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    reidd_options options;
    reid_error err = {0};
    int code = 0;
    reid_crash_report("reidd");
    if (reidd_options_parse(argc, argv, &options, &err) != REID_OK) {
        fprintf(stderr, "reidd: %s\n", err.text);
        code = 2;
    } else if (options.help) {
        code = print_help();
    } else if (options.version) {
        puts("reidd " REID_VERSION_TEXT);
    } else if (options.check_store || options.backup_store) {
        code = care(&options);
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
