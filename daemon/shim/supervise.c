#include "daemon/shim/supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "base/protocol.h"
#include "base/str.h"
#include "daemon/exec/process.h"
#include "daemon/shim/away.h"
#include "daemon/shim/cause.h"
#include "daemon/shim/launch.h"
#include "daemon/shim/rank.h"

#define TICK_MS 50              /* looking for new ranks, and for what cannot be waited for */
#define ABORT_GRACE_MS 2000     /* for the others, after a rank has failed */
#define LAST_BREATH_MS 20       /* children are killed before their parent can be waited for */
#define NOTICE_MS 250           /* so late a busy machine may tell that a process is gone */
#define LAUNCH_TIMEOUT_MS 60000 /* for mpirun, until every rank has started */
#define LAUNCHER_END_MS 20000   /* for mpirun to end after its ranks */
#define CLEAN_UP_MS 5000        /* for processes to be gone after KILL */
#define AWAY_TICK_MS 100        /* looking for what other nodes tell */
#define AWAY_END_MS 4000        /* for other nodes to tell of the end, after mpirun's */
#define NEVER INT64_MAX

typedef struct rank_watch {
    bool started;
    bool told;     /* has got TERM */
    bool orphaned; /* its wrapper was left to this process, which has reaped it */
    reidd_rank_pids pids;
    uint64_t start_time;
    int pidfd; /* -1: none */
} rank_watch;

typedef struct supervisor {
    const reidd_shim_options *options;
    const char *folder;
    int first, count; /* rank numbers: first, first + 1, … */
    reidd_away away;
    rank_watch *ranks;
    reidd_rank_fate *fates;
    int started; /* ranks */
    int signal_fd;
    pid_t child; /* mpirun or the only rank */
    bool child_ended;
    reidd_launcher_fate launcher;
    reidd_shim_info info;
    reidd_memory_watch memory;
    int64_t stop_ms, kill_ms;            /* wall clock, as in reidd_cause_input */
    int64_t begun_ms;                    /* the same */
    int64_t kill_at_ms, launch_until_ms; /* monotonic clock */
    int64_t launcher_until_ms;           /* the same; 0: ranks are left */
    bool aborting, grace_over;
    char *own;
} supervisor;

static int64_t now_ms(void)
{
    return reid_clock_mono_ns() / 1000000;
}

/* ---- preparation ---- */

static reid_status prepare_signals(supervisor *s, reid_error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return reid_fail_errno(err, errno, "cannot block signals");
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0)
        return reid_fail_errno(err, errno, "cannot receive signals");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return reid_fail_errno(err, errno, "cannot become the reaper of the job's processes");
    return REID_OK;
}

/* One rank and no mpirun. */
static bool is_alone(const supervisor *s)
{
    return reidd_launch_is_alone(s->options);
}

static reid_status prepare_folders(supervisor *s, reid_error *err)
{
    static const char *const names[] = {"logs", "ranks", "failures", "tmp", "nodes"};
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        REID_AUTOFREE char *path = reidd_attempt_path(s->folder, names[i]);
        REID_TRY(reid_make_dirs(path, 0700, err));
    }
    return REID_OK;
}

/* The folder of the segments is known to shim.json before it is there: whoever clears up after a
 * killed shim finds it. */
static reid_status prepare_segments(supervisor *s, reid_error *err)
{
    const char *job = getenv("REIDD_JOB");
    uint32_t chance = 0;
    if (!is_alone(s) && reid_path_is_dir("/dev/shm")) {
        if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
            return reid_fail_errno(err, errno, "cannot name a folder in /dev/shm");
        snprintf(s->info.shm_dir, sizeof s->info.shm_dir, "/dev/shm/reidd-%.32s-%08x",
                 job && !strchr(job, '/') ? job : "job", (unsigned)chance);
    }
    REID_TRY(reidd_shim_info_write(s->folder, &s->info, err));
    if (s->info.shm_dir[0] && mkdir(s->info.shm_dir, 0700) != 0) {
        reid_log_warn("shim no folder in /dev/shm: %s", strerror(errno));
        s->info.shm_dir[0] = '\0';
    }
    return REID_OK;
}

static reid_status launch(supervisor *s, reid_error *err)
{
    REID_TRY(reidd_launch_environment(s->options, s->info.shm_dir, err));
    char **command = reidd_launch_command(s->options);
    bool alone = is_alone(s);
    reid_status status = reidd_rank_spawn(s->folder, alone ? 0 : -1, command, &s->child, err);
    reidd_launch_command_free(command);
    if (status != REID_OK)
        return status;
    s->launcher.started = true;
    s->launcher.is_mpirun = !alone;
    s->info.launcher_pid = s->child;
    if (alone) {
        s->ranks[0] = (rank_watch){
            .started = true, .pidfd = -1, .pids = {.wrapper = s->child, .rank = s->child}};
        s->started = 1;
        reidd_rank_pids_write(s->folder, 0, &s->ranks[0].pids, NULL);
    }
    return reidd_shim_info_write(s->folder, &s->info, err);
}

/* ---- ranks ---- */

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself; -1 on old kernels */
}

/* Takes notice of the ranks that mpirun has started meanwhile. */
static void find_ranks(supervisor *s)
{
    for (int i = 0; i < s->count && s->started < s->count; i++) {
        rank_watch *rank = &s->ranks[i];
        reidd_process process = {0};
        if (rank->started)
            continue;
        if (reidd_away_is(&s->away, i)) {
            rank->started = reidd_away_has_started(&s->away, i);
            s->started += rank->started;
            continue;
        }
        if (reidd_rank_pids_read(s->folder, s->first + i, &rank->pids, NULL) != REID_OK)
            continue;
        rank->started = true;
        s->started++;
        if (reidd_process_read(rank->pids.wrapper, &process))
            rank->start_time = process.start_time;
        rank->pidfd = open_pidfd(rank->pids.wrapper);
    }
    if (s->started == s->count)
        s->launch_until_ms = NEVER;
}

static void tell_to_stop(supervisor *s)
{
    for (int i = 0; i < s->count; i++) {
        rank_watch *rank = &s->ranks[i];
        if (!rank->started || rank->told || s->fates[i].ended || reidd_away_is(&s->away, i))
            continue;
        kill(rank->pids.rank, SIGTERM);
        rank->told = true;
    }
}

static void abort_soon(supervisor *s, int64_t within_ms)
{
    s->aborting = true;
    s->kill_at_ms = REID_MIN(s->kill_at_ms, now_ms() + within_ms);
}

/* Before anything is killed here: signal 9 was somebody else's. What this machine tells is of its
 * own processes only. */
static void ask_memory(supervisor *s, int rank)
{
    reidd_rank_fate *fate = &s->fates[rank];
    if (!reidd_away_is(&s->away, rank) && fate->known && fate->end.signal == SIGKILL && !s->kill_ms)
        fate->memory = reidd_memory_watch_ask(&s->memory, s->ranks[rank].pids.rank);
}

/* A rank's end that is no success and no answer to a stop takes the others along. */
static void note_end(supervisor *s, int rank)
{
    const reidd_rank_fate *fate = &s->fates[rank];
    bool answer = s->stop_ms && fate->known && fate->end.signal == 0;
    if ((fate->known && fate->end.exit_code == 0) || answer || s->kill_ms)
        return;
    ask_memory(s, rank);
    reid_log_warn("shim rank failed rank=%d exit_code=%d signal=%d", s->first + rank,
                  fate->end.exit_code, fate->end.signal);
    abort_soon(s, ABORT_GRACE_MS);
}

/* Its node's time, as the clock here would have had it. A time that cannot be right says nothing:
 * that clock was set meanwhile. */
static void correct_time(const supervisor *s, reidd_rank_fate *fate)
{
    int64_t now = reid_clock_wall_ms();
    fate->end.wall_ms -= fate->ahead_ms;
    if (fate->end.wall_ms <= now + fate->doubt_ms &&
        fate->end.wall_ms >= s->begun_ms - fate->doubt_ms)
        return;
    fate->doubt_ms = REIDD_AWAY_UNKNOWN_MS;
    fate->end.wall_ms = now;
}

static void reap(supervisor *s);

static void check_away(supervisor *s, int i)
{
    reidd_rank_fate *fate = &s->fates[i];
    bool over = reidd_away_is_over(&s->away, i); /* before the look at what it has left */
    fate->known = reidd_rank_exit_read(s->folder, i, &fate->end, NULL) == REID_OK;
    fate->ended = fate->known || over;
    if (!fate->ended)
        return;
    reidd_away_clock(&s->away, i, &fate->ahead_ms, &fate->doubt_ms);
    if (fate->known)
        correct_time(s, fate);
    else
        fate->end.wall_ms = reid_clock_wall_ms();
    int64_t stop_ms = reidd_away_stop_ms(&s->away, i);
    fate->asked = stop_ms > 0 && fate->end.wall_ms + fate->doubt_ms >= stop_ms;
    note_end(s, i);
}

/* mpirun has gone, too, whether it can be waited for yet or not. Wrappers are killed when its main
 * thread ends; then they are its other threads' children for a moment, and this process's at last.
 */
static bool is_left(const supervisor *s, const rank_watch *rank)
{
    reidd_process process = {0};
    return s->child_ended || rank->orphaned || !reidd_process_is_alive(s->child, 0) ||
           (reidd_process_read(rank->pids.wrapper, &process) &&
            process.start_time == rank->start_time && process.parent == getpid());
}

/* The wrapper is gone, without having written how its rank has ended: it was killed, and the rank
 * with it (rank.c). Where mpirun has gone, too, that may be why, and nothing is written. */
static void note_killed(supervisor *s, int i)
{
    reidd_rank_fate *fate = &s->fates[i];
    if (!s->child_ended && !s->kill_ms) {
        poll(NULL, 0, LAST_BREATH_MS);
        reap(s);
    }
    bool left = is_left(s, &s->ranks[i]);
    fate->end = (reidd_rank_exit){.exit_code = 128 + SIGKILL,
                                  .signal = SIGKILL,
                                  .wall_ms = reid_clock_wall_ms(),
                                  .late_ms = NOTICE_MS};
    fate->known = !s->kill_ms && !left &&
                  reidd_rank_exit_write(s->folder, s->first + i, &fate->end, NULL) == REID_OK;
}

static void check_rank(supervisor *s, int i)
{
    rank_watch *rank = &s->ranks[i];
    reidd_rank_fate *fate = &s->fates[i];
    if (!fate->ended && reidd_away_is(&s->away, i)) {
        check_away(s, i);
        return;
    }
    if (!rank->started || fate->ended || !s->launcher.is_mpirun)
        return;
    if (reidd_process_is_alive(rank->pids.wrapper, rank->start_time))
        return;
    fate->ended = true;
    fate->known = reidd_rank_exit_read(s->folder, s->first + i, &fate->end, NULL) == REID_OK;
    if (!fate->known)
        note_killed(s, i);
    if (rank->pidfd >= 0)
        close(rank->pidfd);
    rank->pidfd = -1;
    note_end(s, i);
}

/* ---- events ---- */

static void reap(supervisor *s)
{
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < s->count; i++)
            s->ranks[i].orphaned = s->ranks[i].orphaned || s->ranks[i].pids.wrapper == pid;
        if (pid != s->child)
            continue;
        s->child_ended = true;
        s->launcher.end = reidd_rank_exit_from(status);
        if (s->launcher.is_mpirun)
            continue;
        s->fates[0] = (reidd_rank_fate){.ended = true, .known = true, .end = s->launcher.end};
        reidd_rank_exit_write(s->folder, 0, &s->launcher.end, NULL);
        ask_memory(s, 0);
    }
}

static void begin_stop(supervisor *s)
{
    int64_t grace_ms = reidd_grace_read(s->folder, s->options->grace_ms);
    s->kill_at_ms = REID_MIN(s->kill_at_ms, now_ms() + grace_ms);
    if (s->stop_ms)
        return;
    s->stop_ms = reid_clock_wall_ms();
    reid_log_info("shim stopping grace_ms=%lld", (long long)grace_ms);
    find_ranks(s);
    if (s->started == 0 && !s->child_ended)
        kill(s->child, SIGTERM); /* mpirun, before it has started anything */
    tell_to_stop(s);
}

static void read_signals(supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD)
            begin_stop(s);
}

/* mpirun may be stopped, or wait for what it will never hear. */
static void check_launcher(supervisor *s, int64_t now)
{
    if (!s->launcher.is_mpirun || s->child_ended || s->kill_ms || s->options->part)
        return; /* orted stays until the ranks of all nodes have ended */
    for (int i = 0; i < s->count; i++)
        if (!s->fates[i].ended)
            return;
    if (s->launcher_until_ms == 0)
        s->launcher_until_ms = now + LAUNCHER_END_MS;
    if (now < s->launcher_until_ms)
        return;
    reid_log_warn("shim mpirun does not end after its ranks, and is killed");
    s->launcher.hung = true;
    abort_soon(s, 0);
}

static void check_deadlines(supervisor *s)
{
    int64_t now = now_ms();
    check_launcher(s, now);
    if (now >= s->launch_until_ms && !s->stop_ms) {
        s->launch_until_ms = NEVER;
        s->own = reid_xasprintf("%s has started only %d of %d ranks within %d s",
                                s->options->part ? "orted" : "mpirun", s->started, s->count,
                                LAUNCH_TIMEOUT_MS / 1000);
        abort_soon(s, 0);
    }
    if (now < s->kill_at_ms)
        return;
    if (!s->kill_ms) {
        s->kill_ms = reid_clock_wall_ms();
        s->grace_over = s->stop_ms && !s->aborting;
        reid_log_warn("shim killing what is left");
    }
    reidd_process_signal_descendants(getpid(), SIGKILL);
}

/* Waits for a signal, the end of a rank, or the next tick. */
static void wait_for_event(supervisor *s, struct pollfd *fds)
{
    nfds_t count = 0;
    bool blind = false; /* something must be looked at without being told */
    bool away = false;
    fds[count++] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    for (int i = 0; i < s->count; i++) {
        if (s->ranks[i].pidfd >= 0)
            fds[count++] = (struct pollfd){.fd = s->ranks[i].pidfd, .events = POLLIN};
        else if (reidd_away_is(&s->away, i))
            away = away || !s->fates[i].ended;
        else if (s->launcher.is_mpirun && !s->fates[i].ended)
            blind = true;
    }
    int64_t timeout = blind || s->kill_ms ? TICK_MS : away ? AWAY_TICK_MS : 1000;
    if (s->kill_at_ms != NEVER)
        timeout = REID_MIN(timeout, REID_MAX(s->kill_at_ms - now_ms(), s->kill_ms ? TICK_MS : 0));
    poll(fds, count, (int)timeout);
}

/* ---- the end ---- */

/* Kills and reaps until no descendant is left. */
static void clear_up(supervisor *s)
{
    int64_t until = now_ms() + CLEAN_UP_MS;
    while (reidd_process_signal_descendants(getpid(), SIGKILL) > 0) {
        if (now_ms() > until) {
            reid_log_error("shim processes that cannot be killed are left");
            break;
        }
        struct pollfd fd = {.fd = s->signal_fd, .events = POLLIN};
        poll(&fd, 1, 10);
        read_signals(s);
        reap(s);
    }
    reap(s);
    for (int i = 0; i < s->count; i++) {
        reidd_rank_fate *fate = &s->fates[i];
        check_rank(s, i);
        if (fate->end.late_ms && !reidd_away_is(&s->away, i) && /* its own record is better */
            reidd_rank_exit_read(s->folder, s->first + i, &fate->end, NULL) == REID_OK)
            fate->known = true;
    }
}

/* What the other nodes have still to tell: how their ranks ended is part of the cause. */
static void await_others(supervisor *s)
{
    int64_t until = now_ms() + AWAY_END_MS;
    while (!reidd_away_all_over(&s->away) && now_ms() < until) {
        struct pollfd fd = {.fd = s->signal_fd, .events = POLLIN};
        poll(&fd, 1, TICK_MS);
        read_signals(s);
    }
    for (int i = 0; i < s->count; i++) {
        check_rank(s, i);
        s->fates[i].away = reidd_away_is(&s->away, i);
        if (!s->fates[i].ended) /* it may have left words */
            reidd_away_clock(&s->away, i, &s->fates[i].ahead_ms, &s->fates[i].doubt_ms);
    }
}

static void remove_folders(supervisor *s)
{
    REID_AUTOFREE char *tmp = reidd_attempt_path(s->folder, "tmp");
    reid_error err = {0};
    if (reid_remove_tree(tmp, &err) != REID_OK)
        reid_log_warn("shim %s", err.text);
    reid_error_clear(&err);
    if (s->info.shm_dir[0] && reid_remove_tree(s->info.shm_dir, &err) != REID_OK)
        reid_log_warn("shim %s", err.text);
}

/* A part tells of orted; what its ranks were is for the supervisor beside mpirun to say. */
static reid_status report_part(supervisor *s, reid_error *err)
{
    const reidd_rank_exit *fate = &s->launcher.end;
    reidd_exit_report end = {
        .exit_code = s->launcher.started ? fate->exit_code : 1,
        .signal = fate->signal,
        .rank = -1,
        .stopped = s->stop_ms != 0,
        .ended_ms = reid_clock_wall_ms(),
    };
    bool own = s->launcher.started && fate->signal && !s->kill_ms && !s->stop_ms;
    if (s->own)
        snprintf(end.sentence, sizeof end.sentence, "%s", s->own);
    else if (own)
        snprintf(end.sentence, sizeof end.sentence, "orted was killed by signal %d (%s)",
                 fate->signal, strsignal(fate->signal));
    reid_log_info("shim part ended exit_code=%d signal=%d %s", end.exit_code, end.signal,
                  end.sentence);
    return reidd_exit_report_write(s->folder, &end, err);
}

/* The node whose agent has gone before anything else ended, and when. */
static const char *find_left(const supervisor *s, int64_t *ret_ms)
{
    int64_t first_ms = s->launcher.end.wall_ms;
    if (s->kill_ms)
        first_ms = REID_MIN(first_ms, s->kill_ms);
    for (int i = 0; i < s->count; i++) {
        const reidd_rank_exit *end = &s->fates[i].end;
        if (s->fates[i].ended && (!s->fates[i].known || end->late_ms))
            first_ms = REID_MIN(first_ms, end->wall_ms - end->late_ms);
    }
    return s->stop_ms ? NULL : reidd_away_left(&s->away, first_ms, ret_ms);
}

static reid_status report(supervisor *s, reid_error *err)
{
    reidd_exit_report end;
    if (s->options->part)
        return report_part(s, err);
    int64_t left_ms = 0;
    const char *left = find_left(s, &left_ms);
    const reidd_cause_input input = {
        .attempt_dir = s->folder,
        .ranks = s->fates,
        .rank_count = s->count,
        .nodes = s->away.nodes,
        .left_node = left,
        .left_ms = left ? left_ms : 0,
        .launcher = s->launcher,
        .stop_ms = s->stop_ms,
        .kill_ms = s->kill_ms,
        .grace_over = s->grace_over,
        .own = s->own,
    };
    reidd_cause_find(&input, &end);
    end.ended_ms = reid_clock_wall_ms();
    reid_log_info("shim ended exit_code=%d signal=%d rank=%d %s", end.exit_code, end.signal,
                  end.rank, end.sentence);
    return reidd_exit_report_write(s->folder, &end, err);
}

static void watch(supervisor *s)
{
    struct pollfd *fds = reid_xcalloc((size_t)s->count + 1, sizeof *fds);
    while (!s->child_ended) {
        wait_for_event(s, fds);
        read_signals(s);
        reap(s);
        find_ranks(s);
        for (int i = 0; i < s->count; i++)
            check_rank(s, i);
        if (s->stop_ms)
            tell_to_stop(s);
        check_deadlines(s);
    }
    free(fds);
}

static reid_status prepare(supervisor *s, reid_error *err)
{
    reidd_process self = {0};
    if (s->options->lock_fd < 0) {
        int fd = -1; /* kept open until the process ends */
        REID_TRY(reidd_attempt_lock(s->folder, &fd, err));
    }
    REID_TRY(prepare_signals(s, err));
    REID_TRY(prepare_folders(s, err));
    REID_TRY(reidd_exit_report_reserve(s->folder, err));
    s->info.pid = getpid();
    s->info.protocol = REID_PROTOCOL;
    if (reidd_process_read(s->info.pid, &self))
        s->info.start_time = self.start_time;
    return prepare_segments(s, err);
}

reid_status reidd_supervise(const reidd_shim_options *options, reid_error *err)
{
    supervisor s = {.options = options,
                    .folder = options->attempt_dir,
                    .first = options->first,
                    .count = options->ranks,
                    .signal_fd = -1,
                    .kill_at_ms = NEVER};
    s.ranks = reid_xcalloc((size_t)s.count, sizeof *s.ranks);
    s.fates = reid_xcalloc((size_t)s.count, sizeof *s.fates);
    for (int i = 0; i < s.count; i++)
        s.ranks[i].pidfd = -1;
    s.launch_until_ms = now_ms() + LAUNCH_TIMEOUT_MS;
    s.begun_ms = reid_clock_wall_ms();
    reid_error why = {0};
    reidd_memory_watch_init(&s.memory, "");
    reid_status status = reidd_away_init(&s.away, options, err);
    if (status == REID_OK)
        status = prepare(&s, err);
    if (status == REID_OK) {
        if (launch(&s, &why) == REID_OK)
            watch(&s);
        else
            s.own = reid_xstrdup(why.text);
        clear_up(&s);
        await_others(&s);
        remove_folders(&s);
        status = report(&s, err);
    }
    if (s.signal_fd >= 0)
        close(s.signal_fd);
    reidd_memory_watch_fini(&s.memory);
    reidd_away_fini(&s.away);
    free(s.own);
    free(s.ranks);
    free(s.fates);
    return status;
}
