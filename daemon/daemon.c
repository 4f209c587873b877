#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/access/paths.h"
#include "daemon/api/api.h"
#include "daemon/api/convert.h"
#include "daemon/cluster/cluster.h"
#include "daemon/cluster/part.h"
#include "daemon/cluster/roster.h"
#include "daemon/exec/confine.h"
#include "daemon/exec/programs.h"
#include "daemon/notify.h"
#include "version.h"

#define LOCK_WAIT_MS 5000
#define STOP_GRACE_MS 200  /* for open calls */
#define STOP_LIMIT_MS 1500 /* then connections are cut */
#define MANY_FILES 65536   /* open ones, as far as the system allows */

typedef struct reidd_daemon {
    const reidd_options *options;
    uv_loop_t loop;
    uv_signal_t signals[3];
    size_t signal_count;
    uv_timer_t stop_timer;
    char *notify; /* systemd's socket; or NULL */
    int lock_fd;
    char *shim, *trainer, *link_path, *link_address;
    char node[256];
    int64_t started_ms;
    int slots;
    reidd_confine confine;
    reid_rpc_tls *tls;
    reidd_nodes nodes;
    reidd_roster roster;
    reidd_cluster *cluster; /* NULL: this node alone */
    reidd_parts *parts;     /* of a member */
    reidd_store *store;
    reidd_hub hub;
    reidd_turns turns;
    reidd_gpus *gpus;
    reidd_manager *manager;
    reidd_access *access;
    reidd_usage *usage;
    reidd_api api;
    reid_rpc_server *public_server, *rank_server;
    int servers_open;
    bool stopping, down;
} reidd_daemon;

/* ---- places ---- */

static void write_pid(int fd)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
        reid_log_warn("daemon cannot write its process id: %s", strerror(errno));
}

static bool owner_is_alive(int fd)
{
    char owner[32] = "";
    ssize_t n = pread(fd, owner, sizeof owner - 1, 0);
    int64_t pid = 0;
    owner[strspn(owner, n > 0 ? "0123456789" : "")] = '\0';
    return reid_parse_int64(owner, &pid) != REID_OK || pid <= 0 || kill((pid_t)pid, 0) == 0 ||
           errno != ESRCH;
}

/* A reidd that was killed while it started a process may still have its lock for a moment: until
 * that process has come to its program. errno is flock's. */
static bool take_lock(int fd)
{
    int64_t until_ns = reid_clock_mono_ns() + LOCK_WAIT_MS * 1000000LL;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        if (number != EWOULDBLOCK || owner_is_alive(fd) || reid_clock_mono_ns() > until_ns) {
            errno = number;
            return false;
        }
        poll(NULL, 0, 20);
    }
    return true;
}

static reid_status lock_state(reidd_daemon *daemon, reid_error *err)
{
    const char *folder = daemon->options->state_dir;
    REID_AUTOFREE char *path = reid_path_join(folder, "reidd.lock");
    REID_TRY(reid_make_dirs(folder, 0700, err));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    if (take_lock(fd)) {
        write_pid(fd);
        daemon->lock_fd = fd;
        return REID_OK;
    }
    int number = errno;
    char owner[32] = "";
    ssize_t n = pread(fd, owner, sizeof owner - 1, 0);
    owner[strspn(owner, n > 0 ? "0123456789" : "")] = '\0';
    close(fd);
    if (number != EWOULDBLOCK)
        return reid_fail_errno(err, number, "cannot lock '%s'", path);
    return reid_fail(err, REID_ERR_EXISTS,
                     "another reidd (process %s) uses the state folder '%s'; stop it, or choose "
                     "another --state-dir",
                     owner, folder);
}

static reid_status check_paths(const reidd_options *options, reid_error *err)
{
    REID_TRY(reidd_paths_check_roots("--data-roots", options->data_roots, err));
    REID_TRY(reidd_paths_check_roots("--output-roots", options->output_roots, err));
    return options->hook_dir ? reidd_paths_check_trusted("--hook-dir", options->hook_dir, err)
                             : REID_OK;
}

/* The rest of the way from here is short: the folder of the sockets, and where programs are. */
static reid_status find_places(reidd_daemon *daemon, reid_error *err)
{
    REID_AUTOFREE char *folder = reid_path_dir(daemon->options->socket_path);
    REID_TRY(check_paths(daemon->options, err));
    REID_TRY(reid_make_dirs(folder, 0755, err));
    daemon->link_path = reid_path_join(folder, "link.sock");
    daemon->link_address = reid_xasprintf("unix:%s", daemon->link_path);
    REID_TRY(reidd_program_find("reidd-shim", &daemon->shim, err));
    if (daemon->options->trainer)
        daemon->trainer = reid_xstrdup(daemon->options->trainer);
    else
        REID_TRY(reidd_program_find("reid-train", &daemon->trainer, err));
    if (access(daemon->trainer, X_OK) != 0)
        return reid_fail_errno(err, errno, "cannot use the trainer '%s'", daemon->trainer);
    if (daemon->options->node)
        snprintf(daemon->node, sizeof daemon->node, "%s", daemon->options->node);
    else if (gethostname(daemon->node, sizeof daemon->node - 1) != 0)
        snprintf(daemon->node, sizeof daemon->node, "localhost");
    return REID_OK;
}

static reid_status open_store(reidd_daemon *daemon, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(daemon->options->state_dir, "reidd.db");
    return reidd_store_open(path, &daemon->store, err);
}

static reid_status count_slots(reidd_daemon *daemon, reid_error *err)
{
    const reidd_options *options = daemon->options;
    bool given = options->slots != REIDD_SLOTS_AUTO;
    const char *choice = options->gpus ? options->gpus : given ? "none" : "auto";
    if (options->slots == 0 && !options->cluster)
        return reid_fail(err, REID_ERR_INVALID,
                         "with --slots 0 no job could ever start: it is for a node of a --cluster, "
                         "whose jobs run on the other nodes");
    REID_TRY(reidd_gpus_new(&daemon->loop, choice, &daemon->gpus, err));
    int gpus = (int)reidd_gpus_count(daemon->gpus);
    daemon->slots = given      ? (int)options->slots
                    : gpus > 0 ? gpus
                               : REID_MAX((int)uv_available_parallelism(), 1);
    return REID_OK;
}

/* ---- nodes ---- */

static void on_node_change(void *user)
{
    reidd_daemon *daemon = user;
    reidd_manager_nodes_changed(daemon->manager);
}

static void on_weather(const Reid__V1__Node *node, void *user)
{
    reidd_daemon *daemon = user;
    reidd_cluster_set_weather(daemon->cluster, node);
}

static void look_at_machine(void *user)
{
    reidd_daemon *daemon = user;
    reidd_api_look(&daemon->api, on_weather, daemon);
}

/* A folder with the node's name in it is its own: so one shared --tls-dir serves all nodes. */
static reid_status open_tls(reidd_daemon *daemon, reid_error *err)
{
    const char *dir = daemon->options->tls_dir;
    if (!dir)
        return REID_OK;
    REID_AUTOFREE char *own = reid_path_join(dir, daemon->node);
    return reid_rpc_tls_new(reid_path_is_dir(own) ? own : dir, &daemon->tls, err);
}

static reid_status open_nodes(reidd_daemon *daemon, reid_error *err)
{
    REID_TRY(open_tls(daemon, err));
    if (daemon->options->cluster) {
        const reidd_cluster_options wanted = {
            .file = daemon->options->cluster,
            .node = daemon->options->node,
            .tls = daemon->tls,
            .shim = daemon->shim,
            .trainer = daemon->trainer,
            .started_ms = daemon->started_ms,
            .store = daemon->store,
            .take_over = daemon->options->take_over,
            .slots = daemon->slots,
            .nodes = &daemon->nodes,
            .look = look_at_machine,
            .on_change = on_node_change,
            .user = daemon,
        };
        REID_TRY(reidd_cluster_new(&daemon->loop, &wanted, &daemon->cluster, err));
    } else {
        reidd_nodes_add(&daemon->nodes, daemon->node, daemon->slots, reidd_gpus_type(daemon->gpus));
    }
    REID_TRY(reidd_roster_init(&daemon->roster, daemon->store, &daemon->nodes, err));
    if (daemon->cluster)
        reidd_cluster_set_roster(daemon->cluster, &daemon->roster);
    return REID_OK;
}

static reid_status open_manager(reidd_daemon *daemon, reid_error *err)
{
    const reidd_options *options = daemon->options;
    const reidd_manager_options wanted = {
        .state_dir = options->state_dir,
        .slots = daemon->slots,
        .gpus = daemon->gpus,
        .nodes = &daemon->nodes,
        .cluster = daemon->cluster,
        .shim = daemon->shim,
        .trainer = daemon->trainer,
        .link_address = daemon->link_address,
        .hook_dir = options->hook_dir,
        .confine = &daemon->confine,
        .limit_grace_ms = (uint64_t)options->limit_grace_ms,
        .pause_timeout_ms = (uint64_t)options->pause_timeout_ms,
        .share_half_life_ms = options->share_hours * 3600000,
        .grace_ms = options->grace_ms,
        .check_timeout_ms = (uint64_t)options->check_timeout_ms,
        .start_timeout_ms = (uint64_t)options->start_timeout_ms,
        .stall_notice_ms = (uint64_t)options->stall_notice_ms,
        .phase_timeout_ms = {[REIDD_LOADING] = (uint64_t)options->loading_timeout_ms,
                             [REIDD_TRAINING] = (uint64_t)options->step_timeout_ms,
                             [REIDD_EVALUATING] = (uint64_t)options->evaluation_timeout_ms,
                             [REIDD_SAVING] = (uint64_t)options->saving_timeout_ms},
        .decode_row = reidd_convert_packed_row,
        .limits = &options->limits,
        .data_roots = options->data_roots,
        .output_roots = options->output_roots,
    };
    return reidd_manager_new(&daemon->loop, daemon->store, &daemon->hub, &wanted, &daemon->manager,
                             err);
}

static reid_status open_parts(reidd_daemon *daemon, reid_error *err)
{
    if (!reidd_cluster_is_member(daemon->cluster))
        return REID_OK;
    const reidd_parts_options wanted = {
        .cluster = daemon->cluster,
        .state_dir = daemon->options->state_dir,
        .shim = daemon->shim,
        .link_address = daemon->link_address,
        .hook_dir = daemon->options->hook_dir,
        .confine = &daemon->confine,
        .gpus = daemon->gpus,
        .lowest_uid = (uid_t)daemon->options->limits.values[REIDD_LIMIT_LOWEST_UID],
    };
    return reidd_parts_new(&daemon->loop, &wanted, &daemon->parts, err);
}

static bool is_known(const char *job, int attempt, void *user)
{
    reidd_daemon *daemon = user;
    return reidd_manager_has_attempt(daemon->manager, job, attempt) ||
           reidd_parts_has(daemon->parts, job, attempt);
}

/* ---- sockets ---- */

static reid_status open_access(reidd_daemon *daemon, reid_error *err)
{
    const reidd_access_options wanted = {
        .viewers = daemon->options->group,
        .operators = daemon->options->operators,
        .admins = daemon->options->admins,
        .own_uid = geteuid(),
    };
    daemon->usage = reidd_usage_new(&daemon->options->limits);
    return reidd_access_new(&wanted, &daemon->access, err);
}

/* Whether jobs may run as somebody else than the daemon. */
static bool has_other_users(const reidd_options *options)
{
    return geteuid() == 0 &&
           (options->operators || options->admins || options->listen || options->cluster);
}

/* Others have to come through to their jobs' folders and to the ranks' socket; what lies on the way
 * stays hidden. */
static reid_status open_folders(const reidd_daemon *daemon, reid_error *err)
{
    REID_AUTOFREE char *jobs = reid_path_join(daemon->options->state_dir, "jobs");
    REID_AUTOFREE char *parts = reid_path_join(daemon->options->state_dir, "parts");
    REID_AUTOFREE char *sockets = reid_path_dir(daemon->link_path);
    const char *const folders[] = {daemon->options->state_dir, jobs, parts, sockets};
    if (!has_other_users(daemon->options))
        return REID_OK;
    for (size_t i = 0; i < REID_COUNT_OF(folders); i++) {
        struct stat info;
        if (stat(folders[i], &info) != 0 && errno == ENOENT)
            continue; /* only members have parts */
        if (stat(folders[i], &info) != 0 || chmod(folders[i], (info.st_mode & 07777) | 0011) != 0)
            return reid_fail_errno(err, errno, "cannot let users pass through '%s'", folders[i]);
    }
    return REID_OK;
}

/* A socket has one group: where several have roles, everybody may connect and the guard decides. */
static reid_status listen_public(reidd_daemon *daemon, reid_error *err)
{
    const reidd_options *options = daemon->options;
    const char *path = options->socket_path;
    gid_t gid = 0;
    if (options->operators || options->admins)
        return reid_rpc_server_listen_unix(daemon->public_server, path, 0666, err);
    REID_TRY(reid_rpc_server_listen_unix(daemon->public_server, path, 0600, err));
    if (!options->group)
        return REID_OK;
    if (!reidd_system_accounts.group(options->group, &gid))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no group '%s'", options->group);
    if (chown(path, (uid_t)-1, gid) != 0 || chmod(path, 0660) != 0)
        return reid_fail_errno(err, errno, "cannot give '%s' to the group '%s'", path,
                               options->group);
    return REID_OK;
}

static reid_status open_servers(reidd_daemon *daemon, reid_error *err)
{
    daemon->api = (reidd_api){
        .loop = &daemon->loop,
        .manager = daemon->manager,
        .store = daemon->store,
        .hub = &daemon->hub,
        .turns = &daemon->turns,
        .gpus = daemon->gpus,
        .access = daemon->access,
        .usage = daemon->usage,
        .limits = &daemon->options->limits,
        .state_dir = daemon->options->state_dir,
        .confinement = daemon->confine.why,
        .node = daemon->node,
        .nodes = &daemon->nodes,
        .roster = &daemon->roster,
        .cluster = daemon->cluster,
        .parts = daemon->parts,
        .started_ms = daemon->started_ms,
    };
    const int64_t *limits = daemon->options->limits.values;
    const reid_rpc_limits public_limits = {
        .max_connections = (uint32_t)limits[REIDD_LIMIT_CONNECTIONS],
        .max_per_user = (uint32_t)limits[REIDD_LIMIT_USER_CONNECTIONS],
        .max_per_address = (uint32_t)limits[REIDD_LIMIT_USER_CONNECTIONS],
        .max_streams = (uint32_t)limits[REIDD_LIMIT_STREAMS],
        .max_unread_bytes = (uint64_t)limits[REIDD_LIMIT_UNREAD_BYTES],
    };
    REID_TRY(reid_rpc_server_new(&daemon->loop, &public_limits, &daemon->public_server, err));
    const reid_rpc_limits rank_limits = {
        .max_connections = 2 * (uint32_t)limits[REIDD_LIMIT_RANKS],
        .max_per_user = (uint32_t)limits[REIDD_LIMIT_RANKS],
    };
    REID_TRY(reid_rpc_server_new(&daemon->loop, &rank_limits, &daemon->rank_server, err));
    REID_TRY(reidd_api_serve_public(&daemon->api, daemon->public_server, err));
    reidd_api_serve_ranks(&daemon->api, daemon->rank_server);
    /* The link first: a job that is submitted at once finds it. */
    unsigned mode = has_other_users(daemon->options) ? 0666 : 0600;
    REID_TRY(reid_rpc_server_listen_unix(daemon->rank_server, daemon->link_path, mode, err));
    REID_TRY(open_folders(daemon, err));
    REID_TRY(listen_public(daemon, err));
    if (daemon->options->listen)
        REID_TRY(reid_rpc_server_listen(daemon->public_server, daemon->options->listen, daemon->tls,
                                        0600, NULL, err));
    if (!daemon->cluster)
        return REID_OK;
    if (reidd_cluster_is_head(daemon->cluster))
        reidd_api_add_ranks(&daemon->api, daemon->public_server);
    REID_TRY(reidd_cluster_serve(daemon->cluster, daemon->public_server, err));
    reidd_cluster_start(daemon->cluster);
    return REID_OK;
}

/* ---- the end ---- */

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Nobody is connected any more, or is cut off now. */
static void go_down(reidd_daemon *daemon)
{
    if (daemon->down)
        return;
    daemon->down = true;
    reid_rpc_server_free(daemon->public_server);
    reid_rpc_server_free(daemon->rank_server);
    reidd_cluster_close(daemon->cluster);
    reidd_parts_close(daemon->parts);
    reidd_manager_close(daemon->manager);
    reidd_gpus_close(daemon->gpus);
    reidd_hub_close(&daemon->hub);
    reidd_turns_close(&daemon->turns);
    for (size_t i = 0; i < daemon->signal_count; i++)
        close_handle((uv_handle_t *)&daemon->signals[i]);
    close_handle((uv_handle_t *)&daemon->stop_timer);
}

static void on_stop_timer(uv_timer_t *timer)
{
    go_down(timer->data);
}

static void on_server_down(void *user)
{
    reidd_daemon *daemon = user;
    if (--daemon->servers_open == 0) /* not from inside a server */
        uv_timer_start(&daemon->stop_timer, on_stop_timer, 0, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    reidd_daemon *daemon = handle->data;
    if (daemon->stopping)
        return;
    daemon->stopping = true;
    reidd_notify(daemon->notify, "STOPPING=1");
    size_t running = reidd_manager_running(daemon->manager);
    reid_log_info("daemon stopping signal=%d%s", number,
                  running ? "; jobs that run go on and are found again at the next start" : "");
    reidd_cluster_leave(daemon->cluster);
    daemon->servers_open = 2;
    uv_timer_start(&daemon->stop_timer, on_stop_timer, STOP_LIMIT_MS, 0);
    reid_rpc_server_shutdown(daemon->public_server, STOP_GRACE_MS, on_server_down, daemon);
    reid_rpc_server_shutdown(daemon->rank_server, STOP_GRACE_MS, on_server_down, daemon);
}

static void watch_signals(reidd_daemon *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction old;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is a failed write like a full disk */
    for (size_t i = 0; i < REID_COUNT_OF(numbers); i++) {
        if (numbers[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue; /* nohup */
        uv_signal_t *handle = &daemon->signals[daemon->signal_count++];
        uv_signal_init(&daemon->loop, handle);
        handle->data = daemon;
        uv_signal_start(handle, on_signal, numbers[i]);
    }
    uv_timer_init(&daemon->loop, &daemon->stop_timer);
    daemon->stop_timer.data = daemon;
}

/* ---- the whole ---- */

/* Many clients and ranks mean many sockets. */
static void allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < MANY_FILES) {
        limit.rlim_cur = REID_MIN(limit.rlim_max, (rlim_t)MANY_FILES);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Keys, and the tickets of all users' jobs, are in there: no core file of them is left. What it
 * starts is dumpable again. */
static void hide_memory(void)
{
    if (geteuid() == 0 && prctl(PR_SET_DUMPABLE, 0) != 0)
        reid_log_warn("daemon memory cannot be hidden: %s", strerror(errno));
}

static reid_status open_all(reidd_daemon *daemon, reid_error *err)
{
    REID_TRY(lock_state(daemon, err));
    REID_TRY(find_places(daemon, err));
    REID_TRY(open_store(daemon, err));
    REID_TRY(count_slots(daemon, err));
    REID_TRY(open_nodes(daemon, err));
    reidd_confine_init(&daemon->confine, daemon->options->state_dir);
    reid_log_info("daemon %s", daemon->confine.why);
    REID_TRY(open_manager(daemon, err));
    REID_TRY(open_parts(daemon, err));
    reidd_confine_sweep(&daemon->confine, is_known, daemon);
    REID_TRY(open_access(daemon, err));
    REID_TRY(open_servers(daemon, err));
    reid_log_info("daemon ready version=%s socket=%s state=%s slots=%d gpus=%zu trainer=%s",
                  REID_VERSION, daemon->options->socket_path, daemon->options->state_dir,
                  reidd_manager_slots(daemon->manager), reidd_gpus_count(daemon->gpus),
                  daemon->trainer);
    reidd_notify(daemon->notify, "READY=1");
    return REID_OK;
}

static void free_all(reidd_daemon *daemon)
{
    reidd_api_fini(&daemon->api);
    reidd_roster_fini(&daemon->roster);
    reidd_nodes_fini(&daemon->nodes);
    reid_rpc_tls_free(daemon->tls);
    reidd_confine_fini(&daemon->confine);
    reidd_store_close(daemon->store);
    reidd_access_free(daemon->access);
    reidd_usage_free(daemon->usage);
    if (daemon->lock_fd >= 0)
        close(daemon->lock_fd);
    free(daemon->notify);
    free(daemon->shim);
    free(daemon->trainer);
    free(daemon->link_path);
    free(daemon->link_address);
}

reid_status reidd_daemon_run(const reidd_options *options, reid_error *err)
{
    reidd_daemon daemon = {.options = options, .lock_fd = -1, .started_ms = reid_clock_wall_ms()};
    daemon.notify = reidd_notify_take();
    umask(077);
    hide_memory();
    allow_many_files();
    int rc = uv_loop_init(&daemon.loop);
    if (rc != 0)
        return reid_fail_errno(err, -rc, "cannot make an event loop");
    watch_signals(&daemon);
    reidd_hub_init(&daemon.hub, &daemon.loop);
    reidd_turns_init(&daemon.turns, &daemon.loop);
    reid_status status = open_all(&daemon, err);
    if (status != REID_OK)
        go_down(&daemon);
    uv_run(&daemon.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&daemon.loop) != 0)
        reid_log_warn("daemon handles are left open");
    free_all(&daemon);
    if (status == REID_OK)
        reid_log_info("daemon ended");
    return status;
}
