/* mpirun -np N emulation_collectives: the NCCL communicator and the reducer on device memory, every
 * number held against what it must be. Rank r's value of number i in step s is r + 1 + i + s. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "backend/module.h"
#include "base/alloc.h"
#include "base/str.h"
#include "comm/nccl.h"
#include "comm/reducer.h"

enum { COUNT = 10007, RANGES = 6, STEPS = 4 };

typedef struct world {
    reid_comm *host, *device;
    reid_backend *backend;
    float *data; /* COUNT, on the device */
    float *plain;
    int rank, size;
} world;

static int failures;

static void must(reid_status status, const reid_error *err)
{
    if (status == REID_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static void open_world(world *w)
{
    reid_error err = {0};
    const reid_module *module = NULL;
    char name[32];
    must(reid_comm_open(&(reid_comm_options){.timeout_s = 20}, &w->host, &err), &err);
    must(reid_comm_barrier(w->host, &err), &err);
    w->rank = w->host->rank;
    w->size = w->host->size;
    snprintf(name, sizeof name, "cuda:%d", w->host->local_rank);
    must(reid_backend_open(name, 1, &w->backend, &err), &err);
    must(reid_module_load("cuda", &module, &err), &err);
    union { /* POSIX promises this conversion, ISO C does not */
        void *object;
        reid_nccl_comm_new_fn *function;
    } make = {module->symbol("reid_nccl_comm_new")};
    const reid_nccl_options options = {.timeout_s = 20, .max_bytes = COUNT * sizeof(float)};
    must(make.function(w->backend, w->host, &options, &w->device, &err), &err);
    w->data = reid_backend_alloc(w->backend, COUNT * sizeof(float));
    w->plain = reid_xcalloc(COUNT, sizeof(float));
}

static void close_world(world *w)
{
    reid_backend_wait(w->backend);
    reid_comm_free(w->device);
    reid_backend_release(w->backend, w->data, COUNT * sizeof(float));
    reid_backend_free(w->backend);
    reid_comm_free(w->host);
    free(w->plain);
}

static void produce(world *w, size_t from, size_t to, int step)
{
    for (size_t i = from; i < to; i++)
        w->plain[i] = (float)w->rank + 1.0f + (float)i + (float)step;
    reid_backend_copy_in(w->backend, w->data + from, w->plain + from, (to - from) * sizeof(float));
}

/* factor·(sum over ranks) from `from` to `to`; own values elsewhere. */
static void expect(world *w, const char *what, size_t from, size_t to, double factor, int step)
{
    reid_backend_copy_out(w->backend, w->plain, w->data, COUNT * sizeof(float));
    for (size_t i = 0; i < COUNT; i++) {
        double own = w->rank + 1.0 + (double)i + step, ranks = w->size;
        double sum = ranks * (ranks + 1) / 2 + ranks * ((double)i + step);
        double want = i >= from && i < to ? factor * sum : own;
        if ((double)w->plain[i] == (double)(float)want)
            continue;
        printf("%s, rank %d: number %zu of [%zu,%zu): want %g, got %g\n", what, w->rank, i, from,
               to, want, (double)w->plain[i]);
        failures++;
        return;
    }
}

/* Parts of a buffer, of odd sizes. The average of two or four ranks is exact. */
static void check_sums(world *w)
{
    static const size_t parts[][2] = {{0, 1}, {3, 10}, {5, 4102}, {0, COUNT}, {COUNT - 1, COUNT}};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        for (int average = 0; average < 2; average++) {
            reid_error err = {0};
            reid_comm_work work = {0};
            size_t from = parts[k][0], to = parts[k][1];
            produce(w, 0, COUNT, 0);
            reid_comm_allreduce_start(w->device, w->data + from, to - from,
                                      average ? (float)w->size : 1.0f, &work);
            must(reid_comm_work_wait(w->device, &work, &err), &err);
            expect(w, average ? "average" : "sum", from, to, average ? 1.0 / w->size : 1.0, 0);
        }
}

static void check_broadcast(world *w)
{
    reid_error err = {0};
    int root = w->size - 1;
    produce(w, 0, COUNT, 0);
    must(reid_comm_broadcast(w->device, w->data, COUNT * sizeof(float), root, &err), &err);
    reid_backend_copy_out(w->backend, w->plain, w->data, COUNT * sizeof(float));
    for (size_t i = 0; i < COUNT; i++)
        if (w->plain[i] != (float)root + 1.0f + (float)i) {
            printf("broadcast, rank %d: number %zu: got %g\n", w->rank, i, (double)w->plain[i]);
            failures++;
            return;
        }
}

/* Six ranges in buckets of different size, ready one after the other, as in a backward pass. */
static void check_reducer(world *w)
{
    static const size_t offsets[RANGES] = {0, 100, 101, 3000, 3900, 9000};
    const reid_reducer_options options = {.first_bucket_bytes = 400, .bucket_bytes = 4000};
    reid_error err = {0};
    reid_reducer *reducer = NULL;
    must(reid_reducer_new(w->device, w->data, COUNT, offsets, RANGES, &options, &reducer, &err),
         &err);
    failures += reid_reducer_bucket_count(reducer) < 4;
    for (int step = 0; step < STEPS; step++) {
        reid_backend_zero(w->backend, w->data, COUNT * sizeof(float));
        reid_reducer_begin(reducer, false);
        for (int i = 0; i < RANGES; i++) {
            size_t end = i + 1 < RANGES ? offsets[i + 1] : COUNT;
            produce(w, offsets[i], end, step);
            reid_reducer_ready(reducer, offsets[i], end - offsets[i]);
        }
        must(reid_reducer_finish(reducer, &err), &err);
        expect(w, "reducer", 0, COUNT, 1.0 / w->size, step);
    }
    reid_reducer_free(reducer);
}

int main(void)
{
    world w = {0};
    open_world(&w);
    if (w.size < 2) {
        fprintf(stderr, "start it with mpirun -np 2 or more\n");
        return 2;
    }
    check_sums(&w);
    check_broadcast(&w);
    check_reducer(&w);
    close_world(&w);
    return failures > 0;
}
