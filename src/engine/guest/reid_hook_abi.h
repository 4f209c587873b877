/* Native hooks: shared objects that reidd's trainer calls. This header is all that one needs; it is
 * C99 and C++11 and includes nothing of reidd.
 *
 * A module is a shared object with one exported symbol, REID_NATIVE_SYMBOL, a table:
 *
 *     static int after_step(void *self, const reid_native_moment *moment, char *message,
 *                           size_t message_bytes) { … return REID_NATIVE_OK; }
 *     REID_NATIVE_EXPORT const reid_native_hook reid_native_hook_table = {
 *         .magic = REID_NATIVE_MAGIC, .abi_version = REID_NATIVE_ABI_VERSION,
 *         .size = sizeof(reid_native_hook), .name = "example",
 *         .create = create, .after_step = after_step, .destroy = destroy};
 *
 * Life of a hook: create → [load_state] → points → destroy. Before a hook is taken it is tried:
 * create and destroy. One module may serve several hooks at the same time, each with its own
 * `self`; so it keeps nothing in globals. The object is unloaded after the last one.
 *
 * Where: in the process of rank 0, on the thread that trains, one call at a time. The training
 * waits meanwhile. A crash is a crash of the job: nothing is between. No exception of C++ may leave
 * a function, nor may longjmp.
 *
 * Errors: a function that fails writes one sentence to `message` (message_bytes with the NUL, at
 * least 256; it is "" before) and returns REID_NATIVE_ERROR. What then happens is the hook's policy
 * (ignore, disable, fail).
 *
 * Versions: abi_version must be that of the trainer. Members may be added at the end of a table or
 * of reid_native_moment without a new version; `size` tells how much of it the other side knows,
 * and what it does not know is as if 0. Everything else makes a new version. Layout is that of the
 * platform's C ABI; enums are not used.
 *
 * Texts are UTF-8 and NUL-terminated. Whoever passes a pointer keeps it; it is valid during the
 * call only, but for host and host's functions (create … destroy) and the table (until unloaded).
 */
#ifndef REID_HOOK_ABI_H
#define REID_HOOK_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REID_NATIVE_MAGIC UINT64_C(0x6B6F6F6864696572) /* "reidhook", little-endian */
#define REID_NATIVE_ABI_VERSION 1
#define REID_NATIVE_SYMBOL "reid_native_hook_table"

#define REID_NATIVE_OK 0
#define REID_NATIVE_ERROR 1
#define REID_NATIVE_NONE 2 /* no such metric yet */

#define REID_NATIVE_STATE_BYTES 65536 /* the most that a hook may keep in a checkpoint */

#ifdef __cplusplus
#define REID_NATIVE_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define REID_NATIVE_EXPORT __attribute__((visibility("default")))
#endif

/* Where the training is. */
typedef struct reid_native_moment {
    uint32_t size;
    uint32_t reserved;
    int64_t iter; /* before_step, after_step: of this step; elsewhere iterations done */
    int64_t max_iter;
    int64_t epoch, max_epoch, iters_per_epoch;
    double lr;
} reid_native_moment;

/* What a hook may ask and wish for. All but log are for the time of a point, on its thread:
 * elsewhere they return REID_NATIVE_ERROR. A wish comes true after the point: those of before_step
 * before that very step. A wish that cannot be noted (over 64, a bad name) makes the call fail,
 * whatever the point returns. */
typedef struct reid_native_host {
    uint32_t abi_version;
    uint32_t size;
    /* The newest value of a metric and the iteration at which it was put; ret_iter may be NULL.
     * NONE when there is none. */
    int (*get_scalar)(const struct reid_native_host *host, const char *name, double *ret_value,
                      int64_t *ret_iter);
    /* As writers show it: the median of the last samples of what is smoothed. */
    int (*get_smoothed)(const struct reid_native_host *host, const char *name, double *ret_value);
    int (*put_scalar)(const struct reid_native_host *host, const char *name, double value);
    int (*set)(const struct reid_native_host *host, const char *knob, double value); /* "lr", … */
    int (*stop)(const struct reid_native_host *host, const char *reason); /* NULL: no reason */
    int (*checkpoint)(const struct reid_native_host *host);
    int (*evaluate)(const struct reid_native_host *host);
    int (*skip_step)(const struct reid_native_host *host);
    /* One line in the job's log, with the hook's name. */
    void (*log)(const struct reid_native_host *host, const char *text);
} reid_native_host;

typedef struct reid_native_option {
    const char *name, *value;
} reid_native_option;

typedef int reid_native_point(void *self, const reid_native_moment *moment, char *message,
                              size_t message_bytes);

typedef struct reid_native_hook {
    uint64_t magic;
    uint32_t abi_version;
    uint32_t size;
    const char *name;
    /* Required. An option that the hook does not know should be an error. *ret_self is written on
     * success; it may stay NULL. */
    int (*create)(const reid_native_host *host, size_t option_count,
                  const reid_native_option *options, void **ret_self, char *message,
                  size_t message_bytes);
    /* NULL: not interested. One is needed. */
    reid_native_point *before_train;
    reid_native_point *after_train;
    reid_native_point *before_epoch;
    reid_native_point *after_epoch;
    reid_native_point *before_step;
    reid_native_point *after_step;
    /* Both or neither. save_state gives bytes that are the hook's and stay valid until its next
     * call; it is asked after create and after each point, so it should be quick.
     * load_state gets them back in a new process, perhaps of another machine of the same kind; on
     * error the hook is as it was. */
    int (*save_state)(void *self, const void **ret_data, size_t *ret_size, char *message,
                      size_t message_bytes);
    int (*load_state)(void *self, const void *data, size_t size, char *message,
                      size_t message_bytes);
    void (*destroy)(void *self); /* NULL: there is nothing to do */
} reid_native_hook;

#ifdef __cplusplus
}
#endif

#endif
