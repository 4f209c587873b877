#include "daemon/exec/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"
#include "daemon/access/identity.h"
#include "daemon/access/run_as.h"
#include "daemon/exec/confine.h"
#include "daemon/exec/process.h"

#define TICK_MS 250       /* looking at the lock */
#define SOON_MS 10        /* the same, when the end is near */
#define LEFTOVERS_MS 5000 /* for processes without a shim to be gone */
/* For a shim to end after the grace: it kills, and waits for the dead. One that is stopped does
 * neither. */
#define SHIM_END_MS 10000
#define SHIM_STOPPED_MS 500
/* Then it is over, whoever holds the lock: the files are the user's, and he may keep them. */
#define LOCK_END_MS 12000

extern char **environ;

struct reidd_attempt {
    char *folder;
    char *group; /* its control group; NULL: none */
    reidd_attempt_on_end *on_end;
    void *user;
    uv_timer_t timer;
    uv_poll_t events;     /* inotify's */
    int events_fd;        /* -1: none */
    uv_process_t process; /* of a shim that this daemon has started */
    bool has_timer, has_events, has_process;
    int handles; /* open ones; the last one to close frees */
    bool closing, ended;
    bool shim_ended; /* one that this daemon has started */
    bool stop_wanted, stop_told;
    int64_t grace_ms;
    int64_t stop_wanted_ms, stop_told_ms; /* monotonic */
    int64_t over_since_ms;                /* the same; 0: the shim lives */
    int clear_looks;                      /* in a row that found nothing left running */
};

static void check(reidd_attempt *attempt);

/* ---- handles ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    reidd_attempt *attempt = handle->data;
    if (--attempt->handles > 0)
        return;
    if (attempt->events_fd >= 0)
        close(attempt->events_fd);
    free(attempt->folder);
    free(attempt->group);
    free(attempt);
}

void reidd_attempt_close(reidd_attempt *attempt)
{
    if (!attempt || attempt->closing)
        return;
    attempt->closing = true;
    uv_close((uv_handle_t *)&attempt->timer, on_handle_closed);
    if (attempt->has_events)
        uv_close((uv_handle_t *)&attempt->events, on_handle_closed);
    if (attempt->has_process)
        uv_close((uv_handle_t *)&attempt->process, on_handle_closed);
}

static void on_tick(uv_timer_t *timer)
{
    check(timer->data);
}

static void on_events(uv_poll_t *handle, int status, int ready)
{
    reidd_attempt *attempt = handle->data;
    _Alignas(struct inotify_event) char bytes[4096];
    bool reported = false;
    ssize_t size;
    while ((size = read(attempt->events_fd, bytes, sizeof bytes)) > 0) {
        for (ssize_t at = 0; at < size;) {
            const struct inotify_event *event = (const struct inotify_event *)(bytes + at);
            reported = reported || (event->len > 0 && strcmp(event->name, "exit.json") == 0);
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
    if (reported)
        check(attempt);
}

/* Whoever has its lock now has taken it from the dead. */
static void on_process_exit(uv_process_t *process, int64_t exit_status, int term_signal)
{
    reidd_attempt *attempt = process->data;
    attempt->shim_ended = true;
    check(attempt);
}

static void check_every(reidd_attempt *attempt, uint64_t interval_ms)
{
    uv_timer_start(&attempt->timer, on_tick, interval_ms, interval_ms);
}

/* Of names that appear: libuv's own watcher also wakes up at each write, and rank 0 writes to its
 * spool in this folder at every step. */
static void watch(reidd_attempt *attempt, uv_loop_t *loop)
{
    attempt->events_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (attempt->events_fd < 0 ||
        inotify_add_watch(attempt->events_fd, attempt->folder, IN_MOVED_TO | IN_CREATE) < 0 ||
        uv_poll_init(loop, &attempt->events, attempt->events_fd) != 0) {
        reid_log_debug("attempt no file events folder=%s", attempt->folder);
        return;
    }
    attempt->has_events = true;
    attempt->handles++;
    uv_poll_start(&attempt->events, UV_READABLE, on_events);
}

/* The timer alone would do; file events only make the end known sooner. */
static reidd_attempt *attempt_new(uv_loop_t *loop, const char *folder, reidd_attempt_on_end *on_end,
                                  void *user)
{
    reidd_attempt *attempt = reid_xcalloc(1, sizeof *attempt);
    attempt->folder = reid_xstrdup(folder);
    attempt->on_end = on_end;
    attempt->user = user;
    attempt->timer.data = attempt->events.data = attempt->process.data = attempt;
    uv_timer_init(loop, &attempt->timer);
    attempt->handles = 1;
    check_every(attempt, TICK_MS);
    watch(attempt, loop);
    return attempt;
}

/* ---- the end ---- */

static void end(reidd_attempt *attempt, const reidd_attempt_outcome *outcome)
{
    uv_timer_stop(&attempt->timer);
    attempt->ended = true;
    attempt->on_end(attempt, outcome, attempt->user);
}

/* What the shim would have removed. */
static void remove_leftovers(const char *folder)
{
    reidd_shim_info info = {0};
    REID_AUTOFREE char *tmp = reidd_attempt_path(folder, "tmp");
    REIDD_AS_OWNER(folder);
    reidd_attempt_sweep(folder);
    reid_remove_tree(tmp, NULL);
    if (reidd_shim_info_read(folder, &info, NULL) == REID_OK &&
        reid_str_starts(info.shm_dir, "/dev/shm/reidd-") && !strstr(info.shm_dir, "/.."))
        reid_remove_tree(info.shm_dir, NULL);
}

/* The supervisor has gone. Whether all that it has left is gone, too, or had its time. */
static bool clear(reidd_attempt *attempt, bool reported)
{
    REID_AUTOFREE char *entry = reid_xasprintf("REIDD_ATTEMPT_DIR=%s", attempt->folder);
    int64_t now_ms = reid_clock_mono_ns() / 1000000;
    if (attempt->over_since_ms == 0)
        attempt->over_since_ms = now_ms;
    bool gone = !attempt->group || reidd_confine_end(attempt->group);
    size_t left = reported ? 0 : reidd_process_signal_by_environment(entry, SIGKILL);
    /* A process in the middle of an exec has no environment to see: look twice. */
    attempt->clear_looks = !gone || left > 0 ? 0 : attempt->clear_looks + 1;
    if (attempt->clear_looks < (reported ? 1 : 2) &&
        now_ms - attempt->over_since_ms < LEFTOVERS_MS) {
        check_every(attempt, SOON_MS);
        return false;
    }
    if (gone)
        reidd_confine_forget(attempt->folder);
    if (!gone || left > 0)
        reid_log_error("attempt processes that cannot be killed are left folder=%s",
                       attempt->folder);
    return true;
}

/* The shim is gone and has left no report. */
static void bury(reidd_attempt *attempt)
{
    reidd_shim_info info = {0};
    reidd_attempt_outcome outcome = {
        .started = reidd_shim_info_read(attempt->folder, &info, NULL) == REID_OK,
        .report = {.exit_code = 1, .rank = -1, .ended_ms = reid_clock_wall_ms()},
    };
    snprintf(outcome.report.sentence, sizeof outcome.report.sentence,
             "the job's supervisor was killed");
    remove_leftovers(attempt->folder);
    end(attempt, &outcome);
}

/* A shim that hangs, or that somebody has stopped, would keep its job for ever. Its death takes the
 * ranks along. */
static void kill_late_shim(const reidd_attempt *attempt)
{
    reidd_shim_info info = {0};
    reidd_process process = {0};
    if (reidd_shim_info_read(attempt->folder, &info, NULL) != REID_OK ||
        !reidd_process_read(info.pid, &process) || process.start_time != info.start_time)
        return;
    bool stopped = process.state == 'T' || process.state == 't';
    int64_t late_ms = reid_clock_mono_ns() / 1000000 - attempt->stop_told_ms - attempt->grace_ms;
    if (late_ms < (stopped ? SHIM_STOPPED_MS : SHIM_END_MS))
        return;
    reid_log_warn("attempt supervisor %s, and is killed pid=%d folder=%s",
                  stopped ? "is stopped" : "does not end", (int)info.pid, attempt->folder);
    kill(info.pid, SIGKILL);
}

static void tell_shim(reidd_attempt *attempt)
{
    reidd_shim_info info = {0};
    reid_error err = {0};
    if (reidd_shim_info_read(attempt->folder, &info, NULL) != REID_OK ||
        !reidd_process_is_alive(info.pid, info.start_time))
        return;
    if (reidd_grace_write(attempt->folder, attempt->grace_ms, &err) != REID_OK)
        reid_log_warn("attempt %s", err.text); /* the shim has a grace of its own */
    attempt->stop_told = kill(info.pid, SIGTERM) == 0;
    attempt->stop_told_ms = reid_clock_mono_ns() / 1000000;
}

static bool is_overdue(const reidd_attempt *attempt)
{
    return attempt->stop_wanted && reid_clock_mono_ns() / 1000000 - attempt->stop_wanted_ms >
                                       attempt->grace_ms + LOCK_END_MS;
}

static void check(reidd_attempt *attempt)
{
    if (attempt->closing || attempt->ended)
        return;
    REID_AUTOFREE char *path = reidd_attempt_path(attempt->folder, "exit.json");
    bool locked = !attempt->shim_ended && reidd_attempt_is_locked(attempt->folder);
    bool has_report = reid_path_exists(path);
    if (locked && !is_overdue(attempt)) {
        if (attempt->stop_wanted && !attempt->stop_told)
            tell_shim(attempt);
        else if (attempt->stop_wanted && !has_report)
            kill_late_shim(attempt);
        if (has_report) /* it has only to exit */
            check_every(attempt, SOON_MS);
        return;
    }
    reidd_attempt_outcome outcome = {.started = true, .reported = true};
    reid_error err = {0};
    if (!clear(attempt, has_report && !locked))
        return;
    if (has_report && reidd_exit_report_read(attempt->folder, &outcome.report, &err) == REID_OK) {
        end(attempt, &outcome);
        return;
    }
    if (has_report)
        reid_log_warn("attempt %s", err.text);
    bury(attempt);
}

/* ---- start ---- */

typedef REID_VEC(char *) word_list;

static void free_words(word_list *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    reid_vec_fini(words);
}

static void add_option(word_list *words, const char *name, const char *value)
{
    reid_vec_push(words, reid_xstrdup(name));
    reid_vec_push(words, reid_xstrdup(value));
}

/* Of an attempt whose ranks are on several nodes, and of a part of one. */
static void add_nodes(word_list *words, const reidd_attempt_spec *spec)
{
    if (spec->network)
        add_option(words, "--network", spec->network);
    if (spec->orted) {
        reid_vec_push(words, reid_xstrdup("--part"));
        reid_vec_push(words, reid_xasprintf("%d", spec->first));
    } else if (spec->hosts) {
        add_option(words, "--hosts", spec->hosts);
        add_option(words, "--node", spec->node);
        add_option(words, "--agent", spec->agent);
    }
}

static word_list make_arguments(const reidd_attempt_spec *spec, const char *group)
{
    word_list words = {0};
    reid_vec_push(&words, reid_xstrdup(spec->shim));
    if (group)
        add_option(&words, "--group", group);
    if (spec->as) {
        char *before[REIDD_RUN_AS_WORDS];
        reidd_run_as_words(spec->as, spec->shim, before);
        free(before[0]);
        for (size_t i = 1; i < REIDD_RUN_AS_WORDS; i++)
            reid_vec_push(&words, before[i]);
        reid_vec_push(&words, reid_xstrdup(spec->shim));
    }
    reid_vec_push(&words, reid_xstrdup("--attempt-dir"));
    reid_vec_push(&words, reid_xstrdup(spec->folder));
    reid_vec_push(&words, reid_xstrdup("--ranks"));
    reid_vec_push(&words, reid_xasprintf("%d", spec->ranks));
    reid_vec_push(&words, reid_xstrdup("--grace-ms"));
    reid_vec_push(&words, reid_xasprintf("%lld", (long long)spec->grace_ms));
    reid_vec_push(&words, reid_xstrdup("--lock-fd"));
    reid_vec_push(&words, reid_xstrdup("3"));
    add_nodes(&words, spec);
    reid_vec_push(&words, reid_xstrdup("--"));
    if (spec->orted) {
        reid_vec_push(&words, reid_xstrdup("orted"));
        for (char *const *word = spec->orted; *word; word++)
            reid_vec_push(&words, reid_xstrdup(*word));
        reid_vec_push(&words, NULL);
        return words;
    }
    reid_vec_push(&words, reid_xstrdup(spec->trainer));
    reid_vec_push(&words, reid_xstrdup("--config-file"));
    reid_vec_push(&words, reid_xstrdup(spec->config_path));
    if (spec->resume)
        reid_vec_push(&words, reid_xstrdup("--resume"));
    if (spec->eval_only)
        reid_vec_push(&words, reid_xstrdup("--eval-only"));
    if (spec->fork_from) {
        reid_vec_push(&words, reid_xstrdup("--fork-from"));
        reid_vec_push(&words, reid_xstrdup(spec->fork_from));
    }
    if (spec->fork_from && spec->fork_iter > 0) {
        reid_vec_push(&words, reid_xstrdup("--fork-iter"));
        reid_vec_push(&words, reid_xasprintf("%lld", (long long)spec->fork_iter));
    }
    reid_vec_push(&words, NULL);
    return words;
}

static word_list make_environment(const reidd_attempt_spec *spec)
{
    word_list words = {0};
    char **theirs = spec->as ? reidd_run_as_environment(spec->as) : NULL;
    for (char **entry = theirs ? theirs : environ; *entry; entry++)
        if (!reid_str_starts(*entry, "REIDD_") &&
            !(spec->gpus && reid_str_starts(*entry, "CUDA_VISIBLE_DEVICES=")))
            reid_vec_push(&words, reid_xstrdup(*entry));
    reidd_run_as_environment_free(theirs);
    reid_vec_push(&words, reid_xasprintf("REIDD_JOB=%s", spec->job_id));
    reid_vec_push(&words, reid_xasprintf("REIDD_ATTEMPT=%d", spec->attempt));
    reid_vec_push(&words, reid_xasprintf("REIDD_ATTEMPT_DIR=%s", spec->folder));
    reid_vec_push(&words, reid_xasprintf("REIDD_LINK=%s", spec->link_address));
    reid_vec_push(&words, reid_xasprintf("REIDD_TICKET=%s", spec->ticket));
    reid_vec_push(&words, reid_xasprintf("REIDD_CONFIG=%s", spec->config_path));
    if (spec->gpus) /* all ranks see the job's GPUs; rank N of the node takes the Nth */
        reid_vec_push(&words, reid_xasprintf("CUDA_VISIBLE_DEVICES=%s", spec->gpus));
    if (spec->hook_dir)
        reid_vec_push(&words, reid_xasprintf("REIDD_HOOK_DIR=%s", spec->hook_dir));
    reid_vec_push(&words, NULL);
    return words;
}

static reid_status open_log(const char *folder, int *ret_fd, reid_error *err)
{
    REID_AUTOFREE char *logs = reidd_attempt_path(folder, "logs");
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "logs/launcher.log");
    REID_TRY(reid_make_dirs(logs, 0700, err));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    *ret_fd = fd;
    return REID_OK;
}

/* The shim gets the log as standard output and error, and the lock as descriptor 3. */
static reid_status spawn(reidd_attempt *attempt, uv_loop_t *loop, const reidd_attempt_spec *spec,
                         int log_fd, int lock_fd, reid_error *err)
{
    word_list arguments = make_arguments(spec, attempt->group);
    word_list environment = make_environment(spec);
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = lock_fd},
    };
    const uv_process_options_t options = {
        .exit_cb = on_process_exit,
        .file = arguments.items[0],
        .args = arguments.items,
        .env = environment.items,
        .cwd = spec->folder,
        .flags = UV_PROCESS_DETACHED, /* a session of its own */
        .stdio_count = 4,
        .stdio = stdio,
    };
    int rc = uv_spawn(loop, &attempt->process, &options);
    attempt->has_process = true; /* the handle is there even when nothing was started */
    attempt->handles++;
    free_words(&arguments);
    free_words(&environment);
    if (rc != 0)
        return reid_fail_errno(err, -rc, "cannot start '%s'", spec->shim);
    uv_unref((uv_handle_t *)&attempt->process);
    return REID_OK;
}

/* The folder last: until then its owner-to-be cannot enter it. */
static reid_status give_away(const reidd_attempt_spec *spec, int log_fd, int lock_fd,
                             reid_error *err)
{
    REID_AUTOFREE char *logs = reidd_attempt_path(spec->folder, "logs");
    REID_AUTOFREE char *gpus = reidd_attempt_path(spec->folder, "gpus");
    const reidd_account *as = spec->as;
    if (!as)
        return REID_OK;
    bool given = fchown(log_fd, as->uid, as->gid) == 0 && fchown(lock_fd, as->uid, as->gid) == 0 &&
                 lchown(logs, as->uid, as->gid) == 0 &&
                 (!spec->gpus || lchown(gpus, as->uid, as->gid) == 0) &&
                 lchown(spec->folder, as->uid, as->gid) == 0;
    if (given)
        return REID_OK;
    return reid_fail_errno(err, errno, "cannot give '%s' to user %s", spec->folder, as->name);
}

/* Without it the attempt is held together as where there are no such groups. */
static void make_group(reidd_attempt *attempt, const char *group)
{
    reid_error err = {0};
    if (group && reidd_confine_make(attempt->folder, group, &err) == REID_OK)
        attempt->group = reid_xstrdup(group);
    else if (group)
        reid_log_warn("attempt %s", err.text);
}

reid_status reidd_attempt_start(uv_loop_t *loop, const reidd_attempt_spec *spec,
                                reidd_attempt_on_end *on_end, void *user,
                                reidd_attempt **ret_attempt, reid_error *err)
{
    int log_fd = -1, lock_fd = -1;
    reid_status status = reid_make_dirs(spec->folder, 0700, err);
    if (status == REID_OK && spec->gpus)
        status = reidd_gpu_list_write(spec->folder, spec->gpus, err);
    if (status == REID_OK)
        status = open_log(spec->folder, &log_fd, err);
    if (status == REID_OK)
        status = reidd_attempt_lock(spec->folder, &lock_fd, err);
    if (status == REID_OK)
        status = give_away(spec, log_fd, lock_fd, err);
    if (status == REID_OK) {
        reidd_attempt *attempt = attempt_new(loop, spec->folder, on_end, user);
        make_group(attempt, spec->group);
        status = spawn(attempt, loop, spec, log_fd, lock_fd, err);
        if (status == REID_OK) {
            *ret_attempt = attempt;
        } else {
            if (attempt->group && reidd_confine_end(attempt->group))
                reidd_confine_forget(spec->folder);
            reidd_attempt_close(attempt);
        }
    }
    if (log_fd >= 0)
        close(log_fd);
    if (lock_fd >= 0)
        close(lock_fd);
    return status;
}

reid_status reidd_attempt_adopt(uv_loop_t *loop, const char *folder, reidd_attempt_on_end *on_end,
                                void *user, reidd_attempt **ret_attempt, reid_error *err)
{
    reidd_attempt_sweep(folder);
    reidd_attempt *attempt = attempt_new(loop, folder, on_end, user);
    attempt->group = reidd_confine_read(folder);
    uv_timer_start(&attempt->timer, on_tick, 0, TICK_MS); /* the first look at once */
    *ret_attempt = attempt;
    return REID_OK;
}

void reidd_attempt_stop(reidd_attempt *attempt, int64_t grace_ms)
{
    if (attempt->ended || attempt->closing)
        return;
    if (!attempt->stop_wanted || grace_ms < attempt->grace_ms) {
        attempt->grace_ms = grace_ms;
        attempt->stop_wanted_ms = reid_clock_mono_ns() / 1000000;
        attempt->stop_told = false;
    }
    attempt->stop_wanted = true;
    if (!attempt->stop_told && reidd_attempt_is_locked(attempt->folder))
        tell_shim(attempt);
}
