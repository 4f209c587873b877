#include <stdlib.h>

#include "base/alloc.h"
#include "nn/plan_impl.h"

/* What a buffer is for, in the order of reid_plan_memory's members. */
typedef enum buffer_kind { INPUT, ACTIVATION, GRADIENT, WORKSPACE, SCRATCH, KINDS } buffer_kind;

static void set_kind(buffer_kind *kinds, int buffer, buffer_kind kind)
{
    if (buffer != REID_BUFFER_NONE)
        kinds[buffer] = kind;
}

/* Gradients are what is left: some belong to no node (sums of addends). */
static buffer_kind *find_kinds(const reid_plan *plan)
{
    buffer_kind *kinds = reid_xcalloc(plan->buffers.count + 1, sizeof *kinds);
    for (size_t i = 0; i < plan->buffers.count; i++)
        kinds[i] = GRADIENT;
    for (size_t i = 0; i < plan->value_count; i++)
        if (plan->values[i].used) {
            buffer_kind kind = plan->values[i].input != REID_INPUT_NONE ? INPUT : ACTIVATION;
            set_kind(kinds, plan->values[i].buffer, kind);
            set_kind(kinds, plan->values[i].saved, kind);
        }
    for (size_t i = 0; i < plan->nodes.count; i++) {
        set_kind(kinds, plan->nodes.items[i].workspace, WORKSPACE);
        set_kind(kinds, plan->nodes.items[i].scratch, SCRATCH);
    }
    return kinds;
}

static bool alive_at(const reid_arena_buffer *buffer, int time)
{
    return buffer->root < 0 && reid_arena_alive(buffer, time);
}

static size_t room(const reid_arena_buffer *buffer)
{
    return (buffer->bytes + REID_ARENA_ALIGN - 1) / REID_ARENA_ALIGN * REID_ARENA_ALIGN;
}

static size_t alive_bytes(const reid_plan *plan, int time)
{
    size_t sum = 0;
    for (size_t i = 0; i < plan->buffers.count; i++)
        if (alive_at(&plan->buffers.items[i], time))
            sum += room(&plan->buffers.items[i]);
    return sum;
}

static int fullest_time(const reid_plan *plan)
{
    int best = 0, end = (int)(plan->nodes.count + plan->steps.count);
    size_t most = 0;
    for (int time = 0; time < end; time++) {
        size_t bytes = alive_bytes(plan, time);
        if (bytes > most) {
            best = time;
            most = bytes;
        }
    }
    return best;
}

static const char *call_at(const reid_plan *plan, int time, bool *ret_backward)
{
    size_t forward = plan->nodes.count, step = (size_t)time - forward;
    *ret_backward = (size_t)time >= forward;
    if (!*ret_backward)
        return plan->nodes.items[time].name;
    if (step >= plan->steps.count || plan->steps.items[step].node < 0)
        return "a sum of gradients";
    return plan->nodes.items[plan->steps.items[step].node].name;
}

reid_plan_memory reid_plan_get_memory(const reid_plan *plan)
{
    reid_plan_memory memory = {0};
    size_t sums[KINDS] = {0};
    buffer_kind *kinds = find_kinds(plan);
    int time = fullest_time(plan);
    for (size_t i = 0; i < plan->buffers.count; i++)
        if (alive_at(&plan->buffers.items[i], time)) {
            sums[kinds[i]] += room(&plan->buffers.items[i]);
            memory.total += room(&plan->buffers.items[i]);
        }
    memory.inputs = sums[INPUT];
    memory.activations = sums[ACTIVATION];
    memory.gradients = sums[GRADIENT];
    memory.workspace = sums[WORKSPACE];
    memory.scratch = sums[SCRATCH];
    memory.where = call_at(plan, time, &memory.backward);
    free(kinds);
    return memory;
}
