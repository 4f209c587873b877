/* reidctl's commands and options: one row each (command.c), from which parsing, help and completion
 * come. README.md tells how to add one.
 *
 * A command may have verbs (`hook add`): the row "hook" has no `run`, and each verb is a row of its
 * own whose name is "hook add".
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
    REIDCTL_FAILED = 1, /* the job, or something on this side */
    REIDCTL_USAGE = 2,
    REIDCTL_UNREACHABLE = 3,
    REIDCTL_NOT_FOUND = 4,
    REIDCTL_REFUSED = 5,
    REIDCTL_TIMEOUT = 124,
    REIDCTL_INTERRUPTED = 130,
};

typedef struct reidctl_command reidctl_command;

/* An option that may be given several times. */
typedef struct reidctl_texts {
    const char *items[32];
    size_t count;
} reidctl_texts;

/* Values of all options; each command uses those of its row. Zero: not given. */
typedef struct reidctl_args {
    bool help, version;
    bool follow, all, quiet, no_headers, resume, eval_only, dry_run, verify, asynchronous, hold,
        no_preempt;
    int64_t ranks, tail, limit, attempt, at_iter, every, steps, max_restarts, priority, min_ranks;
    int64_t rank; /* REIDCTL_ALL_RANKS unless given */
    double grace, timeout;
    double interval;                  /* REIDCTL_INTERVAL_SECONDS unless given */
    double reconnect;                 /* REIDCTL_RECONNECT_SECONDS unless given */
    double deadline, restart_backoff; /* REIDCTL_NOT_GIVEN unless given */
    const char *host, *name, *names, *reason, *config_file;
    const char *exec, *builtin, *points, *scalars, *when, *on_error, *on_late, *on_lost;
    const char *tls_dir, *role, *out; /* of tcp:// addresses; of ca */
    reidctl_texts hosts;
    int64_t days;
    const char *after, *max_time, *gpu_type; /* of the queue */
    const char *user, *state, *older_than;   /* of many jobs (select.h) */
    const char *output; /* one of the command's formats, never NULL when it has any */
} reidctl_args;

#define REIDCTL_ALL_RANKS (-2)
#define REIDCTL_RECONNECT_SECONDS 30
#define REIDCTL_INTERVAL_SECONDS 1
#define REIDCTL_NOT_GIVEN (-1)

/* One run of the program. */
typedef struct reidctl {
    const reidctl_command *command;
    reidctl_args args;
    char **words; /* what is not an option, after the command */
    int word_count;
    char *address;           /* of reidd */
    reid_rpc_client *client; /* NULL until reidctl_connect */
    bool terminal;           /* standard output is one that can move its cursor */
    bool color;
} reidctl;

typedef enum reidctl_option_kind {
    REIDCTL_FLAG, /* bool */
    REIDCTL_INT,  /* int64_t from `least` to INT32_MAX */
    REIDCTL_REAL, /* double from 0 on */
    REIDCTL_TEXT, /* const char * */
    REIDCTL_LIST, /* reidctl_texts */
} reidctl_option_kind;

typedef enum reidctl_option_scope {
    REIDCTL_OF_COMMANDS, /* of those that name it in their row */
    REIDCTL_EVERYWHERE,
    REIDCTL_BEFORE, /* only before the command */
} reidctl_option_scope;

typedef struct reidctl_option {
    const char *name; /* "follow" */
    char letter;      /* 'f', or 0 */
    reidctl_option_kind kind;
    reidctl_option_scope scope;
    int64_t least;
    const char *value; /* "N" in help; NULL for flags */
    const char *help;
    size_t offset; /* in reidctl_args */
} reidctl_option;

/* What the words of a command are. */
typedef enum reidctl_words {
    REIDCTL_WORDS_NONE,
    REIDCTL_WORDS_LIVE_JOBS,
    REIDCTL_WORDS_JOBS,
    REIDCTL_WORDS_CONFIG, /* a file, then KEY VALUE …; a VALUE may begin with '-' */
    REIDCTL_WORDS_FORK,   /* a job, then KEY VALUE … */
    REIDCTL_WORDS_SCRIPT, /* a live job, then a file */
    REIDCTL_WORDS_HOOKS,  /* a live job, then its hooks */
    REIDCTL_WORDS_VERBS,
    REIDCTL_WORDS_KEYS,
    REIDCTL_WORDS_COMMANDS,
    REIDCTL_WORDS_SHELLS,
    REIDCTL_WORDS_FILES, /* files and folders of this machine first */
    REIDCTL_WORDS_NODES, /* drain or resume, then nodes */
} reidctl_words;

struct reidctl_command {
    const char *name;  /* of a verb with its command: "hook add" */
    const char *alias; /* of a verb without it: "ls"; may be NULL */
    const char *words; /* "JOB", "CONFIG [KEY VALUE …]", for help */
    reidctl_words word_kind;
    int min_words, max_words;   /* max -1: any number */
    const char *help;           /* one line */
    const char *more;           /* further text of --help, or NULL */
    const char *options;        /* names, such as "follow,rank,tail" */
    const char *const *formats; /* values of --output, the default first; NULL without --output */
    int (*run)(reidctl *ctl);   /* returns the exit status; NULL: it has verbs */
};

/* All rows, a command before its verbs. NULL beyond the end. */
const reidctl_command *reidctl_command_at(size_t index);
/* A command by name or alias. With `parent` (else NULL) one of its verbs. */
const reidctl_command *reidctl_command_find(const reidctl_command *parent, const char *name);
/* Whether `verb` is a row of `parent`'s verbs; with NULL, whether it is a command. */
bool reidctl_command_is_of(const reidctl_command *verb, const reidctl_command *parent);
/* Its own word: "add" of "hook add". */
const char *reidctl_command_word(const reidctl_command *command);
/* Options of a command, then those of everywhere; of NULL: those before a command. NULL beyond the
 * end. */
const reidctl_option *reidctl_option_at(const reidctl_command *command, size_t index);

/* The whole command line after the program's name. Fills command (NULL: there was none), args,
 * words (in `argv`, which is changed). Errors are INVALID. */
reid_status reidctl_parse(int argc, char **argv, reidctl *ctl, reid_error *err);

/* Whether args.output is this. */
bool reidctl_output_is(const reidctl *ctl, const char *format);

/* Of one command, or with NULL of the program. To standard output. */
void reidctl_print_help(const reidctl_command *command);

int reidctl_cmd_audit(reidctl *ctl);
int reidctl_cmd_ca_init(reidctl *ctl);
int reidctl_cmd_ca_issue(reidctl *ctl);
int reidctl_cmd_ca_revoke(reidctl *ctl);
int reidctl_cmd_ca_show(reidctl *ctl);
int reidctl_cmd_cancel(reidctl *ctl);
int reidctl_cmd_checkpoint(reidctl *ctl);
int reidctl_cmd_completion(reidctl *ctl);
int reidctl_cmd_config(reidctl *ctl);
int reidctl_cmd_describe(reidctl *ctl);
int reidctl_cmd_evaluate(reidctl *ctl);
int reidctl_cmd_events(reidctl *ctl);
int reidctl_cmd_fork(reidctl *ctl);
int reidctl_cmd_help(reidctl *ctl);
int reidctl_cmd_hold(reidctl *ctl);
int reidctl_cmd_hook_add(reidctl *ctl);
int reidctl_cmd_hook_disable(reidctl *ctl);
int reidctl_cmd_hook_enable(reidctl *ctl);
int reidctl_cmd_hook_list(reidctl *ctl);
int reidctl_cmd_hook_remove(reidctl *ctl);
int reidctl_cmd_keys(reidctl *ctl);
int reidctl_cmd_logs(reidctl *ctl);
int reidctl_cmd_metrics(reidctl *ctl);
int reidctl_cmd_nodes(reidctl *ctl);
int reidctl_cmd_pause(reidctl *ctl);
int reidctl_cmd_priority(reidctl *ctl);
int reidctl_cmd_profile(reidctl *ctl);
int reidctl_cmd_ps(reidctl *ctl);
int reidctl_cmd_release(reidctl *ctl);
int reidctl_cmd_remove(reidctl *ctl);
int reidctl_cmd_requeue(reidctl *ctl);
int reidctl_cmd_resume(reidctl *ctl);
int reidctl_cmd_set(reidctl *ctl);
int reidctl_cmd_skip_step(reidctl *ctl);
int reidctl_cmd_stop(reidctl *ctl);
int reidctl_cmd_submit(reidctl *ctl);
int reidctl_cmd_top(reidctl *ctl);
int reidctl_cmd_info(reidctl *ctl);
int reidctl_cmd_version(reidctl *ctl);
int reidctl_cmd_wait(reidctl *ctl);
int reidctl_cmd_watch(reidctl *ctl);

#endif
