#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
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

/* ---- the sentence when the arena does not fit ---- */

#define LARGEST 3

/* "the output of layer1.0.conv1"; NULL for a buffer that no operation owns. */
static char *owner_of(const reid_plan *plan, int buffer)
{
    for (size_t i = 0; i < plan->nodes.count; i++) {
        const reid_plan_node *node = &plan->nodes.items[i];
        if (plan->values[node->output].buffer == buffer)
            return reid_xasprintf("the output of %s", node->name);
        if (node->workspace == buffer)
            return reid_xasprintf("what %s keeps for backward", node->name);
        for (int k = 0; k < REID_OP_INPUTS; k++)
            if (node->input_grad[k] == buffer)
                return reid_xasprintf("the gradient behind %s", node->name);
    }
    return NULL;
}

static void add_largest(const reid_plan *plan, reid_str *text)
{
    size_t below = SIZE_MAX;
    for (int found = 0; found < LARGEST && below > 0;) {
        size_t best = 0, best_bytes = 0;
        for (size_t i = 0; i < plan->buffers.count; i++) {
            const reid_arena_buffer *b = &plan->buffers.items[i];
            if (b->root < 0 && b->bytes < below && b->bytes > best_bytes) {
                best = i;
                best_bytes = b->bytes;
            }
        }
        REID_AUTOFREE char *owner = best_bytes ? owner_of(plan, (int)best) : NULL;
        found += owner != NULL;
        if (owner)
            reid_str_addf(text, "%s%s (%.1f MiB)", text->length ? ", " : "; the largest: ", owner,
                          (double)best_bytes / (1 << 20));
        below = best_bytes;
    }
}

/* Images for which an arena would fit now, in eighths of the batch; 0: not even one eighth. */
static int64_t batch_that_fits(reid_plan *plan, int64_t batch)
{
    for (int eighths = 7; eighths > 0; eighths--) {
        size_t bytes = plan->arena_bytes / 8 * (size_t)eighths;
        void *memory = reid_backend_alloc(plan->backend, bytes);
        if (memory) {
            reid_backend_release(plan->backend, memory, bytes);
            return batch * eighths / 8;
        }
        reid_backend_status(plan->backend, NULL); /* told once */
    }
    return 0;
}

reid_status reid_plan_no_room(reid_plan *plan, reid_error *err)
{
    reid_error why = {0};
    reid_str largest = REID_STR_INIT, advice = REID_STR_INIT;
    int64_t batch = 0;
    reid_backend_status(plan->backend, &why);
    for (size_t i = 0; i < plan->value_count && !batch; i++)
        if (plan->values[i].input == REID_INPUT_IMAGES && plan->values[i].layout)
            batch = plan->values[i].layout->shape.dim[0];
    int64_t fits = batch_that_fits(plan, batch);
    add_largest(plan, &largest);
    if (fits > 0)
        reid_str_addf(&advice, "; a batch of about %lld instead of %lld fits", (long long)fits,
                      (long long)batch);
    reid_status status = reid_fail(err, REID_ERR_EXHAUSTED,
                                   "not enough memory for a step: the plan needs %zu MiB%s%s%s%s",
                                   (plan->arena_bytes >> 20) + 1, reid_str_text(&largest),
                                   reid_str_text(&advice), why.text[0] ? "; " : "", why.text);
    reid_str_fini(&largest);
    reid_str_fini(&advice);
    return status;
}
