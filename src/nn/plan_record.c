#include "nn/plan_record.h"

#include "nn/plan_impl.h"

static bool can_record(const reid_plan *plan)
{
    return plan->backend->impl->record_begin != NULL;
}

void reid_plan_make_sections(reid_plan *plan)
{
    size_t least = can_record(plan) ? REID_SECTION_FLOATS : 1, first = 0, told = 0;
    for (size_t i = 0; i < plan->steps.count; i++) {
        size_t ready = plan->steps.items[i].ready_end;
        bool last = i + 1 == plan->steps.count;
        if (!last && ready < told + least)
            continue;
        reid_vec_push(&plan->sections,
                      ((reid_plan_section){.first = first, .end = i + 1, .ready_end = ready}));
        first = i + 1;
        told = ready;
    }
}

/* True when `recorded` was made; nothing was computed either way. */
static bool record(reid_plan *plan, reid_plan_recording *recording, reid_plan_calls *calls,
                   size_t first, size_t end)
{
    const reid_backend_impl *impl = plan->backend->impl;
    reid_error why = {0};
    if (!impl->record_begin(plan->backend))
        return false;
    reid_status status = calls(plan, first, end, &why);
    recording->recorded = impl->record_end(plan->backend);
    if (status == REID_OK || !recording->recorded)
        return recording->recorded != NULL;
    impl->record_free(plan->backend, recording->recorded);
    recording->recorded = NULL;
    return false;
}

reid_status reid_plan_run_recorded(reid_plan *plan, reid_plan_recording *recording,
                                   reid_plan_calls *calls, size_t first, size_t end,
                                   reid_error *err)
{
    bool timed = plan->options.profile || plan->probe; /* call by call */
    if (!can_record(plan) || timed || recording->refused)
        return calls(plan, first, end, err);
    if (!recording->ran) {
        recording->ran = true;
        return calls(plan, first, end, err);
    }
    if (!recording->recorded && !record(plan, recording, calls, first, end)) {
        recording->refused = true;
        return calls(plan, first, end, err);
    }
    return plan->backend->impl->record_run(plan->backend, recording->recorded, err);
}

static void drop(reid_plan *plan, reid_plan_recording *recording)
{
    if (recording->recorded) {
        reid_backend_wait(plan->backend);
        plan->backend->impl->record_free(plan->backend, recording->recorded);
    }
    *recording = (reid_plan_recording){0};
}

void reid_plan_drop_backward(reid_plan *plan, int node)
{
    for (size_t i = 0; i < plan->sections.count; i++) {
        reid_plan_section *section = &plan->sections.items[i];
        for (size_t k = section->first; k < section->end; k++)
            if (plan->steps.items[k].node == node)
                drop(plan, &section->recording);
    }
}

void reid_plan_drop_recordings(reid_plan *plan)
{
    drop(plan, &plan->forward_recording);
    for (size_t i = 0; i < plan->sections.count; i++)
        drop(plan, &plan->sections.items[i].recording);
}
