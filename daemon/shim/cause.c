#include "daemon/shim/cause.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/str.h"

#define TAIL_BYTES 8192
#define QUOTE_BYTES 400
#define FOLLOWS_MS 500 /* mpirun kills what it has told to end after a second */

/* The last bytes of a file, printable (other characters become spaces, lines stay). Caller frees.
 */
static char *read_tail(const char *path)
{
    char *text = reid_xcalloc(1, TAIL_BYTES + 1);
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return text;
    if (fstat(fd, &info) == 0) {
        off_t from = info.st_size > TAIL_BYTES ? info.st_size - TAIL_BYTES : 0;
        ssize_t n = pread(fd, text, TAIL_BYTES, from);
        for (ssize_t i = 0; i < n; i++)
            if (text[i] != '\n' && ((unsigned char)text[i] < 0x20 || text[i] == 0x7f))
                text[i] = ' ';
    }
    close(fd);
    return text;
}

/* The last line that says something, cut to a size that fits into a sentence; "" for none. */
static char *last_line(char *text)
{
    char *all = reid_str_trim(text), *line;
    do { /* mpirun frames its messages with dashes */
        char *newline = strrchr(all, '\n');
        line = reid_str_trim(newline ? newline + 1 : all);
        if (newline)
            *newline = '\0';
        else
            all = line + strlen(line);
    } while (*all && line[strspn(line, "-")] == '\0');
    if (strlen(line) > QUOTE_BYTES)
        line[QUOTE_BYTES] = '\0';
    return line;
}

bool reidd_cause_from_launcher(const char *text, int *ret_rank, int *ret_exit_code, int *ret_signal)
{
    const char *killed = strstr(text, "process rank ");
    const char *signal = killed ? strstr(killed, "exited on signal ") : NULL;
    int rank = -1, number = 0;
    if (signal && sscanf(killed, "process rank %d", &rank) == 1 &&
        sscanf(signal, "exited on signal %d", &number) == 1) {
        *ret_rank = rank;
        *ret_exit_code = 128 + number;
        *ret_signal = number;
        return true;
    }
    /* "Process name: [[22342,1],1]" and "Exit code:    3" on the next line */
    const char *name = strstr(text, "Process name: [[");
    const char *code = name ? strstr(name, "Exit code:") : NULL;
    if (code && sscanf(name, "Process name: [[%*d,%*d],%d]", &rank) == 1 &&
        sscanf(code, "Exit code: %d", &number) == 1) {
        *ret_rank = rank;
        *ret_exit_code = number;
        *ret_signal = 0;
        return true;
    }
    return false;
}

static void describe_signal(reidd_exit_report *report, const char *who)
{
    snprintf(report->sentence, sizeof report->sentence, "%s was killed by signal %d (%s)", who,
             report->signal, strsignal(report->signal));
}

/* "WHO ended with exit code 3: the last line of its messages" */
static void describe_exit(reidd_exit_report *report, const char *who, char *own_log_path)
{
    REID_AUTOFREE char *path = own_log_path;
    REID_AUTOFREE char *tail = read_tail(path);
    const char *line = last_line(tail);
    snprintf(report->sentence, sizeof report->sentence, "%s ended with exit code %d%s%s", who,
             report->exit_code, *line ? ": " : "", line);
}

/* "rank 3", "rank 3 on node2" */
static void name_rank(const reidd_cause_input *input, int rank, char *buffer, size_t size)
{
    bool known = input->nodes && rank >= 0 && rank < input->rank_count;
    snprintf(buffer, size, "rank %d%s%.64s", rank, known ? " on " : "",
             known ? input->nodes[rank] : "");
}

static void describe_rank(const reidd_cause_input *input, reidd_exit_report *report)
{
    char who[96];
    name_rank(input, report->rank, who, sizeof who);
    bool is_rank = report->rank >= 0 && report->rank < input->rank_count;
    reidd_oom memory =
        report->signal && is_rank ? input->ranks[report->rank].memory : REIDD_OOM_NOT;
    if (memory == REIDD_OOM_SURE)
        snprintf(report->sentence, sizeof report->sentence,
                 "%s was killed by the kernel, because memory ran out (signal 9); use fewer ranks "
                 "on this node, a smaller batch or MODEL.RECOMPUTE",
                 who);
    else if (memory == REIDD_OOM_LIKELY)
        snprintf(report->sentence, sizeof report->sentence,
                 "%s was killed by signal 9 (Killed), most likely by the kernel: memory has run "
                 "out, and it has killed processes of this job for that",
                 who);
    else if (memory == REIDD_OOM_POSSIBLE)
        snprintf(report->sentence, sizeof report->sentence,
                 "%s was killed by signal 9 (Killed), possibly by the kernel: memory has run out "
                 "meanwhile, and it has killed processes for that, of this job or others",
                 who);
    else if (report->signal)
        describe_signal(report, who);
    else
        describe_exit(report, who,
                      reidd_rank_path(input->attempt_dir, "logs", report->rank, "err"));
}

/* ---- the ranks' own records ---- */

/* Whether what a rank tells of may have followed something that was done at `since_ms` (0: it was
 * not). */
static bool follows(int64_t since_ms, int64_t wall_ms, const reidd_rank_fate *fate)
{
    return since_ms && wall_ms + fate->doubt_ms >= since_ms;
}

/* An end of its own, not one that the stop or the final kill brought about. */
static bool is_own_end(const reidd_cause_input *input, const reidd_rank_fate *fate)
{
    if (!fate->ended || !fate->known || fate->asked || fate->end.exit_code == 0)
        return false;
    if (follows(input->stop_ms, fate->end.wall_ms, fate))
        return false;
    /* mpirun, which an agent has left, kills those that it cannot end. */
    if (fate->end.late_ms && follows(input->left_ms, fate->end.wall_ms - fate->end.late_ms, fate))
        return false;
    return fate->end.signal != SIGKILL || !follows(input->kill_ms, fate->end.wall_ms, fate);
}

/* From cause to effect. */
typedef enum kind { KILLED, SPEAKS_OF_ITSELF, ENDED, SPEAKS_OF_OTHERS, WAS_ENDED } kind;

typedef struct candidate {
    int rank;
    kind kind;
    int64_t wall_ms;
    int64_t earliest_ms, latest_ms; /* when it may have been */
    bool own;                       /* it has ended by itself */
    reidd_last_words words;         /* sentence "": it has left none */
} candidate;

static kind kind_of(const candidate *c, const reidd_rank_exit *end)
{
    if (c->words.sentence[0])
        return c->words.of_others ? SPEAKS_OF_OTHERS : SPEAKS_OF_ITSELF;
    return end->signal == 0 ? ENDED : end->signal == SIGTERM ? WAS_ENDED : KILLED;
}

static bool look_at(const reidd_cause_input *input, int rank, candidate *ret)
{
    const reidd_rank_fate *fate = &input->ranks[rank];
    *ret = (candidate){.rank = rank};
    reidd_last_words *words = &ret->words;
    bool spoke = reidd_last_words_read(input->attempt_dir, rank, words, NULL) == REID_OK &&
                 words->sentence[0];
    words->wall_ms -= spoke ? fate->ahead_ms : 0;
    if (!spoke || follows(input->stop_ms, words->wall_ms, fate))
        words->sentence[0] = '\0';
    spoke = words->sentence[0] != '\0';
    ret->own = is_own_end(input, fate);
    ret->wall_ms = !ret->own ? words->wall_ms : fate->end.wall_ms;
    if (spoke && words->wall_ms < ret->wall_ms)
        ret->wall_ms = words->wall_ms;
    ret->kind = kind_of(ret, &fate->end);
    /* What a rank sees of others comes at once; that a process has gone is noticed a moment later.
     */
    int64_t after_ms = ret->kind >= SPEAKS_OF_OTHERS ? FOLLOWS_MS : 0;
    ret->latest_ms = ret->wall_ms + fate->doubt_ms + after_ms;
    ret->earliest_ms = ret->wall_ms - fate->doubt_ms - (spoke ? 0 : fate->end.late_ms) + after_ms;
    return ret->own || spoke;
}

static bool is_before(const candidate *a, const candidate *b)
{
    return a->kind != b->kind ? a->kind < b->kind : a->wall_ms < b->wall_ms;
}

static void blame_vanished(const reidd_cause_input *input, reidd_exit_report *report);

static bool find_in_ranks(const reidd_cause_input *input, reidd_exit_report *report)
{
    candidate c, first = {.rank = -1};
    int64_t until_ms = INT64_MAX; /* the first of all was not later */
    for (int rank = 0; rank < input->rank_count; rank++)
        if (look_at(input, rank, &c) && c.latest_ms < until_ms)
            until_ms = c.latest_ms;
    for (int rank = 0; rank < input->rank_count; rank++)
        if (look_at(input, rank, &c) && c.earliest_ms <= until_ms &&
            (first.rank < 0 || is_before(&c, &first)))
            first = c;
    if (first.rank < 0)
        return false;
    const reidd_rank_exit *end = &input->ranks[first.rank].end;
    report->rank = first.rank;
    report->exit_code = first.own ? end->exit_code : 1;
    report->signal = first.own ? end->signal : 0;
    if (first.words.sentence[0])
        snprintf(report->sentence, sizeof report->sentence, "%s", first.words.sentence);
    else
        describe_rank(input, report);
    if (first.kind >= SPEAKS_OF_OTHERS && input->launcher.is_mpirun)
        blame_vanished(input, report);
    return true;
}

/* A rank that left MPI's world without a word makes mpirun end the others by TERM: those are not
 * the cause. */
static void blame_deserter(const reidd_cause_input *input, reidd_exit_report *report)
{
    REID_AUTOFREE char *path = reidd_attempt_path(input->attempt_dir, "logs/launcher.log");
    REID_AUTOFREE char *tail = read_tail(path);
    const char *message = strstr(tail, "exited due to process rank ");
    int rank = -1;
    if (!message || !strstr(message, "exiting improperly") ||
        sscanf(message, "exited due to process rank %d", &rank) != 1 || rank == report->rank)
        return;
    *report = (reidd_exit_report){.exit_code = 1, .rank = rank};
    char who[96];
    name_rank(input, rank, who, sizeof who);
    snprintf(report->sentence, sizeof report->sentence,
             "%s ended before the others, without finalizing MPI", who);
}

/* Others miss a rank whose processes went without a record, or were ended for that: mpirun has
 * noticed it first, and names it. */
static void blame_vanished(const reidd_cause_input *input, reidd_exit_report *report)
{
    REID_AUTOFREE char *path = reidd_attempt_path(input->attempt_dir, "logs/launcher.log");
    REID_AUTOFREE char *tail = read_tail(path);
    int rank, exit_code, number;
    if (!reidd_cause_from_launcher(tail, &rank, &exit_code, &number) || rank < 0 ||
        rank >= input->rank_count || !input->ranks[rank].ended || input->ranks[rank].known)
        return;
    *report = (reidd_exit_report){.rank = rank, .exit_code = exit_code, .signal = number};
    describe_rank(input, report);
}

/* The first rank whose processes went without a record. */
static bool find_vanished(const reidd_cause_input *input, reidd_exit_report *report)
{
    int64_t earliest = INT64_MAX;
    for (int rank = 0; rank < input->rank_count; rank++) {
        const reidd_rank_fate *fate = &input->ranks[rank];
        if (!fate->ended || fate->known || fate->end.wall_ms >= earliest)
            continue;
        earliest = fate->end.wall_ms;
        report->rank = rank;
        report->exit_code = 1;
        char who[96];
        name_rank(input, rank, who, sizeof who);
        snprintf(report->sentence, sizeof report->sentence, "the processes of %s were killed", who);
    }
    return earliest != INT64_MAX;
}

/* mpirun itself: killed, or unable to launch. */
/* What `reidctl agent`, which mpirun has started for another node, had to say. */
static bool find_agents_words(const char *text, reidd_exit_report *report)
{
    static const char name[] = "reidctl agent: ";
    const char *at = strstr(text, name);
    if (!at)
        return false;
    at += sizeof name - 1;
    report->exit_code = 1;
    snprintf(report->sentence, sizeof report->sentence, "%.*s", (int)strcspn(at, "\n"), at);
    return true;
}

static bool find_in_launcher(const reidd_cause_input *input, reidd_exit_report *report)
{
    const reidd_launcher_fate *launcher = &input->launcher;
    if (!launcher->is_mpirun || !launcher->started)
        return false;
    bool shot_by_us = input->kill_ms && launcher->end.signal == 9;
    if (launcher->end.signal && !shot_by_us) {
        report->signal = launcher->end.signal;
        report->exit_code = launcher->end.exit_code;
        describe_signal(report, "mpirun");
        return true;
    }
    REID_AUTOFREE char *path = reidd_attempt_path(input->attempt_dir, "logs/launcher.log");
    REID_AUTOFREE char *tail = read_tail(path);
    if (reidd_cause_from_launcher(tail, &report->rank, &report->exit_code, &report->signal)) {
        describe_rank(input, report);
        return true;
    }
    if (find_agents_words(tail, report))
        return true;
    if (input->left_node) {
        report->exit_code = 1;
        snprintf(report->sentence, sizeof report->sentence, "mpirun's agent for %s was killed",
                 input->left_node);
        return true;
    }
    if (find_vanished(input, report))
        return true;
    if (launcher->end.exit_code == 0 || shot_by_us)
        return false;
    report->exit_code = launcher->end.exit_code;
    describe_exit(report, "mpirun", reid_xstrdup(path));
    return true;
}

static bool all_ended_well(const reidd_cause_input *input)
{
    for (int rank = 0; rank < input->rank_count; rank++) {
        const reidd_rank_fate *fate = &input->ranks[rank];
        if (fate->away && !fate->known)
            continue;
        if (!fate->ended || !fate->known || fate->end.exit_code != 0)
            return false;
    }
    bool launcher = input->launcher.end.exit_code == 0 || input->launcher.hung;
    return input->launcher.started && launcher && !input->own;
}

void reidd_cause_find(const reidd_cause_input *input, reidd_exit_report *ret_report)
{
    reidd_exit_report report = {.rank = -1};
    if (!all_ended_well(input) && find_in_ranks(input, &report)) {
        if (input->launcher.is_mpirun && (report.signal == SIGTERM || report.signal == SIGKILL))
            blame_deserter(input, &report);
    } else if (!all_ended_well(input)) {
        if (input->stop_ms) {
            report.exit_code = 143;
            snprintf(report.sentence, sizeof report.sentence, "%s",
                     input->grace_over ? "stopped on request: killed, because the ranks did not "
                                         "end within the grace period"
                                       : "stopped on request");
        } else if (input->own) {
            report.exit_code = 1;
            snprintf(report.sentence, sizeof report.sentence, "%s", input->own);
        } else if (!find_in_launcher(input, &report)) {
            report.exit_code = 1;
            snprintf(report.sentence, sizeof report.sentence, "the ranks ended without saying how");
        }
    }
    report.stopped = input->stop_ms != 0;
    *ret_report = report;
}
