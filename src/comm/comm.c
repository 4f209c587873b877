#include "comm/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/flight.h"
#include "base/hash.h"
#include "base/str.h"
#include "comm/comm_impl.h"

#define DEFAULT_TIMEOUT_S 600.0
#define LISTED_RANKS 16

const char *reid_comm_kind_name(int kind)
{
    static const char *const names[REID_COMM_KINDS] = {
        [REID_COMM_START] = "start-up",       [REID_COMM_BARRIER] = "barrier",
        [REID_COMM_BROADCAST] = "broadcast",  [REID_COMM_ALLREDUCE] = "all-reduce",
        [REID_COMM_ALLGATHER] = "all-gather", [REID_COMM_GATHER] = "gather",
    };
    return kind >= 0 && kind < REID_COMM_KINDS ? names[kind] : "unknown operation";
}

void reid_comm_setup(reid_comm *comm, const reid_comm_impl *impl, const reid_comm_options *options)
{
    comm->impl = impl;
    comm->default_timeout_s =
        options && options->timeout_s > 0 ? options->timeout_s : DEFAULT_TIMEOUT_S;
    reid_comm_set_phase(comm, "start", 0);
}

void reid_comm_list_ranks(char *buffer, size_t capacity, const bool *named, int size)
{
    int count = 0;
    for (int r = 0; r < size; r++)
        count += named[r];
    reid_str text = REID_STR_INIT;
    reid_str_add(&text, count == 1 ? "rank " : "ranks ");
    int listed = 0;
    for (int r = 0; r < size && listed < LISTED_RANKS; r++) {
        if (!named[r])
            continue;
        if (listed > 0)
            reid_str_add(&text, listed + 1 == count ? " and " : ", ");
        reid_str_addf(&text, "%d", r);
        listed++;
    }
    if (count > listed)
        reid_str_addf(&text, " and %d more", count - listed);
    snprintf(buffer, capacity, "%s", reid_str_text(&text));
    reid_str_fini(&text);
}

/* ---- opening ---- */

reid_status reid_comm_open(const reid_comm_options *options, reid_comm **ret_comm, reid_error *err)
{
    reid_comm_launch launch;
    reid_comm_launch_detect(&launch);
    if (launch.launched && launch.size != 1)
        return reid_comm_mpi_new(options, ret_comm, err);
    *ret_comm = reid_comm_self_new();
    return REID_OK;
}

const char *reid_comm_library(const reid_comm *comm)
{
    return comm->impl->library(comm);
}

void reid_comm_free(reid_comm *comm)
{
    if (comm)
        comm->impl->free(comm);
}

void reid_comm_abort(reid_comm *comm, int code)
{
    comm->impl->abort(comm, code);
    abort(); /* the slot above does not return */
}

void reid_comm_set_phase(reid_comm *comm, const char *phase, double timeout_s)
{
    snprintf(comm->phase, sizeof comm->phase, "%s", phase);
    comm->timeout_s = timeout_s > 0 ? timeout_s : comm->default_timeout_s;
}

reid_status reid_comm_record(reid_comm *comm, const char *folder, reid_error *err)
{
    REID_ASSERT(!comm->flight);
    if (comm->size == 1)
        return REID_OK;
    return reid_flight_open(folder, comm->impl->name, comm->rank, comm->size, &comm->flight, err);
}

reid_status reid_comm_check(reid_comm *comm, reid_error *err)
{
    return comm->impl->check ? comm->impl->check(comm, err) : REID_OK;
}

bool reid_comm_work_times(reid_comm *comm, reid_comm_work *work)
{
    return comm->impl->times ? comm->impl->times(comm, work) : work->done;
}

/* ---- calls ---- */

static void submit(reid_comm *comm, reid_comm_work *work)
{
    size_t bytes = work->kind == REID_COMM_ALLREDUCE ? work->count * sizeof(float) : work->bytes;
    memcpy(work->phase, comm->phase, sizeof work->phase);
    work->timeout_s = comm->timeout_s;
    work->flight = comm->flight;
    work->flight_call = reid_flight_queue(comm->flight, reid_comm_kind_name(work->kind),
                                          work->phase, work->bucket, bytes);
    comm->impl->submit(comm, work);
}

/* The work of a blocking call; not on the stack, for a stuck thread may still look at it. */
static reid_comm_work *new_call(reid_comm *comm, reid_comm_kind kind)
{
    if (!comm->call)
        comm->call = reid_xcalloc(1, sizeof *comm->call);
    REID_ASSERT(!comm->call->pending);
    memset(comm->call, 0, sizeof *comm->call);
    comm->call->kind = kind;
    comm->call->divisor = 1.0f;
    comm->call->bucket = -1;
    return comm->call;
}

static reid_status finish_call(reid_comm *comm, reid_comm_work *work, reid_error *err)
{
    comm->impl->wait(comm, work);
    if (work->status == REID_OK)
        return REID_OK;
    if (work == comm->call && work->status != REID_ERR_EXHAUSTED)
        comm->call = NULL; /* left to a thread that may be stuck in it */
    return reid_fail(err, work->status, "%s", work->err.text);
}

static reid_status call(reid_comm *comm, reid_comm_work *work, reid_error *err)
{
    submit(comm, work);
    return finish_call(comm, work, err);
}

reid_status reid_comm_barrier(reid_comm *comm, reid_error *err)
{
    return call(comm, new_call(comm, REID_COMM_BARRIER), err);
}

reid_status reid_comm_broadcast(reid_comm *comm, void *data, size_t bytes, int root,
                                reid_error *err)
{
    REID_ASSERT(root >= 0 && root < comm->size);
    reid_comm_work *work = new_call(comm, REID_COMM_BROADCAST);
    work->data = data;
    work->bytes = bytes;
    work->root = root;
    return call(comm, work, err);
}

reid_status reid_comm_allreduce_sum(reid_comm *comm, float *data, size_t count, reid_error *err)
{
    reid_comm_work *work = new_call(comm, REID_COMM_ALLREDUCE);
    work->data = data;
    work->count = count;
    return call(comm, work, err);
}

reid_status reid_comm_allgather(reid_comm *comm, const void *data, size_t bytes, void *ret_all,
                                reid_error *err)
{
    reid_comm_work *work = new_call(comm, REID_COMM_ALLGATHER);
    work->data = (void *)data;
    work->bytes = bytes;
    work->output = ret_all;
    return call(comm, work, err);
}

reid_status reid_comm_gather_varied(reid_comm *comm, const void *data, size_t bytes, int root,
                                    void **ret_data, size_t *ret_offsets, reid_error *err)
{
    REID_ASSERT(root >= 0 && root < comm->size);
    REID_ASSERT(comm->rank != root || (ret_data && ret_offsets));
    reid_comm_work *work = new_call(comm, REID_COMM_GATHER);
    work->data = (void *)data;
    work->bytes = bytes;
    work->root = root;
    work->output = ret_data;
    work->offsets = ret_offsets;
    return call(comm, work, err);
}

void reid_comm_allreduce_start(reid_comm *comm, float *data, size_t count, float divisor,
                               reid_comm_work *work)
{
    REID_ASSERT(!work->pending);
    work->kind = REID_COMM_ALLREDUCE;
    work->data = data;
    work->count = count;
    work->divisor = divisor;
    submit(comm, work);
}

reid_status reid_comm_work_wait(reid_comm *comm, reid_comm_work *work, reid_error *err)
{
    return finish_call(comm, work, err);
}

/* ---- helpers ---- */

/* The value that most ranks have; the lower rank's one among equals. */
static uint64_t common_value(const uint64_t *values, int count)
{
    int best = 0, best_votes = 0;
    for (int i = 0; i < count; i++) {
        int votes = 0;
        for (int j = 0; j < count; j++)
            votes += values[j] == values[i];
        if (votes > best_votes) {
            best = i;
            best_votes = votes;
        }
    }
    return values[best];
}

static reid_status report_difference(const reid_comm *comm, const char *what,
                                     const uint64_t *values, reid_error *err)
{
    uint64_t common = common_value(values, comm->size);
    bool *differs = reid_xcalloc((size_t)comm->size, sizeof *differs);
    int first = -1;
    for (int r = 0; r < comm->size; r++) {
        differs[r] = values[r] != common;
        if (differs[r] && first < 0)
            first = r;
    }
    char ranks[256] = "";
    reid_comm_list_ranks(ranks, sizeof ranks, differs, comm->size);
    free(differs);
    if (first < 0)
        return REID_OK;
    return reid_fail(err, REID_ERR_PRECONDITION,
                     "%s of %s differs from that of the other ranks (%016llx against %016llx): all "
                     "ranks need the same "
                     "program, libraries and configuration",
                     what, ranks, (unsigned long long)values[first], (unsigned long long)common);
}

reid_status reid_comm_check_same(reid_comm *comm, const char *what, uint64_t value, reid_error *err)
{
    /* On the heap and kept on failure: the library may still know the addresses. */
    uint64_t *values = reid_xcalloc((size_t)comm->size + 1, sizeof *values);
    values[comm->size] = value;
    REID_TRY(reid_comm_allgather(comm, &values[comm->size], sizeof *values, values, err));
    reid_status status = report_difference(comm, what, values, err);
    free(values);
    return status;
}

reid_status reid_comm_broadcast_parts(reid_comm *comm, const reid_comm_part *parts, size_t count,
                                      int root, reid_error *err)
{
    uint64_t sizes = reid_hash64(&count, sizeof count, 0);
    for (size_t i = 0; i < count; i++)
        sizes = reid_hash64(&parts[i].bytes, sizeof parts[i].bytes, sizes);
    REID_TRY(reid_comm_check_same(comm, "the layout of the state to broadcast", sizes, err));
    for (size_t i = 0; i < count; i++)
        REID_TRY(reid_comm_broadcast(comm, parts[i].data, parts[i].bytes, root, err));
    return REID_OK;
}
