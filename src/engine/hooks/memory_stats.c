/* MemoryStats: puts max_mem, the largest resident memory of any rank so far in MiB, after each step
 * (fast-reid logs that of the GPU under this name). */
#include <stdlib.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "engine/hooks/registry.h"
#include "engine/trainer.h"

typedef struct memory_stats {
    reid_hook base;
    reid_comm *comm;
    double *all; /* [ranks] */
} memory_stats;

static double peak_mib(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss / 1024 : 0;
}

static reid_status after_step(reid_hook *base, reid_error *err)
{
    memory_stats *stats = (memory_stats *)base;
    double mine = peak_mib(), most = 0;
    REID_TRY(reid_comm_allgather(stats->comm, &mine, sizeof mine, stats->all, err));
    for (int rank = 0; rank < stats->comm->size; rank++)
        most = REID_MAX(most, stats->all[rank]);
    if (stats->comm->rank != 0)
        return REID_OK;
    return reid_event_storage_put_scalar(base->trainer->storage, "max_mem", most, false, err);
}

static void free_stats(reid_hook *base)
{
    free(((memory_stats *)base)->all);
    free(base);
}

static const reid_hook_impl MEMORY_STATS = {
    .name = "MemoryStats",
    .after_step = after_step,
    .free = free_stats,
};

static reid_status make(const reid_hook_context *context, const reid_hook_values *values,
                        reid_hook **ret_hook, reid_error *err)
{
    if (!context->comm)
        return reid_hook_needs(err, "MemoryStats", "ranks");
    memory_stats *stats = reid_xcalloc(1, sizeof *stats);
    stats->base.impl = &MEMORY_STATS;
    stats->comm = context->comm;
    stats->all = reid_xcalloc((size_t)context->comm->size, sizeof *stats->all);
    *ret_hook = &stats->base;
    return REID_OK;
}

const reid_hook_kind reid_hook_kind_memory_stats = {
    .name = "MemoryStats",
    .help = "puts max_mem, the largest memory of any rank in MiB",
    .make = make,
};
