#include "command.h"

#include <string.h>

#include "base/compiler.h"

#define FIELD(member) offsetof(reidctl_args, member)
#define FLAG(name, letter, help, member)                                                           \
    {                                                                                              \
        name, letter, REIDCTL_FLAG, REIDCTL_OF_COMMANDS, 0, NULL, help, FIELD(member)              \
    }
#define INT(name, letter, least, value, help, member)                                              \
    {                                                                                              \
        name, letter, REIDCTL_INT, REIDCTL_OF_COMMANDS, least, value, help, FIELD(member)          \
    }
#define REAL(name, value, help, member)                                                            \
    {                                                                                              \
        name, 0, REIDCTL_REAL, REIDCTL_OF_COMMANDS, 0, value, help, FIELD(member)                  \
    }
#define TEXT(name, letter, value, help, member)                                                    \
    {                                                                                              \
        name, letter, REIDCTL_TEXT, REIDCTL_OF_COMMANDS, 0, value, help, FIELD(member)             \
    }

/* clang-format off */
static const reidctl_option options[] = {
    FLAG("follow", 'f', "go on showing what is new until the job ends; Ctrl-C detaches", follow),
    FLAG("all", 'a', "ps: ended jobs, too; else all jobs that you may act on", all),
    FLAG("quiet", 'q', "ids only", quiet),
    FLAG("no-headers", 0, "leave out the table's head", no_headers),
    INT("ranks", 'n', 1, "N", "number of ranks (default 1, of a fork as before)", ranks),
    INT("num-gpus", 0, 1, "N", "the same, as fast-reid writes it", ranks),
    TEXT("name", 0, "NAME", "its name (default: made from OUTPUT_DIR or the file)", name),
    TEXT("config-file", 0, "FILE", "the configuration, as fast-reid writes it; then no CONFIG", config_file),
    FLAG("resume", 0, "go on from OUTPUT_DIR's last checkpoint", resume),
    FLAG("eval-only", 0, "evaluate MODEL.WEIGHTS, do not train", eval_only),
    INT("max-restarts", 0, 0, "N", "when it fails, start it again from its last checkpoint, N times (default 0)", max_restarts),
    REAL("restart-backoff", "S", "seconds before the first restart, then doubled up to 60 (default 1)", restart_backoff),
    INT("min-ranks", 0, 1, "N", "after a failure go on with fewer ranks, down to N, while there is no room for all", min_ranks),
    INT("priority", 0, -1000, "N", "jobs of larger N go first and may pause others; above 0 for admins only (default 0)", priority),
    TEXT("after", 0, "JOB[:ok|:any]", "not before JOB has succeeded (any: has ended); several with commas", after),
    TEXT("max-time", 0, "TIME", "90s, 30m, 8h, 2d: then it is saved and stopped; lets it go before longer ones", max_time),
    TEXT("gpu-type", 0, "NAME", "on GPUs with NAME in their name, such as H100", gpu_type),
    FLAG("hold", 0, "not before it is released", hold),
    FLAG("no-preempt", 0, "never pause it for a job of higher priority", no_preempt),
    FLAG("dry-run", 0, "print the resolved configuration and submit nothing", dry_run),
    INT("rank", 'r', -1, "R", "of one rank only; -1: of the launcher, on each node", rank),
    INT("tail", 0, 1, "N", "begin with the last N lines of each log", tail),
    INT("attempt", 0, 1, "K", "of that attempt instead of the newest", attempt),
    INT("limit", 0, 1, "N", "at most N jobs", limit),
    TEXT("names", 0, "GLOBS", "only these metrics, such as 'loss*,lr'", names),
    INT("at-iter", 0, 1, "N", "before iteration N instead of the next one", at_iter),
    INT("steps", 0, 1, "N", "that many iterations (default 10)", steps),
    TEXT("builtin", 0, "NAME", "a built-in hook of the training", builtin),
    TEXT("exec", 0, "PROGRAM", "a program that reidctl runs: one line in, one line out", exec),
    TEXT("points", 0, "POINTS", "of --exec: where, such as after_step,after_epoch (default after_step)", points),
    INT("every", 0, 1, "N", "in every Nth iteration only", every),
    TEXT("when", 0, "CONDITION", "only while it holds, such as 'total_loss > 5 and iter >= 100'", when),
    TEXT("scalars", 0, "GLOBS", "of --exec: only these metrics, such as 'loss*,mAP'", scalars),
    FLAG("async", 0, "of --exec: the training does not wait for the answers", asynchronous),
    REAL("deadline", "SECONDS", "of --exec: how long the training waits (default 1, at most 60)", deadline),
    TEXT("on-error", 0, "POLICY", "when it fails: ignore, disable (default) or fail, which ends the job", on_error),
    TEXT("on-late", 0, "POLICY", "of --exec: when it is late: ignore (default), disable or fail", on_late),
    TEXT("on-lost", 0, "POLICY", "of --exec: when reidctl is gone: ignore (default), disable or fail", on_lost),
    FLAG("verify", 0, "say whether it is sound; if not, what is wrong and in which line", verify),
    REAL("grace", "SECONDS", "time to save and end before it is killed (default: reidd's)", grace),
    TEXT("reason", 0, "TEXT", "kept with the job", reason),
    TEXT("user", 0, "NAME", "jobs of that user; several with commas", user),
    TEXT("state", 0, "STATE", "jobs in that state, such as PENDING; several with commas", state),
    TEXT("older-than", 0, "TIME", "jobs that ended before that long: 12h, 7d", older_than),
    REAL("timeout", "SECONDS", "give up after that long, with exit status 124", timeout),
    REAL("reconnect", "SECONDS", "look for a reidd that has gone for that long (default 30)", reconnect),
    REAL("interval", "SECONDS", "between two looks (default 1)", interval),
    TEXT("output", 'o', "FORMAT", "form of the output", output),
    TEXT("role", 0, "ROLE", "node (default), viewer, operator or admin", role),
    {"hosts", 0, REIDCTL_LIST, REIDCTL_OF_COMMANDS, 0, "LIST",
     "names and addresses that a node is reached at, beside its own name; with commas, or several times", FIELD(hosts)},
    INT("days", 0, 1, "N", "valid so long (default 3650 for an authority, 825 for a node, 365 for a user)", days),
    TEXT("out", 0, "DIR", "folder of the new files (default: DIR/NAME)", out),
    {"host", 'H', REIDCTL_TEXT, REIDCTL_EVERYWHERE, 0, "ADDRESS",
     "reidd's address, unix:/path or tcp://host:port (default: $REIDD_HOST, else the usual place)", FIELD(host)},
    {"tls-dir", 0, REIDCTL_TEXT, REIDCTL_EVERYWHERE, 0, "DIR",
     "ca.pem, cert.pem and key.pem for tcp:// (default: $REIDD_TLS_DIR)", FIELD(tls_dir)},
    {"help", 'h', REIDCTL_FLAG, REIDCTL_EVERYWHERE, 0, NULL, "show this", FIELD(help)},
    {"version", 0, REIDCTL_FLAG, REIDCTL_BEFORE, 0, NULL, "of reidctl alone", FIELD(version)},
};

static const char *const table_json[] = {"table", "json", NULL};
static const char *const text_json[] = {"text", "json", NULL};
static const char *const jsonl_csv[] = {"jsonl", "csv", NULL};

#define SELECTION                                                                                  \
    "Instead of JOB a selection of all jobs that this can be done to: several options, and JOB beside them, narrow it."

static const reidctl_command commands[] = {
    {"submit", NULL, "CONFIG [KEY VALUE ...]", REIDCTL_WORDS_CONFIG, 0, -1, "check a job and put it in the queue",
     "CONFIG is a fast-reid configuration; - reads standard input. KEY=VALUE may stand for KEY VALUE. Relative\n"
     "OUTPUT_DIR, DATASETS.ROOT and MODEL.WEIGHTS begin in the current folder. Prints the job's id.\n"
     "A restart follows any failure but exit status 2 (a wrong configuration); cancel ends the restarts, too.",
     "follow,ranks,num-gpus,name,config-file,resume,eval-only,max-restarts,restart-backoff,min-ranks,priority,after,max-time,gpu-type,hold,no-preempt,dry-run,reconnect", text_json, reidctl_cmd_submit},
    {"ps", "ls", "", REIDCTL_WORDS_NONE, 0, 0, "list the jobs that have not ended, newest first",
     NULL, "all,quiet,no-headers,limit", table_json, reidctl_cmd_ps},
    {"describe", "inspect", "JOB", REIDCTL_WORDS_JOBS, 1, 1, "everything about one job",
     "JOB is an id, the beginning of one, or a name.", "", table_json, reidctl_cmd_describe},
    {"watch", "attach", "JOB", REIDCTL_WORDS_JOBS, 1, 1, "live progress: bar, losses, learning rate, images/s",
     "Redraws in place on a terminal, prints lines otherwise. Ctrl-C detaches, the job goes on. The exit status\n"
     "is the job's.",
     "reconnect", NULL, reidctl_cmd_watch},
    {"logs", NULL, "JOB", REIDCTL_WORDS_JOBS, 1, 1, "what the ranks have written",
     "Lines of a job with several ranks begin with the rank. Ctrl-C detaches, the job goes on.",
     "follow,rank,tail,attempt,reconnect", NULL, reidctl_cmd_logs},
    {"metrics", NULL, "JOB", REIDCTL_WORDS_JOBS, 1, 1, "every scalar of a job",
     "jsonl is one object per iteration, csv one line per scalar.", "follow,names,reconnect", jsonl_csv,
     reidctl_cmd_metrics},
    {"set", NULL, "JOB NAME=VALUE ...", REIDCTL_WORDS_LIVE_JOBS, 2, -1, "change knobs of a running job, on all ranks before one iteration",
     "lr: the rate the metrics show; the schedule goes on in proportion. lr_factor: times the schedule's rate.\n"
     "weight_decay, clip, ce_scale, tri_scale, margin, flip_prob, rea_prob; eval_period, checkpoint_period: epochs, 0\n"
     "is never.\n"
     "All are set before the same iteration, or none. The answer comes when all ranks have agreed.",
     "at-iter,reason", text_json, reidctl_cmd_set},
    {"checkpoint", NULL, "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "save a checkpoint of a running job now", NULL,
     "at-iter,reason", text_json, reidctl_cmd_checkpoint},
    {"evaluate", "eval", "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "evaluate a running job now",
     "The figures become metrics; the training goes on afterwards.", "at-iter,reason", text_json, reidctl_cmd_evaluate},
    {"stop", NULL, "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "save a checkpoint and end a job well, with exit status 0",
     "It can be gone on with by submit --resume. cancel ends a job that does not listen, too.", "at-iter,reason",
     text_json, reidctl_cmd_stop},
    {"pause", NULL, "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "save a checkpoint and free slots and memory until resume",
     NULL, "at-iter,reason", text_json, reidctl_cmd_pause},
    {"skip-step", "skip", "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "drop the batch of one iteration: no forward, no update",
     "The iteration counts, and the next one has the batch that it would have had.", "at-iter,reason", text_json,
     reidctl_cmd_skip_step},
    {"profile", NULL, "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "record what every rank does in the next iterations",
     "OUTPUT_DIR gets one Chrome trace per rank.", "steps,at-iter,reason", text_json, reidctl_cmd_profile},
    {"hook", NULL, "VERB ...", REIDCTL_WORDS_VERBS, 0, 0, "code of yours that runs around the steps of a running job", NULL,
     "", NULL, NULL},
    {"hook add", NULL, "JOB WHAT [NAME=VALUE ...]", REIDCTL_WORDS_SCRIPT, 1, -1, "add a hook to a job",
     "WHAT is FILE.lua (the script is sent), FILE.so (its name in reidd's hook directory) or the name of a built-in\n"
     "hook. NAME=VALUE are its options. Prints the hook's id.\n"
     "With --exec PROGRAM [-- ARGUMENT ...] the hook is a program on this side, for as long as reidctl runs. It reads a\n"
     "line of JSON for each event and answers with one line: continue, stop [REASON], checkpoint, evaluate, skip_step,\n"
     "set NAME=VALUE ..., put NAME=NUMBER ..., error TEXT, or JSON with such members. It leaves when it ends.",
     "exec,builtin,name,points,every,when,scalars,async,deadline,on-error,on-late,on-lost,at-iter,reason", text_json,
     reidctl_cmd_hook_add},
    {"hook list", "ls", "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "the hooks of a job in the order in which they are called",
     "Those without an id belong to the training itself.", "no-headers", table_json, reidctl_cmd_hook_list},
    {"hook remove", "rm", "JOB HOOK", REIDCTL_WORDS_HOOKS, 2, 2, "remove a hook", "HOOK is an id or a name.",
     "at-iter,reason", text_json, reidctl_cmd_hook_remove},
    {"hook enable", NULL, "JOB HOOK", REIDCTL_WORDS_HOOKS, 2, 2, "call a disabled hook again", "HOOK is an id or a name.",
     "at-iter,reason", text_json, reidctl_cmd_hook_enable},
    {"hook disable", NULL, "JOB HOOK", REIDCTL_WORDS_HOOKS, 2, 2, "call a hook no more, until it is enabled",
     "HOOK is an id or a name.", "at-iter,reason", text_json, reidctl_cmd_hook_disable},
    {"resume", NULL, "JOB", REIDCTL_WORDS_LIVE_JOBS, 1, 1, "put a paused job back into the queue, to go on where it was",
     NULL, "reason", NULL, reidctl_cmd_resume},
    {"fork", NULL, "JOB [KEY VALUE ...]", REIDCTL_WORDS_FORK, 1, -1, "a new job that begins with the state of another",
     "It begins where JOB was before iteration --at-iter (default: JOB's last checkpoint) and goes on with JOB's\n"
     "configuration, changed by KEY VALUE. KEY is a key of the configuration, not a knob. OUTPUT_DIR is a new one\n"
     "beside JOB's unless given. Prints the new job's id.",
     "follow,ranks,name,at-iter,max-restarts,restart-backoff,min-ranks,priority,after,max-time,gpu-type,hold,no-preempt,dry-run,reconnect", text_json,
     reidctl_cmd_fork},
    {"events", NULL, "JOB", REIDCTL_WORDS_JOBS, 1, 1, "what has happened to a job: states, control words, hooks", NULL,
     "follow,no-headers,reconnect", table_json, reidctl_cmd_events},
    {"audit", NULL, "JOB", REIDCTL_WORDS_JOBS, 1, 1, "who changed what, when and why: the journal of a job",
     "Each line is bound to the one before it by a hash, and reidd keeps a copy. The exit status is 1 when the\n"
     "journal was tampered with.", "verify,no-headers", table_json, reidctl_cmd_audit},
    {"cancel", NULL, "[JOB ...]", REIDCTL_WORDS_LIVE_JOBS, 0, -1, "end jobs; they save a checkpoint first",
     SELECTION, "all,user,state,grace,reason", NULL, reidctl_cmd_cancel},
    {"hold", NULL, "[JOB ...]", REIDCTL_WORDS_LIVE_JOBS, 0, -1, "keep jobs in the queue from starting until release",
     "Those behind them go on. A job that runs is paused instead (pause).\n" SELECTION, "all,user,state,reason", NULL, reidctl_cmd_hold},
    {"release", NULL, "[JOB ...]", REIDCTL_WORDS_LIVE_JOBS, 0, -1, "let held jobs start when it is their turn", SELECTION,
     "all,user,state,reason", NULL, reidctl_cmd_release},
    {"requeue", NULL, "JOB ...", REIDCTL_WORDS_JOBS, 1, -1, "put jobs back into the queue at their old place",
     "One that runs saves its state first. One that has failed, was cancelled or stopped early goes on from its last\n"
     "checkpoint, if it has one.", "reason", NULL, reidctl_cmd_requeue},
    {"priority", NULL, "JOB N", REIDCTL_WORDS_LIVE_JOBS, 2, 2, "change the priority of a job",
     "From -1000 to 1000; the larger, the sooner. Above 0 for admins only.", "reason", NULL, reidctl_cmd_priority},
    {"remove", "rm", "[JOB ...]", REIDCTL_WORDS_JOBS, 0, -1, "forget jobs that have ended: their metrics, events and logs",
     "OUTPUT_DIR stays as it is. A job that another one waits for (--after) is kept until then. reidd removes the oldest\n"
     "jobs by itself (--keep-jobs, --keep-days).\n" SELECTION, "all,user,state,older-than", NULL, reidctl_cmd_remove},
    {"wait", NULL, "JOB ...", REIDCTL_WORDS_JOBS, 1, -1, "wait for the end of jobs",
     "The exit status is the job's; of several, the first that is not 0.", "timeout,reconnect", NULL,
     reidctl_cmd_wait},
    {"config", NULL, "JOB", REIDCTL_WORDS_JOBS, 1, 1, "the resolved configuration of a job",
     "It can be submitted again.", "", NULL, reidctl_cmd_config},
    {"keys", NULL, "[WORD ...]", REIDCTL_WORDS_KEYS, 0, -1, "configuration keys: type, default, what is supported",
     "Those whose name or help has all the words in it. Asks no reidd.", "", table_json, reidctl_cmd_keys},
    {"nodes", "sinfo", "[drain|resume NODE ...]", REIDCTL_WORDS_NODES, 0, -1, "the nodes: state, slots, load, memory, GPUs",
     "drain: nothing new is started on these nodes, what runs there goes on; --reason is shown to everybody. resume:\n"
     "they take jobs again. Both outlive a restart of reidd.", "no-headers,reason", table_json, reidctl_cmd_nodes},
    {"top", "gpus", "[JOB]", REIDCTL_WORDS_LIVE_JOBS, 0, 1, "live: every GPU, how it is, and which rank has it; or the ranks of a job",
     "Of a job: how far each rank is, and how long it waits for its data, computes and waits for the other ranks in an\n"
     "iteration (of the last few seconds). The rank that waits least is the one that the others wait for.\n"
     "Redraws in place on a terminal until Ctrl-C; otherwise it looks once. JSON is one look, too.",
     "no-headers,interval,reconnect", table_json, reidctl_cmd_top},
    {"ca", NULL, "VERB ...", REIDCTL_WORDS_VERBS, 0, 0, "certificates of nodes and users for tcp:// addresses",
     "Asks no reidd. One machine keeps the authority's folder; nodes and users get folders made by ca issue.", "", NULL, NULL},
    {"ca init", NULL, "DIR", REIDCTL_WORDS_FILES, 1, 1, "make an authority", "Its key stays in DIR and is not needed by any reidd.",
     "name,days", NULL, reidctl_cmd_ca_init},
    {"ca issue", NULL, "DIR NAME", REIDCTL_WORDS_FILES, 2, 2, "make key and certificate of a node or a user",
     "NAME is the node's name in the cluster file, or the user's. A node needs in --hosts what stands in its address in\n"
     "the cluster file. The folder made (ca.pem, cert.pem, key.pem) is what reidd and reidctl take as --tls-dir. Nothing\n"
     "is overwritten.",
     "role,hosts,days,out", NULL, reidctl_cmd_ca_issue},
    {"ca revoke", NULL, "DIR NAME|SERIAL", REIDCTL_WORDS_FILES, 2, 2, "let a lost or stolen certificate count no more",
     "All that were issued to NAME, or the one with SERIAL (ca show). Nodes need the crl.pem that this makes in their\n"
     "folders. Connections that stand are not ended by it.", "", NULL, reidctl_cmd_ca_revoke},
    {"ca show", NULL, "DIR|FILE", REIDCTL_WORDS_FILES, 1, 1, "what is in a folder's certificates, and until when they are valid",
     "The exit status is 1 when one of them is not valid today.", "no-headers", table_json, reidctl_cmd_ca_show},
    {"info", NULL, "", REIDCTL_WORDS_NONE, 0, 0, "who you are to reidd, and its limits", NULL, "no-headers", table_json,
     reidctl_cmd_info},
    {"version", NULL, "", REIDCTL_WORDS_NONE, 0, 0, "versions of reidctl and reidd", NULL, "", table_json,
     reidctl_cmd_version},
    {"completion", NULL, "bash", REIDCTL_WORDS_SHELLS, 1, 1, "print a completion script",
     "For this shell: source <(reidctl completion bash). For all: write it to a file in\n"
     "/usr/share/bash-completion/completions.", "", NULL, reidctl_cmd_completion},
    {"help", NULL, "[COMMAND [VERB]]", REIDCTL_WORDS_COMMANDS, 0, 2, "this text, or that of a command", NULL, "", NULL,
     reidctl_cmd_help},
};
/* clang-format on */

const reidctl_command *reidctl_command_at(size_t index)
{
    return index < REID_COUNT_OF(commands) ? &commands[index] : NULL;
}

bool reidctl_command_is_of(const reidctl_command *verb, const reidctl_command *parent)
{
    const char *space = strchr(verb->name, ' ');
    if (parent == NULL || space == NULL)
        return parent == NULL && space == NULL;
    size_t length = strlen(parent->name);
    return (size_t)(space - verb->name) == length && strncmp(verb->name, parent->name, length) == 0;
}

const char *reidctl_command_word(const reidctl_command *command)
{
    const char *space = strchr(command->name, ' ');
    return space != NULL ? space + 1 : command->name;
}

const reidctl_command *reidctl_command_find(const reidctl_command *parent, const char *name)
{
    for (size_t i = 0; i < REID_COUNT_OF(commands); i++)
        if (reidctl_command_is_of(&commands[i], parent) &&
            (strcmp(reidctl_command_word(&commands[i]), name) == 0 ||
             (commands[i].alias != NULL && strcmp(commands[i].alias, name) == 0)))
            return &commands[i];
    return NULL;
}

/* Whether `name` is an item of a comma-separated list. */
static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = strstr(list, name); at != NULL; at = strstr(at + 1, name))
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

static bool has_option(const reidctl_command *command, const reidctl_option *option)
{
    if (option->scope == REIDCTL_EVERYWHERE)
        return true;
    if (option->scope == REIDCTL_BEFORE || command == NULL)
        return option->scope == REIDCTL_BEFORE && command == NULL;
    if (option->offset == FIELD(output))
        return command->formats != NULL;
    return is_listed(command->options, option->name);
}

const reidctl_option *reidctl_option_at(const reidctl_command *command, size_t index)
{
    for (size_t i = 0; i < REID_COUNT_OF(options); i++)
        if (has_option(command, &options[i]) && index-- == 0)
            return &options[i];
    return NULL;
}
