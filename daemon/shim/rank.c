#include "daemon/shim/rank.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"

static reid_status redirect(const char *path, int flags, int fd, reid_error *err)
{
    int opened = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);
    if (opened < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    if (dup2(opened, fd) < 0) {
        int number = errno;
        close(opened);
        return reid_fail_errno(err, number, "cannot use '%s'", path);
    }
    if (opened != fd)
        close(opened);
    return REID_OK;
}

static reid_status redirect_log(char *own_path, int fd, reid_error *err)
{
    reid_status status = redirect(own_path, O_WRONLY | O_CREAT | O_APPEND, fd, err);
    free(own_path);
    return status;
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

reid_status reidd_rank_prepare(const char *attempt_dir, int rank, pid_t parent, reid_error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return reid_fail_errno(err, errno, "cannot ask for a signal at the parent's death");
    if (getppid() != parent) /* it died before the line above */
        return reid_fail(err, REID_ERR_CANCELLED, "the supervisor has gone");
    REID_TRY(redirect("/dev/null", O_RDONLY, STDIN_FILENO, err));
    if (rank < 0) {
        REID_TRY(
            redirect_log(reidd_attempt_path(attempt_dir, "logs/launcher.log"), STDOUT_FILENO, err));
        if (dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
            return reid_fail_errno(err, errno, "cannot redirect standard error");
        return REID_OK;
    }
    REID_TRY(redirect_log(reidd_rank_path(attempt_dir, "logs", rank, "out"), STDOUT_FILENO, err));
    return redirect_log(reidd_rank_path(attempt_dir, "logs", rank, "err"), STDERR_FILENO, err);
}

static _Noreturn void become(const char *attempt_dir, int rank, char *const *command, pid_t parent)
{
    reid_error err = {0};
    if (setpgid(0, 0) != 0)
        reid_fail_errno(&err, errno, "cannot make a process group");
    else if (reidd_rank_prepare(attempt_dir, rank, parent, &err) == REID_OK) {
        reset_signals();
        execvp(command[0], command);
        reid_fail_errno(&err, errno, "cannot start '%s'", command[0]);
    }
    dprintf(STDERR_FILENO, "reidd-shim: %s\n", err.text);
    _exit(127);
}

reid_status reidd_rank_spawn(const char *attempt_dir, int rank, char *const *command,
                             pid_t *ret_pid, reid_error *err)
{
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return reid_fail_errno(err, errno, "cannot start a process");
    if (pid == 0)
        become(attempt_dir, rank, command, self);
    setpgid(pid, pid); /* whoever comes first */
    *ret_pid = pid;
    return REID_OK;
}

reidd_rank_exit reidd_rank_exit_from(int wait_status)
{
    reidd_rank_exit end = {.wall_ms = reid_clock_wall_ms()};
    if (WIFSIGNALED(wait_status)) {
        end.signal = WTERMSIG(wait_status);
        end.exit_code = 128 + end.signal;
    } else {
        end.exit_code = WEXITSTATUS(wait_status);
    }
    return end;
}

/* ---- the wrapper under mpirun ---- */

static int rank_number(void)
{
    int64_t rank = -1;
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    if (!text || reid_parse_int64(text, &rank) != REID_OK || rank < 0 || rank > 65535)
        return -1;
    return (int)rank;
}

static int die(const reid_error *err)
{
    dprintf(STDERR_FILENO, "reidd-shim: %s\n", err->text);
    return 127;
}

/* mpirun signals the whole process group: the rank gets its signals itself, and the wrapper has to
 * stay until it has seen the end. */
static void outlive_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        signal(numbers[i], SIG_IGN);
}

static _Noreturn void die_by(int number)
{
    struct rlimit no_core = {0};
    setrlimit(RLIMIT_CORE, &no_core);
    reset_signals();
    kill(getpid(), number);
    _exit(128 + number); /* for signals that do not end a process */
}

/* The rank itself: a child in the wrapper's process group, which is mpirun's. */
static pid_t fork_rank(char *const *command)
{
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != self)
        _exit(127);
    reset_signals();
    execvp(command[0], command);
    reid_error err = {0};
    reid_fail_errno(&err, errno, "cannot start '%s'", command[0]);
    _exit(die(&err));
}

/* Across nodes: what is this node's own, against what mpirun has sent along from another one. */
static reid_status settle_on_node(const char *attempt_dir, char **command, reid_error *err)
{
    const char *network = getenv("REIDD_MPI_NET"), *segments = getenv("REIDD_SHM_DIR");
    const char *config = getenv("REIDD_CONFIG");
    if (!network)
        return REID_OK;
    setenv("OMPI_MCA_oob_tcp_if_include", network, 1);
    setenv("OMPI_MCA_btl_tcp_if_include", network, 1);
    if (segments && *segments)
        setenv("OMPI_MCA_btl_vader_backing_directory", segments, 1);
    else
        unsetenv("OMPI_MCA_btl_vader_backing_directory");
    if (chdir(attempt_dir) != 0)
        return reid_fail_errno(err, errno, "cannot work in '%s'", attempt_dir);
    for (char **word = command; config && *word; word++)
        if (strcmp(*word, "--config-file") == 0 && word[1])
            word[1] = (char *)config;
    return REID_OK;
}

int reidd_rank_wrap(const char *attempt_dir, char **command)
{
    reid_error err = {0};
    pid_t parent = getppid();
    int rank = rank_number();
    if (rank < 0) {
        reid_fail(&err, REID_ERR_PRECONDITION, "--rank-exec works under mpirun only");
        return die(&err);
    }
    outlive_signals();
    if (reidd_rank_prepare(attempt_dir, rank, parent, &err) != REID_OK ||
        settle_on_node(attempt_dir, command, &err) != REID_OK)
        return die(&err);
    pid_t pid = fork_rank(command);
    if (pid < 0) {
        reid_fail_errno(&err, errno, "cannot start a process");
        return die(&err);
    }
    reidd_rank_pids pids = {.wrapper = getpid(), .rank = pid};
    if (reidd_rank_pids_write(attempt_dir, rank, &pids, &err) != REID_OK)
        die(&err);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    reidd_rank_exit end = reidd_rank_exit_from(status);
    reid_error_clear(&err);
    if (reidd_rank_exit_write(attempt_dir, rank, &end, &err) != REID_OK)
        die(&err);
    if (end.signal)
        die_by(end.signal);
    return end.exit_code;
}
