/* One rank of the tests of the MPI collectives: comm_ranks CASE, under mpirun. A failed check ends
 * all ranks with exit code 1. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "comm/comm.h"
#include "comm/reducer.h"

static reid_comm *comm;
static reid_error err;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "rank %d, line %d: %s (%s)\n", comm ? comm->rank : -1, __LINE__,       \
                    #condition, err.text);                                                         \
            if (comm)                                                                              \
                reid_comm_abort(comm, 1);                                                          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)
#define CHECK_OK(expression) CHECK((expression) == REID_OK)

/* ---- data that every rank can make of every rank ---- */

/* Numbers of very different size, so that another order of additions gives other bits. */
static float value_of(int rank, size_t i, uint64_t round)
{
    uint64_t key[3] = {(uint64_t)rank, i, round};
    uint64_t hash = reid_hash64(key, sizeof key, 17);
    float magnitude = (float)(1u << (hash >> 60));
    return ((float)(hash & 0xFFFFFF) / 8388608.0f - 1.0f) * magnitude;
}

static void fill(float *data, size_t count, int rank, uint64_t round)
{
    for (size_t i = 0; i < count; i++)
        data[i] = value_of(rank, i, round);
}

/* The definition: in the order of the ranks, in single precision. */
static bool is_sum(const float *data, size_t start, size_t count, float divisor, uint64_t round)
{
    for (size_t i = start; i < start + count; i++) {
        volatile float sum = value_of(0, i, round);
        for (int r = 1; r < comm->size; r++)
            sum = sum + value_of(r, i, round);
        float expected = sum / divisor;
        if (memcmp(&expected, &data[i], sizeof expected) != 0) {
            fprintf(stderr, "element %zu is %.9g, expected %.9g\n", i, (double)data[i],
                    (double)expected);
            return false;
        }
    }
    return true;
}

/* Ranks come at different times. */
static void delay(uint64_t round)
{
    double until =
        reid_clock_seconds() + (double)((round * 7 + (uint64_t)comm->rank * 13) % 5) * 1e-3;
    while (reid_clock_seconds() < until)
        ;
}

/* ---- cases ---- */

static void check_allreduce(void)
{
    static const size_t counts[] = {0, 1, 15, 2047, 2048, 2049, 4096, 65537, 100003, 1500007};
    float *data = reid_xmalloc(1500007 * sizeof *data);
    for (size_t k = 0; k < REID_COUNT_OF(counts); k++) {
        fill(data, counts[k], comm->rank, k);
        delay(k);
        CHECK_OK(reid_comm_allreduce_sum(comm, data, counts[k], &err));
        CHECK(is_sum(data, 0, counts[k], 1.0f, k));
    }
    free(data);
}

/* The same numbers, whole and in pieces, again and again: always the same bits, on all ranks. */
static void check_same_bits(void)
{
    enum { COUNT = 300001, CUT = 70000 };
    float *data = reid_xmalloc(COUNT * sizeof *data);
    uint64_t first = 0;
    for (uint64_t round = 0; round < 6; round++) {
        fill(data, COUNT, comm->rank, 5);
        delay(round);
        size_t piece = round % 2 ? CUT : COUNT;
        for (size_t at = 0; at < COUNT; at += piece)
            CHECK_OK(reid_comm_allreduce_sum(comm, data + at, REID_MIN(piece, COUNT - at), &err));
        uint64_t hash = reid_hash64(data, COUNT * sizeof *data, 0);
        CHECK(round == 0 || hash == first);
        first = hash;
        CHECK_OK(reid_comm_check_same(comm, "the sum", hash, &err));
    }
    free(data);
}

static void check_average(void)
{
    enum { COUNT = 5000 };
    float *data = reid_xmalloc(COUNT * sizeof *data);
    reid_comm_work work = {0};
    CHECK_OK(reid_comm_work_wait(comm, &work, &err)); /* never started */
    static const float divisors[] = {2.0f, 3.0f, 7.0f};
    for (size_t k = 0; k < REID_COUNT_OF(divisors); k++) {
        fill(data, COUNT, comm->rank, k);
        reid_comm_allreduce_start(comm, data, COUNT, divisors[k], &work);
        CHECK_OK(reid_comm_work_wait(comm, &work, &err));
        CHECK(is_sum(data, 0, COUNT, divisors[k], k));
        CHECK(work.queued_s <= work.started_s && work.started_s <= work.arrived_s &&
              work.arrived_s <= work.done_s);
    }
    free(data);
}

static void check_broadcast(void)
{
    static const size_t sizes[] = {0, 1, 1000, (16u << 20) + 1}; /* the last goes in three pieces */
    char *data = reid_xmalloc((16u << 20) + 1);
    for (size_t k = 0; k < REID_COUNT_OF(sizes); k++) {
        for (int root = 0; root < (k < 3 ? comm->size : 2); root++) {
            for (size_t i = 0; i < sizes[k]; i++)
                data[i] = (char)(comm->rank == root ? (int)(i * 31 + i / 4096 + (size_t)root) : -1);
            CHECK_OK(reid_comm_broadcast(comm, data, sizes[k], root, &err));
            size_t right = 0;
            while (right < sizes[k] &&
                   data[right] == (char)(right * 31 + right / 4096 + (size_t)root))
                right++;
            CHECK(right == sizes[k]);
        }
    }
    free(data);
}

static void check_gathers(void)
{
    for (int root = 0; root < comm->size; root++) {
        char mine[64], *all = NULL;
        size_t offsets[65];
        size_t bytes = (size_t)(comm->rank * 5 % 3) * 7; /* some send nothing */
        memset(mine, 'a' + comm->rank, sizeof mine);
        CHECK_OK(reid_comm_gather_varied(comm, mine, bytes, root, (void **)&all, offsets, &err));
        CHECK((all != NULL) == (comm->rank == root));
        for (int r = 0; all && r < comm->size; r++) {
            CHECK(offsets[r + 1] - offsets[r] == (size_t)(r * 5 % 3) * 7);
            for (size_t i = offsets[r]; i < offsets[r + 1]; i++)
                CHECK(all[i] == 'a' + r);
        }
        free(all);
    }
    int32_t pair[2] = {comm->rank, comm->rank * comm->rank};
    int32_t all[128];
    CHECK_OK(reid_comm_allgather(comm, pair, sizeof pair, all, &err));
    for (int r = 0; r < comm->size; r++)
        CHECK(all[2 * r] == r && all[2 * r + 1] == r * r);
    CHECK_OK(reid_comm_allgather(comm, NULL, 0, NULL, &err));
}

static void check_helpers(void)
{
    int last = comm->size - 1;
    CHECK_OK(reid_comm_check_same(comm, "the execution plan", 42, &err));
    CHECK(reid_comm_check_same(comm, "the execution plan", comm->rank == last ? 1 : 2, &err) ==
          REID_ERR_PRECONDITION);
    char named[64];
    /* Of two ranks that differ, the first is right by definition. */
    snprintf(named, sizeof named, "the execution plan of rank %d differs", last);
    CHECK(strstr(err.text, named) != NULL);
    reid_error_clear(&err);

    char text[6] = "", numbers[40] = "";
    if (comm->rank == 0) {
        memcpy(text, "state", 6);
        memset(numbers, 7, sizeof numbers);
    }
    reid_comm_part parts[] = {{text, sizeof text}, {NULL, 0}, {numbers, sizeof numbers}};
    CHECK_OK(reid_comm_broadcast_parts(comm, parts, REID_COUNT_OF(parts), 0, &err));
    CHECK(strcmp(text, "state") == 0 && numbers[0] == 7 && numbers[39] == 7);
    parts[2].bytes -= (size_t)comm->rank;
    CHECK(reid_comm_broadcast_parts(comm, parts, REID_COUNT_OF(parts), 0, &err) ==
          REID_ERR_PRECONDITION);
    reid_error_clear(&err);
}

static void run_collectives(void)
{
    CHECK(comm->local_size == comm->size && comm->local_rank == comm->rank);
    CHECK(strstr(reid_comm_library(comm), "MPI") != NULL);
    for (int i = 0; i < 20; i++) {
        delay((uint64_t)i);
        CHECK_OK(reid_comm_barrier(comm, &err));
    }
    check_allreduce();
    check_same_bits();
    check_average();
    check_broadcast();
    check_gathers();
    check_helpers();
}

/* Several steps over uneven ranges: averages, whatever the cut into buckets; skipped steps leave
 * the gradients alone. */
static void run_reducer(void)
{
    static const size_t offsets[] = {0, 10, 3000, 3001, 90000, 200000, 200064};
    enum { TOTAL = 250000, RANGES = REID_COUNT_OF(offsets) };
    static const reid_reducer_options cuts[] = {{40, 4000}, {1 << 20, 25 << 20}, {4, 4}};
    float *grad = reid_xmalloc(TOTAL * sizeof *grad);
    for (uint64_t round = 0; round < 6; round++) {
        reid_reducer *reducer;
        reid_reducer_stats stats;
        CHECK_OK(
            reid_reducer_new(comm, grad, TOTAL, offsets, RANGES, &cuts[round % 3], &reducer, &err));
        CHECK_OK(reid_comm_check_same(comm, "the buckets", reid_reducer_hash(reducer), &err));
        for (int micro = 0; micro < 2; micro++) {
            bool skip = micro == 0;
            reid_reducer_begin(reducer, skip);
            fill(grad, TOTAL, comm->rank, round);
            for (size_t i = 0; i < RANGES; i++) {
                delay(round + i);
                if (i != 2) /* a frozen parameter */
                    reid_reducer_ready(reducer, offsets[i],
                                       (i + 1 < RANGES ? offsets[i + 1] : TOTAL) - offsets[i]);
            }
            CHECK_OK(reid_reducer_finish(reducer, &err));
            reid_reducer_last_stats(reducer, &stats);
            CHECK(stats.bytes == (skip ? 0 : TOTAL * sizeof *grad));
            CHECK(!skip || grad[77] == value_of(comm->rank, 77, round));
        }
        CHECK(is_sum(grad, 0, TOTAL, (float)comm->size, round));
        CHECK(stats.buckets == reid_reducer_bucket_count(reducer) && stats.total_s > 0 &&
              stats.others_s <= stats.total_s);
        reid_reducer_free(reducer);
    }
    free(grad);
}

/* ---- faults: the ranks that live say what they were told, then end everything with code 7 ---- */

static void end_with_report(reid_status status)
{
    fprintf(stderr, "rank %d got %s: %s\n", comm->rank, reid_status_name(status), err.text);
    double start = reid_clock_seconds();
    reid_error again = {0};
    CHECK(reid_comm_barrier(comm, &again) == status && strcmp(again.text, err.text) == 0);
    CHECK(reid_clock_seconds() - start < 0.5);
    fprintf(stderr, "rank %d ends\n", comm->rank);
    reid_comm_abort(comm, 7);
}

static void wait_for_death(void)
{
    for (;;)
        pause();
}

static void run_absent(void)
{
    float data[5000] = {0};
    if (comm->rank == comm->size - 1)
        wait_for_death();
    reid_comm_set_phase(comm, "training", comm->rank == 0 ? 0.5 : 30);
    end_with_report(reid_comm_allreduce_sum(comm, data, REID_COUNT_OF(data), &err));
}

static void run_elsewhere(void)
{
    char byte = 0, all[8];
    reid_comm_set_phase(comm, "evaluation", comm->rank == 0 ? 0.5 : 30);
    end_with_report(comm->rank == 0 ? reid_comm_barrier(comm, &err)
                                    : reid_comm_allgather(comm, &byte, 1, all, &err));
}

static void run_sizes(void)
{
    char data[64] = {0};
    reid_comm_set_phase(comm, "start", 5);
    end_with_report(reid_comm_broadcast(comm, data, comm->rank == 0 ? 10 : 20, 0, &err));
}

static void run_killed(void)
{
    if (comm->rank == 1)
        raise(SIGKILL);
    reid_comm_set_phase(comm, "training", 30);
    end_with_report(reid_comm_barrier(comm, &err));
}

static void run_stopped(void)
{
    reid_comm_set_phase(comm, "training", 0.5);
    if (comm->rank == 1)
        raise(SIGSTOP);
    end_with_report(reid_comm_barrier(comm, &err));
}

/* The lost bucket is told by finish(). */
static void run_reducer_absent(void)
{
    static float grad[4096];
    static const size_t offsets[] = {0, 2048};
    reid_reducer *reducer;
    reid_comm_set_phase(comm, "training", 0.5);
    CHECK_OK(reid_reducer_new(comm, grad, 4096, offsets, 2, &(reid_reducer_options){8, 8}, &reducer,
                              &err));
    reid_reducer_begin(reducer, false);
    if (comm->rank == 1)
        wait_for_death();
    reid_reducer_ready(reducer, 0, 2048);
    end_with_report(reid_reducer_finish(reducer, &err));
}

static const struct {
    const char *name;
    void (*run)(void);
} CASES[] = {
    {"collectives", run_collectives},
    {"background", run_collectives},
    {"reducer", run_reducer},
    {"absent", run_absent},
    {"elsewhere", run_elsewhere},
    {"sizes", run_sizes},
    {"killed", run_killed},
    {"stopped", run_stopped},
    {"reducer_absent", run_reducer_absent},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < REID_COUNT_OF(CASES); i++) {
        if (strcmp(argv[1], CASES[i].name) != 0)
            continue;
        reid_comm_options options = {.timeout_s = 30,
                                     .background = strcmp(argv[1], "background") == 0};
        CHECK_OK(reid_comm_open(&options, &comm, &err));
        CASES[i].run();
        reid_comm_free(comm);
        return 0;
    }
    fprintf(stderr, "usage: comm_ranks CASE\n");
    return 2;
}
