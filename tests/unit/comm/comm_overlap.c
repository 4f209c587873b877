/* How much of the all-reduce does backward hide?
 *
 *     mpirun -np N comm_overlap STEPS MILLISECONDS [MEGABYTES] [sleep]
 *
 * A synthetic backward of MILLISECONDS writes MEGABYTES of gradients in 160 ranges; each step is
 * run three ways: backward alone, backward and then one all-reduce, and backward with the reducer.
 * Rank 0 prints the medians over the steps. With `sleep` backward leaves the processor free, as one
 * on an accelerator does; else it wants a core for itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "comm/comm.h"
#include "comm/reducer.h"

enum { RANGES = 160, MAX_STEPS = 1000 };

typedef struct bench {
    reid_comm *comm;
    reid_reducer *reducer;
    float *grad;
    size_t total, offsets[RANGES + 1];
    double backward_s;
    bool sleeps;
} bench;

/* Computes on data in the cache until the time of this range is over, then writes the gradients of
 * the range. */
static void work(bench *b, int range)
{
    static float x[4096];
    double slice_s = b->backward_s / RANGES;
    if (b->sleeps)
        nanosleep(
            &(struct timespec){(time_t)slice_s, (long)((slice_s - (double)(time_t)slice_s) * 1e9)},
            NULL);
    double until = reid_clock_seconds() + (b->sleeps ? 0 : slice_s);
    volatile float sink;
    do {
        float sum = 1.0f;
        for (int i = 0; i < 4096; i++)
            sum += x[i] * x[4095 - i];
        sink = sum;
    } while (reid_clock_seconds() < until);
    for (size_t i = b->offsets[range]; i < b->offsets[range + 1]; i++)
        b->grad[i] = sink;
}

static void backward(bench *b, bool reduce)
{
    for (int range = 0; range < RANGES; range++) {
        work(b, range);
        if (reduce)
            reid_reducer_ready(b->reducer, b->offsets[range],
                               b->offsets[range + 1] - b->offsets[range]);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ms(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2] * 1e3;
}

static reid_status measure(bench *b, int steps, reid_error *err)
{
    static double others[MAX_STEPS], alone[MAX_STEPS], after[MAX_STEPS], overlapped[MAX_STEPS],
        exposed[MAX_STEPS], total[MAX_STEPS];
    for (int i = 0; i < steps; i++) {
        reid_reducer_stats stats;
        REID_TRY(reid_comm_barrier(b->comm, err));
        double start = reid_clock_seconds();
        backward(b, false);
        alone[i] = reid_clock_seconds() - start;
        REID_TRY(reid_comm_barrier(b->comm, err));
        start = reid_clock_seconds();
        backward(b, false);
        REID_TRY(reid_comm_allreduce_sum(b->comm, b->grad, b->total, err));
        after[i] = reid_clock_seconds() - start;
        REID_TRY(reid_comm_barrier(b->comm, err));
        start = reid_clock_seconds();
        reid_reducer_begin(b->reducer, false);
        backward(b, true);
        REID_TRY(reid_reducer_finish(b->reducer, err));
        overlapped[i] = reid_clock_seconds() - start;
        reid_reducer_last_stats(b->reducer, &stats);
        exposed[i] = stats.exposed_s;
        total[i] = stats.total_s;
        others[i] = stats.others_s;
    }
    if (b->comm->rank == 0)
        printf("%d ranks, %.0f MB in %zu buckets: backward %.1f ms, then all-reduce %.1f ms; "
               "overlapped %.1f ms "
               "(exposed %.1f of %.1f ms, of which %.1f waiting for data of others)\n",
               b->comm->size, (double)b->total * 4e-6, reid_reducer_bucket_count(b->reducer),
               median_ms(alone, steps), median_ms(after, steps), median_ms(overlapped, steps),
               median_ms(exposed, steps), median_ms(total, steps), median_ms(others, steps));
    return REID_OK;
}

static reid_status run(bench *b, int steps, double megabytes, reid_error *err)
{
    b->total = (size_t)(megabytes * 1e6 / sizeof(float));
    for (int i = 0; i <= RANGES; i++)
        b->offsets[i] = b->total / RANGES * (size_t)i;
    b->offsets[RANGES] = b->total;
    b->grad = reid_alloc_aligned(b->total * sizeof *b->grad);
    if (!b->grad)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory");
    REID_TRY(reid_comm_open(&(reid_comm_options){.timeout_s = 30}, &b->comm, err));
    REID_TRY(
        reid_reducer_new(b->comm, b->grad, b->total, b->offsets, RANGES, NULL, &b->reducer, err));
    REID_TRY(measure(b, steps, err));
    reid_reducer_free(b->reducer);
    reid_comm_free(b->comm);
    reid_free_aligned(b->grad, b->total * sizeof *b->grad);
    return REID_OK;
}

int main(int argc, char **argv)
{
    static bench b;
    reid_error err = {0};
    int64_t steps;
    double milliseconds, megabytes = 100;
    if (argc < 3 || reid_parse_int64(argv[1], &steps) != REID_OK || steps < 1 ||
        steps > MAX_STEPS || reid_parse_double(argv[2], &milliseconds) != REID_OK ||
        (argc > 3 && reid_parse_double(argv[3], &megabytes) != REID_OK)) {
        fprintf(stderr, "usage: comm_overlap STEPS MILLISECONDS [MEGABYTES] [sleep]\n");
        return 2;
    }
    b.backward_s = milliseconds * 1e-3;
    b.sleeps = argc > 4 && strcmp(argv[4], "sleep") == 0;
    if (run(&b, (int)steps, megabytes, &err) == REID_OK)
        return 0;
    fprintf(stderr, "comm_overlap: %s\n", err.text);
    if (b.comm)
        reid_comm_abort(b.comm, 1);
    return 1;
}
