/* The data of collectives. A run that cannot go on returns false and is called again. */
#include "half.h"
#include "nccl_emu.h"

#include <math.h>
#include <string.h>

size_t emu_nccl_type_bytes(int type)
{
    switch (type) {
    case ncclUint8:
    case ncclInt8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclFloat32:
    case ncclInt32:
        return 4;
    case ncclFloat64:
    case ncclInt64:
        return 8;
    default:
        return 0;
    }
}

static double load(const void *p, int type, size_t i)
{
    switch (type) {
    case ncclFloat32:
        return ((const float *)p)[i];
    case ncclFloat64:
        return ((const double *)p)[i];
    case ncclInt32:
        return ((const int32_t *)p)[i];
    case ncclInt64:
        return (double)((const int64_t *)p)[i];
    case ncclUint8:
        return ((const uint8_t *)p)[i];
    case ncclInt8:
        return ((const int8_t *)p)[i];
    case ncclBfloat16:
        return emu_bf16_load(((const uint16_t *)p)[i]);
    case ncclFloat16:
        return emu_fp16_load(((const uint16_t *)p)[i]);
    default:
        return NAN;
    }
}

static void store(void *p, int type, size_t i, double v)
{
    switch (type) {
    case ncclFloat32:
        ((float *)p)[i] = (float)v;
        break;
    case ncclFloat64:
        ((double *)p)[i] = v;
        break;
    case ncclInt32:
        ((int32_t *)p)[i] = (int32_t)v;
        break;
    case ncclInt64:
        ((int64_t *)p)[i] = (int64_t)v;
        break;
    case ncclUint8:
        ((uint8_t *)p)[i] = (uint8_t)v;
        break;
    case ncclInt8:
        ((int8_t *)p)[i] = (int8_t)v;
        break;
    case ncclBfloat16:
        ((uint16_t *)p)[i] = emu_bf16_store((float)v);
        break;
    default:
        ((uint16_t *)p)[i] = emu_fp16_store((float)v);
        break;
    }
}

static double combine(double a, double b, int type, int reduction)
{
    switch (reduction) {
    case ncclProd:
        return a * b;
    case ncclMax:
        return b > a ? b : a;
    case ncclMin:
        return b < a ? b : a;
    default:
        return type == ncclFloat32 ? (double)((float)a + (float)b) : a + b;
    }
}

/* One chunk, over the ranks in their order. */
static void reduce(ncclComm_t c, const emu_op *op, char *receive, size_t at, size_t count)
{
    int type = (int)op->arg[EMU_NCCL_TYPE], reduction = (int)op->arg[EMU_NCCL_REDUCTION];
    for (size_t i = 0; i < count; i++) {
        double v = load(c->shared->rank[0].data, type, i);
        for (int r = 1; r < c->size; r++)
            v = combine(v, load(c->shared->rank[r].data, type, i), type, reduction);
        store(receive, type, at + i, reduction == ncclAvg ? v / c->size : v);
    }
}

static void deliver(ncclComm_t c, const emu_op *op, char *receive, size_t at, size_t count)
{
    size_t bytes = emu_nccl_type_bytes((int)op->arg[EMU_NCCL_TYPE]);
    int root = (int)op->arg[EMU_NCCL_ROOT];
    switch (op->arg[EMU_NCCL_KIND]) {
    case EMU_BROADCAST:
        memcpy(receive + at * bytes, c->shared->rank[root].data, count * bytes);
        break;
    case EMU_ALLGATHER:
        for (int r = 0; r < c->size; r++)
            memcpy(receive + ((size_t)r * op->arg[EMU_NCCL_COUNT] + at) * bytes,
                   c->shared->rank[r].data, count * bytes);
        break;
    case EMU_REDUCE:
        if (c->rank == root)
            reduce(c, op, receive, at, count);
        break;
    default:
        reduce(c, op, receive, at, count);
        break;
    }
}

static bool all_consumed(ncclComm_t c)
{
    for (int r = 0; r < c->size; r++)
        if (c->shared->rank[r].consumed < c->chunk)
            return false;
    return true;
}

static bool all_posted(ncclComm_t c)
{
    for (int r = 0; r < c->size; r++)
        if (c->shared->rank[r].posted < c->chunk + 1)
            return false;
    return true;
}

static void post(ncclComm_t c, const emu_op *op, size_t at, size_t count)
{
    emu_nccl_rank *own = &c->shared->rank[c->rank];
    size_t bytes = emu_nccl_type_bytes((int)op->arg[EMU_NCCL_TYPE]);
    const char *send = emu_mem((void *)(uintptr_t)op->arg[EMU_NCCL_SEND]);
    memset(&own->call, 0, sizeof own->call);
    own->call = (emu_nccl_call){c->chunk,
                                op->arg[EMU_NCCL_COUNT],
                                (int)op->arg[EMU_NCCL_KIND],
                                (int)op->arg[EMU_NCCL_TYPE],
                                (int)op->arg[EMU_NCCL_REDUCTION],
                                (int)op->arg[EMU_NCCL_ROOT]};
    if (op->arg[EMU_NCCL_KIND] != EMU_BROADCAST || c->rank == (int)op->arg[EMU_NCCL_ROOT])
        memcpy(own->data, send + at * bytes, count * bytes);
    own->posted = c->chunk + 1;
    c->since = emu_nccl_now();
}

static bool equal(const emu_nccl_call *a, const emu_nccl_call *b)
{
    return a->chunk == b->chunk && a->count == b->count && a->kind == b->kind &&
           a->type == b->type && a->reduction == b->reduction && a->root == b->root;
}

static bool calls_match(ncclComm_t c)
{
    const emu_nccl_call *own = &c->shared->rank[c->rank].call;
    for (int r = 0; r < c->size; r++) {
        const emu_nccl_call *other = &c->shared->rank[r].call;
        if (equal(own, other))
            continue;
        emu_report("NCCL-MISMATCH",
                   "rank %d calls %s(count %lu type %d op %d root %d), rank %d calls %s(count %lu "
                   "type %d op %d root %d)",
                   c->rank, emu_nccl_name(own->kind), (unsigned long)own->count, own->type,
                   own->reduction, own->root, r, emu_nccl_name(other->kind),
                   (unsigned long)other->count, other->type, other->reduction, other->root);
        return false;
    }
    return true;
}

static bool finished(ncclComm_t c)
{
    c->run++;
    return true;
}

bool emu_nccl_run(emu_op *op)
{
    ncclComm_t c = (ncclComm_t)(uintptr_t)op->arg[EMU_NCCL_COMM];
    const char *name = emu_nccl_name((int)op->arg[EMU_NCCL_KIND]);
    size_t per_chunk = EMU_NCCL_CHUNK / emu_nccl_type_bytes((int)op->arg[EMU_NCCL_TYPE]);
    char *receive = emu_mem((void *)(uintptr_t)op->arg[EMU_NCCL_RECEIVE]);
    if (c->aborted)
        return finished(c);
    if (c->run != op->arg[EMU_NCCL_TICKET])
        return false; /* a communicator's collectives run in the order of their calls */
    while (op->arg[EMU_NCCL_DONE] < op->arg[EMU_NCCL_COUNT]) {
        size_t at = op->arg[EMU_NCCL_DONE], left = op->arg[EMU_NCCL_COUNT] - at;
        size_t count = left < per_chunk ? left : per_chunk;
        if (!op->arg[EMU_NCCL_POSTED]) {
            if (!all_consumed(c))
                return emu_nccl_missing(c, name), false;
            post(c, op, at, count);
            op->arg[EMU_NCCL_POSTED] = 1;
        }
        if (!all_posted(c))
            return emu_nccl_missing(c, name), false;
        if (!calls_match(c)) {
            c->error = ncclInternalError;
            c->aborted = 1;
            return finished(c);
        }
        deliver(c, op, receive, at, count);
        c->shared->rank[c->rank].consumed = ++c->chunk;
        op->arg[EMU_NCCL_DONE] += count;
        op->arg[EMU_NCCL_POSTED] = 0;
        c->told = false;
    }
    return finished(c);
}
