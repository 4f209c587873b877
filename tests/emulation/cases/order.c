/* What streams, events and waits order, and what they do not. */
#include "emulation/cases/cases.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 64 * 1024 };

static bool two_writers(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool same_stream(const case_world *world)
{
    static char out[BYTES];
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, a));
    CASE_OK(cudaMemcpyAsync(out, d, BYTES, cudaMemcpyDeviceToHost, a));
    return out[BYTES - 1] == 2;
}

static bool with_event(const case_world *world)
{
    static char out[BYTES];
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    cudaEvent_t e = case_event();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaEventRecord(e, a));
    CASE_OK(cudaStreamWaitEvent(b, e, 0));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    CASE_OK(cudaMemcpyAsync(out, d, BYTES, cudaMemcpyDeviceToHost, b));
    return out[0] == 2;
}

/* a → b → c by two events: a is before c. */
static bool with_two_events(const case_world *world)
{
    char *d = case_device(BYTES), *t = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream(), c = case_stream();
    cudaEvent_t e = case_event(), f = case_event();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaEventRecord(e, a));
    CASE_OK(cudaStreamWaitEvent(b, e, 0));
    CASE_OK(cudaMemsetAsync(t, 1, BYTES, b));
    CASE_OK(cudaEventRecord(f, b));
    CASE_OK(cudaStreamWaitEvent(c, f, 0));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, c));
    return cudaStreamSynchronize(c) == cudaSuccess;
}

static bool event_too_early(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    cudaEvent_t e = case_event();
    CASE_OK(cudaEventRecord(e, a));
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaStreamWaitEvent(b, e, 0));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool wait_after_the_use(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    cudaEvent_t e = case_event();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaEventRecord(e, a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    CASE_OK(cudaStreamWaitEvent(b, e, 0));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

/* The host has waited: later submissions are ordered. */
static bool through_the_host(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaStreamSynchronize(a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool two_readers(const case_world *world)
{
    char *d = case_device(BYTES), *x = case_device(BYTES), *y = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaStreamSynchronize(a));
    CASE_OK(cudaMemcpyAsync(x, d, BYTES, cudaMemcpyDeviceToDevice, a));
    CASE_OK(cudaMemcpyAsync(y, d, BYTES, cudaMemcpyDeviceToDevice, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

/* Written while another stream still reads it. */
static bool write_under_a_reader(const case_world *world)
{
    char *d = case_device(BYTES), *x = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaStreamSynchronize(a));
    CASE_OK(cudaMemcpyAsync(x, d, BYTES, cudaMemcpyDeviceToDevice, a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool halves(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES / 2, a));
    CASE_OK(cudaMemsetAsync(d + BYTES / 2, 2, BYTES / 2, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool halves_and_a_byte(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 1, BYTES / 2 + 1, a));
    CASE_OK(cudaMemsetAsync(d + BYTES / 2, 2, BYTES / 2, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static void *look_on(void *event)
{
    while (cudaEventQuery(event) == cudaErrorNotReady)
        usleep(100);
    return NULL;
}

/* A watchdog has seen the event; the stream has not waited for it. */
static bool seen_by_an_onlooker(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    cudaEvent_t e = case_event();
    pthread_t thread;
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaEventRecord(e, a));
    CASE_OK(pthread_create(&thread, NULL, look_on, e));
    CASE_OK(pthread_join(thread, NULL));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, b));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool event_never_recorded(const case_world *world)
{
    return cudaStreamWaitEvent(case_stream(), case_event(), 0) == cudaSuccess;
}

static bool freed_under_a_writer(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a = case_stream(), b = case_stream();
    CASE_OK(cudaMemsetAsync(d, 3, BYTES, a));
    CASE_OK(cudaFreeAsync(d, b));
    CASE_OK(cudaStreamSynchronize(a));
    return cudaStreamSynchronize(b) == cudaSuccess;
}

static bool default_stream_orders(const case_world *world)
{
    char *d = case_device(BYTES);
    cudaStream_t a;
    CASE_OK(cudaStreamCreate(&a)); /* a blocking stream */
    CASE_OK(cudaMemsetAsync(d, 1, BYTES, a));
    CASE_OK(cudaMemsetAsync(d, 2, BYTES, NULL));
    CASE_OK(cudaMemsetAsync(d, 3, BYTES, a));
    return cudaStreamSynchronize(a) == cudaSuccess;
}

const case_row order_cases[] = {
    {"two_writers", two_writers, "RACE"},
    {"same_stream", same_stream, NULL},
    {"with_event", with_event, NULL},
    {"with_two_events", with_two_events, NULL},
    {"event_too_early", event_too_early, "RACE"},
    {"wait_after_the_use", wait_after_the_use, "RACE"},
    {"through_the_host", through_the_host, NULL},
    {"two_readers", two_readers, NULL},
    {"write_under_a_reader", write_under_a_reader, "RACE"},
    {"halves", halves, NULL},
    {"halves_and_a_byte", halves_and_a_byte, "RACE"},
    {"seen_by_an_onlooker", seen_by_an_onlooker, "RACE"},
    {"event_never_recorded", event_never_recorded, "EVENT"},
    {"freed_under_a_writer", freed_under_a_writer, "RACE"},
    {"default_stream_orders", default_stream_orders, NULL, .env = "REID_EMU_DEFAULT_STREAM=1"},
    {0},
};
