#include "events/async_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#define QUEUE_BYTES_MAX ((size_t)64 << 20)
#define QUEUE_BYTES_FIRST ((size_t)16 << 10) /* lines of a training fit */

struct reid_async_file {
    char *path;
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work; /* bytes are queued, or closing */
    pthread_cond_t idle; /* nothing is queued or being written */
    /* under the lock */
    reid_str queue;
    bool busy; /* the thread is writing */
    bool closing;
    reid_error failure;
};

/* ---- the thread ---- */

/* A pipe or a device has no size to go back to. */
static reid_status put_on_disk(reid_async_file *file, const reid_str *bytes, reid_error *err)
{
    struct stat before;
    bool regular = fstat(file->fd, &before) == 0 && S_ISREG(before.st_mode);
    reid_status status = reid_write_all(file->fd, bytes->data, bytes->length, file->path, err);
    if (status == REID_OK) {
        if (fsync(file->fd) != 0 && errno != EINVAL && errno != EROFS)
            return reid_fail_errno(err, errno, "cannot write '%s' to disk", file->path);
        return REID_OK;
    }
    if (regular && ftruncate(file->fd, before.st_size) != 0)
        return status; /* the torn end is found and ended by the next run */
    return status;
}

static void *write_in_background(void *user)
{
    reid_async_file *file = user;
    reid_str bytes = REID_STR_INIT;
    reid_str_reserve(&bytes, QUEUE_BYTES_FIRST);
    pthread_mutex_lock(&file->lock);
    for (;;) {
        while (file->queue.length == 0 && !file->closing)
            pthread_cond_wait(&file->work, &file->lock);
        if (file->queue.length == 0)
            break;
        reid_str taken = file->queue;
        file->queue = bytes;
        bytes = taken;
        file->busy = true;
        reid_error failure = file->failure;
        pthread_mutex_unlock(&file->lock);
        if (failure.code == REID_OK)
            put_on_disk(file, &bytes, &failure);
        reid_str_clear(&bytes);
        pthread_mutex_lock(&file->lock);
        file->failure = failure;
        file->busy = false;
        if (file->queue.length == 0)
            pthread_cond_broadcast(&file->idle);
    }
    pthread_mutex_unlock(&file->lock);
    reid_str_fini(&bytes);
    return NULL;
}

/* ---- the user's side ---- */

static void free_file(reid_async_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    pthread_mutex_destroy(&file->lock);
    pthread_cond_destroy(&file->work);
    pthread_cond_destroy(&file->idle);
    reid_str_fini(&file->queue);
    free(file->path);
    free(file);
}

static bool ends_with_newline(int fd, off_t size)
{
    char last;
    return size == 0 || (pread(fd, &last, 1, size - 1) == 1 && last == '\n');
}

/* Signals belong to the main thread. */
static int start_thread(reid_async_file *file)
{
    sigset_t all, kept;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    int error = pthread_create(&file->thread, NULL, write_in_background, file);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    return error;
}

static reid_status open_and_start(reid_async_file *file, bool end_torn_line, reid_error *err)
{
    file->fd = open(file->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s' for appending", file->path);
    struct stat info;
    if (fstat(file->fd, &info) != 0)
        return reid_fail_errno(err, errno, "cannot examine '%s'", file->path);
    if (end_torn_line && S_ISREG(info.st_mode) && !ends_with_newline(file->fd, info.st_size))
        REID_TRY(reid_write_all(file->fd, "\n", 1, file->path, err));
    int error = start_thread(file);
    if (error != 0)
        return reid_fail_errno(err, error, "cannot start a thread to write '%s'", file->path);
    return REID_OK;
}

reid_status reid_async_file_open(const char *path, bool end_torn_line, reid_async_file **ret_file,
                                 reid_error *err)
{
    reid_async_file *file = reid_xcalloc(1, sizeof *file);
    file->path = reid_xstrdup(path);
    file->fd = -1;
    reid_str_reserve(&file->queue, QUEUE_BYTES_FIRST);
    pthread_mutex_init(&file->lock, NULL);
    pthread_cond_init(&file->work, NULL);
    pthread_cond_init(&file->idle, NULL);
    reid_status status = open_and_start(file, end_torn_line, err);
    if (status != REID_OK) {
        free_file(file);
        return status;
    }
    *ret_file = file;
    return REID_OK;
}

static reid_status failure_of(const reid_async_file *file, reid_error *err)
{
    if (file->failure.code == REID_OK)
        return REID_OK;
    return reid_fail(err, file->failure.code, "%s", file->failure.text);
}

reid_status reid_async_file_write(reid_async_file *file, const void *data, size_t size,
                                  reid_error *err)
{
    pthread_mutex_lock(&file->lock);
    reid_status status = failure_of(file, err);
    if (status == REID_OK && size > QUEUE_BYTES_MAX - file->queue.length)
        status = reid_fail(err, REID_ERR_EXHAUSTED,
                           "the disk cannot keep up with '%s': more than %zu bytes are waiting",
                           file->path, QUEUE_BYTES_MAX);
    if (status == REID_OK && size > 0) {
        reid_str_add_bytes(&file->queue, data, size);
        pthread_cond_signal(&file->work);
    }
    pthread_mutex_unlock(&file->lock);
    return status;
}

reid_status reid_async_file_flush(reid_async_file *file, reid_error *err)
{
    pthread_mutex_lock(&file->lock);
    while (file->queue.length > 0 || file->busy)
        pthread_cond_wait(&file->idle, &file->lock);
    reid_status status = failure_of(file, err);
    pthread_mutex_unlock(&file->lock);
    return status;
}

reid_status reid_async_file_close(reid_async_file *file, reid_error *err)
{
    pthread_mutex_lock(&file->lock);
    file->closing = true;
    pthread_cond_signal(&file->work);
    pthread_mutex_unlock(&file->lock);
    pthread_join(file->thread, NULL);
    reid_status status = failure_of(file, err);
    free_file(file);
    return status;
}
