#include "comm/worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/flight.h"
#include "comm/comm_impl.h"

#define DEFAULT_GRACE_S 5.0
#define CHECK_PERIOD_S 0.5
#define TIMER_SLACK_NS 1000ul
#define SLICE_NS 100000ul

/* ---- the thread ---- */

/* Under the lock. */
static void finish_work(reid_comm_worker *w, reid_comm_work *work, reid_status status,
                        const reid_error *err)
{
    if (status == REID_OK || status == REID_ERR_EXHAUSTED) /* else it shows as never ended */
        reid_flight_end(work->flight, work->flight_call);
    work->status = status;
    work->err = *err;
    work->done_s = reid_clock_seconds();
    work->done = true;
    if (status != REID_OK && status != REID_ERR_EXHAUSTED && w->broken.code == REID_OK)
        w->broken = *err;
    pthread_cond_broadcast(&w->finished);
}

/* Under the lock: what is still queued gets the sentence that broke the worker. */
static void fail_queue(reid_comm_worker *w)
{
    for (reid_comm_work *work = w->head; work; work = w->head) {
        w->head = work->next;
        finish_work(w, work, w->broken.code, &w->broken);
    }
    w->tail = NULL;
}

static void run_one(reid_comm_worker *w, reid_comm_work *work,
                    reid_status (*run)(void *, reid_comm_work *, reid_error *))
{
    reid_error err = {0};
    work->started_s = work->arrived_s = reid_clock_seconds();
    reid_flight_start(work->flight, work->flight_call);
    w->current = work;
    pthread_mutex_unlock(&w->lock);
    reid_status status = run ? run(w->user, work, &err) : w->impl->open(w->user, &err);
    pthread_mutex_lock(&w->lock);
    w->current = NULL;
    if (!work->done) /* else the owner gave up on it */
        finish_work(w, work, status, &err);
}

/* The first version of the kernel's struct sched_attr, which the C library does not declare. */
typedef struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} sched_attributes;

/* The thread runs often and briefly among threads that compute: exact short sleeps, and a short
 * time slice, with which Linux (from 6.12 on) lets it in soon after it wakes. It gets no larger
 * share of the processor. Older kernels ignore it. */
static void ask_for_low_latency(void)
{
    sched_attributes attributes = {.size = sizeof attributes, .runtime_ns = SLICE_NS};
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void *thread_main(void *argument)
{
    reid_comm_worker *w = argument;
    pthread_setname_np(pthread_self(), "reid-comm");
    ask_for_low_latency();
    pthread_mutex_lock(&w->lock);
    run_one(w, &w->opening, NULL);
    while (!w->stop || w->head) {
        if (atomic_load(&w->abort_code))
            break;
        if (w->broken.code != REID_OK)
            fail_queue(w);
        reid_comm_work *work = w->head;
        if (!work) {
            if (!w->stop)
                pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        w->head = work->next;
        if (!w->head)
            w->tail = NULL;
        run_one(w, work, w->impl->run);
    }
    bool broken = w->broken.code != REID_OK;
    pthread_mutex_unlock(&w->lock);
    int code = atomic_load(&w->abort_code);
    if (code)
        w->impl->abort(w->user, code);
    else
        w->impl->close(w->user, broken);
    pthread_mutex_lock(&w->lock);
    w->exited = true;
    pthread_cond_broadcast(&w->finished);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- the owner ---- */

static struct timespec until(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double whole = (double)(time_t)seconds;
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000l) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000l;
    }
    return t;
}

/* Signals are for the program's own threads; faults stay deliverable. */
static int create_thread(reid_comm_worker *w)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

reid_status reid_comm_worker_start(reid_comm_worker *w, const reid_comm_worker_impl *impl,
                                   void *user, double open_timeout_s, reid_error *err)
{
    memset(w, 0, sizeof *w);
    w->impl = impl;
    w->user = user;
    w->grace_s = DEFAULT_GRACE_S;
    w->opening.kind = REID_COMM_START;
    w->opening.pending = true;
    memcpy(w->opening.phase, "start", sizeof "start");
    w->opening.timeout_s = open_timeout_s;
    w->opening.queued_s = reid_clock_seconds();
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &attributes);
    pthread_cond_init(&w->finished, &attributes);
    pthread_condattr_destroy(&attributes);
    int failed = create_thread(w);
    if (failed) {
        reid_comm_worker_fini(w);
        return reid_fail_errno(err, failed, "cannot start the communication thread");
    }
    w->started = true;
    return REID_OK;
}

void reid_comm_worker_submit(reid_comm_worker *w, reid_comm_work *work)
{
    REID_ASSERT(!work->pending);
    work->pending = true;
    work->done = false;
    work->next = NULL;
    work->queued_s = reid_clock_seconds();
    pthread_mutex_lock(&w->lock);
    if (w->broken.code != REID_OK) {
        finish_work(w, work, w->broken.code, &w->broken);
    } else {
        if (w->tail)
            w->tail->next = work;
        else
            w->head = work;
        w->tail = work;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Under the lock: has the thread not come back from the library although the deadline of its work
 * passed long ago? */
static bool is_stuck(const reid_comm_worker *w)
{
    return w->current &&
           reid_clock_seconds() - w->current->started_s > w->current->timeout_s + w->grace_s;
}

/* Under the lock. */
static void give_up(reid_comm_worker *w, reid_comm_work *work)
{
    const reid_comm_work *current = w->current;
    reid_error err = {0};
    reid_fail(&err, REID_ERR_TIMEOUT,
              "%s timed out in phase %s: the communication library has not answered for %.0f s, "
              "and which rank it waits "
              "for is not known",
              reid_comm_kind_name(current->kind), current->phase,
              reid_clock_seconds() - current->started_s);
    finish_work(w, work, REID_ERR_TIMEOUT, &err);
}

void reid_comm_worker_wait(reid_comm_worker *w, reid_comm_work *work)
{
    if (!work->pending)
        return;
    pthread_mutex_lock(&w->lock);
    while (!work->done) {
        struct timespec limit = until(CHECK_PERIOD_S);
        int waited = pthread_cond_timedwait(&w->finished, &w->lock, &limit);
        if (waited == ETIMEDOUT && !work->done && is_stuck(w))
            give_up(w, work);
    }
    work->pending = false;
    pthread_mutex_unlock(&w->lock);
}

bool reid_comm_worker_is_broken(reid_comm_worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool broken = w->broken.code != REID_OK;
    pthread_mutex_unlock(&w->lock);
    return broken;
}

/* Under the lock. */
static bool wait_for_exit(reid_comm_worker *w, double timeout_s)
{
    struct timespec limit = until(timeout_s);
    while (!w->exited && pthread_cond_timedwait(&w->finished, &w->lock, &limit) != ETIMEDOUT)
        ;
    return w->exited;
}

bool reid_comm_worker_stop(reid_comm_worker *w, double timeout_s)
{
    if (!w->started)
        return true;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    bool ended = wait_for_exit(w, timeout_s);
    pthread_mutex_unlock(&w->lock);
    if (ended)
        pthread_join(w->thread, NULL);
    else
        pthread_detach(w->thread);
    w->started = false;
    return ended;
}

void reid_comm_worker_abort(reid_comm_worker *w, int code, double timeout_s)
{
    if (!w->started)
        return;
    atomic_store(&w->abort_code, code);
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&w->wake);
    wait_for_exit(w, timeout_s);
    pthread_mutex_unlock(&w->lock);
}

void reid_comm_worker_fini(reid_comm_worker *w)
{
    pthread_cond_destroy(&w->finished);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
}
