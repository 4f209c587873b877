#include "comm/reducer.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"

#define DEFAULT_FIRST_BUCKET_BYTES ((size_t)1 << 20)
#define DEFAULT_BUCKET_BYTES ((size_t)25 << 20)

typedef struct bucket {
    size_t start, end; /* floats */
    reid_comm_work work;
} bucket;

struct reid_reducer {
    reid_comm *comm;
    float *grad;
    size_t total;
    bucket *buckets;
    size_t bucket_count;
    size_t next;      /* the first bucket that is not under way */
    size_t ready_end; /* all before it is final */
    bool active;      /* between begin and finish, and not skipped */
    reid_reducer_stats stats;
};

static reid_status check_ranges(size_t total, const size_t *offsets, size_t count, reid_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 && offsets[0] != 0)
            return reid_fail(err, REID_ERR_INVALID,
                             "reducer: the first range starts at %zu, not at 0", offsets[0]);
        if (i > 0 && offsets[i] <= offsets[i - 1])
            return reid_fail(err, REID_ERR_INVALID,
                             "reducer: range %zu does not start after range %zu", i, i - 1);
        if (offsets[i] >= total)
            return reid_fail(err, REID_ERR_INVALID,
                             "reducer: range %zu starts at %zu, beyond the %zu gradients", i,
                             offsets[i], total);
    }
    return REID_OK;
}

/* Parameters are added until the size is reached, as PyTorch's compute_bucket_assignment_by_size
 * does. */
static void cut(reid_reducer *r, const size_t *offsets, size_t count, size_t first_bytes,
                size_t bytes)
{
    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        size_t end = i + 1 < count ? offsets[i + 1] : r->total;
        size_t limit = r->bucket_count == 0 ? first_bytes : bytes;
        if ((end - start) * sizeof(float) < limit && i + 1 < count)
            continue;
        r->buckets[r->bucket_count].start = start;
        r->buckets[r->bucket_count].end = end;
        r->bucket_count++;
        start = end;
    }
}

reid_status reid_reducer_new(reid_comm *comm, float *grad, size_t total,
                             const size_t *range_offsets, size_t range_count,
                             const reid_reducer_options *options, reid_reducer **ret_reducer,
                             reid_error *err)
{
    static const size_t whole[] = {0};
    if (!range_offsets || range_count == 0) {
        range_offsets = whole;
        range_count = total > 0;
    }
    REID_TRY(check_ranges(total, range_offsets, range_count, err));
    size_t first = options && options->first_bucket_bytes ? options->first_bucket_bytes
                                                          : DEFAULT_FIRST_BUCKET_BYTES;
    size_t bytes = options && options->bucket_bytes ? options->bucket_bytes : DEFAULT_BUCKET_BYTES;
    reid_reducer *r = reid_xcalloc(1, sizeof *r);
    r->comm = comm;
    r->grad = grad;
    r->total = total;
    r->buckets = reid_xcalloc(range_count, sizeof *r->buckets);
    cut(r, range_offsets, range_count, first, bytes);
    for (size_t i = 0; i < r->bucket_count; i++)
        r->buckets[i].work.bucket = (int)i;
    *ret_reducer = r;
    return REID_OK;
}

void reid_reducer_free(reid_reducer *reducer)
{
    if (!reducer)
        return;
    bool failed = false;
    for (size_t i = 0; i < reducer->bucket_count; i++)
        failed = reid_comm_work_wait(reducer->comm, &reducer->buckets[i].work, NULL) != REID_OK ||
                 failed;
    if (!failed) /* else a stuck communication thread may still look at them */
        free(reducer->buckets);
    free(reducer);
}

static void add_up(reid_reducer *r)
{
    r->stats = (reid_reducer_stats){
        .buckets = r->bucket_count, .bytes = r->total * sizeof(float), .device = r->comm->device};
    for (size_t i = 0; i < r->bucket_count; i++) {
        const reid_comm_work *work = &r->buckets[i].work;
        r->stats.total_s += work->done_s - work->started_s;
        r->stats.others_s += work->arrived_s - work->started_s;
        r->stats.exposed_s += work->exposed_s;
    }
}

/* The device is behind the host: what it has done by now is a step before the last. */
static void take_device_times(reid_reducer *r)
{
    bool known = true;
    for (size_t i = 0; i < r->bucket_count; i++)
        known = reid_comm_work_times(r->comm, &r->buckets[i].work) && known;
    if (known)
        add_up(r);
}

void reid_reducer_begin(reid_reducer *reducer, bool skip)
{
    REID_ASSERT(!reducer->active);
    reducer->active = !skip && reducer->comm->size > 1;
    reducer->next = 0;
    reducer->ready_end = 0;
    if (reducer->active && reducer->comm->device)
        take_device_times(reducer);
}

static void start_bucket(reid_reducer *r)
{
    bucket *b = &r->buckets[r->next++];
    reid_comm_allreduce_start(r->comm, r->grad + b->start, b->end - b->start, (float)r->comm->size,
                              &b->work);
}

void reid_reducer_ready(void *reducer, size_t offset, size_t size)
{
    reid_reducer *r = reducer;
    if (!r->active)
        return;
    REID_ASSERT(offset >= r->ready_end && offset <= r->total && size <= r->total - offset);
    r->ready_end = offset + size;
    while (r->next < r->bucket_count && r->buckets[r->next].end <= r->ready_end)
        start_bucket(r);
}

static reid_status wait_all(reid_reducer *r, reid_error *err)
{
    reid_status status = REID_OK;
    for (size_t i = 0; i < r->bucket_count; i++) {
        reid_comm_work *work = &r->buckets[i].work;
        reid_status one = reid_comm_work_wait(r->comm, work, err);
        if (status == REID_OK)
            status = one;
    }
    return status;
}

reid_status reid_reducer_finish(reid_reducer *reducer, reid_error *err)
{
    reid_reducer *r = reducer;
    if (!r->active || !r->comm->device)
        r->stats = (reid_reducer_stats){0};
    if (!r->active)
        return REID_OK;
    double start_s = reid_clock_seconds();
    while (r->next < r->bucket_count)
        start_bucket(r);
    r->active = false;
    reid_status status = wait_all(r, err);
    if (!r->comm->device) {
        add_up(r);
        r->stats.exposed_s = reid_clock_seconds() - start_s;
    }
    return status;
}

reid_status reid_reducer_check(reid_reducer *reducer, reid_error *err)
{
    return reid_comm_check(reducer->comm, err);
}

void reid_reducer_last_stats(const reid_reducer *reducer, reid_reducer_stats *ret_stats)
{
    *ret_stats = reducer->stats;
}

size_t reid_reducer_bucket_count(const reid_reducer *reducer)
{
    return reducer->bucket_count;
}

size_t reid_reducer_bucket_end(const reid_reducer *reducer, size_t index)
{
    REID_ASSERT(index < reducer->bucket_count);
    return reducer->buckets[index].end;
}

reid_reducer_bucket reid_reducer_last_bucket(const reid_reducer *reducer, size_t index)
{
    REID_ASSERT(index < reducer->bucket_count);
    if (reducer->stats.buckets == 0)
        return (reid_reducer_bucket){0};
    const bucket *b = &reducer->buckets[index];
    return (reid_reducer_bucket){
        .bytes = (b->end - b->start) * sizeof(float),
        .queued_s = b->work.queued_s,
        .started_s = b->work.started_s,
        .arrived_s = b->work.arrived_s,
        .done_s = b->work.done_s,
    };
}

uint64_t reid_reducer_hash(const reid_reducer *reducer)
{
    uint64_t hash = reid_hash64(&reducer->total, sizeof reducer->total, 0);
    for (size_t i = 0; i < reducer->bucket_count; i++)
        hash = reid_hash64(&reducer->buckets[i].end, sizeof reducer->buckets[i].end, hash);
    return hash;
}
