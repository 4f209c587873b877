/* The communication thread: a queue of work served in order by one thread, which alone calls the
 * library behind it.
 *
 * Life: reid_comm_worker_start → reid_comm_worker_submit / _wait from the owner's thread →
 * reid_comm_worker_stop → _fini. The library is opened, used and closed on the thread, so that the
 * opening too has a deadline. After a failed work (EXHAUSTED apart, which leaves all ranks in step)
 * the worker is broken: what follows fails with the same sentence and is not run.
 */
#ifndef REID_COMM_WORKER_H
#define REID_COMM_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/status.h"
#include "comm/comm.h"

/* All called on the thread. */
typedef struct reid_comm_worker_impl {
    reid_status (*open)(void *user, reid_error *err);
    /* Must come back soon after the work's deadline (started_s + timeout_s), and when `abort_code`
     * is set. */
    reid_status (*run)(void *user, reid_comm_work *work, reid_error *err);
    void (*close)(void *user, bool broken);
    void (*abort)(void *user, int code); /* may return */
} reid_comm_worker_impl;

typedef struct reid_comm_worker {
    const reid_comm_worker_impl *impl;
    void *user;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, finished;
    reid_comm_work *head, *tail; /* waiting */
    reid_comm_work *current;
    reid_comm_work opening; /* stands for impl->open */
    reid_error broken;      /* code REID_OK: not broken */
    double grace_s;         /* beyond the deadline, until the thread itself counts as stuck */
    bool started, stop, exited;
    atomic_int abort_code; /* 0: none */
} reid_comm_worker;

/* Starts the thread, which calls open. It does not wait: reid_comm_worker_wait(w, &w->opening)
 * does. */
reid_status reid_comm_worker_start(reid_comm_worker *w, const reid_comm_worker_impl *impl,
                                   void *user, double open_timeout_s, reid_error *err);
void reid_comm_worker_submit(reid_comm_worker *w, reid_comm_work *work);
/* Until the work is done, or the thread has been stuck for longer than its deadline and the grace.
 */
void reid_comm_worker_wait(reid_comm_worker *w, reid_comm_work *work);
bool reid_comm_worker_is_broken(reid_comm_worker *w);
/* Lets the thread close the library and end. False: it did not within `timeout_s` and was left
 * alone; nothing it uses may be freed then. */
bool reid_comm_worker_stop(reid_comm_worker *w, double timeout_s);
/* Asks the thread to call impl->abort, and returns after `timeout_s` at the latest. */
void reid_comm_worker_abort(reid_comm_worker *w, int code, double timeout_s);
void reid_comm_worker_fini(reid_comm_worker *w);

#endif
