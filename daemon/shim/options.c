#include "daemon/shim/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

const char reidd_shim_usage[] =
    "usage: reidd-shim --attempt-dir DIR --ranks N [--grace-ms MS] [--lock-fd FD] -- COMMAND ...\n"
    "                  [--hosts PLACEMENT --node NAME --network CIDR|HOST --agent REIDCTL]\n"
    "       reidd-shim --part FIRST --attempt-dir DIR --ranks N --network CIDR|HOST ... -- orted "
    "...\n"
    "       reidd-shim --rank-exec -- COMMAND ...\n"
    "       reidd-shim --as UID:GID:NAME -- COMMAND ...\n"
    "       reidd-shim --group FOLDER ...\n"
    "\n"
    "The supervisor of one attempt of a job, started by reidd; it outlives its daemon. With\n"
    "--rank-exec it is the process that mpirun starts for each rank: it opens the rank's log\n"
    "files in $REIDD_ATTEMPT_DIR/logs, starts COMMAND and tells how it ended. With --hosts the\n"
    "ranks are on several nodes, and mpirun reaches the others through `REIDCTL agent`; there,\n"
    "--part supervises orted and the ranks FIRST, FIRST + 1, … that it starts. --group, before\n"
    "all else, is the control group of the attempt, which the shim enters first.\n";

static reid_status parse_number(const char *name, const char *text, int64_t low, int64_t high,
                                int64_t *ret_value, reid_error *err)
{
    int64_t value = 0;
    if (!text || reid_parse_int64(text, &value) != REID_OK || value < low || value > high)
        return reid_fail(err, REID_ERR_INVALID, "%s needs a number from %lld to %lld", name,
                         (long long)low, (long long)high);
    *ret_value = value;
    return REID_OK;
}

static reid_status parse_word(reidd_shim_options *options, const char *word, const char *value,
                              bool *ret_took_value, reid_error *err)
{
    int64_t number = 0;
    *ret_took_value = true;
    if (strcmp(word, "--attempt-dir") == 0) {
        options->attempt_dir = value;
    } else if (strcmp(word, "--ranks") == 0) {
        REID_TRY(parse_number(word, value, 1, 65536, &number, err));
        options->ranks = (int)number;
    } else if (strcmp(word, "--part") == 0) {
        REID_TRY(parse_number(word, value, 0, 65535, &number, err));
        options->first = (int)number;
        options->part = true;
    } else if (strcmp(word, "--hosts") == 0) {
        options->hosts = value;
    } else if (strcmp(word, "--node") == 0) {
        options->node = value;
    } else if (strcmp(word, "--network") == 0) {
        options->network = value;
    } else if (strcmp(word, "--agent") == 0) {
        options->agent = value;
    } else if (strcmp(word, "--grace-ms") == 0) {
        REID_TRY(parse_number(word, value, 0, INT64_MAX / 4, &options->grace_ms, err));
    } else if (strcmp(word, "--lock-fd") == 0) {
        REID_TRY(parse_number(word, value, 3, 1023, &number, err));
        options->lock_fd = (int)number;
    } else {
        *ret_took_value = false;
        if (strcmp(word, "--rank-exec") == 0)
            options->rank_exec = true;
        else if (strcmp(word, "--help") == 0)
            options->help = true;
        else if (strcmp(word, "--version") == 0)
            options->version = true;
        else
            return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'", word);
    }
    return REID_OK;
}

static reid_status check(const reidd_shim_options *options, reid_error *err)
{
    if (options->help || options->version)
        return REID_OK;
    if (!options->attempt_dir)
        return reid_fail(err, REID_ERR_INVALID, "%s is not set",
                         options->rank_exec ? "REIDD_ATTEMPT_DIR" : "--attempt-dir");
    if (!reid_path_is_dir(options->attempt_dir))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no folder '%s'", options->attempt_dir);
    if (!options->rank_exec && options->ranks == 0)
        return reid_fail(err, REID_ERR_INVALID, "--ranks is not set");
    if (options->hosts && (!options->node || !options->network || !options->agent))
        return reid_fail(err, REID_ERR_INVALID,
                         "--hosts does not go without --node, --network and --agent");
    if (options->part && (options->hosts || !options->network))
        return reid_fail(err, REID_ERR_INVALID, "--part goes with --network, and not with --hosts");
    if (!options->command || !options->command[0])
        return reid_fail(err, REID_ERR_INVALID, "no command is given");
    return REID_OK;
}

reid_status reidd_shim_options_parse(int argc, char **argv, reidd_shim_options *ret_options,
                                     reid_error *err)
{
    reidd_shim_options options = {.self = argv[0], .grace_ms = REIDD_GRACE_MS, .lock_fd = -1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            options.command = argv + i + 1;
            break;
        }
        bool took_value = false;
        REID_TRY(parse_word(&options, argv[i], argv[i + 1], &took_value, err));
        i += took_value;
    }
    if (options.rank_exec)
        options.attempt_dir = getenv("REIDD_ATTEMPT_DIR");
    REID_TRY(check(&options, err));
    *ret_options = options;
    return REID_OK;
}
