/* Streams, events and the engine that runs what they hold. */
#include "emu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct CUstream_st {
    int id, device;
    unsigned flags;
    emu_clock clock; /* of the last operation submitted */
    emu_op *head, **tail;
    uint64_t queued, done;
    bool dead;
    struct CUgraph_st *capture; /* operations go there instead */
};

struct CUevent_st {
    emu_clock clock;
    int device;
    unsigned flags;
    uint64_t recorded, reached;
    struct timespec at;
    bool dead;
};

typedef enum schedule {
    SCHEDULE_RANDOM,
    SCHEDULE_LAZY /* nothing runs before somebody waits, or 20 ms have passed */
} schedule;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, progress = PTHREAD_COND_INITIALIZER;
static struct CUstream_st streams[EMU_ACTORS];
static int stream_count = 1, waiters;
static struct CUstream_st *default_stream[EMU_DEVICES];
static bool engine_running;
static pid_t engine_process;
static _Thread_local bool in_engine;
static _Thread_local int current_device;

/* What the host knows to be over. Threads that submit work share one clock; a thread that only
 * looks on (a watchdog that queries events) has its own, or its looks would hide a missing wait. */
static emu_clock host;
static _Thread_local emu_clock onlooker;
static _Thread_local bool submits;

void emu_lock(void)
{
    pthread_mutex_lock(&mutex);
}

void emu_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

const emu_clock *emu_host_clock(void)
{
    return &host;
}

bool emu_in_engine(void)
{
    return in_engine;
}

int emu_device(void)
{
    return current_device;
}

int emu_device_count(void)
{
    static int count = -1;
    if (count < 0) {
        count = (int)emu_option("REID_EMU_DEVICES", 1);
        count = count < 0 ? 0 : count > EMU_DEVICES ? EMU_DEVICES : count;
    }
    return count;
}

static bool blocking(const struct CUstream_st *s)
{
    return !(s->flags & cudaStreamNonBlocking);
}

/* A destroyed and drained stream's place is taken again, with its count of operations. Locked. */
static struct CUstream_st *stream_new(int device, unsigned flags)
{
    struct CUstream_st *s = NULL;
    for (int i = 1; i < stream_count && !s; i++)
        if (streams[i].dead && !streams[i].head)
            s = &streams[i];
    if (!s && stream_count == EMU_ACTORS) {
        fprintf(stderr, "EMU: more than %d streams\n", EMU_ACTORS - 1);
        abort();
    }
    if (!s) {
        s = &streams[stream_count];
        s->id = stream_count++;
        s->tail = &s->head;
    }
    s->device = device;
    s->flags = flags;
    s->dead = false;
    emu_clock_join(&s->clock, &host);
    return s;
}

static struct CUstream_st *default_of(int device)
{
    emu_lock();
    if (!default_stream[device])
        default_stream[device] = stream_new(device, cudaStreamDefault);
    emu_unlock();
    return default_stream[device];
}

/* NULL, cudaStreamLegacy and cudaStreamPerThread are the default stream. */
static struct CUstream_st *resolve(cudaStream_t s)
{
    if ((uintptr_t)s <= 2) {
        if (emu_option("REID_EMU_DEFAULT_STREAM", 0) == 0)
            emu_report("DEFAULT-STREAM", "an operation on the default stream, which waits for "
                                         "all others");
        return default_of(current_device);
    }
    if (s->dead)
        emu_report("STREAM", "use of a destroyed stream");
    return s;
}

int emu_stream_device(cudaStream_t s)
{
    return (uintptr_t)s <= 2 ? current_device : s->device;
}

unsigned emu_stream_id(const struct CUstream_st *s)
{
    return (unsigned)s->id;
}

int emu_op_device(const emu_op *op)
{
    return op->stream->device;
}

emu_op *emu_op_new(cudaStream_t stream, const char *name, emu_op_fn *run)
{
    emu_op *op = calloc(1, sizeof *op);
    op->stream = resolve(stream);
    op->run = run;
    op->stalled = emu_take_stall();
    snprintf(op->name, sizeof op->name, "%s", name);
    return op;
}

void emu_op_free(emu_op *op)
{
    free(op->owned);
    free(op);
}

static const char *range_fault(const emu_op *op, const emu_alloc *a, uintptr_t p, size_t bytes)
{
    if (!a)
        return emu_is_device_address(p) ? "is in no device allocation"
                                        : "is a host pointer where a device pointer is needed";
    if (a->freed)
        return "was freed";
    if (p - a->va + bytes > a->size)
        return "does not hold that many bytes";
    if (a->device >= 0 && a->device != op->stream->device)
        return "is memory of another device than the stream's";
    return NULL;
}

void emu_op_range(emu_op *op, const void *address, size_t bytes, bool write)
{
    if (!bytes)
        return;
    emu_alloc *a = emu_find((uintptr_t)address);
    const char *fault = range_fault(op, a, (uintptr_t)address, bytes);
    if (fault)
        emu_report("MEMORY", "%s: %p (%zu bytes) %s", op->name, address, bytes, fault);
    if (!a || a->freed || op->range_count == EMU_RANGES)
        return;
    op->range[op->range_count].address = (uintptr_t)address;
    op->range[op->range_count].bytes = bytes;
    op->range[op->range_count++].write = write;
}

/* ---- the engine ---- */

/* The default stream and blocking streams of a device wait for each other, by submission. */
static bool runnable(const struct CUstream_st *s)
{
    const emu_op *op = s->head;
    if (!op)
        return false;
    for (int i = 1; blocking(s) && i < stream_count; i++) {
        const struct CUstream_st *other = &streams[i];
        if (other->head && other != s && blocking(other) && other->device == s->device &&
            op->clock.at[i] >= other->head->epoch)
            return false;
    }
    return true;
}

/* Memory was there when the operation was submitted; only a free on another stream can have taken
 * it away. */
static bool memory_is_gone(const emu_op *op)
{
    for (int i = 0; i < op->range_count; i++) {
        const emu_alloc *a = emu_find(op->range[i].address);
        if (a && !a->freed)
            continue;
        emu_report("RACE", "'%s' (stream %d) uses memory that another stream has freed meanwhile",
                   op->name, op->stream->id);
        return true;
    }
    return false;
}

static bool run_op(emu_op *op)
{
    if (op->stalled && !(op->cancelled && op->cancelled(op)))
        return false;
    return memory_is_gone(op) || op->run(op);
}

/* True when an operation of the stream ended. Locked, but not while it runs. */
static bool run_head(struct CUstream_st *s)
{
    emu_op *op = s->head;
    emu_unlock();
    bool done = run_op(op);
    emu_lock();
    if (!done)
        return false;
    emu_race_finish(op);
    s->head = op->next;
    if (!s->head)
        s->tail = &s->head;
    s->done++;
    emu_op_free(op);
    pthread_cond_broadcast(&progress);
    return true;
}

/* True when nobody has asked for 20 ms, counted from the first call. */
static bool wait_lazily(struct timespec *until)
{
    if (!until->tv_sec) {
        clock_gettime(CLOCK_REALTIME, until);
        until->tv_nsec += 20000000;
        if (until->tv_nsec >= 1000000000) {
            until->tv_sec++;
            until->tv_nsec -= 1000000000;
        }
    }
    if (pthread_cond_timedwait(&work, &mutex, until) != ETIMEDOUT)
        return false;
    until->tv_sec = 0;
    return true;
}

static schedule chosen_schedule(void)
{
    const char *name = getenv("REID_EMU_SCHED");
    return name && strcmp(name, "lazy") == 0 ? SCHEDULE_LAZY : SCHEDULE_RANDOM;
}

static void *engine_main(void *unused)
{
    static char signal_stack[64 * 1024]; /* a kernel may have used up its own */
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    struct timespec until = {0};
    schedule order = chosen_schedule();
    sigaltstack(&stack, NULL);
    in_engine = true;
    emu_lock();
    for (;;) {
        int ready[EMU_ACTORS], count = 0;
        for (int i = 1; i < stream_count; i++)
            if (runnable(&streams[i]))
                ready[count++] = i;
        if (!count) {
            pthread_cond_wait(&work, &mutex);
            continue;
        }
        if (order == SCHEDULE_LAZY && !waiters && !wait_lazily(&until))
            continue;
        unsigned turn = order == SCHEDULE_LAZY ? 0 : (unsigned)(emu_random() % (unsigned)count);
        bool any = false;
        for (int k = 0; k < count && !any; k++)
            any = run_head(
                &streams[ready[order == SCHEDULE_LAZY ? count - 1 - k : (k + (int)turn) % count]]);
        if (!any) { /* all wait for another process, or for a stalled operation */
            emu_unlock();
            usleep(50);
            emu_lock();
        }
    }
    return unused;
}

static void start_engine(void)
{
    pthread_t thread;
    if (engine_running && engine_process != getpid())
        emu_report("FORK", "a process that has used CUDA was forked and its child uses CUDA");
    if (engine_running)
        return;
    engine_running = true;
    engine_process = getpid();
    if (pthread_create(&thread, NULL, engine_main, NULL) != 0)
        abort();
    pthread_detach(thread);
}

struct CUgraph_st **emu_stream_capture(struct CUstream_st *stream)
{
    return &resolve(stream)->capture;
}

void emu_op_submit(emu_op *op)
{
    struct CUstream_st *s = op->stream;
    if (s->capture) {
        emu_capture_add(s->capture, op);
        return;
    }
    emu_lock();
    start_engine();
    submits = true;
    emu_clock_join(&s->clock, &host);
    for (int i = 1; blocking(s) && i < stream_count; i++) {
        bool both = s == default_stream[s->device] || &streams[i] == default_stream[s->device];
        if (both && blocking(&streams[i]) && streams[i].device == s->device)
            emu_clock_join(&s->clock, &streams[i].clock);
    }
    op->epoch = ++s->clock.at[s->id];
    op->clock = s->clock;
    *s->tail = op;
    s->tail = &op->next;
    s->queued++;
    emu_race_pinned(op);
    pthread_cond_signal(&work);
    emu_unlock();
}

void emu_kick(void)
{
    emu_lock();
    pthread_cond_broadcast(&work);
    emu_unlock();
}

/* The calling host thread has learnt that all of `clock` is over. Locked. */
static void host_learns(const emu_clock *clock)
{
    bool shared = submits || getpid() == gettid();
    emu_clock_join(shared ? &host : &onlooker, clock);
    if (!shared)
        return;
    for (emu_alloc *a = emu_allocs(); a; a = a->next)
        if (a->device < 0 && !a->freed && a->record_count)
            emu_pinned_protect(a);
}

/* Locked. */
static void wait_for(struct CUstream_st *s, uint64_t target)
{
    if (in_engine) {
        emu_report("CALLBACK", "a call that waits from inside a host function");
        return;
    }
    waiters++;
    pthread_cond_signal(&work);
    while (s->done < target && !emu_sticky())
        pthread_cond_wait(&progress, &mutex);
    waiters--;
}

cudaError_t emu_drain(struct CUstream_st *s)
{
    if (s->capture)
        return emu_error(emu_capture_refuse(s->capture, "a wait for the stream"));
    emu_lock();
    wait_for(s, s->queued);
    host_learns(&s->clock);
    emu_unlock();
    return emu_error(emu_sticky());
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret_stream, unsigned flags)
{
    EMU_ENTER();
    emu_lock();
    *ret_stream = stream_new(current_device, flags);
    emu_unlock();
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *ret_stream)
{
    return cudaStreamCreateWithFlags(ret_stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *ret_stream, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(ret_stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *ret_least, int *ret_greatest)
{
    *ret_least = 0;
    *ret_greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return emu_error(cudaErrorInvalidResourceHandle);
    resolve(stream)->dead = true;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    EMU_ENTER();
    return emu_drain(resolve(stream));
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    EMU_ENTER();
    struct CUstream_st *s = resolve(stream);
    if (s->capture)
        return emu_error(emu_capture_refuse(s->capture, __func__));
    emu_lock();
    bool done = s->done == s->queued;
    if (done)
        host_learns(&s->clock);
    else
        pthread_cond_signal(&work);
    emu_unlock();
    return done ? cudaSuccess : emu_error(cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize(void)
{
    EMU_ENTER();
    emu_lock();
    for (int i = 1; i < stream_count; i++) {
        if (streams[i].device != current_device)
            continue;
        wait_for(&streams[i], streams[i].queued);
        host_learns(&streams[i].clock);
    }
    emu_unlock();
    return emu_error(emu_sticky());
}

cudaError_t cudaGetDeviceCount(int *ret_count)
{
    *ret_count = emu_device_count();
    return *ret_count ? cudaSuccess : emu_error(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    EMU_ENTER();
    if (device < 0 || device >= emu_device_count())
        return emu_error(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *ret_device)
{
    *ret_device = current_device;
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret_event, unsigned flags)
{
    EMU_ENTER();
    cudaEvent_t event = calloc(1, sizeof *event);
    event->device = current_device;
    event->flags = flags;
    *ret_event = event;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *ret_event)
{
    return cudaEventCreateWithFlags(ret_event, cudaEventDefault);
}

/* Kept: queued operations may refer to it. */
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (event->dead)
        emu_report("EVENT", "an event is destroyed twice");
    event->dead = true;
    return cudaSuccess;
}

static bool run_record(emu_op *op)
{
    cudaEvent_t event = (cudaEvent_t)(uintptr_t)op->arg[1];
    emu_lock();
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    if (op->arg[0] > event->reached)
        event->reached = op->arg[0];
    emu_unlock();
    return true;
}

static void check_event(const struct CUevent_st *event)
{
    if (event->dead)
        emu_report("EVENT", "use of a destroyed event");
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags)
{
    (void)flags;
    EMU_ENTER();
    check_event(event);
    emu_op *op = emu_op_new(stream, "cudaEventRecord", run_record);
    struct CUstream_st *s = op->stream;
    if (s->capture) {
        emu_report("UNSUPPORTED", "an event in a captured stream");
        emu_op_free(op);
        return emu_error(emu_capture_refuse(s->capture, __func__));
    }
    if (event->device != s->device) {
        emu_report("EVENT", "an event of device %d is recorded on a stream of device %d",
                   event->device, s->device);
        emu_op_free(op);
        return emu_error(cudaErrorInvalidResourceHandle);
    }
    emu_lock();
    op->arg[0] = ++event->recorded;
    op->arg[1] = (uintptr_t)event;
    emu_unlock();
    emu_op_submit(op);
    emu_lock();
    event->clock = s->clock;
    emu_unlock();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    EMU_ENTER();
    return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}

static bool run_wait(emu_op *op)
{
    const struct CUevent_st *event = (cudaEvent_t)(uintptr_t)op->arg[1];
    return __atomic_load_n(&event->reached, __ATOMIC_ACQUIRE) >= op->arg[0];
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    EMU_ENTER();
    check_event(event);
    if (!event->recorded) {
        emu_report("EVENT", "cudaStreamWaitEvent on an event that was never recorded has no "
                            "effect");
        return cudaSuccess;
    }
    emu_op *op = emu_op_new(stream, "cudaStreamWaitEvent", run_wait);
    if (op->stream->capture) {
        emu_report("UNSUPPORTED", "an event in a captured stream");
        emu_op_free(op);
        return emu_error(cudaErrorStreamCaptureUnsupported);
    }
    emu_lock();
    op->arg[0] = event->recorded;
    op->arg[1] = (uintptr_t)event;
    emu_clock_join(&op->stream->clock, &event->clock);
    emu_unlock();
    emu_op_submit(op);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    EMU_ENTER();
    check_event(event);
    emu_lock();
    waiters++;
    pthread_cond_signal(&work);
    while (event->reached < event->recorded && !emu_sticky())
        pthread_cond_wait(&progress, &mutex);
    waiters--;
    host_learns(&event->clock);
    emu_unlock();
    return emu_error(emu_sticky());
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    EMU_ENTER();
    check_event(event);
    emu_lock();
    bool done = event->reached >= event->recorded;
    if (done)
        host_learns(&event->clock);
    else
        pthread_cond_signal(&work);
    emu_unlock();
    /* As the real one: the next cudaGetLastError() of this thread finds it. */
    return done ? cudaSuccess : emu_error(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ret_ms, cudaEvent_t start, cudaEvent_t end)
{
    EMU_ENTER();
    if ((start->flags | end->flags) & cudaEventDisableTiming)
        return emu_error(cudaErrorInvalidResourceHandle);
    if (!start->recorded || !end->recorded)
        return emu_error(cudaErrorInvalidResourceHandle);
    if (start->reached < start->recorded || end->reached < end->recorded)
        return emu_error(cudaErrorNotReady);
    *ret_ms = (float)((double)(end->at.tv_sec - start->at.tv_sec) * 1e3 +
                      (double)(end->at.tv_nsec - start->at.tv_nsec) * 1e-6);
    return cudaSuccess;
}

__attribute__((destructor)) static void streams_fini(void)
{
    if (emu_option("REID_EMU_LEAKS", 0))
        for (emu_alloc *a = emu_allocs(); a; a = a->next)
            if (!a->freed)
                emu_report("LEAK", "%zu bytes of %s memory were never freed", a->size,
                           a->device < 0 ? "pinned" : "device");
    if (emu_report_count()) {
        fprintf(stderr, "EMU[%d]: %d report(s)\n", (int)getpid(), emu_report_count());
        fflush(NULL);
        _exit(86);
    }
}
