/* The watchdog: sees calls begin and end, asks NCCL for failures it has found by itself, and ends
 * what hangs. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/flight.h"
#include "base/str.h"
#include "comm/nccl/nccl_comm.h"

#define PERIOD_NS 20000000l
#define FORCE_S 2  /* for the owner to leave NCCL before it is aborted under its feet */
#define GRACE_S 10 /* for the owner to come back after the abort */

/* ---- failure ---- */

void nccl_break(nccl_comm *c, const reid_error *why)
{
    pthread_mutex_lock(&c->lock);
    if (c->broken.code == REID_OK)
        c->broken = *why;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

reid_status nccl_whole(nccl_comm *c, reid_error *err)
{
    pthread_mutex_lock(&c->lock);
    reid_status status = c->broken.code;
    if (status != REID_OK) {
        reid_fail(err, status, "%s", c->broken.text);
        c->told = true;
        pthread_cond_broadcast(&c->wake);
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

static struct timespec after(clockid_t clock, long seconds, long ns)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += seconds;
    t.tv_nsec += ns;
    if (t.tv_nsec >= 1000000000l) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000l;
    }
    return t;
}

typedef ncclResult_t revoke_fn(ncclComm_t comm, int flags);

/* ncclCommRevoke, which NCCL has since 2.28; NULL before. */
static revoke_fn *find_revoke(void)
{
    void *library = dlopen("libnccl.so.2", RTLD_LAZY | RTLD_NOLOAD);
    union { /* POSIX promises this conversion, ISO C does not */
        void *object;
        revoke_fn *function;
    } found = {library ? dlsym(library, "ncclCommRevoke") : NULL};
    if (library)
        dlclose(library); /* the module holds it */
    return found.function;
}

/* The gentle way: what is under way ends, and the communicator can be destroyed in order. False
 * where NCCL cannot, or does not within the limit. */
static bool revoke_nccl(nccl_comm *c)
{
    revoke_fn *revoke = find_revoke();
    ncclResult_t state = revoke ? revoke(c->nccl, 0) : ncclInvalidUsage;
    double end_s = reid_clock_seconds() + FORCE_S;
    while (state == ncclInProgress && reid_clock_seconds() < end_s) {
        nanosleep(&(struct timespec){0, PERIOD_NS}, NULL);
        if (ncclCommGetAsyncError(c->nccl, &state) != ncclSuccess)
            return false;
    }
    return state == ncclSuccess;
}

/* Kernels that wait for other ranks end, and with them the waits of the host. */
static void abort_nccl(nccl_comm *c)
{
    struct timespec limit = after(CLOCK_REALTIME, FORCE_S, 0);
    bool locked = pthread_mutex_timedlock(&c->api, &limit) == 0;
    if (c->nccl && !c->aborted) {
        c->revoked = locked && revoke_nccl(c);
        if (!c->revoked)
            ncclCommAbort(c->nccl);
    }
    c->aborted = true;
    if (locked)
        pthread_mutex_unlock(&c->api);
}

/* Under the lock: until the owner has been told, or has had its time. */
static bool wait_for_owner(nccl_comm *c)
{
    struct timespec limit = after(CLOCK_MONOTONIC, GRACE_S, 0);
    while (!c->told && !c->stop && pthread_cond_timedwait(&c->wake, &c->lock, &limit) != ETIMEDOUT)
        ;
    return c->told || c->stop;
}

/* ---- watching ---- */

static nccl_flight *oldest(nccl_comm *c)
{
    return c->count > 0 ? &c->flying[c->first] : NULL;
}

cudaError_t nccl_event_query(cudaEvent_t event)
{
    cudaError_t result = cudaEventQuery(event);
    if (result == cudaErrorNotReady)
        cudaGetLastError(); /* or the next launch of a kernel would find it */
    return result;
}

/* Whether the device has passed the event. A broken device has not, and breaks the communicator. */
static bool has_passed(nccl_comm *c, cudaEvent_t event)
{
    cudaError_t result = nccl_event_query(event);
    if (result != cudaSuccess && result != cudaErrorNotReady && c->broken.code == REID_OK)
        cuda_check(&c->broken, result, "what was queued before a collective call");
    return result == cudaSuccess;
}

void nccl_collect(nccl_comm *c)
{
    for (nccl_flight *f = oldest(c); f; f = oldest(c)) {
        if (f->begun_s == 0 && has_passed(c, f->slot->begun)) {
            f->begun_s = reid_clock_seconds();
            reid_flight_start(c->base.flight, f->number);
        }
        if (f->begun_s == 0 || !has_passed(c, f->slot->ended))
            return;
        reid_flight_end(c->base.flight, f->number);
        f->slot->flying = false;
        c->first = (c->first + 1) % NCCL_FLYING;
        c->count--;
        c->last_end_s = reid_clock_seconds();
    }
}

static void describe(const nccl_flight *f, char *buffer, size_t capacity)
{
    const char *what = f->kind == REID_COMM_BROADCAST ? "broadcast" : "all-reduce";
    if (f->bucket >= 0)
        snprintf(buffer, capacity, "%s of bucket %d (%.1f MiB)", what, f->bucket,
                 (double)f->bytes / (1 << 20));
    else
        snprintf(buffer, capacity, "%s of %llu bytes", what, (unsigned long long)f->bytes);
}

/* Under the lock. */
static reid_status check_deadline(nccl_comm *c, reid_error *err)
{
    const nccl_flight *f = oldest(c);
    if (!f)
        return REID_OK;
    double since_s = f->begun_s > 0 ? f->begun_s : REID_MAX(f->queued_s, c->last_end_s);
    double waited_s = reid_clock_seconds() - since_s;
    if (waited_s <= f->timeout_s)
        return REID_OK;
    char what[96];
    describe(f, what, sizeof what);
    REID_AUTOFREE char *who =
        c->flight_folder ? reid_flight_explain(c->flight_folder, 0, NULL) : NULL;
    if (f->begun_s == 0)
        return reid_fail(
            err, REID_ERR_TIMEOUT,
            "%s timed out after %.3g s in phase %s on rank %d: the GPU has not come to "
            "it, for what was queued before it has not ended%s%s",
            what, waited_s, f->phase, c->base.rank, who ? "; " : "", who ? who : "");
    return reid_fail(err, REID_ERR_TIMEOUT, "%s timed out after %.3g s in phase %s on rank %d: %s",
                     what, waited_s, f->phase, c->base.rank,
                     who ? who : "another rank has not come, or the network does not pass data");
}

static reid_status check_async(nccl_comm *c, reid_error *err)
{
    ncclResult_t state = ncclSuccess;
    if (pthread_mutex_trylock(&c->api) != 0)
        return REID_OK; /* the owner is in a call, which will tell */
    ncclResult_t result = c->aborted ? ncclSuccess : ncclCommGetAsyncError(c->nccl, &state);
    reid_status status = nccl_check(c, err, result, "ncclCommGetAsyncError");
    if (status == REID_OK)
        status = nccl_check(c, err, state, "a collective call");
    pthread_mutex_unlock(&c->api);
    return status;
}

static reid_status look(nccl_comm *c)
{
    reid_error err = {0};
    pthread_mutex_lock(&c->lock);
    nccl_collect(c);
    reid_status status = c->broken.code;
    if (status == REID_OK)
        status = check_deadline(c, &err);
    pthread_mutex_unlock(&c->lock);
    if (status == REID_OK)
        status = check_async(c, &err);
    if (status != REID_OK && err.code != REID_OK)
        nccl_break(c, &err);
    return status;
}

static void *watch(void *argument)
{
    nccl_comm *c = argument;
    pthread_setname_np(pthread_self(), "reid-nccl");
    cudaSetDevice(c->backend->device);
    reid_status status = REID_OK;
    while (status == REID_OK) {
        status = look(c);
        pthread_mutex_lock(&c->lock);
        struct timespec limit = after(CLOCK_MONOTONIC, 0, PERIOD_NS);
        if (!c->stop && c->broken.code == REID_OK)
            pthread_cond_timedwait(&c->wake, &c->lock, &limit);
        bool stop = c->stop;
        pthread_mutex_unlock(&c->lock);
        if (stop)
            return NULL;
    }
    abort_nccl(c);
    pthread_mutex_lock(&c->lock);
    bool told = wait_for_owner(c);
    pthread_mutex_unlock(&c->lock);
    if (!told && c->options.failed)
        c->options.failed(c->options.user, &c->broken);
    return NULL;
}

/* Signals are for the program's own threads; faults stay deliverable. */
reid_status nccl_watch_start(nccl_comm *c, reid_error *err)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < REID_COUNT_OF(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&c->thread, NULL, watch, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return reid_fail_errno(err, failed, "cannot start NCCL's watchdog");
    c->thread_started = true;
    return REID_OK;
}

void nccl_watch_stop(nccl_comm *c)
{
    if (!c->thread_started)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    c->thread_started = false;
}
