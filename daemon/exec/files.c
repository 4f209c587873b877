#include "daemon/exec/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/json.h"
#include "daemon/access/identity.h"
#include "daemon/exec/process.h"

#define FILE_LIMIT_BYTES (64u << 10)
#define REPORT_BYTES (8u << 10)

char *reidd_attempt_path(const char *folder, const char *name)
{
    return reid_path_join(folder, name);
}

char *reidd_rank_path(const char *folder, const char *part, int rank, const char *suffix)
{
    return reid_xasprintf("%s/%s/rank-%d.%s", folder, part, rank, suffix);
}

char *reidd_node_path(const char *folder, const char *node, const char *suffix)
{
    return reid_xasprintf("%s/nodes/%s.%s", folder, node, suffix);
}

static int open_lock(const char *folder)
{
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "shim.lock");
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

reid_status reidd_attempt_lock(const char *folder, int *ret_fd, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    int fd = open_lock(folder);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s/shim.lock'", folder);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        close(fd);
        if (number == EWOULDBLOCK)
            return reid_fail(err, REID_ERR_UNAVAILABLE, "'%s' has a supervisor already", folder);
        return reid_fail_errno(err, number, "cannot lock '%s/shim.lock'", folder);
    }
    *ret_fd = fd;
    return REID_OK;
}

bool reidd_attempt_is_locked(const char *folder)
{
    REIDD_AS_OWNER(folder);
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "shim.lock");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return locked;
}

/* ---- small JSON files ---- */

/* temp → rename; without fsync: it has to survive the writer, not the machine. */
static reid_status write_quickly(const char *path, const reid_str *text, reid_error *err)
{
    REID_AUTOFREE char *temp = reid_xasprintf("%s.%d.tmp", path, (int)getpid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot create '%s'", temp);
    reid_status status = reid_write_all(fd, text->data, text->length, temp, err);
    if (close(fd) != 0 && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot write '%s'", temp);
    if (status == REID_OK && rename(temp, path) != 0)
        status = reid_fail_errno(err, errno, "cannot rename '%s' to '%s'", temp, path);
    if (status != REID_OK)
        unlink(temp);
    return status;
}

/* The writer in "rank-1.exit.4711.tmp"; 0: it is no such name. */
static pid_t writer_of(const char *name)
{
    static const char suffix[] = ".tmp";
    size_t length = strlen(name), suffix_length = sizeof suffix - 1;
    if (length <= suffix_length || strcmp(name + length - suffix_length, suffix) != 0)
        return 0;
    REID_AUTOFREE char *stem = reid_xstrndup(name, length - suffix_length);
    const char *dot = strrchr(stem, '.');
    int64_t pid = 0;
    if (!dot || dot[1] == '0' || reid_parse_int64(dot + 1, &pid) != REID_OK || pid <= 0 ||
        pid > INT_MAX)
        return 0;
    return (pid_t)pid;
}

static void sweep(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0)
        close(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        pid_t writer = writer_of(entry->d_name);
        if (writer > 0 && kill(writer, 0) != 0 && errno == ESRCH)
            unlinkat(fd, entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

void reidd_attempt_sweep(const char *folder)
{
    static const char *const names[] = {"ranks", "failures", "nodes"};
    REIDD_AS_OWNER(folder);
    sweep(folder);
    for (size_t i = 0; i < REID_COUNT_OF(names); i++) {
        REID_AUTOFREE char *path = reidd_attempt_path(folder, names[i]);
        sweep(path);
    }
}

static void add_int(reid_json_writer *w, const char *key, int64_t value)
{
    reid_json_key(w, key);
    reid_json_int(w, value);
}

static void add_string(reid_json_writer *w, const char *key, const char *value)
{
    reid_json_key(w, key);
    reid_json_string(w, value);
}

/* Ends the object, writes it and frees the text. */
static reid_status finish(reid_json_writer *w, char *own_path, reid_error *err)
{
    reid_json_end_object(w);
    reid_str_add_char(w->out, '\n');
    reid_status status = write_quickly(own_path, w->out, err);
    reid_str_fini(w->out);
    free(own_path);
    return status;
}

static reid_status read_json(char *own_path, reid_json **ret_root, reid_error *err)
{
    char *data = NULL;
    size_t size = 0;
    reid_status status = reid_file_read_foreign(own_path, FILE_LIMIT_BYTES, &data, &size, err);
    if (status == REID_OK) {
        status = reid_json_parse(data, size, ret_root, err);
        if (status == REID_OK && reid_json_type_of(*ret_root) != REID_JSON_OBJECT) {
            reid_json_free(*ret_root);
            status = reid_fail(err, REID_ERR_CORRUPT, "no object");
        }
        if (status != REID_OK)
            reid_error_prefix(err, "'%s'", own_path);
    }
    free(data);
    free(own_path);
    return status;
}

static int64_t get_int(const reid_json *root, const char *key, int64_t otherwise)
{
    return reid_json_as_int(reid_json_get(root, key), otherwise);
}

static void get_string(const reid_json *root, const char *key, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s", reid_json_as_string(reid_json_get(root, key), ""));
}

reid_status reidd_shim_info_write(const char *folder, const reidd_shim_info *info, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    add_int(&w, "pid", info->pid);
    add_int(&w, "start_time", (int64_t)info->start_time);
    add_int(&w, "protocol", info->protocol);
    add_int(&w, "mpirun_pid", info->launcher_pid);
    add_string(&w, "shm_dir", info->shm_dir);
    return finish(&w, reidd_attempt_path(folder, "shim.json"), err);
}

reid_status reidd_shim_info_read(const char *folder, reidd_shim_info *ret_info, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_attempt_path(folder, "shim.json"), &root, err));
    reid_status status = REID_OK;
    pid_t pid = (pid_t)get_int(root, "pid", 0);
    uid_t uid = 0;
    /* The daemon sends signals there: nobody may name somebody else's process. */
    if (reidd_identity_here.switched && reidd_process_user(pid, &uid) &&
        uid != reidd_identity_here.now)
        status =
            reid_fail(err, REID_ERR_CORRUPT, "'%s/shim.json' names another user's process", folder);
    ret_info->pid = pid;
    ret_info->start_time = (uint64_t)get_int(root, "start_time", 0);
    ret_info->protocol = (int)get_int(root, "protocol", 0);
    ret_info->launcher_pid = (pid_t)get_int(root, "mpirun_pid", 0);
    get_string(root, "shm_dir", ret_info->shm_dir, sizeof ret_info->shm_dir);
    reid_json_free(root);
    return status;
}

reid_status reidd_exit_report_reserve(const char *folder, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "exit.pending");
    REID_AUTOFREE char *room = reid_xcalloc(1, REPORT_BYTES);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot create '%s'", path);
    reid_status status = reid_write_all(fd, room, REPORT_BYTES, path, err);
    close(fd);
    return status;
}

/* Into the room that was set aside, then the rename: no new block is needed. */
static reid_status write_into_reserve(const char *folder, const char *target, const reid_str *text,
                                      reid_error *err)
{
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "exit.pending");
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_status status = reid_write_all(fd, text->data, text->length, path, err);
    if (status == REID_OK && (ftruncate(fd, (off_t)text->length) != 0 || fsync(fd) != 0))
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    close(fd);
    if (status == REID_OK && rename(path, target) != 0)
        status = reid_fail_errno(err, errno, "cannot rename '%s' to '%s'", path, target);
    return status == REID_OK ? reid_fsync_dir(folder, err) : status;
}

reid_status reidd_exit_report_write(const char *folder, const reidd_exit_report *report,
                                    reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    add_int(&w, "exit_code", report->exit_code);
    add_int(&w, "signal", report->signal);
    add_int(&w, "rank", report->rank);
    reid_json_key(&w, "stopped");
    reid_json_bool(&w, report->stopped);
    add_string(&w, "sentence", report->sentence);
    add_int(&w, "ended_ms", report->ended_ms);
    reid_json_end_object(&w);
    reid_str_add_char(&text, '\n');
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "exit.json");
    reid_status status = text.length <= REPORT_BYTES ? write_into_reserve(folder, path, &text, NULL)
                                                     : REID_ERR_EXHAUSTED;
    if (status != REID_OK)
        status = reid_file_write_atomic(path, text.data, text.length, err);
    reid_str_fini(&text);
    return status;
}

reid_status reidd_exit_report_read(const char *folder, reidd_exit_report *ret_report,
                                   reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_attempt_path(folder, "exit.json"), &root, err));
    ret_report->exit_code = (int)get_int(root, "exit_code", 1);
    ret_report->signal = (int)get_int(root, "signal", 0);
    ret_report->rank = (int)get_int(root, "rank", -1);
    ret_report->stopped = reid_json_as_bool(reid_json_get(root, "stopped"), false);
    ret_report->ended_ms = get_int(root, "ended_ms", 0);
    get_string(root, "sentence", ret_report->sentence, sizeof ret_report->sentence);
    reid_json_free(root);
    return REID_OK;
}

reid_status reidd_rank_pids_write(const char *folder, int rank, const reidd_rank_pids *pids,
                                  reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    add_int(&w, "wrapper", pids->wrapper);
    add_int(&w, "rank", pids->rank);
    return finish(&w, reidd_rank_path(folder, "ranks", rank, "pid"), err);
}

reid_status reidd_rank_pids_read(const char *folder, int rank, reidd_rank_pids *ret_pids,
                                 reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_rank_path(folder, "ranks", rank, "pid"), &root, err));
    ret_pids->wrapper = (pid_t)get_int(root, "wrapper", 0);
    ret_pids->rank = (pid_t)get_int(root, "rank", 0);
    reid_json_free(root);
    return REID_OK;
}

reid_status reidd_rank_exit_write(const char *folder, int rank, const reidd_rank_exit *end,
                                  reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    add_int(&w, "exit_code", end->exit_code);
    add_int(&w, "signal", end->signal);
    add_int(&w, "wall_ms", end->wall_ms);
    add_int(&w, "late_ms", end->late_ms);
    return finish(&w, reidd_rank_path(folder, "ranks", rank, "exit"), err);
}

reid_status reidd_rank_exit_read(const char *folder, int rank, reidd_rank_exit *ret_end,
                                 reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_rank_path(folder, "ranks", rank, "exit"), &root, err));
    ret_end->exit_code = (int)get_int(root, "exit_code", 1);
    ret_end->signal = (int)get_int(root, "signal", 0);
    ret_end->wall_ms = get_int(root, "wall_ms", 0);
    ret_end->late_ms = get_int(root, "late_ms", 0);
    reid_json_free(root);
    return REID_OK;
}

reid_status reidd_last_words_read(const char *folder, int rank, reidd_last_words *ret_words,
                                  reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_rank_path(folder, "failures", rank, "json"), &root, err));
    ret_words->rank = rank;
    ret_words->wall_ms = get_int(root, "wall_ms", 0);
    ret_words->of_others = reid_json_as_bool(reid_json_get(root, "of_others"), false);
    get_string(root, "sentence", ret_words->sentence, sizeof ret_words->sentence);
    reid_json_free(root);
    return REID_OK;
}

reid_status reidd_outcome_read(const char *folder, reidd_outcome *ret_outcome, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_json *root = NULL;
    REID_TRY(read_json(reidd_attempt_path(folder, "outcome.json"), &root, err));
    const char *word = reid_json_as_string(reid_json_get(root, "outcome"), "");
    *ret_outcome = (reidd_outcome){
        .paused = strcmp(word, "paused") == 0,
        .iteration = get_int(root, "iteration", 0),
    };
    reid_json_free(root);
    return REID_OK;
}

reid_status reidd_gpu_list_write(const char *folder, const char *list, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "gpus");
    return reid_file_write_atomic(path, list, strlen(list), err);
}

char *reidd_gpu_list_read(const char *folder)
{
    REIDD_AS_OWNER(folder);
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "gpus");
    char *list = NULL;
    size_t size = 0;
    return reid_file_read_foreign(path, FILE_LIMIT_BYTES, &list, &size, NULL) == REID_OK ? list
                                                                                         : NULL;
}

reid_status reidd_grace_write(const char *folder, int64_t grace_ms, reid_error *err)
{
    REIDD_AS_OWNER(folder);
    reid_str text = REID_STR_INIT;
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "grace");
    reid_str_addf(&text, "%lld", (long long)grace_ms);
    reid_status status = write_quickly(path, &text, err);
    reid_str_fini(&text);
    return status;
}

int64_t reidd_grace_read(const char *folder, int64_t otherwise_ms)
{
    REIDD_AS_OWNER(folder);
    REID_AUTOFREE char *path = reidd_attempt_path(folder, "grace");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    int64_t grace_ms = 0;
    if (reid_file_read_foreign(path, 64, &text, &size, NULL) != REID_OK ||
        reid_parse_int64(text, &grace_ms) != REID_OK || grace_ms < 0)
        return otherwise_ms;
    return grace_ms;
}
