#include "daemon/options.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/place.h"
#include "base/str.h"

typedef enum option_kind { TEXT, PATH, NUMBER, SECONDS, LEVEL, FLAG, NOTHING } option_kind;

typedef struct option_row {
    const char *name, *value, *help;
    option_kind kind;
    size_t offset; /* of the field */
    double low, high;
} option_row;

#define FIELD(name) offsetof(reidd_options, name)

static const option_row rows[] = {
    {"--state-dir", "DIR",
     "where jobs, metrics and logs are kept ($REIDD_STATE_DIR); %n in it is the node's name", TEXT,
     FIELD(state_dir)},
    {"--socket", "PATH", "the Unix socket to serve ($REIDD_HOST); %n as above", TEXT,
     FIELD(socket_path)},
    {"--slots", "N",
     "ranks that may run at the same time (default: one per GPU, else core); 0: a node of a "
     "cluster that runs none",
     NUMBER, FIELD(slots), 0, 4096},
    {"--gpus", "WHICH",
     "GPUs that are a slot each: auto (all there are; the default without --slots), none, UUID,...",
     TEXT, FIELD(gpus)},
    {"--group", "NAME", "users of this group may look at jobs, not change them", TEXT,
     FIELD(group)},
    {"--cluster", "FILE", "the nodes that belong together (deploy/cluster/README.md)", PATH,
     FIELD(cluster)},
    {"--node", "NAME", "this node's name in that file (default: the host's name)", TEXT,
     FIELD(node)},
    {"--take-over", NULL,
     "on the head that the cluster file names: it counts even if nodes have followed a later one",
     FLAG, FIELD(take_over)},
    {"--network", "CIDR",
     "started by mpirun: the nodes reach each other in this network, such as 10.77.0.0/24", TEXT,
     FIELD(network)},
    {"--port", "N", "started by mpirun: and at this port (default 7411)", NUMBER, FIELD(port), 1,
     65535},
    {"--listen", "ADDRESS", "serve clients at tcp://HOST:PORT as well; needs --tls-dir", TEXT,
     FIELD(listen)},
    {"--tls-dir", "DIR",
     "ca.pem, cert.pem and key.pem, or a folder of that for each node ($REIDD_TLS_DIR)", PATH,
     FIELD(tls_dir)},
    {"--operators", "GROUP", "users of this group may submit jobs, and act on their own", TEXT,
     FIELD(operators)},
    {"--data-roots", "DIR:...", "data sets and weights come from there only (and from outputs)",
     TEXT, FIELD(data_roots)},
    {"--output-roots", "DIR:...", "jobs write there only", TEXT, FIELD(output_roots)},
    {"--admins", "GROUP", "users of this group may act on all jobs and on nodes", TEXT,
     FIELD(admins)},
    {"--grace", "SECONDS",
     "for ranks to save when they are asked to stop (default 20); what does not get on is killed "
     "sooner",
     SECONDS, FIELD(grace_ms), 0, 86400},
    {"--limit-grace", "SECONDS",
     "for saving when a job's --max-time is over, before it is asked to stop (default 120)",
     SECONDS, FIELD(limit_grace_ms), 0.1, 86400},
    {"--pause-timeout", "SECONDS",
     "for a job to save and pause when its slots are needed; then it is ended, and goes on from "
     "its "
     "last checkpoint when there is room again (default 600)",
     SECONDS, FIELD(pause_timeout_ms), 0.1, 86400},
    {"--fair-share", "HOURS",
     "users who used less go first; usage counts half after HOURS (default 24 with --cluster; "
     "else 0: first in, first out)",
     NUMBER, FIELD(share_hours), 0, 87600},
    {"--start-timeout", "SECONDS", "for all ranks of a job to report (default 300)", SECONDS,
     FIELD(start_timeout_ms), 1, 86400},
    {"--loading-timeout", "SECONDS",
     "from then on until the first iteration begins (default 3600; 0: for ever)", SECONDS,
     FIELD(loading_timeout_ms), 0, 31536000},
    {"--step-timeout", "SECONDS",
     "for an iteration; what is late is ended, and restarts by its policy (default 1800; 0: none)",
     SECONDS, FIELD(step_timeout_ms), 0, 31536000},
    {"--evaluation-timeout", "SECONDS", "for an evaluation (default 14400; 0: none)", SECONDS,
     FIELD(evaluation_timeout_ms), 0, 31536000},
    {"--saving-timeout", "SECONDS", "for a checkpoint (default 1800; 0: none)", SECONDS,
     FIELD(saving_timeout_ms), 0, 31536000},
    {"--stall-notice", "SECONDS",
     "without progress until it is told which rank the others wait for (default 30)", SECONDS,
     FIELD(stall_notice_ms), 1, 86400},
    {"--check-timeout", "SECONDS", "for the trainer to check a submitted job (default 20)", SECONDS,
     FIELD(check_timeout_ms), 0.1, 3600},
    {"--trainer", "PATH",
     "the program that trains (default: reid-train beside reidd, else in PATH)", PATH,
     FIELD(trainer)},
    {"--hook-dir", "DIR", "where native hooks (shared objects) may come from ($REIDD_HOOK_DIR)",
     PATH, FIELD(hook_dir)},
    {"--log-level", "LEVEL", "debug, info, warn, error or off (default info)", LEVEL,
     FIELD(log_level)},
    {"--log-json", NULL, "log JSON lines", FLAG, FIELD(log_json)},
    {"--foreground", NULL, "stay in the foreground, which is the default", NOTHING, 0},
    {"--check-store", NULL, "look whether the state folder's database is sound, and end", FLAG,
     FIELD(check_store)},
    {"--backup-store", "FILE",
     "copy the state folder's database, whether a reidd uses it or not, and end", PATH,
     FIELD(backup_store)},
    {"--version", NULL, "print the version", FLAG, FIELD(version)},
    {"--help", NULL, "print this help", FLAG, FIELD(help)},
};

static reid_status set_number(const option_row *row, const char *value, int64_t *field,
                              reid_error *err)
{
    int64_t number = 0;
    if (reid_parse_int64(value, &number) != REID_OK || number < (int64_t)row->low ||
        number > (int64_t)row->high)
        return reid_fail(err, REID_ERR_INVALID, "%s needs a whole number from %g to %g, not '%s'",
                         row->name, row->low, row->high, value);
    *field = number;
    return REID_OK;
}

static reid_status set_seconds(const option_row *row, const char *value, int64_t *field_ms,
                               reid_error *err)
{
    double seconds = 0;
    if (reid_parse_double(value, &seconds) != REID_OK || !isfinite(seconds) || seconds < row->low ||
        seconds > row->high)
        return reid_fail(err, REID_ERR_INVALID, "%s needs seconds from %g to %g, not '%s'",
                         row->name, row->low, row->high, value);
    *field_ms = (int64_t)(seconds * 1000);
    return REID_OK;
}

static reid_status set(const option_row *row, const char *value, reidd_options *options,
                       reid_error *err)
{
    char *field = (char *)options + row->offset;
    switch (row->kind) {
    case TEXT:
    case PATH:
        if (!*value)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a value", row->name);
        free(*(char **)field);
        *(char **)field = row->kind == PATH ? reid_path_absolute(value) : reid_xstrdup(value);
        return REID_OK;
    case NUMBER:
        return set_number(row, value, (int64_t *)field, err);
    case SECONDS:
        return set_seconds(row, value, (int64_t *)field, err);
    case LEVEL:
        if (!reid_log_level_from_name(value, (reid_log_level *)field))
            return reid_fail(err, REID_ERR_INVALID,
                             "%s is debug, info, warn, error or off, not '%s'", row->name, value);
        return REID_OK;
    case FLAG:
        *(bool *)field = true;
        return REID_OK;
    case NOTHING:
        return REID_OK;
    }
    return REID_OK;
}

static void compare(const char *word, const char *name, const char **nearest, size_t *best)
{
    size_t distance = reid_str_distance(word, name);
    if (distance < *best) {
        *best = distance;
        *nearest = name;
    }
}

static reid_status unknown(const char *word, reid_error *err)
{
    const char *nearest = NULL;
    size_t best = 4;
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++)
        compare(word, rows[i].name, &nearest, &best);
    for (size_t i = 0; i < REIDD_LIMIT_COUNT; i++)
        compare(word, reidd_limit_rows[i].option, &nearest, &best);
    if (nearest)
        return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'; did you mean %s?", word,
                         nearest);
    return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'; see reidd --help", word);
}

static bool is_named(const char *name, const char *word, size_t length)
{
    return strlen(name) == length && strncmp(name, word, length) == 0;
}

/* The row of an option, made of the limit's where it is one. */
static bool find_row(const char *word, size_t length, option_row *ret_row)
{
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++)
        if (is_named(rows[i].name, word, length)) {
            *ret_row = rows[i];
            return true;
        }
    for (size_t i = 0; i < REIDD_LIMIT_COUNT; i++) {
        const reidd_limit_row *limit = &reidd_limit_rows[i];
        if (!is_named(limit->option, word, length))
            continue;
        *ret_row = (option_row){.name = limit->option,
                                .value = "N",
                                .kind = NUMBER,
                                .offset = FIELD(limits.values) + i * sizeof(int64_t),
                                .low = (double)limit->low,
                                .high = (double)limit->high};
        return true;
    }
    return false;
}

/* "--name value" and "--name=value". */
static reid_status parse_word(int argc, char *const *argv, int *index, reidd_options *options,
                              reid_error *err)
{
    const char *word = argv[*index];
    size_t length = strcspn(word, "=");
    option_row row;
    if (!find_row(word, length, &row))
        return unknown(word, err);
    const char *value = word[length] == '=' ? word + length + 1 : NULL;
    if (!row.value && value)
        return reid_fail(err, REID_ERR_INVALID, "%s takes no value", row.name);
    if (row.value && !value) {
        if (*index + 1 >= argc)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a value", row.name);
        value = argv[++*index];
    }
    return set(&row, value, options, err);
}

/* One command line may serve all nodes that share a file system. */
static reid_status put_node_name(const reidd_options *options, char **text, reid_error *err)
{
    char host[256] = "";
    const char *mark = *text ? strstr(*text, "%n") : NULL;
    if (!mark)
        return REID_OK;
    if (!options->node && gethostname(host, sizeof host - 1) != 0)
        return reid_fail_errno(err, errno, "this host has no name for %%n");
    char *full = reid_xasprintf("%.*s%s%s", (int)(mark - *text), *text,
                                options->node ? options->node : host, mark + 2);
    free(*text);
    *text = full;
    return REID_OK;
}

/* Folders and addresses become absolute; the trainer's and the socket's defaults are filled in. */
static reid_status resolve(reidd_options *options, reid_error *err)
{
    REID_TRY(put_node_name(options, &options->state_dir, err));
    REID_TRY(put_node_name(options, &options->socket_path, err));
    char *state_dir = reid_place_state_dir(options->state_dir);
    REID_AUTOFREE char *given = options->socket_path;
    REID_AUTOFREE char *address = reid_place_address(given, state_dir);
    free(options->state_dir);
    options->state_dir = state_dir;
    options->socket_path = NULL;
    const char *hook_dir = getenv("REIDD_HOOK_DIR"), *tls_dir = getenv("REIDD_TLS_DIR");
    if (!options->tls_dir && tls_dir && *tls_dir)
        options->tls_dir = reid_path_absolute(tls_dir);
    if (!options->hook_dir && hook_dir && *hook_dir)
        options->hook_dir = reid_path_absolute(hook_dir);
    static const char scheme[] = "unix:";
    if (!reid_str_starts(address, scheme)) {
        if (given && !strstr(given, "://")) { /* a name in this folder */
            options->socket_path = reid_path_absolute(given);
            return REID_OK;
        }
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot serve '%s': this version listens at Unix sockets only "
                         "(unix:/path)",
                         address);
    }
    options->socket_path = reid_path_absolute(address + sizeof scheme - 1);
    return REID_OK;
}

reid_status reidd_options_parse(int argc, char *const *argv, reidd_options *ret_options,
                                reid_error *err)
{
    *ret_options = (reidd_options){
        .slots = REIDD_SLOTS_AUTO,
        .grace_ms = 20000,
        .limit_grace_ms = 120000,
        .pause_timeout_ms = 600000,
        .share_hours = -1,
        .start_timeout_ms = 300000,
        .stall_notice_ms = 30000,
        .loading_timeout_ms = 3600000,
        .step_timeout_ms = 1800000,
        .evaluation_timeout_ms = 14400000,
        .saving_timeout_ms = 1800000,
        .check_timeout_ms = 20000,
        .log_level = REID_LOG_INFO,
    };
    reidd_limits_init(&ret_options->limits);
    for (int i = 1; i < argc; i++)
        REID_TRY(parse_word(argc, argv, &i, ret_options, err));
    if (ret_options->help || ret_options->version)
        return REID_OK;
    if (ret_options->slots != REIDD_SLOTS_AUTO && ret_options->gpus &&
        strcmp(ret_options->gpus, "none") != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "--slots and --gpus do not go together: each GPU is one slot");
    if (ret_options->share_hours < 0)
        ret_options->share_hours = ret_options->cluster ? 24 : 0;
    if (ret_options->take_over && !ret_options->cluster)
        return reid_fail(err, REID_ERR_INVALID, "--take-over is for the head of a --cluster");
    if (ret_options->node && !ret_options->cluster)
        return reid_fail(err, REID_ERR_INVALID, "--node names a row of the --cluster file");
    return resolve(ret_options, err);
}

void reidd_options_fini(reidd_options *options)
{
    if (!options)
        return;
    free(options->state_dir);
    free(options->socket_path);
    free(options->trainer);
    free(options->group);
    free(options->cluster);
    free(options->node);
    free(options->tls_dir);
    free(options->listen);
    free(options->network);
    free(options->operators);
    free(options->admins);
    free(options->data_roots);
    free(options->output_roots);
    free(options->gpus);
    free(options->hook_dir);
    free(options->backup_store);
    *options = (reidd_options){0};
}

char *reidd_options_help(void)
{
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, "usage: reidd [OPTION ...]\n\n"
                        "The training daemon of one node. It stays in the foreground; SIGTERM or "
                        "SIGINT ends it,\nand jobs that run go on until it is back.\n\n");
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", rows[i].name, rows[i].value ? " " : "",
                 rows[i].value ? rows[i].value : "");
        reid_str_addf(&text, "  %-26s %s\n", left, rows[i].help);
    }
    reid_str_add(&text, "\nLimits:\n");
    for (size_t i = 0; i < REIDD_LIMIT_COUNT; i++) {
        const reidd_limit_row *row = &reidd_limit_rows[i];
        char left[64];
        snprintf(left, sizeof left, "%s N", row->option);
        reid_str_addf(&text, "  %-26s %s (default %lld)\n", left, row->help, (long long)row->usual);
    }
    return reid_str_take(&text);
}
