/* reidctl's commands: one row each (command.c), from which parsing, help and completion come.
 *
 * To add a command: a file in cmd/ with one `int reidctl_cmd_NAME(reidctl *)`, a line in the list
 * below, a row in command.c.
 */
#ifndef REIDCTL_COMMAND_H
#define REIDCTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "rpc/client.h"

/* Exit statuses. */
enum {
    REIDCTL_OK = 0,
    REIDCTL_JOB_FAILED = 1,
    REIDCTL_USAGE = 2,
    REIDCTL_UNREACHABLE = 3,
    REIDCTL_NOT_FOUND = 4,
    REIDCTL_REFUSED = 5,
    REIDCTL_TIMEOUT = 124,
    REIDCTL_INTERRUPTED = 130,
};

/* Values of all options; each command uses those of its row. */
typedef struct reidctl_args {
    bool follow, all, quiet, no_headers, resume, eval_only, dry_run, timestamps;
    int64_t ranks, rank, tail, limit, attempt;
    double grace, timeout;
    const char *name, *names, *output, *reason;
} reidctl_args;

typedef struct reidctl {
    const char *address;     /* unix:/path */
    reid_rpc_client *client; /* NULL until reidctl_connect */
    bool terminal;           /* standard output is one */
    bool color;
    reidctl_args args;
    int word_count; /* what is not an option, after the command */
    char **words;
} reidctl;

typedef int reidctl_run(reidctl *ctl);

typedef enum reidctl_option_kind {
    REIDCTL_FLAG,
    REIDCTL_INT,
    REIDCTL_REAL,
    REIDCTL_TEXT,
} reidctl_option_kind;

typedef struct reidctl_option {
    const char *name; /* "follow" */
    char letter;      /* 'f', or 0 */
    reidctl_option_kind kind;
    const char *value; /* "N" in help; NULL for flags */
    const char *help;
    size_t offset; /* in reidctl_args */
} reidctl_option;

typedef struct reidctl_command {
    const char *name, *alias; /* alias may be NULL */
    const char *words;        /* "JOB", "CONFIG [KEY VALUE ...]" */
    int min_words, max_words; /* max -1: any number */
    const char *help;         /* one line */
    const char *more;         /* further text of --help, or NULL */
    const char *options;      /* letters and names, such as "follow,rank,tail" */
    reidctl_run *run;
} reidctl_command;

const reidctl_command *reidctl_command_at(size_t index); /* NULL beyond the end */
const reidctl_command *reidctl_command_find(const char *name);
const reidctl_option *reidctl_option_of(const reidctl_command *command,
                                        size_t index); /* likewise */

/* Splits argv (after the command's name) into options and words. */
reid_status reidctl_parse(const reidctl_command *command, int argc, char **argv, reidctl *ctl,
                          bool *ret_help, reid_error *err);
void reidctl_print_help(void);
void reidctl_print_command_help(const reidctl_command *command);

int reidctl_cmd_cancel(reidctl *ctl);
int reidctl_cmd_completion(reidctl *ctl);
int reidctl_cmd_config(reidctl *ctl);
int reidctl_cmd_describe(reidctl *ctl);
int reidctl_cmd_logs(reidctl *ctl);
int reidctl_cmd_metrics(reidctl *ctl);
int reidctl_cmd_ps(reidctl *ctl);
int reidctl_cmd_submit(reidctl *ctl);
int reidctl_cmd_version(reidctl *ctl);
int reidctl_cmd_wait(reidctl *ctl);
int reidctl_cmd_watch(reidctl *ctl);

#endif
