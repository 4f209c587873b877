/* Collectives over MPI, made of point-to-point messages on the communication thread.
 *
 * MPI's own collectives neither tell which rank is missing nor promise an order of additions. Here
 * each waits by testing its requests, so that a deadline can pass and the open requests name the
 * ranks. The all-reduce is a reduce-scatter and an all-gather by direct exchange, in segments:
 * rank r receives part r from everybody, adds the parts in the order of the ranks, and sends the
 * sum to everybody; 2 (n-1)/n of the buffer leave each rank, which is the least possible (Patarasuk
 * and Yuan, "Bandwidth optimal all-reduce algorithms", 2009). */
#include <mpi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/flight.h"
#include "base/log.h"
#include "comm/comm_impl.h"
#include "comm/launch.h"
#include "comm/sum.h"
#include "comm/worker.h"

#define PIECE_BYTES ((size_t)1 << 30)           /* MPI counts are ints */
#define BROADCAST_PIECE_BYTES ((size_t)8 << 20) /* passed on while the next one arrives */
#define SEGMENT_FLOATS ((size_t)512 << 10)
#define SCRATCH_FLOATS ((size_t)4 << 20) /* bound for all peers' segments together */
#define SMALL_FLOATS ((size_t)2048)      /* up to here one round trip is cheaper than two */
#define ALIGN_FLOATS ((size_t)16)
#define DEPTH 2 /* segments under way */
#define ABORT_WAIT_S 2.0
#define FREE_TESTS 16
#define FIRST_SLEEP_NS 5000l
#define HOT_SLEEP_NS 50000l   /* while data flow */
#define COLD_SLEEP_NS 250000l /* while others compute */
/* Open MPI's name of its transport through shared memory. */
#if defined(OMPI_MAJOR_VERSION) && OMPI_MAJOR_VERSION >= 5
#define SHARED_MEMORY "sm"
#else
#define SHARED_MEMORY "vader"
#endif

enum { STEP_FIRST, STEP_SECOND, STEP_THIRD };

typedef struct transfer {
    int peer;
    bool receive;
    size_t bytes;
} transfer;

/* Requests that are waited for together. */
typedef struct batch {
    MPI_Request *requests;
    MPI_Status *statuses;
    transfer *transfers;
    int count, capacity;
} batch;

typedef struct mpi_comm {
    reid_comm base;
    reid_comm_worker worker;
    MPI_Comm world;
    unsigned sequence; /* of the call; part of the tags */
    batch collect[DEPTH], spread[DEPTH];
    float *scratch; /* [DEPTH][size - 1][segment] */
    size_t scratch_floats, segment_floats;
    const float **inputs; /* [size] */
    uint64_t *sizes;      /* [size] */
    char token, *tokens;  /* [size] */
    char library[64];
} mpi_comm;

/* One call under way. */
typedef struct operation {
    mpi_comm *c;
    reid_comm_work *work;
    double deadline_s;
    bool hot; /* data flow: the others have arrived */
} operation;

#define MPI_TRY(op, expression)                                                                    \
    do {                                                                                           \
        int mpi_try_code = (expression);                                                           \
        if (mpi_try_code != MPI_SUCCESS)                                                           \
            return mpi_fail((op), mpi_try_code, err);                                              \
    } while (0)

static reid_status mpi_fail(const operation *op, int code, reid_error *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return reid_fail(err, REID_ERR_UNAVAILABLE, "%s failed in phase %s: %s",
                     reid_comm_kind_name(op->work->kind), op->work->phase, text);
}

/* The tag holds call, operation and step: what does not belong together never meets. */
static int tag_of(const operation *op, int step)
{
    return (int)(op->c->sequence & 0xFFFFF) << 5 | op->work->kind << 2 | step;
}

/* ---- waiting ---- */

/* The operation that a rank is at, when a message of it lies here unread. */
static const char *other_operation(const operation *op, int peer)
{
    int found = 0;
    MPI_Status status;
    if (MPI_Iprobe(peer, MPI_ANY_TAG, op->c->world, &found, &status) != MPI_SUCCESS || !found ||
        status.MPI_TAG >> 2 == tag_of(op, 0) >> 2)
        return NULL;
    return reid_comm_kind_name(status.MPI_TAG >> 2 & 7);
}

/* Marks the peers of open requests, of receives if there are any, else of sends. True: receives. */
static bool find_late(const operation *op, const batch *b, bool *ret_late)
{
    bool any_receive = false;
    for (int pass = 0; pass < 2 && !any_receive; pass++) {
        for (int i = 0; i < b->count; i++) {
            int done = 1;
            if (b->transfers[i].receive == (pass == 0) &&
                MPI_Request_get_status(b->requests[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS &&
                !done) {
                ret_late[b->transfers[i].peer] = true;
                any_receive = any_receive || pass == 0;
            }
        }
    }
    return any_receive;
}

static reid_status fail_late(const operation *op, const batch *b, reid_error *err)
{
    const reid_comm *comm = &op->c->base;
    bool *late = reid_xcalloc((size_t)comm->size, sizeof *late);
    bool receives = find_late(op, b, late);
    char ranks[256], elsewhere[128] = "";
    reid_comm_list_ranks(ranks, sizeof ranks, late, comm->size);
    for (int r = 0; r < comm->size && !elsewhere[0]; r++) {
        const char *other = late[r] ? other_operation(op, r) : NULL;
        if (other)
            snprintf(elsewhere, sizeof elsewhere, "; rank %d is at another call: %s", r, other);
    }
    free(late);
    return reid_fail(
        err, REID_ERR_TIMEOUT, "%s timed out after %.3g s in phase %s on rank %d: %s %s%s",
        reid_comm_kind_name(op->work->kind), op->work->timeout_s, op->work->phase, comm->rank,
        receives ? "nothing came from" : "data were not taken by", ranks, elsewhere);
}

/* Early tests are free, then the thread gets out of the way of the one that computes. It sleeps
 * rather than yields: a sleeper is let in again soon, one that yields waits for a whole time slice.
 */
static void back_off(const operation *op, unsigned idle)
{
    if (idle < FREE_TESTS)
        return;
    long most_ns = op->hot ? HOT_SLEEP_NS : COLD_SLEEP_NS;
    long sleep_ns = FIRST_SLEEP_NS << REID_MIN((idle - FREE_TESTS) / 8, 10u);
    nanosleep(&(struct timespec){0, REID_MIN(sleep_ns, most_ns)}, NULL);
}

static reid_status check_received(const operation *op, const batch *b, reid_error *err)
{
    for (int i = 0; i < b->count; i++) {
        int bytes;
        if (!b->transfers[i].receive)
            continue;
        MPI_TRY(op, MPI_Get_count(&b->statuses[i], MPI_BYTE, &bytes));
        if ((size_t)bytes != b->transfers[i].bytes)
            return reid_fail(err, REID_ERR_INTERNAL,
                             "%s in phase %s: rank %d sent %d bytes where rank %d expects %zu",
                             reid_comm_kind_name(op->work->kind), op->work->phase,
                             b->transfers[i].peer, bytes, op->c->base.rank, b->transfers[i].bytes);
    }
    return REID_OK;
}

static reid_status wait_batch(operation *op, batch *b, reid_error *err)
{
    if (b->count == 0)
        return REID_OK;
    for (unsigned idle = 0;; idle++) {
        int done;
        int code = MPI_Testall(b->count, b->requests, &done, b->statuses);
        if (code == MPI_ERR_IN_STATUS) {
            for (int i = 0; i < b->count; i++) {
                if (b->statuses[i].MPI_ERROR != MPI_SUCCESS &&
                    b->statuses[i].MPI_ERROR != MPI_ERR_PENDING)
                    return mpi_fail(op, b->statuses[i].MPI_ERROR, err);
            }
        }
        MPI_TRY(op, code);
        if (done)
            break;
        if (atomic_load_explicit(&op->c->worker.abort_code, memory_order_relaxed))
            return reid_fail(err, REID_ERR_CANCELLED, "aborted");
        if (reid_clock_seconds() > op->deadline_s)
            return fail_late(op, b, err);
        back_off(op, idle);
    }
    reid_status status = check_received(op, b, err);
    b->count = 0;
    return status;
}

/* ---- posting ---- */

static void batch_grow(batch *b)
{
    if (b->count < b->capacity)
        return;
    size_t capacity = b->capacity ? 2 * (size_t)b->capacity : 16;
    b->requests = reid_xrealloc(b->requests, capacity * sizeof *b->requests);
    b->statuses = reid_xrealloc(b->statuses, capacity * sizeof *b->statuses);
    b->transfers = reid_xrealloc(b->transfers, capacity * sizeof *b->transfers);
    b->capacity = (int)capacity;
}

static void batch_fini(batch *b)
{
    free(b->requests);
    free(b->statuses);
    free(b->transfers);
}

static reid_status post(operation *op, batch *b, int peer, int step, bool receive, void *data,
                        size_t bytes, reid_error *err)
{
    char *at = data;
    while (bytes > 0) {
        size_t piece = REID_MIN(bytes, PIECE_BYTES);
        batch_grow(b);
        MPI_Request *request = &b->requests[b->count];
        if (receive)
            MPI_TRY(op, MPI_Irecv(at, (int)piece, MPI_BYTE, peer, tag_of(op, step), op->c->world,
                                  request));
        else
            MPI_TRY(op, MPI_Isend(at, (int)piece, MPI_BYTE, peer, tag_of(op, step), op->c->world,
                                  request));
        b->transfers[b->count++] = (transfer){peer, receive, piece};
        at += piece;
        bytes -= piece;
    }
    return REID_OK;
}

#define post_receive(op, b, peer, step, data, bytes, err)                                          \
    post((op), (b), (peer), (step), true, (data), (bytes), (err))
#define post_send(op, b, peer, step, data, bytes, err)                                             \
    post((op), (b), (peer), (step), false, (void *)(data), (bytes), (err))

/* `mine` to everybody, and everybody's to all + rank · bytes. */
static reid_status exchange(operation *op, const void *mine, size_t bytes, char *all,
                            reid_error *err)
{
    const reid_comm *comm = &op->c->base;
    batch *b = &op->c->collect[0];
    for (int i = 1; i < comm->size; i++) {
        int peer = (comm->rank + i) % comm->size;
        REID_TRY(post_receive(op, b, peer, STEP_FIRST, all + (size_t)peer * bytes, bytes, err));
    }
    for (int i = 1; i < comm->size; i++) {
        int peer = (comm->rank + i) % comm->size;
        REID_TRY(post_send(op, b, peer, STEP_FIRST, mine, bytes, err));
    }
    if (bytes > 0)
        memmove(all + (size_t)comm->rank * bytes, mine, bytes);
    REID_TRY(wait_batch(op, b, err));
    op->work->arrived_s = reid_clock_seconds();
    return REID_OK;
}

/* ---- all-reduce ---- */

/* Where part r of the buffer begins; part `size` begins at its end. */
static size_t part_start(const operation *op, int r)
{
    size_t count = op->work->count;
    size_t part = (count / (size_t)op->c->base.size + ALIGN_FLOATS) / ALIGN_FLOATS * ALIGN_FLOATS;
    return REID_MIN(count, part * (size_t)r);
}

/* Segment s of part r: its start in *ret_at, its length returned. */
static size_t segment_of(const operation *op, int r, size_t s, size_t *ret_at)
{
    size_t end = part_start(op, r + 1);
    size_t at = REID_MIN(end, part_start(op, r) + s * op->c->segment_floats);
    *ret_at = at;
    return REID_MIN(end - at, op->c->segment_floats);
}

static float *scratch_of(const mpi_comm *c, size_t s, int peer)
{
    size_t slot = s % DEPTH * (size_t)c->base.size + (size_t)peer;
    return c->scratch + slot * c->segment_floats;
}

static reid_status prepare_scratch(mpi_comm *c, reid_error *err)
{
    if (c->scratch)
        return REID_OK;
    size_t size = (size_t)c->base.size;
    c->segment_floats =
        REID_MIN(SEGMENT_FLOATS, SCRATCH_FLOATS / size / ALIGN_FLOATS * ALIGN_FLOATS);
    c->segment_floats = REID_MAX(c->segment_floats, SMALL_FLOATS);
    c->scratch_floats = DEPTH * size * c->segment_floats;
    c->scratch = reid_alloc_aligned(c->scratch_floats * sizeof *c->scratch);
    if (!c->scratch)
        return reid_fail(err, REID_ERR_INTERNAL,
                         "all-reduce: out of memory for %zu bytes of scratch",
                         c->scratch_floats * sizeof *c->scratch);
    return REID_OK;
}

/* Everybody's segment s of this rank's part comes here; this rank's segments of their parts go. */
static reid_status post_collect(operation *op, size_t s, reid_error *err)
{
    mpi_comm *c = op->c;
    const float *data = op->work->data;
    batch *b = &c->collect[s % DEPTH];
    size_t at, mine = segment_of(op, c->base.rank, s, &at);
    for (int i = 1; i < c->base.size; i++) {
        int peer = (c->base.rank + i) % c->base.size;
        REID_TRY(post_receive(op, b, peer, STEP_FIRST, scratch_of(c, s, peer), mine * sizeof *data,
                              err));
    }
    for (int i = 1; i < c->base.size; i++) {
        int peer = (c->base.rank + i) % c->base.size;
        size_t theirs = segment_of(op, peer, s, &at);
        REID_TRY(post_send(op, b, peer, STEP_FIRST, data + at, theirs * sizeof *data, err));
    }
    return REID_OK;
}

/* Adds segment s of this rank's part, then sends the sum to everybody and receives theirs. */
static reid_status reduce_and_spread(operation *op, size_t s, reid_error *err)
{
    mpi_comm *c = op->c;
    float *data = op->work->data;
    batch *b = &c->spread[s % DEPTH];
    size_t at, mine = segment_of(op, c->base.rank, s, &at);
    for (int r = 0; r < c->base.size; r++)
        c->inputs[r] = r == c->base.rank ? data + at : scratch_of(c, s, r);
    reid_comm_sum_ranks(c->inputs, c->base.size, mine, op->work->divisor, data + at);
    for (int i = 1; i < c->base.size; i++) {
        int peer = (c->base.rank + i) % c->base.size;
        REID_TRY(post_send(op, b, peer, STEP_SECOND, data + at, mine * sizeof *data, err));
    }
    for (int i = 1; i < c->base.size; i++) {
        int peer = (c->base.rank + i) % c->base.size;
        size_t start, theirs = segment_of(op, peer, s, &start);
        REID_TRY(post_receive(op, b, peer, STEP_SECOND, data + start, theirs * sizeof *data, err));
    }
    return REID_OK;
}

static reid_status allreduce_small(operation *op, reid_error *err)
{
    mpi_comm *c = op->c;
    size_t count = op->work->count;
    REID_TRY(exchange(op, op->work->data, count * sizeof(float), (char *)c->scratch, err));
    for (int r = 0; r < c->base.size; r++)
        c->inputs[r] = c->scratch + (size_t)r * count;
    reid_comm_sum_ranks(c->inputs, c->base.size, count, op->work->divisor, op->work->data);
    return REID_OK;
}

static reid_status run_allreduce(operation *op, reid_error *err)
{
    mpi_comm *c = op->c;
    REID_TRY(prepare_scratch(c, err));
    if (op->work->count <= SMALL_FLOATS)
        return allreduce_small(op, err);
    /* Part 0 is the longest; an empty segment of a later part is simply not sent. */
    size_t segments = (part_start(op, 1) + c->segment_floats - 1) / c->segment_floats;
    for (size_t s = 0; s < REID_MIN(segments, (size_t)DEPTH); s++)
        REID_TRY(post_collect(op, s, err));
    for (size_t s = 0; s < segments; s++) {
        REID_TRY(wait_batch(op, &c->collect[s % DEPTH], err));
        if (s == 0) {
            op->work->arrived_s = reid_clock_seconds();
            op->hot = true;
        }
        REID_TRY(reduce_and_spread(op, s, err));
        if (s + DEPTH < segments)
            REID_TRY(post_collect(op, s + DEPTH, err));
        if (s > 0)
            REID_TRY(wait_batch(op, &c->spread[(s - 1) % DEPTH], err));
    }
    return wait_batch(op, &c->spread[(segments - 1) % DEPTH], err);
}

/* ---- the other operations ---- */

static reid_status run_barrier(operation *op, reid_error *err)
{
    return exchange(op, &op->c->token, 1, op->c->tokens, err);
}

static reid_status run_allgather(operation *op, reid_error *err)
{
    return exchange(op, op->work->data, op->work->bytes, op->work->output, err);
}

/* A binomial tree; a large buffer goes through it piece by piece. */
static reid_status run_broadcast(operation *op, reid_error *err)
{
    mpi_comm *c = op->c;
    int size = c->base.size;
    int place = (c->base.rank - op->work->root + size) % size; /* the root's is 0 */
    int reach = 1;
    while (reach < size && !(place & reach))
        reach <<= 1;
    int parent = (place - reach + op->work->root + size) % size;
    size_t pieces = (op->work->bytes + BROADCAST_PIECE_BYTES - 1) / BROADCAST_PIECE_BYTES;
    for (size_t k = 0; k < pieces; k++) {
        char *at = (char *)op->work->data + k * BROADCAST_PIECE_BYTES;
        size_t bytes = REID_MIN(BROADCAST_PIECE_BYTES, op->work->bytes - k * BROADCAST_PIECE_BYTES);
        if (place != 0) {
            REID_TRY(post_receive(op, &c->collect[0], parent, STEP_FIRST, at, bytes, err));
            REID_TRY(wait_batch(op, &c->collect[0], err));
            op->hot = true;
        }
        for (int step = reach >> 1; step > 0; step >>= 1) {
            if (place + step < size)
                REID_TRY(post_send(op, &c->spread[k % 2], (place + step + op->work->root) % size,
                                   STEP_FIRST, at, bytes, err));
        }
        REID_TRY(wait_batch(op, &c->spread[(k + 1) % 2], err));
    }
    REID_TRY(wait_batch(op, &c->spread[0], err));
    return wait_batch(op, &c->spread[1], err);
}

/* At the root: everybody's size, then memory for all of it. NULL when there is none. */
static reid_status gather_sizes(operation *op, char **ret_all, reid_error *err)
{
    mpi_comm *c = op->c;
    batch *b = &c->collect[0];
    for (int r = 0; r < c->base.size; r++) {
        if (r != c->base.rank)
            REID_TRY(post_receive(op, b, r, STEP_FIRST, &c->sizes[r], sizeof *c->sizes, err));
    }
    c->sizes[c->base.rank] = op->work->bytes;
    REID_TRY(wait_batch(op, b, err));
    size_t total = 0;
    bool fits = true;
    for (int r = 0; r < c->base.size; r++)
        fits = !__builtin_add_overflow(total, c->sizes[r], &total) && fits;
    *ret_all = fits ? reid_alloc(total, 1) : NULL;
    c->token = *ret_all != NULL;
    for (int r = 0; r < c->base.size; r++) {
        if (r != c->base.rank)
            REID_TRY(post_send(op, b, r, STEP_SECOND, &c->token, 1, err));
    }
    return wait_batch(op, b, err);
}

static reid_status gather_at_root(operation *op, reid_error *err)
{
    mpi_comm *c = op->c;
    char *all = NULL;
    REID_TRY(gather_sizes(op, &all, err));
    if (!all)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "gather: rank %d has no memory for what the ranks send", c->base.rank);
    size_t *offsets = op->work->offsets;
    offsets[0] = 0;
    for (int r = 0; r < c->base.size; r++) {
        offsets[r + 1] = offsets[r] + c->sizes[r];
        if (r != c->base.rank)
            REID_TRY(post_receive(op, &c->collect[0], r, STEP_THIRD, all + offsets[r], c->sizes[r],
                                  err));
        else if (op->work->bytes > 0)
            memcpy(all + offsets[r], op->work->data, op->work->bytes);
    }
    op->hot = true;
    REID_TRY(wait_batch(op, &c->collect[0], err));
    *(void **)op->work->output = all;
    return REID_OK;
}

static reid_status run_gather(operation *op, reid_error *err)
{
    mpi_comm *c = op->c;
    int root = op->work->root;
    if (c->base.rank == root)
        return gather_at_root(op, err);
    c->sizes[0] = op->work->bytes;
    batch *b = &c->collect[0];
    REID_TRY(post_send(op, b, root, STEP_FIRST, &c->sizes[0], sizeof *c->sizes, err));
    REID_TRY(post_receive(op, b, root, STEP_SECOND, &c->token, 1, err));
    REID_TRY(wait_batch(op, b, err));
    if (!c->token)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "gather: rank %d has no memory for what the ranks send", root);
    op->hot = true;
    REID_TRY(post_send(op, b, root, STEP_THIRD, op->work->data, op->work->bytes, err));
    return wait_batch(op, b, err);
}

/* ---- on the thread ---- */

static reid_status worker_run(void *user, reid_comm_work *work, reid_error *err)
{
    mpi_comm *c = user;
    operation op = {.c = c, .work = work, .deadline_s = work->started_s + work->timeout_s};
    c->sequence++;
    switch ((reid_comm_kind)work->kind) {
    case REID_COMM_BARRIER:
        return run_barrier(&op, err);
    case REID_COMM_BROADCAST:
        return run_broadcast(&op, err);
    case REID_COMM_ALLREDUCE:
        return run_allreduce(&op, err);
    case REID_COMM_ALLGATHER:
        return run_allgather(&op, err);
    case REID_COMM_GATHER:
        return run_gather(&op, err);
    default:
        return reid_fail(err, REID_ERR_INTERNAL, "unknown collective %d", work->kind);
    }
}

/* "Open MPI v4.1.4, package: …" → "Open MPI v4.1.4" */
static void read_library(mpi_comm *c)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    snprintf(c->library, sizeof c->library, "%.60s", text);
}

static reid_status find_local_ranks(mpi_comm *c, const operation *op, reid_error *err)
{
    MPI_Comm node;
    MPI_TRY(op, MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, c->base.rank, MPI_INFO_NULL,
                                    &node));
    MPI_TRY(op, MPI_Comm_rank(node, &c->base.local_rank));
    MPI_TRY(op, MPI_Comm_size(node, &c->base.local_size));
    MPI_TRY(op, MPI_Comm_free(&node));
    return REID_OK;
}

static reid_status worker_open(void *user, reid_error *err)
{
    mpi_comm *c = user;
    operation op = {.c = c, .work = &c->worker.opening};
    int had, level, rank, size;
    MPI_TRY(&op, MPI_Initialized(&had));
    if (had)
        return reid_fail(err, REID_ERR_PRECONDITION, "MPI can be started only once in a process");
    MPI_TRY(&op, MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level));
    MPI_TRY(&op, MPI_Comm_dup(MPI_COMM_WORLD, &c->world));
    MPI_TRY(&op, MPI_Comm_set_errhandler(c->world, MPI_ERRORS_RETURN));
    MPI_TRY(&op, MPI_Comm_rank(c->world, &rank));
    MPI_TRY(&op, MPI_Comm_size(c->world, &size));
    if (level < MPI_THREAD_FUNNELED)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "this MPI library was built without support for threads");
    if (c->base.size > 0 && (rank != c->base.rank || size != c->base.size))
        return reid_fail(err, REID_ERR_INTERNAL,
                         "MPI says rank %d of %d, the launcher's environment says rank %d of %d",
                         rank, size, c->base.rank, c->base.size);
    if (c->base.size == 0) { /* else the owner may be reading them */
        c->base.rank = rank;
        c->base.size = size;
    }
    c->inputs = reid_xcalloc((size_t)size, sizeof *c->inputs);
    c->sizes = reid_xcalloc((size_t)size, sizeof *c->sizes);
    c->tokens = reid_xcalloc((size_t)size, 1);
    if (c->base.local_size == 0)
        return find_local_ranks(c, &op, err);
    return REID_OK;
}

/* Without the farewell of a broken world: it would wait for ranks that do not come. */
static void worker_close(void *user, bool broken)
{
    mpi_comm *c = user;
    int initialized = 0;
    MPI_Initialized(&initialized);
    if (broken || !initialized)
        return;
    MPI_Comm_free(&c->world);
    MPI_Finalize();
}

static void worker_abort(void *user, int code)
{
    MPI_Abort(MPI_COMM_WORLD, code);
}

static const reid_comm_worker_impl WORKER = {
    .open = worker_open,
    .run = worker_run,
    .close = worker_close,
    .abort = worker_abort,
};

/* ---- the owner's side ---- */

static void mpi_submit(reid_comm *comm, reid_comm_work *work)
{
    reid_comm_worker_submit(&((mpi_comm *)comm)->worker, work);
}

static void mpi_wait(reid_comm *comm, reid_comm_work *work)
{
    reid_comm_worker_wait(&((mpi_comm *)comm)->worker, work);
}

static const char *mpi_library(const reid_comm *comm)
{
    return ((const mpi_comm *)comm)->library;
}

static void mpi_abort(reid_comm *comm, int code)
{
    reid_comm_worker_abort(&((mpi_comm *)comm)->worker, code ? code : 1, ABORT_WAIT_S);
    /* The launcher ends the other ranks when one goes without MPI's farewell. */
    _exit(code ? code : 1);
}

static void mpi_free(reid_comm *comm)
{
    mpi_comm *c = (mpi_comm *)comm;
    if (!reid_comm_worker_stop(&c->worker, comm->default_timeout_s)) {
        reid_log_warn("comm the communication thread did not end and is left alone");
        return;
    }
    bool broken = reid_comm_worker_is_broken(&c->worker);
    reid_comm_worker_fini(&c->worker);
    if (broken) /* open requests still know these addresses */
        return;
    reid_flight_close(comm->flight, true);
    for (int i = 0; i < DEPTH; i++) {
        batch_fini(&c->collect[i]);
        batch_fini(&c->spread[i]);
    }
    if (c->scratch)
        reid_free_aligned(c->scratch, c->scratch_floats * sizeof *c->scratch);
    free(c->inputs);
    free(c->sizes);
    free(c->tokens);
    free(comm->call);
    free(c);
}

static const reid_comm_impl MPI = {
    .name = "mpi",
    .submit = mpi_submit,
    .wait = mpi_wait,
    .library = mpi_library,
    .abort = mpi_abort,
    .free = mpi_free,
};

reid_status reid_comm_mpi_new(const reid_comm_options *options, reid_comm **ret_comm,
                              reid_error *err)
{
    reid_comm_launch launch;
    reid_comm_launch_detect(&launch);
    reid_comm_launch_choose(&launch, SHARED_MEMORY);
    mpi_comm *c = reid_xcalloc(1, sizeof *c);
    reid_comm_setup(&c->base, &MPI, options);
    c->base.rank = launch.rank;
    c->base.size = launch.size;
    c->base.local_rank = launch.local_rank;
    c->base.local_size = launch.local_size;
    read_library(c);
    reid_status status =
        reid_comm_worker_start(&c->worker, &WORKER, c, c->base.default_timeout_s, err);
    if (status != REID_OK) {
        free(c);
        return status;
    }
    if (options && options->background && launch.size > 0) {
        *ret_comm = &c->base;
        return REID_OK;
    }
    reid_comm_worker_wait(&c->worker, &c->worker.opening);
    if (c->worker.opening.status != REID_OK) {
        status = reid_fail(err, c->worker.opening.status, "%s", c->worker.opening.err.text);
        mpi_free(&c->base);
        return status;
    }
    *ret_comm = &c->base;
    return REID_OK;
}

bool reid_comm_mpi_available(void)
{
    return true;
}
